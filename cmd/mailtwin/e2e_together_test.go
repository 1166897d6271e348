package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim/remotetest"
)

// pauses makes what a device does at each of its APPENDs.
func (d *computer) pauses(before, after func()) {
	d.around = func(opts *engine.Options) { opts.Remote = remotetest.Pause(opts.Remote, before, after) }
}

// nothing is for one of the two.
func nothing() {}

// TestTwoDevicesUploadTheSame: copies of one Maildir, with twins and with messages that
// have no Message-ID, are adopted by two devices at the same time, and each message is
// there once.
func TestTwoDevicesUploadTheSame(t *testing.T) {
	var texts []string
	for i := range 20 {
		texts = append(texts, note(fmt.Sprint("copy ", i)))
	}
	nameless := strings.Replace(note("nameless"), "Message-ID: ", "X-No: ", 1)
	texts = append(texts, note("twin"), note("twin"), nameless, nameless)
	prepare := func(s *story, there int) (a, b *computer) {
		if there > 0 {
			s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
		}
		for _, text := range texts[:there] {
			s.deliver("Work", text, seen)
		}
		a, b = s.device("laptop"), s.device("desktop")
		for i, text := range texts {
			a.save("Work", "cur", fmt.Sprintf("%d.laptop:2,S", i), text, then)
			b.save("Work", "cur", fmt.Sprintf("%d.desktop:2,S", 99-i), text, then)
		}
		return a, b
	}
	check := func(s *story, devices ...*computer) {
		s.Helper()
		settle(devices...)
		var there []string
		for _, m := range s.messages("Work") {
			there = append(there, onDisk(string(m.Raw)))
		}
		equalTexts(s, "on the server", there, texts)
		for _, d := range devices {
			d.same()
		}
	}
	all := map[string]func(s *story){}
	for _, there := range []int{0, len(texts) / 2} {
		for _, at := range []int{0, 5, len(texts) - there - 1} {
			for _, after := range []bool{false, true} {
				all[fmt.Sprintf("one waits before or after its APPEND %d, %v, with %d there", at, after, there)] = func(s *story) {
					a, b := prepare(s, there)
					n := 0
					hold := func() {
						if n == at {
							b.sync()
						}
						n++
					}
					if after {
						a.pauses(nothing, hold)
					} else {
						a.pauses(hold, nothing)
					}
					a.sync()
					if n <= at {
						s.Errorf("there were %d APPENDs", n)
					}
					a.around = nil
					check(s, a, b)
				}
			}
		}
		all[fmt.Sprintf("message by message, with %d there", there)] = func(s *story) {
			a, b := prepare(s, there)
			// Each APPEND waits for one of the other device's, as long as that has any.
			turns, alone := make(chan bool), make(chan bool)
			meet := func() {
				select {
				case turns <- true:
				case <-turns:
				case <-alone:
				}
			}
			a.pauses(meet, nothing)
			b.pauses(meet, nothing)
			var both sync.WaitGroup
			var first sync.Once
			results := make([]result, 2)
			for i, d := range []*computer{a, b} {
				both.Go(func() {
					results[i] = d.run("sync")
					first.Do(func() { close(alone) })
				})
			}
			both.Wait()
			for _, r := range results {
				if r.code != 0 || r.stderr != "" {
					s.Errorf("one of them exits %d: %s", r.code, r.stderr)
				}
			}
			a.around, b.around = nil, nil
			check(s, a, b)
		}
	}
	stories(t, all)
}
