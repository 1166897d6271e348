package wire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// Where a server takes literals unasked (LITERAL+, RFC 7888) the client does so only with
// those of up to 4096 octets; it waits a round trip to be asked for each other one. So it
// is told to write an empty one, and what belongs there is put in as that is written.

// fill is what takes the place of the next empty literal.
type fill struct {
	size  int64
	write func(io.Writer) error
	held  []byte // what the client has written of the command so far
}

var emptyLiteral = []byte("{0+}\r\n")

// Fill makes the next empty literal that the client writes one of size octets, which write
// has to write. If it gives an error, which it must if they are not so many, the connection
// ends within the literal, and the server has no command (RFC 9051, 6.3.12). The client
// writes nothing else meanwhile.
func (c *Conn) Fill(size int64, write func(io.Writer) error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.fill = &fill{size: size, write: write}
}

// filled writes p, in which a literal may have to be filled. Nothing of the command is sent
// before the literal is met, or it would be an empty one.
func (c *Conn) filled(p []byte) (int, error) {
	f := c.fill
	f.held = append(f.held, p...)
	at := bytes.Index(f.held, emptyLiteral)
	if at < 0 {
		return len(p), nil
	}
	c.fill = nil
	out := bufio.NewWriterSize(writerFunc(c.send), maxChunk)
	fmt.Fprintf(out, "%s{%d+}\r\n", f.held[:at], f.size)
	if err := f.write(out); err != nil {
		return 0, c.end(fmt.Errorf("a literal that is not whole: %w", err))
	}
	out.Write(f.held[at+len(emptyLiteral):])
	if err := out.Flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }
