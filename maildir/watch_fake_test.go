package maildir

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
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
