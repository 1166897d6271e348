package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// movedRow is the row of a message that has moved into the action's folder.
func movedRow(f *folder, a *conflict.Action) *mail.Row {
	row := *a.Item.From.Row
	row.Folder, row.Flags = f.base.ID, a.Base
	row.State, row.Why, row.Tries, row.RetryAt = mail.Settled, "", 0, time.Time{}
	row.ForgetPushed()
	return &row
}

// leaving is a message that moves on the server to where its file is already.
type leaving struct {
	action *conflict.Action
	file   mail.File
	intent *mail.Intent
	moving *mail.Moving
}

// moveRemote moves messages on the server to where their files are already. After a
// crash, or where the server does not tell the new UID, the message is gone where it was
// and new where its file is. The intents let pairing tie the two also if the server gives
// back other bytes than the file has.
func (r *run) moveRemote(ctx context.Context, works map[*folder]*work) error {
	moves := map[*folder][]*leaving{} // by where they go
	folders := r.usable(func(f *folder) bool { return works[f] != nil && len(works[f].movesThere) > 0 })
	err := r.each(ctx, folders, r.Connections, func(ctx context.Context, f *folder) error {
		all, err := r.intendMoves(ctx, works[f])
		r.mu.Lock()
		defer r.mu.Unlock()
		moves[f] = all
		return err
	})
	if err != nil {
		return err
	}
	visits := map[*folder]*mail.Visit{}
	for _, f := range r.usable(func(f *folder) bool { return len(moves[f]) > 0 }) {
		for _, l := range moves[f] {
			from := r.folders[l.action.Item.From.Folder]
			if visits[from] == nil {
				visits[from] = &mail.Visit{}
			}
			l.moving = &mail.Moving{UID: l.action.Item.From.Row.UID, To: f.name}
			visits[from].Moves = append(visits[from].Moves, l.moving)
			r.dirty(f, mail.Remote)
			// The file may have other flags than base. That is known only to the scan that met
			// it, so the folder's stamp must not be stored before the next round.
			r.dirty(f, mail.Local)
			r.leave(f)
		}
	}
	one := !r.Remote.Abilities().Move // after the other, by COPY
	if !one {
		r.change(ctx, visits)
	}
	return r.each(ctx, r.usable(func(f *folder) bool { return len(moves[f]) > 0 }), r.Connections, func(ctx context.Context, f *folder) error {
		var failed error
		batch, recording := &mail.Batch{}, context.WithoutCancel(ctx)
		at, err := r.rowsAt(recording, f, arrived(moves[f]))
		if err != nil {
			return err
		}
		for i, l := range moves[f] {
			if one {
				from := r.folders[l.action.Item.From.Folder]
				l.moving.There, l.moving.Err = r.Remote.Copy(ctx, from.name, r.validity(from), l.moving.UID, f.name)
				if at, err = r.rowsAt(recording, f, arrived(moves[f][i:i+1])); err != nil {
					return errors.Join(failed, err, r.commit(recording, batch))
				}
			}
			if failed = cmp.Or(failed, r.moved(recording, f, l, at, batch)); one && ends(l.moving.Err) {
				break // with all others it would happen alike
			}
		}
		return errors.Join(failed, r.commit(recording, batch))
	})
}

// arrived gives the UIDs under which messages are where they went.
func arrived(moves []*leaving) (uids mail.UIDSet) {
	for _, l := range moves {
		if l.moving.There != 0 {
			uids.Add(l.moving.There)
		}
	}
	return uids
}

// intendMoves records which messages are about to move into a folder on the server, and makes
// durable what base will say of their files then.
func (r *run) intendMoves(ctx context.Context, w *work) ([]*leaving, error) {
	f := w.folder
	intents := &mail.Batch{}
	var all []*leaving
	var files []mail.File
	var left []*conflict.Item
	for _, a := range w.movesThere {
		file, err := r.relabel(ctx, f, a) // before it is made durable
		if errors.Is(err, mail.ErrGone) { // a reader was quicker
			r.dirty(f, mail.Local)
			r.leave(f)
			r.leave(r.folders[a.Item.From.Folder])
			continue
		}
		if err != nil {
			return nil, err
		}
		l := &leaving{action: a, file: file, intent: &mail.Intent{
			Kind: mail.Upload, Folder: f.base.ID, Key: a.Item.File.Key, Identity: a.Item.Identity,
			UIDValidity: r.validity(f), UIDNext: r.uidNext(f), Created: r.Now().Truncate(time.Second),
		}}
		all, files, left = append(all, l), append(files, file), append(left, a.Item.From)
		intents.PutIntents = append(intents.PutIntents, l.intent)
	}
	if err := r.secure(ctx, f, files); err != nil {
		return nil, err
	}
	if err := r.secureGone(ctx, left); err != nil {
		return nil, err
	}
	return all, r.commit(ctx, intents)
}

// moved takes in what became of a message that was to move.
func (r *run) moved(ctx context.Context, f *folder, l *leaving, at map[mail.UID]*mail.Row, batch *mail.Batch) error {
	a, file, in := l.action, l.file, l.intent
	from, uid, err := r.folders[a.Item.From.Folder], l.moving.There, l.moving.Err
	switch {
	case errors.Is(err, mail.ErrGone), errors.Is(err, mail.ErrRestarted):
		r.expect(in) // somebody else was quicker, or it was moved; the next round tells
		r.leave(f)
		r.leave(from)
		r.dirty(from, mail.Remote)
		return nil
	case errors.Is(err, mail.ErrRefused):
		batch.DropIntents = append(batch.DropIntents, in.ID)
		r.refuse(f, err, "it is tried again in the next sync")
		r.refuse(from, fmt.Errorf("a message stays that was moved to %q here", f.name), "")
		return nil
	case err != nil:
		return err
	}
	r.count(func(rep *Report) { rep.Remote.Moved++ })
	row := movedRow(f, a)
	row.TakeFile(a.Item.Identity)
	var ended []mail.IntentID
	if uid == 0 {
		in.Done = true
		r.expect(in) // the server does not tell where it is: the next round finds it there
	} else {
		ended = append(ended, in.ID)
		second, err := r.isSecond(ctx, f, arriving{file, a.Item.From.Row.Flags, a.Item.Identity, a.Item.Stat}, uid, at, batch)
		if err != nil {
			return err
		}
		if second {
			uid = 0 // it has a row there, and needs none
		}
	}
	row.UID, row.Key, row.Name, row.New, row.Stat = uid, file.Key, file.Name, file.New, a.Item.Stat
	if !r.Remote.Abilities().Move {
		return r.expungeCopied(ctx, from, a, row, ended)
	}
	batch.DropIntents = append(batch.DropIntents, ended...)
	if uid == 0 {
		batch.DropRows = append(batch.DropRows, row.ID)
		r.leave(f)
		return nil
	}
	batch.PutRows, at[uid] = append(batch.PutRows, row), row
	return nil
}

// expect lets the next round of this run look for what an intent is about.
func (r *run) expect(in *mail.Intent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intents = append(r.intents, *in)
}

// relabel renames the action's file, if its name says in the letters of another folder
// what it says.
func (r *run) relabel(ctx context.Context, f *folder, a *conflict.Action) (mail.File, error) {
	file := fileOf(a.Item)
	if !a.Rename {
		return file, nil
	}
	letters, err := r.lettersFor(ctx, f, file.Flags.Keywords)
	if err != nil {
		return file, err
	}
	file, err = r.Local.Reflag(ctx, f.name, file, file.Flags, letters)
	if err == nil {
		r.dirty(f, mail.Local)
		r.changed(f)
	}
	return file, err
}

// expungeCopied ends a move that is made of COPY and expunge. The copy is recorded
// before the original goes, and that the original is to go; until then the intents that it
// ends say where the copy may be.
func (r *run) expungeCopied(ctx context.Context, from *folder, a *conflict.Action, row *mail.Row, ended []mail.IntentID) error {
	old := a.Item.From.Row
	batch := &mail.Batch{DropIntents: ended, PutIntents: []*mail.Intent{{
		Kind: mail.Replace, Row: old.ID, Folder: from.base.ID, Identity: old.Identity, Created: r.Now().Truncate(time.Second),
	}}}
	if row.UID != 0 {
		row.ID = 0
		batch.PutRows = []*mail.Row{row}
	}
	if err := r.commit(ctx, batch); err != nil {
		return err
	}
	r.expect(batch.PutIntents[0]) // should the server refuse what follows
	if err := r.expunge(ctx, from, mail.UIDs(old.UID)); err != nil {
		return errors.Join(err, r.keeps(ctx, from, err, []mail.RowID{old.ID}))
	}
	return r.commit(ctx, &mail.Batch{DropRows: []mail.RowID{old.ID}, DropIntents: []mail.IntentID{batch.PutIntents[0].ID}})
}

// moveLocal moves files to where their messages are already.
func (r *run) moveLocal(ctx context.Context, w *work) error {
	f := w.folder
	letters, err := r.lettersFor(ctx, f, wordsOf(w.movesHere))
	if err != nil {
		return err
	}
	batch := &mail.Batch{}
	left := map[*folder]bool{}
	for _, a := range w.movesHere {
		from := r.folders[a.Item.From.Folder]
		file, err := r.Local.Move(ctx, from.name, fileOf(a.Item.From), f.name, a.Flags, letters)
		r.dirty(f, mail.Local)
		r.dirty(from, mail.Local)
		if err == nil || errors.Is(err, mail.ErrGone) {
			batch.DropIntents = append(batch.DropIntents, r.movesOf(a.Item.From.Row)...)
		}
		if errors.Is(err, mail.ErrGone) {
			r.leave(f) // a reader was quicker; what it did is merged in the next round
			r.leave(from)
			continue
		}
		if err != nil {
			// Also the folder that it stays in is left for this run, which would take the file
			// for a new one there: its message is in a folder that this run cannot work on.
			if failed := r.fail(from, fmt.Errorf("a message stays that has moved to %q on the server: %w", f.name, err)); failed != nil {
				return failed
			}
			return err
		}
		left[from] = true
		row := movedRow(f, a)
		row.UID, row.Key, row.Name, row.New = a.Item.Message.UID, file.Key, file.Name, file.New
		row.Listed(a.Item.Message)
		if given := a.Item.Identity.Digest; given != (mail.Digest{}) && given != row.Digest {
			row.RemoteDigest = given
		}
		batch.PutRows = append(batch.PutRows, row)
		batch.DropIntents = append(batch.DropIntents, r.uploadsOf(from.base.ID, a.Item.From.Row.Key)...)
		r.changed(from)
	}
	if len(batch.PutRows) == 0 {
		return r.commit(ctx, batch)
	}
	if err := r.Local.SyncFolder(ctx, f.name); err != nil {
		return err
	}
	for _, from := range inOrder(left) {
		if err := r.Local.SyncFolder(ctx, from.name); err != nil {
			return err
		}
	}
	r.changed(f)
	r.count(func(rep *Report) { rep.Local.Moved += len(batch.PutRows) })
	return r.commit(ctx, batch)
}

// link brings messages into the folder that are copies of what has a file elsewhere: as
// further names of those files, which land as downloads do, also where the run is told to end by
// then. What a crash leaves in tmp/ and nothing speaks of is swept away.
func (r *run) link(ctx context.Context, w *work) error {
	f := w.folder
	batch := &mail.Batch{}
	var download []*conflict.Action
	var failed error
	for _, a := range w.links {
		source := a.Item.Source
		key, err := r.Local.Link(ctx, source.Folder, fileOf(source), f.name)
		switch {
		case errors.Is(err, mail.ErrGone):
			r.dirty(f, mail.Remote)
			r.leave(f) // it was renamed, or is gone: the next round tells
			continue
		case errors.Is(err, mail.ErrNoLinks):
			download = append(download, a)
			continue
		}
		if failed = err; err != nil {
			break
		}
		row := *source.Row
		row.ID, row.Folder, row.CopyOf = 0, f.base.ID, 0
		row.ForgetPushed()
		row.UID, row.Flags, row.Date, row.EmailID = a.Item.Message.UID, a.Base, a.Item.Message.Date, ""
		row.State, row.Key, row.Name, row.New, row.Stat = mail.Landing, key, "", false, source.Stat
		row.Listed(a.Item.Message)
		batch.PutRows = append(batch.PutRows, &row)
	}
	if len(batch.PutRows) > 0 {
		ctx := context.WithoutCancel(ctx)
		if err := r.commit(ctx, batch); err != nil {
			return errors.Join(failed, err)
		}
		if err := r.land(ctx, f, batch.PutRows); err != nil {
			return errors.Join(failed, err)
		}
	}
	if failed != nil {
		return failed
	}
	for _, b := range portions(f, download) {
		if err := r.download(ctx, []portion{b}, &crew{})[0]; err != nil {
			return err
		}
	}
	return nil
}
