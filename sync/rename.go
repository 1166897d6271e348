package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// maxRenaming bounds how often both sides are listed again because folders got other
// names, which each take what lies in them along, or do not.
const maxRenaming = 20

// renaming is a folder of base, with the names that both sides have for it.
type renaming struct {
	f             *folder
	local, remote mail.Folder // "" where it is gone
	name          mail.Folder // that it is to have
}

func (rn *renaming) at(side mail.Side) *mail.Folder {
	if side == mail.Local {
		return &rn.local
	}
	return &rn.remote
}

// errForbidden is why a folder keeps two names that the user wants it to keep.
var errForbidden = errors.New("direction does not let it be renamed")

// renames is what a run knows of the folders that it renames, by their IDs. It lasts
// while both sides are listed again and again.
type renames struct {
	goals     map[mail.FolderID]mail.Folder
	overruled map[mail.FolderID]mail.Folder
	stuck     map[mail.FolderID]error // why it keeps two names for now
	stuckNow  bool                    // one more does, so that what was to follow may not
	// along are the names that folders must have now if they went along with the one
	// that they lie in.
	along [2]map[mail.FolderID]mail.Folder
	here  []mail.Folder // new names of local folders
	done  int
	times int // that both sides were listed again
}

// rename finds the folders that a side has under another name than base, renames them
// on the other side, and records the name once both have it: no message is looked at
// for that, and what else happened in the folder is an ordinary change. It tells
// whether it did anything; then both sides have to be listed again.
func (r *run) rename(ctx context.Context) (bool, error) {
	all, err := r.whereabouts(ctx)
	if err != nil || len(all) == 0 {
		return false, err
	}
	r.setGoals(all)
	done := false
	for _, side := range []mail.Side{mail.Remote, mail.Local} {
		did, err := r.renameOn(ctx, side, all)
		if err != nil {
			return false, err
		}
		done = done || did
	}
	recorded, err := r.recordNames(ctx, all)
	if err != nil {
		return false, err
	}
	if more := done || recorded || r.renames.stuckNow; more && r.renames.times <= maxRenaming {
		r.renames.stuckNow = false
		r.renames.times++
		return true, nil
	}
	for _, rn := range all {
		if why := r.renames.stuck[rn.f.base.ID]; why != nil {
			r.leaveOut(rn, why)
		}
		// Another folder has its name there.
		rn.f.onLocal, rn.f.onRemote = rn.f.onLocal && rn.local != "", rn.f.onRemote && rn.remote != ""
	}
	return false, nil
}

// whereabouts gives all folders of base with where they are, if any has another name
// than in base.
func (r *run) whereabouts(ctx context.Context) ([]*renaming, error) {
	var known []*folder
	for _, f := range r.folders {
		if f.base.ID != 0 && f.base.OnLocal && f.base.OnRemote && f.selected && f.name != mail.Inbox {
			known = append(known, f)
		}
	}
	slices.SortFunc(known, func(a, b *folder) int { return compare(a.name, b.name) })
	local, err := r.whereLocally(ctx, known)
	if err != nil {
		return nil, err
	}
	remote, err := r.whereOnServer(ctx, known)
	if err != nil {
		return nil, err
	}
	if len(local)+len(remote) == 0 && r.renames.times == 0 {
		return nil, nil
	}
	all := make([]*renaming, len(known))
	for i, f := range known {
		all[i] = &renaming{f: f, local: f.name, remote: f.name}
		for side, found := range map[mail.Side]map[mail.Folder]mail.Folder{mail.Local: local, mail.Remote: remote} {
			there := f.onLocal
			if side == mail.Remote {
				there = f.onRemote
			}
			at := all[i].at(side)
			if is, ok := found[f.name]; ok {
				*at = is
			} else if _, taken := key(found, f.name); taken || !there {
				*at = ""
			}
		}
	}
	return all, nil
}

// key gives the key under which a map has a value.
func key[K, V comparable](m map[K]V, value V) (K, bool) {
	for k, v := range m {
		if v == value {
			return k, true
		}
	}
	var none K
	return none, false
}

// setGoals decides which name each folder is to have. For one that is on both sides
// that is done once: what a rename takes along on the way changes no decision.
func (r *run) setGoals(all []*renaming) {
	if r.renames.goals == nil {
		r.renames.goals = map[mail.FolderID]mail.Folder{}
		r.renames.overruled = map[mail.FolderID]mail.Folder{}
		r.renames.stuck = map[mail.FolderID]error{}
		r.renames.along = [2]map[mail.FolderID]mail.Folder{{}, {}}
	}
	for _, rn := range all {
		id := rn.f.base.ID
		goal, ok := r.renames.goals[id]
		if !ok {
			w := conflict.Whereabouts{
				Name: rn.f.name, Local: rn.local, Remote: rn.remote,
				MayLocal: r.forbidsRenaming(mail.Local, rn.f.policy) == "", MayRemote: r.forbidsRenaming(mail.Remote, rn.f.policy) == "",
			}
			var overruled mail.Folder
			if goal, overruled = w.Decide(); overruled != "" {
				r.renames.overruled[id] = overruled
			}
			if rn.local != "" && rn.remote != "" {
				r.renames.goals[id] = goal
			}
		}
		rn.name = goal
	}
}

// forbidsRenaming names the setting that lets no folder be renamed on a side, which is
// to make one there and to remove one; "" if none.
func (r *run) forbidsRenaming(side mail.Side, p conflict.Policy) string {
	return cmp.Or(r.forbidsMaking(side, p), r.forbidsRemoving(side, p))
}

// renameOn renames on one side the folders that have another name there than they are
// to have.
func (r *run) renameOn(ctx context.Context, side mail.Side, all []*renaming) (did bool, err error) {
	var wanted []conflict.Step
	by := map[mail.Folder]*renaming{} // by where it stands
	for _, rn := range all {
		at := *rn.at(side)
		if at == "" || at == rn.name || rn.name == "" || r.renames.stuck[rn.f.base.ID] != nil {
			continue
		}
		by[at] = rn
		policies := []conflict.Policy{rn.f.policy}
		if r.Policy != nil {
			policies = append(policies, r.Policy(rn.name))
		}
		var forbids string
		for _, p := range policies {
			forbids = cmp.Or(forbids, r.forbidsRenaming(side, p))
		}
		switch {
		case forbids == "direction":
			r.stick(side, all, rn, errForbidden)
			r.once(rn.f.name, fmt.Sprintf("is called %q %s, and %s %s", *rn.at(side.Other()), where(side.Other()), errForbidden, where(side)))
		case forbids != "":
			// One name was removed, and one was made: each setting says what comes of it.
		case r.renames.times >= maxRenaming:
			r.failRename(side, all, rn, errors.New("its name keeps changing"))
		default:
			wanted = append(wanted, conflict.Step{From: at, To: rn.name})
		}
	}
	if r.DryRun {
		for _, s := range wanted {
			r.report.Actions = append(r.report.Actions, fmt.Sprintf("%s: rename the folder to %q %s", s.From, s.To, where(side)))
			r.renames.stuck[by[s.From].f.base.ID] = errForbidden
		}
		return false, nil
	}
	steps, blocked := conflict.Route(wanted, func(name mail.Folder) bool { return r.there(side, name) })
	for _, s := range blocked {
		if rn := by[s.From]; rn != nil {
			r.failRename(side, all, rn, fmt.Errorf("rename it to %q %s: %w", s.To, where(side), mail.ErrExists))
		}
	}
	for _, s := range steps {
		rn := by[s.From]
		if rn == nil || r.renames.stuck[rn.f.base.ID] != nil {
			continue
		}
		if side == mail.Local {
			err = r.Local.RenameFolder(ctx, s.From, s.To)
		} else {
			err = r.Remote.RenameFolder(ctx, s.From, s.To)
		}
		if side == mail.Remote && errors.Is(err, mail.ErrExists) {
			if inner := r.innerInTheWay(s); inner != "" {
				err = fmt.Errorf("rename it to %q, and with it a folder to %q, %s: %w", s.To, inner, where(side), mail.ErrExists)
			}
		}
		if err != nil {
			if ends(err) {
				return did, err
			}
			r.failRename(side, all, rn, err)
			continue
		}
		r.Log.Info("renamed", "account", r.Account, "folder", string(s.From), "to", string(s.To), "side", side.String())
		did = true
		by[s.To], *rn.at(side) = rn, s.To
		if s.To == rn.name {
			r.renames.done++
			if side == mail.Local {
				r.renames.here = append(r.renames.here, s.To)
			}
		}
		for _, inner := range all {
			at, ok := r.renames.along[side][inner.f.base.ID]
			if !ok {
				at = *inner.at(side)
			}
			if at.Inside(s.From) {
				r.renames.along[side][inner.f.base.ID] = s.To + at[len(s.From):]
			}
		}
	}
	return did, nil
}

// there tells whether a side has a folder of that name.
func (r *run) there(side mail.Side, name mail.Folder) bool {
	if side == mail.Remote {
		_, ok := r.onServer[name]
		return ok
	}
	f := r.folders[name]
	return f != nil && f.onLocal
}

// stick notes why a folder keeps two names for now, and with it what lies in it and
// would go along: a step with that alone would put something in its way.
func (r *run) stick(side mail.Side, all []*renaming, rn *renaming, why error) {
	from := *rn.at(side)
	for _, inner := range all {
		if at := *inner.at(side); inner == rn || at.Inside(from) && inner.name.Inside(rn.name) {
			r.renames.stuck[inner.f.base.ID] = why
		}
	}
	r.renames.stuckNow = true
}

// failRename reports that a folder cannot be renamed. Nothing else is tried with it:
// to bring its messages over one by one would be what nobody asked for.
func (r *run) failRename(side mail.Side, all []*renaming, rn *renaming, err error) {
	r.stick(side, all, rn, err)
	r.problem(rn.f, err, "rename it there yourself, or take the rename back; until then it is not synced")
}

// leaveOut leaves a folder out of the run that has two names, under both of them, with
// what lies in it and is not on both sides.
func (r *run) leaveOut(rn *renaming, why error) {
	rn.f.vanished = true
	if here := r.folders[rn.local]; here != nil && here.stamp != rn.f.base.Local && why != errForbidden {
		rn.f.passedOver = rn.local
	}
	for _, f := range r.folders {
		for _, at := range []mail.Folder{rn.f.name, rn.local, rn.remote} {
			switch {
			case f.name != at && (at == "" || !f.name.Inside(at)):
			case f.base.ID == 0:
				f.selected = false
			case f.onLocal != f.onRemote:
				f.vanished = true
			}
		}
	}
}

// secureName makes the name of a local folder durable before base has it. If the power took
// back what another program has renamed, it would count as renamed once more, and the server
// would follow.
func (r *run) secureName(ctx context.Context, rn *renaming) error {
	if rn.local == "" {
		return nil
	}
	return r.Local.SecureFolder(ctx, rn.local, rn.f.name)
}

// recordNames gives base the names that its folders have on all sides that have them,
// in one commit. A folder that is gone on one side keeps to the name that it has on the
// other, and is then one that vanished.
func (r *run) recordNames(ctx context.Context, all []*renaming) (bool, error) {
	if r.DryRun {
		return false, nil
	}
	ready := map[mail.Folder]*renaming{}
	for _, rn := range all {
		in := func(at mail.Folder) bool { return at == rn.name || at == "" }
		if r.renames.stuck[rn.f.base.ID] == nil && rn.name != "" && rn.name != rn.f.name && in(rn.local) && in(rn.remote) && rn.local+rn.remote != "" {
			if err := r.secureName(ctx, rn); err != nil && ends(err) {
				return false, err
			} else if err != nil {
				r.failRename(mail.Local, all, rn, err)
				continue
			}
			ready[rn.name] = rn
		}
	}
	batch := &mail.Batch{}
	for again := true; again; {
		again = false
		batch.DropFolders = nil
		for _, rn := range all {
			other := ready[rn.f.name] // which is to have its name
			if other == nil || other == rn || ready[rn.name] == rn {
				continue
			}
			if rn.local+rn.remote == "" {
				batch.DropFolders = append(batch.DropFolders, rn.f.base.ID)
				continue
			}
			delete(ready, rn.f.name)
			again = true
			if rn.name != rn.f.name {
				continue // which is not where it is to be yet
			}
			r.failRename(mail.Local, all, other, fmt.Errorf("%q was another folder, which vanished on one side only: %w", rn.f.name, mail.ErrExists))
		}
	}
	for _, rn := range all {
		if ready[rn.name] != rn {
			continue
		}
		base := rn.f.base
		base.Name = rn.name
		batch.PutFolders = append(batch.PutFolders, &base)
		if overruled := r.renames.overruled[base.ID]; overruled != "" {
			batch.Decisions = append(batch.Decisions, mail.Decision{
				At: r.Now().Truncate(time.Second), Folder: rn.name,
				What: fmt.Sprintf("the folder that was called %q is not called %q", rn.f.name, overruled),
				Why:  "renamed on both sides",
			})
			r.report.Conflicts++
		}
	}
	if len(ready) == 0 {
		return false, nil
	}
	return true, r.commit(ctx, batch)
}

// innerInTheWay gives the name that a folder of the server cannot get as the one around it is
// renamed, since there is such a folder; "" if there is none.
func (r *run) innerInTheWay(s conflict.Step) mail.Folder {
	for _, name := range slices.Sorted(maps.Keys(r.onServer)) {
		if name.Inside(s.From) && r.there(mail.Remote, s.To+name[len(s.From):]) {
			return s.To + name[len(s.From):]
		}
	}
	return ""
}
