package maildir

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mailtwin/conflict/mail"
)

// WatchOptions is what a Watcher needs besides the root of the Maildir.
type WatchOptions struct {
	Layout Layout
	// Poll is how often directories are looked at that tell nothing of themselves, and no less
	// than how often it is looked at whether the Maildir is there; 0: every 60 s.
	Poll time.Duration
}

// Changes tells where to look. All of it are hints: what is told may not be so any more, or
// may be the caller's own doing. What is told of is looked at after this; nothing that
// changes later is left out of the next Changes.
type Changes struct {
	// All: anything may have changed, in every folder. Then List and Folders say nothing.
	All bool
	// Replaced: the root is another directory than before. A Tree that is open is of the old
	// one, and has to be opened anew.
	Replaced bool
	// List: folders have been made, removed or renamed.
	List bool
	// Folders are those that may have changed, by name; also those that are gone.
	Folders []mail.FolderChanges
	// Lost says why nothing can be told any more: mail.ErrMissing, or what went wrong when
	// the folders were listed. It is said once; when there is a Maildir again, that is All.
	Lost error
	// Notices are for people. Each is told once in the life of a Watcher.
	Notices []mail.Notice
}

// Empty tells whether there is nothing to look at, and nothing to say.
func (c *Changes) Empty() bool {
	return !c.All && !c.Replaced && !c.List && len(c.Folders) == 0 && c.Lost == nil && len(c.Notices) == 0
}

// Watcher tells what changes in a Maildir. It is for one caller, who owns it and closes it.
// It outlives Trees, and holds nothing open in the Maildir, which can be unmounted while it is
// watched.
type Watcher struct {
	mu    sync.Mutex
	news  news
	ready chan struct{} // 1: there is news

	cancel context.CancelFunc
	owned  sync.WaitGroup
	done   chan struct{} // closed when nothing is watched any more
}

// Watch begins to watch the Maildir at root, which need not be there. All that changes after
// it has returned is told, so it comes before the first sync. The Watcher works until it is
// closed, or ctx ends.
func Watch(ctx context.Context, root string, opts WatchOptions) *Watcher {
	return watch(ctx, root, opts, theMachine)
}

func watch(ctx context.Context, root string, opts WatchOptions, m machine) *Watcher {
	if opts.Poll <= 0 {
		opts.Poll = time.Minute
	}
	// Events come with the path that was watched, and the working directory may change.
	if abs, err := filepath.Abs(root); err == nil {
		root = abs
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &Watcher{ready: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{})}
	l := newLookout(root, opts, m, w.tell)
	l.renew(ctx)
	w.tell((*news).begin)
	w.owned.Go(func() {
		defer close(w.done)
		l.run(ctx)
	})
	return w
}

// Ready gives a channel from which one value can be received when there is something to
// Take. It may turn out to be nothing.
func (w *Watcher) Ready() <-chan struct{} { return w.ready }

// Take gives what has accumulated since the last Take or Wait, without waiting.
func (w *Watcher) Take() Changes {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.news.take()
	w.signal()
	return c
}

// Wait waits until there is something to Take, and takes it. The error is that of ctx, or
// os.ErrClosed.
func (w *Watcher) Wait(ctx context.Context) (Changes, error) {
	for {
		if c := w.Take(); !c.Empty() {
			return c, nil
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return Changes{}, ctx.Err()
		case <-w.done:
			return Changes{}, os.ErrClosed
		}
	}
}

// Close ends the watching, and returns when nothing is left of it.
func (w *Watcher) Close() {
	w.cancel()
	w.owned.Wait()
}

// tell adds to the news.
func (w *Watcher) tell(add func(*news)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	add(&w.news)
	w.signal()
}

// signal makes ready say whether there is news.
func (w *Watcher) signal() {
	if w.news.empty() {
		select {
		case <-w.ready:
		default:
		}
		return
	}
	select {
	case w.ready <- struct{}{}:
	default:
	}
}
