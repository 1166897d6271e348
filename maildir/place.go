package maildir

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"

	"mailtwin/conflict/mail"
)

// The layout gives a folder's directory a name. Not every file system can have every
// name: some are too long, and some are the same for a file system that does not know
// a from A or é from é. Then the directory gets a short form of the name, which is
// its beginning and a hash, and a file in it holds the name itself:
//
//	Work/                                     the folder Work
//	work%~7d8b...c1/.mailtwin-name            the folder work, where both are one
//
// So which folder a directory is can be told from the disk alone, and neither of two
// names is ever taken for the other.

// nameFile holds the name of a directory that has the short form of it.
const nameFile = ".mailtwin-name"

const maxNameFile = 16 << 10

// maxEntry is the longest name of a directory that file systems agree on, in octets.
// Where names are encrypted it is less, which leaves the short form room.
const maxEntry = 255

// shortMark stands between the beginning and the hash. The hash is long enough that
// nobody finds two names for one short form.
const (
	shortMark = "%~"
	shortTail = len(shortMark) + 2*16
	shortHead = 96
)

// short gives the short form of a directory's name.
func short(full string) string {
	cut := min(len(full), shortHead)
	for cut < len(full) && cut > 0 && !utf8.RuneStart(full[cut]) {
		cut--
	}
	sum := sha256.Sum256([]byte(full))
	return fmt.Sprintf("%s%s%x", full[:cut], shortMark, sum[:16])
}

// isShort tells whether a name looks like a short form. No layout gives such a name.
func isShort(name string) bool {
	i := len(name) - shortTail
	return i >= 0 && name[i:i+len(shortMark)] == shortMark &&
		strings.Trim(name[i+len(shortMark):], "0123456789abcdef") == ""
}

// fullName gives the name that the directory dir has a short form of; "" if no file
// says so. Only the hash counts: the file system may spell the rest its own way.
func (t *Tree) fullName(fsys FS, dir string) (string, error) {
	text, err := readSmall(fsys, join(dir, nameFile), maxNameFile)
	full := string(text)
	if err != nil || !strings.HasSuffix(dir, short(full)[len(short(full))-shortTail:]) {
		return "", err
	}
	return full, nil
}

// writeName writes down which name the directory dir has the short form of.
func (t *Tree) writeName(fsys FS, dir, full string) error {
	name := path.Join(dir, nameFile)
	// A crash may have left a part of it.
	if err := fsys.Unlink(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(full))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := t.syncIn(fsys, name); err != nil {
		return err
	}
	return t.syncIn(fsys, dir)
}

// find gives the entry of the directory dir that has the name full, and tells whether
// it is there. If not, it is the one to be made.
func (t *Tree) find(dir, full string) (entry string, there bool, err error) {
	entry = short(full)
	if name, err := t.fullName(t.fs, path.Join(dir, entry)); err != nil || name == full {
		return entry, true, err
	}
	if len(full) > maxEntry {
		return entry, false, nil
	}
	_, err = t.fs.Lstat(path.Join(dir, full))
	if errors.Is(err, fs.ErrNotExist) {
		return full, false, nil
	}
	if err != nil {
		return "", false, err
	}
	// Something answers to the name. It may have another one.
	if there, err = t.lists(dir, full); there || err != nil {
		return full, there, err
	}
	return entry, false, nil
}

// lists tells whether a directory has an entry of exactly that name.
func (t *Tree) lists(dir, name string) (bool, error) {
	found := false
	err := t.fs.ReadDir(dir, func(e Entry) { found = found || e.Name == name })
	return found, err
}

// Path gives the directory of a folder, relative to the root of the Maildir, whether it
// is there or not. There is an error for a name that no directory can have.
func (t *Tree) Path(folder mail.Folder) (string, error) { return t.dir(folder) }

// dir gives the directory where the folder is, or where it would be made.
func (t *Tree) dir(folder mail.Folder) (string, error) {
	t.placeLock.Lock()
	dir, ok := t.places[folder]
	t.placeLock.Unlock()
	if ok {
		return dir, nil
	}
	names, err := t.opts.Layout.encode(folder)
	if err != nil {
		return "", err
	}
	dir, there := ".", true
	for _, full := range names {
		entry, found, err := t.find(dir, full)
		if err != nil {
			return "", fmt.Errorf("look for the folder's directory: %w", err)
		}
		dir, there = path.Join(dir, entry), there && found
	}
	if there {
		t.place(folder, dir)
	}
	return dir, nil
}

// place remembers where a folder is, or with "" that it is nowhere.
func (t *Tree) place(folder mail.Folder, dir string) {
	t.placeLock.Lock()
	defer t.placeLock.Unlock()
	if dir == "" {
		delete(t.places, folder)
		return
	}
	t.places[folder] = dir
}

// mayBeRespelled tells whether a file system may give a directory another name than the one
// that it was made with: HFS+ does, where accents can be written in two ways.
func mayBeRespelled(full string) bool {
	return strings.ContainsFunc(full, func(r rune) bool { return r >= utf8.RuneSelf })
}

// makeDir makes the directory that has the name full in dir, if there is none, and
// gives its path.
func (t *Tree) makeDir(dir, full string) (string, error) {
	entry, _, err := t.find(dir, full)
	if err != nil {
		return "", err
	}
	made := path.Join(dir, entry)
	if err := t.mkdir(made); err != nil {
		return "", err
	}
	if entry == full && mayBeRespelled(full) {
		kept, err := t.lists(dir, full)
		if err == nil && !kept {
			err = t.fs.Rmdir(made)
			entry = short(full)
			made = path.Join(dir, entry)
			if err == nil {
				err = t.mkdir(made)
			}
		}
		if err != nil {
			return "", err
		}
	}
	if entry != full {
		name, err := t.fullName(t.fs, made)
		if err == nil && name != full {
			err = t.writeName(t.fs, made, full)
		}
		if err != nil {
			return "", err
		}
	}
	return made, t.sync(dir)
}

// folderIn gives the folder whose directory dir is, below the root that base is of
// fsys; false if there is none.
func (t *Tree) folderIn(fsys FS, base, dir string) (mail.Folder, bool) {
	var names []string
	for above := dir; above != "." && above != ""; above = path.Dir(above) {
		name := path.Base(above)
		if isShort(name) {
			var err error
			if name, err = t.fullName(fsys, path.Join(base, above)); err != nil || name == "" {
				return "", false
			}
		}
		names = append([]string{name}, names...)
	}
	return t.opts.Layout.decode(names)
}
