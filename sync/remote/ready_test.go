package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim/remotetest"
)

// countingSelects is a server that counts the SELECTs of each folder, and refuses those of Bad.
// release must be closed before it answers the first SELECT of a session.
func countingSelects(t *testing.T, release chan struct{}) (opts Options, selects func(name string) int) {
	var mu sync.Mutex
	seen := map[string]int{}
	opts = scripted(t, func(s *script) {
		s.login("UIDPLUS MOVE")
		for first := true; ; {
			tag, command := s.hear()
			switch {
			case strings.HasPrefix(command, "LIST"):
				for i := range 3 {
					s.say(fmt.Sprintf(`* LIST () "/" Box%d`, i))
				}
				s.say(`* LIST () "/" Bad`, tag+" OK done")
			case strings.HasPrefix(command, "SELECT"):
				if first {
					first = false
					<-release
				}
				name := strings.Trim(strings.Fields(command)[1], `"`)
				mu.Lock()
				seen[name]++
				mu.Unlock()
				if name == "Bad" {
					s.say(tag + " NO not today")
					break
				}
				s.say("* 4 EXISTS", "* OK [UIDVALIDITY 7] so", "* OK [UIDNEXT 5] so", tag+" OK [READ-WRITE] done")
			case strings.HasPrefix(command, "UID STORE"):
				s.say("* 1 FETCH (UID 1 FLAGS (\\Seen))", tag+" OK done")
			default:
				s.say(tag + " OK done")
			}
		}
	})
	return opts, func(name string) int {
		mu.Lock()
		defer mu.Unlock()
		return seen[name]
	}
}

// knowing opens an account there that knows the folders.
func knowing(t *testing.T, release chan struct{}, connections int) (a *Account, selects func(name string) int) {
	opts, selects := countingSelects(t, release)
	opts.Connections = connections
	a = open(t, opts)
	if _, err := a.Folders(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a, selects
}

// flag sets a flag of one message.
func flag(t *testing.T, a *Account, folder mail.Folder, uid mail.UID) error {
	return remotetest.Store(t.Context(), a, folder, 7, mail.UIDs(uid), seen, mail.Flags{}, nil)
}

// Folders that are about to be changed are selected ahead, each on a session of its own, and whoever
// changes them gets that session, though another one is free, or he has to wait for it.
func TestFoldersAreSelectedAhead(t *testing.T) {
	release := make(chan struct{})
	a, selects := knowing(t, release, 3)
	a.Ready(t.Context(), 3, []mail.Folder{"Box0", "Box1", "Box2"})
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			if err := flag(t, a, mail.Folder(fmt.Sprint("Box", 2-i)), 1); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	wg.Wait()
	for i := range 3 {
		if n := selects(fmt.Sprint("Box", i)); n != 1 {
			t.Errorf("Box%d was selected %d times", i, n)
		}
	}
}

// A folder that cannot be selected ahead is waited for by nobody, and who changes it is told why.
func TestAFolderThatCannotBeSelectedAheadIsNotWaitedFor(t *testing.T) {
	release := make(chan struct{})
	close(release)
	a, _ := knowing(t, release, 2)
	a.Ready(t.Context(), 2, []mail.Folder{"Bad", "Box0"})
	if err := flag(t, a, "Bad", 1); !errors.Is(err, mail.ErrRefused) {
		t.Errorf("the folder was changed: %v", err)
	}
	if err := flag(t, a, "Box0", 1); err != nil {
		t.Error(err)
	}
}

// Sessions that are wanted before the first login has worked are opened after it, whatever has become
// of the call that wanted them.
func TestSessionsWaitForTheFirstLogin(t *testing.T) {
	release := make(chan struct{})
	close(release)
	opts, _ := countingSelects(t, release)
	opts.Connections = 3
	a := open(t, opts)
	ctx, cancel := context.WithCancel(t.Context())
	a.Ready(ctx, 3, nil)
	cancel()
	if n := a.Traffic().Connections; n != 0 {
		t.Fatalf("%d sessions before anything was asked for", n)
	}
	if _, err := a.Folders(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	for len(a.idle) < 3 { // the test's own time bounds it
		changed := a.changed
		a.mu.Unlock()
		<-changed
		a.mu.Lock()
	}
	a.mu.Unlock()
}

// A message that was there when a session selected its folder can be changed by it, whatever has come
// since; one that was not takes another SELECT.
func TestWhatHasComeSinceTakesAnotherSelect(t *testing.T) {
	release := make(chan struct{})
	close(release)
	a, selects := knowing(t, release, 1)
	for _, c := range []struct {
		uid  mail.UID
		want int
	}{{1, 1}, {4, 1}, {5, 2}} {
		if err := flag(t, a, "Box0", c.uid); err != nil {
			t.Fatal(err)
		}
		if n := selects("Box0"); n != c.want {
			t.Errorf("before UID %d was changed it was selected %d times, want %d", c.uid, n, c.want)
		}
		a.scans.begin("Box0") // something was brought there
	}
}
