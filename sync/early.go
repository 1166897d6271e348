package sync

import (
	"context"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// While a run waits for the server it reads what it will need of the Maildir: the folders that
// have changed, beside base's rows of them. That is no scan yet. When it is the turn of that,
// what was read stands for it if a scan would find the same now: the listing is believed, the
// folder still has its stamp, by which the next run would not look at it either, and base has
// the same rows. Else it is thrown away. So nothing that rests on what is read after what is
// any different.

// glance is what was read of a folder before its turn.
type glance struct {
	name    mail.Folder
	id      mail.FolderID
	letters mail.Letters // base's
	commits int64        // run.commits before base's rows were read: one that was under way ends later
	ok      bool         // it was read, and is believed
	localDiff
}

// localDiff is what a scan of a folder here finds.
type localDiff struct {
	listing mail.Listing
	changes []conflict.LocalChange
	missed  map[mail.RowID]bool // see folder.missed
	twice   map[mail.Key]bool   // what a second scan lacked as well
}

// early are the glances of one gathering.
type early map[mail.Folder]*glance

// aPart is which part of all folders must have changed for it to pay to read them early: to see
// that they are still as they were takes a look at all of them.
const aPart = 8

// glances are those at folders as base has them now: what is going on beside them may change that.
func glances(folders []*folder) []*glance {
	all := make([]*glance, len(folders))
	for i, f := range folders {
		all[i] = &glance{name: f.name, id: f.base.ID, letters: f.base.Letters}
	}
	return all
}

// glanceAt reads folders. What goes wrong shows again when they are scanned.
func (r *run) glanceAt(ctx context.Context, all []*glance) early {
	crew, ctx := newCrew(ctx, r.Connections)
	for _, g := range all {
		crew.Go(func() (err error) {
			g.commits = r.commits.Load()
			if g.localDiff, err = r.readLocal(ctx, g.name, g.id, &g.letters); err == nil && g.listing.Believed {
				g.ok, g.twice = true, r.missedTwice(ctx, g)
			}
			return nil
		})
	}
	_ = crew.Wait()
	early := early{}
	for _, g := range all {
		if g.ok {
			early[g.name] = g
		}
	}
	return early
}

// missedTwice scans a folder once more where something is gone, and tells what that one lacks as well.
// Nothing in the folder may have changed between the two.
func (r *run) missedTwice(ctx context.Context, g *glance) map[mail.Key]bool {
	gone := map[mail.Key]bool{}
	for _, c := range g.changes {
		if c.Change == conflict.Gone && c.Row.Key != "" {
			gone[c.Row.Key] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	listing, err := r.Local.Scan(ctx, g.name, g.letters)
	if err != nil || !listing.Believed || listing.Stamp != g.listing.Stamp {
		return nil
	}
	for file := range listing.Files {
		delete(gone, file.Key)
	}
	return gone
}

// glanceFirst reads the folders that have changed since the last run.
func (r *run) glanceFirst(ctx context.Context, local []mail.LocalFolder) {
	if r.early != nil {
		return // something was renamed since
	}
	var changed []*folder
	for _, lf := range local {
		f := r.folders[lf.Name]
		if f == nil || f.base.Local == (mail.Stamp{}) || lf.Unfinished || lf.Stamp == (mail.Stamp{}) ||
			r.Selected != nil && !r.Selected(lf.Name) {
			continue
		}
		if m := r.heard.meeting(lf, f.base); m.moved && m.names == nil {
			changed = append(changed, f)
		}
	}
	if len(changed)*aPart < len(local) {
		return
	}
	r.early = r.glanceAt(ctx, glances(changed))
	var pushed []*folder
	for _, f := range changed {
		if g := r.early[f.name]; g != nil && len(g.changes) > 0 && (r.Policy == nil || r.Policy(f.name).Direction.Writes(mail.Remote)) {
			pushed = append(pushed, f)
		}
	}
	if sessions := len(firstOf(pushed, r.Connections)); sessions > 1 && !r.DryRun {
		r.Remote.Ready(ctx, sessions, nil)
	}
}

// scanBoth has the server's folders scanned, and reads meanwhile those here that will be. It
// keeps what is as it was when all that is done.
func (r *run) scanBoth(ctx context.Context, g *gathered) error {
	if err := r.scanRemoteMeanwhile(ctx, g); err != nil {
		return err
	}
	return r.dropOutdated(ctx)
}

func (r *run) scanRemoteMeanwhile(ctx context.Context, g *gathered) error {
	remote := r.usable(func(f *folder) bool { return f.remoteDirty && f.onRemote })
	var changed []*folder
	for _, f := range r.usable(func(f *folder) bool { return f.localDirty && f.names == nil && f.onLocal && f.base.ID != 0 }) {
		if r.early[f.name] == nil {
			changed = append(changed, f)
		}
	}
	if len(remote) == 0 || len(changed) == 0 || len(changed)*aPart < len(r.folders) {
		return r.scanRemote(ctx, g)
	}
	var more early
	ahead := glances(changed)
	reading, rctx := newCrew(ctx, min(r.Connections, 2))
	reading.Go(func() error { more = r.glanceAt(rctx, ahead); return nil })
	reading.Go(func() error { return r.scanRemote(ctx, g) }) // sessions that it has dialled outlive it
	err := reading.Wait()
	if r.early == nil {
		r.early = early{}
	}
	for name, g := range more {
		r.early[name] = g
	}
	return err
}

// dropOutdated drops what was read of folders that have changed since.
func (r *run) dropOutdated(ctx context.Context) error {
	if len(r.early) == 0 {
		return nil
	}
	local, err := r.Local.Folders(ctx, r.knownLocally())
	if err != nil {
		return err
	}
	for name, g := range r.early {
		at, there := slices.BinarySearchFunc(local, name, func(lf mail.LocalFolder, name mail.Folder) int { return compare(lf.Name, name) })
		if !there || local[at].Unfinished || local[at].Stamp != g.listing.Stamp {
			delete(r.early, name)
		}
	}
	return nil
}

// glanced gives what was read of a folder if it is what a scan would find, once.
func (r *run) glanced(f *folder) (localDiff, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.early[f.name]
	delete(r.early, f.name)
	if g == nil || !f.onLocal || g.id != f.base.ID || g.letters != f.base.Letters || g.commits != r.commits.Load() {
		return localDiff{}, false
	}
	return g.localDiff, true
}
