package watch

import (
	"context"
	"errors"
	gosync "sync"
	"testing"
	"testing/synctest"
	"time"

	"mailtwin/conflict/mail"
)

// world is both sides of an account, scripted.
type world struct {
	local   chan struct{}
	network chan struct{}
	asks    chan Ask
	loop    *Loop

	mu gosync.Mutex // guards what follows

	link   *link
	links  int
	alone  bool // a sync fails beside a link
	mute   bool // there is no link
	deaf   bool // nor does one that is there answer
	hangs  bool // to link takes for ever
	echo   bool // what is announced is our own
	covers bool
	stale  bool
	fails  error
	syncs  int
	synced time.Time // when one went well last
	takes  time.Duration
	slept  time.Duration // by which the wall clock is ahead
}

// script changes what happens from now on.
func (w *world) script(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// count gives how many syncs and tries to link there were.
func (w *world) count() (syncs, links int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.syncs, w.links
}

type link struct {
	hints, done chan struct{}
	covers      bool
	closed      bool
	probed      int
	renewed     int
	world       *world
}

func (k *link) Hints() <-chan struct{} { return k.hints }
func (k *link) Done() <-chan struct{}  { return k.done }
func (k *link) CoversAll() bool        { return k.covers }
func (k *link) Close()                 { k.closed = true }

func (k *link) Probe() {
	k.world.mu.Lock()
	defer k.world.mu.Unlock()
	k.probed++
}

func (k *link) News(context.Context) bool {
	k.world.mu.Lock()
	defer k.world.mu.Unlock()
	return !k.world.echo
}

func (k *link) Renew(context.Context) error {
	k.world.mu.Lock()
	defer k.world.mu.Unlock()
	if k.world.deaf {
		return errors.New("no answer")
	}
	k.renewed++
	return nil
}

func (w *world) Connect(ctx context.Context) (Link, error) {
	w.mu.Lock()
	if w.hangs {
		w.mu.Unlock()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	defer w.mu.Unlock()
	w.links++
	if w.mute || errors.Is(w.fails, mail.ErrLogin) {
		return nil, errors.New("no link")
	}
	w.link = &link{hints: make(chan struct{}, 1), done: make(chan struct{}), covers: w.covers, world: w}
	return w.link, nil
}

func (w *world) Sync(ctx context.Context) error {
	w.mu.Lock()
	w.syncs++
	if w.fails == nil {
		w.stale = false // the run looks now; what changes later, its base lacks
	}
	takes, fails := w.takes, w.fails
	if w.alone && w.link != nil && !w.link.closed {
		fails = mail.ErrLogin
	}
	w.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(takes):
	}
	if fails == nil {
		w.script(func() { w.synced = time.Now() })
	}
	return fails
}

func (w *world) LocalStale(context.Context) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stale, nil
}

func (w *world) wall() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.slept)
}

func (w *world) hint() { hint(w.local) }

func hint(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// announce gives a hint of the server's, if it has a link for that.
func (w *world) announce() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.link.hints <- struct{}{}:
	default:
	}
}

// cut cuts the link.
func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k := w.link; !isDone(k) {
		close(k.done)
	}
}

// live runs script while the loop runs, then stops the loop and waits for it.
func live(t *testing.T, w *world, script func(t *testing.T, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w.local, w.network, w.asks = make(chan struct{}, 1), make(chan struct{}, 1), make(chan Ask)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		w.loop = &Loop{Account: w, Asks: w.asks, Local: w.local, Network: w.network, Remote: w, Wall: w.wall}
		go func() { w.loop.Run(ctx); close(ended) }()
		stop := func() { cancel(); <-ended }
		defer stop()
		synctest.Wait()
		script(t, stop)
	})
}

func after(t *testing.T, w *world, d time.Duration, syncs int) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.syncs != syncs {
		t.Fatalf("%d syncs, want %d", w.syncs, syncs)
	}
}

func TestChangesOfEitherSideAreSyncedSoonAndBurstsOnce(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		after(t, w, 0, 1)
		w.script(func() { w.stale = true })
		for range 8 {
			w.hint()
			time.Sleep(50 * time.Millisecond)
		}
		after(t, w, 200*time.Millisecond, 2)
		w.link.hints <- struct{}{}
		after(t, w, 100*time.Millisecond, 3)
	})
}

func TestABurstWithoutEndIsSyncedWithinASecond(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		w.script(func() { w.stale = true })
		for range 11 {
			w.hint()
			time.Sleep(100 * time.Millisecond)
		}
		after(t, w, 0, 2)
	})
}

// While a program here has not come to rest, what happens on the server waits no longer for that;
// nor does who asks, nor a link that is cut.
func TestABurstHereKeepsNothingElseWaiting(t *testing.T) {
	for name, happens := range map[string]func(w *world){
		"the server announces": (*world).announce,
		"somebody asks":        func(w *world) { w.asked(true) },
		"the link is cut":      (*world).cut,
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{covers: true}
			live(t, w, func(t *testing.T, _ func()) {
				time.Sleep(2 * steady) // a link that is cut then is made again at once
				w.script(func() { w.stale = true })
				for range 5 {
					w.hint()
					time.Sleep(100 * time.Millisecond)
				}
				happens(w)
				w.hint()
				after(t, w, remoteQuiet, 2)
			})
		})
	}
}

func TestOwnChangesDoNotEchoAndOthersAreNotMissed(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		w.hint() // of our own write: the stamps are the base's
		after(t, w, 5*time.Second, 1)
		w.script(func() { w.takes = time.Second })
		w.link.hints <- struct{}{}
		after(t, w, 500*time.Millisecond, 2)
		w.hint()
		w.script(func() { w.takes = 0 })
		after(t, w, 550*time.Millisecond, 2)
		w.script(func() { w.stale = true }) // somebody else's, among the echoes
		after(t, w, time.Second, 3)
	})
}

func TestPollsOnlyWhereAnnouncementsDoNotCover(t *testing.T) {
	w := &world{}
	live(t, w, func(t *testing.T, _ func()) { after(t, w, 10*time.Minute+time.Second, 11) })
	w = &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) { after(t, w, 41*time.Minute, 3) })
}

func TestACutLinkIsMadeAgainAndFlappingIsSlowedDown(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		close(w.link.done)
		after(t, w, 0, 2)
		close(w.link.done)
		after(t, w, 0, 2)
		after(t, w, 2*time.Second, 3)
	})
}

// A server with one session for us is synced with each Poll, as one that announces nothing is.
func TestWithoutALinkItPollsAndTriesAgain(t *testing.T) {
	for name, w := range map[string]*world{"no room": {alone: true}, "no link": {mute: true}} {
		t.Run(name, func(t *testing.T) {
			live(t, w, func(t *testing.T, _ func()) {
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				syncs, links := w.count()
				if syncs < 24*60 || syncs > 24*60+100 {
					t.Errorf("%d syncs in a day", syncs)
				}
				if links < 20 || links > 50 {
					t.Errorf("%d tries to link in a day", links)
				}
				w.script(func() { w.alone, w.mute, w.covers = false, false, true })
				time.Sleep(2 * time.Hour) // the next try to link may be an hour away
				synctest.Wait()
				syncs, _ = w.count()
				w.link.hints <- struct{}{}
				after(t, w, 100*time.Millisecond, syncs+1)
			})
		})
	}
}

func TestAfterAnOutageItLinksAtOnce(t *testing.T) {
	w := &world{covers: true, fails: mail.ErrUnreachable}
	live(t, w, func(t *testing.T, _ func()) {
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, links := w.count(); links != 1 {
			t.Errorf("%d links to a server that is not there", links)
		}
		w.script(func() { w.fails = nil })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if w.links != 2 || w.link.closed {
			t.Errorf("%d links", w.links)
		}
	})
}

// What a server watches it may lose sight of: it watches anew before each sync, which finds what
// happened until then.
func TestALinkIsRenewedBeforeEachSync(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		w.script(func() { w.takes = time.Second })
		for n := 1; n <= 3; n++ {
			w.announce()
			after(t, w, 500*time.Millisecond, n+1) // it is under way
			w.script(func() {
				if w.link.renewed != n {
					t.Errorf("renewed %d times when sync %d has begun", w.link.renewed, n+1)
				}
			})
			after(t, w, time.Second, n+1)
		}
		w.script(func() { w.deaf, w.takes = true, 0 })
		w.announce()
		after(t, w, time.Second, 6) // it tells what is wrong before it waits for another link, and syncs after that
		if w.links != 2 || w.link.closed {
			t.Errorf("%d links, the last one closed: %v", w.links, w.link.closed)
		}
	})
}

func TestASyncDoesNotWaitLongForALink(t *testing.T) {
	w := &world{hangs: true}
	live(t, w, func(t *testing.T, _ func()) {
		after(t, w, linkTime+time.Second, 1)
		after(t, w, defaultPoll, 2)
	})
}

func TestAnnouncedEchoesAreNoReasonToSync(t *testing.T) {
	w := &world{covers: true, echo: true}
	live(t, w, func(t *testing.T, _ func()) {
		w.link.hints <- struct{}{}
		after(t, w, time.Second, 1)
		w.script(func() { w.echo = false })
		w.link.hints <- struct{}{}
		after(t, w, time.Second, 2)
	})
}

func TestARefusedLoginIsNotHammered(t *testing.T) {
	w := &world{fails: mail.ErrLogin}
	live(t, w, func(t *testing.T, _ func()) {
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if logins := w.syncs + w.links; logins < 15 || logins > 60 || w.links != 1 {
			t.Fatalf("%d logins in a day, %d of them to link", logins, w.links)
		}
	})
}

func TestNetworkTroubleIsTriedEachMinuteAtLeast(t *testing.T) {
	w := &world{fails: errors.New("no route")}
	live(t, w, func(t *testing.T, _ func()) {
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.syncs < 60 || w.syncs > 150 {
			t.Fatalf("%d tries in an hour", w.syncs)
		}
	})
}

// A try that began when the network was away takes as long as the patience lasts, and comes to
// nothing also where the network is back meanwhile, as that of a laptop that has another address
// by then.
func TestItIsBackWithinAMinuteOfTheNetwork(t *testing.T) {
	for away := time.Second; away < 20*time.Minute; away += 13 * time.Second {
		w := &world{covers: true, fails: mail.ErrUnreachable, takes: 45 * time.Second}
		live(t, w, func(t *testing.T, _ func()) {
			time.Sleep(away)
			w.script(func() { w.fails, w.takes = nil, 0 })
			back := time.Now()
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if took := w.synced.Sub(back); w.synced.IsZero() || took > time.Minute {
				t.Errorf("after %v without a network it took %v", away, took)
			}
		})
	}
}

// Where the system tells that the network is back, nobody waits until a pause is over.
func TestAHintOfTheNetworkEndsAPause(t *testing.T) {
	for _, fails := range []error{mail.ErrUnreachable, errors.New("no such host")} {
		w := &world{covers: true, fails: fails}
		live(t, w, func(t *testing.T, _ func()) {
			time.Sleep(time.Hour)
			synctest.Wait()
			before, _ := w.count()
			for range 5 { // the link, then its addresses
				hint(w.network)
				time.Sleep(100 * time.Millisecond)
			}
			after(t, w, netQuiet+netJitter, before+1) // the name server is not there yet
			w.script(func() { w.fails = nil })
			back := time.Now()
			time.Sleep(time.Minute)
			synctest.Wait()
			if took := w.synced.Sub(back); w.synced.IsZero() || took > 3*time.Second {
				t.Errorf("%v: it took %v", fails, took)
			}
		})
	}
}

// Nor does a network that comes and goes have passwords tried, or a Maildir looked for, more often.
func TestAHintOfTheNetworkDoesNotEndOtherPauses(t *testing.T) {
	for _, fails := range []error{mail.ErrLogin, mail.ErrMissing} {
		w := &world{covers: true, fails: fails}
		live(t, w, func(t *testing.T, _ func()) {
			for range 20 {
				hint(w.network)
				time.Sleep(2 * time.Second)
			}
			after(t, w, 0, 1)
		})
	}
}

// A link that is there may have lost its way: it is asked, and goes on if it answers.
func TestAHintOfTheNetworkHasTheLinkProbed(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		hint(w.network)
		after(t, w, 2*time.Second, 1)
		if w.link.probed != 1 || w.link.closed {
			t.Errorf("it was probed %d times, and is closed: %v", w.link.probed, w.link.closed)
		}
	})
	w = &world{mute: true}
	live(t, w, func(t *testing.T, _ func()) {
		hint(w.network)
		after(t, w, 2*time.Second, 2)
	})
}

// Also where there is a reason to sync before the network has come to rest.
func TestAHintOfTheNetworkIsNotLostToASync(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		hint(w.network)
		w.announce()
		after(t, w, 2*time.Second, 2)
		if w.link.probed != 1 {
			t.Errorf("it was probed %d times", w.link.probed)
		}
	})
}

// A server without room for two sessions says so at once; one that is silent is not asked twice.
func TestASilentServerIsNotTriedTwiceBecauseOfALink(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		w.script(func() { w.fails, w.takes, w.stale = mail.ErrUnreachable, 45*time.Second, true })
		w.hint()
		after(t, w, 45*time.Second+300*time.Millisecond, 2)
		if !w.link.closed || w.loop.State().Trouble == nil {
			t.Errorf("the link is closed: %v; it is at %+v", w.link.closed, w.loop.State())
		}
	})
}

func TestAMaildirThatIsBackIsSyncedAtOnce(t *testing.T) {
	w := &world{fails: mail.ErrMissing}
	live(t, w, func(t *testing.T, _ func()) {
		after(t, w, 30*time.Second, 1)
		w.script(func() { w.fails = nil })
		w.hint()
		after(t, w, 300*time.Millisecond, 2)
	})
}

func TestASuspendIsNoticed(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		w.script(func() { w.slept = 3 * time.Hour })
		after(t, w, tick+time.Second, 2)
		if w.links != 2 {
			t.Fatalf("%d links", w.links)
		}
	})
}

func TestShutdownCancelsTheRunAndWaits(t *testing.T) {
	w := &world{takes: time.Hour}
	live(t, w, func(t *testing.T, stop func()) {
		begun := time.Now()
		stop()
		if d := time.Since(begun); d > 5*time.Second {
			t.Fatalf("took %v", d)
		}
	})
}

// ask is a sync that somebody asks for.
type ask struct {
	*world
	whole bool
	done  chan struct{}
}

func (a *ask) Whole() bool { return a.whole }
func (a *ask) Done()       { close(a.done) }

// asked asks the loop for a sync, and waits until it is done.
func (w *world) asked(whole bool) {
	a := &ask{w, whole, make(chan struct{})}
	w.asks <- a
	<-a.done
}

func TestWhoAsksIsServedAtOnceAndInsteadOfAnOrdinarySync(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		w.asked(true)
		after(t, w, time.Second, 2)
		w.asked(false) // it says nothing of the rest of the account
		after(t, w, time.Second, 4)
		w.script(func() { w.takes = time.Minute })
		w.link.hints <- struct{}{}
		time.Sleep(10 * time.Second)
		w.asked(true) // when the run that is under way has ended
		after(t, w, time.Second, 6)
	})
}

func TestWhoAsksEndsAPause(t *testing.T) {
	for _, err := range []error{mail.ErrUnreachable, mail.ErrLogin, mail.ErrMissing} {
		w := &world{covers: true, fails: err}
		live(t, w, func(t *testing.T, _ func()) {
			before, _ := w.count()
			w.asked(true)
			after(t, w, 0, before+1)
			w.script(func() { w.fails = nil })
			w.asked(true)
			time.Sleep(time.Second)
			synctest.Wait()
			if n, _ := w.count(); n < before+2 || n > before+3 { // it may link, and sync for that
				t.Errorf("%v: %d syncs after %d", err, n, before)
			}
			before, _ = w.count()
			after(t, w, 30*time.Second, before) // it is at rest again
		})
	}
}

func TestStateTellsWhatItIsAt(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		began := time.Now()
		if got, want := w.loop.State(), (State{Linked: began, Everything: true, Next: began.Add(safetyPoll)}); got != want {
			t.Errorf("at rest it is %+v, want %+v", got, want)
		}
		w.script(func() { w.takes = time.Minute })
		w.link.hints <- struct{}{}
		time.Sleep(time.Second)
		if got := w.loop.State(); !got.Syncing || !got.Next.IsZero() {
			t.Errorf("in a sync it is %+v", got)
		}
		w.script(func() { w.takes, w.fails = 0, mail.ErrMissing })
		after(t, w, time.Minute, 2)
		w.asked(true)
		synctest.Wait()
		if got, want := w.loop.State(), (State{Next: time.Now().Add(networkMost), Trouble: mail.ErrMissing}); got != want {
			t.Errorf("in trouble it is %+v, want %+v", got, want)
		}
	})
}
