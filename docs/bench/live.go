package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A live workload measures how long `mailtwin watch` takes to bring changes to the other
// side: to the server, or here. The watch runs throughout, and is at rest before each change.
type live struct {
	changes int
	play    func(s *stage, ctx context.Context, changes int, r *liveResult) error
	// within is what was asked for, 0 for nothing: of what happens here, from the change, the time in which
	// it settles included; of what happens on the server, from the announcement.
	within time.Duration
	adds   string // what of it is the server's
}

// settles is how long nothing may happen here before the watch begins.
const settles = 200 * time.Millisecond

// liveResult is what was measured, all runs together; in milliseconds.
type liveResult struct {
	When   time.Time `json:"when"`
	Commit string    `json:"commit"`
	Load   string    `json:"load"`
	// Took is from each change to when the other side has it.
	Took []float64 `json:"took"`
	// Announced is the same from when the server announced the change; 0 where it was here
	// before, since an earlier announcement had made the watch look.
	Announced []float64 `json:"announced,omitempty"`
	// Whole is, of each burst, from the first change until the other side had all.
	Whole []float64 `json:"whole,omitempty"`
}

func lives(s settings, huge *dataset) []*workload {
	some := &dataset{name: "live", title: "1,000 messages in 20 folders", messages: 1_000, folders: 20}
	// Not the dataset of the peers, whose account nothing may change.
	large := &dataset{name: "live-huge", title: huge.title, messages: huge.messages, folders: 1}
	single, burst, removals, names := 100, 1_000, 10, "100,000"
	if s.quick {
		some.title, some.messages, some.folders = "20 messages in 4 folders", 20, 4
		single, burst, removals, names = 5, 20, 2, "300"
	}
	const told = "Dovecot waits for half a second after the first change of a folder, so as to announce what follows together"
	list := []*workload{
		{name: "live-here", title: "Here: one change", data: some,
			live: &live{changes: single, play: (*stage).here, within: time.Second + settles, adds: "what Dovecot takes for a login and for the commands of the sync"}},
		{name: "live-there", title: "On the server: one change", data: some,
			live: &live{changes: single, play: (*stage).there, within: time.Second, adds: told + ", and then the login and the commands of the sync"}},
		{name: "live-here-burst", title: fmt.Sprintf("Here: %d new messages at once", burst), data: some,
			live: &live{changes: burst, play: (*stage).hereBurst, adds: "an APPEND for each, of which none waits for another one"}},
		{name: "live-there-burst", title: fmt.Sprintf("On the server: %d new messages, one after the other", burst), data: some,
			live: &live{changes: burst, play: (*stage).thereBurst, adds: told + ", while APPENDs go on"}},
		{name: "live-here-huge", title: "Here: one removal in a folder of " + names, data: large,
			live: &live{changes: removals, play: (*stage).removals, within: 2*time.Second + settles, adds: "a SELECT of the folder, and the EXPUNGE"}},
		{name: "live-here-huge-new", title: "Here: one new message in a folder of " + names, data: large,
			live: &live{changes: removals, play: (*stage).arrivals, within: time.Second + settles, adds: "a SELECT of the folder, and the APPEND"}},
	}
	for _, w := range list {
		w.programs, w.begin = []string{mailtwin}, inStep
	}
	return list
}

// measureLive plays a live workload, again and again.
func (b *bench) measureLive(ctx context.Context, w *workload, commit string) (*liveResult, error) {
	r := &liveResult{When: time.Now().UTC().Truncate(time.Second), Commit: commit, Load: loadAverage()}
	b.log("%s: %s", w.name, w.title)
	began := time.Now()
	for run := range b.runs {
		if time.Since(began) > b.budget {
			break
		}
		d, err := b.device(ctx, w, b.programs[mailtwin], run)
		if err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
		if err := b.playLive(ctx, w, d, r); err != nil {
			return nil, err
		}
		// Dovecot looks each second then, and it is that which would be measured.
		if strings.Contains(b.server.Log(), "Inotify instance limit") {
			return nil, errors.New("there was no inotify instance for Dovecot: other programs of its user have all of fs.inotify.max_user_instances")
		}
		if err := b.check(w, d); err != nil {
			return nil, fmt.Errorf("check: %w", err)
		}
		b.log("  mailtwin watch  %d changes: median %.0f ms, 99th percentile %.0f ms", len(r.Took), percentile(r.Took, 50), percentile(r.Took, 99))
		if len(r.Announced) > 0 {
			b.log("  after the announcement:    %.0f ms,                 %.0f ms", percentile(r.Announced, 50), percentile(r.Announced, 99))
		}
	}
	return r, nil
}

func (b *bench) playLive(ctx context.Context, w *workload, d *device, r *liveResult) (err error) {
	b.proxy.begin(w.rtt)
	ctx, stop, err := b.watch(ctx, d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	s, err := b.newStage(d)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	defer s.close()
	return w.live.play(s, ctx, w.live.changes, r)
}

// watch starts `mailtwin watch`, and comes back when its first sync is over, which it tells
// as it tells systemd. The context ends with the process.
func (b *bench) watch(ctx context.Context, d *device) (_ context.Context, stop func() error, err error) {
	path := d.file("notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, nil, err
	}
	defer os.Remove(path)
	defer socket.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	cmd := exec.CommandContext(ctx, d.program.path, "--config", d.file("config.toml"), "watch")
	cmd.Dir = d.dir
	cmd.Env = append(d.environ(), "NOTIFY_SOCKET="+path)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		cancel(nil)
		return nil, nil, err
	}
	var ended sync.WaitGroup
	ended.Go(func() {
		err := cmd.Wait()
		cancel(fmt.Errorf("mailtwin watch ended: %v\n%s", err, tail(said.Bytes())))
		socket.Close() // nothing more is told
	})
	stop = func() error {
		early := context.Cause(ctx)
		cancel(nil)
		ended.Wait()
		return early
	}
	if err := ready(socket, b.patience); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("mailtwin watch does not get ready: %w", err), stop())
	}
	return ctx, stop, nil
}

func ready(socket *net.UnixConn, patience time.Duration) error {
	if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for buf := make([]byte, 4096); ; {
		n, err := socket.Read(buf)
		if err != nil || strings.Contains(string(buf[:n]), "READY=1") {
			return err
		}
	}
}

// pause leaves the watch alone, until what the last change has caused on either side is over;
// never for the same time, so that nothing it does now and then meets all changes alike.
func (s *stage) pause() {
	wait := 500*time.Millisecond + rand.N(time.Second)
	if s.quick {
		wait /= 5
	}
	time.Sleep(wait)
}

// here makes changes in the Maildir, one at a time.
func (s *stage) here(ctx context.Context, changes int, r *liveResult) error {
	for i := range changes {
		if err := s.one(ctx, s.kind(i), r); err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
	}
	return nil
}

// removals are of the only folder there is.
func (s *stage) removals(ctx context.Context, changes int, r *liveResult) error {
	return s.alike(ctx, changes, change{from: s.places[0]}, r)
}

// arrivals are new files of the only folder there is.
func (s *stage) arrivals(ctx context.Context, changes int, r *liveResult) error {
	return s.alike(ctx, changes, change{to: s.places[0]}, r)
}

func (s *stage) alike(ctx context.Context, changes int, c change, r *liveResult) error {
	for i := range changes {
		if err := s.one(ctx, c, r); err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
	}
	return nil
}

func (s *stage) one(ctx context.Context, c change, r *liveResult) error {
	s.pause()
	if err := s.lookAt(c); err != nil {
		return err
	}
	began, err := s.changeHere(c)
	if err != nil {
		return err
	}
	seen, err := s.seenThere(ctx, c)
	r.Took = append(r.Took, milliseconds(began, seen))
	return err
}

// there makes changes on the server, one at a time.
func (s *stage) there(ctx context.Context, changes int, r *liveResult) error {
	for i := range changes {
		if err := s.listenAnew(); err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
		s.pause()
		s.forget()
		c := s.kind(i)
		began, err := s.changeThere(c)
		if err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
		seen, err := s.seenHere(ctx, c)
		if err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
		told, err := s.told(ctx, c)
		if err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
		r.Took = append(r.Took, milliseconds(began, seen))
		r.Announced = append(r.Announced, milliseconds(told, seen))
	}
	return nil
}

func milliseconds(from, to time.Time) float64 {
	return float64(max(to.Sub(from), 0).Round(100*time.Microsecond)) / float64(time.Millisecond)
}
