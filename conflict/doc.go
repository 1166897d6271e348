// Package conflict decides. It is given what changed on each side against base, as
// plain values, and gives back a plan: the actions that bring both sides together,
// each with its reason, and what it holds back.
//
// It knows no files, no protocol, no SQL, no clock and no goroutine, and imports
// the standard library and conflict/mail only. Every policy decision of mailtwin
// is made here.
package conflict
