package wire

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
)

// Of those whose sizes are asked for, the EMAILIDs are, wherever the command is cut.
func TestEmailIDsAreAskedForWithSizes(t *testing.T) {
	for _, c := range []struct{ sent, want string }{
		{"A UID FETCH 1:* (UID RFC822.SIZE FLAGS)\r\n", "A UID FETCH 1:* (UID RFC822.SIZE EMAILID FLAGS)\r\n"},
		{"A UID FETCH 1:* (UID FLAGS RFC822.SIZE)\r\nB NOOP\r\n", "A UID FETCH 1:* (UID FLAGS RFC822.SIZE EMAILID)\r\nB NOOP\r\n"},
		{"A UID FETCH 1 (RFC822.SIZE BODY.PEEK[HEADER])\r\n", "A UID FETCH 1 (RFC822.SIZE EMAILID BODY.PEEK[HEADER])\r\n"},
		{"A UID FETCH 1 (UID RFC822.SIZE)\r\nB UID FETCH 2 (UID RFC822.SIZE)\r\n",
			"A UID FETCH 1 (UID RFC822.SIZE EMAILID)\r\nB UID FETCH 2 (UID RFC822.SIZE EMAILID)\r\n"},
		{"A APPEND x {48+}\r\nA UID FETCH 1 (UID RFC822.SIZE)\r\n6789012345678901\r\nB UID FETCH 1 (UID RFC822.SIZE)\r\n",
			"A APPEND x {48+}\r\nA UID FETCH 1 (UID RFC822.SIZE)\r\n6789012345678901\r\nB UID FETCH 1 (UID RFC822.SIZE EMAILID)\r\n"},
		{"A UID FETCH 1 (UID FLAGS)\r\n", ""}, {"A UID FETCH 1 RFC822.SIZE\r\n", ""}, {"A UID SEARCH (RFC822.SIZE)\r\n", ""},
		{"A UID FETCH 1 (BODY.PEEK[HEADER.FIELDS (RFC822.SIZE)])\r\n", ""}, {"A UID FETCH 1 (RFC822.SIZEX XRFC822.SIZE)\r\n", ""},
		{"RFC822.SIZE UID FETCH 1 (FLAGS)\r\n", ""}, {"A CREATE {13+}\r\n(RFC822.SIZE)\r\n", ""},
	} {
		if c.want == "" {
			c.want = c.sent
		}
		for _, piece := range []int{1, 2, 3, 7, len(c.sent)} {
			d := dialogue{emailIDs: true}
			var got []byte
			for from := 0; from < len(c.sent); from += piece {
				out, ok := d.write([]byte(c.sent[from:min(from+piece, len(c.sent))]), nil)
				if !ok {
					t.Fatalf("%q is too long", c.sent)
				}
				got = append(got, out...)
			}
			if string(got) != c.want {
				t.Errorf("in pieces of %d: %q, want %q", piece, got, c.want)
			}
		}
	}
}

// Nobody asks who was not told to.
func TestEmailIDsAreNotAskedForUntold(t *testing.T) {
	const sent = "A UID FETCH 1:* (UID RFC822.SIZE FLAGS)\r\n"
	var d dialogue
	if got, ok := d.write([]byte(sent), nil); string(got) != sent || !ok {
		t.Errorf("%q", got)
	}
}

// What the client sends, the server answers, and the EMAILID is there for who asks, once;
// for the client, and for a person, nothing is odd about it.
func TestEmailIDsAreKeptUntilAskedFor(t *testing.T) {
	long := strings.Repeat("x", maxObjectID)
	client, c := dial(t, Options{}, func(s *server) error {
		if _, err := io.WriteString(s, greeting); err != nil {
			return err
		}
		tag, line, err := s.hears()
		if !strings.Contains(line, "RFC822.SIZE EMAILID") {
			t.Errorf("the server hears %q", line)
		}
		if err == nil {
			_, err = fmt.Fprintf(s, "* 1 FETCH (UID 1 EMAILID (M-a_9) RFC822.SIZE 3)\r\n* 2 FETCH (emailid (M2) RFC822.SIZE 3 UID 2)\r\n"+
				"* 3 FETCH (EMAILID (M3) BODY[HEADER] {3}\r\nfoo UID 3)\r\n* 4 FETCH (UID 4 BODY[HEADER] {3}\r\nfoo EMAILID (M4))\r\n"+
				"* 5 FETCH (UID 5 EMAILID NIL)\r\n* 6 FETCH (UID 6 EMAILID ())\r\n* 7 FETCH (UID 7 EMAILID (a.b))\r\n"+
				"* 8 FETCH (UID 8 EMAILID (%[2]s))\r\n* 9 FETCH (UID 9 EMAILID (%[2]sx))\r\n* 10 FETCH (EMAILID (M10))\r\n%[1]s OK done\r\n", tag, long)
		}
		if err != nil {
			return err
		}
		if err := s.answers("%s OK done\r\n"); err != nil {
			return err
		}
		return s.answers("* 1 FETCH (UID 1 EMAILID (M1) RFC822.SIZE 3)\r\n%s OK done\r\n")
	})
	c.AskEmailIDs()
	set := imap.UIDSet{{Start: 1, Stop: 10}}
	if _, err := client.Fetch(set, &imap.FetchOptions{RFC822Size: true}).Collect(); err != nil {
		t.Fatal(err)
	}
	if n := c.Take(); len(n.Dropped) > 0 { // it keeps those that were asked for behind a SELECT
		t.Errorf("dropped: %q", n.Dropped)
	}
	for uid, want := range map[mail.UID]string{1: "M-a_9", 2: "M2", 3: "M3", 4: "M4", 5: "", 6: "", 7: "", 8: long, 9: "", 0: "", 10: ""} {
		if got := c.EmailID(0, uid); got != want {
			t.Errorf("message %d has %q, want %q", uid, got, want)
		}
		if got := c.EmailID(0, uid); got != "" {
			t.Errorf("message %d still has %q", uid, got)
		}
	}
	// In another folder another message has the UID.
	if _, err := client.Select("Work", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Fetch(set, &imap.FetchOptions{RFC822Size: true}).Collect(); err != nil {
		t.Fatal(err)
	}
	for selection, want := range []string{"", "M1"} {
		if got := c.EmailID(selection, 1); got != want {
			t.Errorf("after %d SELECTs message 1 has %q, want %q", selection, got, want)
		}
	}
}

func TestEmailIDsThatNobodyAsksForAreBounded(t *testing.T) {
	var stream strings.Builder
	stream.WriteString(greeting)
	for uid := 1; uid <= 3*maxEmailIDs; uid++ {
		fmt.Fprintf(&stream, "* %[1]d FETCH (UID %[1]d EMAILID (M%[1]d))\r\n", uid)
	}
	c := New(canned{Reader: strings.NewReader(stream.String())}, Options{})
	c.AskEmailIDs()
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{c}); err != nil {
		t.Fatal(err)
	}
	if n := len(c.emailIDs); n == 0 || n > maxEmailIDs {
		t.Errorf("%d are kept", n)
	}
	if got := c.EmailID(0, 3*maxEmailIDs); got != fmt.Sprint("M", 3*maxEmailIDs) {
		t.Errorf("the last one has %q", got)
	}
}
