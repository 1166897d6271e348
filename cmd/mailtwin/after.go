package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"mailtwin/conflict/mail"
)

const (
	afterQuiet = time.Second     // syncs that follow one another so soon are one batch
	afterMost  = 5 * time.Second // but it waits no longer than this
	// afterGrace is how long a command may go on when the watch ends.
	afterGrace = 2 * time.Second
)

// after runs the post_sync command of an account that is watched, after the syncs that changed
// something, and beside those that follow. What changes while it runs is for the next time.
type after struct {
	command func(ctx context.Context, changed []mail.Folder) error
	tell    func(error) // how it went
	kick    chan struct{}

	mu      sync.Mutex // guards what follows
	changed map[mail.Folder]bool
	waiting []chan error // of those who want to know how it went
}

func newAfter(command func(context.Context, []mail.Folder) error, tell func(error)) *after {
	return &after{command: command, tell: tell, kick: make(chan struct{}, 1), changed: map[mail.Folder]bool{}}
}

// add says that a sync has changed folders. Who waits, on a channel with room for one, gets to know
// how the command went, and has it run at once; nil: nobody does.
func (h *after) add(changed []mail.Folder, waiting chan error) {
	if len(changed) == 0 {
		return
	}
	h.mu.Lock()
	for _, f := range changed {
		h.changed[f] = true
	}
	if waiting != nil {
		h.waiting = append(h.waiting, waiting)
	}
	h.mu.Unlock()
	select {
	case h.kick <- struct{}{}:
	default: // it has not taken in the last one yet
	}
}

// run runs the command when there is a reason to, until ctx ends. Then what is under way, and what
// is still to come, gets afterGrace.
func (h *after) run(ctx context.Context) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(afterGrace, cancel) })()
	for {
		select {
		case <-ctx.Done():
			h.do(longer)
			return
		case <-h.kick:
			h.settle(ctx)
			h.do(longer)
		}
	}
}

// settle waits until nothing was added for a while, or somebody waits.
func (h *after) settle(ctx context.Context) {
	end := time.NewTimer(afterMost)
	defer end.Stop()
	calm := time.NewTimer(afterQuiet)
	defer calm.Stop()
	for !h.awaited() {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-calm.C:
			return
		case <-h.kick:
			calm.Reset(afterQuiet)
		}
	}
}

func (h *after) awaited() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting) > 0
}

// do runs the command, if there is a reason to.
func (h *after) do(ctx context.Context) {
	h.mu.Lock()
	changed, waiting := slices.Sorted(maps.Keys(h.changed)), h.waiting
	clear(h.changed)
	h.waiting = nil
	h.mu.Unlock()
	if len(changed) == 0 {
		return
	}
	err := h.command(ctx, changed)
	if ctx.Err() == nil {
		h.tell(err)
	}
	for _, w := range waiting {
		w <- err // it has room
	}
}
