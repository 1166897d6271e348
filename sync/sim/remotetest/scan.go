package remotetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"mailtwin/conflict/mail"
)

var scanTests = []test{
	{"an empty folder", func(a *account) {
		a.phone.CreateFolder(folder)
		found, view := a.first(folder)
		if len(found) != 0 || view.Cursor.Messages != 0 || view.Cursor.UIDValidity == 0 {
			a.Errorf("visited %v, view %+v", uidsOf(found), view)
		}
		if view.Restarted || !view.Full {
			a.Errorf("a first scan is full and no restart: %+v", view)
		}
		if view.ReadOnly {
			a.Error("a folder of one's own is said to be read-only")
		}
	}},
	{"the first scan visits all messages with their flags", func(a *account) {
		a.phone.CreateFolder(folder)
		_, empty := a.first(folder)
		all := []mail.Flags{
			{},
			{System: mail.Seen},
			{System: mail.Draft | mail.Flagged | mail.Answered | mail.Seen | mail.Deleted},
		}
		if empty.NewKeywords {
			all = append(all,
				mail.Flags{System: mail.Forwarded},
				mail.Flags{System: mail.Seen, Keywords: mail.NewKeywords("$Junk", "work")})
		}
		want := make(map[mail.UID]mail.Flags)
		for i, flags := range all {
			want[a.phone.Deliver(folder, letter(fmt.Sprint("no ", i)), flags, when)] = flags
		}
		found, view := a.first(folder)
		if !view.Full || view.Restarted || int(view.Cursor.Messages) != len(all) || len(found) != len(all) {
			a.Errorf("visited %v, view %+v", uidsOf(found), view)
		}
		for _, m := range found {
			if !m.Flags.Equal(want[m.UID]) {
				a.Errorf("UID %d has flags %v, want %v", m.UID, m.Flags, want[m.UID])
			}
			if view.Cursor.UIDNext != 0 && m.UID >= view.Cursor.UIDNext {
				a.Errorf("UID %d is not below UIDNEXT %d", m.UID, view.Cursor.UIDNext)
			}
		}
	}},
	{"nothing happened", func(a *account) {
		b := a.known("one", "two", "three")
		visited, view := b.update()
		if b.delta(view) && (len(visited) != 0 || view.Absence != mail.NothingGone) {
			a.Errorf("visited %v, view %+v", visited, view)
		}
		b.check()
	}},
	{"new messages", func(a *account) {
		b := a.known("one", "two")
		uids := a.deliver(folder, "three", "four")
		visited, view := b.update()
		if b.delta(view) && (!slices.Equal(visited, uids) || view.Absence != mail.NothingGone) {
			a.Errorf("visited %v, want %v; view %+v", visited, uids, view)
		}
		b.check()
	}},
	{"flags set and taken back", func(a *account) {
		b := a.known("one", "two", "three", "four")
		a.phone.AddFlags(folder, b.uids[1], mail.Flags{System: mail.Seen | mail.Flagged})
		a.phone.AddFlags(folder, b.uids[2], mail.Flags{System: mail.Seen})
		visited, view := b.update()
		if b.delta(view) && (!slices.Equal(visited, b.uids[1:3]) || view.Absence != mail.NothingGone) {
			a.Errorf("visited %v, want %v; view %+v", visited, b.uids[1:3], view)
		}
		b.check()
		a.phone.RemoveFlags(folder, b.uids[1], mail.Flags{System: mail.Seen})
		b.update()
		b.check()
	}},
	{"keywords set and taken back", func(a *account) {
		b := a.known("one", "two")
		if _, view := a.first(folder); !view.NewKeywords {
			a.Skip("the server keeps no keywords")
		}
		a.phone.AddFlags(folder, b.uids[0], mail.Flags{System: mail.Forwarded, Keywords: "work"})
		b.update()
		b.check()
		a.phone.RemoveFlags(folder, b.uids[0], mail.Flags{Keywords: "work"})
		b.update()
		b.check()
	}},
	{"a message removed", func(a *account) {
		for _, place := range []int{0, 1, 2} {
			b := a.known("one", "two", "three")
			a.phone.Delete(folder, b.uids[place])
			_, view := b.update()
			if b.delta(view) && view.Absence != mail.ByPresent {
				a.Errorf("place %d: view %+v", place, view)
			}
			b.check()
			a.phone.DeleteFolder(folder)
		}
	}},
	{"as many messages new as removed", func(a *account) {
		// EXISTS alone would not tell.
		b := a.known("one", "two", "three")
		a.phone.Delete(folder, b.uids[0])
		a.deliver(folder, "four")
		_, view := b.update()
		if b.delta(view) && view.Absence != mail.ByPresent {
			a.Errorf("view %+v", view)
		}
		b.check()
	}},
	{"a message that came and went", func(a *account) {
		b := a.known("one", "two")
		a.phone.Delete(folder, a.deliver(folder, "three")[0])
		_, view := b.update()
		if b.delta(view) && view.Absence != mail.NothingGone {
			a.Errorf("view %+v", view)
		}
		b.check()
	}},
	{"all messages removed", func(a *account) {
		b := a.known("one", "two", "three")
		for _, uid := range b.uids {
			a.phone.Delete(folder, uid)
		}
		b.update()
		b.check()
		if len(b.messages) != 0 && !b.unsure {
			a.Errorf("base still has %v", b.messages)
		}
	}},
	{"a long history, scan after scan", func(a *account) {
		b := a.known("one", "two", "three")
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 25 {
			for range random.IntN(4) {
				b.happen(random, i)
			}
			b.update()
			b.check()
		}
	}},
	{"a folder made anew under the same name", func(a *account) {
		b := a.known("one", "two")
		a.phone.DeleteFolder(folder)
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "three")
		if a.validity(folder) == b.cursor.UIDValidity {
			// Allowed where UIDs go on (RFC 9051, 2.3.1.1).
			b.update()
			b.check()
			return
		}
		found, view := a.scan(folder, b.cursor, len(b.messages))
		if !view.Restarted || !view.Full || !slices.Equal(uidsOf(found), uids) {
			a.Errorf("visited %v, view %+v", uidsOf(found), view)
		}
	}},
	{"values that went backwards", func(a *account) {
		// The folder was restored from a backup: its UIDs below UIDNEXT may be other
		// messages than they were.
		b := a.known("one", "two")
		if b.cursor.UIDNext == 0 {
			a.Skip("the server tells no UIDNEXT")
		}
		later := []mail.Cursor{b.cursor, b.cursor, b.cursor}
		later[0].UIDValidity++
		later[1].UIDNext += 5
		later[2].HighestModSeq += 5000
		for i, since := range later {
			if i == 2 && b.cursor.HighestModSeq == 0 {
				continue
			}
			found, view := a.scan(folder, since, 2)
			if !view.Restarted || !slices.Equal(uidsOf(found), b.uids) || view.Cursor != b.cursor {
				a.Errorf("since %+v: visited %v, view %+v", since, uidsOf(found), view)
			}
		}
	}},
	{"the error of a visit ends the scan", func(a *account) {
		b := a.known("one", "two", "three")
		enough := errors.New("enough")
		visits := 0
		_, err := a.remote.Scan(a.ctx, folder, mail.Cursor{}, 0, func(mail.Message) error {
			visits++
			return enough
		})
		a.wantErr("scan", err, enough)
		if visits != 1 {
			a.Errorf("%d visits after an error", visits)
		}
		b.update()
		b.check()
	}},
	{"a cancelled scan", func(a *account) {
		b := a.known("one")
		ctx, cancel := context.WithCancel(a.ctx)
		cancel()
		_, err := a.remote.Scan(ctx, folder, mail.Cursor{}, 0, func(mail.Message) error { return nil })
		a.wantErr("scan", err, context.Canceled)
		b.update()
		b.check()
	}},
}

// base is what a reader that knows scans only believes to be in the folder.
type base struct {
	*account
	uids     []mail.UID // that it began with
	messages map[mail.UID]mail.Flags
	cursor   mail.Cursor
	unsure   bool // the server's listings prove no absence
}

// known fills the folder, and gives a base that has read it.
func (a *account) known(subjects ...string) *base {
	a.Helper()
	a.phone.CreateFolder(folder)
	b := &base{account: a, messages: make(map[mail.UID]mail.Flags)}
	b.uids = a.deliver(folder, subjects...)
	b.update()
	b.check()
	return b
}

// update scans since the last time, and gives what was visited.
func (b *base) update() ([]mail.UID, mail.View) {
	b.Helper()
	below := 0
	for uid := range b.messages {
		if uid < b.cursor.UIDNext {
			below++
		}
	}
	found, view := b.scan(folder, b.cursor, below)
	if view.Restarted {
		b.Fatalf("since %+v: restarted: %+v", b.cursor, view)
	}
	for _, m := range found {
		b.messages[m.UID] = m.Flags
	}
	switch view.Absence {
	case mail.ByPresent:
		for uid := range b.messages {
			if !view.Present.Has(uid) {
				delete(b.messages, uid)
			}
		}
	case mail.AbsenceUnknown:
		b.unsure = true
	}
	b.cursor = view.Cursor
	return uidsOf(found), view
}

// delta tells whether a scan could ask for changes alone, and say what is gone.
func (b *base) delta(view mail.View) bool {
	b.Helper()
	if b.unsure {
		b.Log("the server's listings prove nothing about absence")
		return false
	}
	if b.cursor.HighestModSeq == 0 {
		b.Log("no CONDSTORE: all flags are read")
		return false
	}
	if view.Full {
		b.Errorf("all messages were read, though the server has mod-sequences: %+v", view)
	}
	return !view.Full
}

// check compares with what the phone sees.
func (b *base) check() {
	b.Helper()
	want := b.phone.Messages(folder)
	if len(want) != len(b.messages) && !b.unsure {
		b.Errorf("base has %d messages, the folder %d", len(b.messages), len(want))
	}
	for _, m := range want {
		flags, ok := b.messages[m.UID]
		if !ok {
			b.Errorf("base lacks UID %d", m.UID)
		} else if !flags.Equal(m.Flags) {
			b.Errorf("UID %d: base has flags %v, the folder %v", m.UID, flags, m.Flags)
		}
	}
	if b.Failed() {
		b.FailNow()
	}
}

// happen lets the phone do something.
func (b *base) happen(random *rand.Rand, round int) {
	b.Helper()
	all := b.phone.Messages(folder)
	if len(all) == 0 || random.IntN(3) == 0 {
		b.deliver(folder, fmt.Sprintf("round %d, %d", round, random.Uint32()))
		return
	}
	uid := all[random.IntN(len(all))].UID
	flags := mail.Flags{System: 1 << random.IntN(4)}
	switch random.IntN(4) {
	case 0:
		b.phone.Delete(folder, uid)
	case 1:
		b.phone.RemoveFlags(folder, uid, flags)
	default:
		b.phone.AddFlags(folder, uid, flags)
	}
}
