package conflict

import (
	"cmp"
	"slices"
	"time"

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
//
// Servers exist that give back other bytes, or announce other sizes, than they were
// sent. What base knows of a message that it lost is its size as the server has it,
// too. The files of uploads that were under way, which intents name, are told by the
// fingerprint, the UID and the date. And where base knows nothing of the folder's messages
// (adopt), such a message is still known by its header and its date: see sameDate. A
// wrong match would hide a message from one side, which is worse than one that is
// brought to both sides twice. So what has another date, or no header, must have the
// same bytes.
func TieNew(locals, remotes []*Item, intents map[mail.Key]mail.Intent, adopt bool) Pairs {
	locals, remotes = slices.Clone(locals), slices.Clone(remotes)
	slices.SortFunc(locals, order)
	slices.SortFunc(remotes, func(a, b *Item) int { return cmp.Compare(a.Message.UID, b.Message.UID) })
	t := newTying(locals, remotes, intents, adopt, false)
	if ask := t.undecided(remotes); len(ask) > 0 {
		return Pairs{Ask: ask}
	}
	// Of equal ones, those of equal flags: else each would get the flags of another one.
	t.pass(locals, func(l, r *Item) bool { return t.same(l, r) && l.localFlags().Equal(r.remoteFlags()) })
	t.pass(locals, t.same)
	t.pass(locals, t.underWay)
	if adopt {
		t.pass(locals, t.sameDate)
		if ask := t.doubtful(remotes); len(ask) > 0 {
			return Pairs{Ask: ask}
		}
	}
	return Pairs{Ties: t.ties}
}

// tying is what one TieNew, or MoveNew, knows.
type tying struct {
	intents map[mail.Key]mail.Intent
	from    mail.UID // the lowest UID that an upload under way can have got
	adopt   bool
	// strict: the two stand in different folders, so that nothing but what they are says
	// that they belong together.
	strict bool
	moves  bool                  // the first ones are gone
	known  map[*Item]mail.Digest // messages that are one of a file beyond doubt: see recognise
	sizes  map[int64]bool        // that the message of a file may have
	// followed are the first ones that have moved here: see mayHaveAdded.
	followed []*Item
	// files and messages are those that are not tied.
	files, messages map[mail.Fingerprint][]*Item
	// digests and lengths are the files' digests and the messages' sizes by what sameDate
	// goes by, where all of them are the same; else the zero value.
	digests map[moment]mail.Digest
	lengths map[moment]int64
	ties    []Tie
}

// moment is a fingerprint and a date, to the second.
type moment struct {
	fingerprint mail.Fingerprint
	date        int64
}

func fileMoment(l *Item) moment {
	stat := l.Stat
	if stat == (mail.Stat{}) && l.Row != nil {
		stat = l.Row.Stat
	}
	return moment{l.Identity.Fingerprint, time.Unix(0, stat.ModTime).Unix()}
}

func messageMoment(r *Item) moment { return moment{r.Identity.Fingerprint, r.Message.Date.Unix()} }

func newTying(locals, remotes []*Item, intents map[mail.Key]mail.Intent, adopt, strict bool) *tying {
	t := &tying{
		intents: intents, adopt: adopt, strict: strict, sizes: map[int64]bool{},
		files: map[mail.Fingerprint][]*Item{}, messages: map[mail.Fingerprint][]*Item{},
		digests: map[moment]mail.Digest{}, lengths: map[moment]int64{},
	}
	for _, in := range intents {
		if t.from == 0 || in.UIDNext < t.from {
			t.from = in.UIDNext
		}
	}
	for _, l := range locals {
		t.files[l.Identity.Fingerprint] = append(t.files[l.Identity.Fingerprint], l)
		if l.Followed {
			t.followed = append(t.followed, l)
		}
		for _, size := range l.Sizes() {
			t.sizes[size] = true
		}
		alike(t.digests, fileMoment(l), l.Identity.Digest)
	}
	for _, r := range remotes {
		t.messages[r.Identity.Fingerprint] = append(t.messages[r.Identity.Fingerprint], r)
		alike(t.lengths, messageMoment(r), r.Message.Size)
	}
	return t
}

// alike keeps the value of a key that is always the same, and zero where it is not.
func alike[K, V comparable](m map[K]V, key K, value V) {
	if old, ok := m[key]; ok && old != value {
		value = *new(V)
	}
	m[key] = value
}

// undecided are the messages of which too little is known to compare them.
func (t *tying) undecided(remotes []*Item) []*Item {
	var ask []*Item
	for _, r := range remotes {
		if !t.adopt && !t.mayHaveSize(r) && (len(t.intents) == 0 || r.Message.UID < t.from) {
			continue // no file can be this one
		}
		id, files := r.Identity, t.files[r.Identity.Fingerprint]
		switch {
		case id.Fingerprint == mail.Fingerprint{}:
			ask = append(ask, r)
		case t.strict:
			if id.Digest == (mail.Digest{}) && t.strictlyUndecided(r, files) {
				ask = append(ask, r)
			}
		case len(files) > 0 && id.Digest == mail.Digest{} && (id.MessageID == "" || !allEqual(files)):
			ask = append(ask, r)
		}
	}
	return ask
}

// mayHaveSize tells whether the message of a file may have the size of r.
func (t *tying) mayHaveSize(r *Item) bool {
	return t.sizes[r.Message.Size] || slices.ContainsFunc(t.followed, func(l *Item) bool { return mayHaveAdded(l, r) })
}

// strictlyUndecided tells whether r may be one of the files, and its whole header and
// its date do not say so beyond doubt.
func (t *tying) strictlyUndecided(r *Item, files []*Item) bool {
	var alike []*Item
	sure := false
	for _, l := range files {
		if mayHaveAdded(l, r) || t.sizeOf(l, r) && (r.Identity.Header == (mail.Fingerprint{}) || l.Identity.Header == (mail.Fingerprint{}) ||
			l.Identity.Header == r.Identity.Header || t.rewritten(l, r)) {
			alike = append(alike, l)
			sure = sure || t.sameHeader(l, r)
		}
	}
	return len(alike) > 0 && (!sure || !allEqual(alike))
}

// sizeOf tells whether r has the size that l has, or had before a program added to it,
// or that the server announces for it.
func (t *tying) sizeOf(l, r *Item) bool {
	for i, size := range l.Sizes() {
		if size == r.Message.Size && (i == 0 || size != 0) { // a message may be empty
			return true
		}
	}
	return false
}

// Sizes gives the sizes that the message of a file, of which all is known, may have on the
// server: that of the file; without what a program has added to it; and the one that the server
// has told before. The last two are 0 where there is none.
func (i *Item) Sizes() [3]int64 {
	sizes := [3]int64{i.Identity.Size, i.Identity.BareSize}
	if i.Row != nil {
		sizes[2] = i.Row.RemoteSize
	}
	return sizes
}

// maxAdded is more than the fields come to that mail programs add to their own copies.
const maxAdded = 128

// mayHaveAdded tells whether r may be l, which has moved here and is gone on the server, as
// another device has put it there again, from a file to which a program had added. It is not
// asked of what has not moved: that goes from here, or is known by its size.
func mayHaveAdded(l, r *Item) bool {
	more := r.Message.Size - cmp.Or(l.Identity.BareSize, l.Identity.Size)
	return l.Followed && more > 0 && more <= maxAdded
}

// sameHeader tells whether what is known without the body leaves no doubt that both
// are one message: the whole header, trace fields and all, and the date, which a
// server keeps when it moves or copies a message (RFC 9051, 6.4.7), and which another
// version that somebody writes does not have. Where a server has rewritten what it was
// sent, its header is not the file's; then one that is gone and one that came are one if
// they have that size, which is no other's, the fingerprint and the date in common.
func (t *tying) sameHeader(l, r *Item) bool {
	if l.Row == nil || r.Identity.MessageID == "" || l.Row.Date.Unix() != r.Message.Date.Unix() || !t.sizeOf(l, r) {
		return false
	}
	return t.rewritten(l, r) || r.Identity.Header == l.Identity.Header && r.Identity.Header != (mail.Fingerprint{})
}

// rewritten tells whether r, of the same fingerprint, may be what the server has made of
// l, which is gone: that had this size there.
func (t *tying) rewritten(l, r *Item) bool {
	return t.moves && l.Row != nil && l.Row.RemoteSize != 0 && r.Message.Size == l.Row.RemoteSize &&
		r.Identity.Fingerprint == l.Identity.Fingerprint
}

// doubtful are the messages that are left, and of which a file that is left may be a
// copy though the server announces another size: their bytes tell.
func (t *tying) doubtful(remotes []*Item) []*Item {
	var ask []*Item
	for _, r := range remotes {
		fp := r.Identity.Fingerprint
		if r.Identity.Digest == (mail.Digest{}) && len(t.files[fp]) > 0 && slices.Contains(t.messages[fp], r) {
			ask = append(ask, r)
		}
	}
	return ask
}

// pass ties the files and messages that are one by that rule.
func (t *tying) pass(locals []*Item, one func(l, r *Item) bool) {
	for _, l := range locals {
		fp := l.Identity.Fingerprint
		file := slices.Index(t.files[fp], l)
		if file < 0 {
			continue // tied before
		}
		i := slices.IndexFunc(t.messages[fp], func(r *Item) bool { return one(l, r) })
		if i < 0 {
			continue
		}
		t.ties = append(t.ties, Tie{l, t.messages[fp][i]})
		t.messages[fp] = slices.Delete(t.messages[fp], i, i+1)
		t.files[fp] = slices.Delete(t.files[fp], file, file+1)
	}
}

// same tells whether the message has the bytes of the file, or those that base knows
// the server to give back for it.
func (t *tying) same(l, r *Item) bool {
	if r.Identity.Digest != (mail.Digest{}) {
		return r.Identity.Content() == l.Identity.Content() || l.Row != nil && r.Identity.Digest == l.Row.RemoteDigest
	}
	if t.strict {
		return t.sameHeader(l, r) || t.known[r] != mail.Digest{} && t.known[r] == l.Identity.Content()
	}
	return t.sizeOf(l, r)
}

// recognise notes the content of the messages that are one of the files beyond doubt: it
// may as well be another file of that content, whose date is not the message's, that
// has gone there.
func (t *tying) recognise(messages []*Item) {
	t.known = map[*Item]mail.Digest{}
	for _, r := range messages {
		for _, l := range t.files[r.Identity.Fingerprint] {
			if t.sameHeader(l, r) {
				t.known[r] = l.Identity.Content()
			}
		}
	}
}

// underWay tells whether the message can be what became of the file in an upload that
// was interrupted, or whose UID the server does not tell: it has the file's time, which an
// upload gives it, or the date that it had before it moved. By its Message-ID alone
// another version of it, which somebody else has saved meanwhile, would be taken for it;
// but not where the server has said that it took it, though it gave it another date.
func (t *tying) underWay(l, r *Item) bool {
	intent, open := t.intents[l.Key()]
	return open && r.Message.UID >= intent.UIDNext &&
		(fileMoment(l) == messageMoment(r) || l.Row != nil && l.Row.Date.Unix() == r.Message.Date.Unix() ||
			intent.Done && l.Identity.MessageID != "")
}

// sameDate tells whether the message is the file as a server gives it back that has
// rewritten it: they have the fields of the fingerprint in common, and INTERNALDATE is
// the file's time, since mailtwin and its like make them the same in both directions,
// and whoever writes another version of a message does so at another time. Where
// several that differ have all that in common, it is not told.
func (t *tying) sameDate(l, r *Item) bool {
	at := fileMoment(l)
	return l.Row == nil && l.Stat.ModTime != 0 && l.Identity.Fingerprint != noFields &&
		at == messageMoment(r) && t.digests[at] != mail.Digest{} && t.lengths[at] != 0
}

// noFields is the fingerprint of all messages that have none of its fields.
var noFields, _ = mail.FingerprintOf(nil)

func allEqual(items []*Item) bool {
	for _, i := range items {
		if i.Identity.Content() != items[0].Identity.Content() {
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
	if t.Remote.Identity.Digest != t.Local.Identity.Digest {
		joined.Given = t.Remote.Identity.Digest
	}
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
	places := map[mail.Digest][]*Item{}
	arrived = slices.Clone(arrived)
	slices.SortFunc(arrived, order)
	for _, a := range arrived {
		c := a.Identity.Content()
		places[c] = append(places[c], a)
	}
	gone = slices.Clone(gone)
	slices.SortFunc(gone, order)
	// What had not landed for sure may never have had a file here that somebody could have moved.
	slices.SortStableFunc(gone, func(a, b *Item) int { return landing(a) - landing(b) })
	renamed := map[*Item]bool{}
	near := func(g, a *Item) bool { return a.Folder == g.Folder }
	exact := func(g, a *Item) bool { return a.Identity.Digest == g.Row.Digest }
	same := func(g, a *Item) bool { // the file itself, under another name
		return a.Stat.Inode != 0 && a.Stat.Inode == g.Row.Stat.Inode && a.Stat.Dev == g.Row.Stat.Dev
	}
	alike := func(g, a *Item) bool { return !g.there() && a.Remote == New } // it has moved on both sides
	// What is still on the server comes first: a message that is gone there needs no file.
	// And a file without a message comes before one that has one, and needs no other. Then
	// the very file that has left, since others are copies of it; then the nearest place, and
	// there what has the same bytes: twins in two folders do not change places; then the place
	// where the message is as well, of one that is gone on both sides.
	for _, round := range []struct{ there, tied bool }{{true, false}, {true, true}, {false, true}} {
		for _, fits := range []func(g, a *Item) bool{
			same, func(g, a *Item) bool { return near(g, a) && exact(g, a) }, near, alike, exact,
			func(g, a *Item) bool { return true },
		} {
			for _, g := range gone {
				c := g.Row.Content()
				i := slices.IndexFunc(places[c], func(a *Item) bool { return (round.tied || a.Remote != New) && fits(g, a) })
				if g.there() != round.there || g.Moved != nil || renamed[g] || i < 0 || c == (mail.Digest{}) {
					continue
				}
				a := places[c][i]
				places[c] = slices.Delete(slices.Clone(places[c]), i, i+1)
				if near(g, a) && a.Remote != New {
					rename(g, a, letters(g.Folder))
					renamed[g], renamed[a] = true, true
					continue
				}
				g.Moved, a.From, a.Source = a, g, g // a copy, where it cannot be moved
				a.relabel(g, letters)
			}
		}
	}
	for _, a := range arrived {
		if !renamed[a] {
			left = append(left, a)
		}
	}
	return left
}

// landing is 1 of a message whose file may not have come to its place, and 0 of all others.
func landing(i *Item) int {
	if i.Row.State == mail.Landing {
		return 1
	}
	return 0
}

// rename makes an item whose file has another key whole again.
func rename(i, file *Item, letters mail.Letters) {
	row := *i.Row
	row.TakeFile(file.Identity)              // a program may have added something
	row.Key = cmp.Or(row.Key, file.File.Key) // if another message had taken its name
	i.Row = &row
	i.File, i.Stat, i.Identity, i.Local = file.File, file.Stat, file.Identity, Same
	i.File.Flags = FlagsOf(file.File, i.Row.Flags, letters)
	if !i.File.Flags.Equal(i.Row.Flags) {
		i.Local = Flags
	}
}

// relabel reads the file of a moved or copied message as the folder that it came from
// would, if its letters are from there. What its name cannot say yet, for want of a
// letter here, it is to say.
func (i *Item) relabel(from *Item, letters func(mail.Folder) mail.Letters) {
	if i.Folder == from.Folder {
		return
	}
	words, ok := carried(i.File, from.Row.Flags, letters(from.Folder), letters(i.Folder))
	if !ok {
		words = FlagsOf(i.File, from.Row.Flags, letters(i.Folder)).Keywords
		ok = !words.Equal(i.File.Flags.Keywords)
	}
	if ok {
		i.File.Flags.Keywords, i.Relabel = words, true
	}
}

// MoveNew finds the messages that are gone on the server in one folder, and new in
// another, one to one, as TieNew finds those that are new on both sides; but what
// stands in another folder must be known better to be the same. The gone ones come
// with the identity of their rows, and with the Header that their files have; the new
// ones with what is known. Those that the server says are one need no more. Of several gone
// ones that are alike those come first of which something was changed here: that goes along, and
// one that was moved would be kept, so that the message would be there twice.
func MoveNew(gone, arrived []*Item) Pairs {
	gone, arrived = slices.Clone(gone), slices.Clone(arrived)
	slices.SortFunc(gone, func(a, b *Item) int { return cmp.Or(a.untouched()-b.untouched(), order(a, b)) })
	slices.SortFunc(arrived, order)
	ties, gone, arrived := tieByEmailID(gone, arrived)
	t := newTying(gone, arrived, nil, false, true)
	t.moves = true
	if ask := t.undecided(arrived); len(ask) > 0 {
		return Pairs{Ask: ask}
	}
	t.recognise(arrived)
	t.pass(gone, t.sameHeader) // the surest first
	t.pass(gone, t.same)
	return Pairs{Ties: append(ties, t.ties...)}
}

// untouched is the higher the less was done here about the item's file.
func (i *Item) untouched() int {
	switch {
	case i.Followed:
		return 0
	case i.Local == Flags:
		return 1
	}
	return 2
}
