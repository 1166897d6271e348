package sync_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	gosync "sync"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// A message is moved on the server while a sync reads the folders, so that it sees only
// that it has gone, or only that it has come. Its file was flagged, or moved, here: it is
// not uploaded again, and no flag is lost.
func TestAMoveOnTheServerOfWhichHalfIsSeen(t *testing.T) {
	flag := func(d *device, path string) { d.rename(path, "cur", "FS") }
	move := func(d *device, path string) {
		must(d.t, os.Rename(path, filepath.Join(d.dir("Drafts"), "cur", "2.other:2,FS")))
	}
	for name, c := range map[string]struct {
		act    func(d *device, path string)
		at     mail.Folder // before that one is read
		silent bool        // the server tells no status
	}{
		"flagged, and gone": {flag, "Lists", false}, "flagged, and come": {flag, "Archive", false},
		"moved, and gone": {move, "Lists", false}, "moved, and come": {move, "Archive", false},
		"flagged, and gone without a status": {flag, "Lists", true}, "moved, and gone without a status": {move, "Lists", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			s.Options.NoStatus = c.silent
			must(t, s.CreateFolder("Drafts"))
			uid := s.Deliver("Lists", onWire(letter("moved")), flags(`\Seen`), day)
			other := s.Deliver("Archive", onWire(letter("other")), flags(`\Seen`), day)
			d := newDevice(t, s)
			d.opts.Connections = 1
			d.sync()
			c.act(d, d.find("Lists", "About moved."))
			// So that one of them is read in the first round, and not the other one.
			if c.at == "Lists" {
				must(t, s.AddFlags("Lists", uid, flags(`\Answered`)))
			} else {
				must(t, s.AddFlags("Archive", other, flags(`\Answered`)))
			}
			var once gosync.Once
			s.Before = func(call sim.Call) error {
				if call.Method == "Scan" && call.Folder == c.at {
					once.Do(func() { s.Move("Lists", uid, "Archive") })
				}
				return nil
			}
			d.sync()
			s.Before = nil
			d.sync()
			if places := placesOf(s, "About moved."); len(places) != 1 || !strings.Contains(places[0], `\Flagged`) {
				t.Errorf("it is there as %q", places)
			}
			d.inStep()
			d.quiet()
		})
	}
}

// A folder has got new UIDs, so that nothing tells that a message has left it but that its file
// is there; and the message leaves it when all folders have told their status. It is not
// uploaded again.
func TestAMoveOutOfAFolderWithNewUIDs(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, s.ChangeUIDValidity("Lists/go"))
	var once gosync.Once
	s.Before = func(call sim.Call) error {
		if call.Method == "Scan" && call.Folder == "Lists/go" {
			once.Do(func() { moveThere(s, "Lists/go", "About a list post.", "Archive") })
		}
		return nil
	}
	d.sync()
	s.Before = nil
	d.sync()
	d.once("About a list post.")
	d.inStep()
	d.quiet()
}

// While a file waits, since its message may be where new mail has come meanwhile, the message
// does not leave the server of which it may be the new form.
func TestANewFormThatWaits(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, s.ChangeUIDValidity("Lists"))
	must(t, os.Remove(d.find("INBOX", "About read.")))
	d.put("INBOX", "2.other:2,S", letter("read again"))
	var once gosync.Once
	s.Before = func(call sim.Call) error {
		switch call.Method {
		case "Scan":
			once.Do(func() { s.Deliver("Archive", onWire(letter("new")), flags(), day) })
		case "Move":
			d.once("About read again.")
		}
		return nil
	}
	d.sync()
	s.Before = nil
	d.has("Trash", 1)
	d.inStep()
	d.quiet()
}

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
	steps = len(d.dies(die))
	s.Before = nil
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

// Somebody removes a message on the server that two others have moved meanwhile, one of them
// with a program that adds to its own copies. Who comes first puts it there again; who comes
// second knows it again, and keeps no second one, also if the server has refused it before.
func TestAMessageThatTwoHaveMovedAndOneHasRemoved(t *testing.T) {
	for _, refused := range []bool{false, true} {
		s := account(t)
		uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
		a, b := newDevice(t, s), newDevice(t, s)
		a.sync()
		b.sync()
		must(t, os.Remove(a.find("Archive", "About moved.")))
		a.put("Lists", "1.mutts:2,S", "Content-Length: 13\n"+letter("moved"))
		b.moveHere(b.find("Archive", "About moved."), "Lists/go", "1.other:2,S")
		must(t, s.Expunge("Archive", uid))
		kept, left := mail.Folder("Lists"), mail.Folder("Lists/go")
		if refused {
			kept, left = left, kept
			s.Before = func(call sim.Call) error {
				if call.Method == "Append" {
					return mail.ErrRefused
				}
				return nil
			}
			if rep, err := a.run(); err != nil || len(rep.Problems) != 1 {
				t.Fatalf("%v, %v", err, rep.Problems)
			}
			s.Before = nil
			b.sync()
		}
		for range 2 {
			a.sync()
			b.sync()
		}
		for _, d := range []*device{a, b} {
			for _, folder := range []mail.Folder{kept, left} {
				if got, want := len(d.files(folder)), len(s.Messages(folder)); got != want {
					t.Errorf("refused %v: %s has %d files, and %d messages on the server", refused, folder, got, want)
				}
			}
			d.quiet()
		}
		if places := placesOf(s, "About moved."); len(places) != 1 || !strings.HasPrefix(places[0], string(kept)+" ") {
			t.Errorf("refused %v: it is there as %q", refused, places)
		}
	}
}

// A phone moves a message to another folder and back, on a server that shows each place until
// its expunge comes. So the message is in its folder twice for a while. Then its file moves
// here, and the first of the two goes: it is one message still.
func TestAMoveBackThatLooksLikeACopy(t *testing.T) {
	s := account(t)
	must(t, s.CreateFolder("Drafts"))
	uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	path := d.find("Archive", "About moved.")
	s.Copy("Archive", uid, "Archive")
	var once gosync.Once
	leave := func() {
		once.Do(func() {
			d.moveHere(path, "Drafts", "1.other:2,S")
			must(t, s.Expunge("Archive", uid))
		})
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
	d.sync()
	s.Before = nil
	leave()
	d.sync()
	d.once("About moved.")
	d.inStep()
	d.quiet()
}

// A message seems to be copied from a folder in which the server has just refused something, so
// that this run does not read it again. The next one does, and finds that it was a move.
func TestAMoveFromAFolderThatIsLeftLooksLikeACopy(t *testing.T) {
	s := account(t)
	must(t, s.CreateFolder("Drafts"))
	uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	s.Deliver("Archive", onWire(letter("flagged")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	d.rename(d.find("Archive", "About flagged."), "cur", "FS")
	s.Copy("Archive", uid, "Lists")
	listings := 0
	s.Before = func(call sim.Call) error {
		switch call.Method {
		case "Folders":
			if listings++; listings == 2 { // so that it waits for the next round
				s.Deliver("Archive", onWire(letter("another one")), flags(), day)
			}
		case "Store":
			return mail.ErrRefused
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 {
		t.Fatalf("%v, %v", err, rep.Problems)
	}
	s.Before = nil
	d.moveHere(d.find("Archive", "About moved."), "Drafts", "1.other:2,S")
	must(t, s.Expunge("Archive", uid))
	d.sync()
	d.sync()
	d.once("About moved.")
	d.inStep()
	d.quiet()
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
// to read it once more: then it waits for consent, and nobody watches it any longer. Before
// the copy is recorded its message has moved out of it, which leaves the folder empty.
func TestAFolderThatGoesWhileItIsWatched(t *testing.T) {
	prepare := func() *device {
		s := account(t)
		uid := s.Deliver("Archive", onWire(letter("copied")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.sync()
		s.Copy("Archive", uid, "Lists")
		return d
	}
	steps := len(prepare().dies(0))
	for at := 2; at <= steps; at += 2 { // after each effect
		d := prepare()
		d.dies(at)
		must(t, d.server.DeleteFolder("Archive"))
		rep, err := d.run()
		moved := len(d.files("Lists")) == 1 && !d.hasFolder("Archive")
		if err != nil || len(rep.Held) != 1 && !moved {
			t.Errorf("killed at step %d: %v, held %v", at, err, rep.Held)
		}
		if intents, err := d.state.Intents(t.Context()); err != nil || len(intents) > 0 {
			t.Errorf("killed at step %d: intents %v, %v", at, intents, err)
		}
	}
}

// Messages of one size and one date are not copies of each other if they have other
// Message-IDs, and no folder is watched for them.
func TestMessagesOfOneSizeAndDateInManyFolders(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	before := len(s.Messages("Lists"))
	s.Deliver("Archive", onWire(letter("no 1")), flags(`\Seen`), day)
	d.sync()
	s.Deliver("Lists", onWire(letter("no 2")), flags(`\Seen`), day)
	scans := map[mail.Folder]int{}
	s.Before = func(c sim.Call) error {
		if c.Method == "Scan" {
			scans[c.Folder]++
		}
		return nil
	}
	d.sync()
	if scans["Lists"] != 1 || scans["Archive"] != 0 {
		t.Errorf("it scanned %v", scans)
	}
	d.has("Lists", before+1)
	d.inStep()
	d.quiet()
}

// A file is moved here, and its message elsewhere in the moment in which it is to follow; and
// the server refuses something else in the folder that the file went to, which is not looked at
// again in that run. The file is still there: the message is not downloaded beside it.
func TestAFileInAFolderThatIsLeftForThisRun(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	s.Deliver("Lists", onWire(letter("flagged")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	d.rename(d.find("Lists", "About flagged."), "cur", "FS")
	d.moveHere(d.find("Archive", "About moved."), "Lists", "1.other:2,S")
	s.Before = func(c sim.Call) error {
		switch c.Method {
		case "Move":
			s.Move("Archive", uid, "INBOX")
		case "Store":
			return mail.ErrRefused
		}
		return nil
	}
	if _, err := d.run(); err != nil {
		t.Fatal(err)
	}
	s.Before = nil
	d.moveHere(d.find("Lists", "About moved."), "Lists/go", "2.other:2,S")
	d.sync()
	d.sync()
	d.once("About moved.")
	d.has("Lists/go", 1)
	d.inStep()
	d.quiet()
}

// A program gives a file another name and a field more, and its message moves on the server: the
// file follows, and is what that message is.
func TestAFileThatGotAFieldAndWhoseMessageMoves(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Lists", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	old := d.find("Lists", "About moved.")
	d.put("Lists", "1.other:2,FS", strings.Replace(letter("moved"), "\n", "\nContent-Length: 42\n", 1))
	must(t, os.Remove(old))
	s.Move("Lists", uid, "Archive")
	d.sync()
	d.sync()
	d.has("Archive", 1)
	d.has("Trash", 0)
	d.quiet()
}

// A message moves here and there, and the folder that it has moved to there cannot be read in this
// run: its file waits, also where the server has to be asked for the status of each folder, and may
// not tell.
func TestAFileWhoseMessageIsWhereItCannotBeRead(t *testing.T) {
	for name, silent := range map[string]func(call sim.Call) bool{
		"which tells its status": nil,
		"which has to be asked":  func(sim.Call) bool { return false },
		"which tells nothing":    func(call sim.Call) bool { return call.Method == "Examine" },
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			s.Options.NoStatus = silent != nil
			uid := s.Deliver("Lists", onWire(letter("moved")), flags(`\Seen`), day)
			d := newDevice(t, s)
			d.opts.Connections = 1
			d.sync()
			moved := false
			s.Before = func(call sim.Call) error {
				if call.Method == "Scan" && call.Folder == "Lists" && !moved {
					moved = true
					d.moveHere(d.find("Lists", "About moved."), "Archive", "1.other:2,S")
					s.Move("Lists", uid, "INBOX")
				}
				if call.Folder == "INBOX" && (call.Method == "Identify" || call.Method == "Scan" && moved || silent != nil && silent(call)) {
					return io.ErrUnexpectedEOF
				}
				return nil
			}
			s.Deliver("INBOX", onWire(letter("new")), mail.Flags{}, day)
			if _, err := d.run(); err != nil {
				t.Fatal(err)
			}
			if n := len(s.Messages("Archive")); n != 0 {
				t.Errorf("it was put into Archive")
			}
			s.Before = nil
			d.sync()
			d.sync()
			d.once("About moved.")
			d.inStep()
			d.quiet()
		})
	}
}

func halfway(t *testing.T, state bool, act func(d *device, path string)) {
	s := account(t)
	must(t, s.CreateFolder("Drafts"))
	s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.sync()
	if state {
		d.state = sim.NewState()
	} else {
		must(t, s.ChangeUIDValidity("Archive"))
	}
	before, uid := len(s.Messages("Lists")), s.Messages("Archive")[0].UID
	s.Copy("Archive", uid, "Lists")
	noBodies(t, s)
	inner, listings, left := s.Before, 0, false
	s.Before = func(c sim.Call) error {
		switch {
		case c.Method == "Folders":
			listings++
		case c.Method == "Scan" && c.Folder == "Archive" && listings > 1 && !left: // it is read once more
			left = true
			act(d, d.find("Archive", "About moved."))
			must(t, s.Expunge("Archive", uid))
		}
		return inner(c)
	}
	d.sync()
	if s.Before = nil; !left {
		t.Error("the folder that it may be leaving was not read once more")
	}
	d.sync()
	for folder, n := range map[mail.Folder]int{"Archive": 0, "Drafts": 0, "Trash": 0, "Lists": before + 1} {
		d.has(folder, n)
	}
	d.inStep()
	d.quiet()
}

// A phone moves a message by COPY, and this device has it in both places when the first one goes. Its
// file moves back here, and the phone moves it on: that is the one which was moved here, or it would
// be kept for that, and there twice. The other one is gone.
func TestOfTwoPlacesTheOneThatWasMovedHereIsTheOneThatHasMoved(t *testing.T) {
	s := account(t)
	first := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	second := s.Copy("Archive", first, "Lists/go")
	d := newDevice(t, s)
	d.sync()
	d.moveHere(d.find("Lists/go", "About moved."), "Archive", "9.mine:2,S")
	must(t, s.Expunge("Archive", first))
	s.Move("Lists/go", second, "Lists")
	for range 2 {
		d.sync()
	}
	if places := placesOf(s, "About moved."); len(places) != 1 {
		t.Errorf("it is there as %q", places)
	}
	d.inStep()
	d.quiet()
}
