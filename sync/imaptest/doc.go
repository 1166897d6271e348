// Package imaptest is what the demo and the tests talk to in place of somebody's
// mail account. It has five parts:
//
//   - Server, an account in memory behind a real IMAP server on loopback, in the
//     manner of net/http/httptest. Its folders can be labels, as Gmail's are.
//   - Phone, a second mail client of an account: it reads, deletes, moves and
//     delivers, one thing at a time. It works against every server.
//   - Script, a server whose every line a test decides on, for faults and quirks
//     that no real server shows on demand.
//   - Between, which makes a real server say what an odder one would.
//   - Slow, which makes the way to a server slow, long, and unreliable.
//
// The protocol comes from go-imap's imapserver. The account behind it is our own
// and not imapmemserver's, whose behaviour a client that keeps two sides in step
// runs into: it lower-cases keywords, answers a MOVE with each EXPUNGE twice, writes
// "* 0 FETCH" for messages that the session has not heard of yet, sends a malformed
// COPYUID when nothing was copied, can lock up when two sessions move messages in
// opposite directions, forgets special-use marks, lets EXAMINE write, and renames a
// folder without what lies in it.
//
// Neither the server nor a script has CONDSTORE, since imapserver's parser refuses
// it: package dovecot, below this one, is for that.
//
// Only tests and the demo import this package.
package imaptest
