package maildir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"mailtwin/conflict/mail"
)

// place is a directory that is watched, or polled.
type place struct {
	folder     mail.Folder // whose it is; "": it only holds folders
	part       part
	dev, inode uint64
	how        how
	// What follows is of directories that are polled.
	modTime int64
	atRest  bool // modTime can be trusted: a later change would have changed it
}

// part is what a directory is to its folder.
type part uint8

const (
	partSelf part = iota
	partCur
	partNew
)

// how it is found out what changes in a directory.
type how uint8

const (
	unseen  how = iota // not at all, yet or any more
	watched            // by its events
	polled             // by its modification time
)

// dirListing is one listing of the directories of the Maildir.
type dirListing struct {
	root   Info
	dirs   map[string]*place
	homes  map[mail.Folder]string // the directories of the folders
	failed bool                   // something may be missing
}

// list lists the directories. The Maildir is open no longer than that takes, so that it can be
// unmounted.
func (l *lookout) list(ctx context.Context) (d dirListing, err error) {
	t, err := Open(l.root, Options{Layout: l.opts.Layout})
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	// What lies in a directory that cannot be read is there still.
	var known []mail.LocalFolder
	for name := range l.homes {
		known = append(known, mail.LocalFolder{Name: name})
	}
	w, err := t.walk(ctx, known)
	if err != nil {
		return d, err
	}
	d = dirListing{root: t.root, dirs: make(map[string]*place), homes: w.places, failed: w.failed}
	look := func(dir string, p place) {
		info, err := t.fs.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Type != fs.ModeDir {
			return
		}
		p.dev, p.inode = info.Dev, info.Inode // zero, if it cannot be looked at
		l.systemOf(dir, &p)
		l.seen(&p, info)
		d.dirs[dir] = &p
	}
	look(".", place{})
	for _, dir := range w.dirs {
		look(dir, place{})
	}
	for name, dir := range w.places {
		look(dir, place{folder: name})
		look(join(dir, "cur"), place{folder: name, part: partCur})
		look(join(dir, "new"), place{folder: name, part: partNew})
	}
	return d, t.check()
}

// seen remembers the times of a directory.
func (l *lookout) seen(p *place, info Info) {
	p.modTime = info.ModTime
	stamp := mail.Stamp{Folder: info.ModTime, Cur: info.ModTime, New: info.ModTime}
	p.atRest = restlessness(stamp, time.Now(), l.systems[p.dev].lag) == 0
}

// adopt goes over to the directories of a listing. It tells whether some are watched, or
// polled, only from now on: what is inside may be younger than the listing.
func (l *lookout) adopt(d dirListing) bool {
	for dir, was := range l.dirs {
		now := d.dirs[dir]
		if now != nil && now.dev == was.dev && now.inode == was.inode && now.folder == was.folder && was.how != unseen {
			d.dirs[dir] = was
			continue
		}
		// A watch goes with its directory where that is renamed to. So all that are not of their
		// place any more go before any is set: fsnotify would take the new one for the old.
		l.unwatch(dir)
		l.tell(func(n *news) { n.whole(was.folder) })
	}
	if !maps.Equal(l.homes, d.homes) {
		l.tell(func(n *news) { n.list = !n.all })
	}
	l.dirs, l.homes, l.incomplete = d.dirs, d.homes, d.failed
	var begun []string
	for dir, p := range l.dirs {
		if p.how == unseen {
			begun = append(begun, dir)
		}
	}
	// INBOX comes first, should there not be enough watches for all.
	slices.SortFunc(begun, func(a, b string) int {
		rank := func(dir string) int {
			if l.dirs[dir].folder == mail.Inbox {
				return 0
			}
			return 1
		}
		return cmp.Or(rank(a)-rank(b), strings.Compare(a, b))
	})
	l.watch(begun)
	for _, dir := range begun {
		l.tell(func(n *news) { n.whole(l.dirs[dir].folder) })
	}
	return len(begun) > 0
}

// watch sets watches on directories, and has those polled where that cannot be done.
func (l *lookout) watch(dirs []string) {
	type inode struct{ dev, inode uint64 }
	taken := make(map[inode]bool) // a second path to a directory would get no events
	for _, p := range l.dirs {
		if p.how == watched {
			taken[inode{p.dev, p.inode}] = true
		}
	}
	full := false
	for _, dir := range dirs {
		p := l.dirs[dir]
		p.how = polled
		id := inode{p.dev, p.inode}
		if l.source == nil || full || taken[id] {
			continue
		}
		switch err := l.source.Add(l.path(dir)); {
		case err == nil:
			p.how, taken[id] = watched, true
		case errors.Is(err, syscall.ENOSPC):
			full = true
		}
		// Other errors are of this directory: it may not be read, or is gone again, which polling
		// finds out.
	}
	if full {
		l.limited()
	}
}

// system is what is known of a file system.
type system struct {
	foreign bool
	lag     time.Duration
}

func (l *lookout) systemOf(dir string, p *place) {
	if _, ok := l.systems[p.dev]; ok {
		return
	}
	var s system
	s.foreign, s.lag = l.m.foreign(l.path(dir))
	l.systems[p.dev] = s
}

// limited says that there are too few watches, once.
func (l *lookout) limited() {
	if l.saidLimit {
		return
	}
	l.saidLimit = true
	missing := 0
	for _, p := range l.dirs {
		if p.how == polled {
			missing++
		}
	}
	l.notice("%d of the %d directories of the Maildir cannot be watched, since the user has no more inotify watches, and are looked at every %.0f s: raise the limit (sysctl fs.inotify.max_user_watches=%d)",
		missing, len(l.dirs), l.opts.Poll.Seconds(), raised("max_user_watches", 524288))
}

// open opens a source of events, if there is none. Without one everything is polled.
func (l *lookout) open() {
	if l.source != nil {
		return
	}
	source, err := l.m.open()
	if err != nil {
		if !l.saidSource && !errors.Is(err, errors.ErrUnsupported) {
			l.saidSource = true
			advice := ""
			if errors.Is(err, syscall.EMFILE) {
				advice = fmt.Sprintf(": raise the limit (sysctl fs.inotify.max_user_instances=%d), or that of open files (ulimit -n)", raised("max_user_instances", 512))
			}
			l.notice("the Maildir cannot be watched (%v), and is looked at every %.0f s%s", err, l.opts.Poll.Seconds(), advice)
		}
		return
	}
	l.source = source
	events, errs := source.Channels()
	l.pump.Go(func() { l.queue.pump(events, errs) })
}

// forget ends all watches.
func (l *lookout) forget() {
	if l.source != nil {
		_ = l.source.Close() // what is left of it then is no use to anybody
		l.pump.Wait()
		l.source = nil
		l.queue.take()
	}
	l.dirs, l.homes = nil, nil
	clear(l.systems) // another one may get the number of a device
}

func (l *lookout) unwatch(dir string) {
	if l.source != nil && l.dirs[dir].how != polled {
		_ = l.source.Remove(l.path(dir)) // it may have gone with its directory
	}
}

// poll looks at the directories of which there are no events, or not of all changes. First
// it tries to watch them: there may be more watches by now, and what has happened before those
// are set is seen by the times.
func (l *lookout) poll() {
	var dirs, unwatched []string
	for dir, p := range l.dirs {
		if l.polls(p) {
			dirs = append(dirs, dir)
		}
		if p.how == polled {
			unwatched = append(unwatched, dir)
		}
	}
	if len(unwatched) > 0 {
		slices.Sort(unwatched)
		l.open()
		l.watch(unwatched)
	}
	for _, dir := range dirs {
		p := l.dirs[dir]
		info, err := l.m.lstat(l.root, dir)
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist): // as good as unchanged
		case err != nil || info.Type != fs.ModeDir || info.Dev != p.dev || info.Inode != p.inode:
			p.how = unseen
			l.stale = true
		case info.ModTime != p.modTime || !p.atRest:
			l.seen(p, info)
			l.stale = l.stale || p.part == partSelf
			l.tell(func(n *news) { n.whole(p.folder) })
		}
	}
}

func (l *lookout) polls(p *place) bool { return p.how == polled || l.systems[p.dev].foreign }
