package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

func TestExitCode(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("sync %q: %w", "INBOX", err) }
	failed := func(err error) outcome { return outcome{err: wrap(err)} }
	with := func(errs ...error) outcome {
		var o outcome
		for _, err := range errs {
			o.report.Problems = append(o.report.Problems, &engine.Problem{Folder: "INBOX", Err: wrap(err)})
		}
		return o
	}
	good := outcome{report: engine.Report{Skipped: []mail.Notice{{Folder: "x", Text: "read-only"}}, Conflicts: 3}}
	held := outcome{report: engine.Report{Held: []engine.Held{{Folder: "x", Count: 30}}}}
	other := errors.New("append: refused")
	for _, c := range []struct {
		name string
		all  []outcome
		want int
	}{
		{"no account", nil, 0},
		{"in step", []outcome{good}, 0},
		{"held", []outcome{held}, 1},
		{"a message refused", []outcome{with(mail.ErrRefused)}, 1},
		{"a folder that cannot be written", []outcome{with(other)}, 1},
		{"two problems", []outcome{with(other, mail.ErrDamaged)}, 1},
		{"the connection went away for some", []outcome{with(mail.ErrUnreachable)}, 75},
		{"the connection went away, and more", []outcome{with(mail.ErrUnreachable, other)}, 1},
		{"more, and the connection went away", []outcome{with(other, mail.ErrUnreachable)}, 1},
		{"unreachable", []outcome{failed(mail.ErrUnreachable)}, 75},
		{"not trusted", []outcome{failed(mail.ErrUntrusted)}, 75},
		{"try later", []outcome{failed(mail.ErrTryLater)}, 75},
		{"login refused", []outcome{failed(mail.ErrLogin)}, 77},
		{"login refused for now", []outcome{failed(errors.Join(mail.ErrLogin, mail.ErrTryLater))}, 75},
		{"Maildir missing", []outcome{failed(mail.ErrMissing)}, 1},
		{"another sync runs", []outcome{failed(&busyError{})}, 75},
		{"configuration", []outcome{failed(config.Errors{})}, 2},
		{"not supported", []outcome{failed(&unsupportedError{})}, 2},
		{"something else", []outcome{failed(errors.New("disk full"))}, 1},
		{"a signal", []outcome{failed(context.Canceled)}, 130},
		{"two in step", []outcome{good, good}, 0},
		{"two unreachable", []outcome{failed(mail.ErrUnreachable), failed(mail.ErrUntrusted)}, 75},
		{"one of two unreachable", []outcome{good, failed(mail.ErrUnreachable)}, 1},
		{"the other one of two", []outcome{failed(mail.ErrLogin), good}, 1},
		{"three that differ", []outcome{failed(mail.ErrLogin), failed(mail.ErrUnreachable), failed(mail.ErrLogin)}, 1},
		{"a signal among others", []outcome{good, failed(context.Canceled), held}, 130},
	} {
		if got := exitCode(c.all); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
