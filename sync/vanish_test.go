package sync_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

func (d *device) hasFolder(folder mail.Folder) bool {
	_, err := os.Stat(d.dir(folder) + "/cur")
	return err == nil
}

// A run stops while it removes a folder that others lie in, and its state is lost: the next
// one ends that, or makes the folder again if the server has it by then.
func TestHalfAFolderThatNobodyKnows(t *testing.T) {
	for name, back := range map[string]bool{"still gone there": false, "there again": true} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.sync()
			must(t, s.DeleteFolder("Lists"))
			must(t, os.Mkdir(d.dir("Lists/.mailtwin-unfinished"), 0o700))
			must(t, os.Remove(d.dir("Lists/new")))
			d.state = sim.NewState()
			if back {
				must(t, s.CreateFolder("Lists"))
			}
			d.sync()
			if _, err := os.Stat(d.dir("Lists/.mailtwin-unfinished")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is still unfinished: %v", err)
			}
			if d.hasFolder("Lists") != back || slices.Contains(s.Folders(), "Lists") != back {
				t.Errorf("here %v, on the server %v, want %v", d.hasFolder("Lists"), s.Folders(), back)
			}
			d.inStep()
			d.quiet()
		})
	}
}

func TestAnEmptyFolderThatIsGoneFollows(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, os.RemoveAll(d.dir("Archive")))
	must(t, s.DeleteFolder("Lists"))
	d.sync()
	if slices.Contains(s.Folders(), "Archive") {
		t.Error("Archive is still on the server")
	}
	if d.hasFolder("Lists") {
		t.Error("Lists is still here")
	}
	if !d.hasFolder("Lists/go") || !slices.Contains(s.Folders(), "Lists/go") {
		t.Error("what lay in Lists is gone, too")
	}
	d.sync()
	d.inStep()
	d.quiet()
}

// A run stops when it has removed a folder that another one lies in, before it has recorded that,
// and somebody moves the other one away: the directory that is left goes, too, and is no damage.
func TestARemovedFolderIsLeftByTheOneInsideIt(t *testing.T) {
	for name, then := range map[string]func(d *device){
		"by a program": func(d *device) { must(d.t, os.Rename(d.dir("Lists/go"), d.dir("go"))) },
		"by a phone":   func(d *device) { must(d.t, d.server.RenameFolder("Lists/go", "go")) },
		"and another one gets its name": func(d *device) {
			must(d.t, os.Rename(d.dir("Lists/go"), d.dir("go")))
			must(d.t, d.server.RenameFolder("Archive", "Lists"))
		},
		"by nobody, and another one gets its name": func(d *device) { must(d.t, d.server.RenameFolder("Archive", "Lists")) },
		"by nobody": func(*device) {},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.sync()
			must(t, s.DeleteFolder("Lists"))
			d.dieAt("after Local.RemoveFolder")
			then(d)
			d.sync()
			d.inStep()
			if _, err := os.Stat(d.dir("Lists/.mailtwin-unfinished")); err == nil {
				t.Error("Lists is still unfinished")
			}
			if _, err := os.Stat(d.dir("Lists")); err == nil && !d.hasFolder("Lists") && !d.hasFolder("Lists/go") {
				t.Error("a bare directory is left")
			}
			d.quiet()
		})
	}
}

func TestRemoveFoldersNoneLetsThemStay(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.opts.RemoveLocal, d.opts.RemoveRemote = false, false
	d.sync()
	must(t, os.RemoveAll(d.dir("Archive")))
	rep := d.sync()
	if !slices.Contains(s.Folders(), "Archive") || len(rep.Held) > 0 || len(rep.Skipped) != 1 {
		t.Errorf("folders %v, report %+v", s.Folders(), rep)
	}
	if !slices.Equal(rep.Behind, []mail.Folder{"Archive"}) {
		t.Errorf("behind are %q", rep.Behind)
	}
}

// A folder that still holds mail waits for a person, and everything else flows.
func TestAVanishedFolderWithMailIsHeld(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(d *device)
		side mail.Side
	}{
		"here":          {func(d *device) { must(d.t, os.RemoveAll(d.dir("Lists/go"))) }, mail.Local},
		"on the server": {func(d *device) { must(d.t, d.server.DeleteFolder("Lists/go")) }, mail.Remote},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			s.Deliver("Lists/go", onWire(letter("another post")), mail.Flags{}, day)
			d := newDevice(t, s)
			d.sync()
			c.lose(d)
			s.Deliver("INBOX", onWire(letter("flows")), mail.Flags{}, day)
			for range 2 {
				rep := d.sync()
				if len(rep.Held) != 1 || rep.Held[0].Side != c.side || rep.Held[0].Count != 2 || !slices.Equal(rep.Behind, []mail.Folder{"Lists/go"}) {
					t.Fatalf("held: %+v, behind: %q", rep.Held, rep.Behind)
				}
			}
			d.inStep2(t, "INBOX")
			if c.side == mail.Local && len(s.Messages("Lists/go")) != 2 || c.side == mail.Remote && len(d.files("Lists/go")) != 2 {
				t.Fatal("its messages are gone")
			}
			d.allow("Lists/go")
			d.sync()
			if d.hasFolder("Lists/go") || slices.Contains(s.Folders(), "Lists/go") {
				t.Errorf("it is still there: here %v, server %v", d.hasFolder("Lists/go"), s.Folders())
			}
			if c.side == mail.Local {
				if n := len(s.Messages("Trash")); n != 2 {
					t.Errorf("Trash has %d of its messages", n)
				}
			} else if n := d.stored(); n != 2 {
				t.Errorf("the store of removed messages has %d of its messages", n)
			}
			d.inStep()
			d.quiet()
		})
	}
}

// Somebody moves what is in a folder and then removes the folder: the files follow, and the
// folder goes once it is empty, unasked. What is found nowhere is held, as ever.
func TestMailThatLeftAFolderBeforeThatWasRemoved(t *testing.T) {
	for _, stays := range []bool{false, true} {
		s := account(t)
		s.Deliver("Lists/go", onWire(letter("another post")), mail.Flags{}, day)
		d := newDevice(t, s)
		d.sync()
		moveThere(s, "Lists/go", "About a list post.", "Archive")
		if !stays {
			moveThere(s, "Lists/go", "About another post.", "INBOX")
		}
		must(t, s.DeleteFolder("Lists/go"))
		noBodies(t, s)
		rep := d.sync()
		d.inStep2(t, "Archive")
		d.inStep2(t, "INBOX")
		if len(d.files("Archive")) != 1 {
			t.Errorf("Archive has %d files", len(d.files("Archive")))
		}
		if stays {
			if len(rep.Held) != 1 || rep.Held[0].Count != 1 || len(d.files("Lists/go")) != 1 {
				t.Errorf("held: %+v", rep.Held)
			}
			continue
		}
		if len(rep.Held) > 0 || d.hasFolder("Lists/go") {
			t.Errorf("held: %+v", rep.Held)
		}
		d.inStep()
		d.quiet() // what lies around the folder has another time, and was scanned already
	}
}

// Somebody moves what is in a folder on the server and then removes the folder, and its file
// was moved here meanwhile, to another one: it goes where the server has it.
func TestMailThatLeftAFolderOnBothSidesBeforeThatWasRemoved(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.moveHere(d.find("Lists/go", "About a list post."), "Archive", "1.other:2,R")
	moveThere(s, "Lists/go", "About a list post.", "INBOX")
	must(t, s.DeleteFolder("Lists/go"))
	noBodies(t, s)
	d.sync()
	d.once("About a list post.")
	d.has("Archive", 0)
	d.has("INBOX", 4)
	d.allow("Lists/go")
	d.sync()
	d.inStep()
	d.quiet()
}

// Somebody moves what is in a folder here and then removes the folder: the messages follow,
// nothing is uploaded, and the folder goes once it is empty, unasked. What is found nowhere is
// held, as ever.
func TestFilesThatLeftAFolderBeforeThatWasRemoved(t *testing.T) {
	for name, c := range map[string]struct {
		stays, noMove bool
		killed        string
	}{
		"all of them": {}, "one stays": {stays: true}, "no MOVE": {noMove: true},
		"killed": {killed: "after Remote.Move"}, "killed between COPY and expunge": {noMove: true, killed: "before Remote.Expunge"},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			s.Options.NoMove = c.noMove
			s.Deliver("Lists/go", onWire(letter("another post")), mail.Flags{}, day)
			d := newDevice(t, s)
			d.sync()
			d.moveHere(d.find("Lists/go", "About a list post."), "Archive", "1.other:2,R")
			if !c.stays {
				d.moveHere(d.find("Lists/go", "About another post."), "INBOX", "2.other:2,S")
			}
			must(t, os.RemoveAll(d.dir("Lists/go")))
			if c.killed != "" {
				d.dieAt(c.killed)
			}
			rep := d.sync()
			if c.killed != "" { // what has left the folder is left of it, for base
				d.opts.AllowDeletes, d.opts.Only = true, []mail.Folder{"Lists/go"}
				rep = d.sync()
				d.opts.AllowDeletes, d.opts.Only = false, nil
			}
			d.once("About a list post.")
			d.once("About another post.")
			d.inStep2(t, "Archive")
			d.inStep2(t, "INBOX")
			if rep.Remote.New > 0 || len(s.Messages("Archive")) != 1 || len(s.Messages("Trash")) > 0 {
				t.Errorf("%+v, and Archive has %d messages", rep.Remote, len(s.Messages("Archive")))
			}
			if c.stays {
				if len(rep.Held) != 1 || rep.Held[0].Count != 1 || len(s.Messages("Lists/go")) != 1 {
					t.Errorf("held: %+v", rep.Held)
				}
				return
			}
			if len(rep.Held) > 0 || slices.Contains(s.Folders(), "Lists/go") {
				t.Errorf("held: %+v", rep.Held)
			}
			d.sync()
			d.inStep()
			d.quiet()
		})
	}
}

// The same, and somebody moved a message elsewhere on the server meanwhile: that stands.
func TestFilesThatLeftAFolderOnBothSidesBeforeThatWasRemoved(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.moveHere(d.find("Lists/go", "About a list post."), "Archive", "1.other:2,R")
	must(t, os.RemoveAll(d.dir("Lists/go")))
	moveThere(s, "Lists/go", "About a list post.", "INBOX")
	d.sync()
	d.once("About a list post.")
	d.has("Archive", 0)
	d.has("INBOX", 4)
}

// A folder that never had mail follows although the server has numbered it anew.
func TestAnEmptyFolderThatIsGoneAndWasRenumbered(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, os.RemoveAll(d.dir("Archive")))
	s.ChangeUIDValidity("Archive")
	if rep := d.sync(); len(rep.Held) > 0 || slices.Contains(s.Folders(), "Archive") {
		t.Errorf("held: %+v, folders: %v", rep.Held, s.Folders())
	}
	d.inStep()
	d.quiet()
}

// A run stops after it has removed a file whose message was removed, and then its folder is
// removed there: nothing is left of it, and nobody is asked.
func TestAFolderThatGoesAfterItsLastFileWasRemoved(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, s.Expunge("Lists/go", s.Messages("Lists/go")[0].UID))
	d.dieAt("after Local.Remove")
	must(t, s.DeleteFolder("Lists/go"))
	if rep := d.sync(); len(rep.Held) > 0 || d.hasFolder("Lists/go") {
		t.Errorf("held: %+v", rep.Held)
	}
	d.inStep()
	d.quiet()
}

// A run stops while it removes a folder, and somebody saves a message there: the folder is whole
// again, and goes to the server with that.
func TestAHalfRemovedFolderThatGainsMail(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, s.DeleteFolder("Archive"))
	must(t, os.Mkdir(d.dir("Archive/.mailtwin-unfinished"), 0o700))
	must(t, os.Remove(d.dir("Archive/new")))
	d.put("Archive", "1.new:2,S", letter("saved there"))
	if rep := d.sync(); len(rep.Skipped) != 1 || rep.Skipped[0].Folder != "Archive" {
		t.Errorf("said: %+v", rep.Skipped)
	}
	d.sync()
	d.has("Archive", 1)
	d.inStep()
	d.quiet()
}

// A file is moved to a folder that is gone on the server, and held for what it has: its message
// stays where it is, and moves when the folder is made again.
func TestAFileThatMovesToAFolderThatIsHeld(t *testing.T) {
	s := account(t)
	s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	must(t, s.DeleteFolder("Lists/go"))
	d.moveHere(d.find("Archive", "About moved."), "Lists/go", "1.other:2,RS")
	for range 2 {
		if rep := d.sync(); len(rep.Held) != 1 || rep.Remote.Removed > 0 {
			t.Errorf("held: %+v, removed: %d", rep.Held, rep.Remote.Removed)
		}
	}
	if places := placesOf(s, "About moved."); len(places) != 1 || places[0] != `Archive \Seen` {
		t.Errorf("it is there as %q", places)
	}
	must(t, s.CreateFolder("Lists/go"))
	d.sync()
	d.once("About moved.")
	d.has("Archive", 0)
	d.inStep()
	d.quiet()
}

// ... and its message gets a flag meanwhile: that waits as well, and no run tries to give it to a
// file that is not there.
func TestAFlagOfAFileThatMovedToAFolderThatIsHeld(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	must(t, s.DeleteFolder("Lists/go"))
	d.moveHere(d.find("Archive", "About moved."), "Lists/go", "1.other:2,RS")
	d.sync()
	must(t, s.AddFlags("Archive", uid, flags(`\Flagged`)))
	d.sync()
	d.crash = sim.NewCrash(0)
	d.sync()
	if n := d.crash.Steps(); n > 0 {
		t.Errorf("one more sync has effects: %v", d.crash.Names())
	}
	d.crash = nil
	must(t, s.CreateFolder("Lists/go"))
	d.sync()
	d.once("About moved.")
	d.has("Archive", 0)
	d.inStep()
	if places := placesOf(s, "About moved."); len(places) != 1 || places[0] != `Lists/go \Flagged \Answered \Seen` {
		t.Errorf("it is there as %q", places)
	}
	d.quiet()
}

// A folder is gone on the server and held, by a device whose files are kept, and another device makes
// it again: what the first one has kept is new mail there, since nobody can tell whether it was
// removed or the server has lost it.
func TestAFolderThatIsHeldSinceFilesAreKeptAndMadeAgain(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.opts.Policy = always(conflict.Policy{OnRemoteDelete: conflict.KeepFile})
	d.sync()
	must(t, s.DeleteFolder("Lists/go"))
	if rep := d.sync(); len(rep.Held) != 1 {
		t.Fatalf("held: %+v", rep.Held)
	}
	must(t, s.CreateFolder("Lists/go"))
	if rep := d.sync(); len(rep.Held) > 0 || rep.Remote.New != 1 {
		t.Errorf("held: %+v, new on the server: %d", rep.Held, rep.Remote.New)
	}
	d.once("About a list post.")
	d.inStep()
	d.quiet()
}

// stored counts the messages in the store of removed ones.
func (d *device) stored() int {
	n := 0
	must(d.t, fs.WalkDir(os.DirFS(d.store), ".", func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			n++
		}
		return err
	}))
	return n
}

// A folder that a person let go, and that has got new mail meanwhile, keeps that.
func TestAVanishedFolderThatGainedMailStays(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, os.RemoveAll(d.dir("Lists/go")))
	s.Deliver("Lists/go", onWire(letter("just came")), mail.Flags{}, day)
	d.allow("Lists/go")
	d.sync()
	if n := len(s.Messages("Lists/go")); n != 1 {
		t.Errorf("%d messages are left in it", n)
	}
	d.inStep()
	d.quiet()
}

// A folder is removed on the server, and somebody saves a message into it here while it follows,
// which a crash interrupts: the next run makes it a folder again, on both sides, with the message.
func TestAFolderThatGetsMailWhenItIsHalfRemoved(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.put("Archive", "1.saved:2,S", letter("saved"))
	must(t, os.Mkdir(filepath.Join(d.dir("Archive"), ".mailtwin-unfinished"), 0o700))
	must(t, os.Remove(filepath.Join(d.dir("Archive"), "tmp")))
	must(t, os.Remove(filepath.Join(d.dir("Archive"), "new")))
	must(t, s.DeleteFolder("Archive"))
	if rep := d.sync(); rep.Remote.New != 1 || len(rep.Skipped) != 1 {
		t.Errorf("report: %+v", rep)
	}
	d.has("Archive", 1)
	d.inStep()
	d.quiet()
}
