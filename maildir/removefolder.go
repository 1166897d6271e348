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

// RemoveFolder is Local.RemoveFolder. Anything in cur/ or new/ keeps it, and in tmp/ what others
// have put there. The directory itself stays if something else is in it, and stays marked, since
// that may leave it before base has heard of the removal: see ForgetFolder.
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
		if _, none := t.fs.Lstat(path.Join(dir, unfinished)); none != nil {
			return err
		}
		return t.removeHere(folder, dir) // which was begun, and did not come to its end
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
	if err := t.clearInside(dir); err != nil {
		return err
	}
	return t.removeHere(folder, dir)
}

// ForgetFolder is Local.ForgetFolder: it takes the mark from a directory that RemoveFolder has left.
// One that is a folder again by now keeps it, for CreateFolder to complete what it may lack.
func (t *Tree) ForgetFolder(ctx context.Context, folder mail.Folder) (err error) {
	defer explain(&err, "end the removal of", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	if _, err := t.stamp(dir); !isNoFolder(err) {
		return nil
	}
	if err := t.tidy(dir); err != nil {
		return err
	}
	err = t.fs.Rmdir(path.Join(dir, unfinished))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, t.sync(dir))
}

// removeHere removes a folder, and leaves its directory if something else is in it. What makes
// it a folder goes first, while it is marked, since a message may come to the last moment: if the
// directory got another name before, and a crash came then, nobody would look there. An empty
// directory that is left alone looks like the place where a disk was mounted; so it gets a name
// that nobody looks at before its mark goes.
func (t *Tree) removeHere(folder mail.Folder, dir string) error {
	if err := t.clearOurs(path.Join(dir, "tmp")); err != nil {
		return err
	}
	if err := t.removeParts(dir); err != nil {
		return err
	}
	t.place(folder, "")
	if err := t.empty(dir, unfinished, nameFile); errors.Is(err, errNotEmpty) {
		return t.sync(dir) // the folders inside stay, or what other programs have there
	} else if err != nil {
		return err // which leaves it marked
	}
	away, err := t.putAway(dir)
	if err != nil {
		return err
	}
	if err := t.clearAway(away); err != nil {
		return err
	}
	return t.tidy(path.Dir(dir))
}

// putAway gives a directory a name that nobody looks at, durably.
func (t *Tree) putAway(dir string) (away string, err error) {
	away = path.Join(path.Dir(dir), interim(path.Base(dir)))
	if err := t.clearAway(away); err != nil { // a crash may have left it
		return away, err
	}
	return away, errors.Join(t.fs.Rename(dir, away), t.sync(path.Dir(dir)))
}

// tidy removes a directory that was there only for the folders inside it, if there is none
// any more, and those around it likewise. Left alone it would look like the place where a
// disk was mounted.
func (t *Tree) tidy(dir string) error {
	for ; dir != "."; dir = path.Dir(dir) {
		info, err := t.fs.Lstat(dir)
		if err == nil {
			_, err = t.stampWith(dir, info)
		}
		if !isNoFolder(err) || t.clearInside(dir) != nil || t.clear(dir) != nil {
			return nil // it is one, or is not empty, or a disk is mounted there
		}
		if err := t.sync(path.Dir(dir)); err != nil {
			return err
		}
	}
	return nil
}

// folderParts are what a folder's directory has besides our own files and the folders
// inside it.
var folderParts = []string{"cur", "new", "tmp", lettersFile, folderFile}

// removeParts removes from a directory what makes it a folder, if there is no message in
// it, and leaves it marked as unfinished.
func (t *Tree) removeParts(dir string) error {
	mark := path.Join(dir, unfinished)
	if err := t.mkdir(mark); err != nil {
		return err
	}
	if err := t.sync(dir); err != nil {
		return err
	}
	// tmp/ first: without it nobody can begin a delivery.
	subs := []string{"tmp", "new", "cur"}
	for _, sub := range subs {
		err := t.fs.Rmdir(path.Join(dir, sub))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if !errors.Is(err, fs.ErrExist) {
			return err // which leaves it marked
		}
		for _, sub := range subs {
			if again := t.mkdir(path.Join(dir, sub)); again != nil {
				return errors.Join(err, again) // which leaves it marked
			}
		}
		return errors.Join(fmt.Errorf("it is not empty: %w", err), t.fs.Rmdir(mark), t.sync(dir))
	}
	for _, name := range []string{markerFile, lettersFile, folderFile} {
		if err := t.fs.Unlink(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// clearAway removes what is left of the directory of a folder that was being made or
// removed. It is an error if there is a message in it.
func (t *Tree) clearAway(dir string) error {
	if _, err := t.fs.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := t.clearEach(dir, func(name string) bool { return name != unfinished && !slices.Contains(folderParts, name) }); err != nil {
		return err
	}
	// The power may have brought back what we had in its tmp/: a marker, or a download, which
	// is made again.
	if err := t.clearOurs(path.Join(dir, "tmp")); err != nil {
		return err
	}
	if err := t.removeParts(dir); err != nil {
		return err
	}
	if err := t.fs.Unlink(path.Join(dir, nameFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(t.fs.Rmdir(path.Join(dir, unfinished)), t.fs.Rmdir(dir))
}

// clearOurs removes the files of a directory that have keys of ours, if it is there.
func (t *Tree) clearOurs(dir string) error {
	var files []string
	err := t.fs.ReadDir(dir, func(e Entry) {
		if e.Type == 0 && (ourKey.MatchString(e.Name) || partName.MatchString(e.Name)) {
			files = append(files, path.Join(dir, e.Name))
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range files {
		err = errors.Join(err, t.fs.Unlink(name))
	}
	return err
}

// clearInside removes what crashes have left of folders in a directory.
func (t *Tree) clearInside(dir string) error {
	return t.clearEach(dir, func(name string) bool { return strings.HasPrefix(name, unfinished+"-") })
}

func (t *Tree) clearEach(dir string, want func(name string) bool) error {
	var inside []string
	err := t.fs.ReadDir(dir, func(e Entry) {
		if e.Type == fs.ModeDir && want(e.Name) {
			inside = append(inside, path.Join(dir, e.Name))
		}
	})
	for _, in := range inside {
		err = errors.Join(err, t.clearAway(in))
	}
	return err
}

var errNotEmpty = errors.New("it is not empty")

// empty gives errNotEmpty if anything but what is named is in a directory.
func (t *Tree) empty(dir string, but ...string) error {
	var some string
	err := t.fs.ReadDir(dir, func(e Entry) {
		if !slices.Contains(but, e.Name) {
			some = e.Name
		}
	})
	if err != nil {
		return err
	}
	if some != "" {
		return fmt.Errorf("%w: it holds %.160q", errNotEmpty, some)
	}
	return nil
}
