package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
)

// three brings three messages into INBOX, on both sides, and gives their UIDs.
func (d *computer) three() map[string]mail.UID {
	d.Helper()
	uids := map[string]mail.UID{}
	for _, name := range []string{"one", "two", "three"} {
		uids[name] = d.deliver("INBOX", note(name), seen)
	}
	d.sync()
	return uids
}

func TestDeletedHere(t *testing.T) {
	stories(t, map[string]func(s *story){
		"it goes to the Trash folder that the server marks": func(s *story) {
			d := s.device("laptop")
			d.three()
			d.remove(d.find("INBOX", "two"))
			r := d.sync()
			if r.Remote.Removed != 1 || r.Local.Removed != 0 {
				s.Errorf("here %+v, on the server %+v", r.Local, r.Remote)
			}
			s.want("on the server", s.there("INBOX"), "one", "three")
			s.want("Trash", s.there("Trash"), "two")
			settle(d)
			d.same()
		},
		"out of Trash it is gone for ever": func(s *story) {
			d := s.device("laptop")
			s.deliver("Trash", note("rubbish"), seen)
			s.deliver("Trash", note("more rubbish"), seen)
			d.sync()
			d.remove(d.find("Trash", "rubbish"))
			d.sync()
			s.want("Trash", s.there("Trash"), "more rubbish")
			settle(d)
			d.same()
		},
		"the program has put a copy into Trash itself": func(s *story) {
			d := s.device("laptop")
			d.three()
			f := d.find("INBOX", "two")
			d.save("Trash", "cur", "9.a.host:2,S", f.text, f.date)
			d.remove(f)
			d.sync()
			s.want("on the server", s.there("INBOX"), "one", "three")
			s.want("Trash", s.there("Trash"), "two")
			settle(d)
			d.same()
		},
		"on_local_delete = expunge": func(s *story) {
			d := s.device("laptop", `on_local_delete = "expunge"`)
			uids := d.three()
			s.check(s.phone.AddFlags(s.Context(), "INBOX", uids["three"], mail.Flags{System: mail.Deleted}))
			d.sync()
			d.remove(d.find("INBOX", "two"))
			d.sync()
			// What others marked is none of ours to expunge.
			s.want("on the server", s.there("INBOX"), "one", "three")
			s.want("Trash", s.there("Trash"))
			settle(d)
			d.same()
		},
		"on_local_delete = keep": func(s *story) {
			d := s.device("laptop", `on_local_delete = "keep"`)
			d.three()
			d.remove(d.find("INBOX", "two"))
			d.sync()
			d.quiet()
			s.want("on the server", s.there("INBOX"), "one", "three", "two")
			s.want("Trash", s.there("Trash"))
			d.want("here", d.subjects("INBOX"), "one", "three")
		},
		"expunge = true purges what is marked": func(s *story) {
			d := s.device("laptop", "expunge = true")
			uids := d.three()
			d.reflag(d.find("INBOX", "two"), "ST")
			s.check(s.phone.AddFlags(s.Context(), "INBOX", uids["one"], mail.Flags{System: mail.Deleted}))
			d.sync()
			s.want("on the server", s.there("INBOX"), "three")
			d.want("here", d.subjects("INBOX"), "three")
			settle(d)
			d.same()
		},
		"large deletions wait for consent": func(s *story) {
			d := s.device("laptop")
			for i := range 24 {
				s.deliver("Archive", note(fmt.Sprint("letter ", i)), seen)
			}
			d.sync()
			for _, f := range d.files("Archive") {
				d.remove(f)
			}
			s.deliver("INBOX", note("meanwhile"), none)
			r := d.exits(1, "sync")
			if !strings.Contains(r.stderr, "alice: Archive: held: 24 messages") || !strings.Contains(r.stderr, "--allow-deletes alice:Archive") {
				s.Errorf("it said %q", r.stderr)
			}
			d.want("the rest flows", d.subjects("INBOX"), "meanwhile")
			if n := len(s.messages("Archive")); n != 24 {
				s.Errorf("%d of 24 are left on the server", n)
			}
			d.exits(1, "sync")
			d.exits(0, "sync", "--allow-deletes", "alice:Archive")
			if n := len(s.messages("Trash")); n != 24 || len(s.messages("Archive")) != 0 {
				s.Errorf("%d of 24 are in Trash", n)
			}
			settle(d)
			d.same()
		},
		"an emptied Maildir removes nothing": func(s *story) {
			d := s.device("laptop")
			d.three()
			s.check(os.RemoveAll(d.maildir))
			s.check(os.Mkdir(d.maildir, 0o700))
			d.exits(1, "sync")
			s.check(os.Remove(d.maildir))
			d.exits(1, "sync")
			s.want("on the server", s.there("INBOX"), "one", "three", "two")
		},
		"a folder that vanished with mail in it removes nothing": func(s *story) {
			d := s.device("laptop")
			s.deliver("Archive", note("kept"), seen)
			d.sync()
			s.check(os.RemoveAll(filepath.Join(d.maildir, "Archive")))
			if r := d.exits(1, "sync"); !strings.Contains(r.stderr, "alice: Archive: held") {
				s.Errorf("it said %q", r.stderr)
			}
			s.want("Archive", s.there("Archive"), "kept")
		},
	})
	t.Run("without marked folders", func(t *testing.T) {
		stories(t, map[string]func(s *story){
			"trash names the folder": func(s *story) {
				d := s.device("laptop", `trash = "Bin"`)
				d.three()
				d.remove(d.find("INBOX", "two"))
				d.sync()
				s.want("on the server", s.there("INBOX"), "one", "three")
				s.want("Bin", s.there("Bin"), "two")
				settle2(d)
				d.same()
				d.quiet()
			},
			"without a Trash it is marked, and that is said once": func(s *story) {
				d := s.device("laptop")
				d.three()
				d.remove(d.find("INBOX", "two"))
				r := d.sync()
				s.want("on the server", s.there("INBOX"), "one", "three", "two")
				if m := s.remote("INBOX", "two"); !m.Flags.Has(mail.Deleted) {
					s.Errorf("it has %v", m.Flags)
				}
				if len(r.Skipped) != 1 || r.Skipped[0].Folder != "INBOX" {
					s.Errorf("it said %v", r.Skipped)
				}
				if r := d.sync(); len(r.Skipped) != 0 {
					s.Errorf("it said again %v", r.Skipped)
				}
				d.quiet()
			},
		}, dovecot.NoRoles())
	})
}

func TestDeletedOnTheServer(t *testing.T) {
	stories(t, map[string]func(s *story){
		"it is removed here, and kept for a while": func(s *story) {
			d := s.device("laptop")
			uids := d.three()
			s.check(s.phone.Delete(s.Context(), "INBOX", uids["two"]))
			d.did(d.sync(), counts4{Removed: 1}, counts4{})
			d.same()
			kept := 0
			s.check(filepath.WalkDir(filepath.Join(filepath.Dir(d.config), "state", "alice", "removed"), func(path string, e os.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					if text, _ := os.ReadFile(path); string(text) == note("two") {
						kept++
					}
				}
				return err
			}))
			if kept != 1 {
				s.Errorf("the removed message is kept %d times", kept)
			}
			d.quiet()
		},
		"on_remote_delete = keep": func(s *story) {
			d := s.device("laptop", `on_remote_delete = "keep"`)
			uids := d.three()
			s.check(s.phone.Delete(s.Context(), "INBOX", uids["two"]))
			d.did(d.sync(), counts4{}, counts4{})
			d.want("here", d.subjects("INBOX"), "one", "three", "two")
			d.quiet()
			s.want("on the server", s.there("INBOX"), "one", "three")
		},
		"moved on the server": func(s *story) {
			d := s.device("laptop")
			uids := d.three()
			_, err := s.phone.Move(s.Context(), "INBOX", uids["two"], "Archive")
			s.check(err)
			d.sync()
			d.want("INBOX", d.subjects("INBOX"), "one", "three")
			d.want("Archive", d.subjects("Archive"), "two")
			settle(d)
			d.same()
		},
		"moved here": func(s *story) {
			d := s.device("laptop")
			d.three()
			f := d.find("INBOX", "two")
			s.check(os.Rename(f.path, filepath.Join(d.maildir, "Archive", "cur", "moved.a.host:2,FS")))
			d.sync()
			s.want("INBOX", s.there("INBOX"), "one", "three")
			s.want("Archive", s.there("Archive"), "two")
			s.want("Trash", s.there("Trash"))
			settle(d)
			d.same()
		},
		"all at once waits for consent": func(s *story) {
			d := s.device("laptop")
			for i := range 24 {
				s.deliver("Archive", note(fmt.Sprint("letter ", i)), seen)
			}
			d.sync()
			for _, m := range s.messages("Archive") {
				s.check(s.phone.Delete(s.Context(), "Archive", m.UID))
			}
			d.exits(1, "sync")
			if n := len(d.files("Archive")); n != 24 {
				s.Errorf("%d of 24 files are left", n)
			}
			d.exits(0, "sync", "--allow-deletes", "alice")
			if n := len(d.files("Archive")); n != 0 {
				s.Errorf("%d files are left", n)
			}
			settle(d)
			d.same()
		},
	})
}

func TestDeleteAgainstEdit(t *testing.T) {
	edits := func(policy string, flags mail.Flags, stays bool) map[string]func(s *story) {
		return map[string]func(s *story){
			"deleted here, edited there": func(s *story) {
				d := s.device("laptop", policy)
				uids := d.three()
				d.remove(d.find("INBOX", "two"))
				s.check(s.phone.AddFlags(s.Context(), "INBOX", uids["two"], flags))
				r := d.sync()
				if stays {
					d.want("here", d.subjects("INBOX"), "one", "three", "two")
					s.want("on the server", s.there("INBOX"), "one", "three", "two")
				} else {
					d.want("here", d.subjects("INBOX"), "one", "three")
					s.want("on the server", s.there("INBOX"), "one", "three")
					s.want("Trash", s.there("Trash"), "two")
				}
				if r.Conflicts != 1 {
					s.Errorf("%d conflicts", r.Conflicts)
				}
				settle(d)
				d.same()
			},
			"edited here, deleted there": func(s *story) {
				d := s.device("laptop", policy)
				uids := d.three()
				letters := map[mail.System]string{mail.Flagged: "FS", mail.Answered: "RS"}
				d.reflag(d.find("INBOX", "two"), letters[flags.System])
				s.check(s.phone.Delete(s.Context(), "INBOX", uids["two"]))
				d.sync()
				if stays {
					s.want("on the server", s.there("INBOX"), "one", "three", "two")
					if m := s.remote("INBOX", "two"); !m.Flags.Has(mail.Flagged | mail.Seen) {
						s.Errorf("it came back with %v", m.Flags)
					}
				} else {
					s.want("on the server", s.there("INBOX"), "one", "three")
				}
				settle(d)
				d.same()
			},
		}
	}
	for name, c := range map[string]struct {
		policy string
		flags  mail.Flags
		stays  bool
	}{
		"keep, newly flagged":   {`conflict = "keep"`, flagged, true},
		"keep, only answered":   {`conflict = "keep"`, answered, false},
		"delete, newly flagged": {`conflict = "delete"`, flagged, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stories(t, edits(c.policy, c.flags, c.stays))
		})
	}
}
