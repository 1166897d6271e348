package history

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"mailtwin/statedb"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// Lane is where base is kept.
type Lane interface {
	// New makes a device's base, empty.
	New() (Base, error)
	// Close forgets all bases that it made.
	Close() error
}

// Base is one device's base, which outlives its processes.
type Base interface {
	// Open gives base to a process.
	Open() (engine.State, error)
	// Die takes base from a process that was killed, and Close from one that ended.
	Die() error
	Close() error
	// Lose makes it empty; Save makes a backup of it, which Back brings back.
	Lose() error
	Save() error
	Back() error
}

// Memory keeps base in memory.
type Memory struct{}

// New is Lane.New.
func (Memory) New() (Base, error) { return &memory{state: sim.NewState()}, nil }

// Close is Lane.Close.
func (Memory) Close() error { return nil }

type memory struct{ state, backup *sim.State }

func (m *memory) Open() (engine.State, error) { return m.state, nil }
func (m *memory) Die() error                  { return nil }
func (m *memory) Close() error                { return nil }
func (m *memory) Lose() error                 { m.state = sim.NewState(); return nil }
func (m *memory) Save() error                 { m.backup = m.state.Clone(); return nil }

func (m *memory) Back() error {
	if m.backup != nil {
		m.state = m.backup.Clone()
	}
	return nil
}

// SQLite keeps base in files below a directory.
type SQLite struct {
	Dir string
	n   int
}

// New is Lane.New.
func (l *SQLite) New() (Base, error) {
	l.n++
	b := &files{dir: filepath.Join(l.Dir, strconv.Itoa(l.n))}
	return b, os.Mkdir(b.dir, 0o700)
}

// Close is Lane.Close.
func (l *SQLite) Close() error {
	for ; l.n > 0; l.n-- {
		if err := os.RemoveAll(filepath.Join(l.Dir, strconv.Itoa(l.n))); err != nil {
			return err
		}
	}
	return nil
}

// files is a database of its own for each life of a process: one that was killed leaves
// its files as they are at that moment, and the next one opens a copy of those.
type files struct {
	dir string
	n   int // of the database in use
	db  *statedb.DB
}

func (f *files) path(n int) string { return filepath.Join(f.dir, strconv.Itoa(n)+".db") }

func (f *files) Open() (engine.State, error) {
	db, err := statedb.Open(context.Background(), f.path(f.n))
	f.db = db
	return db, err
}

func (f *files) Close() error { return f.db.Close() }

func (f *files) Die() error {
	err := copyDB(f.path(f.n), f.path(f.n+1))
	err = errors.Join(err, f.db.Close())
	f.n++
	return err
}

func (f *files) Lose() error { f.n++; return nil }

const backup = -1

func (f *files) Save() error { return copyDB(f.path(f.n), f.path(backup)) }

func (f *files) Back() error {
	f.n++
	return copyDB(f.path(backup), f.path(f.n))
}

// copyDB copies a database with its log, where there is one. The index of the log is
// rebuilt by whoever opens the copy, as after a loss of power.
func copyDB(from, to string) error {
	for _, end := range []string{"", "-wal"} {
		content, err := os.ReadFile(from + end)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(to+end, content, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
