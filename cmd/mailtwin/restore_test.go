package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

func TestRestore(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop")
	if r := d.exits(0, "restore", "--list"); strings.Count(r.stdout, "\n") != 1 {
		t.Errorf("before the first sync there is %q", r.stdout)
	}
	odd := "Message-ID: <odd@example.org>\nSubject: red \x1b[31malert\n\ntext\n"
	gone := map[string]mail.UID{}
	for name, text := range map[string]string{"one": note("one"), "two": note("two"), "odd": odd} {
		gone[name] = s.deliver("Archive", text, mail.Flags{System: mail.Seen | mail.Flagged})
	}
	s.deliver("INBOX", note("stays"), none)
	d.sync()
	key := strings.TrimSuffix(filepath.Base(d.find("Archive", "two").path), ":2,FS")
	for _, uid := range gone {
		s.check(s.phone.Delete(s.Context(), "Archive", uid))
	}
	d.sync()
	s.want("Archive", d.subjects("Archive"))

	list := d.exits(0, "restore", "--list").stdout
	for _, want := range []string{
		`(?m)^ACCOUNT  REMOVED  +FOLDER   SUBJECT +MESSAGE-ID +KEY$`,
		`(?m)^alice    20..-..-.. ..:..:..  Archive  one +one@example\.org +\d+\.\S+$`,
		`(?m)^alice    20..-..-.. ..:..:..  Archive  two +two@example\.org +` + regexp.QuoteMeta(key) + `$`,
		`(?m)^alice .* red \[31malert  odd@example\.org  `,
	} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("no %s in\n%s", want, list)
		}
	}
	if got := d.exits(0, "restore", "alice", "--list", "one@example.org").stdout; strings.Count(got, "\n") != 2 || !strings.Contains(got, " one ") {
		t.Errorf("of one message it lists\n%s", got)
	}

	for _, c := range []struct{ args, stdout string }{
		{"alice <one@example.org>", "alice: Archive: <one@example.org> is back\n"},
		{key, "alice: Archive: <two@example.org> is back\n"},
		{"-q odd@example.org", ""},
	} {
		if r := d.exits(0, append([]string{"restore"}, strings.Fields(c.args)...)...); r.stdout != c.stdout || r.stderr != "" {
			t.Errorf("%s printed %q and %q", c.args, r.stdout, r.stderr)
		}
	}
	r := d.exits(1, "restore", "alice", "one@example.org")
	if want := "mailtwin: no message \"one@example.org\" was removed in the last 7 days: mailtwin restore --list shows what there is\n"; r.stderr != want {
		t.Errorf("what is back already: %q", r.stderr)
	}
	d.exits(1, "restore", "alice", "never@example.org", "<>", "")

	d.sync()
	s.want("Archive on the server", s.there("Archive"), "one", "red \x1b[31malert", "two")
	if m := s.remote("Archive", "one"); !m.Flags.Equal(mail.Flags{System: mail.Seen | mail.Flagged}) || !m.Date.Equal(then) {
		t.Errorf("it came back as %v of %v", m.Flags, m.Date)
	}
	settle2(d)
	d.same()
}

// Into another folder a message comes with its flags, and without the letters of its
// keywords, which may mean something else there; one that is not there yet is made.
func TestRestoreIntoAnotherFolder(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop")
	uid := s.deliver("INBOX", note("one"), mail.Flags{System: mail.Seen | mail.Flagged, Keywords: mail.NewKeywords("work")})
	s.deliver("INBOX", note("stays"), none)
	d.sync()
	s.check(s.phone.Delete(s.Context(), "INBOX", uid))
	d.sync()
	if r := d.exits(0, "restore", "--to", "Saved/2026", "alice", "one@example.org"); r.stdout != "alice: Saved/2026: <one@example.org> is back\n" {
		t.Errorf("it prints %q", r.stdout)
	}
	d.sync()
	if m := s.remote("Saved/2026", "one"); !m.Flags.Equal(mail.Flags{System: mail.Seen | mail.Flagged}) {
		t.Errorf("it came back as %v", m.Flags)
	}
	d.same()
	d.exits(exitFailed, "restore", "--to", "..", "alice", "one@example.org") // it is back
}

func TestRestoreTakesWhatWasRemovedLast(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop")
	const header = "Message-ID: <draft@example.org>\nSubject: draft\n\n"
	for _, text := range []string{"first version\n", "second version\n"} {
		uid := s.deliver("Drafts", header+text, seen)
		d.sync()
		s.check(s.phone.Delete(s.Context(), "Drafts", uid))
		d.sync()
	}
	d.exits(0, "restore", "draft@example.org")
	if f := d.only("Drafts"); f.text != header+"second version\n" {
		t.Errorf("restored %q", f.text)
	}
	d.exits(0, "restore", "draft@example.org")
	if n := len(d.files("Drafts")); n != 2 {
		t.Errorf("%d drafts", n)
	}
}

func TestRestoreWaitsForASync(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop")
	uid := s.deliver("INBOX", note("one"), none)
	d.sync()
	s.check(s.phone.Delete(s.Context(), "INBOX", uid))
	d.sync()
	unlock, err := lockAccount(t.Context(), filepath.Join(filepath.Dir(d.config), "state", "alice"), 0, func(*busyError) {})
	s.check(err)
	if r := d.exits(75, "restore", "--wait", "0s", "one@example.org"); !strings.Contains(r.stderr, "another sync, process ") {
		t.Errorf("it says %q", r.stderr)
	}
	unlock()
	d.exits(0, "restore", "--wait", "0s", "one@example.org")
}

func TestRestoreWantsToKnowWhichAccount(t *testing.T) {
	b := newBench(t, "alice", "bob")
	for _, name := range []string{"alice", "bob"} {
		for _, dir := range []string{name, "state/" + name + "/removed/20260304/INBOX/cur"} {
			if err := os.MkdirAll(filepath.Join(b.dir, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(b.dir, "state", name, "removed/20260304/INBOX/cur/1.a:2,S"), []byte(note("one")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.run(t.Context(), "restore one@example.org", 1, "", "mailtwin: message \"one@example.org\" was removed in several accounts: name one of alice, bob: mailtwin restore --list shows what there is\n")
	b.run(t.Context(), "restore bob one@example.org", 0, "bob: INBOX: <one@example.org> is back\n", "")
	b.run(t.Context(), "restore", 2, "", "mailtwin: restore needs the Message-ID or the key of a message: mailtwin restore --list shows them\n")
	b.run(t.Context(), "restore alice", 2, "", "mailtwin: restore needs the Message-ID or the key of a message: mailtwin restore --list shows them\n")
	if err := os.Remove(filepath.Join(b.dir, "alice")); err != nil {
		t.Fatal(err)
	}
	b.run(t.Context(), "restore alice one@example.org", 1, "", "mailtwin: alice: maildir missing: there is no directory \"DIR/alice\": mount it or put it back, or look at maildir in the configuration; nothing was removed from the server\n")
}

// The store is bounded, and status tells how large it is. Its files are sparse here.
func TestTheStoreOfRemovedMessagesIsBounded(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop")
	uid := s.deliver("INBOX", note("gone"), seen)
	s.deliver("INBOX", note("stays"), seen)
	d.sync()
	removed := filepath.Join(filepath.Dir(d.config), "state", "alice", "removed")
	day := func(ago int) string {
		return filepath.Join(removed, time.Now().UTC().AddDate(0, 0, -ago).Format("20060102"))
	}
	for _, ago := range []int{1, 3, 5, 6} {
		s.check(os.MkdirAll(filepath.Join(day(ago), "INBOX", "cur"), 0o700))
		name := filepath.Join(day(ago), "INBOX", "cur", "1.a:2,S")
		s.check(os.WriteFile(name, []byte(note("old")), 0o600))
		s.check(os.Truncate(name, 3<<30))
	}
	s.deliver("INBOX", note("new"), none)
	d.sync() // the store has not grown
	if got := len(names(t, removed)); got != 4 {
		t.Errorf("%d days are left", got)
	}
	s.check(s.phone.Delete(s.Context(), "INBOX", uid))
	d.sync()
	// Yesterday's may be less than a day old.
	if got := names(t, removed); len(got) != 2 || got[0] != filepath.Base(day(1)) || got[1] != filepath.Base(day(0)) {
		t.Errorf("%q are left", got)
	}
	d.said(d.exits(0, "status").stdout, "removed here in the last days: 2 messages, 3.2 GB; mailtwin restore alice --list")
}

func TestRemovedMessagesArePurgedAfterAWeek(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop")
	d.sync()
	removed := filepath.Join(filepath.Dir(d.config), "state", "alice", "removed")
	day := func(ago int) string {
		return filepath.Join(removed, time.Now().UTC().AddDate(0, 0, -ago).Format("20060102"))
	}
	for _, ago := range []int{1, 6, 9, 400} {
		s.check(os.MkdirAll(filepath.Join(day(ago), "INBOX", "cur"), 0o700))
		s.check(os.WriteFile(filepath.Join(day(ago), "INBOX", "cur", "1.a:2,S"), []byte(note("old")), 0o600))
	}
	d.sync() // nothing changed, so nothing is looked at
	if got := len(names(t, removed)); got != 4 {
		t.Errorf("%d days are left", got)
	}
	s.deliver("INBOX", note("new"), none)
	d.sync("--dry-run")
	if got := len(names(t, removed)); got != 4 {
		t.Errorf("a dry run left %d days", got)
	}
	d.sync()
	if got := names(t, removed); len(got) != 2 || got[0] != filepath.Base(day(6)) || got[1] != filepath.Base(day(1)) {
		t.Errorf("%q are left", got)
	}
	// A store that cannot be purged fails no sync.
	s.check(os.RemoveAll(removed))
	s.check(os.WriteFile(removed, nil, 0o600))
	s.deliver("INBOX", note("another"), none)
	if r := d.exits(0, "sync"); r.stderr != "" {
		t.Errorf("it says %q", r.stderr)
	}
}
