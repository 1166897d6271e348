package sync_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	engine "mailtwin/sync"
)

// stale tells whether the Maildir is not as base has it.
func (d *device) stale() (bool, error) {
	d.t.Helper()
	tree, err := maildir.Open(d.root, maildir.Options{Account: "alice", Removed: d.store})
	if err != nil {
		return false, err
	}
	defer tree.Close()
	selected := d.opts.Selected
	return engine.Stale(context.Background(), tree, d.state, nil, selected)
}

// What a run has done itself leaves nothing stale; what anybody else does, does.
func TestStaleIsWhatNoRunHasSeen(t *testing.T) {
	for name, change := range map[string]func(d *device){
		"a new file":     func(d *device) { d.put("Archive", "1.new:2,S", letter("new")) },
		"a flag":         func(d *device) { d.rename(d.find("INBOX", "About read."), "cur", "RS") },
		"a removal":      func(d *device) { must(d.t, os.Remove(d.find("INBOX", "About read."))) },
		"a new folder":   func(d *device) { must(d.t, maildirMake(d.dir("Made"))) },
		"a folder gone":  func(d *device) { must(d.t, os.RemoveAll(d.dir("Archive"))) },
		"a renamed one":  func(d *device) { must(d.t, os.Rename(d.dir("Archive"), d.dir("Kept"))) },
		"a move between": func(d *device) { d.moveHere(d.find("INBOX", "About read."), "Archive", "2.moved:2,S") },
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.sync()
			is := func(want bool, when string) {
				t.Helper()
				if got, err := d.stale(); err != nil || got != want {
					t.Errorf("%s it is %v, %v, want %v", when, got, err, want)
				}
			}
			is(false, "after the first sync")
			s.Deliver("Lists", onWire(letter("more")), mail.Flags{}, day)
			must(t, s.AddFlags("INBOX", 1, flags(`\Flagged`)))
			d.sync()
			is(false, "after mail has come")
			change(d)
			is(true, "after the change")
			d.sync()
			is(false, "after it was synced")
		})
	}
}

// Folders that are left out are nobody's business, and a Maildir that is not there is told of.
func TestStaleKnowsWhatIsLeftOut(t *testing.T) {
	d := newDevice(t, account(t))
	d.opts.Selected = func(f mail.Folder) bool { return f != "Archive" }
	d.sync()
	must(t, maildirMake(d.dir("Archive")))
	if got, err := d.stale(); err != nil || got {
		t.Errorf("with a folder that is left out it is %v, %v", got, err)
	}
	must(t, os.Rename(d.root, d.root+".away"))
	must(t, os.Mkdir(d.root, 0o700))
	if got, err := d.stale(); !errors.Is(err, mail.ErrMissing) && !got {
		t.Errorf("without a Maildir it is %v, %v", got, err)
	}
}

// maildirMake makes a folder as other programs do.
func maildirMake(dir string) error {
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// What is announced is news unless base has it: as it is, or as something later.
func TestNewsIsWhatBaseLacks(t *testing.T) {
	d := newDevice(t, account(t))
	d.opts.Selected = func(f mail.Folder) bool { return f != "Archive" }
	d.sync()
	folders, err := d.state.Folders(context.Background())
	must(t, err)
	var read mail.Cursor
	for _, f := range folders {
		if f.Name == "INBOX" {
			read = f.Remote
		}
	}
	if read.HighestModSeq < 2 || read.Messages != 3 {
		t.Fatalf("INBOX was read up to %+v", read)
	}
	with := func(change func(c *mail.Cursor)) mail.Announced {
		a := mail.Announced{Folder: "INBOX", Status: read, Counted: true}
		change(&a.Status)
		return a
	}
	for _, c := range []struct {
		what string
		told mail.Announced
		want bool
	}{
		{"what base has", with(func(*mail.Cursor) {}), false},
		{"only that there is a change", mail.Announced{Folder: "INBOX", Status: mail.Cursor{HighestModSeq: read.HighestModSeq}}, false},
		{"one that base lacks", mail.Announced{Folder: "INBOX", Status: mail.Cursor{HighestModSeq: read.HighestModSeq + 1}}, true},
		{"an older one", with(func(c *mail.Cursor) { c.HighestModSeq--; c.Messages-- }), false},
		{"an expunge that has no mod-sequence", with(func(c *mail.Cursor) { c.Messages-- }), true},
		{"a message that came and went", with(func(c *mail.Cursor) { c.UIDNext++ }), true},
		{"no message left", with(func(c *mail.Cursor) { c.Messages = 0 }), true},
		{"another UIDVALIDITY", with(func(c *mail.Cursor) { c.UIDValidity++; c.HighestModSeq = 1 }), true},
		{"no mod-sequence", with(func(c *mail.Cursor) { c.HighestModSeq = 0 }), true},
		{"a folder that is left out", mail.Announced{Folder: "Archive", Listed: true, Counted: true, Status: mail.Cursor{Messages: 7}}, false},
		{"a folder that base has", mail.Announced{Folder: "Lists", Listed: true}, false},
		{"one that it has not", mail.Announced{Folder: "New", Listed: true}, true},
		{"one that is gone", mail.Announced{Folder: "Lists", Gone: true}, true},
		{"one that was gone", mail.Announced{Folder: "New", Gone: true}, false},
		{"mail in one that it has not", mail.Announced{Folder: "New", Counted: true, Status: mail.Cursor{Messages: 1}}, true},
	} {
		got, err := engine.News(context.Background(), d.state, []mail.Announced{{Folder: "Trash", Listed: true}, c.told}, d.opts.Selected)
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v, want %v", c.what, got, err, c.want)
		}
	}
}
