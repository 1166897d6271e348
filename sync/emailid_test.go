package sync_test

import (
	"os"
	"testing"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// unnamed is a message that nothing but its bytes tells from others of its size.
func unnamed(text string) string { return "Subject: unnamed\n\n" + text + "\n" }

// asked counts the questions that cost more than a listing, from now on.
func asked(s *sim.Server) *int {
	n := new(int)
	s.Before = func(c sim.Call) error {
		if c.Method == "Identify" || c.Method == "Fetch" || c.Method == "Append" {
			*n++
		}
		return nil
	}
	return n
}

// What the server says is one message moves and is copied here without another word,
// whichever way it had come; and what it calls by another id is known as ever.
func TestMovesAndCopiesByEmailID(t *testing.T) {
	for name, o := range map[string]sim.Options{
		"EMAILIDs": {EmailIDs: true}, "no EMAILIDs": {}, "EMAILIDs, no CONDSTORE": {EmailIDs: true, NoCondStore: true},
		"EMAILIDs, odd sizes": {EmailIDs: true, SizeError: 7},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			s.Options = o
			s.Deliver("INBOX", onWire(unnamed("downloaded")), flags(`\Seen`), day)
			s.Deliver("Lists", onWire(unnamed("to be copied")), flags(`\Seen`), day)
			d := newDevice(t, s)
			d.sync()
			path := d.put("Archive", "1.mine:2,S", unnamed("uploaded!!"))
			must(t, os.Chtimes(path, day, day))
			d.sync()
			d.quiet()
			n := asked(s)
			s.Move("INBOX", uidOf(t, s, "INBOX", "downloaded"), "Lists")
			s.Move("Archive", uidOf(t, s, "Archive", "uploaded!!"), "Lists/go")
			if rep := d.sync(); rep.Local != (engine.Counts{Moved: 2}) || rep.Remote != (engine.Counts{}) {
				t.Errorf("report: %+v", rep)
			}
			// A copy without a Message-ID is downloaded, where nobody says what it is.
			uid := uidOf(t, s, "Lists", "to be copied")
			s.Copy("Lists", uid, "Archive")
			if rep := d.sync(); rep.Local != (engine.Counts{New: 1}) {
				t.Errorf("report: %+v", rep)
			}
			// And both once more, by what base knows of where they are now.
			s.Move("Lists", uidOf(t, s, "Lists", "downloaded"), "INBOX")
			s.Move("Archive", uidOf(t, s, "Archive", "to be copied"), "INBOX")
			d.sync()
			if name == "EMAILIDs" && *n != 0 || !o.EmailIDs && *n < 5 {
				t.Errorf("%d questions", *n)
			}
			s.Before = nil
			d.inStep()
			d.quiet()
		})
	}
}

// uidOf finds a message of a folder by its text.
func uidOf(t *testing.T, s *sim.Server, folder mail.Folder, text string) mail.UID {
	t.Helper()
	for _, m := range s.Messages(folder) {
		if string(m.Raw) == string(onWire(unnamed(text))) {
			return m.UID
		}
	}
	t.Fatalf("%s has no message %q", folder, text)
	return 0
}

// Another id says nothing: what was stored anew is known by its bytes.
func TestAnotherEmailIDSaysNothing(t *testing.T) {
	s := account(t)
	s.Options.EmailIDs = true
	s.Deliver("INBOX", onWire(unnamed("moved by a program")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	must(t, s.Expunge("INBOX", uidOf(t, s, "INBOX", "moved by a program")))
	s.Deliver("Archive", onWire(unnamed("moved by a program")), flags(`\Seen`), day)
	if rep := d.sync(); rep.Local != (engine.Counts{Moved: 1}) {
		t.Errorf("report: %+v", rep)
	}
	d.inStep()
	d.quiet()
}

// A state that is older than the ids, or a server that begins to have them, learns them
// as messages are listed, and is quiet then.
func TestAServerThatBeginsToHaveEmailIDs(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	s.Options.EmailIDs = true
	s.Deliver("INBOX", onWire(letter("later")), mail.Flags{}, day)
	d.sync()
	d.quiet()
	d.inStep()
}
