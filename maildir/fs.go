package maildir

import (
	"io"
	"io/fs"
	"time"
)

// FS is what this package needs of a file system. Names are slash-separated paths
// below its root, "." is the root. Errors satisfy errors.Is with fs.ErrNotExist,
// fs.ErrExist and fs.ErrPermission where that is what went wrong. All methods may
// be called from several goroutines at once.
//
// Durable, that is still there after a loss of power, is a file's content and
// times after Sync of the file, and a name (made, renamed, removed) after Sync of
// the directory that it stands in, of both where a rename had two. Before that any
// subset of the changes may survive, in any order; content may be torn.
type FS interface {
	// Open opens a file for reading. It follows no link in the last part of name, and
	// does not wait for a writer of a FIFO.
	Open(name string) (Reader, error)
	// Create makes a file that is not there, with mode 0600, for writing.
	Create(name string) (io.WriteCloser, error)
	// Sync makes files and directories durable, many of them at the same time.
	Sync(names ...string) error
	// Link gives a file a second name in another FS or in the same one. Any error but
	// fs.ErrNotExist and fs.ErrExist means that the two cannot share files.
	Link(name string, to FS, as string) error
	// Rename moves a file within the FS, atomically, and never over another:
	// fs.ErrExist.
	Rename(from, to string) error
	// Replace is Rename that takes the place of a file that is there.
	Replace(from, to string) error
	// Unlink removes the name of what is no directory.
	Unlink(name string) error
	// Mkdir makes a directory with mode 0700.
	Mkdir(name string) error
	// Rmdir removes a directory; fs.ErrExist if anything is in it.
	Rmdir(name string) error
	// ReadDir calls each for every entry but "." and "..", in no order. What is
	// renamed, made or removed meanwhile may be told of never, once or twice.
	ReadDir(name string, each func(Entry)) error
	// Lstat looks at a name without following it.
	Lstat(name string) (Info, error)
	// SetModTime sets a file's modification time.
	SetModTime(name string, t time.Time) error
	// Lag is how long it may show what was before, of what another machine has changed: 0
	// where nobody but this one changes it.
	Lag() time.Duration
	io.Closer
}

// Reader is a file open for reading.
type Reader interface {
	io.ReadSeekCloser
	Info() (Info, error)
}

// Entry is one name in a directory.
type Entry struct {
	Name  string
	Type  fs.FileMode // type bits only; 0 is a regular file
	Inode uint64
}

// Info is what the file system tells of a name. Times are in nanoseconds since
// 1970.
type Info struct {
	Type       fs.FileMode // type bits only
	Links      uint64      // how many names; of a directory, see children
	Dev, Inode uint64
	Size       int64
	ModTime    int64 // can be set to anything
	Changed    int64 // when content or attributes last changed; cannot be set
}

// join is path.Join for a directory that is clean already, and a name in it. A run that has
// nothing to do makes little else than names.
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}
