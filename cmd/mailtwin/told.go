package main

import (
	"context"
	"errors"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// What a watch tells `sync` of a run that it has done for it: an outcome, whose errors are texts
// by then, with all that decides about them here.

type toldOutcome struct {
	Account  string
	Report   engine.Report // without its problems
	Problems []toldProblem
	Err      *toldError
	Traffic  mail.Traffic
	Duration time.Duration
}

type toldProblem struct {
	Folder mail.Folder
	Err    *toldError
	Hint   string
}

// toldError is an error from another process.
type toldError struct {
	Text  string
	Kinds []string // the names of what errors.Is finds in it
	Code  *int     // the exit code that it carries; nil: none
}

// errorKinds are the errors that decide about exit codes and hints.
var errorKinds = map[string]error{
	"unreachable": mail.ErrUnreachable,
	"untrusted":   mail.ErrUntrusted,
	"try later":   mail.ErrTryLater,
	"login":       mail.ErrLogin,
	"layout":      mail.ErrLayout,
	"no space":    mail.ErrNoSpace,
	"missing":     mail.ErrMissing,
	"canceled":    context.Canceled,
}

func tellError(err error) *toldError {
	if err == nil {
		return nil
	}
	e := &toldError{Text: err.Error()}
	for name, kind := range errorKinds {
		if errors.Is(err, kind) {
			e.Kinds = append(e.Kinds, name)
		}
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		code := coded.ExitCode()
		e.Code = &code
	}
	return e
}

func (e *toldError) Error() string { return e.Text }

// Is makes the error one of its errorKinds.
func (e *toldError) Is(target error) bool {
	for _, name := range e.Kinds {
		if errorKinds[name] == target {
			return true
		}
	}
	return false
}

// heard is the error as it was; nil for nil.
func (e *toldError) heard() error {
	switch {
	case e == nil:
		return nil
	case e.Code != nil:
		return codedError{e, *e.Code}
	}
	return e
}

type codedError struct {
	error
	code int
}

func (e codedError) ExitCode() int { return e.code }
func (e codedError) Unwrap() error { return e.error }

func tellOutcome(o outcome) toldOutcome {
	told := toldOutcome{Account: o.account, Report: o.report, Err: tellError(o.err), Traffic: o.traffic, Duration: o.duration}
	told.Report.Problems = nil
	for _, p := range o.report.Problems {
		told.Problems = append(told.Problems, toldProblem{p.Folder, tellError(p.Err), p.Hint})
	}
	return told
}

func (t toldOutcome) heard() outcome {
	o := outcome{account: t.Account, report: t.Report, err: t.Err.heard(), traffic: t.Traffic, duration: t.Duration}
	for _, p := range t.Problems {
		o.report.Problems = append(o.report.Problems, &engine.Problem{Folder: p.Folder, Err: p.Err.heard(), Hint: p.Hint})
	}
	return o
}
