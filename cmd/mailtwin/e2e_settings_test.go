package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// again is the computer with other settings.
func (d *computer) again(settings ...string) {
	d.Helper()
	d.config = d.device(d.name, settings...).config
}

// TestSettingsOverTime: each setting over several runs, and over its change both ways.
func TestSettingsOverTime(t *testing.T) {
	stories(t, map[string]func(s *story){
		"on_local_delete": func(s *story) {
			d := s.device("laptop", `on_local_delete = "keep"`)
			uids := d.three()
			d.remove(d.find("INBOX", "two"))
			settle(d)
			// What happens to it on the server is no reason to bring it back.
			s.check(s.phone.AddFlags(s.Context(), "INBOX", uids["two"], flagged))
			settle(d)
			d.want("here", d.subjects("INBOX"), "one", "three")

			// Another choice is one for what is removed from then on.
			d.again(`on_local_delete = "trash"`)
			settle(d)
			s.want("on the server", s.there("INBOX"), "one", "three", "two")
			d.remove(d.find("INBOX", "one"))
			settle(d)
			s.want("on the server", s.there("INBOX"), "three", "two")
			s.want("Trash", s.there("Trash"), "one")
			d.want("here", d.subjects("INBOX"), "three")

			d.again(`on_local_delete = "keep"`)
			d.remove(d.find("INBOX", "three"))
			settle(d)
			s.want("on the server", s.there("INBOX"), "three", "two")
			d.again(`on_local_delete = "expunge"`)
			settle(d)
			s.want("on the server", s.there("INBOX"), "three", "two")
			// The phone may do as it likes with what was kept.
			s.check(s.phone.Delete(s.Context(), "INBOX", uids["two"]))
			settle(d)
			s.want("on the server", s.there("INBOX"), "three")
			s.want("Trash", s.there("Trash"), "one")
		},
		"on_remote_delete": func(s *story) {
			d := s.device("laptop", `on_remote_delete = "keep"`)
			uids := d.three()
			s.check(s.phone.Delete(s.Context(), "INBOX", uids["two"]))
			settle(d)
			d.reflag(d.find("INBOX", "two"), "FS")
			settle(d)
			s.want("on the server", s.there("INBOX"), "one", "three")

			d.again(`on_remote_delete = "remove"`)
			settle(d)
			d.want("here", d.subjects("INBOX"), "one", "three", "two")
			s.check(s.phone.Delete(s.Context(), "INBOX", uids["one"]))
			settle(d)
			d.want("here", d.subjects("INBOX"), "three", "two")

			d.again(`on_remote_delete = "keep"`)
			s.check(s.phone.Delete(s.Context(), "INBOX", uids["three"]))
			settle(d)
			d.want("here", d.subjects("INBOX"), "three", "two")
			s.want("on the server", s.there("INBOX"))
			// What was kept here may go, or be filed: then it is a new message there.
			d.remove(d.find("INBOX", "two"))
			s.check(os.Rename(d.find("INBOX", "three").path, filepath.Join(d.maildir, "Archive", "cur", "3.a.host:2,S")))
			settle(d)
			d.want("here", d.subjects("INBOX"))
			s.want("Archive", s.there("Archive"), "three")
			s.want("Trash", s.there("Trash"))
		},
		"expunge": func(s *story) {
			d := s.device("laptop")
			uids := d.three()
			d.reflag(d.find("INBOX", "two"), "ST")
			settle(d)
			if m := s.remote("INBOX", "two"); !m.Flags.Has(mail.Deleted) {
				s.Errorf("it has %v", m.Flags)
			}
			d.again("expunge = true")
			settle(d)
			s.want("on the server", s.there("INBOX"), "one", "three")
			d.want("here", d.subjects("INBOX"), "one", "three")
			d.again("expunge = false")
			settle(d)
			s.check(s.phone.AddFlags(s.Context(), "INBOX", uids["one"], mail.Flags{System: mail.Deleted}))
			settle(d)
			d.want("here", d.subjects("INBOX"), "one", "three")
			d.same()
		},
		"direction": func(s *story) {
			d := s.device("laptop", `direction = "pull"`)
			uids := d.three()
			change := func(n string) {
				s.Helper()
				d.save("INBOX", "cur", n+".mine.host:2,S", note("mine "+n), then)
				s.deliver("INBOX", note("theirs "+n), seen)
				settle(d)
			}
			d.remove(d.find("INBOX", "one"))
			d.reflag(d.find("INBOX", "two"), "FS")
			change("1")
			d.want("here under pull", d.subjects("INBOX"), "mine 1", "theirs 1", "three", "two")
			s.want("on the server under pull", s.there("INBOX"), "one", "theirs 1", "three", "two")

			// From one to the other: what waited for this side goes, the rest waits.
			d.again(`direction = "push"`)
			s.check(s.phone.Delete(s.Context(), "INBOX", uids["three"]))
			change("2")
			d.want("here under push", d.subjects("INBOX"), "mine 1", "mine 2", "theirs 1", "three", "two")
			s.want("on the server under push", s.there("INBOX"), "mine 1", "mine 2", "theirs 1", "theirs 2", "two")
			if m := s.remote("INBOX", "two"); !m.Flags.Has(mail.Flagged) {
				s.Errorf("under push it has %v", m.Flags)
			}

			d.again(`direction = "both"`)
			settle(d)
			d.same()
			d.want("here under both", d.subjects("INBOX"), "mine 1", "mine 2", "theirs 1", "theirs 2", "two")
			s.want("Trash", s.there("Trash"), "one")

			// And back: what is in step stays so, and is not undone.
			d.again(`direction = "pull"`)
			d.remove(d.find("INBOX", "mine 1"))
			change("3")
			s.want("on the server under pull again", s.there("INBOX"), "mine 1", "mine 2", "theirs 1", "theirs 2", "theirs 3", "two")
			d.again(`direction = "both"`)
			settle(d)
			d.same()
			s.want("Trash", s.there("Trash"), "mine 1", "one")
		},
		"folders, those that are left out": func(s *story) {
			d := s.device("laptop")
			for _, f := range []mail.Folder{"Work", "Old", "Lists"} {
				s.check(s.phone.CreateFolder(s.Context(), f, mail.RoleNone))
				s.deliver(f, note("first in "+string(f)), seen)
			}
			settle(d)
			// They stay as they are on both sides, whatever happens to them.
			d.again(`folders = ["*", "!Work", "!Old", "!Lists"]`)
			settle(d)
			d.remove(d.find("Work", "first in Work"))
			d.save("Work", "cur", "1.mine.host:2,S", note("mine"), then)
			s.deliver("Work", note("theirs"), seen)
			s.check(os.RemoveAll(filepath.Join(d.maildir, "Old")))
			s.check(s.phone.DeleteFolder(s.Context(), "Lists"))
			settle(d)
			d.want("Work", d.subjects("Work"), "mine")
			s.want("Work", s.there("Work"), "first in Work", "theirs")
			s.want("Old", s.there("Old"), "first in Old")
			d.want("Lists", d.subjects("Lists"), "first in Lists")

			// Taken in again: what was removed meanwhile was; and a folder that was thrown away on
			// one side while nobody synced it comes back.
			d.again()
			settle(d)
			d.same()
			d.want("Work", d.subjects("Work"), "mine", "theirs")
			s.want("Trash", s.there("Trash"), "first in Work")
			d.want("Old", d.subjects("Old"), "first in Old")
			s.want("Lists", s.there("Lists"), "first in Lists")
		},
		"create_folders and remove_folders": func(s *story) {
			d := s.device("laptop", `create_folders = "none"`, `remove_folders = "none"`)
			for _, f := range []mail.Folder{"Theirs", "Empty"} {
				s.check(s.phone.CreateFolder(s.Context(), f, mail.RoleNone))
			}
			s.deliver("Theirs", note("theirs"), seen)
			d.save("Mine", "cur", "1.a.host:2,S", note("mine"), then)
			d.save("INBOX", "cur", "1.a.host:2,S", note("flows"), then)
			d.exits(0, "sync")
			d.again(`remove_folders = "none"`)
			settle(d)
			d.same()

			s.check(os.RemoveAll(filepath.Join(d.maildir, "Empty")))
			s.check(os.RemoveAll(filepath.Join(d.maildir, "Theirs")))
			s.check(s.phone.DeleteFolder(s.Context(), "Mine"))
			settle(d)
			s.want("Theirs", s.there("Theirs"), "theirs")
			d.want("Mine", d.subjects("Mine"), "mine")
			d.again()
			if r := d.exits(1, "sync"); strings.Count(r.stderr, "\n") != 2 {
				s.Errorf("it says %q", r.stderr)
			}
			listed, err := s.phone.List(s.Context())
			s.check(err)
			if slices.ContainsFunc(listed, func(f mail.RemoteFolder) bool { return f.Name == "Empty" }) {
				s.Error("the empty folder is still there")
			}
			s.want("Theirs", s.there("Theirs"), "theirs")
			d.want("Mine", d.subjects("Mine"), "mine")
		},
	})
}
