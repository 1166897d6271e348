package mail

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// Inbox is the one folder that every account has; its name is the same in any case
// (RFC 9051, 5.1).
const Inbox Folder = "INBOX"

// Folder is the name of a folder as people write it: UTF-8, its parts parted by
// "/" whatever the server's delimiter is, INBOX in capitals. Within a part "/" and
// control characters are spelled as in a URL, "%2F" and "%0A", so that each name can
// be typed and printed. Other "%" mean nothing but themselves; only where one would
// be read as such a spelling is it "%25".
type Folder string

// NewFolder joins the parts of a folder name, which may hold any characters. A first
// part of "inbox" in any case is INBOX.
func NewFolder(parts ...string) Folder {
	spelled := make([]string, len(parts))
	for i, part := range parts {
		spelled[i] = spell(part)
	}
	name := strings.Join(spelled, "/")
	if len(parts) > 0 && strings.EqualFold(parts[0], string(Inbox)) {
		name = string(Inbox) + name[len(Inbox):]
	}
	return Folder(name)
}

// ParseFolder reads a name that somebody typed.
func ParseFolder(text string) Folder { return NewFolder(Folder(text).Parts()...) }

// Parts gives the parts of the name, outermost first, as NewFolder took them.
func (f Folder) Parts() []string {
	parts := strings.Split(string(f), "/")
	for i, part := range parts {
		parts[i] = unspell(part)
	}
	return parts
}

// special finds what a part of a name does not show as it is, and what would be read
// as the spelling of that.
var special = regexp.MustCompile(`[/\x00-\x1f\x7f\x{80}-\x{9f}]|` + spelling)

const spelling = `%(?:25)*(?:2F|[01][0-9A-F]|7F|C2%[89][0-9A-F])`

var spelled = regexp.MustCompile(spelling)

func spell(part string) string {
	return special.ReplaceAllStringFunc(part, func(found string) string {
		if rest, ok := strings.CutPrefix(found, "%"); ok {
			return "%25" + rest
		}
		var b strings.Builder
		for i := range len(found) {
			fmt.Fprintf(&b, "%%%02X", found[i])
		}
		return b.String()
	})
}

func unspell(part string) string {
	if !strings.Contains(part, "%") {
		return part // as nearly all, and each run asks for each folder
	}
	return spelled.ReplaceAllStringFunc(part, func(found string) string {
		if rest, ok := strings.CutPrefix(found, "%25"); ok {
			return "%" + rest
		}
		octets, err := hex.DecodeString(strings.ReplaceAll(found, "%", ""))
		if err != nil {
			return found // not with what the expression takes
		}
		return string(octets)
	})
}

// Parent gives the folder that f lies in, and "" for one at the top.
func (f Folder) Parent() Folder {
	i := strings.LastIndexByte(string(f), '/')
	if i < 0 {
		return ""
	}
	return f[:i]
}

// Inside tells whether f lies in another folder, at any depth.
func (f Folder) Inside(around Folder) bool { return strings.HasPrefix(string(f), string(around)+"/") }

// interim is at the end of a name in between.
const interim = "~mailtwin"

// Interim is the name that f bears on its way to one that is not free yet, as when two
// folders swap theirs.
func (f Folder) Interim() Folder { return f + interim }

// IsInterim tells whether f is a name that Interim gave, or lies in such a folder.
func (f Folder) IsInterim() bool { return strings.Contains(string(f)+"/", interim+"/") }

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
