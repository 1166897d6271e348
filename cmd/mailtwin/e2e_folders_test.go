package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
)

// oddNames are folders as people name them.
var oddNames = []mail.Folder{
	"Lists", "Lists/go", "Lists/go/nuts & bolts", "My mail", "Entwürfe 2024", "日本/東京", "INBOX/child",
	"a.b", "~tilde", "100%", `quo"te`, `back\slash`, "star*", "{3}", "cur", "new/tmp", ".hidden",
}

func TestFoldersGoBothWays(t *testing.T) {
	all := map[string]func(s *story){
		"made on the server": func(s *story) {
			d := s.device("laptop")
			made := 0
			for _, name := range oddNames {
				if err := s.phone.CreateFolder(s.Context(), name, mail.RoleNone); err != nil {
					s.Logf("the server does not make %q: %v", name, err)
					continue
				}
				made++
				s.deliver(name, note("in "+string(name)), seen)
			}
			r := d.sync()
			if r.Local.New != made {
				s.Errorf("%d messages came, of %d", r.Local.New, made)
			}
			d.quiet()
			for _, name := range []string{"Lists/go/nuts & bolts", "My mail", "Entwürfe 2024", "日本/東京", "INBOX/child"} {
				if f := d.only(mail.Folder(name)); f.text != note("in "+name) {
					s.Errorf("%s holds %q", name, f.text)
				}
			}
		},
		"made here": func(s *story) {
			d := s.device("laptop")
			d.sync()
			for _, name := range []mail.Folder{"Lists/go/nuts & bolts", "My mail", "Entwürfe 2024", "日本/東京", "INBOX/child"} {
				d.save(name, "cur", "1.a.host:2,S", note("in "+string(name)), then)
			}
			r := d.sync()
			if r.Remote.New != 5 {
				s.Errorf("%+v went to the server", r.Remote)
			}
			for _, name := range []mail.Folder{"Lists/go/nuts & bolts", "My mail", "Entwürfe 2024", "日本/東京", "INBOX/child"} {
				s.want(string(name), s.there(name), "in "+string(name))
			}
			settle(d)
		},
		"patterns, in order": func(s *story) {
			d := s.device("laptop", `folders = ["*", "!Junk", "!Lists/*", "Lists/go"]`)
			for _, name := range []mail.Folder{"Junk", "Lists/go", "Lists/rust", "Work"} {
				if name != "Junk" {
					s.check(s.phone.CreateFolder(s.Context(), name, mail.RoleNone))
				}
				s.deliver(name, note("in "+string(name)), none)
			}
			d.sync()
			got := d.folders()
			for _, name := range []mail.Folder{"Lists/go", "Work", "INBOX"} {
				if !slices.Contains(got, name) {
					s.Errorf("%s is missing", name)
				}
			}
			for _, name := range []mail.Folder{"Lists/rust", "Junk"} {
				if slices.Contains(got, name) {
					s.Errorf("%s is there", name)
				}
			}
			d.quiet()
		},
		"create_folders = none": func(s *story) {
			d := s.device("laptop", `create_folders = "none"`)
			s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
			r := d.sync()
			if slices.Contains(d.folders(), "Work") || len(r.Skipped) == 0 {
				s.Errorf("folders %q, left out %v", d.folders(), r.Skipped)
			}
		},
		"deleted on the server with others inside": func(s *story) {
			d := s.device("laptop")
			s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
			s.check(s.phone.CreateFolder(s.Context(), "Work/new", mail.RoleNone))
			s.deliver("Work", note("kept here"), seen)
			s.deliver("Work/new", note("inner"), seen)
			d.sync()
			s.check(s.phone.DeleteFolder(s.Context(), "Work"))
			s.deliver("Work/new", note("another"), seen)
			d.report(1)
			d.want("Work", d.subjects("Work"), "kept here")
			d.want("Work/new", s.there("Work/new"), "another", "inner")
		},
		"removed while empty, on either side": func(s *story) {
			d := s.device("laptop")
			for _, name := range []mail.Folder{"Old", "Older", "Older/still"} {
				s.check(s.phone.CreateFolder(s.Context(), name, mail.RoleNone))
			}
			d.sync()
			s.check(os.RemoveAll(filepath.Join(d.maildir, "Old")))
			s.check(s.phone.DeleteFolder(s.Context(), "Older/still"))
			s.check(s.phone.DeleteFolder(s.Context(), "Older"))
			d.sync()
			d.same()
			if got := d.folders(); slices.Contains(got, "Old") || slices.Contains(got, "Older") || slices.Contains(got, "Older/still") {
				s.Errorf("there are %q", got)
			}
			d.quiet()
		},
		"removed here with mail in it": func(s *story) {
			d := s.device("laptop")
			s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
			s.deliver("Work", note("one"), seen)
			s.deliver("Work", note("two"), flagged)
			d.sync()
			s.check(os.RemoveAll(filepath.Join(d.maildir, "Work")))
			for range 2 {
				if r := d.exits(1, "sync"); !strings.Contains(r.stderr, "--allow-deletes alice:Work") {
					s.Errorf("it said %q", r.stderr)
				}
			}
			s.want("Work", s.there("Work"), "one", "two")
			d.sync("--allow-deletes", "alice:Work")
			s.want("Trash", s.there("Trash"), "one", "two")
			settle(d)
			d.same()
			if got := d.folders(); slices.Contains(got, "Work") {
				s.Errorf("there are %q", got)
			}
		},
		"removed on the server with mail in it": func(s *story) {
			d := s.device("laptop")
			s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
			s.deliver("Work", note("one"), seen)
			d.sync()
			s.check(s.phone.DeleteFolder(s.Context(), "Work"))
			d.exits(1, "sync")
			d.want("Work", d.subjects("Work"), "one")
			d.sync("--allow-deletes", "alice:Work")
			settle(d)
			d.same()
			if got := d.folders(); slices.Contains(got, "Work") {
				s.Errorf("there are %q", got)
			}
		},
		"made anew on the server under the same name": func(s *story) {
			d := s.device("laptop")
			s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
			s.deliver("Work", note("one"), seen)
			s.deliver("Work", note("two"), seen)
			d.sync()
			s.check(s.phone.DeleteFolder(s.Context(), "Work"))
			s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
			s.deliver("Work", note("two"), flagged)
			s.deliver("Work", note("three"), none)
			d.sync()
			// A changed UIDVALIDITY deletes nothing by itself, and doubles nothing.
			d.want("Work", d.subjects("Work"), "one", "three", "two")
			s.want("Work", s.there("Work"), "one", "three", "two")
			settle(d)
			d.same()
		},
		"one that cannot be written keeps nothing else": func(s *story) {
			if os.Getuid() == 0 {
				s.Skip("root can write everywhere")
			}
			d := s.device("laptop")
			d.sync()
			s.check(os.Chmod(filepath.Join(d.maildir, "Archive", "tmp"), 0o500))
			s.deliver("Archive", note("stuck"), none)
			s.deliver("INBOX", note("flows"), none)
			d.exits(1, "sync")
			d.want("INBOX", d.subjects("INBOX"), "flows")
		},
	}
	stories(t, all)
	t.Run("sdbox", func(t *testing.T) { stories(t, all, dovecot.Sdbox()) })
	t.Run("dots", func(t *testing.T) {
		stories(t, map[string]func(s *story){"made here": all["made here"], "made on the server": all["made on the server"]},
			dovecot.Namespace("", "."))
	})
}

// TestAFolderThatTheServerCannotHave: it is said in one line, with the ways out, and all
// else flows.
func TestAFolderThatTheServerCannotHave(t *testing.T) {
	stories(t, map[string]func(s *story){
		"its name is refused": func(s *story) {
			d := s.device("laptop")
			d.sync()
			// Dovecot's Maildir has no folder with a dot in its name.
			d.save("v1.2", "cur", "1.a.host:2,S", note("mine"), then)
			d.save("v1.2/notes*.1", "cur", "1.b.host:2,S", note("inside"), then)
			d.save("Work", "cur", "1.c.host:2,S", note("flows"), then)
			for i := range 2 {
				s.deliver("INBOX", note(fmt.Sprint("theirs ", i)), seen)
				r := d.exits(1, "sync")
				lines := strings.SplitAfter(r.stderr, "\n")
				if r.stdout != "" || len(lines) != 3 {
					s.Errorf("it prints %q and %q", r.stdout, r.stderr)
				}
				d.said(lines[0], "mailtwin: alice: v1.2: create folder v1.2: refused by the server: ",
					`: rename its directory, or leave it out: folders = ["!v1.2"], or create_folders = "local"`)
				d.said(lines[1], "mailtwin: alice: v1.2/notes*.1: ", `folders = ["!v1.2/notes\\*.1"]`)
			}
			d.want("INBOX", d.subjects("INBOX"), "theirs 0", "theirs 1")
			s.want("Work", s.there("Work"), "flows")
			d.want("v1.2", d.subjects("v1.2"), "mine")
			for _, way := range []string{`folders = ["!v1.2", "!v1.2/*"]`, `create_folders = "local"`} {
				d.again(way)
				if r := d.exits(0, "sync"); r.stdout+r.stderr != "" {
					s.Errorf("with %s it says %q", way, r.stderr)
				}
				d.quiet()
			}
			d.again()
			s.check(os.Rename(filepath.Join(d.maildir, "v1.2"), filepath.Join(d.maildir, "v1")))
			s.check(os.Rename(filepath.Join(d.maildir, "v1", "notes*.1"), filepath.Join(d.maildir, "v1", "notes")))
			settle(d)
			d.same()
			s.want("v1/notes", s.there("v1/notes"), "inside")
		},
	})
}

// TestSubscriptions: we subscribe to what we make, and no longer to what we delete; all
// else is the business of others.
func TestSubscriptions(t *testing.T) {
	all := map[string]func(s *story){
		"follow": func(s *story) {
			subscribed := func(want ...mail.Folder) {
				s.Helper()
				got, err := s.phone.Subscribed(s.Context())
				s.check(err)
				if !slices.Equal(got, want) {
					s.Errorf("subscribed: %q, want %q", got, want)
				}
			}
			d := s.device("laptop", `on_local_delete = "expunge"`)
			for _, name := range []mail.Folder{"Shown", "Hidden", "Old"} {
				s.check(s.phone.CreateFolder(s.Context(), name, mail.RoleNone))
			}
			for _, name := range []mail.Folder{"Shown", "Old"} {
				s.check(s.phone.Subscribe(s.Context(), name, true))
			}
			s.deliver("Shown", note("one"), seen)
			s.deliver("Hidden", note("two"), seen)
			d.sync()
			subscribed("Old", "Shown")
			for _, name := range []mail.Folder{"Lists/go", "Lists", "日本 & more"} {
				d.save(name, "cur", "1.a.host:2,S", note("in "+string(name)), then)
			}
			d.save("Hidden", "cur", "1.a.host:2,S", note("mine"), then)
			settle(d)
			subscribed("Lists", "Lists/go", "Old", "Shown", "日本 & more")
			s.check(os.RemoveAll(filepath.Join(d.maildir, "Old")))
			d.sync()
			subscribed("Lists", "Lists/go", "Shown", "日本 & more")
			// With mail in it, it goes on a person's word.
			s.check(os.RemoveAll(filepath.Join(d.maildir, "日本 & more")))
			d.exits(1, "sync")
			subscribed("Lists", "Lists/go", "Shown", "日本 & more")
			d.sync("--allow-deletes", "alice:日本 & more")
			subscribed("Lists", "Lists/go", "Shown")
			s.check(s.phone.Subscribe(s.Context(), "Lists/go", false))
			s.deliver("Lists/go", note("more"), seen)
			settle(d)
			subscribed("Lists", "Shown")
			d.same()
		},
	}
	stories(t, all, dovecot.NoRoles())
	t.Run("dots", func(t *testing.T) { stories(t, all, dovecot.NoRoles(), dovecot.Namespace("INBOX.", ".")) })
}

func TestTwoDevicesByTurns(t *testing.T) {
	stories(t, map[string]func(s *story){
		"end equal": func(s *story) {
			laptop, desktop := s.device("laptop"), s.device("desktop")
			for _, name := range []string{"one", "two", "three", "four", "five", "six"} {
				s.deliver("INBOX", note(name), none)
			}
			settle(laptop, desktop)
			laptop.same()
			desktop.same()

			// Both change flags of the same message, keywords, places; both delete.
			laptop.reflag(laptop.find("INBOX", "one"), "S")
			desktop.reflag(desktop.find("INBOX", "one"), "F")
			laptop.remove(laptop.find("INBOX", "two"))
			desktop.reflag(desktop.find("INBOX", "two"), "S")
			f := desktop.find("INBOX", "three")
			s.check(os.Rename(f.path, filepath.Join(desktop.maildir, "Archive", "cur", "3.b.host:2,S")))
			laptop.reflag(laptop.find("INBOX", "three"), "R")
			laptop.save("INBOX", "new", "1.a.host", note("from the laptop"), then)
			desktop.save("Projects/New", "cur", "1.b.host:2,S", note("from the desktop"), then)
			s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "four").UID, mail.Flags{Keywords: mail.NewKeywords("work")}))
			laptop.remove(laptop.find("INBOX", "five"))
			desktop.remove(desktop.find("INBOX", "five"))
			settle(laptop, desktop)
			laptop.same()
			desktop.same()
			s.want("Archive", s.there("Archive"), "three")
			s.want("Trash", s.there("Trash"), "five", "two")
			s.want("INBOX", s.there("INBOX"), "four", "from the laptop", "one", "six")
			if m := s.remote("INBOX", "one"); !m.Flags.Equal(mail.Flags{System: mail.Seen | mail.Flagged}) {
				s.Errorf("both win: %v", m.Flags)
			}
		},
		"both bring the same message": func(s *story) {
			laptop, desktop := s.device("laptop"), s.device("desktop")
			settle(laptop, desktop)
			laptop.save("INBOX", "cur", "1.a.host:2,S", note("copied by hand"), then)
			desktop.save("INBOX", "cur", "1.b.host:2,S", note("copied by hand"), then)
			settle(laptop, desktop)
			s.want("INBOX", s.there("INBOX"), "copied by hand")
			laptop.same()
			desktop.same()
		},
	})
}
