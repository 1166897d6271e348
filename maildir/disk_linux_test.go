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

func TestWhichReleasesTellErrors(t *testing.T) {
	for release, want := range map[string]bool{
		"5.8.0": true, "6.1.0-13-amd64": true, "5.10.0-23-cloud-amd64": true, "10.0": true, "5.7.19": false, "4.19.0": false, "": false, "odd": false,
	} {
		if got := since(release, 5, 8); got != want {
			t.Errorf("%q: %v, want %v", release, got, want)
		}
	}
}
