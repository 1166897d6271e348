package conflict

import "mailtwin/conflict/mail"

// Loss is why base cannot be believed about a folder: one of the sides, or base itself,
// is not what it was when all were last in step. Then base forgets the folder's messages,
// and what is equal on both sides is tied again; nothing is gone because of a loss.
type Loss uint8

// The losses.
const (
	NoLoss       Loss = iota
	StateLost         // base knows nothing, and the Maildir was synced before
	StateOld          // base is older than the Maildir
	MaildirOld        // the Maildir is older than base
	MaildirOther      // the Maildir folder is another one, or cannot tell which it is
	Renumbered        // the server gives other UIDs to the same messages
	ServerOld         // the server's folder went back in time
)

func (l Loss) String() string {
	names := [...]string{
		"", "mailtwin's state of this Maildir is lost, or the Maildir is a copy",
		"mailtwin's state was restored from a backup", "the Maildir was restored from a backup",
		"the Maildir is not the one of the last sync", "the server numbers its messages anew",
		"the server's mail was restored from a backup",
	}
	if int(l) >= len(names) { // base has it from elsewhere
		l = NoLoss
	}
	return names[l]
}

// Follows tells which side follows the other one, where a message is in one folder there
// and in another one here: it has moved since, and which of the two has moved it is lost.
// What is older follows; else the Maildir does, since other devices have seen what is on
// the server. A Maildir that may be anybody's follows nobody.
func (l Loss) Follows() (side mail.Side, known bool) {
	switch l {
	case ServerOld:
		return mail.Remote, true
	case StateLost, StateOld, MaildirOld, Renumbered:
		return mail.Local, true
	}
	return 0, false
}

// LossByMarker compares the marker of a folder that was in step with the one that is
// there now. One more generation is what a crash leaves between the marker and its
// commit.
func LossByMarker(base, now mail.Marker) Loss {
	next := base
	next.Generation++
	switch {
	case now == base, now == next, base == mail.Marker{} && now.Generation == 1:
		return NoLoss
	case base == mail.Marker{}:
		return StateOld
	case now.Account != base.Account || now.Folder != base.Folder:
		return MaildirOther
	case now.Generation < base.Generation:
		return MaildirOld
	}
	return StateOld
}

// LossByCursor compares how far a folder of the server was read with what it says now.
func LossByCursor(since, now mail.Cursor) Loss {
	switch {
	case since == mail.Cursor{}:
		return NoLoss
	case now.UIDValidity != since.UIDValidity:
		return Renumbered
	case now.UIDNext != 0 && now.UIDNext < since.UIDNext,
		now.HighestModSeq != 0 && now.HighestModSeq < since.HighestModSeq:
		return ServerOld
	}
	return NoLoss
}
