package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

const (
	whyBehind  = "removed here when the server refused a new file of the folder, which may be its new form"
	whyDamaged = "removed here when a new file of the folder could not be read, which may be its new form"
)

// remove adds to a visit the removals from a folder of the server, of messages whose files were
// removed here.
//
// If an upload into the folder failed, in this round or before, removals wait: a mail program
// that rewrites a message makes a new file and removes the old one, and the new bytes must be
// on the server before the old ones leave it. So they do where a new file cannot be read.
func (r *run) remove(ctx context.Context, w *work, v *visit) error {
	f := w.folder
	if len(w.remote) == 0 {
		return nil
	}
	refused, err := r.refused(ctx, f)
	if err != nil {
		return err
	}
	wait := &mail.Batch{}
	for _, a := range w.remote {
		until, why := refused.until(a.Item.Row), whyBehind
		// What is damaged may never be readable; so this one waits for as long as it takes to put that
		// right.
		if row := a.Item.Row; len(f.damaged) > 0 && a.Item.Moved == nil && row.State == mail.Settled {
			until, why = r.Now().Add(firstRetry).Truncate(time.Second), whyDamaged
		} else if len(f.damaged) > 0 && row.Why == whyDamaged && row.RetryAt.After(r.Now()) {
			until, why = row.RetryAt, whyDamaged
		}
		switch {
		case !purges(a) && !until.IsZero():
			row := *a.Item.Row
			row.State, row.Gone, row.Why, row.RetryAt = mail.Held, mail.Local, why, until
			wait.PutRows = append(wait.PutRows, &row)
		case !purges(a) && (w.behind || a.Item.Moved != nil && !r.safe(a.Item.Moved)):
			r.leave(f)
		case a.Kind == conflict.MoveToTrash:
			v.trash = append(v.trash, a)
		case a.Kind == conflict.ExpungeRemote:
			v.expunge = append(v.expunge, a)
			v.Expunge.Add(a.Item.UID())
		case a.Kind == conflict.MarkDeleted:
			v.mark = append(v.mark, a)
		}
	}
	if err := r.commit(ctx, wait); err != nil {
		return err
	}
	if len(v.mark) > 0 {
		v.marking = &mail.FlagChange{UIDs: uidsOf(v.mark), Add: mail.Flags{System: mail.Deleted}}
		v.Stores = append(v.Stores, v.marking)
	}
	if len(v.trash)+len(v.expunge)+len(v.mark) > 0 {
		r.dirty(f, mail.Remote)
	}
	return r.intendTrash(ctx, v)
}

// removedThere takes in what became of removals.
func (r *run) removedThere(ctx context.Context, v *visit) error {
	for _, err := range []error{r.trashed(ctx, v), r.expunged(ctx, v), r.marked(ctx, v)} {
		if errors.Is(err, mail.ErrRefused) && !ends(err) {
			r.refuse(v.folder, err, "it is tried again in the next sync")
			for _, a := range slices.Concat(v.trash, v.expunge, v.mark) {
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
	once time.Time // for those that it had refused no more than once before: what was removed since may be the old form of one
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
	before := map[mail.RowID]int{}
	for _, row := range r.unsettled[f.base.ID] {
		before[row.ID] = row.Tries
	}
	for _, row := range rows {
		if row.Folder != f.base.ID || row.State != mail.Pending || row.UID != 0 || r.dooms(row) {
			continue
		}
		if w.any.Before(row.RetryAt) {
			w.any = row.RetryAt
		}
		if (row.Tries == 1 || before[row.ID] == 1) && w.once.Before(row.RetryAt) {
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

// expunged takes in that messages were removed for ever, and removes their files, where there
// are any.
func (r *run) expunged(ctx context.Context, v *visit) error {
	if len(v.expunge) == 0 {
		return nil
	}
	if err := v.Expunged; err != nil {
		return errors.Join(err, r.keeps(ctx, v.folder, err, rowsOf(v.expunge)))
	}
	batch := &mail.Batch{}
	var purged []*conflict.Action
	for _, a := range v.expunge {
		if purges(a) {
			purged = append(purged, a)
		} else {
			batch.DropRows = append(batch.DropRows, a.Item.Row.ID)
		}
	}
	r.removed(v.folder, mail.Local, len(v.expunge))
	r.noteReplaced(v.expunge)
	if err := r.commit(ctx, batch); err != nil {
		return err
	}
	return r.removeFiles(ctx, v.folder, purged)
}

// mayHaveExpunged tells whether an earlier run was about to expunge the message of a row, whose
// place another one took, and nothing says that the server refused.
func (r *run) mayHaveExpunged(row *mail.Row) bool {
	in := r.intentOf(mail.Replace, row)
	return in != nil && in.UIDValidity == 0
}

// keeps records that the server has refused to expunge messages whose place another one took:
// where one of them is gone later, somebody else has moved or removed it. It does nothing about
// other errors, after which nobody knows.
func (r *run) keeps(ctx context.Context, f *folder, err error, rows []mail.RowID) error {
	if !errors.Is(err, mail.ErrRefused) {
		return nil
	}
	batch := &mail.Batch{}
	r.mu.Lock()
	for i := range r.intents {
		if in := &r.intents[i]; in.Kind == mail.Replace && slices.Contains(rows, in.Row) {
			in.UIDValidity = r.validity(f)
			kept := *in
			batch.PutIntents = append(batch.PutIntents, &kept)
		}
	}
	r.mu.Unlock()
	return r.commit(ctx, batch)
}

func rowsOf(actions []*conflict.Action) (rows []mail.RowID) {
	for _, a := range actions {
		if a.Item.Row != nil {
			rows = append(rows, a.Item.Row.ID)
		}
	}
	return rows
}

// noteReplaced notes which messages have gone since another one took their place: see
// settleReplaced.
func (r *run) noteReplaced(gone []*conflict.Action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range gone {
		if copied := a.Item.Moved; copied != nil && copied.Row != nil && copied.Row.CopyOf == a.Item.Row.ID {
			r.replaced = append(r.replaced, a.Item.Row)
		}
	}
}

// marked takes in that messages were marked \Deleted, and are left there for want of anything
// better.
func (r *run) marked(ctx context.Context, v *visit) error {
	if len(v.mark) == 0 {
		return nil
	}
	if err := v.marking.Err; err != nil {
		return err
	}
	batch := &mail.Batch{}
	for _, a := range v.mark {
		batch.PutRows = append(batch.PutRows, partedRow(a))
	}
	r.removed(v.folder, mail.Local, len(v.mark))
	r.once(v.folder.name, `removed messages are marked \Deleted on the server and left there: it has no Trash folder, or cannot expunge single messages`)
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

// trashing is a message that goes to Trash.
type trashing struct {
	action *conflict.Action
	intent *mail.Intent
	moving *mail.Moving
}

// intendTrash adds to a visit the moves to Trash. Where they take a COPY each, intents say where
// messages were about to go, so that one that a crash left copied there and not yet expunged
// here is not copied again.
func (r *run) intendTrash(ctx context.Context, v *visit) error {
	if len(v.trash) == 0 {
		return nil
	}
	target := v.trash[0].Target
	if err := r.needTrash(ctx, target); err != nil {
		return err
	}
	move := r.Remote.Abilities().Move
	status := r.onServer[target].Status
	if status.UIDNext == 0 && !move { // there are servers that have to be asked
		examined, err := r.Remote.Examine(ctx, target)
		if err != nil {
			return err
		}
		status = examined.Status
	}
	intents := &mail.Batch{}
	for _, a := range v.trash {
		t := &trashing{action: a, intent: r.intentOf(mail.Move, a.Item.Row), moving: &mail.Moving{UID: a.Item.UID(), To: target}}
		if t.intent == nil {
			t.intent = &mail.Intent{
				Kind: mail.Move, Row: a.Item.Row.ID, Folder: v.folder.base.ID, Identity: a.Item.Row.Identity,
				UIDValidity: status.UIDValidity, UIDNext: status.UIDNext, Created: r.Now().Truncate(time.Second),
			}
			if !move {
				intents.PutIntents = append(intents.PutIntents, t.intent)
			}
		}
		if v.trashing = append(v.trashing, t); move {
			v.Moves = append(v.Moves, t.moving)
		}
	}
	if t := r.folders[target]; t != nil {
		r.dirty(t, mail.Remote)
	}
	return r.commit(ctx, intents)
}

// trashed takes in which messages were moved to Trash. Without MOVE it moves them, by the surest
// means that the server has, up to the first that fails.
func (r *run) trashed(ctx context.Context, v *visit) error {
	batch := &mail.Batch{}
	var failed error
	n := 0
	for _, t := range v.trashing {
		err := t.moving.Err
		if !r.Remote.Abilities().Move {
			err = r.trashOne(ctx, v.folder, t.action, t.intent, batch)
		} else if err == nil {
			batch.DropRows = append(batch.DropRows, t.action.Item.Row.ID)
		}
		switch {
		case errors.Is(err, mail.ErrGone):
			r.leave(v.folder) // somebody else removed it; the next round tells
		case err != nil:
			failed = cmp.Or(failed, fmt.Errorf("move to %q: %w", t.moving.To, err))
		default:
			if t.intent.ID != 0 {
				batch.DropIntents = append(batch.DropIntents, t.intent.ID)
			}
			n++
		}
		if failed != nil && !r.Remote.Abilities().Move {
			break
		}
	}
	r.removed(v.folder, mail.Local, n)
	return errors.Join(failed, r.commit(context.WithoutCancel(ctx), batch))
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
		err = r.expunge(ctx, f, mail.UIDs(uid))
	} else {
		err = r.store(ctx, f, &mail.FlagChange{UIDs: mail.UIDs(uid), Add: mail.Flags{System: mail.Deleted}})
	}
	if err != nil {
		// Somebody may move the copy on, or empty Trash, before the server lets the original go.
		in.UIDValidity = 0
		batch.PutIntents = append(batch.PutIntents, in)
		return err
	}
	if r.Remote.Abilities().UIDPlus {
		batch.DropRows = append(batch.DropRows, a.Item.Row.ID)
		return nil
	}
	row := partedRow(a)
	row.Why = `copied to Trash and marked \Deleted: the server cannot expunge single messages`
	batch.PutRows = append(batch.PutRows, row)
	return nil
}

// alreadyCopied tells whether an earlier run has copied the message to Trash.
func (r *run) alreadyCopied(ctx context.Context, a *conflict.Action, in *mail.Intent) (bool, error) {
	old := r.intentOf(mail.Move, a.Item.Row)
	if old == nil || old.UIDNext == 0 {
		return false, nil
	}
	if old.UIDValidity == 0 {
		return true, nil
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
	// What an earlier run has held, or was about to remove, may be on the server again, if that was
	// restored.
	var held []*conflict.Item
	for _, a := range actions {
		if a.Item.Row != nil && heldAs(*a.Item.Row, mail.Remote) {
			held = append(held, a.Item)
		}
	}
	again, err := r.thereAgain(ctx, f, held)
	if err != nil {
		return err
	}
	if err := r.intendRemoving(ctx, actions); err != nil {
		return err
	}
	batch := &mail.Batch{}
	for _, a := range actions {
		if again[a.Item] {
			row := *a.Item.Row
			row.State, row.Gone, row.Why, row.RetryAt = mail.Settled, 0, "", time.Time{}
			batch.PutRows = append(batch.PutRows, &row)
			r.lookAgain(f.name)
			continue
		}
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
