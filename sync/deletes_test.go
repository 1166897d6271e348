package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

func TestDeletedHere(t *testing.T) {
	for name, c := range map[string]struct {
		policy conflict.Policy
		trash  bool
		inbox  int
		bin    int
	}{
		"to Trash":          {conflict.Policy{}, true, 2, 1},
		"expunged":          {conflict.Policy{OnLocalDelete: conflict.Expunge}, true, 2, 0},
		"kept":              {conflict.Policy{OnLocalDelete: conflict.Keep}, true, 3, 0},
		"no Trash":          {conflict.Policy{}, false, 3, 0},
		"Trash without \\T": {conflict.Policy{}, true, 2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			if !c.trash || strings.HasPrefix(name, "Trash without") {
				must(t, s.SetRole("Trash", mail.RoleNone))
			}
			d := newDevice(t, s)
			d.opts.Policy = always(c.policy)
			if strings.HasPrefix(name, "Trash without") {
				d.opts.Trash = "Trash"
			}
			d.sync()
			must(t, os.Remove(d.find("INBOX", "About read.")))
			d.sync()
			if n := len(s.Messages("INBOX")); n != c.inbox {
				t.Errorf("INBOX has %d messages, want %d", n, c.inbox)
			}
			if n := len(s.Messages("Trash")); n != c.bin {
				t.Errorf("Trash has %d messages, want %d", n, c.bin)
			}
			if n := len(d.files("Trash")); n != c.bin {
				t.Errorf("Trash has %d files, want %d", n, c.bin)
			}
			if n := len(d.files("INBOX")); n != 2 {
				t.Errorf("INBOX has %d files, want 2: what was removed stays removed", n)
			}
			d.quiet()
		})
	}
}

func TestDeletedFromTrashIsExpunged(t *testing.T) {
	s := account(t)
	s.Deliver("Trash", onWire(letter("old")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	must(t, os.Remove(d.find("Trash", "About old.")))
	d.sync()
	if n := len(s.Messages("Trash")); n != 0 {
		t.Errorf("Trash has %d messages", n)
	}
	d.quiet()
}

func TestDeletedOnTheServer(t *testing.T) {
	for name, c := range map[string]struct {
		policy conflict.Policy
		files  int
	}{
		"removed": {conflict.Policy{}, 2},
		"kept":    {conflict.Policy{OnRemoteDelete: conflict.KeepFile}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.opts.Policy = always(c.policy)
			d.sync()
			must(t, s.Expunge("INBOX", s.Messages("INBOX")[1].UID))
			d.sync()
			if n := len(d.files("INBOX")); n != c.files {
				t.Errorf("INBOX has %d files, want %d", n, c.files)
			}
			if n := len(s.Messages("INBOX")); n != 2 {
				t.Errorf("INBOX has %d messages, want 2: what was removed stays removed", n)
			}
			if c.files == 2 {
				kept := 0
				filepath.WalkDir(d.store, func(path string, e os.DirEntry, err error) error {
					if content, err := os.ReadFile(path); err == nil && string(content) == letter("read") {
						kept++
					}
					return nil
				})
				if kept != 1 {
					t.Errorf("the store of removed messages has the message %d times", kept)
				}
			}
			d.quiet()
		})
	}
}

// A file that is kept, and that a program gave another name altogether, is known by that
// from then on.
func TestWhatIsKeptUnderAnotherName(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.opts.Policy = always(conflict.Policy{OnRemoteDelete: conflict.KeepFile})
	d.sync()
	gone := s.Messages("INBOX")[1]
	must(t, s.Expunge("INBOX", gone.UID))
	must(t, os.Rename(d.find("INBOX", "About read."), filepath.Join(d.dir("INBOX"), "cur", "1.renamed.host:2,S")))
	d.sync()
	if n := len(d.files("INBOX")); n != 3 {
		t.Errorf("INBOX has %d files, want 3", n)
	}
	if n := len(s.Messages("INBOX")); n != 2 {
		t.Errorf("INBOX has %d messages, want 2: what was removed stays removed", n)
	}
	d.quiet()
}

func TestDeleteAgainstEdit(t *testing.T) {
	flagged, read := flags(`\Flagged`), flags(`\Answered`)
	for name, c := range map[string]struct {
		winner conflict.Winner
		edit   mail.Flags
		left   int
	}{
		"flagged is kept":           {conflict.KeepWins, flagged, 3},
		"answered is not":           {conflict.KeepWins, read, 2},
		"flagged, but delete wins":  {conflict.DeleteWins, flagged, 2},
		"answered, and delete wins": {conflict.DeleteWins, read, 2},
	} {
		t.Run(name+", deleted here", func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.opts.Policy = always(conflict.Policy{Winner: c.winner})
			d.sync()
			must(t, os.Remove(d.find("INBOX", "About read.")))
			must(t, s.AddFlags("INBOX", s.Messages("INBOX")[1].UID, c.edit))
			if rep := d.sync(); rep.Conflicts != 1 {
				t.Errorf("%d conflicts recorded, want 1", rep.Conflicts)
			}
			if n := len(d.files("INBOX")); n != c.left {
				t.Errorf("%d files are left, want %d", n, c.left)
			}
			d.inStep()
			d.quiet()
		})
		t.Run(name+", deleted there", func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.opts.Policy = always(conflict.Policy{Winner: c.winner})
			d.sync()
			letters := "S"
			if c.edit == flagged {
				letters = "FS"
			} else {
				letters = "RS"
			}
			d.rename(d.find("INBOX", "About read."), "cur", letters)
			must(t, s.Expunge("INBOX", s.Messages("INBOX")[1].UID))
			if rep := d.sync(); rep.Conflicts != 1 {
				t.Errorf("%d conflicts recorded, want 1", rep.Conflicts)
			}
			if n := len(s.Messages("INBOX")); n != c.left {
				t.Errorf("%d messages are left, want %d", n, c.left)
			}
			d.inStep()
			d.quiet()
		})
	}
}

func TestExpungePurgesWhatIsMarked(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.opts.Policy = always(conflict.Policy{ExpungeDeleted: true})
	d.sync()
	d.rename(d.find("INBOX", "About read."), "cur", "ST")
	must(t, s.AddFlags("Lists/go", s.Messages("Lists/go")[0].UID, flags(`\Deleted`)))
	d.sync()
	if n := len(s.Messages("INBOX")) + len(s.Messages("Lists/go")); n != 2 {
		t.Errorf("%d messages are left on the server, want 2", n)
	}
	d.inStep()
	d.quiet()
}

// withTwenty is a device in step with a server that has twenty messages in Archive, "old a" to
// "old t".
func withTwenty(t *testing.T) (*sim.Server, *device) {
	s := account(t)
	for i := range 20 {
		s.Deliver("Archive", onWire(letter("old "+string(rune('a'+i)))), flags(`\Seen`), day)
	}
	d := newDevice(t, s)
	d.sync()
	return s, d
}

// allow syncs with consent to the removals that are held in a folder.
func (d *device) allow(folder mail.Folder) {
	d.opts.AllowDeletes, d.opts.Only = true, []mail.Folder{folder}
	d.sync()
	d.opts.AllowDeletes, d.opts.Only = false, nil
}

func TestLargeDeletionsAreHeldUntilAllowed(t *testing.T) {
	s, d := withTwenty(t)
	must(t, os.RemoveAll(filepath.Join(d.dir("Archive"), "cur")))
	must(t, os.Mkdir(filepath.Join(d.dir("Archive"), "cur"), 0o700))
	d.put("INBOX", "1.other", letter("other"))
	rep := d.sync()
	if len(rep.Held) != 1 || rep.Held[0].Count != 20 || rep.Held[0].Folder != "Archive" {
		t.Errorf("held: %+v", rep.Held)
	}
	if n := len(s.Messages("Archive")); n != 20 {
		t.Errorf("%d messages are left of 20", n)
	}
	if rep.Remote.New != 1 {
		t.Errorf("the rest does not flow: %+v", rep)
	}
	if rep = d.sync(); len(rep.Held) != 1 || rep.Held[0].Count != 20 {
		t.Errorf("held in the next run: %+v", rep.Held)
	}
	d.quiet() // what waits costs nothing
	d.allow("Archive")
	if n := len(s.Messages("Trash")); n != 20 {
		t.Errorf("Trash has %d messages", n)
	}
	d.sync()
	d.inStep()
	d.quiet()
}

// A file is answered while its removal waits for consent: it goes with the others.
func TestWhatIsAnsweredWhileItsRemovalIsHeld(t *testing.T) {
	s, d := withTwenty(t)
	for _, m := range s.Messages("Archive") {
		must(t, s.Expunge("Archive", m.UID))
	}
	d.sync()
	d.rename(d.find("Archive", "About old c."), "cur", "RS")
	if rep := d.sync(); len(rep.Held) != 1 || rep.Held[0].Count != 20 {
		t.Errorf("held: %+v", rep.Held)
	}
	d.quiet()
	d.allow("Archive")
	d.has("Archive", 0)
	d.quiet()
}

// A reader flags files while the run that holds their removal brings something else: what it
// did is not forgotten. One that is flagged as important comes back on the server; of one
// that is answered the name is known when it may go.
func TestWhatIsFlaggedInTheRunThatHoldsIt(t *testing.T) {
	s, d := withTwenty(t)
	for _, m := range s.Messages("Archive") {
		must(t, s.Expunge("Archive", m.UID))
	}
	s.Deliver("Archive", onWire(letter("new")), flags(`\Seen`), day)
	s.Before = func(c sim.Call) error {
		if c.Method == "Fetch" {
			d.rename(d.find("Archive", "About old c."), "cur", "RS")
			d.rename(d.find("Archive", "About old d."), "cur", "FS")
			s.Before = nil
		}
		return nil
	}
	if rep := d.sync(); len(rep.Held) != 1 || rep.Held[0].Count != 20 {
		t.Errorf("held: %+v", rep.Held)
	}
	d.sync()
	if places := placesOf(s, "About old d."); len(places) != 1 {
		t.Errorf("the flagged message is there as %q", places)
	}
	d.allow("Archive")
	d.sync()
	d.has("Archive", 2)
	d.inStep()
	d.quiet()
}

func TestAMaildirWithoutItsInboxIsNoDeletion(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, os.RemoveAll(d.root))
	must(t, os.Mkdir(d.root, 0o700))
	_, err := d.run()
	if err == nil || !strings.Contains(err.Error(), "INBOX") {
		t.Errorf("sync of an emptied Maildir: %v", err)
	}
	if n := len(s.Messages("INBOX")); n != 3 {
		t.Errorf("%d messages are left on the server", n)
	}
}

// refusedExpunge syncs while the server refuses to expunge.
func (d *device) refusedExpunge() {
	d.t.Helper()
	d.server.Before = func(c sim.Call) error {
		if c.Method == "Expunge" {
			return mail.ErrRefused
		}
		return nil
	}
	defer func() { d.server.Before = nil }()
	d.run()
}

// A message that was removed here had moved on the server. It is copied to Trash there, and
// the server refuses to expunge it. It is no new one in the next run, but goes.
func TestWhatWasMovedThereAndRemovedHereAndRefused(t *testing.T) {
	s := account(t)
	s.Options.NoMove = true
	d := newDevice(t, s)
	d.opts.Policy = always(conflict.Policy{Winner: conflict.DeleteWins})
	d.sync()
	must(t, os.Remove(d.find("Lists/go", "About a list post.")))
	moveThere(s, "Lists/go", "About a list post.", "Archive")
	d.refusedExpunge()
	d.sync()
	d.has("Archive", 0)
	d.has("Trash", 1)
	d.sync()
	d.inStep()
	d.quiet()
}

// What the server has copied to Trash, and refused to expunge, is not copied there once more; also
// where it tells UIDNEXT only to who asks.
func TestARefusedRemovalIsInTrashOnce(t *testing.T) {
	for _, status := range []bool{true, false} {
		s := account(t)
		s.Options.NoMove, s.Options.NoStatus = true, !status
		d := newDevice(t, s)
		d.sync()
		must(t, os.Remove(d.find("Lists/go", "About a list post.")))
		d.refusedExpunge()
		d.sync()
		d.has("Lists/go", 0)
		d.has("Trash", 1)
		d.inStep()
	}
}

// Nor where somebody takes it out of Trash, or empties that, before the server lets the original go.
func TestARefusedRemovalWhoseCopyGoesOnIsInTrashOnce(t *testing.T) {
	for name, c := range map[string]struct {
		then    func(s *sim.Server, copy mail.UID)
		archive int
	}{
		"moved on": {func(s *sim.Server, copy mail.UID) { s.Move("Trash", copy, "Archive") }, 1},
		"emptied":  {func(s *sim.Server, copy mail.UID) { s.Expunge("Trash", copy) }, 0},
	} {
		for _, uidPlus := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", UIDPLUS ", uidPlus), func(t *testing.T) {
				s := account(t)
				s.Options.NoMove, s.Options.NoUIDPlus = true, !uidPlus
				d := newDevice(t, s)
				d.sync()
				must(t, os.Remove(d.find("Lists/go", "About a list post.")))
				s.Before = func(c sim.Call) error {
					if c.Method == "Expunge" || c.Method == "Store" {
						return mail.ErrRefused
					}
					return nil
				}
				d.run()
				s.Before = nil
				there := s.Messages("Trash")
				if len(there) != 1 {
					t.Fatalf("Trash has %s", short(censusOf(s, "Trash")))
				}
				c.then(s, there[0].UID)
				d.sync()
				d.sync()
				d.has("Trash", 0)
				d.has("Archive", c.archive)
				if uidPlus { // else it is marked, and left
					d.has("Lists/go", 0)
					d.inStep()
				}
				d.quiet()
			})
		}
	}
}
