package sync

import (
	"context"
	"iter"
	"maps"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// A run looks once more at what it has written into. Often that is its marker alone: flags,
// uploads and removals that come from here change no name. Then the listing of before still holds,
// and only of messages that the run has recorded something of base may say something else.

// reading is a believed listing of a folder of the Maildir.
type reading struct {
	listing mail.Listing
	// open are the keys of the messages that were not as base had them, and of those of which the
	// run has recorded something since.
	open map[mail.Key]bool
}

// mostOpen is how many messages are looked up in base one by one, rather than all of them read.
const mostOpen = 256

// remember keeps what was found in a folder.
func (r *run) remember(id mail.FolderID, diff localDiff) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !diff.listing.Believed || id == 0 {
		delete(r.readings, id)
		return
	}
	last := &reading{diff.listing, make(map[mail.Key]bool, len(diff.changes))}
	for _, c := range diff.changes {
		last.open[c.Known.Key], last.open[c.File.Key] = true, true
	}
	r.readings[id] = last
}

// place notes where the messages are that a plan is about.
func (r *run) place(plan conflict.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.places = map[mail.RowID]upload{}
	for i := range plan.Actions {
		item := plan.Actions[i].Item
		for _, of := range []*conflict.Item{item, item.From, item.Moved, item.Source} {
			if of != nil && of.Row != nil {
				r.places[of.Row.ID] = upload{of.Row.Folder, of.Row.Key}
			}
		}
	}
}

// reopen notes that base is about to say something else of messages, or has just begun to. Of one
// of which the run does not know where its file was, it could be in any folder.
func (r *run) reopen(b *mail.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	touch := func(at upload) {
		if last := r.readings[at.folder]; last != nil {
			last.open[at.key] = true
		}
	}
	before := func(id mail.RowID) {
		at, known := r.places[id]
		if touch(at); !known && id != 0 {
			clear(r.readings)
		}
	}
	for _, id := range b.DropRows {
		before(id)
	}
	for _, row := range b.PutRows {
		before(row.ID)
		touch(upload{row.Folder, row.Key})
	}
}

// notePlaces notes where base has messages now.
func (r *run) notePlaces(b *mail.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range b.PutRows {
		if r.places != nil {
			r.places[row.ID] = upload{row.Folder, row.Key}
		}
	}
}

// readAgain is readLocal where the last listing still holds. Else that is forgotten: two of them
// need not be in memory at once.
func (r *run) readAgain(ctx context.Context, name mail.Folder, id mail.FolderID) (localDiff, bool) {
	r.mu.Lock()
	last := r.readings[id]
	delete(r.readings, id)
	var keys []mail.Key
	if last != nil {
		keys = slices.Sorted(maps.Keys(last.open))
	}
	r.mu.Unlock()
	if last == nil || len(keys) > mostOpen {
		return localDiff{}, false
	}
	stamp, still, err := r.Local.Still(ctx, name, last.listing)
	if err != nil || !still {
		return localDiff{}, false // a scan tells what is wrong
	}
	listing := last.listing
	listing.Stamp = stamp
	diff, err := r.diffListing(ctx, id, listing, r.knownOf(ctx, id, keys), filesOf(listing, keys))
	return diff, err == nil
}

// knownOf is known for some keys.
func (r *run) knownOf(ctx context.Context, id mail.FolderID, keys []mail.Key) iter.Seq2[mail.Known, error] {
	return func(yield func(mail.Known, error) bool) {
		for _, key := range keys {
			if key == "" {
				continue
			}
			for row, err := range r.State.RowsByKey(ctx, id, key) {
				if err == nil && row.Key != key {
					break
				}
				if !yield(row.Known(), err) || err != nil {
					return
				}
				break
			}
		}
	}
}

// filesOf gives the files of a listing that have one of the keys, which are in order.
func filesOf(listing mail.Listing, keys []mail.Key) iter.Seq[mail.File] {
	return func(yield func(mail.File) bool) {
		for file := range listing.Files {
			for len(keys) > 0 && keys[0] < file.Key {
				keys = keys[1:]
			}
			if len(keys) == 0 {
				return
			}
			if keys[0] == file.Key && !yield(file) {
				return
			}
		}
	}
}
