package maildir

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFileSystemsThatShowLate(t *testing.T) {
	for kind, want := range map[uint32]time.Duration{
		unix.NFS_SUPER_MAGIC: 90 * time.Second, unix.CIFS_SUPER_MAGIC: 90 * time.Second, unix.SMB2_SUPER_MAGIC: 90 * time.Second,
		unix.EXT4_SUPER_MAGIC: 0, unix.TMPFS_MAGIC: 0, unix.OVERLAYFS_SUPER_MAGIC: 0, unix.BTRFS_SUPER_MAGIC: 0, 0: 0,
	} {
		if got := lagOf(kind); got != want {
			t.Errorf("%#x: %v, want %v", kind, got, want)
		}
	}
}
