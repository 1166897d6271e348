package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	engine "mailtwin/sync"
)

// The disk of a Maildir that is watched is unmounted, and mounted again. The watch holds nothing open
// on it, says what is wrong, once, removes nothing on the server, and goes on when the disk is back:
// within a minute by itself, and at once if it is asked.
func TestAMaildirIsUnmountedUnderItsWatch(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	d := s.device("laptop", `poll_interval = "1h"`)
	for i := range 24 {
		s.deliver("Archive", note("archived "+strconv.Itoa(i)), seen)
	}
	s.deliver("INBOX", note("one"), none)
	d.sync()
	disk := d.maildir + " on a disk"
	s.check(os.Rename(d.maildir, disk))
	s.check(os.Mkdir(d.maildir, 0o700))
	mount := func() {
		t.Helper()
		if err := syscall.Mount(disk, d.maildir, "", syscall.MS_BIND, ""); err != nil {
			// As root in a container it is forbidden as well, so no program is missing.
			t.Skipf("no disk can be mounted: %v", err)
		}
	}
	mounted := true
	unmount := func() {
		t.Helper()
		if err := syscall.Unmount(d.maildir, 0); err != nil {
			t.Errorf("unmount the disk: %v", err)
		}
		mounted = false
	}
	mount()
	t.Cleanup(func() {
		if mounted {
			unmount()
		}
	})
	w := d.watch(nil)
	w.run()
	d.listens()

	unmount()
	s.deliver("INBOX", note("two"), none) // which it hears of, and has nowhere to put
	w.says("the Maildir has lost its INBOX")
	<-w.failed
	if left := len(s.there("Archive")); left != 24 {
		t.Errorf("%d messages are left in Archive on the server", left)
	}

	mount()
	mounted = true
	if r := d.sync(); r.Local.New != 1 {
		t.Errorf("with the disk back a sync does %+v", r)
	}
	d.save("INBOX", "cur", "3.saved.host:2,S", note("three"), then)
	w.until("what is saved", func(r engine.Report) bool { return r.Remote.New == 1 })
	if r := w.stop(); r.code != 0 || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("it ended with %d, and said %q", r.code, r.stderr)
	}
	d.same()
	s.want("INBOX there", s.there("INBOX"), "one", "three", "two")
	if left := len(s.there("Archive")); left != 24 {
		t.Errorf("%d messages are left in Archive on the server", left)
	}
}
