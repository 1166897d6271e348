package conflict

import (
	"testing"

	"mailtwin/conflict/mail"
)

// A message that is elsewhere on the server by now has, of the flags that were pushed, what the
// device pushed, and of all others what the server says, whatever base, it and the file have.
func TestWhatWasPushedOutlivesAMove(t *testing.T) {
	const flags = 8 // sets of three
	for bits := range flags * flags * flags {
		base, pushed, there := mail.System(bits%flags), mail.System(bits/flags%flags), mail.System(bits/flags/flags)
		i := &Item{Row: &mail.Row{Flags: mail.Flags{System: base}, Pushed: mail.Flags{System: pushed}}}
		got := Merge(i.flagsBefore(mail.Flags{System: there}), i.localFlags(), mail.Flags{System: there})
		if want := base&pushed | there&^pushed; got.System != want {
			t.Fatalf("base %03b, of which %03b was pushed, and %03b there: %03b, want %03b", base, pushed, there, got.System, want)
		}
	}
}
