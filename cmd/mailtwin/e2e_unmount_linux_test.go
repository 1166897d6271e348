package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	engine "mailtwin/sync"
)

// The Maildir goes away under a watch, and comes back: that is said once, nothing goes on the
// server, the other account goes on meanwhile, and this one does afterwards, by itself.
func TestWatchOfAMaildirThatGoesAndComesBack(t *testing.T) {
	t.Parallel()
	rename := func(d *computer) (away, back func()) {
		aside := d.maildir + " aside"
		return func() { d.check(os.Rename(d.maildir, aside)) }, func() { d.check(os.Rename(aside, d.maildir)) }
	}
	for name, prepare := range map[string]func(d *computer) (away, back func()){
		"a disk":                 mounted,
		"a directory":            rename,
		"a directory, and empty": bare,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embedded(t)
			d := s.device("laptop", `poll_interval = "1h"`)
			d.looks = 100 * time.Millisecond // a minute, or ten seconds where nothing is there
			away, back := prepare(d)
			d.withBob()
			bob := *d
			bob.maildir = filepath.Join(filepath.Dir(d.maildir), "Mail of bob")
			s.deliver("INBOX", note("first"), seen)
			s.deliver("Archive", note("kept"), seen)
			w := d.watch(nil)
			both := func(what string) {
				t.Helper()
				got := 0
				w.until(what, func(r engine.Report) bool { got += r.Local.New; return got == 4 })
			}
			both("what was there, for both")

			away()
			s.deliver("INBOX", note("second"), seen)
			w.until("new mail for bob", func(r engine.Report) bool { return r.Local.New == 1 })
			w.says("alice: ")
			bob.save("INBOX", "cur", "1.saved.host:2,S", note("third"), then)
			w.until("bob's file", func(r engine.Report) bool { return r.Remote.New == 1 })
			for range 3 { // each of them is one more try of the watch's
				if r := d.exits(exitFailed, "sync", "alice"); !strings.Contains(r.stderr, "alice: ") {
					t.Errorf("sync says %q", r.stderr)
				}
			}
			s.want("INBOX on the server", s.there("INBOX"), "first", "second", "third")
			s.want("Archive on the server", s.there("Archive"), "kept")

			back()
			w.until("what has come meanwhile", func(r engine.Report) bool { return r.Local.New == 2 })
			s.want("INBOX here", d.subjects("INBOX"), "first", "second", "third")
			d.save("INBOX", "cur", "2.saved.host:2,S", note("fourth"), then)
			w.until("a new file", func(r engine.Report) bool { return r.Remote.New == 1 })
			// A sync that was under way when it went may have met that in its own way.
			r := w.stop()
			said, lines := strings.Count(r.stderr, "maildir missing"), strings.Count(r.stderr, "\n")
			if r.code != 0 || said != 1 || lines > 2 {
				t.Errorf("it ended with %d, and said %q", r.code, r.stderr)
			}
			s.want("INBOX on the server", s.there("INBOX"), "first", "fourth", "second", "third")
			s.want("Archive on the server", s.there("Archive"), "kept")
			s.want("Trash", s.there("Trash"))
		})
	}
}

// bare has a bare directory stand where the Maildir was, as under a disk that is not mounted.
func bare(d *computer) (away, back func()) {
	aside := d.maildir + " aside"
	return func() {
			d.check(os.Rename(d.maildir, aside))
			d.check(os.Mkdir(d.maildir, 0o700))
		}, func() {
			d.check(os.Remove(d.maildir))
			d.check(os.Rename(aside, d.maildir))
		}
}

// mounted has the Maildir on a disk of its own. The disk stays mounted elsewhere, so that what is
// on it is there when it comes back.
func mounted(d *computer) (away, back func()) {
	d.Helper()
	disk := filepath.Join(d.dir, "disk")
	d.check(os.Mkdir(disk, 0o700))
	d.check(os.Mkdir(d.maildir, 0o700))
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=8m"); err != nil {
		// As root in a container it is forbidden as well, so no program is missing.
		d.Skipf("a disk cannot be mounted: %v", err)
	}
	d.Cleanup(func() { d.release(disk) })
	back = func() {
		d.Helper()
		d.check(syscall.Mount(disk, d.maildir, "", syscall.MS_BIND, ""))
	}
	back()
	d.Cleanup(func() { d.release(d.maildir) })
	return func() { d.release(d.maildir) }, back
}

// release unmounts a disk. Somebody may have a file open there for a moment.
func (d *computer) release(disk string) {
	d.Helper()
	err := syscall.Unmount(disk, 0)
	for tries := 0; errors.Is(err, syscall.EBUSY) && tries < 500; tries++ {
		time.Sleep(10 * time.Millisecond)
		err = syscall.Unmount(disk, 0)
	}
	if err != nil {
		d.Errorf("unmount %s: %v", disk, err)
	}
}
