package sync_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	gosync "sync"
	"testing"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// doubtful is a Maildir in which no scan of one folder is believed.
type doubtful struct {
	engine.Local
	folder mail.Folder
}

func (l doubtful) Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (mail.Listing, error) {
	listing, err := l.Local.Scan(ctx, folder, letters)
	listing.Believed = listing.Believed && folder != l.folder
	return listing, err
}

// A file that is moved where it is not sure yet that it has left, while its message is moved
// elsewhere, is no copy of a message that was removed.
func TestAFileThatMayHaveMovedIsNotUploadedAsACopy(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, os.Rename(d.find("INBOX", "About read."), filepath.Join(d.dir("Archive"), "cur", "moved:2,S")))
	s.Move("INBOX", s.Messages("INBOX")[1].UID, "Lists")
	d.local = func(l engine.Local) engine.Local { return doubtful{l, "INBOX"} }
	d.sync()
	if n := len(s.Messages("Archive")); n != 0 {
		t.Errorf("Archive has %d messages on the server", n)
	}
	d.local = nil
	d.sync()
	d.sync()
	if n := len(s.Messages("Archive")) + len(s.Messages("Lists")); n != 1 {
		t.Errorf("it is there %d times", n)
	}
	d.inStep()
	d.quiet()
}

// A file that an interrupted run has removed is not one that somebody has removed, when its
// message turns out to have moved.
func TestAnInterruptedRemovalHereIsNotTakenForAPersons(t *testing.T) {
	for step := 1; ; step++ {
		s := account(t)
		d := newDevice(t, s)
		d.opts.Policy = always(conflict.Policy{Winner: conflict.DeleteWins})
		d.sync()
		uid := s.Messages("INBOX")[1].UID // "read"
		listed := false
		s.Before = func(c sim.Call) error {
			if c.Method == "Scan" && !listed {
				listed = true // so this run does not look into Archive
				s.Move("INBOX", uid, "Archive")
			}
			return nil
		}
		s.Deliver("INBOX", onWire(letter("new")), mail.Flags{}, day)
		d.crash = sim.NewCrash(step)
		_, err := d.run()
		crashed := errors.Is(err, sim.ErrCrashed)
		d.crash, s.Before = nil, nil
		d.sync()
		d.sync()
		if a, n := len(s.Messages("Archive")), len(s.Messages("Trash")); a != 1 || n != 0 {
			t.Errorf("killed at step %d: Archive has %d messages, Trash %d", step, a, n)
		}
		d.inStep()
		if !crashed {
			return
		}
	}
}

// Base may know of a removal that the server, which was restored to what the folder's cursor
// says, knows nothing of.
func TestAServerRestoredToTheLastCursorIsLookedAt(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	backup := s.Snapshot()
	must(t, os.Remove(d.find("INBOX", "About read.")))
	moved := false
	s.Before = func(c sim.Call) error {
		if moved && c.Method == "Scan" {
			return mail.ErrUnreachable
		}
		moved = moved || c.Method == "Move"
		return nil
	}
	if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
		t.Fatal(err)
	}
	s.Before = nil
	s.Restore(backup)
	d.sync()
	d.inStep()
	d.quiet()
}

// A restored server gives the UID of a copy to another message of the same size. The copy's file has
// a field more than what the server had, so that sizes tell nothing of it; its Message-ID does.
func TestAUIDThatARestoredServerGivesOutAgain(t *testing.T) {
	s := account(t)
	s.Options.NoCondStore = true
	d := newDevice(t, s)
	d.sync()
	backup := s.Snapshot()
	d.put("Archive", "1.copied:2,S", strings.Replace(letter("read"), "\n", "\nContent-Length: 42\n", 1))
	if rep := d.sync(); rep.Remote.New != 1 || len(s.Messages("Archive")[0].Raw) != len(onWire(letter("read"))) {
		t.Fatalf("it is no copy of what the server has: %+v", rep)
	}
	s.Restore(backup)
	if uid := s.Deliver("Archive", onWire(letter("rear")), mail.Flags{}, day.Add(time.Hour)); uid != 1 {
		t.Fatalf("it has UID %d", uid)
	}
	d.sync()
	d.sync()
	d.once("About rear.")
	d.has("Archive", 2)
	if there := len(s.Messages("Archive")); there != 2 {
		t.Errorf("the server has %d messages", there)
	}
}

// The server gets an older backup back, and its messages follow where their files went. But a
// file that was copied into Trash is not what became of its message, unless that was removed here
// since, as programs do that copy to Trash first.
func TestWhatWasCopiedBeforeTheServerWasRestored(t *testing.T) {
	for name, c := range map[string]struct {
		remove func(d *device)
		left   int
	}{
		"and removed here":          {func(d *device) { must(t, os.Remove(d.find("Lists/go", "About a list post."))) }, 0},
		"and removed on the server": {func(d *device) { must(t, d.server.Expunge("Lists/go", 1)) }, 1},
		"and removed on both sides": {func(d *device) {
			must(t, os.Remove(d.find("Lists/go", "About a list post.")))
			must(t, d.server.Expunge("Lists/go", 1))
		}, 0},
		"and kept": {func(*device) {}, 1},
	} {
		for _, together := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " at once ", together), func(t *testing.T) {
				s := account(t)
				d := newDevice(t, s)
				d.sync()
				backup := s.Snapshot()
				d.put("Trash", "1.copied:2,R", letter("a list post"))
				if !together {
					d.sync()
				}
				c.remove(d)
				d.sync()
				s.Deliver("INBOX", onWire(letter("later")), mail.Flags{}, day)
				d.sync()
				s.Restore(backup)
				d.sync()
				d.sync()
				d.has("Lists/go", c.left)
				d.has("Trash", 1)
				d.inStep()
				d.quiet()
			})
		}
	}
}

// The server gets an older backup back, and its messages cannot be read: a file is not uploaded
// that may be one of them, and has gone elsewhere since.
func TestAMessageThatCannotBeReadAndIsToFollowItsFile(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	backup := s.Snapshot()
	d.moveHere(d.find("INBOX", "About read."), "Archive", "1.moved:2,S")
	d.sync()
	for _, folder := range []mail.Folder{"INBOX", "Archive"} {
		s.Deliver(folder, onWire(letter("later in "+string(folder))), mail.Flags{}, day)
	}
	d.sync()
	s.Restore(backup)
	s.Before = func(call sim.Call) error {
		if call.Folder == "INBOX" && (call.Method == "Identify" || call.Method == "Fetch") {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 {
		t.Fatalf("%v, %v", err, rep.Problems)
	}
	s.Before = nil
	d.sync()
	d.once("About read.")
	d.has("Archive", 2)
	d.inStep()
	d.quiet()
}

// A state is lost, a message has moved, and the folder with its file cannot be read in that run: it
// is not fetched to where it went, but its file follows in the next one.
func TestAMessageWhoseFileIsInAFolderThatFails(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	s.Deliver("Archive", onWire("Subject: no ID\n\nStays.\n"), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	d.state = sim.NewState()
	s.Move("Archive", uid, "Lists")
	s.Before = func(call sim.Call) error {
		if call.Method == "Fetch" && call.Folder == "Archive" {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 || rep.Local.New != 0 {
		t.Fatalf("%v, %+v", err, rep)
	}
	s.Before = nil
	d.sync()
	d.once("About moved.")
	d.has("Lists", 1)
	d.inStep()
	d.quiet()
}

// A Maildir is restored, and its times are those that base has, since the disk has coarse
// ones. A new message comes to the folder before anything else: what the backup lacks is not
// gone for that.
func TestAMaildirRestoredWithTheTimesOfTheOther(t *testing.T) {
	s := account(t)
	s.Deliver("Archive", onWire(letter("first")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	marker := filepath.Join(d.dir("Archive"), ".mailtwin")
	old, err := os.ReadFile(marker)
	must(t, err)
	s.Deliver("Archive", onWire(letter("second")), flags(`\Seen`), day)
	d.sync()
	times := map[string]time.Time{}
	for _, sub := range []string{"cur", "new", "."} {
		info, err := os.Stat(filepath.Join(d.dir("Archive"), sub))
		must(t, err)
		times[sub] = info.ModTime()
	}
	must(t, os.Remove(d.find("Archive", "About second.")))
	must(t, os.WriteFile(marker, old, 0o600))
	for sub, at := range times {
		must(t, os.Chtimes(filepath.Join(d.dir("Archive"), sub), at, at))
	}
	s.Deliver("Archive", onWire(letter("third")), flags(`\Seen`), day)
	d.sync()
	d.sync()
	d.has("Archive", 3)
	d.inStep()
	d.quiet()
}

// A message moves on the server, and its file is removed here. A run records that, and dies. Then
// the folder that it was in is restored, with the times that base had before: it is looked at.
func TestAMaildirRestoredToWhatAMessageHasLeft(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.sync()
	cur := filepath.Join(d.dir("Archive"), "cur")
	at, err := os.Stat(cur)
	must(t, err)
	path := d.find("Archive", "About moved.")
	must(t, os.Rename(path, filepath.Join(d.root, "backup")))
	s.Move("Archive", uid, "Lists")
	d.dieAt("before Local.Publish")
	must(t, os.Rename(filepath.Join(d.root, "backup"), path))
	must(t, os.Chtimes(cur, at.ModTime(), at.ModTime()))
	d.sync()
	d.inStep()
	d.quiet()
}

// A run dies when it has put its marker into a folder, and has recorded nothing. The Maildir that
// it leaves is backed up, and the next runs go well. Restored, it is known for what it is: what it
// lacks is not gone.
func TestAMaildirRestoredToWhatAnInterruptedRunHasLeft(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	s.Deliver("Archive", onWire(letter("lost")), flags(`\Seen`), day)
	d.dieAt("after Local.SetMarker")
	marker := filepath.Join(d.dir("Archive"), ".mailtwin")
	backup, err := os.ReadFile(marker)
	must(t, err)
	d.sync()
	must(t, os.Remove(d.find("Archive", "About lost.")))
	must(t, os.WriteFile(marker, backup, 0o600))
	d.sync()
	d.sync()
	d.has("Archive", 1)
	d.inStep()
	d.quiet()
}

// It has the same marker, too, since no sync came between what it lacks and what it has more:
// then the weekly look at the folder finds that.
func TestAMaildirRestoredWithTheTimesAndTheMarkerOfTheOther(t *testing.T) {
	s := account(t)
	now := time.Now()
	d := newDevice(t, s)
	d.opts.Now = func() time.Time { return now }
	d.sync()
	cur := filepath.Join(d.dir("Archive"), "cur")
	at, err := os.Stat(cur)
	must(t, err)
	d.put("Archive", "1.other:2,S", letter("of the backup"))
	must(t, os.Chtimes(cur, at.ModTime(), at.ModTime()))
	now = now.Add(8 * 24 * time.Hour)
	d.sync()
	d.once("About of the backup.")
	d.inStep()
	d.quiet()
}

// A copy that a program puts into new/ has no flags to its name, and gets those that its
// message has.
func TestACopyInNewHasTheFlagsOfItsMessage(t *testing.T) {
	s := account(t)
	must(t, s.AddFlags("INBOX", s.Messages("INBOX")[1].UID, flags(`\Flagged`)))
	d := newDevice(t, s)
	d.sync()
	d.put("Archive", "9.copy", letter("read"))
	d.sync()
	d.inStep()
	d.quiet()
}

// What a person lets go with a folder that is gone on the server has nowhere to come back
// to, whatever was done to it here.
func TestAFolderThatIsLetGoTakesAlongWhatWasFlagged(t *testing.T) {
	s := account(t)
	s.Deliver("Archive", onWire(letter("kept")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	s.Expunge("Archive", s.Messages("Archive")[0].UID)
	must(t, s.DeleteFolder("Archive"))
	d.rename(d.find("Archive", "About kept."), "cur", "FS")
	if rep := d.sync(); len(rep.Held) != 1 {
		t.Fatalf("held: %+v", rep.Held)
	}
	d.allow("Archive")
	if _, err := os.Stat(d.dir("Archive")); err == nil {
		t.Error("Archive is still there")
	}
	d.inStep()
	d.quiet()
}

// That the state is lost is known from the moment on that base knows folders again, also to
// a run that comes after an interrupted one.
func TestALostStateIsNotForgottenByAnInterruptedRun(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.state = sim.NewState()
	s.Before = unreachable("Scan")
	if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
		t.Fatal(err)
	}
	s.Before = nil
	must(t, os.Rename(d.find("INBOX", "About read."), filepath.Join(d.dir("Lists"), "cur", "moved:2,S")))
	d.sync()
	if n := len(s.Messages("INBOX")) + len(s.Messages("Lists")); n != 3 {
		t.Errorf("INBOX and Lists have %d messages", n)
	}
	d.inStep()
	d.quiet()
}

// A state is lost, and a program saves a message to another folder before its own one can be read
// again: the body that would tell breaks off. Its file waits for that folder, and no message is
// uploaded beside it; what is nothing like it does not wait.
func TestAFileThatLeftAFolderThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		stays bool // another file of that folder, which cannot be told either
		first bool // a run has met all other folders
	}{
		"at once": {}, "after a run": {first: true}, "of several": {stays: true}, "of several, after a run": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			nameless := func(body string) string { return "Subject: no ID\n\nAbout " + body + ".\n" }
			s.Deliver("INBOX", onWire(nameless("saved")), flags(`\Seen`), day)
			if c.stays {
				s.Deliver("INBOX", onWire(nameless("other")), flags(`\Seen`), day)
			}
			d := newDevice(t, s)
			d.sync()
			d.state = sim.NewState()
			s.Cut = func(call sim.Call, size int64) int64 {
				if call.Method == "Fetch" && call.Folder == "INBOX" {
					return size / 2
				}
				return -1
			}
			broken := func() {
				t.Helper()
				if rep, err := d.run(); err != nil || len(rep.Problems) != 1 || rep.Problems[0].Folder != "INBOX" {
					t.Fatalf("%v, %v", err, rep.Problems)
				}
			}
			if c.first {
				broken()
			}
			must(t, os.Remove(d.find("INBOX", "About saved.")))
			d.put("Archive", "1.other:2,S", nameless("saved"))
			d.put("Archive", "2.other:2,S", letter("new here"))
			broken()
			d.once("About new here.")
			d.once("About saved.")
			s.Cut = nil
			d.sync()
			d.sync()
			d.once("About saved.")
			d.inStep()
			d.quiet()
		})
	}
}

// A folder of which nothing is known gets other UIDs while its messages are told from its files:
// the files wait until it is read anew.
func TestAFolderThatGetsOtherUIDsWhileItIsKnownAgain(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.state = sim.NewState()
	noBodies(t, s)
	inner, once := s.Before, gosync.Once{}
	s.Before = func(c sim.Call) error {
		if c.Method == "Identify" && c.Folder == "INBOX" {
			once.Do(func() { must(t, s.ChangeUIDValidity("INBOX")) })
		}
		return inner(c)
	}
	d.sync()
	s.Before = nil
	d.has("INBOX", 3)
	d.inStep()
	d.quiet()
}
