package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
	"mailtwin/sync/remote/wire"
)

// lookPause is the least time between two looks at a folder that a server says has changed, so
// that one that says it all the time is not asked all the time.
const lookPause = 250 * time.Millisecond

// idle has sessions IDLE in the folders that are chosen, INBOX first, and at most as many as
// the account may have. The first of them is s, which is ended where there is no use for it.
func (l *Listener) idle(ctx, ending context.Context, s *session, folders []mail.RemoteFolder, chosen func(mail.Folder) bool) error {
	folders = slices.DeleteFunc(folders, func(f mail.RemoteFolder) bool { return f.NoSelect || !chosen(f.Name) })
	slices.SortStableFunc(folders, func(a, b mail.RemoteFolder) int {
		first := func(f mail.RemoteFolder) int {
			if f.Name == mail.Inbox {
				return 0
			}
			return 1
		}
		return cmp.Or(first(a)-first(b), cmp.Compare(a.Name, b.Name))
	})
	listening := 0
	for _, f := range folders {
		log := l.account.log.With("folder", f.Name)
		if listening == l.account.opts.Connections {
			log.Warn("there are not enough connections to listen to the folder", "connections", listening)
			continue
		}
		if s == nil {
			var err error
			if s, err = l.account.dial(ctx); err != nil {
				// Servers bound the sessions of a user. What is not listened to is polled.
				log.Info("server allows no session to listen to the folder", "reason", err)
				break
			}
		}
		n := l.nap(s, f.Name)
		err := l.doze(ctx, n)
		switch {
		case err == nil:
			l.running.Go(func() { l.listen(ending, n) })
			listening++
			s = nil
		case !s.broken:
			log.Warn("the folder is not listened to", "reason", err)
		case listening == 0:
			l.leave(s)
			return fmt.Errorf("%s: %w", mail.Clean(string(f.Name), maxText), err)
		default:
			log.Info("the folder is not listened to", "reason", err)
			l.leave(s)
			s = nil
		}
	}
	if s != nil {
		l.leave(s)
	}
	if listening == 0 {
		return fmt.Errorf("%w: none of the folders is there that it should be asked about", ErrSilent)
	}
	return nil
}

// nap is a session that IDLEs in a folder.
type nap struct {
	*session
	folder  mail.Folder
	idle    *imapclient.IdleCommand // nil: not yet
	changed chan struct{}           // has an element when the server has told of a change
	flags   atomic.Bool             // of flags, too
}

// nap makes a session ready to IDLE.
func (l *Listener) nap(s *session, folder mail.Folder) *nap {
	n := &nap{session: s, folder: folder, changed: make(chan struct{}, 1)}
	s.conn.Watch(func(t wire.Told) {
		l.over(t)
		if t.Word == "FETCH" {
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
func (l *Listener) doze(ctx context.Context, n *nap) error {
	name, err := l.dir.server(n.folder)
	if err != nil {
		return err
	}
	return l.ask(ctx, n.session, "EXAMINE", func() error {
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

// listen hears what a server says of the folder in which a session IDLEs, and looks what has
// become of it then. Now and then it looks all the same, and so notices a line that is dead.
func (l *Listener) listen(ending context.Context, n *nap) {
	defer l.left(n.session)
	var looked time.Time
	for {
		told, err := l.wait(ending, n, looked)
		if err != nil {
			_ = n.idle.Close() // it says DONE where that can be said
			return
		}
		before := n.box.cursor
		if l.doze(ending, n) != nil {
			return
		}
		looked = time.Now()
		if now := n.box.cursor; told || now != before {
			// Flags show in the mod-sequence, or not at all.
			l.saw(n.folder, now, n.flags.Swap(false) && now.HighestModSeq == 0)
			l.hint()
		}
	}
}

// wait waits until it is time to look at the folder, and reports whether that is because the
// server has told of a change.
func (l *Listener) wait(ending context.Context, n *nap, looked time.Time) (told bool, err error) {
	look := time.NewTimer(l.account.opts.KeepAlive)
	defer look.Stop()
	for {
		select {
		case <-ending.Done():
			return false, ending.Err()
		case <-n.client.Closed():
			return false, errors.New("the connection ended")
		case <-look.C:
			return told, nil
		case <-n.changed:
			told = true
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
