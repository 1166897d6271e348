package statedb

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mailtwin/conflict/mail"
)

func TestReadOnlyLeavesTheDiskAlone(t *testing.T) {
	look := func(t *testing.T, path string) {
		t.Helper()
		db, err := OpenReadOnly(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := db.Folders(t.Context()); err != nil || len(f) != 1 {
			t.Errorf("folders are %v, %v", f, err)
		}
		if err := db.Commit(t.Context(), &mail.Batch{PutFolders: []*mail.FolderBase{{Name: "x"}}}); err == nil {
			t.Error("Commit gave no error")
		}
		if err := db.PutRun(t.Context(), Run{}); err == nil {
			t.Error("PutRun gave no error")
		}
		if err := db.Check(t.Context()); err != nil {
			t.Errorf("Check: %v", err)
		}
		closeNow(t, db)
	}
	t.Run("closed", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "state.db")
		db := openAt(t, path)
		addFolder(t, db, mail.Inbox)
		closeNow(t, db)
		before := snapshot(t, dir)
		look(t, path)
		if d := differences(before, snapshot(t, dir)); d != nil {
			t.Errorf("these are not as they were: %q", d)
		}
	})
	t.Run("killed", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "state.db")
		db := openAt(t, path)
		addFolder(t, db, mail.Inbox)
		abandon(t, db, path)
		before := snapshot(t, dir)
		look(t, path)
		// The index of the log is rebuilt by whoever comes first.
		if d := differences(before, snapshot(t, dir)); slices.Contains(d, "state.db") || slices.Contains(d, "state.db-wal") {
			t.Errorf("these are not as they were: %q", d)
		}
	})
	t.Run("in use", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.db")
		db := openAt(t, path)
		addFolder(t, db, mail.Inbox)
		look(t, path)
		addFolder(t, db, "more")
		closeNow(t, db)
		db = openAt(t, path)
		if f, err := db.Folders(t.Context()); err != nil || len(f) != 2 {
			t.Errorf("folders are %v, %v", f, err)
		}
	})
	t.Run("missing", func(t *testing.T) {
		dir := t.TempDir()
		if _, err := OpenReadOnly(t.Context(), filepath.Join(dir, "state.db")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the error is %v", err)
		}
		if s := snapshot(t, dir); len(s) != 0 {
			t.Errorf("it made %v", s)
		}
	})
	t.Run("empty", func(t *testing.T) {
		// Killed before the first sync wrote anything.
		dir := t.TempDir()
		path := filepath.Join(dir, "state.db")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		before := snapshot(t, dir)
		if _, err := OpenReadOnly(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the error is %v", err)
		}
		if d := differences(before, snapshot(t, dir)); d != nil {
			t.Errorf("these are not as they were: %q", d)
		}
	})
}

// What nobody wrote to has no mark to take back: a run that changes nothing, writes
// nothing.
func TestNothingDoneNothingWritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	db := openAt(t, path)
	addFolder(t, db, mail.Inbox)
	closeNow(t, db)
	before := snapshot(t, dir)
	db = openAt(t, path)
	if _, err := db.Folders(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Commit(t.Context(), &mail.Batch{}); err != nil {
		t.Fatal(err)
	}
	closeNow(t, db)
	if d := differences(before, snapshot(t, dir)); d != nil {
		t.Errorf("these are not as they were: %q", d)
	}
}
