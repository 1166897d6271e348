package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// noBodies makes the test fail when a body travels.
func noBodies(t *testing.T, s *sim.Server) {
	s.Before = func(c sim.Call) error {
		if c.Method == "Fetch" || c.Method == "Append" {
			t.Errorf("%s in %s: a body travels", c.Method, c.Folder)
		}
		return nil
	}
}

// has checks how many messages a folder has, on both sides.
func (d *device) has(folder mail.Folder, n int) {
	d.t.Helper()
	if got := len(d.server.Messages(folder)); got != n {
		d.t.Errorf("%s has %d messages on the server, want %d", folder, got, n)
	}
	if got := len(d.files(folder)); got != n {
		d.t.Errorf("%s has %d files, want %d", folder, got, n)
	}
}

// A file that is copied is copied on the server, whatever the program calls it: into
// several folders, into its own, with other flags, and into one that is new.
func TestCopiesCarryNoBodies(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	noBodies(t, s)
	d.put("Archive", "1.copy:2,FS", letter("read"))
	d.put("Lists", "2.copy:2,", letter("read"))
	d.put("INBOX", "3.twin:2,S", letter("read"))
	d.put2(t, "Made here", "4.copy:2,S", letter("read"))
	must(t, os.Link(d.find("INBOX", "About unread."), filepath.Join(d.dir("Archive"), "cur", "linked:2,S")))
	same := d.find("Lists/go", "a list post")
	d.put("Lists", filepath.Base(same), letter("a list post")) // the key is its own only in its folder
	rep := d.sync()
	if rep.Remote.New != 6 || rep.Remote.Removed+rep.Remote.Moved+rep.Local.Removed+rep.Local.Moved > 0 {
		t.Errorf("report: %+v", rep)
	}
	d.has("Archive", 2)
	d.has("Lists", 2)
	d.has("Made here", 1)
	d.inStep()
	d.quiet()
}

// A message that is copied on the server gets another name of the file that is here.
func TestCopiesOnTheServerAreLinked(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	noBodies(t, s)
	for i, m := range s.Messages("INBOX") {
		copied := s.Copy("INBOX", m.UID, "Archive")
		if i == 0 {
			must(t, s.SetFlags("Archive", copied, flags(`\Flagged`, "work")))
		}
	}
	n := len(s.Messages("INBOX"))
	rep := d.sync()
	if rep.Local.New != n || rep.Remote.New > 0 {
		t.Errorf("report: %+v", rep)
	}
	d.has("Archive", n)
	d.inStep()
	d.quiet()

	// Each is a message of its own.
	must(t, os.Remove(d.find("Archive", "About read.")))
	d.sync()
	d.has("Archive", n-1)
	d.has("INBOX", n)
	d.inStep()
	d.quiet()
}

// A copy that moves on after the run died which was to link it here is one message still,
// and its file goes with it.
func TestACopyThatMovesOnAfterItsRunDied(t *testing.T) {
	for step := 1; ; step++ {
		s := account(t)
		d := newDevice(t, s)
		d.sync()
		lists := len(s.Messages("Lists"))
		copied := s.Copy("INBOX", s.Messages("INBOX")[1].UID, "Archive")
		crashed := len(d.dies(step)) == step
		s.Move("Archive", copied, "Lists")
		d.sync()
		if a, l := len(s.Messages("Archive")), len(s.Messages("Lists")); a != 0 || l != lists+1 {
			t.Errorf("killed at step %d: Archive has %d messages, and Lists %d, which had %d", step, a, l, lists)
		}
		d.inStep()
		if !crashed {
			return
		}
	}
}

// What is new in several folders at once is fetched once.
func TestAMessageOfSeveralFoldersTravelsOnce(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	var bodies atomic.Int64 // sessions fetch side by side
	s.Before = func(c sim.Call) error {
		if c.Method == "Fetch" {
			bodies.Add(int64(c.UIDs.Len()))
		}
		return nil
	}
	for _, m := range s.Messages("INBOX") {
		s.Copy("INBOX", m.UID, "Archive")
		s.Copy("INBOX", m.UID, "Lists")
	}
	all := 0
	for _, f := range s.Folders() {
		all += len(s.Messages(f))
	}
	d.sync()
	d.inStep()
	if want := all - 2*len(s.Messages("INBOX")); int(bodies.Load()) != want {
		t.Errorf("%d bodies were fetched for %d messages, want %d", bodies.Load(), all, want)
	}
	d.quiet()
}

// The same header and the same size do not make the same message: what is not sure is
// fetched.
func TestALikenessIsNoCopy(t *testing.T) {
	draft := func(word string) string { return letter("draft") + word + "\n" }
	s := account(t)
	s.Deliver("Archive", onWire(draft("teh")), mail.Flags{}, day)
	d := newDevice(t, s)
	d.sync()
	// Another version, saved by another program at another time, with the same header.
	must(t, s.Expunge("Archive", s.Messages("Archive")[0].UID))
	s.Deliver("Archive", onWire(draft("the")), mail.Flags{}, day.Add(1e9))
	s.Deliver("Lists", onWire(draft("eht")), mail.Flags{}, day.Add(2e9))
	// One message that came by two ways, at the same second.
	s.Deliver("INBOX", append([]byte("Delivered-To: a@example.org\r\n"), onWire(letter("twice"))...), mail.Flags{}, day)
	s.Deliver("Lists/go", append([]byte("Delivered-To: b@example.org\r\n"), onWire(letter("twice"))...), mail.Flags{}, day)
	d.sync()
	d.inStep()
	d.quiet()
}

// mutt copies a message when it is saved, and removes it when the folder is left: in
// between there may have been a sync. What was moved so does not end in Trash, and
// what was put into Trash so is there once.
func TestACopyWhoseOriginalGoesLaterIsAMove(t *testing.T) {
	for _, target := range []mail.Folder{"Archive", "Trash"} {
		t.Run(string(target), func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.sync()
			d.put(target, "9.saved:2,S", letter("read"))
			d.sync()
			d.has(target, 1)
			must(t, os.Remove(d.find("INBOX", "About read.")))
			noBodies(t, s)
			d.sync()
			d.has(target, 1)
			if n := len(s.Messages("Trash")); target != "Trash" && n > 0 {
				t.Errorf("Trash has %d messages", n)
			}
			d.inStep()
			d.quiet()
		})
	}
}

// A copy that is gone as well is no place where the message went.
func TestACopyThatIsGoneDoesNotStandForItsOriginal(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	copied := d.put("Archive", "9.copied:2,S", letter("read"))
	d.sync()
	must(t, os.Remove(d.find("INBOX", "About read.")))
	must(t, os.Remove(copied))
	d.sync()
	d.has("Trash", 2)
	d.inStep()
	d.quiet()
}

// Letters belong to a folder. A program that does not know that carries them along.
func TestKeywordsOfMovedAndCopiedFilesAreThoseOfWhereTheyCameFrom(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	s.Deliver("Archive", onWire(letter("other")), flags("other"), day)
	s.Deliver("INBOX", onWire(letter("moved")), flags("work", `\Seen`), day)
	s.Deliver("INBOX", onWire(letter("copied")), flags("work", `\Seen`), day)
	s.Deliver("INBOX", onWire(letter("retagged")), flags("work", `\Seen`), day)
	s.Deliver("INBOX", onWire(letter("dropped")), flags("work", `\Seen`), day)
	s.Deliver("INBOX", onWire(letter("elsewhere")), flags("work", "rare", `\Seen`), day)
	d.sync()
	if d.letters("INBOX")[0] == d.letters("Archive")[0] {
		t.Fatalf("the letters are the same: %v", d.letters("INBOX"))
	}
	noBodies(t, s)
	move := func(subject, name string) {
		must(t, os.Rename(d.find("INBOX", "About "+subject+"."), filepath.Join(d.dir("Archive"), "cur", name)))
	}
	letterOf := func(folder mail.Folder, word string) string {
		for i, l := range d.letters(folder) {
			if l == word {
				return string(rune('a' + i))
			}
		}
		t.Fatalf("%s has no letter for %s", folder, word)
		return ""
	}
	work := letterOf("INBOX", "work")
	move("moved", "moved:2,FS"+work)
	d.put("Archive", "copied:2,S"+work, letter("copied"))
	// This program knows nothing of letters, and there are none at all in Lists.
	must(t, os.Rename(d.find("INBOX", "About dropped."), filepath.Join(d.dir("Lists"), "cur", "dropped:2,S")))
	d.put("Lists", "copied too:2,FS", letter("elsewhere"))
	// This one was given another keyword, by a program that knows the letters; for the old
	// one there is no letter yet, so that it says nothing of that.
	move("retagged", "retagged:2,S"+letterOf("Archive", "other")+"z")
	d.sync()
	for subject, want := range map[string]string{"moved": `\Flagged \Seen work`, "copied": `\Seen work`, "retagged": `\Seen other work`} {
		for _, c := range censusOf(s, "Archive") {
			if strings.Contains(c, "About "+subject+".") && !strings.HasPrefix(c, want+" |") && work != letterOf("Archive", "other") {
				t.Errorf("%s has %q, want %q", subject, c[:strings.Index(c, "|")], want)
			}
		}
	}
	for _, c := range []string{`\Seen work |`, `\Flagged \Seen rare work |`} {
		if got := d.census("Lists"); !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, c) }) {
			t.Errorf("Lists has no file with %q: %s", c, short(got))
		}
	}
	d.inStep()
	d.quiet()
}

// What both sides moved, each to another place, goes where the server has it, and
// that is remembered; two devices and the server end alike.
func TestMovedOnBothSides(t *testing.T) {
	s := account(t)
	a, b := newDevice(t, s), newDevice(t, s)
	a.sync()
	b.sync()
	noBodies(t, s)
	must(t, os.Rename(a.find("INBOX", "About read."), filepath.Join(a.dir("Archive"), "cur", "1:2,FS")))
	must(t, os.Rename(b.find("INBOX", "About read."), filepath.Join(b.dir("Lists"), "cur", "2:2,RS")))
	for range 2 {
		a.sync()
		b.sync()
	}
	a.has("Archive", 1)
	b.has("Archive", 1)
	if got := censusOf(s, "Archive"); !strings.HasPrefix(got[0], `\Flagged \Answered \Seen |`) {
		t.Errorf("Archive has %s", short(got))
	}
	if n := len(s.Messages("Lists")) + len(s.Messages("Trash")); n > 0 {
		t.Errorf("%d messages are elsewhere", n)
	}
	if n := len(b.state.Decisions()); n != 1 {
		t.Errorf("%d decisions were recorded, want 1", n)
	}
	for _, d := range []*device{a, b} {
		d.inStep()
		d.quiet()
	}
}

// What one side moved and the other removed is kept where it was moved to, or removed
// there, as the policy has it.
func TestMovedOnOneSideAndRemovedOnTheOther(t *testing.T) {
	for name, winner := range map[string]conflict.Winner{"keep": conflict.KeepWins, "delete": conflict.DeleteWins} {
		for _, moved := range []mail.Side{mail.Local, mail.Remote} {
			t.Run(name+", moved on the "+moved.String()+" side", func(t *testing.T) {
				s := account(t)
				d := newDevice(t, s)
				d.opts.Policy = always(conflict.Policy{Winner: winner})
				d.sync()
				uid := mail.UID(0)
				for _, m := range s.Messages("INBOX") {
					if strings.Contains(string(m.Raw), "About read.") {
						uid = m.UID
					}
				}
				path := d.find("INBOX", "About read.")
				if moved == mail.Local {
					must(t, os.Rename(path, filepath.Join(d.dir("Archive"), "cur", "1:2,S")))
					must(t, s.Expunge("INBOX", uid))
				} else {
					must(t, os.Remove(path))
					s.Move("INBOX", uid, "Archive")
				}
				d.sync()
				d.sync()
				want := 0
				if winner == conflict.KeepWins {
					want = 1
				}
				d.has("Archive", want)
				if n := len(d.state.Decisions()); n != 1 {
					t.Errorf("%d decisions were recorded, want 1", n)
				}
				d.inStep()
				d.quiet()
			})
		}
	}
}

// A copy of what was removed on the server stays, is put there, and that is
// remembered.
func TestCopiedHereAndRemovedThere(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.put("Archive", "1.copy:2,S", letter("unread"))
	must(t, s.Expunge("INBOX", s.Messages("INBOX")[0].UID))
	d.sync()
	d.has("Archive", 1)
	if n := len(d.state.Decisions()); n != 1 {
		t.Errorf("%d decisions were recorded, want 1", n)
	}
	d.inStep()
	d.quiet()
}

// mutt writes a Content-Length into what it saves elsewhere, and drops what length the
// message had. That does not make it another message: it moves and is copied on the
// server like any, which goes on having what it had, and so do other devices; and when
// the state is lost, it is known again.
func TestWhatMuttAddsMakesNoOtherMessage(t *testing.T) {
	s := account(t)
	s.Deliver("INBOX", onWire("Lines: 7\n"+letter("counted")), flags(`\Seen`), day)
	d, other := newDevice(t, s), newDevice(t, s)
	d.sync()
	other.sync()
	saved := func(text string) string {
		header, body, _ := strings.Cut(strings.TrimPrefix(text, "Lines: 7\n"), "\n\n")
		return fmt.Sprintf("%s\nContent-Length: %d\nLines: 1\n\n%s", header, len(body), body)
	}
	save := func(subject string, to mail.Folder, gone bool) {
		path := d.find("INBOX", "About "+subject+".")
		text, err := os.ReadFile(path)
		must(t, err)
		copied := d.put(to, subject+":2,S", saved(string(text)))
		must(t, os.Chtimes(copied, day, day))
		if gone {
			must(t, os.Remove(path))
		}
	}
	noBodies(t, s)
	save("read", "Archive", true)
	save("counted", "Archive", true)
	save("unread", "Lists", false)
	d.sync()
	if n := len(s.Messages("Trash")); n > 0 {
		t.Errorf("Trash has %d messages", n)
	}
	d.has("Archive", 2)
	d.has("Lists", 1)
	for _, f := range []mail.Folder{"Archive", "Lists"} {
		for _, m := range s.Messages(f) {
			if strings.Contains(string(m.Raw), "Content-Length") {
				t.Errorf("%s has %q", f, m.Raw)
			}
		}
	}
	d.quiet()
	other.sync()
	other.inStep()

	// The original goes only now; and the phone moves what mutt has saved.
	must(t, os.Remove(d.find("INBOX", "About unread.")))
	for _, m := range s.Messages("Archive") {
		s.Move("Archive", m.UID, "INBOX")
	}
	d.sync()
	if n := len(s.Messages("Trash")); n > 0 {
		t.Errorf("Trash has %d messages", n)
	}
	d.has("Archive", 0)
	d.quiet()

	// A copy on the server is what the server has, and not what is here.
	for _, m := range s.Messages("Lists") {
		s.Copy("Lists", m.UID, "Archive")
	}
	s.Before = nil
	d.sync()
	if got := d.census("Archive"); !slices.Equal(got, censusOf(s, "Archive")) {
		t.Errorf("Archive has %s", short(got))
	}
	all := len(d.files("INBOX")) + len(d.files("Lists")) + len(d.files("Archive"))
	d.state = sim.NewState()
	noBodies(t, s)
	d.sync()
	if n := len(d.files("INBOX")) + len(d.files("Lists")) + len(d.files("Archive")); n != all {
		t.Errorf("%d files after the state was lost, %d before", n, all)
	}
	d.quiet()
}
