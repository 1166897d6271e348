package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run this binary as mailtwin itself.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mailtwin":  func() { os.Exit(run()) },
		"hold-lock": func() { os.Exit(holdLock(os.Args[1], os.Args[2])) },
		childName:   func() { os.Exit(runToBeKilled()) },
	})
}

// TestScripts runs the stories in testdata/script, each in a home directory of its
// own. Besides testscript's own commands they have:
//
//	exits CODE ARGS...   run mailtwin, and compare the exit code
//	await FILE           wait until another process has made the file
//	hold-lock DIR FILE   be another sync that has the lock in DIR; make FILE then
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("TZ", "UTC")
			return os.MkdirAll(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
			"await": await,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: exits CODE ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec("mailtwin", args[1:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("mailtwin: %v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	for range 1000 {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
	ts.Fatalf("%s was not made within 10 s", args[0])
}

// holdLock has the lock in dir until it is killed, a minute at most.
func holdLock(dir, ready string) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt)
	unlock, err := lockAccount(context.Background(), dir, 0, nobody)
	if err == nil {
		defer unlock()
		err = os.WriteFile(ready, nil, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	select {
	case <-signals:
	case <-time.After(time.Minute):
	}
	return 0
}
