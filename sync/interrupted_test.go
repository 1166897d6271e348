package sync_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	gosync "sync"
	"testing"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// The answer to an upload is lost, and then another device moves the message: the file
// goes there, and is not uploaded again.
func TestAMessageThatIsMovedOnAfterItsUploadBrokeOff(t *testing.T) {
	for name, again := range map[string]func(d *device){
		"at once":                 func(*device) {},
		"and the file is flagged": func(d *device) { d.rename(d.find("Archive", "About uploaded."), "cur", "FS") },
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.sync()
			d.put("Archive", "1.other:2,S", letter("uploaded"))
			lists := len(s.Messages("Lists"))
			breakOff(s)
			d.unreached()
			s.After = nil
			s.Move("Archive", s.Messages("Archive")[0].UID, "Lists")
			again(d)
			noBodies(t, s)
			d.sync()
			s.Before = nil
			d.sync()
			d.has("Archive", 0)
			if got := len(s.Messages("Lists")); got != lists+1 {
				t.Errorf("Lists has %d messages, and had %d", got, lists)
			}
			d.inStep()
			d.quiet()
		})
	}
}

// breakOff loses the answer to each APPEND.
func breakOff(s *sim.Server) {
	s.After = func(call sim.Call) error {
		if call.Method == "Append" {
			return fmt.Errorf("%w: %w", mail.ErrBrokeOff, mail.ErrUnreachable)
		}
		return nil
	}
}

// The answer to an upload is lost, and then the file is moved or removed: what is on the
// server goes the same way, though base still waits for the upload.
func TestAFileThatGoesAfterItsUploadBrokeOff(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(d *device, path string)
		goes mail.Folder
	}{
		"removed": {func(d *device, path string) { must(d.t, os.Remove(path)) }, "Trash"},
		"moved": {func(d *device, path string) {
			must(d.t, os.Rename(path, filepath.Join(d.dir("Lists"), "cur", "2.other:2,S")))
		}, "Lists"},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.sync()
			path := d.put("Archive", "1.other:2,S", letter("uploaded"))
			lists := len(s.Messages(c.goes))
			breakOff(s)
			d.unreached()
			s.After = nil
			c.act(d, path)
			d.sync()
			d.sync()
			if got := len(s.Messages("Archive")); got > 0 {
				t.Errorf("Archive has %d messages", got)
			}
			if got := len(s.Messages(c.goes)); got != lists+1 {
				t.Errorf("%s has %d messages, and had %d", c.goes, got, lists)
			}
			d.inStep()
			d.quiet()
		})
	}
}

// A run dies after an upload; the file is moved, the next run dies, too; and another
// device puts the message back to where it was uploaded to. That is no removal of the
// file that was once uploaded there.
func TestAMessageThatComesBackToWhereItWasUploaded(t *testing.T) {
	first := func(t *testing.T) *device {
		d := newDevice(t, account(t))
		d.opts.Connections = 1
		d.sync()
		d.put("Archive", "1.other:2,S", letter("uploaded"))
		return d
	}
	for one, step := range first(t).dies(0) {
		if !strings.HasSuffix(step, " Remote.Append") {
			continue
		}
		second := func(t *testing.T) *device {
			d := first(t)
			d.dies(one + 1)
			path := d.find("Archive", "About uploaded.")
			must(t, os.Rename(path, filepath.Join(d.dir("Lists"), "cur", "2.other:2,S")))
			return d
		}
		for two, again := range second(t).dies(0) {
			t.Run(step+", "+again, func(t *testing.T) {
				d := second(t)
				d.dies(two + 1)
				s := d.server
				moveThere(s, "Lists", "About uploaded.", "Archive")
				d.sync()
				d.sync()
				d.once("About uploaded.")
				d.has("Trash", 0)
				d.inStep()
				d.quiet()
			})
		}
	}
}

// A run dies after an upload. Then the file is moved and flagged, and the message flagged
// by another device: no flag is lost.
func TestFlagsOfAMessageThatMovesAfterAnInterruptedUpload(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	path := d.put("Archive", "1.other:2,", letter("moved"))
	breakOff(s)
	d.run()
	s.After = nil
	all := s.Messages("Archive")
	must(t, s.AddFlags("Archive", all[len(all)-1].UID, flags(`\Answered`)))
	must(t, os.Rename(path, filepath.Join(d.dir("Lists"), "cur", "2.other:2,DS")))
	d.sync()
	d.sync()
	all = s.Messages("Lists")
	if got := all[len(all)-1].Flags; !got.Equal(flags(`\Answered`, `\Draft`, `\Seen`)) {
		t.Errorf("it has %v", got)
	}
	d.inStep()
	d.quiet()
}

// An upload is interrupted, and both the file and the message move, to different folders,
// also while the next sync looks: it goes where the server has it.
func TestAnUploadThatBrokeOffAndMovesOnBothSides(t *testing.T) {
	lost := func(d *device) {
		breakOff(d.server)
		d.unreached()
		d.server.After = nil
	}
	died := func(d *device) {
		d.crash = sim.NewCrash(0)
		d.crash.Strike = func(when, effect string) error {
			if when+" "+effect == "after Remote.Append" {
				return sim.ErrCrashed
			}
			return nil
		}
		if _, err := d.run(); !errors.Is(err, sim.ErrCrashed) {
			t.Fatalf("the sync ended with %v", err)
		}
		d.crash = nil
	}
	again := func(d *device) {
		d.server.Cut = func(sim.Call, int64) int64 { return 10 }
		d.unreached()
		d.server.Cut = nil
		died(d)
	}
	for name, breakOff := range map[string]func(*device){
		"its answer is lost": lost, "the run dies": died, "the second try dies": again,
	} {
		for _, meanwhile := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, meanwhile %v", name, meanwhile), func(t *testing.T) {
				s := account(t)
				must(t, s.CreateFolder("Drafts"))
				d := newDevice(t, s)
				d.opts.Connections = 1
				d.sync()
				path := d.put("Archive", "1.other:2,S", letter("moved"))
				breakOff(d)
				must(t, os.Rename(path, filepath.Join(d.dir("Lists"), "cur", "2.other:2,S")))
				moved := false
				move := func(call sim.Call) error {
					if call.Method == "Scan" && !moved {
						moved = true
						s.Move("Archive", s.Messages("Archive")[0].UID, "Drafts")
					}
					return nil
				}
				if s.Before = move; !meanwhile {
					move(sim.Call{Method: "Scan"})
				}
				d.sync()
				d.sync()
				d.has("Archive", 0)
				d.has("Lists", 0)
				d.has("Drafts", 1)
				d.inStep()
				d.quiet()
			})
		}
	}
}

// A message is removed here and moved there, and comes back to where it was moved to. A run
// dies while it brings it, and the power takes back the removal, if that was not durable: the
// file is not left behind where base knows nothing of it.
func TestARemovalIsDurableBeforeBaseForgetsTheFile(t *testing.T) {
	prepare := func() (d *device, back func()) {
		s := account(t)
		uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
		d = newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		cur, path := filepath.Join(d.dir("Archive"), "cur"), d.find("Archive", "About moved.")
		info, err := os.Stat(cur)
		must(t, err)
		must(t, os.Rename(path, filepath.Join(d.root, "..", "removed.")))
		s.Move("Archive", uid, "Lists")
		d.crash = sim.NewCrash(0)
		return d, func() {
			must(t, os.Rename(filepath.Join(d.root, "..", "removed."), path))
			must(t, os.Chtimes(cur, info.ModTime(), info.ModTime()))
		}
	}
	d, _ := prepare()
	d.sync()
	for at := range len(d.crash.Names()) {
		d, back := prepare()
		d.crash = sim.NewCrash(at + 1)
		d.run()
		if !slices.Contains(d.crash.Names(), "after Local.SyncFolder") {
			back()
		}
		d.crash = nil
		d.sync()
		d.sync()
		d.inStep()
		if t.Failed() {
			t.Fatalf("stopped at step %d", at+1)
		}
	}
}

// A run dies after a download, before that is recorded, and the file moves. Where the server
// is only pulled from the move stays here, and nothing is left to do.
func TestAnUnrecordedDownloadThatMovesWhereNothingIsPushed(t *testing.T) {
	prepare := func() *device {
		s := account(t)
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.opts.Policy = always(conflict.Policy{Direction: conflict.Pull})
		d.sync()
		s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
		return d
	}
	d := prepare()
	d.crash = sim.NewCrash(0)
	d.sync()
	at := slices.Index(d.crash.Names(), "after Local.Publish") + 1
	d = prepare()
	d.crash = sim.NewCrash(at)
	d.run()
	d.crash = nil
	must(t, os.Rename(d.find("Archive", "About moved."), filepath.Join(d.dir("Lists"), "cur", "2.other:2,S")))
	d.sync()
	if len(d.files("Archive")) != 0 || len(d.files("Lists")) != 1 || len(d.server.Messages("Archive")) != 1 {
		t.Errorf("Archive has %d files and %d messages, Lists %d files", len(d.files("Archive")), len(d.server.Messages("Archive")), len(d.files("Lists")))
	}
	d.quiet()
}

// The power goes while a file is renamed from new/ to cur/, and leaves it both names: it
// loses the old one. What somebody has linked on purpose, under a name of its own, stays.
func TestARenameThatThePowerHasCutInHalf(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Archive", onWire(letter("fresh")), mail.Flags{}, day)
	d := newDevice(t, s)
	d.sync()
	must(t, s.SetFlags("Archive", uid, flags(`\Flagged`)))
	old := d.find("Archive", "About fresh.")
	kept := d.rename(old, "cur", "F")
	must(t, os.Link(kept, old))
	must(t, os.Link(kept, filepath.Join(d.dir("Archive"), "cur", "1.copy:2,F")))
	d.opts.DryRun = true
	d.sync()
	d.opts.DryRun = false
	if got := len(d.files("Archive")); got != 3 {
		t.Errorf("a dry run leaves %d files, want 3", got)
	}
	d.sync()
	d.sync()
	if _, err := os.Lstat(kept); err != nil {
		t.Error(err)
	}
	d.has("Archive", 2)
	d.inStep()
	d.quiet()
}

// The answer of an upload is lost, and its message moves when the next run has listed it and
// asks what it is. Its file, which waits for the folders to be read again, follows in that run.
func TestAnUploadThatMovesWhileItIsLookedAt(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.put("Archive", "1.mine:2,S", letter("uploaded"))
	breakOff(s)
	d.unreached()
	s.After = nil
	var once gosync.Once
	s.Before = func(call sim.Call) error {
		if call.Method == "Identify" {
			once.Do(func() { moveThere(s, "Archive", "About uploaded.", "Lists") })
		}
		return nil
	}
	d.sync()
	s.Before = nil
	d.sync()
	d.once("About uploaded.")
	d.has("Archive", 0)
	d.inStep()
	d.quiet()
}

// A run dies before an upload, and an equal message is in Trash there, as a copy that
// somebody else has thrown away. The folder has given out no UID since, so the file was not
// there to be moved: it is new, and is not thrown away, too.
func TestAnUploadThatGotNowhereWasNotThrownAway(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.put("Lists", "1.other:2,S", letter("new"))
	d.dieAt("before Remote.Append")
	s.Deliver("Trash", onWire(letter("new")), flags(`\Seen`), day)
	d.sync()
	d.has("Lists", 1)
	d.has("Trash", 1)
	d.inStep()
	d.quiet()
}

// A run dies after a download, before that is recorded, and its message goes where this device
// cannot look: to a folder that it has under another name, and is not to rename. The file waits
// for that, as one that is in its place: no further run has anything to do about it.
func TestAnUnrecordedDownloadWhoseMessageGoesWhereItCannotBeRead(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.opts.Policy = always(conflict.Policy{Direction: conflict.Pull})
	d.sync()
	must(t, os.Rename(d.dir("Lists"), d.dir("Other")))
	d.sync()
	uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d.dieAt("after Local.Publish")
	d.rename(d.find("Archive", "About moved."), "cur", "FS")
	s.Move("Archive", uid, "Lists")
	for i := range 3 {
		c := sim.NewCrash(0)
		d.crash = c
		d.run()
		d.crash = nil
		if i > 0 && c.Steps() > 0 {
			t.Errorf("run %d has effects: %v", i, c.Names())
		}
		if n := len(d.files("Archive")); n != 1 {
			t.Errorf("run %d leaves %d files", i, n)
		}
	}
}
