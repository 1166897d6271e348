package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// rooms are the parts of the program that the commands work with. This file is the
// only one that knows how they are made.
type rooms struct {
	open func(ctx context.Context, acc config.Account, dryRun bool) (*session, error)
	past func(ctx context.Context, acc config.Account) (past, error)
	run  func(ctx context.Context, opts engine.Options) (engine.Report, error)
}

// or fills in what is nil.
func (r rooms) or(other rooms) rooms {
	if r.open == nil {
		r.open = other.open
	}
	if r.past == nil {
		r.past = other.past
	}
	if r.run == nil {
		r.run = other.run
	}
	return r
}

// linked are the real rooms.
func (a *App) linked() rooms { return rooms{a.open, a.past, engine.Run} }

// session is an account that is open for a run.
type session struct {
	// opts has Account, Local, Remote, State; all that the configuration and the
	// command line say is filled in by the command.
	opts engine.Options
	// record keeps the run for status; nil where nothing may be written.
	record func(ctx context.Context, run lastRun) error
	close  func()
}

// lastRun is what is kept of an account's last run.
type lastRun struct {
	Started, Finished time.Time // zero where there was none
	OK                bool
	Error             string // as `sync --json` has it; "" where there was none
	Report            []byte // the account's part of the document of `sync --json`
}

// past is what an account's state tells without a look at either side.
type past struct {
	folders []mail.FolderBase
	counts  map[mail.FolderID]counts
	last    lastRun
}

// counts are the messages of one folder in base.
type counts struct{ Local, Remote, Pending, Held, Parted int }

var errNotLinked = errors.New("this build has no engine linked")

// open opens both sides and the state of an account. The state is in the directory
// a.stateDir(acc.Name), which is there and locked unless it is a dry run; then, where
// there is no state yet, base lives in memory.
func (a *App) open(context.Context, config.Account, bool) (*session, error) {
	return nil, errNotLinked
}

// past reads the account's state; fs.ErrNotExist says that it was never synced.
func (a *App) past(context.Context, config.Account) (past, error) {
	return past{}, errNotLinked
}

// unsupported refuses what the configuration may say and this version does not do,
// where to pass over it would touch mail in another way than the user wrote.
func unsupported(acc config.Account) error {
	for _, gap := range []struct {
		here bool
		key  string
	}{
		{acc.Layout != config.Nested, "layout = \"" + string(acc.Layout) + "\""},
		{acc.Tunnel != nil, "tunnel"},
		{acc.Map != nil, "map"},
		{!slices.Equal(acc.Namespaces, config.Defaults().Namespaces), "namespaces"},
		{acc.RemoveFolders != config.Defaults().RemoveFolders, "remove_folders"},
		{!slices.Contains([]string{"auto", "plain", "login"}, acc.Auth), "auth = \"" + acc.Auth + "\""},
	} {
		if gap.here {
			return &unsupportedError{gap.key}
		}
	}
	return nil
}

// unsupportedError names a key that has no effect yet.
type unsupportedError struct{ key string }

func (e *unsupportedError) Error() string {
	return e.key + " is not supported by this version yet: take it out of the configuration, or wait for a later one"
}

// ExitCode is 2: configuration.
func (e *unsupportedError) ExitCode() int { return exitUsage }
