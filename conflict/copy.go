package conflict

import (
	"slices"

	"mailtwin/conflict/mail"
)

// MarkCopied tells a new file of which message it is a copy: of the first of those
// that base knows to have its content, and that is still on the server; else of one
// that was removed there. Neither it nor they need be in one folder. letters gives
// the letters of a folder.
func MarkCopied(file *Item, alike []*Item, letters func(mail.Folder) mail.Letters) {
	for _, there := range []bool{true, false} {
		for _, s := range alike {
			if s.Row.Content() == file.Identity.Content() && s.there() == there && s.copyable() {
				file.Source = s
				file.relabel(s, letters)
				return
			}
		}
	}
}

// copyable tells whether the item is one that can be copied: at rest where it is, or
// left there by a policy.
func (i *Item) copyable() bool {
	return i.Row.UID != 0 && (i.Row.State == mail.Settled || i.Row.State == mail.Parted) && i.Moved == nil
}

// CopyOf finds the message that a new one on the server is a copy of, among those
// that have a file. The files come with the Header that they have, if they are what base
// says; ask says that the new message must come with its own, unless the server says that
// both are one. What is not sure then is not asked for: a body that must come anyway can
// as well be downloaded.
func CopyOf(arrived *Item, files []*Item) (source *Item, ask bool) {
	for _, l := range files {
		// A file whose message the server has rewritten is not what a copy of that would be.
		if l.sameEmail(arrived) && l.Row.RemoteSize == 0 && l.Identity.Header != (mail.Fingerprint{}) {
			return l, false
		}
	}
	t := &tying{strict: true}
	near := slices.DeleteFunc(slices.Clone(files), func(l *Item) bool {
		return !t.sizeOf(l, arrived) || l.Row.Date.Unix() != arrived.Message.Date.Unix()
	})
	if len(near) == 0 || arrived.Identity.Header == (mail.Fingerprint{}) {
		return nil, len(near) > 0
	}
	near = slices.DeleteFunc(near, func(l *Item) bool { return !t.sameHeader(l, arrived) })
	if len(near) == 0 || !allEqual(near) {
		return nil, false
	}
	return near[0], false
}

// StandsFor tells whether the item is the message that is gone: at rest on both sides, or
// with a file that follows the message to where it has moved.
func (i *Item) StandsFor(gone *Item) bool {
	follows := i.Row.State == mail.Settled && i.here() && i.Moved != nil && i.Moved.Remote == New
	return (i.AtRest() || follows) && i.Row.Content() == gone.Row.Content()
}

// Replaces tells whether the item, which base knows, is what the message that is gone has
// become, as a run was about to see to: it is on the server, whatever has become of its file
// since, and of that alone is to be decided.
func (i *Item) Replaces(gone *Item) bool {
	return i.StandsFor(gone) || i.Row.State == mail.Settled && i.there() && i.Row.Content() == gone.Row.Content()
}

// Newest gives, of messages that base knows to have the fingerprint of the item, which is
// gone on the server, the one that was taken for its copy last, or moved to where it is since;
// nil if none was. It is at rest, or its landing was interrupted.
func (i *Item) Newest(alike []*Item, moved func(mail.RowID) bool) (copied *Item) {
	for _, other := range alike {
		later := other.Row.ID > i.Row.ID || other.Row.ID != i.Row.ID && moved(other.Row.ID)
		if (other.AtRest() || other.Row.State == mail.Landing) && later && i.isAt(other) && (copied == nil || other.Row.ID > copied.Row.ID) {
			copied = other
		}
	}
	return copied
}

// isAt tells whether the item may be the message that the other one is on the server, which
// base came to know there later. Both moving and copying keep INTERNALDATE. Where the server
// rewrites messages base need not know what bytes it has of this one.
func (i *Item) isAt(other *Item) bool {
	a, b := i.Row, other.Row
	return other.there() && a.Date.Unix() == b.Date.Unix() && a.ServerSize() == b.ServerSize() &&
		(a.Content() == b.Content() || a.RemoteSize != 0 && a.MessageID != "")
}

// MoveOnto makes of an item that is gone on the server one that has moved to where the other
// one is, which is at rest as that file: what was changed here about the one since is
// changed about the other.
func (i *Item) MoveOnto(other *Item, file mail.File) {
	i.Moved = other
	base := i.flagsBefore(other.remoteFlags())
	if i.localFlags().Equal(base) {
		return
	}
	file.Flags = Merge(base, i.localFlags(), other.localFlags())
	other.Local, other.File, other.Relabel = Flags, file, true
}

// LeaveTo has what was changed on the server about an item whose place another one has taken,
// which is at rest as that file, changed about that; it tells whether there was anything.
func (i *Item) LeaveTo(other *Item, file mail.File) bool {
	if i.Remote != Flags {
		return false
	}
	file.Flags = Merge(i.baseFlags(), i.remoteFlags(), other.localFlags())
	if file.Flags.Equal(other.localFlags()) {
		return false
	}
	other.Local, other.File, other.Relabel = Flags, file, true
	return true
}

// AtRest tells whether the item is in step, and there on both sides as far as is known.
func (i *Item) AtRest() bool { return i.Row.State == mail.Settled && i.here() && i.there() }

// Linkable tells whether the item has a file that others can be made of: that has what
// the server gives, and nothing that a program has added.
func (i *Item) Linkable() bool {
	return i.Row.State == mail.Settled && i.here() && i.Row.RemoteDigest == (mail.Digest{}) &&
		(i.Row.BareSize == 0 || i.Row.RemoteSize == 0)
}
