package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// stuckTime is for how long nothing may move after the network has changed.
const stuckTime = 2 * time.Second

// errElsewhere says that a connection was given up since the network had changed.
var errElsewhere = fmt.Errorf("%w: the network has changed, and the connection leads nowhere", mail.ErrUnreachable)

// guard lets what waits for the server be given up early, where the network changes meanwhile: a
// connection that leads nowhere would be waited for until the patience is over.
type guard struct {
	changes <-chan struct{} // hints, buffered as those of the loop
	struck  bool            // it has ended what came last
}

// watch gives a context for something that is about to begin, which ends with the cause
// errElsewhere if the network changes and nothing moves after that. Who has had that once has it no
// more until something has gone well: work on files moves nothing, either, and a network may change
// all the time. done is called when it has ended.
func (g *guard) watch(ctx context.Context, moved func() int64) (_ context.Context, done func(err error)) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	select {
	case <-g.changes: // before it began
	default:
	}
	struck := false
	if !g.struck {
		watching.Go(func() { struck = g.strikes(ctx, moved, cancel) })
	}
	return ctx, func(err error) {
		cancel(nil)
		watching.Wait()
		g.struck = err != nil && (struck || g.struck)
	}
}

// strikes waits until the network changes, and ends the context if nothing moves any more.
func (g *guard) strikes(ctx context.Context, moved func() int64, cancel context.CancelCauseFunc) bool {
	for {
		select {
		case <-g.changes:
		case <-ctx.Done():
			return false
		}
		before := moved()
		timer := time.NewTimer(stuckTime)
		select {
		case <-timer.C:
			if moved() == before {
				cancel(errElsewhere)
				return true
			}
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// meter tells how many octets a server has had and said.
type meter struct {
	mu     sync.Mutex
	remote engine.Remote // nil: none yet
}

func (m *meter) opened(r engine.Remote) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remote = r
}

func (m *meter) moved() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.remote == nil {
		return 0
	}
	t := m.remote.Traffic()
	return t.BytesIn + t.BytesOut
}
