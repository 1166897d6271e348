package sync_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
