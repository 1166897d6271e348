package sync_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// A message is copied here, which is interrupted, and then thrown away by another device:
// it is the message that went to Trash, and not the copy.
func TestACopyOfWhatIsThrownAwayElsewhere(t *testing.T) {
	for i := range 4 {
		done, half := i%2 == 1, i > 1 // half: while the next run reads the folders
		s := account(t)
		uid := s.Deliver("Lists", onWire(letter("copied")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		archived, lists := len(s.Messages("Archive")), len(s.Messages("Lists"))
		must(t, os.Link(d.find("Lists", "About copied."), filepath.Join(d.dir("Archive"), "cur", "2.other:2,S")))
		fail := unreachable("Copy")
		if done {
			s.After = fail
		} else {
			s.Before = fail
		}
		d.unreached()
		s.Before, s.After = nil, nil
		if half {
			s.Deliver("Trash", onWire(letter("other")), flags(`\Seen`), day)
			must(t, s.AddFlags("Lists", uid, flags(`\Answered`)))
			s.Before = func(c sim.Call) error {
				if c.Method == "Scan" && c.Folder == "Trash" && len(s.Messages("Lists")) == lists {
					s.Move("Lists", uid, "Trash")
				}
				return nil
			}
		} else {
			s.Move("Lists", uid, "Trash")
		}
		d.sync()
		s.Before = nil
		d.sync()
		d.has("Archive", archived+1)
		d.has("Lists", lists-1)
		d.has("Trash", 1+i/2)
		d.inStep()
		d.quiet()
	}
}

// A run moves a message on the server and dies; then the file is moved back. It is the
// message that is still there, and not the one that it was before.
func TestAMoveThatIsTakenBackAfterItsRunDied(t *testing.T) {
	for _, name := range []string{"3.other:2,RS", ""} {
		for _, copied := range []int{0, 1} {
			takenBack(t, name, copied)
		}
	}
}

// cutOffInAMove is a device whose program has moved a file from Archive to Lists, and whose run was cut
// off when the server had moved the message. The server has one more folder.
func cutOffInAMove(t *testing.T, more mail.Folder) (d *device, old, path string) {
	s := account(t)
	must(t, s.CreateFolder(more))
	s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d = newDevice(t, s)
	d.sync()
	old = d.find("Archive", "About moved.")
	path = filepath.Join(d.dir("Lists"), "cur", filepath.Base(old))
	must(t, os.Rename(old, path))
	s.After = unreachable("Move")
	d.unreached()
	s.After = nil
	return d, old, path
}

func takenBack(t *testing.T, name string, copied int) {
	d, old, path := cutOffInAMove(t, "A copy")
	s := d.server
	if name == "" {
		name = strings.Replace(filepath.Base(old), ":2,", ":2,R", 1) // it keeps its key
	}
	if copied > 0 {
		must(t, os.Link(path, filepath.Join(d.dir("A copy"), "cur", "4.other:2,S")))
	}
	must(t, os.Rename(path, filepath.Join(d.dir("Archive"), "cur", name)))
	d.sync()
	d.sync()
	archived := s.Messages("Archive")
	if len(archived) != 1 || !archived[0].Flags.Equal(flags(`\Answered`, `\Seen`)) {
		t.Errorf("Archive has %v", archived)
	}
	d.has("Archive", 1)
	d.has("A copy", copied)
	d.has("Trash", 0)
	d.inStep()
	d.quiet()
}

// A run dies when it is about to move a message on the server, the file is moved back, and
// another device moves the message to where it was to go, also while the next run reads the
// folders. Nobody has thrown it away.
func TestAMoveThatAnotherDeviceMakesAfterItsRunDied(t *testing.T) {
	for _, at := range []mail.Folder{"", "Archive", "INBOX", "Lists"} { // when that is read
		for _, to := range []mail.Folder{"INBOX", "A first"} {
			t.Run(fmt.Sprint("to ", to, ", at ", at), func(t *testing.T) {
				s := account(t)
				must(t, s.CreateFolder("A first"))
				s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
				d := newDevice(t, s)
				d.opts.Connections = 1
				d.sync()
				old := d.find("Archive", "About moved.")
				path := filepath.Join(d.dir(to), "cur", filepath.Base(old))
				must(t, os.Rename(old, path))
				s.Before = unreachable("Move")
				d.unreached()
				must(t, os.Rename(path, old))
				s.Before = func(c sim.Call) error {
					if c.Method == "Scan" && c.Folder == at {
						moveThere(s, "Archive", "About moved.", to)
					}
					return nil
				}
				if at == "" {
					moveThere(s, "Archive", "About moved.", to)
				}
				s.Deliver("Lists", onWire(letter("other")), flags(`\Seen`), day)
				d.sync()
				s.Before = nil
				d.sync()
				d.has("Trash", 0)
				d.once("About moved.")
				d.inStep()
				d.quiet()
			})
		}
	}
}

// A file and its message were moved alike, and a run that finds that dies; then the file is
// moved back. Nobody has thrown it away.
func TestAMoveOnBothSidesThatIsTakenBackAfterItsRunDied(t *testing.T) {
	prepare := func() (d *device, old, path string) {
		s := account(t)
		s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
		d = newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		old = d.find("Archive", "About moved.")
		path = filepath.Join(d.dir("INBOX"), "cur", filepath.Base(old))
		must(t, os.Rename(old, path))
		moveThere(s, "Archive", "About moved.", "INBOX")
		return d, old, path
	}
	d, _, _ := prepare()
	for at, step := range d.dies(0) {
		d, old, path := prepare()
		inbox := len(d.server.Messages("INBOX")) - 1
		d.dies(at + 1)
		must(t, os.Rename(path, old))
		d.sync()
		d.sync()
		t.Log(step)
		d.has("Trash", 0)
		if got := len(d.server.Messages("Archive")) + len(d.server.Messages("INBOX")) - inbox; got != 1 {
			t.Errorf("it is there %d times", got)
		}
		d.inStep()
		d.quiet()
	}
}

// A run dies after a download, before that is recorded. The file moves, and another device
// moves the message elsewhere: it goes where the server has it.
func TestAnUnrecordedDownloadThatMovesOnBothSides(t *testing.T) {
	prepare := func() (*device, mail.UID) {
		s := account(t)
		must(t, s.CreateFolder("Drafts"))
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		return d, s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	}
	d, _ := prepare()
	at := slices.Index(d.dies(0), "after Local.Publish") + 1
	d, uid := prepare()
	d.dies(at)
	drafts := filepath.Join(d.dir("Drafts"), "cur", "2.other:2,S")
	must(t, os.Rename(d.find("Archive", "About moved."), drafts))
	lists := len(d.server.Messages("Lists"))
	d.server.Move("Archive", uid, "Lists")
	d.sync()
	d.sync()
	d.has("Archive", 0)
	d.has("Drafts", 0)
	d.has("Lists", lists+1)
	d.inStep()
	d.quiet()
}

// A run dies after a download, before that is recorded. The power has left both names of
// the file, and a reader flags it: it is not there twice afterwards.
func TestAnUnrecordedDownloadUnderBothItsNames(t *testing.T) {
	prepare := func() *device {
		s := account(t)
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		s.Deliver("Archive", onWire(letter("fresh")), flags(`\Seen`), day)
		return d
	}
	d := prepare()
	at := slices.Index(d.dies(0), "after Local.Publish") + 1
	d = prepare()
	d.dies(at)
	path := d.find("Archive", "About fresh.")
	key, _, _ := strings.Cut(filepath.Base(path), ":")
	must(t, os.Link(path, filepath.Join(d.dir("Archive"), "tmp", key)))
	d.rename(path, "cur", "FS")
	d.sync()
	d.has("Archive", 1)
	d.inStep()
	d.quiet()
}

// A message has a copy elsewhere, which is a link here. It moves on the server; the run dies as
// its file has moved, too, before that is recorded, and the power leaves the file both names. A
// flag that base did not record is no reason to take the old name for a message that is wanted
// after all. The copy keeps its name.
func TestALinkedFileThatIsUnderBothNamesOfItsMove(t *testing.T) {
	prepare := func() *device {
		s := account(t)
		uid := s.Deliver("Lists", onWire(letter("linked")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		s.Copy("Lists", uid, "Archive")
		d.sync()
		s.Move("Lists", uid, "INBOX")
		d.rename(d.find("Lists", "About linked."), "cur", "FS")
		return d
	}
	at := slices.Index(prepare().dies(0), "after Local.Move") + 1
	d := prepare()
	inbox, old := len(d.files("INBOX")), d.find("Lists", "About linked.")
	d.dies(at)
	must(t, os.Link(d.find("INBOX", "About linked."), old))
	d.sync()
	d.has("INBOX", inbox+1)
	d.has("Lists", 0)
	d.has("Archive", 1)
	d.inStep()
	d.quiet()
}

// A message moves on the server, and its file elsewhere here. The run dies as the file has followed
// the message, and the power leaves it both names: the one that its reader gave it goes.
func TestAFileThatFollowsFromElsewhereUnderBothItsNames(t *testing.T) {
	for _, name := range []string{"", "1.other:2,S"} {
		prepare := func() (*device, string) {
			s := account(t)
			uid := s.Deliver("Lists", onWire(letter("moved")), flags(`\Seen`), day)
			d := newDevice(t, s)
			d.opts.Connections = 1
			d.sync()
			s.Move("Lists", uid, "Archive")
			path := d.find("Lists", "About moved.")
			return d, d.moveHere(path, "INBOX", cmp.Or(name, filepath.Base(path)))
		}
		d, _ := prepare()
		inbox, at := len(d.files("INBOX"))-1, slices.Index(d.dies(0), "after Local.Move")+1
		d, old := prepare()
		d.dies(at)
		must(t, os.Link(d.find("Archive", "About moved."), old))
		d.sync()
		d.has("INBOX", inbox)
		d.has("Lists", 0)
		d.has("Archive", 1)
		d.inStep()
		d.quiet()
	}
}

// A run moves a file here and dies before it records that; the next one records that the
// old place is empty, and dies before it records the new one. Then the message moves on:
// the file goes along, and is not taken for a new one.
func TestAMoveThatIsHalfRecorded(t *testing.T) {
	prepare := func() *device {
		s := account(t)
		must(t, s.CreateFolder("Drafts"))
		uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		s.Move("Archive", uid, "Lists")
		return d
	}
	first := slices.Index(prepare().dies(0), "after Local.Move") + 1
	d := prepare()
	d.dies(first)
	for at := range d.dies(0) {
		d := prepare()
		d.dies(first)
		d.dies(at + 1)
		s := d.server
		moveThere(s, "Lists", "About moved.", "Drafts")
		d.sync()
		d.sync()
		d.has("Archive", 0)
		d.has("Lists", 0)
		d.has("Drafts", 1)
		d.inStep()
		d.quiet()
	}
}

// Where there is no MOVE, a message is copied and not yet expunged when the run ends; then its
// file is removed from where it went. What becomes of it is decided about the copy alone.
func TestAFileThatIsRemovedWhileItsMessageIsInTwoPlaces(t *testing.T) {
	for _, flagged := range []bool{false, true} {
		s := account(t)
		s.Options.NoMove = true
		uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.sync()
		path := d.moveHere(d.find("Archive", "About moved."), "Lists", "2.other:2,S")
		if flagged {
			must(t, s.AddFlags("Archive", uid, flags(`\Flagged`))) // which the copy has, too
		}
		s.Before = unreachable("Expunge")
		d.unreached()
		s.Before = nil
		must(t, os.Remove(path))
		tick(t, d.root)
		d.sync()
		d.sync()
		at := mail.Folder("Trash")
		if flagged {
			at = "Lists" // where it comes back
		}
		if places := placesOf(s, "About moved."); len(places) != 1 || !strings.HasPrefix(places[0], string(at)) {
			t.Errorf("flagged %v: it is there as %q, want one in %s", flagged, places, at)
		}
		d.inStep()
		d.quiet()
	}
}

// A program has copied a file, and a run moves the file to where its message is by now, and dies.
// So does the next one, which has met the file there. What had the file's inode is what has moved:
// the copy is one, and stays when the message is removed.
func TestACopyOfAFileThatAnInterruptedRunHasMoved(t *testing.T) {
	for _, step := range []string{"before Local.Secure", "after Local.Secure", "before State.Commit", "before Remote.Append", "after Remote.Append"} {
		s := account(t)
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.sync()
		uid := s.Deliver("Lists", onWire(letter("moved")), flags(`\Seen`), day)
		d.sync()
		d.put("Archive", "9.copy:2,S", letter("moved"))
		moved := s.Move("Lists", uid, "Lists/go")
		d.dieAt("after Local.Move")
		d.dieAt(step)
		s.Move("Lists/go", moved, "Trash")
		d.sync()
		d.sync()
		d.has("Archive", 1)
		d.has("Trash", 1)
		d.inStep()
		d.quiet()
		if t.Failed() {
			t.Fatalf("the second run died %s", step)
		}
	}
}

// So it is also where somebody has put an equal message into another folder on the server meanwhile:
// that is no other place of the message that the file was before.
func TestAMoveThatIsTakenBackBesideATwin(t *testing.T) {
	for _, to := range []mail.Folder{"A copy", "Z copy"} {
		d, old, path := cutOffInAMove(t, to)
		s := d.server
		must(t, os.Rename(path, old))
		s.Copy("Lists", s.Messages("Lists")[0].UID, to)
		d.sync()
		d.sync()
		d.has("Archive", 1)
		d.has(to, 1)
		d.has("Lists", 0)
		d.has("Trash", 0)
		d.inStep()
		d.quiet()
	}
}
