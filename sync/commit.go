package sync

import (
	"context"
	"fmt"
	gosync "sync"

	"mailtwin/conflict/mail"
)

// commit makes a batch durable, unless it is empty or nothing may be written.
func (r *run) commit(ctx context.Context, b *mail.Batch) error {
	if r.DryRun || b.Empty() {
		return nil
	}
	r.dropUploads(b)
	r.makeRoom(b)
	r.reopen(b)
	err := r.joint.commit(ctx, b, r.State.Commit)
	r.commits.Add(1) // not before: see glance
	if err != nil {
		return fmt.Errorf("record in the state: %w", err)
	}
	r.notePlaces(b)
	r.forgetIntents(b.DropIntents)
	return nil
}

// joint makes one commit of those that wait for another one to end: each is a wait for the disk.
// They were asked for side by side, so that none of them rests on another.
type joint struct {
	mu      gosync.Mutex
	busy    bool
	waiting []*joining
}

// joining is a commit that waits.
type joining struct {
	ctx   context.Context
	batch *mail.Batch
	err   error
	done  chan struct{}
}

func (q *joint) commit(ctx context.Context, b *mail.Batch, do func(context.Context, *mail.Batch) error) error {
	own := &joining{ctx: ctx, batch: b, done: make(chan struct{})}
	q.mu.Lock()
	q.waiting = append(q.waiting, own)
	if q.busy {
		q.mu.Unlock()
		<-own.done // whoever is busy does it as well
		return own.err
	}
	q.busy = true
	for len(q.waiting) > 0 {
		all := q.waiting
		q.waiting = nil
		q.mu.Unlock()
		together(all, do)
		q.mu.Lock()
	}
	q.busy = false
	q.mu.Unlock()
	return own.err
}

// together commits all, as one if that can be: what is wrong with one of them is not the others'
// error.
func together(all []*joining, do func(context.Context, *mail.Batch) error) {
	var one mail.Batch
	for _, j := range all {
		one.Add(j.batch)
	}
	if len(all) == 1 || do(all[0].ctx, &one) != nil {
		for _, j := range all {
			j.err = do(j.ctx, j.batch)
		}
	}
	for _, j := range all {
		close(j.done)
	}
}
