package sync_test

import (
	"os"
	"path/filepath"
	gosync "sync"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// like makes messages that are alike in all but their content: header, size, and what
// a fingerprint is made of.
func like(word string) string { return letter("alike") + word + "\n" }

// A file's inode says nothing: a new file gets that of one that was just unlinked.
func TestANewFileWithTheInodeOfAnother(t *testing.T) {
	s := account(t)
	s.Deliver("Archive", onWire(like("one")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	old := d.find("Archive", "one")
	path := filepath.Join(d.dir("Lists"), "cur", "1.other:2,S")
	must(t, os.Rename(old, path))
	must(t, os.WriteFile(path, []byte(like("two")), 0o600)) // the same inode and size
	d.sync()
	d.has("Lists", 1)
	if got := string(s.Messages("Lists")[0].Raw); got != string(onWire(like("two"))) {
		t.Errorf("Lists has %q", got)
	}
	if n := len(s.Messages("Trash")); n != 1 {
		t.Errorf("Trash has %d messages", n)
	}
	d.inStep()
	d.quiet()
}

// A key with other content is one message gone, and one new.
func TestAKeyWithOtherContent(t *testing.T) {
	s := account(t)
	s.Deliver("Archive", onWire(like("one")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	path := d.find("Archive", "one")
	edited := filepath.Join(d.root, "..", "edited")
	must(t, os.WriteFile(edited, []byte(like("two")), 0o600))
	must(t, os.Rename(edited, path))
	d.sync()
	d.has("Archive", 1)
	if got := string(s.Messages("Archive")[0].Raw); got != string(onWire(like("two"))) {
		t.Errorf("Archive has %q", got)
	}
	if n := len(s.Messages("Trash")); n != 1 {
		t.Errorf("Trash has %d messages", n)
	}
	d.inStep()
	d.quiet()
}

// Two messages that are alike in header and size change places, here or on the
// server, in one folder or in two: each is still itself, and nothing is thrown away.
func TestASwapOfMessagesThatAreAlike(t *testing.T) {
	for name, swap := range map[string]func(d *device){
		"of their names": func(d *device) {
			one, two := d.find("Archive", "one"), d.find("Archive", "two")
			must(d.t, os.Rename(one, one+"x"))
			must(d.t, os.Rename(two, one))
			must(d.t, os.Rename(one+"x", two))
		},
		"of their folders": func(d *device) {
			one, two := d.find("Archive", "one"), d.find("Lists", "three")
			must(d.t, os.Rename(one, one+"x"))
			must(d.t, os.Rename(two, one))
			must(d.t, os.Rename(one+"x", two))
		},
		"of their folders, on the server": func(d *device) {
			s := d.server
			from, to := s.Messages("Archive")[0].UID, s.Messages("Lists")[0].UID
			s.Move("Archive", from, "Lists")
			s.Move("Lists", to, "Archive")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			s.Deliver("Archive", onWire(like("one")), flags(`\Seen`), day)
			s.Deliver("Archive", onWire(like("two")), flags(`\Flagged`), day)
			s.Deliver("Lists", onWire(like("three")), flags(`\Answered`), day)
			d := newDevice(t, s)
			d.sync()
			swap(d)
			d.sync()
			d.has("Archive", 2)
			d.has("Lists", 1)
			if n := len(s.Messages("Trash")); n > 0 {
				t.Errorf("Trash has %d messages", n)
			}
			d.inStep()
			d.quiet()
		})
	}
}

// A file that is moved from a folder that is yet to be scanned into one that has been,
// is in no scan, and has not gone.
func TestAMoveBetweenTwoScans(t *testing.T) {
	s := account(t)
	s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.sync()
	noBodies(t, s)
	// Both folders have changed, so both are scanned, INBOX first.
	d.rename(d.find("INBOX", "About read."), "cur", "FS")
	path := d.find("Archive", "About moved.")
	d.rename(path, "cur", "FS")
	path = d.find("Archive", "About moved.")
	var once gosync.Once
	d.scanned = func(folder mail.Folder) {
		if folder == "INBOX" {
			once.Do(func() { must(t, os.Rename(path, filepath.Join(d.dir("INBOX"), "cur", filepath.Base(path)))) })
		}
	}
	before := s.Before
	s.Before = func(c sim.Call) error {
		if c.Method == "Expunge" || c.Method == "Move" && c.Target == "Trash" && c.Folder == "Archive" {
			t.Errorf("%s in %s", c.Method, c.Folder)
		}
		return before(c)
	}
	d.sync()
	d.scanned = nil
	d.sync()
	d.has("Archive", 0)
	s.Before = nil
	d.sync()
	d.inStep()
	d.quiet()
}
