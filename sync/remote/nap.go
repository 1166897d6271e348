package remote

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
	"mailtwin/sync/remote/wire"
)

// lookPause is the least time between two looks at a folder that a server says has changed, so
// that one that says it all the time is not asked all the time.
const lookPause = 250 * time.Millisecond

// probePatience is how long a server may take to answer a probe, or to watch all folders anew, for
// which a sync waits. To give up one that is only slow costs a login.
const probePatience = 2 * time.Second

// nap is a session that IDLEs in a folder.
type nap struct {
	*session
	folder  mail.Folder
	notify  string                  // the command that has the server announce more than that; "": none
	idle    *imapclient.IdleCommand // nil: none is under way
	changed chan struct{}           // has an element when the server has told of a change in the folder
	flags   atomic.Bool             // of flags, too
	probe   chan struct{}           // has an element when it is to look at once
	renew   chan chan<- struct{}    // is given what to close once notify was given anew
}

// nap makes a session ready to IDLE.
func (l *Listener) nap(s *session, folder mail.Folder) *nap {
	n := &nap{session: s, folder: folder, changed: make(chan struct{}, 1), probe: make(chan struct{}, 1), renew: make(chan chan<- struct{})}
	l.mu.Lock()
	l.naps = append(l.naps, n)
	l.mu.Unlock()
	s.conn.Watch(func(t wire.Told) {
		switch t.Word {
		case "STATUS", "LIST": // of any folder
			l.hear(t)
			l.hint()
			return
		case wire.Overflow, "BYE":
			l.over(t)
			return
		case "FETCH":
			n.flags.Store(true)
		}
		select {
		case n.changed <- struct{}{}:
		default:
		}
	})
	return n
}

// doze selects the folder, which shows what has become of it, and has the session IDLE there
// anew. Both go in one breath, so that hardly anything can happen in between; what does, some
// servers keep to themselves.
func (l *Listener) doze(ctx context.Context, n *nap, patience time.Duration) error {
	name, err := l.dir.server(n.folder)
	if err != nil {
		return err
	}
	return l.ask(ctx, n.session, patience, "EXAMINE", func() error {
		if err := n.wake(); err != nil {
			return err
		}
		// A SELECT would take \Recent away from other clients (RFC 3501, 6.3.2).
		looking := n.opening(name, true)
		idle, err := n.client.Idle()
		if err == nil {
			n.idle = idle
		}
		if gone := n.opened(looking); gone != nil {
			return cmp.Or(n.wake(), gone)
		}
		return n.trouble(err)
	})
}

// wake ends the IDLE, if there is one.
func (n *nap) wake() error {
	idle := n.idle
	if n.idle = nil; idle == nil {
		return nil
	}
	err := idle.Close() // DONE
	if err == nil {
		err = idle.Wait()
	}
	return n.trouble(err)
}

// notifyAgain has the server watch all folders anew. It forgets the old watch before: Dovecot takes
// away what the new one has in common with it, which is the file that is watched, when it ends the
// old one afterwards. All goes in one breath.
func (l *Listener) notifyAgain(ending context.Context, n *nap) error {
	return l.ask(ending, n.session, min(l.account.opts.Timeout, probePatience), "NOTIFY", func() error {
		idle := n.idle
		n.idle = nil
		if err := idle.Close(); err != nil { // DONE
			return n.trouble(err)
		}
		a, ok := n.conn.Ask("NOTIFY NONE", n.notify)
		if !ok {
			return n.trouble(errConnEnded)
		}
		if !a.OK {
			refuses(n.session, a)
			return mail.ErrRefused
		}
		return n.trouble(idle.Wait())
	})
}

// listen waits until a server says that the folder has changed, and looks what has become of it
// then. Now and then it looks all the same, and so notices a line that is dead.
func (l *Listener) listen(ending context.Context, n *nap) {
	defer l.left(n.session)
	var looked time.Time
	for {
		why, err := l.wait(ending, n, looked)
		if err == nil && why.renewed != nil {
			if err = l.notifyAgain(ending, n); err == nil {
				close(why.renewed)
			}
		}
		if err != nil {
			if n.idle != nil {
				_ = n.idle.Close() // it says DONE where that can be said
			}
			return
		}
		before := n.box.cursor
		if l.doze(ending, n, why.patience) != nil {
			return
		}
		looked = time.Now()
		if now := n.box.cursor; why.told || now != before {
			// Flags show in the mod-sequence, or not at all.
			l.saw(n.folder, now, n.flags.Swap(false) && now.HighestModSeq == 0)
			l.hint()
		}
	}
}

// reason is why a session looks at its folder.
type reason struct {
	told     bool            // the server has told of a change
	renewed  chan<- struct{} // see nap.renew; nil: it need not
	patience time.Duration   // how long the look may take
}

// wait waits until it is time to look at the folder.
func (l *Listener) wait(ending context.Context, n *nap, looked time.Time) (reason, error) {
	why := reason{patience: l.account.opts.Timeout}
	look := time.NewTimer(l.account.opts.KeepAlive)
	defer look.Stop()
	for {
		select {
		case <-ending.Done():
			return why, ending.Err()
		case <-n.client.Closed():
			return why, errConnEnded
		case <-look.C:
			return why, nil
		case <-n.probe:
			why.patience = min(why.patience, probePatience)
			return why, nil
		case why.renewed = <-n.renew:
			return why, nil
		case <-n.changed:
			why.told = true
			look.Reset(max(0, lookPause-time.Since(looked)))
		}
	}
}

// saw notes what a look has shown. hidden says that there is more that it cannot show.
func (l *Listener) saw(folder mail.Folder, c mail.Cursor, hidden bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.more = l.more || hidden
	l.told[folder] = mail.Announced{Folder: folder, Status: c, Counted: true}
}
