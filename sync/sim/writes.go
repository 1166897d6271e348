package sim

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"mailtwin/conflict/mail"
)

// Append stores messages whose sources give all of them. The answers come late, by as many
// messages as Behind says; those that are missing when the connection breaks are lost, and
// as many messages as Behind says then were sent in vain.
func (c *Client) Append(ctx context.Context, next func() *mail.Outgoing, answered func(mail.Appended)) {
	behind := func(u *mail.Outgoing) int {
		if c.server.Behind == nil {
			return 0
		}
		return c.server.Behind(Call{Client: c.number, Method: "Append", Folder: u.Folder})
	}
	var stored []mail.Appended
	take := func(left int) {
		for len(stored) > left {
			first := stored[0]
			stored = stored[1:]
			answered(first)
		}
	}
	defer func() { take(0) }()
	for u := next(); u != nil; u = next() {
		if u.Alone {
			take(0)
		}
		var a mail.Appended
		a.UID, a.UIDValidity, a.Sent, a.Err = c.append(ctx, u.Folder, u.Flags, u.Date, u.Source)
		stored = append(stored, a)
		switch {
		case u.Alone || a.Err != nil && !errors.Is(a.Err, mail.ErrUnreachable):
			take(0)
		case a.Err != nil:
			lost := mail.Appended{Sent: true, Err: a.Err}
			for i := range stored[:len(stored)-1] {
				stored[i] = lost
			}
			for range behind(u) {
				if u = next(); u == nil {
					break
				}
				u.Source.WriteTo(io.Discard)
				stored = append(stored, lost)
			}
			take(0)
		default:
			take(behind(u))
		}
		if a.Err != nil && !errors.Is(a.Err, mail.ErrRefused) {
			return
		}
	}
}

func (c *Client) append(ctx context.Context, folder mail.Folder, flags mail.Flags, date time.Time, source mail.Source) (uid mail.UID, validity uint32, sent bool, err error) {
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
		delete(c.ahead, folder)
		c.count(1, 0, int64(up.Len()))
		switch {
		case err != nil:
			return fmt.Errorf("append to %s: %w", folder, err)
		case int64(up.Len()) != up.size:
			return fmt.Errorf("append to %s: source gave %d octets of %d: %w", folder, up.Len(), up.size, mail.ErrChanged)
		case up.pass >= 0:
			sent = true
			if f := s.folders[folder]; s.Late != nil && f != nil && !f.readOnly {
				s.Late(call, func() {
					s.mu.Lock()
					defer s.mu.Unlock()
					s.store(f, up.Bytes(), flags, date)
				})
			}
			return fmt.Errorf("append to %s: %w: no answer: %w", folder, mail.ErrBrokeOff, mail.ErrUnreachable)
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
		return n, fmt.Errorf("%w: %w", mail.ErrBrokeOff, mail.ErrUnreachable)
	}
	return u.Buffer.Write(p)
}

// write does a call that changes a folder that is there under validity.
func (c *Client) write(ctx context.Context, call Call, validity uint32, effect func(*mailbox) error) error {
	return c.change(ctx, call, func() error {
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

// Change does one thing after the other. What breaks the connection is the end of it; of what
// was to be done in the same folder more may have been sent.
func (c *Client) Change(ctx context.Context, visits []*mail.Visit) {
	var broken error
	for _, v := range visits {
		sent := broken == nil
		for _, part := range parts(v) {
			if broken != nil {
				if sent {
					c.InVain(part)
				}
				part.Fail(broken)
				continue
			}
			c.visit(ctx, part)
			if err := failed(part); errors.Is(err, mail.ErrUnreachable) {
				broken = err
			}
		}
		if broken == nil && v.Look != nil {
			c.look(*v.Look)
		}
	}
}

// parts gives what is to be done in a folder one by one, by what the call was once named after.
func parts(v *mail.Visit) iter.Seq2[string, *mail.Visit] {
	return func(yield func(string, *mail.Visit) bool) {
		for _, c := range v.Stores {
			if !yield("Remote.Store", &mail.Visit{Folder: v.Folder, Validity: v.Validity, Stores: []*mail.FlagChange{c}}) {
				return
			}
		}
		if len(v.Expunge) > 0 {
			part := &mail.Visit{Folder: v.Folder, Validity: v.Validity, Expunge: v.Expunge}
			more := yield("Remote.Expunge", part)
			if v.Expunged = part.Expunged; !more {
				return
			}
		}
		if len(v.Moves) > 0 {
			yield("Remote.Move", &mail.Visit{Folder: v.Folder, Validity: v.Validity, Moves: v.Moves})
		}
	}
}

// failed gives the last error of a part of a Visit.
func failed(part *mail.Visit) error {
	err := part.Expunged
	for _, c := range part.Stores {
		err = cmp.Or(c.Err, err)
	}
	for _, m := range slices.Backward(part.Moves) {
		if m.Err != nil {
			return m.Err
		}
	}
	return err
}

// visit does one part of a Visit.
func (c *Client) visit(ctx context.Context, part *mail.Visit) {
	for _, s := range part.Stores {
		s.Met = map[mail.UID]bool{}
		s.Err = c.store(ctx, part, s)
	}
	if len(part.Moves) > 0 {
		c.move(ctx, part)
	}
	if len(part.Expunge) > 0 {
		part.Expunged = c.expunge(ctx, part)
	}
}

// InVain does a part of a Visit, or not, as Behind says, and nobody is told.
func (c *Client) InVain(part *mail.Visit) {
	if b := c.server.Behind; b != nil && b(Call{Client: c.number, Method: "Change", Folder: part.Folder}) > 0 {
		c.inVain(part)
	}
}

// inVain does a part of a Visit, and nobody is told.
func (c *Client) inVain(part *mail.Visit) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.open(part.Folder, part.Validity)
	if err != nil || f.readOnly {
		return
	}
	for _, change := range part.Stores {
		c.reflag(f, change)
	}
	for _, m := range part.Moves {
		call := Call{Client: c.number, Method: "Move", Folder: part.Folder, Target: m.To}
		c.transferring(call, m.UID, new(mail.UID))(f) // there is nobody to hear of its error
	}
	if !s.Options.NoUIDPlus {
		f.expunge(part.Expunge)
	}
}

// store changes flags. Like servers with mod-sequences it tells of what has changed only.
func (c *Client) store(ctx context.Context, part *mail.Visit, change *mail.FlagChange) error {
	return c.write(ctx, Call{Method: "Store", Folder: part.Folder, UIDs: change.UIDs}, part.Validity, func(f *mailbox) error {
		for _, uid := range c.reflag(f, change) {
			change.Met[uid] = true
		}
		return nil
	})
}

// reflag gives the messages whose flags have changed. Called with the lock held.
func (c *Client) reflag(f *mailbox, change *mail.FlagChange) []mail.UID {
	return f.update(change.UIDs, func(old mail.Flags) mail.Flags {
		return c.server.flags(old.With(change.Add).Without(change.Remove))
	})
}

// move is RFC 6851's.
func (c *Client) move(ctx context.Context, part *mail.Visit) {
	for i, m := range part.Moves {
		call := Call{Client: c.number, Method: "Move", Folder: part.Folder, Target: m.To, UIDs: mail.UIDs(m.UID)}
		m.There, m.Err = c.transfer(ctx, call, part.Validity, m.UID)
		if !errors.Is(m.Err, mail.ErrUnreachable) {
			continue
		}
		// As many as Behind says were sent behind it, and the server has met some of them.
		lost := part.Moves[i+1:]
		if c.server.Behind != nil {
			c.inVain(&mail.Visit{Folder: part.Folder, Validity: part.Validity, Moves: lost[:min(len(lost), c.server.Behind(call))]})
		}
		for _, l := range lost {
			l.Err = m.Err
		}
		break
	}
}

// Copy copies a message.
func (c *Client) Copy(ctx context.Context, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder) (mail.UID, error) {
	return c.transfer(ctx, Call{Method: "Copy", Folder: folder, Target: target, UIDs: mail.UIDs(uid)}, validity, uid)
}

func (c *Client) transfer(ctx context.Context, call Call, validity uint32, uid mail.UID) (mail.UID, error) {
	var there mail.UID
	err := c.write(ctx, call, validity, c.transferring(call, uid, &there))
	if err != nil || c.server.Options.NoUIDPlus {
		return 0, err
	}
	return there, nil
}

// transferring gives what moves or copies a message, and tells where it is then.
func (c *Client) transferring(call Call, uid mail.UID, there *mail.UID) func(*mailbox) error {
	return func(f *mailbox) error {
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
		*there = s.copyTo(f.messages[i], call.Target)
		if call.Method == "Move" {
			f.expunge(mail.UIDs(uid))
		}
		return nil
	}
}

// expunge removes messages. RFC 4315, 2.1: UID EXPUNGE touches only those that are
// marked \Deleted, so the mark goes before it.
func (c *Client) expunge(ctx context.Context, part *mail.Visit) error {
	return c.write(ctx, Call{Method: "Expunge", Folder: part.Folder, UIDs: part.Expunge}, part.Validity, func(f *mailbox) error {
		if c.server.Options.NoUIDPlus {
			return fmt.Errorf("expunge in %s: no UIDPLUS: %w", part.Folder, mail.ErrRefused)
		}
		f.expunge(part.Expunge)
		return nil
	})
}

// CreateFolder makes a folder.
func (c *Client) CreateFolder(ctx context.Context, folder mail.Folder) error {
	return c.change(ctx, Call{Method: "CreateFolder", Folder: folder}, func() error {
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.count(1, 0, 0)
		return c.server.add(folder)
	})
}

// RenameFolder renames a folder and those inside it.
func (c *Client) RenameFolder(ctx context.Context, folder, to mail.Folder) error {
	return c.change(ctx, Call{Method: "RenameFolder", Folder: folder, Target: to}, func() error {
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.count(1, 0, 0)
		return c.server.rename(folder, to)
	})
}

// DeleteFolder deletes a folder and its messages; folders inside it stay.
func (c *Client) DeleteFolder(ctx context.Context, folder mail.Folder) error {
	return c.change(ctx, Call{Method: "DeleteFolder", Folder: folder}, func() error {
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.count(1, 0, 0)
		return c.server.drop(folder)
	})
}
