package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// begun is what an interrupted run has begun to do with a file: to put it into its place,
// or to move it into another folder.
type begun struct {
	folder *folder
	row    mail.Row
	file   mail.File // that was to move and is there; no name: a landing, or it has left
	left   bool      // the file that was to move is not there any more
	placed bool      // the landing is in its place, and need not be there to stay yet
	others []place   // where the file is under another name, of which base knows nothing
}

type place struct {
	folder *folder
	file   mail.File
}

// recoverFiles ends what an interrupted run has begun to do with files: downloads, after
// they were recorded, and moves. What still lies in tmp/ is put into its place. The scan
// that follows settles the rows, or finds that the file is in neither place.
//
// Where a file system does not rename in one step, the power can leave a file under both
// names. A crash may so leave the name in tmp/ beside the one that a file was published
// under, and that somebody has changed since; and one that was to move in both folders.
// Taken for a copy, it would go to the server once more. So it loses its old name. Where a
// program has moved the file on by that one, it loses the other. And where it has one name,
// which is not the old one, base forgets the move once that is so after a crash, too.
func (r *run) recoverFiles(ctx context.Context) error {
	var all []begun
	for _, f := range r.usable(func(*folder) bool { return true }) {
		files, err := r.begunIn(ctx, f)
		if err := r.fail(f, err); err != nil {
			return err
		}
		all = append(all, files...)
	}
	if len(all) > 0 {
		if err := r.otherNames(ctx, all); err != nil {
			return err
		}
		for _, b := range all {
			if b.left && len(b.others) > 1 {
				ours := max(0, slices.IndexFunc(b.others, func(p place) bool { return p.file.Key != b.row.Key }))
				all = append(all, begun{folder: b.others[ours].folder, row: b.row, file: b.others[ours].file, others: b.others})
			}
		}
		for _, f := range r.usable(func(*folder) bool { return true }) {
			mine := slices.DeleteFunc(slices.Clone(all), func(b begun) bool { return b.folder != f })
			if err := r.fail(f, r.recover(ctx, f, mine)); err != nil {
				return err
			}
		}
	}
	ended := &mail.Batch{}
	for _, in := range r.intents {
		if f := r.folderOf(in.Folder); in.Kind == mail.Move && in.Key != "" && f != nil && f.usable() && f.onLocal {
			ended.DropIntents = append(ended.DropIntents, in.ID)
			if r.followed == nil {
				r.followed = map[mail.RowID]bool{}
			}
			r.followed[in.Row] = true
		}
	}
	return r.commit(ctx, ended)
}

// begunIn finds what was begun in a folder.
func (r *run) begunIn(ctx context.Context, f *folder) ([]begun, error) {
	var files []begun
	moving := map[mail.Key]mail.Intent{}
	for _, in := range r.intents {
		if in.Kind == mail.Move && in.Key != "" && in.Folder == f.base.ID {
			moving[in.Key] = in
		}
	}
	for _, row := range r.unsettled[f.base.ID] {
		if row.State == mail.Landing {
			f.localDirty = true
			files = append(files, begun{folder: f, row: row})
		}
	}
	if r.DryRun || !f.onLocal || len(moving)+len(files) == 0 {
		return nil, nil
	}
	listing, err := r.Local.Scan(ctx, f.name, f.letters)
	if err != nil {
		return nil, err
	}
	f.letters = listing.Letters // the run may have given some that base does not know
	there := map[mail.Key]bool{}
	for file := range listing.Files {
		there[file.Key] = true
		in, ok := moving[file.Key]
		if !ok {
			continue
		}
		if in.Row == 0 { // it has none: its upload was not recorded, and its message has moved since
			row := mail.Row{Folder: f.base.ID, Key: in.Key, Identity: in.Identity, Stat: mail.Stat{Inode: file.Inode}}
			files = append(files, begun{folder: f, row: row, file: file})
			continue
		}
		row, err := r.movedBy(ctx, in)
		if err != nil {
			return nil, err
		}
		if row != nil && row.Stat.Inode == file.Inode {
			files = append(files, begun{folder: f, row: *row, file: file})
		}
	}
	for i, b := range files {
		files[i].placed = b.file.Name == "" && there[b.row.Key]
	}
	for _, in := range r.intents {
		if moving[in.Key].ID != in.ID || there[in.Key] {
			continue
		}
		row := &mail.Row{Folder: f.base.ID, Key: in.Key, Identity: in.Identity}
		if in.Row != 0 {
			if row, err = r.movedBy(ctx, in); err != nil {
				return nil, err
			}
		}
		if row != nil {
			files = append(files, begun{folder: f, row: *row, left: true})
		}
	}
	return files, nil
}

// movedBy is the row of the file that an intent moves, as that lay where it was to be moved from:
// base may have it elsewhere still, since a program has moved it before. nil if there is none.
func (r *run) movedBy(ctx context.Context, in mail.Intent) (*mail.Row, error) {
	rows, err := r.State.Alike(ctx, in.Identity.Fingerprint)
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	for _, row := range rows {
		if row.ID == in.Row {
			row.Folder, row.Key = in.Folder, in.Key
			return &row, nil
		}
	}
	return nil, nil
}

// recover ends what was begun in a folder.
func (r *run) recover(ctx context.Context, f *folder, files []begun) error {
	if len(files) == 0 {
		return nil
	}
	for _, b := range files {
		var err error
		if moved := b.file.Name != ""; moved && len(b.others) > 0 {
			f.localDirty = true
			err = r.Local.Remove(ctx, f.name, b.file)
		} else if !moved && !b.left && !b.placed && len(b.others) == 0 {
			var letters mail.Letters
			if letters, err = r.lettersFor(ctx, f, b.row.Flags.Keywords); err == nil {
				_, err = r.Local.Publish(ctx, f.name, b.row.Key, b.row.Flags, letters)
			}
		}
		if err != nil && !errors.Is(err, mail.ErrGone) {
			return err
		}
	}
	r.changed(f)
	return r.Local.SyncFolder(ctx, f.name)
}

// otherNames finds the files that have another name, of which base knows nothing. Where copies
// are links to the file, that is one only if they have the names that base knows: else it may be
// one of theirs.
func (r *run) otherNames(ctx context.Context, files []begun) error {
	byInode := map[uint64]*begun{}
	links := map[mail.FolderID]map[mail.Key]*begun{} // the names of copies that are to be there
	for i, b := range files {
		inode := b.row.Stat.Inode
		if b.placed || inode == 0 {
			continue
		}
		rows, err := r.State.Alike(ctx, b.row.Fingerprint)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		for _, row := range rows {
			if row.ID == b.row.ID || row.Stat.Inode != inode {
				continue
			}
			if links[row.Folder] == nil {
				links[row.Folder] = map[mail.Key]*begun{}
			}
			links[row.Folder][row.Key] = &files[i]
		}
		byInode[inode] = &files[i]
	}
	if len(byInode) == 0 {
		return nil
	}
	// A program may have moved one just now.
	if _, err := r.stampsMoved(ctx); err != nil {
		return err
	}
	for _, at := range r.usable(func(at *folder) bool { return at.onLocal && at.localDirty }) {
		var met []mail.File
		listing, err := r.Local.Scan(ctx, at.name, at.letters)
		if err == nil {
			for file := range listing.Files {
				b := byInode[file.Inode]
				if _, known := links[at.base.ID][file.Key]; known {
					delete(links[at.base.ID], file.Key)
				} else if b != nil && (at != b.folder || file.Key != b.row.Key) {
					b.others = append(b.others, place{at, file})
					met = append(met, file)
				}
			}
			err = r.secure(ctx, at, met)
		}
		if err := r.fail(at, err); err != nil {
			return err
		}
	}
	for id, gone := range links {
		if at := r.folderOf(id); at != nil && at.usable() && !at.localDirty {
			continue // they are where base has them
		}
		for _, b := range gone {
			b.others = nil
		}
	}
	return nil
}

// cameBack finds the messages that are on the server again, when base says that they are gone there,
// and their files are gone, too, as where a run was killed that was removing them. A server that was
// restored to what it was then has nothing that base does not know; so they are asked for.
func (r *run) cameBack(ctx context.Context, g *gathered) error {
	of := map[*folder][]*conflict.Item{}
	for _, item := range g.known() {
		f := r.folders[item.Folder]
		if f.usable() && f.onRemote && item.Local == conflict.Gone && item.Remote == conflict.Gone && heldAs(*item.Row, mail.Remote) {
			of[f] = append(of[f], item)
		}
	}
	folders := r.usable(func(f *folder) bool { return len(of[f]) > 0 })
	return r.each(ctx, folders, r.Connections, func(ctx context.Context, f *folder) error {
		again, err := r.thereAgain(ctx, f, of[f])
		for item := range again {
			item.Remote = conflict.Same
		}
		return err
	})
}

// thereAgain tells which of the messages, that base says are gone on the server, are there.
func (r *run) thereAgain(ctx context.Context, f *folder, items []*conflict.Item) (map[*conflict.Item]bool, error) {
	at := map[mail.UID]*conflict.Item{}
	var uids mail.UIDSet
	for _, item := range items {
		if item.Row.UID != 0 {
			at[item.Row.UID] = item
			uids.Add(item.Row.UID)
		}
	}
	if len(at) == 0 || !f.onRemote {
		return nil, nil
	}
	again := map[*conflict.Item]bool{}
	told, err := r.Remote.Identify(ctx, f.name, r.validity(f), uids, mail.Sizes)
	for _, id := range told {
		if item := at[id.UID]; item != nil && id.Identity.Size == item.Row.ServerSize() && id.Date.Unix() == item.Row.Date.Unix() {
			again[item] = true
		}
	}
	return again, err
}
