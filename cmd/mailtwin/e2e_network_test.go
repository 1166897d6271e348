package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	engine "mailtwin/sync"
	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/dovecot"
)

// patience is that of the devices of these stories.
const patience = time.Second

// online has a device whose only way to the server is one that a story can break.
func (s *story) online(settings ...string) (*computer, *imaptest.Way) {
	s.Helper()
	way := imaptest.Slow(s, s.server.Host, s.server.Port, imaptest.Line{})
	settings = append(settings, fmt.Sprint("port = ", way.Port))
	if !slices.ContainsFunc(settings, func(l string) bool { return strings.HasPrefix(l, "timeout ") }) {
		settings = append(settings, fmt.Sprintf("timeout = %q", patience))
	}
	return s.device("laptop", settings...), way
}

// fails waits until a run fails.
func (w *watching) fails() {
	w.Helper()
	select {
	case <-w.failed:
	case <-time.After(30 * time.Second):
		w.Fatal("it does not notice")
	}
}

// both waits for runs that together bring what came to each side.
func (w *watching) both(here, there int) {
	w.Helper()
	got := engine.Report{}
	w.until("what came meanwhile", func(r engine.Report) bool {
		got.Local.New += r.Local.New
		got.Remote.New += r.Remote.New
		return got.Local.New >= here && got.Remote.New >= there
	})
	if got.Local.New != here || got.Remote.New != there {
		w.Errorf("%d messages came here, want %d, and %d there, want %d", got.Local.New, here, got.Remote.New, there)
	}
}

// What befalls a network is waited out, whatever the server announces: what both sides did
// meanwhile is on both in the end, once.
func TestWatchWeathersTheNetwork(t *testing.T) {
	t.Parallel()
	troubles := map[string]struct {
		strike, heal func(way *imaptest.Way)
	}{
		"packets are dropped": {
			func(way *imaptest.Way) { way.Swallow() },
			func(way *imaptest.Way) { way.Heal() },
		},
		"all is cut": {
			func(way *imaptest.Way) { way.Sever() },
			func(way *imaptest.Way) { way.Heal() },
		},
		"an answer takes longer than the patience lasts": {
			func(way *imaptest.Way) { way.Lengthen(patience) },
			func(way *imaptest.Way) { way.Lengthen(0) },
		},
	}
	for name, server := range map[string]struct{ hidden, settings, troubles []string }{
		"NOTIFY":  {nil, []string{`poll_interval = "1h"`}, slices.Collect(maps.Keys(troubles))},
		"IDLE":    {[]string{"NOTIFY"}, []string{`poll_interval = "1h"`}, []string{"packets are dropped"}},
		"neither": {[]string{"NOTIFY", "IDLE"}, []string{`poll_interval = "500ms"`}, []string{"packets are dropped"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := map[string]func(s *story){}
			for _, what := range server.troubles {
				all[what] = func(s *story) { weathers(s, server.settings, troubles[what].strike, troubles[what].heal) }
			}
			stories(t, all, dovecot.Hide(server.hidden...))
		})
	}
}

func weathers(s *story, settings []string, strike, heal func(*imaptest.Way)) {
	d, way := s.online(settings...)
	for _, name := range []string{"first", "flag here", "flag there", "leaves here", "leaves there"} {
		s.deliver("INBOX", note(name), none)
	}
	w := d.watch(nil)
	w.until("what was there", func(r engine.Report) bool { return r.Local.New == 5 })
	strike(way)
	// The phone goes another way.
	s.deliver("INBOX", note("new there"), none)
	s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "flag there").UID, flagged))
	s.check(s.phone.Delete(s.Context(), "INBOX", s.remote("INBOX", "leaves there").UID))
	d.save("INBOX", "cur", "1.saved.host:2,S", note("new here"), then)
	d.reflag(d.find("INBOX", "flag here"), "FS")
	d.remove(d.find("INBOX", "leaves here"))
	for range 3 {
		w.fails()
		// It listens, and syncs.
		if n := way.Clients(); n > 2 {
			s.Errorf("it has %d connections", n)
		}
	}
	heal(way)
	healed := time.Now()
	w.both(2, 1) // one of them comes to Trash, where the server has put what left INBOX here
	s.Logf("it was back after %v", time.Since(healed))
	s.deliver("INBOX", note("third"), none) // it hears the server again
	w.both(1, 0)
	want := []string{"first", "flag here", "flag there", "new here", "new there", "third"}
	s.want("here", d.subjects("INBOX"), want...)
	s.want("there", s.there("INBOX"), want...)
	s.want("in Trash", d.subjects("Trash"), "leaves here")
	r := w.stop()
	for line := range strings.Lines(r.stderr) {
		if !strings.Contains(line, "server unreachable") {
			s.Errorf("it said %q", line)
		}
	}
	if r.code != 0 || r.stderr == "" {
		s.Errorf("it ended with %d, and said %q", r.code, r.stderr)
	}
	d.leavesNothing()
	d.quiet()
	d.same()
}

// A connection to nowhere, as after a change of address, is given up when the system tells of that,
// and not only by the keep-alive, which is minutes away.
func TestWatchHearsOfTheNetwork(t *testing.T) {
	t.Parallel()
	for name, hidden := range map[string][]string{"NOTIFY": nil, "IDLE": {"NOTIFY"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stories(t, map[string]func(s *story){"another address": func(s *story) {
				d, way := s.online(`poll_interval = "1h"`)
				s.deliver("INBOX", note("first"), none)
				w := d.watch(nil)
				w.until("what was there", func(r engine.Report) bool { return r.Local.New == 1 })
				d.listens()
				way.Swallow() // what there is stays dead
				s.deliver("INBOX", note("second"), none)
				way.Heal()
				changed := time.Now()
				w.back <- struct{}{}
				w.both(1, 0)
				s.Logf("it took %v", time.Since(changed))
				s.deliver("INBOX", note("third"), none)
				w.both(1, 0)
				if r := w.stop(); r.code != 0 || r.stderr != "" {
					s.Errorf("it ended with %d, and said %q", r.code, r.stderr)
				}
			}}, dovecot.Hide(hidden...))
		})
	}
}

// A sync that is under way when the network changes, and has got stuck, is not waited for until its
// patience is over.
func TestWatchGivesUpASyncThatTheNetworkHasLeft(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(s *story){"another address": func(s *story) {
		d, way := s.online(`poll_interval = "1h"`, `timeout = "10m"`)
		w := d.watch(nil)
		w.run()
		d.listens()
		way.Swallow()
		before := way.Made()
		d.save("INBOX", "cur", "1.saved.host:2,S", note("here"), then)
		for tries := 0; way.Made() == before; tries++ { // that of the sync
			if tries == 600 {
				s.Fatal("it does not sync")
			}
			time.Sleep(50 * time.Millisecond)
		}
		way.Heal()
		changed := time.Now()
		w.back <- struct{}{}
		w.both(0, 1)
		s.Logf("it took %v", time.Since(changed))
		if r := w.stop(); r.code != 0 {
			s.Errorf("it ended with %d, and said %q", r.code, r.stderr)
		}
		s.want("there", s.there("INBOX"), "here")
	}})
}

// What a command prints may be good for a time, as a token is that expires: it is asked anew for each
// connection that is not one more of a sync.
func TestWatchAsksForAPasswordThatHasExpired(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(s *story){"": func(s *story) {
		secret := filepath.Join(s.TempDir(), "secret")
		s.check(os.WriteFile(secret, []byte(s.server.Password), 0o600))
		d, way := s.online(`poll_interval = "1h"`, fmt.Sprintf("password_command = [\"cat\", %q]", secret))
		s.deliver("INBOX", note("first"), none)
		w := d.watch(nil)
		w.until("what was there", func(r engine.Report) bool { return r.Local.New == 1 })
		s.deliver("INBOX", note("second"), none)
		s.check(s.server.SetPassword(s.user, "another"))
		s.check(os.WriteFile(secret, []byte("another"), 0o600))
		way.Sever() // who has expired is put out at some time
		way.Heal()
		w.both(1, 0)
		d.save("INBOX", "cur", "1.saved.host:2,S", note("here"), then)
		w.both(0, 1)
		if r := w.stop(); r.code != 0 || strings.Contains(r.stderr, "refused") {
			s.Errorf("it ended with %d, and said %q", r.code, r.stderr)
		}
		s.check(s.server.SetPassword(s.user, s.server.Password))
	}})
}

// A server that ends, stays away, and is there again is one more thing to wait out.
func TestWatchOutlastsTheServer(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(s *story){"away": func(s *story) {
		d, way := s.online(`poll_interval = "1h"`)
		s.deliver("INBOX", note("first"), none)
		w := d.watch(nil)
		w.until("what was there", func(r engine.Report) bool { return r.Local.New == 1 })
		s.server.Stop()
		d.save("INBOX", "cur", "1.saved.host:2,S", note("here"), then)
		for range 3 {
			w.fails()
		}
		if n := way.Clients(); n > 1 {
			s.Errorf("it has %d connections", n)
		}
		s.server.Restart()
		w.both(0, 1)
		s.phone = s.server.PhoneOf(s.T, s.user)
		s.deliver("INBOX", note("there"), none)
		w.both(1, 0)
		if r := w.stop(); r.code != 0 {
			s.Errorf("it ended with %d, and said %q", r.code, r.stderr)
		}
		d.same()
		d.quiet()
	}})
}
