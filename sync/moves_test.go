package sync_test

import (
	"os"
	"path/filepath"
	"strings"
	gosync "sync"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// A message that a program moves by writing a new file and removing the old one is
// not put into Trash as well.
func TestAMovedFileIsNotPutIntoTrash(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	old := d.find("INBOX", "About read.")
	d.put("Archive", "9.moved:2,S", letter("read"))
	must(t, os.Remove(old))
	d.sync()
	if n := len(s.Messages("Trash")); n != 0 {
		t.Errorf("Trash has %d messages", n)
	}
	if n := len(s.Messages("Archive")); n != 1 {
		t.Errorf("Archive has %d messages", n)
	}
	d.inStep()
	d.quiet()
}

// Moves cost no body, in either direction, also when flags change at the same time.
func TestMovesCarryNoBodies(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	s.Before = func(c sim.Call) error {
		if c.Method == "Fetch" || c.Method == "Append" {
			t.Errorf("%s in %s: a body travels", c.Method, c.Folder)
		}
		return nil
	}
	must(t, os.Rename(d.find("INBOX", "About read."), filepath.Join(d.dir("Archive"), "cur", "other.name:2,FS")))
	moved := s.Move("INBOX", s.Messages("INBOX")[0].UID, "Lists") // "unread"
	must(t, s.AddFlags("Lists", moved, flags(`\Answered`)))
	must(t, os.Rename(d.find("Lists/go", "a list post"), d.dir("Lists/go")+"/cur/renamed:2,RS"))
	rep := d.sync()
	if rep.Local.Moved != 1 || rep.Remote.Moved != 1 || rep.Local.New+rep.Remote.New+rep.Local.Removed+rep.Remote.Removed > 0 {
		t.Errorf("report: %+v", rep)
	}
	if got := censusOf(s, "Archive"); len(got) != 1 || !strings.HasPrefix(got[0], `\Flagged \Seen |`) {
		t.Errorf("Archive has %s", short(got))
	}
	if got := d.census("Lists"); len(got) != 1 || !strings.HasPrefix(got[0], `\Answered |`) {
		t.Errorf("Lists has %s", short(got))
	}
	d.inStep()
	d.quiet()
}

// mutt's own trash setting copies into Trash and then removes: once is enough.
func TestAProgramsOwnCopyInTrashIsTheOnlyOne(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	old := d.find("INBOX", "About read.")
	d.put("Trash", "9.mutts:2,S", letter("read"))
	must(t, os.Remove(old))
	d.sync()
	if n := len(s.Messages("Trash")); n != 1 {
		t.Errorf("Trash has %d messages", n)
	}
	d.inStep()
	d.quiet()
}

// A file that is moved and flagged while a sync runs, in folders that the sync has
// written into already, is flagged on the server, too.
func TestAMoveInTheMiddleOfARunKeepsItsFlags(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	for _, f := range []mail.Folder{"INBOX", "Archive"} {
		s.Deliver(f, onWire(letter("new in "+string(f))), mail.Flags{}, day)
	}
	var once gosync.Once
	s.Before = func(c sim.Call) error {
		if c.Method == "Fetch" {
			once.Do(func() {
				must(t, os.Rename(d.find("INBOX", "About read."), filepath.Join(d.dir("Archive"), "cur", "moved:2,FS")))
			})
		}
		return nil
	}
	d.sync()
	d.inStep()
	d.quiet()
}
