package conflict

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"mailtwin/conflict/mail"
)

// world is one folder and a Trash in the smallest possible form: both sides as maps,
// base as rows. It carries plans out the way the engine does, but in one step each,
// so that what is tested is the decisions alone.
type world struct {
	local  map[mail.Folder]map[mail.Key]message
	remote map[mail.Folder]map[mail.UID]message
	base   map[mail.RowID]*mail.Row
	folder map[mail.FolderID]mail.Folder
	policy Policy
	allow  bool
	nextID int
}

type message struct {
	content int
	flags   mail.Flags
}

const (
	inbox = mail.Inbox
	bin   = mail.Folder("Trash")
)

// anything is what a good server lets one do.
var anything = mail.Access{Settable: mail.Flags{System: 63}, NewKeywords: true}

func newWorld(p Policy) *world {
	return &world{
		local:  map[mail.Folder]map[mail.Key]message{inbox: {}, bin: {}},
		remote: map[mail.Folder]map[mail.UID]message{inbox: {}, bin: {}},
		base:   map[mail.RowID]*mail.Row{},
		folder: map[mail.FolderID]mail.Folder{1: inbox, 2: bin},
		policy: p, allow: true,
	}
}

func idOf(f mail.Folder) mail.FolderID {
	if f == bin {
		return 2
	}
	return 1
}

func identity(content int) mail.Identity {
	var id mail.Identity
	id.Size = int64(1000 + content%3) // sizes collide
	id.Digest[0], id.Digest[1] = byte(content), 1
	id.Fingerprint[0], id.Fingerprint[1] = byte(content/2), 1 // and so do fingerprints
	id.Header = id.Fingerprint                                // and headers
	id.MessageID = fmt.Sprintf("<%d@example.org>", content)
	return id
}

// dateOf is when a message arrived: versions of one do not arrive at one time.
func dateOf(content int) time.Time { return time.Unix(int64(content), 0) }

func (w *world) next() int { w.nextID++; return w.nextID }

func (w *world) addLocal(f mail.Folder, m message) mail.Key {
	key := mail.Key(fmt.Sprintf("k%06d", w.next()))
	w.local[f][key] = m
	return key
}

func (w *world) addRemote(f mail.Folder, m message) mail.UID {
	uid := mail.UID(w.next())
	w.remote[f][uid] = m
	return uid
}

// sync makes one round: diff, pair, decide, carry out. It gives the plan.
func (w *world) sync() Plan {
	rows := map[mail.RowID]*Item{}
	row := func(f mail.Folder, r mail.Row) *Item {
		if rows[r.ID] == nil {
			rows[r.ID] = &Item{Folder: f, Row: &r}
		}
		return rows[r.ID]
	}
	var items, gone, arrived, newThere []*Item
	for f := range w.local {
		var newLocal, newRemote []*Item
		for c, err := range DiffLocal(knownOf(w.rows(f, true)), w.files(f), mail.Letters{}) {
			must(err)
			if c.Change == New {
				newLocal = append(newLocal, &Item{Folder: f, Local: New, File: c.File, Identity: identity(w.local[f][c.File.Key].content)})
				continue
			}
			i := row(f, *w.base[c.Known.ID])
			i.Local, i.File = c.Change, c.File
			i.File.Flags = c.Flags
		}
		for c, err := range DiffRemote(w.rows(f, false), w.messages(f), true) {
			must(err)
			if c.Change == New {
				newRemote = append(newRemote, &Item{Folder: f, Remote: New, Message: c.Message, Identity: mail.Identity{Size: c.Message.Size}})
				continue
			}
			i := row(f, *c.Row)
			i.Remote, i.Message = c.Change, c.Message
		}
		pairs := w.ask(func() Pairs { return TieNew(newLocal, newRemote, nil, false) })
		tied := map[*Item]bool{}
		for _, t := range pairs.Ties {
			tied[t.Local], tied[t.Remote] = true, true
			arrived = append(arrived, t.Join())
		}
		for _, i := range slices.Concat(newLocal, newRemote) {
			if tied[i] {
				continue
			}
			if i.Local == New {
				arrived = append(arrived, i)
			} else {
				newThere = append(newThere, i)
			}
		}
	}
	for _, r := range w.base {
		if r.State == mail.Held || r.State == mail.Pending {
			row(w.folder[r.Folder], *r).Due = true
		}
	}
	for _, i := range rows {
		items = append(items, i)
		if i.Local == Gone {
			gone = append(gone, i)
		}
	}
	noLetters := func(mail.Folder) mail.Letters { return mail.Letters{} }
	arrived = MarkMoved(gone, arrived, noLetters)
	taken := FollowMoved(gone, idOf)
	arrived = slices.DeleteFunc(arrived, func(i *Item) bool { return slices.Contains(taken, i) })
	var known []*Item
	for _, id := range slices.Sorted(maps.Keys(w.base)) {
		r := *w.base[id]
		if rows[id] != nil {
			known = append(known, rows[id])
		} else {
			known = append(known, &Item{Folder: w.folder[r.Folder], Row: &r})
		}
	}
	for _, i := range arrived {
		if i.Remote != New && i.From == nil {
			MarkCopied(i, known, noLetters)
		}
	}
	for _, i := range gone {
		for _, other := range known {
			if i.Local == Gone && i.Moved == nil && other.Row.CopyOf == i.Row.ID && other.StandsFor(i) {
				i.Moved = other
			}
		}
	}
	var goneThere, vanished []*Item
	for _, i := range rows {
		switch {
		case i.Lonely() && i.Remote == Gone:
			i.Identity = i.Row.Identity
			goneThere = append(goneThere, i)
		case i.Vanished() && i.Moved == nil:
			i.Identity = i.Row.Identity
			i.Identity.Header = mail.Fingerprint{} // there is no file to learn it from
			vanished = append(vanished, i)
		}
	}
	drop := func(m *Item) { newThere = slices.DeleteFunc(newThere, func(i *Item) bool { return i == m }) }
	for _, t := range w.ask(func() Pairs { return MoveNew(goneThere, newThere) }).Ties {
		if t.Local.Folder == t.Remote.Folder {
			*t.Local = *t.Join()
			drop(t.Remote)
			continue
		}
		t.Local.Moved, t.Remote.From = t.Remote, t.Local
	}
	inInbox := slices.DeleteFunc(slices.Clone(newThere), func(i *Item) bool { return i.Folder == bin || i.From != nil })
	for _, t := range w.ask(func() Pairs { return MoveNew(vanished, inInbox) }).Ties {
		t.Local.Follow(t.Remote, idOf(t.Remote.Folder))
		drop(t.Remote)
	}
	for _, i := range newThere {
		var files []*Item
		for _, k := range known {
			if k.Linkable() {
				k.Identity = k.Row.Identity
				files = append(files, k)
			}
		}
		if i.From == nil {
			source, asks := CopyOf(i, files)
			if asks {
				full := identity(w.remote[i.Folder][i.Message.UID].content)
				i.Identity.Fingerprint, i.Identity.MessageID, i.Identity.Header = full.Fingerprint, full.MessageID, full.Header
				source, _ = CopyOf(i, files)
			}
			i.Source = source
		}
	}
	items = slices.Concat(items, arrived, newThere)
	info := func(f mail.Folder, role mail.Role) FolderInfo {
		n := 0
		for _, r := range w.base {
			if r.Folder == idOf(f) && r.Key != "" && r.UID != 0 {
				n++
			}
		}
		return FolderInfo{Policy: w.policy, Role: role, Access: anything, Messages: n}
	}
	plan := Make(items, World{
		Folders: map[mail.Folder]FolderInfo{inbox: info(inbox, mail.RoleInbox), bin: info(bin, mail.RoleTrash)},
		Trash:   bin, CanExpunge: true, CanMove: true,
		Allow: func(mail.Folder) bool { return w.allow },
	})
	for _, last := range []bool{false, true} {
		for i := range plan.Actions {
			// Nothing leaves a side before all that is to appear has appeared.
			if _, removes := plan.Actions[i].removes(); removes == last {
				w.apply(&plan.Actions[i])
			}
		}
	}
	return plan
}

// ask pairs, and tells what it is asked for, until it has enough.
func (w *world) ask(pair func() Pairs) Pairs {
	pairs := pair()
	for tries := 0; len(pairs.Ask) > 0; tries++ {
		if tries > 2 {
			panic("pairing never has enough")
		}
		for _, q := range pairs.Ask {
			full := identity(w.remote[q.Folder][q.Message.UID].content)
			if q.Identity.Fingerprint != (mail.Fingerprint{}) && q.Identity.Header != (mail.Fingerprint{}) {
				q.Identity.Digest = full.Digest
			}
			q.Identity.Fingerprint, q.Identity.MessageID, q.Identity.Header = full.Fingerprint, full.MessageID, full.Header
		}
		pairs = pair()
	}
	return pairs
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (w *world) apply(a *Action) {
	f := a.Item.Folder
	row := &mail.Row{Folder: idOf(f), Identity: a.Item.Identity}
	if a.Item.Row != nil {
		*row = *a.Item.Row
		row.Key, row.UID = a.Item.Key(), a.Item.UID()
	} else {
		row.ID, row.UID, row.Key = mail.RowID(w.next()), a.Item.Message.UID, a.Item.File.Key
		row.Date = a.Item.Message.Date
	}
	settle := func(state mail.State) {
		row.State, row.Flags, row.Name = state, a.Flags, string(row.Key)
		if a.Kind == Agree {
			row.Flags = a.Base
		}
		w.base[row.ID] = row
	}
	switch a.Kind {
	case Agree:
		l, r := w.local[f][row.Key], w.remote[f][row.UID]
		if l.content != r.content {
			panic("tied two different messages")
		}
		l.flags = a.Flags
		r.flags = r.flags.With(a.Add).Without(a.Remove)
		w.local[f][row.Key], w.remote[f][row.UID] = l, r
		settle(mail.Settled)
	case Download:
		m := w.remote[f][row.UID]
		row.Identity, row.Key = identity(m.content), w.addLocal(f, message{m.content, a.Flags})
		settle(mail.Settled)
	case Upload:
		m := w.local[f][row.Key]
		row.Identity, row.UID, row.Date = identity(m.content), w.addRemote(f, message{m.content, a.Flags}), dateOf(m.content)
		settle(mail.Settled)
	case CopyRemote:
		source := a.Item.Source
		m := w.remote[source.Folder][source.UID()]
		if m.content != w.local[f][row.Key].content {
			panic("copied another message than the file")
		}
		row.Identity, row.UID, row.Date = identity(m.content), w.addRemote(f, m), dateOf(m.content)
		row.CopyOf = source.Row.ID
		settle(mail.Settled)
		row.Flags = a.Base
	case Link:
		source := a.Item.Source
		m, there := w.local[source.Folder][source.Key()]
		if !there {
			return // it has moved on: the next round links it
		}
		if m.content != w.remote[f][row.UID].content {
			panic("linked another file than the message")
		}
		row.Identity, row.Key = identity(m.content), w.addLocal(f, message{m.content, a.Flags})
		settle(mail.Settled)
	case MoveRemote:
		from := a.Item.From
		moved := *from.Row
		m := w.remote[from.Folder][moved.UID]
		if m.content != w.local[f][a.Item.File.Key].content {
			panic("moved another message than the file")
		}
		delete(w.remote[from.Folder], moved.UID)
		moved.Folder, moved.UID, moved.Key = idOf(f), w.addRemote(f, m), a.Item.File.Key
		moved.Name, moved.State, moved.Flags = string(moved.Key), mail.Settled, a.Base
		w.base[moved.ID] = &moved
	case MoveLocal:
		from := a.Item.From
		moved := *from.Row
		m := w.local[from.Folder][from.Key()]
		if m.content != w.remote[f][a.Item.Message.UID].content {
			panic("moved another file than the message")
		}
		delete(w.local[from.Folder], from.Key())
		moved.Folder, moved.UID, moved.Key = idOf(f), a.Item.Message.UID, w.addLocal(f, message{m.content, a.Flags})
		moved.Name, moved.State, moved.Flags = string(moved.Key), mail.Settled, a.Base
		w.base[moved.ID] = &moved
	case RemoveLocal:
		delete(w.local[f], row.Key)
		delete(w.base, row.ID)
	case MoveToTrash:
		w.addRemote(a.Target, w.remote[f][row.UID])
		delete(w.remote[f], row.UID)
		delete(w.base, row.ID)
	case ExpungeRemote:
		delete(w.remote[f], row.UID)
		delete(w.local[f], row.Key)
		delete(w.base, row.ID)
	case Part:
		if a.Gone == mail.Local {
			row.Key = ""
		} else {
			row.UID = 0
		}
		settle(mail.Parted)
	case Note:
		settle(row.State)
	case Hold:
		row.Gone = a.Gone
		settle(mail.Held)
	case Drop:
		delete(w.base, row.ID)
	default:
		panic("unknown action " + a.Kind.String())
	}
}

func (w *world) rows(f mail.Folder, byKey bool) iter.Seq2[mail.Row, error] {
	var rows []mail.Row
	for _, r := range w.base {
		if r.Folder == idOf(f) && (byKey && r.Key != "" || !byKey && r.UID != 0) {
			rows = append(rows, *r)
		}
	}
	slices.SortFunc(rows, func(a, b mail.Row) int {
		if byKey {
			return cmp.Compare(a.Key, b.Key)
		}
		return cmp.Compare(a.UID, b.UID)
	})
	return func(yield func(mail.Row, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (w *world) files(f mail.Folder) iter.Seq[mail.File] {
	return func(yield func(mail.File) bool) {
		for _, k := range slices.Sorted(maps.Keys(w.local[f])) {
			if !yield(mail.File{Key: k, Name: string(k), Flags: w.local[f][k].flags}) {
				return
			}
		}
	}
}

func (w *world) messages(f mail.Folder) iter.Seq2[mail.Message, error] {
	return func(yield func(mail.Message, error) bool) {
		for _, u := range slices.Sorted(maps.Keys(w.remote[f])) {
			m := w.remote[f][u]
			if !yield(mail.Message{UID: u, Flags: m.flags, Size: identity(m.content).Size, Date: dateOf(m.content)}, nil) {
				return
			}
		}
	}
}

// contents gives how often each content is in a folder, on each side.
func (w *world) contents(f mail.Folder) (local, remote map[string]int) {
	local, remote = map[string]int{}, map[string]int{}
	for _, m := range w.local[f] {
		local[fmt.Sprint(m.content, " ", m.flags)]++
	}
	for _, m := range w.remote[f] {
		remote[fmt.Sprint(m.content, " ", m.flags)]++
	}
	return local, remote
}

func (w *world) everywhere() map[int]int {
	n := map[int]int{}
	for _, f := range w.local {
		for _, m := range f {
			n[m.content]++
		}
	}
	for _, f := range w.remote {
		for _, m := range f {
			n[m.content]++
		}
	}
	return n
}

// knownOf gives what rows say of their files.
func knownOf(rows iter.Seq2[mail.Row, error]) iter.Seq2[mail.Known, error] {
	return func(yield func(mail.Known, error) bool) {
		for r, err := range rows {
			if !yield(r.Known(), err) {
				return
			}
		}
	}
}
