package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// TestTheMaildirOfAnotherAccount: somebody swapped two lines of the configuration, or two
// disks. Nothing is written, on neither side, until the configuration is right again.
func TestTheMaildirOfAnotherAccount(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"in the place of its own": true, "at the first sync": false} {
		t.Run(name, func(t *testing.T) {
			mine, theirs := embedded(t), embedded(t)
			mine.deliver("INBOX", note("mine"), seen)
			theirs.deliver("INBOX", note("theirs"), seen)
			other := theirs.device("laptop")
			text, err := os.ReadFile(other.config)
			theirs.check(err)
			theirs.check(os.WriteFile(other.config, []byte(strings.Replace(string(text), "accounts.alice", "accounts.bob", 1)), 0o600))
			other.exits(0, "sync")
			d := mine.device("laptop")
			if known {
				d.sync()
				mine.check(os.Rename(d.maildir, d.maildir+".mine"))
			}
			mine.check(os.Rename(other.maildir, d.maildir))
			before := snapshot(t, d.maildir)
			for _, args := range [][]string{{"sync"}, {"sync", "--dry-run"}, {"sync", "--allow-deletes"}} {
				r := d.exits(1, args...)
				d.said(r.stderr, `what is there is the Maildir of account "bob"`, "nothing was removed from the server")
				if strings.Count(r.stderr, "\n") != 1 {
					t.Errorf("it says %q", r.stderr)
				}
			}
			mine.want("on the server", mine.there("INBOX"), "mine")
			if after := snapshot(t, d.maildir); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			// It is given to this account after all.
			mine.check(os.Remove(filepath.Join(d.maildir, "INBOX", ".mailtwin")))
			d.sync()
			mine.want("on the server", mine.there("INBOX"), "mine", "theirs")
			d.same()
		})
	}
}

// TestAMaildirThatIsNotThere: an unmounted disk, or what is left when somebody, or a
// file system, has lost something. Nothing goes on the server, one line says what to do,
// and when it is back all is as before.
func TestAMaildirThatIsNotThere(t *testing.T) {
	t.Parallel()
	aside := func(name string) func(d *computer) {
		return func(d *computer) {
			path := filepath.Join(d.maildir, name)
			d.check(os.Rename(path, filepath.Join(d.dir, "aside")))
		}
	}
	for name, c := range map[string]struct {
		what string // below the Maildir, that is set aside
		then func(d *computer)
		says string
	}{
		"its root is gone":            {"", func(*computer) {}, "maildir missing"},
		"its disk is not mounted":     {"", func(d *computer) { d.check(os.Mkdir(d.maildir, 0o700)) }, "the Maildir has lost its INBOX"},
		"another one is in its place": {"", func(d *computer) { d.save("INBOX", "cur", "other.host:2,S", note("other"), then) }, ""},
		"a file is in its place":      {"", func(d *computer) { d.check(os.WriteFile(d.maildir, nil, 0o600)) }, "is a file, not a directory"},
		"its INBOX is gone":           {"INBOX", func(*computer) {}, "the Maildir has lost its INBOX"},
		"a folder is gone":            {"Archive", func(*computer) {}, "the folder is gone here"},
		"a cur is gone":               {"Archive/cur", func(*computer) {}, "alice: Archive: "},
		"a new is gone":               {"Archive/new", func(*computer) {}, "alice: Archive: "},
		"a cur is empty":              {"Archive/cur", func(d *computer) { d.check(os.Mkdir(filepath.Join(d.maildir, "Archive", "cur"), 0o700)) }, "held: 24 messages"},
		"all folders are empty": {"", func(d *computer) {
			for _, dir := range []string{"INBOX", "Archive", "Sent", "Drafts", "Junk", "Trash"} {
				for _, sub := range []string{"cur", "new", "tmp"} {
					d.check(os.MkdirAll(filepath.Join(d.maildir, dir, sub), 0o700))
				}
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embedded(t)
			d := s.device("laptop")
			for i := range 24 {
				s.deliver("Archive", note("archived "+strconv.Itoa(i)), seen)
			}
			s.deliver("INBOX", note("one"), seen)
			d.sync()
			aside(c.what)(d)
			c.then(d)
			for range 2 {
				r := d.run("sync")
				if c.says != "" && (r.code != exitFailed || !strings.Contains(r.stderr, c.says) || strings.Count(r.stderr, "\n") != 1) {
					t.Errorf("exit code %d: %s", r.code, r.stderr)
				}
				if n := len(s.there("Archive")); n != 24 {
					t.Fatalf("%d messages are left in Archive on the server", n)
				}
				if !slices.Contains(s.there("INBOX"), "one") {
					t.Fatal("the message in INBOX is gone on the server")
				}
			}
			d.check(os.RemoveAll(filepath.Join(d.maildir, c.what)))
			d.check(os.Rename(filepath.Join(d.dir, "aside"), filepath.Join(d.maildir, c.what)))
			d.run("sync") // which may have to pair anew
			d.sync()
			if c.says != "" {
				s.want("Trash", s.there("Trash"))
			}
			s.want("lost in Archive", without(d.subjects("Archive"), s.there("Archive")))
			if n := len(d.files("Archive")); n != 24 {
				t.Errorf("Archive has %d files", n)
			}
			settle2(d)
		})
	}
}

// TestConsentIsForWhatItNames: half a folder is gone on the server, twice. The rest flows,
// and what is allowed in one folder is not in the other.
func TestConsentIsForWhatItNames(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	d := s.device("laptop")
	uids := map[mail.Folder][]mail.UID{}
	for _, folder := range []mail.Folder{"Archive", "Sent"} {
		for i := range 30 {
			uids[folder] = append(uids[folder], s.deliver(folder, note(string(folder)+" "+strconv.Itoa(i)), flagged))
		}
	}
	for i := range 80 {
		s.deliver("INBOX", note("stays "+strconv.Itoa(i)), seen)
	}
	d.sync()
	for folder, all := range uids {
		for _, uid := range all[:16] {
			s.check(s.phone.Delete(s.Context(), folder, uid))
		}
	}
	s.deliver("INBOX", note("new"), none)
	r := d.exits(exitFailed, "sync")
	d.said(r.stderr, "alice: Archive: held: 16 messages", "alice: Sent: held: 16 messages", "--allow-deletes alice:Sent")
	d.find("INBOX", "new")
	if a, b := len(d.files("Archive")), len(d.files("Sent")); a != 30 || b != 30 {
		t.Errorf("%d and %d files are left", a, b)
	}
	d.exits(exitFailed, "sync", "--allow-deletes", "alice:Archive") // Sent waits
	if a, b := len(d.files("Archive")), len(d.files("Sent")); a != 14 || b != 30 {
		t.Errorf("after consent for one, %d and %d files are left", a, b)
	}
	// All that went comes back with its flag, and the server has it again.
	list := d.exits(0, "restore", "alice", "--list").stdout
	if n := strings.Count(list, "\n"); n != 17 {
		t.Errorf("%d lines:\n%s", n, list)
	}
	for i := range 16 {
		d.exits(0, "restore", "alice", "Archive."+strconv.Itoa(i)+"@example.org")
	}
	d.exits(exitFailed, "sync")
	for _, f := range d.files("Archive") {
		if !f.flags.Has(mail.Flagged) {
			t.Errorf("%s came back as %v", f.path, f.flags)
		}
	}
	if n := len(s.there("Archive")); n != 30 {
		t.Errorf("the server has %d of them", n)
	}
}

// snapshot tells all that is in a directory.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		all.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String() + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
