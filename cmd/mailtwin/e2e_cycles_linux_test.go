package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"mailtwin/sync/imaptest"
)

// holds counts the file descriptors and goroutines of this process when the watch is at rest, and
// listens, and tells by whom those were begun. What a run has ended takes a moment to go.
func (w *watching) holds(way *imaptest.Way) (descriptors, goroutines int, by map[string]int) {
	w.Helper()
	listens := func() bool {
		live := w.status().Watch
		return live != nil && live.Connected != nil && !live.Syncing && way.Clients() == 1
	}
	for tries := 0; !listens(); tries++ {
		if tries == 600 {
			w.Fatalf("it does not listen, or not only: %+v; %d connections", w.status().Watch, way.Clients())
		}
		time.Sleep(50 * time.Millisecond)
	}
	for tries := range 100 {
		entries, err := os.ReadDir("/proc/self/fd")
		w.check(err)
		d, g := len(entries), runtime.NumGoroutine()
		if tries == 0 {
			descriptors = d
		}
		descriptors = min(descriptors, d)
		if tries == 0 || g < goroutines {
			goroutines, by = g, begunBy()
		}
		time.Sleep(5 * time.Millisecond)
	}
	return descriptors, goroutines, by
}

// begunBy counts the goroutines of this process by what has begun them.
func begunBy() map[string]int {
	buf := make([]byte, 1<<20)
	by := map[string]int{}
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		_, at, _ := strings.Cut(stack, "\ncreated by ")
		at, _, _ = strings.Cut(at, " in goroutine")
		by[at]++
	}
	return by
}

// Cycle after cycle, each with changes on both sides, and with the network cut now and then, the
// program holds no more file descriptors and goroutines than after the first ones. Nothing else
// runs meanwhile, since this test is none of the parallel ones.
func TestCyclesHoldNoMoreDescriptorsAndGoroutines(t *testing.T) {
	const span = 6 * time.Second
	s := embedded(t)
	d, way := s.online(`poll_interval = "1h"`)
	w := d.watch(nil)
	w.run()
	n := 0
	cycle := func() {
		here, there := fmt.Sprint("here ", n), fmt.Sprint("there ", n)
		if n > 0 {
			d.remove(d.find("INBOX", there))
			s.check(s.phone.Delete(s.Context(), "INBOX", s.remote("INBOX", here).UID))
		}
		n++
		here, there = fmt.Sprint("here ", n), fmt.Sprint("there ", n)
		s.deliver("INBOX", note(there), seen)
		d.save("INBOX", "cur", fmt.Sprint(n, ".saved.host:2,S"), note(here), then)
		if n%5 == 0 {
			way.Sever()
			way.Heal()
		}
		d.sync() // asks the watch, which may have been at it already
		for len(w.runs) > 0 {
			<-w.runs // so that there is room for more
		}
		s.want("here", d.subjects("INBOX"), here, there)
		s.want("there", s.there("INBOX"), here, there)
	}
	for range 5 {
		cycle()
	}
	early := n
	descriptors, goroutines, by := w.holds(way)
	for began := time.Now(); time.Since(began) < span; {
		cycle()
	}
	nowDescriptors, nowGoroutines, nowBy := w.holds(way)
	t.Logf("after %d cycles %d descriptors and %d goroutines, after %d %d and %d", early, descriptors, goroutines, n, nowDescriptors, nowGoroutines)
	// Now and then there is one goroutine more in one of the two; what is held on to for each cut, or
	// in each cycle, is several by then.
	if nowDescriptors > descriptors || nowGoroutines > goroutines+2 {
		t.Errorf("after %d cycles it held %d descriptors and %d goroutines, and after %d %d and %d", early, descriptors, goroutines, n, nowDescriptors, nowGoroutines)
	}
	if nowGoroutines > goroutines {
		t.Logf("goroutines, by what has begun them: %v, and %v", by, nowBy)
	}
	w.stop()
}
