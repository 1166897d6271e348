package wire

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"mailtwin/conflict/mail"
)

// squeezed is a server's writer whose every Write is deflated and flushed.
type squeezed struct {
	*flate.Writer
}

func newSqueezed(w io.Writer) squeezed {
	f, err := flate.NewWriter(w, flate.BestSpeed)
	if err != nil {
		panic(err) // there is such a level
	}
	return squeezed{f}
}

func (s squeezed) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	return n, errors.Join(err, s.Flush())
}

// partly deflates as zlib's Z_PARTIAL_FLUSH leaves it: a block, and an empty one of fixed
// codes, of which the last bits stay behind until there is more (RFC 1951, 3.2.6).
type partly struct {
	w    io.Writer
	bits uint64
	n    int
}

func (e *partly) Write(p []byte) (int, error) {
	var out []byte
	put := func(code uint64, n int) { // the first bit of a code is its highest
		for ; n > 0; n-- {
			e.bits |= code >> (n - 1) & 1 << e.n
			if e.n++; e.n == 8 {
				out, e.bits, e.n = append(out, byte(e.bits)), 0, 0
			}
		}
	}
	put(0b010, 3) // not the last one, of fixed codes
	for _, ch := range p {
		if ch < 144 {
			put(0x30+uint64(ch), 8)
		} else {
			put(0x190+uint64(ch)-144, 9)
		}
	}
	put(0, 7) // its end
	put(0b010, 3)
	put(0, 7)
	_, err := e.w.Write(out)
	return len(p), err
}

// withCompress gives a script that greets, takes up COMPRESS, and then says and hears all
// through deflate, as write does it.
func withCompress(write func(io.Writer) io.Writer, then func(*server) error) func(*server) error {
	return func(s *server) error {
		if err := serve("%s OK go on\r\n")(s); err != nil {
			return err
		}
		inner := s.Conn
		return then(&server{through{inner, write(inner)}, bufio.NewReader(flate.NewReader(s.Reader))})
	}
}

// through is a connection that is written through w.
type through struct {
	net.Conn
	w io.Writer
}

func (t through) Write(p []byte) (int, error) { return t.w.Write(p) }

func TestWhatIsSaidAfterCompressIsCompressed(t *testing.T) {
	for name, write := range map[string]func(io.Writer) io.Writer{
		"flushed as Dovecot does": func(w io.Writer) io.Writer { return newSqueezed(w) },
		"flushed in part":         func(w io.Writer) io.Writer { return &partly{w: w} },
		"octet by octet":          func(w io.Writer) io.Writer { return newSqueezed(bytewise{w}) },
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Repeat("The same again, and \xff. ", 5000)
			client, c := dial(t, Options{}, withCompress(write, func(s *server) error {
				for _, answer := range []string{
					"%s OK done\r\n",
					fmt.Sprintf("* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\n%%s OK done\r\n", len(text), text),
				} {
					if err := s.answers(answer); err != nil {
						return err
					}
				}
				_, size, err := s.hears()
				if err == nil {
					_, err = io.WriteString(s, "+ go on\r\n")
				}
				got := make([]byte, len(text)+2)
				if err == nil {
					_, err = io.ReadFull(s, got)
				}
				if string(got[:len(text)]) != text || !strings.HasSuffix(size, fmt.Sprintf("{%d}", len(text))) {
					err = fmt.Errorf("APPEND of %q brought %d octets, %w", size, len(got), err)
				}
				return err
			}))
			if err := client.WaitGreeting(); err != nil {
				t.Fatal(err)
			}
			if !c.Compress() {
				t.Fatalf("it is not compressed: %v", c.Err())
			}
			before := c.Stats()
			if err := client.Noop().Wait(); err != nil {
				t.Fatal(err)
			}
			if body, bodyErr, err := fetchBody(client); string(body) != text || bodyErr != nil || err != nil {
				t.Errorf("%d octets came, %v, %v, %v", len(body), bodyErr, err, c.Err())
			}
			cmd := client.Append("INBOX", int64(len(text)), nil)
			if _, err := io.WriteString(cmd, text); err != nil {
				t.Error(err)
			}
			cmd.Close()
			cmd.Wait() // the server has hung up
			after := c.Stats()
			if in, out := after.BytesIn-before.BytesIn, after.BytesOut-before.BytesOut; out > 5000 || name == "flushed as Dovecot does" && in > 5000 {
				t.Errorf("%d octets came, and %d went, as if nothing were compressed", in, out)
			}
			if n := c.Take(); len(n.Dropped) > 0 {
				t.Errorf("dropped: %q", n.Dropped)
			}
		})
	}
}

type bytewise struct{ w io.Writer }

func (b bytewise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.w.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestNothingIsSentBeforeTheAnswerToCompress(t *testing.T) {
	asked := make(chan bool)
	client, c := dial(t, Options{}, func(s *server) error {
		if err := serve()(s); err != nil {
			return err
		}
		tag, line, err := s.hears()
		if err != nil || line != "COMPRESS DEFLATE" {
			return fmt.Errorf("heard %q, %w", line, err)
		}
		close(asked)
		s.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if early, err := s.Peek(1); len(early) > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%q came before the answer, %w", early, err)
		}
		s.SetReadDeadline(time.Time{})
		var packet bytes.Buffer // the OK, and what is compressed, in one
		fmt.Fprintf(&packet, "* 3 EXISTS\r\n%s OK\r\n", tag)
		out := newSqueezed(&packet)
		fmt.Fprintf(out, "* 4 EXISTS\r\n")
		if _, err := s.Conn.Write(packet.Bytes()); err != nil {
			return err
		}
		packet.Reset()
		in := &server{nil, bufio.NewReader(flate.NewReader(s.Reader))}
		if tag, line, err = in.hears(); err != nil || line != "NOOP" {
			return fmt.Errorf("heard %q, %w", line, err)
		}
		fmt.Fprintf(out, "%s OK\r\n", tag)
		_, err = s.Conn.Write(packet.Bytes())
		return err
	})
	if err := client.WaitGreeting(); err != nil {
		t.Fatal(err)
	}
	done := make(chan bool, 1)
	go func() { done <- c.Compress() }()
	within(t, "COMPRESS", asked)
	if err := client.Noop().Wait(); err != nil || !within(t, "Compress", done) {
		t.Errorf("%v, %v", err, c.Err())
	}
}

func TestAServerThatDoesNotCompress(t *testing.T) {
	for _, answer := range []string{"%s NO [COMPRESSIONACTIVE] twice\r\n", "%s BAD what?\r\n"} {
		client, c := dial(t, Options{}, serve(answer, "%s OK done\r\n"))
		if err := client.WaitGreeting(); err != nil {
			t.Fatal(err)
		}
		if c.Compress() {
			t.Errorf("%q: it is compressed", answer)
		}
		if err := client.Noop().Wait(); err != nil {
			t.Errorf("%q: then: %v, %v", answer, err, c.Err())
		}
	}
	_, c := dial(t, Options{}, serve()) // hangs up
	for range 2 {
		if c.Compress() {
			t.Error("it is compressed, and nobody there")
		}
	}
}

// inflated gives what a client sees of a stream that is compressed from its beginning.
func inflated(r io.Reader, opts Options) ([]byte, *Conn, error) {
	const ok = greeting + askedLast + " OK\r\n"
	c := New(canned{Reader: io.MultiReader(strings.NewReader(ok), r)}, opts)
	c.asked = &question{then: c.inflate, answer: make(chan Answer, 1)}
	got, err := io.ReadAll(c)
	return bytes.TrimPrefix(got, []byte(greeting)), c, err
}

// deflated gives text compressed, without an end.
func deflated(text io.Reader) []byte {
	var b bytes.Buffer
	w := newSqueezed(&b)
	if _, err := io.Copy(w.Writer, text); err != nil {
		panic(err) // of a test's own reader
	}
	w.Flush()
	return b.Bytes()
}

// What holds of many octets holds of few that become many.
func TestBoundsHoldOfWhatIsInflated(t *testing.T) {
	const body = "* 1 FETCH (UID 1 BODY[] {2000000000}\r\n"
	empty := strings.Repeat("\x00\x00\x00\xff\xff", 1<<16) // stored blocks of nothing
	for name, tt := range map[string]struct {
		stream []byte
		err    string
	}{
		"a line":                              {deflated(io.LimitReader(zeros{}, 9<<20)), "a line of more than 8388608 octets"},
		"a long line":                         {deflated(io.LimitReader(endless("* SEARCH", " 1"), 9<<20)), "a line of more than 8388608 octets"},
		"a literal":                           {deflated(strings.NewReader("* LIST () NIL {1073741824}\r\n")), "literals of more than 1048576 octets"},
		"a body":                              {deflated(strings.NewReader("* 1 FETCH (BODY[] {5000000000}\r\n")), "a message of more than 4294967295 octets"},
		"a body that ends":                    {deflated(io.MultiReader(strings.NewReader(body), io.LimitReader(zeros{}, 1<<20))), "within a response"},
		"remarks":                             {deflated(io.LimitReader(endless("", "* OK still here\r\n"), 2<<20)), "100001 responses, and no answer"},
		"nothing":                             {[]byte(empty), "compressed data with nothing in it"},
		"what is no deflate":                  {[]byte("* OK this is plain text\r\n"), "corrupt input"},
		"an end":                              {[]byte("\x03\x00* OK and more"), "closed the connection"},
		"a reference to what was never there": {[]byte("\x4b\x04\x62\xff\xff"), "flate"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, c, err := inflated(bytes.NewReader(tt.stream), Options{})
			runtime.ReadMemStats(&after)
			told := c.Err()
			if told == nil || !errors.Is(told, mail.ErrUnreachable) || !strings.Contains(told.Error(), tt.err) {
				t.Errorf("it ends with %v, %v", err, told)
			}
			// A long line is held, and grows by doubling; a test's own buffer likewise.
			if used := after.TotalAlloc - before.TotalAlloc; used > 128<<20 {
				t.Errorf("%d octets of memory for %d", used, len(tt.stream))
			}
		})
	}
}

func TestMemoryDoesNotGrowWithWhatIsInflated(t *testing.T) {
	const size = 64 << 20
	stream := deflated(io.MultiReader(
		strings.NewReader(fmt.Sprintf("* 1 FETCH (UID 1 BODY[] {%d}\r\n", size)),
		io.LimitReader(zeros{}, size), strings.NewReader(")\r\n")))
	c := New(canned{Reader: io.MultiReader(strings.NewReader(greeting+askedLast+" OK\r\n"), bytes.NewReader(stream))}, Options{})
	c.asked = &question{then: c.inflate, answer: make(chan Answer, 1)}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, _ := io.Copy(io.Discard, struct{ io.Reader }{c})
	runtime.ReadMemStats(&after)
	if n < size || len(stream) > size/50 {
		t.Fatalf("%d octets became %d", len(stream), n)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d octets of memory for a body of %d", used, size)
	}
	if in := c.Stats().BytesIn; in > int64(len(stream))+100 {
		t.Errorf("%d octets are said to have come, and %d did", in, len(stream))
	}
}

// A connection that is compressed may lie idle like any other, whatever is left of the
// server's last block.
func TestTheEndOfABlockIsNoResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, c := dial(t, Options{}, func(s *server) error {
			if err := serve("%s OK\r\n")(s); err != nil {
				return err
			}
			in := &server{nil, bufio.NewReader(flate.NewReader(s.Reader))}
			var packet bytes.Buffer
			out := newSqueezed(&packet)
			say := func() error {
				tag, _, err := in.hears()
				if err != nil {
					return err
				}
				packet.Reset()
				fmt.Fprintf(out, "%s OK\r\n", tag)
				whole := packet.Bytes()
				if _, err := s.Conn.Write(whole[:len(whole)-2]); err != nil {
					return err
				}
				time.Sleep(time.Second) // of the bubble
				_, err = s.Conn.Write(whole[len(whole)-2:])
				return err
			}
			if err := say(); err != nil {
				return err
			}
			return say()
		})
		if err := client.WaitGreeting(); err != nil || !c.Compress() {
			t.Fatal(err, c.Err())
		}
		for range 2 {
			if err := client.Noop().Wait(); err != nil {
				t.Errorf("%v, %v", err, c.Err())
			}
			time.Sleep(time.Hour) // of the bubble
		}
	})
}

// However what is compressed is cut into pieces, the same comes out, within the bounds.
func FuzzInflating(f *testing.F) {
	for _, s := range streams() {
		f.Add(deflated(bytes.NewReader(bytes.TrimPrefix(s, []byte(greeting)))))
	}
	f.Add([]byte("\x00\x00\x00\xff\xff\x03\x00"))
	random := make([]byte, 1000)
	rand.NewChaCha8([32]byte{}).Read(random)
	f.Add(random)
	f.Fuzz(func(t *testing.T, stream []byte) {
		opts := Options{MaxLine: 1 << 16, MaxLiteral: 1 << 12, MaxBody: 1 << 16}
		whole, c, err := inflated(bytes.NewReader(stream), opts)
		pieces, c2, err2 := inflated(iotest.OneByteReader(bytes.NewReader(stream)), opts)
		if !bytes.Equal(whole, pieces) || fmt.Sprint(err, c.Err()) != fmt.Sprint(err2, c2.Err()) {
			t.Errorf("whole: %q, %v, %v\nbytewise: %q, %v, %v", whole, err, c.Err(), pieces, err2, c2.Err())
		}
		if c.Err() == nil && err == nil {
			t.Error("it has no end")
		}
	})
}
