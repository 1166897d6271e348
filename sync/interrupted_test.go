package sync_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
			if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
				t.Fatalf("the sync ended with %v", err)
			}
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
			if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
				t.Fatalf("the sync ended with %v", err)
			}
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
	steps := func(d *device) []string {
		d.crash = sim.NewCrash(0)
		d.sync()
		return d.crash.Names()
	}
	die := func(d *device, at int) {
		d.crash = sim.NewCrash(at)
		d.run()
		d.crash = nil
	}
	for one, step := range steps(first(t)) {
		if !strings.HasSuffix(step, " Remote.Append") {
			continue
		}
		second := func(t *testing.T) *device {
			d := first(t)
			die(d, one+1)
			path := d.find("Archive", "About uploaded.")
			must(t, os.Rename(path, filepath.Join(d.dir("Lists"), "cur", "2.other:2,S")))
			return d
		}
		for two, again := range steps(second(t)) {
			t.Run(step+", "+again, func(t *testing.T) {
				d := second(t)
				die(d, two+1)
				s := d.server
				moveThere(s, "Lists", "About uploaded.", "Archive")
				d.sync()
				d.sync()
				found := 0
				for _, folder := range []mail.Folder{"Archive", "Lists"} {
					for _, text := range censusOf(s, folder) {
						found += strings.Count(text, "About uploaded.")
					}
				}
				if found != 1 {
					t.Errorf("it is there %d times", found)
				}
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

// A message is copied here, which is interrupted, and then thrown away by another device:
// it is the message that went to Trash, and not the copy.
func TestACopyOfWhatIsThrownAwayElsewhere(t *testing.T) {
	for i := range 4 {
		done, half := i%2 == 1, i > 1 // half: while the next run reads the folders
		s := account(t)
		uid := s.Deliver("Lists", onWire(letter("copied")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		archived, lists := len(s.Messages("Archive")), len(s.Messages("Lists"))
		must(t, os.Link(d.find("Lists", "About copied."), filepath.Join(d.dir("Archive"), "cur", "2.other:2,S")))
		fail := func(c sim.Call) error {
			if c.Method == "Copy" {
				return mail.ErrUnreachable
			}
			return nil
		}
		if done {
			s.After = fail
		} else {
			s.Before = fail
		}
		if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
			t.Fatalf("the sync ended with %v", err)
		}
		s.Before, s.After = nil, nil
		if half {
			s.Deliver("Trash", onWire(letter("other")), flags(`\Seen`), day)
			must(t, s.AddFlags("Lists", uid, flags(`\Answered`)))
			s.Before = func(c sim.Call) error {
				if c.Method == "Scan" && c.Folder == "Trash" && len(s.Messages("Lists")) == lists {
					s.Move("Lists", uid, "Trash")
				}
				return nil
			}
		} else {
			s.Move("Lists", uid, "Trash")
		}
		d.sync()
		s.Before = nil
		d.sync()
		d.has("Archive", archived+1)
		d.has("Lists", lists-1)
		d.has("Trash", 1+i/2)
		d.inStep()
		d.quiet()
	}
}

// A run moves a message on the server and dies; then the file is moved back. It is the
// message that is still there, and not the one that it was before.
func TestAMoveThatIsTakenBackAfterItsRunDied(t *testing.T) {
	for _, name := range []string{"3.other:2,RS", ""} {
		for _, copied := range []int{0, 1} {
			takenBack(t, name, copied)
		}
	}
}

func takenBack(t *testing.T, name string, copied int) {
	s := account(t)
	must(t, s.CreateFolder("A copy"))
	s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	old := d.find("Archive", "About moved.")
	path := filepath.Join(d.dir("Lists"), "cur", filepath.Base(old))
	must(t, os.Rename(old, path))
	s.After = func(c sim.Call) error {
		if c.Method == "Move" {
			return mail.ErrUnreachable
		}
		return nil
	}
	if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
		t.Fatalf("the sync ended with %v", err)
	}
	s.After = nil
	if name == "" {
		name = strings.Replace(filepath.Base(old), ":2,", ":2,R", 1) // it keeps its key
	}
	if copied > 0 {
		must(t, os.Link(path, filepath.Join(d.dir("A copy"), "cur", "4.other:2,S")))
	}
	must(t, os.Rename(path, filepath.Join(d.dir("Archive"), "cur", name)))
	d.sync()
	d.sync()
	archived := s.Messages("Archive")
	if len(archived) != 1 || !archived[0].Flags.Equal(flags(`\Answered`, `\Seen`)) {
		t.Errorf("Archive has %v", archived)
	}
	d.has("Archive", 1)
	d.has("A copy", copied)
	d.has("Trash", 0)
	d.inStep()
	d.quiet()
}

// A run dies when it is about to move a message on the server, the file is moved back, and
// another device moves the message to where it was to go, also while the next run reads the
// folders. Nobody has thrown it away.
func TestAMoveThatAnotherDeviceMakesAfterItsRunDied(t *testing.T) {
	for _, at := range []mail.Folder{"", "Archive", "INBOX", "Lists"} { // when that is read
		for _, to := range []mail.Folder{"INBOX", "A first"} {
			t.Run(fmt.Sprint("to ", to, ", at ", at), func(t *testing.T) {
				s := account(t)
				must(t, s.CreateFolder("A first"))
				s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
				d := newDevice(t, s)
				d.opts.Connections = 1
				d.sync()
				old := d.find("Archive", "About moved.")
				path := filepath.Join(d.dir(to), "cur", filepath.Base(old))
				must(t, os.Rename(old, path))
				s.Before = func(c sim.Call) error {
					if c.Method == "Move" {
						return mail.ErrUnreachable
					}
					return nil
				}
				if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
					t.Fatalf("the sync ended with %v", err)
				}
				must(t, os.Rename(path, old))
				s.Before = func(c sim.Call) error {
					if c.Method == "Scan" && c.Folder == at {
						moveThere(s, "Archive", "About moved.", to)
					}
					return nil
				}
				if at == "" {
					moveThere(s, "Archive", "About moved.", to)
				}
				s.Deliver("Lists", onWire(letter("other")), flags(`\Seen`), day)
				d.sync()
				s.Before = nil
				d.sync()
				d.has("Trash", 0)
				found := 0
				for _, folder := range []mail.Folder{"Archive", to} {
					for _, text := range censusOf(s, folder) {
						found += strings.Count(text, "About moved.")
					}
				}
				if found != 1 {
					t.Errorf("it is there %d times", found)
				}
				d.inStep()
				d.quiet()
			})
		}
	}
}

// A file and its message were moved alike, and a run that finds that dies; then the file is
// moved back. Nobody has thrown it away.
func TestAMoveOnBothSidesThatIsTakenBackAfterItsRunDied(t *testing.T) {
	prepare := func() (d *device, old, path string) {
		s := account(t)
		s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
		d = newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		old = d.find("Archive", "About moved.")
		path = filepath.Join(d.dir("INBOX"), "cur", filepath.Base(old))
		must(t, os.Rename(old, path))
		moveThere(s, "Archive", "About moved.", "INBOX")
		return d, old, path
	}
	d, _, _ := prepare()
	d.crash = sim.NewCrash(0)
	d.sync()
	for at, step := range d.crash.Names() {
		d, old, path := prepare()
		inbox := len(d.server.Messages("INBOX")) - 1
		d.crash = sim.NewCrash(at + 1)
		d.run()
		d.crash = nil
		must(t, os.Rename(path, old))
		d.sync()
		d.sync()
		t.Log(step)
		d.has("Trash", 0)
		if got := len(d.server.Messages("Archive")) + len(d.server.Messages("INBOX")) - inbox; got != 1 {
			t.Errorf("it is there %d times", got)
		}
		d.inStep()
		d.quiet()
	}
}

// A run dies after a download, before that is recorded. The file moves, and another device
// moves the message elsewhere: it goes where the server has it.
func TestAnUnrecordedDownloadThatMovesOnBothSides(t *testing.T) {
	prepare := func() (*device, mail.UID) {
		s := account(t)
		must(t, s.CreateFolder("Drafts"))
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		return d, s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	}
	d, _ := prepare()
	d.crash = sim.NewCrash(0)
	d.sync()
	at := slices.Index(d.crash.Names(), "after Local.Publish") + 1
	d, uid := prepare()
	d.crash = sim.NewCrash(at)
	d.run()
	d.crash = nil
	drafts := filepath.Join(d.dir("Drafts"), "cur", "2.other:2,S")
	must(t, os.Rename(d.find("Archive", "About moved."), drafts))
	lists := len(d.server.Messages("Lists"))
	d.server.Move("Archive", uid, "Lists")
	d.sync()
	d.sync()
	d.has("Archive", 0)
	d.has("Drafts", 0)
	d.has("Lists", lists+1)
	d.inStep()
	d.quiet()
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

// A run dies after a download, before that is recorded. The power has left both names of
// the file, and a reader flags it: it is not there twice afterwards.
func TestAnUnrecordedDownloadUnderBothItsNames(t *testing.T) {
	prepare := func() *device {
		s := account(t)
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		s.Deliver("Archive", onWire(letter("fresh")), flags(`\Seen`), day)
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
	path := d.find("Archive", "About fresh.")
	key, _, _ := strings.Cut(filepath.Base(path), ":")
	must(t, os.Link(path, filepath.Join(d.dir("Archive"), "tmp", key)))
	d.rename(path, "cur", "FS")
	d.sync()
	d.has("Archive", 1)
	d.inStep()
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

// A run moves a file here and dies before it records that; the next one records that the
// old place is empty, and dies before it records the new one. Then the message moves on:
// the file goes along, and is not taken for a new one.
func TestAMoveThatIsHalfRecorded(t *testing.T) {
	prepare := func() *device {
		s := account(t)
		must(t, s.CreateFolder("Drafts"))
		uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		s.Move("Archive", uid, "Lists")
		d.crash = sim.NewCrash(0)
		return d
	}
	crash := func(d *device, at int) []string {
		d.crash = sim.NewCrash(at)
		d.run()
		names := d.crash.Names()
		d.crash = nil
		return names
	}
	first := slices.Index(crash(prepare(), 0), "after Local.Move") + 1
	d := prepare()
	crash(d, first)
	for at := range len(crash(d, 0)) {
		d := prepare()
		crash(d, first)
		crash(d, at+1)
		s := d.server
		moveThere(s, "Lists", "About moved.", "Drafts")
		d.sync()
		d.sync()
		d.has("Archive", 0)
		d.has("Lists", 0)
		d.has("Drafts", 1)
		d.inStep()
		d.quiet()
	}
}

// An upload is interrupted, and both the file and the message move, to different folders,
// also while the next sync looks: it goes where the server has it.
func TestAnUploadThatBrokeOffAndMovesOnBothSides(t *testing.T) {
	lost := func(d *device) {
		breakOff(d.server)
		if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
			t.Fatalf("the sync ended with %v", err)
		}
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
		if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
			t.Fatalf("the sync ended with %v", err)
		}
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
