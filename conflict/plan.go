package conflict

import (
	"slices"

	"mailtwin/conflict/mail"
)

// Kind is what an Action does.
type Kind uint8

// The kinds of actions.
const (
	// Agree: both sides have the message. The file gets Flags if Rename, the server's
	// message loses Remove and gets Add, and the row is settled with Flags.
	Agree Kind = iota + 1
	// Download: the server's message is brought into the folder.
	Download
	// Upload: the file is appended to the server's folder.
	Upload
	// MoveRemote: the server's message of the item's From moves into the item's folder,
	// where its file is already; the row moves along.
	MoveRemote
	// MoveLocal: the file of the item's From moves into the item's folder, where its
	// message is already; the row moves along.
	MoveLocal
	// CopyRemote: the server's message of the item's Source is copied into the item's
	// folder, where its file is already.
	CopyRemote
	// Link: the file of the item's Source gets another name in the item's folder, where
	// its message is already.
	Link
	// RemoveLocal: the file goes to the store of removed messages, the row is dropped.
	RemoveLocal
	// MoveToTrash: the server's message moves to Target, the row is dropped.
	MoveToTrash
	// ExpungeRemote: the server's message is expunged by its UID, its file, if there
	// is one, goes to the store of removed messages, and the row is dropped.
	ExpungeRemote
	// MarkDeleted: the server's message is marked \Deleted and left, the row parted.
	MarkDeleted
	// Part: nothing is done to either side; the row says that the message stays where
	// it still is.
	Part
	// Note: nothing is done; the row follows what changed about a message that is, and
	// stays, on one side, and is neither held nor landing any more.
	Note
	// Hold: nothing is done; the row says that a removal waits for consent.
	Hold
	// Drop: the message is on neither side; so is the row.
	Drop
)

func (k Kind) String() string {
	return [...]string{"", "agree", "download", "upload", "move-remote", "move-local", "copy-remote", "link", "remove-local", "move-to-trash",
		"expunge-remote", "mark-deleted", "part", "note", "hold", "drop"}[k]
}

// Action is one step of a Plan.
type Action struct {
	Kind   Kind
	Item   *Item
	Flags  mail.Flags // that the message has after it, on the side or sides that are written
	Base   mail.Flags // that base has after it: Flags, but for what is kept back or not known yet
	Rename bool       // the file's name must change to say Flags
	Add    mail.Flags // Agree: to be set on the server
	Remove mail.Flags // Agree: to be cleared on the server
	Target mail.Folder
	Gone   mail.Side // Hold, Part: where the message is gone
	Why    string
}

// BaseUnrenamed gives what base has after an Agree whose file was not there to be renamed:
// what was new here is the server's, too, and what was new there is still a difference.
func (a *Action) BaseUnrenamed() mail.Flags {
	has := a.Item.localFlags()
	return a.Base.Without(a.Flags.Without(has)).With(has.Without(a.Flags))
}

// removes tells whether the action takes a message away, and from which side.
func (a *Action) removes() (mail.Side, bool) {
	switch a.Kind {
	case RemoveLocal:
		return mail.Local, true
	case MoveToTrash, ExpungeRemote, MarkDeleted:
		return mail.Remote, true
	}
	return 0, false
}

// World is what a plan needs to know besides the items.
type World struct {
	Folders map[mail.Folder]FolderInfo
	// Trash is the folder that takes deleted messages; "" where there is none.
	Trash mail.Folder
	// CanExpunge: the server removes single messages by UID (RFC 4315). CanMove: it
	// moves them (RFC 6851).
	CanExpunge, CanMove bool
	// Allow tells for which folders the user consented to large removals.
	Allow func(mail.Folder) bool
}

// FolderInfo is what a plan needs to know of a folder.
type FolderInfo struct {
	Policy   Policy
	Role     mail.Role
	Access   mail.Access // of the server's folder
	Labels   bool        // the server's folders are labels: see label
	Messages int         // in base, on both sides, before the run
	// Removed counts, by the side where they were gone, the messages that the run has
	// removed already; so a large removal that is met bit by bit is still one.
	Removed [2]int
}

// Held are removals that wait for consent.
type Held struct {
	Folder mail.Folder
	Gone   mail.Side // where the messages are gone
	Count  int
	Why    string
}

// Plan is what is to be done. Its order is fixed by the items alone, not by the
// order in which they were given.
type Plan struct {
	Actions   []Action
	Held      []Held
	Decisions []mail.Decision // without their time
}

// Make decides about all items.
func Make(items []*Item, world World) Plan {
	items = slices.Clone(items)
	slices.SortFunc(items, order)
	var plan Plan
	for _, item := range items {
		action, decision := decide(item, world)
		action.Item = item
		kind := action.Kind
		if !restrain(&action, world.Folders[item.Folder]) {
			continue
		}
		plan.Actions = append(plan.Actions, action)
		if decision != "" && action.Kind == kind {
			plan.Decisions = append(plan.Decisions, mail.Decision{
				Folder: item.Folder, MessageID: item.messageID(), UID: item.UID(), Key: item.Key(),
				What: decision, Why: action.Why,
			})
		}
	}
	plan.brake(world)
	return plan
}

func (i *Item) messageID() string {
	if i.Row != nil {
		return i.Row.MessageID
	}
	return i.Identity.MessageID
}
