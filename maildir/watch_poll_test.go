package maildir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// isPolled checks that what changes in a directory of Work without an event is found within a
// minute.
func (m *feigned) isPolled(t *testing.T, w *Watcher, dir string) {
	t.Helper()
	nothing(t, w.Take())
	m.touch(t, dir, time.Unix(2_000_000_000, 1))
	if c := after(w, time.Minute); !slices.Equal(wholes(c), []string{"Work"}) {
		t.Errorf("told: %+v", c)
	}
}

func TestWatchWithTooFewWatchesPollsTheRest(t *testing.T) {
	var full bool
	limit := func(m *feigned) {
		full = true
		m.addErr = func(dir string) error {
			if full && strings.HasPrefix(dir, "Work") {
				return &os.SyscallError{Syscall: "inotify_add_watch", Err: syscall.ENOSPC}
			}
			return nil
		}
	}
	feign(t, limit, func(t *testing.T, m *feigned, w *Watcher) {
		c := w.Take()
		if len(c.Notices) != 1 || !strings.Contains(c.Notices[0].Text, "3 of the 7 directories") || !strings.Contains(c.Notices[0].Text, "sysctl fs.inotify.max_user_watches=") {
			t.Errorf("told: %+v", c)
		}
		m.looks()
		nothing(t, after(w, time.Hour+time.Second))
		if n := m.looks(); n != 60*(1+3) {
			t.Errorf("looked %d times in an hour", n)
		}

		m.touch(t, "Work/cur", time.Unix(2_000_000_000, 1))
		if c := after(w, time.Minute); !slices.Equal(wholes(c), []string{"Work"}) || c.List {
			t.Errorf("told of a polled folder: %+v", c)
		}
		m.send(fsnotify.Create, "INBOX/new/a")
		synctest.Wait()
		if c := w.Take(); len(c.Folders) != 1 || !hasNew("a")(c.Folders[0]) {
			t.Errorf("told of a watched folder: %+v", c)
		}
		nothing(t, after(w, time.Hour))

		// Folders come and go inside of what is polled.
		mkdirs(t, m.root, "Work/inner/cur", "Work/inner/new")
		m.touch(t, "Work", time.Unix(2_000_000_000, 2))
		if c := after(w, time.Minute); !slices.Equal(wholes(c), []string{"Work", "Work/inner"}) || !c.List {
			t.Errorf("told of a folder made: %+v", c)
		}
		must(t, os.RemoveAll(filepath.Join(m.root, "Work")))
		if c := after(w, time.Minute); !slices.Equal(wholes(c), []string{"Work", "Work/inner"}) || !c.List {
			t.Errorf("told of folders removed: %+v", c)
		}
		mkdirs(t, m.root, "Work/cur", "Work/new")
		m.send(fsnotify.Create, "Work")
		c = after(w, time.Second)
		if !slices.Equal(wholes(c), []string{"Work"}) || !c.List || len(c.Notices) > 0 {
			t.Errorf("told of a folder made: %+v", c)
		}

		// Somebody raises the limit. What changed before the watch was set is told.
		m.mu.Lock()
		full = false
		m.mu.Unlock()
		m.touch(t, "Work/new", time.Unix(2_000_000_000, 3))
		if c := after(w, time.Minute); !slices.Equal(wholes(c), []string{"Work"}) {
			t.Errorf("told when watches were set: %+v", c)
		}
		if got := m.watching(); !slices.Equal(got, allDirs) {
			t.Errorf("watched: %q", got)
		}
		m.looks()
		nothing(t, after(w, time.Hour))
		if n := m.looks(); n > 61 {
			t.Errorf("looked %d times in an hour", n)
		}
	})
}

func TestWatchWithoutInotifyPolls(t *testing.T) {
	none := func(m *feigned) { m.openErr = os.NewSyscallError("inotify_init1", syscall.EMFILE) }
	feign(t, none, func(t *testing.T, m *feigned, w *Watcher) {
		c := w.Take()
		if len(c.Notices) != 1 || !strings.Contains(c.Notices[0].Text, "sysctl fs.inotify.max_user_instances=") {
			t.Errorf("told: %+v", c)
		}
		nothing(t, after(w, time.Hour))
		m.touch(t, "INBOX/new", time.Unix(2_000_000_000, 1))
		if c := after(w, time.Minute); !slices.Equal(wholes(c), []string{"INBOX"}) {
			t.Errorf("told: %+v", c)
		}
		// A time of just now may be that of the next change, too.
		m.touch(t, "INBOX/new", time.Now().Add(time.Minute-10*time.Millisecond))
		for range 2 {
			if c := after(w, time.Minute); !slices.Equal(wholes(c), []string{"INBOX"}) {
				t.Errorf("told: %+v", c)
			}
		}
		nothing(t, after(w, time.Hour))

		m.mu.Lock()
		m.openErr = nil
		m.mu.Unlock()
		nothing(t, after(w, time.Minute))
		if got := m.watching(); !slices.Equal(got, allDirs) {
			t.Errorf("watched: %q", got)
		}
	})
}

func TestWatchOfASystemWithoutEventsIsSilentAboutIt(t *testing.T) {
	none := func(m *feigned) { m.openErr = errors.ErrUnsupported }
	feign(t, none, func(t *testing.T, m *feigned, w *Watcher) {
		m.isPolled(t, w, "Work/new")
	})
}

// Other machines change it, of which there are no events; of what this one does, there are.
func TestWatchOnANetworkPollsAndListens(t *testing.T) {
	nfs := func(m *feigned) { m.alien, m.lag = true, 90*time.Second }
	feign(t, nfs, func(t *testing.T, m *feigned, w *Watcher) {
		nothing(t, w.Take())
		m.send(fsnotify.Create, "INBOX/new/a")
		synctest.Wait()
		if c := w.Take(); len(c.Folders) != 1 || !hasNew("a")(c.Folders[0]) {
			t.Errorf("told: %+v", c)
		}
		m.touch(t, "INBOX/new", time.Now().Add(30*time.Second))
		// It is told of until everybody would show it.
		for range 2 {
			if c := after(w, time.Minute); !slices.Equal(wholes(c), []string{"INBOX"}) {
				t.Errorf("told: %+v", c)
			}
		}
		nothing(t, after(w, time.Hour))
	})
}

// A directory that may not be read is polled, and its folders are there still.
func TestWatchOfADirectoryThatCannotBeWatchedPollsIt(t *testing.T) {
	denied := func(m *feigned) {
		m.addErr = func(dir string) error {
			if dir == "Work/cur" {
				return syscall.EACCES
			}
			return nil
		}
	}
	feign(t, denied, func(t *testing.T, m *feigned, w *Watcher) {
		m.isPolled(t, w, "Work/cur")
	})
}
