package watch

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"mailtwin/conflict/mail"
)

// holding is what a process holds.
type holding struct {
	goroutines int
	heap       uint64
}

func held() holding {
	var mem runtime.MemStats
	for range 2 { // what a finalizer lets go of goes with the second one
		runtime.GC()
	}
	runtime.ReadMemStats(&mem)
	return holding{runtime.NumGoroutine(), mem.HeapAlloc}
}

// Months of a restless life leave nothing behind: 10,000 cycles, each with a reason to sync, on a
// network that comes and goes.
func TestTenThousandCyclesHoldNoMoreThanOneThousand(t *testing.T) {
	const (
		cycles = 10_000
		early  = 1_000
		most   = 64 << 10 // octets; 7 a cycle that stay would be too many
	)
	w := &world{covers: true}
	random := rand.New(rand.NewPCG(1, 2))
	met := map[string]int{}
	live(t, w, func(t *testing.T, _ func()) {
		fine := func() { w.script(func() { w.fails, w.takes, w.alone, w.mute, w.hangs = nil, 0, false, false, false }) }
		fails := func(err error, takes time.Duration) {
			w.script(func() { w.fails, w.takes, w.stale = err, takes, true })
			w.hint()
			time.Sleep(time.Duration(random.IntN(600)) * time.Second)
			fine()
		}
		events := []struct {
			what string
			do   func()
		}{
			{"a change here", func() { w.script(func() { w.stale = true }); w.hint() }},
			{"a change there", func() { w.announce() }},
			{"the network changes", func() { fails(mail.ErrUnreachable, 0); hint(w.network) }},
			{"an echo", func() { w.hint() }},
			{"somebody asks", func() { w.asked(random.IntN(2) == 0) }},
			{"a cut", func() { w.cut() }},
			{"no network", func() { fails(mail.ErrUnreachable, 0) }},
			{"a silent network", func() { fails(mail.ErrUnreachable, 45*time.Second) }},
			{"a refused login", func() { fails(mail.ErrLogin, time.Second) }},
			{"no Maildir", func() { fails(mail.ErrMissing, 0) }},
			{"something odd", func() { fails(errors.New("odd"), 0) }},
			{"no room for two sessions", func() { w.script(func() { w.alone, w.stale = true, true }); w.hint(); time.Sleep(time.Minute); fine() }},
			{"no link", func() { w.script(func() { w.mute = true }); w.cut(); time.Sleep(time.Minute); fine() }},
			{"a link that hangs", func() { w.script(func() { w.hangs = true }); w.cut(); time.Sleep(time.Minute); fine() }},
			{"a suspend", func() { w.script(func() { w.slept += time.Duration(random.IntN(9)) * time.Hour }); time.Sleep(tick) }},
		}
		var before holding
		for n := 1; n <= cycles; n++ {
			e := events[random.IntN(len(events))]
			met[e.what]++
			was, _ := w.count()
			e.do()
			for patience := 0; e.what != "an echo"; patience++ {
				time.Sleep(10 * time.Second) // it is over by then, if there was no trouble
				synctest.Wait()
				if now, _ := w.count(); now > was && w.loop.State().Trouble == nil {
					break
				}
				if patience == 2*int(loginMost/(10*time.Second)) {
					t.Fatalf("cycle %d, %s: it does not sync", n, e.what)
				}
			}
			if n == early {
				before = held()
			}
		}
		after := held()
		syncs, links := w.count()
		t.Logf("after %d cycles %+v, after %d %+v; %d syncs, %d links: %v", early, before, cycles, after, syncs, links, met)
		if after.goroutines > before.goroutines {
			t.Errorf("%d goroutines have become %d", before.goroutines, after.goroutines)
		}
		if after.heap > before.heap+most {
			t.Errorf("%d octets of heap have become %d", before.heap, after.heap)
		}
	})
}
