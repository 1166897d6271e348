package sync

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// A server that keeps one of equal messages in a folder (Gmail) answers an APPEND, COPY
// or MOVE of a second one with the UID of the first. That is known only by the answer.
// Nothing needs to be recorded before: after a crash the file is new once more, and the
// server's answer is the same.

// arriving is a file whose message was brought into its folder on the server.
type arriving struct {
	file mail.File
	base mail.Flags // that it had before it got there
	id   mail.Identity
	stat mail.Stat
}

// isSecond tells whether the server answered for a file with the UID of a message that
// base knows already, and then does what is to be done about the file. It adds to batch what to
// record of that. at are the rows of the folder's messages, also those that are yet to be
// committed. If the file, or its message, has a row of its own, the caller drops it.
func (r *run) isSecond(ctx context.Context, f *folder, in arriving, uid mail.UID, at map[mail.UID]*mail.Row, batch *mail.Batch) (bool, error) {
	first := at[uid]
	if first == nil || first.Key == in.file.Key {
		return false, nil
	}
	// Its flags are compared with the server's in the next round.
	r.dirty(f, mail.Local)
	r.dirty(f, mail.Remote)
	r.leave(f)
	a := r.info(f).Second(*first, in.file, in.base, in.id)
	switch a.Kind {
	case conflict.Agree:
		row := *first
		row.State, row.Why, row.Tries, row.RetryAt, row.Flags = mail.Settled, "", 0, time.Time{}, a.Base
		row.Key, row.Name, row.New, row.Stat, row.Identity = in.file.Key, in.file.Name, in.file.New, in.stat, in.id
		batch.PutRows, at[uid] = append(batch.PutRows, &row), &row
	case conflict.Part:
		batch.PutRows = append(batch.PutRows, &mail.Row{
			Folder: f.base.ID, Key: in.file.Key, Name: in.file.Name, New: in.file.New, Flags: a.Flags,
			State: mail.Parted, Why: a.Why, Identity: in.id, Stat: in.stat,
		})
		r.once(f.name, "has a file that the server takes for another message of the folder: it stays here only")
	case conflict.RemoveLocal:
		return true, r.removeSecond(ctx, f, a, in.file, uid)
	}
	return true, nil
}

// removeSecond removes a file that is there twice, once its flags are on the server.
func (r *run) removeSecond(ctx context.Context, f *folder, a conflict.Action, file mail.File, uid mail.UID) error {
	if !a.Add.Empty() || !a.Remove.Empty() {
		if err := r.store(ctx, f, &mail.FlagChange{UIDs: mail.UIDs(uid), Add: a.Add, Remove: a.Remove}); err != nil {
			return err
		}
		r.count(func(rep *Report) { rep.Remote.Flags++ })
	}
	err := r.Local.Remove(ctx, f.name, file)
	if errors.Is(err, mail.ErrGone) {
		return nil // a reader was quicker: it is new in the next round
	}
	if err != nil {
		return err
	}
	r.Log.Info("removed a second file", "account", r.Account, "folder", string(f.name), "file", file.Name, "why", a.Why)
	r.count(func(rep *Report) { rep.Local.Removed++ })
	r.changed(f)
	return r.Local.SyncFolder(ctx, f.name)
}

// rowsAt gives base's rows of messages.
func (r *run) rowsAt(ctx context.Context, f *folder, uids mail.UIDSet) (map[mail.UID]*mail.Row, error) {
	rows, err := r.State.WithUIDs(ctx, f.base.ID, uids)
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	at := make(map[mail.UID]*mail.Row, len(rows))
	for i := range rows {
		at[rows[i].UID] = &rows[i]
	}
	return at, nil
}
