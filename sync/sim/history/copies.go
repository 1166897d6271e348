package history

import (
	"maps"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// A copy that somebody has made is a message of its own, and must be there in the end, too,
// unless somebody has removed one of the two. Equal messages that meet in one folder may
// become one, and of several copies that are made at the same time nobody could say how many there
// must be. So only the first one is counted, in a folder where the message has never been.

// firstCopy is the first copy of a message.
type firstCopy struct {
	to mail.Folder // "": there is none yet
	by *device     // nil: the phone
	// been are the folders where the message itself has been.
	been map[mail.Folder]bool
	// uncounted: they have met, or what has happened since may have undone the copy.
	uncounted bool
}

// comes notes that a message comes to a folder.
func (t *token) comes(to mail.Folder) {
	if t.first.been == nil {
		t.first.been = map[mail.Folder]bool{}
	}
	t.first.been[to] = true
	t.first.uncounted = t.first.uncounted || to == t.first.to
}

// moves notes that a message moves, or its copy.
func (t *token) moves(from, to mail.Folder) {
	t.comes(to)
	t.first.uncounted = t.first.uncounted || from == t.first.to
}

// copies notes that a message is copied, by a device or, if that is nil, by the phone.
func (w *world) copies(t *token, by *device, from, to mail.Folder) {
	t.copies++
	if t.first.to != "" || t.copies != 1 || t.first.been[to] || to == trash {
		t.first.uncounted = true
		return
	}
	t.first.to, t.first.by = to, by
	t.first.uncounted = by != nil && by.Policy.Direction == conflict.Pull
	for folder := range w.parted { // what is in it on one side alone is held
		t.first.uncounted = t.first.uncounted || from == folder || from.Inside(folder) || to == folder || to.Inside(folder)
	}
}

// leavesName notes that a folder is removed, or gets another name: what is in it on one side alone is
// held, and its messages may meet others.
func (w *world) leavesName(folder mail.Folder) {
	w.parted[folder] = true
	in := func(name mail.Folder) bool { return name == folder || name.Inside(folder) }
	for _, t := range w.tokens {
		t.first.uncounted = t.first.uncounted || in(t.first.to) || slices.ContainsFunc(slices.Collect(maps.Keys(t.first.been)), in)
	}
}

// undoes notes that copies may be gone that a device, or anybody, has made: the power has
// gone before the disk had them, or what was there before has come back.
func (w *world) undoes(by ...*device) {
	for _, t := range w.tokens {
		t.first.uncounted = t.first.uncounted || len(by) == 0 || slices.Contains(by, t.first.by)
	}
}

// lacksCopy tells whether a message is there n times, and there must be a copy of it besides.
func (t *token) lacksCopy(n int) bool {
	f := &t.first
	return n < 2 && f.to != "" && !f.uncounted && t.copies == 1 && !t.removed && !t.expunged
}
