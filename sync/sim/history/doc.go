// Package history plays random histories of one account and checks that nothing was
// lost or doubled and that all came to an end: the engine, the decisions and the Maildirs
// as they ship, on a server in memory, on disks that lose their power, and with base in
// memory or in SQLite.
//
// A History is made of a seed and nothing else: how many devices there are and what the
// server is like, what people and programs do, where calls fail, are cut off, or are
// answered late or twice, where the process dies and the power goes, when states are
// lost and backups restored. Play plays it. Each of its steps has a seed of its own, so
// that a step can be left out and the others stay what they are: Shrink does that to
// one that fails.
//
// No part of it reads a clock, starts a goroutine or draws a number that the seed does
// not give.
package history
