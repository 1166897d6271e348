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

// vanish deals with the folders that one side has lost since they were last in step:
// as conflict decides, they stay, wait for consent, go on the other side, too, or are
// forgotten.
func (r *run) vanish(ctx context.Context) error {
	var lost []*folder
	for _, f := range r.folders {
		// One that was never in step, since the run that met it ended too soon, is new; and
		// nobody but us has removed half a folder: it is wanted again.
		if !f.vanished && !f.unfinished && f.base.OnLocal && f.base.OnRemote && f.onLocal != f.onRemote && !f.base.Synced.IsZero() {
			lost = append(lost, f)
		}
	}
	// What lies in a folder goes before it.
	slices.SortFunc(lost, func(a, b *folder) int { return compare(b.name, a.name) })
	for _, f := range lost {
		f.vanished = true
		if err := r.fail(f, r.vanishOne(ctx, f)); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) vanishOne(ctx context.Context, f *folder) error {
	v := conflict.Vanished{LeftOut: !f.selected, Gone: mail.Local, Allowed: r.AllowDeletes && slices.Contains(r.Only, f.name)}
	if f.onLocal {
		v.Gone = mail.Remote
	}
	kept := r.forbidsRemoving(v.Gone.Other(), f.policy)
	v.Remove = kept == ""
	if !v.LeftOut { // else nobody need count its messages
		if err := r.countVanished(ctx, f, &v); err != nil {
			return err
		}
	}
	switch v.Decide() {
	case conflict.Forget:
		drop := f.base.ID
		f.base, f.vanished = mail.FolderBase{Name: f.name}, false
		delete(r.unsettled, drop)
		return r.commit(ctx, &mail.Batch{DropFolders: []mail.FolderID{drop}})
	case conflict.Stay:
		r.once(f.name, "is gone "+where(v.Gone)+", and "+kept+" lets it stay "+where(v.Gone.Other()))
		return nil
	case conflict.Await:
		r.held[heldKey{f.name, v.Gone}] = Held{
			Folder: f.name, Side: v.Gone, Count: v.Messages, Why: "the folder is gone " + where(v.Gone),
		}
		f.held = true
		return r.unwatch(ctx, f)
	}
	if r.DryRun {
		r.report.Actions = append(r.report.Actions, fmt.Sprintf("%s: remove the folder %s", f.name, where(v.Gone.Other())))
		return nil
	}
	switch {
	case v.Messages == 0 && !v.Changed:
		return r.dissolve(ctx, f)
	case v.Gone == mail.Local:
		// An empty folder in its place makes the messages ordinary removals.
		if err := r.Local.CreateFolder(ctx, f.name); err != nil {
			return err
		}
		f.base.Marker, f.onLocal = mail.Marker{}, true
	}
	f.vanished, f.dissolves, f.localDirty = false, true, true
	return nil
}

// countVanished counts the messages that are left of a folder. That its times, or numbers, are
// not known, or are others, says nothing if it had no message and has none. Of a message that
// is gone where the folder is, base may know already that it was gone on the other side before.
func (r *run) countVanished(ctx context.Context, f *folder, v *conflict.Vanished) error {
	remote, local, err := r.State.Count(ctx, f.base.ID)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	known, moved := local, f.localDirty
	if f.onRemote {
		status := r.onServer[f.name].Status
		known, moved = remote, status != f.base.Remote
		if v.Messages = int(status.Messages); status.UIDNext == 0 { // there are servers that have to be asked
			v.Messages, err = r.countMessages(ctx, f)
		}
	} else {
		v.Messages, err = r.countFiles(ctx, f)
	}
	for _, row := range r.unsettled[f.base.ID] {
		if heldAs(row, v.Gone) {
			known--
		}
	}
	v.Changed = moved && v.Messages+known > 0
	return err
}

// forbidsMaking names the setting that lets no folder be made on a side; "" if none.
func (r *run) forbidsMaking(side mail.Side, p conflict.Policy) string {
	switch {
	case !p.Direction.Writes(side):
		return "direction"
	case side == mail.Local && !r.CreateLocal, side == mail.Remote && !r.CreateRemote:
		return "create_folders"
	}
	return ""
}

// forbidsRemoving names the setting that lets no folder be removed on a side.
func (r *run) forbidsRemoving(side mail.Side, p conflict.Policy) string {
	switch {
	case !p.Direction.Writes(side):
		return "direction"
	case side == mail.Local && !r.RemoveLocal, side == mail.Remote && !r.RemoveRemote:
		return "remove_folders"
	}
	return ""
}

func where(s mail.Side) string {
	if s == mail.Local {
		return "here"
	}
	return "on the server"
}

// countFiles counts the messages of a local folder.
func (r *run) countFiles(ctx context.Context, f *folder) (int, error) {
	if !f.localDirty {
		_, local, err := r.State.Count(ctx, f.base.ID)
		return local, err
	}
	listing, err := r.Local.Scan(ctx, f.name, f.base.Letters)
	if err != nil {
		return 0, err
	}
	n := 0
	for range listing.Files {
		n++
	}
	return n, nil
}

// countMessages counts the messages of a folder of the server.
func (r *run) countMessages(ctx context.Context, f *folder) (int, error) {
	now, err := r.Remote.Examine(ctx, f.name)
	return int(now.Status.Messages), err
}

// dissolve removes an empty folder where it still is, and drops it from base.
func (r *run) dissolve(ctx context.Context, f *folder) error {
	if f.onRemote {
		// IMAP has no "delete if empty"; this look is as near to it as can be.
		view, err := r.Remote.Scan(ctx, f.name, mail.Cursor{}, 0, func(mail.Message) error { return nil })
		if err != nil {
			return err
		}
		if view.Cursor.Messages > 0 {
			r.once(f.name, "was to be removed, and has new mail: it stays")
			return nil
		}
		if err := r.Remote.DeleteFolder(ctx, f.name); err != nil {
			return err
		}
	}
	if f.onLocal {
		f.localDirty = true // what is counted is what is there now
		n, err := r.countFiles(ctx, f)
		if err != nil {
			return err
		}
		if n > 0 {
			r.once(f.name, "was to be removed, and has new mail: it stays, and the next sync brings it to the server")
			delete(r.unsettled, f.base.ID)
		} else if err := r.Local.RemoveFolder(ctx, f.name); err != nil {
			return err
		}
		r.stirred = true
	}
	f.vanished, f.held = true, false // for the rest of the run there is nothing to do in it
	if err := r.commit(ctx, &mail.Batch{DropFolders: []mail.FolderID{f.base.ID}}); err != nil || !f.onLocal {
		return err
	}
	return r.Local.ForgetFolder(ctx, f.name)
}

// goneWithFolder gives, of a folder that is gone on the server and may go here, all
// messages as removed there.
func (r *run) goneWithFolder(ctx context.Context, g *gathered) error {
	for _, f := range r.usable(func(f *folder) bool { return f.dissolves && !f.onRemote }) {
		for row, err := range r.rowsByUID(ctx, f) {
			if err != nil {
				return fmt.Errorf("read the state: %w", err)
			}
			g.row(f, row).Remote = conflict.Gone
		}
	}
	return nil
}

// gatherHeld gives the messages of folders that are gone there and held, where there are new
// ones on the server that they may be: somebody moves what is in a folder, and then removes the
// folder. Those follow unasked, as any message does that moves, also if their files are in
// another folder by now; what is found nowhere stays.
func (r *run) gatherHeld(ctx context.Context, g *gathered) error {
	for _, f := range r.allFolders() {
		if f.held && f.onLocal && f.failed == nil && len(g.newRemote) > 0 {
			if err := r.fail(f, r.gatherHeldOne(ctx, g, f)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) gatherHeldOne(ctx context.Context, g *gathered, f *folder) error {
	changes, err := r.diffLocal(ctx, f)
	if err != nil {
		return err
	}
	for _, c := range changes {
		switch {
		case c.Change == conflict.New && r.uploading(f, c.File.Key):
			item := &conflict.Item{Folder: f.name, Local: conflict.New, File: c.File}
			if item.Identity, item.Stat, err = r.measure(ctx, f, c.File); err == nil {
				g.stranded = append(g.stranded, item)
			}
		case c.Change == conflict.Gone, c.Doubt:
			f.missed[c.Row.ID] = true
			if !c.Doubt && c.Row.State == mail.Settled {
				g.left[c.Row.Content()]++
			}
		case c.Change != conflict.New:
			item := g.row(f, c.Row)
			item.Local, item.File, item.Relabel = c.Change, c.File, c.Relabel
			item.File.Flags = c.Flags
		}
	}
	for row, err := range r.rowsByUID(ctx, f) {
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		if row.Key != "" && !f.missed[row.ID] {
			g.row(f, row).Remote = conflict.Gone
		}
	}
	return nil
}

// leftHeld gives the messages of folders that are gone here and held, of which there are new
// files elsewhere: somebody has moved what was in a folder, and then removed the folder. Those
// follow unasked, as those of gatherHeld do.
func (r *run) leftHeld(ctx context.Context, g *gathered, arrived []*conflict.Item) (left []*conflict.Item, err error) {
	of := map[*folder]map[mail.UID]mail.Row{}
	for _, f := range r.folders {
		if f.held && !f.onLocal && f.failed == nil {
			of[f] = map[mail.UID]mail.Row{}
		}
	}
	if len(of) == 0 {
		return nil, nil
	}
	for _, file := range arrived {
		rows, err := r.State.Alike(ctx, file.Identity.Fingerprint)
		if err != nil {
			return nil, fmt.Errorf("read the state: %w", err)
		}
		for _, row := range rows {
			if of := of[r.folderOf(row.Folder)]; of != nil && row.UID != 0 && row.Key != "" && row.Content() == file.Identity.Content() {
				of[row.UID] = row
			}
		}
	}
	for _, f := range inOrder(of) {
		items, err := r.leftHeldOne(ctx, g, f, of[f])
		if err := r.fail(f, err); err != nil {
			return nil, err
		}
		left = append(left, items...)
	}
	return left, nil
}

func (r *run) leftHeldOne(ctx context.Context, g *gathered, f *folder, rows map[mail.UID]mail.Row) (left []*conflict.Item, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	uids := mail.UIDs(slices.Sorted(maps.Keys(rows))...)
	found, err := r.Remote.Identify(ctx, f.name, r.validity(f), uids, mail.Fingerprints)
	if errors.Is(err, mail.ErrRestarted) {
		return nil, nil // nobody knows which of its messages they are
	}
	if err != nil {
		return nil, err
	}
	there := map[mail.UID]bool{}
	for _, id := range found {
		there[id.UID] = true
		if id.Identity.Fingerprint != rows[id.UID].Fingerprint {
			delete(rows, id.UID) // it is another message, of a server that was restored
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(rows)) {
		item := g.row(f, rows[uid])
		if item.Local = conflict.Gone; !there[uid] {
			item.Remote = conflict.Gone
		}
		left = append(left, item)
	}
	return left, nil
}

// newInHeld tells which contents the new files have of folders that are gone on the server and
// held. What is gone elsewhere has moved there, and stays on the server until people have said
// what is to become of the folder.
func (r *run) newInHeld(ctx context.Context, gone []*conflict.Item) (map[mail.Digest]mail.Folder, error) {
	in := map[mail.Digest]mail.Folder{}
	if !slices.ContainsFunc(gone, func(item *conflict.Item) bool { return item.Local == conflict.Gone && item.Moved == nil }) {
		return in, nil
	}
	for _, f := range r.allFolders() {
		if !f.held || !f.onLocal || !f.localMoved || f.failed != nil {
			continue
		}
		changes, err := r.diffLocal(ctx, f)
		if err := r.fail(f, err); err != nil {
			return nil, err
		}
		for _, c := range changes {
			if c.Change != conflict.New {
				continue
			}
			id, _, err := r.measure(ctx, f, c.File)
			if err == nil {
				in[id.Content()] = f.name
			} else if ends(err) {
				return nil, err
			}
		}
	}
	return in, nil
}

// endHeld removes the folders that were held until all that they had has followed where
// it went on the other side.
func (r *run) endHeld(ctx context.Context) error {
	for _, f := range r.allFolders() {
		if !f.held || !f.marked || f.failed != nil {
			continue
		}
		if err := r.fail(f, r.endHeldOne(ctx, f)); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) endHeldOne(ctx context.Context, f *folder) error {
	remote, local, err := r.State.Count(ctx, f.base.ID)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	key, known := heldKey{f.name, mail.Remote}, remote
	count := r.countFiles
	if !f.onLocal {
		key.side, known, count = mail.Local, local, r.countMessages
	}
	held := r.held[key]
	held.Count, err = count(ctx, f)
	if err != nil {
		return err
	}
	if r.held[key] = held; held.Count+known > 0 {
		return nil
	}
	delete(r.held, key)
	return r.dissolve(ctx, f)
}

// dissolveEmptied removes the folders that a person let go, once they are empty.
func (r *run) dissolveEmptied(ctx context.Context) error {
	for _, f := range r.usable(func(f *folder) bool { return f.dissolves }) {
		remote, local, err := r.State.Count(ctx, f.base.ID)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		// A file that is not on the server is new mail, whether the server was asked or not.
		if remote > 0 || local > 0 && !f.onLocal {
			r.once(f.name, "was to be removed, and some of its messages stay: so does the folder")
			continue
		}
		if err := r.fail(f, r.dissolve(ctx, f)); err != nil {
			return err
		}
	}
	return nil
}
