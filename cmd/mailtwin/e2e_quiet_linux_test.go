package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"mailtwin/sync/imaptest/dovecot"
)

// A watch with nothing to do does nothing: no file is looked at, nothing is said, and hardly
// anything else is asked of the system. What it still does is the Go runtime's.
func TestAWatchWithNothingToDoDoesNothing(t *testing.T) {
	t.Parallel()
	const window = 4 * time.Second
	strace := tracer(t)
	runtimes := map[string]bool{"futex": true, "epoll_pwait": true, "nanosleep": true, "clock_nanosleep": true, "sched_yield": true,
		"restart_syscall": true, "madvise": true, "munmap": true, "rt_sigreturn": true, "getpid": true, "tgkill": true}
	quietServer := dovecot.Extra("imap_idle_notify_interval = 29 min") // as seldom as can be
	for name, hidden := range map[string][]string{"NOTIFY": nil, "IDLE": {"NOTIFY"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stories(t, map[string]func(s *story){"at rest": func(s *story) {
				d, way := s.online(`poll_interval = "1h"`)
				for i := range 20 {
					s.deliver("INBOX", note(fmt.Sprint("message ", i)), seen)
				}
				log := filepath.Join(s.dir, "trace")
				p := d.start([]string{strace, "-f", "-y", "-ttt", "-o", log, "-e", "signal=none"}, "watch")
				live := d.listens()
				time.Sleep(time.Second) // for what status has asked it
				var began, ended time.Time
				said := int64(1)
				// Dovecot says that it is still here as seldom as it is told, but when it does that for
				// the first time depends on the clock and the user: it may be now.
				for try := 0; said > 0 && try < 2; try++ {
					octets := way.Carried()
					began = time.Now()
					time.Sleep(window)
					ended = time.Now()
					said = way.Carried() - octets
				}
				if said > 0 {
					s.Errorf("%d octets were said", said)
				}
				s.check(syscall.Kill(live.PID, syscall.SIGTERM))
				if code := p.end(); code != 0 || p.stderr.String() != "" {
					s.Errorf("it ended with %d, and said %q", code, p.stderr.String())
				}
				text, err := os.ReadFile(log)
				s.check(err)
				before, after, n := 0, 0, 0
				for _, m := range regexp.MustCompile(`(?m)^\d+ +(\d+\.\d+) (\w+)\(.*$`).FindAllStringSubmatch(string(text), -1) {
					at, err := strconv.ParseFloat(m[1], 64)
					s.check(err)
					switch when := time.UnixMicro(int64(at * 1e6)); {
					case when.Before(began):
						before++
					case when.After(ended):
						after++
					default:
						if n++; !runtimes[m[2]] {
							s.Errorf("it does %.200s", m[0])
						}
					}
				}
				s.Logf("%d system calls before, %d in %v, and %d to end", before, n, window, after)
				if n > 40 {
					s.Errorf("it asks the system for %d things in %v", n, window)
				}
				if before < 100 || after == 0 {
					s.Errorf("the trace has %d system calls before, and %d after", before, after)
				}
			}}, dovecot.Hide(hidden...), quietServer)
		})
	}
}
