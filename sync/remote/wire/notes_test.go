package wire

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// observed gives the notes of a session in which the server sends the lines.
func observed(t *testing.T, lines ...string) Notes {
	t.Helper()
	client, c := dial(t, Options{}, serve(strings.Join(lines, "\r\n")+"\r\n%s OK done\r\n"))
	if err := client.Noop().Wait(); err != nil {
		t.Fatalf("%v, %v", err, c.Err())
	}
	return c.Take()
}

func TestNotes(t *testing.T) {
	for _, tt := range []struct {
		line string
		want Notes
	}{
		{"* OK [ALERT] disk \x1b[1mfull\u202e", Notes{Alerts: []string{"disk  [1mfull"}}},
		{"* OK [alert] in any case", Notes{Alerts: []string{"in any case"}}},
		{"* OK [READ-ONLY] look only", Notes{ReadOnly: true}},
		{"* OK [NOMODSEQ] none", Notes{NoModSeq: true}},
		{"* NO [UIDNOTSTICKY] not for long", Notes{UIDNotSticky: true}},
		{"* NO [MESSAGELIMIT 1000 5] some", Notes{MessageLimit: true}},
		{`* OK [PERMANENTFLAGS ()] none`, Notes{PermanentFlags: &[]string{}}},
		{`* OK [PERMANENTFLAGS (\Seen work \*)] these`, Notes{PermanentFlags: &[]string{`\Seen`, "work", `\*`}}},
		{`* OK [PERMANENTFLAGS (\Seen foo])] odd`, Notes{PermanentFlags: &[]string{`\Seen`}, Dropped: []string{
			`a flag that is no atom: * OK [PERMANENTFLAGS (\Seen foo])] odd`}}},
		{"* OK [HIGHESTMODSEQ 5] high\r\n* OK [HIGHESTMODSEQ 7] higher", Notes{HighestModSeq: 7}},
		{"* OK [MAILBOXID (F2-ab_9)] this one", Notes{MailboxID: "F2-ab_9"}},
		{"* OK [MAILBOXID ()] none\r\n* OK [MAILBOXID (a b)] two\r\n* OK [MAILBOXID x] odd", Notes{}},
		{"* OK [MAILBOXID (" + strings.Repeat("x", 256) + ")] long", Notes{}},
		{"* OK [MODIFIED 7,3:5] by others\r\n* OK [MODIFIED 6] too", Notes{Modified: mail.UIDSet{{First: 3, Last: 7}}}},
		{"* OK [COPYUID 1 20,12 101:102] moved", Notes{CopyUID: []UIDPair{{20, 101}, {12, 102}}}},
		{"* OK [COPYUID 1 5:3,9 1,7:9] moved", Notes{CopyUID: []UIDPair{{3, 1}, {4, 7}, {5, 8}, {9, 9}}}},
		{"* OK [COPYUID 1 1:5 1:4] of different sizes", Notes{}},
		{"* 1 FETCH (FLAGS () BODY[] {14}\r\n* OK [ALERT] x)", Notes{}},
		{"* LIST () \"/\" \"* OK [ALERT] x\"", Notes{}},
		{"* OK see [ALERT] here", Notes{}},
	} {
		if got := observed(t, tt.line); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q\ngot  %+v\nwant %+v", tt.line, got, tt.want)
		}
	}
}

func TestTaggedResponsesAreObserved(t *testing.T) {
	client, c := dial(t, Options{}, serve("%s OK [READ-ONLY] look only\r\n", "%s OK [MODIFIED 7] but one\r\n", "%s OK done\r\n"))
	for _, want := range []Notes{{ReadOnly: true}, {Modified: mail.UIDs(7)}, {}} {
		if err := client.Noop().Wait(); err != nil {
			t.Fatal(err)
		}
		if got := c.Take(); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestNotesAreBounded(t *testing.T) {
	var lines []string
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf("* OK [ALERT] %d %s", i, strings.Repeat("x", 10000)), fmt.Sprintf("* ODD%d %s", i, strings.Repeat("y", 1000)))
	}
	lines = append(lines, "* OK [ALERT] 0", "* OK [COPYUID 1 1:4294967295 1:4294967295] all")
	n := observed(t, lines...)
	if len(n.Alerts) != maxAlerts || len(n.Alerts[0]) > maxText+3 || len(n.Dropped) != maxDropped || len(n.Dropped[0]) > 2*maxShown {
		t.Errorf("%d alerts of %d octets, %d dropped", len(n.Alerts), len(n.Alerts[0]), len(n.Dropped))
	}
	if len(n.CopyUID) != maxPairs || n.CopyUID[maxPairs-1] != (UIDPair{maxPairs, maxPairs}) {
		t.Errorf("%d pairs", len(n.CopyUID))
	}
}

// A set in descending order is the worst for a UIDSet.
func TestModifiedOfAHostileServerIsFast(t *testing.T) {
	var b strings.Builder
	for uid := 20000; uid > 0; uid -= 2 {
		fmt.Fprintf(&b, ",%d", uid)
	}
	if n := observed(t, "* OK [MODIFIED "+b.String()[1:]+"] all"); n.Modified.Len() != 10000 {
		t.Errorf("%d UIDs", n.Modified.Len())
	}
}
