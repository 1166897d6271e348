package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
)

// big is a message of two megabytes, with the header of one that came over the net.
func big(subject string) string {
	trace := "Received: from mx.example.org (mx.example.org [192.0.2.1]) by mail.example.net; Mon, 1 Jan 2024 10:00:00 +0000\n"
	return strings.Repeat(trace, 30) + note(subject) + strings.Repeat("It goes on and on, and nobody has ever read all of it.\n", 38000)
}

// cheap checks that a sync cost less than a message that moves may, however large.
func (d *computer) cheap(r accountReport) {
	d.Helper()
	if n := r.BytesIn + r.BytesOut; n > 20_000 {
		d.Errorf("%s: it cost %d octets", d.name, n)
	}
}

// mv moves a file as mv does, or under a new name if there is one.
func (d *computer) mv(f file, folder mail.Folder, name string) {
	d.Helper()
	if name == "" {
		name = filepath.Base(f.path)
	}
	to := filepath.Join(d.maildir, filepath.FromSlash(string(folder)), "cur", name)
	for _, sub := range []string{"cur", "new", "tmp"} {
		d.check(os.MkdirAll(filepath.Join(filepath.Dir(filepath.Dir(to)), sub), 0o700))
	}
	d.check(os.Rename(f.path, to))
}

// Whatever a program does to move or copy a message in the Maildir, it is moved or
// copied on the server, by the means that the server has, and its body stays where it
// is.
func TestAMoveIsAMove(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]dovecot.Option{
		"": nil, "without MOVE, ": {dovecot.Hide("MOVE")}, "without MOVE and UIDPLUS, ": {dovecot.Hide("MOVE", "UIDPLUS")},
	} {
		all := map[string]func(s *story){}
		for how, c := range map[string]struct {
			do          func(d *computer, f file)
			there       mail.Folder // where it is then
			left        int         // how many are left in INBOX
			copied      bool        // it was copied, so nothing leaves the server
			before, end string      // letters of its flags before and after
		}{
			"mv":           {do: func(d *computer, f file) { d.mv(f, "Archive", "") }, there: "Archive"},
			"a new name":   {do: func(d *computer, f file) { d.mv(f, "Archive", "1.new.host:2,S") }, there: "Archive"},
			"to Trash":     {do: func(d *computer, f file) { d.mv(f, "Trash", "1.new.host:2,S") }, there: "Trash"},
			"a new folder": {do: func(d *computer, f file) { d.mv(f, "Work/2024", "") }, there: "Work/2024"},
			"flags change": {do: func(d *computer, f file) { d.mv(f, "Archive", "1.new.host:2,FRS") }, there: "Archive", end: "FRS"},
			"a chain": {do: func(d *computer, f file) {
				d.mv(f, "Lists", "1.new.host:2,S")
				d.mv(d.find("Lists", "large"), "Archive", "2.new.host:2,S")
			}, there: "Archive"},
			"a hard link, and the old name goes": {do: func(d *computer, f file) {
				d.check(os.Link(f.path, filepath.Join(d.maildir, "Archive", "cur", "1.link.host:2,S")))
				d.remove(f)
			}, there: "Archive"},
			"a copy, and the old file goes": {do: func(d *computer, f file) {
				d.save("Archive", "cur", "1.new.host:2,S", f.text, f.date)
				d.remove(f)
			}, there: "Archive"},
			"a copy, a sync, and the old file goes": {do: func(d *computer, f file) {
				d.save("Archive", "cur", "1.new.host:2,S", f.text, f.date)
				d.cheap(d.sync())
				d.remove(f)
			}, there: "Archive"},
			"a copy": {do: func(d *computer, f file) {
				d.save("Archive", "cur", "1.new.host:2,S", f.text, f.date)
			}, there: "Archive", left: 1, copied: true},
			"a copy of the same name": {do: func(d *computer, f file) {
				d.save("Archive", "cur", filepath.Base(f.path), f.text, f.date)
			}, there: "Archive", left: 1, copied: true},
		} {
			all[name+how] = func(s *story) {
				d := s.device("laptop")
				s.check(s.phone.CreateFolder(s.Context(), "Lists", mail.RoleNone))
				s.deliver("INBOX", big("large"), seen)
				s.deliver("INBOX", note("small"), seen)
				d.sync()
				c.do(d, d.find("INBOX", "large"))
				r := d.sync()
				d.cheap(r)
				if c.end != "" {
					if got := s.remote(c.there, "large"); got.Flags.System != mail.Seen|mail.Flagged|mail.Answered {
						s.Errorf("it has %v", got.Flags)
					}
				}
				if n := len(s.there(c.there)); n != 1 {
					s.Errorf("%s has %d messages", c.there, n)
				}
				if name != "without MOVE and UIDPLUS, " {
					if n := len(s.there("INBOX")); n != 1+c.left {
						s.Errorf("INBOX has %d messages", n)
					}
					if c.there != "Trash" {
						s.want("Trash", s.there("Trash"))
					}
					d.same()
					d.cheap(d.sync())
				} else if !c.copied {
					// What cannot be expunged alone is marked, and left.
					if got := s.remote("INBOX", "large"); !got.Flags.Has(mail.Deleted) {
						s.Errorf("it is left in INBOX with %v", got.Flags)
					}
				}
				d.quiet()
			}
		}
		t.Run(strings.TrimSuffix(name, ", "), func(t *testing.T) { stories(t, all, opts...) })
	}
}

// Two messages that change places are two moves.
func TestMessagesThatChangePlaces(t *testing.T) {
	stories(t, map[string]func(s *story){
		"a swap": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", big("one"), seen)
			s.deliver("Archive", big("two"), seen)
			d.sync()
			one, two := d.only("INBOX"), d.only("Archive")
			// Each takes the other's place and name.
			aside := one.path + "x"
			s.check(os.Rename(one.path, aside))
			s.check(os.Rename(two.path, one.path))
			s.check(os.Rename(aside, two.path))
			d.cheap(d.sync())
			s.want("INBOX", s.there("INBOX"), "two")
			s.want("Archive", s.there("Archive"), "one")
			settle(d)
			d.same()
		},
		"a sync that is limited to one end of a move": func(s *story) {
			for _, only := range []string{"alice:INBOX", "alice:Archive"} {
				d := s.device("computer " + only)
				s.deliver("INBOX", big(only), seen)
				d.sync()
				d.mv(d.find("INBOX", only), "Archive", "")
				d.cheap(d.sync(only))
				d.cheap(d.sync())
				if s.remote("Archive", only).UID == 0 {
					s.Errorf("%s: it is not in Archive", only)
				}
				s.want("INBOX", s.there("INBOX"))
				settle(d)
				d.same()
			}
		},
	})
}

// What the phone moves and copies is moved and linked here.
func TestAMoveOnThePhoneIsAMoveHere(t *testing.T) {
	stories(t, map[string]func(s *story){
		"moved": func(s *story) {
			d := s.device("laptop")
			uid := s.deliver("INBOX", big("large"), seen)
			d.sync()
			before := d.only("INBOX")
			moved, err := s.phone.Move(s.Context(), "INBOX", uid, "Archive")
			s.check(err)
			s.check(s.phone.AddFlags(s.Context(), "Archive", moved, flagged))
			r := d.sync()
			d.cheap(r)
			d.did(r, counts4{Moved: 1}, counts4{})
			if after := d.only("Archive"); after.text != before.text || !after.date.Equal(before.date) {
				s.Error("it is another file")
			}
			d.same()
			d.quiet()
		},
		"copied into two folders, and removed from the first": func(s *story) {
			d := s.device("laptop")
			uid := s.deliver("INBOX", big("large"), seen)
			d.sync()
			for _, f := range []mail.Folder{"Archive", "Drafts"} {
				_, err := s.phone.Copy(s.Context(), "INBOX", uid, f)
				s.check(err)
			}
			r := d.sync()
			d.cheap(r)
			d.did(r, counts4{New: 2}, counts4{})
			s.check(s.phone.Delete(s.Context(), "INBOX", uid))
			d.cheap(d.sync())
			d.same()
			d.quiet()
		},
		"moved while a copy of it stays": func(s *story) {
			d := s.device("laptop")
			s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
			uid := s.deliver("INBOX", big("large"), seen)
			d.sync()
			_, err := s.phone.Copy(s.Context(), "INBOX", uid, "Work")
			s.check(err)
			_, err = s.phone.Move(s.Context(), "INBOX", uid, "Archive")
			s.check(err)
			d.cheap(d.sync())
			d.same()
			d.quiet()
		},
	})
}
