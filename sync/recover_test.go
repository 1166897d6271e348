package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// dieAt syncs until the process dies at the first step of that name.
func (d *device) dieAt(step string) {
	d.t.Helper()
	c := sim.NewCrash(0)
	c.Strike = func(when, effect string) error {
		if when+" "+effect == step {
			return sim.ErrCrashed
		}
		return nil
	}
	d.crash = c
	d.run()
	if d.crash = nil; !c.Crashed() {
		d.t.Fatalf("no step is %q", step)
	}
}

// failRecord syncs, and the first commit after an effect fails, as on a full disk.
func (d *device) failRecord(effect string) {
	d.t.Helper()
	d.opts.Connections = 1 // one effect after the other
	defer func() { d.opts.Connections = 0 }()
	c := sim.NewCrash(0)
	done, failed := false, false
	c.Strike = func(when, name string) error {
		done = done || name == effect && when == "after"
		if done && !failed && name == "State.Commit" {
			failed = true
			return mail.ErrNoSpace
		}
		return nil
	}
	d.crash = c
	d.run()
	if d.crash = nil; !failed {
		d.t.Fatalf("no commit follows %s", effect)
	}
}

// moveHere moves a file as programs do that give it a name of their own.
func (d *device) moveHere(path string, to mail.Folder, name string) string {
	target := filepath.Join(d.dir(to), "cur", name)
	must(d.t, os.Rename(path, target))
	tick(d.t, d.root)
	return target
}

// The power goes while a message is put into its place, and the disk has it in tmp/, too;
// then somebody moves it. It is moved on the server, and not there twice.
func TestADownloadUnderTwoNames(t *testing.T) {
	for _, power := range []bool{false, true} {
		s := account(t)
		d := newDevice(t, s)
		d.sync()
		s.Deliver("Archive", onWire(letter("downloaded")), flags(`\Seen`), day)
		d.dieAt("before Local.SyncFolder")
		path := d.find("Archive", "About downloaded.")
		if key, _, _ := strings.Cut(filepath.Base(path), ":"); power {
			must(t, os.Link(path, filepath.Join(d.dir("Archive"), "tmp", key)))
		}
		d.moveHere(path, "Lists", "1.other:2,S")
		noBodies(t, s)
		d.sync()
		d.has("Archive", 0)
		d.has("Lists", 1)
		d.inStep()
		d.quiet()
	}
}

// What was downloaded, as a link to what is here, has another name for good.
func TestALinkedDownloadIsNotUnderTwoNames(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	s.Copy("INBOX", s.Messages("INBOX")[1].UID, "Archive")
	d.dieAt("before Local.Publish")
	d.moveHere(d.find("INBOX", "About read."), "Lists", "1.other:2,S")
	d.sync()
	d.has("Archive", 1)
	d.has("Lists", 1)
	d.has("Trash", 0)
	d.inStep()
	d.quiet()
}

// A move here is cut short by the power, and the disk has the file in both places; and then
// the message moves on. The file goes where it is, once; also if its upload was not recorded.
func TestAMoveUnderTwoNames(t *testing.T) {
	for _, known := range []bool{false, true} {
		for _, on := range []mail.Folder{"Archive", "Lists", "Lists/go"} {
			t.Run(fmt.Sprint(known, " ", on), func(t *testing.T) {
				s := account(t)
				d := newDevice(t, s)
				d.sync()
				d.put("Archive", "1.other:2,S", letter("moved"))
				if known {
					d.sync()
				} else {
					d.dieAt("after Remote.Append")
				}
				was := d.find("Archive", "About moved.")
				moveThere(s, "Archive", "About moved.", "Lists")
				d.dieAt("after Local.Move")
				must(t, os.Link(d.find("Lists", "About moved."), was))
				tick(t, d.root)
				moveThere(s, "Lists", "About moved.", on)
				d.sync()
				d.sync()
				if places := placesOf(s, "About moved."); len(places) != 1 {
					t.Errorf("the message is there as %q", places)
				}
				d.inStep()
				d.quiet()
			})
		}
	}
}

// ... and then a program moves the file on, by the name that it had before. It ends where
// the server has it, as whatever moves on both sides does, and once.
func TestAMoveUnderTwoNamesThatAProgramMovesOn(t *testing.T) {
	for _, key := range []string{"1.other", "2.other"} {
		for _, on := range []mail.Folder{"Lists", "Lists/go", "INBOX"} {
			t.Run(fmt.Sprint(key, " ", on), func(t *testing.T) {
				s := account(t)
				d := newDevice(t, s)
				d.sync()
				d.put("Archive", "1.other:2,S", letter("moved"))
				d.sync()
				was := d.find("Archive", "About moved.")
				moveThere(s, "Archive", "About moved.", "Lists")
				d.dieAt("after Local.Move")
				must(t, os.Link(d.find("Lists", "About moved."), was))
				d.moveHere(was, on, key+":2,S")
				noBodies(t, s)
				d.sync()
				d.sync()
				if places := placesOf(s, "About moved."); !slices.Equal(places, []string{`Lists \Seen`}) {
					t.Errorf("the message is there as %q", places)
				}
				d.inStep()
				d.quiet()
			})
		}
	}
}

// A download that was not recorded was moved, and copied back: it is not fetched again.
func TestALandingThatWasCopiedAndMoved(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	s.Deliver("Archive", onWire(letter("downloaded")), flags(`\Seen`), day)
	d.dieAt("before Local.SyncFolder")
	path := d.moveHere(d.find("Archive", "About downloaded."), "Lists", "1.other:2,S")
	text, err := os.ReadFile(path)
	must(t, err)
	d.put("Archive", "2.other:2,S", string(text))
	d.sync()
	d.has("Archive", 1)
	d.has("Lists", 1)
	d.inStep()
	d.quiet()
}

// Where the server has no MOVE, a run dies when a message is copied to where its file is,
// and another device moves the copy on, or back. The file follows, and the original goes.
func TestACopyThatMovesOnBeforeItsOriginalGoes(t *testing.T) {
	for _, step := range []string{"after Remote.Copy", "before Remote.Expunge", "the record of the copy"} {
		for _, on := range []mail.Folder{"Archive", "Lists/go", "INBOX"} {
			t.Run(step+" "+string(on), func(t *testing.T) {
				s := account(t)
				s.Options.NoMove = true
				s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
				d := newDevice(t, s)
				d.sync()
				d.moveHere(d.find("Archive", "About moved."), "Lists", "1.other:2,S")
				if step == "the record of the copy" {
					d.failRecord("Remote.Copy")
				} else {
					d.dieAt(step)
				}
				moveThere(s, "Lists", "About moved.", on)
				d.sync()
				d.sync()
				var at []mail.Folder
				for _, folder := range s.Folders() {
					for _, text := range censusOf(s, folder) {
						if strings.Contains(text, "About moved.") {
							at = append(at, folder)
						}
					}
				}
				if !slices.Equal(at, []mail.Folder{on}) {
					t.Errorf("the message is in %q, want %s", at, on)
				}
				d.inStep()
				d.quiet()
			})
		}
	}
}

// A message is removed on the server, and the run is killed at any step of removing its file; then
// the server is restored to what it was before, and all it says is what base knows. It was no person
// who has removed the file.
func TestAServerThatIsRestoredWhileAFileIsRemoved(t *testing.T) {
	for step := 1; ; step++ {
		s := account(t)
		uid := s.Deliver("Lists", onWire(letter("restored")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.sync()
		before := s.Snapshot()
		must(t, s.Expunge("Lists", uid))
		steps := len(d.dies(step))
		s.Restore(before)
		for range 2 {
			d.sync()
		}
		d.once("About restored.")
		d.has("Trash", 0)
		d.inStep()
		if t.Failed() {
			t.Logf("killed at step %d", step)
		}
		if steps < step {
			break
		}
	}
}
