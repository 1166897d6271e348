package statedb

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// openAt opens a state that is closed at the end of the test.
func openAt(t *testing.T, path string) *DB {
	t.Helper()
	db, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() }) // a second Close is harmless
	return db
}

func closeNow(t *testing.T, db *DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func addFolder(t testing.TB, db *DB, name mail.Folder) *mail.FolderBase {
	t.Helper()
	f := &mail.FolderBase{Name: name}
	if err := db.Commit(t.Context(), &mail.Batch{PutFolders: []*mail.FolderBase{f}}); err != nil {
		t.Fatal(err)
	}
	return f
}

// abandon ends the use of a state as a killed process would: without a mark, and with
// the log left behind.
func abandon(t *testing.T, db *DB, path string) {
	t.Helper()
	dir := t.TempDir()
	names, err := filepath.Glob(path + "*")
	if err != nil || len(names) < 2 {
		t.Fatalf("files are %q, %v", names, err)
	}
	saved := map[string][]byte{}
	for _, name := range names {
		// By way of another process: reading the file in this one would take its locks.
		copied := filepath.Join(dir, filepath.Base(name))
		if err := copyFile(name, copied); err != nil {
			t.Fatal(err)
		}
		saved[name], err = os.ReadFile(copied)
		if err != nil {
			t.Fatal(err)
		}
	}
	closeNow(t, db)
	for name, content := range saved {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshot is all that is in a directory: names, modes, times and contents.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = fmt.Sprintf("%v %v %x", info.Mode(), info.ModTime(), content)
	}
	return files
}

func differences(a, b map[string]string) (names []string) {
	for name := range a {
		if b[name] != a[name] {
			names = append(names, name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestLibraryIsNewEnough(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	var version string
	if err := db.read.QueryRow("SELECT sqlite_version()").Scan(&version); err != nil {
		t.Fatal(err)
	}
	var v [3]int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &v[0], &v[1], &v[2]); err != nil {
		t.Fatalf("version %q: %v", version, err)
	}
	// Before 3.51.3 a restart of the log could damage the file.
	if slices.Compare(v[:], []int{3, 51, 3}) < 0 {
		t.Errorf("SQLite is %s", version)
	}
}

func TestConnectionsAreSetUp(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	for _, test := range []struct {
		pool         *sql.DB
		pragma, want string
	}{
		{db.write, "journal_mode", "wal"}, {db.write, "synchronous", "2"}, {db.write, "busy_timeout", "5000"}, {db.write, "foreign_keys", "1"},
		{db.write, "application_id", fmt.Sprint(applicationID)}, {db.write, "user_version", fmt.Sprint(len(ladder))},
		{db.read, "journal_mode", "wal"}, {db.read, "busy_timeout", "5000"},
	} {
		var got string
		if err := test.pool.QueryRow("PRAGMA " + test.pragma).Scan(&got); err != nil || got != test.want {
			t.Errorf("%s is %s (%v), want %s", test.pragma, got, err, test.want)
		}
	}
	if _, err := db.read.Exec("DELETE FROM rows"); err == nil {
		t.Error("a connection for reading can write")
	}
	if _, err := db.write.Exec(`SELECT "no such column"`); err == nil {
		t.Error("an unknown name passes for a string")
	}
}

func TestNobodyElseCanRead(t *testing.T) {
	dir := t.TempDir()
	db := openAt(t, filepath.Join(dir, "state.db"))
	addFolder(t, db, mail.Inbox)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 {
		t.Errorf("files are %v, want the file, its log and its index", entries)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	closeNow(t, db)
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("Close left %q behind", names)
	}
}

func TestAnyPath(t *testing.T) {
	for _, name := range []string{"a b", "a?mode=memory", "100%", "%41", "#1", "é\xff", "a&b=c;d", "file:x", "~", "?", ":memory:"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		db := openAt(t, path)
		addFolder(t, db, mail.Inbox)
		closeNow(t, db)
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%q: %v", path, err)
		}
		ro, err := OpenReadOnly(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := ro.Folders(t.Context()); err != nil || len(f) != 1 {
			t.Errorf("%q: folders are %v, %v", path, f, err)
		}
		closeNow(t, ro)
		if names, _ := filepath.Glob(filepath.Dir(dir) + "/*"); len(names) != 1 {
			t.Errorf("%q: also made %q", path, names)
		}
	}
}

func TestPathThatCannotBe(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "none", "state.db"), t.TempDir(), "a\x00b"} {
		if db, err := Open(t.Context(), path); err == nil {
			db.Close()
			t.Errorf("%q could be opened", path)
		} else if errors.Is(err, ErrCorrupt) {
			t.Errorf("%q passes for damaged: %v", path, err)
		}
	}
}

func TestWhatWasCommittedStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path)
	f := addFolder(t, db, mail.Inbox)
	row := sampleRow(f.ID, 1)
	if err := db.Commit(t.Context(), &mail.Batch{PutRows: []*mail.Row{row}}); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(){
		"closed": func() { closeNow(t, db) },
		"killed": func() { abandon(t, db, path) },
	} {
		addFolder(t, db, mail.Folder(name))
		end()
		db = openAt(t, path)
		rows, err := db.WithUIDs(t.Context(), f.ID, mail.UIDs(row.UID))
		if err != nil || !reflect.DeepEqual(rows, []mail.Row{*row}) {
			t.Errorf("%s: rows are %+v, %v", name, rows, err)
		}
		folders, err := db.Folders(t.Context())
		if err != nil || !slices.ContainsFunc(folders, func(f mail.FolderBase) bool { return f.Name == mail.Folder(name) }) {
			t.Errorf("%s: folders are %+v, %v", name, folders, err)
		}
	}
}

func TestCommitWaitsForAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db, other := openAt(t, path), openAt(t, path)
	tx, err := other.write.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- db.Commit(t.Context(), &mail.Batch{PutFolders: []*mail.FolderBase{{Name: "a"}}})
	}()
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
