package conflict

import (
	"cmp"

	"mailtwin/conflict/mail"
)

// Item is one message of which something must be decided: what base knows of it,
// and what became of it on each side.
type Item struct {
	Folder mail.Folder
	Row    *mail.Row // nil: not in base

	Local Change
	File  mail.File // where Local is Flags or New, and where only its name changed

	Remote  Change
	Message mail.Message // where Remote is Flags or New

	// Moved: gone on one side, and this new item is the same message in another place of
	// that side. So it is moved on the other side, too; or, where that cannot be, it goes
	// once the new one is safely there, and never into Trash as well. It may be one that base
	// knows there already: see MoveOnto. nil: it did not move.
	Moved *Item
	// From is Moved's other end.
	From *Item
	// Source: new on one side, and the same message as this one, which base knows in
	// another place, and which is still there: so it is a copy. nil: it is none.
	Source *Item
	// Followed: gone on both sides, and moved on one: the item, and its row, are where
	// it was moved to, and it is gone on the other side.
	Followed bool
	// Origin is, of a Followed item, the folder where base has it.
	Origin mail.Folder
	// Relabel: the file's name does not say its Flags, and must be renamed to do so: it has
	// the letters of another folder, which they were read with, or lost them on its way into
	// new/.
	Relabel bool
	// Due: of a Pending row, the time to try again has come; of a Held one, that of the
	// upload that it waits for.
	Due bool
	// Identity is what is known of a new message; its zero fields are not known yet.
	// Stat is what is known of a new file.
	Identity mail.Identity
	Stat     mail.Stat
	// Given is the digest of what the server gives back for the message, where that was
	// looked at and the file has other bytes.
	Given mail.Digest
}

// localFlags are the flags of the file, where there is one.
func (i *Item) localFlags() mail.Flags {
	if i.Local == Flags || i.Local == New {
		return i.File.Flags
	}
	return i.baseFlags()
}

// remoteFlags are the flags of the server's message, where there is one.
func (i *Item) remoteFlags() mail.Flags {
	if i.Remote == Flags || i.Remote == New {
		return i.Message.Flags
	}
	return i.baseFlags()
}

// otherFile tells whether the file is another one than base knows, or has another name, or place.
func (i *Item) otherFile() bool {
	return i.File.Name != "" && (i.File.Name != i.Row.Name || i.File.New != i.Row.New) || i.Stat != (mail.Stat{})
}

func (i *Item) baseFlags() mail.Flags {
	if i.Row == nil {
		return mail.Flags{}
	}
	return i.Row.Flags
}

// flagsBefore gives what base has to say of the flags of a message that is now elsewhere on the
// server, as there. One that was moving when flags were pushed may have been taken along with
// those that it had before: then nobody has changed these back.
func (i *Item) flagsBefore(there mail.Flags) mail.Flags {
	base := i.baseFlags()
	if i.Row == nil || i.Row.Pushed.Empty() {
		return base
	}
	lacks, keeps := base.Without(there).Common(i.Row.Pushed), there.Without(base).Common(i.Row.Pushed)
	return base.Without(lacks).With(keeps)
}

// here tells whether there is a file, and there whether there is a message.
func (i *Item) here() bool {
	return i.Local == New || i.Local != Gone && i.Row != nil && i.Row.Key != ""
}

func (i *Item) there() bool {
	return i.Remote == New || i.Remote != Gone && i.Row != nil && i.Row.UID != 0
}

// Key is the file's, or the one that base knows.
func (i *Item) Key() mail.Key {
	if i.File.Key != "" || i.Row == nil {
		return i.File.Key
	}
	return i.Row.Key
}

// UID is the message's, or the one that base knows.
func (i *Item) UID() mail.UID {
	if i.Message.UID != 0 || i.Row == nil {
		return i.Message.UID
	}
	return i.Row.UID
}

// order sorts items by folder, then by UID with the newest first, since that is what
// people want to read, then by key.
func order(a, b *Item) int {
	return cmp.Or(
		cmp.Compare(a.Folder, b.Folder),
		cmp.Compare(b.UID(), a.UID()),
		cmp.Compare(a.Key(), b.Key()),
	)
}
