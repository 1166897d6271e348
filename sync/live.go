package sync

import (
	"context"
	"fmt"
	"maps"
	"slices"
	stdsync "sync"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// Live is what a process that watches a Maildir knows of it from one run to the next: up to which
// stamp each folder was dealt with, and which names have appeared or gone since. A run looks at the
// files of these names, beside base's rows of them, rather than to scan a folder of any size for
// them; and of what it writes itself it will hear, too, so that it need not scan for that. Whatever
// names do not explain is scanned: that a message is gone says a scan alone. Nothing of it
// outlives the process, nor a run that fails; and base says of no folder that was dealt with in
// this way that it was scanned, so that a run without it scans all of those.
//
// The zero value knows nothing. One run, or Stale, may use it at a time; Tell may come meanwhile.
type Live struct {
	mu    stdsync.Mutex
	told  map[mail.Folder]mail.FolderChanges
	dealt map[mail.FolderID]dealt
	all   bool // since it was taken, anything may have changed
}

// dealt is up to where a folder was dealt with.
type dealt struct {
	marker mail.Marker // base's at that time: another run changes that before all else
	stamp  mail.Stamp
	// peeked: the names that were told explain it, as far as is known. What a watcher hears it may
	// hear late; so there may be more in the folder, such as a file that has left another one.
	peeked bool
}

// at tells whether a folder has that stamp still. Its own directory's time is no matter: that
// changes with markers, and with whatever else other programs keep there.
func (d *dealt) at(stamp mail.Stamp) bool {
	return d != nil && d.stamp.SameDirectory(stamp) && d.stamp.Cur == stamp.Cur && d.stamp.New == stamp.New
}

// maxTold bounds how many names are kept of one folder.
const maxTold = 4096

// Tell takes in what a watcher has told. all: anything may have changed, in any folder.
func (l *Live) Tell(all bool, folders []mail.FolderChanges) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if all {
		l.told, l.dealt, l.all = nil, nil, true
	}
	if l.told == nil {
		l.told = map[mail.Folder]mail.FolderChanges{}
	}
	for _, f := range folders {
		was := l.told[f.Name]
		if f.Whole || was.Whole || len(was.Files)+len(f.Files) > maxTold {
			f.Whole, f.Files = true, nil
		} else {
			f.Files = slices.Concat(was.Files, f.Files)
		}
		l.told[f.Name] = f
	}
}

// heard is what Live knows, as a run has it. The zero value is that of a run without one.
type heard struct {
	live  bool
	told  map[mail.Folder]mail.FolderChanges
	dealt map[mail.FolderID]dealt
}

// take takes all of it away, for a run. What the run leaves in step it gives back.
func (l *Live) take() heard {
	if l == nil {
		return heard{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h := heard{true, l.told, l.dealt}
	l.told, l.dealt, l.all = nil, nil, false
	return h
}

// keep gives back up to where folders were dealt with.
func (l *Live) keep(dealt map[mail.FolderID]dealt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.all {
		l.dealt = dealt
	}
}

// putBack is for what takes all of it and deals with a part.
func (l *Live) putBack(h *heard) {
	if l == nil {
		return
	}
	l.keep(h.dealt)
	l.Tell(false, slices.Collect(maps.Values(h.told)))
}

// meeting is what a run finds of a folder here when it begins.
type meeting struct {
	dealt *dealt              // up to where it was dealt with; nil: that is not known, or there is no Live
	names *mail.FolderChanges // what is to be looked at to know what has changed; nil: all of it
	moved bool                // it has changed since it was last in step
}

// meeting compares a folder with what base and Live know of it.
func (h heard) meeting(lf mail.LocalFolder, base mail.FolderBase) meeting {
	var m meeting
	told, any := h.told[lf.Name]
	still := lf.Stamp != mail.Stamp{} && lf.Stamp == base.Local
	if d, ok := h.dealt[base.ID]; still && h.live {
		m.dealt = &dealt{stamp: lf.Stamp}
	} else if ok && d.marker == base.Marker {
		m.dealt = &d
	}
	m.moved = !still && (any || !m.dealt.at(lf.Stamp))
	if m.moved && any && !told.Whole && m.dealt != nil && m.dealt.stamp.SameDirectory(lf.Stamp) {
		m.names = &told
	}
	return m
}

// peek looks at the files of which names were told, and compares them with base. It is not ok where
// only a scan can tell.
func peek(ctx context.Context, local Local, state State, base mail.FolderBase, told []mail.File) (changes []conflict.LocalChange, ok bool, err error) {
	names := map[mail.Key]map[mail.File]bool{} // told, and what base has
	for _, file := range told {
		if names[file.Key] == nil {
			names[file.Key] = map[mail.File]bool{}
		}
		names[file.Key][mail.File{Name: file.Name, New: file.New}] = true
	}
	var rows []mail.Row
	var files []mail.File
	for _, key := range slices.Sorted(maps.Keys(names)) {
		for row, err := range state.RowsByKey(ctx, base.ID, key) {
			if err != nil {
				return nil, false, fmt.Errorf("read the state: %w", err)
			}
			if row.Key == key {
				rows = append(rows, row)
				names[key][mail.File{Name: row.Name, New: row.New}] = true
			}
			break
		}
		files = slices.AppendSeq(files, maps.Keys(names[key]))
	}
	found, err := local.Look(ctx, base.Name, files, base.Letters)
	if err != nil {
		return nil, false, err
	}
	changes, ok = conflict.DiffLooked(rows, found, base.Letters)
	return changes, ok, nil
}

// peekAt is diffLocal for a folder of which it was told what has changed; it tells whether that
// was enough.
func (r *run) peekAt(ctx context.Context, f *folder) ([]conflict.LocalChange, bool) {
	names := f.names
	if f.names = nil; names == nil || !r.plain(f) {
		return nil, false
	}
	changes, ok, err := peek(ctx, r.Local, r.State, f.base, names.Files)
	if err != nil || !ok {
		return nil, false // the scan tells what is wrong
	}
	f.listing, f.missed, f.letters = nil, nil, f.base.Letters
	f.peeked, f.dealt = true, &dealt{stamp: f.stamp, peeked: true}
	return changes, true
}

// plain tells whether nothing about a folder is such that more is asked of it here than what has
// changed.
func (r *run) plain(f *folder) bool {
	anew := f.base.ID == 0 || f.unclear || f.outrun || f.loss != conflict.NoLoss || f.forgotten != nil || f.base.Remote.Unread()
	return !anew && f.onLocal && f.usable() && !f.marked && !f.resettled && !r.overdue(f) &&
		!f.held && !f.dissolves && len(r.unsettled[f.base.ID]) == 0 && len(r.losses) == 0 &&
		!slices.ContainsFunc(r.intents, func(in mail.Intent) bool { return in.Folder == f.base.ID })
}

// hears tells whether it is enough to hear of what changes in a folder. Where something is kept back
// on one side, it is not: each run that looks at the one reads the other whole.
func (r *run) hears(f *folder) bool {
	local, remote := r.info(f).KeepsBack()
	return r.Live != nil && !local && !remote
}

// wrote notes that the run changes names in a folder here. What becomes of that it sees when it
// scans the folder again; or the process hears of it, and looks then.
func (r *run) wrote(f *folder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.wrote = true; f.dealt == nil {
		f.localDirty = true
	}
}

// deal notes, at the end of a round, up to where folders were dealt with here.
func (r *run) deal() {
	if r.Live == nil {
		return
	}
	open := map[mail.FolderID]bool{}
	for _, in := range r.intents {
		open[in.Folder] = true
	}
	for _, f := range r.folders {
		switch {
		case !r.hears(f), f.unsafe, f.failed != nil, f.stale, open[f.base.ID]:
			f.dealt = nil
		case f.listing != nil && f.listing.Believed:
			f.dealt = &dealt{stamp: f.listing.Stamp}
		case f.listing != nil:
			f.dealt = nil
		}
		if f.dealt == nil && f.wrote {
			f.localDirty = true
		}
	}
}

// keepDealt gives Live what the run has left in step.
func (r *run) keepDealt() {
	if r.Live == nil || r.DryRun {
		return
	}
	all := make(map[mail.FolderID]dealt, len(r.folders))
	for _, f := range r.folders {
		if f.dealt != nil && f.base.ID != 0 && f.usable() && !f.localDirty {
			all[f.base.ID] = dealt{f.base.Marker, f.dealt.stamp, f.dealt.peeked}
		}
	}
	r.Live.keep(all)
}
