package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

const whyBehind = "removed here when the server refused a new file of the folder, which may be its new form"

// removeRemote removes messages from the server whose files were removed here.
//
// If an upload into the folder failed, in this round or before, removals wait: a mail program
// that rewrites a message makes a new file and removes the old one, and the new bytes must be
// on the server before the old ones leave it.
func (r *run) removeRemote(ctx context.Context, w *work) error {
	f := w.folder
	if len(w.remote) == 0 {
		return nil
	}
	refused, err := r.refused(ctx, f)
	if err != nil {
		return err
	}
	var ready []*conflict.Action
	wait := &mail.Batch{}
	for _, a := range w.remote {
		until := refused.until(a.Item.Row)
		switch {
		case purges(a):
			ready = append(ready, a)
		case !until.IsZero():
			row := *a.Item.Row
			row.State, row.Gone, row.Why, row.RetryAt = mail.Held, mail.Local, whyBehind, until
			wait.PutRows = append(wait.PutRows, &row)
		case w.behind, a.Item.Moved != nil && !r.safe(a.Item.Moved):
			r.leave(f)
		default:
			ready = append(ready, a)
		}
	}
	if err := r.commit(ctx, wait); err != nil {
		return err
	}
	if len(ready) == 0 {
		return nil
	}
	r.dirty(f, mail.Remote)
	var trash, expunge, mark []*conflict.Action
	for _, a := range ready {
		switch a.Kind {
		case conflict.MoveToTrash:
			trash = append(trash, a)
		case conflict.ExpungeRemote:
			expunge = append(expunge, a)
		case conflict.MarkDeleted:
			mark = append(mark, a)
		}
	}
	for _, err := range []error{
		r.moveToTrash(ctx, f, trash),
		r.expunge(ctx, f, expunge),
		r.markDeleted(ctx, f, mark),
	} {
		if errors.Is(err, mail.ErrRefused) && !ends(err) {
			r.refuse(f, err, "it is tried again in the next sync")
			for _, a := range ready {
				r.leaveEnds(a)
			}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// refused tells until when removals from a folder wait for uploads that the server has
// refused; zero: for none.
type refused struct {
	once time.Time // for those that it has refused once: what was removed since may be the old form of one
	any  time.Time // for all of them
}

// until tells how long the removal of a message waits. One that waits already does so until
// none of the uploads is left that it may be waiting for.
func (w refused) until(row *mail.Row) time.Time {
	switch {
	case row == nil:
		return time.Time{}
	case row.State == mail.Held && row.Why == whyBehind:
		return w.any
	}
	return w.once
}

func (r *run) refused(ctx context.Context, f *folder) (w refused, err error) {
	rows, err := r.State.Unsettled(ctx)
	if err != nil {
		return w, fmt.Errorf("read the state: %w", err)
	}
	for _, row := range rows {
		if row.Folder != f.base.ID || row.State != mail.Pending || row.UID != 0 {
			continue
		}
		if w.any.Before(row.RetryAt) {
			w.any = row.RetryAt
		}
		if row.Tries == 1 && w.once.Before(row.RetryAt) {
			w.once = row.RetryAt
		}
	}
	return w, nil
}

// purges tells whether a removal takes a file along, which nothing takes the place of.
func purges(a *conflict.Action) bool {
	return a.Item.Local != conflict.Gone && (a.Item.Row == nil || a.Item.Row.Key != "")
}

// safe tells whether a message that takes another one's place is on the server.
func (r *run) safe(item *conflict.Item) bool {
	return r.arrived[item] || item.Row != nil && item.Row.State == mail.Settled
}

func uidsOf(actions []*conflict.Action) mail.UIDSet {
	var set mail.UIDSet
	for _, a := range actions {
		set.Add(a.Item.UID())
	}
	return set
}

// expunge removes messages for ever, and their files, where there are any.
func (r *run) expunge(ctx context.Context, f *folder, actions []*conflict.Action) error {
	if len(actions) == 0 {
		return nil
	}
	if err := r.Remote.Expunge(ctx, f.name, r.validity(f), uidsOf(actions)); err != nil {
		return err
	}
	batch := &mail.Batch{}
	var purged []*conflict.Action
	for _, a := range actions {
		if purges(a) {
			purged = append(purged, a)
		} else {
			batch.DropRows = append(batch.DropRows, a.Item.Row.ID)
		}
	}
	r.removed(f, mail.Local, len(actions))
	if err := r.commit(ctx, batch); err != nil {
		return err
	}
	return r.removeFiles(ctx, f, purged)
}

// markDeleted marks messages \Deleted and leaves them, for want of anything better.
func (r *run) markDeleted(ctx context.Context, f *folder, actions []*conflict.Action) error {
	if len(actions) == 0 {
		return nil
	}
	deleted := mail.Flags{System: mail.Deleted}
	if err := r.Remote.Store(ctx, f.name, r.validity(f), uidsOf(actions), deleted, mail.Flags{}, nil); err != nil {
		return err
	}
	batch := &mail.Batch{}
	for _, a := range actions {
		batch.PutRows = append(batch.PutRows, partedRow(a))
	}
	r.removed(f, mail.Local, len(actions))
	r.once(f.name, `removed messages are marked \Deleted on the server and left there: it has no Trash folder, or cannot expunge single messages`)
	return r.commit(ctx, batch)
}

// partedRow is the row of a message that was marked \Deleted and stays on the server.
func partedRow(a *conflict.Action) *mail.Row {
	row := *a.Item.Row
	row.Key, row.Name, row.New, row.Stat = "", "", false, mail.Stat{}
	row.State, row.Why = mail.Parted, a.Why
	row.Flags = a.Flags.With(mail.Flags{System: mail.Deleted})
	return &row
}

// moveToTrash moves messages into the Trash folder. The intents say where they were
// about to go, so that a message that a crash left copied there and not yet expunged
// here is not copied again.
func (r *run) moveToTrash(ctx context.Context, f *folder, actions []*conflict.Action) error {
	if len(actions) == 0 {
		return nil
	}
	target := actions[0].Target
	if err := r.needTrash(ctx, target); err != nil {
		return err
	}
	abilities := r.Remote.Abilities()
	intents := &mail.Batch{}
	var mine []*mail.Intent
	for _, a := range actions {
		in := r.intentOf(mail.Move, a.Item.Row)
		if in == nil {
			status := r.onServer[target].Status
			in = &mail.Intent{
				Kind: mail.Move, Row: a.Item.Row.ID, Folder: f.base.ID, Identity: a.Item.Row.Identity,
				UIDValidity: status.UIDValidity, UIDNext: status.UIDNext, Created: r.Now().Truncate(time.Second),
			}
			if !abilities.Move {
				intents.PutIntents = append(intents.PutIntents, in)
			}
		}
		mine = append(mine, in)
	}
	if err := r.commit(ctx, intents); err != nil {
		return err
	}
	if t := r.folders[target]; t != nil {
		r.dirty(t, mail.Remote)
	}
	batch := &mail.Batch{}
	var failed error
	n := 0
	for i, err := range r.trashing(ctx, f, actions, mine, batch) {
		switch {
		case errors.Is(err, mail.ErrGone):
			r.leave(f) // somebody else removed it; the next round tells
		case err != nil:
			failed = cmp.Or(failed, fmt.Errorf("move to %q: %w", target, err))
		default:
			if mine[i].ID != 0 {
				batch.DropIntents = append(batch.DropIntents, mine[i].ID)
			}
			n++
		}
	}
	r.removed(f, mail.Local, n)
	return errors.Join(failed, r.commit(context.WithoutCancel(ctx), batch))
}

// trashing moves messages to Trash by the surest means that the server has, and tells of each
// how that went. Without MOVE it ends with the first that fails.
func (r *run) trashing(ctx context.Context, f *folder, actions []*conflict.Action, mine []*mail.Intent, batch *mail.Batch) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		if !r.Remote.Abilities().Move {
			for i, a := range actions {
				err := r.trashOne(ctx, f, a, mine[i], batch)
				if !yield(i, err) || err != nil && !errors.Is(err, mail.ErrGone) {
					return
				}
			}
			return
		}
		uids := make([]mail.UID, len(actions))
		for i, a := range actions {
			uids[i] = a.Item.UID()
		}
		for i, m := range r.Remote.Move(ctx, f.name, r.validity(f), uids, actions[0].Target) {
			if m.Err == nil {
				batch.DropRows = append(batch.DropRows, actions[i].Item.Row.ID)
			}
			if !yield(i, m.Err) {
				return
			}
		}
	}
}

// trashOne moves one message where there is no MOVE.
func (r *run) trashOne(ctx context.Context, f *folder, a *conflict.Action, in *mail.Intent, batch *mail.Batch) error {
	uid, validity := a.Item.UID(), r.validity(f)
	copied, err := r.alreadyCopied(ctx, a, in)
	if err != nil {
		return err
	}
	if !copied {
		// RFC 4549, 5.1: if COPY fails, \Deleted must not be set.
		if _, err := r.Remote.Copy(ctx, f.name, validity, uid, a.Target); err != nil {
			return err
		}
	}
	if r.Remote.Abilities().UIDPlus {
		if err := r.Remote.Expunge(ctx, f.name, validity, mail.UIDs(uid)); err != nil {
			return err
		}
		batch.DropRows = append(batch.DropRows, a.Item.Row.ID)
		return nil
	}
	if err := r.Remote.Store(ctx, f.name, validity, mail.UIDs(uid), mail.Flags{System: mail.Deleted}, mail.Flags{}, nil); err != nil {
		return err
	}
	row := partedRow(a)
	row.Why = `copied to Trash and marked \Deleted: the server cannot expunge single messages`
	batch.PutRows = append(batch.PutRows, row)
	return nil
}

// alreadyCopied tells whether an interrupted run has copied the message to Trash.
func (r *run) alreadyCopied(ctx context.Context, a *conflict.Action, in *mail.Intent) (bool, error) {
	old := r.intentOf(mail.Move, a.Item.Row)
	if old == nil || old.UIDNext == 0 {
		return false, nil
	}
	var above mail.UIDSet
	above.AddRange(mail.UIDRange{First: in.UIDNext, Last: 1<<32 - 1})
	found, err := r.Remote.Identify(ctx, a.Target, in.UIDValidity, above, mail.Sizes)
	if errors.Is(err, mail.ErrRestarted) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, id := range found {
		if id.Identity.Fingerprint == in.Identity.Fingerprint && id.Identity.Size == in.Identity.Size {
			return true, nil
		}
	}
	return false, nil
}

// intentOf finds the open intent to do something on the server about a row's message.
func (r *run) intentOf(kind mail.IntentKind, row *mail.Row) *mail.Intent {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, in := range r.intents {
		if in.Kind == kind && in.Row == row.ID && in.Key == "" {
			return &in
		}
	}
	return nil
}

// needTrash makes the Trash folder that the configuration names, if it is not there.
func (r *run) needTrash(ctx context.Context, trash mail.Folder) error {
	r.mu.Lock()
	_, there := r.onServer[trash]
	r.mu.Unlock()
	if there {
		return nil
	}
	if err := r.Remote.CreateFolder(ctx, trash); err != nil && !errors.Is(err, mail.ErrExists) {
		return fmt.Errorf("make the Trash folder %q: %w", trash, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onServer[trash] = mail.RemoteFolder{Name: trash}
	return nil
}

// removed counts removals, for the report and for the brake.
func (r *run) removed(f *folder, gone mail.Side, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.removed[gone] += n
	if gone == mail.Local {
		r.report.Remote.Removed += n
	} else {
		r.report.Local.Removed += n
		f.changed = true
	}
}

// removeLocal removes files whose messages were removed on the server.
func (r *run) removeLocal(ctx context.Context, w *work) error {
	return r.removeFiles(ctx, w.folder, w.local)
}

func (r *run) removeFiles(ctx context.Context, f *folder, actions []*conflict.Action) error {
	if len(actions) == 0 {
		return nil
	}
	r.dirty(f, mail.Local)
	if err := r.intendRemoving(ctx, actions); err != nil {
		return err
	}
	batch := &mail.Batch{}
	for _, a := range actions {
		file := fileOf(a.Item)
		err := r.Local.Remove(ctx, f.name, file)
		if errors.Is(err, mail.ErrGone) {
			// Renamed under us, or gone. The next round merges that, and has to learn once more
			// that the message is gone there.
			r.dirty(f, mail.Remote)
			r.leave(f)
			if a.Item.Followed {
				r.lookAgain(a.Item.Origin) // where base has it still
			} else if a.Item.Row != nil {
				batch.PutRows = append(batch.PutRows, a.Item.Row)
			}
			continue
		}
		if err != nil {
			return err
		}
		if a.Item.Row != nil {
			batch.DropRows = append(batch.DropRows, a.Item.Row.ID)
		}
	}
	r.removed(f, mail.Remote, len(batch.DropRows))
	if err := r.Local.SyncFolder(ctx, f.name); err != nil {
		return err
	}
	return r.commit(ctx, batch)
}

// lookAgain has both sides of a folder read in the next round.
func (r *run) lookAgain(name mail.Folder) {
	f := r.folders[name]
	r.dirty(f, mail.Local)
	r.dirty(f, mail.Remote)
	r.leave(f)
}

// intendRemoving records that files are about to go since their messages are gone. If a
// crash comes before it is recorded that they are, nothing else tells them from files that
// somebody has removed; and if the message is found meanwhile where it has moved to, it
// would be removed from there.
func (r *run) intendRemoving(ctx context.Context, actions []*conflict.Action) error {
	batch := &mail.Batch{}
	for _, a := range actions {
		if a.Item.Row == nil || a.Item.Row.State != mail.Settled || a.Item.Followed {
			continue // of one that was moved base says that it is gone on both sides
		}
		row := *a.Item.Row
		row.State, row.Gone, row.Why = mail.Held, mail.Remote, a.Why
		batch.PutRows = append(batch.PutRows, &row)
	}
	return r.commit(ctx, batch)
}
