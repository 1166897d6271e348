package wire

import (
	"bufio"
	"errors"
	"io"
	"time"

	"mailtwin/conflict/mail"
)

// inbound is the side of the connection that reads. It hands on a response in parts,
// each of them repaired: up to the literal of a message body, then the body, then on to
// the next body or the end.
type inbound struct {
	*bufio.Reader           // of a plain
	from          io.Reader // what that reads

	ready []byte // of a part, for the consumer
	body  int64  // how many octets of a body are to follow then
	err   error  // why there is no more

	resp  response
	shape shape
	line  int   // octets of the response's lines so far
	held  int64 // octets of its literals so far that are no bodies
	more  bool  // the response goes on after the body
	stray bool  // the response is passed over, with its bodies: see dialogue.stray
}

// maxKept is how much memory stays with a connection after a long response.
const maxKept = 64 << 10

// Read gives what the server sent, repaired. It gives io.ErrUnexpectedEOF where the
// connection ends within a response, and io.EOF where it ends between two.
func (c *Conn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	in := &c.in
	if len(p) == 0 {
		return 0, nil
	}
	for len(in.ready) == 0 && in.body == 0 {
		if in.err == nil {
			in.err = c.next()
		}
		if in.err != nil {
			return 0, in.err
		}
	}
	if len(in.ready) > 0 {
		n := copy(p, in.ready)
		in.ready = in.ready[n:]
		return n, nil
	}
	n, err := in.Reader.Read(p[:min(int64(len(p)), in.body)])
	in.body -= int64(n)
	if err != nil && in.err == nil {
		in.err = c.lost(err)
	}
	if n > 0 {
		return n, nil
	}
	return 0, in.err
}

// next reads and repairs the next part into in.ready.
func (c *Conn) next() error {
	in := &c.in
	r := &in.resp
	if cap(r.b) > maxKept {
		r.b = nil
	}
	if cap(r.out)+cap(r.scratch) > maxKept {
		r.out, r.scratch = nil, nil
	}
	r.begin(in.more)
	if !in.more {
		in.shape, in.line, in.held = shape{}, 0, 0
		c.mu.Lock()
		c.fresh = in.Buffered() == 0
		c.mu.Unlock()
	}
	for {
		from := len(r.b)
		if err := c.readLine(); err != nil {
			return err
		}
		line := r.b[from:]
		if from == 0 && r.first {
			r.parseHead()
		}
		if in.line > maxShort && !long[r.word] {
			return c.broken("a line of more than %d octets", maxShort)
		}
		if !r.data {
			break // free text has no literals, whatever it ends in
		}
		in.shape.fragment(line)
		if in.shape.depth > maxDepth {
			return c.broken("lists in lists, more than %d deep", maxDepth)
		}
		lit, ok := announced(line)
		if in.shape.quoted && (ok || !r.droppable()) {
			// The client's parser would read on over the line end, without bounds.
			return c.broken("a quoted string without an end")
		}
		if in.shape.quoted {
			r.drop("a quoted string without an end")
		}
		if !ok || lit.plus { // no server announces with "+"; the parser will say so
			break
		}
		if r.word == "FETCH" && in.shape.body(line, lit) {
			if in.shape.header && (lit.size < 0 || lit.size > maxHeader) {
				return c.broken("a header of more than %d octets", maxHeader)
			}
			if lit.size < 0 || lit.size > c.opts.MaxBody {
				return c.broken("a message of more than %d octets", c.opts.MaxBody)
			}
			in.body, r.last = lit.size, false
			break
		}
		if lit.size < 0 || lit.size > c.opts.MaxLiteral-in.held {
			return c.broken("literals of more than %d octets", c.opts.MaxLiteral)
		}
		in.held += lit.size
		if err := c.readLiteral(int(lit.size)); err != nil {
			return err
		}
	}
	in.more = !r.last
	var err error
	if in.ready, err = c.handle(r); err != nil || !in.stray || in.body == 0 {
		return err
	}
	n, err := io.CopyN(io.Discard, in.Reader, in.body)
	if in.body -= n; err != nil {
		return c.lost(err)
	}
	return nil
}

// readLine appends the next line to the part.
func (c *Conn) readLine() error {
	in := &c.in
	for {
		chunk, err := in.ReadSlice('\n')
		in.line += len(chunk)
		if in.line > c.opts.MaxLine {
			return c.broken("a line of more than %d octets", c.opts.MaxLine)
		}
		in.resp.b = append(in.resp.b, chunk...)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return c.lost(err)
		}
	}
}

// readLiteral appends n octets to the part.
func (c *Conn) readLiteral(n int) error {
	r := &c.in.resp
	from := len(r.b)
	r.literals = append(r.literals, span{from, from + n})
	r.b = append(r.b, make([]byte, n)...)
	if _, err := io.ReadFull(c.in.Reader, r.b[from:]); err != nil {
		return c.lost(err)
	}
	return nil
}

// handle observes a part, repairs it, and gives what the client is to see of it.
func (c *Conn) handle(r *response) ([]byte, error) {
	c.mu.Lock()
	secret := c.talk.secret()
	greeted := c.talk.greeted
	r.emailIDs = c.talk.emailIDs
	switch {
	case !r.first:
	case r.kind == continuation:
		if !c.talk.continued() {
			r.drop("a continuation request that nobody waits for")
		}
	case r.status():
		c.observe(r)
	}
	if r.first && r.kind == tagged {
		if c.talk.answered(r.tag) {
			c.selected = append(c.selected, c.notes)
		}
		c.selecting()
		if c.answersAsk(r) {
			r.dropped = true // the client did not ask
		}
	}
	now := time.Now()
	if now.Sub(c.said.heard) > c.opts.Timeout && c.flows() {
		c.said.heard = now // see source
	}
	tooMuch := c.said.add(r, now, c.opts.Timeout, c.talk.owed())
	watch, selecting := c.watch, c.talk.selecting()
	c.mu.Unlock()
	if tooMuch != "" {
		return nil, c.broken("%s", tooMuch)
	}

	if c.opts.Trace != nil {
		c.opts.Trace(false, redactResponse(r, secret))
	}
	if watch != nil && r.first && r.kind == untagged {
		if told, ok := r.told(); ok && !(selecting && told.ofMessages()) {
			watch(told)
		}
	}
	r.repair(greeted)
	if r.first {
		c.mu.Lock()
		c.in.stray = r.word == "FETCH" && c.talk.stray(mail.UID(r.uid))
		c.mu.Unlock()
		if c.in.stray {
			r.because("a FETCH response that answers nothing")
		}
	}
	r.dropped = r.dropped || c.in.stray
	identified := r.last && !r.dropped && r.emailIDs && r.emailID != "" && r.uid != 0
	if len(r.why) > 0 || identified {
		c.mu.Lock()
		for _, why := range r.why {
			c.notes.dropped(r.excuse(why, secret))
		}
		if identified {
			c.identified(mail.UID(r.uid), r.emailID)
		}
		c.mu.Unlock()
	}
	return r.result(), nil
}
