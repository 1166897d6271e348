package remote

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim/remotetest"
)

// selected is the answer to a SELECT.
func selected(exists, uidNext, modSeq int, more ...string) string {
	lines := []string{fmt.Sprintf("* %d EXISTS", exists), "* OK [UIDVALIDITY 7] x", fmt.Sprintf("* OK [UIDNEXT %d] x", uidNext)}
	if modSeq > 0 {
		lines = append(lines, fmt.Sprintf("* OK [HIGHESTMODSEQ %d] x", modSeq))
	}
	return strings.Join(append(append(lines, more...), "TAG OK [READ-WRITE] done"), "\r\n")
}

const listCommand = "UID FETCH 1:* (UID"

// listing is the answer to a full listing: whole replies for these UIDs.
func listing(uids ...int) string {
	var b strings.Builder
	for i, u := range uids {
		fmt.Fprintf(&b, "* %d FETCH (UID %d FLAGS (\\Seen) INTERNALDATE \"02-Jan-2006 15:04:05 +0000\" RFC822.SIZE 10)\r\n", i+1, u)
	}
	return b.String() + "TAG OK done"
}

func serve(caps string, table map[string]string) func(s *script) {
	return func(s *script) {
		s.login(caps)
		s.answers(table)
	}
}

func TestWhatAScanTellsOfAbsence(t *testing.T) {
	since := mail.Cursor{UIDValidity: 7, UIDNext: 5, HighestModSeq: 100, Messages: 4}
	const changed = "UID FETCH 1:4 (UID FLAGS) (CHANGEDSINCE 100)"
	const flags = "UID FETCH 1:4 (UID FLAGS)"
	for _, c := range []struct {
		name    string
		caps    string
		since   mail.Cursor
		known   int
		table   map[string]string
		visited []mail.UID
		absence mail.Absence
		present string
		view    mail.View // Restarted and Full
	}{
		{"nothing has changed", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT": selected(4, 5, 100),
		}, nil, mail.NothingGone, "", mail.View{}},
		{"a flag has changed", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT": selected(4, 5, 101),
			changed:  "* 2 FETCH (UID 2 MODSEQ (101) FLAGS (\\Seen))\r\nTAG OK done",
		}, []mail.UID{2}, mail.NothingGone, "", mail.View{}},
		{"one is new", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT":                      selected(5, 6, 101),
			changed:                       "TAG OK done",
			"UID FETCH 5:4294967295 (UID": listing(5),
			"UID SEARCH RETURN (DON'T)":   "TAG BAD",
		}, []mail.UID{5}, mail.NothingGone, "", mail.View{}},
		{"the last one is told of though it is old", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT":                      selected(4, 6, 101),
			changed:                       "TAG OK done",
			"UID FETCH 5:4294967295 (UID": listing(4),
		}, nil, mail.NothingGone, "", mail.View{}},
		{"one is gone", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT":     selected(3, 5, 101),
			changed:      "TAG OK done",
			"UID SEARCH": "* ESEARCH (#) UID COUNT 3 ALL 1,3:4\r\nTAG OK done",
		}, nil, mail.ByPresent, "1,3:4", mail.View{}},
		{"all are gone", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT":     selected(0, 5, 101),
			"UID SEARCH": "* ESEARCH (#) UID COUNT 0\r\nTAG OK done",
		}, nil, mail.ByPresent, "", mail.View{}},
		{"a search that counts otherwise", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT":     selected(3, 5, 101),
			changed:      "TAG OK done",
			"UID SEARCH": "* ESEARCH (#) UID COUNT 3 ALL 1\r\nTAG OK done",
		}, nil, mail.AbsenceUnknown, "", mail.View{}},
		{"a search that is about sequence numbers", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT":     selected(3, 5, 101),
			changed:      "TAG OK done",
			"UID SEARCH": "* ESEARCH (#) COUNT 3 ALL 1:3\r\nTAG OK done",
		}, nil, mail.AbsenceUnknown, "", mail.View{}},
		{"a search that finds nothing in a full folder", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT":     selected(3, 5, 101),
			changed:      "TAG OK done",
			"UID SEARCH": "TAG OK done",
		}, nil, mail.AbsenceUnknown, "", mail.View{}},
		{"a server that shows only a part", "CONDSTORE ESEARCH MESSAGELIMIT=1000", since, 4, map[string]string{
			"SELECT": selected(4, 5, 100),
		}, nil, mail.AbsenceUnknown, "", mail.View{}},
		{"no ESEARCH", "CONDSTORE", since, 4, map[string]string{
			"SELECT":            selected(3, 5, 101),
			changed:             "TAG OK done",
			"UID FETCH 1:* UID": "TAG BAD",
			"UID FETCH 1:*":     "* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 3)\r\n* 3 FETCH (UID 4)\r\nTAG OK done",
		}, nil, mail.ByPresent, "1,3:4", mail.View{}},
		{"no mod-sequences in this folder", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT": selected(2, 5, 0, "* OK [NOMODSEQ] x"),
			flags:    listing(1, 3),
		}, []mail.UID{1, 3}, mail.ByPresent, "1,3", mail.View{Full: true}},
		{"HIGHESTMODSEQ 0", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT": selected(4, 5, 0, "* OK [HIGHESTMODSEQ 0] x"),
			flags:    listing(1, 2, 3, 4),
		}, []mail.UID{1, 2, 3, 4}, mail.ByPresent, "1:4", mail.View{Full: true}},
		{"new messages without mod-sequences", "ESEARCH", since, 4, map[string]string{
			"SELECT":          selected(5, 7, 0),
			flags:             "* 1 FETCH (UID 1 FLAGS ())\r\n* 2 FETCH (UID 2 FLAGS ())\r\n* 3 FETCH (UID 4 FLAGS ())\r\nTAG OK done",
			"UID FETCH 5:* (": "* 4 FETCH (UID 5)\r\n* 5 FETCH (UID 6)\r\nTAG OK done", // it tells the rest when asked again
			"UID FETCH 5:6 (": listing(5, 6),
		}, []mail.UID{1, 2, 4, 5, 6}, mail.ByPresent, "1:2,4:6", mail.View{Full: true}},
		{"a folder whose UIDs do not last", "ESEARCH", since, 4, map[string]string{
			"SELECT":    selected(4, 5, 0, "* NO [UIDNOTSTICKY] x"),
			listCommand: listing(1, 2, 3, 4),
		}, []mail.UID{1, 2, 3, 4}, mail.ByPresent, "1:4", mail.View{Full: true, Restarted: true}},
		{"a listing that is shorter than the count", "ESEARCH", since, 4, map[string]string{
			"SELECT":     selected(3, 5, 0),
			flags:        listing(1, 3),
			"UID SEARCH": "* ESEARCH (#) UID COUNT 2 ALL 1,3\r\nTAG OK done",
		}, []mail.UID{1, 3}, mail.AbsenceUnknown, "", mail.View{Full: true}},
		{"a message that came meanwhile", "ESEARCH", since, 4, map[string]string{
			"SELECT":     selected(2, 5, 0),
			flags:        "* 3 EXISTS\r\n" + listing(1, 3),
			"UID SEARCH": "* ESEARCH (#) UID COUNT 3 ALL 1,3,5\r\nTAG OK done",
		}, []mail.UID{1, 3}, mail.ByPresent, "1,3,5", mail.View{Full: true}},
		{"an empty folder that never had anything", "ESEARCH", mail.Cursor{}, 0, map[string]string{
			"SELECT":    selected(0, 1, 0),
			listCommand: "TAG BAD nothing there",
		}, nil, mail.ByPresent, "", mail.View{Full: true}},
		{"a folder restored from a backup", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT":    selected(1, 3, 120),
			listCommand: listing(2),
		}, []mail.UID{2}, mail.ByPresent, "2", mail.View{Full: true, Restarted: true}},
		{"mod-sequences that went backwards", "CONDSTORE ESEARCH", since, 4, map[string]string{
			"SELECT":    selected(1, 5, 99),
			listCommand: listing(2),
		}, []mail.UID{2}, mail.ByPresent, "2", mail.View{Full: true, Restarted: true}},
		{"an old message that shows up only now", "CONDSTORE ESEARCH", since, 3, map[string]string{
			"SELECT":     selected(4, 5, 101),
			changed:      "* 2 FETCH (UID 2 MODSEQ (101) FLAGS ())\r\nTAG OK done",
			"UID SEARCH": "* ESEARCH (#) UID COUNT 4 ALL 1:4\r\nTAG OK done",
		}, []mail.UID{2}, mail.ByPresent, "1:4", mail.View{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := open(t, scripted(t, serve(c.caps, c.table)))
			v := scanFolder(t, a, "INBOX", c.since, c.known)
			if !slices.Equal(v.order, c.visited) {
				t.Errorf("visited %v, want %v", v.order, c.visited)
			}
			if v.Absence != c.absence || v.Present.String() != c.present {
				t.Errorf("absence is %d with %v, want %d with %s", v.Absence, v.Present, c.absence, c.present)
			}
			if v.Full != c.view.Full || v.Restarted != c.view.Restarted {
				t.Errorf("the view is %+v", v.View)
			}
		})
	}
}

func TestFlagsThatWereNotToldAreAskedForAgain(t *testing.T) {
	const whole = `INTERNALDATE "02-Jan-2006 15:04:05 +0000" RFC822.SIZE 10`
	t.Run("in a full listing", func(t *testing.T) {
		a := open(t, scripted(t, serve("ESEARCH", map[string]string{
			"SELECT": selected(4, 9, 0),
			// UID 8 changes while we ask: its notice comes first, and takes the answer's place.
			listCommand: "* 4 FETCH (UID 8 FLAGS (\\Flagged))\r\n" + listing(1, 5, 6, 8),
			"UID FETCH 8 (UID": "* 4 FETCH (UID 8 FLAGS (\\Answered) " + whole + ")\r\n" +
				"TAG OK done",
		})))
		v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
		if !slices.Equal(v.order, []mail.UID{1, 5, 6, 8}) || v.Absence != mail.ByPresent {
			t.Errorf("visited %v, absence %d", v.order, v.Absence)
		}
		if m := v.messages[8]; m.Size != 10 || m.Date.IsZero() || m.Flags.System != mail.Answered {
			t.Errorf("UID 8 is %+v", m)
		}
	})
	t.Run("among changes", func(t *testing.T) {
		a := open(t, scripted(t, serve("CONDSTORE", map[string]string{
			"SELECT":                  selected(4, 5, 101),
			"UID FETCH 1:4 (UID":      "* 2 FETCH (UID 2 MODSEQ (101))\r\n* 3 FETCH (UID 3 FLAGS ())\r\n* 4 FETCH (UID 4 MODSEQ (101))\r\nTAG OK done",
			"UID FETCH 2,4 (UID":      "* 2 FETCH (UID 2 FLAGS (\\Seen) " + whole + ")\r\n* 4 FETCH (UID 4)\r\nTAG OK done",
			"UID SEARCH RETURN (BAD)": "TAG BAD",
		})))
		v := scanFolder(t, a, "INBOX", mail.Cursor{UIDValidity: 7, UIDNext: 5, HighestModSeq: 100}, 4)
		if !slices.Equal(v.order, []mail.UID{2, 3}) {
			t.Errorf("visited %v; UID 4 never told its flags", v.order)
		}
		if !v.messages[2].Flags.Has(mail.Seen) {
			t.Errorf("UID 2 is %+v", v.messages[2])
		}
	})
}

func TestAServerThatListsOutOfOrder(t *testing.T) {
	a := open(t, scripted(t, serve("", map[string]string{
		"SELECT":    selected(3, 9, 0),
		listCommand: listing(5, 1, 8),
	})))
	_, err := a.Scan(t.Context(), "INBOX", mail.Cursor{}, 0, func(mail.Message) error { return nil })
	if !errors.Is(err, mail.ErrTryLater) || !errors.Is(err, mail.ErrRefused) {
		t.Errorf("the first scan gives %v", err)
	}
	if v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0); !slices.Equal(v.order, []mail.UID{1, 5, 8}) {
		t.Errorf("the second one visits %v", v.order)
	}
}

func TestTheCursorIsThatOfTheSelect(t *testing.T) {
	a := open(t, scripted(t, serve("CONDSTORE", map[string]string{
		"SELECT": selected(2, 5, 101),
		// By now a third one has come, and mod-sequences went on.
		listCommand: "* OK [HIGHESTMODSEQ 150] x\r\n* 3 EXISTS\r\n" + listing(1, 3, 5),
	})))
	v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
	if want := (mail.Cursor{UIDValidity: 7, UIDNext: 5, HighestModSeq: 101, Messages: 2}); v.Cursor != want {
		t.Errorf("the cursor is %+v", v.Cursor)
	}
	if v.Absence != mail.ByPresent || v.Present.String() != "1,3,5" {
		t.Errorf("the view is %+v", v.View)
	}
}

func TestAServerThatDoesNotTellUIDNEXT(t *testing.T) {
	a := open(t, scripted(t, serve("", map[string]string{
		"SELECT":    "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK done",
		listCommand: listing(1, 8),
	})))
	if v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0); v.Cursor.UIDNext != 9 {
		t.Errorf("the cursor is %+v", v.Cursor)
	}
}

// Without UIDNEXT nobody would notice that the server was restored from a backup, and
// what it has lost would be removed here.
func TestUIDNEXTIsAskedForWhereASelectDoesNotTellIt(t *testing.T) {
	a := open(t, scripted(t, serve("", map[string]string{
		"SELECT":             "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK done",
		"STATUS \"INBOX\" (": "* STATUS INBOX (UIDNEXT 12)\r\nTAG OK done",
		"STATUS INBOX (":     "* STATUS INBOX (UIDNEXT 12)\r\nTAG OK done",
		listCommand:          listing(1, 8),
	})))
	if v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0); v.Cursor.UIDNext != 12 {
		t.Errorf("the cursor is %+v", v.Cursor)
	}
	v := scanFolder(t, a, "INBOX", mail.Cursor{UIDValidity: 7, UIDNext: 20, Messages: 4}, 4)
	if !v.Restarted || len(v.order) != 2 {
		t.Errorf("a folder that went back in time: visited %v, view %+v", v.order, v.View)
	}
}

func TestAFolderThatCanBeReadOnly(t *testing.T) {
	a := open(t, scripted(t, serve("UIDPLUS", map[string]string{
		"SELECT":    strings.Replace(selected(1, 5, 0, `* OK [PERMANENTFLAGS ()] x`), "READ-WRITE", "READ-ONLY", 1),
		listCommand: listing(1),
	})))
	v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
	if !v.ReadOnly || v.NewKeywords || !v.Settable.Empty() {
		t.Errorf("the view is %+v", v.View)
	}
	err := remotetest.Store(t.Context(), a, "INBOX", 7, mail.UIDs(1), mail.Flags{System: mail.Seen}, mail.Flags{}, nil)
	if !errors.Is(err, mail.ErrReadOnly) {
		t.Errorf("store gives %v", err)
	}
}

func TestWhatCanBeSetForGood(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       mail.Flags
		new        bool
	}{
		{"where the server does not say", "", mail.Flags{System: 63}, true},
		{"where keywords can be made", `* OK [PERMANENTFLAGS (\Seen \Deleted work \*)] x`,
			mail.Flags{System: mail.Seen | mail.Deleted | mail.Forwarded, Keywords: "work"}, true},
		{"where they cannot", `* OK [PERMANENTFLAGS (\Seen $Forwarded $MDNSent)] x`,
			mail.Flags{System: mail.Seen | mail.Forwarded, Keywords: "$MDNSent"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer := selected(0, 5, 0)
			if c.line != "" {
				answer = selected(0, 5, 0, c.line)
			}
			v := scanFolder(t, open(t, scripted(t, serve("", map[string]string{"SELECT": answer}))), "INBOX", mail.Cursor{}, 0)
			if !v.Settable.Equal(c.want) || v.NewKeywords != c.new {
				t.Errorf("settable are %v, new keywords %v", v.Settable, v.NewKeywords)
			}
		})
	}
}
