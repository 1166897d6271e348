package wire

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// endless gives a stream that begins, and then says the same for ever, up to a bound
// that no reader should get to.
func endless(begin, again string) io.Reader {
	return io.LimitReader(io.MultiReader(strings.NewReader(greeting+begin), &repeated{text: again}), 1<<30)
}

type repeated struct {
	text string
	at   int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

func TestAServerThatTalksForEver(t *testing.T) {
	for _, tt := range []struct{ begin, again, err string }{
		{"", "* OK still here\r\n", "100001 responses, and no answer"},
		{"", "* X\r\n", "responses, and no answer"},
		{"", "\r\n", "responses, and no answer"},
		{"", "+ go on\r\n", "responses, and no answer"},
		{"", "* LIST () NIL x\r\n", "responses, and no answer"},
		{"", "* 1 FETCH (UID 1)\r\n", "responses, and no answer"},
		{"* 50000 EXISTS\r\n", "* 1 FETCH (UID 1)\r\n", "120003 responses, and no answer"},
		{"* 4294967295 EXISTS\r\n", "* LIST () NIL \"" + strings.Repeat("x", 60_000) + "\"\r\n", "responses, and no answer"},
		{"", "* LIST () NIL {900000}\r\n" + strings.Repeat("x", 900_000) + "\r\n", "responses, and no answer"},
		{"", "xxxxxxxxxx", "a line of more than 8388608 octets"},
		{"* FLAGS (", strings.Repeat("x ", 40_000) + ")\r\n", "a line of more than 65536 octets"},
		{"* OK [PERMANENTFLAGS (", strings.Repeat("x ", 40_000) + ")]\r\n", "a line of more than 65536 octets"},
		{"* 1 FETCH (UID 1 BODY[] {1}\r\nx FLAGS (", strings.Repeat("x ", 40_000) + "))\r\n", "a line of more than 65536 octets"},
		{"* 1 FETCH (BODYSTRUCTURE ", strings.Repeat("(", 2000) + "\r\n", "lists in lists, more than 1000 deep"},
		{"* THREAD ", strings.Repeat("(", 2000) + "\r\n", "lists in lists"},
	} {
		n, _, err := discard(endless(tt.begin, tt.again))
		if !errors.Is(err, mail.ErrUnreachable) || !strings.Contains(fmt.Sprint(err), tt.err) {
			t.Errorf("%.40q and then %.40q: after %d octets %v, want %q", tt.begin, tt.again, n, err, tt.err)
		}
	}
}

// discard is pass without keeping what comes.
func discard(r io.Reader) (int64, Notes, error) {
	c := New(canned{Reader: r}, Options{})
	n, err := io.Copy(io.Discard, struct{ io.Reader }{c})
	return n, c.Take(), err
}

// An answer begins the count anew, and a search may be long.
func TestHowMuchAnHonestServerSays(t *testing.T) {
	var b strings.Builder
	b.WriteString("* 300000 EXISTS\r\n")
	for i := range 3 {
		b.WriteString(strings.Repeat("* 7 FETCH (UID 7 FLAGS (\\Seen))\r\n", 300_000))
		b.WriteString(strings.Repeat("* 1 EXPUNGE\r\n", 300_000))
		fmt.Fprintf(&b, "T%d OK done\r\n", i)
	}
	b.WriteString("* ESEARCH (TAG \"T1\") UID ALL 1" + strings.Repeat(",3:5", 1_000_000) + "\r\n")
	if n, _, err := discard(strings.NewReader(greeting + b.String())); err != nil {
		t.Errorf("after %d octets %v", n, err)
	}
}
