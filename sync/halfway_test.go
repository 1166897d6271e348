package sync_test

import (
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
