package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func nobody(*busyError) {}

func TestLockIsPrivateAndTellsWhoHasIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "alice")
	unlock, err := lockAccount(t.Context(), dir, 0, nobody)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{filepath.Dir(dir): 0o700, dir: 0o700, filepath.Join(dir, "lock"): 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode().Perm(), err, want)
		}
	}
	_, err = lockAccount(t.Context(), dir, 0, nobody)
	var busy *busyError
	if !errors.As(err, &busy) || busy.pid != os.Getpid() || time.Since(busy.since) > time.Minute {
		t.Errorf("locked twice: %v", err)
	}
	want := fmt.Sprintf("another sync, process %d, is running since %s; waited 0s", os.Getpid(), busy.since.Local().Format(time.DateTime))
	if !strings.HasPrefix(err.Error(), want) || errorCode(err) != 75 {
		t.Errorf("got %v, code %d; want %s", err, errorCode(err), want)
	}
	unlock()
	unlock, err = lockAccount(t.Context(), dir, 0, nobody)
	if err != nil {
		t.Fatalf("not free after unlock: %v", err)
	}
	unlock()
}

func TestWideStateDirectoryIsNarrowed(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := lockAccount(t.Context(), dir, 0, nobody)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestSecondSyncWaitsForTheFirst(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockAccount(t.Context(), dir, 0, nobody)
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		unlock func()
		err    error
	}
	second, waiting := make(chan result, 1), make(chan int, 1)
	go func() {
		u, err := lockAccount(t.Context(), dir, time.Minute, func(other *busyError) { waiting <- other.pid })
		second <- result{u, err}
	}()
	select {
	case r := <-second:
		t.Fatalf("the second did not wait: %v", r.err)
	case pid := <-waiting:
		if pid != os.Getpid() {
			t.Errorf("it waits for process %d", pid)
		}
	}
	unlock()
	r := <-second
	if r.err != nil {
		t.Fatal(r.err)
	}
	r.unlock()
}

func TestWaitEnds(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockAccount(t.Context(), dir, 0, nobody)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	var busy *busyError
	if _, err := lockAccount(t.Context(), dir, lockPoll/2, nobody); !errors.As(err, &busy) || busy.waited != lockPoll/2 {
		t.Errorf("after its time: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lockAccount(ctx, dir, time.Hour, nobody); !errors.Is(err, context.Canceled) {
		t.Errorf("after a signal: %v", err)
	}
}

func TestLockFileThatSaysNothing(t *testing.T) {
	for _, text := range []string{"", "x", "-", "12", "12 yesterday", strings.Repeat("9", 500)} {
		path := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		busy := readLock(path)
		if !busy.since.IsZero() || !strings.HasPrefix(busy.Error(), "another sync") {
			t.Errorf("%.20q: %v", text, busy)
		}
	}
}
