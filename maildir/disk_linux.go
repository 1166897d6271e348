package maildir

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// openBelow opens what name leads to below a directory. As with os.Root, a link on the
// way is followed only if it stays below.
func openBelow(top int, name string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	if flags&os.O_CREATE != 0 {
		how.Mode = fileMode
	}
	return unix.Openat2(top, name, &how)
}

// lag tells by its kind how long a file system may show what was before. NFS and its like
// keep the attributes and names of directories for up to a minute (nfs(5), acdirmax). Those
// in user space (FUSE) do not say whether a network is behind them.
func lag(dir int) time.Duration {
	var st unix.Statfs_t
	if err := unix.Fstatfs(dir, &st); err != nil {
		return 0 // whatever is wrong will show in what is done
	}
	return lagOf(uint32(st.Type))
}

func lagOf(kind uint32) time.Duration {
	switch kind {
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC,
		unix.CODA_SUPER_MAGIC:
		return 90 * time.Second
	}
	return 0
}

// syncsWhole tells whether syncWhole makes all of a file system durable, and tells of what
// could not be written since the directory was opened, as it does since Linux 5.8. Where
// a network is behind it, or another file system, somebody else decides.
func syncsWhole(dir int) bool {
	var st unix.Statfs_t
	var name unix.Utsname
	if unix.Fstatfs(dir, &st) != nil || unix.Uname(&name) != nil || !since(unix.ByteSliceToString(name.Release[:]), 5, 8) {
		return false
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC:
		return true
	}
	return false
}

// since tells whether a release of Linux ("6.1.0-13-amd64") is that one or a later one.
func since(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}

func syncWhole(dir int) error {
	_, err := again(func() (int, error) { return 0, unix.Syncfs(dir) })
	return err
}

func renameNoReplace(fd int, from string, tofd int, to string) error {
	return unix.Renameat2(fd, from, tofd, to, unix.RENAME_NOREPLACE)
}

// readDir reads a directory with getdents64, for the types and inodes that the
// entries carry: os.File.ReadDir hides the inode behind an lstat for each file.
func readDir(dir *os.File, each func(Entry)) error {
	buf := make([]byte, 64<<10)
	for {
		n, err := again(func() (int, error) { return unix.Getdents(int(dir.Fd()), buf) })
		if n <= 0 || err != nil {
			return err
		}
		eachDirent(buf[:n], each)
	}
}

// eachDirent takes apart what getdents64 gave, records of
//
//	u64 inode, u64 offset, u16 length of the record, u8 type, name, NUL, padding
func eachDirent(buf []byte, each func(Entry)) {
	const header = 8 + 8 + 2 + 1
	text := string(buf) // one allocation, of which all names are parts
	for len(buf) > header {
		length := int(binary.NativeEndian.Uint16(buf[16:]))
		if length <= header || length > len(buf) {
			return
		}
		name := text[header:length]
		if end := strings.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		inode := binary.NativeEndian.Uint64(buf)
		if inode != 0 && name != "." && name != ".." {
			each(Entry{Name: name, Type: direntType(buf[18]), Inode: inode})
		}
		buf, text = buf[length:], text[length:]
	}
}

func direntType(t byte) fs.FileMode {
	switch t {
	case unix.DT_UNKNOWN:
		return unknownType
	default:
		return typeOf(uint32(t) << 12) // DT_ is S_IF shifted, see readdir(3)
	}
}
