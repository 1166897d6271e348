package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
)

// TestServersThatRewriteMail: some give back other bytes than they were sent (Proton
// Bridge, WildDuck), or announce sizes that no body has (Exchange). The file stays as
// it is, and so does what the server has; neither travels again.
func TestServersThatRewriteMail(t *testing.T) {
	for name, opts := range map[string]imaptest.Options{
		"a field more": {Keep: func(_ mail.Folder, raw []byte) ([]byte, error) {
			return append([]byte("X-Server: was here\r\n"), raw...), nil
		}},
		"a text less": {Keep: func(_ mail.Folder, raw []byte) ([]byte, error) {
			return bytes.ReplaceAll(raw, []byte("The text of "), nil), nil
		}},
		"other bytes of the same size": {Keep: func(_ mail.Folder, raw []byte) ([]byte, error) {
			return bytes.ReplaceAll(raw, []byte("text"), []byte("TEXT")), nil
		}},
		"sizes that lie": {SizeError: 7},
		"all of that, and no UIDs": {SizeError: -3, Without: []string{"UIDPLUS"}, Keep: func(_ mail.Folder, raw []byte) ([]byte, error) {
			return append([]byte("X-Server: was here\r\n"), bytes.ReplaceAll(raw, []byte("text"), []byte("TEXT"))...), nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, server := embeddedWith(t, opts)
			rewritten(s, server)
		})
	}
}

func rewritten(s *story, server *imaptest.Server) {
	d, second := s.device("laptop"), s.device("desktop")
	s.deliver("INBOX", note("theirs"), seen)
	d.sync()
	unnamed := strings.Replace(note("unnamed"), "Message-ID", "X-Number", 1)
	mine := []string{note("mine"), unnamed, note("twin"), note("twin"), note("version") + "One.\n", note("version") + "Two.\n"}
	for i, text := range mine {
		// Twins have one date, and versions have several.
		d.save("INBOX", "cur", "mine"+string(rune('0'+i))+":2,S", text, then.Add(time.Duration(i/2*i)*time.Hour))
	}
	d.did(d.sync(), counts4{}, counts4{New: len(mine)})
	here, there := d.texts("INBOX"), s.messages("INBOX")
	// rest checks that nothing more comes or goes.
	rest := func(what string, d *computer) {
		s.Helper()
		r := d.sync()
		if r.Local != (accountReport{}).Local || r.Remote != (accountReport{}).Remote {
			d.Errorf("%s: %s: it did %+v here and %+v on the server", d.name, what, r.Local, r.Remote)
		}
		if n := len(s.messages("INBOX")); n != len(there) {
			s.Errorf("%s: %s: the server has %d messages, and had %d", d.name, what, n, len(there))
		}
	}

	rest("nothing new", d)
	second.did(second.sync(), counts4{New: len(there)}, counts4{})
	var files []string
	for _, m := range there {
		files = append(files, onDisk(string(m.Raw)))
	}
	equalTexts(s, "on the second device", second.texts("INBOX"), files)
	rest("nothing new", second)
	d.loseState()
	rest("its state was lost", d)
	second.loseState()
	rest("its state was lost", second)
	s.check(server.Renumber("INBOX"))
	rest("the server numbers anew", d)
	rest("the server numbers anew", second)
	equalTexts(s, "here", d.texts("INBOX"), here)
	equalTexts(s, "on the second device", second.texts("INBOX"), files)

	// What was paired is one message.
	for _, m := range s.messages("INBOX") {
		s.check(s.phone.AddFlags(s.Context(), "INBOX", m.UID, flagged))
	}
	d.did(d.sync(), counts4{Flags: len(there)}, counts4{})
	for _, f := range d.files("INBOX") {
		if !f.flags.Has(mail.Flagged) {
			d.Errorf("the flag did not reach %q", f.text)
		}
	}
}

// TestRewrittenMailIsChangedOnBothSides: what the server has rewritten is moved, edited,
// removed and brought back like any other message.
func TestRewrittenMailIsChangedOnBothSides(t *testing.T) {
	for name, opts := range map[string]imaptest.Options{
		"a field more": {Keep: func(_ mail.Folder, raw []byte) ([]byte, error) {
			return append([]byte("X-Server: was here\r\n"), raw...), nil
		}},
		"and sizes that lie, and no UIDs": {SizeError: 5, Without: []string{"UIDPLUS"}, Keep: func(_ mail.Folder, raw []byte) ([]byte, error) {
			return append([]byte("X-Server: was here\r\n"), raw...), nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := embeddedWith(t, opts)
			laptop, desktop := s.device("laptop"), s.device("desktop")
			s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
			both := func() {
				s.Helper()
				for range 2 {
					laptop.sync()
					desktop.sync()
				}
				laptop.rests()
				desktop.rests()
				for _, folder := range []mail.Folder{"INBOX", "Archive", "Work", "Trash"} {
					var there []string
					for _, m := range s.messages(folder) {
						if !m.Flags.Has(mail.Deleted) {
							there = append(there, subject(string(m.Raw)))
						}
					}
					slices.Sort(there)
					for _, d := range []*computer{laptop, desktop} {
						d.want(string(folder)+" of the "+d.name, d.live(folder), there...)
					}
				}
			}
			both()
			for i, m := range []string{"moved here", "moved there", "removed here", "removed there", "edited"} {
				laptop.save("INBOX", "cur", "1."+strconv.Itoa(i)+":2,S", note(m), then)
			}
			both()

			here := laptop.find("INBOX", "moved here")
			s.check(os.Rename(here.path, filepath.Join(laptop.maildir, "Archive", "cur", filepath.Base(here.path))))
			_, err := s.phone.Move(s.Context(), "INBOX", s.remote("INBOX", "moved there").UID, "Work")
			s.check(err)
			laptop.remove(laptop.find("INBOX", "removed here"))
			s.check(s.phone.Delete(s.Context(), "INBOX", s.remote("INBOX", "removed there").UID))
			edited := laptop.find("INBOX", "edited")
			laptop.save("INBOX", "cur", "2.edited:2,S", edited.text+"More of it.\n", then)
			laptop.remove(edited)
			// What it puts into Trash comes back from there, as new mail of that folder.
			laptop.did(laptop.sync(), counts4{New: 2, Removed: 1, Moved: 1}, counts4{New: 1, Removed: 2, Moved: 1})
			both()
			s.purge("INBOX")
			both()
			s.want("INBOX", s.there("INBOX"), "edited")
			s.want("Archive", s.there("Archive"), "moved here")
			s.want("Work", s.there("Work"), "moved there")
			s.want("Trash", s.there("Trash"), "edited", "removed here")
			if f := laptop.only("INBOX"); f.text != edited.text+"More of it.\n" {
				t.Errorf("the edited message is %q", f.text)
			}
		})
	}
}

// live are the subjects of the messages in a folder that are not marked \Deleted.
func (d *computer) live(folder mail.Folder) []string {
	d.Helper()
	var all []string
	for _, f := range d.files(folder) {
		if !f.flags.Has(mail.Deleted) {
			all = append(all, subject(f.text))
		}
	}
	slices.Sort(all)
	return all
}
