package remote

import (
	"context"
	"fmt"
	"slices"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
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

// notify asks for the changes of all folders to be announced, and gives a session that IDLEs in
// INBOX besides; nil where they are not going to be announced.
//
// Mail that another program puts into a Maildir Dovecot sees only where that is selected, and is
// sure to announce it only in IDLE. To select INBOX enables CONDSTORE as well (RFC 7162, 3.1),
// without which Dovecot says nothing of flags. The STATUS of each folder at the beginning is
// not asked for: who listens looks after that.
func (l *Listener) notify(ctx context.Context, s *session) (*nap, error) {
	n := l.nap(s, mail.Inbox)
	for _, more := range []string{folderEvents, ""} {
		command := fmt.Sprintf("NOTIFY SET (selected (%s)) (personal (%s%s))", messageEvents, messageEvents, more)
		a, err := l.tell(ctx, s, command)
		if err != nil {
			return nil, err
		}
		if a.OK {
			n.notify = command
			// Without mod-sequences the server need not tell of flags.
			l.everything = more != "" && s.caps.Has(imap.CapCondStore) && l.personal()
			return n, l.doze(ctx, n, l.account.opts.Timeout)
		}
		refuses(s, a)
		if a.Code != badEvent {
			break
		}
	}
	return nil, nil
}

// refuses notes that the server does not announce.
func refuses(s *session, a wire.Answer) {
	s.log.Info("server refuses NOTIFY", "answer", a.Text, "code", a.Code)
}

// Renew has a server with NOTIFY watch all folders anew, and comes back when it does. What has
// happened before then may not be announced any more: who renews looks afterwards.
//
// Dovecot (2.3, 2.4) watches the log of its index of folders, and goes on watching that file when it
// has put another one in its place, which is after some hundred changes. From then on it looks each
// mailbox_idle_check_interval, which is half a minute.
func (l *Listener) Renew(ctx context.Context) error {
	l.mu.Lock()
	n := l.naps[0]
	l.mu.Unlock()
	if n.notify == "" {
		return nil // an IDLE is given anew each time the folder has changed
	}
	done := make(chan struct{})
	select {
	case n.renew <- done:
	case <-l.ended:
	case <-ctx.Done():
	}
	select {
	case <-done:
		return nil
	case <-l.ended:
		return errConnEnded
	case <-ctx.Done():
		return ctx.Err()
	}
}

// tell sends a command that the client does not have.
func (l *Listener) tell(ctx context.Context, s *session, command string) (a wire.Answer, err error) {
	err = l.ask(ctx, s, l.account.opts.Timeout, "NOTIFY", func() error {
		answer, ok := s.conn.Ask(command)
		if a = answer; !ok {
			return s.trouble(errConnEnded)
		}
		return nil
	})
	return a, err
}

// personal tells whether only the user's own folders are synced, which are what is asked for.
func (l *Listener) personal() bool {
	all := l.account.opts.Namespaces
	return !slices.Contains(all, Other) && !slices.Contains(all, Shared)
}
