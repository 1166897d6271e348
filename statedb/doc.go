// Package statedb keeps base, what both sides of an account last agreed on, and
// the intents of actions under way, in one SQLite file per account.
//
// It knows rows, not IMAP, not files, and no policy. What it promises:
//
//   - One Commit is one atomic step, durable when it returns, and nothing of it is
//     there when it fails, whatever is killed or loses power.
//   - No two rows of a folder have the same UID or the same key. An ID that was given
//     out once is never given to something else.
//   - All that comes from outside (names, keys, keywords, texts) is bytes: it comes
//     back as it was put in, and is compared byte by byte, as Go compares strings.
//   - A file that is damaged, or was written by a newer mailtwin, is refused before
//     anything is written to it.
//
// Losing the file costs time, not mail, so it is not precious; but what it says is
// acted upon, so it must never be wrong. Hence FULL synchronisation: with less, a
// power loss could take back a commit whose effects on the sides stay.
//
// A process must not open the file by other means while a DB is open: closing any
// descriptor of a file drops all POSIX locks that the process has on it
// (sqlite.org/howtocorrupt.html, 2.2). Copying it needs its "-wal" file as well.
package statedb
