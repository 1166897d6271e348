package conflict

import "mailtwin/conflict/mail"

// Fate is what becomes of a folder that one side has lost.
type Fate uint8

// The fates.
const (
	// Stay: the folder stays where it is; the policy wants no folder removed there.
	Stay Fate = iota
	// Await: nothing is done until a person consents.
	Await
	// Follow: the folder goes on the other side, too.
	Follow
	// Forget: the folder stays where it is, and is no longer one that was on both sides.
	Forget
)

// Vanished is a folder that was on both sides when they were last in step, and is
// gone from one.
type Vanished struct {
	Gone     mail.Side
	LeftOut  bool // the configuration leaves the folder out of the sync
	Messages int  // that are left on the other side
	Changed  bool // something happened there since base
	Remove   bool // the configuration lets folders be removed there (remove_folders)
	Allowed  bool // a person named this folder and consented
}

// Decide gives the folder's fate. An empty folder follows unasked: there is nothing
// to lose in it. One that still holds mail never does, since an unmounted disk, a
// server that lists badly and a slip of the hand all look like this. One that is lost
// while it is left out was not to be in step; if it is taken in again some day, that is
// to bring it back.
func (v Vanished) Decide() Fate {
	switch {
	case v.LeftOut:
		return Forget
	case !v.Remove:
		return Stay
	case v.Messages == 0 && !v.Changed:
		return Follow
	case v.Allowed:
		return Follow
	}
	return Await
}
