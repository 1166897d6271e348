package maildir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"mailtwin/conflict/mail"
)

func TestWatchIsQuietWhereNothingHappens(t *testing.T) {
	feign(t, nil, func(t *testing.T, m *feigned, w *Watcher) {
		if got := m.watching(); !slices.Equal(got, allDirs) {
			t.Errorf("watched: %q", got)
		}
		nothing(t, w.Take())
		m.looks()
		nothing(t, after(w, 24*time.Hour))
		if n := m.looks(); n > 24*60 {
			t.Errorf("looked %d times in a day", n)
		}
		select {
		case <-w.Ready():
			t.Error("ready without news")
		default:
		}
	})
}

func TestWatchMergesUntilTaken(t *testing.T) {
	feign(t, nil, func(t *testing.T, m *feigned, w *Watcher) {
		m.send(fsnotify.Create, "INBOX/new/b")
		m.send(fsnotify.Create, "INBOX/new/a")
		m.send(fsnotify.Chmod, "Work/new/a")
		m.send(fsnotify.Write, "INBOX/new/a")
		m.send(fsnotify.Create, "INBOX/cur/c:2,")
		m.send(fsnotify.Rename, "INBOX/cur/c:2,")
		m.send(fsnotify.Create, "INBOX/cur/c:2,S")
		m.send(fsnotify.Remove, "Work/cur/x:2,")
		synctest.Wait()
		<-w.Ready()
		c := w.Take()
		want := []mail.FolderChanges{
			{Name: "INBOX", Files: []mail.File{
				{Key: "a", Name: "a", New: true}, {Key: "b", Name: "b", New: true}, {Key: "c", Name: "c:2,"}, {Key: "c", Name: "c:2,S"},
			}},
			{Name: "Work", Files: []mail.File{{Key: "x", Name: "x:2,"}}},
		}
		if fmt.Sprintf("%+v", c.Folders) != fmt.Sprintf("%+v", want) || c.All || c.List {
			t.Errorf("told: %+v", c)
		}
		nothing(t, after(w, time.Hour))
	})
}

func TestWatchCountsABurstAsTheWholeFolder(t *testing.T) {
	feign(t, nil, func(t *testing.T, m *feigned, w *Watcher) {
		for i := range maxNames + 1 {
			m.send(fsnotify.Create, fmt.Sprintf("INBOX/cur/%d", i))
			if i%1000 == 0 {
				synctest.Wait()
			}
		}
		m.send(fsnotify.Create, "Work/cur/a")
		synctest.Wait()
		c := w.Take()
		if !slices.Equal(wholes(c), []string{"INBOX"}) || len(c.Folders) != 2 || len(c.Folders[0].Files) > 0 || len(c.Folders[1].Files) != 1 {
			t.Errorf("told: %+v", c)
		}
		m.send(fsnotify.Create, "INBOX/cur/a")
		synctest.Wait()
		if c := w.Take(); len(c.Folders) != 1 || !hasCur("a")(c.Folders[0]) {
			t.Errorf("afterwards: %+v", c)
		}
	})
}

func TestNewsIsBounded(t *testing.T) {
	var n news
	for f := range 100 {
		for i := range 2000 {
			n.touched(mail.Folder(fmt.Sprint(f)), i%2 == 0, fmt.Sprint(i))
		}
	}
	names, whole := 0, 0
	c := n.take()
	for _, f := range c.Folders {
		names += len(f.Files)
		if f.Whole {
			whole++
		}
	}
	if len(c.Folders) != 100 || names > maxAllNames || names+2000*whole < 200_000 {
		t.Errorf("%d folders, %d of them whole, %d names", len(c.Folders), whole, names)
	}
	if !n.empty() || n.names != 0 {
		t.Errorf("left: %+v", n)
	}
}

// While nobody reads the queue.
func TestQueueIsBounded(t *testing.T) {
	q := queue{ready: make(chan struct{}, 1)}
	for range 3 * maxQueue {
		q.add(fsnotify.Event{Name: "/x", Op: fsnotify.Create})
	}
	if events, lost := q.take(); len(events) != maxQueue || !lost {
		t.Errorf("%d events, lost: %v", len(events), lost)
	}
	if events, lost := q.take(); len(events) != 0 || lost {
		t.Errorf("then %d events, lost: %v", len(events), lost)
	}
}

func TestWatchThatLostEventsTellsOfEverything(t *testing.T) {
	feign(t, nil, func(t *testing.T, m *feigned, w *Watcher) {
		m.send(fsnotify.Create, "INBOX/new/a")
		m.source.errs <- fsnotify.ErrEventOverflow
		mkdirs(t, m.root, "Made/cur", "Made/new") // of which there was an event
		c := after(w, 2*stormy)
		if !c.All || c.Replaced || len(c.Folders) > 0 {
			t.Errorf("told: %+v", c)
		}
		if got := m.watching(); m.opened != 2 || !slices.Contains(got, "Made/new") || len(got) != 10 {
			t.Errorf("watched: %q, opened %d times", got, m.opened)
		}
		nothing(t, after(w, time.Hour))
	})
}

// A disk that is unmounted and mounted again may be the same one by all that can be asked.
func TestWatchNoticesWatchesThatAreGone(t *testing.T) {
	feign(t, nil, func(t *testing.T, m *feigned, w *Watcher) {
		m.mu.Lock()
		clear(m.source.paths)
		m.mu.Unlock()
		if c := after(w, time.Minute); !c.All || c.Replaced {
			t.Errorf("told: %+v", c)
		}
		if got := m.watching(); !slices.Equal(got, allDirs) {
			t.Errorf("watched: %q", got)
		}
		nothing(t, after(w, time.Hour))
	})
}

func TestWatchNoticesWithoutEventsThatTheMaildirIsAnotherOne(t *testing.T) {
	feign(t, nil, func(t *testing.T, m *feigned, w *Watcher) {
		// Unmounted: the directory that it was mounted on is left.
		must(t, os.Rename(m.root, m.root+"-away"))
		mkdirs(t, m.root, ".")
		if c := after(w, time.Minute); !c.All || !c.Replaced {
			t.Errorf("unmounted: %+v", c)
		}
		if got := m.watching(); !slices.Equal(got, []string{""}) {
			t.Errorf("watched: %q", got)
		}
		// Mounted again, which is noticed sooner.
		must(t, os.Remove(m.root))
		must(t, os.Rename(m.root+"-away", m.root))
		if c := after(w, lookFor); !c.All || !c.Replaced {
			t.Errorf("mounted: %+v", c)
		}
		if got := m.watching(); !slices.Equal(got, allDirs) {
			t.Errorf("watched: %q", got)
		}
		// Gone, while the news of it is not taken; and back.
		must(t, os.Rename(m.root, m.root+"-away"))
		m.send(fsnotify.Rename, "")
		c := after(w, 2*settling)
		if !errors.Is(c.Lost, mail.ErrMissing) || c.All || len(m.watching()) > 0 {
			t.Errorf("gone: %+v, watched: %q", c, m.watching())
		}
		nothing(t, after(w, time.Hour))
		must(t, os.Rename(m.root+"-away", m.root))
		if c := after(w, lookFor); !c.All || c.Replaced || c.Lost != nil {
			t.Errorf("back: %+v", c)
		}
		nothing(t, after(w, time.Hour))
	})
}

func TestWatchEnds(t *testing.T) {
	feign(t, nil, func(t *testing.T, m *feigned, w *Watcher) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := w.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait: %v", err)
		}
		m.send(fsnotify.Create, "INBOX/new/a")
		synctest.Wait()
		w.Close()
		w.Close()
		if !m.source.closed {
			t.Error("the source is open")
		}
		if c, err := w.Wait(t.Context()); err != nil || len(c.Folders) != 1 {
			t.Errorf("Wait for what was left: %+v, %v", c, err)
		}
		if _, err := w.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Wait: %v", err)
		}
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	root := t.TempDir()
	mkdirs(t, root, "INBOX/cur", "INBOX/new")
	synctest.Test(t, func(t *testing.T) {
		m := &feigned{root: root}
		ctx, cancel := context.WithCancel(t.Context())
		w := watch(ctx, root, WatchOptions{}, m.machine())
		cancel()
		if _, err := w.Wait(t.Context()); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Wait: %v", err)
		}
		w.Close()
	})
}

// A new directory may have the inode of the one that was there, whose watch went with it.
func TestWatchIsSetAgainOnADirectoryThatIsMadeAnew(t *testing.T) {
	feign(t, nil, func(t *testing.T, m *feigned, w *Watcher) {
		must(t, m.source.Remove(filepath.Join(m.root, "Work/cur")))
		m.send(fsnotify.Remove, "Work/cur")
		m.send(fsnotify.Create, "Work/cur")
		if c := after(w, time.Second); !slices.Equal(wholes(c), []string{"Work"}) || c.List || c.All {
			t.Errorf("told: %+v", c)
		}
		if got := m.watching(); !slices.Equal(got, allDirs) {
			t.Errorf("watched: %q", got)
		}
	})
}

// There are no events of what is made in a directory before that has a watch, and the listing
// that has shown the directory was earlier.
func TestWatchFindsWhatWasMadeBeforeTheWatchWasSet(t *testing.T) {
	meanwhile := map[string]string{"Made": "Made/inner", "Made/inner": "Made/inner/inmost", "Made/inner/inmost": "Made/inner/inmost/cur", "Made/inner/inmost/cur": "Made/inner/inmost/new"}
	build := func(m *feigned) {
		m.addErr = func(dir string) error {
			if next := meanwhile[dir]; next != "" {
				return os.MkdirAll(filepath.Join(m.root, next), 0o700)
			}
			return nil
		}
	}
	feign(t, build, func(t *testing.T, m *feigned, w *Watcher) {
		mkdirs(t, m.root, "Made")
		m.send(fsnotify.Create, "Made")
		c := after(w, time.Second)
		if got := m.watching(); !slices.Contains(got, "Made/inner/inmost/cur") {
			t.Errorf("watched: %q", got)
		}
		if !c.List || !slices.Equal(wholes(c), []string{"Made/inner/inmost"}) {
			t.Errorf("told: %+v", c)
		}
	})
}

func TestWatchTellsOfAFolderOnceItIsFinished(t *testing.T) {
	feign(t, nil, func(t *testing.T, m *feigned, w *Watcher) {
		mark := "Made/" + unfinished
		mkdirs(t, m.root, mark, "Made/cur")
		m.send(fsnotify.Create, "Made")
		nothing(t, after(w, time.Second))
		mkdirs(t, m.root, "Made/new")
		must(t, os.Remove(filepath.Join(m.root, mark)))
		m.send(fsnotify.Remove, mark)
		if c := after(w, time.Second); !c.List || !slices.Equal(wholes(c), []string{"Made"}) {
			t.Errorf("told: %+v", c)
		}
	})
}
