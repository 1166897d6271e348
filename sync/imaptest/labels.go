package imaptest

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
)

// With Options.Labels the account is like one of Gmail's: one store of messages, and
// folders that are labels of them. Each message has a UID of its own in each folder, and
// the same flags in all. What Gmail does beyond that is left out, but for four folders:
// All Mail shows each message that is not in Trash or Spam; a message in one of those
// two is nowhere else; Starred shows what is flagged.

// places are the folders that show a message, with the message as each shows it. All of
// these share one map.
type places map[*folder]*message

// labelFolders are the folders that each account of Gmail's has.
var labelFolders = []Folder{
	{"[Gmail]/All Mail", mail.RoleAll}, {"[Gmail]/Drafts", mail.RoleDrafts}, {"[Gmail]/Sent Mail", mail.RoleSent},
	{"[Gmail]/Spam", mail.RoleJunk}, {"[Gmail]/Starred", mail.RoleFlagged}, {"[Gmail]/Trash", mail.RoleTrash},
}

// withRole gives the folder with that role; Start has made one of each that matters.
func (a *account) withRole(role imap.MailboxAttr) *folder {
	for _, f := range a.folders {
		if f.role == role {
			return f
		}
	}
	panic(fmt.Sprintf("imaptest: Options.Labels needs a folder that is %s", role))
}

// hides tells whether what is in the folder is in no other one.
func (f *folder) hides() bool {
	return f.role == imap.MailboxAttrTrash || f.role == imap.MailboxAttrJunk
}

// file appends a message. One that is there already is not stored again: it gets the
// label, and keeps the flags that it has.
func (a *account) file(f *folder, raw []byte, flags mail.Flags, date time.Time) *message {
	for _, m := range slices.Concat(f.messages, a.withRole(imap.MailboxAttrAll).messages) {
		if bytes.Equal(m.raw, raw) {
			return a.label(m, f)
		}
	}
	return a.label(&message{
		raw: raw, date: date, flags: flags.Without(mail.Flags{System: mail.Deleted}), places: places{},
	}, f)
}

// label shows the message in a folder, too, and gives it as that folder shows it.
func (a *account) label(m *message, f *folder) *message {
	if at := m.places[f]; at != nil {
		return at
	}
	for from, at := range m.places {
		if f.hides() || from.hides() {
			a.leave(from, at)
		}
	}
	at := a.place(f, m.raw, m.flags, m.date)
	at.places = m.places
	m.places[f] = at
	switch {
	case f.hides():
		return at
	case f.role == imap.MailboxAttrFlagged:
		a.reflagAll(f, at, at.flags.With(mail.Flags{System: mail.Flagged}))
	case at.flags.Has(mail.Flagged):
		a.label(at, a.withRole(imap.MailboxAttrFlagged))
	}
	a.label(at, a.withRole(imap.MailboxAttrAll))
	return at
}

// unlabel is what an expunge from a folder does: Gmail's account settings being what
// they are by default, that takes the label away and no more.
func (a *account) unlabel(m *message, f *folder) {
	switch {
	case m.expunged, f.role == imap.MailboxAttrAll:
	case f.role == imap.MailboxAttrFlagged:
		a.reflagAll(f, m, m.flags.Without(mail.Flags{System: mail.Flagged}))
	default:
		a.leave(f, m)
	}
}

// leave takes a message out of what a folder shows.
func (a *account) leave(f *folder, m *message) {
	delete(m.places, f)
	a.drop(f, []*message{m})
}

// reflagAll gives a message other flags, wherever it is shown.
func (a *account) reflagAll(f *folder, m *message, flags mail.Flags) {
	deleted := flags.Has(mail.Deleted)
	flags = flags.Without(mail.Flags{System: mail.Deleted})
	if !flags.Equal(m.flags) {
		for at, shown := range m.places {
			shown.flags, shown.version = flags, a.touch()
			at.version = shown.version
		}
	}
	if starred := a.withRole(imap.MailboxAttrFlagged); !f.hides() {
		switch at := m.places[starred]; {
		case flags.Has(mail.Flagged):
			a.label(m, starred)
		case at != nil:
			a.leave(starred, at)
		}
	}
	if deleted {
		a.unlabel(m, f)
	}
}

// announcer announces X-GM-EXT-1, which imapserver knows nothing of.
type announcer struct{ net.Listener }

func (l announcer) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return announcingConn{conn}, nil
}

type announcingConn struct{ net.Conn }

func (c announcingConn) Write(p []byte) (int, error) {
	known := []byte("CAPABILITY " + string(imap.CapIMAP4rev1))
	if _, err := c.Conn.Write(bytes.Replace(p, known, append(known, " X-GM-EXT-1"...), 1)); err != nil {
		return 0, err
	}
	return len(p), nil
}
