package sync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// maxScans bounds how often local folders are scanned again because they changed
// while others were scanned.
const maxScans = 3

// halfMoved is for how long what was pushed may be missing where a message has moved: it may have
// been moving at that time. But a move takes no longer than moving. Where a run that began so long
// after the push has left all in step, the message was in its place still, and has moved afterwards,
// with all that it had.
const (
	halfMoved = time.Hour
	moving    = time.Minute
)

// gathered are the items of one round, by what they are about.
type gathered struct {
	doubt     time.Time                     // what was pushed before that was on its message when it moved
	rows      map[mail.RowID]*conflict.Item // messages that base knows
	newLocal  map[*folder][]*conflict.Item
	newRemote map[*folder][]*conflict.Item
	// resolving are the files whose messages were found, and are yet to be recorded.
	resolving map[upload]bool
	// unsure are the files that an interrupted run was about to upload, and of which too
	// little is known in this round.
	unsure map[upload]bool
	// recovered are the messages of uploads that were interrupted, whose files are gone.
	recovered []*conflict.Item
	// stranded are the files of folders that are held, and that may have been uploaded.
	stranded []*conflict.Item
	// left counts, by their content, the messages whose files are gone from folders that are held.
	left map[mail.Digest]int
	// inHeld are the contents of new files in folders that are held.
	inHeld map[mail.Digest]mail.Folder
	// unmeasured are the folders with new files that were renamed, or changed, before they
	// could be read.
	unmeasured map[*folder]bool
	// uploaded are the files that may have been on the server, and whose messages are not
	// found: see formerly. Of those that are true an interrupted run says so, or base.
	uploaded map[*conflict.Item]bool
	// alike are new messages that may be copies of known ones, with those.
	alike map[*conflict.Item][]*conflict.Item
}

func (r *run) newGathered() *gathered {
	doubt := r.Now().Add(-halfMoved)
	if in := r.InStep.Add(-moving); in.After(doubt) {
		doubt = in
	}
	return &gathered{
		doubt:    doubt,
		rows:     map[mail.RowID]*conflict.Item{},
		newLocal: map[*folder][]*conflict.Item{}, newRemote: map[*folder][]*conflict.Item{},
		resolving: map[upload]bool{}, unsure: map[upload]bool{}, unmeasured: map[*folder]bool{},
		uploaded: map[*conflict.Item]bool{}, alike: map[*conflict.Item][]*conflict.Item{},
		left: map[mail.Digest]int{},
	}
}

// upload is a file that may have been uploaded.
type upload struct {
	folder mail.FolderID
	key    mail.Key
}

func (g *gathered) row(f *folder, row mail.Row) *conflict.Item {
	item := g.rows[row.ID]
	if item == nil {
		item = &conflict.Item{Folder: f.name, Row: g.believed(row)}
		g.rows[row.ID] = item
	}
	return item
}

// believed gives the row without what time has told to be so.
func (g *gathered) believed(row mail.Row) *mail.Row {
	if row.PushedAt.Before(g.doubt) {
		row.ForgetPushed()
	}
	return &row
}

// reput is row for a row that has just changed: the item may have been made of what it
// was before.
func (g *gathered) reput(f *folder, row mail.Row) *conflict.Item {
	item := g.row(f, row)
	item.Row = g.believed(row)
	return item
}

// withKey gives the item of the row with that key, nil if there is none.
func (g *gathered) withKey(f *folder, key mail.Key) *conflict.Item {
	for _, item := range g.rows {
		if item.Folder == f.name && item.Row.Key == key {
			return item
		}
	}
	return nil
}

// gather scans every folder that may have changed, on the side where it may have,
// and gives what must be decided.
func (r *run) gather(ctx context.Context, round int) ([]*conflict.Item, error) {
	g := r.newGathered()
	for _, f := range r.folders {
		// What was left undone is met again as a whole: of a move, for example, that met no
		// file, not only the half whose folder has changed since; and of a message that is gone, not
		// only that, and not what was changed here about its file.
		if f.view != nil {
			f.said = &f.view.Access
			f.remoteDirty = f.remoteDirty || f.unsafe
		}
		if f.listing != nil || f.peeked {
			f.localDirty = f.localDirty || f.unsafe
		}
		f.view, f.listing, f.twice, f.unsafe = nil, nil, nil, false
		f.peeked, f.wrote = false, false
		f.stopped = f.stopped || f.refused
		if f.resettled && (f.localDirty || f.remoteDirty) {
			// Only a round that has read both sides can say that the new policy is followed.
			f.localDirty, f.remoteDirty = true, true
		}
	}
	if err := r.checkMarkers(ctx); err != nil {
		return nil, err
	}
	for _, f := range r.folders {
		if _, remote := r.info(f).KeepsBack(); remote && f.localDirty && f.onRemote {
			f.remoteDirty = true
		}
	}
	if err := r.scanBoth(ctx, g); err != nil {
		return nil, err
	}
	for _, f := range r.folders {
		if local, _ := r.info(f).KeepsBack(); local && f.view != nil && f.onLocal {
			f.localDirty = true
		}
	}
	if err := r.goneWithFolder(ctx, g); err != nil {
		return nil, err
	}
	if err := r.gatherHeld(ctx, g); err != nil {
		return nil, err
	}
	if err := r.scanLocal(ctx, g); err != nil {
		return nil, err
	}
	clear(r.early)
	if err := r.dropForgotten(ctx); err != nil {
		return nil, err
	}
	if round == 0 {
		r.addUnsettled(g)
		if err := r.addMarked(ctx, g); err != nil {
			return nil, err
		}
		if err := r.cameBack(ctx, g); err != nil {
			return nil, err
		}
	} else {
		r.addWaiting(g)
		g.leaveHeld(r)
	}
	if err := r.confirmGone(ctx, g); err != nil {
		return nil, err
	}
	g.leaveLanding(r)
	g.leaveMissed(r)
	if r.announced = false; r.inPieces(g) {
		r.announce()
	} else {
		r.unpack(g, math.MaxInt)
	}
	items, err := r.pair(ctx, g, round)
	if err != nil {
		return nil, err
	}
	items = r.keepWhatMayHaveMoved(g, items)
	r.fetchAgain(items)
	if items, err = r.awaitElsewhere(ctx, g, items); err != nil {
		return nil, err
	}
	return items, r.dropFruitless(ctx, g)
}

// usable gives the folders that the run works on, in their order. Others may be at work, and
// fail; want must not wait for them.
func (r *run) usable(want func(*folder) bool) []*folder {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*folder
	for _, f := range r.folders {
		if f.usable() && want(f) {
			out = append(out, f)
		}
	}
	slices.SortFunc(out, byName)
	return out
}

// goesOn tells whether the run still works on a folder, while others are at work.
func (r *run) goesOn(f *folder) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f.usable()
}

// each works on folders, several at a time. A folder that fails is set aside.
func (r *run) each(ctx context.Context, folders []*folder, limit int, work func(context.Context, *folder) error) error {
	g, gctx := newCrew(ctx, limit)
	for _, f := range folders {
		g.Go(func() error { return r.fail(f, work(gctx, f)) })
	}
	return g.Wait()
}

// rowsByUID are base's rows of a folder, none for one that is new.
func (r *run) rowsByUID(ctx context.Context, f *folder) iter.Seq2[mail.Row, error] {
	if f.base.ID == 0 {
		return func(func(mail.Row, error) bool) {}
	}
	return r.State.RowsByUID(ctx, f.base.ID)
}

func (r *run) scanRemote(ctx context.Context, g *gathered) error {
	asked, err := r.lookAhead(ctx)
	if err != nil {
		return err
	}
	folders := r.usable(func(f *folder) bool { return asked[f] != nil })
	found := make(map[*folder][]conflict.RemoteChange, len(folders))
	err = r.each(ctx, folders, r.Connections, func(ctx context.Context, f *folder) error {
		changes, err := r.diffRemote(ctx, f, asked[f])
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		found[f] = changes
		f.remoteDirty = false
		return nil
	})
	for _, f := range folders {
		for _, c := range found[f] {
			item := g.row(f, *c.Row)
			item.Remote, item.Message = c.Change, c.Message
			if heldAs(*c.Row, mail.Local) {
				item.Local = conflict.Gone // unless the scan here meets it
			}
		}
		delete(found, f)
	}
	r.several = len(r.usable(func(f *folder) bool { return f.news.count > 0 })) > 1
	r.unpack(g, r.Piece)
	return err
}

// verifyEvery is how often all flags and UIDs of a folder are read, whatever the
// mod-sequences say: servers have been seen to leave changes out of them.
const verifyEvery = 7 * 24 * time.Hour

// overdue tells whether the time has come to read a whole folder.
func (r *run) overdue(f *folder) bool {
	return !f.base.Verified.IsZero() && r.Now().Sub(f.base.Verified) > verifyEvery
}

// whole tells whether a folder that is scanned is to be read whole, and not only what
// changed.
func (r *run) whole(f *folder) bool {
	_, keptBack := r.info(f).KeepsBack()
	return f.resettled || keptBack || r.overdue(f)
}

// look is how a folder of the server is to be scanned.
type look struct {
	since mail.Cursor
	known int // messages that base knows
	below int // those of them that lie below since.UIDNext
	probe *probe
	whole bool // it is read whole
}

// lookAhead finds out how the folders are to be scanned that may have changed on the server,
// and has it asked at once what has changed in those that are not read whole, and what there
// is in those that were never read.
func (r *run) lookAhead(ctx context.Context) (map[*folder]*look, error) {
	looks := map[*folder]*look{}
	var queries []mail.Query
	for _, f := range r.usable(func(f *folder) bool { return f.remoteDirty && f.onRemote }) {
		l, err := r.look(ctx, f, f.base.Remote, nil)
		if err != nil {
			return nil, err
		}
		status := r.onServer[f.name].Status
		first := l.since == (mail.Cursor{}) && l.known == 0
		if looks[f] = l; first && status.UIDNext != 0 {
			queries = append(queries, mail.Query{Folder: f.name, New: int(status.Messages)})
		}
		if l.whole {
			continue
		}
		q := mail.Query{Folder: f.name, Since: l.since, Known: l.below}
		if f.read == (mail.Cursor{}) { // else the status is an old one
			q.New = int(status.UIDNext) - int(f.base.Remote.UIDNext)
			q.Gone = int(status.Messages) != l.known+int(status.UIDNext)-int(f.base.Remote.UIDNext)
		}
		queries = append(queries, q)
	}
	if len(queries) > 0 {
		r.Remote.Ahead(ctx, queries)
	}
	return looks, nil
}

// look finds out how a folder is to be scanned from there on, once base no longer has those
// messages.
func (r *run) look(ctx context.Context, f *folder, since mail.Cursor, leaving mail.UIDSet) (*look, error) {
	known := 0
	var err error
	if f.base.ID != 0 {
		if known, _, err = r.State.Count(ctx, f.base.ID); err != nil {
			return nil, fmt.Errorf("read the state: %w", err)
		}
		known -= leaving.Len()
	}
	l := &look{since: since, known: known, below: known}
	if l.probe, err = r.probe(ctx, f, since.UIDNext, leaving); err != nil {
		return nil, err
	}
	if rows := l.probe.rows; len(rows) > 0 && l.since.UIDNext > 0 {
		// The scan tells of them as of new ones.
		l.since.UIDNext, l.below = min(l.since.UIDNext, rows[0].UID), known-len(rows)
	}
	if l.since.HighestModSeq == 0 || r.whole(f) {
		l.since.HighestModSeq, l.whole = 0, true
	}
	return l, nil
}

// diffRemote scans one folder of the server.
func (r *run) diffRemote(ctx context.Context, f *folder, l *look) ([]conflict.RemoteChange, error) {
	since, p, scan := l.since, l.probe, r.deltaRemote
	if l.whole {
		scan = r.joinRemote
	}
	changes, view, err := scan(ctx, f, since, l.below, p)
	if err != nil {
		return nil, err
	}
	if loss, err := r.lossThere(ctx, f, view, p); err != nil {
		return nil, err
	} else if loss != conflict.NoLoss || view.Restarted && since != (mail.Cursor{}) {
		// Its UIDs are not those that base knows: it is read once more, with all its
		// messages as new ones, and pairing finds out which they are.
		if loss == conflict.NoLoss {
			r.once(f.name, "has UIDs that do not outlast a session (RFC 4315): each sync pairs its messages again, and nothing is removed")
		}
		r.forget(f, loss)
		if changes, view, err = r.joinRemote(ctx, f, mail.Cursor{}, 0, &probe{}); err != nil {
			return nil, err
		}
	}
	f.view, f.read = &view, view.Cursor
	if missing := l.known - int(view.Cursor.Messages); view.Absence == mail.AbsenceUnknown && missing > 0 {
		r.once(f.name, fmt.Sprintf("%s not shown by the server, which does not mean that it deleted them (RFC 9738); what is here stays", are(missing)))
	}
	if view.ReadOnly && !f.base.Access.ReadOnly {
		r.once(f.name, "can only be read on the server; what changes here stays here")
	}
	return changes, nil
}

func are(messages int) string {
	if messages == 1 {
		return "1 message is"
	}
	return fmt.Sprint(messages, " messages are")
}

// joinRemote reads a whole folder and joins it with base as both stream by.
func (r *run) joinRemote(ctx context.Context, f *folder, since mail.Cursor, known int, p *probe) ([]conflict.RemoteChange, mail.View, error) {
	var view mail.View
	var failed error
	stopped, enough := errors.New("stopped"), false
	messages := func(yield func(mail.Message, error) bool) {
		view, failed = r.Remote.Scan(ctx, f.name, since, known, func(m mail.Message) error {
			p.see(m)
			if enough = enough || !yield(m, nil); enough {
				return stopped
			}
			return nil
		})
		if failed != nil && !enough {
			yield(mail.Message{}, failed)
		}
	}
	changes, err := r.takeNews(f, conflict.DiffRemote(r.rowsByUID(ctx, f), messages, true))
	return r.believe(f, changes, view), view, err
}

// believe drops what a scan says is gone, where its counts did not agree, or where the
// server lists the UID after all; what was known to be gone before stays so.
func (r *run) believe(f *folder, changes []conflict.RemoteChange, view mail.View) []conflict.RemoteChange {
	return slices.DeleteFunc(changes, func(c conflict.RemoteChange) bool {
		if c.Change != conflict.Gone {
			return false
		}
		there := view.Absence == mail.ByPresent && view.Present.Has(c.Row.UID)
		if there {
			r.leave(f) // nobody knows what has changed about it
		}
		return there || view.Absence == mail.AbsenceUnknown && !heldAs(*c.Row, mail.Remote)
	})
}

// heldAs tells whether base says that a message is gone on that side, and waits.
func heldAs(row mail.Row, gone mail.Side) bool { return row.State == mail.Held && row.Gone == gone }

// deltaRemote reads what changed since the cursor, and looks up the rows of that.
func (r *run) deltaRemote(ctx context.Context, f *folder, since mail.Cursor, known int, p *probe) ([]conflict.RemoteChange, mail.View, error) {
	var visited []mail.Message
	var uids mail.UIDSet
	view, err := r.Remote.Scan(ctx, f.name, since, known, func(m mail.Message) error {
		p.see(m)
		visited = append(visited, m)
		uids.Add(m.UID)
		return nil
	})
	if err != nil || view.Restarted {
		return nil, view, err
	}
	var gone mail.UIDSet
	if view.Absence == mail.ByPresent {
		all, err := r.State.UIDs(ctx, f.base.ID)
		if err != nil {
			return nil, view, fmt.Errorf("read the state: %w", err)
		}
		gone = all.Without(view.Present)
		if back := view.Present.Without(all).Without(uids); len(back) > 0 {
			// No UID appears below the others, unless the folder was restored from a backup;
			// or else base has lost them. Either way they are new.
			since.HighestModSeq = 0
			return r.joinRemote(ctx, f, since, known, p)
		}
	}
	if view.Absence == mail.NothingGone {
		// The count says so of what lies below the probes, and that the list of what lies
		// above is complete.
		gone = p.uids().Without(uids)
	}
	rows, err := r.State.WithUIDs(ctx, f.base.ID, uids)
	if err != nil {
		return nil, view, fmt.Errorf("read the state: %w", err)
	}
	changes, err := r.takeNews(f, conflict.DiffRemote(values(rows), values(visited), false))
	if err != nil {
		return nil, view, err
	}
	if len(gone) > 0 {
		if rows, err = r.State.WithUIDs(ctx, f.base.ID, gone); err != nil {
			return nil, view, fmt.Errorf("read the state: %w", err)
		}
		for _, row := range rows {
			changes = append(changes, conflict.RemoteChange{Change: conflict.Gone, Row: &row})
		}
	}
	return changes, view, nil
}

// values yields a slice as an iterator that never fails.
func values[T any](s []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range s {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// addUnsettled adds the messages that an earlier run left pending or held, in the
// folders where no scan has met them.
func (r *run) addUnsettled(g *gathered) {
	now := r.Now()
	for _, f := range r.usable(func(*folder) bool { return true }) {
		for _, row := range r.unsettled[f.base.ID] {
			if row.State == mail.Landing {
				continue
			}
			item := g.row(f, row)
			// What can be read by now holds nothing back: this round tells.
			item.Due = !row.RetryAt.After(now) || row.Why == whyDamaged && f.listing != nil && f.listing.Believed
			stayHeld(f, item)
		}
	}
}

// addWaiting adds the pending messages that the round before has left out, where no scan has
// met them: see awaitElsewhere.
func (r *run) addWaiting(g *gathered) {
	for _, item := range r.waiting {
		if f := r.folders[item.Folder]; f.usable() {
			g.row(f, *item.Row).Due = item.Due
		}
	}
	r.waiting = nil
}

// stayHeld: where nothing was scanned that could tell, what is held as gone is as it was.
func stayHeld(f *folder, item *conflict.Item) {
	if heldAs(*item.Row, mail.Local) && (item.Row.Key == "" || f.listing == nil || !f.listing.Believed) {
		item.Local = conflict.Gone
	}
	if heldAs(*item.Row, mail.Remote) && (f.view == nil || f.view.Absence != mail.ByPresent) {
		item.Remote = conflict.Gone
	}
}

// addMarked adds the messages that were flagged \Deleted on both sides before the
// policy began to expunge such.
func (r *run) addMarked(ctx context.Context, g *gathered) error {
	for _, f := range r.usable(func(f *folder) bool { return f.resettled && f.policy.ExpungeDeleted }) {
		rows, err := r.State.Marked(ctx, f.base.ID)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		for _, row := range rows {
			g.row(f, row)
		}
	}
	return nil
}

// leaveLanding drops the messages whose landing was interrupted and whose files no
// scan has met, nor missed for good: what they are called is not known.
func (g *gathered) leaveLanding(r *run) {
	for id, item := range g.rows {
		if item.Row.State == mail.Landing && item.Local == conflict.Same && item.File.Name == "" {
			f := r.folders[item.Folder]
			f.localDirty, f.remoteDirty, f.unsafe = true, true, true
			delete(g.rows, id)
		}
	}
}

// leaveMissed drops the messages that are gone on the server, whose files a policy keeps, and of
// which a scan has missed the file: whether there is one to keep is not known.
func (g *gathered) leaveMissed(r *run) {
	for id, item := range g.rows {
		f := r.folders[item.Folder]
		if f.missed[id] && item.Local == conflict.Same && item.Remote == conflict.Gone && f.policy.OnRemoteDelete == conflict.KeepFile {
			r.leave(f)
			delete(g.rows, id)
		}
	}
}

// leaveHeld drops the messages whose removal the first round has held: what is found
// later in the same run must not make it look smaller.
func (g *gathered) leaveHeld(r *run) {
	for id, item := range g.rows {
		stayHeld(r.folders[item.Folder], item)
		if item.Row.State == mail.Held && (item.Local == conflict.Gone) != (item.Remote == conflict.Gone) {
			if renamed(item) {
				r.leave(r.folders[item.Folder]) // a reader has done something with its file since
			}
			delete(g.rows, id)
		}
	}
}
