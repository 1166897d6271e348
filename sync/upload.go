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

// An upload that the server refused is tried again after a while that doubles.
const (
	firstRetry = 10 * time.Minute
	lastRetry  = 24 * time.Hour
)

// A batch of uploads shares the commit of the intents, and the wait for the last answers.
// The first one is smaller: after it one knows whether another device uploads the same.
const (
	firstUploads = 64
	uploadBatch  = 256
)

// upload appends new files to the server's folder. The intent of each is durable
// before its APPEND; the commit that drops it records the UID.
func (r *run) upload(ctx context.Context, w *work) error {
	actions := w.uploads
	retriedLast(actions)
	if len(actions) > 0 {
		w.folder.ours, w.folder.others, w.folder.looked = nil, nil, r.uidNext(w.folder)
	}
	for size := firstUploads; len(actions) > 0; size = uploadBatch {
		n := min(len(actions), size)
		if err := r.uploadBatch(ctx, w, actions[:n]); err != nil {
			return err
		}
		actions = actions[n:]
	}
	if len(w.untried) > 0 {
		r.problem(w.folder, fmt.Errorf("upload %s: not tried: %w", names(w.untried), mail.ErrOverQuota),
			"they stay here, too, until after "+localTime(w.retryAt))
	}
	return nil
}

// errNotShown: a message was stored, and no new one of the folder is like it.
var errNotShown = fmt.Errorf("%w: it was taken, and changed beyond recognition", mail.ErrRefused)

// outgoing is one file that is being uploaded.
type outgoing struct {
	action *conflict.Action
	file   mail.File
	id     mail.Identity
	stat   mail.Stat
	date   time.Time // of the message on the server
	intent *mail.Intent
	answer mail.Appended
	row    *mail.Row // once it is on the server, and its UID is known
}

func (r *run) uploadBatch(ctx context.Context, w *work, actions []*conflict.Action) error {
	f := w.folder
	var out []*outgoing
	intents, batch := &mail.Batch{}, &mail.Batch{}
	for _, a := range actions {
		o := &outgoing{action: a, file: fileOf(a.Item), id: a.Item.Identity, stat: a.Item.Stat}
		if f.stored[o.file.Key] {
			// To upload it over and over would fill the folder with what nobody knows again.
			w.retryAt = r.setAside(f, o, errNotShown, batch)
			r.reportRefused(f, o, errNotShown, w.retryAt)
			continue
		}
		if o.id.Digest == (mail.Digest{}) {
			var err error
			o.id, o.stat, err = r.measure(ctx, f, o.file)
			if skip, err := r.skipUpload(w, err); skip || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		out = append(out, o)
	}
	out, err := r.needless(ctx, w, out)
	if err != nil {
		return errors.Join(err, r.commit(ctx, batch))
	}
	if out, err = r.relabelAll(ctx, w, out); err != nil {
		return errors.Join(err, r.commit(ctx, batch))
	}
	files := make([]mail.File, len(out))
	for i, o := range out {
		files[i] = o.file
	}
	if err := r.secure(ctx, f, files); err != nil {
		return errors.Join(err, r.commit(ctx, batch))
	}
	for _, o := range out {
		o.intent = &mail.Intent{
			Kind: mail.Upload, Folder: f.base.ID, Key: o.file.Key, Identity: o.id, Row: sourceOf(o.action),
			UIDValidity: r.validity(f), UIDNext: r.uidNext(f), Created: r.Now().Truncate(time.Second),
		}
		intents.PutIntents = append(intents.PutIntents, o.intent)
	}
	if err := r.commit(ctx, intents); err != nil {
		return err
	}
	failed := r.send(ctx, w, out, batch)
	if failed == nil {
		failed = r.giveWay(ctx, w, out, batch)
	}
	// What the server has answered is recorded, whatever became of the rest.
	return errors.Join(failed, r.commit(context.WithoutCancel(ctx), batch))
}

// relabelAll renames the files whose names say in the letters of another folder what they
// say, and gives those that are still there. Base is to know them by names that are durable:
// else they could have the old ones back when the power goes, which say something else here.
func (r *run) relabelAll(ctx context.Context, w *work, out []*outgoing) (left []*outgoing, err error) {
	for _, o := range out {
		o.file, err = r.relabel(ctx, w.folder, o.action)
		if skip, err := r.skipUpload(w, err); err != nil {
			return nil, err
		} else if !skip {
			left = append(left, o)
		}
	}
	return left, nil
}

// skipUpload tells whether a file cannot be read for a reason that concerns only it.
func (r *run) skipUpload(w *work, err error) (bool, error) {
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, mail.ErrGone), errors.Is(err, mail.ErrChanged), errors.Is(err, mail.ErrRestarted):
		w.behind = true
		r.dirty(w.folder, mail.Local)
		r.leave(w.folder)
		return true, nil
	case errors.Is(err, mail.ErrDamaged):
		w.behind = true
		r.skipFile(w.folder, err)
		return true, nil
	}
	return false, err
}

// uidNext is the UID that the folder's next message will get, or a lower one.
func (r *run) uidNext(f *folder) mail.UID {
	if f.view != nil {
		return f.view.Cursor.UIDNext
	}
	return f.base.Remote.UIDNext
}

// send brings messages to the server, and adds to batch what to record of them.
func (r *run) send(ctx context.Context, w *work, out []*outgoing, batch *mail.Batch) error {
	var uploads []*outgoing
	for _, o := range out {
		if o.action.Kind != conflict.CopyRemote {
			uploads = append(uploads, o)
			continue
		}
		o.answer = r.copyOne(ctx, w.folder, o)
		if err := r.sent(ctx, w, o, true, batch); err != nil {
			return err
		}
	}
	var failed error
	for len(uploads) > 0 && failed == nil {
		var tried []*outgoing
		tried, uploads = r.appendSome(ctx, w, uploads, batch)
		for _, o := range tried {
			if err := r.sent(ctx, w, o, failed == nil, batch); failed == nil {
				failed = err
			}
		}
	}
	return failed
}

// appendSome uploads files, several of which may be under way at once, up to the first that
// breaks the connection. It gives those that have an answer, and those that are left.
func (r *run) appendSome(ctx context.Context, w *work, out []*outgoing, batch *mail.Batch) (tried, left []*outgoing) {
	f := w.folder
	var source mail.Source
	var waiting []*outgoing
	closeRead := func() {
		if source != nil {
			source.Close()
			source = nil
		}
	}
	defer closeRead()
	next := func() *mail.Outgoing {
		closeRead()
		for len(out) > 0 {
			o := out[0]
			out = out[1:]
			if f.full > 0 && o.id.Size >= f.full {
				w.retryAt = r.setAside(f, o, mail.ErrOverQuota, batch)
				w.untried = append(w.untried, o.file.Name)
				continue
			}
			tried = append(tried, o)
			if source, o.answer.Err = r.open(ctx, f, o); o.answer.Err == nil {
				waiting = append(waiting, o)
				return &mail.Outgoing{Source: source, Flags: o.action.Flags, Date: o.date, Alone: tries(o.action) > 0}
			}
			source = nil
			if ends(o.answer.Err) {
				break
			}
		}
		return nil
	}
	r.Remote.Append(ctx, f.name, next, func(a mail.Appended) {
		o := waiting[0]
		waiting, o.answer = waiting[1:], a
		switch {
		case a.Err == nil:
			r.Progress(Progress{Folder: f.name, Messages: 1, Bytes: o.id.Size})
		case errors.Is(a.Err, mail.ErrOverQuota) && (f.full == 0 || o.id.Size < f.full):
			f.full = o.id.Size
		}
	})
	return tried, out
}

// open reads a file that is to be uploaded.
func (r *run) open(ctx context.Context, f *folder, o *outgoing) (mail.Source, error) {
	source, err := r.Local.Read(ctx, f.name, o.file)
	if err != nil {
		return nil, err
	}
	if source.Identity().Digest != o.id.Digest {
		source.Close()
		return nil, mail.ErrChanged
	}
	// A message that is brought back comes without a Stat: nothing but its flags changed.
	o.stat = source.Stat()
	o.date = time.Unix(0, o.stat.ModTime)
	r.dirty(f, mail.Remote)
	return source, nil
}

// copyOne copies on the server the message of which the file is a copy. That has the
// flags which it has there, so what the file says is for the next round.
func (r *run) copyOne(ctx context.Context, f *folder, o *outgoing) (a mail.Appended) {
	source := o.action.Item.Source
	from := r.folders[source.Folder]
	r.dirty(f, mail.Remote)
	r.dirty(f, mail.Local)
	r.leave(f)
	o.date, a.UIDValidity = source.Row.Date, r.validity(f)
	a.UID, a.Err = r.Remote.Copy(ctx, from.name, r.validity(from), source.UID(), f.name)
	a.Sent = a.Err != nil // who knows
	if errors.Is(a.Err, mail.ErrGone) || errors.Is(a.Err, mail.ErrRestarted) {
		r.dirty(from, mail.Remote)
		r.leave(from)
	}
	if a.Err == nil {
		r.Progress(Progress{Folder: f.name, Messages: 1, Bytes: o.id.Size})
	}
	return a
}

// sent adds to batch what to record of a file that was to be brought to the server. Of those
// that were under way when a connection broke, it broke at the first.
func (r *run) sent(ctx context.Context, w *work, o *outgoing, first bool, batch *mail.Batch) error {
	f, a := w.folder, o.answer
	switch {
	case a.Err == nil:
	case errors.Is(a.Err, mail.ErrGone), errors.Is(a.Err, mail.ErrChanged), errors.Is(a.Err, mail.ErrDamaged), errors.Is(a.Err, mail.ErrRestarted):
		_, err := r.skipUpload(w, a.Err)
		batch.DropIntents = append(batch.DropIntents, o.intent.ID)
		return err
	case errors.Is(a.Err, mail.ErrRefused):
		w.retryAt = r.setAside(f, o, a.Err, batch)
		r.reportRefused(f, o, a.Err, w.retryAt)
		return nil
	default:
		if !a.Sent {
			batch.DropIntents = append(batch.DropIntents, o.intent.ID) // it cannot be there
		}
		if first && errors.Is(a.Err, mail.ErrBrokeOff) {
			return r.suspect(f, o, a.Err, batch)
		}
		return fmt.Errorf("upload %q: %w", o.file.Name, a.Err)
	}
	r.arrive(o.action.Item)
	told := a.UID != 0 && a.UIDValidity == r.validity(f)
	if told {
		in := arriving{file: o.file, id: o.id, stat: o.stat}
		if o.action.Kind == conflict.CopyRemote {
			in.base = o.action.Base
		}
		second, err := r.isSecond(ctx, f, in, a.UID, batch)
		if second {
			batch.DropIntents = append(batch.DropIntents, o.intent.ID)
			if row := o.action.Item.Row; row != nil {
				batch.DropRows = append(batch.DropRows, row.ID)
			}
		}
		if second || err != nil {
			return err
		}
	}
	r.count(func(rep *Report) { rep.Remote.New++ })
	if !told {
		// The server does not tell where it is: the next round finds it by the intent.
		o.intent.Done = true
		r.expect(o.intent)
		r.mu.Lock()
		defer r.mu.Unlock()
		if f.stored == nil {
			f.stored = map[mail.Key]bool{}
		}
		f.stored[o.file.Key] = true
		return nil
	}
	row := r.rowOf(f, o)
	row.UID, row.State, row.Date, row.Flags = a.UID, mail.Settled, o.date.Truncate(time.Second), o.action.Base
	if source := o.action.Item.Source; o.action.Kind == conflict.CopyRemote {
		row.CopyOf = source.Row.ID
		row.Identity, row.RemoteSize, row.RemoteDigest = source.Row.Identity, source.Row.RemoteSize, source.Row.RemoteDigest
		row.EmailID = source.Row.EmailID // or the next listing tells another one
		row.TakeFile(o.id)
	}
	row.Why, row.Tries, row.RetryAt = "", 0, time.Time{}
	o.row = row
	batch.PutRows = append(batch.PutRows, row)
	batch.DropIntents = append(batch.DropIntents, o.intent.ID)
	return nil
}

// sourceOf is the row that an action copies, 0 if it copies none.
func sourceOf(a *conflict.Action) mail.RowID {
	if a.Kind == conflict.CopyRemote {
		return a.Item.Source.Row.ID
	}
	return 0
}

// rowOf is the row of an uploaded file, but for what the server said.
func (r *run) rowOf(f *folder, o *outgoing) *mail.Row {
	row := &mail.Row{Folder: f.base.ID}
	if o.action.Item.Row != nil {
		*row = *o.action.Item.Row
		row.Folder = f.base.ID
	}
	row.Key, row.Name, row.New = o.file.Key, o.file.Name, o.file.New
	row.Flags, row.Identity, row.Stat = o.action.Flags, o.id, o.stat
	row.RemoteSize, row.RemoteDigest, row.EmailID = 0, mail.Digest{}, ""
	return row
}

// setAside makes a row of a file that the server does not take, and tells when it is
// tried again.
func (r *run) setAside(f *folder, o *outgoing, err error, batch *mail.Batch) time.Time {
	row := r.rowOf(f, o)
	row.UID, row.State, row.Why = 0, mail.Pending, err.Error()
	row.Tries = max(row.Tries, 0)
	r.postpone(row, 0)
	batch.PutRows = append(batch.PutRows, row)
	if o.intent != nil {
		batch.DropIntents = append(batch.DropIntents, o.intent.ID)
	}
	return row.RetryAt
}

func (r *run) reportRefused(f *folder, o *outgoing, err error, retryAt time.Time) {
	r.problem(f, fmt.Errorf("upload %q: %w", o.file.Name, err), retryHint("it stays here and ", retryAt))
}

// patience is how many connections a message may break before it has to wait.
const patience = 8

// suspect deals with a message at which the connection broke off, which may be how the
// server refuses it. The first time it is the connection's fault. But a message at
// which that happens again must not stop the others in every run: it is tried after
// them, its folder alone is left until the next run, which learns whether it was stored
// after all, and in the end it waits like a refused one.
func (r *run) suspect(f *folder, o *outgoing, err error, batch *mail.Batch) error {
	row := r.rowOf(f, o)
	row.UID, row.State, row.Why = 0, mail.Pending, err.Error()
	again := row.Tries != 0
	if again {
		r.postpone(row, patience)
	} else {
		row.Tries, row.RetryAt = -1, r.Now().Truncate(time.Second)
	}
	batch.PutRows = append(batch.PutRows, row)
	err = fmt.Errorf("upload %q: %w", o.file.Name, err)
	if !again {
		return err
	}
	hint := "the next sync tries again"
	if failures(row) > patience {
		hint = retryHint("it stays here and ", row.RetryAt)
	}
	r.problem(f, err, hint)
	r.mu.Lock()
	defer r.mu.Unlock()
	f.failed = err
	return nil
}

// retriedLast sorts uploads so that those which failed before do not stop the others.
func retriedLast(actions []*conflict.Action) {
	slices.SortStableFunc(actions, func(a, b *conflict.Action) int { return cmp.Compare(tries(a), tries(b)) })
}

func tries(a *conflict.Action) int {
	if a.Item.Row == nil {
		return 0
	}
	return failures(a.Item.Row)
}

// failures counts how often a pending message was tried in vain.
func failures(row *mail.Row) int { return max(row.Tries, -row.Tries) }

// postpone sets the time of a pending row's next try: at once, as long as it was tried
// no more often than free.
func (r *run) postpone(row *mail.Row, free int) {
	row.RetryAt = r.Now().Truncate(time.Second)
	if failed := failures(row); failed >= free {
		row.RetryAt = r.Now().Add(min(firstRetry<<min(failed-free, 10), lastRetry)).Truncate(time.Second)
	}
	if row.Tries < 0 {
		row.Tries--
	} else {
		row.Tries++
	}
}

func localTime(at time.Time) string { return at.Local().Format(time.DateTime) }

func retryHint(before string, at time.Time) string {
	return before + "is tried again after " + localTime(at)
}
