package conflict

import (
	"cmp"
	"slices"

	"mailtwin/conflict/mail"
)

// Likeness is what was found out about whether a folder of one side is one that base
// knows by another name.
type Likeness struct {
	Was, Is mail.Folder // base's name, and the one that the side has

	// SameID: both bear the same id, which outlives a rename: MAILBOXID on the server
	// (RFC 8474, 4), the marker in the Maildir. OtherID: they bear two.
	SameID, OtherID bool
	// SamePlace: it is the very directory, which tells the original from its copies.
	SamePlace bool

	// Without ids the messages tell. SameNumbers: the UIDVALIDITY is the same, so the
	// messages were looked up by their UIDs; else by what they are. Of those that were
	// Asked for so many were Found, and so many of these are Equal.
	SameNumbers         bool
	Asked, Found, Equal int
	Had, Has            int // messages that base knows, and that are there now
}

// strength ranks what speaks for a rename; 0 means that it is none.
func (l Likeness) strength() int {
	switch {
	case l.Was == mail.Inbox, l.Is == mail.Inbox, l.OtherID:
		return 0
	case l.SameID && l.SamePlace:
		return 4
	case l.SameID:
		return 3
	case l.Asked == 0:
		return 0
	case l.SameNumbers && l.Equal == l.Found && 2*l.Equal >= l.Asked:
		// What is missing was removed; what is another message was never renamed.
		return 2
	case !l.SameNumbers && 4*l.Equal >= 3*l.Asked && l.Plausible():
		return 1
	}
	return 0
}

// Plausible tells whether it is worth while to look at the messages where their numbers
// are others: most of them have to be there.
func (l Likeness) Plausible() bool { return l.Had > 0 && 2*l.Has >= l.Had }

// Recognise tells which of base's folders has which name now, one to one, by what is
// strongest. Where messages alone speak for two pairs, neither is taken: to take a
// rename for a removal costs time, to take another folder for it would mix mail.
func Recognise(all []Likeness) map[mail.Folder]mail.Folder {
	all = slices.DeleteFunc(slices.Clone(all), func(l Likeness) bool { return l.strength() == 0 })
	slices.SortFunc(all, func(a, b Likeness) int {
		return cmp.Or(b.strength()-a.strength(), cmp.Compare(a.Was, b.Was), cmp.Compare(a.Is, b.Is))
	})
	found, taken := map[mail.Folder]mail.Folder{}, map[mail.Folder]bool{}
	free := func(l Likeness) bool { _, done := found[l.Was]; return !done && !taken[l.Is] }
	for len(all) > 0 {
		// Those of one strength are looked at together.
		n := 1
		for n < len(all) && all[n].strength() == all[0].strength() {
			n++
		}
		level := slices.DeleteFunc(slices.Clone(all[:n]), func(l Likeness) bool { return !free(l) })
		for _, l := range level {
			rivals := slices.ContainsFunc(level, func(o Likeness) bool { return (o.Was == l.Was) != (o.Is == l.Is) })
			if free(l) && (l.SameID || !rivals) {
				found[l.Was], taken[l.Is] = l.Is, true
			}
		}
		all = all[n:]
	}
	return found
}

// Whereabouts is where both sides have a folder that base knows.
type Whereabouts struct {
	Name          mail.Folder // base's
	Local, Remote mail.Folder // "" where it is gone
	// MayLocal and MayRemote tell on which side it may be renamed.
	MayLocal, MayRemote bool
}

// Decide gives the name that the folder is to have on both sides, and the one that is
// overruled, "" if none is. A folder that is gone on one side keeps the name that the
// other gave it; whether it goes there too is for Vanished. Where both sides gave it
// another name, the server's counts: all devices meet there.
func (w Whereabouts) Decide() (name, overruled mail.Folder) {
	local, remote := w.Local, w.Remote
	// A name in between is nobody's choice: a swap of two names was interrupted.
	if local.IsInterim() && remote != "" {
		local = remote
	}
	if remote.IsInterim() && local != "" {
		remote = local
	}
	switch {
	case local == remote, remote == "":
		return local, ""
	case local == "", local == w.Name:
		return remote, ""
	case remote == w.Name:
		return local, ""
	case w.MayRemote && !w.MayLocal:
		return local, remote
	}
	return remote, local
}

// Step renames one folder of one side.
type Step struct{ From, To mail.Folder }

// Route gives the order in which folders of one side can be renamed now. What a folder
// around it may take along is left out, since where it is then has to be looked up
// first; so Route is asked again, until nothing is wanted any more. Where it can give no
// step, it gives those that something stands in the way of.
func Route(wanted []Step, taken func(mail.Folder) bool) (steps, blocked []Step) {
	left := map[mail.Folder]bool{} // names that became free, or not
	has := func(name mail.Folder) bool {
		// What lay in a renamed folder may have come there with it.
		if slices.ContainsFunc(steps, func(s Step) bool { return name.Inside(s.To) }) {
			return true
		}
		now, ok := left[name]
		return now || !ok && taken(name)
	}
	var pending []Step
	for _, s := range wanted {
		if !slices.ContainsFunc(wanted, func(o Step) bool { return s.From.Inside(o.From) && s.To.Inside(o.To) }) {
			pending = append(pending, s)
		}
	}
	do := func(s Step) {
		steps = append(steps, s)
		left[s.From], left[s.To] = false, true
		pending = slices.DeleteFunc(pending, func(o Step) bool { return o.From.Inside(s.From) })
	}
	slices.SortFunc(pending, func(a, b Step) int { return cmp.Compare(a.To, b.To) })
	for len(pending) > 0 {
		ready := slices.IndexFunc(pending, func(s Step) bool {
			leaving := slices.ContainsFunc(pending, func(o Step) bool { return o.From.Inside(s.To) && o != s })
			return !has(s.To) && !leaving && !s.To.Inside(s.From)
		})
		if ready >= 0 {
			s := pending[ready]
			pending = slices.Delete(pending, ready, ready+1)
			do(s)
			continue
		}
		// Of several that take each other's names one makes room; and no folder can be
		// renamed into itself in one step.
		ready = slices.IndexFunc(pending, func(s Step) bool {
			inner := slices.ContainsFunc(pending, func(o Step) bool { return s.From.Inside(o.From) })
			return !inner && !s.From.IsInterim() && !has(s.From.Interim()) && (!has(s.To) || inCircle(pending, s))
		})
		if ready < 0 && len(steps) > 0 {
			return steps, nil // what waits may find room then
		}
		if ready < 0 {
			return nil, pending
		}
		s := pending[ready]
		between := s.From.Interim()
		if pending[ready].From = between; s.To.Inside(s.From) && has(s.To) {
			pending = slices.Delete(pending, ready, ready+1) // what has its name may go along
		}
		do(Step{s.From, between})
	}
	return steps, nil
}

// inCircle tells whether a step waits for others that wait for it.
func inCircle(all []Step, s Step) bool {
	at := s.To
	for range all {
		i := slices.IndexFunc(all, func(o Step) bool { return o.From == at || at.Inside(o.From) })
		if i < 0 {
			return false
		}
		if at = all[i].To; all[i].From == s.From {
			return true
		}
	}
	return false
}
