package sync_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// A message is copied on the server while the server refuses what was changed of it here, so
// that the run does not read its folder once more. Then somebody removes the copy, and moves the
// message to where that was: its file goes there, too, with what was changed.
func TestAMessageThatTakesThePlaceOfItsCopy(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Lists", onWire(letter("copied")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	d.rename(d.find("Lists", "About copied."), "cur", "RS")
	copied := s.Copy("Lists", uid, "Archive")
	s.Before = func(call sim.Call) error {
		if call.Method == "Store" {
			return mail.ErrRefused
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 {
		t.Fatalf("%v, %v", err, rep.Problems)
	}
	s.Before = nil
	d.has("Archive", 1)
	must(t, s.Expunge("Archive", copied))
	s.Move("Lists", uid, "Archive")
	d.sync()
	d.once("About copied.")
	if got, want := s.Messages("Archive")[0].Flags, flags(`\Seen`, `\Answered`); !got.Equal(want) {
		t.Errorf("it has %v, want %v", got, want)
	}
	d.inStep()
	d.quiet()
}

// A message is moved on twice on the server, and for a moment it is in all three folders, or in
// two while it has left the first. It is one message still, whatever is done here meanwhile with
// the file of the folder in the middle, and also if the run dies before it has looked again.
func TestAMessageThatIsMovedOnWhileItMoves(t *testing.T) {
	for name, act := range map[string]func(d *device, path string){
		"untouched": func(*device, string) {},
		"flagged":   func(d *device, path string) { d.rename(path, "cur", "FS") },
		"moved":     func(d *device, path string) { d.moveHere(path, "Drafts", "1.other:2,S") },
		"back":      func(d *device, path string) { d.moveHere(path, "Lists", "1.other:2,S") },
	} {
		for _, way := range [][2]mail.Folder{{"INBOX", "Archive"}, {"Archive", "INBOX"}} {
			for _, left := range []bool{false, true} { // the first folder
				t.Run(fmt.Sprint(name, " through ", way[0], ", left ", left), func(t *testing.T) {
					steps := onAndOn(t, way, left, act, 0)
					for at := 2; at <= steps && name == "moved"; at += 2 { // after each effect
						onAndOn(t, way, left, act, at)
					}
				})
			}
		}
	}
}

func onAndOn(t *testing.T, way [2]mail.Folder, left bool, act func(d *device, path string), die int) (steps int) {
	s := account(t)
	must(t, s.CreateFolder("Drafts"))
	uid := s.Deliver("Lists", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.sync()
	middle := s.Copy("Lists", uid, way[0])
	s.Copy(way[0], middle, way[1])
	if left {
		must(t, s.Expunge("Lists", uid))
	}
	ends := func(folder mail.Folder) {
		switch {
		case folder == "Lists" && !left:
			left = true
			must(t, s.Expunge("Lists", uid))
		case folder == way[0] && middle != 0:
			for path, text := range d.files(way[0]) {
				if strings.Contains(text, "About moved.") {
					act(d, path)
				}
			}
			must(t, s.Expunge(way[0], middle))
			middle = 0
		}
	}
	scans := map[mail.Folder]int{}
	s.Before = func(call sim.Call) error {
		if call.Method == "Scan" {
			// Whoever looks a second time finds that it has gone.
			if scans[call.Folder]++; call.Folder == "Lists" || scans[call.Folder] > 1 {
				ends(call.Folder)
			}
		}
		return nil
	}
	steps = len(d.dies(die))
	s.Before = nil
	ends("Lists")
	ends(way[0])
	d.sync()
	d.sync()
	if die > 0 {
		t.Logf("killed at step %d", die)
	}
	d.once("About moved.")
	d.inStep()
	d.quiet()
	return steps
}

// A folder is renamed on the server, and gets new UIDs. While its messages are read, to find
// out which of its files they are, one of them moves to INBOX, and the connection fails: that
// one is not fetched from there as long as its file may be in the folder.
func TestAMessageThatLeavesAFolderBeforeItsFileIsKnownAgain(t *testing.T) {
	s := account(t)
	s.Options.NewNumbers = true
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.sync()
	must(t, s.RenameFolder("Lists/go", "Posts"))
	s.Before = func(call sim.Call) error {
		if call.Folder != "Posts" || call.Method != "Identify" && call.Method != "Fetch" {
			return nil
		}
		if m := s.Messages("Posts"); len(m) > 0 {
			s.Move("Posts", m[0].UID, "INBOX")
		}
		return io.ErrUnexpectedEOF
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 {
		t.Fatalf("%v, %v", err, rep.Problems)
	}
	s.Before = nil
	d.sync()
	d.once("About a list post.")
	d.inStep()
	d.quiet()
}

// An upload was not recorded, and another device has begun to move its message: where that is
// found again it is in two folders, one of which is read once more, as with a known one.
func TestAMoveHalfwayOfWhatWasUploadedLast(t *testing.T) {
	for name, fail := range map[string]func(d *device){
		"the process dies": func(d *device) { d.dieAt("after Remote.Append") },
		"it breaks off": func(d *device) { // which base knows
			breakOff(d.server)
			d.unreached()
			d.server.After = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.opts.Connections = 1
			d.sync()
			d.put("Archive", "1.other:2,S", letter("uploaded"))
			fail(d)
			uid := s.Messages("Archive")[0].UID
			s.Copy("Archive", uid, "Lists")
			scans := 0
			s.Before = func(c sim.Call) error {
				if c.Method == "Scan" && c.Folder == "Archive" {
					if scans++; scans == 2 {
						return s.Expunge("Archive", uid)
					}
				}
				return nil
			}
			d.sync()
			s.Before = nil
			d.once("About uploaded.")
			d.has("Archive", 0)
			d.has("Lists", 1)
			d.inStep()
			d.quiet()
		})
	}
}

// A device loses track of a message that is halfway to another folder on the server. It is told
// apart from a copy as if the device had known it: it is one message still, whatever is done
// with its file until the folder that it leaves is read once more. Nor does it come over the wire.
func TestAMoveHalfwayOfWhatIsKnownAgain(t *testing.T) {
	for name, act := range map[string]func(d *device, path string){
		"untouched":        func(*device, string) {},
		"flagged":          func(d *device, path string) { d.rename(path, "cur", "FS") },
		"moved as there":   func(d *device, path string) { d.moveHere(path, "Lists", "1.other:2,S") },
		"moved from there": func(d *device, path string) { d.moveHere(path, "Drafts", "1.other:2,S") },
	} {
		for _, state := range []bool{true, false} { // that is lost, or the UIDs of the folder are
			t.Run(fmt.Sprint(name, ", state ", state), func(t *testing.T) { halfway(t, state, act) })
		}
	}
}

// A run dies before it has given a message its place. The next one does, and sees that it is gone
// on the server, where somebody is moving it, while a reader flags its file: that is not
// uploaded.
func TestAMoveHalfwayOfWhatWasLanding(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.sync()
	uid := s.Deliver("Lists", onWire(letter("landing")), mail.Flags{}, day)
	d.dieAt("before Local.Publish")
	moved := false
	s.Before = func(call sim.Call) error {
		if call.Method == "Scan" && call.Folder == "Lists" && !moved {
			moved = true
			s.Move("Lists", uid, "Archive")
			d.rename(d.find("Lists", "About landing."), "cur", "F")
		}
		return nil
	}
	d.sync()
	s.Before = nil
	d.sync()
	d.once("About landing.")
	d.inStep()
	d.quiet()
}

// An upload is interrupted, its message moves to a folder that cannot be read in the next run, and
// the file waits. It does so in the run after that, too: what says that it was uploaded stays.
func TestAnInterruptedUploadWhoseMessageIsWhereItCannotBeRead(t *testing.T) {
	var s *sim.Server
	var d *device
	for step := 1; s == nil || len(s.Messages("Lists")) == 0; step++ {
		s = account(t)
		d = newDevice(t, s)
		d.sync()
		d.put("Lists", "1.saved:2,S", letter("saved"))
		if len(d.dies(step)) < step {
			t.Fatal("no step uploads it")
		}
	}
	s.Move("Lists", 1, "Archive")
	s.Before = func(c sim.Call) error {
		if c.Folder == "Archive" && c.Method == "Scan" {
			return mail.ErrRefused
		}
		return nil
	}
	for range 2 {
		if rep, err := d.run(); err != nil || len(rep.Problems) != 1 {
			t.Fatalf("%+v, %v", rep, err)
		}
	}
	s.Before = nil
	d.sync()
	d.sync()
	d.once("About saved.")
	d.inStep()
	d.quiet()
}
