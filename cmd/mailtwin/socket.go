package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/adrg/xdg"

	"mailtwin/conflict/mail"
	"mailtwin/sync/watch"
)

// While an account is watched, `sync` asks the watch to sync it, over a socket: there is one who
// knows what was tried when, and who waits for what. It asks one question, a line of JSON, and gets
// one answer. Who cannot ask syncs by itself, as if nobody watched: the lock of the account is
// what keeps the two apart.

const (
	askTime    = 5 * time.Second // that a question may take to come
	maxRequest = 1 << 20         // octets
)

// request is what `sync` asks.
type request struct {
	Config       [32]byte // the sum of the configuration that it has read
	Folders      []mail.Folder
	AllowDeletes bool
	Wait         time.Duration // for a sync that is under way
	Status       bool          // only what the watch is at
}

// reply is what a watch says.
type reply struct {
	// Stale: the watch has another configuration, and does nothing.
	Stale   bool
	Outcome *toldOutcome
	Live    *liveStatus
}

// socketOf is where the watch of an account listens: in the runtime directory, which is the
// user's alone; where there is none, in the account's state.
func (a *App) socketOf(account string) string {
	state := a.stateDir(account)
	if info, err := os.Stat(xdg.RuntimeDir); err == nil && info.IsDir() {
		sum := sha256.Sum256([]byte(state)) // a socket's path must be short
		return filepath.Join(xdg.RuntimeDir, "mailtwin-"+hex.EncodeToString(sum[:8])+".sock")
	}
	return filepath.Join(state, "socket")
}

// askWatch has the watch of an account sync it. It reports false where none can be asked.
func (a *App) askWatch(ctx context.Context, t target, f syncFlags) (outcome, bool) {
	name := t.account.Name
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", a.socketOf(name))
	if err != nil {
		return outcome{}, false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err = json.NewEncoder(conn).Encode(request{Config: a.cfg.Sum, Folders: t.folders, AllowDeletes: f.allowDeletes, Wait: f.wait})
	var said reply
	if err == nil {
		err = json.NewDecoder(conn).Decode(&said)
	}
	switch {
	case ctx.Err() != nil:
		return outcome{account: name, err: ctx.Err()}, true
	case err == nil && said.Stale:
		a.complain(name, "", errors.New("the watch has another configuration"), "send it SIGHUP; this sync is done without it")
	case err == nil && said.Outcome != nil:
		return said.Outcome.heard(), true
	default:
		a.log.Info("the watch does not answer", "account", name, "error", err)
	}
	return outcome{}, false
}

// live asks the watch of an account what it is at; nil where there is none.
func (a *App) live(account string) *liveStatus {
	conn, err := net.DialTimeout("unix", a.socketOf(account), time.Second)
	if err != nil {
		return nil
	}
	defer conn.Close()
	var said reply
	err = errors.Join(conn.SetDeadline(time.Now().Add(askTime)), json.NewEncoder(conn).Encode(request{Status: true}))
	if err == nil {
		err = json.NewDecoder(conn).Decode(&said)
	}
	if err != nil {
		a.log.Info("the watch does not answer", "account", account, "error", err)
	}
	return said.Live
}

// listener answers what `sync` asks about an account that is watched.
type listener struct {
	app      *App
	account  *watched
	asks     chan watch.Ask
	loop     *watch.Loop
	socket   net.Listener
	handling sync.WaitGroup
}

// listen begins to answer about a loop, which gets what is asked of it; ctx ends it, and then the
// caller closes it. A socket that cannot be made is no reason not to watch.
func (a *App) listen(ctx context.Context, w *watched, loop *watch.Loop) *listener {
	l := &listener{app: a, account: w, asks: make(chan watch.Ask), loop: loop}
	loop.Asks = l.asks
	name := w.target.account.Name
	path := a.socketOf(name)
	err := os.Remove(path) // of a watch that died: this one has the account
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		l.socket, err = net.Listen("unix", path)
	}
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		a.log.Warn("sync cannot ask this watch", "account", name, "error", clean(err.Error()))
		return l
	}
	l.handling.Go(func() {
		for {
			conn, err := l.socket.Accept()
			if err != nil {
				return
			}
			l.handling.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { conn.Close() })()
				if err := l.answer(ctx, conn); err != nil && ctx.Err() == nil {
					a.log.Info("a sync was not answered", "account", name, "error", clean(err.Error()))
				}
			})
		}
	})
	return l
}

// Close ends the answering. The context of listen has ended.
func (l *listener) Close() {
	if l.socket != nil {
		l.socket.Close()
	}
	l.handling.Wait()
}

// answer answers one question. Where the watch ends before it can, it says nothing, and who
// asked syncs by itself.
func (l *listener) answer(ctx context.Context, conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(askTime)); err != nil {
		return err
	}
	var q request
	if err := json.NewDecoder(io.LimitReader(conn, maxRequest)).Decode(&q); err != nil {
		return fmt.Errorf("read the question: %w", err)
	}
	if q.Status {
		return json.NewEncoder(conn).Encode(reply{Live: newLiveStatus(l.loop.State(), l.account)})
	}
	if q.Config != l.app.cfg.Sum {
		return json.NewEncoder(conn).Encode(reply{Stale: true})
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	asking, left := context.WithCancel(ctx)
	defer left()
	l.handling.Go(func() {
		defer left()
		_, _ = conn.Read(make([]byte, 1)) // nothing more comes but its end
	})
	ask := &asked{watched: l.account, ctx: asking, done: make(chan struct{}), flags: syncFlags{allowDeletes: q.AllowDeletes, wait: q.Wait}}
	ask.of = target{l.account.target.account, q.Folders}
	waited := time.NewTimer(q.Wait)
	defer waited.Stop()
	select {
	case l.asks <- ask:
		select {
		case <-ask.done:
		case <-asking.Done():
			return nil
		}
		if ask.hooked != nil {
			select {
			case ask.outcome.err = <-ask.hooked:
			case <-asking.Done():
				return nil
			}
		}
	case <-waited.C:
		ask.outcome = outcome{account: ask.of.account.Name, err: &busyError{pid: os.Getpid(), waited: q.Wait}}
	case <-asking.Done():
		return nil
	}
	if ctx.Err() != nil {
		return nil
	}
	told := tellOutcome(ask.outcome)
	return json.NewEncoder(conn).Encode(reply{Outcome: &told})
}

// asked is a sync that somebody wants of a watch.
type asked struct {
	*watched
	ctx     context.Context // of whoever asked
	of      target
	flags   syncFlags
	outcome outcome
	done    chan struct{}
	hooked  chan error // tells how the post_sync command went; nil: none is waited for
}

// Sync is watch.Ask.Sync.
func (k *asked) Sync(ctx context.Context) error {
	running, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(k.ctx, end)()
	k.forget() // whoever asks wants to know
	k.outcome = k.sync(running, k.of, k.flags)
	k.changed(k.outcome.report)
	changed := k.outcome.report.Changed
	if k.hooked = nil; k.outcome.err == nil && len(changed) > 0 {
		k.hooked = make(chan error, 1)
	}
	k.after.add(changed, k.hooked)
	if running.Err() != nil {
		return k.watched.Sync(ctx)
	}
	return loopError(k.outcome)
}

// Whole is watch.Ask.Whole.
func (k *asked) Whole() bool { return len(k.of.folders) == 0 }

// Done is watch.Ask.Done.
func (k *asked) Done() { close(k.done) }
