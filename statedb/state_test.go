package statedb_test

import (
	"context"
	"path/filepath"
	"testing"

	"mailtwin/statedb"
	"mailtwin/sync"
	"mailtwin/sync/sim/statetest"
)

func TestStateOnDisk(t *testing.T) {
	statetest.Run(t, func(t *testing.T) sync.State {
		db, err := statedb.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
		return closing(t, db, err)
	})
}

func TestStateInMemory(t *testing.T) {
	statetest.Run(t, func(t *testing.T) sync.State {
		db, err := statedb.OpenMemory(t.Context())
		return closing(t, db, err)
	})
}

// closing checks the whole store at the end of a test, and that it can be closed.
func closing(t *testing.T, db *statedb.DB, err error) *statedb.DB {
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Not the test's context, which has ended by now.
		if err := db.Check(context.Background()); err != nil {
			t.Errorf("Check: %v", err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}
