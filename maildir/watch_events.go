package maildir

import (
	"io/fs"
	"path"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// eventSource is what a lookout needs of fsnotify. Both channels are closed when it has been
// closed; until then they have to be read, at any moment: fsnotify holds a lock while it sends
// some of its errors.
type eventSource interface {
	Add(path string) error
	Remove(path string) error
	WatchList() []string
	Close() error
	Channels() (<-chan fsnotify.Event, <-chan error)
}

// queue takes events from their source while their reader is busy.
type queue struct {
	mu     sync.Mutex
	events []fsnotify.Event
	lost   bool          // some events are
	ready  chan struct{} // 1: there is something to take
}

// maxQueue bounds the memory that events take, which have whole paths.
const maxQueue = 8192

// pump takes in what a source sends, until that is closed.
func (q *queue) pump(events <-chan fsnotify.Event, errs <-chan error) {
	for events != nil || errs != nil {
		select {
		case e, ok := <-events:
			if !ok {
				events = nil
			} else if e.Op != fsnotify.Chmod { // modes and times: backups and indexers touch all files
				q.add(e)
			}
		case _, ok := <-errs:
			if !ok {
				errs = nil
			} else { // of whatever kind: the kernel's queue was full, or could not be read
				q.spill()
			}
		}
	}
}

func (q *queue) add(e fsnotify.Event) {
	q.mu.Lock()
	if len(q.events) < maxQueue {
		q.events = append(q.events, e)
	} else {
		q.lost = true
	}
	q.mu.Unlock()
	q.wake()
}

func (q *queue) spill() {
	q.mu.Lock()
	q.lost = true
	q.mu.Unlock()
	q.wake()
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take gives the events, and tells whether some were lost.
func (q *queue) take() ([]fsnotify.Event, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	events, lost := q.events, q.lost
	q.events, q.lost = nil, false
	return events, lost
}

// event says what an event means.
func (l *lookout) event(e fsnotify.Event) {
	at, below := strings.CutPrefix(e.Name, l.path("")+"/")
	if !below {
		at = "."
	}
	if p, ok := l.dirs[at]; ok {
		// The directory itself, made again, or gone from here, and its watch with it.
		if e.Op.Has(fsnotify.Create) || e.Op.Has(fsnotify.Remove) || e.Op.Has(fsnotify.Rename) {
			p.how = unseen
			l.stale = true
		}
		return
	}
	dir, name := path.Split(at)
	dir = path.Clean(dir)
	p, ok := l.dirs[dir]
	switch {
	case !ok: // a watch that is left over; what it was of is told as a whole
	case p.part == partSelf:
		l.entry(e, p, dir, name)
	case checkName(name) != nil || keyLength(name) == 0: // a scan passes it by, too
	default:
		l.tell(func(n *news) { n.touched(p.folder, p.part == partNew, name) })
	}
}

// entry says what it means that something called name has changed in the directory of a
// folder, which is not known as a directory.
func (l *lookout) entry(e fsnotify.Event, p *place, dir, name string) {
	switch {
	case name == "cur" || name == "new" || name == unfinished || name == nameFile:
		l.stale = true
	case name == lettersFile: // files say other keywords now
		l.tell(func(n *news) { n.whole(p.folder) })
	case e.Op.Has(fsnotify.Create) && l.opts.Layout.visible(dir, name):
		// Dovecot writes files there all the time, which are no matter.
		if info, err := l.m.lstat(l.root, join(dir, name)); err == nil && info.Type == fs.ModeDir {
			l.stale = true
		}
	}
}
