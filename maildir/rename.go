package maildir

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"mailtwin/conflict/mail"
)

// RenameFolder is Local.RenameFolder: the rename of one directory. So folders inside
// go along in the nested layout, and keep their names in a Maildir++, where they are
// directories beside it.
func (t *Tree) RenameFolder(ctx context.Context, folder, to mail.Folder) (err error) {
	defer explain(&err, "rename to "+fmt.Sprintf("%q", string(to)), folder)
	if folder == mail.Inbox || to == mail.Inbox {
		return errors.New("every Maildir has one INBOX")
	}
	from, err := t.dir(folder)
	if err != nil {
		return err
	}
	if _, err := t.stamp(from); err != nil {
		return err
	}
	left := path.Dir(from)
	names, err := t.opts.Layout.encode(to)
	if err != nil {
		return err
	}
	around := "."
	for _, name := range names[:len(names)-1] {
		if around, err = t.makeDir(around, name); err != nil {
			return err
		}
	}
	full := names[len(names)-1]
	defer func() {
		t.placeLock.Lock()
		defer t.placeLock.Unlock()
		t.places = make(map[mail.Folder]string) // all inside have others, too
	}()
	inside, err := t.container(around, full)
	if err != nil {
		return err
	}
	if len(inside) > 0 || isShort(path.Base(from)) {
		// A crash must find it under one name or the other. The file that tells a long
		// name can tell only one; and what is in the new place has to be taken up first.
		// So it takes a name in between, which needs no file.
		sum := sha256.Sum256([]byte(from))
		names, err := t.opts.Layout.encode(mail.NewFolder(fmt.Sprintf("%x", sum[:16])).Interim())
		if err != nil {
			return err
		}
		if err := t.moveDir(from, names[0]); err != nil {
			return err
		}
		from = names[0]
	}
	for _, dir := range inside {
		if err := t.moveDir(dir, path.Join(from, path.Base(dir))); err != nil {
			return err
		}
	}
	target, err := t.vacant(around, full)
	if err != nil {
		return err
	}
	if err := t.moveAs(from, target, full); err != nil {
		return err
	}
	return t.tidy(left)
}

// SecureFolder is Local.SecureFolder.
func (t *Tree) SecureFolder(ctx context.Context, folder, was mail.Folder) (err error) {
	defer explain(&err, "make the name durable of", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	left, err := t.dir(was)
	if err != nil {
		return err
	}
	return errors.Join(t.syncAround(dir), t.syncAround(left))
}

// container gives the directories in the one of the name full, which is no folder, also
// none any more, and only holds such; mail.ErrExists if it is a folder, or anything else is in it.
func (t *Tree) container(around, full string) (inside []string, err error) {
	entry, there, err := t.find(around, full)
	if err != nil || !there {
		return nil, err
	}
	dir := path.Join(around, entry)
	if _, err := t.stamp(dir); !errors.Is(err, mail.ErrGone) {
		return nil, errors.Join(mail.ErrExists, err)
	}
	err = t.fs.ReadDir(dir, func(e Entry) {
		switch {
		case e.Name == nameFile, e.Name == unfinished:
		case e.Type == fs.ModeDir && t.opts.Layout.visible(dir, e.Name):
			inside = append(inside, path.Join(dir, e.Name))
		default:
			there = false
		}
	})
	if err == nil && !there {
		err = mail.ErrExists
	}
	return inside, err
}

// moveAs moves a directory to where it gets the name full, or a short form of that. Then
// the file that tells the name goes before, since nobody looks at it in a directory of
// another form.
func (t *Tree) moveAs(from, target, full string) error {
	if path.Base(target) != full {
		if err := t.writeName(t.fs, from, full); err != nil {
			return err
		}
	}
	return t.moveDir(from, target)
}

// vacant gives the path that a directory of the name full gets in around, where
// nothing is: mail.ErrExists. To make it is the one way to find out what the file
// system makes of a name like that, see makeDir; where it can make nothing else of it a bare
// directory, which a crash could leave, is not worth the risk.
func (t *Tree) vacant(around, full string) (string, error) {
	entry, there, err := t.find(around, full)
	if err != nil {
		return "", err
	}
	if there && t.clear(path.Join(around, entry)) != nil {
		return "", mail.ErrExists
	}
	if entry == full && !mayBeRespelled(full) {
		return path.Join(around, entry), nil
	}
	made, err := t.makeDir(around, full)
	if err != nil {
		return "", err
	}
	return made, t.clear(made)
}

// clear removes a directory in which nothing is but the name of it, and the mark that a folder
// was removed there: that has to last as long as the directory.
func (t *Tree) clear(dir string) error {
	if err := t.empty(dir, nameFile, unfinished); err != nil {
		return err
	}
	if _, err := t.fs.Lstat(path.Join(dir, unfinished)); err == nil {
		away, err := t.putAway(dir)
		if err != nil {
			return err
		}
		return t.clearAway(away)
	}
	if err := t.fs.Unlink(path.Join(dir, nameFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return t.fs.Rmdir(dir)
}

// moveDir moves a directory, durably.
func (t *Tree) moveDir(from, to string) error {
	if err := t.fs.Rename(from, to); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = errors.Join(mail.ErrExists, err)
		}
		return err
	}
	var failed error
	if !isShort(path.Base(to)) {
		// It says what the directory was called, and would keep it from being removed.
		if err := t.fs.Unlink(path.Join(to, nameFile)); !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	}
	// Others see its new name, and may put mail there, whatever else fails.
	return errors.Join(failed, t.sync(path.Dir(to)), t.sync(path.Dir(from)))
}
