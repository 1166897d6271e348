// Package sim holds what the engine is tested against: an in-memory IMAP account
// whose other users, faults and backups a test directs, and a way to stop a run
// dead at any of its steps.
//
// A Server is one account. Each Client of it is a sync.Remote, one for every device
// that syncs; the methods of the Server itself are what other programs do to the
// account: a phone, webmail, a filter, an administrator with a backup. The same
// conformance suite (remotetest) that the real client passes on real servers keeps
// the Server honest.
//
// A Crash stands between the engine and its three sides, counts each effect that a
// run has on any of them, and lets the process "die" before or after a chosen one.
//
// Nothing here starts a goroutine, sleeps, or reads a clock, so a run with one
// goroutine is the same each time.
package sim
