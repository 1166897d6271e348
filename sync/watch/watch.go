// Package watch is the live loop of one account: it says when to sync. What is
// synced, and in which safe order, is the engine's. Hints only say that it is time to look;
// no correctness rests on them.
package watch

import (
	"context"
	"errors"
	"math/rand/v2"
	gosync "sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"mailtwin/conflict/mail"
)

const (
	localQuiet  = 200 * time.Millisecond // a burst of local events is one batch
	localMost   = time.Second            // but waits no longer than this
	netQuiet    = 300 * time.Millisecond // a link comes up, then gets its addresses
	netMost     = time.Second
	netJitter   = 500 * time.Millisecond // not all accounts, and devices, at the same time
	remoteQuiet = 75 * time.Millisecond
	remoteMost  = 300 * time.Millisecond
	defaultPoll = time.Minute
	safetyPoll  = 20 * time.Minute // where announcements cover every folder
	tick        = 20 * time.Second // how often the clocks are compared
	suspended   = 10 * time.Second // wall against monotonic clock: more is a suspend
	steady      = time.Minute      // a link that lived so long is no flapping one

	// Between tries, where the network or the server fails, and where the login is refused:
	// who tries that often is locked out.
	networkFirst, networkMost = time.Second, time.Minute
	loginFirst, loginMost     = 2 * time.Minute, time.Hour
	// linkFirst and linkMost are between tries to link to a server that can be synced with.
	linkFirst, linkMost = 2 * time.Minute, time.Hour
	// linkTime is for how long a sync waits for a link. With a server that is not there at all it
	// must leave time for the sync to say so, before systemd gives up (90 s).
	linkTime = 30 * time.Second
	// refusal is within what time a server says that it has no room for another session. One that
	// is silent for longer is not tried twice, which would take the patience twice.
	refusal = 15 * time.Second
)

// Account is what the loop drives. Its methods are never called at once.
type Account interface {
	// Sync does one ordinary run, and tells people what came of it. It ends soon after ctx
	// is cancelled. What went wrong with single messages and folders is no error here; the
	// next run meets it again.
	Sync(ctx context.Context) error
	// LocalStale tells whether a folder's stamps differ from those the last run
	// left in the base. It needs no network.
	LocalStale(ctx context.Context) (bool, error)
}

// Remote makes links to the server's announcements. An error says that there is none now; the
// loop polls then, and asks again later.
type Remote interface {
	// Connect makes a link, which outlives ctx.
	Connect(ctx context.Context) (Link, error)
}

// Link is one connection that announces. The loop closes it.
type Link interface {
	// Hints has one buffered element at least, so that a hint given during a run
	// waits; the link drops a hint only while another waits.
	Hints() <-chan struct{}
	// Done is closed when the link is cut.
	Done() <-chan struct{}
	// News tells, after a hint, whether something was announced since it was last asked that
	// is not what the last run has left in the base. It is asked between runs.
	News(ctx context.Context) bool
	// Renew has the server watch anew, and comes back when it does. What has happened before then
	// may not be announced any more.
	Renew(ctx context.Context) error
	// CoversAll tells whether a change in any folder is announced.
	CoversAll() bool
	// Probe has the link find out soon whether it is still alive, and whether it has missed
	// something. It does not wait for that.
	Probe()
	Close()
}

// Ask is a sync that somebody wants now. The loop calls Sync, perhaps twice, and then Done.
type Ask interface {
	// Sync is Account.Sync, for whoever asked. If that one has gone away meanwhile it is an
	// ordinary run.
	Sync(ctx context.Context) error
	// Whole tells whether it is about the whole account, and does as well as an ordinary run.
	Whole() bool
	Done()
}

// Loop is the loop of one account. Its fields are set before Run.
type Loop struct {
	Account Account
	Asks    <-chan Ask       // unbuffered: what is taken is done next; nil: none
	Local   <-chan struct{}  // local hints, buffered as Link.Hints; nil: none
	Network <-chan struct{}  // hints that there may be a way to the server again, likewise
	Remote  Remote           // nil: poll only
	Poll    time.Duration    // 0: one minute
	Wall    func() time.Time // nil: the wall clock

	ask     Ask // that was taken
	link    Link
	linked  time.Time
	relink  time.Time // not before; zero: now
	way     settling  // of the network; a sync in between does not make it forget
	away    bool      // the server did not answer when it was last asked
	network *backoff.ExponentialBackOff
	login   *backoff.ExponentialBackOff
	links   *backoff.ExponentialBackOff
	wall    time.Time
	mono    time.Time

	mu    gosync.Mutex // guards state
	state State
}

// State is what a loop is at.
type State struct {
	Syncing    bool
	Linked     time.Time // since when the server announces; zero: it does not
	Everything bool      // in all folders
	Next       time.Time // when it syncs at the latest; zero: it is at it
	Trouble    error     // that it waits out until then; nil: all is well
}

// State tells what the loop is at. Anybody may ask at any time.
func (l *Loop) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *Loop) is(syncing bool, next time.Time, trouble error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = State{Syncing: syncing, Next: next, Trouble: trouble}
	if l.link != nil {
		l.state.Linked, l.state.Everything = l.linked, l.link.CoversAll()
	}
}

// errCut says that the announcements ended; it is waited out as network trouble is.
var errCut = errors.New("the server's announcements were cut")

// Run syncs, then waits for a reason to sync again, until ctx is cancelled. It starts
// no goroutine: when it has returned, nothing of it runs.
func (l *Loop) Run(ctx context.Context) {
	l.network, l.login = growing(networkFirst, networkMost), growing(loginFirst, loginMost)
	l.links = growing(linkFirst, linkMost)
	l.way = network()
	if l.Wall == nil {
		l.Wall = time.Now
	}
	l.suspended()
	defer l.drop()
	for ctx.Err() == nil {
		began := time.Now()
		err := l.round(ctx)
		for err != nil && ctx.Err() == nil {
			l.drop()
			l.pause(ctx, err, time.Since(began))
			began = time.Now()
			err = l.round(ctx)
		}
		if ctx.Err() == nil && l.idle(ctx) == errCut {
			l.drop()
			if time.Since(l.linked) < steady {
				l.pause(ctx, errCut, 0)
			}
		}
	}
}

func growing(first, most time.Duration) *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = first, most, 2
	b.Reset()
	return b
}

// round links before it syncs, or renews the link: a change after the sync looked is then
// announced. That there is no link is no reason not to sync.
func (l *Loop) round(ctx context.Context) error {
	l.is(true, time.Time{}, nil)
	unlinked := false // although that was tried
	if l.link != nil && l.link.Renew(ctx) != nil {
		l.drop()
		l.away = true
	}
	// After a failure the sync goes first: it tells what is wrong, and one login is refused and
	// not two.
	if l.linkable() && !l.away && !time.Now().Before(l.relink) {
		linking, cancel := context.WithTimeout(ctx, linkTime)
		link, err := l.Remote.Connect(linking)
		cancel()
		if unlinked = err != nil; !unlinked {
			l.link, l.linked = link, time.Now()
		}
	}
	sync := l.Account.Sync
	if ask := l.ask; ask != nil {
		if l.ask = nil; ask.Whole() {
			defer ask.Done()
			sync = ask.Sync
		} else {
			_ = ask.Sync(ctx) // what went wrong the ordinary run meets, too
			ask.Done()
		}
	}
	began := time.Now()
	err := sync(ctx)
	if serverTrouble(err) && time.Since(began) < refusal && l.link != nil && !isDone(l.link) && ctx.Err() == nil {
		// The server may have no room for both.
		l.drop()
		unlinked = true
		err = sync(ctx)
	}
	l.away = serverTrouble(err)
	if err != nil {
		return err
	}
	l.login.Reset()
	linked := l.link != nil && time.Since(l.linked) >= steady
	if l.link == nil || linked {
		l.network.Reset()
	}
	if linked {
		l.links.Reset()
	}
	if unlinked {
		l.relink = time.Now().Add(min(l.links.NextBackOff(), linkMost))
	}
	return nil
}

// linkable tells whether there could be a link, and is none.
func (l *Loop) linkable() bool { return l.link == nil && l.Remote != nil }

func serverTrouble(err error) bool {
	return errors.Is(err, mail.ErrLogin) || errors.Is(err, mail.ErrUnreachable)
}

func isDone(link Link) bool {
	select {
	case <-link.Done():
		return true
	default:
		return false
	}
}

// idle returns when there is a reason to sync: errCut if the link is gone, else nil.
func (l *Loop) idle(ctx context.Context) error {
	var remote, cut <-chan struct{}
	every := l.Poll
	if every <= 0 {
		every = defaultPoll
	}
	if l.link != nil {
		remote, cut = l.link.Hints(), l.link.Done()
		if l.link.CoversAll() {
			every = max(every, safetyPoll)
		}
	}
	if l.linkable() {
		every = min(every, max(0, time.Until(l.relink)))
	}
	l.is(false, time.Now().Add(every), nil)
	poll := time.NewTimer(every)
	defer poll.Stop()
	clocks := time.NewTicker(tick)
	defer clocks.Stop()
	// Each comes to rest by itself: what a program here is still at keeps no mail waiting.
	there, here := announcements(), changes()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
			return nil
		case l.ask = <-l.Asks:
			return nil
		case <-cut:
			return errCut
		case <-remote:
			there.hint()
		case <-there.rest:
			if there.rest = nil; l.link.News(ctx) {
				return nil
			}
		case <-l.Local:
			here.hint()
		case <-here.rest:
			here.rest = nil
			// What the last run wrote is in the base: its echo ends here.
			if stale, err := l.Account.LocalStale(ctx); stale || err != nil {
				return nil
			}
		case <-l.Network:
			l.way.hint()
		case <-l.way.rest:
			// The link's own way may be gone, or it was away and has come back.
			if l.way.rest = nil; l.link == nil {
				return nil
			}
			l.link.Probe()
		case <-clocks.C:
			if l.suspended() {
				l.drop() // the peer may have forgotten it
				l.relink = time.Time{}
				return nil
			}
		}
	}
}

// pause waits out a failure that came after a time. A laptop that woke ends it, and a Maildir that
// is back, or a network. Nothing of that makes a refused login more welcome.
func (l *Loop) pause(ctx context.Context, err error, after time.Duration) {
	var wait time.Duration
	var local, ways <-chan struct{}
	switch {
	case errors.Is(err, mail.ErrLogin):
		wait = min(l.login.NextBackOff(), loginMost) // with its jitter it may be more
	case errors.Is(err, mail.ErrMissing):
		wait, local = networkMost, l.Local
	default:
		// A try with a network that is not there takes its time, too: tries begin that often, so
		// that one is made within networkMost of the network's return.
		wait = max(networkFirst, min(l.network.NextBackOff(), networkMost-after))
		ways = l.Network
	}
	l.is(false, time.Now().Add(wait), err)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	clocks := time.NewTicker(tick)
	defer clocks.Stop()
	here, way := changes(), network()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case l.ask = <-l.Asks:
			return
		case <-local:
			here.hint()
		case <-here.rest:
			return
		case <-ways:
			way.hint()
		case <-way.rest:
			l.network.Reset() // there may be a way, and no name server yet
			return
		case <-clocks.C:
			if l.suspended() && !errors.Is(err, mail.ErrLogin) {
				return
			}
		}
	}
}

func (l *Loop) drop() {
	if l.link == nil {
		return
	}
	l.link.Close()
	l.link = nil
}

// suspended tells whether, since it was last called, the wall clock went on while the
// monotonic clock stood.
func (l *Loop) suspended() bool {
	wall, mono := l.Wall().Round(0), time.Now()
	slept := !l.mono.IsZero() && wall.Sub(l.wall)-mono.Sub(l.mono) > suspended
	l.wall, l.mono = wall, mono
	return slept
}

// settling is what waits until hints come no more.
type settling struct {
	quiet, most time.Duration    // it is at rest when no hint came for quiet, or most after the first one
	end         time.Time        // when that will be at the latest
	rest        <-chan time.Time // is sent to at rest; nil: no hint has come since it was at rest
}

func announcements() settling { return settling{quiet: remoteQuiet, most: remoteMost} }
func changes() settling       { return settling{quiet: localQuiet, most: localMost} }

// network waits for a bit of chance more.
func network() settling {
	chance := rand.N(netJitter)
	return settling{quiet: netQuiet + chance, most: netMost + chance}
}

func (s *settling) hint() {
	now := time.Now()
	if s.rest == nil {
		s.end = now.Add(s.most)
	}
	s.rest = time.After(min(s.quiet, s.end.Sub(now)))
}
