package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

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
		if limit, err := s.appendLimit(name, size); err != nil {
			return err
		} else if limit != nil && size > int64(*limit) {
			return fmt.Errorf("%w: its %d octets are more than the %d that it takes (APPENDLIMIT)", mail.ErrRefused, size, *limit)
		}
		s.done = true // the source can be read once
		w := &exactly{left: size}
		cmd, err := s.upload(name, size, opts, func(to io.Writer) error {
			w.w = to
			_, err := source.WriteTo(w)
			switch {
			case w.err != nil:
				return nil // the server's or the connection's fault, as the answer tells
			case err == nil && w.left > 0:
				return fmt.Errorf("%w: %d octets of %d are missing", mail.ErrChanged, w.left, size)
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("read the message: %w", err)
		}
		sent = w.left == 0
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

// upload sends an APPEND with what write writes. An error is that of write, and then the
// connection is closed.
func (s *session) upload(name string, size int64, opts *imap.AppendOptions, write func(io.Writer) error) (*imapclient.AppendCommand, error) {
	if size < worthAsking && s.caps.Has(imap.CapLiteralPlus) {
		var failed error
		s.conn.Fill(size, func(to io.Writer) error { failed = write(to); return failed })
		cmd := s.client.Append(name, 0, opts)
		cmd.Close()
		if s.broken = failed != nil; s.broken {
			cmd.Wait() // it ends with the connection
		}
		return cmd, failed
	}
	cmd := s.client.Append(name, size, opts) // it waits to be asked for the literal
	err := write(cmd)
	if err != nil {
		s.broken = true
		s.conn.Close()
		cmd.Close() // it flushes into the closed connection, and gives the lock back
		cmd.Wait()  // it ends with the connection
	} else if cmd.Close() != nil {
		s.broken = true // the server said NO to the literal, after which the client cannot go on
	}
	return cmd, err
}

// worthAsking is the size of a message for which to ask for the limit costs less than to
// send it in vain.
const worthAsking = 1 << 20

// appendLimit is the size of the largest message that a folder takes; nil: it is not
// known, or there is none. RFC 7889: it stands with the capability, or, where each folder
// has its own, in the folder's STATUS.
func (s *session) appendLimit(name string, size int64) (*uint32, error) {
	limit, ok := s.caps.AppendLimit()
	if !ok || limit != nil || size < worthAsking {
		return limit, nil
	}
	status, err := s.client.Status(name, &imap.StatusOptions{AppendLimit: true}).Wait()
	switch {
	case refused(err) != nil:
		return nil, nil
	case err != nil:
		return nil, s.trouble(err)
	case status.AppendLimit == nil || *status.AppendLimit == 1<<32-1: // what the client makes of NIL
		return nil, nil
	}
	return status.AppendLimit, nil
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
