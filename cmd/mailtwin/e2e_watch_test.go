package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	engine "mailtwin/sync"
	"mailtwin/sync/watch"
)

// watching is a computer on which `mailtwin watch` runs.
type watching struct {
	*computer
	runs   chan engine.Report // of each run that ended well
	failed chan error         // of each other one
	lines  chan string        // that it prints
	back   chan struct{}      // has the system tell that the network may be back
	stop   func() result
}

// says waits until it prints a line in which a text is.
func (w *watching) says(text string) {
	w.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line := <-w.lines:
			if strings.Contains(line, text) {
				return
			}
		case <-deadline:
			w.Fatalf("it does not say %q", text)
		}
	}
}

// heard is where a watch prints.
type heard struct {
	bytes.Buffer
	lines chan string
}

func (h *heard) Write(p []byte) (int, error) {
	h.lines <- string(p)
	return h.Buffer.Write(p)
}

// watch starts `mailtwin watch`. before, if not nil, comes before each run, and may have it fail.
func (d *computer) watch(before func() error) *watching {
	d.Helper()
	w := &watching{computer: d, runs: make(chan engine.Report, 100), failed: make(chan error, 100)}
	w.lines, w.back = make(chan string, 1000), make(chan struct{})
	var stdout bytes.Buffer
	stderr := &heard{lines: w.lines}
	app := &App{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: stderr, Env: func(k string) string { return d.env[k] }}
	app.rooms.run = func(ctx context.Context, opts engine.Options) (rep engine.Report, err error) {
		if before != nil {
			err = before()
		}
		if d.around != nil {
			d.around(&opts)
		}
		if err == nil {
			rep, err = engine.Run(ctx, opts)
		}
		if err != nil {
			w.failed <- err
		} else {
			w.runs <- rep
		}
		return rep, err
	}
	app.rooms.network = func(ctx context.Context, back func()) error {
		for {
			select {
			case <-w.back:
				back()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if d.looks > 0 {
		app.rooms.watcher = func(ctx context.Context, root string, opts maildir.WatchOptions) *maildir.Watcher {
			opts.Poll = d.looks
			return maildir.Watch(ctx, root, opts)
		}
	}
	ctx, cancel := context.WithCancel(d.Context())
	ended := make(chan int)
	go func() { ended <- app.Run(ctx, []string{"--config", d.config, "watch"}); close(ended) }()
	var r *result
	w.stop = func() result {
		if r == nil {
			cancel()
			select {
			case code := <-ended:
				r = &result{code, stdout.String(), stderr.String()}
			case <-time.After(30 * time.Second):
				d.Fatal("it does not end")
			}
		}
		return *r
	}
	d.Cleanup(func() { w.stop() })
	return w
}

// scanning is a Maildir that tells which folders are scanned.
type scanning struct {
	engine.Local
	scanned func(mail.Folder)
}

func (l scanning) Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (mail.Listing, error) {
	l.scanned(folder)
	return l.Local.Scan(ctx, folder, letters)
}

// run waits for the next run that ends well.
func (w *watching) run() engine.Report {
	w.Helper()
	select {
	case rep := <-w.runs:
		return rep
	case <-time.After(30 * time.Second):
		w.Fatal("it does not sync")
		return engine.Report{}
	}
}

// until waits for the run that does it.
func (w *watching) until(what string, does func(engine.Report) bool) {
	w.Helper()
	for range 100 {
		if does(w.run()) {
			return
		}
	}
	w.Fatalf("no run brings %s", what)
}

// listens waits until the watch of the account listens, and has nothing to do.
func (d *computer) listens() *liveStatus {
	d.Helper()
	for range 600 {
		if live := d.status().Watch; live != nil && live.Connected != nil && !live.Syncing {
			return live
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.Fatalf("it does not listen: %+v", d.status().Watch)
	return nil
}

// What changes on either side is on the other one soon, and the end is orderly.
func TestWatch(t *testing.T) { watchBothSides(embedded(t), settle2) }

func TestWatchOnDovecot(t *testing.T) {
	stories(t, map[string]func(s *story){
		"both sides": func(s *story) { watchBothSides(s, (*computer).quiet) },
	})
}

func watchBothSides(s *story, rest func(d *computer)) {
	s.Helper()
	d := s.device("laptop", `poll_interval = "1s"`)
	s.deliver("INBOX", note("first"), none)
	w := d.watch(nil)
	w.until("what was there", func(r engine.Report) bool { return r.Local.New == 1 })

	d.save("INBOX", "cur", "1.saved.host:2,S", note("saved"), then)
	w.until("a new file", func(r engine.Report) bool { return r.Remote.New == 1 })
	s.want("INBOX on the server", s.there("INBOX"), "first", "saved")
	d.reflag(d.find("INBOX", "saved"), "FS")
	w.until("a flag", func(r engine.Report) bool { return r.Remote.Flags == 1 })
	d.remove(d.find("INBOX", "saved"))
	w.until("a removal", func(r engine.Report) bool { return r.Remote.Removed == 1 })
	s.want("INBOX on the server", s.there("INBOX"), "first")

	s.deliver("Archive", note("second"), seen)
	w.until("new mail", func(r engine.Report) bool { return r.Local.New == 1 })
	s.want("Archive here", d.subjects("Archive"), "second")

	if r := d.exits(1, "watch"); !strings.Contains(r.stderr, "alice: another watch, process ") {
		s.Errorf("a second watch says %q", r.stderr)
	}
	d.sync() // it comes in between
	if r := w.stop(); r.code != 0 || r.stdout != "" || r.stderr != "" {
		s.Errorf("it ended with %d, and printed %q and %q", r.code, r.stdout, r.stderr)
	}
	d.leavesNothing()
	rest(d)
}

// A new file and another flag, on either side, are brought across without a scan of the folder; so
// its other messages cost nothing. A removal takes two scans, to be believed.
func TestAWatchScansNoFolderForWhatItHears(t *testing.T) {
	stories(t, map[string]func(s *story){"": func(s *story) {
		d := s.device("laptop", `poll_interval = "1h"`)
		s.deliver("INBOX", note("first"), seen)
		s.deliver("INBOX", note("second"), seen)
		var scans atomic.Int32
		d.around = func(opts *engine.Options) {
			opts.Local = scanning{opts.Local, func(folder mail.Folder) {
				if folder == mail.Inbox {
					scans.Add(1)
				}
			}}
		}
		w := d.watch(nil)
		w.until("what was there", func(r engine.Report) bool { return r.Local.New == 2 })
		d.listens()
		step := func(what string, do func(), does func(engine.Report) bool, want int32) {
			s.Helper()
			scans.Store(0)
			do()
			w.until(what, does)
			d.listens()
			if n := scans.Load(); n != want {
				s.Errorf("%s: INBOX is scanned %d times, want %d", what, n, want)
			}
		}
		step("a new file", func() { d.save("INBOX", "cur", "1.saved.host:2,S", note("saved"), then) },
			func(r engine.Report) bool { return r.Remote.New == 1 }, 0)
		step("a flag", func() { d.reflag(d.find("INBOX", "saved"), "FS") },
			func(r engine.Report) bool { return r.Remote.Flags == 1 }, 0)
		step("mail", func() { s.deliver("INBOX", note("third"), none) },
			func(r engine.Report) bool { return r.Local.New == 1 }, 0)
		step("a flag on the server", func() { s.check(s.phone.AddFlags(s.Context(), "INBOX", 1, flagged)) },
			func(r engine.Report) bool { return r.Local.Flags == 1 }, 0)
		step("a removal", func() { d.remove(d.find("INBOX", "saved")) },
			func(r engine.Report) bool { return r.Remote.Removed == 1 }, 2)
		step("one more flag", func() { d.reflag(d.find("INBOX", "second"), "RS") },
			func(r engine.Report) bool { return r.Remote.Flags == 1 }, 0)
		if r := w.stop(); r.code != 0 || r.stderr != "" {
			s.Errorf("it ended with %d, and said %q", r.code, r.stderr)
		}
		d.around = nil
		d.sync()
		d.quiet()
	}})
}

// leavesNothing checks that no tmp/ has anything in it.
func (d *computer) leavesNothing() {
	d.Helper()
	for _, folder := range d.folders() {
		left, err := os.ReadDir(filepath.Join(d.maildir, string(folder), "tmp"))
		if err != nil || len(left) > 0 {
			d.Errorf("tmp/ of %s has %v, %v", folder, left, err)
		}
	}
}

// Its own changes are no reason to sync once more: there are as many runs as changes.
func TestWatchDoesNotEcho(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop", `poll_interval = "1h"`)
	s.deliver("INBOX", note("first"), none)
	d.sync()
	w := d.watch(nil)
	w.run()
	for i := range 5 {
		s.deliver("Archive", note(fmt.Sprint("there ", i)), seen) // so that a run changes both sides
		d.save("INBOX", "cur", fmt.Sprintf("%d.saved.host:2,S", i), note(fmt.Sprint("here ", i)), then)
		if r := w.run(); r.Remote.New != 1 || r.Local.New != 1 {
			t.Errorf("change %d: %+v", i, r)
		}
	}
	w.stop()
	if n := len(w.runs); n != 0 {
		t.Errorf("there were %d more runs", n)
	}
}

// What goes wrong is said once, and tried again until it goes well.
func TestWatchTriesAgain(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop", `poll_interval = "1h"`)
	d.sync()
	tries := 0
	w := d.watch(func() error {
		if tries++; tries < 3 {
			return fmt.Errorf("dial: %w", mail.ErrUnreachable)
		}
		return nil
	})
	w.run()
	if r := w.stop(); r.code != 0 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "alice: dial: ") || len(w.failed) != 2 {
		t.Errorf("it ended with %d, said %q, and failed %d times", r.code, r.stderr, len(w.failed))
	}
}

// Who cannot log in is asked for a password no more often than the server is tried with one.
func TestWatchTakesARefusedPasswordForALogin(t *testing.T) {
	s := embedded(t)
	for name, setting := range map[string]string{
		"a wrong one": `password = "wrong"`, "a command that fails": `password_command = ["false"]`,
	} {
		d := s.device(name, setting)
		app := &App{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, Env: func(string) string { return "" }}
		app.rooms = app.rooms.or(app.linked())
		app.configFile, app.log = d.config, slog.New(slog.DiscardHandler)
		targets, err := app.syncTargets(nil, syncFlags{})
		s.check(err)
		w := watched{app: app, target: targets[0], tried: func() {}}
		if err := w.Sync(t.Context()); !errors.Is(err, mail.ErrLogin) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWatchIsForWholeAccounts(t *testing.T) {
	d := embedded(t).device("laptop")
	if r := d.exits(2, "watch", "alice:INBOX"); !strings.Contains(r.stderr, "whole accounts") {
		t.Errorf("it says %q", r.stderr)
	}
	d.exits(2, "watch", "bob")
}

// systemd is told what a service tells it. It waits until that is something.
func systemd(t *testing.T) (told func(want string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func(want string) {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		for got := ""; !strings.HasPrefix(got, want); { // it may be told the same again in between
			n, err := socket.Read(buf)
			if err != nil {
				t.Fatalf("it is not told %q: %v", want, err)
			}
			got = string(buf[:n])
		}
	}
}

// systemd is told how syncs end, when the first one was tried, also of an account that cannot be
// reached, now and then that all is alive, and when it is to end.
func TestWatchTellsSystemd(t *testing.T) {
	told := systemd(t)
	d := embedded(t).device("laptop", `poll_interval = "1h"`)
	t.Setenv("WATCHDOG_USEC", "300000")
	w := d.watch(func() error { return mail.ErrUnreachable })
	told("STATUS=alice: server unreachable: the next sync tries again")
	told("READY=1")
	if len(w.failed) == 0 {
		t.Error("it was told before the first sync")
	}
	told("WATCHDOG=1")
	// `systemctl reload` waits from the first of these to the second, whatever comes of it.
	for _, more := range []string{"# something else\n", "a mistake\n"} {
		text, err := os.ReadFile(d.config)
		d.check(err)
		d.check(os.WriteFile(d.config, append(text, more...), 0o600))
		d.check(syscall.Kill(os.Getpid(), syscall.SIGHUP))
		told("RELOADING=1\nMONOTONIC_USEC=")
		told("READY=1")
	}
	w.stop()
	told("STOPPING=1")
}

func TestALoopThatIsOverdueIsStuck(t *testing.T) {
	now := time.Now()
	for want, states := range map[bool][]watch.State{
		true:  {{Next: now.Add(-6 * time.Minute)}, {Next: now.Add(-time.Hour), Trouble: mail.ErrLogin}},
		false: {{}, {Next: now}, {Next: now.Add(time.Hour)}, {Next: now.Add(-time.Minute)}, {Syncing: true, Next: now.Add(-time.Hour)}},
	} {
		for _, s := range states {
			if got := isStuck(s, now); got != want {
				t.Errorf("%+v: %v", s, got)
			}
		}
	}
}

// SIGHUP has the configuration read anew: it is applied, or refused, and the old one kept.
func TestWatchReadsItsConfigurationAnew(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop", `poll_interval = "1h"`)
	d.sync()
	w := d.watch(nil)
	w.run()
	hangUp := func() {
		t.Helper()
		s.check(syscall.Kill(os.Getpid(), syscall.SIGHUP))
	}
	good, err := os.ReadFile(d.config)
	s.check(err)
	s.check(os.WriteFile(d.config, append(good, "polled = 3\n"...), 0o600))
	hangUp()
	w.says("polled")
	w.says("the configuration that was read before is kept")
	d.save("INBOX", "cur", "1.saved.host:2,S", note("saved"), then)
	w.until("it watches on", func(r engine.Report) bool { return r.Remote.New == 1 })

	s.check(os.WriteFile(d.config, append(good, "folders = [\"INBOX\"]\n"...), 0o600))
	hangUp()
	w.run()
	s.deliver("Archive", note("left out"), seen)
	s.deliver("INBOX", note("new"), seen)
	if r := d.sync(); r.Folders != 1 {
		t.Errorf("sync tells of %+v", r)
	}
	w.until("new mail", func(r engine.Report) bool { return r.Local.New == 1 })
	w.stop()
	s.want("Archive here", d.subjects("Archive"))
}
