package watch

import (
	"context"
	"errors"
	"runtime"
	gosync "sync"
	"testing"
	"testing/synctest"
	"time"

	"mailtwin/conflict/mail"
)

// world is both sides of an account, scripted.
type world struct {
	local chan struct{}

	mu gosync.Mutex // guards what follows

	link   *link
	links  int
	covers bool
	stale  bool
	fails  error
	syncs  int
	takes  time.Duration
	slept  time.Duration // by which the wall clock is ahead
}

// script changes what happens from now on.
func (w *world) script(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

type link struct {
	hints, done chan struct{}
	covers      bool
}

func (k *link) Hints() <-chan struct{} { return k.hints }
func (k *link) Done() <-chan struct{}  { return k.done }
func (k *link) CoversAll() bool        { return k.covers }
func (k *link) Close()                 {}

func (w *world) Connect(context.Context) (Link, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links++
	w.link = &link{make(chan struct{}, 1), make(chan struct{}), w.covers}
	return w.link, nil
}

func (w *world) Sync(ctx context.Context) error {
	w.mu.Lock()
	w.syncs++
	if w.fails == nil {
		w.stale = false // the run looks now; what changes later, its base lacks
	}
	takes, fails := w.takes, w.fails
	w.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(takes):
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

func (w *world) hint() {
	select {
	case w.local <- struct{}{}:
	default:
	}
}

// live runs script while the loop runs, then stops the loop and waits for it.
func live(t *testing.T, w *world, script func(t *testing.T, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w.local = make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		l := &Loop{Account: w, Local: w.local, Remote: w, Wall: w.wall}
		go func() { l.Run(ctx); close(ended) }()
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

func TestARefusedLoginIsNotHammered(t *testing.T) {
	w := &world{fails: mail.ErrLogin}
	live(t, w, func(t *testing.T, _ func()) {
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if w.syncs < 15 || w.syncs > 60 {
			t.Fatalf("%d logins in a day", w.syncs)
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

func TestTenThousandCyclesLeaveNoGoroutines(t *testing.T) {
	w := &world{covers: true}
	live(t, w, func(t *testing.T, _ func()) {
		before := runtime.NumGoroutine()
		for range 10_000 {
			w.script(func() { w.stale = true })
			w.hint()
			time.Sleep(300 * time.Millisecond)
		}
		synctest.Wait()
		if n := runtime.NumGoroutine(); w.syncs < 10_001 || n > before+2 {
			t.Fatalf("%d syncs, %d goroutines, before %d", w.syncs, n, before)
		}
	})
}
