package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"mailtwin/conflict/mail"
)

// Look is Local.Look.
func (t *Tree) Look(ctx context.Context, folder mail.Folder, files []mail.File, letters mail.Letters) (found []mail.File, err error) {
	defer explain(&err, "look at files of", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if checkName(file.Name) != nil || keyLength(file.Name) == 0 {
			continue // a scan passes it by, too
		}
		name, err := pathOf(dir, file)
		if err != nil {
			return nil, err
		}
		info, err := t.fs.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		case info.Type != 0:
			return nil, fmt.Errorf("%s: no regular file: %w", name, mail.ErrDamaged)
		}
		key, said, _ := splitName(file.Name)
		found = append(found, mail.File{
			Key: key, Name: file.Name, New: file.New, Inode: info.Inode,
			Flags: flagsOf(said, &letters), Letters: keywordLetters(said),
		})
	}
	slices.SortFunc(found, inOrder)
	return found, nil
}
