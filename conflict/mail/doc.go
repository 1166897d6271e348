// Package mail is the vocabulary that all rooms of mailtwin speak: flags and
// keywords, folder names, keys, UIDs, what makes a message itself, and the rows
// of base, which is what both sides last agreed on.
//
// It knows no policy, no files, no SQL and no protocol, and imports the standard
// library only. The words:
//
//   - local and remote are the two sides: the Maildir and the server's mailboxes.
//   - a folder is an IMAP mailbox and the Maildir that it pairs with.
//   - a key is the Maildir file name up to the flags, the part before ":2,".
//   - base is what both sides last agreed on; a Row is one message of it.
//   - canonical bytes are a message as the wire has it: every LF that no CR
//     precedes counts as CRLF.
package mail
