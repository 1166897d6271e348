package maildir

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel says nothing to fsnotify's callers when a disk is unmounted, and fails to
// unmount one on which something is open.
func TestWatchOfADiskThatIsUnmounted(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Mail")
	mkdirs(t, root, ".")
	mount := func() {
		if err := unix.Mount("tmpfs", root, "tmpfs", 0, ""); err != nil {
			t.Skipf("no disk can be mounted here: %v", err)
		}
	}
	mount()
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) }) // unless the test did
	mkdirs(t, root, "INBOX/cur", "INBOX/new")
	w := Watch(t.Context(), root, WatchOptions{Poll: 20 * time.Millisecond})
	defer w.Close()
	deliver(t, w, filepath.Join(root, "INBOX"), "INBOX")

	for unix.Unmount(root, 0) == unix.EBUSY { // while it is looked whether it is there
		must(t, t.Context().Err())
	}
	until(t, w, "it was unmounted", func(h *heard) bool { return h.All && h.Replaced })
	mount()
	until(t, w, "another one was mounted", func(h *heard) bool { return h.All && h.Replaced })
	mkdirs(t, root, "INBOX/cur", "INBOX/new")
	until(t, w, "it has a folder", says("INBOX", isWhole))
	deliver(t, w, filepath.Join(root, "INBOX"), "INBOX")
}
