package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// The launcher is a small process between this one and the program that is measured:
// what wait4 tells of a process's peak memory counts in what its parent had when it was
// forked, and this process may have hundreds of megabytes.

// launchEnv names the file for a usage; where it is set, this process is a launcher, and
// its arguments are the program's.
const launchEnv = "MAILTWIN_BENCH_LAUNCH"

// usage is what a program took.
type usage struct {
	Wall, CPU float64 // seconds
	Peak      int64   // bytes
}

func launch(report string) int {
	os.Unsetenv(launchEnv) // it was set, so that it can be unset
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	began := time.Now()
	err := cmd.Run()
	u := usage{Wall: time.Since(began).Seconds()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "launch:", err)
		return 1
	}
	state := cmd.ProcessState
	u.CPU = (state.UserTime() + state.SystemTime()).Seconds()
	u.Peak = state.SysUsage().(*syscall.Rusage).Maxrss << 10 // Linux counts in kilobytes
	text, err := json.Marshal(u)
	if err == nil {
		err = os.WriteFile(report, text, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "launch:", err)
		return 1
	}
	if !state.Exited() { // a signal ended it
		return 1
	}
	return state.ExitCode()
}
