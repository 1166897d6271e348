package wire

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// hearsAll reads so many commands, and gives their tags.
func (s *server) hearsAll(n int) ([]any, error) {
	var tags []any
	for range n {
		tag, _, err := s.hears()
		if err != nil {
			return nil, err
		}
		tags = append(tags, tag)
	}
	return tags, nil
}

// script answers so many commands at once, when it has heard all of them; %[1]s is the tag
// of the first.
func script(n int, text string) func(*server) error {
	return func(s *server) error {
		if _, err := io.WriteString(s, greeting); err != nil {
			return err
		}
		tags, err := s.hearsAll(n)
		if err == nil {
			_, err = fmt.Fprintf(s, strings.ReplaceAll(text, "\n", "\r\n"), tags...)
		}
		return err
	}
}

// told collects what the answers to a FETCH say, as UID and flags.
func told(t *testing.T, cmd *imapclient.FetchCommand) []string {
	t.Helper()
	msgs, err := cmd.Collect()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range msgs {
		all = append(all, fmt.Sprint(m.UID, m.Flags))
	}
	return all
}

// Where two folders are looked at in one breath, what the server says of the first one of its
// own accord must not be taken for an answer about the second one.
func TestWhatIsSaidOfOneFolderIsNotTakenForAnother(t *testing.T) {
	client, c := dial(t, Options{}, script(5, "* 3 EXISTS\n* 7 FETCH (UID 7 FLAGS (early))\n%[1]s OK [READ-WRITE] a\n"+
		"* 1 FETCH (UID 1 FLAGS (a))\n* 1 FETCH (UID 1 FLAGS (twice))\n* 9 FETCH (UID 9 FLAGS (unasked))\n* 3 FETCH (FLAGS (nameless))\n"+
		"* 3 FETCH (UID 3 FLAGS (new))\n%[2]s OK\n* 2 FETCH (UID 2 FLAGS (late))\n%[3]s OK\n* 2 FETCH (UID 2 FLAGS (later))\n"+
		"* 9 EXISTS\n%[4]s OK [READ-WRITE] b\n* 1 FETCH (UID 1 FLAGS (b))\n* 2 FETCH (UID 2 FLAGS (b))\n%[5]s OK\n"))
	c.Cork()
	a := client.Select("A", nil)
	inA := client.Fetch(imap.UIDSetNum(1, 2), &imap.FetchOptions{Flags: true})
	newInA := client.Fetch(imap.UIDSet{{Start: 3, Stop: 5}}, &imap.FetchOptions{Flags: true})
	b := client.Select("B", nil)
	inB := client.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{Flags: true})
	c.Uncork()
	for _, cmd := range []*imapclient.SelectCommand{a, b} {
		if _, err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		of   string
		cmd  *imapclient.FetchCommand
		want []string
	}{
		{"A", inA, []string{"1 [a]"}},
		{"what is new in A", newInA, []string{"3 [new]"}},
		{"B", inB, []string{"1 [b]", "2 [b]"}},
	} {
		if got := told(t, x.cmd); !slices.Equal(got, x.want) {
			t.Errorf("%s: %q, want %q", x.of, got, x.want)
		}
	}
}

// Nor are bodies, of which all parts are passed over.
func TestABodyThatComesBeforeItsFolderIsSelectedIsPassedOver(t *testing.T) {
	early := "* 1 FETCH (UID 1 FLAGS () BODY[] {5}\nearly BODY[HEADER] {3}\nabc INTERNALDATE \" 1-Jan-2024 10:00:00 +0000\")\n"
	client, c := dial(t, Options{}, script(2, early+"%[1]s OK\n* 1 FETCH (UID 1 FLAGS (mine) BODY[] {4}\nmine)\n%[2]s OK\n"))
	c.Cork()
	selecting := client.Select("A", nil)
	fetching := client.Fetch(imap.UIDSetNum(1), &imap.FetchOptions{Flags: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	c.Uncork()
	if _, err := selecting.Wait(); err != nil {
		t.Fatal(err)
	}
	msgs, err := fetching.Collect()
	if err != nil || len(msgs) != 1 || len(msgs[0].BodySection) != 1 {
		t.Fatalf("%v, %+v", err, msgs)
	}
	if got := string(msgs[0].BodySection[0].Bytes); got != "mine" || fmt.Sprint(msgs[0].Flags) != "[mine]" {
		t.Errorf("the message is %q with %v", got, msgs[0].Flags)
	}
	if n := c.Take(); len(n.Dropped) != 1 {
		t.Errorf("dropped: %q", n.Dropped)
	}
}

// Each SELECT has its own notes, also if the answer to the next one was read meanwhile.
func TestEachSelectHasItsNotes(t *testing.T) {
	client, c := dial(t, Options{}, script(3, "* OK [PERMANENTFLAGS (x)] a\n* OK [HIGHESTMODSEQ 5] a\n* OK [MAILBOXID (F1)] a\n%[1]s OK [READ-ONLY] a\n"+
		"* OK [PERMANENTFLAGS (z)] new in a\n* OK [ALERT] listen\n%[2]s NO [ALERT] none such\n* OK [NOMODSEQ] c\n%[3]s OK [READ-WRITE] c\n"))
	c.Cork()
	cmds := []*imapclient.SelectCommand{client.Select("A", nil), client.Select("B", nil), client.Select("C", nil)}
	c.Uncork()
	for _, cmd := range slices.Backward(cmds) {
		cmd.Wait() // B is refused
	}
	a, b, last := c.Selected(), c.Selected(), c.Selected()
	if a.PermanentFlags == nil || !slices.Equal(*a.PermanentFlags, []string{"x"}) || a.HighestModSeq != 5 || a.MailboxID != "F1" || !a.ReadOnly || a.NoModSeq {
		t.Errorf("of A: %+v", a)
	}
	if b.HighestModSeq != 0 || b.MailboxID != "" || b.ReadOnly || b.NoModSeq {
		t.Errorf("of B: %+v", b)
	}
	if last.PermanentFlags != nil || last.HighestModSeq != 0 || last.MailboxID != "" || last.ReadOnly || !last.NoModSeq {
		t.Errorf("of C: %+v", last)
	}
	if n := c.Take(); !slices.Equal(n.Alerts, []string{"listen", "none such"}) {
		t.Errorf("alerts: %q", n.Alerts)
	}
	if again := c.Selected(); again.NoModSeq {
		t.Errorf("once more: %+v", again)
	}
}
