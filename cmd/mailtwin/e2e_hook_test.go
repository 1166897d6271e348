package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	engine "mailtwin/sync"
)

// withBob gives the computer a second account, which is alice's on the server.
func (d *computer) withBob() {
	d.Helper()
	text, err := os.ReadFile(d.config)
	d.check(err)
	state, alice, _ := strings.Cut(string(text), "\n")
	bob := strings.NewReplacer("accounts.alice", "accounts.bob", `"Mail"`, `"Mail of bob"`).Replace(alice)
	d.check(os.WriteFile(d.config, []byte(state+"\n"+alice+bob), 0o600))
}

// hooked is a computer with two accounts, alice and bob, which are one on the server, and whose
// post_sync commands note in a file that they ran, and whether another one did at the time.
func (s *story) hooked() (d *computer, ran func() []string) {
	s.Helper()
	busy, log := filepath.Join(s.dir, "busy"), filepath.Join(s.dir, "log")
	hook := fmt.Sprintf(`post_sync = "mkdir %s || echo twice >> %s; sleep 0.3; echo $MAILTWIN_ACCOUNT >> %s; rmdir %s"`, busy, log, log, busy)
	d = s.device("laptop", `poll_interval = "1h"`, hook)
	d.withBob()
	return d, func() []string {
		text, err := os.ReadFile(log)
		if err != nil && !os.IsNotExist(err) {
			s.Fatal(err)
		}
		return strings.Fields(string(text))
	}
}

// The post_sync commands of several accounts run one after the other: what they work on is often
// one thing, such as the index of all mail.
func TestPostSyncOfSeveralAccounts(t *testing.T) {
	t.Parallel()
	t.Run("watch", func(t *testing.T) {
		t.Parallel()
		s := embedded(t)
		d, ran := s.hooked()
		w := d.watch(nil)
		for n := range 2 {
			s.deliver("INBOX", note(strconv.Itoa(n)), none)
			got := 0
			w.until("it for both", func(r engine.Report) bool { got += r.Local.New; return got == 2 })
			for tries := 0; len(ran()) < 2*(n+1); tries++ {
				if tries == 600 {
					t.Fatalf("only %q ran", ran())
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		if r := w.stop(); r.code != 0 || r.stderr != "" {
			t.Errorf("it ended with %d, and said %q", r.code, r.stderr)
		}
		s.want("ran", slices.Sorted(slices.Values(ran())), "alice", "alice", "bob", "bob")
	})
	t.Run("sync", func(t *testing.T) {
		t.Parallel()
		s := embedded(t)
		d, ran := s.hooked()
		s.deliver("INBOX", note("one"), none)
		d.exits(0, "sync")
		s.want("ran", slices.Sorted(slices.Values(ran())), "alice", "bob")
	})
	t.Run("syncs that do not know of one another", func(t *testing.T) {
		t.Parallel()
		s := embedded(t)
		d, ran := s.hooked()
		for n := range 3 {
			s.deliver("INBOX", note(strconv.Itoa(n)), none)
			for _, p := range []*process{d.start(nil, "sync", "alice"), d.start(nil, "sync", "bob")} {
				if code := p.end(); code != 0 {
					t.Errorf("sync ends with %d, and says %q", code, p.stderr.String())
				}
			}
		}
		s.want("ran", slices.Sorted(slices.Values(ran())), "alice", "alice", "alice", "bob", "bob", "bob")
	})
}

// That the command fails is said once, and is no trouble with the network: the watch goes on.
func TestWatchWhosePostSyncFails(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	d := s.device("laptop", `poll_interval = "1h"`, `post_sync = ["false"]`)
	w := d.watch(nil)
	w.run()
	s.deliver("INBOX", note("one"), none)
	w.says("alice: post_sync: false: exit status 1")
	if live := d.listens(); live.Trouble != nil {
		t.Errorf("it waits out %q", *live.Trouble)
	}
	s.deliver("INBOX", note("two"), none)
	w.until("it goes on", func(r engine.Report) bool { return r.Local.New == 1 })
	// Who asks is told, since it is as if he had done it himself, unless another sync comes first.
	told := result{}
	for n := 0; n < 20 && told.code == 0; n++ {
		s.deliver("Archive", note(fmt.Sprint("more ", n)), seen) // which is not announced
		told = d.run("sync")
	}
	if told.code != 1 || told.stderr != "mailtwin: alice: post_sync: false: exit status 1\n" {
		t.Errorf("sync ends with %d, and says %q", told.code, told.stderr)
	}
	if r := w.stop(); r.code != 0 || strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("it ended with %d, and said %q", r.code, r.stderr)
	}
}
