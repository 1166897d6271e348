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
)

// Vanished is a folder that was on both sides when they were last in step, and is
// gone from one.
type Vanished struct {
	Gone     mail.Side
	Messages int  // that are left on the other side
	Changed  bool // something happened there since base
	Remove   bool // the configuration lets folders be removed there (remove_folders)
	Allowed  bool // a person named this folder and consented
}

// Decide gives the folder's fate. An empty folder follows unasked: there is nothing
// to lose in it. One that still holds mail never does, since an unmounted disk, a
// server that lists badly and a slip of the hand all look like this.
func (v Vanished) Decide() Fate {
	switch {
	case !v.Remove:
		return Stay
	case v.Messages == 0 && !v.Changed:
		return Follow
	case v.Allowed:
		return Follow
	}
	return Await
}
