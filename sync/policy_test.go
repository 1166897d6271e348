package sync_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// meddle changes everything on both sides of an account that is in step.
func meddle(t *testing.T, d *device) {
	t.Helper()
	s := d.server
	d.put("Archive", "1.mine:2,S", letter("mine"))
	d.rename(d.find("INBOX", "About unread."), "cur", "F")
	must(t, os.Remove(d.find("INBOX", "About read.")))
	s.Deliver("Archive", onWire(letter("theirs")), mail.Flags{}, day)
	must(t, s.AddFlags("Lists/go", s.Messages("Lists/go")[0].UID, flags(`\Seen`)))
	must(t, s.Expunge("INBOX", s.Messages("INBOX")[2].UID)) // "tagged"
	tick(t, t.TempDir())
}

// With `direction = "pull"` the server is never written; what changed here stays,
// and is carried out once the direction is "both".
func TestPullNeverWritesTheServer(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	meddle(t, d)
	d.opts.Policy = always(conflict.Policy{Direction: conflict.Pull})
	s.Before = func(c sim.Call) error {
		switch c.Method {
		case "Append", "Store", "Move", "Copy", "Expunge", "CreateFolder", "DeleteFolder":
			t.Errorf("%s in %s", c.Method, c.Folder)
		}
		return nil
	}
	for range 2 {
		rep := d.sync()
		if rep.Remote != (engine.Counts{}) {
			t.Errorf("report: %+v", rep)
		}
	}
	if n := len(d.files("Archive")); n != 2 {
		t.Errorf("Archive has %d files, want mine and theirs", n)
	}
	if n := len(d.files("INBOX")); n != 1 {
		t.Errorf("INBOX has %d files, want the flagged one: read was removed here, tagged there", n)
	}
	if got := d.census("INBOX"); !strings.HasPrefix(got[0], `\Flagged |`) {
		t.Errorf("the flag that was set here is gone: %s", short(got))
	}
	d.quiet()

	s.Before = nil
	d.opts.Policy = nil
	d.sync()
	d.inStep()
	if n := len(s.Messages("Trash")); n != 1 {
		t.Errorf("what was removed here under pull is %d times in Trash", n)
	}
	if n := len(s.Messages("Archive")); n != 2 {
		t.Errorf("Archive has %d messages on the server", n)
	}
	d.quiet()
}

// `direction = "push"` is the mirror image.
func TestPushNeverWritesTheMaildir(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	meddle(t, d)
	d.opts.Policy = always(conflict.Policy{Direction: conflict.Push})
	for range 2 {
		rep := d.sync()
		if rep.Local != (engine.Counts{}) {
			t.Errorf("report: %+v", rep)
		}
	}
	if n := len(d.files("Archive")); n != 1 {
		t.Errorf("Archive has %d files, want mine only", n)
	}
	if n := len(d.files("INBOX")); n != 2 {
		t.Errorf("INBOX has %d files, want unread and tagged", n)
	}
	if n := len(s.Messages("Archive")); n != 2 {
		t.Errorf("Archive has %d messages on the server, want both", n)
	}
	d.quiet()

	d.opts.Policy = nil
	d.sync()
	d.inStep()
	if n := len(d.files("INBOX")); n != 1 {
		t.Errorf("INBOX has %d files after push ended", n)
	}
	d.quiet()
}

// A folder that can only be read is pulled, said once, and is no error; when it can
// be written again, what waited goes up.
func TestAReadOnlyFolderIsPulled(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, s.SetReadOnly("Archive", true))
	s.Deliver("Archive", onWire(letter("theirs")), mail.Flags{}, day)
	d.put("Archive", "1.mine", letter("mine"))
	rep := d.sync()
	if len(rep.Skipped) != 1 || !strings.Contains(rep.Skipped[0].Text, "read") {
		t.Errorf("it is not said: %+v", rep.Skipped)
	}
	if rep.Local.New != 1 || rep.Remote.New != 0 {
		t.Errorf("report: %+v", rep)
	}
	s.Deliver("Archive", onWire(letter("more")), mail.Flags{}, day)
	if rep = d.sync(); len(rep.Skipped) > 0 {
		t.Errorf("it is said again: %+v", rep.Skipped)
	}
	d.quiet()
	must(t, s.SetReadOnly("Archive", false))
	s.Deliver("Archive", onWire(letter("last")), mail.Flags{}, day)
	d.sync()
	d.sync()
	d.inStep()
	d.quiet()
}

// Turning `expunge` on purges also what was flagged \Deleted before.
func TestExpungeTakesWhatWasMarkedBefore(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.rename(d.find("INBOX", "About read."), "cur", "ST")
	d.sync()
	if n := len(s.Messages("INBOX")); n != 3 {
		t.Fatalf("INBOX has %d messages before expunge", n)
	}
	d.opts.Policy = always(conflict.Policy{ExpungeDeleted: true})
	d.sync()
	if n := len(s.Messages("INBOX")); n != 2 {
		t.Errorf("INBOX has %d messages after expunge", n)
	}
	d.inStep()
	d.quiet()
}

// A keyword that the server does not keep stays here, and is neither pushed again and
// again nor taken away.
func TestKeywordsThatTheServerDoesNotKeepStayHere(t *testing.T) {
	s := account(t)
	s.Options.NoKeywords = true
	d := newDevice(t, s)
	d.sync()
	must(t, os.WriteFile(d.dir("INBOX")+"/dovecot-keywords", []byte("0 work\n"), 0o600))
	d.rename(d.find("INBOX", "About read."), "cur", "FSa")
	d.sync()
	if got := s.Messages("INBOX")[1].Flags; !got.Equal(flags(`\Seen`, `\Flagged`)) {
		t.Errorf("the server has %v", got)
	}
	path := d.find("INBOX", "About read.")
	if !strings.HasSuffix(path, ":2,FSa") {
		t.Errorf("the file is %s", path)
	}
	d.quiet()
	must(t, s.AddFlags("INBOX", s.Messages("INBOX")[1].UID, flags(`\Answered`)))
	d.sync()
	if path = d.find("INBOX", "About read."); !strings.HasSuffix(path, ":2,FRSa") {
		t.Errorf("the file is %s", path)
	}
	d.quiet()
}

// The 27th keyword has no letter. It stays on the server, whatever happens here.
func TestTheTwentySeventhKeywordStaysOnTheServer(t *testing.T) {
	s := account(t)
	uid := s.Messages("INBOX")[1].UID
	var words []string
	for i := range 27 {
		words = append(words, "k"+string(rune('a'+i/10))+string(rune('0'+i%10)))
	}
	must(t, s.AddFlags("INBOX", uid, flags(words...)))
	d := newDevice(t, s)
	d.sync()
	path := d.find("INBOX", "About read.")
	_, info, _ := strings.Cut(path, ":2,")
	if len(info) != 1+26 && len(info) != 1+25 && len(info) != 1+24 {
		t.Errorf("the file has the flags %q", info)
	}
	must(t, os.Rename(path, strings.Replace(path, ":2,", ":2,F", 1)))
	d.sync()
	got := s.Messages("INBOX")[1].Flags
	if want := flags(append(words, `\Seen`, `\Flagged`)...); !got.Equal(want) {
		t.Errorf("the server has %v, want %v", got, want)
	}
	d.quiet()
}

// A run dies before it removes a file whose message is gone, and somebody flags the file.
// Where nothing is pushed it stays, and nothing is left to do; and once that is allowed, it
// is put on the server again.
func TestWhatIsRevivedWhereNothingIsPushed(t *testing.T) {
	prepare := func() *device {
		s := account(t)
		d := newDevice(t, s)
		d.opts.Connections = 1
		d.opts.Policy = always(conflict.Policy{Direction: conflict.Pull})
		uid := s.Deliver("Archive", onWire(letter("wanted")), flags(`\Seen`), day)
		d.sync()
		must(t, s.Expunge("Archive", uid))
		return d
	}
	d := prepare()
	d.crash = sim.NewCrash(0)
	d.sync()
	at := slices.Index(d.crash.Names(), "before Local.Remove") + 1
	d = prepare()
	d.crash = sim.NewCrash(at)
	d.run()
	d.crash = nil
	d.rename(d.find("Archive", "About wanted."), "cur", "FS")
	d.staysUntilPushed("Archive")
}

// staysUntilPushed checks that the one file of a folder stays, with nothing left to do, and is put
// on the server once that is allowed.
func (d *device) staysUntilPushed(folder mail.Folder) {
	d.t.Helper()
	d.sync()
	if n := len(d.files(folder)); n != 1 {
		d.t.Fatalf("%s has %d files", folder, n)
	}
	d.quiet()
	d.opts.Policy = nil
	d.sync()
	d.sync()
	d.has(folder, 1)
	d.inStep()
	d.quiet()
}

// A run dies before it records where a message has landed, somebody flags the file, and the
// message goes on the server. It is as with what was recorded.
func TestWhatHasLandedAndIsRevivedWhereNothingIsPushed(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.opts.Policy = always(conflict.Policy{Direction: conflict.Pull})
	d.sync()
	uid := s.Deliver("Archive", onWire(letter("wanted")), flags(`\Seen`), day)
	d.dieAt("after Local.SyncFolder")
	d.rename(d.find("Archive", "About wanted."), "cur", "FS")
	must(t, s.Expunge("Archive", uid))
	d.staysUntilPushed("Archive")
}

// A message that moves while the folders are read has not left the server, and its file is
// not kept where it was, but moves.
func TestAFileIsNotKeptWhoseMessageMovesMeanwhile(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.opts.Policy = always(conflict.Policy{OnRemoteDelete: conflict.KeepFile})
	d.sync()
	s.Deliver("Lists/go", onWire(letter("another post")), mail.Flags{}, day)
	listed := false
	s.After = func(c sim.Call) error {
		if c.Method == "Folders" && !listed {
			listed = true
			moveThere(s, "Lists/go", "About a list post.", "Archive")
		}
		return nil
	}
	d.sync()
	d.has("Archive", 1)
	d.has("Lists/go", 1)
	d.inStep()
	d.quiet()
}

// A message was copied, its first file is removed here, and the first message moves on there, where
// nothing is pushed any more. The removal waits where the message is by now, and is carried out
// there when it may be.
func TestAnOriginalThatMovesWhenItsFileIsRemovedWhereNothingIsPushed(t *testing.T) {
	for _, noStatus := range []bool{false, true} {
		s := account(t)
		s.Options.NoStatus = noStatus
		d := newDevice(t, s)
		d.sync()
		original := s.Messages("INBOX")[1].UID
		d.put("Archive", "1.copy:2,S", letter("read"))
		d.sync()
		d.opts.Policy = always(conflict.Policy{Direction: conflict.Pull})
		must(t, os.Remove(d.find("INBOX", "About read.")))
		s.Move("INBOX", original, "Lists/go")
		d.sync()
		if n := len(s.Messages("Lists/go")); n != 2 || len(d.files("Lists/go")) != 1 {
			t.Errorf("%d messages in Lists/go, and %d files", n, len(d.files("Lists/go")))
		}
		d.quiet()
		scans := 0
		s.Before = func(c sim.Call) error {
			if c.Method == "Identify" || c.Method == "Scan" && c.Folder == "Lists/go" {
				scans++
			}
			return nil
		}
		s.Deliver("Lists/go", onWire(letter("another post")), mail.Flags{}, day)
		d.sync()
		if scans != 1 {
			t.Errorf("%d scans, and questions what messages are, for one new message", scans)
		}
		d.quiet()
		d.opts.Policy = nil
		d.sync()
		d.has("Lists/go", 2)
		d.has("Archive", 1)
		d.inStep()
		d.quiet()
	}
}

// What a policy keeps here is kept if there is a file: where a scan that cannot be believed has missed
// it, that is not known yet.
func TestWhatAScanHasMissedIsNotKept(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Lists", onWire(letter("kept")), flags(), day)
	d := newDevice(t, s)
	d.opts.Policy = always(conflict.Policy{OnRemoteDelete: conflict.KeepFile})
	d.sync()
	must(t, os.Remove(d.find("Lists", "About kept.")))
	s.Expunge("Lists", uid)
	d.local = func(l engine.Local) engine.Local { return doubtful{l, "Lists"} }
	d.run()
	d.local = nil
	folder := mail.FolderID(0)
	folders, err := d.state.Folders(t.Context())
	must(t, err)
	for _, f := range folders {
		if f.Name == "Lists" {
			folder = f.ID
		}
	}
	for row, err := range d.state.RowsByKey(t.Context(), folder, "") {
		if must(t, err); row.State == mail.Parted {
			t.Errorf("it is kept: %+v", row)
		}
	}
	d.sync()
	d.inStep()
	d.quiet()
}
