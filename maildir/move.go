package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"

	"mailtwin/conflict/mail"
)

// Move is Local.Move. It must not replace another file.
func (t *Tree) Move(ctx context.Context, folder mail.Folder, file mail.File, to mail.Folder, flags mail.Flags, letters mail.Letters) (f mail.File, err error) {
	defer explainFile(&err, fmt.Sprintf("move to folder %q", string(to)), folder, file.Name)
	dir, err := t.dir(folder)
	if err != nil {
		return f, err
	}
	target, err := t.dir(to)
	if err != nil {
		return f, err
	}
	from, err := pathOf(dir, file)
	if err != nil {
		return f, err
	}
	st, err := t.stat(dir, file)
	if err != nil {
		return f, err
	}
	for range 10 {
		key, err := t.newKey()
		if err != nil {
			return f, err
		}
		// The letters of a file's name belong to its folder, so the new name is made from
		// the key alone; and that is a new one, since a copy of the file may be there.
		f = mail.File{Key: key, Name: string(key), New: file.New && flags.Empty(), Inode: st.Inode}
		if !f.New {
			f.Name = nameWith(f.Name, flags, &letters)
		}
		f.Flags = flagsIn(f.Name, &letters)
		name, err := pathOf(target, f)
		if err != nil {
			return mail.File{}, err
		}
		if err = t.fs.Rename(from, name); err == nil {
			return f, nil
		}
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if _, lost := t.fs.Lstat(path.Join(target, "cur")); lost != nil {
			return mail.File{}, lost
		}
		return mail.File{}, t.gone(err, dir, subdir(file.New))
	}
	return mail.File{}, errors.New("no key is free")
}

// Link is Local.Link.
func (t *Tree) Link(ctx context.Context, folder mail.Folder, file mail.File, to mail.Folder) (key mail.Key, err error) {
	defer explainFile(&err, fmt.Sprintf("link into folder %q", string(to)), folder, file.Name)
	dir, err := t.dir(folder)
	if err != nil {
		return "", err
	}
	target, err := t.dir(to)
	if err != nil {
		return "", err
	}
	from, err := pathOf(dir, file)
	if err != nil {
		return "", err
	}
	return t.inTmp(target, func(name string) error {
		if _, err := t.stat(dir, file); err != nil {
			return err
		}
		err := t.fs.Link(from, t.fs, name)
		for _, none := range []error{errors.ErrUnsupported, unix.EXDEV, unix.EPERM, unix.EMLINK} {
			if errors.Is(err, none) {
				return fmt.Errorf("%w: %w", mail.ErrNoLinks, err)
			}
		}
		return err
	})
}
