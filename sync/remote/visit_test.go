package remote

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailtwin/conflict/mail"
)

// change is a Visit in which one message is flagged, one moves, and one is expunged.
func change(folder mail.Folder, validity uint32, flag, move, expunge mail.UID) *mail.Visit {
	return &mail.Visit{
		Folder: folder, Validity: validity,
		Stores:  []*mail.FlagChange{{UIDs: mail.UIDs(flag), Add: mail.Flags{System: mail.Flagged}}},
		Moves:   []*mail.Moving{{UID: move, To: "Archive"}},
		Expunge: mail.UIDs(expunge),
	}
}

// errorsOf gives all errors of a Visit.
func errorsOf(v *mail.Visit) []error {
	all := []error{v.Expunged}
	for _, c := range v.Stores {
		all = append(all, c.Err)
	}
	for _, m := range v.Moves {
		all = append(all, m.Err)
	}
	return all
}

// boxes makes five folders of four messages each, and tells how far they were read.
func boxes(t *testing.T, a *Account) map[mail.Folder]mail.Cursor {
	t.Helper()
	cursors := map[mail.Folder]mail.Cursor{}
	for i := range 5 {
		name := mail.Folder(fmt.Sprint("Box ", i))
		if err := a.CreateFolder(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		for n := range 4 {
			put(t, a, name, fmt.Sprint(i, n), mail.Flags{})
		}
		cursors[name] = scanFolder(t, a, name, mail.Cursor{}, 0).Cursor
	}
	return cursors
}

func TestEachFolderThatIsVisitedCostsOneRoundTrip(t *testing.T) {
	a := open(t, dovecotServer(t))
	if err := a.CreateFolder(t.Context(), "Archive"); err != nil {
		t.Fatal(err)
	}
	put(t, a, "Archive", "zero", mail.Flags{})
	var visits []*mail.Visit
	for name, cursor := range boxes(t, a) {
		visits = append(visits, change(name, cursor.UIDValidity, 1, 2, 3))
	}
	before := a.Traffic().RoundTrips
	a.Change(t.Context(), visits)
	if trips := a.Traffic().RoundTrips - before; trips > len(visits)+1 {
		t.Errorf("%d round trips for %d folders", trips, len(visits))
	}
	there := mail.UIDSet{}
	for _, v := range visits {
		if err := errors.Join(errorsOf(v)...); err != nil || !v.Stores[0].Met[1] || there.Has(v.Moves[0].There) {
			t.Errorf("%s: %v, met %v, moved to %d", v.Folder, err, v.Stores[0].Met, v.Moves[0].There)
		}
		there.Add(v.Moves[0].There)
		if now := scanFolder(t, a, v.Folder, mail.Cursor{}, 0); now.Present.String() != "1,4" || now.messages[1].Flags.System != mail.Flagged {
			t.Errorf("%s has %v, and %+v", v.Folder, now.Present, now.messages[1])
		}
	}
	if now := scanFolder(t, a, "Archive", mail.Cursor{}, 0); now.Present.Without(there).String() != "1" || there.Len() != 5 {
		t.Errorf("Archive has %v, told were %v", now.Present, there)
	}
}

// What has become of a folder is asked along with what is done there; so a Scan that asks just
// that costs nothing more, also if it was asked for ahead; but one that asks anything else does.
func TestAVisitThatLooks(t *testing.T) {
	a := open(t, dovecotServer(t))
	cursors := boxes(t, a)
	var visits []*mail.Visit
	for name, since := range cursors {
		v := change(name, since.UIDValidity, 1, 2, 3)
		v.Moves[0].To = "INBOX"
		v.Look = &mail.Query{Folder: name, Since: since, Known: 2}
		visits = append(visits, v)
	}
	trips := func(want int, what string, do func()) {
		before := a.Traffic().RoundTrips
		do()
		if n := a.Traffic().RoundTrips - before; n > want {
			t.Errorf("%s: %d round trips, want %d", what, n, want)
		}
	}
	trips(6, "the visits", func() { a.Change(t.Context(), visits) })
	trips(1, "the last scans", func() {
		var queries []mail.Query
		for _, v := range visits {
			queries = append(queries, *v.Look)
		}
		queries[4].Known = 3 // it is another question
		a.Ahead(t.Context(), queries)
		for _, v := range visits[:4] {
			if err := errors.Join(errorsOf(v)...); err != nil {
				t.Fatal(err)
			}
			now := scanFolder(t, a, v.Folder, cursors[v.Folder], 2)
			if !slices.Equal(now.order, []mail.UID{1}) || now.messages[1].Flags.System != mail.Flagged || now.Absence != mail.NothingGone || now.Cursor.Messages != 2 {
				t.Errorf("%s: %+v", v.Folder, now)
			}
		}
	})
	trips(2, "another question", func() {
		other := visits[4].Folder
		if now := scanFolder(t, a, other, cursors[other], 3); now.Absence != mail.ByPresent || now.Present.String() != "1,4" {
			t.Errorf("%+v", now)
		}
	})
	trips(1, "the same once more", func() {
		first := visits[0].Folder
		scanFolder(t, a, first, cursors[first], 2)
	})
}

// visited plays a server with folders A, B, C and Archive, which notes what it is sent. special
// answers some commands; false: as usual.
func visited(t *testing.T, special func(s *script, box, tag, command string) bool) (opts Options, log func() []string) {
	var mu sync.Mutex
	var all []string
	opts = scripted(t, func(s *script) {
		s.login("UIDPLUS MOVE")
		box := ""
		for {
			tag, command := s.hear()
			command = strings.ReplaceAll(command, `"`, "")
			if name, ok := strings.CutPrefix(command, "SELECT "); ok {
				if n := s.r.Buffered(); n > 0 {
					t.Errorf("%d octets were sent behind %s", n, command)
				}
				box = name
			}
			mu.Lock()
			all = append(all, box+": "+command)
			mu.Unlock()
			switch {
			case special(s, box, tag, command):
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`, `* LIST () "/" A`, `* LIST () "/" B`, `* LIST () "/" C`, `* LIST () "/" Archive`, tag+" OK done")
			case strings.HasPrefix(command, "SELECT"):
				s.raw(strings.ReplaceAll(selected(9, 10, 0), "TAG", tag) + "\r\n")
			case strings.HasPrefix(command, "UID MOVE 2 "):
				s.say(tag + " OK [COPYUID 9 2 50] done")
			case strings.HasPrefix(command, "LOGOUT"):
				s.say("* BYE", tag+" OK")
				return
			default:
				s.say(tag + " OK done")
			}
		}
	})
	return opts, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

// A folder that was deleted and made anew has other messages under the UIDs.
func TestNothingIsSentToAFolderThatWasMadeAnew(t *testing.T) {
	opts, log := visited(t, func(s *script, box, tag, command string) bool {
		if command != "SELECT B" {
			return false
		}
		s.raw(strings.ReplaceAll(strings.ReplaceAll(selected(9, 10, 0), "TAG", tag), "UIDVALIDITY 7", "UIDVALIDITY 8") + "\r\n")
		return true
	})
	a := open(t, opts)
	visits := []*mail.Visit{change("A", 7, 1, 2, 3), change("B", 7, 1, 2, 3), change("C", 7, 1, 2, 3)}
	a.Change(t.Context(), visits)
	for _, v := range visits {
		for _, err := range errorsOf(v) {
			if restarted := v.Folder == "B"; restarted != errors.Is(err, mail.ErrRestarted) || !restarted && err != nil {
				t.Errorf("%s: %v", v.Folder, err)
			}
		}
	}
	for _, line := range log() {
		if strings.HasPrefix(line, "B: UID") {
			t.Errorf("it was sent %q", line)
		}
	}
}

// Dovecot expunges before it sees the marks, where another session has removed something.
func TestWhatWasNotExpungedIsExpungedAgain(t *testing.T) {
	expunged := 0
	opts, log := visited(t, func(s *script, box, tag, command string) bool {
		switch {
		case box == "A" && strings.HasPrefix(command, "UID EXPUNGE"):
			if expunged++; expunged == 2 {
				s.say("* 3 EXPUNGE")
			}
			s.say(tag + " OK done")
			return true
		case box == "A" && strings.HasPrefix(command, "UID FETCH 3 ") && expunged == 1:
			s.say("* 3 FETCH (UID 3)", tag+" OK done")
			return true
		}
		return false
	})
	a := open(t, opts)
	visits := []*mail.Visit{change("A", 7, 1, 2, 3), change("C", 7, 1, 2, 3)}
	a.Change(t.Context(), visits)
	for _, v := range visits {
		if err := errors.Join(errorsOf(v)...); err != nil {
			t.Errorf("%s: %v", v.Folder, err)
		}
	}
	moves := 0
	for _, line := range log() {
		if strings.HasPrefix(line, "A: UID MOVE") {
			moves++
		}
	}
	if expunged != 2 || moves != 1 {
		t.Errorf("it expunged %d times and moved %d times: %q", expunged, moves, log())
	}
}

// A BAD costs the session. What was to be done elsewhere is done on another one.
func TestWhatOneFolderIsRefusedIsNoMatterOfTheOthers(t *testing.T) {
	for _, answer := range []string{" NO not here", " BAD what?"} {
		opts, _ := visited(t, func(s *script, box, tag, command string) bool {
			if refused := box == "B" && strings.HasPrefix(command, "UID STORE"); !refused {
				return false
			}
			s.say(tag + answer)
			return true
		})
		a := open(t, opts)
		visits := []*mail.Visit{change("A", 7, 1, 2, 3), change("B", 7, 1, 2, 3), change("C", 7, 1, 2, 3)}
		a.Change(t.Context(), visits)
		for _, v := range visits {
			err := errors.Join(errorsOf(v)...)
			if refused := v.Folder == "B"; refused != errors.Is(err, mail.ErrRefused) || !refused && err != nil {
				t.Errorf("%q: %s: %v", answer, v.Folder, err)
			}
		}
		if m := visits[1].Moves[0]; answer == " NO not here" && (m.Err != nil || m.There != 50) {
			t.Errorf("what else was to be done in the folder: %+v", m)
		}
	}
}

// Nobody knows what has become of what has no answer, so it is not done again.
func TestAConnectionThatBreaksDuringAVisit(t *testing.T) {
	opts, log := visited(t, func(s *script, box, tag, command string) bool {
		if box == "B" && strings.HasPrefix(command, "UID MOVE") {
			s.conn.Close()
			panic(errScriptEnded)
		}
		return false
	})
	a := open(t, opts)
	visits := []*mail.Visit{change("A", 7, 1, 2, 3), change("B", 7, 1, 2, 3), change("C", 7, 1, 2, 3)}
	a.Change(t.Context(), visits)
	if err := errors.Join(errorsOf(visits[0])...); err != nil {
		t.Errorf("what was done before has %v", err)
	}
	if m := visits[1].Moves[0]; !errors.Is(m.Err, mail.ErrUnreachable) {
		t.Errorf("what has no answer has %v", m.Err)
	}
	for _, err := range errorsOf(visits[2]) {
		if !errors.Is(err, mail.ErrUnreachable) {
			t.Errorf("what was not begun has %v", err)
		}
	}
	n := 0
	for _, line := range log() {
		if strings.Contains(line, "UID MOVE") {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d MOVEs were sent: %q", n, log())
	}
}
