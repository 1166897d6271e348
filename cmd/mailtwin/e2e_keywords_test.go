package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
)

// words is a set of keywords.
func words(names ...string) mail.Flags { return mail.Flags{Keywords: mail.NewKeywords(names...)} }

// rests checks that a further sync changes nothing on either side.
func (d *computer) rests() {
	d.Helper()
	d.did(d.sync(), counts4{}, counts4{})
}

// marks checks what a message is marked with, on the server and on some computers.
func (s *story) marks(what string, there mail.Flags, here mail.Flags, devices ...*computer) {
	s.Helper()
	if m := s.remote("INBOX", what); !m.Flags.Equal(there) {
		s.Errorf("%s: on the server it is marked %v, want %v", what, m.Flags, there)
	}
	for _, d := range devices {
		if f := d.find("INBOX", what); !f.flags.Equal(here) {
			s.Errorf("%s: on the %s it is marked %v, want %v", what, d.name, f.flags, here)
		}
	}
}

// TestKeywordsInAnyCase: that the server, or a program here, spells a keyword in another
// way than the other side is no change, in whatever order they meet.
func TestKeywordsInAnyCase(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) *story{
		"as they are":      onDovecot(),
		"in small letters": through(says(small)),
		"in capitals":      through(says(func(line string) string { return strings.Replace(small(line), "work", "WORK", 1) })),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			laptop, desktop := s.device("laptop"), s.device("desktop")
			for _, m := range []string{"one", "two", "three"} {
				s.deliver("INBOX", note(m), none)
			}
			laptop.sync()
			// The desktop's own programs call it otherwise.
			s.check(os.MkdirAll(filepath.Join(desktop.maildir, "INBOX"), 0o700))
			s.check(os.WriteFile(filepath.Join(desktop.maildir, "INBOX", "dovecot-keywords"), []byte("3 wOrK\n"), 0o600))
			s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "one").UID, words("Work")))
			both := func() {
				for range 2 {
					laptop.sync()
					desktop.sync()
				}
				laptop.rests()
				desktop.rests()
			}
			both()
			s.marks("one", words("Work"), words("Work"), laptop, desktop)
			desktop.reflag(desktop.find("INBOX", "two"), "d")
			laptop.reflag(laptop.find("INBOX", "three"), "Sa")
			both()
			s.marks("two", words("Work"), words("Work"), laptop, desktop)
			s.marks("three", words("Work").With(seen), words("Work").With(seen), laptop, desktop)
			s.check(s.phone.RemoveFlags(s.Context(), "INBOX", s.remote("INBOX", "two").UID, words("WORK")))
			desktop.reflag(desktop.find("INBOX", "one"), "")
			both()
			s.marks("one", none, none, laptop, desktop)
			s.marks("two", none, none, laptop, desktop)
			laptop.loseState()
			both()
			s.marks("one", none, none, laptop, desktop)
			s.marks("three", words("Work").With(seen), words("Work").With(seen), laptop, desktop)
		})
	}
}

// TestMoreKeywordsThanLetters: those that got no letter stay on the server, whatever
// else changes; and letters that stand for nothing stay in the file's name.
func TestMoreKeywordsThanLetters(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) *story{
		"as they are": onDovecot(), "in small letters": through(says(small)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			laptop, desktop := s.device("laptop"), s.device("desktop")
			var names []string
			for i := range 30 {
				names = append(names, fmt.Sprintf("Word%02d", i))
			}
			all := words(names...)
			s.deliver("INBOX", note("full"), all.With(seen))
			s.deliver("INBOX", note("some"), words(names[1]))
			s.deliver("INBOX", note("empty"), seen)
			both := func() {
				s.Helper()
				for range 2 {
					laptop.sync()
					desktop.sync()
				}
				laptop.rests()
				desktop.rests()
			}
			both()
			first := words(names[:26]...)
			s.marks("full", all.With(seen), first.With(seen), laptop, desktop)

			// Flags, a keyword with a letter, and one without, change around the rest.
			full := laptop.find("INBOX", "full")
			_, chars, _ := strings.Cut(filepath.Base(full.path), ":2,")
			laptop.reflag(full, "F"+strings.Replace(chars, "c", "", 1))
			s.check(s.phone.RemoveFlags(s.Context(), "INBOX", s.remote("INBOX", "full").UID, words(names[28])))
			s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "some").UID, words(names[29]).With(seen)))
			both()
			both()
			left := all.Without(words(names[2], names[28])).With(seen).With(flagged)
			s.marks("full", left, left.Without(words(names[26], names[27], names[29])), laptop, desktop)
			s.marks("some", words(names[1], names[29]).With(seen), words(names[1]).With(seen), laptop, desktop)

			// A copy, a move and back again: what has no letter is not lost on the way.
			some := laptop.find("INBOX", "some")
			s.check(os.Rename(some.path, filepath.Join(laptop.maildir, "Archive", "cur", filepath.Base(some.path))))
			both()
			if m := s.remote("Archive", "some"); !m.Flags.Has(mail.Seen) || !m.Flags.Keywords.Has(names[29]) {
				s.Errorf("after a move it is marked %v", m.Flags)
			}
			laptop.loseState()
			both()
			s.marks("full", left, left.Without(words(names[26], names[27], names[29])), laptop, desktop)
		})
	}
}

func TestLettersWithoutAMeaningStay(t *testing.T) {
	s := onDovecot()(t)
	d := s.device("laptop")
	s.deliver("INBOX", note("one"), seen)
	d.sync()
	d.reflag(d.only("INBOX"), "Sxz")
	d.rests()
	s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "one").UID, flagged.With(words("Work"))))
	d.did(d.sync(), counts4{Flags: 1}, counts4{})
	d.rests()
	if f := d.only("INBOX"); !strings.HasSuffix(f.path, ":2,FSaxz") {
		t.Errorf("the file is %s", f.path)
	}
	s.marks("one", seen.With(flagged).With(words("Work")), seen.With(flagged).With(words("Work")), d)
}

// TestAServerThatKeepsOnlySystemFlags is about Exchange: a keyword can be neither set
// nor taken away, and to try is an error. It stays as it is on each side, costs no
// system flag its way, and is no failure.
func TestAServerThatKeepsOnlySystemFlags(t *testing.T) {
	s := through(exchange)(t)
	laptop, desktop := s.device("laptop"), s.device("desktop")
	s.deliver("INBOX", note("theirs"), words("Category").With(seen))
	s.deliver("INBOX", note("plain"), none)
	both := func() {
		s.Helper()
		for range 2 {
			laptop.sync()
			desktop.sync()
		}
		laptop.rests()
		desktop.rests()
	}
	both()
	s.marks("theirs", words("Category").With(seen), words("Category").With(seen), laptop, desktop)
	laptop.save("INBOX", "cur", "1.a.host:2,PSa", note("mine"), then)
	laptop.reflag(laptop.find("INBOX", "plain"), "FPa")
	desktop.reflag(desktop.find("INBOX", "theirs"), "FS")
	both()
	category := words("Category")
	forwarded := mail.Flags{System: mail.Forwarded}
	s.marks("mine", seen, seen, desktop)
	s.marks("mine", seen, seen.With(forwarded).With(category), laptop)
	s.marks("plain", flagged, flagged, desktop)
	s.marks("plain", flagged, flagged.With(forwarded).With(category), laptop)
	s.marks("theirs", category.With(seen).With(flagged), seen.With(flagged), desktop)
	s.marks("theirs", category.With(seen).With(flagged), category.With(seen).With(flagged), laptop)
	s.check(s.phone.RemoveFlags(s.Context(), "INBOX", s.remote("INBOX", "theirs").UID, seen))
	s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "plain").UID, answered))
	both()
	s.marks("plain", flagged.With(answered), flagged.With(answered).With(forwarded).With(category), laptop)
	s.marks("theirs", category.With(flagged), flagged, desktop)
}

// TestAServerThatKeepsNoFlags: what is marked stays on its side; mail goes both ways.
func TestAServerThatKeepsNoFlags(t *testing.T) {
	odd := func() imaptest.Quirks {
		q := says(becomes(permanent+anyLine, `* OK [PERMANENTFLAGS ()] No permanent flags permitted`))()
		q.Refuse = func(command string) string {
			if strings.HasPrefix(command, "UID STORE") {
				return "NO [NOPERM] Flags cannot be changed"
			}
			return ""
		}
		return q
	}
	s := through(odd)(t)
	laptop, desktop := s.device("laptop"), s.device("desktop")
	s.deliver("INBOX", note("read"), seen)
	s.deliver("INBOX", note("unread"), none)
	s.deliver("INBOX", note("goes"), none)
	both := func() {
		s.Helper()
		for range 2 {
			laptop.sync()
			desktop.sync()
		}
		laptop.rests()
		desktop.rests()
	}
	both()
	laptop.reflag(laptop.find("INBOX", "read"), "F")
	laptop.reflag(laptop.find("INBOX", "unread"), "S")
	laptop.remove(laptop.find("INBOX", "goes"))
	laptop.save("INBOX", "cur", "1.a.host:2,S", note("mine"), then)
	both()
	s.marks("read", seen, seen, desktop)
	s.marks("read", seen, flagged, laptop)
	s.marks("unread", none, seen, laptop)
	s.marks("mine", none, none, desktop)
	s.marks("mine", none, seen, laptop)
	s.want("Trash", s.there("Trash"), "goes")
	s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "unread").UID, seen.With(flagged)))
	both()
	s.marks("unread", seen.With(flagged), seen.With(flagged), laptop, desktop)
}

// TestAServerThatRefusesKeywordsUnannounced: it offers \* and has had enough of them. The
// flags that it takes get there all the same.
func TestAServerThatRefusesKeywordsUnannounced(t *testing.T) {
	keyword := regexp.MustCompile(`(?i)^UID STORE .*\+FLAGS(\.SILENT)? \(.*Work`)
	full := func() imaptest.Quirks {
		return imaptest.Quirks{Refuse: func(command string) string {
			if keyword.MatchString(command) {
				return "NO [LIMIT] Too many keywords in mailbox"
			}
			return ""
		}}
	}
	s := onDovecot()(t)
	between := imaptest.Between(t, s.server.Host, s.server.Port, full)
	d := s.device("laptop", `port = `+fmt.Sprint(between.Port))
	for _, m := range []string{"one", "two"} {
		s.deliver("INBOX", note(m), none)
	}
	d.sync()
	s.check(os.WriteFile(filepath.Join(d.maildir, "INBOX", "dovecot-keywords"), []byte("0 Work\n"), 0o600))
	d.reflag(d.find("INBOX", "one"), "FSa")
	d.reflag(d.find("INBOX", "two"), "S")
	d.said(*d.report(1).Error, "INBOX", "[LIMIT] Too many keywords in mailbox")
	s.marks("one", seen.With(flagged), seen.With(flagged).With(words("Work")), d)
	s.marks("two", seen, seen, d)
	d.did(d.report(1), counts4{}, counts4{})
}
