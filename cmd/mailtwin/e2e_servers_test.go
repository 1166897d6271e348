package main

import (
	"os"
	"path/filepath"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/courier"
	"mailtwin/sync/imaptest/cyrus"
	"mailtwin/sync/imaptest/dovecot"
)

// kind is a server, and how the story on it differs from the one on a server that has
// all extensions.
type kind struct {
	start    func(t *testing.T) *story
	settings []string // of the account, where the server cannot tell
	// costly: to find out that nothing changed takes more than a listing.
	costly bool
	// marks: no single message can be expunged. So one that another one takes the place of
	// may stay, marked \Deleted, and does so also on the other devices.
	marks bool
	// keeps: nor can one be moved, so a removed message stays, and does not go to Trash.
	keeps bool
	// fixed: it takes no keyword from us, so those that are set here stay here.
	fixed bool
	// bare: the account has no folder but INBOX, so the phone makes a Trash.
	bare bool
}

// at is a story on a server that is no Dovecot.
func at(t *testing.T, host string, port int, user, password string, phone *imaptest.Phone) *story {
	where := &dovecot.Server{Host: host, Port: port, User: user, Password: password}
	return &story{T: t, server: where, user: user, phone: phone, dir: t.TempDir()}
}

func onDovecot(opts ...dovecot.Option) func(t *testing.T) *story {
	return func(t *testing.T) *story {
		s := dovecot.Start(t, append(opts, dovecot.Extra(reuse))...)
		return newStory(t, s, s.User)
	}
}

func onCyrus(opts ...cyrus.Option) func(t *testing.T) *story {
	return func(t *testing.T) *story {
		s := cyrus.Start(t, opts...)
		return at(t, s.Host, s.Port, s.User, s.Password, s.Phone(t))
	}
}

func onCourier(t *testing.T) *story {
	s := courier.Start(t)
	return at(t, s.Host, s.Port, s.User, s.Password, s.Phone(t))
}

func onEmbedded(without ...string) func(t *testing.T) *story {
	return func(t *testing.T) *story {
		s, err := imaptest.Start(imaptest.Options{Without: without})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close the server: %v", err)
			}
		})
		p, err := s.Phone(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return at(t, s.Host, s.Port, s.User, s.Password, p)
	}
}

// ourTrash names the Trash folder where the server marks none.
var ourTrash = []string{`trash = "Trash"`}

var kinds = map[string]kind{
	"dovecot":                     {start: onDovecot()},
	"dovecot, sdbox":              {start: onDovecot(dovecot.Sdbox())},
	"dovecot, all in INBOX":       {start: onDovecot(dovecot.Namespace("INBOX.", "."))},
	"dovecot without CONDSTORE":   {start: onDovecot(dovecot.Hide("CONDSTORE", "QRESYNC")), costly: true},
	"dovecot without UIDPLUS":     {start: onDovecot(dovecot.Hide("UIDPLUS")), marks: true},
	"dovecot without MOVE":        {start: onDovecot(dovecot.Hide("MOVE"))},
	"dovecot without ESEARCH":     {start: onDovecot(dovecot.Hide("ESEARCH", "CONTEXT=SEARCH", "SEARCHRES"))},
	"dovecot without LIST-STATUS": {start: onDovecot(dovecot.Hide("LIST-STATUS")), costly: true},
	"dovecot without SPECIAL-USE": {start: onDovecot(dovecot.NoRoles(), dovecot.Hide("SPECIAL-USE")), settings: ourTrash, bare: true},
	"dovecot without NAMESPACE":   {start: onDovecot(dovecot.Hide("NAMESPACE"))},
	"dovecot without LITERAL+":    {start: onDovecot(dovecot.Hide("LITERAL+"))},
	"dovecot without any of them": {
		start: onDovecot(dovecot.NoRoles(), dovecot.Hide("CONDSTORE", "QRESYNC", "UIDPLUS", "MOVE", "ESEARCH", "CONTEXT=SEARCH", "SEARCHRES",
			"LIST-STATUS", "LIST-EXTENDED", "SPECIAL-USE", "NAMESPACE", "LITERAL+", "SASL-IR", "UNSELECT", "ENABLE", "ID", "IDLE")),
		settings: ourTrash, bare: true, costly: true, marks: true, keeps: true,
	},
	"embedded":                 {start: onEmbedded(), costly: true},
	"embedded without UIDPLUS": {start: onEmbedded("UIDPLUS"), costly: true, marks: true},
	"cyrus":                    {start: onCyrus()},
	"cyrus, all in INBOX":      {start: onCyrus(cyrus.Classic())},
	"courier":                  {start: onCourier, settings: ourTrash, bare: true, costly: true},
}

func TestTheSameStoryOnEveryServer(t *testing.T) {
	t.Parallel()
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k.tell(k.start(t))
		})
	}
}

// tell tells the story of two computers and a phone.
func (k kind) tell(s *story) {
	laptop, desktop := s.device("laptop", k.settings...), s.device("desktop", k.settings...)
	if k.bare {
		s.check(s.phone.CreateFolder(s.Context(), "Trash", mail.RoleNone))
	}
	s.check(s.phone.CreateFolder(s.Context(), "Lists/go", mail.RoleNone))
	for _, name := range []string{"one", "two", "three", "four", "five", "six", "seven", "eight"} {
		s.deliver("INBOX", note(name), none)
	}
	s.deliver("Lists/go", note("in a list"), seen)
	k.settle(laptop, desktop)

	// New messages, folders, flags and keywords, on all three.
	s.deliver("INBOX", note("from the phone"), flagged)
	laptop.save("INBOX", "new", "1.a.host", note("from the laptop"), then)
	desktop.save("Projects/New Ideas", "cur", "1.b.host:2,S", note("from the desktop"), then)
	s.check(s.phone.CreateFolder(s.Context(), "Entwürfe 2026", mail.RoleNone))
	s.deliver("Entwürfe 2026", note("a draft"), mail.Flags{System: mail.Draft | mail.Seen})
	laptop.reflag(laptop.find("INBOX", "one"), "S")
	desktop.reflag(desktop.find("INBOX", "one"), "F")
	work := mail.Flags{Keywords: mail.NewKeywords("Work")}
	s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "two").UID, answered))
	s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "three").UID, work.With(seen)))
	k.settle(laptop, desktop)
	s.want("INBOX", s.there("INBOX"), "eight", "five", "four", "from the laptop", "from the phone", "one", "seven", "six", "three", "two")
	s.want("Projects/New Ideas", s.there("Projects/New Ideas"), "from the desktop")
	s.want("Entwürfe 2026", laptop.subjects("Entwürfe 2026"), "a draft")
	if m := s.remote("INBOX", "one"); !m.Flags.Equal(seen.With(flagged)) {
		s.Errorf("two computers changed different flags of one message: %v", m.Flags)
	}

	// Deletions on both sides, a conflict, and a keyword by its letter.
	laptop.remove(laptop.find("INBOX", "five"))
	uid := s.remote("INBOX", "six").UID
	s.check(s.phone.Delete(s.Context(), "INBOX", uid))
	laptop.remove(laptop.find("INBOX", "seven"))
	s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "seven").UID, flagged))
	if f := desktop.find("INBOX", "three"); !f.flags.Equal(work.With(seen)) {
		s.Errorf("the phone's keyword is %v on the desktop", f.flags)
	}
	desktop.reflag(desktop.find("INBOX", "four"), "Sa") // a stands for the folder's first keyword
	s.check(s.phone.RemoveFlags(s.Context(), "INBOX", s.remote("INBOX", "three").UID, work))
	for range 2 {
		laptop.sync()
		desktop.sync()
	}
	left := []string{"eight", "four", "from the laptop", "from the phone", "one", "seven", "three", "two"}
	if k.keeps {
		if m := s.remote("INBOX", "five"); !m.Flags.Equal(mail.Flags{System: mail.Deleted}) {
			s.Errorf("a removed message that can neither be moved nor expunged has flags %v", m.Flags)
		}
		s.purge("INBOX")
		desktop.sync()
	} else {
		s.want("Trash", s.there("Trash"), "five")
	}
	s.want("INBOX", s.there("INBOX"), left...)
	for _, d := range []*computer{laptop, desktop} {
		d.want("INBOX of the "+d.name, d.subjects("INBOX"), left...)
		want := seen.With(work)
		if k.fixed && d == laptop {
			want = seen
		}
		if f := d.find("INBOX", "four"); !f.flags.Equal(want) {
			s.Errorf("the desktop's keyword is %v on the %s", f.flags, d.name)
		}
	}
	if k.fixed {
		desktop.did(desktop.sync(), counts4{}, counts4{})
		desktop.reflag(desktop.find("INBOX", "four"), "S")
	}
	if m := s.remote("INBOX", "seven"); !m.Flags.Equal(flagged) {
		s.Errorf("what was deleted here and flagged there has flags %v", m.Flags)
	}
	k.settle(laptop, desktop)

	// An edited draft, a filed message, and a folder that goes.
	draft := laptop.find("Entwürfe 2026", "a draft")
	laptop.save("Entwürfe 2026", "cur", "2.a.host:2,DS", draft.text+"With more of it.\n", then)
	laptop.remove(draft)
	filed := desktop.find("INBOX", "one")
	s.check(os.Rename(filed.path, filepath.Join(desktop.maildir, "Lists", "go", "cur", "1.c.host:2,SF")))
	for range 2 {
		laptop.sync()
		desktop.sync()
	}
	if k.marks {
		s.purge("INBOX")
		s.purge("Entwürfe 2026")
	}
	k.settle(laptop, desktop)
	s.want("Lists/go", s.there("Lists/go"), "in a list", "one")
	if f := desktop.only("Entwürfe 2026"); f.text != draft.text+"With more of it.\n" {
		s.Errorf("the draft is %q", f.text)
	}
}

// purge lets the phone expunge what is marked \Deleted in a folder.
func (s *story) purge(folder mail.Folder) {
	s.Helper()
	for _, m := range s.messages(folder) {
		if m.Flags.System&mail.Deleted != 0 {
			s.check(s.phone.Delete(s.Context(), folder, m.UID))
		}
	}
}

// settle syncs the computers until nothing is left to do, and checks that they and the
// server are equal.
func (k kind) settle(all ...*computer) {
	for range 2 {
		for _, d := range all {
			d.Helper()
			d.sync()
		}
	}
	for _, d := range all {
		r := d.sync()
		d.did(r, counts4{}, counts4{})
		if !k.costly {
			d.free(r)
		}
		d.same()
	}
}

// What a server gives back need not be what it was sent. It is the same message all the
// same, and neither side's bytes are sent again.
func TestServersThatChangeWhatTheyAreSent(t *testing.T) {
	for name, c := range map[string]struct {
		start func(t *testing.T) *story
		text  string
	}{
		"other bytes":  {onCyrus(cyrus.Munging()), "Message-ID: <1@example.org>\nSubject: caf\xe9\nFrom: caf\xc3\xa9@example.org\n\nHello.\n"},
		"another size": {onCourier, "Message-ID: <2@example.org>\nSubject: no end of line\n\nHello."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.start(t)
			laptop, desktop := s.device("laptop"), s.device("desktop")
			laptop.sync()
			desktop.sync()
			laptop.save("INBOX", "cur", "1.a.host:2,S", c.text, then)
			r := laptop.sync()
			laptop.did(r, counts4{}, counts4{New: 1})
			got := s.messages("INBOX")
			if len(got) != 1 || string(got[0].Raw) == wireOf(c.text) {
				s.Fatalf("the server has %d messages, and changes nothing", len(got))
			}
			desktop.did(desktop.sync(), counts4{New: 1}, counts4{})
			for _, d := range []*computer{laptop, desktop, laptop, desktop} {
				d.did(d.sync(), counts4{}, counts4{})
			}
			if f := laptop.only("INBOX"); f.text != c.text {
				s.Errorf("the laptop's own file is %q", f.text)
			}
			if f := desktop.only("INBOX"); f.text != onDisk(string(got[0].Raw)) {
				s.Errorf("the desktop has %q", f.text)
			}
			desktop.reflag(desktop.only("INBOX"), "SF")
			desktop.sync()
			laptop.did(laptop.sync(), counts4{Flags: 1}, counts4{})
		})
	}
}
