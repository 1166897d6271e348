package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	stdsync "sync"
	"testing"

	engine "mailtwin/sync"
	"mailtwin/sync/sim"
	"mailtwin/sync/sim/remotetest"
)

// copies are files that two devices have, with twins and one without a Message-ID.
func copies() (texts []string) {
	for i := range 5 {
		texts = append(texts, letter(fmt.Sprint("copy ", i)))
	}
	unnamed := strings.Replace(letter("unnamed"), "Message-ID", "X-ID", 1)
	return append(texts, letter("twin"), letter("twin"), unnamed, unnamed)
}

// adopting gives a device with an empty INBOX that was never in step.
func adopting(t *testing.T, s *sim.Server) *device {
	d := newDevice(t, s)
	for _, sub := range []string{"cur", "new", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(d.dir("INBOX"), sub), 0o700))
	}
	return d
}

// two gives two devices with copies of one Maildir, and the server, where some of the
// messages are already.
func two(t *testing.T, there int) (*sim.Server, *device, *device) {
	s := sim.NewServer()
	for _, text := range copies()[:there] {
		s.Deliver("INBOX", onWire(text), flags(), day)
	}
	a, b := adopting(t, s), adopting(t, s)
	for i, text := range copies() {
		a.put("INBOX", fmt.Sprintf("%d.copy-a:2,S", i), text)
		b.put("INBOX", fmt.Sprintf("%d.copy-b:2,S", 9-i), text) // in another order
	}
	return s, a, b
}

// onlyOnce checks that all have each message once, and keep it.
func onlyOnce(t *testing.T, s *sim.Server, devices ...*device) {
	t.Helper()
	for range 2 {
		for _, d := range devices {
			d.sync()
		}
	}
	var want []string
	for _, text := range copies() {
		want = append(want, `\Seen | `+text)
	}
	slices.Sort(want)
	if got := censusOf(s, "INBOX"); !slices.Equal(got, want) {
		t.Errorf("the server has\n        %s", short(got))
	}
	for _, d := range devices {
		d.inStep()
		d.quiet()
	}
}

// TestUploadedByTwoAtOnce holds each of one device's APPENDs in turn, before its effect
// or after it, while the other device syncs from end to end.
func TestUploadedByTwoAtOnce(t *testing.T) {
	for _, there := range []int{0, 3, 6} {
		for at := range len(copies()) - there {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d there, append %d, after it %v", there, at+1, after), func(t *testing.T) {
					s, a, b := two(t, there)
					n := 0
					hold := func(now bool) func() {
						return func() {
							if now != after {
								return
							}
							if n == at {
								b.sync()
							}
							n++
						}
					}
					a.wrap = func(r engine.Remote) engine.Remote { return remotetest.Pause(r, hold(false), hold(true)) }
					a.sync()
					a.wrap = nil
					onlyOnce(t, s, a, b)
				})
			}
		}
	}
}

// TestUploadedByTwoInTurns lets two devices upload message by message in turns, and each
// look at any time.
func TestUploadedByTwoInTurns(t *testing.T) {
	for _, there := range []int{0, 4} {
		for try := range 8 {
			t.Run(fmt.Sprint(there, " there, try ", try), func(t *testing.T) {
				s, a, b := two(t, there)
				devices := []*device{a, b}
				if try%2 == 1 {
					c := adopting(t, s)
					for i, text := range copies() {
						c.put("INBOX", fmt.Sprintf("%d.copy-c:2,S", i), text)
					}
					devices = append(devices, c)
				}
				// All are in their first APPEND before any of them goes on.
				var gate, done stdsync.WaitGroup
				gate.Add(len(devices))
				errs := make([]error, len(devices))
				for i, d := range devices {
					first := true
					d.wrap = func(r engine.Remote) engine.Remote {
						return remotetest.Pause(r, func() {
							if first {
								first = false
								gate.Done()
								gate.Wait()
							}
						}, func() {})
					}
					done.Go(func() { _, errs[i] = d.run() })
				}
				done.Wait()
				for i, d := range devices {
					if errs[i] != nil {
						t.Fatal(errs[i])
					}
					d.wrap = nil
				}
				onlyOnce(t, s, devices...)
			})
		}
	}
}

// Once a device has met another one's uploads, it does not upload what is among them.
func TestWhatAnotherDeviceHasUploadedIsNotUploaded(t *testing.T) {
	const n = 200
	s := sim.NewServer()
	a, b := adopting(t, s), adopting(t, s)
	for i := range n {
		text := letter(fmt.Sprint("copy ", i))
		a.put("INBOX", fmt.Sprintf("%03d.copy-a:2,S", i), text)
		b.put("INBOX", fmt.Sprintf("%03d.copy-b:2,S", i), text)
	}
	appends := 0
	a.wrap = func(r engine.Remote) engine.Remote {
		return remotetest.Pause(r, func() {
			if appends == 10 {
				b.sync()
			}
			appends++
		}, func() {})
	}
	rep := a.sync()
	if appends > 64 || rep.Local.New != 0 || rep.Remote.New != 10 {
		t.Errorf("%d uploads, report %+v", appends, rep)
	}
	a.wrap = nil
	b.sync()
	if got := len(s.Messages("INBOX")); got != n {
		t.Errorf("the server has %d messages, want %d", got, n)
	}
	for _, d := range []*device{a, b} {
		d.sync()
		d.inStep()
		d.quiet()
	}
}

// A message that is twice here is twice there, though both uploads are new there.
func TestOnesOwnTwinsStay(t *testing.T) {
	s := sim.NewServer()
	a := newDevice(t, s)
	a.sync()
	for i, text := range copies() {
		a.put("INBOX", fmt.Sprintf("%d.copy-a:2,S", i), text)
	}
	before := a.client.Traffic().RoundTrips
	a.sync()
	// A listing, one APPEND for each, and the look at what came of them; no more, since
	// nobody else has uploaded anything.
	t.Logf("%d round trips for %d uploads", a.client.Traffic().RoundTrips-before, len(copies()))
	onlyOnce(t, s, a)
}

// What another device is about to take back is not downloaded; and what nobody takes
// back is a message like any other.
func TestWhatNobodyTakesBackIsBroughtHere(t *testing.T) {
	s := sim.NewServer()
	a := newDevice(t, s)
	a.sync()
	a.put("INBOX", "1.copy-a:2,S", letter("copy"))
	a.wrap = func(r engine.Remote) engine.Remote {
		return remotetest.Pause(r, func() {}, func() { s.Deliver("INBOX", onWire(letter("copy")), flags(`\Seen`), day) })
	}
	if rep := a.sync(); rep.Local.New != 0 || rep.Remote.New != 1 {
		t.Errorf("report: %+v", rep)
	}
	a.wrap = nil
	if rep := a.sync(); rep.Local.New != 1 || rep.Remote.New != 0 {
		t.Errorf("report of the next run: %+v", rep)
	}
	a.inStep()
	a.quiet()
}

// A message that is like an upload, but for its body, comes to a folder which this run had no
// reason to read on the server: it is looked at, and both stay.
func TestWhatIsLikeAnUploadWhereNothingWasRead(t *testing.T) {
	unnamed := func(body string) string { return strings.Replace(like(body), "Message-ID", "X-ID", 1) }
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.put("Archive", "1.other:2,S", unnamed("one"))
	came := false
	d.wrap = func(r engine.Remote) engine.Remote {
		return remotetest.Pause(r, func() {
			if !came {
				came = true
				s.Deliver("Archive", onWire(unnamed("two")), flags(`\Seen`), day)
			}
		}, func() {})
	}
	d.sync()
	d.wrap = nil
	d.sync()
	d.has("Archive", 2)
	d.inStep()
	d.quiet()
}
