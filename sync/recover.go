package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mailtwin/conflict/mail"
)

// recoverFiles ends what an interrupted run has begun to do with files: downloads, after
// they were recorded, and moves. What still lies in tmp/ is put into its place. The scan
// that follows settles the rows, or finds that the file is in neither place.
func (r *run) recoverFiles(ctx context.Context) error {
	if err := r.recoverMoves(ctx); err != nil {
		return err
	}
	for _, f := range r.usable(func(*folder) bool { return true }) {
		var landings []mail.Row
		for _, row := range r.unsettled[f.base.ID] {
			if row.State == mail.Landing {
				landings = append(landings, row)
			}
		}
		if len(landings) == 0 {
			continue
		}
		f.localDirty = true
		if r.DryRun || !f.onLocal {
			continue
		}
		if err := r.fail(f, r.recoverLandings(ctx, f, landings)); err != nil {
			return err
		}
	}
	return nil
}

// recoverLandings publishes what of a folder's landings is not there. A crash may leave the
// name in tmp/ beside the one that a file was published under, and that somebody has changed
// since.
func (r *run) recoverLandings(ctx context.Context, f *folder, landings []mail.Row) error {
	listing, err := r.Local.Scan(ctx, f.name, f.letters)
	if err != nil {
		return err
	}
	f.letters = listing.Letters // the run may have given some that base does not know
	for _, row := range landings {
		if lists(&listing, row.Key) {
			continue
		}
		moved, err := r.otherName(ctx, f, row)
		if err != nil {
			return err
		}
		if moved != nil {
			continue
		}
		letters, err := r.lettersFor(ctx, f, row.Flags.Keywords)
		if err == nil {
			_, err = r.Local.Publish(ctx, f.name, row.Key, row.Flags, letters)
		}
		if err != nil && !errors.Is(err, mail.ErrGone) {
			return err
		}
	}
	r.changed(f)
	return r.Local.SyncFolder(ctx, f.name)
}

// recoverMoves ends the moves that are seen in both places: where file systems do not
// rename in one step, the power can go in between. Taken for a copy, the file would go to
// the server once more.
func (r *run) recoverMoves(ctx context.Context) error {
	batch := &mail.Batch{}
	for _, in := range r.intents {
		f := r.folderOf(in.Folder)
		if in.Kind != mail.Move || in.Key == "" || r.DryRun || f == nil || !f.usable() || !f.onLocal {
			continue
		}
		if err := r.fail(f, r.recoverMove(ctx, f, in)); err != nil {
			return err
		}
		if f.failed == nil {
			batch.DropIntents = append(batch.DropIntents, in.ID)
		}
	}
	return r.commit(ctx, batch)
}

func (r *run) recoverMove(ctx context.Context, f *folder, in mail.Intent) error {
	rows, err := r.State.Alike(ctx, in.Identity.Fingerprint)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	i := slices.IndexFunc(rows, func(row mail.Row) bool { return row.ID == in.Row && row.Folder == in.Folder && row.Key == in.Key })
	if i < 0 {
		return nil
	}
	listing, err := r.Local.Scan(ctx, f.name, f.letters)
	if err != nil {
		return err
	}
	for file := range listing.Files {
		if file.Key != in.Key || file.Inode != rows[i].Stat.Inode {
			continue
		}
		other, err := r.otherName(ctx, f, rows[i])
		if err != nil || other == nil {
			return err
		}
		if err := r.Local.Remove(ctx, f.name, file); err != nil && !errors.Is(err, mail.ErrGone) {
			return err
		}
		f.localDirty, other.localDirty = true, true
		r.changed(f)
		return r.Local.SyncFolder(ctx, f.name)
	}
	return nil
}

// otherName finds the folder in which a row's file has another name, that base knows
// nothing of; nil if there is none. A file that others were made of as links, or that is
// one, has other names for good.
func (r *run) otherName(ctx context.Context, f *folder, row mail.Row) (*folder, error) {
	rows, err := r.State.Alike(ctx, row.Fingerprint)
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	for _, known := range rows {
		if row.Stat.Inode == 0 || known.ID != row.ID && known.Stat.Inode == row.Stat.Inode {
			return nil, nil
		}
	}
	for _, at := range r.usable(func(at *folder) bool { return at.onLocal && at.localDirty }) {
		listing, err := r.Local.Scan(ctx, at.name, at.letters)
		if err != nil {
			return nil, r.fail(at, err)
		}
		for file := range listing.Files {
			if file.Inode == row.Stat.Inode && (at != f || file.Key != row.Key) {
				return at, r.secure(ctx, at, []mail.File{file})
			}
		}
	}
	return nil, nil
}
