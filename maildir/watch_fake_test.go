package maildir

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"mailtwin/conflict/mail"
)

// feigned is a machine whose events are those that a test sends. Its directories are real
// ones, its clock is that of synctest.
type feigned struct {
	root string

	mu       sync.Mutex
	source   *feignedSource // the last one that was opened
	opened   int
	openErr  error
	addErr   func(dir string) error
	alien    bool
	lag      time.Duration
	lstats   int
	elsewise func(name string, info Info) (Info, error)
}

type feignedSource struct {
	m      *feigned
	paths  map[string]bool
	events chan fsnotify.Event
	errs   chan error
	closed bool
}

func (m *feigned) machine() machine {
	return machine{
		open: func() (eventSource, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if m.openErr != nil {
				return nil, m.openErr
			}
			m.opened++
			m.source = &feignedSource{m: m, paths: make(map[string]bool), events: make(chan fsnotify.Event), errs: make(chan error)}
			return m.source, nil
		},
		lstat: func(root, name string) (Info, error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.lstats++
			info, err := theMachine.lstat(root, name)
			if m.elsewise != nil && err == nil {
				return m.elsewise(name, info)
			}
			return info, err
		},
		foreign: func(string) (bool, time.Duration) { return m.alien, m.lag },
	}
}

func (s *feignedSource) Add(path string) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	dir := strings.TrimPrefix(strings.TrimPrefix(path, s.m.root), "/")
	if s.m.addErr != nil {
		if err := s.m.addErr(dir); err != nil {
			return err
		}
	}
	s.paths[path] = true
	return nil
}

func (s *feignedSource) Remove(path string) error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if !s.paths[path] {
		return fsnotify.ErrNonExistentWatch
	}
	delete(s.paths, path)
	return nil
}

func (s *feignedSource) WatchList() []string {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return slices.Collect(maps.Keys(s.paths))
}

func (s *feignedSource) Close() error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if s.closed {
		return errors.New("closed twice")
	}
	s.closed = true
	close(s.errs)
	close(s.events)
	return nil
}

func (s *feignedSource) Channels() (<-chan fsnotify.Event, <-chan error) { return s.events, s.errs }

// watching gives the directories that have a watch, "" for the root.
func (m *feigned) watching() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var dirs []string
	if m.source != nil && !m.source.closed {
		for path := range m.source.paths {
			dirs = append(dirs, strings.TrimPrefix(strings.TrimPrefix(path, m.root), "/"))
		}
	}
	slices.Sort(dirs)
	return dirs
}

func (m *feigned) send(op fsnotify.Op, name string) {
	m.source.events <- fsnotify.Event{Name: filepath.Join(m.root, name), Op: op}
}

func (m *feigned) looks() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.lstats
	m.lstats = 0
	return n
}

// touch gives a directory another time. The clock of the disk ticks too rarely for that.
func (m *feigned) touch(t *testing.T, dir string, at time.Time) {
	t.Helper()
	must(t, os.Chtimes(filepath.Join(m.root, dir), at, at))
}

// feign runs a test with a Maildir of INBOX and Work on such a machine.
func feign(t *testing.T, prepare func(*feigned), test func(t *testing.T, m *feigned, w *Watcher)) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "Mail")
	mkdirs(t, root, "INBOX/cur", "INBOX/new", "INBOX/tmp", "Work/cur", "Work/new", "Work/tmp")
	synctest.Test(t, func(t *testing.T) {
		m := &feigned{root: root}
		if prepare != nil {
			prepare(m)
		}
		w := watch(t.Context(), root, WatchOptions{}, m.machine())
		defer w.Close()
		test(t, m, w)
	})
}

// after waits a while, and gives what was told.
func after(w *Watcher, d time.Duration) Changes {
	time.Sleep(d)
	synctest.Wait()
	return w.Take()
}

// nothing fails a test if anything was told.
func nothing(t *testing.T, c Changes) {
	t.Helper()
	if !c.Empty() {
		t.Errorf("told: %+v", c)
	}
}

func wholes(c Changes) []string {
	var names []string
	for _, f := range c.Folders {
		if f.Whole {
			names = append(names, string(f.Name))
		}
	}
	return names
}

var allDirs = []string{"", "INBOX", "INBOX/cur", "INBOX/new", "Work", "Work/cur", "Work/new"}

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
		want := []FolderChanges{
			{Name: "INBOX", New: []string{"a", "b"}, Cur: []string{"c:2,S"}, Removed: true},
			{Name: "Work", Removed: true},
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
		if !slices.Equal(wholes(c), []string{"INBOX"}) || len(c.Folders) != 2 || len(c.Folders[0].Cur) > 0 || len(c.Folders[1].Cur) != 1 {
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
			n.appeared(mail.Folder(fmt.Sprint(f)), i%2 == 0, fmt.Sprint(i))
		}
	}
	names, whole := 0, 0
	c := n.take()
	for _, f := range c.Folders {
		names += len(f.Cur) + len(f.New)
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
		nothing(t, w.Take())
		m.touch(t, "Work/new", time.Unix(2_000_000_000, 1))
		if c := after(w, time.Minute); !slices.Equal(wholes(c), []string{"Work"}) {
			t.Errorf("told: %+v", c)
		}
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
		time.Sleep(2 * settling)
		synctest.Wait()
		c := w.Take()
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
		nothing(t, w.Take())
		m.touch(t, "Work/cur", time.Unix(2_000_000_000, 1))
		if c := after(w, time.Minute); !slices.Equal(wholes(c), []string{"Work"}) {
			t.Errorf("told: %+v", c)
		}
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
