package sync_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// story is a device that was in step, and what happened on both sides since.
func story(t *testing.T, o sim.Options) *device {
	s := account(t)
	s.Options = o
	s.Deliver("Archive", onWire(letter("flagged there")), flags(`\Seen`), day)
	s.Deliver("Archive", onWire(letter("removed there")), flags(`\Seen`), day)
	s.Deliver("Archive", onWire(letter("removed here")), flags(`\Seen`), day)
	s.Deliver("Archive", onWire(letter("revived")), flags(`\Seen`), day)
	s.Deliver("Archive", onWire(letter("moved there")), flags(`\Seen`), day)
	s.Deliver("Archive", onWire(letter("moved twice")), flags(`\Seen`), day)
	s.Deliver("Archive", onWire(letter("moved and removed")), flags(`\Seen`), day)
	s.Deliver("Archive", onWire(letter("copied here")), flags(`\Seen`, "work"), day)
	s.Deliver("Archive", onWire(letter("copied there")), flags(`\Seen`, "work"), day)
	d := newDevice(t, s)
	d.opts.Connections = 1 // so that the steps come in the same order each time
	d.sync()
	d.put("Archive", "0.mine:2,S", letter("moved here")) // which the server may have rewritten
	d.sync()

	find := func(subject string) mail.UID {
		for _, m := range s.Messages("Archive") {
			if bytes.HasSuffix(m.Raw, onWire(letter(subject))) {
				return m.UID
			}
		}
		t.Fatalf("no %q", subject)
		return 0
	}
	must(t, s.AddFlags("Archive", find("flagged there"), flags(`\Flagged`, "seen-there")))
	must(t, s.Expunge("Archive", find("removed there")))
	must(t, s.Expunge("Archive", find("revived")))
	s.Move("Archive", find("moved there"), "Lists/go")
	s.Move("Archive", find("moved twice"), "Lists/go")
	must(t, s.Expunge("Archive", find("moved and removed")))
	s.Copy("Archive", find("copied there"), "Lists/go")
	s.Deliver("INBOX", onWire(letter("new there")), mail.Flags{}, day)
	s.Deliver("INBOX", onWire(letter("new there and read")), flags(`\Seen`), day)
	s.Deliver("Lists", onWire(letter("new on a list")), mail.Flags{}, day)
	must(t, s.CreateFolder("Made there"))

	d.rename(d.find("INBOX", "About unread."), "cur", "S")
	must(t, os.Remove(d.find("Archive", "About removed here.")))
	must(t, os.Remove(d.find("Archive", "About moved here.")))
	d.put("Lists", "1.moved:2,FS", letter("moved here"))
	d.rename(d.find("Archive", "About revived."), "cur", "FS")
	must(t, os.Rename(d.find("Archive", "About moved twice."), d.dir("Lists")+"/cur/2.moved:2,RS"))
	must(t, os.Rename(d.find("Archive", "About moved and removed."), d.dir("Lists")+"/cur/3.moved:2,S"))
	d.put("Lists", "4.copied:2,FSa", letter("copied here"))
	d.put("INBOX", "1.new", letter("new here"))
	d.put("INBOX", "2.twin:2,S", letter("twins"))
	d.put("INBOX", "3.twin:2,S", letter("twins"))
	d.put2(t, "Made here", "1.first", letter("first"))
	tick(t, t.TempDir())
	return d
}

// state is all that a person can see of both sides.
func (d *device) seen() []string {
	var out []string
	for _, f := range d.server.Folders() {
		for _, c := range d.census(f) {
			out = append(out, fmt.Sprintf("here %s: %s", f, c))
		}
		for _, c := range censusOf(d.server, f) {
			out = append(out, fmt.Sprintf("server %s: %s", f, c))
		}
	}
	return out
}

// A run that is killed at any of its steps, before or after any effect, and then run
// again, ends as if nothing had happened: nothing is lost, nothing is doubled, and
// one more run does nothing.
func TestKilledAtEveryStep(t *testing.T) {
	for name, o := range map[string]sim.Options{
		"good server":             {},
		"no MOVE":                 {NoMove: true},
		"no UIDPLUS":              {NoUIDPlus: true},
		"EMAILIDs":                {EmailIDs: true},
		"no CONDSTORE, no STATUS": {NoCondStore: true, NoStatus: true},
		"rewritten mail":          {Rewrite: func(raw []byte) []byte { return append([]byte("X-Server: was here\r\n"), raw...) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := story(t, o)
			whole.crash = sim.NewCrash(0)
			whole.sync()
			steps := whole.crash.Names()
			whole.crash = nil
			whole.sync()
			whole.quiet()
			want := whole.seen()
			if len(steps) < 60 {
				t.Fatalf("the story has only %d steps: %v", len(steps), steps)
			}
			for k := 1; k <= len(steps); k++ {
				// The poorer servers take other ways here and there only.
				if name != "good server" && k%4 != 0 && os.Getenv("MAILTWIN_REQUIRE") == "" {
					continue
				}
				t.Run(fmt.Sprintf("%d %s", k, steps[k-1]), func(t *testing.T) {
					d := story(t, o)
					d.crash = sim.NewCrash(k)
					_, err := d.run()
					if !d.crash.Crashed() {
						t.Fatalf("not killed: %v", err)
					}
					d.crash = nil
					d.sync()
					d.sync()
					if got := d.seen(); !slices.Equal(got, want) {
						t.Errorf("after the crash:\n%s\nwithout it:\n%s", short(got), short(want))
					}
					d.quiet()
				})
			}
		})
	}
}

// A run that is told to end at any of its steps, as systemd does, leaves nothing in tmp/, and the
// next one ends as if nothing had happened.
func TestToldToEndAtEveryStep(t *testing.T) {
	t.Parallel()
	whole := story(t, sim.Options{})
	whole.crash = sim.NewCrash(0)
	whole.sync()
	steps := whole.crash.Names()
	whole.crash = nil
	whole.sync()
	want := whole.seen()
	for k := 1; k <= len(steps); k++ {
		if k%3 != 0 && os.Getenv("MAILTWIN_LONG") == "" {
			continue // what is left in tmp/ is there for some steps
		}
		t.Run(fmt.Sprintf("%d %s", k, steps[k-1]), func(t *testing.T) {
			d := story(t, sim.Options{})
			d.opts.Tidy = true
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := 0
			d.crash, d.ctx = sim.NewCrash(0), ctx
			d.crash.Strike = func(string, string) error {
				if n++; n == k {
					cancel()
				}
				return nil
			}
			d.run() // it may still come to its end
			if n < k {
				t.Fatalf("it has only %d steps", n)
			}
			d.crash, d.ctx = nil, nil
			for _, folder := range []mail.Folder{"INBOX", "Archive", "Lists", "Lists/go", "Trash"} {
				if names := d.tmp(folder); len(names) > 0 {
					t.Errorf("tmp/ of %s has %q", folder, names)
				}
			}
			d.sync()
			d.sync()
			if got := d.seen(); !slices.Equal(got, want) {
				t.Errorf("after that:\n%s\nwithout it:\n%s", short(got), short(want))
			}
			d.quiet()
		})
	}
}
