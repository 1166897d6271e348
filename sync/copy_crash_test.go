package sync_test

import (
	"fmt"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// A message is copied on one side while it is copied or moved on the other one, and the run that
// meets it is killed at any step: what either has made is there in the end, and once.
func TestACopyAndAMoveOfOneMessageAtEveryStep(t *testing.T) {
	copies := func(d *device, path string) { d.put("Lists/go", "9.copied:2,S", letter("copied")) }
	moves := func(d *device, path string) { d.moveHere(path, "Lists/go", "9.moved:2,RS") }
	for name, c := range map[string]struct {
		here        func(d *device, path string)
		moved, both bool // there; and whether the original is left
	}{
		"copied here, moved there":  {copies, true, false},
		"moved here, copied there":  {moves, false, false},
		"copied here, copied there": {copies, false, true},
	} {
		for _, noMove := range []bool{false, true} {
			// Which call of the first run the phone comes before.
			for at := range 2 {
				t.Run(fmt.Sprintf("%s, no MOVE %v, before call %d", name, noMove, at), func(t *testing.T) {
					step := 1
					for ; step < 100; step++ {
						s := account(t)
						s.Options.NoMove = noMove
						uid := s.Deliver("Lists", onWire(letter("copied")), flags(`\Seen`, `\Answered`), day)
						d := newDevice(t, s)
						d.opts.Connections = 1 // the steps have one order
						d.sync()
						if at == 1 { // what comes there besides says nothing of the copy
							s.Deliver("Lists/go", onWire(letter("another")), mail.Flags{}, day)
						}
						c.here(d, d.find("Lists", "About copied."))
						calls, done := 0, false
						phone := func() {
							done = true
							if c.moved {
								s.Move("Lists", uid, "Archive")
							} else if s.Copy("Lists", uid, "Archive") == 0 {
								s.Deliver("Archive", onWire(letter("copied")), mail.Flags{}, day) // it had left already
							}
						}
						s.Before = func(sim.Call) error {
							if calls++; calls > at && !done {
								phone()
							}
							return nil
						}
						steps := len(d.dies(step))
						s.Before = nil
						if !done {
							phone()
						}
						for range 2 {
							d.sync()
						}
						for folder, want := range map[mail.Folder]int{"Lists": one(c.both), "Lists/go": 1, "Archive": 1, "Trash": 0} {
							n := 0
							for _, m := range s.Messages(folder) {
								if string(m.Raw) == string(onWire(letter("copied"))) {
									n++
								}
							}
							if n != want {
								t.Errorf("killed at step %d: %s has it %d times, want %d", step, folder, n, want)
							}
						}
						d.inStep()
						if steps < step {
							break
						}
					}
					if step < 10 || step == 100 {
						t.Errorf("it was killed at %d steps", step)
					}
				})
			}
		}
	}
}

func one(is bool) int {
	if is {
		return 1
	}
	return 0
}
