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
	w := newWalk(t, known)
	root := spot{dir: "."}
	inside, whole, err := w.read(root)
	if err != nil {
		return nil, fmt.Errorf("list the Maildir's folders: %w", err)
	}
	if _, ok := t.opts.Layout.decode(nil); ok {
		if w.look(&root); root.err == nil {
			w.add(root, whole)
		}
	}
	for i := range inside {
		w.look(&inside[i])
		if err := w.visit(ctx, inside[i]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(w.found, func(a, b mail.LocalFolder) int { return strings.Compare(string(a.Name), string(b.Name)) })
	t.placeLock.Lock()
	t.places = w.places
	t.placeLock.Unlock()
	// What an unmount in the middle took away must not look like folders removed.
	return w.found, t.check()
}

// walk is one walk over the directories of the tree.
type walk struct {
	t      *Tree
	known  map[string]mail.LocalFolder // by directory
	inside map[string][]spot           // which directories known folders lie in or are, by the one around
	found  []mail.LocalFolder
	places map[mail.Folder]string
}

// spot is a directory that may be a folder or hold some.
type spot struct {
	dir   string
	names []string // that lead to it, see Layout
	info  Info
	err   error // why there is no info
}

func newWalk(t *Tree, known []mail.LocalFolder) *walk {
	w := &walk{t: t, known: make(map[string]mail.LocalFolder, len(known)), inside: make(map[string][]spot), places: make(map[mail.Folder]string)}
	seen := make(map[string]bool, len(known))
	for _, k := range known {
		names, err := t.opts.Layout.encode(k.Name)
		if err != nil {
			continue // then it is not on disk
		}
		dir := "."
		for i, name := range names {
			if len(name) > maxEntry {
				name = short(name)
			}
			around := dir
			dir = path.Join(dir, name)
			if !seen[dir] {
				seen[dir] = true
				w.inside[around] = append(w.inside[around], spot{dir: dir, names: names[:i+1]})
			}
		}
		w.known[dir] = k
	}
	return w
}

func (w *walk) look(s *spot) { s.info, s.err = w.t.fs.Lstat(s.dir) }

func (w *walk) visit(ctx context.Context, s spot) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.err != nil && !errors.Is(s.err, fs.ErrNotExist) {
		w.blind(s.dir) // no permission to look: that is not absence
	}
	if s.err != nil || s.info.Type != fs.ModeDir {
		return nil
	}
	inside, whole, err := w.children(s)
	if err != nil {
		w.t.opts.Log.Warn("directory cannot be read", "directory", s.dir, "error", err)
	}
	w.add(s, whole)
	for _, child := range inside {
		if err := w.visit(ctx, child); err != nil {
			return err
		}
	}
	return nil
}

// add adds the folder at s to those found, if there is one.
func (w *walk) add(s spot, whole bool) {
	stamp, err := w.t.stampWith(s.dir, s.info)
	if errors.Is(err, errNoFolder) || err != nil && !whole {
		return
	}
	name, ok := w.known[s.dir].Name, true
	if name == "" {
		name, ok = w.t.opts.Layout.decode(s.names)
	}
	if ok {
		w.found = append(w.found, mail.LocalFolder{Name: name, Stamp: stamp})
		w.places[name] = s.dir
	}
}

// blind lists what is known at dir and inside it, since nobody can tell.
func (w *walk) blind(dir string) {
	for at, k := range w.known {
		if at == dir || strings.HasPrefix(at, dir+"/") {
			w.found = append(w.found, mail.LocalFolder{Name: k.Name})
			w.places[k.Name] = at
		}
	}
}

// children gives the directories inside s, and tells whether s is not marked as
// unfinished.
func (w *walk) children(s spot) ([]spot, bool, error) {
	if inside, ok := w.unchanged(s); ok {
		return inside, true, nil
	}
	inside, whole, err := w.read(s)
	if err != nil {
		inside, whole = slices.Clone(w.inside[s.dir]), true
	}
	for i := range inside {
		w.look(&inside[i])
	}
	return inside, whole, err
}

// unchanged gives the directories known inside s, if s has not changed since. Most
// file systems count the directories inside one in its links; that also finds those
// that known lacks. To a name that is known another directory may answer, see
// place.go; that is seen by the inode.
func (w *walk) unchanged(s spot) ([]spot, bool) {
	k, ok := w.known[s.dir]
	inside := slices.Clone(w.inside[s.dir])
	const own = 2 + 3 // its name and "."; cur, new and tmp
	if !ok || k.Stamp.Folder != s.info.ModTime || !same(k.Stamp, s.info) ||
		s.info.Links >= 2 && s.info.Links != own+uint64(len(inside)) {
		return nil, false
	}
	for i := range inside {
		if _, ok := w.known[inside[i].dir]; !ok {
			return nil, false
		}
	}
	for i := range inside {
		w.look(&inside[i])
		if inside[i].err == nil && !same(w.known[inside[i].dir].Stamp, inside[i].info) {
			return nil, false
		}
	}
	return inside, true
}

func same(s mail.Stamp, info Info) bool { return s.Dev == info.Dev && s.Inode == info.Inode }

// read reads a directory for those inside it that are folders or may hold some.
func (w *walk) read(s spot) (inside []spot, whole bool, err error) {
	whole = true
	var entries []string
	err = w.t.fs.ReadDir(s.dir, func(e Entry) {
		switch {
		case e.Type != fs.ModeDir:
		case e.Name == unfinished:
			whole = false
		case w.t.opts.Layout.visible(s.dir, e.Name):
			entries = append(entries, e.Name)
		}
	})
	if err != nil {
		return nil, whole, err
	}
	short := make(map[string]bool) // names that a directory has the short form of
	for _, entry := range entries {
		child := path.Join(s.dir, entry)
		if !isShort(entry) {
			continue
		}
		full, err := w.t.fullName(w.t.fs, child)
		if err != nil || full == "" {
			w.t.opts.Log.Warn("directory does not tell its name", "directory", child, "error", err)
			continue
		}
		short[full] = true
		inside = w.append(inside, s, child, full)
	}
	for _, entry := range entries {
		child := path.Join(s.dir, entry)
		switch {
		case isShort(entry):
		case short[entry]:
			w.t.opts.Log.Warn("another directory is the folder of that name", "directory", child)
		default:
			inside = w.append(inside, s, child, entry)
		}
	}
	return inside, whole, nil
}

func (w *walk) append(inside []spot, s spot, child, name string) []spot {
	names := append(s.names[:len(s.names):len(s.names)], name)
	if _, ok := w.t.opts.Layout.decode(names); !ok {
		w.t.opts.Log.Warn("directory has a name that no folder has", "directory", child)
		return inside
	}
	return append(inside, spot{dir: child, names: names})
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
	names, err := t.opts.Layout.encode(folder)
	if err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return err
	}
	dir := "."
	for _, name := range names {
		if dir, err = t.makeDir(dir, name); err != nil {
			return err
		}
	}
	t.place(folder, dir)
	mark := path.Join(dir, unfinished)
	if _, err := t.stamp(dir); !errors.Is(err, mail.ErrGone) {
		if _, left := t.fs.Lstat(mark); left != nil {
			if err != nil {
				return err
			}
			return mail.ErrExists
		}
	}
	// The mark is there before anything that it speaks of, and goes last.
	if err := t.mkdir(mark); err != nil {
		return err
	}
	if err := t.sync(dir); err != nil {
		return err
	}
	if t.opts.Layout == MaildirPlus && dir != "." {
		if err := t.touch(path.Join(dir, folderFile)); err != nil {
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

// touch makes an empty file if there is none.
func (t *Tree) touch(name string) error {
	f, err := t.fs.Create(name)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
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
	if folder == mail.Inbox {
		return errors.New("every Maildir has an INBOX")
	}
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
		if err := t.empty(path.Join(dir, sub), ""); err != nil {
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
	t.place(folder, "")
	for _, name := range []string{markerFile, lettersFile, folderFile} {
		if err := t.fs.Unlink(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := t.fs.Rmdir(mark); err != nil {
		return err
	}
	if isShort(path.Base(dir)) {
		// It is needed as long as there are folders inside.
		err := t.empty(dir, nameFile)
		if err != nil {
			return t.sync(dir)
		}
		if err := t.fs.Unlink(path.Join(dir, nameFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
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

// empty gives an error if anything but the one named is in a directory.
func (t *Tree) empty(dir, but string) error {
	var some string
	err := t.fs.ReadDir(dir, func(e Entry) {
		if e.Name != but {
			some = e.Name
		}
	})
	if err != nil {
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
