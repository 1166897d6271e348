package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
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
		err := l.enter(ctx, s, f.Name)
		switch {
		case err == nil:
			session, folder := s, f.Name
			l.running.Go(func() { l.doze(ending, session, folder) })
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

// enter selects the folder that is listened to, for reading: a SELECT would take \Recent away
// from other clients (RFC 3501, 6.3.2).
func (l *Listener) enter(ctx context.Context, s *session, folder mail.Folder) error {
	name, err := l.dir.server(folder)
	if err != nil {
		return err
	}
	return l.ask(ctx, s, "EXAMINE", func() error { return s.open(name, true) })
}

// doze has a session IDLE, looks what has become of the folder when the server says that it
// has changed, and renews the IDLE now and then.
func (l *Listener) doze(ending context.Context, s *session, folder mail.Folder) {
	defer l.left(s)
	changed := make(chan struct{}, 1)
	modSeqs := s.box.cursor.HighestModSeq != 0
	s.conn.Watch(func(t wire.Told) {
		// With mod-sequences a look tells of flags, too.
		if t.Word == "FETCH" && !modSeqs {
			l.hear(t)
		}
		l.over(t)
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	var looked time.Time
	for {
		look, err := l.nap(ending, s, changed, looked)
		if err != nil {
			return
		}
		if !look {
			continue
		}
		if err := l.enter(ending, s, folder); err != nil {
			return
		}
		looked = time.Now()
		l.saw(folder, s.box.cursor)
		l.hint()
	}
}

// nap is one IDLE. It reports whether the folder has changed since it was looked at.
func (l *Listener) nap(ending context.Context, s *session, changed <-chan struct{}, looked time.Time) (look bool, err error) {
	var idle *imapclient.IdleCommand
	err = l.ask(ending, s, "IDLE", func() (err error) { idle, err = s.client.Idle(); return err })
	if err != nil {
		return false, err
	}
	over := time.NewTimer(l.account.opts.KeepAlive)
	defer over.Stop()
	for waiting := true; waiting; {
		select {
		case <-ending.Done():
			err, waiting = ending.Err(), false
		case <-s.client.Closed():
			err, waiting = errors.New("the connection ended"), false
		case <-over.C:
			waiting = false
		case <-changed:
			// What is announced while nobody IDLEs, some servers keep to themselves, so the pause
			// is made here.
			look = true
			over.Reset(max(0, lookPause-time.Since(looked)))
		}
	}
	if err != nil {
		_ = idle.Close() // it says DONE where that can be said
		return false, err
	}
	return look, l.ask(ending, s, "DONE", func() error {
		if err := idle.Close(); err != nil {
			return err
		}
		return idle.Wait()
	})
}

// saw notes what a look has shown.
func (l *Listener) saw(folder mail.Folder, c mail.Cursor) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told[folder] = mail.Announced{Folder: folder, Status: c, Counted: true}
}
