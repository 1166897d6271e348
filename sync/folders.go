package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	stdsync "sync"

	"golang.org/x/sync/errgroup"

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
	// dissolves: it vanished from one side, and a person consented that it goes.
	dissolves bool
	// resettled: the folder was last in step under another policy, so both sides are
	// read whole.
	resettled bool
	messages  int // rows on both sides before the run

	localMoved  bool // changed here since it was last in step
	localDirty  bool // is to be scanned before base may be trusted again
	remoteDirty bool
	changed     bool  // something changed locally, for the report
	failed      error // it is left as it is until the next run
	refused     bool  // the server refused something: this round is the last one for it
	stopped     bool
	marked      bool // this run's marker is in place
	// full is the size of the smallest message that was refused by this run because of a
	// quota: none that is larger would be taken. 0: no such one.
	full int64
	// stored are the files that this run has uploaded without being told where they are.
	stored map[mail.Key]bool

	lettering stdsync.Mutex // guards letters while messages are brought across
	letters   mail.Letters
	// What the gathering of this round found, for settle to store.
	view    *mail.View
	listing *mail.Listing
	unsafe  bool   // something was left undone: cursor and stamp must stay
	removed [2]int // messages removed by this run, by the side where they were gone
}

// synced tells whether the folder is one that is kept in step.
func (f *folder) synced() bool { return f.selected && !f.vanished }

// settings names what the folder's plans go by.
func (f *folder) settings() string {
	a := f.access()
	if a.NewKeywords {
		a.Settable.Keywords = "" // they come and go, and make no difference
	}
	return fmt.Sprint(f.policy, " ", a)
}

// info is what a plan needs to know of the folder.
func (f *folder) info() conflict.FolderInfo {
	return conflict.FolderInfo{
		Policy: f.policy, Role: f.role, Access: f.access(), Messages: f.messages, Removed: f.removed,
	}
}

// access is what the server lets the account do in the folder, as it said last.
func (f *folder) access() mail.Access {
	if f.view != nil {
		return f.view.Access
	}
	return f.base.Access
}

// usable tells whether the run still works on it.
func (f *folder) usable() bool { return f.synced() && f.failed == nil && !f.stopped }

// listFolders finds out which folders there are, which of them may have changed, and
// makes those that one side lacks.
func (r *run) listFolders(ctx context.Context) error {
	var remote mail.RemoteListing
	var local []mail.LocalFolder
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		remote, err = r.Remote.Folders(gctx)
		return err
	})
	g.Go(func() (err error) {
		local, err = r.Local.Folders(gctx, r.knownLocally())
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	r.report.Skipped = append(r.report.Skipped, remote.Notices...)
	r.meetRemote(remote)
	if err := r.meetLocal(local); err != nil {
		return err
	}
	if err := r.checkOwner(ctx, local); err != nil {
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
	}
	for _, f := range r.folders {
		if f.base.ID != 0 && f.base.Settings != f.settings() {
			f.resettled, f.localDirty, f.remoteDirty = true, true, true
		}
	}
	if err := r.vanish(ctx); err != nil {
		return err
	}
	if err := r.matchFolders(ctx); err != nil {
		return err
	}
	r.markIntents()
	return r.countRows(ctx)
}

func (r *run) knownLocally() []mail.LocalFolder {
	var known []mail.LocalFolder
	for _, f := range r.folders {
		if f.base.OnLocal {
			known = append(known, mail.LocalFolder{Name: f.name, Stamp: f.base.Local})
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
		f.onLocal = true
		f.localDirty = lf.Stamp == mail.Stamp{} || lf.Stamp != f.base.Local
		f.localMoved = f.localDirty
	}
	inbox := r.folders[mail.Inbox]
	if inbox != nil && inbox.base.OnLocal && !inbox.onLocal {
		return fmt.Errorf("the Maildir has lost its INBOX, and perhaps all its mail: %w", mail.ErrMissing)
	}
	return nil
}

// checkOwner makes sure that the Maildir is not the one of another account, whose mail
// would be mixed with this one's. INBOX tells; where it was never written into, any other
// folder does. One that is what it was need not be asked.
func (r *run) checkOwner(ctx context.Context, local []mail.LocalFolder) error {
	names := []mail.Folder{mail.Inbox}
	for _, lf := range local {
		names = append(names, lf.Name)
	}
	for _, name := range names {
		f := r.folders[name]
		if f == nil || !f.onLocal || !f.localDirty {
			continue
		}
		marker, err := r.Local.Marker(ctx, name)
		switch {
		case err != nil && ends(err):
			return err
		case err != nil: // it will be met again, where it belongs to the folder
			continue
		case marker.Account == r.Account:
			return nil
		case marker.Account != "":
			return fmt.Errorf("%w: what is there is the Maildir of account %q; if it is to be this one's, remove the file .mailtwin in the directory of %q",
				mail.ErrMissing, mail.Clean(marker.Account, maxName), string(name))
		}
	}
	return nil
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
	for _, name := range names {
		f := r.folders[name]
		switch {
		case !f.onLocal && !f.onRemote:
			if f.base.ID != 0 {
				batch.DropFolders = append(batch.DropFolders, f.base.ID)
			}
			delete(r.folders, name)
			continue
		case !f.selected:
			continue
		case f.vanished, f.dissolves:
			continue
		}
		if err := r.fail(f, r.makeFolder(ctx, f)); err != nil {
			return err
		}
		if f.failed == nil && f.synced() && (f.base.ID == 0 || f.base.Role != f.role) {
			f.base.OnLocal, f.base.OnRemote, f.base.Role = true, true, f.role
			batch.PutFolders = append(batch.PutFolders, &f.base)
		}
	}
	return r.commit(ctx, batch)
}

func (r *run) makeFolder(ctx context.Context, f *folder) error {
	switch {
	case !f.onLocal && !r.CreateLocal:
		f.selected = false
		r.once(f.name, "is only on the server, and create_folders does not let it be made here")
	case !f.onRemote && !r.CreateRemote:
		f.selected = false
		r.once(f.name, "is only here, and create_folders does not let it be made on the server")
	case !f.onLocal:
		f.localDirty = true
		if r.DryRun {
			r.report.Actions = append(r.report.Actions, string(f.name)+": make the folder here")
			return nil
		}
		if err := r.Local.CreateFolder(ctx, f.name); err != nil && !errors.Is(err, mail.ErrExists) {
			return err
		}
		f.onLocal = true
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
	for _, f := range r.folders {
		if f.base.ID == 0 {
			continue
		}
		remote, local, err := r.State.Count(ctx, f.base.ID)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		f.messages = min(remote, local)
	}
	return nil
}

// forget drops all that base knows of a folder's messages, since one of its sides is
// not what base was made from. Then both are read from the start, and what is equal
// is tied again: nothing is removed by inference from the loss.
func (r *run) forget(ctx context.Context, f *folder, why string) error {
	r.Log.Info("pairing again", "account", r.Account, "folder", string(f.name), "why", why)
	r.once(f.name, why+": its messages are paired again, and nothing is removed for it")
	old := f.base
	f.base = mail.FolderBase{Name: old.Name, Role: old.Role, OnLocal: old.OnLocal, OnRemote: old.OnRemote, Letters: old.Letters, Marker: old.Marker}
	delete(r.unsettled, old.ID)
	f.localDirty, f.remoteDirty, f.messages = true, true, 0
	batch := &mail.Batch{PutFolders: []*mail.FolderBase{&f.base}}
	if old.ID != 0 {
		batch.DropFolders = []mail.FolderID{old.ID}
	}
	return r.commit(ctx, batch)
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
