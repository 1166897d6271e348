package sync_test

import (
	"io"
	"os"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// A server may take a message along with the flags that it had when the MOVE began, and answer
// a STORE meanwhile as if nothing were (Dovecot). What was changed here, and is said to be on the
// server, is not taken for what somebody has changed there since.
func TestFlagsThatMeetAMoveHalfway(t *testing.T) {
	before := flags(`\Flagged`, "work")
	for name, c := range map[string]struct {
		here   string // the file's new flags
		copied bool   // the message is in both folders for a while
		want   mail.Flags
	}{
		"set":             {"FRSa", false, flags(`\Answered`, `\Flagged`, `\Seen`, "work")},
		"cleared":         {"", false, flags()},
		"both":            {"Ra", false, flags(`\Answered`, "work")},
		"set, copied":     {"FRSa", true, flags(`\Answered`, `\Flagged`, `\Seen`, "work")},
		"cleared, copied": {"", true, flags()},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			uid := s.Deliver("Lists", onWire(letter("answered")), before, day)
			d := newDevice(t, s)
			d.sync()
			d.rename(d.find("Lists", "About answered."), "cur", c.here)
			var moved mail.UID
			s.Before = func(call sim.Call) error {
				if call.Method == "Store" && moved == 0 && c.copied {
					moved = s.Copy("Lists", uid, "Archive")
				}
				return nil
			}
			s.After = func(call sim.Call) error {
				if call.Method == "Store" && moved == 0 {
					moved = s.Move("Lists", uid, "Archive")
					must(t, s.SetFlags("Archive", moved, before))
				}
				return nil
			}
			d.sync()
			s.After = nil
			s.Before = func(call sim.Call) error {
				if call.Method == "Scan" && call.Folder == "Lists" && len(d.files("Archive")) > 0 {
					s.Expunge("Lists", uid) // it may have been
				}
				return nil
			}
			d.sync()
			s.Before = nil
			d.sync()
			if moved == 0 {
				t.Fatal("no flag was stored")
			}
			got := s.Messages("Archive")
			if len(got) != 1 || !got[0].Flags.Equal(c.want) {
				t.Errorf("the server has %s, want %v", short(censusOf(s, "Archive")), c.want)
			}
			d.inStep()
			d.quiet()
		})
	}
}

// But what somebody clears on the server, and then moves, is cleared: where that has been seen
// before it moved, where the change here was long ago, and where the message was still in its place
// some time after it.
func TestFlagsThatAreTakenBackBeforeAMove(t *testing.T) {
	for name, then := range map[string]func(d *device){
		"seen":     func(d *device) { d.sync() },
		"long ago": func(d *device) { d.opts.Now = func() time.Time { return time.Now().Add(2 * time.Hour) } },
		"in step since": func(d *device) {
			d.opts.Now = func() time.Time { return time.Now().Add(20 * time.Minute) }
			d.opts.InStep = time.Now().Add(5 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			uid := s.Deliver("Lists", onWire(letter("read")), flags(), day)
			d := newDevice(t, s)
			d.sync()
			d.rename(d.find("Lists", "About read."), "cur", "S")
			d.sync()
			must(t, s.RemoveFlags("Lists", uid, flags(`\Seen`)))
			then(d)
			s.Move("Lists", uid, "Archive")
			d.sync()
			if got := s.Messages("Archive"); len(got) != 1 || !got[0].Flags.Empty() {
				t.Errorf("the server has %s", short(censusOf(s, "Archive")))
			}
			d.inStep()
			d.quiet()
		})
	}
}

// A file that a reader changes once more while the server has what it was keeps what the reader
// said last.
func TestAFlagThatIsTakenBackHereWhileItsMessageMoves(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Lists", onWire(letter("read")), flags(), day)
	d := newDevice(t, s)
	d.sync()
	d.rename(d.find("Lists", "About read."), "cur", "FS")
	d.sync()
	d.rename(d.find("Lists", "About read."), "cur", "S")
	s.Move("Lists", uid, "Archive")
	d.sync()
	if got := s.Messages("Archive"); len(got) != 1 || !got[0].Flags.Equal(flags(`\Seen`)) {
		t.Errorf("the server has %s", short(censusOf(s, "Archive")))
	}
	if _, err := os.Stat(d.find("Archive", "About read.")); err != nil {
		t.Error(err)
	}
	d.inStep()
	d.quiet()
}

// What was pushed is not forgotten since a later change, of the same run, met no message any more:
// a copy on the server that is older than both is all that is left of it.
func TestWhatWasPushedOutlivesAChangeThatMeetsNothing(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Lists", onWire(letter("answered")), flags(), day)
	d := newDevice(t, s)
	d.sync()
	d.rename(d.find("Lists", "About answered."), "cur", "RS")
	s.Copy("Lists", uid, "Archive")
	stores := 0
	s.After = func(call sim.Call) error {
		if call.Method == "Store" && stores == 1 {
			d.rename(d.find("Lists", "About answered."), "cur", "R")
		}
		return nil
	}
	s.Before = func(call sim.Call) error {
		if call.Method == "Store" {
			if stores++; stores == 2 {
				s.Expunge("Lists", uid)
			}
		}
		return nil
	}
	d.sync()
	s.Before, s.After = nil, nil
	d.sync()
	if stores < 2 {
		t.Fatalf("%d changes of flags were pushed", stores)
	}
	if got := s.Messages("Archive"); len(got) != 1 || !got[0].Flags.Equal(flags(`\Answered`)) {
		t.Errorf("the server has %s", short(censusOf(s, "Archive")))
	}
	d.has("Lists", 0)
	d.inStep()
	d.quiet()
}

// What base knew of a folder is lost, and a message has moved from there whose file was flagged
// here: which flags both had is not known, so none is taken away.
func TestFlagsOfAMoveThatBaseKnowsNothingOf(t *testing.T) {
	for name, forget := range map[string]func(d *device){
		"another UIDVALIDITY": func(d *device) { must(d.t, d.server.ChangeUIDValidity("Lists")) },
		"no state":            func(d *device) { d.state = sim.NewState() },
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			uid := s.Deliver("Lists", onWire(letter("moved")), flags(`\Flagged`), day)
			d := newDevice(t, s)
			d.sync()
			d.rename(d.find("Lists", "About moved."), "cur", "FS")
			must(t, s.AddFlags("Lists", uid, flags(`\Answered`)))
			s.Move("Lists", uid, "Archive")
			forget(d)
			d.sync()
			if got := s.Messages("Archive"); len(got) != 1 || !got[0].Flags.Equal(flags(`\Flagged`, `\Answered`, `\Seen`)) {
				t.Errorf("the server has %s", short(censusOf(s, "Archive")))
			}
			d.inStep()
			d.quiet()
		})
	}
}

// A phone moves a message by copying it while a flag is pushed, and the folder of the copy cannot be
// read when the message leaves the old one: its file waits, which alone says what the copy lacks.
func TestFlagsOfAMoveWhoseCopyCannotBeRead(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Lists", onWire(letter("answered")), flags(), day)
	d := newDevice(t, s)
	d.sync()
	d.rename(d.find("Lists", "About answered."), "cur", "RS")
	cur, aside := d.dir("Archive")+"/cur", d.dir("Archive")+"/aside"
	copied, gone := false, false
	s.Before = func(call sim.Call) error {
		if call.Method == "Store" && !copied {
			copied = true
			s.Copy("Lists", uid, "Archive")
		}
		return nil
	}
	d.sync()
	s.Before = func(call sim.Call) error {
		if call.Method == "Scan" && call.Folder == "Lists" && !gone && len(d.files("Archive")) > 0 {
			gone = true
			must(t, s.Expunge("Lists", uid))
			must(t, os.Rename(cur, aside))
		}
		return nil
	}
	if _, err := d.run(); err != nil {
		t.Fatal(err)
	}
	if !copied || !gone {
		t.Fatalf("copied: %v, gone: %v", copied, gone)
	}
	s.Before = nil
	must(t, os.Rename(aside, cur))
	d.sync()
	d.sync()
	if got := s.Messages("Archive"); len(got) != 1 || !got[0].Flags.Equal(flags(`\Answered`, `\Seen`)) {
		t.Errorf("the server has %s", short(censusOf(s, "Archive")))
	}
	d.has("Lists", 0)
	d.inStep()
	d.quiet()
}

// A message moves to a folder that is new on the server, and cannot be made here, while its file is
// flagged: the file waits, which alone says so.
func TestFlagsOfAMoveToAFolderThatCannotBeMade(t *testing.T) {
	s := account(t)
	s.Deliver("Lists", onWire(letter("answered")), flags(), day)
	d := newDevice(t, s)
	d.sync()
	must(t, s.CreateFolder("New"))
	moveThere(s, "Lists", "About answered.", "New")
	d.rename(d.find("Lists", "About answered."), "cur", "RS")
	must(t, os.WriteFile(d.dir("New"), nil, 0o600)) // in its way
	for range 2 {
		rep, err := d.run()
		if err != nil || len(rep.Problems) == 0 {
			t.Fatalf("the sync ended with %v, and problems %v", err, rep.Problems)
		}
		if n := len(d.files("Lists")); n != 1 {
			t.Fatalf("Lists has %d files", n)
		}
	}
	must(t, os.Remove(d.dir("New")))
	d.sync()
	d.sync()
	if got := s.Messages("New"); len(got) != 1 || !got[0].Flags.Equal(flags(`\Answered`, `\Seen`)) {
		t.Errorf("the server has %s", short(censusOf(s, "New")))
	}
	d.has("Lists", 0)
	d.inStep()
	d.quiet()
}

// A message is flagged here, which the server refuses, and then moves there to a folder which a
// run cannot read. That run has more to do elsewhere, and so looks again at what is left: the file
// still waits for its message, with its flags.
func TestFlagsOfAMessageThatMovesToWhatCannotBeRead(t *testing.T) {
	s := account(t)
	s.Options.NoCondStore = true
	uid := s.Deliver("Lists", onWire(letter("answered")), mail.Flags{}, day)
	d := newDevice(t, s)
	d.sync()
	d.rename(d.find("Lists", "About answered."), "cur", "RS")
	s.Before = func(call sim.Call) error {
		if call.Method == "Store" {
			return mail.ErrRefused
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 {
		t.Fatalf("%v, %v", err, rep.Problems)
	}
	s.Move("Lists", uid, "Archive")
	d.put("INBOX", "1.new:2,", letter("new"))
	unread := 0
	s.Before = func(call sim.Call) error {
		if call.Folder == "Archive" && (call.Method == "Identify" || call.Method == "Fetch") {
			unread++
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	if _, err := d.run(); err != nil || unread == 0 {
		t.Fatalf("%v, and the folder was read %d times", err, unread)
	}
	s.Before = nil
	d.sync()
	if got := s.Messages("Archive"); len(got) != 1 || !got[0].Flags.Equal(flags(`\Answered`, `\Seen`)) {
		t.Errorf("the server has %s", short(censusOf(s, "Archive")))
	}
	d.inStep()
	d.quiet()
}

// A message moves here, by COPY, and the server does not let the original go yet: what somebody sets
// on that meanwhile is set on the copy.
func TestFlagsOfAnOriginalThatStaysBehind(t *testing.T) {
	s := account(t)
	s.Options.NoMove = true
	uid := s.Deliver("Lists", onWire(letter("answered")), flags(`\Flagged`), day)
	d := newDevice(t, s)
	d.sync()
	d.moveHere(d.find("Lists", "About answered."), "Archive", "9.moved:2,FS")
	s.Before = func(call sim.Call) error {
		if call.Method == "Expunge" {
			return mail.ErrRefused
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) == 0 {
		t.Fatalf("%v, %v", err, rep.Problems)
	}
	s.Before = nil
	must(t, s.SetFlags("Lists", uid, flags(`\Answered`)))
	d.sync()
	if got := s.Messages("Archive"); len(got) != 1 || !got[0].Flags.Equal(flags(`\Answered`, `\Seen`)) {
		t.Errorf("the server has %s", short(censusOf(s, "Archive")))
	}
	d.has("Lists", 0)
	d.inStep()
	d.quiet()
}
