package sim

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// Client is one device's access to a Server.
type Client struct {
	server  *Server
	number  int
	traffic mail.Traffic // under the server's lock
}

var _ engine.Remote = (*Client)(nil)

// Call is one call of a Client, for the hooks of the Server.
type Call struct {
	Client int         // the number of the Client
	Method string      // the name of the method of sync.Remote
	Folder mail.Folder // "" for Folders
	Target mail.Folder // of Move and Copy
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
		for _, name := range s.names() {
			f := s.folders[name]
			r := mail.RemoteFolder{Name: name, Role: f.role}
			if !s.Options.NoObjectID {
				r.MailboxID = f.id
			}
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
		for _, m := range found {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := visit(m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return mail.View{}, err
	}
	return view, nil
}

// selected is what the SELECT alone tells. Called with the lock held.
func (s *Server) selected(f *mailbox, since mail.Cursor) mail.View {
	now := s.cursor(f)
	v := mail.View{
		Cursor:      now,
		ReadOnly:    f.readOnly,
		Settable:    s.settable(),
		NewKeywords: !s.Options.NoKeywords,
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
			found = append(found, mail.Message{UID: m.uid, Flags: m.flags})
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

// Identify tells of the messages in ascending order of UIDs.
func (c *Client) Identify(ctx context.Context, folder mail.Folder, validity uint32, uids mail.UIDSet) ([]mail.Identified, error) {
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
			id.Size = int64(len(m.body.raw)) + s.Options.SizeError
			all = append(all, mail.Identified{UID: m.uid, Date: m.date, Identity: id})
		}
		c.count(1, int64(len(all))*5*lineOctets, 0)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Fetch gives the newest messages first. A visit that gives no error, and has not
// read its body to the end, breaks the contract and gets an error here.
func (c *Client) Fetch(ctx context.Context, folder mail.Folder, validity uint32, uids mail.UIDSet, visit func(mail.Body) error) error {
	return c.call(ctx, Call{Method: "Fetch", Folder: folder, UIDs: uids}, func() error {
		s := c.server
		s.mu.Lock()
		f, err := s.open(folder, validity)
		if err != nil {
			s.mu.Unlock()
			return err
		}
		found := f.with(uids)
		c.count(1, 0, 0)
		s.mu.Unlock()

		for _, m := range slices.Backward(found) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := c.stream(folder, m, visit); err != nil {
				return err
			}
		}
		return nil
	})
}

// stream hands one body to visit, up to where Cut breaks it.
func (c *Client) stream(folder mail.Folder, m message, visit func(mail.Body) error) error {
	s := c.server
	size := int64(len(m.body.raw))
	pass := int64(-1)
	if s.Cut != nil {
		pass = s.Cut(Call{Client: c.number, Method: "Fetch", Folder: folder, UIDs: mail.UIDs(m.uid)}, size)
	}
	r := &bodyReader{rest: m.body.raw}
	if pass >= 0 && pass < size {
		r.rest, r.cut = r.rest[:pass], true
	}
	s.mu.Lock()
	c.count(0, lineOctets+int64(len(r.rest)), 0)
	s.mu.Unlock()

	if err := visit(mail.Body{UID: m.uid, Flags: m.flags, Date: m.date, Size: size, Reader: r}); err != nil {
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

// Append stores a message if its source gives all of it.
func (c *Client) Append(ctx context.Context, folder mail.Folder, flags mail.Flags, date time.Time, source mail.Source) (uid mail.UID, validity uint32, sent bool, err error) {
	call := Call{Client: c.number, Method: "Append", Folder: folder}
	err = c.call(ctx, call, func() error {
		s := c.server
		up := upload{size: source.Identity().Size, pass: -1}
		if s.Cut != nil {
			up.pass = s.Cut(call, up.size)
		}
		_, err := source.WriteTo(&up)
		s.mu.Lock()
		defer s.mu.Unlock()
		c.count(1, 0, int64(up.Len()))
		switch {
		case err != nil:
			return fmt.Errorf("append to %s: %w", folder, err)
		case int64(up.Len()) != up.size:
			return fmt.Errorf("append to %s: source gave %d octets of %d: %w", folder, up.Len(), up.size, mail.ErrChanged)
		case up.pass >= 0:
			sent = true
			return fmt.Errorf("append to %s: no answer: %w", folder, mail.ErrUnreachable)
		}
		f := s.folders[folder]
		if f == nil {
			return fmt.Errorf("append to %s: %w", folder, mail.ErrGone) // NO [TRYCREATE]
		}
		if f.readOnly {
			return fmt.Errorf("append to %s: %w", folder, mail.ErrReadOnly)
		}
		sent = true
		uid, validity = s.store(f, up.Bytes(), flags, date), f.validity
		return nil
	})
	if err != nil {
		return 0, 0, sent, err
	}
	if c.server.Options.NoUIDPlus {
		uid, validity = 0, 0
	}
	return uid, validity, false, nil
}

// store is what an APPEND does. Called with the lock held.
func (s *Server) store(f *mailbox, raw []byte, flags mail.Flags, date time.Time) mail.UID {
	b := s.keep(raw)
	if s.Options.Dedupe {
		for _, m := range f.messages {
			if m.body.identity.Digest == b.identity.Digest {
				return m.uid
			}
		}
	}
	return s.put(f, b, flags, date)
}

// upload takes the bytes of an APPEND until the connection breaks.
type upload struct {
	bytes.Buffer
	size, pass int64
}

func (u *upload) Write(p []byte) (int, error) {
	if room := u.pass - int64(u.Len()); u.pass >= 0 && u.pass < u.size && int64(len(p)) > room {
		n, _ := u.Buffer.Write(p[:room])
		return n, mail.ErrUnreachable
	}
	return u.Buffer.Write(p)
}

// write does a call that changes a folder that is there under validity.
func (c *Client) write(ctx context.Context, call Call, validity uint32, effect func(*mailbox) error) error {
	return c.call(ctx, call, func() error {
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.count(2, 0, int64(len(call.UIDs.String())))
		f, err := c.server.open(call.Folder, validity)
		if err != nil {
			return err
		}
		if f.readOnly && call.Method != "Copy" {
			return fmt.Errorf("%s in %s: %w", call.Method, call.Folder, mail.ErrReadOnly)
		}
		return effect(f)
	})
}

// Store changes flags.
func (c *Client) Store(ctx context.Context, folder mail.Folder, validity uint32, uids mail.UIDSet, add, remove mail.Flags) error {
	return c.write(ctx, Call{Method: "Store", Folder: folder, UIDs: uids}, validity, func(f *mailbox) error {
		f.update(uids, func(old mail.Flags) mail.Flags {
			return c.server.flags(old.With(add).Without(remove))
		})
		return nil
	})
}

// Move is RFC 6851's.
func (c *Client) Move(ctx context.Context, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder) (mail.UID, error) {
	return c.transfer(ctx, Call{Method: "Move", Folder: folder, Target: target, UIDs: mail.UIDs(uid)}, validity, uid)
}

// Copy copies a message.
func (c *Client) Copy(ctx context.Context, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder) (mail.UID, error) {
	return c.transfer(ctx, Call{Method: "Copy", Folder: folder, Target: target, UIDs: mail.UIDs(uid)}, validity, uid)
}

func (c *Client) transfer(ctx context.Context, call Call, validity uint32, uid mail.UID) (mail.UID, error) {
	var there mail.UID
	err := c.write(ctx, call, validity, func(f *mailbox) error {
		s := c.server
		if call.Method == "Move" && s.Options.NoMove {
			return fmt.Errorf("move in %s: no MOVE: %w", call.Folder, mail.ErrRefused)
		}
		i := f.find(uid)
		if i < 0 && s.Options.NoUIDPlus {
			return nil // OK, as a UID that is not there is no error (RFC 9051, 6.4.9)
		}
		if i < 0 {
			return fmt.Errorf("%s message %d of %s: %w", call.Method, uid, call.Folder, mail.ErrGone)
		}
		target := s.folders[call.Target]
		switch {
		case target == nil:
			return fmt.Errorf("%s to %s: %w", call.Method, call.Target, mail.ErrGone) // NO [TRYCREATE]
		case target.readOnly:
			return fmt.Errorf("%s to %s: %w", call.Method, call.Target, mail.ErrReadOnly)
		}
		there = s.copyTo(f.messages[i], call.Target)
		if call.Method == "Move" {
			f.expunge(mail.UIDs(uid))
		}
		return nil
	})
	if err != nil || c.server.Options.NoUIDPlus {
		return 0, err
	}
	return there, nil
}

// Expunge removes messages. RFC 4315, 2.1: UID EXPUNGE touches only those that are
// marked \Deleted, so the mark goes before it.
func (c *Client) Expunge(ctx context.Context, folder mail.Folder, validity uint32, uids mail.UIDSet) error {
	return c.write(ctx, Call{Method: "Expunge", Folder: folder, UIDs: uids}, validity, func(f *mailbox) error {
		if c.server.Options.NoUIDPlus {
			return fmt.Errorf("expunge in %s: no UIDPLUS: %w", folder, mail.ErrRefused)
		}
		f.expunge(uids)
		return nil
	})
}

// CreateFolder makes a folder.
func (c *Client) CreateFolder(ctx context.Context, folder mail.Folder) error {
	return c.call(ctx, Call{Method: "CreateFolder", Folder: folder}, func() error {
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.count(1, 0, 0)
		return c.server.add(folder)
	})
}

// DeleteFolder deletes a folder and its messages; folders inside it stay.
func (c *Client) DeleteFolder(ctx context.Context, folder mail.Folder) error {
	return c.call(ctx, Call{Method: "DeleteFolder", Folder: folder}, func() error {
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.count(1, 0, 0)
		return c.server.drop(folder)
	})
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
