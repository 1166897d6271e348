package sync_test

import (
	"bytes"
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

// A message that a program moves by writing a new file and removing the old one is
// not put into Trash as well.
func TestAMovedFileIsNotPutIntoTrash(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	old := d.find("INBOX", "About read.")
	d.put("Archive", "9.moved:2,S", letter("read"))
	must(t, os.Remove(old))
	d.sync()
	if n := len(s.Messages("Trash")); n != 0 {
		t.Errorf("Trash has %d messages", n)
	}
	if n := len(s.Messages("Archive")); n != 1 {
		t.Errorf("Archive has %d messages", n)
	}
	d.inStep()
	d.quiet()
}

// Moves cost no body, in either direction, also when flags change at the same time.
func TestMovesCarryNoBodies(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	s.Before = func(c sim.Call) error {
		if c.Method == "Fetch" || c.Method == "Append" {
			t.Errorf("%s in %s: a body travels", c.Method, c.Folder)
		}
		return nil
	}
	must(t, os.Rename(d.find("INBOX", "About read."), filepath.Join(d.dir("Archive"), "cur", "other.name:2,FS")))
	moved := s.Move("INBOX", s.Messages("INBOX")[0].UID, "Lists") // "unread"
	must(t, s.AddFlags("Lists", moved, flags(`\Answered`)))
	must(t, os.Rename(d.find("Lists/go", "a list post"), d.dir("Lists/go")+"/cur/renamed:2,RS"))
	rep := d.sync()
	if rep.Local.Moved != 1 || rep.Remote.Moved != 1 || rep.Local.New+rep.Remote.New+rep.Local.Removed+rep.Remote.Removed > 0 {
		t.Errorf("report: %+v", rep)
	}
	if got := censusOf(s, "Archive"); len(got) != 1 || !strings.HasPrefix(got[0], `\Flagged \Seen |`) {
		t.Errorf("Archive has %s", short(got))
	}
	if got := d.census("Lists"); len(got) != 1 || !strings.HasPrefix(got[0], `\Answered |`) {
		t.Errorf("Lists has %s", short(got))
	}
	d.inStep()
	d.quiet()
}

// mutt's own trash setting copies into Trash and then removes: once is enough.
func TestAProgramsOwnCopyInTrashIsTheOnlyOne(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	old := d.find("INBOX", "About read.")
	d.put("Trash", "9.mutts:2,S", letter("read"))
	must(t, os.Remove(old))
	d.sync()
	if n := len(s.Messages("Trash")); n != 1 {
		t.Errorf("Trash has %d messages", n)
	}
	d.inStep()
	d.quiet()
}

// A file that is moved and flagged while a sync runs, in folders that the sync has
// written into already, is flagged on the server, too.
func TestAMoveInTheMiddleOfARunKeepsItsFlags(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	for _, f := range []mail.Folder{"INBOX", "Archive"} {
		s.Deliver(f, onWire(letter("new in "+string(f))), mail.Flags{}, day)
	}
	var once gosync.Once
	s.Before = func(c sim.Call) error {
		if c.Method == "Fetch" {
			once.Do(func() {
				must(t, os.Rename(d.find("INBOX", "About read."), filepath.Join(d.dir("Archive"), "cur", "moved:2,FS")))
			})
		}
		return nil
	}
	d.sync()
	d.inStep()
	d.quiet()
}

// A file that is moved is one message in its new place also where the server gives back
// other bytes than it was sent, whatever the run is killed at, and if it does not tell the
// new UID.
func TestAMoveIsOneMessageOnServersThatRewriteMail(t *testing.T) {
	for name, o := range map[string]sim.Options{
		"UIDs": {}, "no UIDs": {NoUIDPlus: true}, "no MOVE": {NoMove: true},
	} {
		o.Rewrite = func(raw []byte) []byte { return append([]byte("X-Server: was here\r\n"), raw...) }
		moved := func() *device {
			s := account(t)
			s.Options = o
			d := newDevice(t, s)
			d.opts.Connections = 1
			d.sync()
			d.put("INBOX", "1.mine:2,S", letter("moved here"))
			d.sync()
			must(t, os.Rename(d.find("INBOX", "About moved here."), filepath.Join(d.dir("Archive"), "cur", "1.mine:2,S")))
			tick(t, t.TempDir())
			return d
		}
		whole := moved()
		whole.crash = sim.NewCrash(0)
		whole.sync()
		for k, step := range append([]string{"never"}, whole.crash.Names()...) {
			d := moved()
			if k > 0 {
				d.crash = sim.NewCrash(k)
				if _, err := d.run(); !d.crash.Crashed() {
					t.Fatalf("%s: not killed at %s: %v", name, step, err)
				}
				d.crash = nil
			}
			d.sync()
			d.sync()
			there := 0
			for _, m := range d.server.Messages("Archive") {
				if bytes.Contains(m.Raw, []byte("About moved here.")) {
					there++
				}
			}
			if n := len(d.files("Archive")); n != 1 || there != 1 {
				t.Errorf("%s: killed at %s: %d files and %d messages, want one", name, step, n, there)
			}
		}
	}
}

// What a server has rewritten, and has neither Message-ID nor the file's header there,
// is known again by the bytes that the server gave back for it before.
func TestRewrittenMailWithoutAMessageIDIsMoved(t *testing.T) {
	s := account(t)
	s.Options.NoUIDPlus = true // so that the upload has to be found
	s.Options.Rewrite = func(raw []byte) []byte { return append([]byte("X-Server: was here\r\n"), raw...) }
	d := newDevice(t, s)
	d.sync()
	const text = "Subject: unnamed\n\nAbout unnamed.\n"
	d.put("Archive", "1.mine:2,S", text)
	d.sync()
	s.Move("Archive", s.Messages("Archive")[0].UID, "Lists")
	if rep := d.sync(); rep.Local != (engine.Counts{Moved: 1}) {
		t.Errorf("report: %+v", rep)
	}
	if files := d.files("Lists"); len(files) != 1 || files[d.find("Lists", "unnamed")] != text {
		t.Errorf("Lists has %q", files)
	}
	d.quiet()
}

// A server without MOVE refuses to expunge what it has copied, and then another program
// moves that: it is one message still.
func TestAnOriginalThatMovesOnBeforeItIsExpunged(t *testing.T) {
	s := account(t)
	s.Options.NoMove = true
	must(t, s.CreateFolder("Drafts"))
	d := newDevice(t, s)
	d.sync()
	uid := s.Messages("INBOX")[1].UID
	must(t, os.Rename(d.find("INBOX", "About read."), filepath.Join(d.dir("Archive"), "cur", "2.other:2,S")))
	s.Before = func(call sim.Call) error {
		if call.Method == "Expunge" {
			return mail.ErrRefused
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 {
		t.Fatalf("%v, %v", err, rep.Problems)
	}
	s.Before = nil
	s.Move("INBOX", uid, "Drafts")
	d.sync()
	d.has("Drafts", 0)
	d.has("Archive", 1)
	d.inStep()
	d.quiet()
}

// A file that brings along the letters of another folder is renamed before it is made
// durable: else the power could give it back the name that says something else here.
func TestAFileGetsItsOwnLettersBeforeItIsMadeDurable(t *testing.T) {
	for what, act := range map[string]func(from, to string) error{"moved": os.Rename, "copied": os.Link} {
		d := newDevice(t, account(t))
		d.sync()
		from := d.find("INBOX", "About tagged.")
		must(t, act(from, filepath.Join(d.dir("Archive"), "cur", "1.other:2,"+strings.Split(from, ":2,")[1])))
		d.crash = sim.NewCrash(0)
		d.sync()
		names := d.crash.Names()
		d.crash = nil
		renamed, secured := slices.Index(names, "after Local.Reflag"), slices.Index(names, "before Local.Secure")
		if renamed < 0 || renamed > secured {
			t.Errorf("%s: renamed at %d, made durable at %d: %q", what, renamed, secured, names)
		}
		d.inStep()
		d.quiet()
	}
}

// A file was moved here, and its message was removed on the server. A sync of other folders has seen
// that it is gone there, and leaves it to the one that may work on where the file is.
func TestAMoveThatASyncOfOtherFoldersSees(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Lists", onWire(letter("moved")), flags(), day)
	d := newDevice(t, s)
	d.sync()
	d.moveHere(d.find("Lists", "About moved."), "INBOX", "9.moved:2,S")
	s.Expunge("Lists", uid)
	before := len(s.Messages("INBOX"))
	d.opts.Only = []mail.Folder{"Archive"}
	d.sync()
	d.opts.Only = nil
	calls := map[string]int{}
	s.Before = func(c sim.Call) error {
		calls[c.Method]++
		return nil
	}
	d.sync()
	if n := len(s.Messages("INBOX")); n != before+1 || calls["Move"] > 0 {
		t.Errorf("INBOX has %d messages, want %d; %d were to be moved", n, before+1, calls["Move"])
	}
	s.Before = nil
	d.inStep()
	d.quiet()
}

// A message that is gone when it is to be moved after its file is not asked for again and again: the
// next round looks what has become of it.
func TestAMoveOfWhatIsGoneIsTriedOnce(t *testing.T) {
	for _, noMove := range []bool{false, true} {
		s := account(t)
		s.Options.NoMove = noMove
		uid := s.Deliver("Lists", onWire(letter("moved")), flags(), day)
		d := newDevice(t, s)
		d.sync()
		d.moveHere(d.find("Lists", "About moved."), "INBOX", "9.moved:2,S")
		before, tried := len(s.Messages("INBOX")), 0
		s.Before = func(c sim.Call) error {
			if c.Method == "Move" || c.Method == "Copy" {
				tried++
				s.Expunge("Lists", uid)
			}
			return nil
		}
		d.sync()
		s.Before = nil
		if n := len(s.Messages("INBOX")); n != before+1 || tried != 1 {
			t.Errorf("no MOVE %v: INBOX has %d messages, want %d; it was tried %d times", noMove, n, before+1, tried)
		}
		d.inStep()
		d.quiet()
	}
}
