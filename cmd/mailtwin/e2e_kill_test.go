package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
	"mailtwin/sync/sim"
)

// What the environment of a child process says; only tests read it.
const (
	killAt     = "MAILTWIN_TEST_KILL_AT"   // the step at which the process kills itself; 0 for none
	childStats = "MAILTWIN_TEST_STATS"     // a file for the number of steps, the peak of its memory, and all that it allocated, in kB
	childName  = "mailtwin-that-is-killed" // what the test's binary is called to be that process
)

// runToBeKilled is the program as main runs it, but for what stands between the
// engine and its sides.
func runToBeKilled() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	at, err := strconv.Atoi(os.Getenv(killAt))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	}
	crash := sim.NewCrash(at)
	crash.Stop = func() {
		if names := crash.Names(); len(names) > 0 {
			os.WriteFile(os.Getenv(childStats)+".struck", []byte(names[len(names)-1]), 0o600) // who reads it misses it
		}
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal comes in a moment
	}
	app := &App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv}
	app.rooms.open = func(ctx context.Context, acc config.Account, dryRun bool) (*session, error) {
		s, err := app.open(ctx, acc, dryRun)
		if err != nil {
			return nil, err
		}
		s.opts.Local, s.opts.Remote, s.opts.State = crash.Local(s.opts.Local), crash.Remote(s.opts.Remote), crash.State(s.opts.State)
		return s, nil
	}
	code := app.Run(ctx, os.Args[1:])
	if name := os.Getenv(childStats); name != "" {
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		if err := os.WriteFile(name, fmt.Appendf(nil, "%d %d %d", crash.Steps(), peakMemory(), mem.TotalAlloc>>10), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitFailed
		}
	}
	return code
}

// peakMemory is the most that the process ever had in memory, in kB; 0 where that is
// not known.
func peakMemory() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kb int
	fmt.Sscan(rest, &kb) // 0 where it is not there
	return kb
}

// child syncs in a process of its own, which kills itself at that step, or tells how many
// there were, and how many kB it has allocated.
func (d *computer) child(at int) (killed bool, steps, allocated int) {
	d.Helper()
	self, err := os.Executable()
	d.check(err)
	stats := filepath.Join(d.dir, "stats")
	cmd := exec.CommandContext(d.Context(), self)
	cmd.Args = []string{childName, "--config", d.config, "sync"}
	cmd.Env = append(os.Environ(), killAt+"="+strconv.Itoa(at), childStats+"="+stats)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true, 0, 0
	}
	if err != nil {
		d.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(stats)
	d.check(err)
	var peak int
	_, err = fmt.Sscan(string(text), &steps, &peak, &allocated)
	d.check(err)
	return false, steps, allocated
}

// mixed brings about something of everything that a run can meet.
func mixed(s *story) *computer {
	d := s.device("laptop")
	uids := map[string]mail.UID{}
	for _, name := range []string{"flag here", "flag there", "delete here", "delete there", "move here", "rewrite here", "still"} {
		uids[name] = s.deliver("INBOX", note(name), seen)
	}
	d.sync()
	d.reflag(d.find("INBOX", "flag here"), "FS")
	d.remove(d.find("INBOX", "delete here"))
	f := d.find("INBOX", "move here")
	s.check(os.Rename(f.path, filepath.Join(d.maildir, "Archive", "cur", "moved.a.host:2,S")))
	f = d.find("INBOX", "rewrite here")
	d.remove(f)
	d.save("INBOX", "cur", "rewritten.a.host:2,S", f.text+"More.\n", then)
	d.save("INBOX", "new", "1.a.host", note("new here"), then)
	d.save("Work", "cur", "2.a.host:2,R", note("new in a new folder here"), then)
	s.check(s.phone.AddFlags(s.Context(), "INBOX", uids["flag there"], mail.Flags{System: mail.Answered, Keywords: mail.NewKeywords("work")}))
	s.check(s.phone.Delete(s.Context(), "INBOX", uids["delete there"]))
	s.deliver("INBOX", note("new there"), none)
	s.deliver("Sent", note("new there"), seen)
	s.check(s.phone.CreateFolder(s.Context(), "Play ground", mail.RoleNone))
	s.deliver("Play ground", note("new in a new folder there"), flagged)
	return d
}

// account tells of all folders of the server, and what is in them.
func (s *story) account() []string {
	s.Helper()
	var all []string
	listed, err := s.phone.List(s.Context())
	s.check(err)
	for _, f := range listed {
		if f.NoSelect {
			continue
		}
		all = append(all, string(f.Name))
		for _, m := range s.messages(f.Name) {
			all = append(all, string(f.Name)+": "+describe(onDisk(string(m.Raw)), m.Flags, m.Date))
		}
	}
	return all
}

// without gives what is in a and not in b; what is there twice counts twice.
func without(a, b []string) []string {
	b = slices.Clone(b)
	var left []string
	for _, x := range a {
		if i := slices.Index(b, x); i >= 0 {
			b = slices.Delete(b, i, i+1)
		} else {
			left = append(left, x)
		}
	}
	return left
}

// A run that is killed at any of its steps, and then run again, ends as if nothing
// had happened: nothing is lost, nothing is doubled, and one more run does nothing.
// MAILTWIN_LONG=1 takes all steps, otherwise some 25 of them are taken.
func TestKilled(t *testing.T) {
	t.Parallel()
	server := dovecot.Start(t, dovecot.Users("whole"))
	whole := mixed(newStory(t, server, "whole"))
	_, steps, _ := whole.child(0)
	settle(whole)
	whole.same()
	want := whole.account()
	if steps < 60 {
		t.Fatalf("the run has only %d steps", steps)
	}
	stride := max(1, steps/25)
	if os.Getenv("MAILTWIN_LONG") == "1" {
		stride = 1
	}
	all := map[string]func(s *story){}
	for at := 1; at <= steps; at += stride {
		all[fmt.Sprintf("at step %d of %d", at, steps)] = func(s *story) {
			d := mixed(s)
			if killed, n, _ := d.child(at); !killed {
				s.Logf("it ended after %d steps", n) // their number depends a little on chance
			}
			d.sync()
			d.sync()
			d.quiet()
			d.same()
			got := d.account()
			s.want("there too much", without(got, want))
			s.want("missing", without(want, got))
		}
	}
	stories(t, all)
}

// A message goes through in pieces: a large one has no more allocated than a small one, all
// told, whenever garbage is collected.
func TestMemoryDoesNotGrowWithMessages(t *testing.T) {
	const limit = 2 << 10 // kB
	size := 100 << 20
	if raceMemory > 1 {
		size = 20 << 20 // the race detector takes half a minute for 100 MB
	}
	stories(t, map[string]func(s *story){"a large message, down and up": func(s *story) {
		d := s.device("laptop")
		s.deliver("INBOX", note("first"), none)
		d.child(0)
		large := strings.Repeat(strings.Repeat("0123456789 ", 6)+"\n", size/67)
		s.deliver("INBOX", note("small there"), none)
		_, _, usualDown := d.child(0)
		s.deliver("INBOX", note("large there")+large, none)
		_, _, down := d.child(0)
		d.save("INBOX", "new", "1.a.host", note("small here"), then)
		_, _, usualUp := d.child(0)
		d.save("INBOX", "new", "2.a.host", note("large here")+large, then)
		_, _, up := d.child(0)
		s.Logf("down %d kB and %d kB, up %d kB and %d kB", usualDown, down, usualUp, up)
		if down > usualDown+limit || up > usualUp+limit {
			s.Errorf("a small message took %d kB down and %d kB up, and a large one %d kB and %d kB", usualDown, usualUp, down, up)
		}
		d.want("INBOX", d.subjects("INBOX"), "first", "large here", "large there", "small here", "small there")
		d.same()
	}})
}
