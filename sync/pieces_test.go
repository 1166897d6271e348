package sync_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// full gives a server with a dozen messages in two folders, of which the third is in both.
func full(o sim.Options) *sim.Server {
	s := sim.NewServer()
	s.Options = o
	s.CreateFolder("Lists")
	for i := range 6 {
		s.Deliver("INBOX", onWire(letter(fmt.Sprint("one ", i))), flags(`\Seen`), day)
	}
	s.Copy("INBOX", 3, "Lists")
	for i := range 6 {
		s.Deliver("Lists", onWire(letter(fmt.Sprint("another ", i, " of them"))), mail.Flags{}, day)
	}
	return s
}

// plans notes how many messages each plan is about.
type plans struct {
	engine.Remote
	sizes []int
	next  int
}

func (p *plans) Enabled(context.Context, slog.Level) bool { return true }
func (p *plans) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p *plans) WithGroup(string) slog.Handler            { return p }

func (p *plans) Handle(_ context.Context, rec slog.Record) error {
	if rec.Message == "planned" {
		p.next++
	}
	return nil
}

// Fetch is what each of the plans here has carried out once.
func (p *plans) Fetch(ctx context.Context, wanted []mail.Wanted) []error {
	if p.next > 0 {
		p.sizes, p.next = append(p.sizes, p.next), 0
	}
	return p.Remote.Fetch(ctx, wanted)
}

// Many new messages are planned piece by piece, the newest of INBOX first, and fetched once
// each.
func TestNewMailComesInPieces(t *testing.T) {
	s := full(sim.Options{})
	bodies := 0
	s.Cut = func(sim.Call, int64) int64 {
		bodies++
		return -1
	}
	d := newDevice(t, s)
	p := &plans{}
	d.opts.Piece, d.opts.Connections, d.opts.Log = 2, 1, slog.New(p)
	d.wrap = func(r engine.Remote) engine.Remote {
		p.Remote = r
		return p
	}
	if rep := d.sync(); rep.Local.New != 13 {
		t.Errorf("%d messages came", rep.Local.New)
	}
	d.inStep()
	if bodies != 12 {
		t.Errorf("%d bodies were fetched", bodies)
	}
	if len(p.sizes) < 6 || slices.Max(p.sizes) > 3 { // two of a piece, and the copy of the one before
		t.Errorf("plans of %v messages", p.sizes)
	}
	d.wrap, d.opts.Log = nil, nil
	d.quiet()
}

// Where there are files, they may be what is new on the server: all of that is looked at
// together, and what is there is not fetched.
func TestWhatMayBeThereComesNotInPieces(t *testing.T) {
	s := full(sim.Options{})
	d := newDevice(t, s)
	d.sync()
	s.Cut = func(call sim.Call, _ int64) int64 {
		t.Errorf("a body is fetched: %+v", call)
		return -1
	}
	d.state = sim.NewState()
	d.opts.Piece = 1
	d.sync()
	d.inStep()
	d.quiet()
}

// A run that is killed between two pieces, or within one, is gone on with.
func TestKilledBetweenPieces(t *testing.T) {
	for name, o := range map[string]sim.Options{"good server": {}, "no CONDSTORE": {NoCondStore: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := func() *device {
				d := newDevice(t, full(o))
				d.opts.Piece, d.opts.Connections = 2, 1
				return d
			}
			steps := start().dies(0)
			if len(steps) < 60 {
				t.Fatalf("it takes only %d steps: %v", len(steps), steps)
			}
			for k := range steps {
				if k%5 != 0 && os.Getenv("MAILTWIN_REQUIRE") == "" {
					continue
				}
				d := start()
				d.dies(k + 1)
				d.sync()
				d.inStep()
				d.sync()
				d.quiet()
				if t.Failed() {
					t.Fatalf("after the crash at step %d, %s", k+1, steps[k])
				}
			}
		})
	}
}
