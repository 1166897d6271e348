package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict/mail"
)

// unfinished is a directory in that of a folder which is being made or removed. It
// says that a cur/ or new/ that is missing was not lost: there is no folder, rather
// than a damaged one that nobody but the user could mend after a crash.
const unfinished = ".mailtwin-unfinished"

// Folders is Local.Folders. Symbolic links are not followed, hidden directories
// are not folders. A folder of which something is missing or cannot be looked at
// has the zero Stamp: Scan says what it is.
func (t *Tree) Folders(ctx context.Context, known []mail.LocalFolder) ([]mail.LocalFolder, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	w := walk{t: t, known: make(map[string]mail.Stamp, len(known)), inside: make(map[string][]string)}
	for _, k := range known {
		dir, err := dirOf(k.Name)
		if err != nil {
			continue // then it is not on disk
		}
		w.known[dir] = k.Stamp
		for ; dir != "."; dir = path.Dir(dir) {
			parent := path.Dir(dir)
			if !slices.Contains(w.inside[parent], dir) {
				w.inside[parent] = append(w.inside[parent], dir)
			}
		}
	}
	dirs, _, err := w.read(".")
	if err != nil {
		return nil, fmt.Errorf("list the Maildir's folders: %w", err)
	}
	for _, dir := range dirs {
		if err := w.visit(ctx, dir); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(w.found, func(a, b mail.LocalFolder) int { return strings.Compare(string(a.Name), string(b.Name)) })
	// What an unmount in the middle took away must not look like folders removed.
	return w.found, t.check()
}

// walk is one walk over the directories of the tree.
type walk struct {
	t      *Tree
	known  map[string]mail.Stamp // by directory
	inside map[string][]string   // which directories known folders lie in or are, by the one around
	found  []mail.LocalFolder
}

func (w *walk) visit(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := w.t.fs.Lstat(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.blind(dir) // no permission to look: that is not absence
	}
	if err != nil || info.Type != fs.ModeDir {
		return nil
	}
	inside, whole, err := w.children(dir, info)
	if err != nil {
		w.t.opts.Log.Warn("directory cannot be read", "directory", dir, "error", err)
	}
	stamp, err := w.t.stampWith(dir, info)
	if !errors.Is(err, errNoFolder) && (err == nil || whole) {
		if name, ok := folderOf(dir); ok {
			w.found = append(w.found, mail.LocalFolder{Name: name, Stamp: stamp})
		}
	}
	for _, child := range inside {
		if err := w.visit(ctx, child); err != nil {
			return err
		}
	}
	return nil
}

// blind lists what is known at dir and inside it, since nobody can tell.
func (w *walk) blind(dir string) {
	for known := range w.known {
		if name, ok := folderOf(known); ok && (known == dir || strings.HasPrefix(known, dir+"/")) {
			w.found = append(w.found, mail.LocalFolder{Name: name})
		}
	}
}

// children gives the directories inside dir, and tells whether dir is not marked as
// unfinished. They are those known if dir has not changed since. Most file systems count the
// directories inside one in its links; that also finds those that known lacks.
func (w *walk) children(dir string, info Info) ([]string, bool, error) {
	stamp, ok := w.known[dir]
	ok = ok && stamp.Folder == info.ModTime && stamp.Dev == info.Dev && stamp.Inode == info.Inode
	const own = 2 + 3 // its name and "."; cur, new and tmp
	if ok && (info.Links < 2 || info.Links == own+uint64(len(w.inside[dir]))) {
		return w.inside[dir], true, nil
	}
	dirs, whole, err := w.read(dir)
	if err != nil {
		return w.inside[dir], true, err
	}
	return dirs, whole, nil
}

// read reads a directory for those inside it that are folders or may hold some.
func (w *walk) read(dir string) (dirs []string, whole bool, err error) {
	whole = true
	err = w.t.fs.ReadDir(dir, func(e Entry) {
		child := path.Join(dir, e.Name)
		switch {
		case e.Type != fs.ModeDir || slices.Contains(reserved, e.Name):
		case e.Name == unfinished:
			whole = false
		case strings.HasPrefix(e.Name, "."):
		default:
			if _, ok := folderOf(child); ok {
				dirs = append(dirs, child)
			} else {
				w.t.opts.Log.Warn("directory has a name that no folder has", "directory", child)
			}
		}
	})
	return dirs, whole, err
}

// errNoFolder: a directory has neither cur nor new, it only holds folders.
var errNoFolder = fmt.Errorf("no Maildir folder: %w", mail.ErrGone)

// stamp takes the stamp of the folder at dir: three lstats. It is mail.ErrGone if
// there is no folder, another error if something of it is missing.
func (t *Tree) stamp(dir string) (mail.Stamp, error) {
	info, err := t.fs.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := t.check(); err != nil {
			return mail.Stamp{}, err
		}
		return mail.Stamp{}, mail.ErrGone
	}
	if err != nil {
		return mail.Stamp{}, err
	}
	if info.Type != fs.ModeDir {
		return mail.Stamp{}, fmt.Errorf("%q is no directory", dir)
	}
	return t.stampWith(dir, info)
}

func (t *Tree) stampWith(dir string, info Info) (mail.Stamp, error) {
	cur, errCur := t.fs.Lstat(path.Join(dir, "cur"))
	new, errNew := t.fs.Lstat(path.Join(dir, "new"))
	if errors.Is(errCur, fs.ErrNotExist) && errors.Is(errNew, fs.ErrNotExist) {
		return mail.Stamp{}, errNoFolder
	}
	if err := errors.Join(errCur, errNew); err != nil {
		return mail.Stamp{}, fmt.Errorf("the folder is incomplete: %w", err)
	}
	if cur.Type != fs.ModeDir || new.Type != fs.ModeDir {
		return mail.Stamp{}, errors.New("cur or new is no directory")
	}
	return mail.Stamp{Folder: info.ModTime, Cur: cur.ModTime, New: new.ModTime, Dev: info.Dev, Inode: info.Inode}, nil
}

// CreateFolder is Local.CreateFolder. It completes what an interrupted call left.
func (t *Tree) CreateFolder(ctx context.Context, folder mail.Folder) (err error) {
	defer explain(&err, "create", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return err
	}
	mark := path.Join(dir, unfinished)
	if _, err := t.stamp(dir); !errors.Is(err, mail.ErrGone) {
		if _, left := t.fs.Lstat(mark); left != nil {
			if err != nil {
				return err
			}
			return mail.ErrExists
		}
	}
	var made []string
	for i := range len(dir) + 1 {
		if i == len(dir) || dir[i] == '/' {
			made = append(made, dir[:i])
		}
	}
	// The mark is there before anything that it speaks of, and goes last.
	for _, name := range append(made, mark) {
		if err := t.mkdir(name); err != nil {
			return err
		}
		if err := t.sync(path.Dir(name)); err != nil {
			return err
		}
	}
	for _, sub := range []string{"tmp", "new", "cur"} {
		if err := t.mkdir(path.Join(dir, sub)); err != nil {
			return err
		}
	}
	if err := t.sync(dir); err != nil {
		return err
	}
	if err := t.fs.Rmdir(mark); err != nil {
		return err
	}
	return t.sync(dir)
}

// mkdir makes a directory if there is none.
func (t *Tree) mkdir(name string) error {
	err := t.fs.Mkdir(name)
	if errors.Is(err, fs.ErrExist) {
		if info, err := t.fs.Lstat(name); err != nil || info.Type != fs.ModeDir {
			return errors.Join(fmt.Errorf("%q is no directory", name), err)
		}
		return nil
	}
	return err
}

// RemoveFolder is Local.RemoveFolder. Anything in cur/, new/ or tmp/ keeps it. The
// directory itself stays if something else is in it.
func (t *Tree) RemoveFolder(ctx context.Context, folder mail.Folder) (err error) {
	defer explain(&err, "remove", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	if _, err := t.stamp(dir); err != nil {
		return err
	}
	// Old leftovers in tmp/ are no messages.
	if err := t.Sweep(ctx, folder, func(mail.Key) bool { return false }); err != nil {
		return err
	}
	for _, sub := range []string{"cur", "new"} {
		if err := t.empty(path.Join(dir, sub)); err != nil {
			return err
		}
	}
	mark := path.Join(dir, unfinished)
	if err := t.mkdir(mark); err != nil {
		return err
	}
	if err := t.sync(dir); err != nil {
		return err
	}
	// tmp/ first: without it nobody can begin a delivery.
	subs := []string{"tmp", "new", "cur"}
	for i, sub := range subs {
		err := t.fs.Rmdir(path.Join(dir, sub))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, removed := range subs[:i] {
			err = errors.Join(err, t.mkdir(path.Join(dir, removed)))
		}
		return errors.Join(fmt.Errorf("it is not empty: %w", err), t.fs.Rmdir(mark), t.sync(dir))
	}
	for _, name := range []string{markerFile, lettersFile} {
		if err := t.fs.Unlink(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := t.fs.Rmdir(mark); err != nil {
		return err
	}
	err = t.fs.Rmdir(dir)
	if errors.Is(err, fs.ErrExist) {
		return t.sync(dir) // folders inside, or files of other programs
	}
	if err != nil {
		return err
	}
	return t.sync(path.Dir(dir))
}

// empty gives an error if anything is in a directory.
func (t *Tree) empty(dir string) error {
	var some string
	if err := t.fs.ReadDir(dir, func(e Entry) { some = e.Name }); err != nil {
		return err
	}
	if some != "" {
		return fmt.Errorf("it is not empty: it holds %.160q", some)
	}
	return nil
}

// sweepAge is how long a delivery may take (https://cr.yp.to/proto/maildir.html).
const sweepAge = 36 * time.Hour

// Sweep is Local.Sweep. A file's age is that of its last change of any kind, since
// the modification time of a message is its date.
func (t *Tree) Sweep(ctx context.Context, folder mail.Folder, keep func(mail.Key) bool) (err error) {
	defer explain(&err, "sweep tmp/ of", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	tmp := path.Join(dir, "tmp")
	var names []string
	err = t.fs.ReadDir(tmp, func(e Entry) {
		if e.Type == 0 && !keep(mail.Key(e.Name)) {
			names = append(names, e.Name)
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // then it holds nothing
	}
	if err != nil {
		return err
	}
	oldest := t.opts.Now().Add(-sweepAge).UnixNano()
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		name = path.Join(tmp, name)
		info, err := t.fs.Lstat(name)
		if err == nil && info.Changed < oldest {
			err = t.fs.Unlink(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
