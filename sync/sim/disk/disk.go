// Package disk is a disk in memory that can lose its power. What was not synced before
// is then lost, torn or there nevertheless, as chance has it; see PowerLoss.
//
// A Disk is for one goroutine at a time, starts none, and takes its time from the clock
// that it is given. So a run on it is the same each time.
package disk

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"mailtwin/maildir"
)

// Disk is one file system.
type Disk struct {
	// Now is its clock; Tick is how coarse the times of files are (not 0).
	Now  func() time.Time
	Tick time.Duration
	// Actor is who changes the disk from now on, for Change.
	Actor string
	// Listing is called in the middle of each ReadDir, when others may change the
	// directory; nil: nobody does.
	Listing func(dir string)
	// Changed is called after a name has come or gone in a directory; nil: nobody watches.
	Changed func(dir, name string)

	dev     uint64
	root    *inode
	numbers uint64
	free    []uint64  // numbers of inodes that are gone; the last one is given out first
	pending []*change // of names, in their order, that would not all survive
	dirty   map[*inode]bool
}

// inode is a file or a directory. entries are its names now, and durable those that
// survive; content is the file's now, and saved what survives for sure.
type inode struct {
	number           uint64
	links            int // names
	modTime, changed int64

	entries, durable map[string]*inode // nil: a file
	durableTime      int64             // of a directory

	content []byte
	saved   saved
}

type saved struct {
	content []byte
	modTime int64
}

func (i *inode) isDir() bool { return i.entries != nil }

// New makes an empty disk.
func New(dev uint64, now func() time.Time) *Disk {
	d := &Disk{Now: now, Tick: 1, dev: dev, dirty: map[*inode]bool{}}
	d.root = d.newInode(true)
	d.root.links = 1
	return d
}

func (d *Disk) newInode(dir bool) *inode {
	i := &inode{}
	if n := len(d.free); n > 0 {
		i.number, d.free = d.free[n-1], d.free[:n-1]
	} else {
		d.numbers++
		i.number = d.numbers
	}
	if dir {
		i.entries, i.durable = map[string]*inode{}, map[string]*inode{}
	}
	i.modTime = d.tick()
	i.changed, i.durableTime = i.modTime, i.modTime
	return i
}

// tick is the time that a change is stamped with.
func (d *Disk) tick() int64 { return d.Now().Truncate(d.Tick).UnixNano() }

// FS gives the directory called name, which has to be there, as the root of a file
// system.
func (d *Disk) FS(name string) (*FS, error) {
	i, err := d.find(d.root, name)
	if err != nil || !i.isDir() {
		return nil, errors.Join(err, fail("open", name, errIf(err == nil, syscall.ENOTDIR)))
	}
	return &FS{d, i}, nil
}

func errIf(yes bool, err error) error {
	if yes {
		return err
	}
	return nil
}

func fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func (d *Disk) find(at *inode, name string) (*inode, error) {
	for name != "." && name != "" {
		var part string
		part, name, _ = strings.Cut(name, "/")
		if part == "." {
			continue
		}
		if !at.isDir() {
			return nil, syscall.ENOTDIR
		}
		next := at.entries[part]
		if next == nil {
			return nil, syscall.ENOENT
		}
		at = next
	}
	return at, nil
}

// in finds the directory that name stands in.
func (d *Disk) in(root *inode, name string) (dir *inode, base string, err error) {
	above, base := "", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		above, base = name[:i], name[i+1:]
	}
	dir, err = d.find(root, above)
	if err == nil && !dir.isDir() {
		err = syscall.ENOTDIR
	}
	return dir, base, err
}

// FS is a directory of a Disk as the root of a file system.
type FS struct {
	disk *Disk
	root *inode
}

var _ maildir.FS = (*FS)(nil)

// Open opens a file. What is opened is the content of now.
func (f *FS) Open(name string) (maildir.Reader, error) {
	i, err := f.file(name)
	if err != nil {
		return nil, err
	}
	return &reader{Reader: strings.NewReader(string(i.content)), disk: f.disk, inode: i}, nil
}

// Content gives what a file has, as one who looks at the disk sees it.
func (f *FS) Content(name string) (string, error) {
	i, err := f.file(name)
	if err != nil {
		return "", err
	}
	return string(i.content), nil
}

func (f *FS) file(name string) (*inode, error) {
	i, err := f.disk.find(f.root, name)
	if err == nil && i.isDir() {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, fail("open", name, err)
	}
	return i, nil
}

type reader struct {
	*strings.Reader
	disk  *Disk
	inode *inode
}

func (r *reader) Close() error                { return nil }
func (r *reader) Info() (maildir.Info, error) { return r.disk.info(r.inode), nil }

func (d *Disk) info(i *inode) maildir.Info {
	info := maildir.Info{Dev: d.dev, Inode: i.number, Links: uint64(i.links), Size: int64(len(i.content)), ModTime: i.modTime, Changed: i.changed}
	if i.isDir() {
		info.Type, info.Links = fs.ModeDir, 2
		for _, e := range i.entries {
			if e.isDir() {
				info.Links++
			}
		}
	}
	return info
}

// Create makes an empty file.
func (f *FS) Create(name string) (io.WriteCloser, error) {
	i, err := f.make(name, false)
	if err != nil {
		return nil, fail("create", name, err)
	}
	return &writer{f.disk, i}, nil
}

func (f *FS) make(name string, isDir bool) (*inode, error) {
	dir, base, err := f.disk.in(f.root, name)
	if err == nil && dir.entries[base] != nil {
		err = syscall.EEXIST
	}
	if err != nil {
		return nil, err
	}
	i := f.disk.newInode(isDir)
	f.disk.change(half{dir: dir, name: base, is: i})
	return i, nil
}

type writer struct {
	disk  *Disk
	inode *inode
}

func (w *writer) Write(p []byte) (int, error) {
	w.inode.content = append(w.inode.content, p...)
	w.disk.touch(w.inode)
	return len(p), nil
}

func (w *writer) Close() error { return nil }

// touch notes that a file's content changed.
func (d *Disk) touch(i *inode) {
	i.modTime = d.tick()
	i.changed = i.modTime
	d.dirty[i] = true
}

// Link gives a file another name.
func (f *FS) Link(name string, to maildir.FS, as string) error {
	other, ok := to.(*FS)
	if !ok || other.disk != f.disk {
		return fail("link", name, syscall.EXDEV)
	}
	i, err := f.disk.find(f.root, name)
	if err == nil && i.isDir() {
		err = syscall.EPERM
	}
	dir, base, errTo := f.disk.in(other.root, as)
	if err = cmpErr(err, errTo); err == nil && dir.entries[base] != nil {
		err = syscall.EEXIST
	}
	if err != nil {
		return fail("link", name, err)
	}
	f.disk.change(half{dir: dir, name: base, is: i})
	i.changed = f.disk.tick()
	return nil
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Rename moves a file or a directory, and never over another.
func (f *FS) Rename(from, to string) error { return fail("rename", from, f.rename(from, to, false)) }

// Replace is Rename that takes the place of a file.
func (f *FS) Replace(from, to string) error { return fail("replace", from, f.rename(from, to, true)) }

func (f *FS) rename(from, to string, over bool) error {
	dir, base, err := f.disk.in(f.root, from)
	todir, tobase, errTo := f.disk.in(f.root, to)
	if err := cmpErr(err, errTo); err != nil {
		return err
	}
	i, old := dir.entries[base], todir.entries[tobase]
	switch {
	case i == nil:
		return syscall.ENOENT
	case old != nil && !over:
		return syscall.EEXIST
	case old == i:
		return nil
	case old != nil && old.isDir():
		return syscall.EISDIR
	}
	i.changed = f.disk.tick()
	f.disk.change(half{dir: dir, name: base, was: i}, half{dir: todir, name: tobase, was: old, is: i})
	return nil
}

// Unlink removes a name of a file.
func (f *FS) Unlink(name string) error { return fail("unlink", name, f.remove(name, false)) }

// Rmdir removes an empty directory.
func (f *FS) Rmdir(name string) error { return fail("rmdir", name, f.remove(name, true)) }

func (f *FS) remove(name string, isDir bool) error {
	dir, base, err := f.disk.in(f.root, name)
	if err != nil {
		return err
	}
	i := dir.entries[base]
	switch {
	case i == nil && base == ".":
		return syscall.EINVAL
	case i == nil:
		return syscall.ENOENT
	case i.isDir() && !isDir:
		return syscall.EISDIR
	case !i.isDir() && isDir:
		return syscall.ENOTDIR
	case len(i.entries) > 0:
		return syscall.ENOTEMPTY
	}
	f.disk.change(half{dir: dir, name: base, was: i})
	return nil
}

// Mkdir makes a directory.
func (f *FS) Mkdir(name string) error {
	_, err := f.make(name, true)
	return fail("mkdir", name, err)
}

// ReadDir lists a directory, in order of the names. What is renamed by Listing is told
// of under its old name if it has been already, and else never.
func (f *FS) ReadDir(name string, each func(maildir.Entry)) error {
	i, err := f.disk.find(f.root, name)
	if err == nil && !i.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return fail("readdir", name, err)
	}
	names := make([]string, 0, len(i.entries))
	for base := range i.entries {
		names = append(names, base)
	}
	slices.Sort(names)
	for n, base := range names {
		if n == len(names)/2 && f.disk.Listing != nil {
			f.disk.Listing(name)
		}
		if e := i.entries[base]; e != nil {
			entry := maildir.Entry{Name: base, Inode: e.number}
			if e.isDir() {
				entry.Type = fs.ModeDir
			}
			each(entry)
		}
	}
	return nil
}

// Lstat looks at a name.
func (f *FS) Lstat(name string) (maildir.Info, error) {
	i, err := f.disk.find(f.root, name)
	if err != nil {
		return maildir.Info{}, fail("lstat", name, err)
	}
	return f.disk.info(i), nil
}

// SetModTime sets a file's time.
func (f *FS) SetModTime(name string, t time.Time) error {
	i, err := f.disk.find(f.root, name)
	if err != nil {
		return fail("utimes", name, err)
	}
	i.modTime, i.changed = t.UnixNano(), f.disk.tick()
	if !i.isDir() {
		f.disk.dirty[i] = true
	}
	return nil
}

// Lag is none.
func (f *FS) Lag() time.Duration { return 0 }

// Close does nothing.
func (f *FS) Close() error { return nil }
