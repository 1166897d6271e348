package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// How much may be under way in APPENDs that are not answered yet. It is what a line of
// 100 MB/s holds in 40 ms; the server's answers free it.
const (
	maxAppends     = 256
	maxAppendBytes = 4 << 20
)

// manyAppends is from how many messages on for one folder it pays to have it selected: Dovecot
// opens, for each APPEND, a folder that is not, which is a third of what that costs.
const manyAppends = 16

// Append uploads messages. Where the server takes literals unasked, it goes on with the
// next one before the last one is answered.
//
// A literal that ends early cannot be taken back: what the client sends next would
// become message text. So where the source does not give exactly the octets that
// were announced, the connection is closed in the middle of the literal, and the
// server stores nothing (RFC 9051, 6.3.12).
func (a *Account) Append(ctx context.Context, next func() *mail.Outgoing, answered func(mail.Appended)) {
	p := &appends{account: a, ctx: ctx, answered: answered}
	for u := next(); u != nil; {
		err := p.unable(u)
		if err == nil {
			err = a.with(ctx, "append", p.target(u), func(s *session) error {
				p.session, p.run = s, appendRun{}
				defer p.drain(0)
				for u != nil && p.takes(u) {
					if err := a.compress(s, p.all); err != nil {
						return err
					}
					if err := p.send(u); err != nil {
						return err
					}
					u = nil
					if p.failed == nil {
						u = next()
					}
				}
				return nil
			})
		}
		if u == nil {
			return
		}
		if err = cmp.Or(err, p.failed); err != nil {
			p.tell(u.Folder, mail.Appended{Err: err})
			return
		}
		// After a BAD a session is not used again, and another one goes on.
	}
}

// appends are the APPENDs of a session that are under way.
type appends struct {
	account *Account
	ctx     context.Context // of the Append
	*session
	answered func(mail.Appended)
	failed   error        // that of the first that was neither stored nor refused
	sent     []*appending // oldest first
	run      appendRun
	bytes    int64
	all      int64 // octets of all messages that were or are to be sent
}

// unable tells why nothing can be appended to a folder at all.
func (p *appends) unable(u *mail.Outgoing) error {
	if p.account.opts.ReadOnly {
		return fmt.Errorf("%w: the account was opened to be read only", mail.ErrReadOnly)
	}
	_, err := p.account.server(p.ctx, u.Folder)
	return err
}

// tell tells what became of a message.
func (p *appends) tell(folder mail.Folder, done mail.Appended) {
	switch {
	case done.Err != nil && p.ctx.Err() != nil:
		done.Err = p.ctx.Err()
	case done.Err != nil:
		done.Err = fmt.Errorf("append to %s: %w", mail.Clean(string(folder), maxText), done.Err)
	}
	if done.Err != nil && !errors.Is(done.Err, mail.ErrRefused) {
		p.failed = cmp.Or(p.failed, done.Err)
	}
	p.answered(done)
}

// appendRun are the messages for one folder that follow one another on a session.
type appendRun struct {
	name    string
	n       int
	opening *opening // the SELECT that is under way; nil: none is
}

// target is the server's name of where a message goes, "" where it is not known.
func (p *appends) target(u *mail.Outgoing) string {
	name, err := p.account.server(p.ctx, u.Folder)
	if err != nil {
		return ""
	}
	return name
}

// enter counts a message that goes to a folder, and has that selected where there are many.
// Nothing waits for it.
func (p *appends) enter(name string) {
	if p.run.name != name {
		p.run.name, p.run.n = name, 0
	}
	if p.run.n++; p.run.n == manyAppends && p.session.box.name != name && p.run.opening == nil {
		o := p.opening(name, false)
		p.run.opening = &o
	}
}

// entered takes the answer to the SELECT that is under way. What is wrong with the folder, its
// APPENDs tell.
func (p *appends) entered() {
	if o := p.run.opening; o != nil {
		p.run.opening = nil
		if err := p.opened(*o); err != nil {
			p.account.log.Debug("folder is not selected for what is appended to it", "error", err)
		}
	}
}

type appending struct {
	to   mail.Folder
	name string // as the server calls it
	cmd  *imapclient.AppendCommand
	size int64
	sent bool // all of it
}

// asks tells whether the server is asked before the literal is sent.
func (p *appends) asks(u *mail.Outgoing) bool {
	return u.Source.Identity().Size >= worthAsking || !p.caps.Has(imap.CapLiteralPlus)
}

// takes waits until a message may follow those that are under way, and tells whether the
// session is still of use.
func (p *appends) takes(u *mail.Outgoing) bool {
	size := u.Source.Identity().Size
	p.all += size
	if p.asks(u) || u.Alone || p.account.compresses(p.session, p.all) {
		p.drain(0)
	}
	for len(p.sent) == maxAppends || len(p.sent) > 0 && p.bytes+size > maxAppendBytes {
		p.drain(len(p.sent) - 1)
	}
	return !p.broken
}

// send sends one message. An error says that it was not begun.
func (p *appends) send(u *mail.Outgoing) error {
	size := u.Source.Identity().Size
	name, err := p.account.server(p.ctx, u.Folder)
	if err != nil {
		return err
	}
	if limit, err := p.appendLimit(name, size); err != nil {
		return err
	} else if limit != nil && size > int64(*limit) {
		p.drain(0)
		p.tell(u.Folder, mail.Appended{Err: fmt.Errorf("%w: its %d octets are more than the %d that it takes (APPENDLIMIT)", mail.ErrRefused, size, *limit)})
		return nil
	}
	opts := &imap.AppendOptions{Flags: settable(u.Flags), Time: u.Date.UTC()}
	if y := opts.Time.Year(); y < 1 || y > 9999 {
		opts.Time = time.Time{} // no date-time has room for it; the server takes today
	}
	p.account.unsee(u.Folder)
	p.enter(name)
	p.done = true // the source can be read once
	w := &exactly{left: size}
	cmd, err := p.upload(name, u, opts, func(to io.Writer) error {
		w.w = to
		_, err := u.Source.WriteTo(w)
		if err == nil && w.left > 0 {
			err = fmt.Errorf("%w: %d octets of %d are missing", mail.ErrChanged, w.left, size)
		}
		if w.err != nil || err == nil {
			return nil // the server's or the connection's fault, as the answer tells
		}
		p.drain(0) // before the connection is closed
		return err
	})
	if err != nil {
		p.tell(u.Folder, mail.Appended{Err: fmt.Errorf("read the message: %w", err)})
		return nil
	}
	p.sent = append(p.sent, &appending{to: u.Folder, name: name, cmd: cmd, size: size, sent: w.left == 0})
	p.bytes += size
	if p.asks(u) || u.Alone || w.left > 0 {
		p.drain(0)
	}
	return nil
}

// drain takes answers until no more than so many are missing.
func (p *appends) drain(left int) {
	for len(p.sent) > left {
		oldest := p.sent[0]
		p.sent = p.sent[1:]
		p.bytes -= oldest.size
		data, err := oldest.cmd.Wait()
		if err != nil {
			err = p.troubleOfAppend(err)
			p.tell(oldest.to, mail.Appended{Err: err, Sent: oldest.sent && !errors.Is(err, mail.ErrRefused)})
			continue
		}
		p.scans.begin(oldest.name)
		p.tell(oldest.to, mail.Appended{UID: mail.UID(data.UID), UIDValidity: data.UIDValidity})
	}
	if left == 0 {
		p.entered()
	}
}

// upload sends an APPEND with what write writes. An error is that of write, and then the
// connection is closed.
func (p *appends) upload(name string, u *mail.Outgoing, opts *imap.AppendOptions, write func(io.Writer) error) (*imapclient.AppendCommand, error) {
	size := u.Source.Identity().Size
	if !p.asks(u) {
		var failed error
		p.conn.Fill(size, func(to io.Writer) error { failed = write(to); return failed })
		cmd := p.client.Append(name, 0, opts)
		cmd.Close()
		if failed != nil {
			p.broken = true
			cmd.Wait() // it ends with the connection
		}
		return cmd, failed
	}
	cmd := p.client.Append(name, size, opts) // it waits to be asked for the literal
	err := write(cmd)
	if err != nil {
		p.broken = true
		p.conn.Close()
		cmd.Close() // it flushes into the closed connection, and gives the lock back
		cmd.Wait()  // it ends with the connection
	} else if cmd.Close() != nil {
		p.broken = true // the server said NO to the literal, after which the client cannot go on
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
