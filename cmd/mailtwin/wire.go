package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailtwin/cmd/internal/config"
	"mailtwin/cmd/internal/network"
	"mailtwin/cmd/internal/secret"
	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	"mailtwin/statedb"
	engine "mailtwin/sync"
	"mailtwin/sync/remote"
)

// rooms are the parts of the program that the commands work with. This file is the
// only one that knows how they are made.
type rooms struct {
	open func(ctx context.Context, acc config.Account, dryRun bool) (*session, error)
	past func(ctx context.Context, acc config.Account) (past, error)
	made func(ctx context.Context, acc config.Account) ([]mail.Decision, error)
	// aside puts a damaged base away, and says where it is.
	aside func(acc config.Account, damage error) (string, error)
	run   func(ctx context.Context, opts engine.Options) (engine.Report, error)
	// network calls back when the network may be back, until ctx ends, or says why it cannot.
	network func(ctx context.Context, back func()) error
	watcher func(ctx context.Context, root string, opts maildir.WatchOptions) *maildir.Watcher
}

// or fills in what is nil.
func (r rooms) or(other rooms) rooms {
	if r.open == nil {
		r.open = other.open
	}
	if r.past == nil {
		r.past = other.past
	}
	if r.made == nil {
		r.made = other.made
	}
	if r.aside == nil {
		r.aside = other.aside
	}
	if r.run == nil {
		r.run = other.run
	}
	if r.network == nil {
		r.network = other.network
	}
	if r.watcher == nil {
		r.watcher = other.watcher
	}
	return r
}

// linked are the real rooms.
func (a *App) linked() rooms {
	return rooms{a.open, a.past, a.made, a.setAside, engine.Run, hearSystem, maildir.Watch}
}

// hearSystem listens to what the system tells of its network.
func hearSystem(ctx context.Context, back func()) error {
	l, err := network.Open()
	if err != nil {
		return err
	}
	return l.Listen(ctx, back)
}

// session is an account that is open for a run.
type session struct {
	// opts has Account, Local, Remote, State; all that the configuration and the
	// command line say is filled in by the command.
	opts engine.Options
	// begin makes the Maildir, once the server has let us in, and fills in opts.Local;
	// nil where there is a Maildir.
	begin func(ctx context.Context) error
	// record keeps the run for status in place of the one before, which recorded gives, and
	// purge forgets the messages that were removed until then, and bound the oldest ones of
	// a store that is larger, but none that was removed later; nil where nothing may be
	// written.
	record   func(ctx context.Context, run lastRun) error
	recorded func(ctx context.Context) (lastRun, error)
	purge    func(ctx context.Context, until time.Time) error
	bound    func(ctx context.Context, octets int64, until time.Time) error
	// path gives a folder's directory below the Maildir.
	path  func(folder mail.Folder) (string, error)
	close func()
}

// lastRun is what is kept of an account's last run.
type lastRun struct {
	Started, Finished time.Time // zero where there was none
	OK                bool
	Error             string // as `sync --json` has it; "" where there was none
	Report            []byte // a runRecord in JSON
}

// past is what an account's state tells without a look at either side.
type past struct {
	folders []mail.FolderBase
	counts  map[mail.FolderID]counts
	waiting []mail.Row // that are pending or held
	last    lastRun
	removed maildir.StoreSize
}

// counts are the messages of one folder in base.
type counts struct{ Local, Remote, Pending, Held, Parted int }

// open opens both sides and the state of an account. The state is in the directory
// a.stateDir(acc.Name), which is there and locked unless it is a dry run; then, where
// there is no state yet, base lives in memory.
func (a *App) open(ctx context.Context, acc config.Account, dryRun bool) (_ *session, err error) {
	var closers []func() error
	closeAll := func() {
		for _, c := range slices.Backward(closers) {
			if err := c(); err != nil {
				a.log.Warn("close", "account", acc.Name, "error", clean(err.Error()))
			}
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	db, lost, err := a.openState(ctx, acc, dryRun)
	if err != nil {
		return nil, err
	}
	closers = append(closers, db.Close)
	known, err := db.Folders(ctx)
	if err != nil {
		return nil, err
	}
	first := len(known) == 0

	// Only an account that was never in step may have no Maildir yet. Later on one that
	// is not there is an unmounted disk, and an empty one in its place would say that all
	// mail was removed.
	root := acc.Maildir
	_, err = os.Stat(root)
	none := first && errors.Is(err, fs.ErrNotExist)
	if none && dryRun {
		if root, err = os.MkdirTemp("", "mailtwin"); err != nil {
			return nil, fmt.Errorf("make an empty Maildir to plan with: %w", err)
		}
		closers = append(closers, func() error { return os.RemoveAll(root) })
	}
	s := &session{close: closeAll}
	openLocal := func() error {
		local, err := a.openMaildir(acc, root)
		if err != nil {
			return err
		}
		closers = append(closers, local.Close)
		s.opts.Local, s.path = local, local.Path
		if !dryRun {
			s.purge, s.bound = local.PurgeRemoved, local.BoundRemoved
		}
		return nil
	}
	server := a.server(acc, dryRun)
	closers = append(closers, server.Close)

	s.opts.Remote, s.opts.State, s.opts.Lost = server, db, lost
	if !dryRun {
		s.record = func(ctx context.Context, run lastRun) error { return db.PutRun(ctx, statedb.Run(run)) }
		s.recorded = func(ctx context.Context) (lastRun, error) {
			run, err := db.LastRun(ctx)
			return lastRun(run), err
		}
	}
	if !none || dryRun {
		return s, openLocal()
	}
	// A first sync that does not get as far as the mail leaves nothing behind.
	s.begin = func(ctx context.Context) error {
		if err := server.Connect(ctx); err != nil {
			return err
		}
		if err := maildir.Init(root); err != nil {
			return err
		}
		return openLocal()
	}
	return s, nil
}

// server gives an account on its server, to which nothing is connected yet.
func (a *App) server(acc config.Account, readOnly bool) *remote.Account {
	return remote.Open(remote.Options{
		Host: acc.Host, Port: acc.Port, TLS: tlsModes[acc.TLS], CAFile: acc.CAFile, PinSHA256: acc.PinSHA256,
		User: acc.User, Auth: acc.Auth,
		Password: func(ctx context.Context) (string, error) { return secret.Password(ctx, acc) },
		Timeout:  acc.Timeout, Connections: acc.Connections, ReadOnly: readOnly, Map: acc.Map,
		Namespaces: acc.Namespaces, Tunnel: acc.Tunnel,
		Trace: a.trace(acc.Name), Log: a.log.With("account", acc.Name),
	})
}

// openMaildir opens the Maildir of an account, which is at root.
func (a *App) openMaildir(acc config.Account, root string) (*maildir.Tree, error) {
	return maildir.Open(root, maildir.Options{
		Account: acc.Name, Layout: layouts[acc.Layout], Removed: a.removedDir(acc.Name), FSync: acc.FSync, Log: a.log.With("account", acc.Name),
	})
}

// removedDir is the store of the messages that were removed from the Maildir.
func (a *App) removedDir(account string) string { return filepath.Join(a.stateDir(account), "removed") }

// stateFile is the state database in an account's state directory.
const stateFile = "state.db"

var tlsModes = map[config.TLS]remote.TLSMode{
	config.Implicit: remote.Implicit, config.StartTLS: remote.StartTLS, config.NoTLS: remote.None,
}

var layouts = map[config.Layout]maildir.Layout{
	config.Nested: maildir.Nested, config.MaildirPlus: maildir.MaildirPlus,
}

// openState opens base. For a dry run one that is not there, or is damaged, is made in
// memory; lost says why.
func (a *App) openState(ctx context.Context, acc config.Account, dryRun bool) (db *statedb.DB, lost string, err error) {
	path := filepath.Join(a.stateDir(acc.Name), stateFile)
	if !dryRun {
		db, err = statedb.Open(ctx, path)
		return db, "", err
	}
	db, err = statedb.OpenReadOnly(ctx, path)
	if errors.Is(err, statedb.ErrCorrupt) {
		lost = "the state database is damaged"
	}
	if lost != "" || errors.Is(err, fs.ErrNotExist) {
		db, err = statedb.OpenMemory(ctx)
	}
	return db, lost, err
}

// setAside makes room for a new base, without which nothing is lost but time: the next
// run pairs both sides anew. It says where the damaged one went.
func (a *App) setAside(acc config.Account, damage error) (string, error) {
	a.log.Info("the state database is damaged", "account", acc.Name, "error", clean(damage.Error()))
	aside, err := statedb.SetAside(filepath.Join(a.stateDir(acc.Name), stateFile), time.Now())
	if err != nil {
		return "", errors.Join(damage, err)
	}
	return "the state database was damaged, and is set aside as " + aside, nil
}

// trace gives what -vv shows of the protocol; nil without it.
func (a *App) trace(account string) func(conn int, sent bool, line string) {
	if a.verbose < 2 {
		return nil
	}
	return func(conn int, sent bool, line string) {
		arrow := "<"
		if sent {
			arrow = ">"
		}
		fmt.Fprintf(a.Stderr, "%s %d %s %s\n", account, conn, arrow, clean(line))
	}
}

// withState calls read with the account's state; fs.ErrNotExist says that it was never
// synced.
func (a *App) withState(ctx context.Context, acc config.Account, read func(db *statedb.DB) error) (err error) {
	db, err := statedb.OpenReadOnly(ctx, filepath.Join(a.stateDir(acc.Name), stateFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return read(db)
}

// past reads what the account's state tells.
func (a *App) past(ctx context.Context, acc config.Account) (past, error) {
	p := past{counts: map[mail.FolderID]counts{}}
	err := a.withState(ctx, acc, func(db *statedb.DB) (err error) {
		if p.folders, err = db.Folders(ctx); err != nil {
			return err
		}
		found, err := db.FolderCounts(ctx)
		if err != nil {
			return err
		}
		for id, c := range found {
			p.counts[id] = counts(c)
		}
		if p.waiting, err = db.Unsettled(ctx); err != nil {
			return err
		}
		run, err := db.LastRun(ctx)
		p.last = lastRun(run)
		return err
	})
	if err == nil {
		p.removed, err = maildir.SizeOfStore(ctx, a.removedDir(acc.Name))
	}
	if err != nil {
		return past{}, err
	}
	return p, nil
}

// made reads the decisions that overruled somebody, newest first.
func (a *App) made(ctx context.Context, acc config.Account) (decisions []mail.Decision, err error) {
	err = a.withState(ctx, acc, func(db *statedb.DB) error {
		decisions, err = db.Decisions(ctx, math.MaxInt)
		return err
	})
	return decisions, err
}

// unsupported refuses what the configuration may say and this version does not do,
// where to pass over it would touch mail, or bring more of it here, in another way than
// the user wrote.
func unsupported(acc config.Account) error {
	for _, gap := range []struct {
		here bool
		keys []string
	}{
		{slices.Contains([]string{"xoauth2", "oauthbearer"}, acc.Auth), []string{"auth = \"" + acc.Auth + "\""}},
		{len(acc.Limits()) > 0, acc.Limits()},
	} {
		if gap.here {
			return &unsupportedError{gap.keys}
		}
	}
	return nil
}

// unsupportedError names keys that have no effect yet.
type unsupportedError struct{ keys []string }

func (e *unsupportedError) Error() string {
	what, it := " is", "it"
	if len(e.keys) > 1 {
		what, it = " are", "them"
	}
	return strings.Join(e.keys, " and ") + what + " not supported by this version yet: take " + it +
		" out of the configuration, or wait for a later one"
}

// ExitCode is 2: configuration.
func (e *unsupportedError) ExitCode() int { return exitUsage }
