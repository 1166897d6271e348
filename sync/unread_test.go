package sync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// damaged is a Maildir one folder of which the disk does not give any more.
type damaged struct {
	engine.Local
	folder                 mail.Folder
	scans, reads, markings bool
	syncs                  bool
}

var errDisk = errors.New("input/output error")

func (l damaged) Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (mail.Listing, error) {
	if l.scans && folder == l.folder {
		return mail.Listing{}, errDisk
	}
	return l.Local.Scan(ctx, folder, letters)
}

func (l damaged) Read(ctx context.Context, folder mail.Folder, file mail.File) (mail.Source, error) {
	if l.reads && folder == l.folder {
		return nil, fmt.Errorf("%w: %w", mail.ErrDamaged, errDisk)
	}
	return l.Local.Read(ctx, folder, file)
}

func (l damaged) SyncFolder(ctx context.Context, folder mail.Folder) error {
	if l.syncs && folder == l.folder {
		return errDisk
	}
	return l.Local.SyncFolder(ctx, folder)
}

func (l damaged) SetMarker(ctx context.Context, folder mail.Folder, marker mail.Marker) error {
	if l.markings && folder == l.folder {
		return errDisk
	}
	return l.Local.SetMarker(ctx, folder, marker)
}

// suffers syncs once while the disk is like that, and says what is wrong.
func (d *device) suffers(l damaged) {
	d.t.Helper()
	d.local = func(local engine.Local) engine.Local { l.Local = local; return l }
	defer func() { d.local = nil }()
	if rep, err := d.run(); err != nil || len(rep.Problems) == 0 {
		d.t.Fatalf("%v, problems %v", err, rep.Problems)
	}
}

// A message that somebody moved to where it cannot be read is not one that somebody
// removed: the server's copy may be the last one. Once it can be read it is a move, and
// what was removed meanwhile goes.
func TestWhatMovedToWhereItCannotBeReadStaysOnTheServer(t *testing.T) {
	for name, l := range map[string]damaged{
		"a folder that cannot be scanned": {scans: true}, "a file that cannot be read": {reads: true}, "a folder that cannot be marked": {markings: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.opts.Policy = always(conflict.Policy{OnLocalDelete: conflict.Expunge})
			d.sync()
			before := len(s.Messages("INBOX"))
			moved := d.find("INBOX", "About read.")
			text, err := os.ReadFile(moved)
			must(t, err)
			// A move that changes the inode, too, as between two disks.
			must(t, os.WriteFile(filepath.Join(d.dir("Archive"), "cur", "other.host:2,S"), text, 0o600))
			must(t, os.Remove(moved))
			l.folder = "Archive"
			d.local = func(local engine.Local) engine.Local { l.Local = local; return l }
			for range 2 {
				rep, err := d.run()
				if err != nil || len(rep.Problems) == 0 {
					t.Fatalf("%v, problems %v", err, rep.Problems)
				}
				told := false
				for _, n := range rep.Skipped {
					told = told || n.Folder == "INBOX" && strings.Contains(n.Text, `they may be in "Archive"`)
				}
				if n := len(s.Messages("INBOX")); n != before || !told {
					t.Fatalf("INBOX has %d messages of %d; it says %v", n, before, rep.Skipped)
				}
			}
			// Something else that goes meanwhile may be there as well only where nothing is known
			// of what is there.
			other := d.find("INBOX", "About tagged.")
			must(t, os.Remove(other))
			if _, err := d.run(); err != nil {
				t.Fatal(err)
			}
			if n := len(s.Messages("INBOX")); l.scans && n != before || !l.scans && n != before-1 {
				t.Errorf("INBOX has %d messages", n)
			}
			d.local = nil
			d.sync()
			if n, m := len(s.Messages("INBOX")), len(s.Messages("Archive")); n != before-2 || m != 1 {
				t.Errorf("at the end INBOX has %d messages, and Archive %d", n, m)
			}
			d.quiet()
		})
	}
}

// A message that a program moves out of a folder which the run cannot look into is not a
// copy, although the new file is all that can be seen of it.
func TestWhatMovedFromWhereItCannotBeReadIsNoCopy(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	before := len(s.Messages("Lists"))
	moved := d.find("INBOX", "About read.")
	text, err := os.ReadFile(moved)
	must(t, err)
	d.put("Archive", "other.host:2,S", string(text))
	must(t, os.Remove(moved))
	d.suffers(damaged{folder: "INBOX", scans: true})
	moveThere(s, "INBOX", "About read.", "Lists")
	d.sync()
	d.has("Archive", 0)
	d.has("Lists", before+1)
	d.inStep()
	d.quiet()
}

// A folder has got new UIDs, and cannot be read; a message of it has moved to another one. Which
// file it is shows when that can be read: it is no new message, and its file is no copy. What
// else is new comes meanwhile.
func TestWhatLeftAFolderWithNewUIDsThatCannotBeRead(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	before := len(s.Messages("Lists"))
	moveThere(s, "INBOX", "About read.", "Lists")
	must(t, s.ChangeUIDValidity("INBOX"))
	s.Deliver("Lists", onWire(letter("another one")), flags(`\Seen`), day)
	d.suffers(damaged{folder: "INBOX", scans: true})
	if n := len(d.files("Lists")); n != before+1 {
		t.Errorf("Lists has %d files meanwhile", n)
	}
	d.sync()
	d.once("About read.")
	d.has("Lists", before+2)
	d.inStep()
	d.quiet()
}

// A Maildir is restored from a backup, and cannot be read in the first sync after that. The
// next one still knows that it is older than base: what it lacks was not removed.
func TestARestoredFolderThatCannotBeRead(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	backup := filepath.Join(t.TempDir(), "INBOX")
	must(t, os.CopyFS(backup, os.DirFS(d.dir("INBOX"))))
	s.Deliver("INBOX", onWire(letter("came later")), flags(`\Seen`), day)
	d.sync()
	must(t, os.RemoveAll(d.dir("INBOX")))
	must(t, os.CopyFS(d.dir("INBOX"), os.DirFS(backup)))
	d.suffers(damaged{folder: "INBOX", scans: true})
	d.sync()
	d.has("INBOX", 4)
	d.has("Trash", 0)
	d.inStep()
	d.quiet()
}

// A run that cannot make durable what it has moved here does not forget what it was: the
// message may move on.
func TestAMoveHereThatCannotBeMadeDurable(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	before := len(s.Messages("Lists"))
	moveThere(s, "INBOX", "About read.", "Archive")
	d.suffers(damaged{folder: "Archive", syncs: true})
	moveThere(s, "Archive", "About read.", "Lists")
	d.sync()
	d.has("Archive", 0)
	d.has("Lists", before+1)
	d.inStep()
	d.quiet()
}

// stale is a Maildir on a server of files that shows what was there a while ago: a listing
// lacks a file, or a name is said not to be there that is.
type stale struct {
	engine.Local
	hidden string // part of a name that listings lack
	denied string // and of one that Stat does
}

func (l stale) Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (mail.Listing, error) {
	listing, err := l.Local.Scan(ctx, folder, letters)
	files := listing.Files
	listing.Believed = true
	listing.Files = func(yield func(mail.File) bool) {
		for f := range files {
			if l.hidden != "" && strings.Contains(f.Name, l.hidden) {
				continue
			}
			if !yield(f) {
				return
			}
		}
	}
	return listing, err
}

func (l stale) Stat(ctx context.Context, folder mail.Folder, file mail.File) (mail.Stat, error) {
	if l.denied != "" && strings.Contains(file.Name, l.denied) {
		return mail.Stat{}, mail.ErrGone
	}
	return l.Local.Stat(ctx, folder, file)
}

func TestStaleListingsRemoveNothing(t *testing.T) {
	for name, l := range map[string]stale{
		"a listing lacks a file":         {hidden: "1.stale.host"},
		"a name is said not to be there": {denied: "1.stale.host"},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.opts.Policy = always(conflict.Policy{OnLocalDelete: conflict.Expunge})
			d.sync()
			d.put("INBOX", "1.stale.host:2,S", "Subject: stale\n\nAbout what is stale.\n")
			d.sync()
			before := len(s.Messages("INBOX"))
			d.local = func(local engine.Local) engine.Local { l.Local = local; return l }
			for i := range 3 {
				d.put("INBOX", fmt.Sprintf("%d.more.host:2,S", i), letter(fmt.Sprint("more ", i)))
				if _, err := d.run(); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(s.Messages("INBOX")); n != before+3 {
				t.Errorf("INBOX has %d messages, want %d", n, before+3)
			}
			d.local = nil
			d.sync()
			d.quiet()
			if n := len(s.Messages("INBOX")); n != before+3 {
				t.Errorf("at the end INBOX has %d messages, want %d", n, before+3)
			}
		})
	}
}

// A run dies that has uploaded a file, and when the next one comes the disk does not give the
// file: its message waits for it, and is not brought here as a second one.
func TestAFileThatCannotBeReadOnceItIsUploaded(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.put("INBOX", "1.saved:2,S", letter("saved"))
	d.dieAt("after Remote.Append")
	s.Deliver("INBOX", onWire(letter("new")), mail.Flags{}, day)
	d.suffers(damaged{folder: "INBOX", reads: true})
	d.find("INBOX", "About new.")
	if n := len(d.files("INBOX")); n != 5 {
		t.Errorf("INBOX has %d files, want 5", n)
	}
	d.sync()
	d.once("About saved.")
	d.inStep()
	d.quiet()
}

// A program saves the new form of a message, which cannot be read, and removes the old one: that
// stays until it can be read, for as long as it takes to put it right. What can never be read holds
// nothing back for ever.
func TestTheOldFormStaysWhenTheNewOneCannotBeRead(t *testing.T) {
	for name, later := range map[string]time.Duration{"readable at once": 0, "readable later": time.Hour, "never": 2 * time.Hour} {
		s := account(t)
		d := newDevice(t, s)
		now := time.Now()
		d.opts.Now = func() time.Time { return now }
		d.sync()
		before := len(s.Messages("INBOX"))
		must(t, os.Remove(d.find("INBOX", "About read.")))
		d.put("INBOX", "1.edited:2,S", letter("edited"))
		unread := damaged{folder: "INBOX", reads: true}
		for range 2 {
			d.suffers(unread)
			if n := len(s.Messages("INBOX")); n != before {
				t.Fatalf("INBOX has %d messages of %d", n, before)
			}
		}
		now = now.Add(later)
		if name == "never" {
			d.suffers(unread)
			if n := len(s.Messages("INBOX")); n != before-1 {
				t.Errorf("%s: %v later INBOX has %d messages, want %d", name, later, n, before-1)
			}
		}
		d.sync()
		d.once("About edited.")
		d.has("INBOX", before)
		d.inStep()
		d.quiet()
	}
}

// A folder gets new UIDs, or the state is lost, and one of its files cannot be read: the message
// that it may be is not brought here beside it, and all others are.
func TestAFileThatCannotBeReadWhenItsFolderIsKnownAgain(t *testing.T) {
	for name, lose := range map[string]func(d *device){
		"new UIDs":     func(d *device) { must(t, d.server.ChangeUIDValidity("Lists")) },
		"a lost state": func(d *device) { d.state = sim.NewState() },
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			s.Deliver("Lists", onWire(letter("unread")), flags(`\Seen`), day.Add(time.Hour))
			d := newDevice(t, s)
			d.sync()
			lose(d)
			s.Deliver("Lists", onWire(letter("new")), mail.Flags{}, day)
			d.suffers(damaged{folder: "Lists", reads: true})
			d.find("Lists", "About new.")
			if n := len(d.files("Lists")); n != 2 {
				t.Errorf("Lists has %d files, want 2", n)
			}
			d.sync()
			d.has("Lists", 2)
			d.inStep()
			d.quiet()
		})
	}
}

// A device has lost track of a message, whose file was flagged here and which has moved on the
// server, and cannot work on the folder where the file is: it is not brought here once more to where
// the message is, but waits for its file.
func TestWhatMovedFromWhereNothingCanBeMarkedWaits(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Lists", onWire(letter("flagged")), flags(), day)
	d := newDevice(t, s)
	d.sync()
	old := d.state.Clone()
	for _, name := range []string{"1.one", "2.two"} { // two runs more
		d.put("Lists", name+":2,S", letter(name))
		d.sync()
	}
	d.state = old
	d.rename(d.find("Lists", "About flagged."), "cur", "F")
	s.Move("Lists", uid, "Archive")
	d.suffers(damaged{folder: "Lists", markings: true})
	d.sync()
	d.sync()
	d.has("Archive", 1)
	if n := len(d.files("Lists")); n != len(s.Messages("Lists")) || strings.Contains(strings.Join(censusOf(s, "Lists"), ""), "flagged") {
		t.Errorf("Lists has %d files, and on the server %s", n, short(censusOf(s, "Lists")))
	}
	d.inStep()
	d.quiet()
}
