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

// A batch of uploads shares the commit of the intents, and the wait for the last answers.
// The first one of a folder is smaller: after it one knows whether another device uploads the
// same.
const (
	firstUploads = 64
	uploadBatch  = 1024
)

// upload appends new files to the server's folders, those of folders that have few of them
// together. The intent of each is durable before its APPEND; the commit that drops it records
// the UID.
func (r *run) upload(ctx context.Context, works map[*folder]*work) error {
	g, gctx := newCrew(ctx, r.Connections)
	batches := func(some []*work) {
		g.Go(func() error {
			for size, n := firstUploads, 0; n < len(some[0].uploads) || n == 0; size = uploadBatch {
				var all []*sending
				for _, w := range some {
					all = append(all, &sending{work: w, at: map[mail.UID]*mail.Row{}, actions: w.uploads[n:min(len(w.uploads), n+size)]})
				}
				n += size
				if err := r.uploadBatch(gctx, all); err != nil {
					return err
				}
				if !r.goesOn(some[0].folder) {
					break
				}
			}
			return nil
		})
	}
	var together []*work
	n := 0
	for _, f := range r.usable(func(f *folder) bool { return works[f] != nil && len(works[f].uploads) > 0 }) {
		w := works[f]
		retriedLast(w.uploads, func(a *conflict.Action) *conflict.Action { return a })
		f.ours, f.others, f.looked = nil, nil, r.uidNext(f)
		switch {
		case len(w.uploads) > firstUploads:
			batches([]*work{w})
			continue
		case n+len(w.uploads) > joinedMessages || len(together) == joinedFolders:
			batches(together)
			together, n = nil, 0
		}
		together, n = append(together, w), n+len(w.uploads)
	}
	if len(together) > 0 {
		batches(together)
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, f := range r.usable(func(f *folder) bool { return works[f] != nil && len(works[f].untried) > 0 }) {
		w := works[f]
		r.problem(f, fmt.Errorf("upload %s: not tried: %w", names(w.untried), mail.ErrOverQuota),
			"they stay here, too, until after "+localTime(w.retryAt))
	}
	return nil
}

// errNotShown: a message was stored, and no new one of the folder is like it.
var errNotShown = fmt.Errorf("%w: it was taken, and changed beyond recognition", mail.ErrRefused)

// sending is one folder's part of a batch of uploads.
type sending struct {
	*work
	actions []*conflict.Action
	out     []*outgoing
	record  mail.Batch             // what is to be recorded of them
	at      map[mail.UID]*mail.Row // what base says of the UIDs that the server has told
	err     error                  // what is wrong with the folder
}

// outgoing is one file that is being uploaded.
type outgoing struct {
	*sending
	action *conflict.Action
	file   mail.File
	id     mail.Identity
	stat   mail.Stat
	date   time.Time // of the message on the server
	intent *mail.Intent
	answer mail.Appended
	row    *mail.Row // once it is on the server, and its UID is known
}

// uploadBatch uploads a batch. What is wrong with one folder does not keep the others.
func (r *run) uploadBatch(ctx context.Context, all []*sending) error {
	g, gctx := newCrew(ctx, r.Connections) // the disk syncs several files as soon as one
	for _, s := range all {
		g.Go(func() error {
			if s.err = r.prepare(gctx, s); s.err != nil {
				s.out = nil
			}
			return nil
		})
	}
	_ = g.Wait() // errors stand in the sendings
	intents := &mail.Batch{}
	for _, s := range all {
		for _, o := range s.out {
			intents.PutIntents = append(intents.PutIntents, o.intent)
		}
	}
	err := r.commit(ctx, intents)
	if err == nil {
		err = r.send(ctx, all)
	}
	record := &mail.Batch{}
	for _, s := range all {
		if err == nil && s.err == nil {
			s.err = r.giveWay(ctx, s)
		}
		record.Add(&s.record)
	}
	// What the server has answered is recorded, whatever became of the rest.
	if err = errors.Join(err, r.commit(context.WithoutCancel(ctx), record)); err != nil {
		return err
	}
	for _, s := range all {
		if err := r.fail(s.folder, s.err); err != nil {
			return err
		}
	}
	return nil
}

// prepare finds out what is to be uploaded, and makes durable what base will say of the files.
func (r *run) prepare(ctx context.Context, s *sending) error {
	f, w := s.folder, s.work
	for _, a := range s.actions {
		o := &outgoing{sending: s, action: a, file: fileOf(a.Item), id: a.Item.Identity, stat: a.Item.Stat}
		if f.stored[o.file.Key] {
			// To upload it over and over would fill the folder with what nobody knows again.
			w.retryAt = r.setAside(f, o, errNotShown, &s.record)
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
		s.out = append(s.out, o)
	}
	var err error
	if s.out, err = r.needless(ctx, w, s.out); err != nil {
		return err
	}
	if s.out, err = r.relabelAll(ctx, w, s.out); err != nil {
		return err
	}
	files := make([]mail.File, len(s.out))
	for i, o := range s.out {
		files[i] = o.file
		o.intent = &mail.Intent{
			Kind: mail.Upload, Folder: f.base.ID, Key: o.file.Key, Identity: o.id, Row: sourceOf(o.action),
			UIDValidity: r.validity(f), UIDNext: r.uidNext(f), Created: r.Now().Truncate(time.Second),
		}
	}
	return r.secure(ctx, f, files)
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

// send brings messages to the server, and notes what to record of them. An error ends the run.
func (r *run) send(ctx context.Context, all []*sending) error {
	var uploads []*outgoing
	for _, s := range all {
		for _, o := range s.out {
			if o.action.Kind != conflict.CopyRemote {
				uploads = append(uploads, o)
				continue
			}
			o.answer = r.copyOne(ctx, s.folder, o)
			if err := r.known(ctx, []*outgoing{o}); err != nil {
				return err
			}
			if err := r.sent(ctx, o, true); err != nil {
				return err
			}
		}
	}
	retriedLast(uploads, func(o *outgoing) *conflict.Action { return o.action })
	for len(uploads) > 0 {
		var tried []*outgoing
		tried, uploads = r.appendSome(ctx, uploads)
		if err := r.known(context.WithoutCancel(ctx), tried); err != nil {
			return err
		}
		var failed error
		for _, o := range tried {
			if err := r.sent(ctx, o, failed == nil); failed == nil {
				failed = err
			}
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// known finds out what base says of the UIDs that the server has told: see isSecond.
func (r *run) known(ctx context.Context, tried []*outgoing) error {
	told := map[*sending]mail.UIDSet{}
	for _, o := range tried {
		if r.told(o) {
			uids := told[o.sending]
			uids.Add(o.answer.UID)
			told[o.sending] = uids
		}
	}
	for s, uids := range told {
		rows, err := r.rowsAt(ctx, s.folder, uids)
		if err != nil {
			return err
		}
		for uid, row := range rows {
			if s.at[uid] == nil { // else the run has changed it since
				s.at[uid] = row
			}
		}
	}
	return nil
}

// told tells whether the server told which message a file has become.
func (r *run) told(o *outgoing) bool {
	return o.answer.Err == nil && o.answer.UID != 0 && o.answer.UIDValidity == r.validity(o.folder)
}

// appendSome uploads files, several of which may be under way at once, up to the first that
// breaks the connection. It gives those that have an answer, and those that are left.
func (r *run) appendSome(ctx context.Context, out []*outgoing) (tried, left []*outgoing) {
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
			f := o.folder
			if f.full > 0 && o.id.Size >= f.full {
				o.retryAt = r.setAside(f, o, mail.ErrOverQuota, &o.record)
				o.untried = append(o.untried, o.file.Name)
				continue
			}
			tried = append(tried, o)
			if source, o.answer.Err = r.open(ctx, f, o); o.answer.Err == nil {
				waiting = append(waiting, o)
				return &mail.Outgoing{Folder: f.name, Source: source, Flags: o.action.Flags, Date: o.date, Alone: tries(o.action) > 0}
			}
			source = nil
			if ends(o.answer.Err) {
				break
			}
		}
		return nil
	}
	r.Remote.Append(ctx, next, func(a mail.Appended) {
		o := waiting[0]
		waiting, o.answer = waiting[1:], a
		switch f := o.folder; {
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

// sent notes what to record of a file that was to be brought to the server. Of those that were
// under way when a connection broke, it broke at the first. An error ends the run; what is wrong
// with the folder alone is noted.
func (r *run) sent(ctx context.Context, o *outgoing, first bool) error {
	err := r.record(ctx, o, first)
	if err != nil && !ends(err) {
		o.err = cmp.Or(o.err, err)
		return nil
	}
	return err
}

func (r *run) record(ctx context.Context, o *outgoing, first bool) error {
	f, a, batch := o.folder, o.answer, &o.sending.record
	switch {
	case a.Err == nil:
	case errors.Is(a.Err, mail.ErrGone), errors.Is(a.Err, mail.ErrChanged), errors.Is(a.Err, mail.ErrDamaged), errors.Is(a.Err, mail.ErrRestarted):
		_, err := r.skipUpload(o.work, a.Err)
		batch.DropIntents = append(batch.DropIntents, o.intent.ID)
		return err
	case errors.Is(a.Err, mail.ErrRefused):
		o.retryAt = r.setAside(f, o, a.Err, batch)
		r.reportRefused(f, o, a.Err, o.retryAt)
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
	told := r.told(o)
	if told {
		in := arriving{file: o.file, id: o.id, stat: o.stat}
		if o.action.Kind == conflict.CopyRemote {
			in.base = o.action.Base
		}
		second, err := r.isSecond(ctx, f, in, a.UID, o.at, batch)
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
	source := o.action.Item.Source
	if source != nil {
		row.CopyOf = source.Row.ID
	}
	if o.action.Kind == conflict.CopyRemote {
		row.Identity, row.RemoteSize, row.RemoteDigest = source.Row.Identity, source.Row.RemoteSize, source.Row.RemoteDigest
		row.EmailID = source.Row.EmailID // or the next listing tells another one
		row.TakeFile(o.id)
	}
	row.Why, row.Tries, row.RetryAt = "", 0, time.Time{}
	o.row, o.at[row.UID] = row, row
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
