package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// pairRemote finds the new messages of the server that are known ones which have
// moved there, or were copied. It gives the new files that are items of their own.
func (r *run) pairRemote(ctx context.Context, g *gathered, arrived []*conflict.Item, round int) ([]*conflict.Item, error) {
	var gone, vanished []*conflict.Item
	for _, item := range g.known() {
		switch {
		case r.folders[item.Folder].missed[item.Row.ID]: // whether it has a file is not known
		case item.Remote == conflict.Gone && item.Lonely():
			gone = append(gone, item)
		case item.Vanished() && item.Moved != nil && r.mayHaveExpunged(item.Row):
			// A run that was killed has expunged it, or somebody was quicker: who has moved it
			// meanwhile, and did not only copy it, has two of it. Better that than none.
		case item.Vanished() && (item.Moved == nil || item.Moved.Row != nil):
			vanished = append(vanished, item)
		}
	}
	former := r.formerly(g, arrived)
	if err := r.measureGone(ctx, g, slices.Concat(gone, placed(former))); err != nil {
		return nil, err
	}
	ties, err := r.pairMoves(ctx, g, gone, func(*folder) bool { return true })
	if err != nil {
		return nil, err
	}
	for _, t := range ties {
		if t.Local.Folder == t.Remote.Folder {
			// It has another UID, and is where it was.
			*t.Local = *t.Join()
			g.dropRemote(r.folders[t.Remote.Folder], t.Remote)
			continue
		}
		if err := r.likeKnown(ctx, g, t); err != nil {
			return nil, err
		}
		t.Local.Moved, t.Remote.From = t.Remote, t.Local
	}
	// What was thrown away there, and is gone here, was not moved.
	w := r.world()
	ties, err = r.pairMoves(ctx, g, vanished, func(f *folder) bool { return !w.Discards(f.name) })
	if err != nil {
		return nil, err
	}
	for _, t := range ties {
		f := r.folders[t.Remote.Folder]
		other := t.Local.Moved
		t.Local.Follow(t.Remote, f.base.ID)
		if other != nil {
			// It was copied to elsewhere already, and was to go: it does so from where it is.
			t.Local.Moved, t.Local.Followed = other, false
		}
		g.dropRemote(f, t.Remote)
	}
	// What surely was there comes before what may have been: an equal copy can be on its way.
	ties, err = r.pairMoves(ctx, g, placed(former), func(*folder) bool { return true })
	if err != nil {
		return nil, err
	}
	for _, t := range ties {
		if err := r.likeKnown(ctx, g, t); err != nil {
			return nil, err
		}
		t.Local.Moved, t.Remote.From = t.Remote, t.Local
		for _, in := range r.intents {
			if in.Kind == mail.Upload && in.Identity.Content() == t.Local.Row.Content() {
				g.resolving[upload{in.Folder, in.Key}] = true
			}
		}
		file := former[t.Local]
		delete(g.uploaded, file)
		if from := file.From; from != nil && from.Row.UID != 0 {
			from.Moved = t.Local // it is still there, where it was copied from
		}
		if file.Row != nil {
			*file = *t.Local
		} else {
			arrived = slices.DeleteFunc(arrived, func(item *conflict.Item) bool { return item == file })
		}
	}
	if err := r.pairFollowing(ctx, g, arrived); err != nil {
		return nil, err
	}
	if err := r.pairCopies(ctx, g, round); err != nil {
		return nil, err
	}
	if !r.DryRun {
		r.waitForFirst(g, round < maxRounds-1)
	}
	return arrived, nil
}

// likeKnown notes which known messages the new one of a tie is like that is in another folder
// than the first one was: it may be one of those, and have left there since that was read.
func (r *run) likeKnown(ctx context.Context, g *gathered, t conflict.Tie) error {
	rows, err := r.State.Alike(ctx, t.Local.Row.Fingerprint)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	for _, known := range r.itemsOf(g, rows) {
		if known.AtRest() && known.Folder != t.Remote.Folder && known.Row.Content() == t.Local.Row.Content() {
			g.alike[t.Remote] = append(g.alike[t.Remote], known)
		}
	}
	return nil
}

// unpaired gives the new files that have no message, and have not moved.
func unpaired(files []*conflict.Item) []*conflict.Item {
	var out []*conflict.Item
	for _, file := range files {
		if file.Row == nil && file.From == nil && file.Remote != conflict.New {
			out = append(out, file)
		}
	}
	return out
}

// pairFollowing finds, where the server follows the Maildir, the messages that are in
// another folder there than their files.
func (r *run) pairFollowing(ctx context.Context, g *gathered, arrived []*conflict.Item) error {
	if !r.follows(mail.Remote) {
		return nil
	}
	of := map[*conflict.Item]*conflict.Item{}
	for _, file := range unpaired(arrived) {
		if !r.folders[file.Folder].copies[file.File.Key] {
			of[r.settledOnce(file)] = file
		}
	}
	ties, err := r.pairMoves(ctx, g, placed(of), func(*folder) bool { return true })
	if err != nil {
		return err
	}
	for _, t := range ties {
		file, message := of[t.Local], t.Remote
		if file.Folder == message.Folder {
			continue
		}
		message.Moved = file
		file.From = &conflict.Item{Folder: message.Folder, Local: conflict.Gone, Row: &mail.Row{
			Folder: r.folders[message.Folder].base.ID, UID: message.Message.UID, Flags: message.Message.Flags,
			Identity: file.Identity, Date: message.Message.Date,
		}}
		file.From.Row.TellSize(message.Message.Size)
	}
	return nil
}

// follows tells whether that side follows the other one, for what became of a folder.
func (r *run) follows(side mail.Side) bool {
	for _, f := range r.folders {
		if which, known := f.loss.Follows(); known && which == side {
			return true
		}
	}
	return false
}

// dropRemote forgets a new message that has become part of another item.
func (g *gathered) dropRemote(f *folder, item *conflict.Item) {
	g.newRemote[f] = slices.DeleteFunc(g.newRemote[f], func(other *conflict.Item) bool { return other == item })
}

// pairMoves finds which of the gone messages are new in another folder of the server.
func (r *run) pairMoves(ctx context.Context, g *gathered, gone []*conflict.Item, in func(*folder) bool) ([]conflict.Tie, error) {
	if len(gone) == 0 {
		return nil, nil
	}
	for _, item := range gone {
		header := item.Identity.Header // base does not keep it
		item.Identity = item.Row.Identity
		item.Identity.Header = header
	}
	for {
		var arrived []*conflict.Item
		for _, f := range inOrder(g.newRemote) {
			if in(f) {
				arrived = append(arrived, newThere(g.newRemote[f])...)
			}
		}
		pairs := conflict.MoveNew(gone, arrived)
		if len(pairs.Ask) == 0 {
			return pairs.Ties, nil
		}
		if err := r.learnAll(ctx, g, pairs.Ask); err != nil {
			return nil, err
		}
	}
}

// newThere gives the messages that are not known to have moved.
func newThere(remotes []*conflict.Item) []*conflict.Item {
	var left []*conflict.Item
	for _, item := range remotes {
		if item.From == nil && item.Moved == nil {
			left = append(left, item)
		}
	}
	return left
}

// learnAll learns more about messages of several folders, their whole headers first.
func (r *run) learnAll(ctx context.Context, g *gathered, ask []*conflict.Item) error {
	of := map[*folder][]*conflict.Item{}
	for _, item := range ask {
		f := r.folders[item.Folder]
		of[f] = append(of[f], item)
	}
	for f := range of {
		if !f.usable() {
			g.leaveUnlearnt(f) // nothing more is learnt of it in this run
		}
	}
	for _, f := range r.usable(func(f *folder) bool { return len(of[f]) > 0 }) {
		left, err := r.learn(ctx, f, g.newRemote[f], of[f], true)
		if failed := r.fail(f, err); failed != nil {
			return failed
		}
		if err != nil {
			g.leaveUnlearnt(f)
			continue
		}
		g.newRemote[f] = left
	}
	return nil
}

// measureGone reads the headers of the files whose messages are gone, where there is a
// new message that may be one of them.
func (r *run) measureGone(ctx context.Context, g *gathered, gone []*conflict.Item) error {
	sizes := map[int64]bool{}
	for _, remotes := range g.newRemote {
		for _, item := range remotes {
			sizes[item.Message.Size] = true
		}
	}
	for _, item := range gone {
		if sizes[item.Row.Size] || sizes[item.Row.ServerSize()] {
			if err := r.readHeader(ctx, item); err != nil {
				return err
			}
		}
	}
	return nil
}

// readHeader learns the hash of the header of a file that base knows; it stays unknown
// if the file is not what base says.
func (r *run) readHeader(ctx context.Context, item *conflict.Item) error {
	f := r.folders[item.Folder]
	identity, stat, err := r.measure(ctx, f, fileOf(item))
	switch {
	case errors.Is(err, mail.ErrGone), errors.Is(err, mail.ErrDamaged):
		return nil
	case err != nil:
		return r.fail(f, err)
	}
	if identity.Digest == item.Row.Digest {
		item.Identity, item.Stat = identity, stat
	}
	return nil
}

// pairCopies finds the new messages that are copies of one which has a file here.
func (r *run) pairCopies(ctx context.Context, g *gathered, round int) error {
	first := r.firstRun()
	if round == 0 && first {
		return nil
	}
	sources := map[*conflict.Item][]*conflict.Item{}
	files := map[mail.RowID]*conflict.Item{} // whose headers were read
	var ask []*conflict.Item
	waits := map[*conflict.Item]bool{}
	for _, f := range inOrder(g.newRemote) {
		for _, item := range newThere(g.newRemote[f]) {
			rows, err := r.State.Dated(ctx, item.Message.Size, item.Message.Date)
			if err != nil {
				return fmt.Errorf("read the state: %w", err)
			}
			if r.mayBeForgotten(rows) {
				waits[item] = true
				continue
			}
			for _, known := range r.itemsIn(g, rows, func(f *folder) bool { return f.selected }) {
				if known.Row.UID != 0 && known.Remote != conflict.Gone {
					g.alike[item] = append(g.alike[item], known) // also if it is not read again in this run
				}
			}
			for _, source := range r.itemsOf(g, rows) {
				// What is in a folder twice from the start is not known to be a copy.
				if !source.Linkable() || first && source.Folder == item.Folder {
					continue
				}
				if seen := files[source.Row.ID]; seen != nil {
					source = seen
				} else if err := r.readHeader(ctx, source); err != nil {
					return err
				}
				files[source.Row.ID] = source
				sources[item] = append(sources[item], source)
			}
			if _, wants := conflict.CopyOf(item, sources[item]); wants {
				ask = append(ask, item)
			}
		}
	}
	for _, f := range inOrder(g.newRemote) {
		g.newRemote[f] = slices.DeleteFunc(g.newRemote[f], func(item *conflict.Item) bool {
			if waits[item] {
				r.leave(f)
			}
			return waits[item]
		})
	}
	if err := r.learnAll(ctx, g, ask); err != nil {
		return err
	}
	for item, files := range sources {
		item.Source, _ = conflict.CopyOf(item, files)
	}
	// Of one size and date are also messages that were brought here together, as by an import.
	for item, sources := range g.alike {
		told := item.Identity.Fingerprint
		g.alike[item] = slices.DeleteFunc(sources, func(source *conflict.Item) bool {
			return told != mail.Fingerprint{} && told != source.Row.Fingerprint
		})
		if len(g.alike[item]) == 0 {
			delete(g.alike, item)
		}
	}
	return nil
}

// moment is what copies of one message have in common.
type moment struct{ size, date int64 }

func momentOf(m mail.Message) moment { return moment{m.Size, m.Date.Unix()} }

// tied gives the folders of the messages that become known in this round: of what was there
// on both sides from the start, was uploaded by a run that did not record it, or has another
// UID.
func (g *gathered) tied() map[moment][]mail.Folder {
	ties := map[moment][]mail.Folder{}
	for _, items := range append(slices.Collect(maps.Values(g.newLocal)), g.known()) {
		for _, item := range items {
			if at := momentOf(item.Message); item.Remote == conflict.New {
				ties[at] = append(ties[at], item.Folder)
			}
		}
	}
	return ties
}

// mayBeForgotten tells whether any of the rows is of a folder that has lost track of its
// messages, and whose files could not be read: a new message that is like it may have left that
// one, and waits until its file can be known again.
func (r *run) mayBeForgotten(rows []mail.Row) bool {
	return slices.ContainsFunc(rows, func(row mail.Row) bool {
		f := r.folderOf(row.Folder)
		return f != nil && f.forgotten != nil && f.forgotten.ID == row.Folder && row.Key != ""
	})
}

// firstRun tells whether base knew no message when the run began.
func (r *run) firstRun() bool {
	for _, f := range r.folders {
		if f.messages > 0 {
			return false
		}
	}
	return true
}

// waitForFirst leaves the messages to the next round that may be copies of one that
// is known only by then, or be on their way from where that is: pairCopies tells. Such a one
// is tied in this round, to a file in another folder; or, where there are rounds left, it has
// moved, or is brought here, in this one: Gmail shows each in several folders. Then the first one
// is that of the folder that people look at first. What of one message is copied at once waits
// for the first, too, unless folders are labels: it may be on its way through them.
func (r *run) waitForFirst(g *gathered, left bool) {
	folders := r.usable(func(f *folder) bool {
		return len(g.newRemote[f]) > 0 && r.wanted(f.name) && f.policy.Direction != conflict.Push
	})
	first, ties := map[moment]*folder{}, g.tied()
	left = left && len(folders) > 1
	if !left && len(ties) == 0 {
		return
	}
	along := left && !r.Remote.Abilities().Labels
	for _, f := range r.usable(func(f *folder) bool { return along && len(g.newRemote[f]) > 0 }) {
		for _, item := range g.newRemote[f] {
			if at := momentOf(item.Message); item.From != nil {
				ties[at] = append(ties[at], f.name)
			}
		}
	}
	for _, f := range folders {
		g.newRemote[f] = slices.DeleteFunc(g.newRemote[f], func(item *conflict.Item) bool {
			if item.From != nil || item.Source != nil && !along {
				return false
			}
			at := momentOf(item.Message)
			wait := slices.ContainsFunc(ties[at], func(in mail.Folder) bool { return in != f.name })
			if !wait && left {
				if first[at] == nil {
					first[at] = f
				}
				wait = first[at] != f
			}
			if wait {
				f.remoteDirty, f.unsafe = true, true
			}
			return wait
		})
	}
}
