package conflict

import "mailtwin/conflict/mail"

// Why a message stays where it is; stored in rows, shown to people.
const (
	whyKeptRemote  = `on_local_delete = "keep"`
	whyKeptLocal   = `on_remote_delete = "keep"`
	whyMarked      = `marked \Deleted: there is no Trash folder, or the server cannot expunge single messages`
	whyBothGone    = "removed on both sides"
	whyNewLocal    = "new locally"
	whyNewRemote   = "new on the server"
	whyFlags       = "flags changed"
	whySettled     = "there on both sides again"
	whyTied        = "the same message is new on both sides"
	whyAgain       = "tried again"
	whyGoneLocal   = "removed locally"
	whyGoneRemote  = "removed on the server"
	whyMovedOn     = "moved to another folder"
	whyAllMail     = "this folder shows what is in any other"
	whyMoved       = "moved or rewritten locally; the new copy is on the server"
	whyCopied      = "copied from another folder"
	whyCopyStays   = "copied here from a message that was removed on the server"
	whyBothMoved   = "moved to different folders on the two sides: the server's stands"
	whyMovedKept   = "moved on one side and removed on the other"
	whyPurged      = `flagged \Deleted, and expunge = true`
	whyKeptBack    = "removed locally; nothing is written to the server"
	whyCameBack    = "there on the server again, when its file had been removed since it was gone"
	whyRevived     = "removed on one side, but flagged or undeleted on the other"
	whyDeleteStood = "removed on one side; what the other side changed does not keep it"
)

// decide gives the one action that an item needs, Kind 0 if it needs none, and, if
// it overrules what somebody did, a word for it.
func decide(i *Item, w World) (action Action, decision string) {
	here, there := i.here(), i.there()
	switch {
	case i.Moved != nil && i.Moved.From != nil && movable(i, i.Moved, w):
		return Action{}, "" // its other end does all; one that base knows is none, whatever its UID is now
	case i.From != nil && movable(i.From, i, w):
		return move(i)
	case !here && !there:
		return Action{Kind: Drop, Why: whyBothGone}, ""
	case here && there:
		return agree(i, w), ""
	case i.Row == nil && i.Source != nil:
		return copied(i)
	case i.Row == nil || i.Row.State == mail.Pending:
		return bring(i, here), ""
	case i.Row.State == mail.Held && !i.Due:
		return Action{}, ""
	case i.Row.State == mail.Parted && i.Row.UID == 0:
		return stayLocal(i), ""
	case i.Row.State == mail.Parted && i.Row.Key == "":
		return stayRemote(i), ""
	case here:
		return goneRemote(i, w)
	default:
		return goneLocal(i, w)
	}
}

// movable tells whether a message that is gone in one place and new in another on one
// side can be moved likewise on the other. What both sides moved cannot.
func movable(from, to *Item, w World) bool {
	a, b := w.Folders[from.Folder], w.Folders[to.Folder]
	if (to.Local == New) == (to.Remote == New) {
		return false
	}
	if to.Local == New {
		stays := a.showsAll() && !w.hides(to.Folder)
		return from.there() && !stays && (w.CanMove || w.CanExpunge) && a.writesRemote() && b.writesRemote()
	}
	return from.here() && a.writesLocal() && b.writesLocal()
}

// move carries the other end of a move after the first. What else changed at the same
// time is a difference that the next round meets: after a move on the server, both
// sides' flags are compared with base anew; after a move here, the file's are compared
// with the server's, which come along.
func move(to *Item) (a Action, decision string) {
	from := to.From
	if to.Local == New {
		return Action{Kind: MoveRemote, Flags: to.File.Flags, Base: from.baseFlags(), Rename: to.Relabel, Why: whyMovedOn}, ""
	}
	a = Action{
		Kind:  MoveLocal,
		Flags: Merge(from.flagsBefore(to.Message.Flags), from.localFlags(), to.Message.Flags),
		Base:  to.Message.Flags, Why: whyMovedOn,
	}
	if from.Followed {
		a.Why, decision = whyBothMoved, "moved to where the server has it"
	}
	return a, decision
}

// copied makes on the other side the copy that was made on one. What the copy was
// made of comes along with the flags that it has there, and what differs is merged in
// the next round, as after a move.
func copied(i *Item) (Action, string) {
	switch {
	case i.Remote == New:
		return Action{Kind: Link, Flags: i.Message.Flags, Base: i.Message.Flags, Why: whyCopied}, ""
	case i.Source.there():
		return Action{Kind: CopyRemote, Flags: i.File.Flags, Base: i.Source.baseFlags(), Rename: i.Relabel, Why: whyCopied}, ""
	}
	return Action{Kind: Upload, Flags: i.File.Flags, Rename: i.Relabel, Why: whyCopyStays}, "kept: put on the server again"
}

// agree merges the flags of a message that is on both sides.
func agree(i *Item, w World) Action {
	base := i.baseFlags()
	if i.Remote == New {
		base = i.flagsBefore(i.Message.Flags)
	}
	flags := Merge(base, i.localFlags(), i.remoteFlags())
	info := w.Folders[i.Folder]
	if info.Policy.ExpungeDeleted && flags.Has(mail.Deleted) && w.CanExpunge && !info.showsAll() {
		return Action{Kind: ExpungeRemote, Flags: flags, Why: whyPurged}
	}
	a := Action{
		Kind: Agree, Flags: flags, Base: flags, Why: whyFlags,
		Rename: !flags.Equal(i.localFlags()) || i.Relabel,
		Add:    flags.Without(i.remoteFlags()),
		Remove: i.remoteFlags().Without(flags),
	}
	switch {
	case i.Row == nil:
		a.Why = whyTied
	case i.Local == Same && i.Remote == Same:
		a.Why = whySettled
	}
	return a
}

// bring carries a message to the side where it has never been.
func bring(i *Item, here bool) Action {
	again := i.Row != nil
	if again && !i.Due {
		if i.Local == Same && i.Remote == Same && !i.otherFile() {
			return Action{}
		}
		a := Action{Kind: Note, Flags: i.remoteFlags(), Why: i.Row.Why}
		if here {
			a.Flags = i.localFlags()
		}
		return a
	}
	a := Action{Kind: Download, Flags: i.remoteFlags(), Why: whyNewRemote}
	if here {
		a = Action{Kind: Upload, Flags: i.localFlags(), Rename: i.Relabel, Why: whyNewLocal}
	}
	if again {
		a.Why = whyAgain
	}
	return a
}

// Discards tells whether a folder is the one for what was thrown away.
func (w World) Discards(f mail.Folder) bool {
	return f == w.Trash || w.Folders[f].Role == mail.RoleTrash
}

// stayLocal keeps base true about a message that is on this side only, by policy. That its
// file's name does not say all its flags is no matter: nobody else is to hear of them.
func stayLocal(i *Item) Action {
	if i.Local == Same && !i.otherFile() {
		return Action{}
	}
	return Action{Kind: Note, Flags: i.localFlags(), Why: i.Row.Why}
}

// stayRemote is stayLocal's other side; but a message that was left marked \Deleted
// and lost that mark is wanted again.
func stayRemote(i *Item) Action {
	if i.Remote == Same {
		return Action{}
	}
	if Revives(i.Row.Flags, i.Message.Flags) && i.Row.Flags.Has(mail.Deleted) {
		return Action{Kind: Download, Flags: i.Message.Flags, Why: whyRevived}
	}
	return Action{Kind: Note, Flags: i.Message.Flags, Why: i.Row.Why}
}

// goneRemote decides about a file whose message was removed on the server.
func goneRemote(i *Item, w World) (Action, string) {
	policy := w.Folders[i.Folder].Policy
	if i.Moved != nil && i.Moved.Row != nil {
		return Action{Kind: RemoveLocal, Gone: mail.Remote, Why: whyMovedOn}, ""
	}
	edited := i.Local == Flags || i.Followed
	if i.Followed && policy.Winner == KeepWins {
		a := Action{Kind: Upload, Flags: i.localFlags(), Rename: i.Relabel, Why: whyMovedKept}
		if w.Discards(i.Folder) {
			return a, "" // it was removed on both sides
		}
		return a, "kept: put on the server again"
	}
	if edited && policy.Winner == KeepWins && Revives(i.baseFlags(), i.localFlags()) {
		return Action{Kind: Upload, Flags: i.localFlags(), Why: whyRevived}, "kept: put on the server again"
	}
	if policy.OnRemoteDelete == KeepFile {
		return Action{Kind: Part, Flags: i.localFlags(), Gone: mail.Remote, Why: whyKeptLocal}, ""
	}
	if edited {
		return Action{Kind: RemoveLocal, Gone: mail.Remote, Why: whyDeleteStood}, "removed locally"
	}
	return Action{Kind: RemoveLocal, Gone: mail.Remote, Why: whyGoneRemote}, ""
}

// goneLocal decides about a message whose file was removed.
func goneLocal(i *Item, w World) (Action, string) {
	info := w.Folders[i.Folder]
	edited := (i.Remote == Flags || i.Followed) && i.Moved == nil
	if i.Row.State == mail.Held && i.Row.Gone == mail.Remote && i.Moved == nil {
		// A sync was removing its file, and not somebody here; and then the server was restored.
		return Action{Kind: Download, Flags: i.remoteFlags(), Why: whyCameBack}, ""
	}
	if i.Followed && info.Policy.Winner == KeepWins {
		return Action{Kind: Download, Flags: i.remoteFlags(), Why: whyMovedKept}, "kept: brought back into the Maildir"
	}
	if edited && info.Policy.Winner == KeepWins && Revives(i.baseFlags(), i.remoteFlags()) {
		return Action{Kind: Download, Flags: i.remoteFlags(), Why: whyRevived}, "kept: brought back into the Maildir"
	}
	if i.Moved != nil && info.showsAll() && info.writesRemote() {
		return Action{Kind: Download, Flags: i.remoteFlags(), Why: whyAllMail}, ""
	}
	if info.Policy.OnLocalDelete == Keep && i.Moved == nil {
		return Action{Kind: Part, Flags: i.remoteFlags(), Gone: mail.Local, Why: whyKeptRemote}, ""
	}
	a, decision := Action{Flags: i.remoteFlags(), Gone: mail.Local, Why: whyGoneLocal}, ""
	if edited {
		a.Why, decision = whyDeleteStood, "removed on the server"
	}
	// What was found elsewhere than base has it may as well be another copy, on its way.
	final := i.Moved != nil && i.Origin == "" || w.expunges(i.Folder)
	switch {
	case !final && w.Trash != "":
		a.Kind, a.Target = MoveToTrash, w.Trash
	case final && w.CanExpunge:
		a.Kind = ExpungeRemote
	default:
		// RFC 4549, 4.2.4: a plain EXPUNGE would take along what others marked.
		a.Kind, a.Why = MarkDeleted, whyMarked
		a.Add = mail.Flags{System: mail.Deleted}
	}
	if i.Moved != nil {
		a.Why = whyMoved
	}
	return a, decision
}
