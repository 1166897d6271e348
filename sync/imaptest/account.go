package imaptest

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
)

const delimiter = "/"

// account is the mail of one user. One lock guards all of it: nothing waits for
// the network while holding it, and no two folders can be locked in the wrong order.
type account struct {
	mu       sync.Mutex
	folders  map[string]*folder
	validity uint32
	clock    uint64        // counts changes
	changed  chan struct{} // closed, and replaced, at each change
	labels   bool          // folders are labels: see labels.go
}

// folder is one mailbox. Its version is the clock at its last change.
type folder struct {
	name       string
	role       imap.MailboxAttr
	subscribed bool
	validity   uint32
	next       imap.UID
	messages   []*message // in ascending order of UIDs
	version    uint64
	deleted    bool
}

// message is one message; uid, date and raw never change. Its version is the clock
// when its flags last changed.
type message struct {
	uid      imap.UID
	date     time.Time
	raw      []byte
	flags    mail.Flags
	version  uint64
	expunged bool
	places   places // where folders are labels
}

func newAccount() *account {
	// UIDVALIDITY begins at an arbitrary number, so that a test that takes it for a
	// count or for a UID fails.
	a := &account{folders: map[string]*folder{}, validity: 1700000000, changed: make(chan struct{})}
	a.add(string(mail.Inbox), "")
	return a
}

// touch notes a change and wakes the sessions that idle.
func (a *account) touch() uint64 {
	a.clock++
	close(a.changed)
	a.changed = make(chan struct{})
	return a.clock
}

func (a *account) add(name string, role imap.MailboxAttr) *folder {
	a.validity++ // never the one that an earlier folder of that name had
	f := &folder{name: name, role: role, validity: a.validity, next: 1}
	a.folders[name] = f
	return f
}

// canonical gives the name under which a folder is kept: INBOX in capitals (RFC
// 9051, 5.1), and no delimiter at the end (RFC 9051, 6.3.4).
func canonical(name string) string {
	name = strings.TrimSuffix(name, delimiter)
	if first, _, _ := strings.Cut(name, delimiter); strings.EqualFold(first, string(mail.Inbox)) {
		name = string(mail.Inbox) + name[len(first):]
	}
	return name
}

func no(code imap.ResponseCode, text string) error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: text}
}

func (a *account) find(name string) (*folder, error) {
	f := a.folders[canonical(name)]
	if f == nil {
		return nil, no(imap.ResponseCodeNonExistent, "no such mailbox")
	}
	return f, nil
}

// target finds the folder that something is to be put into.
func (a *account) target(name string) (*folder, error) {
	f := a.folders[canonical(name)]
	if f == nil {
		return nil, no(imap.ResponseCodeTryCreate, "no such mailbox")
	}
	return f, nil
}

func (a *account) create(name string, role imap.MailboxAttr) error {
	name = canonical(name)
	if slices.Contains(strings.Split(name, delimiter), "") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return no(imap.ResponseCodeCannot, "not a name for a mailbox")
	}
	if a.folders[name] != nil {
		return no(imap.ResponseCodeAlreadyExists, "the mailbox is there already")
	}
	a.add(name, role)
	a.touch()
	return nil
}

// remove deletes a folder; folders inside it stay (RFC 9051, 6.3.5).
func (a *account) remove(name string) error {
	f, err := a.find(name)
	if err != nil {
		return err
	}
	if f.name == string(mail.Inbox) {
		return no(imap.ResponseCodeCannot, "INBOX stays")
	}
	if a.labels {
		a.expunge(f, slices.Clone(f.messages))
	}
	delete(a.folders, f.name)
	f.deleted = true
	f.version = a.touch()
	return nil
}

// rename renames a folder with all that lies in it; renaming INBOX moves its
// messages into a new folder and leaves it empty (RFC 9051, 6.3.6).
func (a *account) rename(from, to string) error {
	from, to = canonical(from), canonical(to)
	f, err := a.find(from)
	if err != nil {
		return err
	}
	if strings.HasPrefix(to, from+delimiter) && from != string(mail.Inbox) {
		return no(imap.ResponseCodeCannot, "a mailbox cannot be moved into itself")
	}
	if from == string(mail.Inbox) {
		if err := a.create(to, ""); err != nil {
			return err
		}
		a.copy(f.messages, a.folders[to])
		a.expunge(f, slices.Clone(f.messages))
		return nil
	}
	moved := map[string]*folder{}
	for name, f := range a.folders {
		rest, inside := strings.CutPrefix(name, from+delimiter)
		switch {
		case inside:
			moved[to+delimiter+rest] = f
		case name == from:
			moved[to] = f
		}
	}
	for name := range moved {
		if a.folders[name] != nil {
			return no(imap.ResponseCodeAlreadyExists, "the mailbox is there already")
		}
	}
	for name, f := range moved {
		delete(a.folders, f.name)
		f.name = name
		a.folders[name] = f
	}
	a.touch()
	return nil
}

// put appends a message; raw belongs to the account from here on.
func (a *account) put(f *folder, raw []byte, flags mail.Flags, date time.Time) *message {
	if a.labels {
		return a.file(f, raw, flags, date)
	}
	return a.place(f, raw, flags, date)
}

func (a *account) place(f *folder, raw []byte, flags mail.Flags, date time.Time) *message {
	m := &message{uid: f.next, date: date, raw: raw, flags: flags}
	f.next++
	f.messages = append(f.messages, m)
	f.version = a.touch()
	m.version = f.version
	return m
}

// copy puts copies of the messages into a folder, in the same order.
func (a *account) copy(messages []*message, into *folder) []*message {
	copies := make([]*message, 0, len(messages))
	for _, m := range messages {
		if a.labels {
			copies = append(copies, a.label(m, into))
			continue
		}
		copies = append(copies, a.put(into, m.raw, m.flags, m.date))
	}
	return copies
}

// reflag gives a message other flags.
func (a *account) reflag(f *folder, m *message, flags mail.Flags) {
	if a.labels {
		a.reflagAll(f, m, flags)
		return
	}
	m.flags = flags
	m.version = a.touch()
	f.version = m.version
}

func (a *account) expunge(f *folder, messages []*message) {
	if a.labels {
		for _, m := range messages {
			a.unlabel(m, f)
		}
		return
	}
	a.drop(f, messages)
}

func (a *account) drop(f *folder, messages []*message) {
	if len(messages) == 0 {
		return
	}
	for _, m := range messages {
		m.expunged = true
	}
	// A new slice, since sessions range over the old one.
	left := make([]*message, 0, len(f.messages))
	for _, m := range f.messages {
		if !m.expunged {
			left = append(left, m)
		}
	}
	f.messages = left
	f.version = a.touch()
}

// renumber gives a folder another UIDVALIDITY and its messages other UIDs, as a
// server does that was restored or rebuilt (RFC 9051, 2.3.1.1).
func (a *account) renumber(f *folder) {
	fresh := a.add(f.name, f.role)
	fresh.subscribed = f.subscribed
	fresh.next = 101
	a.copy(f.messages, fresh)
	f.deleted = true
	f.version = a.touch()
}
