package sync

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// What an interrupted run was about to do stands in its intents. Here is what is made of
// them: which files may have been uploaded or moved, what became of those since, and when
// an intent has nothing more to say.

// dropFruitless drops the intents of uploads that have come to nothing: the folder was
// read on both sides since, and there is no message that could be one of them. What comes
// there later is somebody else's.
func (r *run) dropFruitless(ctx context.Context, g *gathered) error {
	batch := &mail.Batch{}
	for _, in := range r.intents {
		f := r.folderOf(in.Folder)
		if in.Kind == mail.Upload && f != nil && f.usable() && f.view != nil && !f.remoteDirty && f.listing != nil &&
			!g.resolving[upload{in.Folder, in.Key}] && !g.unsure[upload{in.Folder, in.Key}] && !g.unmeasured[f] && !misses(f, in) {
			batch.DropIntents = append(batch.DropIntents, in.ID)
		}
	}
	return r.commit(ctx, batch)
}

// misses tells whether the last scan of a folder lacks the file that an interrupted run was
// about to upload, and is not believed, or this run could not read it.
func misses(f *folder, in mail.Intent) bool {
	return f.damaged[in.Key] || f.listing != nil && !f.listing.Believed && !lists(f.listing, in.Key)
}

func lists(listing *mail.Listing, key mail.Key) bool {
	for file := range listing.Files {
		if file.Key == key {
			return true
		}
	}
	return false
}

// withoutForerunners leaves out the messages that are gone on both sides because an
// interrupted run has moved them: what is recovered is what they are now, and a new file
// that is like them is none of theirs.
func (g *gathered) withoutForerunners(gone []*conflict.Item) []*conflict.Item {
	moved := map[mail.Digest]int{}
	for _, item := range g.recovered {
		if item.Moved == nil {
			moved[item.Row.Content()]++
		}
	}
	return slices.DeleteFunc(slices.Clone(gone), func(item *conflict.Item) bool {
		if item.Remote != conflict.Gone || moved[item.Row.Content()] == 0 {
			return false
		}
		moved[item.Row.Content()]--
		return true
	})
}

// movedBack looks whether the file of a message that an interrupted run has moved on the
// server was moved back since, under the name that it had before: then base still knows
// it there, as a file whose message is gone. It gives the file as a new one that came from
// where the message is.
func (r *run) movedBack(g *gathered, item *conflict.Item) []*conflict.Item {
	for _, other := range g.known() {
		if other == item || other.Row.State != mail.Settled || other.Remote != conflict.Gone || !other.Lonely() ||
			other.Moved != nil || other.From != nil || other.Row.Content() != item.Row.Content() {
			continue
		}
		file := &conflict.Item{
			Folder: other.Folder, Local: conflict.New, File: fileOf(other), Identity: other.Row.Identity,
			Stat: other.Stat, From: item, Source: item,
		}
		if file.Stat == (mail.Stat{}) {
			file.Stat = other.Row.Stat
		}
		item.Moved = file
		// That is where the message of the other row is, too: an equal one that is new elsewhere is
		// another one. And its key is the file's, so it must not outlive the move.
		other.Local, other.File, other.Moved = conflict.Gone, mail.File{}, file
		return []*conflict.Item{file}
	}
	return nil
}

// mayHaveMoved tells whether a new file may be one that has moved here, from where a scan
// lacks it that is not believed, or from a folder that cannot be looked at. It is left until
// that is known: if it were copied, other devices would see a copy and, later, a removal,
// and what they have done with the message meanwhile would stand beside it.
func (r *run) mayHaveMoved(ctx context.Context, g *gathered, item *conflict.Item, alike []mail.Row) (bool, error) {
	var from []*folder
	for _, row := range alike {
		f := r.folderOf(row.Folder)
		if f == nil || !f.synced() && f.passedOver == "" || row.Content() != item.Identity.Content() || row.Key == "" {
			continue
		}
		known := &conflict.Item{Row: &row}
		if met := g.rows[row.ID]; met != nil {
			known = met
		}
		if known.Local == conflict.Gone {
			continue
		}
		missed := f.missed[row.ID] || fileOf(known).Name == "" // its landing was interrupted
		if !missed && (f.onLocal || f.passedOver != "") {
			// Its folder may have changed since it was scanned, or was not scanned, or cannot be.
			_, err := r.Local.Stat(ctx, cmp.Or(f.passedOver, f.name), fileOf(known))
			if missed = errors.Is(err, mail.ErrGone) || err != nil && f.failed != nil; err != nil && !missed {
				return false, err
			}
		}
		if missed {
			from = append(from, f)
		}
	}
	for _, in := range r.intents { // of an upload, which has no row yet
		f := r.folderOf(in.Folder)
		if in.Kind == mail.Upload && f != nil && f.usable() && in.Identity.Content() == item.Identity.Content() && misses(f, in) {
			from = append(from, f)
		}
	}
	for _, f := range from {
		r.dirty(f, mail.Local)
		r.leave(f)
	}
	if len(from) > 0 {
		r.dirty(r.folders[item.Folder], mail.Local)
		r.leave(r.folders[item.Folder])
	}
	return len(from) > 0, nil
}

// awaitFiles leaves out the new messages that may be files of which too little is known in
// this round: new ones of their folder that could not be read, or of any where their folder has
// lost track of its own; and those that an interrupted run may have uploaded, wherever they went
// since, and that could not be read, or that a scan lacks which is not believed. Unless they have
// come from elsewhere, they wait for the next round, or run.
func (r *run) awaitFiles(g *gathered, f *folder, news []*conflict.Item) []*conflict.Item {
	if r.DryRun {
		return news
	}
	return slices.DeleteFunc(slices.Clone(news), func(item *conflict.Item) bool {
		if item.From != nil {
			return false
		}
		m := item.Message
		wait := f.filed[m.UID] || r.wasUnlearnt(m) || r.mayBeUnread(f, m)
		again := g.unmeasured[f] || f.loss != conflict.NoLoss && len(g.unmeasured) > 0 || r.mayBeMissed(g, m)
		for _, in := range r.intents {
			at := r.folderOf(in.Folder)
			if in.Kind != mail.Upload || at == nil || !at.synced() || m.Size != in.Identity.Size ||
				at == f && m.UID < in.UIDNext {
				continue
			}
			if !at.usable() || at.damaged[in.Key] {
				wait = true
			} else if at.listing == nil || g.unmeasured[at] || misses(at, in) || g.unsure[upload{in.Folder, in.Key}] {
				r.dirty(at, mail.Local)
				r.leave(at)
				again = true
			}
		}
		if again {
			r.dirty(f, mail.Local)
			r.dirty(f, mail.Remote)
		}
		if wait = wait || again; wait {
			r.leave(f)
		}
		return wait
	})
}

// mayBeMissed tells whether a new message may be one that has left where base has it, and whose
// file no scan could find, nor say that it is gone.
func (r *run) mayBeMissed(g *gathered, m mail.Message) bool {
	for _, f := range r.folders {
		for id := range f.missed {
			if known := g.rows[id]; known != nil && known.Remote == conflict.Gone && known.Row.ServerSize() == m.Size {
				return true
			}
		}
	}
	return false
}

// mayBeUnread tells whether a message of a folder whose messages and files are to be known again,
// or for the first time, may be a file that could not be read: it has that one's time.
func (r *run) mayBeUnread(f *folder, m mail.Message) bool {
	anew := f.loss != conflict.NoLoss || f.outrun || f.base.Remote.Unread()
	return anew && slices.ContainsFunc(r.unread, func(u unread) bool {
		return u.folder == f.name && time.Unix(0, u.stat.ModTime).Unix() == m.Date.Unix()
	})
}

// uploading tells whether an interrupted run was about to upload the file.
func (r *run) uploading(f *folder, key mail.Key) bool {
	return slices.ContainsFunc(r.intents, func(in mail.Intent) bool {
		return in.Kind == mail.Upload && in.Folder == f.base.ID && in.Key == key
	})
}

// uploadedAndGone gives the files that an interrupted run was about to upload, and
// that are no longer there under that key: moved on, or removed. If their message is
// found on the server, it is one whose file is gone, and not a new one.
func (r *run) uploadedAndGone(g *gathered, f *folder) []*conflict.Item {
	if f.listing == nil || !f.listing.Believed || r.DryRun {
		return nil
	}
	gone := map[mail.Key]*conflict.Item{}
	for _, in := range r.intents {
		if in.Kind == mail.Upload && in.Folder == f.base.ID {
			gone[in.Key] = &conflict.Item{Folder: f.name, Local: conflict.New, File: mail.File{Key: in.Key}, Identity: in.Identity}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	for file := range f.listing.Files {
		delete(gone, file.Key)
	}
	var items []*conflict.Item
	for _, key := range slices.Sorted(maps.Keys(gone)) {
		items = append(items, gone[key])
	}
	return items
}

// formerly makes, of new files whose messages may have been where they are, and that
// somebody may have moved on, the items that they would be then: those that an
// interrupted run may have uploaded, there or where they were before, or brought here before
// base was restored, those that have left a folder that is held, and all where the Maildir
// follows the server. A file whose upload broke off, or was refused, before has a row.
func (r *run) formerly(g *gathered, arrived []*conflict.Item) map[*conflict.Item]*conflict.Item {
	uploads, gone := map[upload]bool{}, maps.Clone(g.left)
	for _, in := range r.intents {
		if r.Remote.Abilities().Labels {
			// That it is new elsewhere, as in All Mail, does not say that it has left its folder;
			// and one that is uploaded again is not stored again.
			break
		}
		if in.Kind != mail.Upload || r.gotNothing(in) {
			continue
		}
		at := upload{in.Folder, in.Key}
		uploads[at] = true
		if f := r.folderOf(in.Folder); f != nil && f.listing != nil && f.listing.Believed && !lists(f.listing, in.Key) && !g.resolving[at] {
			gone[in.Identity.Content()]++
		}
	}
	files, follows := map[*conflict.Item]*conflict.Item{}, r.follows(mail.Local)
	for _, file := range arrived {
		if file.Row != nil || file.Remote == conflict.New {
			continue
		}
		f, content := r.folders[file.Folder], file.Identity.Content()
		mine := uploads[upload{f.base.ID, file.File.Key}]
		if from := file.From; from != nil && mine && from.Remote != conflict.Gone && !r.Remote.Abilities().Move {
			// It was copied to its file, and is to be removed from where it was.
		} else if from != nil {
			// Its file has moved since.
			if from.Row.State != mail.Pending || from.Row.UID != 0 {
				continue
			}
			mine = mine || uploads[upload{from.Row.Folder, from.Row.Key}]
		} else if !mine && gone[content] > 0 {
			mine = true
			gone[content]--
		}
		outrun := f.outrun && !r.Remote.Abilities().Labels && !r.noneHasLeft(f)
		if mine || follows || outrun { // one that has come from where it waited is as new as any
			files[r.settledOnce(file)] = file
			g.uploaded[file] = mine
		}
	}
	for _, file := range g.stranded {
		files[r.settledOnce(file)] = file
	}
	for _, item := range g.known() {
		// One that has a date was to be put there again when it was refused: who else has kept
		// the message may have been quicker.
		mine := uploads[upload{item.Row.Folder, item.Key()}] || !item.Row.Date.IsZero()
		if item.Row.State == mail.Pending && item.Row.UID == 0 && item.Lonely() && (mine || follows) {
			files[r.settledOnce(item)] = item
			g.uploaded[item] = mine
		}
	}
	return files
}

// gotNothing tells whether the folder of an interrupted upload has given out no UID since. Then
// what is like the file elsewhere did not come from there.
func (r *run) gotNothing(in mail.Intent) bool {
	f := r.folderOf(in.Folder)
	return f != nil && r.gaveNone(f, mail.Cursor{UIDValidity: in.UIDValidity, UIDNext: in.UIDNext})
}

// noneHasLeft tells whether all messages are still in a folder that have come to it since base knew
// it: then none of its files is one that has moved on, and it may be that a run which base does
// not know of was killed as it began.
func (r *run) noneHasLeft(f *folder) bool {
	was := f.base.Remote
	here := f.view != nil && f.view.Cursor.UIDValidity == was.UIDValidity && was.UIDNext != 0 &&
		int64(f.view.Cursor.UIDNext)-int64(was.UIDNext) == int64(f.came)
	return here || r.gaveNone(f, was)
}

// gaveNone tells whether a folder has given out no UID since it was so far.
func (r *run) gaveNone(f *folder, since mail.Cursor) bool {
	if !f.usable() || !f.onRemote || since.UIDNext == 0 {
		return false
	}
	now := r.asRead(f)
	return now.UIDValidity == since.UIDValidity && now.UIDNext == since.UIDNext
}

// settledOnce is the item of a file that was never in step as if it had been, and its
// message were gone. Which flags both had nobody knows: so what only one side has by now is taken
// for news, and not for something that the other one has taken away.
func (r *run) settledOnce(file *conflict.Item) *conflict.Item {
	item := *file
	item.Local, item.Remote, item.From, item.Source = conflict.Same, conflict.Gone, nil, nil
	if row := file.Row; row != nil {
		item.File = fileOf(file)
		if item.Stat == (mail.Stat{}) {
			item.Stat = row.Stat
		}
		if item.Identity.Digest == (mail.Digest{}) {
			item.Identity = row.Identity
		}
	}
	if !item.File.Flags.Empty() {
		item.Local = conflict.Flags
	}
	item.Row = &mail.Row{
		Folder: r.folders[file.Folder].base.ID, Key: item.File.Key, Identity: item.Identity,
		Date: time.Unix(0, item.Stat.ModTime), Name: item.File.Name, New: item.File.New, Stat: item.Stat,
	}
	if file.Row != nil {
		item.Row.ID = file.Row.ID
	}
	return &item
}

// uploadsOf gives the open intents to upload a file of a folder.
func (r *run) uploadsOf(folder mail.FolderID, key mail.Key) []mail.IntentID {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []mail.IntentID
	for _, in := range r.intents {
		if in.Kind == mail.Upload && in.Folder == folder && in.Key == key {
			ids = append(ids, in.ID)
		}
	}
	return ids
}

// movesOf gives the open intents to move a row's file.
func (r *run) movesOf(row *mail.Row) []mail.IntentID {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []mail.IntentID
	for _, in := range r.intents {
		if in.Kind == mail.Move && in.Row == row.ID && in.Key != "" {
			ids = append(ids, in.ID)
		}
	}
	return ids
}

// dropUploads drops, with the rows of a batch that are in step, the intents to upload
// their files. If one stayed, and the message came back to its folder after it had gone
// elsewhere, it would be taken for the upload, and its file for one that was removed.
func (r *run) dropUploads(b *mail.Batch) {
	for _, row := range b.PutRows {
		if row.State == mail.Settled && row.UID != 0 && row.Key != "" {
			b.DropIntents = append(b.DropIntents, r.uploadsOf(row.Folder, row.Key)...)
		}
	}
}

// forgetIntents forgets those that were dropped.
func (r *run) forgetIntents(dropped []mail.IntentID) {
	if len(dropped) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intents = slices.DeleteFunc(slices.Clone(r.intents), func(in mail.Intent) bool { return slices.Contains(dropped, in.ID) })
}
