package remotetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// Source makes the source of an upload of these bytes, in the line ends of a file
// or of the wire.
func Source(raw []byte) mail.Source { return newSource(raw) }

// BrokenSource makes a source that promises all of the bytes and gives err in place
// of the last ones, as a file does that changes while it is read.
func BrokenSource(raw []byte, err error) mail.Source {
	s := newSource(raw)
	s.err = err
	return s
}

// Append uploads one message.
func Append(ctx context.Context, remote engine.Remote, folder mail.Folder, flags mail.Flags, date time.Time, source mail.Source) (done mail.Appended) {
	one := &mail.Outgoing{Folder: folder, Source: source, Flags: flags, Date: date}
	remote.Append(ctx, func() (next *mail.Outgoing) {
		next, one = one, nil
		return next
	}, func(a mail.Appended) { done = a })
	return done
}

// Pause gives a server that calls at the moment of each upload: before its effect, and when
// it is answered.
func Pause(remote engine.Remote, before, after func()) engine.Remote {
	return &pausing{remote, before, after}
}

type pausing struct {
	engine.Remote
	before, after func()
}

func (p *pausing) Append(ctx context.Context, next func() *mail.Outgoing, answered func(mail.Appended)) {
	p.Remote.Append(ctx, func() *mail.Outgoing {
		u := next()
		if u != nil {
			p.before()
		}
		return u
	}, func(a mail.Appended) {
		p.after()
		answered(a)
	})
}

// Wire gives the canonical bytes of a message: each LF that no CR precedes becomes
// CRLF.
func Wire(raw []byte) []byte {
	var b bytes.Buffer
	(&mail.ToWire{W: &b}).Write(raw) // a Buffer never fails
	return b.Bytes()
}

// IdentityOf measures a message.
func IdentityOf(raw []byte) mail.Identity {
	var m mail.Measure
	m.Write(raw)
	return m.Identity()
}

type source struct {
	wire   []byte
	id     mail.Identity
	length int64 // as the file has it
	err    error // in place of the last bytes
	spent  bool
}

func newSource(raw []byte) *source {
	return &source{wire: Wire(raw), id: IdentityOf(raw), length: int64(len(raw))}
}

func (s *source) Identity() mail.Identity { return s.id }

func (s *source) Stat() mail.Stat { return mail.Stat{Size: s.length} }

func (s *source) Close() error { return nil }

// heldBack is how many bytes a source keeps to itself until the end.
const heldBack = 1

// WriteTo writes in small pieces, which must not show in what arrives.
func (s *source) WriteTo(w io.Writer) (int64, error) {
	if s.spent {
		return 0, errors.New("a source was read twice")
	}
	s.spent = true
	last := max(0, len(s.wire)-heldBack)
	var written int64
	write := func(p []byte) error {
		n, err := w.Write(p)
		written += int64(n)
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		return err
	}
	for rest := s.wire[:last]; len(rest) > 0; {
		n := min(len(rest), 777)
		if err := write(rest[:n]); err != nil {
			return written, fmt.Errorf("write message: %w", err)
		}
		rest = rest[n:]
	}
	if s.err != nil {
		return written, s.err
	}
	return written, write(s.wire[last:])
}
