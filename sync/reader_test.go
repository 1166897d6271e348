package sync_test

import (
	"context"
	"errors"
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

// A message is moved on the server in the moment in which flags are stored for it, and the
// run dies after that: they are stored where it is now.
func TestFlagsThatAreStoredWhenTheMessageLeaves(t *testing.T) {
	for _, dies := range []bool{false, true} {
		s := account(t)
		s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.sync()
		d.rename(d.find("Archive", "About moved."), "cur", "RS")
		s.Before = func(call sim.Call) error {
			if call.Method == "Store" {
				moveThere(s, "Archive", "About moved.", "Lists")
			} else if call.Method == "Scan" && dies && len(s.Messages("Archive")) == 0 {
				return mail.ErrUnreachable
			}
			return nil
		}
		if _, err := d.run(); errors.Is(err, mail.ErrUnreachable) != dies {
			t.Errorf("the sync ended with %v", err)
		}
		s.Before = nil
		d.sync()
		d.has("Archive", 0)
		if got := s.Messages("Lists")[0].Flags; !got.Equal(flags(`\Seen`, `\Answered`)) {
			t.Errorf("it has %v", got)
		}
		d.inStep()
		d.quiet()
	}
}

// Two devices store one flag at the same time, so that the server says nothing of it to the
// second one, which dies then. Another flag that it has brought here before is taken away
// on the server: it does not come back.
func TestAFlagThatTheServerHasAlready(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Archive", onWire(letter("flagged")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	d.rename(d.find("Archive", "About flagged."), "cur", "RS")
	must(t, s.AddFlags("Archive", uid, flags(`\Flagged`)))
	stored := false
	s.Before = func(call sim.Call) error {
		if call.Method == "Store" {
			stored = true
			must(t, s.AddFlags("Archive", uid, flags(`\Answered`)))
		} else if call.Method == "Scan" && stored {
			return mail.ErrUnreachable
		}
		return nil
	}
	d.unreached()
	s.Before = nil
	must(t, s.SetFlags("Archive", uid, flags(`\Seen`, `\Answered`)))
	d.sync()
	if got := s.Messages("Archive")[0].Flags; !got.Equal(flags(`\Seen`, `\Answered`)) {
		t.Errorf("it has %v", got)
	}
	d.inStep()
	d.quiet()
}
