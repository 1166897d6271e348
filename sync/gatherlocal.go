package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// scanLocal scans the local folders that may have changed. A message that moves
// while folders are scanned one after another can be missed in both; so what is gone
// counts only if, after the last scan, no folder has changed since its own. So it is where a
// folder has lost track: then a message is fetched because no file is found.
func (r *run) scanLocal(ctx context.Context, g *gathered) error {
	found := map[*folder][]conflict.LocalChange{}
	for try := 0; ; try++ {
		folders := r.usable(func(f *folder) bool { return f.localDirty })
		err := r.each(ctx, folders, r.Connections, func(ctx context.Context, f *folder) error {
			if other, err := r.isOther(ctx, f); other || err != nil {
				return err
			}
			changes, err := r.diffLocal(ctx, f)
			if err != nil {
				return err
			}
			mended, err := r.mend(ctx, f)
			if err != nil {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			found[f] = changes
			f.localDirty = mended
			return nil
		})
		if err != nil {
			return err
		}
		if !anyGone(found) && len(r.losses) == 0 {
			break
		}
		moved, err := r.stampsMoved(ctx)
		if err != nil {
			return err
		}
		if !moved {
			break
		}
		if try == maxScans {
			r.holdBack(found)
			break
		}
	}
	for _, f := range inOrder(found) {
		if f.failed != nil {
			continue
		}
		if err := r.fail(f, r.addLocal(ctx, g, f, found[f])); err != nil {
			return err
		}
	}
	return nil
}

// isOther tells whether a folder that nothing had pointed to when the round began is not
// the one that base knows; then the next round has to find out what was lost.
func (r *run) isOther(ctx context.Context, f *folder) (bool, error) {
	if f.met || f.marked || !f.onLocal || f.base.ID == 0 {
		return false, nil
	}
	marker, err := r.Local.Marker(ctx, f.name)
	if err != nil {
		return false, err
	}
	f.met = conflict.LossByMarker(f.base.Marker, marker) == conflict.NoLoss
	if !f.met {
		r.leave(f)
	}
	return !f.met, nil
}

// mend mends what a scan has found to be amiss in a folder, and tells whether there was
// anything: that its own file does not say what some letters mean, since other programs
// have nothing else to tell them, and that a rename was not ended.
func (r *run) mend(ctx context.Context, f *folder) (bool, error) {
	if r.DryRun || f.peeked || !f.policy.Direction.Writes(mail.Local) {
		return false, nil
	}
	if f.listing.LettersLost {
		if err := r.Local.SetLetters(ctx, f.name, f.letters); err != nil {
			return false, err
		}
	}
	// Of a file that is renamed while it is looked at, both names may be met.
	if !f.listing.Believed || len(f.listing.Relics) == 0 {
		return f.listing.LettersLost, nil
	}
	for _, relic := range f.listing.Relics {
		if err := r.Local.EndRename(ctx, f.name, relic); err != nil {
			return false, err
		}
	}
	return true, r.Local.SyncFolder(ctx, f.name)
}

// diffLocal scans one folder of the Maildir, unless it may take what was read before.
func (r *run) diffLocal(ctx context.Context, f *folder) ([]conflict.LocalChange, error) {
	if changes, ok := r.peekAt(ctx, f); ok {
		return changes, nil
	}
	diff, ok := r.glanced(f)
	if !ok {
		var err error
		if f.onLocal {
			diff, err = r.readLocal(ctx, f.name, f.base.ID, &f.base.Letters)
		} else {
			listing := mail.Listing{Files: func(func(mail.File) bool) {}}
			diff, err = r.diffListing(ctx, f.base.ID, listing, r.knownIn(ctx, f.base.ID), listing.Files)
		}
		if err != nil {
			return nil, err
		}
	}
	f.peeked = false
	f.listing, f.twice, f.letters, f.missed = &diff.listing, diff.twice, diff.listing.Letters, diff.missed
	r.remember(f.base.ID, diff)
	for _, problem := range diff.listing.Problems {
		r.once(f.name, problem.Error())
	}
	return diff.changes, nil
}

// readLocal lists a folder of the Maildir, and compares it with base.
func (r *run) readLocal(ctx context.Context, name mail.Folder, id mail.FolderID, letters *mail.Letters) (localDiff, error) {
	if diff, ok := r.readAgain(ctx, name, id); ok {
		return diff, nil
	}
	listing, err := r.Local.Scan(ctx, name, *letters)
	if err != nil {
		return localDiff{}, err
	}
	return r.diffListing(ctx, id, listing, r.knownIn(ctx, id), listing.Files)
}

// knownIn is what base's rows of a folder say of their files.
func (r *run) knownIn(ctx context.Context, id mail.FolderID) iter.Seq2[mail.Known, error] {
	if id == 0 {
		return func(func(mail.Known, error) bool) {}
	}
	return r.State.Known(ctx, id)
}

// diffListing compares files of a listing with what is known of those.
func (r *run) diffListing(ctx context.Context, id mail.FolderID, listing mail.Listing, known iter.Seq2[mail.Known, error], files iter.Seq[mail.File]) (localDiff, error) {
	diff := localDiff{listing: listing, missed: map[mail.RowID]bool{}}
	for c, err := range conflict.DiffLocal(known, files, listing.Letters) {
		if err != nil {
			return localDiff{}, fmt.Errorf("read the state: %w", err)
		}
		diff.changes = append(diff.changes, c)
	}
	if err := r.lookUp(ctx, id, diff.changes); err != nil {
		return localDiff{}, fmt.Errorf("read the state: %w", err)
	}
	if listing.Believed {
		return diff, nil
	}
	diff.changes = slices.DeleteFunc(diff.changes, func(c conflict.LocalChange) bool {
		missed := c.Change == conflict.Gone && !heldAs(c.Row, mail.Local)
		if missed {
			diff.missed[c.Row.ID] = true
		}
		return missed
	})
	return diff, nil
}

// mostBetween is how many rows are read in vain rather than to ask anew for the next one.
const mostBetween = 16

// lookUp looks up base's rows of what has changed about files that it knows. The changes are in
// ascending order of keys.
func (r *run) lookUp(ctx context.Context, folder mail.FolderID, changes []conflict.LocalChange) error {
	var todo []*conflict.LocalChange
	for i := range changes {
		if changes[i].Change != conflict.New {
			todo = append(todo, &changes[i])
		}
	}
	for len(todo) > 0 {
		first, between := todo[0], 0
		for row, err := range r.State.RowsByKey(ctx, folder, first.Known.Key) {
			if err != nil {
				return err
			}
			if between++; row.ID == todo[0].Known.ID {
				todo[0].Row, between = row, 0
				todo = todo[1:]
			}
			if len(todo) == 0 || between > mostBetween {
				break
			}
		}
		if len(todo) > 0 && todo[0] == first {
			return fmt.Errorf("row %d has changed while the folder was read", first.Known.ID)
		}
	}
	return nil
}

func anyGone(found map[*folder][]conflict.LocalChange) bool {
	for _, changes := range found {
		for _, c := range changes {
			if c.Change == conflict.Gone {
				return true
			}
		}
	}
	return false
}

// stampsMoved tells whether a folder has changed since it was scanned, and marks the
// ones that have. Where it was only heard of what has changed, a scan has to tell.
func (r *run) stampsMoved(ctx context.Context) (bool, error) {
	local, err := r.Local.Folders(ctx, r.knownLocally())
	if err != nil {
		return false, err
	}
	moved := false
	for _, lf := range local {
		f := r.folders[lf.Name]
		if f == nil || !f.usable() || lf.Unfinished {
			continue
		}
		// Where folders come or go the process will hear that anything may have changed.
		if f.listing == nil && (lf.Stamp == f.base.Local || f.dealt.at(lf.Stamp) && !f.dealt.peeked && !r.stirred) {
			continue
		}
		if f.listing == nil || lf.Stamp != f.listing.Stamp {
			f.localDirty, f.names, f.dealt, moved = true, nil, nil, true
		}
	}
	return moved, nil
}

// holdBack drops all that seems to be gone: the Maildir does not come to rest.
func (r *run) holdBack(found map[*folder][]conflict.LocalChange) {
	for f, changes := range found {
		var kept []conflict.LocalChange
		for _, c := range changes {
			if c.Change != conflict.Gone || heldAs(c.Row, mail.Local) {
				kept = append(kept, c)
			} else {
				f.unsafe = true
				f.missed[c.Row.ID] = true
			}
		}
		found[f] = kept
	}
}

// addLocal makes items of what a scan found.
func (r *run) addLocal(ctx context.Context, g *gathered, f *folder, changes []conflict.LocalChange) error {
	for _, c := range changes {
		switch {
		case c.Change == conflict.New:
			g.newLocal[f] = append(g.newLocal[f], &conflict.Item{Folder: f.name, Local: conflict.New, File: c.File})
		case c.Doubt:
			if err := r.resolveDoubt(ctx, g, f, c); err != nil {
				return err
			}
		default:
			item := g.row(f, c.Row)
			item.Local, item.File, item.Relabel = c.Change, c.File, c.Relabel
			item.File.Flags = c.Flags
		}
	}
	return nil
}

// resolveDoubt compares the content of a file that has its key and another inode than
// base knows. The same key with other content is one message gone and one new.
func (r *run) resolveDoubt(ctx context.Context, g *gathered, f *folder, c conflict.LocalChange) error {
	identity, stat, err := r.measure(ctx, f, c.File)
	if errors.Is(err, mail.ErrGone) {
		f.localDirty, f.unsafe = true, true
		return nil
	}
	if err != nil {
		return err
	}
	if identity.Digest == c.Row.Digest {
		row := c.Row
		row.Stat = stat
		item := g.reput(f, row)
		item.Local, item.File, item.Stat, item.Relabel = c.Change, c.File, stat, c.Relabel
		item.File.Flags = c.Flags
		return nil
	}
	row := c.Row
	row.Key, row.State, row.Gone, row.Why = "", mail.Held, mail.Local, "another message has its file name"
	if err := r.commit(ctx, &mail.Batch{PutRows: []*mail.Row{&row}}); err != nil {
		return err
	}
	item := g.reput(f, row)
	item.Local, item.Due = conflict.Gone, true // it waits for nothing but this round
	g.newLocal[f] = append(g.newLocal[f], &conflict.Item{
		Folder: f.name, Local: conflict.New, File: c.File, Identity: identity, Stat: stat,
	})
	return nil
}

// measure reads a file from end to end, to tell which message it is.
func (r *run) measure(ctx context.Context, f *folder, file mail.File) (mail.Identity, mail.Stat, error) {
	source, err := r.Local.Read(ctx, f.name, file)
	if err != nil {
		return mail.Identity{}, mail.Stat{}, err
	}
	defer source.Close()
	return source.Identity(), source.Stat(), nil
}

// confirmGone makes sure of each message that a scan lacks: a second believed scan
// lacks it, too, and its last name is not there.
func (r *run) confirmGone(ctx context.Context, g *gathered) error {
	doubtful := map[*folder]map[mail.Key]*conflict.Item{}
	for _, item := range g.known() {
		if item.Local != conflict.Gone || item.Row.Key == "" {
			continue
		}
		f := r.folders[item.Folder]
		if doubtful[f] == nil {
			doubtful[f] = map[mail.Key]*conflict.Item{}
		}
		doubtful[f][item.Row.Key] = item
	}
	folders := r.usable(func(f *folder) bool { return len(doubtful[f]) > 0 })
	return r.each(ctx, folders, r.Connections, func(ctx context.Context, f *folder) error {
		missing := doubtful[f]
		believed := true
		if !allIn(f.twice, missing) {
			listing, err := r.Local.Scan(ctx, f.name, f.letters)
			if err != nil {
				return err
			}
			for file := range listing.Files {
				if item := missing[file.Key]; item != nil {
					r.presume(f, item)
					delete(missing, file.Key)
				}
			}
			believed = listing.Believed
		}
		for _, key := range slices.Sorted(maps.Keys(missing)) {
			item := missing[key]
			if !believed && !heldAs(*item.Row, mail.Local) {
				r.presume(f, item)
				continue
			}
			if item.Row.State == mail.Landing {
				continue // its name is not known yet, and two scans lack its key
			}
			_, err := r.Local.Stat(ctx, f.name, mail.File{Key: item.Row.Key, Name: item.Row.Name, New: item.Row.New})
			switch {
			case errors.Is(err, mail.ErrGone):
			case err != nil:
				return err
			default:
				r.presume(f, item)
			}
		}
		return nil
	})
}

// allIn tells whether a set has all keys of a map.
func allIn[V any](set map[mail.Key]bool, keys map[mail.Key]V) bool {
	for key := range keys {
		if !set[key] {
			return false
		}
	}
	return true
}

// presume takes back that a file is gone; the next scan will tell.
func (r *run) presume(f *folder, item *conflict.Item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	item.Local, f.localDirty, f.unsafe = conflict.Same, true, true
	if f.missed == nil {
		f.missed = map[mail.RowID]bool{} // no scan has looked: the message was held as gone before
	}
	f.missed[item.Row.ID] = true
}

// keepWhatMayHaveMoved leaves out the files that are gone and may have moved: to a folder
// that has changed and cannot be looked at, or be worked on, any more, or that is held and has
// new files of that content, to a file of their size that cannot be read, or to one that was
// renamed before it could be; whatever has become of their messages on the server, since what is
// to be done depends on the file.
func (r *run) keepWhatMayHaveMoved(g *gathered, items []*conflict.Item) []*conflict.Item {
	unknown, stopped := mail.Folder(""), false
	for _, f := range r.folders {
		stopped = stopped || f.stopped && f.localDirty // the next run looks
		if (f.passedOver != "" || f.selected && f.failed != nil && (f.localMoved || f.localDirty)) && (unknown == "" || f.name < unknown) {
			unknown = f.name
		}
	}
	if unknown == "" && !stopped && len(r.unread) == 0 && len(g.unmeasured) == 0 && len(g.inHeld) == 0 {
		return items
	}
	var left []*conflict.Item
	kept := map[[2]mail.Folder]int{}
	for _, item := range items {
		to := unknown
		for _, u := range r.unread {
			if item.Row != nil && u.stat.Size == item.Row.Stat.Size {
				to = u.folder
			}
		}
		if item.Row != nil {
			to = cmp.Or(g.inHeld[item.Row.Content()], to)
		}
		had := item.Row != nil && (item.Row.State == mail.Settled || item.Row.State == mail.Landing)
		if item.Local != conflict.Gone || item.Moved != nil || !had ||
			to == "" && !stopped && len(g.unmeasured) == 0 {
			left = append(left, item)
			continue
		}
		if len(g.unmeasured) > 0 {
			r.presume(r.folders[item.Folder], item)
		}
		for _, name := range []mail.Folder{item.Folder, item.Origin} {
			if f := r.folders[name]; f != nil {
				r.leave(f)
			}
		}
		if item.Followed || item.Remote == conflict.Gone {
			continue
		}
		if to != "" {
			kept[[2]mail.Folder{item.Folder, to}]++
		}
	}
	for from, n := range kept {
		why := "where not all can be read"
		if r.folders[from[1]].held {
			why = "which waits for consent"
		}
		r.once(from[0], fmt.Sprintf("%d gone from here stay on the server: they may be in %q, %s", n, string(from[1]), why))
	}
	return left
}

// settleLanded records that messages had landed whose landing was not recorded: their files
// have moved since.
func (r *run) settleLanded(ctx context.Context, gone []*conflict.Item) error {
	batch := &mail.Batch{}
	for _, item := range gone {
		if item.Row.State != mail.Landing || item.Moved == nil {
			continue
		}
		row := *item.Row
		row.State, row.Name = mail.Settled, string(row.Key)
		item.Row = &row
		batch.PutRows = append(batch.PutRows, &row)
	}
	return r.commit(ctx, batch)
}

// fetchAgain makes downloads of the messages whose landing was interrupted and whose
// files are nowhere, under no other name either: a crash came before they were published,
// or somebody was quick to remove them, which cannot be told apart. And of those whose files an
// interrupted run was about to move to where their messages were by then, and that are where they
// were again, as on a server that was restored: the file was not removed from there.
func (r *run) fetchAgain(gone []*conflict.Item) {
	for _, item := range gone {
		if item.Row == nil {
			continue
		}
		why := "its download was interrupted"
		if r.followed[item.Row.ID] && item.Row.State == mail.Settled && item.Remote != conflict.Gone {
			why = "its file was moved, and it was not"
		} else if item.Row.State != mail.Landing {
			continue
		}
		if item.Local != conflict.Gone || item.Moved != nil {
			continue
		}
		row := *item.Row
		row.Key, row.State, row.Why = "", mail.Pending, why
		item.Row, item.Local, item.Due = &row, conflict.Same, true
	}
}
