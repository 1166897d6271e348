package maildir

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"mailtwin/conflict/mail"
)

// machine is what a lookout needs of the machine, besides the Maildir itself.
type machine struct {
	open    func() (eventSource, error)
	lstat   func(root, name string) (Info, error)
	foreign func(path string) (bool, time.Duration)
}

var theMachine = machine{
	open:    openEvents,
	lstat:   func(root, name string) (Info, error) { return (&disk{path: root}).Lstat(name) },
	foreign: foreign,
}

const (
	// settling is how long directories are let change before they are listed anew: a folder
	// is made in several steps, and folders are often made together.
	settling = 50 * time.Millisecond
	// stormy is the same where events were lost, which is so while very many things happen.
	stormy = time.Second
	// watchOver is how often, at least, it is looked at whether the root, and all watches, are
	// still there.
	watchOver = time.Minute
	// lookFor is how often, at least, it is looked for a Maildir that is not there.
	lookFor = 10 * time.Second
	// listTries is how often directories are listed one after another because new ones keep
	// appearing.
	listTries = 5
)

// lookout watches. All of it belongs to the goroutine that runs it.
type lookout struct {
	root string
	opts WatchOptions
	m    machine
	tell func(func(*news))

	queue  queue
	source eventSource    // nil: there is none
	pump   sync.WaitGroup // of its events into the queue

	is      Info // of the root, when it was there last
	lost    bool // the Maildir is not there
	dirs    map[string]*place
	homes   map[mail.Folder]string
	systems map[uint64]system // by device

	stale      bool // the directories may be others than those in dirs
	restart    bool // watches may be missing, or events
	incomplete bool // the last listing was
	polling    bool // some directories are polled
	saidLimit  bool
	saidSource bool
}

func newLookout(root string, opts WatchOptions, m machine, tell func(func(*news))) *lookout {
	return &lookout{root: root, opts: opts, m: m, tell: tell, queue: queue{ready: make(chan struct{}, 1)}, systems: make(map[uint64]system)}
}

// path gives the path of a directory. "": that of the root, without a "/" at its end.
func (l *lookout) path(dir string) string {
	switch dir {
	case "":
		return strings.TrimSuffix(l.root, "/")
	case ".":
		return l.root
	}
	return l.path("") + "/" + dir
}

func (l *lookout) notice(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	l.tell(func(n *news) { n.notices = append(n.notices, mail.Notice{Text: text}) })
}

// run watches until ctx ends.
func (l *lookout) run(ctx context.Context) {
	defer l.forget()
	round := time.NewTimer(l.pause())
	defer round.Stop()
	settled := time.NewTimer(settling)
	settled.Stop()
	defer settled.Stop()
	armed := false
	pause := l.pause()
	for {
		if (l.stale || l.restart) && !armed {
			armed = true
			settled.Reset(l.settling())
		}
		if p := l.pause(); p != pause {
			pause = p
			round.Reset(pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-l.queue.ready:
			l.read()
		case <-settled.C:
			armed = false
			l.renew(ctx)
		case <-round.C:
			l.round(ctx)
			round.Reset(pause)
		}
	}
}

func (l *lookout) settling() time.Duration {
	if l.restart {
		return stormy
	}
	return settling
}

// pause is how long it is to the next round.
func (l *lookout) pause() time.Duration {
	if l.lost || len(l.homes) == 0 { // as in the directory that a disk is to be mounted on
		return min(lookFor, l.opts.Poll)
	}
	if l.polling {
		return l.opts.Poll
	}
	return min(watchOver, l.opts.Poll)
}

// read takes in what has happened.
func (l *lookout) read() {
	events, lost := l.queue.take()
	l.restart = l.restart || lost
	for _, e := range events {
		l.event(e)
	}
}

// renew lists the directories anew, and watches those that are new.
func (l *lookout) renew(ctx context.Context) {
	defer l.count()
	all, replaced := l.restart || l.lost, false
	if l.restart {
		l.forget()
	}
	l.stale, l.restart = false, false
	for range listTries {
		d, err := l.list(ctx)
		if err != nil {
			l.lose(ctx, err)
			return
		}
		if l.is != (Info{}) && (d.root.Dev != l.is.Dev || d.root.Inode != l.is.Inode) {
			l.forget()
			all, replaced = true, true
		}
		l.is, l.lost = d.root, false
		l.open()
		if l.stale = l.adopt(d); !l.stale {
			break
		}
		// The next listing shows whether something appeared before the watches were set.
	}
	if all {
		// Now, and not before: what has happened without being watched is part of it.
		l.tell(func(n *news) { n.everything(replaced) })
	}
}

// lose says why nothing can be told.
func (l *lookout) lose(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	l.forget()
	if !l.lost {
		l.lost = true
		l.tell(func(n *news) { n.gone(err) })
	}
}

// count finds out whether anything is polled.
func (l *lookout) count() {
	l.polling = false
	for _, p := range l.dirs {
		l.polling = l.polling || l.polls(p)
	}
}

// round looks at what no event tells of: that the Maildir was unmounted, or another disk
// mounted over it; and what is polled.
func (l *lookout) round(ctx context.Context) {
	info, err := l.m.lstat(l.root, ".")
	switch {
	case err != nil && l.lost:
		return
	case err != nil || l.lost || info.Dev != l.is.Dev || info.Inode != l.is.Inode || l.watchesGone():
		l.restart = true
	case l.incomplete:
		l.stale = true
	}
	if l.restart {
		l.renew(ctx)
		return
	}
	l.poll()
	l.count()
	if l.stale {
		l.renew(ctx)
	}
}

// watchesGone tells whether watches have ended without an event, as they do when a file
// system is unmounted: it may have been mounted again since.
func (l *lookout) watchesGone() bool {
	if l.source == nil || l.stale { // else the listing that is due finds out
		return false
	}
	there := make(map[string]bool)
	for _, path := range l.source.WatchList() {
		there[path] = true
	}
	for dir, p := range l.dirs {
		if p.how == watched && !there[l.path(dir)] {
			return true
		}
	}
	return false
}
