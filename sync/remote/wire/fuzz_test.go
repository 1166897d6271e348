package wire

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
	"pgregory.net/rapid"

	"mailtwin/conflict/mail"
)

// canned is a connection whose server has said all that it will.
type canned struct {
	io.Reader
	net.Conn
}

func (canned) Close() error                       { return nil }
func (canned) SetReadDeadline(time.Time) error    { return nil }
func (canned) SetWriteDeadline(time.Time) error   { return nil }
func (canned) Write(p []byte) (int, error)        { return len(p), nil }
func (c canned) Read(p []byte) (n int, err error) { return c.Reader.Read(p) }

// pass gives what a client sees of a stream that comes in through r.
func pass(r io.Reader, opts Options) ([]byte, Notes, error) {
	c := New(canned{Reader: r}, opts)
	c.AskEmailIDs()
	c.Watch(func(Told) {})
	got, err := io.ReadAll(c)
	return got, c.Take(), err
}

// streams are what the fuzzers start from.
func streams() [][]byte {
	out := [][]byte{
		[]byte(greeting + "* 1 FETCH (UID 1 BODY[] {5}\r\nhello FLAGS (\\Seen))\r\nT1 OK done\r\n"),
		[]byte(greeting + "* LIST () \"/\" {3}\r\nfoo\r\n+ go\r\n* BYE {5}\r\n"),
		[]byte("* OK [CAPABILITY IMAP4rev1 IMAP4rev2 ] x\n* 1 FETCH (BODY[HEADER.FIELDS ({1}\r\na)] {2}\r\nxy X ~{1}\r\nz)\r\n"),
		// Taking an item out must not make an announcement of what is left.
		[]byte("* FETCH(BODY[0 {0} 000] {0} 0%\n"), []byte("*FETCH(0{0}\n"), []byte("*FETCH(0 \"\"{1} \n"),
	}
	for _, f := range fatal {
		out = append(out, []byte(greeting+f.line+"\r\n"))
	}
	for _, h := range harmless {
		out = append(out, []byte(greeting+h+"\r\n"))
	}
	return out
}

// However the stream is cut into pieces, the same comes out, and the same is noted.
func FuzzFraming(f *testing.F) {
	for _, s := range streams() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		opts := Options{MaxLine: 1 << 16, MaxLiteral: 1 << 12, MaxBody: 1 << 16}
		got, notes, err := pass(bytes.NewReader(stream), opts)
		bytewise, notes2, err2 := pass(iotest.OneByteReader(bytes.NewReader(stream)), opts)
		if !bytes.Equal(got, bytewise) || fmt.Sprint(err) != fmt.Sprint(err2) || !reflect.DeepEqual(notes, notes2) {
			t.Errorf("whole: %q, %v, %+v\nbytewise: %q, %v, %+v", got, err, notes, bytewise, err2, notes2)
		}
		half, _, err3 := pass(iotest.HalfReader(bytes.NewReader(stream)), opts)
		if !bytes.Equal(got, half) || fmt.Sprint(err) != fmt.Sprint(err3) {
			t.Errorf("whole: %q, %v\nhalved: %q, %v", got, err, half, err3)
		}
		if len(got) > len(stream)+len(noDate)*len(stream) {
			t.Errorf("%d octets became %d", len(stream), len(got))
		}
	})
}

// What was repaired needs no repair.
func FuzzRepair(f *testing.F) {
	for _, s := range streams() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		once, _, err := pass(bytes.NewReader(stream), Options{MaxLiteral: 1 << 12, MaxBody: 1 << 16})
		if err != nil {
			return
		}
		twice, _, err := pass(bytes.NewReader(once), Options{MaxLiteral: 1 << 12, MaxBody: 1 << 16})
		if !bytes.Equal(once, twice) || err != nil {
			t.Errorf("%q\nonce  %q\ntwice %q, %v", stream, once, twice, err)
		}
	})
}

// However the commands are cut into pieces, the same is made of them.
func FuzzCommands(f *testing.F) {
	for _, s := range []string{
		"A LOGIN {5+}\r\nalice {6}\r\nsecret\r\nB NOOP\r\n", "A APPEND x (\\Seen) {3}\r\nabc\r\n",
		"A UID FETCH 1:* (UID RFC822.SIZE FLAGS)\r\nB UID FETCH 1 (RFC822.SIZEX RFC822.SIZE)\r\n",
		"A UID FETCH 1 (RFC822.SIZE RFC822.SIZE)\r\n", "RFC822.SIZE UID FETCH (RFC822.SIZE)\r\n",
		"A IDLE\r\nDONE\r\nB NOOP\r\n", "A AUTHENTICATE X\r\neA==\r\n", "A SEARCH \"{5}\"\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, pieces := dialogue{emailIDs: true}, dialogue{emailIDs: true}
		var a, b []string
		var outOfPieces []byte
		out, _ := whole.write(stream, func(line []byte) { a = append(a, string(line)) })
		for i := range stream {
			piece, _ := pieces.write(stream[i:i+1], func(line []byte) { b = append(b, string(line)) })
			outOfPieces = append(outOfPieces, piece...)
		}
		if !bytes.Equal(out, outOfPieces) {
			t.Errorf("whole: %q\npieces: %q", out, outOfPieces)
		}
		if asked := bytes.Count(out, []byte(emailIDItem)) - bytes.Count(stream, []byte(emailIDItem)); len(out)-len(stream) != asked*len(emailIDItem) {
			t.Errorf("%q became %q", stream, out)
		}
		if fmt.Sprint(a) != fmt.Sprint(b) || fmt.Sprintf("%+v", whole.sent) != fmt.Sprintf("%+v", pieces.sent) || whole.literal != pieces.literal {
			t.Errorf("whole: %q %+v\npieces: %q %+v", a, whole.sent, b, pieces.sent)
		}
	})
}

// A set of UIDs that is sorted has the UIDs that it had.
func FuzzSets(f *testing.F) {
	for _, s := range []string{"1", "3,2,1", "1:5,3:9,7", "9:1", "4294967295", "0", "1,,2", "1:2:3", "*", ""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		set, ok := parseSet(text)
		if !ok {
			return
		}
		var want mail.UIDSet
		for _, r := range set {
			want.AddRange(r)
		}
		sorted, ok := parseSet([]byte(inOrder(set)))
		var got mail.UIDSet
		for _, r := range sorted {
			got.AddRange(r)
		}
		if !ok || !ascending(sorted) || !slices.Equal(got, want) {
			t.Errorf("%q becomes %v, of %v", text, got, want)
		}
	})
}

// Whatever name a server gives to a folder, the client reads the name or never sees it.
func TestNoFolderNameKillsTheClient(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(
			rapid.SliceOf(rapid.Byte()),
			rapid.Map(rapid.StringMatching(`([a&/]|-|&[A-Z0-9+,]{1,8}-|AG|2ADc)*`), func(s string) []byte { return []byte(s) }),
		).Draw(t, "name")
		text := fmt.Sprintf("{%d}\r\n%s", len(name), name)
		if rapid.Bool().Draw(t, "quoted") && !bytes.ContainsAny(name, "\r\n") {
			text = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(string(name)) + `"`
		}
		stream := greeting + "* LIST () \"/\" " + text + "\r\n* STATUS " + text + " (MESSAGES 1)\r\n* LIST () \"/\" last\r\nT1 OK done\r\n"
		client := imapclient.New(New(canned{Reader: iotest.DataErrReader(strings.NewReader(stream))}, Options{}), nil)
		<-client.Closed()
		// The end of the stream is an answer to nothing: what the client dies of then.
		if err := client.Close(); err == nil || !strings.Contains(err.Error(), `unknown tag "T1"`) {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

// fetchOf gives a body of so many octets, made up as they are read.
func fetchOf(size int64) io.Reader {
	return io.MultiReader(
		strings.NewReader(fmt.Sprintf("%s* 1 FETCH (UID 1 BODY[] {%d}\r\n", greeting, size)),
		io.LimitReader(zeros{}, size), strings.NewReader(")\r\n"))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestMemoryDoesNotGrowWithBodies(t *testing.T) {
	const size = 256 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := io.Copy(io.Discard, struct{ io.Reader }{New(canned{Reader: fetchOf(size)}, Options{})})
	runtime.ReadMemStats(&after)
	if n < size || err != nil {
		t.Fatalf("%d octets, %v", n, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("%d octets of memory for a body of %d", used, size)
	}
}

func BenchmarkBody(b *testing.B) {
	const size = 64 << 20
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{New(canned{Reader: fetchOf(size)}, Options{})}); err != nil {
			b.Fatal(err)
		}
	}
}

// A folder whose flags are read as a whole: one short response for each message.
func BenchmarkFlags(b *testing.B) {
	const messages = 100_000
	var stream bytes.Buffer
	stream.WriteString(greeting)
	for i := range messages {
		fmt.Fprintf(&stream, "* %d FETCH (UID %d FLAGS (\\Seen \\Answered work) MODSEQ (%d))\r\n", i+1, 2*i+1, 3*i+1)
	}
	b.SetBytes(int64(stream.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{New(canned{Reader: bytes.NewReader(stream.Bytes())}, Options{})}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	const size = 64 << 20
	body := make([]byte, size)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		c := New(canned{Reader: strings.NewReader("")}, Options{})
		fmt.Fprintf(c, "A APPEND x {%d+}\r\n", size)
		if _, err := c.Write(body); err != nil {
			b.Fatal(err)
		}
	}
}
