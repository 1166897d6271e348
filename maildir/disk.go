//go:build unix

package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// disk is the FS of the machine. What opens or writes resolves directories through
// an os.Root, which follows no link out of it; Lstat, of which there are many and
// which changes nothing, takes the plain path.
type disk struct {
	root *os.Root
	top  *os.File // the root, for calls that take a descriptor
	path string
	lag  time.Duration
	all  wholeSync
}

// openDisk opens the directory at path as the root of an FS.
func openDisk(path string) (*disk, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	top, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	d := &disk{root: root, top: top, path: path, lag: lag(int(top.Fd()))}
	if info, err := d.Lstat("."); err == nil && syncsWhole(int(top.Fd())) {
		d.all.on, d.all.dev = true, info.Dev
	}
	return d, nil
}

// Lag is FS.Lag.
func (d *disk) Lag() time.Duration { return d.lag }

func (d *disk) Close() error { return errors.Join(d.top.Close(), d.root.Close()) }

// open opens what name leads to below the root. Where the kernel cannot do that by
// itself, or finds nothing to open, os.Root does, or knows why not: it opens each
// directory on the way, which for a message is most of what its file costs.
func (d *disk) open(name string, flags int) (int, error) {
	fd, err := again(func() (int, error) { return openBelow(int(d.top.Fd()), name, flags) })
	if err == nil {
		return fd, nil
	}
	f, err := d.root.OpenFile(name, flags, fileMode)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// fileMode is that of new files.
const fileMode = 0o600

// in opens the directory that name stands in, for the calls that take a directory
// and a name in it.
func (d *disk) in(name string) (dir int, base string, err error) {
	dir, err = d.open(path.Dir(name), os.O_RDONLY|unix.O_DIRECTORY)
	return dir, path.Base(name), err
}

func (d *disk) Open(name string) (Reader, error) {
	dir, base, err := d.in(name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	// os.Root would follow a link in the last part as long as it stays inside.
	// O_NONBLOCK: the open of a FIFO would wait for its writer.
	flags := unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := again(func() (int, error) { return unix.Openat(dir, base, flags, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return diskFile{os.NewFile(uintptr(fd), name)}, nil
}

// again repeats a system call that a signal interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}

type diskFile struct{ *os.File }

func (f diskFile) Info() (Info, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return Info{}, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return infoOf(&st), nil
}

func (d *disk) Create(name string) (io.WriteCloser, error) {
	fd, err := d.open(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// syncAtOnce is how many files are synced at the same time: a journal takes them in
// one go, measured as 5 times faster than one after another.
const syncAtOnce = 16

func (d *disk) Sync(names ...string) error {
	if len(names) == 1 {
		return d.sync(names[0])
	}
	if len(names) >= wholeFrom {
		if done, err := d.syncWhole(names); done || err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.SetLimit(syncAtOnce)
	for _, name := range names {
		g.Go(func() error { return d.sync(name) })
	}
	return g.Wait()
}

func (d *disk) sync(name string) error {
	// Reading is enough for fsync, and all that a directory can be opened for.
	fd, err := d.open(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := again(func() (int, error) { return 0, unix.Fsync(fd) }); err != nil {
		return &fs.PathError{Op: "sync", Path: name, Err: err}
	}
	return nil
}

func (d *disk) Link(name string, to FS, as string) error {
	other, ok := to.(*disk)
	if !ok {
		return errors.ErrUnsupported
	}
	return withDirs("link", d, name, other, as, func(fd int, old string, tofd int, new string) error {
		return unix.Linkat(fd, old, tofd, new, 0)
	})
}

// withDirs opens the directories of two names for one call on both.
func withDirs(op string, d *disk, from string, other *disk, to string, call func(fd int, old string, tofd int, new string) error) error {
	dir, old, err := d.in(from)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	todir, new, err := other.in(to)
	if err != nil {
		return err
	}
	defer unix.Close(todir)
	if err := call(dir, old, todir, new); err != nil {
		return &os.LinkError{Op: op, Old: from, New: to, Err: err}
	}
	return nil
}

func (d *disk) Rename(from, to string) error {
	err := withDirs("rename", d, from, d, to, renameNoReplace)
	if !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	if info, err := d.Lstat(from); err == nil && info.Type == fs.ModeDir {
		// A directory takes the place of nothing but an empty one.
		if _, err := d.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(&os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}, err)
		}
		return d.root.Rename(from, to)
	}
	return d.relink(from, to)
}

// relink is Rename where there is no RENAME_NOREPLACE, as on NFS and on some FUSE
// file systems. A crash between the two steps leaves both names; then the first
// step finds its own work.
func (d *disk) relink(from, to string) error {
	if err := d.Link(from, d, to); err != nil && !(errors.Is(err, fs.ErrExist) && d.same(from, to)) {
		return err
	}
	return d.Unlink(from)
}

func (d *disk) same(a, b string) bool {
	x, errX := d.Lstat(a)
	y, errY := d.Lstat(b)
	return errX == nil && errY == nil && x.Dev == y.Dev && x.Inode == y.Inode
}

func (d *disk) Replace(from, to string) error { return d.root.Rename(from, to) }

func (d *disk) Unlink(name string) error { return d.remove(name, 0) }

func (d *disk) Rmdir(name string) error { return d.remove(name, unix.AT_REMOVEDIR) }

func (d *disk) remove(name string, flags int) error {
	dir, base, err := d.in(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Unlinkat(dir, base, flags); err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}

func (d *disk) Mkdir(name string) error { return d.root.Mkdir(name, 0o700) }

func (d *disk) ReadDir(name string, each func(Entry)) error {
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var lost error
	err = readDir(f, func(e Entry) {
		if e.Type == unknownType {
			info, err := d.Lstat(path.Join(name, e.Name))
			if errors.Is(err, fs.ErrNotExist) {
				return
			}
			lost = errors.Join(lost, err)
			e.Type = info.Type
		}
		each(e)
	})
	if err != nil {
		return fmt.Errorf("read directory %q: %w", name, err)
	}
	return lost
}

// unknownType marks an Entry whose type the directory does not tell.
const unknownType = fs.ModeType

func (d *disk) Lstat(name string) (Info, error) {
	var st unix.Stat_t
	// With "/." at its end the path of the root follows it, if it is a link.
	if err := unix.Lstat(d.path+"/"+name, &st); err != nil {
		return Info{}, &fs.PathError{Op: "lstat", Path: name, Err: err}
	}
	return infoOf(&st), nil
}

func infoOf(st *unix.Stat_t) Info {
	return Info{
		Type:    typeOf(uint32(st.Mode)),
		Links:   uint64(st.Nlink),
		Dev:     uint64(st.Dev),
		Inode:   uint64(st.Ino),
		Size:    st.Size,
		ModTime: st.Mtim.Nano(),
		Changed: st.Ctim.Nano(),
	}
}

func typeOf(mode uint32) fs.FileMode {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	case unix.S_IFIFO:
		return fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return fs.ModeSocket
	default:
		return fs.ModeDevice
	}
}

func (d *disk) SetModTime(name string, t time.Time) error {
	dir, base, err := d.in(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	at, err := unix.TimeToTimespec(t)
	if err == nil {
		err = unix.UtimesNanoAt(dir, base, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return &fs.PathError{Op: "utimes", Path: name, Err: err}
	}
	return nil
}
