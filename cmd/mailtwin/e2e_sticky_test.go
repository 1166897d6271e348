package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/sync/imaptest"
)

func notSticky() imaptest.Quirks {
	q := says(noUIDs...)()
	answer := q.Answer
	q.Answer = func(line, command string) []string {
		lines := answer(line, command)
		if strings.HasPrefix(command, "SELECT") || strings.HasPrefix(command, "EXAMINE") {
			lines = append([]string{"* NO [UIDNOTSTICKY] Non-persistent UIDs"}, lines...)
		}
		return lines
	}
	return q
}

func TestUIDsThatDoNotLast(t *testing.T) {
	s := through(notSticky)(t)
	laptop, desktop := s.device("laptop"), s.device("desktop")
	for _, m := range []string{"one", "two", "three", "four"} {
		s.deliver("INBOX", note(m), none)
	}
	show := func(d *computer, r accountReport) {
		t.Logf("%s here %+v there %+v skipped %v err %v rt %d", d.name, r.Local, r.Remote, r.Skipped, r.Error, r.RoundTrips)
	}
	both := func() {
		for range 2 {
			show(laptop, laptop.sync())
			show(desktop, desktop.sync())
		}
		laptop.rests()
		desktop.rests()
		laptop.same()
		desktop.same()
	}
	both()
	t.Log("-- new, flags")
	laptop.save("INBOX", "cur", "1.a.host:2,S", note("mine"), then)
	laptop.reflag(laptop.find("INBOX", "one"), "S")
	desktop.reflag(desktop.find("INBOX", "one"), "F")
	s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "two").UID, seen))
	s.deliver("INBOX", note("theirs"), none)
	both()
	t.Log("-- removed, moved")
	laptop.remove(laptop.find("INBOX", "three"))
	s.check(s.phone.Delete(s.Context(), "INBOX", s.remote("INBOX", "four").UID))
	f := laptop.find("INBOX", "two")
	s.check(os.Rename(f.path, filepath.Join(laptop.maildir, "Archive", "cur", filepath.Base(f.path))))
	both()
	t.Log(s.there("INBOX"), s.there("Archive"), s.there("Trash"))
	for range 3 {
		show(laptop, laptop.sync())
		show(desktop, desktop.sync())
	}
	t.Log(s.there("INBOX"), s.there("Archive"), s.there("Trash"))
}
