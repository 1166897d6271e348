package sync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// pair finds out which new messages are known ones in another place, and gives all
// items of the round. It reads, and fetches, only what conflict must know to decide.
func (r *run) pair(ctx context.Context, g *gathered) ([]*conflict.Item, error) {
	var items, gone, arrived []*conflict.Item
	for _, item := range g.rows {
		items = append(items, item)
		if item.Local == conflict.Gone {
			gone = append(gone, item)
		}
	}
	for f, locals := range g.newLocal {
		if len(g.newRemote[f]) == 0 && len(gone) == 0 {
			continue
		}
		kept, err := r.measureAll(ctx, f, locals)
		if err := r.fail(f, err); err != nil {
			return nil, err
		}
		g.newLocal[f] = kept
	}
	lonely := map[*folder][]*conflict.Item{}
	for _, item := range items {
		if item.Lonely() {
			item.Identity = item.Row.Identity
			f := r.folders[item.Folder]
			lonely[f] = append(lonely[f], item)
		}
	}
	for f, remotes := range g.newRemote {
		tied, left, err := r.tie(ctx, f, slices.Concat(g.newLocal[f], lonely[f]), remotes)
		if err != nil {
			if err := r.fail(f, err); err != nil {
				return nil, err
			}
			continue
		}
		for i, item := range g.newLocal[f] {
			if joined := tied[item]; joined != nil {
				g.newLocal[f][i] = joined
			}
		}
		for _, item := range lonely[f] {
			if joined := tied[item]; joined != nil {
				*item = *joined
			}
		}
		items = append(items, left...)
	}
	for _, locals := range g.newLocal {
		arrived = append(arrived, locals...)
		items = append(items, locals...)
	}
	conflict.MarkMoved(gone, arrived)
	return items, r.markReplaced(ctx, gone)
}

// markReplaced tells the gone messages whose place another one took in a run that
// was interrupted before they left the server.
func (r *run) markReplaced(ctx context.Context, gone []*conflict.Item) error {
	for _, item := range gone {
		if item.Moved != nil || r.intentOf(mail.Replace, item.Row) == nil {
			continue
		}
		alike, err := r.State.Alike(ctx, item.Row.Size, item.Row.Fingerprint)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		for _, row := range alike {
			if row.ID != item.Row.ID && row.State == mail.Settled && row.Digest == item.Row.Digest {
				item.Moved = &conflict.Item{Row: &row}
			}
		}
	}
	return nil
}

// measureAll learns the identity of new files. Those that a reader has renamed
// meanwhile are left for the next round.
func (r *run) measureAll(ctx context.Context, f *folder, items []*conflict.Item) ([]*conflict.Item, error) {
	left := make([]bool, len(items))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(r.Connections)
	for i, item := range items {
		if item.Identity.Digest != (mail.Digest{}) {
			continue
		}
		g.Go(func() error {
			identity, stat, err := r.measure(gctx, f, item.File)
			switch {
			case errors.Is(err, mail.ErrGone):
				left[i] = true
				r.mu.Lock()
				defer r.mu.Unlock()
				f.localDirty, f.unsafe = true, true
			case errors.Is(err, mail.ErrDamaged):
				left[i] = true
				r.skipFile(f, err)
			case err != nil:
				return err
			default:
				item.Identity, item.Stat = identity, stat
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var kept []*conflict.Item
	for i, item := range items {
		if !left[i] {
			kept = append(kept, item)
		}
	}
	return kept, nil
}

// skipFile reports a file that cannot be read; the folder is looked at again in the
// next run.
func (r *run) skipFile(f *folder, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.unsafe = true
	r.report.Problems = append(r.report.Problems, &Problem{
		Folder: f.name, Err: err, Hint: "look at its permissions, or move it out of the Maildir",
	})
}

// tie finds the files without a message and the new messages of a folder that are
// one message. It gives what each of those files has become, and the messages that
// are left.
func (r *run) tie(ctx context.Context, f *folder, locals, remotes []*conflict.Item) (map[*conflict.Item]*conflict.Item, []*conflict.Item, error) {
	if len(locals) == 0 {
		return nil, remotes, nil
	}
	intents := map[mail.Key]mail.Intent{}
	for _, in := range r.intents {
		if in.Kind == mail.Upload && in.Folder == f.base.ID && f.view != nil && in.UIDValidity == f.view.Cursor.UIDValidity {
			intents[in.Key] = in
		}
	}
	pairs := conflict.TieNew(locals, remotes, intents)
	for len(pairs.Ask) > 0 {
		var err error
		if remotes, err = r.learn(ctx, f, remotes, pairs.Ask); err != nil {
			return nil, nil, err
		}
		pairs = conflict.TieNew(locals, remotes, intents)
	}
	joined := map[*conflict.Item]*conflict.Item{}
	taken := map[*conflict.Item]bool{}
	for _, t := range pairs.Ties {
		joined[t.Local], taken[t.Remote] = t.Join(), true
	}
	var left []*conflict.Item
	for _, m := range remotes {
		if !taken[m] {
			left = append(left, m)
		}
	}
	return joined, left, nil
}

// learn asks the server for more about messages: their fingerprints first, and then
// their content. It gives the messages that are still there.
func (r *run) learn(ctx context.Context, f *folder, remotes, ask []*conflict.Item) ([]*conflict.Item, error) {
	byUID := map[mail.UID]*conflict.Item{}
	var headers, bodies mail.UIDSet
	for _, item := range ask {
		byUID[item.Message.UID] = item
		if item.Identity.Fingerprint == (mail.Fingerprint{}) {
			headers.Add(item.Message.UID)
		} else {
			bodies.Add(item.Message.UID)
		}
	}
	told := map[mail.UID]bool{}
	validity := f.view.Cursor.UIDValidity
	if len(headers) > 0 {
		identified, err := r.Remote.Identify(ctx, f.name, validity, headers)
		if err != nil {
			return nil, err
		}
		for _, id := range identified {
			if item := byUID[id.UID]; item != nil {
				told[id.UID] = true
				item.Identity.Fingerprint, item.Identity.MessageID = id.Identity.Fingerprint, id.Identity.MessageID
			}
		}
	}
	if len(bodies) > 0 {
		err := r.Remote.Fetch(ctx, f.name, validity, bodies, func(b mail.Body) error {
			var m mail.Measure
			if _, err := io.Copy(&m, b.Reader); err != nil {
				return err
			}
			if item := byUID[b.UID]; item != nil {
				told[b.UID] = true
				item.Identity = m.Identity()
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	var still []*conflict.Item
	for _, item := range remotes {
		if byUID[item.Message.UID] != nil && !told[item.Message.UID] {
			f.remoteDirty, f.unsafe = true, true
			continue
		}
		still = append(still, item)
	}
	return still, nil
}
