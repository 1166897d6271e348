package sync_test

import (
	"context"
	"testing"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
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
