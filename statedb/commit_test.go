package statedb

import (
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mailtwin/conflict/mail"
)

// everything is all that a state tells of itself.
func everything(t *testing.T, db *DB) map[string]any {
	t.Helper()
	ctx := context.Background()
	all := map[string]any{}
	note := func(name string, x any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = x
	}
	folders, err := db.Folders(ctx)
	note("folders", folders, err)
	for _, f := range folders {
		var rows []mail.Row
		for r, err := range db.RowsByKey(ctx, f.ID, "") {
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, r)
		}
		note("rows of "+string(f.Name), rows, nil)
	}
	intents, err := db.Intents(ctx)
	note("intents", intents, err)
	decisions, err := db.Decisions(ctx, 100)
	note("decisions", decisions, err)
	return all
}

func TestRefusalSaysWhatItIs(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	f := addFolder(t, db, mail.Inbox)
	for want, row := range map[error]*mail.Row{
		errTaken:    {Folder: f.ID, UID: 1, Key: "second"},
		errNoFolder: {Folder: f.ID + 1, UID: 1, Key: "second"},
	} {
		err := db.Commit(t.Context(), &mail.Batch{PutRows: []*mail.Row{{Folder: f.ID, UID: 1, Key: "first"}, row}})
		if !errors.Is(err, want) || !strings.Contains(err.Error(), `key "second"`) {
			t.Errorf("the error is %v", err)
		}
	}
}

// A file system that is full fails a commit at whichever page it likes.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path)
	f := addFolder(t, db, mail.Inbox)
	old := fill(t, db, f.ID, 50)
	before := everything(t, db)
	// SQLite takes the least limit for what is there now.
	if _, err := db.write.Exec("PRAGMA max_page_count = 1"); err != nil {
		t.Fatal(err)
	}
	for rows := 1; rows <= 501; rows += 100 {
		fresh := make([]*mail.Row, 100+rows)
		for i := range fresh {
			fresh[i] = sampleRow(f.ID, 1000+i)
		}
		changed := *old[0]
		changed.Key, changed.Name = "renamed", "renamed:2,"
		err := db.Commit(t.Context(), &mail.Batch{
			PutFolders: []*mail.FolderBase{{Name: "new"}}, PutRows: append(fresh, &changed), DropRows: []mail.RowID{old[1].ID},
			Decisions: []mail.Decision{{What: "x"}},
		})
		var se *sqlite.Error
		if !errors.As(err, &se) || se.Code() != sqlite3.SQLITE_FULL || errors.Is(err, mail.ErrDamaged) {
			t.Fatalf("Commit gave %v", err)
		}
		if fresh[0].ID != 0 || !reflect.DeepEqual(everything(t, db), before) {
			t.Fatal("something of the batch is there")
		}
	}
	if _, err := db.write.Exec("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	fill(t, db, addFolder(t, db, "afterwards").ID, 500)
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// endsAfter is a context that ends when it was asked about for the n-th time.
type endsAfter struct {
	context.Context
	left atomic.Int64
}

func (c *endsAfter) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

func TestCommitGivenUpAtAnyPoint(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	f := addFolder(t, db, mail.Inbox)
	old := fill(t, db, f.ID, 5)
	before := everything(t, db)
	for n := range int64(200) {
		changed := *old[0]
		changed.UID, changed.Key = old[1].UID, old[1].Key
		fresh := sampleRow(f.ID, 77)
		ctx := &endsAfter{Context: context.Background()}
		ctx.left.Store(n)
		err := db.Commit(ctx, &mail.Batch{
			DropRows: []mail.RowID{old[1].ID}, PutRows: []*mail.Row{&changed, fresh},
			PutFolders: []*mail.FolderBase{{Name: "new"}}, PutIntents: []*mail.Intent{{Kind: mail.Upload, Folder: f.ID}},
			Decisions: []mail.Decision{{What: "x"}},
		})
		if err == nil {
			if n < 8 {
				t.Errorf("it was never asked about after %d steps", n)
			}
			if reflect.DeepEqual(everything(t, db), before) || fresh.ID == 0 {
				t.Error("a commit that succeeded is not there")
			}
			return
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after %d steps: %v", n, err)
		}
		if fresh.ID != 0 || !reflect.DeepEqual(everything(t, db), before) {
			t.Fatalf("given up after %d steps, something of the batch is there", n)
		}
	}
	t.Error("it never succeeded")
}
