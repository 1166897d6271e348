package sync_test

import (
	"context"
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
			places := placesOf(s, "About moved.")
			if want := map[bool]int{false: 1, true: 2}[c.copy]; len(places) != want {
				t.Errorf("it is there as %q, want %d", places, want)
			}
			d.has("Trash", 0)
			d.inStep()
			d.quiet()
		})
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

// renamedBeforeItIsRead syncs while a reader flags the file just before that is read, and
// once more. No body of a message may travel meanwhile.
func (d *device) renamedBeforeItIsRead(path string) {
	d.t.Helper()
	noBodies(d.t, d.server)
	d.hurry(path)
	d.server.Before = nil
	d.sync()
}

// hurry syncs while a reader flags the file just before that is read.
func (d *device) hurry(path string) {
	d.t.Helper()
	key, _, _ := strings.Cut(filepath.Base(path), ":")
	once := true
	d.local = func(l engine.Local) engine.Local {
		return quick{l, func(file mail.File) {
			if once && file.Key == mail.Key(key) {
				once = false
				d.rename(path, "cur", "FS")
			}
		}}
	}
	d.sync()
	if once {
		d.t.Error("it was not renamed")
	}
	d.local = nil
}

// A file and a message are one, and a reader renames the file before it can be read: the
// message is not downloaded beside it.
func TestAFileThatIsRenamedBeforeItIsKnown(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	path := d.put("Archive", "1.other:2,S", letter("both"))
	s.Deliver("Archive", onWire(letter("both")), flags(`\Seen`), day)
	d.renamedBeforeItIsRead(path)
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
	d.renamedBeforeItIsRead(path)
	d.has("Archive", 0)
	d.has("Trash", 0)
	d.inStep()
	d.quiet()
}

// A file moves, the state is lost, and a reader renames the file before it can be read where it
// has gone: it goes back to where its message is, and is no copy of that.
func TestAMovedFileThatIsRenamedBeforeItIsKnownAgain(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	path := d.moveHere(d.find("Archive", "About moved."), "Lists", "2.other:2,S")
	d.state = sim.NewState()
	d.renamedBeforeItIsRead(path)
	d.has("Archive", 1)
	d.has("Lists", 0)
	if got := s.Messages("Archive")[0].UID; got != uid {
		t.Errorf("it has UID %d, and had %d", got, uid)
	}
	d.inStep()
	d.quiet()
}

// A run dies once it has moved a file after its message, or landed one that a program then moves,
// and a reader renames that file before it can be read: it is the message's, which is not brought
// here beside it.
func TestAFileOfADeadRunThatIsRenamedBeforeItIsKnown(t *testing.T) {
	for name, begin := range map[string]func(s *sim.Server, d *device){
		"moved": func(s *sim.Server, d *device) {
			uid := s.Deliver("Archive", onWire(letter("begun")), flags(`\Seen`), day)
			d.sync()
			s.Move("Archive", uid, "Lists")
			d.dieAt("after Local.Move")
		},
		"landed, and moved by a program": func(s *sim.Server, d *device) {
			d.sync()
			s.Deliver("Archive", onWire(letter("begun")), flags(`\Seen`), day)
			d.dieAt("after Local.SyncFolder")
			d.moveHere(d.find("Archive", "About begun."), "Lists", "2.other:2,S")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.opts.Connections = 1
			begin(s, d)
			d.hurry(d.find("Lists", "About begun."))
			d.sync()
			d.once("About begun.")
			d.has("Archive", 0)
			d.inStep()
			d.quiet()
		})
	}
}

// missing is a Maildir with a reader at whose renames scans miss a file.
type missing struct {
	engine.Local
	key mail.Key
}

func (m missing) Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (mail.Listing, error) {
	listing, err := m.Local.Scan(ctx, folder, letters)
	if err != nil {
		return listing, err
	}
	files := slices.Collect(listing.Files)
	left := slices.DeleteFunc(files, func(file mail.File) bool { return file.Key == m.key })
	listing.Files = slices.Values(left)
	if len(left) < len(files) {
		listing.Believed, listing.Stamp = false, mail.Stamp{}
	}
	return listing, nil
}

// The answer to an upload is lost, another device moves the message, also while the next
// sync reads the folders, and that sync cannot read the file, or misses it, since a reader
// is at work: the file goes where the message is, and neither comes a second time.
func TestAMessageThatIsMovedOnWhileItsFileCannotBeRead(t *testing.T) {
	for name, read := range map[string]func(d *device, path string){
		"at rest":                   func(d *device, _ string) { d.sync() },
		"renamed before it is read": func(d *device, path string) { d.hurry(path) },
		"missed": func(d *device, _ string) {
			d.local = func(l engine.Local) engine.Local { return missing{l, "1.other"} }
			d.sync()
			d.local = nil
			d.sync()
		},
	} {
		for _, to := range []mail.Folder{"A first", "Lists"} {
			for _, when := range []mail.Folder{"", "A first", "Archive", "Lists"} { // before that is read
				t.Run(fmt.Sprint(name, ", to ", to, ", at ", when), func(t *testing.T) {
					s := account(t)
					must(t, s.CreateFolder("A first"))
					d := newDevice(t, s)
					d.opts.Connections = 1
					d.sync()
					path := d.put("Archive", "1.other:2,S", letter("uploaded"))
					s.After = unreachable("Append")
					d.unreached()
					var once gosync.Once
					move := func() { once.Do(func() { moveThere(s, "Archive", "About uploaded.", to) }) }
					s.After = nil
					if when == "" {
						move()
					}
					// So that each of them is read.
					for _, folder := range []mail.Folder{"A first", "Lists"} {
						s.Deliver(folder, onWire(letter("other")), flags(`\Seen`), day)
					}
					s.Before = func(call sim.Call) error {
						if call.Method == "Scan" && call.Folder == when {
							move()
						}
						return nil
					}
					read(d, path)
					s.Before = nil
					move()
					d.sync()
					d.sync()
					d.once("About uploaded.")
					d.has("Archive", 0)
					d.has("Trash", 0)
					d.inStep()
					d.quiet()
				})
			}
		}
	}
}

// early is a Maildir in which something happens just before a folder is scanned.
type early struct {
	engine.Local
	before func(folder mail.Folder)
}

func (e early) Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (mail.Listing, error) {
	e.before(folder)
	return e.Local.Scan(ctx, folder, letters)
}

// A file moves out of a folder that a sync need not scan into one that it scans, and the
// phone moves the message: it is no copy.
func TestAMoveOutOfAFolderThatIsNotScanned(t *testing.T) {
	s := account(t)
	must(t, s.CreateFolder("Drafts"))
	uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	d.put("Lists", "1.other:2,S", letter("new"))
	once := true
	d.local = func(l engine.Local) engine.Local {
		return early{l, func(folder mail.Folder) {
			if once && folder == "Lists" {
				once = false
				must(t, os.Rename(d.find("Archive", "About moved."), filepath.Join(d.dir("Lists"), "cur", "2.other:2,S")))
				s.Move("Archive", uid, "Drafts")
			}
		}}
	}
	d.sync()
	d.local = nil
	d.sync()
	d.has("Archive", 0)
	d.has("Drafts", 1)
	d.has("Lists", 1) // the new one
	d.inStep()
	d.quiet()
}

// A state is lost, and a file moves out of a folder that is yet to be scanned into one that was:
// its message is not brought here beside it.
func TestAFileThatIsMetInNoFolderOnceTheStateIsLost(t *testing.T) {
	s := account(t)
	s.Deliver("Lists", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.sync()
	d.state = sim.NewState()
	once := true
	d.local = func(l engine.Local) engine.Local {
		return early{l, func(folder mail.Folder) {
			if once && folder == "Lists" {
				once = false
				must(t, os.Rename(d.find("Lists", "About moved."), filepath.Join(d.dir("Archive"), "cur", "2.other:2,S")))
			}
		}}
	}
	d.sync()
	d.local = nil
	d.sync()
	d.once("About moved.")
	d.inStep()
	d.quiet()
}

// slow is a Maildir in which something happens just before a file is moved.
type slow struct {
	engine.Local
	before func()
}

func (l slow) Move(ctx context.Context, folder mail.Folder, file mail.File, to mail.Folder, flags mail.Flags, letters mail.Letters) (mail.File, error) {
	l.before()
	return l.Local.Move(ctx, folder, file, to, flags, letters)
}

// A message is moved on the server, and its file, in the moment in which it is to follow,
// to another folder: it goes where the server has it.
func TestAFileThatMovesWhenItIsToFollow(t *testing.T) {
	s := account(t)
	must(t, s.CreateFolder("Drafts"))
	uid := s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	s.Move("Archive", uid, "Lists")
	once := true
	d.local = func(l engine.Local) engine.Local {
		return slow{l, func() {
			if once {
				once = false
				must(t, os.Rename(d.find("Archive", "About moved."), filepath.Join(d.dir("Drafts"), "cur", "2.other:2,S")))
				must(t, s.AddFlags("INBOX", s.Messages("INBOX")[0].UID, flags(`\Answered`)))
			}
		}}
	}
	d.sync()
	if once {
		t.Error("nothing was to be moved")
	}
	d.local = nil
	d.sync()
	d.has("Archive", 0)
	d.has("Drafts", 0)
	d.has("Lists", 1)
	d.inStep()
	d.quiet()
}
