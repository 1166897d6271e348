package conflict

import "mailtwin/conflict/mail"

// restrain takes from an action what its folder does not allow: writing to a side
// that the direction, or the server, says is not to be written, and flags that the
// server does not keep. It tells whether anything is left to do.
//
// What is kept back changes nothing in base either. So it goes on being a difference,
// and is carried out when the folder allows it. See KeepsBack.
func restrain(a *Action, info FolderInfo) bool {
	local, remote := info.writesLocal(), info.writesRemote()
	switch a.Kind {
	case 0:
		return false
	case Agree:
		restrainFlags(a, info, local, remote)
		return a.changes()
	case Download:
		return local || a.letBe()
	case Link, RemoveLocal:
		return local
	case ExpungeRemote:
		return remote && (local || !a.Item.here()) || a.hold(remote)
	case MoveToTrash, MarkDeleted:
		return remote || a.hold(remote)
	case CopyRemote:
		return remote
	case Upload:
		a.Flags = a.Flags.Without(info.unsettable(a.Flags))
		if a.Base = a.Flags; info.Labels {
			// If the message is there under another label, it keeps the flags that it has. So
			// what the file has, and what that one has, are both news.
			a.Base = mail.Flags{}
		}
		return remote || a.letBe()
	}
	return true
}

// letBe makes of an action that is kept back, and that was to revive a message whose removal
// was held, or under way, one that takes this back. Else the next plan, which need not know
// what it was revived for, would remove it. One whose landing was interrupted is where it was to
// land. One that moved on one side, and is gone where base has it, is new where it went. It tells
// whether the action is such a one.
func (a *Action) letBe() bool {
	row := a.Item.Row
	if a.Item.Followed {
		*a = Action{Kind: Drop, Item: a.Item, Why: whyBothGone}
		return true
	}
	if row == nil || row.State != mail.Held && (row.State != mail.Landing || !a.Item.here()) {
		return false
	}
	*a = Action{Kind: Note, Item: a.Item, Flags: row.Flags}
	return true
}

// hold makes of a removal on the server that is kept back, of a message which is not where base
// has it, one that waits where the message is. Else base would go on saying of a folder what is
// not so, and each look at where the message is would find it new. It tells whether the action
// is such a one.
func (a *Action) hold(remote bool) bool {
	if remote || a.Item.Origin == "" {
		return false
	}
	*a = Action{Kind: Hold, Item: a.Item, Gone: mail.Local, Why: whyKeptBack}
	return true
}

func (info FolderInfo) writesLocal() bool { return info.Policy.Direction != Push }

func (info FolderInfo) writesRemote() bool {
	return info.Policy.Direction != Pull && !info.Access.ReadOnly
}

// restrainFlags leaves in base what both sides really have in common after the
// action: what one side keeps for itself stays a difference.
func restrainFlags(a *Action, info FolderInfo, local, remote bool) {
	if !remote {
		a.Base = a.Item.remoteFlags()
		a.Add, a.Remove = mail.Flags{}, mail.Flags{}
	}
	if !local {
		a.Base = a.Item.localFlags()
		a.Rename = false
	}
	if refused := info.unsettable(a.Add); !refused.Empty() {
		a.Add = a.Add.Without(refused)
		a.Base = a.Base.Without(refused)
	}
	if refused := unchangeable(a.Remove, info.Access); !refused.Empty() {
		a.Remove = a.Remove.Without(refused)
		a.Base = a.Base.With(refused)
	}
}

// unsettable gives the flags that must not be set: those that the server would not keep,
// and \Deleted where folders are labels, since one who sets it takes the label away at
// once.
func (info FolderInfo) unsettable(flags mail.Flags) mail.Flags {
	refused := unchangeable(flags, info.Access)
	if info.Labels {
		refused.System |= flags.System & mail.Deleted
	}
	return refused
}

// unchangeable gives the flags that the server would not change for good (RFC 9051, 7.1:
// PERMANENTFLAGS). Exchange takes it for an error to ask for one of them.
func unchangeable(flags mail.Flags, access mail.Access) mail.Flags {
	refused := flags.Without(access.Settable)
	if access.NewKeywords {
		refused.Keywords = ""
	}
	return refused
}

// changes tells whether an Agree changes a side, or anything in base.
func (a *Action) changes() bool {
	if a.Rename || !a.Add.Empty() || !a.Remove.Empty() {
		return true
	}
	i := a.Item
	if i.Row == nil || i.Remote == New || i.Row.State != mail.Settled || !a.Base.Equal(i.Row.Flags) {
		return true
	}
	if !i.Row.KnowsListed(i.Message) {
		return true
	}
	return i.otherFile()
}

// KeepsBack tells of which sides a message may differ from base without having
// changed since it was looked at last, because what it differs in was kept back. When
// anything about such a message changes, that side must be looked at as well.
func (info FolderInfo) KeepsBack() (local, remote bool) {
	const system = mail.Seen | mail.Answered | mail.Flagged | mail.Draft | mail.Deleted | mail.Forwarded
	local = info.Policy.Direction == Pull || info.Access.ReadOnly || info.Labels ||
		!info.Access.NewKeywords || !info.Access.Settable.Has(system)
	return local, info.Policy.Direction == Push
}
