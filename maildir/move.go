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

// Move is Local.Move.
func (t *Tree) Move(ctx context.Context, folder mail.Folder, file mail.File, to mail.Folder, flags mail.Flags, letters mail.Letters) (f mail.File, err error) {
	defer explainFile(&err, fmt.Sprintf("move to folder %q", string(to)), folder, file.Name)
	return t.rename(folder, file, to, file.New, flags, letters, t.fs.Rename)
}

// Link is Local.Link.
func (t *Tree) Link(ctx context.Context, folder mail.Folder, file mail.File, to mail.Folder, flags mail.Flags, letters mail.Letters) (f mail.File, err error) {
	defer explainFile(&err, fmt.Sprintf("link into folder %q", string(to)), folder, file.Name)
	return t.rename(folder, file, to, true, flags, letters, func(from, to string) error {
		err := t.fs.Link(from, t.fs, to)
		for _, none := range []error{errors.ErrUnsupported, unix.EXDEV, unix.EPERM, unix.EMLINK} {
			if errors.Is(err, none) {
				return fmt.Errorf("%w: %w", mail.ErrNoLinks, err)
			}
		}
		return err
	})
}

// rename gives a file a name in another folder by that call, which must not replace
// another file. One that is fresh, and has no flag, goes into new/.
func (t *Tree) rename(folder mail.Folder, file mail.File, to mail.Folder, fresh bool, flags mail.Flags, letters mail.Letters, call func(from, to string) error) (f mail.File, err error) {
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
		f = mail.File{Key: key, Name: string(key), New: fresh && flags.Empty(), Inode: st.Inode}
		if !f.New {
			f.Name = nameWith(f.Name, flags, &letters)
		}
		f.Flags = flagsIn(f.Name, &letters)
		name, err := pathOf(target, f)
		if err != nil {
			return mail.File{}, err
		}
		if err = call(from, name); err == nil {
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
