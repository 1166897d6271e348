package sync_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// An account that is full takes no message as large as one that it has refused, so
// those are not tried. Smaller ones may fit, and must not wait for it.
func TestAFullAccountIsNotAskedForEachMessage(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	tries, limit := 0, int64(1000)
	s.Before = func(c sim.Call) error {
		if c.Method == "Append" {
			if tries++; tries == 1 {
				return fmt.Errorf("%w: %w", mail.ErrOverQuota, mail.ErrRefused)
			}
		}
		return nil
	}
	s.Cut = func(c sim.Call, size int64) int64 {
		if c.Method == "Append" && size > limit {
			t.Errorf("a message of %d octets was tried, too", size)
		}
		return -1
	}
	for i := range 8 {
		d.put("INBOX", fmt.Sprintf("1.large.%d", i), letter("large")+strings.Repeat("x", 2000))
	}
	d.put("INBOX", "2.small", letter("small"))
	now := time.Now()
	d.opts.Now = func() time.Time { return now }
	rep, err := d.run()
	if err != nil || tries != 2 || rep.Remote.New != 1 || len(rep.Problems) != 2 {
		t.Fatalf("%d tries; %v, %+v", tries, err, rep)
	}
	if text := rep.Problems[1].Error(); !strings.Contains(text, `"1.large.1", `) || !strings.Contains(text, "and 2 more: not tried: over quota") {
		t.Errorf("of the rest it says: %s", text)
	}
	now, limit = now.Add(time.Hour), 1<<20
	d.sync()
	if tries != 10 {
		t.Errorf("%d tries when there was room again, want 10", tries)
	}
	d.inStep()
	d.quiet()
}

// Some servers end the connection rather than to say what they do not take. Such a
// message may cost one run, and in the end waits like a refused one.
func TestAMessageThatBreaksTheConnectionDoesNotStopTheRestForEver(t *testing.T) {
	for name, pass := range map[string]int64{"within the message": 100, "after it": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			d := newDevice(t, s)
			d.sync()
			s.Cut = func(c sim.Call, size int64) int64 {
				if c.Method == "Append" && size > 1000 {
					return pass
				}
				return -1
			}
			d.put("INBOX", "1.large", letter("large")+strings.Repeat("x", 2000))
			d.put("INBOX", "2.small", letter("small"))
			now := time.Now()
			d.opts.Now = func() time.Time { return now }
			if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
				t.Fatalf("the connection broke, and the run says %v", err)
			}
			d.put("Archive", "3.other", letter("other"))
			rep, err := d.run()
			if err != nil || len(rep.Problems) != 1 || !errors.Is(rep.Problems[0], mail.ErrUnreachable) {
				t.Fatalf("it broke again: %v, %+v", err, rep)
			}
			if n := len(s.Messages("INBOX")); n != 4 {
				t.Errorf("INBOX has %d messages, want 4", n)
			}
			if n := len(s.Messages("Archive")); n != 1 {
				t.Errorf("Archive has %d messages, want 1", n)
			}
			waits := func() bool {
				rep, err := d.run()
				return err == nil && len(rep.Problems) == 1 && strings.Contains(rep.Problems[0].Error(), `"1.large" waits: `)
			}
			for n := 0; !waits(); n++ {
				if n > 10 {
					t.Fatal("it is tried for ever")
				}
			}
			s.Cut, now = nil, now.Add(time.Hour)
			d.sync()
			d.inStep()
			d.quiet()
		})
	}
}

// One that was stored after all is not uploaded again.
func TestAMessageThatBrokeTheConnectionAndWasStoredIsOne(t *testing.T) {
	s := account(t)
	s.Options.Rewrite = func(raw []byte) []byte { return append([]byte("X-Server: was here\r\n"), raw...) }
	d := newDevice(t, s)
	d.sync()
	before := len(s.Messages("INBOX"))
	d.put("INBOX", "1.mine", letter("mine"))
	lost := false
	s.After = func(c sim.Call) error {
		if c.Method == "Append" && !lost {
			lost = true
			return fmt.Errorf("%w: %w", mail.ErrBrokeOff, mail.ErrUnreachable)
		}
		return nil
	}
	if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
		t.Fatalf("the answer was lost, and the run says %v", err)
	}
	d.sync()
	if n := len(s.Messages("INBOX")) - before; n != 1 {
		t.Errorf("it is there %d times", n)
	}
	d.quiet()
}

// A server that neither tells where it puts a message nor gives back anything that it
// could be known by: one copy more for each try, and tries that get rare.
func TestAMessageChangedBeyondRecognitionIsNotUploadedOverAndOver(t *testing.T) {
	s := account(t)
	s.Options = sim.Options{NoUIDPlus: true, Rewrite: func([]byte) []byte { return onWire(letter("something else")) }}
	d := newDevice(t, s)
	d.sync()
	before := len(s.Messages("INBOX"))
	d.put("INBOX", "1.changed:2,S", letter("changed"))
	now := time.Now()
	d.opts.Now = func() time.Time { return now }
	for range 3 {
		rep, err := d.run()
		if err != nil || len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0].Error(), "beyond recognition") {
			t.Errorf("report: %v, %+v", err, rep)
		}
	}
	if n := len(s.Messages("INBOX")) - before; n != 1 {
		t.Errorf("it was uploaded %d times", n)
	}
	now = now.Add(time.Hour)
	d.run()
	if n := len(s.Messages("INBOX")) - before; n != 2 {
		t.Errorf("an hour later it was uploaded %d times", n)
	}
}

// A mail program saves the new form of a message while a sync runs, and then removes the old
// one. The server refuses the new one, and the old one stays until it takes it, also if the
// removal is seen only in another round, or in the next run, which may be the one that tries
// again. What is removed later, when the new one was refused again, does not wait.
func TestTheOldFormStaysWhenTheNewOneWasRefused(t *testing.T) {
	for _, seen := range []string{"in another round", "in the next run", "as it is refused again"} {
		next := seen != "in another round"
		s := account(t)
		d := newDevice(t, s)
		d.opts.Policy = always(conflict.Policy{OnLocalDelete: conflict.Expunge})
		now := time.Now()
		d.opts.Now = func() time.Time { return now }
		d.sync()
		before := len(s.Messages("INBOX"))
		old, other := d.find("INBOX", "About read."), d.find("INBOX", "About unread.")
		d.put("INBOX", "1.edited:2,S", letter("edited"))
		saved := func() { must(t, os.Remove(old)) }
		refuse := func(c sim.Call) error {
			if c.Method != "Append" {
				return nil
			}
			if !next {
				saved()
			}
			return mail.ErrRefused
		}
		s.Before = refuse
		runs := func(want int) {
			t.Helper()
			if _, err := d.run(); err != nil {
				t.Fatal(err)
			}
			if n := len(s.Messages("INBOX")); n != want {
				t.Fatalf("INBOX has %d messages, want %d", n, want)
			}
		}
		runs(before)
		if next {
			saved()
		}
		if seen == "in the next run" {
			runs(before)
		}
		saved = func() {}
		now = now.Add(time.Hour)
		runs(before) // it is refused once more
		must(t, os.Remove(other))
		runs(before - 1)
		s.Before, now = nil, now.Add(24*time.Hour)
		d.sync()
		runs(before - 1)
		if n := len(s.Messages("INBOX")); n != before-1 {
			t.Errorf("INBOX has %d messages, want %d", n, before-1)
		}
		d.inStep()
		d.quiet()
	}
}

// A message that was flagged \Deleted, and is to be expunged for that, does not wait for
// what the server refuses.
func TestWhatIsPurgedDoesNotWaitForARefusedUpload(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.opts.Policy = always(conflict.Policy{ExpungeDeleted: true})
	d.sync()
	before := len(s.Messages("INBOX"))
	d.put("INBOX", "1.refused", letter("refused"))
	must(t, s.AddFlags("INBOX", s.Messages("INBOX")[1].UID, flags(`\Deleted`)))
	now := time.Now()
	d.opts.Now = func() time.Time { return now }
	s.Before = func(c sim.Call) error {
		if c.Method == "Append" {
			return mail.ErrRefused
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 {
		t.Fatalf("%v, %v", err, rep.Problems)
	}
	if n := len(s.Messages("INBOX")); n != before-1 {
		t.Errorf("INBOX has %d messages of %d", n, before)
	}
	s.Before = nil
	now = now.Add(time.Hour)
	d.sync()
	d.inStep()
	d.quiet()
}

// A program rewrites a message while a sync runs. The new form is refused in one round, and
// the old one is found gone in the next: it waits for the new one all the same, also where the
// connection had broken before at the new one, which then was tried, and refused by nobody.
func TestTheOldFormWaitsForTheNewOneAlsoInALaterRound(t *testing.T) {
	for _, broke := range []bool{false, true} {
		s := account(t)
		s.Deliver("Archive", onWire(letter("a draft")), flags(`\Draft`), day)
		d := newDevice(t, s)
		d.sync()
		d.put("Archive", "1.other:2,D", letter("a draft")+"More of it.\n")
		if broke {
			s.Cut = func(c sim.Call, size int64) int64 { return size / 2 }
			d.unreached()
			s.Cut = nil
		}
		s.Before = func(c sim.Call) error {
			if c.Method != "Append" {
				return nil
			}
			for path, text := range d.files("Archive") {
				if !strings.Contains(text, "More") {
					must(t, os.Remove(path))
				}
			}
			return mail.ErrRefused
		}
		now := time.Now()
		d.opts.Now = func() time.Time { return now }
		for range 2 {
			if _, err := d.run(); err != nil {
				t.Fatal(err)
			}
			if n := len(s.Messages("Trash")); n != 0 {
				t.Errorf("broke before: %v: %d messages are in Trash before their new form is there", broke, n)
			}
		}
		s.Before = nil
		now = now.Add(time.Hour)
		d.sync()
		d.has("Archive", 1)
		d.inStep()
		d.quiet()
	}
}

// A file that was refused is gone, and so is another one of its folder: nothing is left that the
// other one's message would have to wait for.
func TestARefusedFileThatIsGoneHoldsNothingBack(t *testing.T) {
	s := account(t)
	s.Deliver("Archive", onWire(letter("old")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	path := d.put("Archive", "1.new:2,S", letter("refused"))
	s.Before = func(c sim.Call) error {
		if c.Method == "Append" {
			return mail.ErrRefused
		}
		return nil
	}
	if _, err := d.run(); err != nil {
		t.Fatal(err)
	}
	s.Before = nil
	must(t, os.Remove(path))
	must(t, os.Remove(d.find("Archive", "About old.")))
	tick(t, d.root)
	if rep := d.sync(); rep.Remote.Removed != 1 {
		t.Errorf("removed there: %d", rep.Remote.Removed)
	}
	d.inStep()
	d.quiet()
}

// The server refuses that a folder is renamed, and a file that somebody has moved out of it waits.
// The file moves on, the folder is renamed after all, and the server numbers it anew: the file is
// known again where its message is.
func TestARefusedFileOfAFolderThatGetsNewUIDs(t *testing.T) {
	s := account(t)
	s.Options.NewNumbers = true
	s.Deliver("Lists", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	d.move("Lists", "Renamed")
	d.moveHere(d.find("Renamed", "About moved."), "INBOX", "1.other:2,S")
	s.Before = func(call sim.Call) error {
		if call.Method == "RenameFolder" {
			return mail.ErrRefused
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 || rep.Remote.New != 0 {
		t.Fatalf("%v, %+v", err, rep)
	}
	s.Before = nil
	d.moveHere(d.find("INBOX", "About moved."), "Archive", "2.other:2,S")
	d.sync()
	d.sync()
	d.once("About moved.")
	d.inStep()
	d.quiet()
}
