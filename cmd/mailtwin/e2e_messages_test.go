package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
)

func TestMessagesGoBothWays(t *testing.T) {
	stories(t, map[string]func(s *story){
		"new on the server": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", note("plain"), none)
			s.deliver("INBOX", note("read"), seen)
			s.deliver("INBOX", note("marked"), mail.Flags{Keywords: mail.NewKeywords("work")})
			odd := "Subject: odd\r\n\r\nlone LF:\nlong: " + strings.Repeat("x", 2000) + "\r\n\xff\xfe8bit, no end of line"
			s.deliver("Sent", odd, seen)
			d.did(d.sync(), counts4{New: 4}, counts4{})
			d.same()
			if f := d.find("INBOX", "plain"); !f.isNew || !f.date.Equal(then) {
				d.Errorf("an unread message is in new/: %v, its date %v, want %v", f.isNew, f.date, then)
			}
			if f := d.find("INBOX", "read"); f.isNew || !f.flags.Equal(seen) {
				d.Errorf("a read message is in new/: %v, with %v", f.isNew, f.flags)
			}
			if f := d.find("INBOX", "marked"); f.isNew || !f.flags.Keywords.Has("work") {
				d.Errorf("a marked message is in new/: %v, with %v", f.isNew, f.flags)
			}
			if f := d.only("Sent"); f.text != onDisk(odd) {
				d.Errorf("an odd message became %q", f.text)
			}
			d.quiet()
		},
		"new in the Maildir": func(s *story) {
			d := s.device("laptop")
			d.sync()
			d.save("INBOX", "new", "1.a.host", note("unread"), then)
			d.save("INBOX", "cur", "2.a.host:2,", note("old"), then)
			d.save("INBOX", "cur", "3.a.host:2,FS", note("read and flagged"), then.Add(time.Hour))
			bytes := "Subject: bytes\n\nCR\r alone, CRLF\r\nand \xe4\xff, no end of line"
			d.save("Drafts", "cur", "4.a.host:2,D", bytes, then)
			d.did(d.sync(), counts4{}, counts4{New: 4})
			if m := s.remote("INBOX", "read and flagged"); !m.Flags.Equal(mail.Flags{System: mail.Seen | mail.Flagged}) || !m.Date.Equal(then.Add(time.Hour)) {
				s.Errorf("it arrived with %v of %v", m.Flags, m.Date)
			}
			if m := s.messages("Drafts")[0]; string(m.Raw) != "Subject: bytes\r\n\r\nCR\r alone, CRLF\r\nand \xe4\xff, no end of line" {
				s.Errorf("the bytes became %q", m.Raw)
			}
			s.want("INBOX", s.there("INBOX"), "old", "read and flagged", "unread")
			d.quiet()
			if got := d.only("Drafts"); got.text != bytes || filepath.Base(got.path) != "4.a.host:2,D" {
				d.Errorf("the file became %s: %q", got.path, got.text)
			}
		},
		"new on both sides at once": func(s *story) {
			d := s.device("laptop")
			d.sync()
			s.deliver("INBOX", note("theirs"), none)
			s.deliver("INBOX", note("the same"), seen)
			d.save("INBOX", "cur", "1.a.host:2,F", note("the same"), then)
			d.save("INBOX", "new", "2.a.host", note("mine"), then)
			r := d.sync()
			if r.Local.New != 1 || r.Remote.New != 1 {
				d.Errorf("here %+v, on the server %+v", r.Local, r.Remote)
			}
			d.want("INBOX", s.there("INBOX"), "mine", "the same", "theirs")
			if m := s.remote("INBOX", "the same"); !m.Flags.Equal(mail.Flags{System: mail.Seen | mail.Flagged}) {
				s.Errorf("flags of what was on both sides: %v", m.Flags)
			}
			d.same()
			d.quiet()
		},
		"a Maildir that was there before the first sync": func(s *story) {
			d := s.device("laptop")
			for _, name := range []string{"one", "two", "three"} {
				s.deliver("INBOX", note(name), seen)
			}
			d.save("INBOX", "cur", "1.a.host:2,S", note("one"), then)
			d.save("INBOX", "cur", "2.a.host:2,S", note("two"), then)
			d.save("Old", "cur", "3.a.host:2,S", note("old"), then)
			r := d.sync()
			d.did(r, counts4{New: 1}, counts4{New: 1})
			d.want("INBOX", d.subjects("INBOX"), "one", "three", "two")
			d.same()
			d.quiet()
		},
		"identical twins stay two": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", note("twin"), none)
			s.deliver("INBOX", note("twin"), none)
			d.sync()
			d.want("INBOX", d.subjects("INBOX"), "twin", "twin")
			d.remove(d.files("INBOX")[0])
			d.sync()
			d.want("on the server", s.there("INBOX"), "twin")
			d.want("Trash", s.there("Trash"), "twin")
			settle(d)
			d.same()
		},
		"a lost state costs time, not mail": func(s *story) {
			d := s.device("laptop")
			for _, name := range []string{"one", "two", "three"} {
				s.deliver("INBOX", note(name), seen)
			}
			d.sync()
			s.check(os.RemoveAll(filepath.Join(filepath.Dir(d.config), "state")))
			r := d.sync()
			d.did(r, counts4{}, counts4{})
			d.same()
			d.quiet()
		},
		"thousands of bytes and of messages": func(s *story) {
			d := s.device("laptop")
			var want []string
			for i := range 60 {
				name := "message " + strings.Repeat("i", i)
				want = append(want, name)
				s.deliver("INBOX", note(name)+strings.Repeat(strings.Repeat("line ", 12)+"\n", i*i), none)
			}
			d.did(d.sync(), counts4{New: 60}, counts4{})
			slices.Sort(want)
			d.want("INBOX", d.subjects("INBOX"), want...)
			d.same()
		},
		"what is no message is left alone": func(s *story) {
			d := s.device("laptop")
			d.sync()
			secret := filepath.Join(s.dir, "secret")
			s.check(os.WriteFile(secret, []byte(note("secret")), 0o600))
			s.check(os.Symlink(secret, filepath.Join(d.maildir, "INBOX", "cur", "1.a.host:2,S")))
			s.check(os.WriteFile(filepath.Join(d.maildir, "INBOX", "cur", ".nfs0001"), []byte("x"), 0o600))
			s.check(os.Mkdir(filepath.Join(d.maildir, "INBOX", "cur", "directory"), 0o700))
			d.save("INBOX", "new", "2.a.host", note("a message"), then)
			d.run("sync")
			d.want("on the server", s.there("INBOX"), "a message")
			if text, err := os.ReadFile(secret); err != nil || string(text) != note("secret") {
				s.Errorf("behind the link: %q, %v", text, err)
			}
		},
	})
}

func TestFlagsGoBothWays(t *testing.T) {
	stories(t, map[string]func(s *story){
		"set and taken back on each side": func(s *story) {
			d := s.device("laptop")
			uid := s.deliver("INBOX", note("one"), none)
			d.sync()
			d.reflag(d.only("INBOX"), "S")
			d.did(d.sync(), counts4{}, counts4{Flags: 1})
			if m := s.messages("INBOX")[0]; !m.Flags.Equal(seen) {
				s.Errorf("on the server: %v", m.Flags)
			}
			d.quiet()
			s.check(s.phone.AddFlags(s.Context(), "INBOX", uid, flagged))
			s.check(s.phone.RemoveFlags(s.Context(), "INBOX", uid, seen))
			d.did(d.sync(), counts4{Flags: 1}, counts4{})
			if f := d.only("INBOX"); !f.flags.Equal(flagged) {
				s.Errorf("here: %v", f.flags)
			}
			d.same()
			d.quiet()
		},
		"all of them, on both sides at once": func(s *story) {
			d := s.device("laptop")
			uid := s.deliver("INBOX", note("one"), mail.Flags{System: mail.Seen | mail.Draft})
			d.sync()
			d.reflag(d.only("INBOX"), "FPR") // F, P and R are new; D and S are taken back
			s.check(s.phone.AddFlags(s.Context(), "INBOX", uid, mail.Flags{System: mail.Deleted | mail.Answered}))
			s.check(s.phone.RemoveFlags(s.Context(), "INBOX", uid, mail.Flags{System: mail.Draft}))
			d.did(d.sync(), counts4{Flags: 1}, counts4{Flags: 1})
			want := mail.Flags{System: mail.Flagged | mail.Forwarded | mail.Answered | mail.Deleted}
			if f, m := d.only("INBOX"), s.messages("INBOX")[0]; !f.flags.Equal(want) || !m.Flags.Equal(want) {
				s.Errorf("here %v, on the server %v, want %v", f.flags, m.Flags, want)
			}
			d.quiet()
		},
		"keywords, through letters": func(s *story) {
			d := s.device("laptop")
			uid := s.deliver("INBOX", note("one"), mail.Flags{Keywords: mail.NewKeywords("$Junk", "work")})
			d.sync()
			d.same()
			f := d.only("INBOX")
			letters, err := os.ReadFile(filepath.Join(d.maildir, "INBOX", "dovecot-keywords"))
			s.check(err)
			if !bytes.Contains(letters, []byte(" work\n")) {
				s.Errorf("dovecot-keywords: %q", letters)
			}
			// Another program knows the convention, too.
			s.check(os.WriteFile(filepath.Join(d.maildir, "INBOX", "dovecot-keywords"), append(letters, "25 home\n"...), 0o600))
			_, chars, _ := strings.Cut(f.path, ":2,")
			d.reflag(f, "S"+chars+"z")
			s.check(s.phone.RemoveFlags(s.Context(), "INBOX", uid, mail.Flags{Keywords: mail.NewKeywords("work")}))
			d.sync()
			d.same()
			if m := s.messages("INBOX")[0]; !m.Flags.Equal(mail.Flags{System: mail.Seen, Keywords: mail.NewKeywords("$Junk", "home")}) {
				s.Errorf("on the server: %v", m.Flags)
			}
			d.quiet()
		},
		"a reader that moves mail between new and cur": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", note("one"), none)
			d.sync()
			f := d.only("INBOX")
			d.reflag(f, "")
			d.sync()
			d.reflag(d.only("INBOX"), "S")
			d.did(d.sync(), counts4{}, counts4{Flags: 1})
			// mutt moves mail back that was marked as unread.
			f = d.only("INBOX")
			base, _, _ := strings.Cut(filepath.Base(f.path), ":2,")
			s.check(os.Rename(f.path, filepath.Join(d.maildir, "INBOX", "new", base)))
			d.sync()
			settle(d)
			d.same()
			d.want("INBOX", d.subjects("INBOX"), "one")
			if m := s.messages("INBOX")[0]; !m.Flags.Empty() {
				s.Errorf("marked as unread here, and on the server %v", m.Flags)
			}
		},
		"a reader that renames whole files": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", note("one"), seen)
			d.sync()
			f := d.only("INBOX")
			s.check(os.Rename(f.path, filepath.Join(d.maildir, "INBOX", "cur", "quite.another.name:2,FS")))
			r := d.sync()
			if r.Local.New+r.Local.Removed != 0 {
				d.Errorf("here %+v, on the server %+v", r.Local, r.Remote)
			}
			settle(d)
			d.want("on the server", s.there("INBOX"), "one")
			if m := s.messages("INBOX")[0]; !m.Flags.Has(mail.Seen | mail.Flagged) {
				s.Errorf("on the server: %v", m.Flags)
			}
			d.want("Trash", s.there("Trash"))
			d.same()
		},
		"a reader that renames all the time while syncs run": func(s *story) {
			d := s.device("laptop")
			var want []string
			for i := range 40 {
				want = append(want, fmt.Sprint("letter ", i))
				s.deliver("INBOX", note(want[i]), seen)
			}
			slices.Sort(want)
			d.sync()
			stop, done := make(chan struct{}), make(chan int)
			cur := filepath.Join(d.maildir, "INBOX", "cur")
			go func() {
				renames := 0
				defer func() { done <- renames }()
				for {
					entries, err := os.ReadDir(cur)
					for _, e := range entries {
						select {
						case <-stop:
							return
						default:
						}
						base, chars, _ := strings.Cut(e.Name(), ":2,")
						next := map[string]string{"S": "FS", "FS": "FRS", "FRS": "S"}[chars]
						// The sync may be quicker; then the next listing tells.
						if err == nil && os.Rename(filepath.Join(cur, e.Name()), filepath.Join(cur, base+":2,"+next)) == nil {
							renames++
						}
					}
				}
			}()
			for range 4 {
				d.run("sync")
			}
			close(stop)
			if n := <-done; n == 0 {
				s.Error("nothing was renamed")
			}
			settle(d)
			s.want("on the server", s.there("INBOX"), want...)
			s.want("Trash", s.there("Trash"))
			d.same()
		},
		"a draft that is rewritten": func(s *story) {
			d := s.device("laptop")
			d.sync()
			d.save("Drafts", "cur", "1.a.host:2,DS", note("draft"), then)
			d.sync()
			d.remove(d.only("Drafts"))
			d.save("Drafts", "cur", "2.a.host:2,DS", note("draft")+"More.\n", then)
			d.sync()
			if m := s.messages("Drafts"); len(m) != 1 || onDisk(string(m[0].Raw)) != note("draft")+"More.\n" {
				s.Errorf("on the server: %v", m)
			}
			settle(d)
			d.same()
		},
	})
}

func TestServersThatDiffer(t *testing.T) {
	history := func(s *story) {
		d := s.device("laptop")
		one := s.deliver("INBOX", note("one"), none)
		two := s.deliver("INBOX", note("two"), seen)
		s.deliver("INBOX", note("three"), seen)
		d.sync()
		s.check(s.phone.AddFlags(s.Context(), "INBOX", one, flagged))
		s.check(s.phone.Delete(s.Context(), "INBOX", two))
		d.reflag(d.find("INBOX", "three"), "SR")
		d.save("INBOX", "new", "1.a.host", note("four"), then)
		d.sync()
		d.same()
		d.want("INBOX", d.subjects("INBOX"), "four", "one", "three")
		d.remove(d.find("INBOX", "three"))
		d.sync()
		d.want("on the server", s.there("INBOX"), "four", "one")
		d.want("Trash", s.there("Trash"), "three")
		settle2(d)
		d.same()
	}
	for name, opts := range map[string][]dovecot.Option{
		"without CONDSTORE":            {dovecot.Hide("CONDSTORE", "QRESYNC")},
		"without MOVE and LIST-STATUS": {dovecot.Hide("MOVE", "LIST-STATUS")},
		"sdbox":                        {dovecot.Sdbox()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := map[string]func(s *story){"a history": history}
			if name == "sdbox" {
				all = map[string]func(s *story){
					"a history": history,
					"more keywords than there are letters": func(s *story) {
						d := s.device("laptop")
						var words []string
						for c := 'a'; c <= 'z'; c++ {
							words = append(words, "w"+string(c), "v"+string(c))
						}
						all := mail.Flags{Keywords: mail.NewKeywords(words...)}
						s.deliver("INBOX", note("one"), all)
						if n := len(s.messages("INBOX")[0].Flags.Keywords.List()); n != 52 {
							s.Skipf("the server itself keeps only %d keywords", n)
						}
						d.sync()
						f := d.only("INBOX")
						_, chars, _ := strings.Cut(f.path, ":2,")
						d.reflag(f, "S"+chars)
						d.sync()
						if m := s.messages("INBOX")[0]; !m.Flags.Equal(all.With(seen)) {
							s.Errorf("those without a letter must stay, and there are %v", m.Flags)
						}
						d.quiet()
					},
				}
			}
			stories(t, all, opts...)
		})
	}
}
