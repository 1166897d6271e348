package remote

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"

	"mailtwin/sync/remote/wire"
)

// capNotify says that the server has NOTIFY.
const capNotify imap.Cap = "NOTIFY"

const (
	// messageEvents go together: FlagChange must not be asked for without the other two (RFC
	// 5465, 5).
	messageEvents = "MessageNew MessageExpunge FlagChange"
	// folderEvents tell of folders that are made, renamed and removed. Not all servers have them
	// that have NOTIFY.
	folderEvents = " MailboxName"
	// badEvent is the code of the answer to events that the server does not have (RFC 5465, 5).
	badEvent = "BADEVENT"
)

// notify asks for the changes of all folders to be announced, and reports whether they are.
//
// It does without the STATUS of each folder at the beginning: who listens looks after that,
// as the run does that follows.
func (l *Listener) notify(s *session) (bool, error) {
	modSeqs := s.caps.Has(imap.CapCondStore)
	if modSeqs {
		// Dovecot says nothing of flags to who has not enabled CONDSTORE, as STATUS does (RFC 7162,
		// 3.1).
		_, err := s.client.Status("INBOX", &imap.StatusOptions{HighestModSeq: true}).Wait()
		if err != nil && refused(err) == nil {
			return false, s.trouble(err)
		}
	}
	s.conn.Watch(func(t wire.Told) {
		l.hear(t)
		l.hint()
		l.over(t)
	})
	for _, more := range []string{folderEvents, ""} {
		var a wire.Answer
		err := s.within(l.account.opts.Timeout, "NOTIFY", func() error {
			answer, ok := s.conn.Ask("NOTIFY SET (personal (" + messageEvents + more + "))")
			if a = answer; !ok {
				return s.trouble(errors.New("the connection ended"))
			}
			return nil
		})
		if err != nil {
			return false, err
		}
		if a.OK {
			// Without mod-sequences the server need not tell of flags.
			l.everything = more != "" && modSeqs && l.personal()
			return true, nil
		}
		s.log.Info("server refuses NOTIFY", "answer", a.Text, "code", a.Code)
		if a.Code != badEvent {
			break
		}
	}
	s.conn.Watch(nil)
	return false, nil
}

// personal tells whether only the user's own folders are synced, which are what is asked for.
func (l *Listener) personal() bool {
	all := l.account.opts.Namespaces
	return !slices.Contains(all, Other) && !slices.Contains(all, Shared)
}

// attend waits on a session while the server announces, and asks now and then whether it is
// still there: else nobody would notice that the line is dead.
func (l *Listener) attend(ending context.Context, s *session) {
	defer l.left(s)
	alive := time.NewTicker(l.account.opts.KeepAlive)
	defer alive.Stop()
	for {
		select {
		case <-ending.Done():
			return
		case <-s.client.Closed():
			return
		case <-alive.C:
			if l.ask(ending, s, "NOOP", func() error { return s.client.Noop().Wait() }) != nil {
				return
			}
		}
	}
}
