package sync

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// The folders of the server are read one after another, and some not at all. So of a
// message that another device moves meanwhile one half alone may be seen: that it is gone
// from where it was, or that it is where it went. Where its file is as it was that does no
// harm: it is removed and comes back, or is copied and then removed. But a file that was
// moved or flagged here is kept when its message is removed, and so is one of which base does
// not know yet that it has one. It would be uploaded again, beside the message.

// awaitElsewhere leaves out what may be one half of such a move: messages that are gone on
// the server and have changed here, and files that may have been there and are found
// nowhere, if a folder has got new ones since it was read, or has new ones and cannot be
// read; files that may be one of the messages of which too little could be learnt; and new
// ones that are like a known one, if the folder of that has changed since.
// What was read is read again in the next round, together with these folders. It costs a
// round trip, and only where there are such messages.
func (r *run) awaitElsewhere(ctx context.Context, g *gathered, items []*conflict.Item) ([]*conflict.Item, error) {
	blind := slices.ContainsFunc(r.allFolders(), (*folder).unread)
	unlearnt := slices.DeleteFunc(r.allFolders(), func(f *folder) bool { return len(f.unlearnt) == 0 })
	missing := func(item *conflict.Item) bool {
		_, may := g.uploaded[item]
		return r.keptThoughGone(item) || may || r.mayBeUnlearnt(g, item, unlearnt) != nil || blind && item.Vanished() && item.Moved == nil
	}
	if r.DryRun || len(g.alike) == 0 && !slices.ContainsFunc(items, missing) {
		return items, nil
	}
	got, unread, changed, err := r.changedSince(ctx)
	if err != nil {
		return nil, err
	}
	again := got
	var halves []*conflict.Item
	half := func(item *conflict.Item) bool {
		for _, known := range g.alike[item] {
			if f := r.folders[known.Folder]; changed[f] {
				f.remoteDirty, again = true, true
				halves = append(halves, item)
				return true
			}
		}
		if f := r.mayBeUnlearnt(g, item, unlearnt); f != nil {
			again = again || f.usable() // else the next run reads it
			return true
		}
		// Where a loss is all that speaks of files, they may be many, and do not wait for a
		// folder that cannot be read.
		mine, may := g.uploaded[item]
		return (got || unread && mine == may) && missing(item)
	}
	behind := map[mail.Folder]bool{}
	landed := &mail.Batch{} // and waits as what has landed, or each run would look whether it has
	left := slices.DeleteFunc(slices.Clone(items), func(item *conflict.Item) bool {
		if !half(item) {
			return false
		}
		if item.Local == conflict.New {
			behind[item.Folder] = true
			// That it was about to be uploaded has to be known as long as it waits.
			g.unsure[upload{r.folders[item.Folder].base.ID, item.File.Key}] = true
		}
		switch row := item.Row; {
		case row == nil:
		case row.State == mail.Pending:
			r.waiting = append(r.waiting, item)
		case row.State == mail.Landing && item.Lonely():
			row.State, row.Name, row.New = mail.Settled, item.File.Name, item.File.New
			landed.PutRows = append(landed.PutRows, row)
		}
		return true
	})
	if err := r.commit(ctx, landed); err != nil {
		return nil, err
	}
	// A file that waits may be the new form of one that is gone: see remove.
	left = slices.DeleteFunc(left, func(item *conflict.Item) bool {
		return behind[item.Folder] && item.Local == conflict.Gone && item.Moved == nil
	})
	if err := r.watchCopied(ctx, g, slices.Concat(left, halves)); err != nil {
		return nil, err
	}
	if len(left) == len(items) {
		return items, nil
	}
	for _, f := range r.folders {
		if f.view != nil {
			f.remoteDirty, f.unsafe = f.remoteDirty || again, true
		}
		if f.listing != nil || f.peeked {
			f.localDirty, f.unsafe = f.localDirty || again, true
		}
	}
	return left, nil
}

// leaveUnlearnt leaves out the new messages of a folder that cannot be read on, or that gives
// them other UIDs by now, and notes that files may be one of them.
func (g *gathered) leaveUnlearnt(f *folder) {
	for _, item := range g.newRemote[f] {
		if f.unlearnt == nil {
			f.unlearnt = map[int64][]int64{}
		}
		m := momentOf(item.Message)
		f.unlearnt[m.size] = append(f.unlearnt[m.size], m.date)
	}
	g.newRemote[f] = nil
}

// mayBeUnlearnt gives the one of these folders of whose unlearnt messages a file that has none
// may have one, nil if there is none: it lies in that folder, or may have been there, or the
// message is to follow it, and it has such a size.
func (r *run) mayBeUnlearnt(g *gathered, item *conflict.Item, of []*folder) *folder {
	if len(of) == 0 || item.From != nil || !item.Lonely() || item.Row != nil && item.Row.UID != 0 || !r.folders[item.Folder].usable() {
		return nil
	}
	_, may := g.uploaded[item]
	may = may || r.follows(mail.Remote)
	for _, f := range of {
		if item.Folder == f.name {
			return f
		}
		for _, size := range r.settledOnce(item).Sizes() {
			if may && f.unlearnt[size] != nil {
				return f
			}
		}
	}
	return nil
}

// wasUnlearnt tells whether a new message may be one that has left a folder which has lost track
// of its files, and of whose messages too little could be learnt in this run to know them again:
// it is of such a size and date. Its file may be in that folder.
func (r *run) wasUnlearnt(m mail.Message) bool {
	at := momentOf(m)
	return slices.ContainsFunc(r.allFolders(), func(f *folder) bool {
		return f.loss != conflict.NoLoss && slices.Contains(f.unlearnt[at.size], at.date)
	})
}

// Nor is a move one step to those who look on: with Dovecot, a message is in its new folder
// a moment before it leaves the old one, and without MOVE until its client expunges it. It
// is taken for a copy then. So the folders of what seems to be copied are read once more, and
// what is gone there by then was none. It may be on its way from one such place to the next:
// then another one seems to have moved to where it goes.

// watchCopied has the folders read again of which the items seem to be copies, or may have come,
// and records that, lest a crash comes before.
func (r *run) watchCopied(ctx context.Context, g *gathered, items []*conflict.Item) error {
	if r.Remote.Abilities().Labels {
		return nil // they have each message in several folders
	}
	batch := &mail.Batch{}
	type watch struct {
		folder *folder
		moved  mail.RowID
	}
	watched := map[watch]bool{}
	for _, item := range items {
		if f := r.folders[item.Folder]; !r.wanted(f.name) || f.policy.Direction == conflict.Push {
			continue // it is not brought here
		}
		for _, known := range g.alike[item] {
			if source := item.Source; source != nil && source.Row.Content() != known.Row.Content() {
				continue
			}
			f, moved := r.folders[known.Folder], mail.RowID(0)
			if item.From != nil {
				moved = item.From.Row.ID // which base knew first, and where it is now last
			}
			f.remoteDirty = true
			if w := (watch{f, moved}); !watched[w] && !r.watches(f, moved) {
				watched[w] = true
				batch.PutIntents = append(batch.PutIntents, &mail.Intent{
					Kind: mail.Copied, Row: moved, Folder: f.base.ID, Created: r.Now().Truncate(time.Second),
				})
			}
		}
	}
	if err := r.commit(ctx, batch); err != nil {
		return err
	}
	for _, in := range batch.PutIntents {
		r.intents = append(r.intents, *in)
	}
	return nil
}

// watches tells whether a folder is watched for what was copied from it, or for a row that has
// moved to where it may have come from there.
func (r *run) watches(f *folder, moved mail.RowID) bool {
	return slices.ContainsFunc(r.intents, func(in mail.Intent) bool {
		return in.Kind == mail.Copied && in.Folder == f.base.ID && in.Row == moved
	})
}

// watched tells whether a folder is watched at all.
func (r *run) watched(f *folder) bool {
	return slices.ContainsFunc(r.intents, func(in mail.Intent) bool { return in.Kind == mail.Copied && in.Folder == f.base.ID })
}

// unwatch forgets that a folder is watched: what becomes of it is for people to say.
func (r *run) unwatch(ctx context.Context, f *folder) error {
	batch := &mail.Batch{}
	for _, in := range r.intents {
		if in.Kind == mail.Copied && in.Folder == f.base.ID {
			batch.DropIntents = append(batch.DropIntents, in.ID)
		}
	}
	return r.commit(ctx, batch)
}

// followCopied finds the messages of watched folders that are gone on the server, and were
// taken for copied. One whose copy has not landed, or that may be where another one comes to be
// in this round, waits for it.
func (r *run) followCopied(ctx context.Context, g *gathered) error {
	taken := map[mail.RowID]bool{}
	for _, item := range g.known() {
		at := r.folders[cmp.Or(item.Origin, item.Folder)]
		if item.Remote != conflict.Gone || !item.Lonely() || item.Moved != nil || item.From != nil || !r.watched(at) {
			continue
		}
		rows, err := r.State.Alike(ctx, item.Row.Fingerprint)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		rows = slices.DeleteFunc(rows, func(row mail.Row) bool { return taken[row.ID] })
		watched := func(row mail.RowID) bool { return r.watches(at, row) }
		copied := item.Newest(r.itemsOf(g, rows), watched)
		if copied == nil && r.keptThoughGone(item) && item.Newest(r.itemsIn(g, rows, (*folder).unread), watched) != nil {
			// Only its file says what the copy lacks, which this run cannot change.
			delete(g.rows, item.Row.ID)
			r.leave(at)
			r.leave(r.folders[item.Folder])
			continue
		}
		if copied == nil {
			if copied = g.coming(item); copied == nil {
				continue
			}
			if from := copied.From; from != nil && from.Row.ID != 0 && !r.watches(at, from.Row.ID) {
				watch := &mail.Intent{Kind: mail.Copied, Row: from.Row.ID, Folder: at.base.ID, Created: r.Now().Truncate(time.Second)}
				if err := r.commit(ctx, &mail.Batch{PutIntents: []*mail.Intent{watch}}); err != nil {
					return err
				}
				r.expect(watch)
			}
		} else if copied.AtRest() {
			taken[copied.Row.ID] = true
			g.rows[copied.Row.ID] = copied
			item.MoveOnto(copied, fileOf(copied))
			continue
		}
		delete(g.rows, item.Row.ID)
		for _, name := range []mail.Folder{at.name, item.Folder, copied.Folder} {
			r.lookAgain(name)
		}
	}
	return nil
}

// coming gives the message of the content of one that is gone which comes to be known elsewhere
// in this round, since its file is there, or is to follow it; nil if there is none.
func (g *gathered) coming(gone *conflict.Item) (m *conflict.Item) {
	for _, items := range []map[*folder][]*conflict.Item{g.newLocal, g.newRemote} {
		for _, f := range inOrder(items) {
			for _, item := range items[f] {
				same := item.Identity.Content() == gone.Row.Content() || item.From != nil && item.From.Row.Content() == gone.Row.Content()
				if m == nil && same && item.Remote == conflict.New && (item.Local == conflict.New || item.From != nil) {
					m = item
				}
			}
		}
	}
	return m
}

// unread tells whether a folder is one that is, or would be, kept in step, and that this run does
// not, or no longer, read.
func (f *folder) unread() bool { return f.selected && (f.base.ID != 0 || f.onRemote) && !f.usable() }

// changedSince tells which folders of the server have changed since they were read, and
// whether any has got new messages, and marks those; and whether there are new ones that this
// run cannot read.
func (r *run) changedSince(ctx context.Context) (got, unread bool, changed map[*folder]bool, err error) {
	listing, err := r.Remote.Folders(ctx)
	if err != nil {
		return false, false, nil, err
	}
	changed = map[*folder]bool{}
	for _, listed := range listing.Folders {
		f := r.folders[listed.Name]
		if f == nil || listed.NoSelect || !f.unread() && !f.usable() {
			continue
		}
		status := listed.Status
		if status.UIDNext == 0 { // there are servers that have to be asked for each
			examined, err := r.Remote.Examine(ctx, f.name)
			if err != nil && (ends(err) || f.usable()) {
				if err := r.fail(f, err); err != nil {
					return false, false, nil, err
				}
			}
			if err != nil {
				unread = true // nobody knows
				continue
			}
			status = examined.Status
		}
		if f.unread() {
			was := f.base.Remote
			unread = unread || status.UIDNext > 1 && (status.UIDNext > was.UIDNext || status.UIDValidity != was.UIDValidity)
			continue
		}
		was := r.asRead(f)
		if status.UIDNext > was.UIDNext {
			got, f.remoteDirty = true, true
		}
		changed[f] = status.UIDNext != 0 && (status.UIDNext != was.UIDNext || status.Messages != was.Messages)
	}
	return got, unread, changed, nil
}

// surelyGone leaves out, of files that an interrupted run was about to upload and that are
// gone, those that may have moved back to where base has them: if their messages came from
// there meanwhile, it is not known yet that the files lack them.
func (r *run) surelyGone(ctx context.Context, g *gathered, f *folder, gone []*conflict.Item) ([]*conflict.Item, error) {
	var changed map[*folder]bool
	var sure []*conflict.Item
	for _, item := range gone {
		rows, err := r.State.Alike(ctx, item.Identity.Fingerprint)
		if err != nil {
			return nil, fmt.Errorf("read the state: %w", err)
		}
		wait := false
		for _, known := range r.itemsOf(g, rows) {
			if known.Row.Content() != item.Identity.Content() || !known.AtRest() {
				continue
			}
			if changed == nil {
				if _, _, changed, err = r.changedSince(ctx); err != nil {
					return nil, err
				}
			}
			if at := r.folders[known.Folder]; changed[at] {
				r.dirty(at, mail.Remote)
				r.leave(at)
				wait = true
			}
		}
		if !wait {
			sure = append(sure, item)
			continue
		}
		g.unsure[upload{f.base.ID, item.File.Key}] = true
		r.dirty(f, mail.Local)
		r.dirty(f, mail.Remote)
		r.leave(f)
	}
	return sure, nil
}

// keptThoughGone tells whether a message is gone on the server, as far as is known, and
// something about its file, or a policy, says that it may be kept; or what was pushed of it may
// be missing where it has moved.
func (r *run) keptThoughGone(item *conflict.Item) bool {
	kept := item.Local == conflict.Flags || item.Followed ||
		item.Local == conflict.Same && r.folders[item.Folder].policy.OnRemoteDelete == conflict.KeepFile
	known := item.Row != nil && (item.Row.State == mail.Settled || item.Row.State == mail.Landing)
	return known && item.Remote == conflict.Gone && item.Moved == nil && item.From == nil && (kept || !item.Row.Pushed.Empty())
}

// asRead is how far the folder was when this run has read it last.
func (r *run) asRead(f *folder) mail.Cursor {
	if f.read == (mail.Cursor{}) {
		return r.onServer[f.name].Status
	}
	return f.read
}
