package sync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	stdsync "sync"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// A batch of downloads is fetched with one command, and made durable and recorded as one.
// It is large enough that the wait for an answer, an fsync and a commit cost little a
// message, and small enough that a crash costs little work, that the newest messages come
// first, and that the sessions end at about the same time.
const (
	batchMessages = 1024
	batchBytes    = 16 << 20
)

// transfer brings messages to where they are missing and flags to where they differ.
// The folders' work runs side by side; what is in a batch of downloads is too. What has
// come is landed by a crew of its own, so that no session waits for the disk.
func (r *run) transfer(ctx context.Context, works map[*folder]*work) error {
	landers, ctx := newCrew(ctx, r.Connections)
	g, gctx := newCrew(ctx, r.Connections)
	folders := r.usable(func(f *folder) bool { return works[f] != nil })
	for _, f := range folders {
		w := works[f]
		for _, a := range w.downloads {
			r.Progress(Progress{Folder: f.name, TotalMessages: 1, TotalBytes: a.Item.Message.Size})
		}
		if len(w.uploads) > 0 {
			r.Progress(Progress{Folder: f.name, TotalMessages: len(w.uploads)})
		}
	}
	for _, f := range folders {
		w := works[f]
		g.Go(func() error {
			return r.fail(f, func() error {
				if err := r.keepRows(gctx, w); err != nil {
					return err
				}
				if err := r.agree(gctx, w); err != nil {
					return err
				}
				if err := r.moveRemote(gctx, w); err != nil {
					return err
				}
				if err := r.moveLocal(gctx, w); err != nil {
					return err
				}
				if err := r.link(gctx, w); err != nil {
					return err
				}
				return r.upload(gctx, w)
			}())
		})
		for _, batch := range batches(w.downloads) {
			g.Go(func() error { return r.fail(f, r.download(gctx, f, batch, landers)) })
		}
	}
	err := g.Wait()
	if landErr := landers.Wait(); landErr != nil {
		return landErr // it ended what the others did
	}
	return err
}

// batches cuts downloads, newest first as the plan has them, into batches.
func batches(actions []*conflict.Action) [][]*conflict.Action {
	var out [][]*conflict.Action
	from, bytes := 0, int64(0)
	for i, a := range actions {
		size := a.Item.Message.Size
		if i > from && (i-from == batchMessages || bytes+size > batchBytes) {
			out = append(out, actions[from:i])
			from, bytes = i, 0
		}
		bytes += size
	}
	if from < len(actions) {
		out = append(out, actions[from:])
	}
	return out
}

// download fetches a batch of messages into tmp/, and hands them to those who land them.
func (r *run) download(ctx context.Context, f *folder, actions []*conflict.Action, landers *crew) error {
	byUID := make(map[mail.UID]*conflict.Action, len(actions))
	var uids mail.UIDSet
	for _, a := range actions {
		uid := a.Item.UID()
		byUID[uid] = a
		uids.Add(uid)
	}
	var come arrivals
	err := r.Remote.Fetch(ctx, f.name, r.validity(f), uids, func(b mail.Body) error {
		a := byUID[b.UID]
		if a == nil {
			_, err := io.Copy(io.Discard, b.Reader)
			return err
		}
		delete(byUID, b.UID)
		in, row, err := r.receive(ctx, f, a, b)
		if err != nil {
			if in != nil {
				in.Discard()
			}
			return fmt.Errorf("UID %d: %w", b.UID, err)
		}
		come.files, come.rows = append(come.files, in), append(come.rows, row)
		return nil
	})
	if err != nil {
		err = fmt.Errorf("download: %w", err)
		r.leave(f)
	} else {
		err = r.commit(ctx, r.withhold(f, byUID))
	}
	if len(come.rows) == 0 {
		return err
	}
	// What has come is kept, also when the connection is gone: a run that is cut off
	// every time still gets on.
	ctx = context.WithoutCancel(ctx)
	return errors.Join(err, landers.Hand(func() error { return r.fail(f, r.bringIn(ctx, f, come)) }))
}

// arrivals are messages in tmp/, and their rows.
type arrivals struct {
	files []mail.Incoming
	rows  []*mail.Row
}

// bringIn brings messages in tmp/ into the Maildir: they are made durable; then base learns
// under which key each will be; then they are put into their place; then base learns that
// they are there. A crash at any point leaves a row that says where to look.
func (r *run) bringIn(ctx context.Context, f *folder, a arrivals) error {
	recorded := false
	defer func() {
		if !recorded {
			for _, in := range a.files {
				in.Discard()
			}
		}
	}()
	keys := make([]mail.Key, len(a.rows))
	for i, row := range a.rows {
		keys[i] = row.Key
	}
	if err := r.Local.Harden(ctx, f.name, keys); err != nil {
		return err
	}
	if err := r.commit(ctx, &mail.Batch{PutRows: a.rows}); err != nil {
		return err
	}
	recorded = true
	return r.land(ctx, f, a.rows)
}

// withhold deals with messages that did not come, though their FETCH went well. Most
// often they were expunged since the scan, as the next round will tell; one that is
// listed again and not given again (Exchange does so with what it cannot convert) is
// set aside, with the rows that it gives.
func (r *run) withhold(f *folder, missing map[mail.UID]*conflict.Action) *mail.Batch {
	batch := &mail.Batch{}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, uid := range slices.Sorted(maps.Keys(missing)) {
		a := missing[uid]
		if r.withheld[f] == nil {
			r.withheld[f] = map[mail.UID]int{}
		}
		r.withheld[f][uid]++
		if r.withheld[f][uid] < 2 {
			f.remoteDirty, f.unsafe = true, true
			continue
		}
		row := &mail.Row{Folder: f.base.ID, UID: uid, Flags: a.Flags, Date: a.Item.Message.Date, EmailID: a.Item.Message.EmailID}
		if a.Item.Row != nil {
			*row = *a.Item.Row
		}
		row.Key, row.State, row.Why = "", mail.Pending, "the server lists it and does not give it"
		r.postpone(row, 0)
		batch.PutRows = append(batch.PutRows, row)
		r.report.Problems = append(r.report.Problems, &Problem{
			Folder: f.name, Err: fmt.Errorf("UID %d: %s", uid, row.Why), Hint: retryHint("", row.RetryAt),
		})
	}
	return batch
}

var bodyBuffers = stdsync.Pool{New: func() any { return new([32 << 10]byte) }}

// copyBody is io.Copy. Messages are many and small, and a buffer for each of them would be
// most of what is allocated for it.
func copyBody(to io.Writer, from io.Reader) (int64, error) {
	b := bodyBuffers.Get().(*[32 << 10]byte)
	defer bodyBuffers.Put(b)
	return io.CopyBuffer(to, from, b[:])
}

// receive writes one message into tmp/.
func (r *run) receive(ctx context.Context, f *folder, a *conflict.Action, b mail.Body) (mail.Incoming, *mail.Row, error) {
	in, err := r.Local.Create(ctx, f.name, b.Date)
	if err != nil {
		return nil, nil, err
	}
	n, err := copyBody(in, b.Reader)
	if err == nil && n != b.Size {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: %d of %d octets came", mail.ErrUnreachable, n, b.Size)
	}
	if err != nil {
		return in, nil, err
	}
	identity, stat, err := in.Finish()
	if err != nil {
		return in, nil, err
	}
	row := &mail.Row{Folder: f.base.ID}
	if a.Item.Row != nil {
		*row = *a.Item.Row
	}
	row.UID, row.Key, row.Flags = b.UID, in.Key(), b.Flags
	row.State, row.Why, row.Tries, row.RetryAt = mail.Landing, "", 0, time.Time{}
	row.Identity, row.Stat, row.Date = identity, stat, b.Date.Truncate(time.Second)
	row.Name, row.New = "", false
	row.TellSize(n)
	row.Listed(a.Item.Message) // where some servers compute the size oddly
	r.Progress(Progress{Folder: f.name, Messages: 1, Bytes: n})
	return in, row, nil
}

// land puts hardened messages into their place, and settles their rows.
func (r *run) land(ctx context.Context, f *folder, landings []*mail.Row) error {
	r.dirty(f, mail.Local)
	// The flags are those that came with the bodies, and newer than the plan.
	words := mail.Keywords("")
	for _, row := range landings {
		words = words.With(row.Flags.Keywords)
	}
	letters, err := r.lettersFor(ctx, f, words)
	if err != nil {
		return err
	}
	batch := &mail.Batch{}
	for _, row := range landings {
		file, err := r.Local.Publish(ctx, f.name, row.Key, row.Flags, letters)
		if errors.Is(err, mail.ErrGone) {
			continue // the row stays as landing, and the next run looks for it
		}
		if err != nil {
			return err
		}
		row.State, row.Name, row.New = mail.Settled, file.Name, file.New
		batch.PutRows = append(batch.PutRows, row)
	}
	if err := r.Local.SyncFolder(ctx, f.name); err != nil {
		return err
	}
	if err := r.commit(ctx, batch); err != nil {
		return err
	}
	r.changed(f)
	r.count(func(rep *Report) { rep.Local.New += len(batch.PutRows) })
	return nil
}
