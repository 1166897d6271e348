package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"mailtwin/conflict/mail"
)

// walk is one walk over the directories of the tree.
type walk struct {
	t      *Tree
	known  map[string]mail.LocalFolder // by directory
	inside map[string][]spot           // which directories known folders lie in or are, by the one around
	found  []mail.LocalFolder
	places map[mail.Folder]string
	halves []string // directories of folders that are half made, or half removed
	// dirs are the directories that are folders, or may hold some, or will be once they tell
	// their names; without the root.
	dirs []string
	// failed: what is in some directory could not be listed, and not for lack of permission.
	failed bool
	// notices are of directories that are left out.
	notices []mail.Notice
}

// leaveOut notes that a directory is left out. It is named as people see it.
func (w *walk) leaveOut(dir, why string) {
	w.notices = append(w.notices, mail.Notice{Text: fmt.Sprintf("the directory %q is left out: %s", dir, why)})
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
	w.dirs = append(w.dirs, s.dir)
	inside, whole, err := w.children(s)
	if err != nil {
		w.failed = w.failed || !errors.Is(err, fs.ErrPermission)
		w.leaveOut(s.dir, "what is in it cannot be listed: "+err.Error())
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
	name, ok := w.known[s.dir].Name, true
	known := name != ""
	if !known {
		name, ok = w.t.opts.Layout.decode(s.names)
	}
	switch {
	case !ok:
	case !whole && err != nil && (known || isNoFolder(err) || !w.holds(s.dir)):
		w.found = append(w.found, mail.LocalFolder{Name: name, Unfinished: true})
		w.halves = append(w.halves, s.dir)
	case isNoFolder(err):
	default:
		if !whole && !known {
			stamp = mail.Stamp{} // what was being made need not be durable, nor complete
		}
		w.found = append(w.found, mail.LocalFolder{Name: name, Stamp: stamp})
		w.places[name] = s.dir
	}
}

// holds tells whether there may be messages in a directory that is marked: somebody takes it
// for a folder, and it is to become one again.
func (w *walk) holds(dir string) bool {
	for _, sub := range []string{"cur", "new"} {
		if err := w.t.empty(path.Join(dir, sub)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
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

// doubt lists what is known and was not found although something stands in its place: a
// file, a link to another disk, a directory without cur and new, as one has that a disk
// was mounted on. That is damage, or on the way to something else, and says nothing of
// the folders inside; only a directory that is not there was removed. INBOX is not
// among them: that it is lost is for the whole account to know.
func (w *walk) doubt() {
	var missing []string
	for dir, k := range w.known {
		if k.Name != mail.Inbox && w.places[k.Name] == "" {
			missing = append(missing, dir)
		}
	}
	slices.Sort(missing) // what is around comes first
	seen := slices.Clone(w.found)
	for _, dir := range missing {
		if w.places[w.known[dir].Name] == "" && w.blocked(dir, seen) {
			w.blind(dir)
		}
	}
}

// blocked tells whether something that is no folder stands at dir, or around it; seen
// are the folders that were found.
func (w *walk) blocked(dir string, seen []mail.LocalFolder) bool {
	info, err := w.t.look(dir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	// It may be the directory of another folder, for a file system that folds names.
	if _, err := w.t.stampWith(dir, info); !isNoFolder(err) {
		return false
	}
	// It may be removed by us, or be there for the folders inside, also for one that is half
	// removed, with which it goes.
	_, err = w.t.fs.Lstat(join(dir, unfinished))
	inside := func(at string) bool { return strings.HasPrefix(at, dir+"/") }
	return err != nil && !slices.ContainsFunc(w.halves, inside) &&
		!slices.ContainsFunc(seen, func(f mail.LocalFolder) bool { return inside(w.places[f.Name]) })
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
		case strings.HasPrefix(e.Name, unfinished+"-"):
			w.halves = append(w.halves, join(s.dir, e.Name))
		case w.t.opts.Layout.visible(s.dir, e.Name):
			entries = append(entries, e.Name)
		}
	})
	if err != nil {
		return nil, whole, err
	}
	short := make(map[string]bool) // names that a directory has the short form of
	for _, entry := range entries {
		child := join(s.dir, entry)
		if !isShort(entry) {
			continue
		}
		full, err := w.t.fullName(w.t.fs, child)
		if err != nil || full == "" {
			w.dirs = append(w.dirs, child)
			w.leaveOut(child, "it does not tell its whole name")
			continue
		}
		short[full] = true
		inside = w.append(inside, s, child, full)
	}
	for _, entry := range entries {
		child := join(s.dir, entry)
		switch {
		case isShort(entry):
		case short[entry]:
			w.leaveOut(child, "another directory is the folder of that name")
		default:
			inside = w.append(inside, s, child, entry)
		}
	}
	return inside, whole, nil
}

func (w *walk) append(inside []spot, s spot, child, name string) []spot {
	names := append(s.names[:len(s.names):len(s.names)], name)
	if _, ok := w.t.opts.Layout.decode(names); !ok {
		if _, err := w.t.stamp(child); !isNoFolder(err) {
			w.leaveOut(child, "no folder is spelled like that on disk; rename it")
		}
		return inside
	}
	return append(inside, spot{dir: child, names: names})
}
