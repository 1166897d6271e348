package conflict

import (
	"fmt"

	"mailtwin/conflict/mail"
)

// OnLocalDelete is what becomes of the server's message when its file was removed.
type OnLocalDelete uint8

// The choices of on_local_delete.
const (
	Trash   OnLocalDelete = iota // it is moved to the Trash folder
	Expunge                      // it is expunged by UID
	Keep                         // it stays
)

// OnRemoteDelete is what becomes of the file when the server's message was removed.
type OnRemoteDelete uint8

// The choices of on_remote_delete.
const (
	Remove   OnRemoteDelete = iota // it is removed, and restorable for a while
	KeepFile                       // it stays
)

// Winner is what wins when one side deleted a message that the other edited.
type Winner uint8

// The choices of conflict.
const (
	KeepWins   Winner = iota // the message stays, if the edit says that somebody wants it
	DeleteWins               // the deletion stands
)

// Direction tells which side may be written.
type Direction uint8

// The choices of direction.
const (
	Both Direction = iota
	Pull           // the server is never written
	Push           // the Maildir is never written
)

// Writes tells whether a side may be written.
func (d Direction) Writes(side mail.Side) bool {
	return d == Both || (d == Push) == (side == mail.Remote)
}

// Policy is what the user decided for one folder. The zero value is the default of
// every setting.
type Policy struct {
	OnLocalDelete  OnLocalDelete
	OnRemoteDelete OnRemoteDelete
	Winner         Winner
	Direction      Direction
	// ExpungeDeleted: messages flagged \Deleted are expunged.
	ExpungeDeleted bool
}

// String names the policy, so that a run can tell whether it is still the one that
// the last run followed.
func (p Policy) String() string {
	return fmt.Sprintf("%d %d %d %d %t", p.OnLocalDelete, p.OnRemoteDelete, p.Winner, p.Direction, p.ExpungeDeleted)
}
