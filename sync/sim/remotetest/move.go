package remotetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"mailtwin/conflict/mail"
)

var moveTests = []test{
	{"a move takes one message along with its flags and date", func(a *account) {
		move, uids, validity := a.transfer(true)
		uid := a.arrived(move(validity, uids[1]))
		a.same(a.message(elsewhere, uid), letter("two"), mail.Flags{System: mail.Flagged | mail.Seen}, when)
		a.holds(folder, uids[0], uids[2])
	}},
	{"a copy leaves the message where it is", func(a *account) {
		copy, uids, validity := a.transfer(false)
		uid := a.arrived(copy(validity, uids[1]))
		for _, m := range []Message{a.message(elsewhere, uid), a.message(folder, uids[1])} {
			a.same(m, letter("two"), mail.Flags{System: mail.Flagged | mail.Seen}, when)
		}
		a.holds(folder, uids...)
	}},
	{"what is gone cannot be moved", func(a *account) {
		move, uids, validity := a.transfer(true)
		a.phone.Delete(folder, uids[1])
		a.nothingMoved(move(validity, uids[1]))
		a.holds(elsewhere)
		a.holds(folder, uids[0], uids[2])
	}},
	{"what is gone cannot be copied", func(a *account) {
		copy, uids, validity := a.transfer(false)
		a.phone.Delete(folder, uids[1])
		a.nothingMoved(copy(validity, uids[1]))
		a.holds(elsewhere)
		a.holds(folder, uids[0], uids[2])
	}},
	{"a move to a folder that is not there does nothing", func(a *account) {
		move, uids, validity := a.transfer(true)
		a.phone.DeleteFolder(elsewhere)
		_, err := move(validity, uids[1])
		a.wantErr("move", err, mail.ErrGone, mail.ErrRefused)
		a.holds(folder, uids...)
	}},
	{"a copy to a folder that is not there does nothing", func(a *account) {
		copy, uids, validity := a.transfer(false)
		a.phone.DeleteFolder(elsewhere)
		_, err := copy(validity, uids[1])
		a.wantErr("copy", err, mail.ErrGone, mail.ErrRefused)
		a.holds(folder, uids...)
	}},
	{"expunge removes exactly what was named", func(a *account) {
		a.needUIDPlus()
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one", "two", "three", "four", "five")
		validity := a.validity(folder)
		// Others have marked these, and may take the mark back.
		a.phone.AddFlags(folder, uids[0], mail.Flags{System: mail.Deleted})
		a.phone.AddFlags(folder, uids[3], mail.Flags{System: mail.Deleted})
		a.phone.Delete(folder, uids[4])
		a.noErr("expunge", Expunge(a.ctx, a.remote, folder, validity, mail.UIDs(uids[1], uids[3], uids[4])))
		a.holds(folder, uids[0], uids[2])
		a.flagged(uids[0], mail.Flags{System: mail.Deleted})
		a.flagged(uids[2], mail.Flags{})
		a.noErr("expunge nothing", Expunge(a.ctx, a.remote, folder, validity, nil))
		a.holds(folder, uids[0], uids[2])
	}},
	{"a visit may look at what has become of the folder", func(a *account) {
		able := a.remote.Abilities()
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one", "two", "three", "four")
		_, before := a.first(folder)
		since, left := before.Cursor, 4
		v := &mail.Visit{Folder: folder, Validity: since.UIDValidity, Stores: []*mail.FlagChange{
			{UIDs: mail.UIDs(uids[0]), Add: mail.Flags{System: mail.Flagged}},
		}}
		if able.UIDPlus {
			v.Expunge, left = mail.UIDs(uids[2]), 3
		}
		visit := func() {
			again := *v
			again.Look = &mail.Query{Folder: folder, Since: since, Known: left}
			a.remote.Change(a.ctx, []*mail.Visit{&again})
			a.noErr("change", errors.Join(again.Stores[0].Err, again.Expunged))
		}
		visit()
		visited, view := a.scanOnce(folder, since, left)
		if len(visited) == 0 || visited[0].UID != uids[0] || visited[0].Flags.System != mail.Flagged {
			a.Errorf("it visits %+v", visited)
		}
		if view.Cursor.Messages != uint32(left) || view.Absence == mail.AbsenceUnknown && before.Absence != mail.AbsenceUnknown || view.Absence == mail.ByPresent && view.Present.Len() != left {
			a.Errorf("%d are left, and it tells %+v", left, view)
		}
		// Nor does what was told keep from anybody what is changed after it.
		raw := letter("five")
		changes := map[string]func() mail.UID{
			"appended": func() mail.UID { return a.appended(mail.Flags{}, when, raw, since.UIDValidity) },
			"copied": func() mail.UID {
				_, err := a.remote.Copy(a.ctx, folder, since.UIDValidity, uids[3], folder)
				a.noErr("copy", err)
				all := a.phone.Messages(folder)
				return all[len(all)-1].UID
			},
			"flagged": func() mail.UID {
				a.store(since.UIDValidity, uids[3:], mail.Flags{System: mail.Seen}, mail.Flags{})
				return uids[3]
			},
			"delivered, and then a run began": func() mail.UID {
				uid := a.deliver(folder, "six")[0]
				a.folders()
				return uid
			},
		}
		if able.Move {
			a.phone.CreateFolder(elsewhere)
			uid, validity := a.deliver(elsewhere, "seven")[0], a.validity(elsewhere)
			changes["moved"] = func() mail.UID {
				_, err := Move(a.ctx, a.remote, elsewhere, validity, uid, folder)
				a.noErr("move", err)
				all := a.phone.Messages(folder)
				return all[len(all)-1].UID
			}
		}
		for what, change := range changes {
			visit()
			uid := change()
			visited, _ := a.scanOnce(folder, since, left)
			if !slices.ContainsFunc(visited, func(m mail.Message) bool { return m.UID == uid }) {
				a.Errorf("%s: UID %d is not among %v", what, uid, uidsOf(visited))
			}
		}
	}},
	{"several folders are changed, each for itself", func(a *account) {
		able := a.remote.Abilities()
		var visits []*mail.Visit
		for _, name := range []mail.Folder{folder, "Test gone", elsewhere} {
			a.phone.CreateFolder(name)
			uids := a.deliver(name, "one", "two", "three", "four")
			v := &mail.Visit{Folder: name, Validity: a.validity(name), Stores: []*mail.FlagChange{
				{UIDs: mail.UIDs(uids[0], uids[1]), Add: mail.Flags{System: mail.Flagged}},
				{UIDs: mail.UIDs(uids[1]), Add: mail.Flags{System: mail.Seen}},
			}}
			if able.UIDPlus {
				v.Expunge = mail.UIDs(uids[2])
			}
			if able.Move {
				v.Moves = []*mail.Moving{{UID: uids[3], To: mail.Inbox}}
			}
			visits = append(visits, v)
		}
		a.phone.DeleteFolder("Test gone")
		a.remote.Change(a.ctx, visits)
		for _, v := range visits {
			all := []error{v.Stores[0].Err, v.Stores[1].Err}
			if able.UIDPlus {
				all = append(all, v.Expunged)
			}
			for _, m := range v.Moves {
				all = append(all, m.Err)
			}
			for _, err := range all {
				if v.Folder == "Test gone" {
					a.wantErr("change a folder that is gone", err, mail.ErrGone, mail.ErrRefused, mail.ErrRestarted)
				} else {
					a.noErr("change "+string(v.Folder), err)
				}
			}
			if v.Folder == "Test gone" {
				continue
			}
			found := a.phone.Messages(v.Folder)
			if left := 4 - len(v.Expunge) - len(v.Moves); len(found) != left {
				a.Fatalf("%q has %d messages, want %d", v.Folder, len(found), left)
			}
			for i, want := range []mail.Flags{{System: mail.Flagged}, {System: mail.Flagged | mail.Seen}} {
				a.same(found[i], letter([]string{"one", "two"}[i]), want, when)
			}
		}
		moved := map[mail.UID]bool{}
		for _, m := range a.phone.Messages(mail.Inbox) {
			moved[m.UID] = true
		}
		for _, v := range visits {
			for _, m := range v.Moves {
				if v.Folder != "Test gone" && able.UIDPlus && !moved[m.There] {
					a.Errorf("%q: told is UID %d, INBOX has %v", v.Folder, m.There, moved)
				}
			}
		}
	}},
	{"reading and leaving a folder expunges nothing", func(a *account) {
		// RFC 4549, 4.2.5: CLOSE would.
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one", "two")
		a.phone.AddFlags(folder, uids[0], mail.Flags{System: mail.Deleted})
		a.fetched(mail.UIDs(uids...), 2)
		a.store(a.validity(folder), uids[1:], mail.Flags{System: mail.Seen}, mail.Flags{})
		a.first(mail.Inbox)
		a.folders()
		a.holds(folder, uids...)
	}},
}

var errorTests = []test{
	{"nothing is done under another UIDVALIDITY", func(a *account) {
		b := a.known("one", "two")
		a.phone.CreateFolder(elsewhere)
		wrong := b.cursor.UIDValidity + 1
		uids := mail.UIDs(b.uids...)
		able := a.remote.Abilities()
		calls := []struct {
			name string
			able bool
			do   func() error
		}{
			{"identify", true, func() error { _, err := a.remote.Identify(a.ctx, folder, wrong, uids, mail.Sizes); return err }},
			{"fetch", true, func() error {
				return Fetch(a.ctx, a.remote, folder, wrong, uids, func(mail.Body) error {
					a.Error("a body was visited")
					return nil
				})
			}},
			{"store", true, func() error {
				return Store(a.ctx, a.remote, folder, wrong, uids, mail.Flags{System: mail.Seen}, mail.Flags{}, nil)
			}},
			{"copy", true, func() error { _, err := a.remote.Copy(a.ctx, folder, wrong, b.uids[0], elsewhere); return err }},
			{"move", able.Move, func() error { _, err := Move(a.ctx, a.remote, folder, wrong, b.uids[0], elsewhere); return err }},
			{"expunge", able.UIDPlus, func() error { return Expunge(a.ctx, a.remote, folder, wrong, uids) }},
		}
		for _, c := range calls {
			if c.able {
				a.wantErr(c.name, c.do(), mail.ErrRestarted)
			}
		}
		a.holds(elsewhere)
		b.update()
		b.check()
		a.holds(folder, b.uids...)
	}},
	{"a folder that is not there", func(a *account) {
		calls := map[string]func() error{
			"scan": func() error {
				_, err := a.remote.Scan(a.ctx, folder, mail.Cursor{}, 0, func(mail.Message) error { return nil })
				return err
			},
			"identify": func() error { _, err := a.remote.Identify(a.ctx, folder, 1, mail.UIDs(1), mail.Sizes); return err },
			"fetch": func() error {
				return Fetch(a.ctx, a.remote, folder, 1, mail.UIDs(1), func(mail.Body) error { return nil })
			},
			"store": func() error {
				return Store(a.ctx, a.remote, folder, 1, mail.UIDs(1), mail.Flags{System: mail.Seen}, mail.Flags{}, nil)
			},
		}
		for name, call := range calls {
			a.wantErr(name, call(), mail.ErrGone, mail.ErrRefused)
		}
		a.folders() // the session lives on
	}},
	{"a folder that went away after it was read", func(a *account) {
		b := a.known("one")
		a.phone.DeleteFolder(folder)
		err := Store(a.ctx, a.remote, folder, b.cursor.UIDValidity, mail.UIDs(b.uids...), mail.Flags{System: mail.Seen}, mail.Flags{}, nil)
		if err != nil { // its message is gone, which is none, and not every server looks
			a.wantErr("store", err, mail.ErrGone, mail.ErrRefused, mail.ErrRestarted)
		}
		// Dovecot ends a session whose folder is deleted with a BYE, which may be
		// noticed only by the next call; then a new session must do.
		_, err = a.remote.Folders(a.ctx)
		a.noErr("list folders", err)
	}},
	{"what is cancelled does nothing", func(a *account) {
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one")
		validity := a.validity(folder)
		ctx, cancel := context.WithCancel(a.ctx)
		cancel()
		err := Append(ctx, a.remote, folder, mail.Flags{}, time.Time{}, Source(letter("two"))).Err
		a.wantErr("append", err, context.Canceled)
		err = Store(ctx, a.remote, folder, validity, mail.UIDs(uids...), mail.Flags{System: mail.Seen}, mail.Flags{}, nil)
		a.wantErr("store", err, context.Canceled)
		_, err = a.remote.Folders(ctx)
		a.wantErr("folders", err, context.Canceled)
		a.holds(folder, uids...)
		a.flagged(uids[0], mail.Flags{})
	}},
}

// transfer fills two folders, and gives what moves or copies from one to the other.
func (a *account) transfer(move bool) (do func(uint32, mail.UID) (mail.UID, error), uids []mail.UID, validity uint32) {
	a.Helper()
	if move && !a.remote.Abilities().Move {
		a.Skip("the server has no MOVE")
	}
	a.phone.CreateFolder(folder)
	a.phone.CreateFolder(elsewhere)
	uids = a.deliver(folder, "one", "two", "three")
	a.phone.AddFlags(folder, uids[1], mail.Flags{System: mail.Flagged | mail.Seen})
	validity = a.validity(folder)
	return func(validity uint32, uid mail.UID) (mail.UID, error) {
		if move {
			return Move(a.ctx, a.remote, folder, validity, uid, elsewhere)
		}
		return a.remote.Copy(a.ctx, folder, validity, uid, elsewhere)
	}, uids, validity
}

// arrived checks that one message is elsewhere, and that its UID was told.
func (a *account) arrived(uid mail.UID, err error) mail.UID {
	a.Helper()
	a.noErr("move or copy", err)
	found := a.phone.Messages(elsewhere)
	if len(found) != 1 {
		a.Fatalf("%d messages arrived", len(found))
	}
	there := found[0].UID
	// COPYUID is a SHOULD (RFC 4315, 3), so a server may keep it to itself.
	if uid != 0 && uid != there {
		a.Errorf("UID is %d, and it says %d", there, uid)
	} else if uid == 0 && a.remote.Abilities().UIDPlus {
		a.Error("the server has UIDPLUS, and no UID was told")
	}
	return there
}

// nothingMoved checks the answer where there was no message. A server without
// COPYUID says the same as if there had been one.
func (a *account) nothingMoved(uid mail.UID, err error) {
	a.Helper()
	if uid != 0 {
		a.Errorf("what is gone arrived as UID %d", uid)
	}
	if err != nil || a.remote.Abilities().UIDPlus {
		a.wantErr("move or copy", err, mail.ErrGone)
	}
}

func (a *account) needUIDPlus() {
	a.Helper()
	if !a.remote.Abilities().UIDPlus {
		a.Skip("the server has no UIDPLUS")
	}
}
