package maildir

import (
	"fmt"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// inotify is fsnotify's Watcher as an eventSource.
type inotify struct{ *fsnotify.Watcher }

func (i inotify) Channels() (<-chan fsnotify.Event, <-chan error) { return i.Events, i.Errors }

func openEvents() (eventSource, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	return inotify{w}, nil
}

// foreign tells whether others than this machine's kernel change the file system that path is
// on, of which there are no events; and its lag. Of those in user space nobody can tell.
func foreign(path string) (bool, time.Duration) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, 0
	}
	lag := lagOf(uint32(st.Type))
	switch uint32(st.Type) {
	case unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC, gfs2Magic, vboxMagic:
		return true, lag
	}
	return lag > 0, lag
}

// These two are missing in golang.org/x/sys/unix.
const (
	gfs2Magic = 0x01161970
	vboxMagic = 0x786f4256
)

// raised gives what to set one of inotify's limits to: twice what it is, and no less than
// least.
func raised(limit string, least int) int {
	is := 0
	if text, err := os.ReadFile("/proc/sys/fs/inotify/" + limit); err == nil {
		_, _ = fmt.Sscan(string(text), &is) // else it is 0
	}
	return max(2*is, least)
}
