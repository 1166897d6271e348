package history

import (
	"slices"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// What somebody does on the server, with a program that knows nothing of any Maildir.

// onPhone: somebody does something to a message on the server.
func (w *world) onPhone() {
	folders := w.server.Folders()
	folder := pick(w.r, folders)
	messages := w.server.Messages(folder)
	if w.first() != nil && !w.chance(3) {
		for _, at := range folders {
			others := func(m sim.Message) bool { return w.tokenIn(m.Raw) != w.first() }
			if of := slices.DeleteFunc(w.server.Messages(at), others); len(of) > 0 && (at != trash || w.chance(4)) {
				folder, messages = at, of
				if w.chance(2) {
					break
				}
			}
		}
	}
	if len(messages) == 0 {
		return
	}
	m := pick(w.r, messages)
	t := w.tokenIn(m.Raw)
	if t == nil {
		return
	}
	to := pick(w.r, folders)
	switch w.r.IntN(8) {
	case 0, 1, 2:
		f := pick(w.r, someFlags)
		if w.chance(8) {
			f.System |= mail.Deleted
			w.mayPurge(t, "T")
		}
		w.note("phone: %s in %s gets %v", t.name, folder, f)
		w.flaggedThere(t, m.Flags, f)
		w.server.SetFlags(folder, m.UID, f)
	case 3:
		w.note("phone: %s is removed from %s", t.name, folder)
		w.expunge(folder, m.UID, t)
	case 4, 5, 6:
		w.movesThere(t, folder, m, to)
	case 7:
		w.note("phone: %s is copied from %s to %s", t.name, folder, to)
		w.copies(t, nil, folder, to)
		w.server.Copy(folder, m.UID, to)
	}
}

// movesThere: the phone moves a message.
func (w *world) movesThere(t *token, folder mail.Folder, m sim.Message, to mail.Folder) {
	if to == folder {
		return
	}
	w.note("phone: %s moves from %s to %s", t.name, folder, to)
	t.moves(folder, to)
	w.movesMeanwhile(t)
	t.removed = t.removed || to == trash
	w.leaves(folder, mail.UIDs(m.UID))
	h := &half{token: t, from: folder, to: to, uid: m.UID, validity: w.server.Status(folder).UIDValidity, flags: m.Flags, asked: w.now}
	switch {
	case w.history.Setup.Halves:
		w.halves = append(w.halves, h)
		w.server.Copy(folder, m.UID, to)
	case w.history.Setup.Slow:
		w.halves = append(w.halves, h)
	default:
		if w.copied[place{folder, m.UID}] != nil {
			t.copies++ // a device that moves it was kept from removing it
		}
		w.server.Move(folder, m.UID, to)
	}
}

// half is a move that others see as a copy until it ends.
type half struct {
	*token
	from, to mail.Folder
	uid      mail.UID
	validity uint32
	flags    mail.Flags // that it has when it has moved
	asked    time.Time
	seen     bool // where it goes
}

// endHalves ends the moves of which that says so.
func (w *world) endHalves(ends func(h *half) bool) {
	w.halves = slices.DeleteFunc(w.halves, func(h *half) bool {
		if !ends(h) {
			return false
		}
		w.note("phone: %s is in %s no longer", h.name, h.from)
		w.movesMeanwhile(h.token)
		w.noteOutrun(h)
		if w.history.Setup.Slow {
			w.endSlow(h)
			return true
		}
		switch {
		case w.server.Status(h.from).UIDValidity != h.validity:
			h.copies++ // it has another UID, which the phone does not know: it stays
		case w.server.Expunge(h.from, h.uid) != nil:
			h.copies++ // somebody else was quicker, and has moved it elsewhere
		case w.copied[place{h.from, h.uid}] != nil:
			h.copies++ // or is slower: it is no error that there is nothing left to expunge
		}
		if h.seen {
			w.hit("phone's move", "seen halfway")
		}
		return true
	})
}

// endSlow moves a message with the flags that it had when the phone asked for it, if it is there
// still.
func (w *world) endSlow(h *half) {
	if w.server.Status(h.from).UIDValidity != h.validity {
		return
	}
	if w.copied[place{h.from, h.uid}] != nil {
		h.copies++
	}
	w.leaves(h.from, mail.UIDs(h.uid))
	if moved := w.server.Move(h.from, h.uid, h.to); moved != 0 {
		w.must(w.server.SetFlags(h.to, moved, h.flags))
	}
}

func all(*half) bool { return true }
