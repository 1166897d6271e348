package conflict

import (
	"slices"

	"mailtwin/conflict/mail"
)

// Pairs is what pairing found: new items that are one message, and gone ones that
// are new elsewhere.
type Pairs struct {
	// Ties are a new file and a new message of one folder with equal identity.
	Ties []Tie
	// Ask are new messages on the server whose identity must be known better before
	// anything can be said of them. Ask again when it is.
	Ask []*Item
}

// Tie is one message that is new on both sides.
type Tie struct{ Local, Remote *Item }

// TieNew finds the files without a message and the new messages of one folder that
// are the same message, one to one: of n equal files and m equal messages min(n, m)
// are tied. A file has no message if it is new, if its message is gone, or if it
// could not be brought to the server so far: see Lonely. This one rule serves a
// Maildir that was full from the start, a lost state database, another UIDVALIDITY
// and an upload whose answer was lost.
//
// Files must come with their whole identity. Messages come with what is known: the
// size first, then the fingerprint, and the digest where that does not decide.
// intents are those of uploads that were under way: their files are told by
// the fingerprint alone, since servers exist that give back other sizes than they
// were sent.
func TieNew(locals, remotes []*Item, intents map[mail.Key]mail.Intent) Pairs {
	var p Pairs
	free := slices.Clone(remotes)
	slices.SortFunc(free, func(a, b *Item) int { return int(int64(a.Message.UID) - int64(b.Message.UID)) })
	sorted := slices.Clone(locals)
	slices.SortFunc(sorted, order)
	alike := map[mail.Fingerprint][]mail.Digest{}
	sizes := map[int64]bool{}
	for _, l := range sorted {
		alike[l.Identity.Fingerprint] = append(alike[l.Identity.Fingerprint], l.Identity.Digest)
		sizes[l.Identity.Size] = true
	}
	var from mail.UID
	for _, in := range intents {
		if from == 0 || in.UIDNext < from {
			from = in.UIDNext
		}
	}
	for _, r := range free {
		id := r.Identity
		if !sizes[r.Message.Size] && (len(intents) == 0 || r.Message.UID < from) {
			continue // no file can be this one
		}
		digests, candidate := alike[id.Fingerprint]
		switch {
		case id.Fingerprint == mail.Fingerprint{}:
			p.Ask = append(p.Ask, r)
		case candidate && id.Digest == mail.Digest{} && (id.MessageID == "" || !allEqual(digests)):
			p.Ask = append(p.Ask, r)
		}
	}
	if len(p.Ask) > 0 {
		return p
	}
	byPrint := map[mail.Fingerprint][]*Item{}
	for _, r := range free {
		if r.Identity.Fingerprint != (mail.Fingerprint{}) {
			byPrint[r.Identity.Fingerprint] = append(byPrint[r.Identity.Fingerprint], r)
		}
	}
	for _, l := range sorted {
		intent, open := intents[l.Key()]
		candidates := byPrint[l.Identity.Fingerprint]
		i := slices.IndexFunc(candidates, func(r *Item) bool {
			if open && r.Message.UID >= intent.UIDNext && l.Identity.MessageID != "" {
				return true
			}
			return r.Message.Size == l.Identity.Size &&
				(r.Identity.Digest == mail.Digest{} || r.Identity.Digest == l.Identity.Digest)
		})
		if i >= 0 {
			p.Ties = append(p.Ties, Tie{l, candidates[i]})
			byPrint[l.Identity.Fingerprint] = slices.Delete(candidates, i, i+1)
		}
	}
	return p
}

func allEqual(digests []mail.Digest) bool {
	for _, d := range digests {
		if d != digests[0] {
			return false
		}
	}
	return true
}

// Lonely tells whether the item is a file without a message.
func (i *Item) Lonely() bool { return i.here() && !i.there() }

// Join makes one item of a tie.
func (t Tie) Join() *Item {
	joined := *t.Local
	joined.Remote, joined.Message = New, t.Remote.Message
	return &joined
}

// MarkMoved tells the items that are gone locally, and whose content is new in
// another place of the Maildir, which file took their place, one to one. Files come
// with their whole identity.
//
// A file that is gone and new in one folder was only given another key: it becomes
// one item again, and MarkMoved gives the new ones that are left. letters gives the
// letters of a folder.
func MarkMoved(gone, arrived []*Item, letters func(mail.Folder) mail.Letters) (left []*Item) {
	type content struct {
		size   int64
		digest mail.Digest
	}
	places := map[content][]*Item{}
	arrived = slices.Clone(arrived)
	slices.SortFunc(arrived, order)
	for _, a := range arrived {
		c := content{a.Identity.Size, a.Identity.Digest}
		places[c] = append(places[c], a)
	}
	gone = slices.Clone(gone)
	slices.SortFunc(gone, order)
	renamed := map[*Item]bool{}
	// The nearest place comes first: twins in two folders do not change places.
	for _, near := range []bool{true, false} {
		for _, g := range gone {
			c := content{g.Row.Size, g.Row.Digest}
			at := places[c]
			i := slices.IndexFunc(at, func(a *Item) bool { return !near || a.Folder == g.Folder })
			if g.Moved != nil || renamed[g] || i < 0 || g.Row.Digest == (mail.Digest{}) {
				continue
			}
			a := at[i]
			places[c] = slices.Delete(slices.Clone(at), i, i+1)
			if a.Folder == g.Folder && a.Remote != New && g.there() {
				rename(g, a, letters(g.Folder))
				renamed[g], renamed[a] = true, true
				continue
			}
			g.Moved, a.From = a, g
		}
	}
	for _, a := range arrived {
		if !renamed[a] {
			left = append(left, a)
		}
	}
	return left
}

// rename makes an item whose file has another key whole again.
func rename(i, file *Item, letters mail.Letters) {
	i.File, i.Stat, i.Local = file.File, file.Stat, Same
	i.File.Flags = FlagsOf(file.File, i.Row.Flags, letters)
	if !i.File.Flags.Equal(i.Row.Flags) {
		i.Local = Flags
	}
}

// MoveNew finds the messages that are gone on the server in one folder, and new in
// another, one to one, as TieNew finds those that are new on both sides. The gone ones
// come with the identity of their rows, the new ones with what is known.
func MoveNew(gone, arrived []*Item) Pairs { return TieNew(gone, arrived, nil) }
