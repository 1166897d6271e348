package maildir

import (
	"errors"
	"slices"
	"strings"

	"mailtwin/conflict/mail"
)

// Layout says which folder is which directory.
type Layout uint8

const (
	// Nested: the folder "Lists/go" is the Maildir Lists/go/, and INBOX is INBOX/.
	// Names appear as they are, in UTF-8 (names.go).
	Nested Layout = iota
	// MaildirPlus is Maildir++ as Dovecot and Courier write it: "Lists/go" is
	// .Lists.go/, in modified UTF-7 (utf7.go), and INBOX is the root itself.
	MaildirPlus
)

// String gives the layout's name in the configuration.
func (l Layout) String() string { return [...]string{"nested", "maildir++"}[l] }

// folderFile marks the directory of a folder inside a Maildir++
// (https://www.courier-mta.org/imap/README.maildirquota.html): what delivers into it
// looks for quota and the like in the directory around it.
const folderFile = "maildirfolder"

// encode gives the names of the directories that lead from the root to the folder,
// outermost first; none where it is the root. They may be too long: see place.go.
func (l Layout) encode(folder mail.Folder) ([]string, error) {
	parts := folder.Parts()
	if l == MaildirPlus {
		return encodePlus(folder, parts)
	}
	for i, part := range parts {
		parts[i] = encodePart(part)
	}
	return parts, nil
}

// encodePlus encodes a folder for Maildir++, where all its parts are one directory.
func encodePlus(folder mail.Folder, parts []string) ([]string, error) {
	if folder == mail.Inbox {
		return nil, nil
	}
	if slices.Contains(parts, "") {
		return nil, errors.New("a part of its name is empty")
	}
	join := func(odd string) (string, error) {
		var b strings.Builder
		for _, part := range parts {
			name, err := encodeUTF7(part, odd)
			if err != nil {
				return "", err
			}
			b.WriteString("." + name)
		}
		return b.String(), nil
	}
	const parting = "./"
	name, err := join(parting)
	if err == nil && (isShort(name) || slices.Contains(ours, name)) {
		// What looks like one of our own files has its "m", or its "%", encoded.
		name, err = join(parting + "%m")
	}
	if err != nil {
		return nil, err
	}
	return []string{name}, nil
}

// decode gives the folder that encode gives names for; false if there is none (a
// directory called "Inbox", one with an odd name that is not escaped).
func (l Layout) decode(names []string) (mail.Folder, bool) {
	var parts []string
	switch {
	case l == MaildirPlus && len(names) == 0:
		parts = []string{string(mail.Inbox)}
	case l == MaildirPlus:
		for _, name := range strings.Split(names[0], ".")[1:] {
			part, ok := decodeUTF7(name)
			if !ok {
				return "", false
			}
			parts = append(parts, part)
		}
	default:
		for _, name := range names {
			part, ok := decodePart(name)
			if !ok {
				return "", false
			}
			parts = append(parts, part)
		}
	}
	folder := mail.NewFolder(parts...)
	back, err := l.encode(folder)
	return folder, err == nil && slices.Equal(back, names)
}

// ours are the names in the directory of a folder that begin with "." and are not
// folders of a Maildir++.
var ours = []string{markerFile, unfinished, nameFile}

// visible tells whether a directory called name, in the one called dir, may be or
// hold a folder.
func (l Layout) visible(dir, name string) bool {
	if l == MaildirPlus {
		return dir == "." && strings.HasPrefix(name, ".") && !slices.Contains(ours, name) && !strings.HasPrefix(name, unfinished)
	}
	return !strings.HasPrefix(name, ".") && !slices.Contains(reserved, name)
}
