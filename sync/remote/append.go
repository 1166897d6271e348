package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
)

// Append uploads a message.
//
// A literal that ends early cannot be taken back: what the client sends next would
// become message text. So where the source does not give exactly the octets that
// were announced, the connection is closed in the middle of the literal, and the
// server stores nothing (RFC 9051, 6.3.12).
func (a *Account) Append(ctx context.Context, folder mail.Folder, flags mail.Flags, date time.Time, source mail.Source) (uid mail.UID, validity uint32, sent bool, err error) {
	size := source.Identity().Size
	opts := &imap.AppendOptions{Flags: settable(flags), Time: date.UTC()}
	if y := opts.Time.Year(); y < 1 || y > 9999 {
		opts.Time = time.Time{} // no date-time has room for it; the server takes today
	}
	err = a.change(ctx, "append to", folder, func(s *session, name string) error {
		if limit, ok := s.caps.AppendLimit(); ok && limit != nil && size > int64(*limit) {
			return fmt.Errorf("%w: its %d octets are more than the %d that it takes (APPENDLIMIT)", mail.ErrRefused, size, *limit)
		}
		s.done = true // the source can be read once
		cmd := s.client.Append(name, size, opts)
		w := &exactly{w: cmd, left: size}
		_, err := source.WriteTo(w)
		if err == nil && w.err == nil && w.left > 0 {
			err = fmt.Errorf("%w: %d octets of %d are missing", mail.ErrChanged, w.left, size)
		}
		if err != nil && w.err == nil {
			s.broken = true
			s.conn.Close()
			cmd.Close() // it flushes into the closed connection, and gives the lock back
			cmd.Wait()  // it ends with the connection
			return fmt.Errorf("read the message: %w", err)
		}
		sent = w.left == 0
		if cmd.Close() != nil {
			// The server said NO to the literal, or the connection broke. The client cannot
			// go on after either.
			s.broken = true
		}
		data, err := cmd.Wait()
		if err != nil {
			err = s.troubleOfAppend(err)
			if errors.Is(err, mail.ErrRefused) {
				sent = false
			}
			return err
		}
		sent = false
		uid, validity = mail.UID(data.UID), data.UIDValidity
		return nil
	})
	return uid, validity, sent, err
}

// troubleOfAppend is trouble for an APPEND. To it, [LIMIT] is no limit that passes:
// that is what Dovecot says of a message that is too large for it.
func (s *session) troubleOfAppend(err error) error {
	no := new(imap.Error)
	refused := errors.As(err, &no) && no.Type == imap.StatusResponseTypeNo
	switch {
	case refused && no.Code == imap.ResponseCodeLimit:
		return fmt.Errorf("%w: %s", mail.ErrRefused, text(no))
	case refused && no.Code == imap.ResponseCodeOverQuota:
		return fmt.Errorf("%w: %w: %s", mail.ErrOverQuota, mail.ErrRefused, text(no))
	}
	if err = s.trouble(err); errors.Is(err, mail.ErrUnreachable) {
		err = fmt.Errorf("%w: %w", mail.ErrBrokeOff, err)
	}
	return err
}

// exactly passes on no more than was announced, and keeps the writer's error apart
// from that of the source.
type exactly struct {
	w    io.Writer
	left int64
	err  error // of w
}

func (e *exactly) Write(p []byte) (int, error) {
	if int64(len(p)) > e.left {
		return 0, fmt.Errorf("%w: it is longer than it was", mail.ErrChanged)
	}
	n, err := e.w.Write(p)
	e.left -= int64(n)
	if err != nil {
		e.err = err
	}
	return n, err
}
