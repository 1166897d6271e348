package sync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// hasty is a Maildir with a reader that does something just before a file is renamed.
type hasty struct {
	engine.Local
	before func()
}

func (h hasty) Reflag(ctx context.Context, folder mail.Folder, file mail.File, flags mail.Flags, letters mail.Letters) (mail.File, error) {
	h.before()
	return h.Local.Reflag(ctx, folder, file, flags, letters)
}

// A reader takes a flag back that is on its way to the server, in the moment in which the
// file is to be renamed for what has changed there. What it did last stands.
func TestAFlagThatIsTakenBackWhileItIsStored(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	uid := s.Deliver("Archive", onWire(letter("flagged")), flags(`\Seen`, `\Draft`), day)
	d.sync()
	path := d.rename(d.find("Archive", "About flagged."), "cur", "FS") // \Draft goes
	must(t, s.AddFlags("Archive", uid, flags(`\Answered`)))
	n := 0
	d.local = func(l engine.Local) engine.Local {
		return hasty{l, func() {
			if n++; n == 1 {
				path = d.rename(path, "cur", "DS")
			}
		}}
	}
	d.sync()
	if n == 0 {
		t.Error("nothing was to be renamed")
	}
	d.local = nil
	d.sync()
	if got := s.Messages("Archive")[0].Flags; !got.Equal(flags(`\Seen`, `\Draft`, `\Answered`)) {
		t.Errorf("on the server it has %v", got)
	}
	d.inStep()
	d.quiet()
}

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
