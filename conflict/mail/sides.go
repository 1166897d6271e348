package mail

import (
	"io"
	"iter"
	"time"
)

// Stat is what a file system tells of a message file; equal stats of a file that
// was renamed mean equal content, an equal inode alone means nothing.
type Stat struct {
	Dev, Inode uint64
	Size       int64 // octets as the file has them
	ModTime    int64 // nanoseconds since 1970
}

// File is a message on the local side, as a scan found it.
type File struct {
	Key   Key
	Name  string // the whole file name in new/ or cur/
	New   bool   // it stands in new/, not in cur/
	Flags Flags  // from the letters of the name; see Listing for those that have none
	// Letters are those from a to z that the name has, in the order in which it has
	// them. A program that moves a file carries them along, and in another folder they
	// may mean something else.
	Letters string
	Inode   uint64 // as the directory entry has it; 0 where that is not known
}

// Message is a message on the remote side, as a listing told of it.
type Message struct {
	UID   UID
	Flags Flags
	Size  int64     // RFC822.SIZE in octets; 0 where it was not asked for
	Date  time.Time // INTERNALDATE; zero where it was not asked for
	// EmailID is the same for messages of the same content only (RFC 8474, 5.1), but need
	// not be for all of them; "" where it was not asked for, or the server has none.
	EmailID string
}

// Cursor is how far a folder of the server has been read: the four values that
// tell together whether anything at all has changed there.
type Cursor struct {
	UIDValidity   uint32
	UIDNext       UID    // 0 where the server does not tell
	HighestModSeq uint64 // 0 where the folder has no mod-sequences (RFC 7162, 3.1.2.2)
	Messages      uint32 // how many messages the folder has
}

// Query is what a scan of a folder of the server asks.
type Query struct {
	Folder Folder
	Since  Cursor
	Known  int  // how many messages below Since.UIDNext base knows
	Gone   bool // messages seem to be gone: which there are is asked as well
	New    int  // how many new messages there seem to be
}

// Unread tells that the folder was never read to its end: a UIDVALIDITY alone says only
// what the UIDs belong to that a run has recorded which was interrupted.
func (c Cursor) Unread() bool { return c == Cursor{UIDValidity: c.UIDValidity} }

// Stamp tells whether a local folder has changed since it was scanned: the times of
// its directories, in nanoseconds since 1970, and which directory it is. The zero
// value equals no stamp of a folder that is there, so it always means "scan".
type Stamp struct {
	Folder, Cur, New int64
	Dev, Inode       uint64 // of the folder's own directory
}

// WithoutTimes gives a stamp that says which directory the folder is, and that it is to
// be scanned.
func (s Stamp) WithoutTimes() Stamp { return Stamp{Dev: s.Dev, Inode: s.Inode} }

// SameDirectory tells whether both are known to be of one directory.
func (s Stamp) SameDirectory(other Stamp) bool {
	return s.Inode != 0 && s.WithoutTimes() == other.WithoutTimes()
}

// Marker stands in a file of each local folder, so that a Maildir restored from a
// backup, or swapped for another one, is known for what it is.
type Marker struct {
	Account    string
	Folder     string // a random id of the folder
	Generation int64  // counts the runs that changed the folder
}

// Letters are the keywords that the letters a to z of a folder's file names stand
// for: Letters[0] is a. "" is a letter without a meaning. The convention is the
// one that Dovecot's dovecot-keywords files follow.
type Letters [26]string

// LocalFolder is a folder on disk.
type LocalFolder struct {
	Name  Folder
	Stamp Stamp
	// Unfinished: there is no folder, but a directory of which one was being made or removed,
	// which CreateFolder or RemoveFolder brings to its end.
	Unfinished bool
}

// Listing is what a scan of a local folder found.
type Listing struct {
	// Files yields the messages in ascending order of their keys, each key once. It
	// may be called several times.
	Files iter.Seq[File]
	// Believed: the directories did not change around the scan and were at rest
	// before it, so what the listing lacks was not there. Presence counts either way.
	Believed bool
	// Stamp is the folder's; without its times, unless Believed, which makes the next run
	// scan again.
	Stamp Stamp
	// Letters are what the folder's letters mean. A keyword that has none cannot be
	// seen in a file name, so its absence there says nothing.
	Letters Letters
	// LettersLost: the folder itself does not say what some of the Letters mean.
	LettersLost bool
	// Problems are files that are no message and should be one, for the report.
	Problems []error
	// Relics are further names of listed files, of the same keys: what a loss of power, or a
	// program that died, has left of a rename.
	Relics []Relic
}

// FolderChanges tells what may have changed in a folder here, as a watcher has heard of it.
type FolderChanges struct {
	Name Folder
	// Whole: anything may have. Then the rest says nothing.
	Whole bool
	// Files are names that have come or gone, or were written to, each with its Key. They are such
	// as a scan takes for those of messages; but only a look tells whether there is a file now, and
	// that a message is gone is said by scans alone.
	Files []File
}

// Relic is a name that a file should have lost when it was renamed to what it is now.
type Relic struct{ Name, Now File }

// Source is a local message that is being uploaded.
type Source interface {
	// Identity is that of the bytes that WriteTo will give.
	Identity() Identity
	// Stat is the file's as it was looked at; its ModTime is the message's date.
	Stat() Stat
	// WriteTo writes the message in canonical bytes. It holds its last bytes back
	// until all of them are known to be those that Identity speaks of, and gives
	// ErrChanged if they are not: then the upload must not be completed.
	// It can be called once.
	io.WriterTo
	io.Closer
}

// Outgoing is a message that is to be appended to a folder of the server.
type Outgoing struct {
	Folder Folder
	Source Source
	Flags  Flags
	Date   time.Time // its INTERNALDATE
	// Alone: nothing else is to be under way with it, so that it is known which message a
	// connection breaks at.
	Alone bool
}

// Appended is what became of an Outgoing.
type Appended struct {
	UID         UID // 0 where the server does not tell, and with an error
	UIDValidity uint32
	Err         error
	// Sent, with an error: all bytes went out and no answer came, so the server may have
	// stored the message.
	Sent bool
}

// Incoming is a message that is being written into tmp/. It takes wire bytes.
type Incoming interface {
	io.Writer
	Key() Key
	// Finish ends the message; it is durable after Harden. The identity is without Header.
	Finish() (Identity, Stat, error)
	// Keep ends it before its end, and keeps what has come so that Resume can go on from
	// there. It is called in the place of Finish. Of part the UIDVALIDITY, the UID and the size
	// are needed. An error says that nothing is kept.
	Keep(part Part) error
	// Discard removes what was written. It may follow Finish, and does nothing when
	// the message was published.
	Discard()
}

// Part is the beginning of a message that did not come whole. A message of the server that is
// the same by all that it says of it can be fetched from there on.
type Part struct {
	Validity uint32
	UID      UID
	Date     time.Time   // INTERNALDATE
	Size     int64       // of the whole message on the wire, in octets
	Octets   int64       // how many of them are here
	Tail     []byte      // the last of those, as they came: at most TailOctets
	Header   Fingerprint // HeaderOf what is here
}

// TailOctets is how many octets tell whether what the server gives is what comes next. Its
// answer begins with them.
const TailOctets = 16

// Start is where the rest of the message, with the Tail before it, begins.
func (p Part) Start() int64 { return p.Octets - int64(len(p.Tail)) }

// Abilities are the extensions on which the engine's actions depend.
type Abilities struct {
	UIDPlus bool // RFC 4315: UID EXPUNGE, APPENDUID, COPYUID
	Move    bool // RFC 6851
	// Labels: folders are labels of one store of messages, as Gmail's are.
	Labels bool
}

// Traffic counts what an account costs on the wire.
type Traffic struct {
	BytesIn, BytesOut int64
	RoundTrips        int // writes after which a connection waits with nothing else in flight, after login
	Connections       int
}

// RemoteListing is what LIST told.
type RemoteListing struct {
	Folders []RemoteFolder
	// Notices are folders that were left out, and why, for the report.
	Notices []Notice
	// LeavesOut tells of a folder that is not listed whether it may be there
	// nevertheless, since the configuration leaves out a whole namespace. nil: no.
	LeavesOut func(Folder) bool
}

// Notice is something about one folder that the user should hear.
type Notice struct {
	Folder Folder
	Text   string
}

// RemoteFolder is a folder on the server.
type RemoteFolder struct {
	Name      Folder
	Role      Role
	MailboxID string // RFC 8474; "" where the server has none, or was not asked
	// NoSelect: it holds no messages and never will (RFC 9051, 7.3.1: \Noselect,
	// \NonExistent).
	NoSelect bool
	// Status is what the folder's STATUS said; the zero value where there was none,
	// which means "unknown", not "unchanged".
	Status Cursor
}

// View is what a scan of a remote folder found out besides its messages.
type View struct {
	// Cursor is what the SELECT that opened the scan said. Stored once all that the
	// scan found has been applied, it makes the next scan begin here.
	Cursor Cursor
	// Restarted: the folder is not the one that the cursor was read from (another
	// UIDVALIDITY), or it was restored from a backup (UIDNEXT or HIGHESTMODSEQ went
	// backwards). All its messages were visited.
	Restarted bool
	// Full: all messages were visited, not only those that changed.
	Full bool
	// Absence tells what the scan says of messages that were not visited, and Present
	// are all UIDs of the folder where Absence is ByPresent.
	Absence Absence
	Present UIDSet
	// MailboxID as the SELECT told it; "" where the server has none.
	MailboxID string
	Access
}

// Access is what the server lets the account do in a folder (RFC 9051, 7.1:
// READ-ONLY, PERMANENTFLAGS).
type Access struct {
	ReadOnly bool
	// Settable are the flags that can be set for good, and NewKeywords tells whether
	// keywords can be that are not among them.
	Settable    Flags
	NewKeywords bool
}

// Detail is how much Identify is to tell of a message.
type Detail uint8

// The details; each tells what those before it tell, too.
const (
	Fingerprints Detail = iota // and the Message-ID
	Sizes                      // and dates
	Headers                    // hashes of whole headers
)

// Identified is what Identify tells of one message.
type Identified struct {
	UID      UID
	Date     time.Time
	EmailID  string   // as a listing tells it
	Identity Identity // without the Digest
}

// Body is a message on its way in.
type Body struct {
	UID   UID
	Flags Flags
	Date  time.Time
	Size  int64 // of the whole message on the wire, in octets
	// Offset is how many octets Reader leaves out, since they are there: as many as the
	// message's Part has, or none.
	Offset int64
	// Reader gives the wire bytes, and io.ErrUnexpectedEOF where they end early.
	Reader io.Reader
}

// Wanted are messages of one folder that are to be fetched, and what takes them.
type Wanted struct {
	Folder   Folder
	Validity uint32
	UIDs     UIDSet
	// Octets is about how many these are; 0: that is not known.
	Octets int64
	// Have are parts of some of them that are there already.
	Have map[UID]Part
	// Visit reads each body to its end or gives an error.
	Visit func(Body) error
}

// Absence is what a scan of a remote folder says of messages that it did not visit.
type Absence uint8

const (
	// AbsenceUnknown: nothing may be inferred (counts that do not agree, a server
	// that announces MESSAGELIMIT).
	AbsenceUnknown Absence = iota
	// NothingGone: the count says that every message that base knows is still there.
	NothingGone
	// ByPresent: what is not in View.Present is gone.
	ByPresent
)
