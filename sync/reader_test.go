package sync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	gosync "sync"
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

// A run dies after an upload; the file is moved, the next run dies, too; and another
// device puts the message back to where it was uploaded to. That is no removal of the
// file that was once uploaded there.
func TestAMessageThatComesBackToWhereItWasUploaded(t *testing.T) {
	first := func(t *testing.T) *device {
		d := newDevice(t, account(t))
		d.opts.Connections = 1
		d.sync()
		d.put("Archive", "1.other:2,S", letter("uploaded"))
		return d
	}
	steps := func(d *device) []string {
		d.crash = sim.NewCrash(0)
		d.sync()
		return d.crash.Names()
	}
	die := func(d *device, at int) {
		d.crash = sim.NewCrash(at)
		d.run()
		d.crash = nil
	}
	for one, step := range steps(first(t)) {
		if !strings.HasSuffix(step, " Remote.Append") {
			continue
		}
		second := func(t *testing.T) *device {
			d := first(t)
			die(d, one+1)
			path := d.find("Archive", "About uploaded.")
			must(t, os.Rename(path, filepath.Join(d.dir("Lists"), "cur", "2.other:2,S")))
			return d
		}
		for two, again := range steps(second(t)) {
			t.Run(step+", "+again, func(t *testing.T) {
				d := second(t)
				die(d, two+1)
				s := d.server
				for _, m := range s.Messages("Lists") {
					if strings.Contains(string(m.Raw), "About uploaded.") {
						s.Move("Lists", m.UID, "Archive")
					}
				}
				d.sync()
				d.sync()
				found := 0
				for _, folder := range []mail.Folder{"Archive", "Lists"} {
					for _, text := range censusOf(s, folder) {
						found += strings.Count(text, "About uploaded.")
					}
				}
				if found != 1 {
					t.Errorf("it is there %d times", found)
				}
				d.has("Trash", 0)
				d.inStep()
				d.quiet()
			})
		}
	}
}

// A run dies after an upload. Then the file is moved and flagged, and the message flagged
// by another device: no flag is lost.
func TestFlagsOfAMessageThatMovesAfterAnInterruptedUpload(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	path := d.put("Archive", "1.other:2,", letter("moved"))
	breakOff(s)
	d.run()
	s.After = nil
	all := s.Messages("Archive")
	must(t, s.AddFlags("Archive", all[len(all)-1].UID, flags(`\Answered`)))
	must(t, os.Rename(path, filepath.Join(d.dir("Lists"), "cur", "2.other:2,DS")))
	d.sync()
	d.sync()
	all = s.Messages("Lists")
	if got := all[len(all)-1].Flags; !got.Equal(flags(`\Answered`, `\Draft`, `\Seen`)) {
		t.Errorf("it has %v", got)
	}
	d.inStep()
	d.quiet()
}

// restless is a Maildir whose folders never come to rest.
type restless struct{ engine.Local }

func (r restless) Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (mail.Listing, error) {
	listing, err := r.Local.Scan(ctx, folder, letters)
	listing.Believed, listing.Stamp = false, mail.Stamp{}
	return listing, err
}

// While readers are at work it is not known that a file is gone from where it was, and so
// not whether a new one is where it went, or a copy. It is not copied until that is known:
// another device may move the message meanwhile.
func TestAMoveInARestlessMaildirIsNoCopy(t *testing.T) {
	for name, c := range map[string]struct {
		known bool // the message is in base, and not only an upload that was interrupted
		copy  bool
	}{
		"moved": {known: true}, "copied": {known: true, copy: true}, "moved after an upload": {},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.opts.Connections = 1
			d.sync()
			path := d.put("Archive", "1.other:2,S", letter("moved"))
			if !c.known {
				breakOff(s)
				d.run()
				s.After = nil
			} else {
				d.sync()
			}
			to := filepath.Join(d.dir("Lists"), "cur", "2.other:2,S")
			if c.copy {
				must(t, os.Link(path, to))
			} else {
				must(t, os.Rename(path, to))
			}
			d.local = func(l engine.Local) engine.Local { return restless{l} }
			d.sync()
			d.local = nil
			archived := s.Messages("Archive")
			s.Move("Archive", archived[len(archived)-1].UID, "INBOX")
			d.sync()
			d.sync()
			found := 0
			for _, folder := range s.Folders() {
				for _, text := range censusOf(s, folder) {
					found += strings.Count(text, "About moved.")
				}
			}
			if want := map[bool]int{false: 1, true: 2}[c.copy]; found != want {
				t.Errorf("it is there %d times, want %d", found, want)
			}
			d.has("Trash", 0)
			d.inStep()
			d.quiet()
		})
	}
}

// A message is moved on the server while a sync reads the folders, so that it sees only
// that it has gone, or only that it has come. Its file was flagged, or moved, here: it is
// not uploaded again, and no flag is lost.
func TestAMoveOnTheServerOfWhichHalfIsSeen(t *testing.T) {
	flag := func(d *device, path string) { d.rename(path, "cur", "FS") }
	move := func(d *device, path string) {
		must(d.t, os.Rename(path, filepath.Join(d.dir("Drafts"), "cur", "2.other:2,FS")))
	}
	for name, c := range map[string]struct {
		act func(d *device, path string)
		at  mail.Folder // before that one is read
	}{
		"flagged, and gone": {flag, "Lists"}, "flagged, and come": {flag, "Archive"},
		"moved, and gone": {move, "Lists"}, "moved, and come": {move, "Archive"},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
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
			var found []string
			for _, folder := range s.Folders() {
				for _, m := range s.Messages(folder) {
					if strings.Contains(string(m.Raw), "About moved.") {
						found = append(found, string(folder)+" "+m.Flags.String())
					}
				}
			}
			if len(found) != 1 || !strings.Contains(found[0], `\Flagged`) {
				t.Errorf("it is there as %q", found)
			}
			d.inStep()
			d.quiet()
		})
	}
}

// A message is copied here, which is interrupted, and then thrown away by another device:
// it is the message that went to Trash, and not the copy.
func TestACopyOfWhatIsThrownAwayElsewhere(t *testing.T) {
	for _, done := range []bool{false, true} {
		s := account(t)
		uid := s.Deliver("Lists", onWire(letter("copied")), flags(`\Seen`), day)
		d := newDevice(t, s)
		d.sync()
		archived, lists := len(s.Messages("Archive")), len(s.Messages("Lists"))
		must(t, os.Link(d.find("Lists", "About copied."), filepath.Join(d.dir("Archive"), "cur", "2.other:2,S")))
		fail := func(c sim.Call) error {
			if c.Method == "Copy" {
				return mail.ErrUnreachable
			}
			return nil
		}
		if done {
			s.After = fail
		} else {
			s.Before = fail
		}
		if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
			t.Fatalf("the sync ended with %v", err)
		}
		s.Before, s.After = nil, nil
		s.Move("Lists", uid, "Trash")
		d.sync()
		d.sync()
		d.has("Archive", archived+1)
		d.has("Lists", lists-1)
		d.has("Trash", 1)
		d.inStep()
		d.quiet()
	}
}

// quick is a Maildir with a reader that renames a file just before it is read.
type quick struct {
	engine.Local
	before func(file mail.File)
}

func (q quick) Read(ctx context.Context, folder mail.Folder, file mail.File) (mail.Source, error) {
	q.before(file)
	return q.Local.Read(ctx, folder, file)
}

// A file and a message are one, and a reader renames the file before it can be read: the
// message is not downloaded beside it.
func TestAFileThatIsRenamedBeforeItIsKnown(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	path := d.put("Archive", "1.other:2,S", letter("both"))
	s.Deliver("Archive", onWire(letter("both")), flags(`\Seen`), day)
	once := true
	d.local = func(l engine.Local) engine.Local {
		return quick{l, func(file mail.File) {
			if once && file.Key == "1.other" {
				once = false
				path = d.rename(path, "cur", "FS")
			}
		}}
	}
	noBodies(t, s)
	d.sync()
	if once {
		t.Error("it was not renamed")
	}
	s.Before, d.local = nil, nil
	d.sync()
	archived := 0
	for _, text := range censusOf(s, "Archive") {
		archived += strings.Count(text, "About both.")
	}
	if archived != 1 {
		t.Errorf("it is there %d times", archived)
	}
	d.inStep()
	d.quiet()
}

// A file moves, and a reader renames it before it can be read where it has gone: it is not
// thrown away.
func TestAMovedFileThatIsRenamedBeforeItIsKnown(t *testing.T) {
	s := account(t)
	s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	path := filepath.Join(d.dir("Lists"), "cur", "2.other:2,S")
	must(t, os.Rename(d.find("Archive", "About moved."), path))
	once := true
	d.local = func(l engine.Local) engine.Local {
		return quick{l, func(file mail.File) {
			if once && file.Key == "2.other" {
				once = false
				path = d.rename(path, "cur", "FS")
			}
		}}
	}
	noBodies(t, s)
	d.sync()
	if once {
		t.Error("it was not renamed")
	}
	s.Before, d.local = nil, nil
	d.sync()
	d.has("Archive", 0)
	d.has("Trash", 0)
	d.inStep()
	d.quiet()
}

// A run moves a message on the server and dies; then the file is moved back. It is the
// message that is still there, and not the one that it was before.
func TestAMoveThatIsTakenBackAfterItsRunDied(t *testing.T) {
	for _, name := range []string{"3.other:2,FS", ""} {
		takenBack(t, name)
	}
}

func takenBack(t *testing.T, name string) {
	s := account(t)
	s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	old := d.find("Archive", "About moved.")
	path := filepath.Join(d.dir("Lists"), "cur", filepath.Base(old))
	must(t, os.Rename(old, path))
	s.After = func(c sim.Call) error {
		if c.Method == "Move" {
			return mail.ErrUnreachable
		}
		return nil
	}
	if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
		t.Fatalf("the sync ended with %v", err)
	}
	s.After = nil
	if name == "" {
		name = strings.Replace(filepath.Base(old), ":2,", ":2,F", 1) // it keeps its key
	}
	must(t, os.Rename(path, filepath.Join(d.dir("Archive"), "cur", name)))
	d.sync()
	d.sync()
	archived := s.Messages("Archive")
	if len(archived) != 1 || !archived[0].Flags.Equal(flags(`\Flagged`, `\Seen`)) {
		t.Errorf("Archive has %v", archived)
	}
	d.has("Archive", 1)
	d.has("Trash", 0)
	d.inStep()
	d.quiet()
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
	d.crash = sim.NewCrash(0)
	d.sync()
	at := slices.Index(d.crash.Names(), "after Local.Publish") + 1
	d, uid := prepare()
	d.crash = sim.NewCrash(at)
	d.run()
	d.crash = nil
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
