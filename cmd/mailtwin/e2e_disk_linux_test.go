package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestADiskThatIsFull: that of the state, and that of the Maildir. Nothing is lost or
// doubled, and with room again the next sync goes on.
func TestADiskThatIsFull(t *testing.T) {
	for name, c := range map[string]struct {
		disk string
		room int64 // that is left
	}{
		"the state's, from the start":   {"state", 0},
		"the state's, in a while":       {"state", 120 << 10},
		"the Maildir's, from the start": {"Mail", 0},
		"the Maildir's, in a while":     {"Mail", 120 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embedded(t)
			d := s.device("laptop")
			disk := filepath.Join(filepath.Dir(d.config), c.disk)
			s.check(os.Mkdir(disk, 0o700))
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
				// As root in a container it is forbidden as well, so no program is missing.
				t.Skipf("a small disk cannot be mounted: %v", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(disk, 0); err != nil {
					t.Errorf("unmount the small disk: %v", err)
				}
			})
			s.deliver("INBOX", note("first"), seen)
			d.sync()
			for i := range 100 {
				s.deliver("INBOX", note("theirs "+strconv.Itoa(i))+strings.Repeat("x", 10<<10), seen)
			}
			d.remove(d.find("INBOX", "first"))
			filler := filepath.Join(disk, "filler")
			fill(t, filler, c.room)
			r := d.exits(1, "sync")
			d.said(r.stderr, "mailtwin: alice: ", "no space left", "make room, and sync again; what has come is kept")
			if n := strings.Count(r.stderr, "\n"); n != 1 {
				t.Errorf("it prints %d lines:\n%s", n, r.stderr)
			}
			s.check(os.Remove(filler))
			d.sync()
			d.same()
			d.want("Trash", s.there("Trash"), "first")
			settle2(d)
		})
	}
}

// fill makes a file that takes all the room of its disk but this.
func fill(t *testing.T, path string, room int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for size := len(block); size > 0; {
		if _, err := f.Write(block[:size]); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Truncate(max(0, info.Size()-room))
	}
	if err != nil {
		t.Fatal(err)
	}
}
