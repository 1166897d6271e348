package sim

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	gosync "sync"
	"time"

	"mailtwin/conflict/mail"
)

// Options are what a server lacks, and the ways in which it is odd. The zero value
// is a good server.
type Options struct {
	// NoCondStore: no mod-sequences. Cursors have HighestModSeq 0, and every scan
	// reads all flags.
	NoCondStore bool
	// NoUIDPlus: APPEND, COPY and MOVE do not tell UIDs, and there is no UID EXPUNGE.
	NoUIDPlus bool
	// NoMove: no MOVE.
	NoMove bool
	// NoObjectID: folders have no MailboxID.
	NoObjectID bool
	// EmailIDs: messages have EMAILIDs (RFC 8474, 5.1), which go along when they are moved
	// and copied; each that is stored has one of its own.
	EmailIDs bool
	// NoInferiors: a RENAME leaves the folders inside where they are, against RFC 9051,
	// 6.3.6.
	NoInferiors bool
	// NewNumbers: a renamed folder gets another UIDVALIDITY.
	NewNumbers bool
	// NoStatus: LIST comes without STATUS, so all folders' statuses are unknown.
	NoStatus bool
	// NoKeywords: only the five system flags are kept (Exchange, Proton Bridge).
	NoKeywords bool
	// MessageLimit: the server announces MESSAGELIMIT (RFC 9738), so that no listing
	// of it proves that anything is gone.
	MessageLimit bool
	// NoPartial: a message is given whole, whatever is there of it.
	NoPartial bool
	// Dedupe: an APPEND of bytes that the folder has already answers with the UID of
	// the message that is there (Gmail).
	Dedupe bool
	// SizeError is added to each RFC822.SIZE (Exchange computes sizes that no body
	// has).
	SizeError int64
	// Rewrite, if not nil, gives what the server keeps of a message that it is sent
	// (WildDuck and Proton Bridge give back other bytes). It must not change its
	// argument.
	Rewrite func(raw []byte) []byte
}

// Server is one account on an IMAP server. It may be used from several goroutines
// at once; its fields are set before its first use.
type Server struct {
	Options Options
	// Now is the server's clock, for messages that come without a date. If nil, it
	// begins at Epoch and goes on by a second each time that it is asked.
	Now func() time.Time
	// Step is how far a change raises a folder's mod-sequence; nil: by 1.
	Step func() uint64

	// Before is called before each call of a Client has any effect; an error of it is
	// the call's, and nothing has happened. After is called after the effect; an
	// error of it means that the answer was lost. Both are called without any lock,
	// so they may act on the Server, as another device that is quicker.
	Before, After func(Call) error
	// Selected is called within a Scan after its SELECT and before its FETCH, when
	// other devices may act already. It may be called at any time without a lock, as
	// Before.
	Selected func(Call)
	// Cut breaks the connection within a body of size octets, or the rest of one, after as
	// many of them as it says; a negative number leaves the body whole. It is asked for each
	// message of a Fetch, and for each Append. An Append that breaks within the body
	// stores nothing; one that breaks at size or beyond was sent whole, got no
	// answer, and stores nothing either: a server that stores it later on is a
	// Deliver of the test's. (That the answer alone is lost is what After says.)
	Cut func(call Call, size int64) int64
	// Late is asked for each call that changes something, and for each Append that was
	// cut off after its last octet. If it says so, the call is answered by
	// mail.ErrUnreachable, and has its effect only when done is called, which may be
	// never.
	Late func(call Call, done func()) bool
	// Behind tells how many messages of an Append are sent before an answer is taken, and how
	// many are moved behind one at which the connection broke; nil: 0.
	Behind func(Call) int
	// Twice tells whether what a Fetch or an Identify tells of is told twice.
	Twice func(Call) bool

	mu       gosync.Mutex
	folders  map[mail.Folder]*mailbox
	validity uint32 // the last one given out
	ids      int    // mailbox ids given out
	emails   int    // EMAILIDs given out
	clients  int
	ticks    int
}

// Epoch is when the clock of a Server begins that was given none.
var Epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// mailbox is a folder. Each change of it raises modseq, an expunge as well.
type mailbox struct {
	id       string
	role     mail.Role
	readOnly bool
	validity uint32
	next     mail.UID
	modseq   uint64
	step     func() uint64
	messages []message // in ascending order of UIDs
}

// raise gives the folder its next mod-sequence.
func (f *mailbox) raise() uint64 {
	f.modseq += f.step()
	return f.modseq
}

// message is one message in one folder. Its body never changes, and copies of the
// message share it.
type message struct {
	uid    mail.UID
	flags  mail.Flags
	date   time.Time
	modseq uint64
	body   *body
}

type body struct {
	raw      []byte // as FETCH gives it
	identity mail.Identity
	emailID  string
}

// NewServer makes an account that has an empty INBOX and nothing else.
func NewServer() *Server {
	s := &Server{folders: make(map[mail.Folder]*mailbox), validity: 1000}
	s.create(mail.Inbox).role = mail.RoleInbox
	return s
}

// Client makes a device's access to the account. The first one is number 1.
func (s *Server) Client() *Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients++
	return &Client{server: s, number: s.clients}
}

// The methods below are called with the lock held.

func (s *Server) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	s.ticks++
	return Epoch.Add(time.Duration(s.ticks) * time.Second)
}

func (s *Server) step() uint64 {
	if s.Step != nil {
		return s.Step()
	}
	return 1
}

// create makes a folder that is not there. Its UIDVALIDITY is above all that were
// ever given out, as RFC 9051, 2.3.1.1 asks for a name that is used again.
func (s *Server) create(name mail.Folder) *mailbox {
	s.ids++
	s.validity++
	f := &mailbox{id: fmt.Sprintf("F%d", s.ids), validity: s.validity, next: 1, modseq: 1, step: func() uint64 { return s.step() }}
	s.folders[name] = f
	return f
}

// drop deletes a folder; the folders inside it stay (RFC 9051, 6.3.5).
func (s *Server) drop(name mail.Folder) error {
	if name == mail.Inbox {
		return fmt.Errorf("delete %s: %w", name, mail.ErrRefused)
	}
	if s.folders[name] == nil {
		return fmt.Errorf("delete %s: %w", name, mail.ErrGone)
	}
	delete(s.folders, name)
	return nil
}

func (s *Server) add(name mail.Folder) error {
	if slices.Contains(name.Parts(), "") {
		return fmt.Errorf("create %q: %w", name, mail.ErrRefused)
	}
	if s.folders[name] != nil {
		return fmt.Errorf("create %s: %w", name, mail.ErrExists)
	}
	s.create(name)
	return nil
}

// names gives the folders in order.
func (s *Server) names() []mail.Folder { return slices.Sorted(maps.Keys(s.folders)) }

// containers gives the names that are no folders but have folders inside, which
// LIST shows as \NonExistent (RFC 9051, 7.3.1).
func (s *Server) containers() []mail.Folder {
	found := make(map[mail.Folder]bool)
	for name := range s.folders {
		for p := name.Parent(); p != ""; p = p.Parent() {
			if s.folders[p] == nil {
				found[p] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// open gives a folder for a command that wants it under validity.
func (s *Server) open(name mail.Folder, validity uint32) (*mailbox, error) {
	f := s.folders[name]
	switch {
	case f == nil:
		return nil, fmt.Errorf("select %s: %w", name, mail.ErrGone)
	case f.validity != validity:
		return nil, fmt.Errorf("select %s: %w", name, mail.ErrRestarted)
	}
	return f, nil
}

// keep makes the body that the server has of a message that it was sent.
func (s *Server) keep(raw []byte) *body {
	if s.Options.Rewrite != nil {
		raw = s.Options.Rewrite(raw)
	}
	var m mail.Measure
	m.Write(raw)
	s.emails++
	return &body{raw: raw, identity: m.Identity(), emailID: fmt.Sprintf("M%d", s.emails)}
}

// flags leaves out what the server cannot keep.
func (s *Server) flags(f mail.Flags) mail.Flags {
	if s.Options.NoKeywords {
		return mail.Flags{System: f.System &^ mail.Forwarded}
	}
	return f
}

// settable is what the server says in PERMANENTFLAGS.
func (s *Server) settable() mail.Flags {
	return s.flags(mail.Flags{System: mail.Seen | mail.Answered | mail.Flagged | mail.Draft | mail.Deleted | mail.Forwarded})
}

func (s *Server) put(f *mailbox, b *body, flags mail.Flags, date time.Time) mail.UID {
	if date.IsZero() {
		date = s.now()
	}
	f.raise()
	uid := f.next
	f.next++
	// INTERNALDATE has no fraction (RFC 9051, 9: date-time).
	f.messages = append(f.messages, message{uid, s.flags(flags), date.UTC().Truncate(time.Second), f.modseq, b})
	return uid
}

func (s *Server) cursor(f *mailbox) mail.Cursor {
	c := mail.Cursor{UIDValidity: f.validity, UIDNext: f.next, HighestModSeq: f.modseq, Messages: uint32(len(f.messages))}
	if s.Options.NoCondStore {
		c.HighestModSeq = 0
	}
	return c
}

// find gives the index of a message, or -1.
func (f *mailbox) find(uid mail.UID) int {
	i, found := slices.BinarySearchFunc(f.messages, uid, func(m message, uid mail.UID) int {
		return int(int64(m.uid) - int64(uid))
	})
	if !found {
		return -1
	}
	return i
}

// with gives those of the messages that are there, in ascending order.
func (f *mailbox) with(uids mail.UIDSet) []message {
	var found []message
	for _, m := range f.messages {
		if uids.Has(m.uid) {
			found = append(found, m)
		}
	}
	return found
}

// update sets the flags of the messages, and leaves those alone that have them
// already.
func (f *mailbox) update(uids mail.UIDSet, change func(mail.Flags) mail.Flags) (changed []mail.UID) {
	raised := false
	for i := range f.messages {
		m := &f.messages[i]
		if !uids.Has(m.uid) {
			continue
		}
		if flags := change(m.flags); !flags.Equal(m.flags) {
			if !raised {
				f.raise()
				raised = true
			}
			m.flags, m.modseq = flags, f.modseq
			changed = append(changed, m.uid)
		}
	}
	return changed
}

// expunge removes the messages. RFC 7162, 3.1: the highest mod-sequence rises.
func (f *mailbox) expunge(uids mail.UIDSet) {
	n := len(f.messages)
	f.messages = slices.DeleteFunc(f.messages, func(m message) bool { return uids.Has(m.uid) })
	if len(f.messages) != n {
		f.raise()
	}
}

func (f *mailbox) clone() *mailbox {
	c := *f
	c.messages = slices.Clone(f.messages)
	return &c
}

// canonical gives the bytes as the wire has them, in a slice of its own.
func canonical(raw []byte) []byte {
	var b bytes.Buffer
	(&mail.ToWire{W: &b}).Write(raw) // a Buffer never fails
	return b.Bytes()
}
