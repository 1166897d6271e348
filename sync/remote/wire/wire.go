// Package wire is a stand-in.
package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"mailtwin/conflict/mail"
)

type Options struct {
	Timeout, Patience   time.Duration
	MaxLine             int
	MaxLiteral, MaxBody int64
	Trace               func(sent bool, line string)
}

type Stats struct {
	BytesIn, BytesOut int64
	RoundTrips        int
}

type UIDPair struct{ From, To mail.UID }

type Notes struct {
	Alerts                           []string
	Bye                              string
	ReadOnly, NoModSeq, UIDNotSticky bool
	PermanentFlags                   *[]string
	MessageLimit                     bool
	Modified                         mail.UIDSet
	CopyUID                          []UIDPair
	HighestModSeq                    uint64
	Dropped                          []string
}

type Conn struct {
	net.Conn
	opts  Options
	mu    sync.Mutex
	ready bool
	stats Stats
	notes Notes
	err   error
	line  []byte
}

func New(conn net.Conn, opts Options) *Conn {
	if opts.Patience == 0 {
		opts.Patience = 10 * time.Minute
	}
	return &Conn{Conn: conn, opts: opts}
}

func (c *Conn) Ready() { c.mu.Lock(); c.ready = true; c.mu.Unlock() }

func (c *Conn) Stats() Stats { c.mu.Lock(); defer c.mu.Unlock(); return c.stats }

func (c *Conn) Take() Notes {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.notes
	c.notes = Notes{}
	return n
}

func (c *Conn) Err() error { c.mu.Lock(); defer c.mu.Unlock(); return c.err }

func (c *Conn) SetDeadline(time.Time) error      { return nil }
func (c *Conn) SetReadDeadline(time.Time) error  { return nil }
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	d := c.opts.Timeout
	if c.ready {
		d = c.opts.Patience
	}
	c.mu.Unlock()
	if d > 0 {
		c.Conn.SetReadDeadline(time.Now().Add(d))
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.BytesIn += int64(n)
	for _, b := range p[:n] {
		if len(c.line) < 1000 {
			c.line = append(c.line, b)
		}
		if b == '\n' {
			c.look(strings.TrimSpace(string(c.line)))
			c.line = c.line[:0]
		}
	}
	if err != nil && c.err == nil {
		why := err.Error()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			why = "no answer"
		case err == io.EOF && c.notes.Bye != "":
			why = "the server said goodbye: " + c.notes.Bye
		case err == io.EOF:
			why = "the server closed the connection"
		}
		c.err = fmt.Errorf("%w: %s", mail.ErrUnreachable, why)
	}
	return n, err
}

func (c *Conn) look(line string) {
	up := strings.ToUpper(line)
	switch {
	case strings.HasPrefix(up, "* BYE "):
		c.notes.Bye = line[6:]
	case strings.Contains(up, "OK [READ-ONLY]"):
		c.notes.ReadOnly = true
	case strings.Contains(up, "OK [NOMODSEQ]"):
		c.notes.NoModSeq = true
	case strings.HasPrefix(up, "* OK [PERMANENTFLAGS ("):
		s, _, _ := strings.Cut(line[22:], ")")
		f := strings.Fields(s)
		c.notes.PermanentFlags = &f
	case strings.Contains(up, "[COPYUID "):
		var v, from, to uint32
		fmt.Sscanf(line[strings.Index(up, "[COPYUID ")+9:], "%d %d %d", &v, &from, &to)
		c.notes.CopyUID = append(c.notes.CopyUID, UIDPair{mail.UID(from), mail.UID(to)})
	}
}

func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	c.stats.BytesOut += int64(n)
	c.mu.Unlock()
	return n, err
}
