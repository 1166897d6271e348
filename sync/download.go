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

// transfer brings messages to where they are missing and flags to where they differ.
// The folders' work runs side by side; what is in a portion of downloads is too. What has
// come is landed by a crew of its own, so that no session waits for the disk.
func (r *run) transfer(ctx context.Context, works map[*folder]*work) error {
	landers, ctx := newCrew(ctx, r.Connections)
	g, gctx := newCrew(ctx, r.Connections)
	folders := r.usable(func(f *folder) bool { return works[f] != nil })
	for _, f := range folders {
		w := works[f]
		for _, a := range w.downloads {
			if r.announced {
				break
			}
			r.Progress(Progress{Folder: f.name, TotalMessages: 1, TotalBytes: a.Item.Message.Size})
		}
		if len(w.uploads) > 0 {
			r.Progress(Progress{Folder: f.name, TotalMessages: len(w.uploads)})
		}
	}
	download := func(group []portion) {
		g.Go(func() error {
			var ended error
			for i, err := range r.download(gctx, group, landers) {
				if err := r.fail(group[i].folder, err); err != nil && ended == nil {
					ended = err
				}
			}
			return ended
		})
	}
	g.Go(func() error { return r.settleAndUpload(gctx, works) })
	var small []portion // that are fetched together
	for _, f := range folders {
		for _, b := range portions(f, works[f].downloads) {
			if len(small) > 0 && !b.joins(small) {
				download(small)
				small = nil
			}
			small = append(small, b)
		}
	}
	if len(small) > 0 {
		download(small)
	}
	err := g.Wait()
	if landErr := landers.Wait(); landErr != nil {
		return landErr // it ended what the others did
	}
	return err
}

// settleAndUpload does what is to be done about files, and uploads those that are new.
func (r *run) settleAndUpload(ctx context.Context, works map[*folder]*work) error {
	if !light(works) {
		if err := r.changeRemote(ctx, works, false); err != nil {
			return err
		}
	}
	err := r.each(ctx, r.usable(func(f *folder) bool { return works[f] != nil }), r.Connections, func(ctx context.Context, f *folder) error {
		w := works[f]
		if err := r.agree(ctx, f, w.agrees, nil, false); err != nil {
			return err
		}
		if err := r.moveLocal(ctx, w); err != nil {
			return err
		}
		return r.link(ctx, w)
	})
	if err != nil {
		return err
	}
	return r.upload(ctx, works)
}

// portion are downloads of one folder, which are fetched with one command, and made durable
// and recorded as one.
type portion struct {
	folder  *folder
	actions []*conflict.Action
	bytes   int64
}

// A portion is large enough that the wait for an answer, an fsync and a commit cost little a
// message, and small enough that a crash costs little work, that the newest messages come
// first, and that the sessions end at about the same time.
const (
	portionMessages = 1024
	portionBytes    = 16 << 20
)

// portions cuts downloads, newest first as the plan has them.
func portions(f *folder, actions []*conflict.Action) []portion {
	var out []portion
	from, bytes := 0, int64(0)
	for i, a := range actions {
		size := a.Item.Message.Size
		if i > from && (i-from == portionMessages || bytes+size > portionBytes) {
			out = append(out, portion{f, actions[from:i], bytes})
			from, bytes = i, 0
		}
		bytes += size
	}
	if from < len(actions) {
		out = append(out, portion{f, actions[from:], bytes})
	}
	return out
}

// Small portions of several folders are fetched together, so that a few new messages in many
// folders cost one wait, on one session.
const (
	joinedFolders  = 64
	joinedMessages = 256
	joinedBytes    = 4 << 20
)

// joins tells whether a portion is fetched together with others.
func (b portion) joins(others []portion) bool {
	messages, bytes := len(b.actions), b.bytes
	for _, o := range others {
		messages, bytes = messages+len(o.actions), bytes+o.bytes
	}
	return len(others) < joinedFolders && messages <= joinedMessages && bytes <= joinedBytes
}

// A portion is asked for in pieces, the newest messages first, which are small at first: a
// slow line brings what people wait for before the rest, and a server gives what was asked for
// at once with the oldest message first.
const firstPiece = 64 << 10

// pieces cuts a portion's actions.
func (b portion) pieces() [][]*conflict.Action {
	var out [][]*conflict.Action
	from, bytes, limit := 0, int64(0), int64(firstPiece)
	for i, a := range b.actions {
		size := a.Item.Message.Size
		if i > from && bytes+size > limit {
			out = append(out, b.actions[from:i])
			from, bytes, limit = i, 0, 2*limit
		}
		bytes += size
	}
	return append(out, b.actions[from:])
}

// download fetches portions of messages into tmp/, and hands them to those who land them. It
// gives an error for each portion.
func (r *run) download(ctx context.Context, some []portion, landers *crew) []error {
	come := make([]*arrivals, len(some))
	var wanted []mail.Wanted
	var of []int // which portion those are of
	for i, b := range some {
		come[i] = &arrivals{folder: b.folder, since: r.Now(), landers: landers, missing: make(map[mail.UID]*conflict.Action, len(b.actions))}
		for _, a := range b.actions {
			come[i].missing[a.Item.UID()] = a
		}
		r.resume(ctx, come[i])
		for _, piece := range b.pieces() {
			w := mail.Wanted{Folder: b.folder.name, Validity: r.validity(b.folder), Have: map[mail.UID]mail.Part{}}
			for _, a := range piece {
				uid := a.Item.UID()
				w.UIDs.Add(uid)
				w.Octets += a.Item.Message.Size
				if p := come[i].parts[uid]; p != nil {
					w.Have[uid] = p.Part
					w.Octets -= p.Octets
				}
			}
			w.Visit = func(body mail.Body) error { return r.take(ctx, come[i], body) }
			wanted, of = append(wanted, w), append(of, i)
		}
	}
	errs := make([]error, len(some))
	for i, err := range r.Remote.Fetch(ctx, wanted) {
		if errs[of[i]] == nil {
			errs[of[i]] = err
		}
	}
	for i := range some {
		errs[i] = r.downloaded(ctx, come[i], errs[i])
	}
	return errs
}

// arrivals are messages in tmp/, and their rows.
type arrivals struct {
	folder  *folder
	files   []mail.Incoming
	rows    []*mail.Row
	missing map[mail.UID]*conflict.Action // those that did not come yet
	parts   map[mail.UID]*part            // what is here of those
	landers *crew
	since   time.Time // when the last of them were handed on
}

// handOver is for how long messages that have come may wait for those that come with them. A
// fast line brings a portion in less.
const handOver = time.Second

// take takes a message that was asked for.
func (r *run) take(ctx context.Context, come *arrivals, b mail.Body) error {
	a := come.missing[b.UID]
	var in mail.Incoming
	var err error
	if a != nil {
		in, err = r.begin(ctx, come, b)
	}
	if err == nil && in == nil {
		_, err := io.Copy(io.Discard, b.Reader)
		return err
	}
	delete(come.missing, b.UID)
	var row *mail.Row
	if err == nil {
		row, err = r.receive(come.folder, in, a, b)
	}
	if err != nil {
		return fmt.Errorf("UID %d: %w", b.UID, err)
	}
	come.files, come.rows = append(come.files, in), append(come.rows, row)
	if r.Now().Sub(come.since) < handOver {
		return nil
	}
	return r.handOn(ctx, come)
}

// handOn has those land that have come.
func (r *run) handOn(ctx context.Context, come *arrivals) error {
	// What has come is kept, also when the connection is gone: a run that is cut off
	// every time still gets on.
	ctx = context.WithoutCancel(ctx)
	f, files, rows := come.folder, come.files, come.rows
	come.files, come.rows, come.since = nil, nil, r.Now()
	return come.landers.Hand(func() error { return r.fail(f, r.bringIn(ctx, f, files, rows)) })
}

// downloaded deals with what has come of a portion, and what the fetch ended with.
func (r *run) downloaded(ctx context.Context, come *arrivals, err error) error {
	r.endParts(come, err != nil)
	if err != nil {
		err = fmt.Errorf("download: %w", err)
		r.leave(come.folder)
	} else {
		err = r.commit(ctx, r.withhold(come.folder, come.missing))
	}
	if len(come.rows) == 0 {
		return err
	}
	return errors.Join(err, r.handOn(ctx, come))
}

// bringIn brings messages in tmp/ into the Maildir: they are made durable; then base learns
// under which key each will be; then they are put into their place; then base learns that
// they are there. A crash at any point leaves a row that says where to look.
func (r *run) bringIn(ctx context.Context, f *folder, files []mail.Incoming, rows []*mail.Row) error {
	recorded := false
	defer func() {
		if !recorded {
			for _, in := range files {
				in.Discard()
			}
		}
	}()
	keys := make([]mail.Key, len(rows))
	for i, row := range rows {
		keys[i] = row.Key
	}
	if err := r.Local.Harden(ctx, f.name, keys); err != nil {
		return err
	}
	if err := r.commit(ctx, &mail.Batch{PutRows: rows}); err != nil {
		return err
	}
	recorded = true
	return r.land(ctx, f, rows)
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

// receive writes one message into tmp/, or what is not there yet of it.
func (r *run) receive(f *folder, in mail.Incoming, a *conflict.Action, b mail.Body) (*mail.Row, error) {
	n, err := copyBody(in, b.Reader)
	n += b.Offset
	if err == nil && n != b.Size {
		err = io.ErrUnexpectedEOF
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		r.keepOrDiscard(f, in, n, a, b)
		return nil, fmt.Errorf("%w: %d of %d octets came", mail.ErrUnreachable, n, b.Size)
	}
	var identity mail.Identity
	var stat mail.Stat
	if err == nil {
		identity, stat, err = in.Finish()
	}
	if err != nil {
		in.Discard()
		return nil, err
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
	return row, nil
}

// land puts hardened messages into their place, and settles their rows.
func (r *run) land(ctx context.Context, f *folder, landings []*mail.Row) error {
	r.wrote(f)
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
			r.dirty(f, mail.Local)
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
