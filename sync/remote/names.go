package remote

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
)

// maxName bounds the name of a folder, in octets, so that the path that it becomes
// stays within what systems take for a path.
const maxName = 1024

// directory is what knows both the server's names of folders and ours. Nothing else
// does.
type directory struct {
	known   bool
	spaces  spaces
	renamed map[mail.Folder]mail.Folder
	names   map[mail.Folder]string
}

func newDirectory(renamed map[mail.Folder]mail.Folder, spaces spaces) directory {
	return directory{known: true, spaces: spaces, renamed: renamed, names: make(map[mail.Folder]string)}
}

// read sorts out what a LIST told: folders that there can be, and what was left
// out. It fills the directory.
//
// Of several names that become one, as two spellings of INBOX do on a server that
// thinks them different, the first one is taken and the others left out: always the
// same one, whatever the order of the list, or their mail would be mixed. Those that
// the user renamed go first, since that says what he wants under the name.
func (d *directory) read(list []*imap.ListData) mail.RemoteListing {
	var out mail.RemoteListing
	if len(list) >= maxFolders {
		out.Notices = append(out.Notices, mail.Notice{
			Text: fmt.Sprintf("only the first %d folders of the server are looked at", maxFolders)})
	}
	type entry struct {
		*imap.ListData
		space   space
		name    mail.Folder
		renamed bool
	}
	var entries []entry
	leave := func(data *imap.ListData, err error) {
		out.Notices = append(out.Notices, mail.Notice{
			Folder: mail.Folder(mail.Clean(data.Mailbox, maxText)), Text: err.Error()})
	}
	for _, data := range list {
		space := d.spaces.of(data.Mailbox)
		if !space.wanted {
			continue
		}
		name, err := space.folder(data.Mailbox, data.Delim)
		if err != nil {
			leave(data, err)
			continue
		}
		ours := rename(name, d.renamed)
		entries = append(entries, entry{data, space, ours, ours != name})
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		if a.renamed != b.renamed {
			if a.renamed {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.Mailbox, b.Mailbox) // "INBOX" before "Inbox"
	})
	for _, e := range entries {
		if first, twice := d.names[e.name]; twice {
			if first == e.Mailbox {
				continue // listed in two namespaces
			}
			leave(e.ListData, fmt.Errorf("%s is the server's %q already", e.name, mail.Clean(first, maxText)))
			continue
		}
		d.names[e.name] = e.Mailbox
		f := mail.RemoteFolder{Name: e.name, NoSelect: slices.ContainsFunc(e.Attrs, isNoSelect)}
		if e.space.own {
			f.Role = role(e.name, e.Attrs) // another user's Trash is not ours
		}
		if e.Status != nil {
			f.Status = cursorOf(e.Status)
		}
		out.Folders = append(out.Folders, f)
	}
	out.LeavesOut = func(name mail.Folder) bool {
		theirs, ok := original(name, d.renamed)
		return ok && d.spaces.leavesOut(theirs)
	}
	return out
}

// server gives the server's name of a folder. One that was not listed gets the name
// that it would have; the server will say whether it is there.
func (d *directory) server(folder mail.Folder) (string, error) {
	if name, ok := d.names[folder]; ok {
		return name, nil
	}
	theirs, ok := original(folder, d.renamed)
	if !ok {
		return "", fmt.Errorf("%w: map gives another name to what this folder would be on the server", mail.ErrRefused)
	}
	prefix, delim := d.spaces.place(theirs)
	parts := theirs.Parts()
	switch {
	case delim == 0 && len(parts) > 1:
		return "", fmt.Errorf("%w: this server has no folders in folders", mail.ErrRefused)
	case delim != 0 && slices.ContainsFunc(parts, func(p string) bool { return strings.ContainsRune(p, delim) }):
		return "", fmt.Errorf("%w: on this server a name cannot contain %q", mail.ErrRefused, string(delim))
	}
	name := prefix + strings.Join(parts, string(delim))
	if _, err := folderName(name, delim); err != nil {
		return "", fmt.Errorf("%w: %w", mail.ErrRefused, err)
	}
	return name, nil
}

// folder gives our name of what the server calls so; false where we have none.
func (d *directory) folder(mailbox string) (mail.Folder, bool) {
	if strings.EqualFold(mailbox, string(mail.Inbox)) {
		mailbox = string(mail.Inbox)
	}
	space := d.spaces.of(mailbox)
	name, err := space.folder(mailbox, space.delim)
	return rename(name, d.renamed), err == nil && space.wanted
}

// folderName turns the server's name of a folder into ours, but for what the user
// renames.
func folderName(name string, delim rune) (mail.Folder, error) {
	switch {
	case len(name) > maxName:
		return "", fmt.Errorf("its name is longer than %d octets", maxName)
	case !utf8.ValidString(name):
		return "", errors.New("its name is no UTF-8")
	case strings.Contains(name, "\x00"):
		return "", errors.New("its name has a NUL, which IMAP does not allow")
	}
	parts := []string{name}
	if delim != 0 {
		parts = strings.Split(name, string(delim))
	}
	if slices.Contains(parts, "") {
		return "", errors.New("a part of its name is empty")
	}
	return mail.NewFolder(parts...), nil
}

// rename gives the local name of a folder: its own, or the one that the user's map
// makes of it. The longest of several beginnings that are in the map counts.
func rename(name mail.Folder, renamed map[mail.Folder]mail.Folder) mail.Folder {
	for above := name; above != ""; above = above.Parent() {
		if to, ok := renamed[above]; ok {
			return to + name[len(above):]
		}
	}
	return name
}

// original is the inverse of rename; false if no folder would be renamed to name.
func original(name mail.Folder, renamed map[mail.Folder]mail.Folder) (mail.Folder, bool) {
	for above := name; above != ""; above = above.Parent() {
		for from, to := range renamed {
			if theirs := from + name[len(above):]; to == above && rename(theirs, renamed) == name {
				return theirs, true
			}
		}
	}
	return name, rename(name, renamed) == name
}
