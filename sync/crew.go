package sync

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// crew does things side by side, no more than so many at once. A crew of one does them in
// the goroutine of its owner, one after the other, which is the same each time.
type crew struct {
	group *errgroup.Group // nil: a crew of one
	err   error           // of a crew of one, the first
}

// newCrew gives a crew, and the context of its work, which ends with the first error.
func newCrew(ctx context.Context, limit int) (*crew, context.Context) {
	if limit == 1 {
		return &crew{}, ctx
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	return &crew{group: group}, gctx
}

// diskAtOnce is how many things a run has the disk do at once: it syncs several files as soon as one.
// Nothing of that may read base, which keeps no more than a few readers.
func (r *run) diskAtOnce() int {
	if r.Connections == 1 {
		return 1
	}
	return 16
}

// Go has something done, unless a crew of one has failed before.
func (c *crew) Go(do func() error) {
	if c.group != nil {
		c.group.Go(do)
	} else if c.err == nil {
		c.err = do()
	}
}

// Hand has something done while the caller goes on, and gives an error only if it is known
// already: a crew of one has done it by then.
func (c *crew) Hand(do func() error) error {
	if c.group == nil {
		return do()
	}
	c.group.Go(do)
	return nil
}

// Wait waits for all that is being done, and gives the first error.
func (c *crew) Wait() error {
	if c.group != nil {
		return c.group.Wait()
	}
	return c.err
}
