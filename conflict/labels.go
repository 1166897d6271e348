package conflict

import (
	"slices"

	"mailtwin/conflict/mail"
)

// Gmail's folders are labels of one store of messages, with one set of flags for each
// message. To expunge a message from a folder takes that label away; one folder shows
// all messages, whether they have labels or not, and what is expunged there comes back.
// What is in Trash or Junk is nowhere else.

// label tells whether a removal from the folder takes a label away and no more. Drafts
// is none in this sense: a draft that was rewritten is not to be kept for ever.
func (info FolderInfo) label() bool {
	switch info.Role {
	case mail.RoleAll, mail.RoleTrash, mail.RoleJunk, mail.RoleDrafts:
		return false
	}
	return info.Labels
}

// showsAll tells whether the folder shows all messages, so that none can leave it but
// for Trash and Junk.
func (info FolderInfo) showsAll() bool { return info.Labels && info.Role == mail.RoleAll }

// hides tells whether what is in the folder is in no other one where folders are labels.
func (w World) hides(folder mail.Folder) bool {
	return w.Discards(folder) || w.Folders[folder].Role == mail.RoleJunk
}

// Sources sorts the messages that a new file may be a copy of. Where folders are labels,
// what is copied out of Trash or Junk leaves it. So that comes after all others.
func (w World) Sources(alike []*Item) []*Item {
	slices.SortStableFunc(alike, func(a, b *Item) int { return w.leaves(a) - w.leaves(b) })
	return alike
}

// leaves is 1 if the message would leave its folder by being copied, else 0.
func (w World) leaves(i *Item) int {
	if w.Folders[i.Folder].Labels && w.hides(i.Folder) {
		return 1
	}
	return 0
}

// expunges tells whether what was removed from the folder here is expunged there, and
// not moved to Trash.
func (w World) expunges(folder mail.Folder) bool {
	info := w.Folders[folder]
	switch {
	case w.Discards(folder), info.label():
		return true
	}
	return info.Policy.OnLocalDelete == Expunge && !info.showsAll()
}

const (
	whySecond = "the server has this message in the folder already, and keeps one"
	whyOther  = "the server takes it for another message of the folder, which has other bytes"
)

// Second decides about a file that the server did not store beside the message that row
// is about: asked to take it in, it gave that one's UID, as Gmail does. base are the
// flags that the file had before it got here. Of the same content one file is enough, as
// long as the flags that this one brought are not lost with it.
func (info FolderInfo) Second(row mail.Row, file mail.File, base mail.Flags, id mail.Identity) Action {
	now := FlagsOf(file, base, mail.Letters{})
	switch {
	case row.Key == "":
		return Action{Kind: Agree, Base: row.Flags, Why: whyTied}
	case row.Digest != id.Digest || id.Digest == mail.Digest{} || !info.writesLocal():
		return Action{Kind: Part, Flags: now, Gone: mail.Remote, Why: whyOther}
	}
	a := Action{Kind: RemoveLocal, Add: now.Without(base), Remove: base.Without(now), Why: whySecond}
	a.Add.Keywords, a.Remove.Keywords = "", ""
	a.Add = a.Add.Without(info.unsettable(a.Add))
	return a
}
