package statedb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// schemaOf is what SQLite has of the schema, with versions.
func schemaOf(t *testing.T, db *DB) string {
	t.Helper()
	rows, err := db.write.Query(`SELECT type || ' ' || name || ': ' || coalesce(sql, '') FROM sqlite_schema ORDER BY type, name`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all strings.Builder
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all.WriteString(s + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func openLadder(t *testing.T, path string, steps ...string) *DB {
	t.Helper()
	db, err := open(t.Context(), path, steps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// testdata has the schema of every version as it was released. A file that was made
// with any of them becomes what a new file is, and keeps what is in it.
func TestOldFilesBecomeLikeNewOnes(t *testing.T) {
	fresh := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	want := schemaOf(t, fresh)
	for version := 1; version <= len(ladder); version++ {
		pinned, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("v%d.sql", version)))
		if err != nil {
			t.Fatalf("version %d is not pinned: %v", version, err)
		}
		path := filepath.Join(t.TempDir(), "state.db")
		steps := make([]string, version)
		steps[0] = string(pinned) // as if all steps so far had been one
		old, err := connect(t.Context(), dsn(path))
		if err != nil {
			t.Fatal(err)
		}
		if err := climb(t.Context(), old, steps); err != nil {
			t.Fatal(err)
		}
		if _, err := old.Exec("INSERT INTO last_run VALUES (1, 2, 3, 1, x'', x'7b7d')"); err != nil {
			t.Fatal(err)
		}
		if err := old.Close(); err != nil {
			t.Fatal(err)
		}

		db := openAt(t, path)
		if got := schemaOf(t, db); got != want {
			t.Errorf("version %d becomes\n%s\nand a new file is\n%s", version, got, want)
		}
		if run, err := db.LastRun(t.Context()); err != nil || string(run.Report) != "{}" || !run.OK {
			t.Errorf("version %d: the last run is %+v, %v", version, run, err)
		}
		fill(t, db, addFolder(t, db, mail.Inbox).ID, 10)
	}
}

// What a run was about to do when mailtwin was upgraded is known afterwards.
func TestIntentsOfVersion1AreKept(t *testing.T) {
	pinned, err := os.ReadFile(filepath.Join("testdata", "v1.sql"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "state.db")
	old, err := connect(t.Context(), dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := climb(t.Context(), old, []string{string(pinned)}); err != nil {
		t.Fatal(err)
	}
	folder := &mail.FolderBase{Name: mail.Inbox, ID: 3}
	columns := strings.Repeat(", ?", strings.Count(folderColumns, ","))
	if _, err := old.Exec("INSERT INTO folders ("+folderColumns+") VALUES (?"+columns+")", folderValues(folder)...); err != nil {
		t.Fatal(err)
	}
	const intent = `INSERT INTO intents (id, kind, row, folder, key, size, digest, fingerprint, message_id, uidvalidity, uidnext, sent, created)
		VALUES (7, 3, 9, 3, x'6b', 5, zeroblob(32), x'', x'3c', 11, 12, 1, 1700000000)`
	if _, err := old.Exec(intent); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}

	want := mail.Intent{
		ID: 7, Kind: mail.Replace, Row: 9, Folder: 3, Key: "k", Identity: mail.Identity{Size: 5, MessageID: "<"},
		UIDValidity: 11, UIDNext: 12, Created: time.Unix(1700000000, 0).UTC(),
	}
	db := openAt(t, path)
	if got, err := db.Intents(t.Context()); err != nil || !slices.Equal(got, []mail.Intent{want}) {
		t.Errorf("the intents are %+v, %v, want %+v", got, err, want)
	}
	if err := db.Commit(t.Context(), &mail.Batch{DropFolders: []mail.FolderID{3}}); err != nil {
		t.Fatal(err)
	}
	if got, err := db.Intents(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("the intents of a folder that was dropped are %+v, %v", got, err)
	}
}

func TestLadder(t *testing.T) {
	more := "ALTER TABLE folders ADD COLUMN colour INTEGER NOT NULL DEFAULT 7"
	index := "CREATE INDEX folders_by_colour ON folders (colour); UPDATE folders SET colour = 8"
	released := slices.Clip(ladder)
	last := fmt.Sprintf("version %d", len(released)+2)
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")

	db := openLadder(t, path, released...)
	f := addFolder(t, db, mail.Inbox)
	closeNow(t, db)

	// A step that fails takes those before it along, and the file stays usable.
	if db, err := open(t.Context(), path, append(released, more, "CREATE TABLE folders (id INTEGER)")); err == nil {
		db.Close()
		t.Fatal("a failing step gave no error")
	} else if !strings.Contains(err.Error(), last) {
		t.Errorf("the error does not say which step: %v", err)
	}
	db = openLadder(t, path, released...)
	if s := schemaOf(t, db); strings.Contains(s, "colour") {
		t.Errorf("half an upgrade is there:\n%s", s)
	}
	closeNow(t, db)

	db = openLadder(t, path, append(released, more, index)...)
	fresh := openLadder(t, filepath.Join(dir, "fresh.db"), append(released, more, index)...)
	if got, want := schemaOf(t, db), schemaOf(t, fresh); got != want {
		t.Errorf("upgraded it is\n%s\nand fresh\n%s", got, want)
	}
	var colour int
	if err := db.read.QueryRow("SELECT colour FROM folders WHERE id = ?", int64(f.ID)).Scan(&colour); err != nil || colour != 8 {
		t.Errorf("the folder's colour is %d, %v", colour, err)
	}
	closeNow(t, db)

	// Not one step is taken twice.
	closeNow(t, openLadder(t, path, append(released, more, index)...))

	// And back: refused, with advice, before anything is written.
	before := snapshot(t, dir)
	for name, open := range map[string]func() (*DB, error){
		"Open":         func() (*DB, error) { return Open(t.Context(), path) },
		"OpenReadOnly": func() (*DB, error) { return OpenReadOnly(t.Context(), path) },
	} {
		db, err := open()
		if err == nil {
			db.Close()
			t.Fatalf("%s: a newer file was opened", name)
		}
		if !errors.Is(err, ErrNewer) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), last) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	if d := differences(before, snapshot(t, dir)); d != nil {
		for _, name := range d {
			if !strings.HasPrefix(name, "fresh") { // that one is still open
				t.Errorf("%s is not as it was", name)
			}
		}
	}
}

func TestNewerFileIsLeftAloneAfterAKill(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	db := openLadder(t, path, append(slices.Clone(ladder), "CREATE TABLE more (x INTEGER) STRICT")...)
	addFolder(t, db, mail.Inbox)
	abandon(t, db, path)
	before := snapshot(t, dir)
	if db, err := Open(t.Context(), path); !errors.Is(err, ErrNewer) {
		t.Fatalf("Open gave %v, %v", db, err)
	}
	for _, name := range differences(before, snapshot(t, dir)) {
		if name != "state.db-shm" {
			t.Errorf("%s is not as it was", name)
		}
	}
}
