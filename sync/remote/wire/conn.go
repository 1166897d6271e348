// Package wire is the connection under the IMAP client library: a net.Conn that
// makes up for what the library does badly, and sees what the library hides.
//
// It frames both directions into lines and literals. On the way in it caps what the
// server may send, gives up when nothing moves, turns a literal that ends early into
// an error, repairs or drops lines that the library's parser would die of, and notes
// what the library throws away. On the way out it follows the commands, so that it
// knows whether the server owes an answer, and adds what the library cannot ask for.
//
// It knows the syntax of IMAP (RFC 9051, 9) and the habits of go-imap's imapclient.
// It does not know folders, messages, TLS or what a command is for. It starts no
// goroutine. Message bodies stream through it; its memory does not grow with them.
//
// What it cannot mend: when reading the literal of a body fails, the client's reader
// goes on at once, while Next and Close of the FETCH command read the literal again. So
// a consumer that gets such an error waits for the client's Closed first.
package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/klauspost/compress/flate"

	"mailtwin/conflict/mail"
)

// Options bound what the connection accepts. A zero field means its default.
type Options struct {
	// Timeout ends the connection when for so long nothing moves: where the server owes
	// an answer, within a response or a literal, and while writing. Default: 45 s.
	Timeout time.Duration
	// MaxLine is how many octets the lines of one response may have, without its
	// literals. Default: 8 MiB. Only the answer to a search may have more than 64 KiB.
	MaxLine int
	// MaxLiteral is how many octets the literals of one response may have that are not
	// message bodies; the client keeps these in memory. Default: 1 MiB.
	MaxLiteral int64
	// MaxBody is how many octets the literal of a message body may have, which is that
	// of BODY[...], BINARY[...] and RFC822 in a FETCH response. Default: 4 GiB - 1.
	MaxBody int64
	// Trace gets each line without its line end: shortened, without control characters,
	// without credentials, and without what literals and message bodies hold. It may be
	// called by a reader and a writer at once, and must not use the connection. nil:
	// no trace.
	Trace func(sent bool, line string)
}

// Stats is what the connection has cost.
type Stats struct {
	// BytesIn and BytesOut count octets under IMAP and its compression, and above TLS.
	BytesIn, BytesOut int64
	// Nearest is how long the quickest of all answers took to begin, which is how far away
	// the server is; 0: none has come yet.
	Nearest time.Duration
	// RoundTrips counts, after Ready, the writes that made the server owe something
	// when it owed nothing: a command, the announcement of a literal that has to be
	// asked for (RFC 9051, 4.3), the end of IDLE. Commands that are written before the
	// first of them is answered count once.
	RoundTrips int
}

// Conn is the connection. Like every net.Conn it may be used from several goroutines
// at once.
type Conn struct {
	inner net.Conn
	opts  Options

	reading sync.Mutex // held by Read; guards in
	in      inbound
	writing sync.Mutex // held by Write; guards fill, corked, held and deflate
	fill    *fill
	corked  bool
	held    []byte        // written while corked
	deflate *flate.Writer // nil: what is written goes out as it is

	mu    sync.Mutex // guards all below; never held while something blocks
	talk  dialogue
	notes Notes
	// selected is what the answers to SELECTs told that nobody has asked for yet, oldest first.
	selected []Notes
	emailIDs map[identified]string // see EmailID
	stats    Stats
	err      error         // why it ended
	closed   bool          // by Close
	wait     time.Duration // how long the Read under way may take; 0: for ever
	asking   bool          // a Read of inner is under way
	fresh    bool          // no octet of the next response has come yet
	said     talk
	owedFrom time.Time // when the server began to owe what has not begun to come; zero: it has
	hollow   int       // how many octets have come since any of them became something
	socket   *socket   // nil: there is none
	queued   int       // how much the kernel had left of what was written, when last asked
	asked    *question // nil: nobody waits for an answer
	watch    func(Told)
}

const (
	defaultTimeout    = 45 * time.Second
	defaultMaxLine    = 8 << 20
	defaultMaxLiteral = 1 << 20
	defaultMaxBody    = 1<<32 - 1

	readBuffer = 32 << 10
	// maxChunk is one TLS record: what has to get through within one Timeout.
	maxChunk = 16 << 10
	// maxCommand bounds a line that the client writes, which servers limit to far less
	// (RFC 2683, 3.2.1.5).
	maxCommand = 1 << 20
)

// New puts a Conn over conn, from which nothing of IMAP has been read yet, and which
// it closes in the end.
func New(conn net.Conn, opts Options) *Conn {
	set(&opts.Timeout, defaultTimeout)
	set(&opts.MaxLine, defaultMaxLine)
	set(&opts.MaxLiteral, defaultMaxLiteral)
	set(&opts.MaxBody, defaultMaxBody)
	c := &Conn{inner: conn, opts: opts, fresh: true, said: talk{heard: time.Now()}}
	c.in.from = source{c}
	c.in.Reader = bufio.NewReaderSize(plain{c}, readBuffer)
	c.socket = socketOf(conn)
	return c
}

func set[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// Ready says that the login is over: round trips count from now on.
func (c *Conn) Ready() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.talk.ready = true
}

// Stats tells what the connection has cost so far.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.RoundTrips = c.talk.trips
	return c.stats
}

// Take gives what was observed since the last Take, or since New, and forgets it, all but
// the text of a BYE. What the answer to a command says is there as soon as the client knows
// that the command is answered. What is about the selected folder is forgotten, too, when the
// server comes to the next SELECT: see Selected.
func (c *Conn) Take() Notes {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.notes
	c.notes = Notes{Bye: taken.Bye}
	return taken
}

// Selected gives what the answer to the oldest SELECT told that it was not asked for yet. It
// is to be asked once for each SELECT, when the client knows that that is answered.
func (c *Conn) Selected() Notes {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.selected) == 0 {
		return Notes{} // the connection has ended
	}
	taken := c.selected[0]
	c.selected = c.selected[1:]
	return taken
}

// selecting forgets what was said of another folder, if the server has come to a SELECT. The
// caller holds mu.
func (c *Conn) selecting() {
	if c.talk.begin() {
		c.notes.leave()
	}
}

// Err tells why the connection ended: an error that wraps mail.ErrUnreachable and says
// what the server said (BYE), how long it was silent, or which bound it exceeded. It
// is nil before the end, and where this side ended it in order, by Close or LOGOUT.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close closes the connection; a Read or Write under way returns.
func (c *Conn) Close() error {
	c.mu.Lock()
	if !c.closed && c.err == nil && c.notes.Bye != "" && !c.talk.leaving {
		c.err = c.bye("the server closed the connection")
	}
	c.closed = true
	c.unanswered()
	c.mu.Unlock()
	return c.inner.Close()
}

// LocalAddr is that of the connection beneath.
func (c *Conn) LocalAddr() net.Addr { return c.inner.LocalAddr() }

// RemoteAddr is that of the connection beneath.
func (c *Conn) RemoteAddr() net.Addr { return c.inner.RemoteAddr() }

// SetDeadline does nothing for a time to come, and ends the connection for one that is
// not. The client library sets deadlines for whole responses and literals, in which a
// large message on a slow line can never arrive, and none while it waits for an answer;
// Options has what holds instead.
func (c *Conn) SetDeadline(t time.Time) error {
	if !t.IsZero() && !t.After(time.Now()) {
		c.end(fmt.Errorf("%w: %w", mail.ErrUnreachable, os.ErrDeadlineExceeded))
	}
	return nil
}

// SetReadDeadline is as SetDeadline.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }

// SetWriteDeadline is as SetDeadline.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

// end closes the connection for cause, and gives what Read and Write return from now
// on.
func (c *Conn) end(cause error) error {
	c.mu.Lock()
	if c.closed && c.err == nil {
		c.unanswered()
		c.mu.Unlock()
		return net.ErrClosed
	}
	if c.err == nil {
		c.err = cause
	}
	cause, c.closed = c.err, true
	c.unanswered()
	c.mu.Unlock()
	c.inner.Close() // the cause is told already
	return cause
}

// broken ends the connection for what the server sent.
func (c *Conn) broken(format string, args ...any) error {
	return c.end(fmt.Errorf("%w: the server sent %s", mail.ErrUnreachable, fmt.Sprintf(format, args...)))
}

// bye is the end of a connection that the server closed, with its reason where it gave
// one. The caller holds mu.
func (c *Conn) bye(what string) error {
	if c.notes.Bye != "" {
		return fmt.Errorf("%w: %s: %s", mail.ErrUnreachable, what, c.notes.Bye)
	}
	return fmt.Errorf("%w: %s", mail.ErrUnreachable, what)
}

// lost ends the connection for an error of the connection beneath, and gives what
// Read returns.
func (c *Conn) lost(err error) error {
	c.mu.Lock()
	within, waited, leaving := !c.fresh, c.wait, c.talk.leaving
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) // TLS gives the latter where no close_notify came
	var cause error
	switch {
	case ended && within:
		cause = c.bye("the server closed the connection within a response")
	case ended:
		cause = c.bye("the server closed the connection")
	case errors.Is(err, os.ErrDeadlineExceeded) && within:
		cause = fmt.Errorf("%w: no answer for %v, within a response", mail.ErrUnreachable, waited)
	case errors.Is(err, os.ErrDeadlineExceeded):
		cause = fmt.Errorf("%w: no answer for %v", mail.ErrUnreachable, waited)
	default:
		cause = fmt.Errorf("%w: reading: %w", mail.ErrUnreachable, err)
	}
	if ended && !within && leaving && !c.closed {
		// RFC 9051, 6.1.3: the server closes the connection after LOGOUT.
		c.closed = true
	}
	c.mu.Unlock()
	err = c.end(cause)
	switch {
	case ended && within:
		return io.ErrUnexpectedEOF
	case ended:
		return io.EOF
	}
	return err
}

// arm sets the deadline of the Read that is under way. The caller holds mu.
func (c *Conn) arm() {
	if !c.asking {
		return
	}
	switch {
	case c.fresh && !c.talk.owed():
		c.wait = 0 // idle, or it is our turn
	default:
		c.wait = c.opts.Timeout
	}
	var deadline time.Time
	if c.wait > 0 {
		deadline = time.Now().Add(c.wait)
	}
	// A connection that is closed meanwhile says so in its Read.
	_ = c.inner.SetReadDeadline(deadline)
}

// came takes in that octets of a response have come. The caller holds mu.
func (c *Conn) came() {
	c.fresh, c.hollow = false, 0
	if c.owedFrom.IsZero() {
		return
	}
	if took := time.Since(c.owedFrom); c.stats.Nearest == 0 || took < c.stats.Nearest {
		c.stats.Nearest = max(took, 1)
	}
	c.owedFrom = time.Time{}
}

// flows tells whether the kernel has got rid of some of what it had left when last asked: of
// as much as is to get through within one Timeout elsewhere. The caller holds mu.
func (c *Conn) flows() bool {
	was := c.queued
	c.queued = c.socket.queued()
	return was-c.queued >= maxChunk
}

// source reads from the connection beneath. The time that the consumer of the data
// takes does not count, since the clock starts with each Read anew. Nor does the time for
// which what was written before is still on its way.
type source struct{ c *Conn }

func (s source) Read(p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.hollow > maxHollow {
			return 0, errHollow
		}
		c.asking = true
		c.arm()
		c.mu.Unlock()
		n, err := c.inner.Read(p)
		c.mu.Lock()
		c.asking = false
		c.stats.BytesIn += int64(n)
		c.hollow += n
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !c.flows() {
			return n, err
		}
		c.said.heard = time.Now() // it cannot answer what it does not have
	}
}
