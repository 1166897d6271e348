package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mailtwin/conflict/mail"
)

// probeAfter is how long a session may lie idle before it is asked whether it is
// still there: a NAT on the way may have forgotten it without a word.
const probeAfter = 2 * time.Minute

// with lends f a session, if possible one that has the folder box selected, and
// sees to it that the end of ctx ends what f does. f may be called again with another
// session, if the one that it had was dead. An error of f or of getting the
// session is wrapped in what was being done; where ctx has ended it is ctx's.
func (a *Account) with(ctx context.Context, what, box string, f func(*session) error) error {
	again := true
	var err error
	for again {
		again, err = a.lend(ctx, box, f)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var own visitError
	if errors.As(err, &own) {
		return own.err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// lend lends f a session once, and tells whether it should get another one.
//
// A server may end a session that lies idle: it restarts, or somebody deleted the
// folder that was selected. That often shows only when the session is used next, and
// is no failure of what it is used for then. So f is tried again unless the session
// was a new one, or something happened in it that must not happen twice. A wait that
// took the whole timeout is another matter: a silent server is not asked twice.
func (a *Account) lend(ctx context.Context, box string, f func(*session) error) (again bool, err error) {
	s, err := a.acquire(ctx, box)
	if err != nil {
		return false, err
	}
	reused, began := !s.used.IsZero(), time.Now()
	s.done = false
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	err = f(s)
	if !stop() {
		s.broken = true
	}
	again = reused && s.broken && !s.done && ctx.Err() == nil &&
		errors.Is(err, mail.ErrUnreachable) && time.Since(began) < a.opts.Timeout
	// The next one is not compressed, and so does not come to this.
	again = again || errors.Is(err, errCompress) && ctx.Err() == nil
	a.release(s)
	return again, err
}

// visitError marks an error of a caller's function, which goes back as it is.
type visitError struct{ err error }

func (e visitError) Error() string { return e.err.Error() }

// acquire gives a session that nobody else uses until it is released: an idle one,
// else a new one while there may be more, else the first one that is released.
func (a *Account) acquire(ctx context.Context, box string) (*session, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		a.mu.Lock()
		if a.closed {
			a.mu.Unlock()
			return nil, errClosed
		}
		if a.refused != nil {
			err := a.refused
			a.mu.Unlock()
			return nil, err
		}
		if s := a.pick(box); s != nil {
			a.lent[s] = true
			a.mu.Unlock()
			if s.alive(ctx, a.opts.Timeout) {
				return s, nil
			}
			s.broken = true
			a.release(s)
			continue
		}
		// Until one login has worked there is one try at a time, so that a wrong password
		// is not tried often enough to lock the account.
		if a.open >= a.limit || !a.loggedIn && a.open > 0 {
			changed := a.changed
			a.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		a.open++
		a.mu.Unlock()
		s, again, err := a.grow(ctx)
		if !again {
			return s, err
		}
	}
}

// grow opens the session that was counted as open already, and lends it. Or it tells whether
// those that are there will do.
func (a *Account) grow(ctx context.Context) (s *session, again bool, err error) {
	s, err = a.dial(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.loggedIn, a.caps = true, s.caps
		a.lent[s] = true
		if a.closed {
			s.conn.Close() // as Close does with those that it finds lent
		}
		return s, false, nil
	}
	a.left()
	switch there := len(a.idle) + len(a.lent); {
	case ctx.Err() != nil:
		err = ctx.Err()
	case there > 0 && !errors.Is(err, mail.ErrUntrusted):
		// Servers bound the sessions of a user, each in its own words. Those that are
		// there will do.
		a.limit, again = there, true
		a.log.Info("server allows fewer sessions", "sessions", a.limit, "reason", err)
	case !a.loggedIn && errors.Is(err, mail.ErrLogin):
		a.refused = err
	}
	return nil, again, err
}

// Ready opens sessions meanwhile, so that there are as many for what comes next.
func (a *Account) Ready(ctx context.Context, sessions int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || !a.loggedIn {
		return
	}
	for ; a.open < min(sessions, a.limit); a.open++ {
		go func() { // Close waits for what is open
			ctx, cancel := context.WithCancel(ctx)
			defer context.AfterFunc(a.ending, cancel)()
			defer cancel()
			if s, _, err := a.grow(ctx); err == nil {
				a.release(s)
			}
		}()
	}
}

// pick takes a session from idle: one that has box selected, else one that has
// nothing selected, else the one that was used longest ago. a.mu is held.
func (a *Account) pick(box string) *session {
	if len(a.idle) == 0 {
		return nil
	}
	best := 0
	for i, s := range a.idle {
		if box != "" && s.box.name == box {
			best = i
			break
		}
		if s.box.name == "" && a.idle[best].box.name != "" {
			best = i
		}
	}
	s := a.idle[best]
	a.idle = slices.Delete(a.idle, best, best+1)
	return s
}

// release takes a session back, or ends it if it is not to be used again.
func (a *Account) release(s *session) {
	s.used = time.Now()
	a.mu.Lock()
	delete(a.lent, s)
	if !s.broken && !a.closed {
		a.idle = append(a.idle, s)
		a.signal()
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	a.drop(s)
}

// drop ends a session that is neither idle nor lent any more.
func (a *Account) drop(s *session) {
	s.end()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.past = s.addTo(a.past)
	a.left()
}

// left notes that there is a session less. a.mu is held.
func (a *Account) left() {
	a.open--
	if a.open == 0 {
		a.limit = a.opts.Connections // what kept us from more may be over
	}
	a.signal()
}

// signal wakes those who wait for a session. a.mu is held.
func (a *Account) signal() {
	close(a.changed)
	a.changed = make(chan struct{})
}
