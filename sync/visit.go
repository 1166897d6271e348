package sync

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// Each folder of the server is visited once for all that changes there about messages which it
// has: a visit costs a round trip, however much it does. But moves to where files are already
// come first: they make messages appear.

// inRow is how many folders one session visits before it pays to have another one.
const inRow = 5

// row is how many of the folders each session visits.
func row(folders, sessions int) int { return max(inRow, (folders+sessions-1)/sessions) }

// firstOf gives the folders that sessions visit first.
func firstOf(folders []*folder, sessions int) (first []mail.Folder) {
	for some := range slices.Chunk(folders, row(len(folders), sessions)) {
		first = append(first, some[0].name)
	}
	return first
}

// announceVisits has sessions made ready for the visits that a plan takes: moves to where files are
// come first, where there are any.
func (r *run) announceVisits(ctx context.Context, works map[*folder]*work) {
	moved, visited := map[*folder]bool{}, map[*folder]bool{}
	for f, w := range works {
		for _, a := range w.movesThere {
			moved[r.folders[a.Item.From.Folder]] = true
		}
		if len(w.stores)+len(w.remote) > 0 {
			visited[f] = true
		}
	}
	first := firstOf(inOrder(visited), r.Connections)
	sessions := len(first)
	if len(moved) > 0 {
		first = nil
		if r.Remote.Abilities().Move {
			first = firstOf(inOrder(moved), r.Connections)
		}
		sessions = max(sessions, len(first))
	}
	r.Remote.Ready(ctx, sessions, first)
}

// change carries out visits, on several sessions where there are many of them.
func (r *run) change(ctx context.Context, visits map[*folder]*mail.Visit) {
	var all []*mail.Visit
	for _, f := range inOrder(visits) {
		v := visits[f]
		v.Folder, v.Validity = f.name, r.validity(f)
		if !v.Empty() {
			r.dirty(f, mail.Remote)
			all = append(all, v)
		}
	}
	g, ctx := newCrew(ctx, r.Connections)
	for some := range slices.Chunk(all, row(len(all), r.Connections)) {
		g.Go(func() error {
			r.Remote.Change(ctx, some)
			return nil
		})
	}
	_ = g.Wait() // errors stand in the visits
}

// store changes flags of messages of one folder at once.
func (r *run) store(ctx context.Context, f *folder, c *mail.FlagChange) error {
	r.change(ctx, map[*folder]*mail.Visit{f: {Stores: []*mail.FlagChange{c}}})
	return c.Err
}

// expunge removes messages of one folder for ever, at once.
func (r *run) expunge(ctx context.Context, f *folder, uids mail.UIDSet) error {
	v := &mail.Visit{Expunge: uids}
	r.change(ctx, map[*folder]*mail.Visit{f: v})
	return v.Expunged
}

// visit is what is done at the end about a folder of the server: flags of messages that stay,
// and removals.
type visit struct {
	mail.Visit
	folder               *folder
	secured              error // why the names of its files are not durable
	flags                []*conflict.Action
	changes              []*change // of flags
	trash, expunge, mark []*conflict.Action
	marking              *mail.FlagChange
	trashing             []*trashing
}

// lightBytes is how much may come and go before flags are changed on the server.
const lightBytes = 4 << 20

// light tells whether what comes and goes will soon be over, and does not break connections:
// then flags are changed in one visit with what is removed, which has to wait for it.
func light(works map[*folder]*work) bool {
	bytes := int64(0)
	for _, w := range works {
		for _, a := range w.downloads {
			bytes += a.Item.Message.Size
		}
		for _, a := range w.uploads {
			bytes += max(a.Item.Stat.Size, a.Item.Identity.Size) // either may be unknown
			if tries(a) > 0 {
				return false
			}
		}
	}
	return bytes <= lightBytes
}

// changeRemote changes flags on the server, and removes messages there if it is time for that.
func (r *run) changeRemote(ctx context.Context, works map[*folder]*work, removals bool) error {
	visits := map[*folder]*visit{}
	folders := r.usable(func(f *folder) bool { return works[f] != nil })
	err := r.each(ctx, folders, r.Connections, func(ctx context.Context, f *folder) error {
		w, v := works[f], &visit{folder: f}
		if !w.stored {
			w.stored, v.flags = true, w.stores
		}
		v.changes = changesOf(v.flags)
		for _, c := range v.changes {
			v.Stores = append(v.Stores, &c.FlagChange)
		}
		if removals {
			if err := r.remove(ctx, w, v); err != nil {
				return err
			}
			if err := r.lookBehind(ctx, v); err != nil {
				return err
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		visits[f] = v
		return nil
	})
	if err != nil {
		return err
	}
	out := map[*folder]*mail.Visit{}
	for f, v := range visits {
		out[f] = &v.Visit
		for _, m := range v.Moves {
			if to := visits[r.folders[m.To]]; to != nil {
				to.Look = nil // it may be visited before that comes
			}
		}
	}
	r.changeAndSecure(ctx, visits, out)
	// What the server has answered is recorded, whatever became of the rest.
	ctx = context.WithoutCancel(ctx)
	return r.each(ctx, inOrder(visits), r.Connections, func(ctx context.Context, f *folder) error {
		v := visits[f]
		left, err := r.stored(ctx, f, v.changes)
		if err = cmp.Or(err, v.secured); err == nil { // else the files say still what the server does not
			err = r.agree(ctx, f, v.flags, left, true)
		}
		return errors.Join(err, r.removedThere(ctx, v))
	})
}

// changeAndSecure carries out visits, and makes durable meanwhile which names the files have by now
// whose flags are changed: see agree.
func (r *run) changeAndSecure(ctx context.Context, visits map[*folder]*visit, out map[*folder]*mail.Visit) {
	g, gctx := newCrew(ctx, r.diskAtOnce())
	g.Go(func() error {
		r.change(gctx, out)
		return nil
	})
	for _, f := range inOrder(visits) {
		if v := visits[f]; slices.ContainsFunc(v.flags, notices) {
			g.Go(func() error {
				v.secured = r.Local.SyncFolder(gctx, f.name)
				return nil
			})
		}
	}
	_ = g.Wait() // errors stand in the visits
}

// lookBehind has the server asked, right behind the last visit to a folder in this round, what the
// next round will ask: what has become of what the run has written there. So that round need not
// wait for it.
func (r *run) lookBehind(ctx context.Context, v *visit) error {
	if v.Empty() || len(v.trash) > 0 && !r.Remote.Abilities().Move {
		return nil
	}
	f, since := v.folder, v.folder.base.Remote
	r.mu.Lock()
	if f.view != nil && !f.unsafe {
		since = f.view.Cursor // see settle
	}
	r.mu.Unlock()
	leaving := slices.Clone(v.Expunge)
	for _, m := range v.Moves {
		leaving.Add(m.UID)
	}
	l, err := r.look(ctx, f, since, leaving)
	if err == nil && !l.whole {
		v.Look = &mail.Query{Folder: f.name, Since: l.since, Known: l.below}
	}
	return err
}
