package wire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"mailtwin/conflict/mail"
)

// Write sends p to the server, in pieces that each have Timeout to get through.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	switch {
	case c.fill != nil:
		return c.filled(p)
	case c.corked:
		if c.ended() {
			return 0, net.ErrClosed
		}
		c.held = append(c.held, p...)
		return len(p), nil
	}
	return c.send(p)
}

// ended tells whether the connection is closed. To keep what is written then would be to
// leave a command without an end: the client has given up those that it knew of, and does the
// same with a later one only if it cannot write it.
func (c *Conn) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Cork keeps what is written until Uncork, which sends it as one: else the server may answer
// the first of several commands before the next one is written.
func (c *Conn) Cork() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.corked = true
}

// Uncork sends what was kept. An error ends the connection, and so the commands.
func (c *Conn) Uncork() {
	c.writing.Lock()
	defer c.writing.Unlock()
	p := c.held
	c.corked, c.held = false, nil
	if len(p) > 0 {
		_, _ = c.send(p)
	}
}

// send is Write; writing is held.
func (c *Conn) send(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		piece := p[sent:min(len(p), sent+maxChunk)]
		out, err := c.follow(piece)
		if err != nil {
			return sent, err
		}
		if c.deflate == nil {
			var n int
			n, err = sink{c}.Write(out)
			sent += min(n, len(piece)) // all of it, unless there is an error
		} else if _, err = c.deflate.Write(out); err == nil {
			if err = c.deflate.Flush(); err == nil { // the server waits for all of it
				sent += len(piece)
			}
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// sink writes to the connection beneath.
type sink struct{ c *Conn }

func (s sink) Write(p []byte) (int, error) {
	c := s.c
	sent := 0
	for sent < len(p) {
		// A connection that is closed meanwhile says so in its Write.
		_ = c.inner.SetWriteDeadline(time.Now().Add(c.opts.Timeout))
		n, err := c.inner.Write(p[sent:min(len(p), sent+maxChunk)])
		sent += n
		c.mu.Lock()
		c.stats.BytesOut += int64(n)
		c.queued = c.socket.queued()
		if c.fresh {
			c.arm() // for the Read that waits since before the server owed anything
		}
		c.mu.Unlock()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return sent, c.end(fmt.Errorf("%w: the server took nothing for %v", mail.ErrUnreachable, c.opts.Timeout))
		case err != nil:
			return sent, c.refused(err)
		}
	}
	return sent, nil
}

// follow takes in what is about to be written, and gives what is written for it. The
// state has to be right before the server can answer.
func (c *Conn) follow(piece []byte) ([]byte, error) {
	var lines []string
	var show func([]byte)
	if c.opts.Trace != nil {
		show = func(line []byte) { lines = append(lines, clean(line, maxShown)) }
	}
	c.mu.Lock()
	owed := c.talk.owed()
	out, ok := c.talk.write(piece, show)
	c.selecting()
	if !owed && c.talk.owed() {
		c.owedFrom = time.Now()
		c.said.answered(c.owedFrom)
	}
	c.mu.Unlock()
	for _, line := range lines {
		c.opts.Trace(true, line)
	}
	if !ok {
		return nil, c.end(fmt.Errorf("%w: a command of more than %d octets", mail.ErrUnreachable, maxCommand))
	}
	return out, nil
}

// refused ends the connection for a Write that failed. Where the server said why before
// it closed the connection, that is the better reason.
func (c *Conn) refused(err error) error {
	cause := fmt.Errorf("%w: writing: %w", mail.ErrUnreachable, err)
	c.mu.Lock()
	if c.notes.Bye != "" {
		cause = c.bye("the server closed the connection")
	}
	c.mu.Unlock()
	return c.end(cause)
}
