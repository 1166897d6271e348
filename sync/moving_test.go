package sync_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// A server may show a message that moves in its new folder while the old one has it still,
// so that it is taken for a copy. Meanwhile its file is flagged here, moved or removed: it is
// one message still, with that flag, also if the run dies before it looks again.
func TestAMoveOnTheServerThatLooksLikeACopy(t *testing.T) {
	for name, act := range map[string]func(d *device, path string){
		"untouched": func(*device, string) {},
		"answered":  func(d *device, path string) { d.rename(path, "cur", "RS") },
		"flagged":   func(d *device, path string) { d.rename(path, "cur", "FS") },
		"moved": func(d *device, path string) {
			must(d.t, os.Rename(path, filepath.Join(d.dir("Drafts"), "cur", "2.other:2,FS")))
		},
		"removed": func(d *device, path string) { must(d.t, os.Remove(path)) },
	} {
		for _, rewritten := range []bool{false, true} { // then it is downloaded, not linked
			t.Run(fmt.Sprint(name, ", rewritten ", rewritten), func(t *testing.T) {
				steps := moving(t, rewritten, act, 0)
				if rewritten || name != "flagged" && name != "moved" {
					return
				}
				for at := 2; at <= steps; at += 2 { // after each effect
					moving(t, rewritten, act, at)
				}
			})
		}
	}
}

// moving syncs while a message moves from Archive to Lists, dies at a step, if that is not 0,
// and syncs again.
func moving(t *testing.T, rewritten bool, act func(d *device, path string), die int) (steps int) {
	s := account(t)
	must(t, s.CreateFolder("Drafts"))
	if rewritten {
		s.Options.Rewrite = func(raw []byte) []byte { return append([]byte("X-Seen-By: server\r\n"), raw...) }
	}
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.sync()
	d.put("Archive", "1.other:2,S", letter("moved"))
	d.sync()
	before := len(s.Messages("Lists"))
	uid := s.Messages("Archive")[0].UID
	s.Copy("Archive", uid, "Lists")
	left := false
	leave := func() {
		if !left {
			left = true
			act(d, d.find("Archive", "About moved."))
			must(t, s.Expunge("Archive", uid))
		}
	}
	listings := 0
	s.Before = func(call sim.Call) error {
		if call.Method == "Folders" {
			listings++
		} else if listings > 1 {
			leave() // the run has looked whether it is there still
		}
		return nil
	}
	d.crash = sim.NewCrash(die)
	if _, err := d.run(); err != nil && !errors.Is(err, sim.ErrCrashed) {
		t.Fatal(err)
	}
	steps = d.crash.Steps()
	d.crash, s.Before = nil, nil
	leave()
	d.sync()
	d.sync()
	if die > 0 {
		t.Logf("killed at step %d", die)
	}
	for folder, n := range map[mail.Folder]int{"Archive": 0, "Drafts": 0, "Trash": 0, "Lists": before + 1} {
		d.has(folder, n)
	}
	if !rewritten { // or the files differ
		d.inStep()
	}
	d.quiet()
	return steps
}

// A message that was copied on the server is one of its own. When it is removed there later
// and was flagged here, that is decided as always: it is put there again.
func TestACopiedMessageThatIsRemovedLater(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Archive", onWire(letter("copied")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	lists := len(s.Messages("Lists"))
	s.Copy("Archive", uid, "Lists")
	d.sync()
	d.rename(d.find("Archive", "About copied."), "cur", "FS")
	must(t, s.Expunge("Archive", uid))
	d.sync()
	d.has("Archive", 1)
	d.has("Lists", lists+1)
	d.inStep()
	d.quiet()
}

// A folder whose messages seem to be copied goes from the server when the run dies that was
// to read it once more: then it waits for consent, and nobody watches it any longer.
func TestAFolderThatGoesWhileItIsWatched(t *testing.T) {
	prepare := func() *device {
		s := account(t)
		uid := s.Deliver("Archive", onWire(letter("copied")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.sync()
		s.Copy("Archive", uid, "Lists")
		return d
	}
	d := prepare()
	d.crash = sim.NewCrash(0)
	d.sync()
	steps := d.crash.Steps()
	for at := 2; at <= steps; at += 2 { // after each effect
		d := prepare()
		d.crash = sim.NewCrash(at)
		d.run()
		d.crash = nil
		must(t, d.server.DeleteFolder("Archive"))
		rep, err := d.run()
		if err != nil || len(rep.Held) != 1 {
			t.Errorf("killed at step %d: %v, held %v", at, err, rep.Held)
		}
		if intents, err := d.state.Intents(t.Context()); err != nil || len(intents) > 0 {
			t.Errorf("killed at step %d: intents %v, %v", at, intents, err)
		}
	}
}
