package main

import (
	"context"
	"errors"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// The exit codes, which scripts and cron depend on.
const (
	exitOK          = 0
	exitFailed      = 1   // something failed or is held; the rest was synced
	exitUsage       = 2   // the command line or the configuration
	exitTemporary   = 75  // EX_TEMPFAIL: the server cannot be reached, or another sync runs
	exitNoPerm      = 77  // EX_NOPERM: the login was refused
	exitInterrupted = 130 // by a signal, as a shell tells of it
)

// outcome is what came of syncing one account.
type outcome struct {
	account  string
	report   engine.Report
	err      error // why it ended early; nil where it did not
	traffic  mail.Traffic
	duration time.Duration
}

// exitCode is what the outcomes of all accounts come to.
func exitCode(outcomes []outcome) int {
	codes := make([]int, len(outcomes))
	for i, o := range outcomes {
		codes[i] = o.code()
	}
	return together(codes)
}

// together makes one exit code of those of several accounts or messages: theirs if they
// agree, else 1.
func together(codes []int) int {
	code := exitOK
	for i, c := range codes {
		switch {
		case c == exitInterrupted:
			return c
		case i == 0:
			code = c
		case c != code:
			code = exitFailed
		}
	}
	return code
}

// code is the exit code for one account.
func (o outcome) code() int {
	if o.err != nil {
		return errorCode(o.err)
	}
	if len(o.report.Held) > 0 {
		return exitFailed
	}
	code := exitOK
	for _, p := range o.report.Problems {
		// A connection that went away is a passing thing also when the engine could
		// go on for a while; together with anything else it is not all there is to say.
		c := exitFailed
		if errors.Is(p, mail.ErrUnreachable) || errors.Is(p, mail.ErrUntrusted) {
			c = exitTemporary
		}
		if code != exitOK && c != code {
			return exitFailed
		}
		code = c
	}
	return code
}

// errorCode is the one place where an error that ended a run becomes a number. What carries a code of its own knows
// best; a server that is not trusted or asks to try later may say so with a refused
// login.
func errorCode(err error) int {
	var coded interface{ ExitCode() int }
	switch {
	case errors.As(err, &coded):
		return coded.ExitCode()
	case errors.Is(err, mail.ErrUntrusted), errors.Is(err, mail.ErrTryLater), errors.Is(err, mail.ErrUnreachable):
		return exitTemporary
	case errors.Is(err, mail.ErrLogin):
		return exitNoPerm
	case errors.Is(err, mail.ErrLayout):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return exitFailed
}
