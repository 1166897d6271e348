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
		if a.open >= a.limit || !a.loggedIn && a.open > 0 || a.promised(box) {
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
		if a.wanted > 0 && !a.closed {
			a.openMore(a.wanted)
			a.wanted = 0
		}
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

// Ready opens sessions meanwhile, so that there are as many for what comes next, and has folders
// selected where messages are about to be changed, each on a session of its own. Before a login has
// worked it waits for that. What goes wrong shows when the sessions are used.
func (a *Account) Ready(ctx context.Context, sessions int, first []mail.Folder) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || !a.loggedIn {
		a.wanted = sessions
		return
	}
	a.entering, a.entered = nil, map[string]bool{}
	if !a.names.known || a.opts.ReadOnly {
		first = nil
	}
	for _, folder := range first {
		if name, err := a.names.server(folder); err == nil {
			a.entering = append(a.entering, name)
		}
	}
	for len(a.entering) > 0 && len(a.idle) > 0 {
		s := a.idle[0]
		a.idle = a.idle[1:]
		a.lent[s] = true
		go a.enter(ctx, s, a.nextEntering()) // Close waits for what is lent
	}
	a.openMore(sessions)
}

// openMore opens sessions until there are so many, or as many as there may be. They are the account's,
// whatever becomes of the call that has asked for them. a.mu is held.
func (a *Account) openMore(sessions int) {
	for ; a.open < min(sessions, a.limit); a.open++ {
		go func() { // Close ends it, and waits for what is open
			s, _, err := a.grow(a.ending)
			if err != nil {
				return
			}
			a.mu.Lock()
			name := a.nextEntering()
			a.mu.Unlock()
			a.enter(a.ending, s, name)
		}()
	}
}

// nextEntering gives the next one of the folders that sessions are to select ahead; "" if there is
// none. a.mu is held.
func (a *Account) nextEntering() string {
	if len(a.entering) == 0 {
		return ""
	}
	name := a.entering[0]
	a.entering, a.entered[name] = a.entering[1:], true
	return name
}

// promised tells whether a session is about to have a folder selected: it is at it, or will be
// once it is open. a.mu is held.
func (a *Account) promised(name string) bool {
	dialled := a.open - len(a.idle) - len(a.lent)
	return name != "" && (a.entered[name] || slices.Contains(a.entering[:min(len(a.entering), dialled)], name))
}

// enter has a lent session select a folder, if it is to, and takes it back.
func (a *Account) enter(ctx context.Context, s *session, name string) {
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	s.done = false
	if !s.alive(ctx, a.opts.Timeout) {
		s.broken = true
	} else if name != "" && !s.holds(name) {
		if err := s.open(name, false); err != nil {
			a.log.Debug("folder is not selected ahead", "error", err)
		}
	}
	if !stop() {
		s.broken = true
	}
	if s.broken || s.box.name != name {
		a.mu.Lock()
		delete(a.entered, name)
		a.mu.Unlock()
	}
	a.release(s)
}

// pick takes a session from idle: one that has box selected, else one that has
// nothing selected, else the one that was used longest ago; none if another one is about to have
// box selected, and one with what was selected ahead for others only if there is no other.
// a.mu is held.
func (a *Account) pick(box string) *session {
	exact := func(s *session) bool { return box != "" && s.box.name == box }
	if len(a.idle) == 0 || a.promised(box) && !slices.ContainsFunc(a.idle, exact) {
		return nil
	}
	rank := func(s *session) int {
		switch {
		case exact(s):
			return 0
		case s.box.name == "":
			return 1
		case !a.entered[s.box.name]:
			return 2
		}
		return 3
	}
	best := 0
	for i, s := range a.idle {
		if rank(s) < rank(a.idle[best]) {
			best = i
		}
	}
	s := a.idle[best]
	delete(a.entered, s.box.name)
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
