package sync

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// work is what a plan has to do in one folder.
type work struct {
	folder    *folder
	rows      []*conflict.Action // base alone changes
	agrees    []*conflict.Action
	stores    []*conflict.Action // those that change flags on the server
	stored    bool               // that was done
	downloads []*conflict.Action
	uploads   []*conflict.Action
	// Moves into the folder, of messages on the server and of files here.
	movesThere, movesHere []*conflict.Action
	links                 []*conflict.Action // new messages that are copies of what has a file
	remote                []*conflict.Action // removals on the server
	local                 []*conflict.Action // removals here
	behind                bool               // an upload into the folder was not done, and is tried again at once
	retryAt               time.Time          // when those are tried again that were set aside
	untried               []string           // files that would be refused like others before
}

// carryOut does what the plan says, in the order that survives a crash after any
// step: nothing is removed anywhere before all that is to appear has appeared.
func (r *run) carryOut(ctx context.Context, plan conflict.Plan) error {
	r.note(plan)
	r.place(plan)
	works := r.share(plan)
	r.arrived, r.doomed = map[*conflict.Item]bool{}, map[upload]mail.RowID{}
	for _, w := range works {
		for _, a := range w.rows {
			if a.Kind == conflict.Drop && a.Item.Row.Key != "" {
				r.doomed[upload{a.Item.Row.Folder, a.Item.Row.Key}] = a.Item.Row.ID
			}
		}
	}
	if len(works) == 0 {
		return r.recordDecisions(ctx, plan)
	}
	r.announceVisits(ctx, works)
	if err := r.markAll(ctx, inOrder(works)); err != nil {
		return err
	}
	defer r.leaveSources(works)
	for _, w := range works {
		w.movesHere = r.withSource(w.movesHere)
		w.movesThere = r.withSource(w.movesThere)
	}
	if err := r.recordDecisions(ctx, plan); err != nil {
		return err
	}
	if err := r.intend(ctx, works); err != nil {
		return err
	}
	if err := r.secureMoved(ctx, works); err != nil {
		return err
	}
	busy := func(f *folder) bool { return works[f] != nil }
	if err := r.each(ctx, r.usable(busy), r.Connections, func(ctx context.Context, f *folder) error { return r.keepRows(ctx, works[f]) }); err != nil {
		return err
	}
	if err := r.moveRemote(ctx, works); err != nil {
		return err
	}
	if err := r.transfer(ctx, works); err != nil {
		return err
	}
	var left []*conflict.Item
	for i := range plan.Actions {
		left = append(left, plan.Actions[i].Item)
	}
	if err := r.secureGone(ctx, left); err != nil {
		return err
	}
	if err := r.changeRemote(ctx, works, true); err != nil {
		return err
	}
	for _, stage := range []func(context.Context, *work) error{r.dropRows, r.removeLocal} {
		err := r.each(ctx, r.usable(busy), r.Connections, func(ctx context.Context, f *folder) error { return stage(ctx, works[f]) })
		if err != nil {
			return err
		}
	}
	return nil
}

// withSource gives the moves whose other end is still worked on.
func (r *run) withSource(moves []*conflict.Action) []*conflict.Action {
	return slices.DeleteFunc(moves, func(a *conflict.Action) bool {
		gone := !r.folders[a.Item.From.Folder].yields()
		if gone {
			r.leaveMove(a)
		}
		return gone
	})
}

// leaveSources leaves the folders to the next run that messages were to move out of, into
// one that has failed, or had moved out of before: base has them there still.
func (r *run) leaveSources(works map[*folder]*work) {
	for f, w := range works {
		if f.failed == nil {
			continue
		}
		for _, a := range slices.Concat(w.agrees, w.stores, w.movesHere, w.movesThere, w.uploads, w.downloads, w.remote, w.local) {
			r.leaveEnds(a)
		}
	}
}

// leaveEnds leaves all folders that an action is about to the next round, or run.
func (r *run) leaveEnds(a *conflict.Action) {
	for _, f := range r.ends(a) {
		r.leave(f)
	}
}

// ends gives the folders that an action is about: where it happens, and where base has what it
// happens to.
func (r *run) ends(a *conflict.Action) (ends []*folder) {
	names := []mail.Folder{a.Item.Folder, a.Item.Origin}
	if from := a.Item.From; from != nil {
		names = append(names, from.Folder, from.Origin)
	}
	for _, name := range names {
		if f := r.folders[name]; f != nil {
			ends = append(ends, f)
		}
	}
	return ends
}

// leaveMove leaves a move whose source this run does not work on, or no longer. What has moved here
// has a file there, of which the next round may know nothing.
func (r *run) leaveMove(a *conflict.Action) {
	r.leaveEnds(a)
	if f := r.folders[a.Item.Folder]; a.Kind == conflict.MoveLocal {
		if f.filed == nil {
			f.filed = map[mail.UID]bool{}
		}
		f.filed[a.Item.Message.UID] = true
	}
}

// share hands the plan's actions to their folders. Folders that failed, or that the
// command line leaves out, keep their cursor and stamp, so that the next run meets
// the same changes again.
func (r *run) share(plan conflict.Plan) map[*folder]*work {
	works := map[*folder]*work{}
	for i := range plan.Actions {
		a := &plan.Actions[i]
		f := r.folders[a.Item.Folder]
		if row := a.Item.Row; a.Kind == conflict.Hold && heldAs(*row, a.Gone) && row.Why == a.Why && !renamed(a.Item) {
			continue // it is recorded, and a run that changes nothing need not touch the folder
		}
		if !f.usable() || !r.wanted(f.name) || f.dissolves && !f.onRemote && a.Kind != conflict.RemoveLocal && a.Kind != conflict.Drop {
			r.leaveEnds(a)
			continue
		}
		w := workOf(works, f)
		if from := a.Item.From; a.Kind == conflict.MoveRemote || a.Kind == conflict.MoveLocal {
			source := r.folders[from.Folder]
			if !source.yields() || !r.wanted(source.name) {
				r.leaveMove(a)
				continue
			}
			workOf(works, source) // it changes, too
		}
		for _, end := range r.ends(a) {
			if end.usable() {
				workOf(works, end) // it has a row less
			}
		}
		switch a.Kind {
		case conflict.MoveRemote:
			w.movesThere = append(w.movesThere, a)
		case conflict.MoveLocal:
			w.movesHere = append(w.movesHere, a)
		case conflict.Agree:
			if stores(a) {
				w.stores = append(w.stores, a)
			} else {
				w.agrees = append(w.agrees, a)
			}
		case conflict.Download:
			w.downloads = append(w.downloads, a)
		case conflict.Link:
			w.links = append(w.links, a)
		case conflict.Upload, conflict.CopyRemote:
			w.uploads = append(w.uploads, a)
		case conflict.MoveToTrash, conflict.ExpungeRemote, conflict.MarkDeleted:
			w.remote = append(w.remote, a)
		case conflict.RemoveLocal:
			w.local = append(w.local, a)
		default:
			w.rows = append(w.rows, a)
		}
	}
	return works
}

func workOf(works map[*folder]*work, f *folder) *work {
	if works[f] == nil {
		works[f] = &work{folder: f}
	}
	return works[f]
}

// markAll puts the folders' next markers into place, each once a run, before base says that
// anything in them has changed.
func (r *run) markAll(ctx context.Context, folders []*folder) error {
	folders = slices.DeleteFunc(folders, func(f *folder) bool { return f.marked })
	if err := r.each(ctx, folders, r.diskAtOnce(), r.mark); err != nil {
		return err
	}
	batch := &mail.Batch{}
	for _, f := range folders {
		if f.marked {
			batch.PutFolders = append(batch.PutFolders, &f.base)
		}
	}
	return r.commit(ctx, batch)
}

// mark puts the folder's next marker into place, and into what is to be recorded of the folder.
func (r *run) mark(ctx context.Context, f *folder) error {
	next := f.base.Marker
	if next.Folder == "" {
		next.Folder = rand.Text()
	}
	next.Account = r.Account
	next.Generation++
	if f.outrun {
		next.Generation++ // a backup may have that one, of what the folder was before this run
	}
	if f.onLocal { // of one that is gone here base has a later one than what a backup brings back
		if err := r.Local.SetMarker(ctx, f.name, next); err != nil {
			return err
		}
	}
	f.base.Marker, f.marked = next, true
	if f.base.Remote.Unread() {
		// What the run is about to record of the folder belongs to these UIDs.
		f.base.Remote.UIDValidity = r.validity(f)
	}
	// Nor may base say that the folder is as it was: a run that ends here could be followed
	// by a Maildir from a backup, which is.
	f.base.Local = f.base.Local.WithoutTimes()
	r.wrote(f)
	return nil
}

// intend records which messages will leave the server once their content
// is there elsewhere, or cannot leave it and come back: when the one has happened, and a
// crash comes before the other, nothing else tells them from messages that were deleted.
// And it records which files will move: see recoverFiles.
func (r *run) intend(ctx context.Context, works map[*folder]*work) error {
	batch := &mail.Batch{}
	var again []mail.IntentID
	for _, f := range inOrder(works) {
		w := works[f]
		for _, a := range slices.Concat(w.remote, w.downloads) {
			if a.Item.Moved == nil || a.Item.Row == nil {
				continue
			}
			if in := r.intentOf(mail.Replace, a.Item.Row); in != nil {
				if in.UIDValidity != 0 { // what the server has kept it is asked to expunge once more
					in.UIDValidity = 0
					batch.PutIntents, again = append(batch.PutIntents, in), append(again, in.ID)
				}
				continue
			}
			batch.PutIntents = append(batch.PutIntents, &mail.Intent{
				Kind: mail.Replace, Row: a.Item.Row.ID, Folder: f.base.ID,
				Identity: a.Item.Row.Identity, Created: r.Now().Truncate(time.Second),
			})
		}
		for _, a := range w.movesHere {
			from := a.Item.From
			batch.PutIntents = append(batch.PutIntents, &mail.Intent{
				Kind: mail.Move, Row: from.Row.ID, Folder: r.folders[from.Folder].base.ID, Key: fileOf(from).Key,
				Identity: from.Row.Identity, Created: r.Now().Truncate(time.Second),
			})
		}
	}
	if err := r.commit(ctx, batch); err != nil {
		return err
	}
	r.forgetIntents(again)
	for _, in := range batch.PutIntents {
		r.intents = append(r.intents, *in)
	}
	return nil
}

// dirty notes that the run wrote into a folder, so that it is gathered once more.
func (r *run) dirty(f *folder, side mail.Side) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if side == mail.Local {
		f.localDirty = true
	} else {
		f.remoteDirty = true
	}
}

// leave notes that something in the folder was left undone: the next round, or the
// next run, meets it again.
func (r *run) leave(f *folder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.unsafe = true
}

func (r *run) recordDecisions(ctx context.Context, plan conflict.Plan) error {
	batch := &mail.Batch{}
	for _, d := range plan.Decisions {
		d.At = r.Now().Truncate(time.Second)
		batch.Decisions = append(batch.Decisions, d)
	}
	return r.commit(ctx, batch)
}

// keepRows does the actions that change base alone.
func (r *run) keepRows(ctx context.Context, w *work) error {
	batch := &mail.Batch{}
	for _, a := range w.rows {
		row := *a.Item.Row
		switch a.Kind {
		case conflict.Drop:
			continue // when all that the message may have become is recorded
		case conflict.Part:
			row.State, row.Why, row.Flags = mail.Parted, a.Why, a.Flags
			if a.Gone == mail.Local {
				row.Key, row.Name, row.New, row.Stat = "", "", false, mail.Stat{}
			} else {
				row.UID = 0
			}
		case conflict.Note:
			if row.Flags = a.Flags; row.State == mail.Held || row.State == mail.Landing {
				row.State, row.Gone, row.Why, row.RetryAt = mail.Settled, 0, "", time.Time{}
			}
		case conflict.Hold:
			row.State, row.Gone, row.Why, row.RetryAt = mail.Held, a.Gone, a.Why, time.Time{}
		}
		seen(&row, a.Item)
		batch.PutRows = append(batch.PutRows, &row)
	}
	return r.commit(ctx, batch)
}

// dropRows does the actions that let go of a message which is on neither side. That comes
// after all that appears is recorded: a run that ends between the two would leave files
// and messages behind of which nothing says that they once were this one.
func (r *run) dropRows(ctx context.Context, w *work) error {
	batch := &mail.Batch{}
	for _, a := range w.rows {
		if a.Kind == conflict.Drop && !r.takeDoomed(a.Item.Row) {
			batch.DropRows = append(batch.DropRows, a.Item.Row.ID)
			r.noteReplaced([]*conflict.Action{a})
		}
	}
	return r.commit(ctx, batch)
}

// takeDoomed tells whether a row was dropped before its time, since another one was to
// have its key.
func (r *run) takeDoomed(row *mail.Row) (dropped bool) {
	if row.Key == "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := upload{row.Folder, row.Key}
	dropped = r.doomed[at] != row.ID
	delete(r.doomed, at)
	return dropped
}

// dooms tells whether a row is about to be dropped in this round: its file is gone.
func (r *run) dooms(row mail.Row) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.doomed[upload{row.Folder, row.Key}] == row.ID
}

// dropNow tells whether a row is to be dropped, and leaves that to the caller: if base ever
// had both the old place of a message and the new one, and the file came back to the old
// one, it would be gone from where the message is.
func (r *run) dropNow(row *mail.Row) (doomed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := upload{row.Folder, row.Key}
	if doomed = r.doomed[at] == row.ID; doomed {
		delete(r.doomed, at)
	}
	return doomed
}

// makeRoom drops, with the rows of a batch, those that have their keys and are to go.
func (r *run) makeRoom(b *mail.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range b.PutRows {
		at := upload{row.Folder, row.Key}
		if id := r.doomed[at]; id != 0 && id != row.ID {
			b.DropRows = append(b.DropRows, id)
			delete(r.doomed, at)
		}
	}
}

// renamed tells whether a file has another name, or place, than base says.
func renamed(item *conflict.Item) bool {
	return item.Row.Key != "" && item.File.Name != "" && (item.File.Name != item.Row.Name || item.File.New != item.Row.New)
}

// seen takes over into a row what a scan found out about the file's name and place.
func seen(row *mail.Row, item *conflict.Item) {
	if row.Key == "" || item.File.Name == "" {
		return
	}
	row.Key, row.Name, row.New = item.File.Key, item.File.Name, item.File.New
	if item.Stat != (mail.Stat{}) {
		row.Stat = item.Stat
	}
}

// validity is the UIDVALIDITY that the run read the folder's UIDs under.
func (r *run) validity(f *folder) uint32 {
	if f.view != nil {
		return f.view.Cursor.UIDValidity
	}
	return f.base.Remote.UIDValidity
}

// refuse reports what the server refused, and leaves it to the next run.
func (r *run) refuse(f *folder, err error, hint string) {
	r.problem(f, err, hint)
	r.mu.Lock()
	defer r.mu.Unlock()
	f.unsafe, f.refused = true, true
}

// arrive notes that a new file is safely on the server.
func (r *run) arrive(item *conflict.Item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arrived[item] = true
}

// problem reports what failed and did not stop the folder.
func (r *run) problem(f *folder, err error, hint string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Problems = append(r.report.Problems, &Problem{Folder: f.name, Err: err, Hint: hint})
}

// syncedEvery is how old the times in a folder's base may be: what is looked at often
// and never changes is not worth a write each time.
const syncedEvery = time.Hour

// settle moves the cursors and stamps of the folders whose changes have all been
// applied to where their gathering began.
func (r *run) settle(ctx context.Context) error {
	if err := r.settleReplaced(ctx); err != nil {
		return err
	}
	batch := &mail.Batch{}
	now := r.Now().Truncate(time.Second)
	r.deal()
	for _, f := range r.usable(func(f *folder) bool { return f.view != nil || f.listing != nil || f.peeked }) {
		if f.unsafe {
			f.stale = f.stale || f.view != nil
			// What base had stands for other rows by now: a Maildir that is restored to that must not
			// pass for it.
			if old := f.base.Local.WithoutTimes(); f.listing != nil && f.listing.Stamp != f.base.Local && old != f.base.Local {
				f.base.Local = old
				batch.PutFolders = append(batch.PutFolders, &f.base)
			}
			continue
		}
		batch.DropIntents = append(batch.DropIntents, r.answered(f)...)
		before := f.base
		if f.view != nil {
			f.stale = false
			f.base.Remote, f.base.Access = f.view.Cursor, f.view.Access
			if f.view.MailboxID != "" {
				f.base.MailboxID = f.view.MailboxID
			}
			if f.view.Full && (f.base.Verified.IsZero() || now.Sub(f.base.Verified) > syncedEvery) {
				f.base.Verified = now
			}
		}
		if f.listing != nil {
			f.base.Local, f.base.Letters = f.listing.Stamp, f.letters
			if f.localDirty || f.wrote || f.stale {
				// The run has changed it since; or rows that go beyond the cursor, so that the next
				// run has to look at the folder whatever the server says: see countRows.
				f.base.Local = f.base.Local.WithoutTimes()
			}
		}
		f.base.Problem, f.base.Lost = "", 0
		if !f.resettled || f.view != nil && f.listing != nil {
			f.base.Settings, f.resettled = r.settings(f), false
		}
		if f.base != before || now.Sub(f.base.Synced) > syncedEvery {
			f.base.Synced = now
			batch.PutFolders = append(batch.PutFolders, &f.base)
		}
	}
	for _, f := range r.allFolders() {
		if f.failed != nil && f.base.ID != 0 && f.base.Problem != f.failed.Error() {
			f.base.Problem = f.failed.Error()
			batch.PutFolders = append(batch.PutFolders, &f.base)
		}
	}
	return r.commit(ctx, batch)
}

// answered gives the intents of a folder that its scan has resolved: what they were
// about has been tied, or is not there. A scan says nothing of what the run did after
// it; then there will be another one.
func (r *run) answered(f *folder) []mail.IntentID {
	if f.view == nil || f.remoteDirty {
		return nil
	}
	var ids []mail.IntentID
	var left []mail.Intent
	for _, in := range r.intents {
		if in.Folder == f.base.ID && (in.Kind != mail.Upload || !misses(f, in)) {
			ids = append(ids, in.ID)
		} else {
			left = append(left, in)
		}
	}
	r.intents = left
	return ids
}
