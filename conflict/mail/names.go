package mail

import "strings"

// Inbox is the one folder that every account has; its name is the same in any case
// (RFC 9051, 5.1).
const Inbox Folder = "INBOX"

// Folder is the name of a folder as people write it: UTF-8, its parts parted by
// "/" whatever the server's delimiter is, INBOX in capitals.
type Folder string

// NewFolder joins the parts of a folder name. A first part of "inbox" in any case
// is INBOX.
func NewFolder(parts ...string) Folder {
	name := strings.Join(parts, "/")
	if len(parts) > 0 && strings.EqualFold(parts[0], string(Inbox)) {
		name = string(Inbox) + name[len(Inbox):]
	}
	return Folder(name)
}

// Parts gives the parts of the name, outermost first.
func (f Folder) Parts() []string { return strings.Split(string(f), "/") }

// Parent gives the folder that f lies in, and "" for one at the top.
func (f Folder) Parent() Folder {
	i := strings.LastIndexByte(string(f), '/')
	if i < 0 {
		return ""
	}
	return f[:i]
}

// Role is what a folder is for, by its special-use mark (RFC 6154) or by name for
// INBOX; RoleNone for an ordinary one.
type Role string

// The roles.
const (
	RoleNone    Role = ""
	RoleInbox   Role = "inbox"
	RoleTrash   Role = "trash"
	RoleJunk    Role = "junk"
	RoleSent    Role = "sent"
	RoleDrafts  Role = "drafts"
	RoleArchive Role = "archive"
	RoleAll     Role = "all"
	RoleFlagged Role = "flagged"
)

// Key is the Maildir file name of a message up to its flags, unique in its folder.
// It is "" where a row has no file.
type Key string

// UID is the server's number for a message in one folder, from 1 up; 0 where a row
// has no message on the server.
type UID uint32
