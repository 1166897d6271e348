package maildir

import (
	"fmt"
	"path"
	"strings"

	"mailtwin/conflict/mail"
)

// The nested layout: the folder "Lists/go" is the Maildir Lists/go/, and INBOX is
// INBOX/. Nothing outside this file knows which folder is which directory.

// dirOf gives the directory of a folder, below the root of the Maildir.
func dirOf(folder mail.Folder) (string, error) {
	parts := folder.Parts()
	for i, part := range parts {
		name, err := encodePart(part)
		if err != nil {
			return "", err
		}
		parts[i] = name
	}
	return path.Join(parts...), nil
}

// folderOf gives the folder whose directory dir is; false if there is none (a
// hidden directory, one called "Inbox", one with an odd name that is not escaped).
func folderOf(dir string) (mail.Folder, bool) {
	names := strings.Split(dir, "/")
	for i, name := range names {
		part, ok := decodePart(name)
		if !ok || strings.Contains(part, "/") {
			return "", false
		}
		names[i] = part
	}
	folder := mail.NewFolder(names...)
	back, err := dirOf(folder)
	return folder, err == nil && back == dir
}

// dir is dirOf for a method that works on the folder.
func (t *Tree) dir(folder mail.Folder) (string, error) {
	dir, err := dirOf(folder)
	if err != nil {
		return "", fmt.Errorf("folder %q: %w", folder, err)
	}
	return dir, nil
}

// Path gives the directory of a folder, relative to the root of the Maildir, whether it
// is there or not. There is an error for a name that no directory can have.
func (t *Tree) Path(folder mail.Folder) (string, error) { return t.dir(folder) }
