package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// Client is one device's access to a Server.
type Client struct {
	server  *Server
	number  int
	traffic mail.Traffic // under the server's lock
	ahead   map[mail.Folder]foreseen
}

// foreseen is what a Scan would have told of a folder when the last Visit there was over.
type foreseen struct {
	since    mail.Cursor
	known    int
	view     mail.View
	messages []mail.Message
}

var _ engine.Remote = (*Client)(nil)

// Call is one call of a Client, for the hooks of the Server.
type Call struct {
	Client int         // the number of the Client
	Method string      // the name of the method of sync.Remote
	Folder mail.Folder // "" for Folders
	Target mail.Folder // of Move, Copy and RenameFolder
	UIDs   mail.UIDSet // that were named; for Cut in a Fetch, the one whose body it is
}

// call does one call: hook, effect, hook.
func (c *Client) call(ctx context.Context, call Call, effect func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	call.Client = c.number
	if c.server.Before != nil {
		if err := c.server.Before(call); err != nil {
			return fmt.Errorf("%s %s: %w", call.Method, call.Folder, err)
		}
	}
	if err := effect(); err != nil {
		return err
	}
	if c.server.After != nil {
		if err := c.server.After(call); err != nil {
			return fmt.Errorf("%s %s: answer lost: %w", call.Method, call.Folder, err)
		}
	}
	return nil
}

// change is call for what changes something, which a server may do too late for anybody
// to be told.
func (c *Client) change(ctx context.Context, call Call, effect func() error) error {
	c.server.mu.Lock()
	delete(c.ahead, call.Folder)
	delete(c.ahead, call.Target)
	c.server.mu.Unlock()
	return c.call(ctx, call, func() error {
		call.Client = c.number
		if c.server.Late != nil && c.server.Late(call, func() { effect() }) {
			return fmt.Errorf("%s %s: no answer: %w", call.Method, call.Folder, mail.ErrUnreachable)
		}
		return effect()
	})
}

// count adds to the traffic: what a good client and server need that pipeline a
// SELECT with the reads that follow it, and wait for it before a write. Called with
// the lock held.
func (c *Client) count(roundTrips int, in, out int64) {
	c.traffic.Connections = 1
	c.traffic.RoundTrips += roundTrips
	c.traffic.BytesIn += in + int64(roundTrips)*answerOctets
	c.traffic.BytesOut += out + int64(roundTrips)*commandOctets
}

// What a command, its answer, and one line of an answer cost.
const (
	commandOctets = 50
	answerOctets  = 100
	lineOctets    = 60
)

// Folders lists the account in order of the names.
func (c *Client) Folders(ctx context.Context) (mail.RemoteListing, error) {
	var listing mail.RemoteListing
	err := c.call(ctx, Call{Method: "Folders"}, func() error {
		s := c.server
		s.mu.Lock()
		defer s.mu.Unlock()
		c.ahead = nil
		for _, name := range s.names() {
			f := s.folders[name]
			r := mail.RemoteFolder{Name: name, Role: f.role}
			if !s.Options.NoStatus {
				r.Status = s.cursor(f)
			}
			listing.Folders = append(listing.Folders, r)
		}
		for _, name := range s.containers() {
			listing.Folders = append(listing.Folders, mail.RemoteFolder{Name: name, NoSelect: true})
		}
		slices.SortFunc(listing.Folders, func(a, b mail.RemoteFolder) int {
			return strings.Compare(string(a.Name), string(b.Name))
		})
		c.count(1, int64(len(listing.Folders))*2*lineOctets, 0)
		return nil
	})
	if err != nil {
		return mail.RemoteListing{}, err
	}
	return listing, nil
}

// Scan is a SELECT, a FETCH of flags, whole or CHANGEDSINCE, and where the count
// says so a SEARCH for what is there.
func (c *Client) Scan(ctx context.Context, folder mail.Folder, since mail.Cursor, known int, visit func(mail.Message) error) (mail.View, error) {
	var view mail.View
	call := Call{Client: c.number, Method: "Scan", Folder: folder}
	err := c.call(ctx, call, func() error {
		s := c.server
		s.mu.Lock()
		f := s.folders[folder]
		if f == nil {
			s.mu.Unlock()
			return fmt.Errorf("select %s: %w", folder, mail.ErrGone)
		}
		if seen, ok := c.foreseen(folder, since, known); ok {
			view = seen.view
			s.mu.Unlock()
			return each(ctx, seen.messages, visit)
		}
		view = s.selected(f, since)
		c.count(1, answerOctets, 0)
		s.mu.Unlock()

		if s.Selected != nil {
			s.Selected(call)
		}
		found, err := c.changed(folder, since, known, &view)
		if err != nil {
			return err
		}
		return each(ctx, found, visit)
	})
	if err != nil {
		return mail.View{}, err
	}
	return view, nil
}

// each visits messages.
func each(ctx context.Context, messages []mail.Message, visit func(mail.Message) error) error {
	for _, m := range messages {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := visit(m); err != nil {
			return err
		}
	}
	return nil
}

// look keeps what a Scan would tell of a folder by now, if nothing is gone from it.
func (c *Client) look(q mail.Query) {
	s := c.server
	s.mu.Lock()
	f := s.folders[q.Folder]
	if f == nil {
		s.mu.Unlock()
		return
	}
	view := s.selected(f, q.Since)
	s.mu.Unlock()
	found, err := c.changed(q.Folder, q.Since, q.Known, &view)
	if err != nil || view.Full || view.Absence != mail.NothingGone {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.ahead == nil {
		c.ahead = map[mail.Folder]foreseen{}
	}
	c.ahead[q.Folder] = foreseen{q.Since, q.Known, view, found}
}

// foreseen gives what a look has kept, once. It is called with the server's lock held.
func (c *Client) foreseen(folder mail.Folder, since mail.Cursor, known int) (foreseen, bool) {
	seen, ok := c.ahead[folder]
	delete(c.ahead, folder)
	return seen, ok && seen.since == since && seen.known == known
}

// Examine is an EXAMINE.
func (c *Client) Examine(ctx context.Context, folder mail.Folder) (mail.RemoteFolder, error) {
	var told mail.RemoteFolder
	err := c.call(ctx, Call{Method: "Examine", Folder: folder}, func() error {
		s := c.server
		s.mu.Lock()
		defer s.mu.Unlock()
		c.count(1, 0, 0)
		f := s.folders[folder]
		if f == nil {
			return fmt.Errorf("examine %s: %w", folder, mail.ErrGone)
		}
		told = mail.RemoteFolder{Name: folder, MailboxID: s.mailboxID(f), Status: s.cursor(f)}
		return nil
	})
	return told, err
}

// mailboxID is called with the lock held.
func (s *Server) mailboxID(f *mailbox) string {
	if s.Options.NoObjectID {
		return ""
	}
	return f.id
}

func (s *Server) emailID(m message) string {
	if !s.Options.EmailIDs {
		return ""
	}
	return m.body.emailID
}

// selected is what the SELECT alone tells. Called with the lock held.
func (s *Server) selected(f *mailbox, since mail.Cursor) mail.View {
	now := s.cursor(f)
	v := mail.View{
		Cursor: now, MailboxID: s.mailboxID(f),
		Access: mail.Access{ReadOnly: f.readOnly, Settable: s.settable(), NewKeywords: !s.Options.NoKeywords},
	}
	read := since.UIDValidity != 0 // the folder was read before
	// Values that go backwards under the same UIDVALIDITY are those of a backup.
	v.Restarted = read && (now.UIDValidity != since.UIDValidity || now.UIDNext < since.UIDNext ||
		now.HighestModSeq != 0 && now.HighestModSeq < since.HighestModSeq)
	v.Full = !read || v.Restarted || since.UIDNext == 0 || since.HighestModSeq == 0 || now.HighestModSeq == 0
	return v
}

// changed is the FETCH: what it finds may be newer than the view's Cursor.
func (c *Client) changed(folder mail.Folder, since mail.Cursor, known int, view *mail.View) ([]mail.Message, error) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.open(folder, view.Cursor.UIDValidity)
	if err != nil {
		// A folder that is deleted while it is selected costs the session.
		return nil, fmt.Errorf("scan %s: folder went away: %w", folder, mail.ErrUnreachable)
	}
	var found []mail.Message
	fresh := 0
	var present mail.UIDSet
	for _, m := range f.messages {
		present.Add(m.uid)
		if m.uid >= since.UIDNext {
			fresh++
		}
		if view.Full || m.modseq > since.HighestModSeq || m.uid >= since.UIDNext {
			tell := mail.Message{UID: m.uid, Flags: m.flags}
			if m.uid >= since.UIDNext || view.Restarted {
				tell.Size, tell.Date = int64(len(m.body.raw))+s.Options.SizeError, m.date
				tell.EmailID = s.emailID(m)
			}
			found = append(found, tell)
		}
	}
	switch {
	case s.Options.MessageLimit:
		view.Absence = mail.AbsenceUnknown
	case !view.Full && known+fresh == len(f.messages):
		view.Absence = mail.NothingGone
	default:
		view.Absence, view.Present = mail.ByPresent, present
		if !view.Full {
			c.count(1, int64(len(present.String())), 0)
		}
	}
	c.count(0, int64(len(found))*lineOctets, 0)
	return found, nil
}

// Ahead does nothing: nobody waits for an answer here.
func (c *Client) Ahead(context.Context, []mail.Query) {}

// Ready does nothing: there is nothing to prepare.
func (c *Client) Ready(context.Context, int, []mail.Folder) {}

// Identify tells of the messages in ascending order of UIDs.
func (c *Client) Identify(ctx context.Context, folder mail.Folder, validity uint32, uids mail.UIDSet, detail mail.Detail) ([]mail.Identified, error) {
	var all []mail.Identified
	err := c.call(ctx, Call{Method: "Identify", Folder: folder, UIDs: uids}, func() error {
		s := c.server
		s.mu.Lock()
		defer s.mu.Unlock()
		f, err := s.open(folder, validity)
		if err != nil {
			return err
		}
		for _, m := range f.with(uids) {
			id := m.body.identity
			id.Digest = mail.Digest{}
			if detail < mail.Headers {
				id.Header = mail.Fingerprint{}
			}
			id.Size = 0
			told := mail.Identified{UID: m.uid, Identity: id}
			if detail >= mail.Sizes {
				told.Date, told.Identity.Size = m.date, int64(len(m.body.raw))+s.Options.SizeError
				told.EmailID = s.emailID(m)
			}
			all = append(all, told)
			if s.Twice != nil && s.Twice(Call{Client: c.number, Method: "Identify", Folder: folder, UIDs: mail.UIDs(m.uid)}) {
				all = append(all, told)
			}
		}
		c.count(1, int64(len(all))*5*lineOctets, 0)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Fetch gives the newest messages of each folder first. A Visit that gives no error, and
// has not read its body to the end, breaks the contract and gets an error here.
func (c *Client) Fetch(ctx context.Context, wanted []mail.Wanted) []error {
	errs := make([]error, len(wanted))
	for i, w := range wanted {
		errs[i] = c.fetch(ctx, w)
	}
	return errs
}

func (c *Client) fetch(ctx context.Context, w mail.Wanted) error {
	return c.call(ctx, Call{Method: "Fetch", Folder: w.Folder, UIDs: w.UIDs}, func() error {
		s := c.server
		s.mu.Lock()
		f, err := s.open(w.Folder, w.Validity)
		if err != nil {
			s.mu.Unlock()
			return err
		}
		found := f.with(w.UIDs)
		c.count(1, 0, 0)
		s.mu.Unlock()

		for _, m := range slices.Backward(found) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := c.stream(w, m); err != nil {
				return err
			}
			if s.Twice != nil && s.Twice(Call{Client: c.number, Method: "Fetch", Folder: w.Folder, UIDs: mail.UIDs(m.uid)}) {
				if err := c.stream(w, m); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// stream hands one body to who wants it, or the rest of it, up to where Cut breaks it.
func (c *Client) stream(w mail.Wanted, m message) error {
	s, folder := c.server, w.Folder
	size := int64(len(m.body.raw))
	offset := int64(0)
	if p, ok := w.Have[m.uid]; ok && !s.Options.NoPartial && p.Size == size && p.Header == m.body.identity.Header && bytes.Equal(m.body.raw[p.Start():p.Octets], p.Tail) {
		offset = p.Octets
	}
	rest := size - offset
	pass := int64(-1)
	if s.Cut != nil {
		pass = s.Cut(Call{Client: c.number, Method: "Fetch", Folder: folder, UIDs: mail.UIDs(m.uid)}, rest)
	}
	r := &bodyReader{rest: m.body.raw[offset:]}
	if pass >= 0 && pass < rest {
		r.rest, r.cut = r.rest[:pass], true
	}
	s.mu.Lock()
	c.count(0, lineOctets+int64(len(r.rest)), 0)
	s.mu.Unlock()

	if err := w.Visit(mail.Body{UID: m.uid, Flags: m.flags, Date: m.date, Size: size, Offset: offset, Reader: r}); err != nil {
		return err
	}
	if pass >= 0 {
		return fmt.Errorf("fetch message %d of %s: %w", m.uid, folder, mail.ErrUnreachable)
	}
	if len(r.rest) > 0 {
		return fmt.Errorf("fetch message %d of %s: %d octets were not read", m.uid, folder, len(r.rest))
	}
	return nil
}

// bodyReader gives a body in pieces, as it comes from a socket.
type bodyReader struct {
	rest []byte
	cut  bool
}

// pieceOctets is how much comes at once, at the most.
const pieceOctets = 1 << 10

func (r *bodyReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.cut {
			return 0, io.ErrUnexpectedEOF
		}
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), pieceOctets)], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Abilities are the same before Folders as after it.
func (c *Client) Abilities() mail.Abilities {
	o := c.server.Options
	return mail.Abilities{UIDPlus: !o.NoUIDPlus, Move: !o.NoMove}
}

// Traffic counts plausible numbers: the round trips of a client that pipelines, on
// one connection.
func (c *Client) Traffic() mail.Traffic {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	return c.traffic
}
