package maildir

import (
	"context"
	"crypto/sha256"
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
// has the zero Stamp, and so has a known one where something else stands in the place
// of its directory: Scan says what it is. What is left of one that was being made or
// removed is listed as Unfinished, unless there may be messages in it that nobody knows.
// mail.ErrLayout: the Maildir is one of the other layout.
func (t *Tree) Folders(ctx context.Context, known []mail.LocalFolder) ([]mail.LocalFolder, error) {
	w, err := t.walk(ctx, known)
	if err != nil {
		return nil, err
	}
	w.doubt()
	if w.places[mail.Inbox] == "" {
		knows := slices.ContainsFunc(known, func(k mail.LocalFolder) bool { return k.Name == mail.Inbox })
		if err := t.otherLayout(knows); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(w.found, func(a, b mail.LocalFolder) int { return strings.Compare(string(a.Name), string(b.Name)) })
	t.placeLock.Lock()
	t.places, t.notices = w.places, w.notices
	t.placeLock.Unlock()
	// What an unmount in the middle took away must not look like folders removed.
	return w.found, t.check()
}

// walk goes over all directories of the tree that are folders or may hold some.
func (t *Tree) walk(ctx context.Context, known []mail.LocalFolder) (*walk, error) {
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
	return w, nil
}

// Notices is Local.Notices.
func (t *Tree) Notices() []mail.Notice {
	t.placeLock.Lock()
	defer t.placeLock.Unlock()
	return slices.Clone(t.notices)
}

// otherLayout gives an error if the Maildir, which has no INBOX, has one where the other
// layout would have it, and that is our work: base knows of an INBOX, or a marker says
// so. The folders of one layout are none in the other.
func (t *Tree) otherLayout(knows bool) error {
	other := Nested
	if t.opts.Layout == Nested {
		other = MaildirPlus
	}
	names, err := other.encode(mail.Inbox)
	if err != nil {
		return err
	}
	dir := path.Join(append([]string{"."}, names...)...)
	if _, err := t.stamp(dir); err != nil {
		return nil // then there is no such INBOX
	}
	if !knows {
		text, err := readSmall(t.fs, join(dir, markerFile), maxMarkerFile)
		if err != nil || parseMarker(text) == (mail.Marker{}) {
			return nil
		}
	}
	return fmt.Errorf("%w: it has layout = %q, and the configuration says %q", mail.ErrLayout, other, t.opts.Layout)
}

// noFolder: a directory has neither cur nor new, it only holds folders. It is a
// mail.ErrGone.
type noFolder struct{ dir string }

func (e noFolder) Error() string {
	return fmt.Sprintf("its directory %q has neither cur nor new: %s", e.dir, wayOut(e.dir))
}

func (e noFolder) Is(target error) bool { return target == mail.ErrGone }

func isNoFolder(err error) bool {
	var e noFolder
	return errors.As(err, &e)
}

// wayOut says what to do about what stands at the path of a folder's directory.
func wayOut(at string) string {
	return fmt.Sprintf("put the folder back, or remove %q if the folder is to go", at)
}

// look looks at a directory and at those around it. An error says what stands in the
// place of one of them; fs.ErrNotExist: nothing does.
func (t *Tree) look(dir string) (info Info, err error) {
	for i := range len(dir) + 1 {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		at := dir[:i]
		if info, err = t.fs.Lstat(at); err != nil {
			return info, err
		}
		if info.Type != fs.ModeDir {
			return info, fmt.Errorf("%s stands in the place of its directory %q: %s", kindOf(info.Type), at, wayOut(at))
		}
	}
	return info, nil
}

// kindOf names what is no directory.
func kindOf(t fs.FileMode) string {
	if t == fs.ModeSymlink {
		return "a symbolic link, which is not followed,"
	}
	return "a file"
}

// stamp takes the stamp of the folder at dir. It is mail.ErrGone if there is no folder,
// another error if something of it is missing, or something else is in its place.
func (t *Tree) stamp(dir string) (mail.Stamp, error) {
	info, err := t.look(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := t.check(); err != nil {
			return mail.Stamp{}, err
		}
		return mail.Stamp{}, mail.ErrGone
	}
	if err != nil {
		return mail.Stamp{}, err
	}
	return t.stampWith(dir, info)
}

func (t *Tree) stampWith(dir string, info Info) (mail.Stamp, error) {
	cur, errCur := t.fs.Lstat(join(dir, "cur"))
	new, errNew := t.fs.Lstat(join(dir, "new"))
	if errors.Is(errCur, fs.ErrNotExist) && errors.Is(errNew, fs.ErrNotExist) {
		return mail.Stamp{}, noFolder{dir}
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
	for i, name := range names {
		entry, _, err := t.find(dir, name)
		if err != nil {
			return err
		}
		if _, err := t.fs.Lstat(path.Join(dir, entry)); errors.Is(err, fs.ErrNotExist) {
			return t.createWhole(folder, dir, names[i:])
		}
		// createWhole may have come as far as to the directory of that name.
		if err := t.clearAway(path.Join(dir, interim(name))); err != nil {
			return err
		}
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
	if err := t.makeParts(dir); err != nil {
		return err
	}
	if err := t.fs.Rmdir(mark); err != nil {
		return err
	}
	return t.sync(dir)
}

// makeParts makes in a directory what makes it a folder.
func (t *Tree) makeParts(dir string) error {
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
	return t.sync(dir)
}

// createWhole makes a folder in the directory around, where nothing has the first of its
// names: under a name that nobody looks at, so that a crash leaves all of it or none. A
// bare directory that was left by one could be the place of another folder, and then looks
// like damage.
func (t *Tree) createWhole(folder mail.Folder, around string, names []string) error {
	full := names[0]
	made := path.Join(around, interim(full))
	// A crash may have left it. What it holds was put into the folder before the power has
	// taken that name from it, and comes back into the folder.
	if err := t.clearAway(made); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := t.mkdir(made); err != nil {
		return err
	}
	dir := made
	for _, name := range names[1:] {
		var err error
		if dir, err = t.makeDir(dir, name); err != nil {
			return err
		}
	}
	if err := t.makeParts(dir); err != nil {
		return err
	}
	target, err := t.vacant(around, full)
	if err != nil {
		return err
	}
	if err := t.moveAs(made, target, full); err != nil {
		return err
	}
	t.place(folder, path.Join(target, strings.TrimPrefix(dir, made)))
	return nil
}

// interim is the name of a directory while the folder of that name is being made or
// removed.
func interim(full string) string {
	sum := sha256.Sum256([]byte(full))
	return fmt.Sprintf("%s-%x", unfinished, sum[:8])
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
			return errors.Join(fmt.Errorf("%s stands in the place of the directory %q: move it away", kindOf(info.Type), name), err)
		}
		return nil
	}
	return err
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
