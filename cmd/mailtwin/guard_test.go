package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mailtwin/conflict/mail"
)

// A connection is given up where the network has changed and nothing moves any more, once; what
// moves, what began later, and what is at work on files since then, goes on.
func TestAGuardEndsWhatIsStuckOnAnotherNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := make(chan struct{}, 1)
		g := &guard{changes: changes}
		moves := int64(0)
		moved := func() int64 { return moves }
		attempt := func(at time.Duration, moving bool) (took time.Duration, err error) {
			t.Helper()
			ctx, done := g.watch(t.Context(), func() int64 {
				if moving {
					moves++
				}
				return moved()
			})
			time.Sleep(at)
			changes <- struct{}{}
			changed := time.Now()
			select {
			case <-ctx.Done():
			case <-time.After(40 * time.Second):
			}
			err = context.Cause(ctx)
			done(err)
			for len(changes) > 0 {
				<-changes
			}
			return time.Since(changed), err
		}
		if took, err := attempt(10*time.Second, true); err != nil {
			t.Errorf("what moves ends after %v with %v", took, err)
		}
		took, err := attempt(10*time.Second, false)
		if !errors.Is(err, mail.ErrUnreachable) || took != stuckTime {
			t.Errorf("what is stuck ends after %v with %v", took, err)
		}
		if took, err := attempt(time.Second, false); err != nil {
			t.Errorf("the second one ends after %v with %v", took, err)
		}
		if _, err := attempt(time.Second, false); !errors.Is(err, mail.ErrUnreachable) { // the last one went well
			t.Errorf("the third one ends with %v", err)
		}
		_, done := g.watch(t.Context(), moved)
		done(nil)
		changes <- struct{}{}
		ctx, done := g.watch(t.Context(), moved)
		time.Sleep(time.Minute)
		if err := context.Cause(ctx); err != nil {
			t.Errorf("what began after the change ends with %v", err)
		}
		done(nil)
	})
}
