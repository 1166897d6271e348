package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// pair finds out which new messages are known ones in another place, and gives all
// items of the round. It reads, and fetches, only what conflict must know to decide.
func (r *run) pair(ctx context.Context, g *gathered, round int) ([]*conflict.Item, error) {
	for _, f := range inOrder(g.newRemote) {
		left, err := r.tieFolder(ctx, g, f)
		if failed := r.fail(f, err); failed != nil {
			return nil, failed
		}
		if err != nil {
			g.leaveUnlearnt(f)
			continue
		}
		g.newRemote[f] = left
	}
	arrived, err := r.pairLocal(ctx, g)
	if err != nil {
		return nil, err
	}
	items, err := r.pairRemote(ctx, g, arrived, round)
	if err != nil {
		return nil, err
	}
	if err := r.followCopied(ctx, g); err != nil {
		return nil, err
	}
	if err := r.markReplaced(ctx, g, true); err != nil {
		return nil, err
	}
	for _, f := range inOrder(g.newRemote) {
		items = append(items, r.awaitFiles(g, f, g.newRemote[f])...)
	}
	for _, item := range g.known() {
		if !r.folders[item.Folder].held || item.Moved != nil {
			items = append(items, item)
		}
	}
	return items, nil
}

// pairLocal finds the new files that are messages which have moved here, or were
// copied, and gives the files that are items of their own.
func (r *run) pairLocal(ctx context.Context, g *gathered) ([]*conflict.Item, error) {
	var gone, arrived []*conflict.Item
	for _, item := range g.known() {
		if item.Local == conflict.Gone {
			gone = append(gone, item)
		}
	}
	for _, f := range inOrder(g.newLocal) {
		if err := r.fail(f, r.measureAll(ctx, g, f)); err != nil {
			return nil, err
		}
		arrived = append(arrived, g.newLocal[f]...)
	}
	held, err := r.leftHeld(ctx, g, arrived)
	if err != nil {
		return nil, err
	}
	gone = append(gone, held...)
	var back []*conflict.Item
	for _, item := range g.recovered {
		back = append(back, r.movedBack(g, item)...)
	}
	arrived = append(conflict.MarkMoved(g.withoutForerunners(gone), arrived, r.lettersIn), back...)
	for _, item := range g.recovered {
		// Nobody knows which flags it was uploaded with. So what only one side has by now is
		// taken for news, and not for something that the other one has taken away.
		if item.Moved != nil {
			row := *item.Row
			row.Flags = mail.Flags{}
			item.Row = &row
		}
	}
	if err := r.settleLanded(ctx, gone); err != nil {
		return nil, err
	}
	taken := conflict.FollowMoved(gone, func(name mail.Folder) mail.FolderID { return r.folders[name].base.ID })
	arrived = slices.DeleteFunc(arrived, func(item *conflict.Item) bool { return slices.Contains(taken, item) })
	left := arrived[:0]
	for _, item := range arrived {
		if item.Remote != conflict.New && item.From == nil {
			rows, err := r.State.Alike(ctx, item.Identity.Fingerprint)
			if err != nil {
				return nil, fmt.Errorf("read the state: %w", err)
			}
			wait, err := r.mayHaveMoved(ctx, g, item, rows)
			if err != nil {
				return nil, err
			}
			if wait {
				continue
			}
			conflict.MarkCopied(item, r.world().Sources(r.itemsOf(g, rows)), r.lettersIn)
		}
		left = append(left, item)
	}
	if g.inHeld, err = r.newInHeld(ctx, gone); err != nil {
		return nil, err
	}
	return left, r.markReplaced(ctx, g, false)
}

func (r *run) lettersIn(name mail.Folder) mail.Letters { return r.folders[name].letters }

// itemsOf gives the items of rows in folders that the run works on: what the round has
// found out about them, or that they are as they were.
func (r *run) itemsOf(g *gathered, rows []mail.Row) []*conflict.Item {
	return r.itemsIn(g, rows, (*folder).usable)
}

// itemsIn is itemsOf for other folders.
func (r *run) itemsIn(g *gathered, rows []mail.Row, want func(*folder) bool) []*conflict.Item {
	var items []*conflict.Item
	for _, row := range rows {
		if item := g.rows[row.ID]; item != nil {
			items = append(items, item)
		} else if f := r.folderOf(row.Folder); f != nil && want(f) {
			items = append(items, &conflict.Item{Folder: f.name, Row: &row})
		}
	}
	return items
}

func (r *run) folderOf(id mail.FolderID) *folder {
	for _, f := range r.folders {
		if f.base.ID == id {
			return f
		}
	}
	return nil
}

// tieFolder joins the files of a folder that have no message with new messages that
// are the same, and gives the new messages that are left.
func (r *run) tieFolder(ctx context.Context, g *gathered, f *folder) ([]*conflict.Item, error) {
	if err := r.measureAll(ctx, g, f); err != nil {
		return nil, err
	}
	var lonely []*conflict.Item
	for _, item := range g.known() {
		// Those that are gone on the server are known again like those that moved, which
		// takes more than to be like a new one, unless they were on their way there.
		if item.Folder == f.name && item.Lonely() && (item.Remote != conflict.Gone || r.uploading(f, item.Key())) {
			item.Identity = item.Row.Identity
			lonely = append(lonely, item)
		}
	}
	uploaded, err := r.surelyGone(ctx, g, f, r.uploadedAndGone(g, f))
	if err != nil {
		return nil, err
	}
	tied, left, err := r.tie(ctx, g, f, slices.Concat(g.newLocal[f], lonely, uploaded), g.newRemote[f])
	if err != nil {
		return nil, err
	}
	for i, item := range g.newLocal[f] {
		if joined := tied[item]; joined != nil {
			g.newLocal[f][i] = joined
		}
	}
	for _, item := range lonely {
		if joined := tied[item]; joined != nil {
			*item = *joined
		}
	}
	batch := &mail.Batch{}
	for _, item := range uploaded {
		joined := tied[item]
		if joined == nil {
			continue
		}
		// What the interrupted run would have recorded; and then the file went away.
		row := &mail.Row{
			Folder: f.base.ID, UID: joined.Message.UID, Key: item.File.Key, Flags: joined.Message.Flags,
			Identity: item.Identity, Date: joined.Message.Date, EmailID: joined.Message.EmailID, Name: string(item.File.Key),
		}
		if pending := g.withKey(f, row.Key); pending != nil {
			row.ID = pending.Row.ID // the upload broke off, and base knows the file
		}
		batch.PutRows = append(batch.PutRows, row)
	}
	if err := r.commit(ctx, batch); err != nil {
		return nil, err
	}
	for _, row := range batch.PutRows {
		item := g.reput(f, *row)
		item.Local, item.File = conflict.Gone, mail.File{}
		g.recovered = append(g.recovered, item)
	}
	return r.awaitOthers(ctx, f, left)
}

// markReplaced tells the gone messages whose place another one took: in a run that
// was interrupted before they left the server, or as a copy, in an earlier run, of a
// file that was to be moved. That one may have moved on, as is known only when all is paired.
func (r *run) markReplaced(ctx context.Context, g *gathered, paired bool) error {
	for _, item := range g.known() {
		replaced := r.intentOf(mail.Replace, item.Row) != nil
		if item.Local != conflict.Gone || item.Moved != nil || (item.Row.State == mail.Landing || paired) && !replaced {
			continue
		}
		rows, err := r.State.Alike(ctx, item.Row.Fingerprint)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		for _, other := range r.itemsOf(g, rows) {
			if other.Row.ID != item.Row.ID && (replaced && other.Replaces(item) || other.Row.CopyOf == item.Row.ID && other.StandsFor(item)) {
				item.Moved = other
				goes := r.folders[item.Folder].policy.Direction.Writes(mail.Remote)
				if goes && other.AtRest() && item.LeaveTo(other, fileOf(other)) {
					g.rows[other.Row.ID] = other
				}
			}
		}
	}
	return nil
}

// measureAll learns the identity of a folder's new files. Those that a reader has
// renamed meanwhile, or that are being written, are left for the next round.
func (r *run) measureAll(ctx context.Context, g *gathered, f *folder) error {
	items := g.newLocal[f]
	left := make([]bool, len(items))
	group, gctx := newCrew(ctx, r.Connections)
	for i, item := range items {
		if item.Identity.Digest != (mail.Digest{}) {
			continue
		}
		group.Go(func() error {
			identity, stat, err := r.measure(gctx, f, item.File)
			switch {
			case errors.Is(err, mail.ErrGone), errors.Is(err, mail.ErrChanged):
				left[i] = true
				r.mu.Lock()
				defer r.mu.Unlock()
				f.localDirty, f.unsafe = true, true
				g.unmeasured[f] = true
			case errors.Is(err, mail.ErrDamaged):
				left[i] = true
				r.skipFile(f, err)
				stat, err = r.Local.Stat(gctx, f.name, item.File)
				r.mu.Lock()
				defer r.mu.Unlock()
				if f.damaged == nil {
					f.damaged = map[mail.Key]bool{}
				}
				if f.damaged[item.File.Key] = true; err == nil {
					r.unread = append(r.unread, unread{f.name, stat})
				}
			case err != nil:
				return err
			default:
				item.Identity, item.Stat = identity, stat
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var kept []*conflict.Item
	for i, item := range items {
		if !left[i] {
			kept = append(kept, item)
		}
	}
	g.newLocal[f] = kept
	return nil
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
func (r *run) tie(ctx context.Context, g *gathered, f *folder, locals, remotes []*conflict.Item) (map[*conflict.Item]*conflict.Item, []*conflict.Item, error) {
	// A scan tells no size of a message that base should know.
	var err error
	if bare := sizeless(remotes); len(bare) > 0 {
		if remotes, err = r.learn(ctx, f, remotes, bare, false); err != nil {
			return nil, nil, err
		}
	}
	if len(locals) == 0 {
		return nil, remotes, nil
	}
	intents := map[mail.Key]mail.Intent{}
	for _, in := range r.intents {
		if in.Kind == mail.Upload && in.Folder == f.base.ID && f.view != nil && in.UIDValidity == f.view.Cursor.UIDValidity {
			intents[in.Key] = in
		}
	}
	adopt := f.base.Remote.Unread() || f.outrun // what is new to base may have been in step
	pairs := conflict.TieNew(locals, remotes, intents, adopt)
	for len(pairs.Ask) > 0 {
		if remotes, err = r.learn(ctx, f, remotes, pairs.Ask, false); err != nil {
			return nil, nil, err
		}
		pairs = conflict.TieNew(locals, remotes, intents, adopt)
	}
	joined := map[*conflict.Item]*conflict.Item{}
	taken := map[*conflict.Item]bool{}
	for _, t := range pairs.Ties {
		joined[t.Local], taken[t.Remote] = t.Join(), true
		g.resolving[upload{f.base.ID, t.Local.Key()}] = true
		if copied := intents[t.Local.Key()].Row; copied != 0 {
			joined[t.Local].Source = &conflict.Item{Row: &mail.Row{ID: copied}}
		}
	}
	var left []*conflict.Item
	for _, m := range remotes {
		if !taken[m] {
			left = append(left, m)
		}
	}
	return joined, left, nil
}

func sizeless(items []*conflict.Item) []*conflict.Item {
	var bare []*conflict.Item
	for _, item := range items {
		if item.Message.Size == 0 {
			bare = append(bare, item)
		}
	}
	return bare
}

// learn asks the server for more about messages: their fingerprints first, those of
// their whole headers if whole, and then their content. It gives the messages that are
// still there.
func (r *run) learn(ctx context.Context, f *folder, remotes, ask []*conflict.Item, whole bool) ([]*conflict.Item, error) {
	byUID := map[mail.UID]*conflict.Item{}
	var headers, bodies mail.UIDSet
	var octets int64
	for _, item := range ask {
		byUID[item.Message.UID] = item
		if item.Identity.Fingerprint == (mail.Fingerprint{}) || whole && item.Identity.Header == (mail.Fingerprint{}) {
			headers.Add(item.Message.UID)
		} else {
			bodies.Add(item.Message.UID)
			octets += item.Message.Size
		}
	}
	told := map[mail.UID]bool{}
	validity := r.validity(f)
	if len(headers) > 0 {
		detail := mail.Fingerprints
		if whole {
			detail = mail.Headers
		} else if len(sizeless(ask)) > 0 {
			detail = mail.Sizes
		}
		identified, err := r.Remote.Identify(ctx, f.name, validity, headers, detail)
		if err != nil {
			return nil, err
		}
		for _, id := range identified {
			if item := byUID[id.UID]; item != nil {
				told[id.UID] = true
				item.Identity.Fingerprint, item.Identity.MessageID = id.Identity.Fingerprint, id.Identity.MessageID
				item.Identity.Header = id.Identity.Header
				if item.Message.Size == 0 {
					item.Message.EmailID = id.EmailID
					item.Message.Size, item.Message.Date, item.Identity.Size = id.Identity.Size, id.Date, id.Identity.Size
				}
			}
		}
	}
	if len(bodies) > 0 {
		visit := func(b mail.Body) error {
			// As the file would have it: that is what identities are made of.
			var m mail.Measure
			lines := &mail.ToFile{W: &m}
			if _, err := copyBody(lines, b.Reader); err != nil {
				return err
			}
			if err := lines.Flush(); err != nil {
				return err
			}
			if item := byUID[b.UID]; item != nil {
				told[b.UID] = true
				item.Identity = m.Identity()
			}
			return nil
		}
		wanted := []mail.Wanted{{Folder: f.name, Validity: validity, UIDs: bodies, Octets: octets, Visit: visit}}
		if err := r.Remote.Fetch(ctx, wanted)[0]; err != nil {
			return nil, err
		}
	}
	var still []*conflict.Item
	for _, item := range remotes {
		if byUID[item.Message.UID] != nil && !told[item.Message.UID] {
			r.dirty(f, mail.Remote)
			r.leave(f)
			continue
		}
		still = append(still, item)
	}
	return still, nil
}
