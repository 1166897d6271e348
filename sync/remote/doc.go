// Package remote is the remote side: one account on its IMAP server, reached
// through go-imap's client.
//
// It knows the protocol: how to connect and log in, which extensions the server
// has, what happened in a folder since it was last read, and how to change it. It
// knows nothing of files, of base, and of what should be done with a message.
//
// An Account lends sessions out of a pool; one call uses one session, alone. What
// holds everywhere:
//
//   - UIDs only, and never under another UIDVALIDITY than the caller's (RFC 4549,
//     4.1).
//   - Absence is told only where counts prove it (RFC 4731, 3.1).
//   - A message counts as fetched once every octet that was announced has come and
//     the command ended with OK.
//   - Nothing is expunged but by UID (RFC 4315, 2.1); folders are never CLOSEd.
//   - A session in which anything went wrong besides a tagged NO is not used again,
//     since what it would read next might answer another question.
//
// Goroutines: go-imap starts one reader per session, which ends with the session's
// connection. A Listener has one more for each of its sessions, which its
// Close waits for. Commands sent together are read by one goroutine each, and the
// method that sent them waits for all of them.
package remote
