// Package maildir is the local side: one account's tree of Maildirs on disk. It
// scans folders, lands new messages, renames files so that their names say other
// flags, removes messages, keeps what removals took for a while, and watches for
// changes.
//
// It knows no protocol, no SQL and no policy. What it may rely on, and must not:
//
//   - Other programs rename, move and delete files at any moment. So every action
//     names the exact file that it means, nothing is ever renamed over another
//     file, and a file that is not there is mail.ErrGone and nothing done.
//   - A listing that was read while a directory changed may lack files that were
//     there all the time. Such a listing is not believed (see Tree.Scan).
//   - The Maildir may be gone as a whole, or be another one: an unmounted disk is
//     mail.ErrMissing and never a folder without messages.
//   - Names come from a server that may be hostile. They pass through one encoder
//     (names.go), and what opens or writes goes through os.Root, so that neither a
//     name nor a symbolic link leads out of the Maildir.
//
// The order of steps and their durability is the caller's business, with Harden
// and SyncFolder; what replaces a file (the marker, the keyword letters), and what
// makes or removes a folder, is durable when the method returns.
package maildir
