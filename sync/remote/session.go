package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
	"mailtwin/sync/remote/wire"
)

// session is one login. One goroutine uses it at a time.
type session struct {
	conn   *wire.Conn
	client *imapclient.Client
	caps   imap.CapSet
	log    *slog.Logger

	box     box       // what is selected
	selects int       // how many SELECTs were sent
	scans   *scans    // the account's
	broken  bool      // not to be used again
	used    time.Time // when it was released; zero: never yet
	// compressed: what travels is compressed from now on.
	compressed bool
	// done: the call that has the session did what must not be done twice, or may have
	// done it: a message was visited, a command sent that cannot be repeated.
	done bool
}

// box is a selected folder, as the SELECT told of it.
type box struct {
	name     string // as the server calls it; "" where nothing is selected
	id       string // MAILBOXID (RFC 8474, 4); "" where the server has none
	cursor   mail.Cursor
	readOnly bool
	fleeting bool // its UIDs do not outlast the session (RFC 4315, 2: UIDNOTSTICKY)
	// permanent are the flags that can be set for good; nil where the server did not
	// say, and then all can (RFC 9051, 7.1).
	permanent *[]string
	partial   bool // the server shows only some of its messages (RFC 9738)
	// scan is the number of the folder's newest scan, or arrival, when it was selected.
	scan uint64
}

// scans counts the scans of each folder, and what was brought to it. A session knows a message only if it selected
// the folder after the message came, or has been told of it since, and servers answer
// OK to a command that names a UID which the session does not know. So a session must
// not be used for UIDs that a later scan, on another one, has found, or another one was told.
type scans struct {
	mu sync.Mutex
	n  map[string]uint64 // by the server's name
}

func (s *scans) newest(name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n[name]
}

// begin gives a new scan, or an arrival, its number.
func (s *scans) begin(name string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == nil {
		s.n = map[string]uint64{}
	}
	s.n[name]++
	return s.n[name]
}

// open selects a folder, anew if need be, since only a SELECT tells how far the
// folder has got.
func (s *session) open(name string, readOnly bool) error {
	if err := s.opened(s.opening(name, readOnly)); err != nil {
		return err
	}
	return s.learnNext()
}

// learnNext learns UIDNEXT where the SELECT did not tell it. RFC 3501, 6.3.1, wants that, and
// Courier tells it only here. Without it nobody would notice that the server was restored
// from a backup.
func (s *session) learnNext() error {
	if s.box.cursor.UIDNext != 0 {
		return nil
	}
	status, err := s.client.Status(s.box.name, &imap.StatusOptions{UIDNext: true}).Wait()
	switch {
	case err == nil:
		s.box.cursor.UIDNext = mail.UID(status.UIDNext)
	case refused(err) == nil:
		s.box = box{}
		return fmt.Errorf("select: %w", s.trouble(err))
	}
	return nil
}

// opening is an open that has no answer yet. What only reads can be sent behind it.
type opening struct {
	*imapclient.SelectCommand
	name      string
	scan      uint64
	selection int // its number among the session's SELECTs
}

// opening sends what open sends.
func (s *session) opening(name string, readOnly bool) opening {
	s.box = box{}
	s.selects++
	scan := s.scans.newest(name)
	cmd := s.client.Select(name, &imap.SelectOptions{
		ReadOnly:  readOnly,
		CondStore: s.caps.Has(imap.CapCondStore),
	})
	return opening{cmd, name, scan, s.selects}
}

// opened takes the answer.
func (s *session) opened(o opening) error {
	name, scan := o.name, o.scan
	data, err := o.Wait()
	notes := s.conn.Selected()
	if err != nil {
		return fmt.Errorf("select: %w", s.trouble(err))
	}
	b := box{
		name: name,
		id:   notes.MailboxID,
		cursor: mail.Cursor{
			UIDValidity:   data.UIDValidity,
			UIDNext:       mail.UID(data.UIDNext),
			HighestModSeq: max(data.HighestModSeq, notes.HighestModSeq),
			Messages:      data.NumMessages,
		},
		readOnly:  notes.ReadOnly,
		fleeting:  notes.UIDNotSticky,
		permanent: notes.PermanentFlags,
		partial:   notes.MessageLimit,
		scan:      scan,
	}
	if notes.NoModSeq || !s.caps.Has(imap.CapCondStore) {
		b.cursor.HighestModSeq = 0
	}
	s.box = b
	return nil
}

// hold makes sure that a folder is selected under the UIDVALIDITY that the caller
// read its UIDs under, and that the session knows the messages of its newest scan.
func (s *session) hold(name string, validity uint32, readOnly bool) error {
	if !s.holds(name) {
		if err := s.open(name, readOnly); err != nil {
			return err
		}
	}
	return s.same(validity)
}

// holds tells whether a folder is selected, and the session knows the messages of its newest
// scan.
func (s *session) holds(name string) bool {
	return s.box.name == name && s.box.scan >= s.scans.newest(name)
}

// same tells whether the selected folder has that UIDVALIDITY.
func (s *session) same(validity uint32) error {
	return sameValidity(validity, s.box.cursor.UIDValidity)
}

// sameValidity tells whether a UIDVALIDITY is what it was.
func sameValidity(was, now uint32) error {
	if was != now {
		return fmt.Errorf("%w: it was %d and is %d", mail.ErrRestarted, was, now)
	}
	return nil
}

// write is hold for a command that changes the folder.
func (s *session) write(name string, validity uint32) error {
	if !s.holds(name) {
		if err := s.open(name, false); err != nil {
			return err
		}
	}
	return s.writable(validity)
}

// writable is same for what changes the folder.
func (s *session) writable(validity uint32) error {
	if err := s.same(validity); err != nil {
		return err
	}
	if s.box.readOnly {
		return mail.ErrReadOnly
	}
	return nil
}

// exists is how many messages the selected folder has now. The client knows it only
// once a command was answered that was sent after the SELECT: it tells of the answer
// to a SELECT before it takes that in itself.
func (s *session) exists() (uint32, bool) {
	m := s.client.Mailbox()
	if m == nil {
		return 0, false
	}
	return m.NumMessages, true
}

// take collects what the connection observed, and passes on what a user should
// hear: RFC 9051, 7.1, on ALERT.
func (s *session) take() wire.Notes {
	n := s.conn.Take()
	for _, alert := range n.Alerts {
		s.log.Warn("server alert", "text", mail.Clean(alert, maxText))
	}
	for _, line := range n.Dropped {
		s.log.Info("server sent what cannot be read", "line", mail.Clean(line, maxText))
	}
	return n
}

// maxText bounds what is kept of a text of the server, in octets.
const maxText = 200

// trouble turns the error that a command ended with into one of the vocabulary,
// and marks the session as broken where it was more than a NO.
func (s *session) trouble(err error) error {
	if err == nil {
		return nil
	}
	var no *imap.Error
	if errors.As(err, &no) && no.Type != imap.StatusResponseTypeBye {
		if no.Type != imap.StatusResponseTypeNo {
			s.broken = true
		}
		return refusal(no)
	}
	s.broken = true
	if no != nil {
		return fmt.Errorf("%w: the server said goodbye: %s", mail.ErrUnreachable, text(no))
	}
	// Where the client could not read a response it closes the connection itself, and
	// then only the client's words tell why.
	if cause := s.conn.Err(); cause != nil && !strings.Contains(cause.Error(), net.ErrClosed.Error()) {
		return cause
	}
	return fmt.Errorf("%w: %s", mail.ErrUnreachable, mail.Clean(err.Error(), maxText))
}

// refused gives the NO or BAD that a command was answered with, after which the session
// can go on; nil where the error is another one.
func refused(err error) *imap.Error {
	var no *imap.Error
	if errors.As(err, &no) && no.Type != imap.StatusResponseTypeBye {
		return no
	}
	return nil
}

// codeExpungeIssued says that a message which the command named was removed by another
// session (RFC 5530, 3).
const codeExpungeIssued imap.ResponseCode = "EXPUNGEISSUED"

// refusal turns a tagged NO or BAD into an error.
func refusal(no *imap.Error) error {
	err := fmt.Errorf("%w: %s", mail.ErrRefused, text(no))
	switch no.Code {
	case imap.ResponseCodeNonExistent, imap.ResponseCodeTryCreate, codeExpungeIssued:
		return fmt.Errorf("%w: %w", mail.ErrGone, err)
	case imap.ResponseCodeAlreadyExists:
		return fmt.Errorf("%w: %w", mail.ErrExists, err)
	}
	// Dovecot has no code for it in its answers to SELECT, STATUS and DELETE.
	if no.Code == "" && strings.HasPrefix(no.Text, "Mailbox doesn't exist") {
		return fmt.Errorf("%w: %w", mail.ErrGone, err)
	}
	if passes(no) {
		return fmt.Errorf("%w: %w", mail.ErrTryLater, err)
	}
	return err
}

// passes tells whether the reason of a refusal passes by itself (RFC 9051, 7.1).
// Exchange throttles with a BAD that has no code.
func passes(no *imap.Error) bool {
	switch no.Code {
	case imap.ResponseCodeInUse, imap.ResponseCodeUnavailable, imap.ResponseCodeLimit:
		return true
	}
	return strings.Contains(strings.ToLower(no.Text), "throttled")
}

// text is what the server said, fit to be shown.
func text(no *imap.Error) string {
	s := mail.Clean(no.Text, maxText)
	if no.Code != "" {
		s = strings.TrimSpace("[" + mail.Clean(string(no.Code), maxText) + "] " + s)
	}
	if s == "" {
		s = string(no.Type)
	}
	return s
}

// within gives f a time to end in; when it does not, the connection is closed
// under it.
func (s *session) within(d time.Duration, what string, f func() error) error {
	var late atomic.Bool
	timer := time.AfterFunc(d, func() {
		late.Store(true)
		s.conn.Close()
	})
	err := f()
	timer.Stop()
	if late.Load() {
		s.broken = true
		if bye := s.take().Bye; bye != "" {
			return fmt.Errorf("%w: the server said goodbye: %s", mail.ErrUnreachable, mail.Clean(bye, maxText))
		}
		return fmt.Errorf("%w: no answer to the %s within %s", mail.ErrUnreachable, what, d)
	}
	return err
}

// alive tells whether a session that lay idle is still of use.
func (s *session) alive(ctx context.Context, timeout time.Duration) bool {
	select {
	case <-s.client.Closed():
		return false
	default:
	}
	if s.used.IsZero() || time.Since(s.used) < probeAfter {
		return true
	}
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	return s.within(timeout, "NOOP", func() error { return s.client.Noop().Wait() }) == nil
}

// logout says goodbye, within d, and does not wait for the answer: nothing depends on it, and
// with a server that is far away it is a good part of a run that has nothing to do.
func (s *session) logout(d time.Duration) {
	s.within(d, "LOGOUT", func() error { s.client.Logout(); return nil }) // the session ends either way
}

// end closes the connection and waits for the client's reader.
func (s *session) end() {
	s.conn.Close()
	s.client.Close() // its error tells how the connection ended, which was told already
}

// addTo adds what the session has cost to t.
func (s *session) addTo(t mail.Traffic) mail.Traffic {
	st := s.conn.Stats()
	t.BytesIn += st.BytesIn
	t.BytesOut += st.BytesOut
	t.RoundTrips += st.RoundTrips
	return t
}
