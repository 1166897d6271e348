package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/watch"
)

// errUnanswered: there was no watch to be asked.
var errUnanswered = errors.New("the watch did not answer")

// asks runs a command line that can do nothing but ask a watch.
func (d *computer) asks(ctx context.Context, args ...string) result {
	var stdout, stderr bytes.Buffer
	app := &App{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Env: func(k string) string { return d.env[k] }}
	app.rooms.open = func(context.Context, config.Account, bool) (*session, error) { return nil, errUnanswered }
	code := app.Run(ctx, append([]string{"--config", d.config}, args...))
	return result{code, stdout.String(), stderr.String()}
}

// A watch that tells systemd that it is ready answers, also where its first sync had to make the Maildir.
func TestAWatchThatIsReadyAnswers(t *testing.T) {
	for name, synced := range map[string]bool{"synced before": true, "the first time": false} {
		t.Run(name, func(t *testing.T) {
			told := systemd(t)
			d := embedded(t).device("laptop", `poll_interval = "1h"`)
			if synced {
				d.sync()
			}
			w := d.watch(nil)
			defer w.stop()
			told("READY=1")
			if r := d.asks(t.Context(), "sync"); r.code != exitOK {
				t.Errorf("sync ends with %d: %s", r.code, r.stderr)
			}
		})
	}
}

// While an account is watched, `sync` has the watch sync it, and prints what that says: the counts,
// what is held, what went wrong, and the exit code.
func TestSyncAsksTheWatch(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop", `poll_interval = "1h"`)
	s.deliver("INBOX", note("first"), none)
	s.deliver("INBOX", note("second"), none)
	d.sync()
	var away atomic.Bool
	w := d.watch(func() error {
		if away.Load() {
			return fmt.Errorf("dial: %w", mail.ErrUnreachable)
		}
		return nil
	})
	w.run()

	s.deliver("Archive", note("third"), seen)
	if r := d.sync(); r.Local.New != 1 || r.RoundTrips == 0 {
		t.Errorf("sync tells of %+v", r)
	}
	if r := w.run(); r.Local.New != 1 {
		t.Errorf("the watch did %+v", r)
	}
	s.want("Archive here", d.subjects("Archive"), "third")

	s.deliver("Archive", note("fourth"), seen)
	d.exits(0, "sync", "alice:Archive")
	if r := w.run(); r.Local.New != 1 { // what was asked; the ordinary run follows
		t.Errorf("the watch did %+v", r)
	}
	w.run()

	away.Store(true)
	asked := d.exits(75, "sync")
	<-w.failed
	w.stop()
	if want := "mailtwin: alice: dial: server unreachable: the next sync tries again\n"; asked.stderr != want || asked.stdout != "" {
		t.Errorf("sync prints %q and %q, want %q", asked.stdout, asked.stderr, want)
	}
	d.sync()
}

// `status` asks the watch what it is at.
func TestStatusTellsOfTheWatch(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop", `poll_interval = "1h"`)
	d.sync()
	if r := d.exits(0, "status"); strings.Contains(r.stdout, "watched") || d.status().Watch != nil {
		t.Errorf("without a watch it prints %q", r.stdout)
	}
	w := d.watch(nil)
	w.run()
	s.deliver("Archive", note("third"), seen)
	d.sync()
	want := fmt.Sprintf("watched by process %d since ", os.Getpid())
	if r := d.exits(0, "status"); !strings.Contains(r.stdout, want) || !strings.Contains(r.stdout, "last change here ") {
		t.Errorf("it prints %q", r.stdout)
	}
	live := d.status().Watch
	if live == nil || live.PID != os.Getpid() || live.Here == nil || live.There != nil {
		t.Errorf("--json has %+v", live)
	}
}

func TestWhatAWatchIsAt(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	then := localTime(&at)
	for want, state := range map[string]watch.State{
		"syncing": {Syncing: true},
		"the server announces changes; next sync by " + then:                 {Linked: at, Everything: true, Next: at},
		"the server announces changes in some folders; next sync by " + then: {Linked: at, Next: at},
		"server unreachable; tried again at " + then:                         {Next: at, Trouble: mail.ErrUnreachable},
	} {
		want = fmt.Sprintf("watched by process %d since %s; %s; last change on the server %s", os.Getpid(), then, want, then)
		if got := newLiveStatus(state, &watched{since: at, there: at}).String(); got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	}
}

// What is held is held by the watch, too, and let go by who asks it to.
func TestSyncConsentsThroughTheWatch(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop", `poll_interval = "1h"`)
	for i := range 30 {
		s.deliver("Archive", note(fmt.Sprint("message ", i)), seen)
	}
	d.sync()
	for _, f := range d.files("Archive") {
		d.remove(f)
	}
	w := d.watch(nil)
	w.until("the removals are held", func(r engine.Report) bool { return len(r.Held) == 1 && r.Held[0].Count == 30 })
	r := d.exits(1, "sync")
	if !strings.Contains(r.stderr, "held: 30 messages gone from the Maildir") || !strings.Contains(r.stderr, "--allow-deletes alice:Archive") {
		t.Errorf("sync prints %q", r.stderr)
	}
	if r := d.sync("--allow-deletes", "alice:Archive"); r.Remote.Removed != 30 {
		t.Errorf("sync tells of %+v", r)
	}
	s.want("Archive on the server", s.there("Archive"))
}

// A watch that has read another configuration is not asked: the sync is done without it.
func TestSyncDoesNotAskAWatchOfAnotherConfiguration(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop", `poll_interval = "1h"`)
	d.sync()
	w := d.watch(nil)
	w.run()
	d.again(`poll_interval = "2h"`)
	s.deliver("Archive", note("third"), seen)
	r := d.exits(0, "sync")
	if !strings.Contains(r.stderr, "another configuration: send it SIGHUP") {
		t.Errorf("sync prints %q", r.stderr)
	}
	s.want("Archive here", d.subjects("Archive"), "third")
	if len(w.runs) > 0 {
		t.Error("the watch did it")
	}
}

// Of a watch that died there is a socket left: nobody answers there, and the next watch takes it.
func TestSyncWithoutTheWatchThatDied(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop", `poll_interval = "1h"`)
	d.sync()
	w := d.watch(nil)
	w.run()
	app := &App{Env: func(string) string { return "" }, configFile: d.config}
	s.check(app.load())
	path := app.socketOf("alice")
	info, err := os.Stat(path)
	s.check(err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v", info.Mode())
	}
	s.check(os.Rename(path, path+".old"))
	w.stop()
	s.check(os.Rename(path+".old", path))
	d.sync()
	w = d.watch(nil)
	w.run()
	s.deliver("Archive", note("third"), seen)
	d.sync()
	if r := w.run(); r.Local.New != 1 {
		t.Errorf("the watch did %+v", r)
	}
	w.stop()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket stays: %v", err)
	}
}

// What a watch tells of an outcome prints and ends as if it had been met here.
func TestAnOutcomeThatIsTold(t *testing.T) {
	for _, err := range []error{
		nil, errors.New("plain"), fmt.Errorf("dial: %w", mail.ErrUnreachable), fmt.Errorf("login: %w", mail.ErrLogin),
		errors.Join(mail.ErrLogin, mail.ErrTryLater), mail.ErrUntrusted, mail.ErrLayout, mail.ErrNoSpace, mail.ErrMissing,
		&busyError{pid: 7, waited: time.Second}, fmt.Errorf("sync: %w", &busyError{}),
	} {
		for _, problem := range []error{nil, mail.ErrUnreachable, errors.New("odd")} {
			o := outcome{account: "alice", err: err, duration: time.Second, traffic: mail.Traffic{BytesIn: 3}, report: engine.Report{
				Folders: 2, Local: engine.Counts{New: 1}, Held: []engine.Held{{Folder: "Archive", Side: mail.Remote, Count: 3, Why: "many"}},
				Skipped: []mail.Notice{{Folder: "a", Text: "b"}}, Changed: []mail.Folder{"INBOX"},
			}}
			if problem != nil {
				o.report.Problems = []*engine.Problem{{Folder: "Lists", Err: problem, Hint: "do"}, {Err: problem}}
			}
			text, failed := json.Marshal(tellOutcome(o))
			var told toldOutcome
			if failed = errors.Join(failed, json.Unmarshal(text, &told)); failed != nil {
				t.Fatal(failed)
			}
			heard := told.heard()
			lines := func(o outcome) (all []string) {
				for _, c := range o.complaints() {
					all = append(all, c.String())
				}
				return append(all, o.summary(false))
			}
			if got, want := lines(heard), lines(o); !reflect.DeepEqual(got, want) || heard.code() != o.code() {
				t.Errorf("%v, %v: it prints %q and ends with %d, want %q and %d", err, problem, got, heard.code(), want, o.code())
			}
			if got, want := newAccountReport(heard), newAccountReport(o); !reflect.DeepEqual(got, want) {
				t.Errorf("%v: --json has %+v, want %+v", err, got, want)
			}
		}
	}
}
