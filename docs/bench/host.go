package main

import (
	"fmt"
	"runtime"
	"testing"
)

// host stands in for a test, since the private Dovecot is made for tests: it ends with
// one, and tells it what went wrong.
type host struct {
	testing.TB // for its private method, and nil: what Dovecot calls is below
	cleanups   []func()
	err        error
}

// onHost runs f, which may fail as a test does, and gives the failure.
func (h *host) try(f func()) error {
	done := make(chan struct{})
	go func() { // Fatal ends the goroutine that it is called in
		defer close(done)
		f()
	}()
	<-done
	return h.err
}

func (h *host) close() {
	for i := len(h.cleanups) - 1; i >= 0; i-- {
		h.cleanups[i]()
	}
	h.cleanups = nil
}

func (h *host) Helper()          {}
func (h *host) Cleanup(f func()) { h.cleanups = append(h.cleanups, f) }
func (h *host) Failed() bool     { return false }

func (h *host) Errorf(format string, args ...any) { h.err = fmt.Errorf(format, args...) }
func (h *host) Skipf(format string, args ...any)  { h.Fatalf(format, args...) }
func (h *host) Fatal(args ...any)                 { h.Fatalf("%s", fmt.Sprint(args...)) }

func (h *host) Fatalf(format string, args ...any) {
	h.Errorf(format, args...)
	runtime.Goexit()
}
