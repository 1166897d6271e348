package wire

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// What does not kill the client at once: its parser never gets past the one, and waits
// for a "]" on later lines after the other.
const (
	spins = "* CAPABILITY IMAP4rev1 X=(a)"
	waits = "* OK [ALERT the server is tired"
)

// What kills the client without a Conn, and does not with one.
var fatal = []struct {
	name, line, dropped string
}{
	{"VANISHED", "* VANISHED (EARLIER) 1:5", "not known: * VANISHED (EARLIER) 1:5"},
	{"LSUB with a literal", "* LSUB () \"/\" {3}\r\nfoo", "not known"},
	{"LSUB with a literal8", "* LSUB () \"/\" ~{3}\r\nfoo", "not known"},
	{"XLIST", `* XLIST (\Inbox) "/" "INBOX"`, "not known"},
	{"LANGUAGE", "* LANGUAGE (EN)", "not known"},
	{"a number and an unknown word", "* 5 UPDATED", "not known"},
	{"a blank line", "", "blank"},
	{"a blank line of spaces", "  ", "blank"},
	{"a stray continuation request", "+ go on", "nobody waits for"},
	{"a capability list with IMAP4rev2 and a space at the end", "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 ] hello", ""},
	{"a capability that is no atom", spins, "capability"},
	{"a response code without an end", waits, "response code"},
	{"a response code without a name", "* OK [] hello", "response code"},
	{"UIDNEXT 2^32", "* OK [UIDNEXT 4294967296] next", "odd numbers"},
	{"UIDNEXT with a space at the end", "* OK [UIDNEXT 5 ] next", ""},
	{"UIDVALIDITY below zero", "* OK [UIDVALIDITY -1] valid", "odd numbers"},
	{"HIGHESTMODSEQ of more than 64 bits", "* OK [HIGHESTMODSEQ 18446744073709551616] high", "odd numbers"},
	{"HIGHESTMODSEQ without a number", "* OK [HIGHESTMODSEQ] high", "odd numbers"},
	{"COPYUID of nothing", "* OK [COPYUID 1 () ()] copied", "odd numbers"},
	{"COPYUID with *", "* OK [COPYUID 1 1:* 1:*] copied", "odd numbers"},
	{"PERMANENTFLAGS with ]", `* OK [PERMANENTFLAGS (\Seen foo] \*)] flags`, "flag"},
	{"PERMANENTFLAGS with a quoted flag", `* OK [PERMANENTFLAGS (\Seen "my flag")] flags`, "flag"},
	{"PERMANENTFLAGS without a list", `* OK [PERMANENTFLAGS] flags`, "without its flags"},
	{"FLAGS with ]", `* FLAGS (\Seen foo])`, "flag"},
	{"FLAGS with a space at the end", `* FLAGS (\Seen )`, ""},
	{"FLAGS with only a space", `* FLAGS ( )`, ""},
	{"FLAGS with Latin-1 control characters", "* FLAGS (gr\x80n)", "flag"},
	{"LIST with an empty delimiter", `* LIST () "" foo`, ""},
	{"LIST with a lower-case delimiter", `* LIST () nil foo`, ""},
	{"LIST with a long delimiter", `* LIST () "//" foo`, "delimiter"},
	{"LIST without attributes", `* LIST NIL "/" foo`, "attributes"},
	{"LIST with an odd attribute", `* LIST (\Has]) "/" foo`, "attribute"},
	{"LIST in Latin-1", "* LIST () \"/\" \"Entw\xfcrfe\"", "Entw?rfe"},
	{"LIST with a raw &", `* LIST () "/" "R&D"`, "R&D"},
	{"LIST with a raw & in a literal", "* LIST () \"/\" {3}\r\nR&D", "R&D"},
	{"LIST with ASCII in base64", `* LIST () "/" "&AGE-"`, "&AGE-"},
	{"LIST with two base64 pieces in a row", `* LIST () "/" "&APw-&APw-"`, "&APw-&APw-"},
	{"LIST with half a character", `* LIST () "/" "&2AA-"`, "&2AA-"},
	{"LIST with an unquoted space", `* LIST () "/" Sent Items`, "Sent Items"},
	{"LIST with an unquoted backslash", `* LIST () "\\" a\b`, `a\b`},
	{"LIST without a name", `* LIST () "/"`, "name"},
	{"LIST with an OLDNAME that is odd", `* LIST () "/" foo ("OLDNAME" ("R&D"))`, ""},
	{"STATUS of an odd name", `* STATUS "R&D" (MESSAGES 1)`, "R&D"},
	{"STATUS with UIDNEXT 2^32", `* STATUS foo (MESSAGES 1 UIDNEXT 4294967296)`, "status item"},
	{"STATUS with UIDVALIDITY below zero", `* STATUS foo (UIDVALIDITY -1 MESSAGES 1)`, "status item"},
	{"STATUS with a space within", `* STATUS foo (MESSAGES 1 )`, ""},
	{"STATUS with APPENDLIMIT nil", `* STATUS foo (APPENDLIMIT nil)`, ""},
	{"ESEARCH with a lower-case correlator", `* ESEARCH (tag "T1") UID COUNT 1`, ""},
	{"NAMESPACE with nil", `* NAMESPACE (("" "/")) nil nil`, ""},
	{"NAMESPACE with an empty delimiter", `* NAMESPACE (("" "")) NIL NIL`, ""},
	{"ID with nil", `* ID nil`, ""},
	{"FETCH with EMAILID", `* 1 FETCH (UID 1 EMAILID (M6d99ac3275bb4e) FLAGS ())`, "EMAILID"},
	{"FETCH with SAVEDATE first", `* 1 FETCH (SAVEDATE "01-Jan-2020 00:00:00 +0000" UID 1)`, "SAVEDATE"},
	{"FETCH with X-GM-LABELS and a literal", "* 1 FETCH (X-GM-LABELS (\"\\\\Inbox\" {3}\r\nfoo) X-GM-MSGID 5)", "X-GM-LABELS"},
	{"FETCH with RFC822.TEXT", "* 1 FETCH (UID 1 RFC822.TEXT \"x\")", ""},
	{"FETCH with INTERNALDATE NIL", `* 1 FETCH (INTERNALDATE NIL)`, "INTERNALDATE"},
	{"FETCH with an odd INTERNALDATE", `* 1 FETCH (INTERNALDATE "Thu, 1 Jan 2020")`, "INTERNALDATE"},
	{"FETCH with the year one", `* 1 FETCH (INTERNALDATE "01-Jan-0001 00:00:00 +0000")`, "INTERNALDATE"},
	{"FETCH with a flag with ]", `* 1 FETCH (FLAGS (\Seen foo]) UID 1)`, "flag"},
	{"FETCH with a quoted flag", `* 1 FETCH (UID 1 FLAGS (\Seen "foo"))`, "flag"},
	{"FETCH with MODSEQ of more than 64 bits", `* 1 FETCH (UID 1 MODSEQ (18446744073709551616))`, "MODSEQ"},
	{"FETCH with UID 2^32", `* 1 FETCH (UID 4294967296)`, "UID"},
	{"FETCH with nil for a body", `* 1 FETCH (BODY[] nil)`, ""},
	{"FETCH with a literal8", "* 1 FETCH (UID 1 BODY[] ~{3}\r\nfoo)", ""},
	{"FETCH with EMAILID behind a body", "* 1 FETCH (UID 1 BODY[] {3}\r\nfoo EMAILID (M1))", "EMAILID"},
	{"FETCH with nil behind a body", "* 1 FETCH (BODY[1] {3}\r\nfoo BODY[2] nil)", ""},
}

// What the client takes as it is, and what must therefore go through untouched.
var harmless = []string{
	"* OK", "* OK hello {5}", "* NO [X-THING a b] text", "* OK [UIDNEXT 5] x", "* OK [NOMODSEQ] x",
	`* OK [PERMANENTFLAGS (\Seen \*)] x`, `* OK [PERMANENTFLAGS ()] x`, "* 5 EXISTS", "* 5 RECENT",
	`* FLAGS (\Seen $Junk)`, "* CAPABILITY IMAP4rev1 IDLE",
	"* CAPABILITY IMAP4rev2 IDLE", // and not IMAP4rev1: no doubt which one holds
	`* LIST () "/" foo`, `* LIST (\Noselect) NIL "a b"`, "* LIST () \"/\" {5}\r\nhello", `* LIST () "/" "{5}"`,
	`* LIST () "\\" "a\\b"`, `* LIST () "/" Entw&APw-rfe`, `* LIST () "/" "R&-D"`, "* LIST () \"/\" \"Entw\u00fcrfe\"",
	`* LIST () "/" inbox`, `* LIST () "/" [Gmail]/All`, `* STATUS foo (MESSAGES 1 UIDNEXT 2 HIGHESTMODSEQ 0)`,
	`* STATUS foo ()`, `* STATUS foo (MAILBOXID (F1))`, `* ESEARCH (TAG "T1") UID ALL 1:5 COUNT 5`, `* ESEARCH (TAG "T1")`,
	`* 1 FETCH ()`, `* 1 FETCH (UID 1 FLAGS (\Seen \Recent) MODSEQ (5) RFC822.SIZE 10 INTERNALDATE " 1-Jan-2020 00:00:00 +0000")`,
	"* 1 FETCH (UID 1 BODY[] {3}\r\nfoo)", "* 1 FETCH (BODY[HEADER.FIELDS (\"a]b\" {1}\r\nc)] {3}\r\nfoo FLAGS ())",
	"* 1 FETCH (BODY[]<0> {0}\r\n)", `* 1 FETCH (BODY[1.MIME] "quoted {5}")`, "* 1 FETCH (BODY[] NIL)",
	"* 1 FETCH (BINARY[1] ~{3}\r\nfoo BINARY.SIZE[1] 3)",
	`* NAMESPACE (("" "/")("x" ".")) NIL NIL`, `* ID NIL`, "* ENABLED X",
}

// survives tells how a client fares to which the server sends the line during a NOOP:
// the error of the NOOP, or of the next one.
func survives(client *imapclient.Client) error {
	if err := client.Noop().Wait(); err != nil {
		return err
	}
	return client.Noop().Wait()
}

func TestClientSurvivesWhatItWouldDieOf(t *testing.T) {
	for _, tt := range fatal {
		t.Run(tt.name, func(t *testing.T) {
			script := serve(tt.line+"\r\n%s OK done\r\n", "%s OK done\r\n")
			if tt.line != spins && tt.line != waits {
				raw := imapclient.New(play(t, func(s *server) error {
					_ = script(s) // the client hangs up
					return nil
				}), nil)
				if err := survives(raw); err == nil {
					t.Errorf("the client takes %q as it is: the rule is needless", tt.line)
				}
				raw.Close()
			}
			client, c := dial(t, Options{}, script)
			if err := survives(client); err != nil {
				t.Fatalf("%q: %v, %v", tt.line, err, c.Err())
			}
			switch dropped := c.Take().Dropped; {
			case tt.dropped == "" && len(dropped) > 0:
				t.Errorf("%q: said to be dropped: %q", tt.line, dropped)
			case tt.dropped != "" && !strings.Contains(strings.Join(dropped, "\n"), tt.dropped):
				t.Errorf("%q: dropped %q, want %q in it", tt.line, dropped, tt.dropped)
			}
		})
	}
}

func TestHarmlessResponsesPassUntouched(t *testing.T) {
	for _, line := range harmless {
		t.Run(line, func(t *testing.T) {
			stream := greeting + line + "\r\nT1 OK done\r\n"
			got, err := io.ReadAll(New(play(t, func(s *server) error {
				_, err := io.WriteString(s, stream)
				return err
			}), Options{}))
			if string(got) != stream || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			client, _ := dial(t, Options{}, serve(line+"\r\n%s OK done\r\n", "%s OK done\r\n"))
			if err := survives(client); err != nil {
				t.Errorf("the client dies of it: %v", err)
			}
		})
	}
}

// What is never asked for is kept from the client's parsers.
func TestWhatNobodyAskedForIsDropped(t *testing.T) {
	for line, want := range map[string]string{
		"* SEARCH 3 2 1": "", "* SORT 1": "", "* THREAD ((1)(2))": "", `* QUOTA "" (STORAGE 1 2)`: "", "* ACL x y z": "",
		`* METADATA "" (/x y)`: "", `* QUOTAROOT x`: "", `* MYRIGHTS x lr`: "",
		`* 1 FETCH (UID 1 BODYSTRUCTURE (((("TEXT" "PLAIN"))))  FLAGS ())`: "* 1 FETCH (UID 1  FLAGS ())\r\n",
		`* 1 FETCH (BODY ("TEXT") ENVELOPE (NIL) UID 1)`:                   "* 1 FETCH (UID 1)\r\n",
	} {
		got, notes, err := pass(strings.NewReader(greeting+line+"\r\n"), Options{})
		if string(got) != greeting+want || err != nil || len(notes.Dropped) == 0 {
			t.Errorf("%s: %q, %q, %v", line, got, notes.Dropped, err)
		}
	}
}

// The client takes UIDs that do not ascend in quadratic time.
func TestUIDsOfASearchAreSorted(t *testing.T) {
	for line, want := range map[string]string{
		`* ESEARCH (TAG "T1") UID ALL 9,5:3,4:6 COUNT 5`: `* ESEARCH (TAG "T1") UID ALL 3:6,9 COUNT 5`,
		`* ESEARCH (TAG "T1") uid COUNT 5 ALL 2,1`:       `* ESEARCH (TAG "T1") UID COUNT 5 ALL 1:2`,
		`* ESEARCH ALL 2,1`:                              `* ESEARCH ALL 1:2`,
		`* ESEARCH UID ALL 2,0`:                          `* ESEARCH UID ALL 2,0`,
		`* ESEARCH UID ALL 1:3,7`:                        `* ESEARCH UID ALL 1:3,7`,
	} {
		got, _, err := pass(strings.NewReader(greeting+line+"\r\n"), Options{})
		if string(got) != greeting+want+"\r\n" || err != nil {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
}

// Garbage between responses says that the sides disagree where a literal ended: then
// nothing that follows may be believed.
func TestGarbageEndsTheConnection(t *testing.T) {
	for _, line := range []string{
		"From: someone", "T99 OK not yours", "* 1 FETCH (UID 1 BODY[] {3}\r\nfoobar\r\n* 5 EXPUNGE",
		"* 1 FETCH (UID 1 FLAGS (", `* 1 FETCH (BODY[] "without an end`,
	} {
		client, _ := dial(t, Options{}, func(s *server) error {
			_ = serve(line+"\r\n%s OK done\r\n", "%s OK done\r\n")(s) // the client hangs up
			return nil
		})
		if err := survives(client); err == nil {
			t.Errorf("%q was passed over", line)
		}
	}
}

func TestRepairedFetchKeepsItsOtherItems(t *testing.T) {
	client, _ := dial(t, Options{}, serve(
		"* 7 FETCH (X-GM-MSGID 12 UID 9 EMAILID (M1) FLAGS (\\Seen bad] work) INTERNALDATE nil RFC822.SIZE 5 "+
			"RFC822 ~{5}\r\nhello THREADID NIL MODSEQ (8))\r\n%s OK done\r\n"))
	msgs, err := client.Fetch(imap.UIDSetNum(9), &imap.FetchOptions{Flags: true}).Collect()
	if err != nil || len(msgs) != 1 {
		t.Fatalf("got %v, %v", msgs, err)
	}
	m := msgs[0]
	if !slices.Equal(m.Flags, []imap.Flag{imap.FlagSeen, "work"}) {
		t.Errorf("flags %q", m.Flags)
	}
	if !m.InternalDate.Equal(time.Unix(0, 0)) {
		t.Errorf("date %v", m.InternalDate)
	}
	if body := m.FindBodySection(&imap.FetchItemBodySection{}); string(body) != "hello" || m.ModSeq != 8 || m.RFC822Size != 5 {
		t.Errorf("body %q, modseq %d, size %d", body, m.ModSeq, m.RFC822Size)
	}
}

func TestOneOddFolderLeavesTheOthers(t *testing.T) {
	client, c := dial(t, Options{}, serve("* LIST (\\HasNoChildren) \"/\" INBOX\r\n* STATUS INBOX (MESSAGES 3)\r\n"+
		"* LIST () \"/\" {3}\r\nR&D\r\n* STATUS {3}\r\nR&D (MESSAGES 1)\r\n"+
		"* LIST (\\Sent) \"\" Sent\r\n* STATUS Sent (MESSAGES 2 UIDVALIDITY -5)\r\n%s OK done\r\n"))
	list, err := client.List("", "*", &imap.ListOptions{ReturnStatus: &imap.StatusOptions{NumMessages: true}}).Collect()
	if err != nil || len(list) != 2 {
		t.Fatalf("got %v, %v", list, err)
	}
	if list[0].Mailbox != "INBOX" || *list[0].Status.NumMessages != 3 || list[1].Mailbox != "Sent" || list[1].Delim != 0 ||
		*list[1].Status.NumMessages != 2 || list[1].Status.UIDValidity != 0 {
		t.Errorf("got %+v %+v", list[0], list[1])
	}
	if dropped := c.Take().Dropped; len(dropped) != 3 || !strings.Contains(dropped[0], "R&D") {
		t.Errorf("dropped %q", dropped)
	}
}

func TestIMAP4rev2IsHiddenBesideIMAP4rev1(t *testing.T) {
	client, _ := dial(t, Options{}, func(s *server) error {
		_, err := io.WriteString(s, "* OK [CAPABILITY IMAP4rev2 IMAP4rev1 UIDPLUS ] hello\r\n")
		if err != nil {
			return err
		}
		if err := s.answers("* CAPABILITY IMAP4rev1 imap4REV2 MOVE\r\n%s OK [capability imap4rev1 IMAP4rev2 MOVE] done\r\n"); err != nil {
			return err
		}
		_, line, err := s.hears()
		if line != `DELETE "Entw&APw-rfe"` {
			t.Errorf("the client sends %q", line)
		}
		return err
	})
	if caps := client.Caps(); !caps.Has(imap.CapUIDPlus) || caps.Has(imap.CapIMAP4rev2) {
		t.Errorf("capabilities of the greeting: %v", caps)
	}
	caps, err := client.Capability().Wait()
	if err != nil || !caps.Has(imap.CapMove) || caps.Has(imap.CapIMAP4rev2) || client.Caps().Has(imap.CapIMAP4rev2) {
		t.Errorf("capabilities: %v, %v", caps, err)
	}
	_ = client.Delete("Entwürfe").Wait() // the server hangs up
}
