package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"github.com/klauspost/compress/flate"
)

// From the CRLF of the server's OK to COMPRESS on, both directions are one stream of raw
// deflate each (RFC 4978, 3). It lies beneath the lines and literals, so all that bounds
// those bounds what is inflated: a few octets that become many cost what many octets cost.

const (
	// compressLevel costs some 10 ns an octet, and saves nearly all that the highest does.
	compressLevel = 5
	// maxHollow is how many octets may come that become nothing, as empty blocks do. A block
	// gives its first octet after 32 KiB of its content at the latest, which never take twice
	// as much.
	maxHollow = 128 << 10
)

var errHollow = errors.New("compressed data with nothing in it")

// Compress asks the server to compress, and tells whether it does from now on. Nothing may be
// under way, and what is written meanwhile waits for the answer: "the client MUST NOT send
// any further commands until it has seen the result" (RFC 4978, 3). Whether the server hands
// on what it has compressed, before it has more, only an answer to the next command tells.
func (c *Conn) Compress() bool {
	c.writing.Lock()
	defer c.writing.Unlock()
	if a, ok := c.ask(c.inflate, "COMPRESS DEFLATE"); !ok || !a.OK {
		return false
	}
	c.deflate, _ = flate.NewWriter(sink{c}, compressLevel) // there is such a level
	return true
}

// inflate has all that follows what was handed on inflated. reading is held.
func (c *Conn) inflate() {
	in := &c.in
	rest, _ := in.Peek(in.Buffered()) // what is there cannot fail
	raw := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(rest)), source{c}), maxChunk)
	// Servers end what they send with a block, not all of them with an empty one that is
	// stored, for which the standard library waits (golang/go#31514).
	c.in.from = flate.NewReaderOpts(raw, flate.WithPartialBlock())
	in.Reader.Reset(plain{c})
}

// plain reads what the server said, inflated if need be.
type plain struct{ c *Conn }

func (p plain) Read(b []byte) (int, error) {
	c := p.c
	n, err := c.in.from.Read(b)
	if n > 0 {
		c.mu.Lock()
		c.came()
		c.mu.Unlock()
	}
	return n, err
}
