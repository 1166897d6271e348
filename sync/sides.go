package sync

import (
	"context"
	"iter"
	"time"

	"mailtwin/conflict/mail"
)

// Local is one account's tree of Maildirs. All methods may be called from several
// goroutines at once, for different folders and different messages. Those that write
// may fail with mail.ErrNoSpace.
type Local interface {
	// Folders tells which folders are on disk, in order of their names, with a fresh
	// stamp of each: three lstats a folder, and no directory of messages is read.
	// known is what base has of all folders on disk. It may be nil, and buys this: a
	// folder whose own directory still has the time that known says can have neither
	// gained nor lost a folder inside it, so those that known names are taken, and
	// the directory is not read. An error that is mail.ErrMissing says that the
	// Maildir is not there at all.
	Folders(ctx context.Context, known []mail.LocalFolder) ([]mail.LocalFolder, error)

	// Notices tells of the directories that the last Folders has left out and that look as
	// if they were to be folders, and why.
	Notices() []mail.Notice

	// Scan lists the messages of a folder. letters is what base knows of the
	// folder's keyword letters; what the folder's own file says goes before it.
	// mail.ErrGone: there is no such folder.
	Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (mail.Listing, error)

	// Still tells whether a Scan would be believed, and find what that one has found, and which
	// stamp the folder has then: no name of a message has come or gone since, and the letters are
	// the same. It costs two times three lstats and the file of the letters, and reads no
	// directory. Where it says no, a Scan has to tell.
	Still(ctx context.Context, folder mail.Folder, scanned mail.Listing) (mail.Stamp, bool, error)

	// Look looks at names of a folder, one lstat each, and tells which files there are of those, as
	// a scan would, in order of their keys. letters are what base knows. mail.ErrDamaged: one is
	// no regular file.
	Look(ctx context.Context, folder mail.Folder, names []mail.File, letters mail.Letters) ([]mail.File, error)

	// Stat tells of one file; mail.ErrGone when it is not there under exactly that
	// name.
	Stat(ctx context.Context, folder mail.Folder, file mail.File) (mail.Stat, error)

	// Read looks at a file from end to end, so that it can be uploaded. The caller
	// closes the Source. mail.ErrGone as with Stat; mail.ErrDamaged for what is no
	// readable regular file.
	Read(ctx context.Context, folder mail.Folder, file mail.File) (mail.Source, error)

	// Create starts a new message in the folder's tmp/, under a key that no file of
	// the folder has. Its file will have date as its modification time.
	Create(ctx context.Context, folder mail.Folder, date time.Time) (mail.Incoming, error)
	// Parts tells what the folder's tmp/ has of messages that did not come whole: what
	// Incoming.Keep has kept, for as long as Sweep leaves it there. They are in order of
	// their UIDs, and of one message the longest is first.
	Parts(ctx context.Context, folder mail.Folder) ([]mail.Part, error)
	// Resume goes on with a message that Parts has told of, under a key as with Create:
	// the next octet that it is given is the one after part.Octets. mail.ErrGone: what was
	// kept is not there, or not as it was.
	Resume(ctx context.Context, folder mail.Folder, part mail.Part) (mail.Incoming, error)
	// Harden makes finished messages in tmp/ durable, many at a time.
	Harden(ctx context.Context, folder mail.Folder, keys []mail.Key) error
	// Publish renames a message from tmp/ into new/ or cur/, where its flags belong,
	// and never over another file. It is durable after SyncFolder. mail.ErrGone: it
	// is not in tmp/.
	Publish(ctx context.Context, folder mail.Folder, key mail.Key, flags mail.Flags, letters mail.Letters) (mail.File, error)
	// Secure makes files durable that other programs have put into the folder. Those that
	// are no longer there under these names are passed over.
	Secure(ctx context.Context, folder mail.Folder, files []mail.File) error
	// SyncFolder makes what was renamed and removed in the folder durable.
	SyncFolder(ctx context.Context, folder mail.Folder) error
	// Sweep removes from tmp/ what no row of base names and what is older than the
	// 36 hours that Maildir gives a delivery.
	Sweep(ctx context.Context, folder mail.Folder, keep func(mail.Key) bool) error

	// Reflag renames a file so that its name says flags; letters that mean nothing
	// stay. mail.ErrGone as with Stat: then nothing was done.
	Reflag(ctx context.Context, folder mail.Folder, file mail.File, flags mail.Flags, letters mail.Letters) (mail.File, error)
	// EndRename removes the name that a rename has left, if the file has its other one
	// still. It is durable after SyncFolder.
	EndRename(ctx context.Context, folder mail.Folder, relic mail.Relic) error
	// Move renames a file into another folder, under a new key and so that its name
	// says flags; only a file without any stays in new/ if it was there. It is durable after SyncFolder of the folder it went to, and then of
	// the one it left. mail.ErrGone as with Stat: then nothing was done.
	Move(ctx context.Context, folder mail.Folder, file mail.File, to mail.Folder, flags mail.Flags, letters mail.Letters) (mail.File, error)
	// Link gives a file another name, in another folder's tmp/, to be published there.
	// mail.ErrGone as with Stat. mail.ErrNoLinks: the file system has no such names.
	Link(ctx context.Context, folder mail.Folder, file mail.File, to mail.Folder) (mail.Key, error)
	// Remove keeps the message in the store of removed messages and then unlinks it.
	// mail.ErrGone as with Stat: then nothing was done.
	Remove(ctx context.Context, folder mail.Folder, file mail.File) error

	// SetLetters writes the folder's keyword letters, durably. Publish and Reflag
	// know only letters that were written before.
	SetLetters(ctx context.Context, folder mail.Folder, letters mail.Letters) error
	// Marker reads the folder's marker; the zero value where there is none.
	Marker(ctx context.Context, folder mail.Folder) (mail.Marker, error)
	// SetMarker puts a marker into place, durably.
	SetMarker(ctx context.Context, folder mail.Folder, marker mail.Marker) error

	// CreateFolder makes an empty folder and what it lies in; mail.ErrExists.
	CreateFolder(ctx context.Context, folder mail.Folder) error
	// RemoveFolder removes a folder without messages; folders inside it stay. An
	// error says that it holds something.
	RemoveFolder(ctx context.Context, folder mail.Folder) error
	// ForgetFolder is called once base no longer has a folder that was removed. Where folders
	// inside it have stayed, these may go elsewhere before that; until then it is Unfinished, so
	// that what is left of it is not taken for damage to a folder that base knows.
	ForgetFolder(ctx context.Context, folder mail.Folder) error
	// RenameFolder gives a folder that is not INBOX another name, durably, and makes
	// what that lies in. Folders inside it may go along, or keep their names.
	// mail.ErrGone; mail.ErrExists: something has the name. Then nothing was done.
	RenameFolder(ctx context.Context, folder, to mail.Folder) error
	// SecureFolder makes durable that a folder, which another program may have renamed, is
	// there, and no longer where it was.
	SecureFolder(ctx context.Context, folder, was mail.Folder) error
}

// Remote is one account on its server. All methods may be called from several
// goroutines at once; each uses a session of its own from a pool. Those that name
// UIDs take the UIDVALIDITY that they were read under and do nothing but give
// mail.ErrRestarted when it is another one. Every method may fail with
// mail.ErrUnreachable, mail.ErrUntrusted, mail.ErrLogin, mail.ErrRefused.
type Remote interface {
	// Folders lists the account's folders with their status: one round trip where
	// the server has LIST-STATUS.
	Folders(ctx context.Context) (mail.RemoteListing, error)

	// Scan reads what happened in a folder since the cursor, and calls visit for each
	// message that is new or may have other flags, in ascending order of UIDs. known
	// counts the messages below since.UIDNext that base knows on the server. Messages
	// from since.UIDNext on, and all of a folder that Restarted, come with their size
	// and date, and with their EMAILIDs where the server has such.
	Scan(ctx context.Context, folder mail.Folder, since mail.Cursor, known int, visit func(mail.Message) error) (mail.View, error)

	// Ahead asks for many folders at once what Scans that come next will ask, so that these
	// need not wait for an answer each. It is a matter of speed alone: it may do nothing, and
	// what goes wrong is left to Scan.
	Ahead(ctx context.Context, queries []mail.Query)

	// Ready tells that so many calls are about to be made side by side, and in which folders
	// those that change messages will begin. It may prepare for that meanwhile, and is a matter of
	// speed alone.
	Ready(ctx context.Context, calls int, first []mail.Folder)

	// Identify asks what messages are, in as much detail as that says; the rest of it
	// may be told nevertheless. Messages that are gone are left out.
	Identify(ctx context.Context, folder mail.Folder, validity uint32, uids mail.UIDSet, detail mail.Detail) ([]mail.Identified, error)

	// Fetch streams whole messages, those of one folder after those of another, and of each
	// in any order, to who wants them. Messages that are gone are left out. It gives an error
	// for each folder; one of Visit comes back as it is, and may keep what comes after it from
	// being fetched.
	Fetch(ctx context.Context, wanted []mail.Wanted) []error

	// Append uploads the messages that next gives, until it gives nil. It may ask for
	// more before the first is answered, and has read a Source when it asks for the next
	// one. answered hears of each in that order, once. After one that was neither stored
	// nor refused it asks for no more. Neither function may call a Remote.
	Append(ctx context.Context, next func() *mail.Outgoing, answered func(mail.Appended))

	// Change does what is to be done about messages of several folders, one after the other,
	// and tells in each Visit what became of it. Ask for moves only where Abilities says so,
	// and for what is to be expunged.
	Change(ctx context.Context, visits []*mail.Visit)
	// Copy copies one message. uid is 0 where the server does not tell. mail.ErrGone as
	// with moves.
	Copy(ctx context.Context, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder) (mail.UID, error)

	// Examine opens a folder and tells its status and its MailboxID.
	Examine(ctx context.Context, folder mail.Folder) (mail.RemoteFolder, error)

	CreateFolder(ctx context.Context, folder mail.Folder) error // mail.ErrExists
	DeleteFolder(ctx context.Context, folder mail.Folder) error // mail.ErrGone
	// RenameFolder gives a folder that is not INBOX another name, also among those that
	// are subscribed. Folders inside it may go along, or keep their names. mail.ErrGone,
	// mail.ErrExists.
	RenameFolder(ctx context.Context, folder, to mail.Folder) error

	// Abilities tells what the server can do. It is known after Folders.
	Abilities() mail.Abilities
	// Traffic tells what the account has cost since it was opened.
	Traffic() mail.Traffic
}

// State is base: what both sides last agreed on, and the intents under way. Its
// methods may be called from several goroutines at once, and rows may be committed
// while an iterator runs, which then may or may not yield them.
type State interface {
	Folders(ctx context.Context) ([]mail.FolderBase, error)
	// Known yields what the folder's rows that have a key say of their files, in ascending order
	// of keys. It costs a third of reading these rows.
	Known(ctx context.Context, folder mail.FolderID) iter.Seq2[mail.Known, error]
	// RowsByKey yields the folder's rows that have a key, from that one on, in ascending order.
	RowsByKey(ctx context.Context, folder mail.FolderID, from mail.Key) iter.Seq2[mail.Row, error]
	// RowsByUID yields the folder's rows that have a UID, in ascending order of UIDs.
	RowsByUID(ctx context.Context, folder mail.FolderID) iter.Seq2[mail.Row, error]
	// WithUIDs gives the folder's rows with one of the UIDs, in ascending order.
	WithUIDs(ctx context.Context, folder mail.FolderID, uids mail.UIDSet) ([]mail.Row, error)
	// UIDs gives the UIDs of the folder's rows.
	UIDs(ctx context.Context, folder mail.FolderID) (mail.UIDSet, error)
	// Count counts the folder's rows with a UID, and those with a key.
	Count(ctx context.Context, folder mail.FolderID) (remote, local int, err error)
	// Unsettled gives all rows, of all folders, that are landing, pending or held.
	Unsettled(ctx context.Context) ([]mail.Row, error)
	// Marked gives the folder's rows that are on both sides and flagged \Deleted.
	Marked(ctx context.Context, folder mail.FolderID) ([]mail.Row, error)
	// Alike gives all rows, of all folders, of messages of that fingerprint.
	Alike(ctx context.Context, fingerprint mail.Fingerprint) ([]mail.Row, error)
	// Dated gives all rows, of all folders, of messages of that INTERNALDATE, to the
	// second, and of that size, in canonical form or as the server announces it.
	Dated(ctx context.Context, size int64, date time.Time) ([]mail.Row, error)
	Intents(ctx context.Context) ([]mail.Intent, error)
	// Commit makes the whole batch durable, or nothing of it. Drops go before puts.
	Commit(ctx context.Context, batch *mail.Batch) error
}
