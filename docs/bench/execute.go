package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// figures are what one run cost.
type figures struct {
	usage
	traffic
	// Own is the round trips that mailtwin counted itself: those after the login.
	Own int `json:"own,omitempty"`
}

// errEnded: the program took longer than anybody waits for.
var errEnded = errors.New("ended")

// execute runs the device's program once, at the end of a line with that round trip time.
func (b *bench) execute(ctx context.Context, d *device, rtt time.Duration, kind string) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, b.patience)
	defer cancel()
	cmd, err := d.command(ctx, kind)
	if err != nil {
		return figures{}, err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// A program may have children, and all of them end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	b.proxy.begin(rtt)
	err = cmd.Run()
	f := figures{traffic: b.proxy.end()}
	if ctx.Err() == context.DeadlineExceeded {
		return f, fmt.Errorf("%w after %v", errEnded, b.patience)
	}
	if err != nil {
		return f, fmt.Errorf("%s: %w\n%s%s", cmd, err, tail(stdout.Bytes()), tail(stderr.Bytes()))
	}
	text, err := os.ReadFile(d.file("usage"))
	if err == nil {
		err = json.Unmarshal(text, &f.usage)
	}
	if err != nil {
		return f, fmt.Errorf("read what it took: %w", err)
	}
	if d.program.key == mailtwin {
		var doc struct {
			Accounts []struct {
				RoundTrips int `json:"round_trips"`
			}
		}
		if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil || len(doc.Accounts) != 1 {
			return f, fmt.Errorf("mailtwin printed %q: %w", tail(stdout.Bytes()), err)
		}
		f.Own = doc.Accounts[0].RoundTrips
	}
	return f, nil
}

func tail(b []byte) []byte { return b[max(0, len(b)-2000):] }
