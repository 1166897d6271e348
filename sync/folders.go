package sync

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	stdsync "sync"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// folder is one folder as the run knows it.
type folder struct {
	name     mail.Folder
	base     mail.FolderBase
	policy   conflict.Policy
	role     mail.Role
	onLocal  bool
	onRemote bool
	selected bool
	// vanished: it is in base as being on both sides, and is no longer on one of them.
	// That is never taken for the removal of its messages.
	vanished bool
	// held: it vanished from one side, and what it has on the other waits for consent.
	held bool
	// dissolves: it vanished from one side, and a person consented that it goes.
	dissolves bool
	// resettled: the folder was last in step under another policy, so both sides are
	// read whole.
	resettled bool
	messages  int // rows on both sides before the run

	stamp       mail.Stamp          // of the local folder, as it was listed
	localMoved  bool                // changed here since it was last in step
	dealt       *dealt              // up to where it was dealt with here; nil: no names will tell what has changed since
	names       *mail.FolderChanges // tell what has changed here, if they are enough
	peeked      bool                // this round has looked at those rather than to scan
	wrote       bool                // this round has changed names here
	passedOver  mail.Folder         // what it is called here, if it changed here and could not be renamed there; else ""
	unclear     bool                // was listed and could not be looked at
	unfinished  bool                // is none, but what is left of one that was being made or removed
	localDirty  bool                // is to be scanned before base may be trusted again
	remoteDirty bool
	changed     bool  // something changed locally, for the report
	stale       bool  // what a scan of the server found has changed rows, and its cursor is not stored
	failed      error // it is left as it is until the next run
	refused     bool  // the server refused something: this round is the last one for it
	stopped     bool
	marked      bool // this run's marker is in place
	met         bool // this run has looked at the marker
	// outrun: the marker is one run ahead of base. That run recorded nothing, or base was
	// restored from before it: then what it brought here is new to base.
	outrun bool
	known  bool          // base knew the folder when the run began
	loss   conflict.Loss // that this run met, or one that was interrupted
	// forgotten is what base has of the folder still, though a loss makes it worth nothing; nil:
	// there is no such.
	forgotten *mail.FolderBase
	// copies are files that were not thrown away, though they are in Trash: see rememberCopies.
	copies map[mail.Key]bool
	// full is the size of the smallest message that was refused by this run because of a
	// quota: none that is larger would be taken. 0: no such one.
	full int64
	// ours are the uploads of this round, or the last one that had any; others is what
	// somebody else has brought into the folder meanwhile, below the UID looked.
	ours, others []*conflict.Item
	looked       mail.UID
	// stored are the files that this run has uploaded without being told where they are.
	stored map[mail.Key]bool

	lettering stdsync.Mutex // guards letters while messages are brought across
	letters   mail.Letters
	read      mail.Cursor       // of the last scan in this run; zero: there was none
	damaged   map[mail.Key]bool // files that this run could not read
	filed     map[mail.UID]bool // see leaveMove
	// missed are the rows whose files the last scan lacks, which does not say that they are
	// gone: it is not believed, or somebody is at work here.
	missed map[mail.RowID]bool
	// What the gathering of this round found, for settle to store.
	view *mail.View
	news backlog // new messages of the server that no plan has yet
	came int     // how many a scan has met that have come since base knew the folder
	// unlearnt are, by their sizes, the dates of new messages of the server of which too little
	// could be learnt to tell whether they have files; nil: of all of them enough was.
	unlearnt map[int64][]int64
	listing  *mail.Listing
	twice    map[mail.Key]bool // what two scans lack, of which that listing is the first
	said     *mail.Access      // what the server has said in an earlier round, which need not be in base
	unsafe   bool              // something was left undone: cursor and stamp must stay
	removed  [2]int            // messages removed by this run, by the side where they were gone
}

// synced tells whether the folder is one that is kept in step.
func (f *folder) synced() bool { return f.selected && !f.vanished }

// settings are what a folder's plans go by.
type settings struct {
	policy conflict.Policy
	access mail.Access
}

// settings names what the folder's plans go by. Most folders have the same.
func (r *run) settings(f *folder) string {
	s := settings{f.policy, f.access()}
	if s.access.NewKeywords {
		s.access.Settable.Keywords = "" // they come and go, and make no difference
	}
	name, ok := r.named[s]
	if !ok {
		name = fmt.Sprint(s.policy, " ", s.access)
		r.named[s] = name
	}
	return name
}

// info is what a plan needs to know of the folder.
func (r *run) info(f *folder) conflict.FolderInfo {
	policy := f.policy
	if f.dissolves && !f.onRemote {
		policy.Winner = conflict.DeleteWins // there is nowhere for them to come back to, and a person let all go
	}
	return conflict.FolderInfo{
		Policy: policy, Role: f.role, Access: f.access(), Labels: r.Remote.Abilities().Labels,
		Messages: f.messages, Removed: f.removed,
	}
}

// access is what the server lets the account do in the folder, as it said last.
func (f *folder) access() mail.Access {
	switch {
	case f.view != nil:
		return f.view.Access
	case f.said != nil:
		return *f.said
	}
	return f.base.Access
}

// usable tells whether the run still works on it.
func (f *folder) usable() bool { return f.synced() && f.failed == nil && !f.stopped }

// yields tells whether messages may move out of it.
func (f *folder) yields() bool { return f.usable() || f.held && f.failed == nil }

// listFolders finds out which folders there are, which of them may have changed, and
// makes those that one side lacks.
func (r *run) listFolders(ctx context.Context) error {
	for again := true; again; {
		err := r.meet(ctx)
		if err == nil {
			again, err = r.rename(ctx)
		}
		if err != nil {
			return err
		}
	}
	for _, name := range r.renames.here {
		if f := r.folders[name]; f != nil {
			f.changed = true
		}
	}
	for _, f := range r.folders {
		if f.base.ID != 0 && f.base.Settings != r.settings(f) {
			f.resettled, f.localDirty, f.remoteDirty = true, true, true
		}
	}
	if err := r.vanish(ctx); err != nil {
		return err
	}
	if err := r.matchFolders(ctx); err != nil {
		return err
	}
	if r.stirred {
		// What lies around a directory that was made or removed has another time, and is
		// scanned in this run rather than in the next one.
		if _, err := r.stampsMoved(ctx); err != nil {
			return err
		}
	}
	r.markIntents()
	return r.countRows(ctx)
}

// meet lists the folders of base and of both sides.
func (r *run) meet(ctx context.Context) error {
	known, err := r.State.Folders(ctx)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	r.folders, r.trash, r.blank = make(map[mail.Folder]*folder, len(known)), "", len(known) == 0
	for _, base := range known {
		r.folders[base.Name] = &folder{name: base.Name, base: base, letters: base.Letters, known: true}
	}
	var remote mail.RemoteListing
	var local []mail.LocalFolder
	g, gctx := newCrew(ctx, r.Connections)
	g.Go(func() (err error) {
		remote, err = r.Remote.Folders(gctx)
		return err
	})
	g.Go(func() (err error) {
		if local, err = r.Local.Folders(gctx, r.knownLocally()); err == nil {
			r.glanceFirst(gctx, local)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	for _, n := range slices.Concat(remote.Notices, r.Local.Notices()) {
		r.once(n.Folder, n.Text)
	}
	r.meetRemote(remote)
	if err := r.meetLocal(local); err != nil {
		return err
	}
	if err := r.checkOwner(ctx); err != nil {
		return err
	}
	for _, f := range r.folders {
		f.selected = r.Selected == nil || r.Selected(f.name)
		if f.selected && !f.onRemote && remote.LeavesOut != nil && remote.LeavesOut(f.name) {
			f.selected = false // it was not asked for, so it is not gone, and must not be made
			if f.onLocal {
				r.once(f.name, "would be in a namespace of the server that `namespaces` leaves out")
			}
		}
		if r.Policy != nil {
			f.policy = r.Policy(f.name)
		}
		if !r.hears(f) {
			f.dealt, f.names = nil, nil
		}
	}
	return nil
}

// knownLocally is what base has of all folders on disk.
func (r *run) knownLocally() []mail.LocalFolder {
	return onDisk(func(yield func(*mail.FolderBase) bool) {
		for _, f := range r.folders {
			if !yield(&f.base) {
				return
			}
		}
	})
}

func onDisk(bases iter.Seq[*mail.FolderBase]) []mail.LocalFolder {
	var known []mail.LocalFolder
	for base := range bases {
		if base.OnLocal {
			known = append(known, mail.LocalFolder{Name: base.Name, Stamp: base.Local})
		}
	}
	slices.SortFunc(known, func(a, b mail.LocalFolder) int { return compare(a.Name, b.Name) })
	return known
}

func (r *run) folder(name mail.Folder) *folder {
	f := r.folders[name]
	if f == nil {
		f = &folder{name: name, base: mail.FolderBase{Name: name}}
		r.folders[name] = f
	}
	return f
}

func (r *run) meetRemote(listing mail.RemoteListing) {
	r.onServer = make(map[mail.Folder]mail.RemoteFolder, len(listing.Folders))
	for _, rf := range listing.Folders {
		if rf.NoSelect {
			continue
		}
		r.onServer[rf.Name] = rf
		f := r.folder(rf.Name)
		f.onRemote, f.role = true, rf.Role
		if rf.Role == mail.RoleTrash && r.trash == "" {
			r.trash = rf.Name
		}
		// Without mod-sequences equal counts say nothing of flags, where there are any.
		tells := rf.Status.UIDNext != 0 && (rf.Status.HighestModSeq != 0 || rf.Status.Messages == 0)
		unchanged := tells && rf.Status == f.base.Remote
		f.remoteDirty = !unchanged || r.overdue(f)
	}
	if r.trash == "" && r.Trash != "" {
		r.trash = r.Trash
	}
}

func (r *run) meetLocal(local []mail.LocalFolder) error {
	for _, lf := range local {
		f := r.folder(lf.Name)
		if f.unfinished = lf.Unfinished; f.unfinished {
			continue
		}
		f.onLocal, f.stamp = true, lf.Stamp
		m := r.heard.meeting(lf, f.base)
		f.dealt, f.names, f.localMoved, f.unclear = m.dealt, m.names, m.moved, lf.Stamp == mail.Stamp{}
		f.localDirty = f.localMoved || r.overdue(f) // times tell nothing of a backup that has the same
	}
	inbox := r.folders[mail.Inbox]
	if inbox != nil && inbox.base.OnLocal && !inbox.onLocal {
		return fmt.Errorf("the Maildir has lost its INBOX, and perhaps all its mail: %w", mail.ErrMissing)
	}
	return nil
}

// checkOwner makes sure that the Maildir is not the one of another account, whose mail
// would be mixed with this one's: INBOX tells, unless it is just as it was. Other folders
// may have been copied from somewhere.
func (r *run) checkOwner(ctx context.Context) error {
	inbox := r.folders[mail.Inbox]
	if inbox == nil || !inbox.onLocal || !inbox.localDirty {
		return nil
	}
	marker, err := r.Local.Marker(ctx, mail.Inbox)
	switch {
	case err != nil && ends(err):
		return err
	case err != nil, marker.Account == "", marker.Account == r.Account: // the error will be met again, as the folder's
		return nil
	}
	return fmt.Errorf("%w: what is there is the Maildir of account %q; if it is to be this one's, remove the file .mailtwin in INBOX",
		mail.ErrMissing, mail.Clean(marker.Account, maxName))
}

// maxName bounds the name of another account in a message, in octets.
const maxName = 100

// matchFolders makes each folder that one side lacks and never had, and leaves alone
// the ones that one side had and lost.
func (r *run) matchFolders(ctx context.Context) error {
	names := make([]mail.Folder, 0, len(r.folders))
	for name := range r.folders {
		names = append(names, name)
	}
	slices.Sort(names) // parents before what lies in them
	batch := &mail.Batch{}
	var gone []*folder
	for _, name := range names {
		f := r.folders[name]
		switch {
		case !f.onLocal && !f.onRemote && !f.vanished:
			if f.base.ID != 0 {
				batch.DropFolders = append(batch.DropFolders, f.base.ID)
			}
			delete(r.folders, name)
			gone = append(gone, f)
			continue
		case !f.selected, f.failed != nil:
			continue
		case f.vanished, f.dissolves:
			continue
		}
		err := r.makeFolder(ctx, f)
		if err == nil && f.base.ID == 0 && f.unclear {
			// It was listed, and could not be looked at, or was made by a run that did not come
			// to the end of it. Before base says that it is there, it has to be.
			err = r.complete(ctx, f)
		}
		if err == nil && f.base.ID == 0 && f.name == mail.Inbox && f.synced() && !r.DryRun {
			// The others get a marker, with which they are made durable. If the power took this one
			// when base knows it, all mail would seem to be lost.
			err = r.Local.SecureFolder(ctx, f.name, f.name)
		}
		if err := r.fail(f, err); err != nil {
			return err
		}
		if f.failed == nil && f.synced() && (f.base.ID == 0 || f.base.Role != f.role) {
			f.base.OnLocal, f.base.OnRemote, f.base.Role = true, true, f.role
			batch.PutFolders = append(batch.PutFolders, &f.base)
		}
	}
	if err := r.firstMarkers(ctx, batch); err != nil {
		return err
	}
	if err := r.commit(ctx, batch); err != nil {
		return err
	}
	again := false
	for _, f := range gone {
		back, err := r.clearAway(ctx, f)
		if err := r.fail(f, err); err != nil {
			return err
		}
		if back {
			f.base, f.onLocal, f.unfinished = mail.FolderBase{Name: f.name}, true, false
			f.unclear, f.localMoved, f.localDirty = true, true, true
			r.folders[f.name], again = f, true
		}
	}
	if again {
		return r.matchFolders(ctx)
	}
	return nil
}

// clearAway removes what is left of a folder whose removal here did not come to its end, and
// which base has forgotten. It tells whether that got a message meanwhile: then it is a folder
// again, and a new one.
func (r *run) clearAway(ctx context.Context, f *folder) (back bool, err error) {
	if r.DryRun || !f.unfinished {
		return false, nil
	}
	err = r.Local.RemoveFolder(ctx, f.name)
	if err == nil || errors.Is(err, mail.ErrGone) { // it may have gone with the last one inside it
		return false, r.Local.ForgetFolder(ctx, f.name)
	}
	if _, failed := r.Local.Scan(ctx, f.name, f.letters); failed != nil {
		return false, err
	}
	r.once(f.name, "was to be removed, and has new mail, or gets some: it stays")
	return true, nil
}

// complete makes sure of a folder that is new here and not known to be whole.
func (r *run) complete(ctx context.Context, f *folder) error {
	if r.DryRun {
		return nil
	}
	if err := r.Local.CreateFolder(ctx, f.name); !errors.Is(err, mail.ErrExists) {
		return err
	}
	return nil
}

// firstMarkers gives a marker to each folder that has none, since an empty one is known
// again by nothing else when it is renamed. Where that does not work the folder goes
// without.
func (r *run) firstMarkers(ctx context.Context, batch *mail.Batch) error {
	if r.DryRun {
		return nil
	}
	folders := r.usable(func(f *folder) bool {
		return f.onLocal && f.onRemote && !f.dissolves && (f.name != mail.Inbox || r.blank) && f.base.Marker == mail.Marker{}
	})
	err := r.each(ctx, folders, r.Connections, func(ctx context.Context, f *folder) error {
		there, err := r.Local.Marker(ctx, f.name)
		if err == nil && there != (mail.Marker{}) && r.blank {
			// Base is not to know the folder without knowing that: the next run may be the one
			// that comes to pair its messages.
			r.lose(f, conflict.StateLost)
		}
		if err != nil || there != (mail.Marker{}) || f.name == mail.Inbox {
			return nil // it tells of a loss, or of what is wrong: see checkMarkers
		}
		first := mail.Marker{Account: r.Account, Folder: rand.Text(), Generation: 1}
		if err := r.Local.SetMarker(ctx, f.name, first); err != nil {
			if ends(err) {
				return err
			}
			r.Log.Info("folder gets no marker", "account", r.Account, "folder", string(f.name), "error", err)
			return nil
		}
		f.base.Marker, f.localDirty, f.met = first, true, f.base.Lost == 0
		return nil
	})
	for _, f := range folders {
		if f.base.Marker != (mail.Marker{}) || f.base.Lost != 0 {
			batch.PutFolders = append(batch.PutFolders, &f.base)
		}
	}
	return err
}

func (r *run) makeFolder(ctx context.Context, f *folder) error {
	switch {
	case !f.onLocal && r.forbidsMaking(mail.Local, f.policy) != "":
		f.selected = false
		r.once(f.name, "is only on the server, and "+r.forbidsMaking(mail.Local, f.policy)+" does not let it be made here")
	case !f.onRemote && r.forbidsMaking(mail.Remote, f.policy) != "":
		f.selected = false
		r.once(f.name, "is only here, and "+r.forbidsMaking(mail.Remote, f.policy)+" does not let it be made on the server")
	case !f.onLocal:
		f.localDirty = true
		if r.DryRun {
			r.report.Actions = append(r.report.Actions, string(f.name)+": make the folder here")
			return nil
		}
		if err := r.Local.CreateFolder(ctx, f.name); err != nil && !errors.Is(err, mail.ErrExists) {
			return err
		}
		f.onLocal, r.stirred = true, true
	case !f.onRemote:
		f.remoteDirty = true
		if r.DryRun {
			r.report.Actions = append(r.report.Actions, string(f.name)+": make the folder on the server")
			return nil
		}
		if err := r.Remote.CreateFolder(ctx, f.name); err != nil && !errors.Is(err, mail.ErrExists) {
			return cannotHave(err, f.name)
		}
		f.onRemote = true
	}
	return nil
}

// cannotHave adds the ways out to the error of a folder that the server refuses to make,
// unless that passes by itself.
func cannotHave(err error, name mail.Folder) error {
	if !errors.Is(err, mail.ErrRefused) || errors.Is(err, mail.ErrTryLater) || errors.Is(err, mail.ErrOverQuota) {
		return err
	}
	pattern := "!" + strings.NewReplacer(`\`, `\\`, `*`, `\*`, `%`, `\%`).Replace(string(name))
	return fmt.Errorf("%w: rename its directory, or leave it out: folders = [%q], or create_folders = \"local\"", err, pattern)
}

// countRows finds out how many messages each folder has in base, for the brake.
func (r *run) countRows(ctx context.Context) error {
	dirty := false
	for _, f := range r.folders {
		dirty = dirty || f.localDirty || f.remoteDirty || len(r.unsettled[f.base.ID]) > 0
	}
	if !dirty {
		return nil
	}
	for _, f := range r.allFolders() {
		if f.base.ID == 0 {
			continue
		}
		remote, local, err := r.State.Count(ctx, f.base.ID)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		f.messages = min(remote, local)
		if f.localDirty && f.onRemote && !f.remoteDirty {
			// Each run changes a folder here before it changes it anywhere; so this one may
			// have been left by a run which recorded what the server then had, or had no more,
			// and the server has been restored to what it was before.
			rows, err := r.rowsFrom(ctx, f, max(1, f.base.Remote.UIDNext))
			if err != nil {
				return err
			}
			f.remoteDirty = len(rows) > 0 || remote != int(f.base.Remote.Messages)
		}
	}
	return nil
}

// markIntents makes sure that folders are looked at into which an interrupted run was
// about to bring something.
func (r *run) markIntents() {
	for _, in := range r.intents {
		for _, f := range r.folders {
			if f.base.ID == in.Folder {
				f.localDirty, f.remoteDirty = true, true
			}
		}
	}
}
