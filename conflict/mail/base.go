package mail

import "time"

// FolderID, RowID and IntentID name what base knows; base gives them out, from 1
// up, and 0 means "not in base yet".
type (
	FolderID int64
	RowID    int64
	IntentID int64
)

// State tells how far a Row's message is the same on both sides.
type State uint8

const (
	// Settled: on both sides, and equal to what the row says.
	Settled State = iota
	// Landing: being downloaded. The row names the key under which the file lies in
	// tmp/, or already in new/ or cur/.
	Landing
	// Pending: on one side, and a try to bring it to the other failed (refused,
	// unreadable, over quota). Why says so; it is tried again from RetryAt on.
	Pending
	// Held: gone on the side that Gone names; its removal on the other side waits for
	// consent.
	Held
	// Parted: on one side only, and so it is meant to be (a policy "keep", marked
	// \Deleted and left). Why says so.
	Parted
)

func (s State) String() string {
	return [...]string{"settled", "landing", "pending", "held", "parted"}[s]
}

// Side is one of the two sides.
type Side uint8

// The sides.
const (
	Local Side = iota
	Remote
)

// Other gives the side across.
func (s Side) Other() Side { return 1 - s }

func (s Side) String() string { return [...]string{"local", "remote"}[s] }

// Row is one message of base. In one folder no two rows have the same UID, nor the
// same Key.
type Row struct {
	ID     RowID
	Folder FolderID
	UID    UID   // 0: not on the server
	Key    Key   // "": no file
	Flags  Flags // as both sides agreed

	State State
	Gone  Side   // of a Held row: where it is gone
	Why   string // of a row that is not Settled: the reason, for people
	// Tries is, of a Pending row, how often it was refused; below 0: how often the connection
	// broke at it, as long as nobody has refused it.
	Tries   int
	RetryAt time.Time // of a Pending or Held row: not before; to the second

	Identity
	// RemoteSize and RemoteDigest are the message as the server announces it and gives
	// it back, where that differs from what the file has; zero where it does not.
	RemoteSize   int64
	RemoteDigest Digest
	EmailID      string    // of the message as the server has it; "" where that is not known
	Date         time.Time // INTERNALDATE, to the second
	Name         string    // the file's name when it was last seen
	New          bool      // whether that was in new/
	Stat         Stat      // of the file
	// CopyOf is the row whose message this one was made from, by this device, because
	// somebody copied its file; 0 if it was not. It may be gone. Some programs move a
	// file by copying it, and removing it much later: then the copy is where it went.
	CopyOf RowID
	// Pushed are the flags that this device has changed on the server when the sides agreed, at
	// PushedAt (to the second). A server that was moving the message at that time may have taken
	// it along with what it had before.
	Pushed   Flags
	PushedAt time.Time
}

// Known is what a row says of its message's file, as far as a scan is compared with that.
type Known struct {
	ID    RowID
	Key   Key
	Name  string
	New   bool
	Flags Flags
	Inode uint64 // 0: not known
}

// Known gives that of the row.
func (r *Row) Known() Known {
	return Known{ID: r.ID, Key: r.Key, Name: r.Name, New: r.New, Flags: r.Flags, Inode: r.Stat.Inode}
}

// ForgetPushed is for when the server has told which flags the message has, or it is another one.
func (r *Row) ForgetPushed() { r.Pushed, r.PushedAt = Flags{}, time.Time{} }

// TellSize takes in which size the server announces for the message.
func (r *Row) TellSize(size int64) {
	r.RemoteSize = size
	if size == r.Size {
		r.RemoteSize = 0
	}
}

// Listed takes in what a listing tells of the message besides its flags and its date.
func (r *Row) Listed(m Message) {
	if m.Size != 0 {
		r.TellSize(m.Size)
	}
	if m.EmailID != "" {
		r.EmailID = m.EmailID
	}
}

// KnowsListed tells whether Listed would change nothing.
func (r *Row) KnowsListed(m Message) bool {
	return (m.Size == 0 || m.Size == r.ServerSize()) && (m.EmailID == "" || m.EmailID == r.EmailID)
}

// TakeFile takes in that the message's file is another one now, of the same content: what
// it was is what the server still has.
func (r *Row) TakeFile(file Identity) {
	if file.Digest == r.Digest {
		return
	}
	size := r.ServerSize()
	if r.RemoteSize == 0 {
		r.RemoteDigest = r.Digest
	}
	r.Identity = file
	r.Header = Fingerprint{}
	r.TellSize(size)
}

// ServerSize is the size that the server announces for the message.
func (r *Row) ServerSize() int64 {
	if r.RemoteSize != 0 {
		return r.RemoteSize
	}
	return r.Size
}

// FolderBase is a folder in base.
type FolderBase struct {
	ID        FolderID
	Name      Folder
	MailboxID string // RFC 8474; "" where the server has none
	Role      Role
	// Remote and Local are how far each side has been read: all up to them has been
	// applied. The zero values mean "read everything".
	Remote Cursor
	Local  Stamp
	Marker Marker // as it stands in the local folder; the zero value where none was written yet
	// Letters are what the letters in the folder's file names mean.
	Letters Letters
	// OnLocal and OnRemote tell where the folder was when the account was last in
	// step. A folder that is in base and on neither side is dropped.
	OnLocal, OnRemote bool
	Access            Access // as the server said last
	// Settings names the policy that the folder was last in step under: see
	// conflict.Policy.String. Another one means that both sides are read whole, for
	// what was kept back, or let stay, under the old one.
	Settings string
	Verified time.Time // when all UIDs and flags were last read, to the second
	Synced   time.Time // when the folder was last in step, to the second
	Problem  string    // what went wrong with it in the last run; "" where nothing did
	// Lost is what became of it since it was in step, as conflict.Loss has it; 0 for
	// nothing.
	Lost uint8
}

// IntentKind is what an Intent is about to do.
type IntentKind uint8

const (
	// Upload: the file Key is about to be appended to Folder, or a message which is equal,
	// Row's if it is to stay there, to be copied or moved into it.
	Upload IntentKind = iota + 1
	// Move: the message of Row is about to be moved or copied away from Folder, and
	// then expunged where it was; or, where there is a Key, Row's file of that key is about
	// to be moved into another folder here.
	Move
	// Replace: the file of Row is gone, and one with the same content is about to be
	// uploaded elsewhere; then Row's message is expunged, or brought here again where
	// nothing can leave its folder, and not put into Trash.
	Replace
	// Copied: messages elsewhere were taken for copies of Folder's, which may yet be about to
	// leave it; or Row's message has moved to where it may have come from Folder, too. One that
	// is gone when that is read next has moved.
	Copied
)

func (k IntentKind) String() string {
	return [...]string{"", "upload", "move", "replace", "copied"}[k]
}

// Intent is recorded before an action whose effect cannot be taken back or repeated, and
// dropped in the commit that records the effect. One that a run finds was left by a crash,
// and says where the effect would be.
type Intent struct {
	ID       IntentID
	Kind     IntentKind
	Row      RowID    // what is moved or copied, or has moved; 0 for an upload of what is nowhere else
	Folder   FolderID // where the file is, for an upload; else where the row, or what was copied, is
	Key      Key      // the file, for an upload or a move here
	Identity Identity
	// Where the message will be found: at or above UIDNext, under UIDValidity. Of a Replace: under
	// which the server has refused to expunge Row's message; 0 where it may have expunged it. Of a
	// Move to Trash: 0 where it is known that the message was copied there.
	UIDValidity uint32
	UIDNext     UID
	// Done: the server did it, and did not tell where the message is. Base does not keep
	// that: only the run that had the answer knows.
	Done    bool
	Created time.Time
}

// Decision is one that overruled somebody, for `mailtwin conflicts`.
type Decision struct {
	At        time.Time
	Folder    Folder
	MessageID string
	UID       UID
	Key       Key
	What      string // what was done
	Why       string // the rule
}

// Batch is what one commit changes: all of it, or nothing.
type Batch struct {
	// PutFolders, PutRows and PutIntents are stored whole. Those with ID 0 are new,
	// and get their ID once the commit has succeeded.
	PutFolders  []*FolderBase
	PutRows     []*Row
	PutIntents  []*Intent
	DropFolders []FolderID // with all their rows and intents
	DropRows    []RowID
	DropIntents []IntentID
	Decisions   []Decision
}

// Add adds what another batch does. The two must not be about the same things.
func (b *Batch) Add(other *Batch) {
	b.PutFolders = append(b.PutFolders, other.PutFolders...)
	b.PutRows = append(b.PutRows, other.PutRows...)
	b.PutIntents = append(b.PutIntents, other.PutIntents...)
	b.DropFolders = append(b.DropFolders, other.DropFolders...)
	b.DropRows = append(b.DropRows, other.DropRows...)
	b.DropIntents = append(b.DropIntents, other.DropIntents...)
	b.Decisions = append(b.Decisions, other.Decisions...)
}

// Empty tells whether the batch changes nothing.
func (b *Batch) Empty() bool {
	return len(b.PutFolders)+len(b.PutRows)+len(b.PutIntents)+len(b.DropFolders)+
		len(b.DropRows)+len(b.DropIntents)+len(b.Decisions) == 0
}
