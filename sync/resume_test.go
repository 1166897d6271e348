package sync_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// largeNote is a letter of some 100 kB.
func largeNote(subject string) string {
	var b strings.Builder
	b.WriteString(letter(subject))
	for i := range 2000 {
		fmt.Fprintf(&b, "Line %d of %s, like no other line of it.\n", i, subject)
	}
	return b.String()
}

// cutAt breaks the connection within each message of at least that size, or its rest.
func cutAt(s *sim.Server, octets int64) {
	s.Cut = func(_ sim.Call, size int64) int64 {
		if size > octets {
			return octets
		}
		return -1
	}
}

// received runs a sync, and tells how many octets it received.
func (d *device) received(run func()) int64 {
	before := d.client.Traffic().BytesIn
	run()
	return d.client.Traffic().BytesIn - before
}

func (d *device) tmp(folder mail.Folder) []string {
	d.t.Helper()
	entries, err := os.ReadDir(filepath.Join(d.dir(folder), "tmp"))
	must(d.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAMessageIsGoneOnWithWhereTheConnectionBroke(t *testing.T) {
	s := sim.NewServer()
	d := newDevice(t, s)
	d.sync()
	text := onWire(largeNote("large"))
	s.Deliver("INBOX", text, mail.Flags{}, day)
	cutAt(s, 60_000)
	d.unreached()
	s.Cut = nil
	rest := int64(len(text)) - 60_000
	if got := d.received(func() { d.sync() }); got < rest || got > rest+2000 {
		t.Errorf("%d octets come, where %d were missing", got, rest)
	}
	d.inStep()
	d.quiet()
	if names := d.tmp("INBOX"); len(names) > 0 {
		t.Errorf("tmp/ has %q", names)
	}
}

// A run that leaves nothing behind when it is told to end keeps what it can go on with when the
// connection breaks.
func TestATidyRunGoesOnToo(t *testing.T) {
	s := sim.NewServer()
	d := newDevice(t, s)
	d.opts.Tidy = true
	d.sync()
	s.Deliver("INBOX", onWire(largeNote("large")), mail.Flags{}, day)
	cutAt(s, 60_000)
	d.unreached()
	if names := d.tmp("INBOX"); len(names) != 1 {
		t.Errorf("tmp/ has %q", names)
	}
}

// A connection that breaks every time gets on nevertheless, and brings each octet once.
func TestAMessageThatIsCutEachTimeArrives(t *testing.T) {
	s := sim.NewServer()
	d := newDevice(t, s)
	d.sync()
	text := onWire(largeNote("large"))
	s.Deliver("INBOX", text, mail.Flags{}, day)
	cutAt(s, 20_000)
	cuts := len(text) / 20_000
	all := d.received(func() {
		for range cuts {
			d.unreached()
			if names := d.tmp("INBOX"); len(names) != 1 {
				t.Fatalf("tmp/ has %q", names)
			}
		}
		d.sync()
	})
	if most := int64(len(text) + cuts*1000); all > most {
		t.Errorf("%d octets came of a message of %d, in %d runs", all, len(text), cuts+1)
	}
	d.inStep()
	d.quiet()
}

func TestWhatIsNoBeginningOfTheMessageIsNotGoneOnWith(t *testing.T) {
	for name, c := range map[string]struct {
		opts sim.Options
		cut  int64
		then func(s *sim.Server, backup *sim.Snapshot)
	}{
		"the folder has got other UIDs": {cut: 60_000, then: func(s *sim.Server, _ *sim.Snapshot) { s.ChangeUIDValidity("INBOX") }},
		"the server came from a backup, and has another message with the UID": {cut: 60_000, then: func(s *sim.Server, backup *sim.Snapshot) {
			s.Restore(backup)
			s.Deliver("INBOX", onWire(largeNote("other")), mail.Flags{}, day)
		}},
		"the server gives messages whole":                {opts: sim.Options{NoPartial: true}, cut: 60_000},
		"the server's messages are not as it says":       {opts: sim.Options{SizeError: 7}, cut: 60_000},
		"there is so little of it that it saves nothing": {cut: 10_000},
	} {
		t.Run(name, func(t *testing.T) {
			s := sim.NewServer()
			s.Options = c.opts
			d := newDevice(t, s)
			d.sync()
			text := onWire(largeNote("large"))
			backup := s.Snapshot()
			s.Deliver("INBOX", text, mail.Flags{}, day)
			cutAt(s, c.cut)
			d.unreached()
			s.Cut = nil
			if c.then != nil {
				c.then(s, backup)
			}
			if got := d.received(func() { d.sync() }); got < int64(len(text)) {
				t.Errorf("%d octets come of a message of %d", got, len(text))
			}
			d.inStep()
			d.quiet()
			if names := d.tmp("INBOX"); len(names) > 0 && c.then == nil {
				t.Errorf("tmp/ has %q", names)
			}
		})
	}
}

// ordered notes in which order messages are asked for.
type ordered struct {
	engine.Remote
	wanted *[]mail.Wanted
}

func (a ordered) Fetch(ctx context.Context, wanted []mail.Wanted) []error {
	*a.wanted = append(*a.wanted, wanted...)
	return a.Remote.Fetch(ctx, wanted)
}

func TestTheNewestOfINBOXComeFirst(t *testing.T) {
	s := sim.NewServer()
	must(t, s.CreateFolder("Archive"))
	d := newDevice(t, s)
	for i := range 12 {
		for _, folder := range []mail.Folder{"Archive", "INBOX"} {
			s.Deliver(folder, onWire(largeNote(fmt.Sprint(folder, " ", i))), mail.Flags{}, day.Add(time.Duration(i)*time.Hour))
		}
	}
	var wanted []mail.Wanted
	d.wrap = func(r engine.Remote) engine.Remote { return ordered{r, &wanted} }
	d.opts.Connections = 1
	d.sync()
	d.inStep()
	if len(wanted) < 4 || wanted[0].Folder != "INBOX" || wanted[0].UIDs.String() != "12" {
		t.Fatalf("it begins with %v of %s", wanted[0].UIDs, wanted[0].Folder)
	}
	last := mail.UID(13)
	for _, w := range wanted {
		if w.Folder != "INBOX" {
			break
		}
		first := mail.UID(0)
		for uid := range w.UIDs.All() {
			if first == 0 {
				first = uid
			}
			if uid >= last {
				t.Errorf("UID %d comes after UID %d", uid, last)
			}
		}
		last = first
	}
	if last != 1 {
		t.Errorf("the last of INBOX is UID %d, before which others come", last)
	}
}

// What has come is put into place while the rest is still on its way.
func TestMessagesOfASlowLineAreSeenAsTheyCome(t *testing.T) {
	s := sim.NewServer()
	d := newDevice(t, s)
	d.sync()
	for i := range 5 {
		s.Deliver("INBOX", onWire(letter(fmt.Sprint("message ", i))), mail.Flags{}, day)
	}
	clock := time.Now()
	d.opts.Now = func() time.Time { return clock }
	d.opts.Connections = 1
	var seen []int
	d.wrap = func(r engine.Remote) engine.Remote {
		return slowly{r, func() { seen = append(seen, len(d.files("INBOX"))); clock = clock.Add(2 * time.Second) }}
	}
	d.sync()
	if fmt.Sprint(seen) != "[0 1 2 3 4]" {
		t.Errorf("as the messages came, so many were there: %v", seen)
	}
	d.inStep()
}

// slowly has something happen before each message comes.
type slowly struct {
	engine.Remote
	before func()
}

func (s slowly) Fetch(ctx context.Context, wanted []mail.Wanted) []error {
	for i := range wanted {
		visit := wanted[i].Visit
		wanted[i].Visit = func(b mail.Body) error { s.before(); return visit(b) }
	}
	return s.Remote.Fetch(ctx, wanted)
}
