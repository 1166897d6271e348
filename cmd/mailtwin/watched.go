package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	engine "mailtwin/sync"
	"mailtwin/sync/watch"
)

// watchAccount watches one account until ctx ends. network and again hint that there may be a way to
// the server again, the loop and what is under way. It calls tried after the first sync, whatever
// came of that, and also if there is none, and began with the loop.
func (a *App) watchAccount(ctx context.Context, t target, network, again <-chan struct{}, tried func(), began func(*watch.Loop)) int {
	defer tried()
	name := t.account.Name
	// Not the lock of a sync: `mailtwin sync` may come in between.
	unlock, err := lockAccount(ctx, filepath.Join(a.stateDir(name), "watch"), 0, func(*busyError) {})
	if busy := (*busyError)(nil); errors.As(err, &busy) {
		err = errors.New(strings.Replace(busy.who(), "another sync", "another watch", 1))
	}
	if err != nil {
		a.complain(name, "", err, "")
		return exitFailed
	}
	defer unlock()

	account := &watched{app: a, target: t, tried: func() {}, since: time.Now(), guard: guard{changes: again}}
	account.after = newAfter(func(ctx context.Context, changed []mail.Folder) error { return a.postSync(ctx, t.account, changed) }, account.ran)
	// It outlives the syncs, whose last one may have changed something.
	hooking, end := context.WithCancel(context.WithoutCancel(ctx))
	var hooked sync.WaitGroup
	hooked.Go(func() { account.after.run(hooking) })
	defer hooked.Wait()
	defer end()
	if _, err := os.Stat(t.account.Maildir); errors.Is(err, fs.ErrNotExist) {
		// The first sync makes it; one that comes later the watcher notices late. What goes wrong
		// goes wrong in the loop, too.
		_ = account.Sync(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watcher := a.rooms.watcher(ctx, t.account.Maildir, maildir.WatchOptions{Layout: layouts[t.account.Layout]})
	defer watcher.Close()
	account.live, account.whole = &engine.Live{}, time.Now()
	hints := make(chan struct{}, 1)
	var telling sync.WaitGroup
	defer telling.Wait()
	defer cancel()
	telling.Go(func() { a.hints(ctx, name, watcher, account.live, hints) })

	loop := watch.Loop{Account: account, Local: hints, Network: network, Remote: &announcer{app: a, account: t.account, guard: &account.guard}, Poll: t.account.PollInterval}
	answering := a.listen(ctx, account, &loop)
	defer answering.Close()
	defer cancel()
	account.tried = tried // not before: who hears that the watch is ready may ask it
	began(&loop)
	loop.Run(ctx)
	return exitOK
}

// hints hands on that something may have changed here, and to live what that is, until ctx ends.
func (a *App) hints(ctx context.Context, name string, watcher *maildir.Watcher, live *engine.Live, hints chan<- struct{}) {
	for {
		changes, err := watcher.Wait(ctx)
		if err != nil {
			return
		}
		for _, n := range changes.Notices {
			a.complain(name, n.Folder, errors.New(n.Text), "")
		}
		live.Tell(changes.All || changes.Replaced || changes.List || changes.Lost != nil, changes.Folders)
		select {
		case hints <- struct{}{}:
		default: // there is one that was not taken yet
		}
	}
}

// watched is an account as the loop drives it.
type watched struct {
	app    *App
	target target
	tried  func()
	said   string // what was wrong last
	since  time.Time
	after  *after       // runs post_sync
	failed string       // what post_sync failed with last; only after uses it
	guard  guard        // of what the loop does; only the loop uses it
	live   *engine.Live // what was heard of the Maildir; nil: it is not watched yet
	whole  time.Time    // when what was heard was last forgotten

	mu          sync.Mutex // guards what follows
	here, there time.Time  // when a sync last changed something on that side
}

// changed notes when a sync changed something.
func (w *watched) changed(r engine.Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	none := engine.Counts{}
	if r.Local != none {
		w.here = time.Now()
	}
	if r.Remote != none {
		w.there = time.Now()
	}
}

// wholeEvery is how often all that has changed here is scanned, whatever was heard of it: no event
// is to be trusted for ever.
const wholeEvery = 20 * time.Minute

// Sync is watch.Account.Sync.
func (w *watched) Sync(ctx context.Context) error {
	if time.Since(w.whole) > wholeEvery {
		w.forget()
	}
	o := w.sync(ctx, w.target, syncFlags{wait: lockWait})
	w.changed(o.report)
	w.after.add(o.report.Changed, nil) // also where it ended early: they are here
	if ctx.Err() != nil {
		return ctx.Err() // what was cut off is no news
	}
	w.tell(o)
	w.tried()
	return loopError(o)
}

// forget has the next sync scan all that has changed here.
func (w *watched) forget() {
	if w.whole = time.Now(); w.live != nil {
		w.live.Tell(true, nil)
	}
}

// sync syncs as a watch does.
func (w *watched) sync(ctx context.Context, t target, f syncFlags) outcome {
	var m meter
	f.tidy, f.live, f.opened = true, w.live, m.opened
	ctx, done := w.guard.watch(ctx, m.moved)
	o := w.app.syncMail(ctx, t, f, nil)
	done(o.err)
	return o
}

// ran says how post_sync went, unless it went as before.
func (w *watched) ran(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == w.failed {
		return
	}
	if w.failed = text; err == nil {
		w.app.log.Info("post_sync goes well again", "account", w.target.account.Name)
		return
	}
	w.app.complain(w.target.account.Name, "", err, "")
}

// loopError is what the loop goes by.
func loopError(o outcome) error {
	if o.code() == exitNoPerm {
		return errors.Join(mail.ErrLogin, o.err) // also if there is no password: to ask for it may open a window
	}
	return o.err
}

// tell says what went wrong, unless it is what was wrong before.
func (w *watched) tell(o outcome) {
	var all []string
	for _, c := range o.complaints() {
		all = append(all, c.String())
	}
	status := o.summary(false)
	if len(all) > 0 {
		status = all[0]
	}
	w.app.notify("STATUS=" + o.account + ": " + status)
	if text := strings.Join(all, "\n"); text != w.said {
		if w.said = text; text == "" {
			w.app.log.Info("all is well again", "account", o.account)
		}
		w.app.printComplaints(o)
	}
	for _, n := range o.report.Lost {
		fmt.Fprintln(w.app.Stderr, line(o.account, n.Folder, n.Text, ""))
	}
	if none := (engine.Counts{}); o.err == nil && (o.report.Local != none || o.report.Remote != none) {
		w.app.log.Info("synced", "account", o.account, "what", o.summary(false), "took", o.duration.Round(time.Millisecond))
	}
}

// LocalStale is watch.Account.LocalStale.
func (w *watched) LocalStale(ctx context.Context) (bool, error) {
	acc := w.target.account
	s, err := w.app.rooms.open(ctx, acc, true)
	if err != nil {
		return false, fmt.Errorf("open the account: %w", err)
	}
	defer s.close()
	if s.opts.Local == nil {
		return true, nil // it was never synced
	}
	return engine.Stale(ctx, s.opts.Local, s.opts.State, w.live, acc.Selected)
}
