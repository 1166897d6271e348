package remote

import (
	"context"
	"errors"
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
		a, err := l.tell(ctx, s, fmt.Sprintf("NOTIFY SET (selected (%s)) (personal (%s%s))", messageEvents, messageEvents, more))
		if err != nil {
			return nil, err
		}
		if a.OK {
			// Without mod-sequences the server need not tell of flags.
			l.everything = more != "" && s.caps.Has(imap.CapCondStore) && l.personal()
			return n, l.doze(ctx, n, l.account.opts.Timeout)
		}
		s.log.Info("server refuses NOTIFY", "answer", a.Text, "code", a.Code)
		if a.Code != badEvent {
			break
		}
	}
	return nil, nil
}

// tell sends a command that the client does not have.
func (l *Listener) tell(ctx context.Context, s *session, command string) (a wire.Answer, err error) {
	err = l.ask(ctx, s, l.account.opts.Timeout, "NOTIFY", func() error {
		answer, ok := s.conn.Ask(command)
		if a = answer; !ok {
			return s.trouble(errors.New("the connection ended"))
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
