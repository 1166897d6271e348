package statedb

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

func TestDamage(t *testing.T) {
	// A file large enough that there is something to hit.
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	db := openAt(t, path)
	fill(t, db, addFolder(t, db, mail.Inbox).ID, 2000)
	copied := filepath.Join(dir, "unclean")
	for _, suffix := range []string{"", "-wal"} {
		if err := copyFile(path+suffix, copied+suffix); err != nil {
			t.Fatal(err)
		}
	}
	closeNow(t, db)
	unclean := openAt(t, copied)
	if _, err := unclean.write.Exec("UPDATE base SET clean = 0"); err != nil {
		t.Fatal(err)
	}
	unclean.closeAll()
	clean, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	marked, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other.db")
	foreign(t, other)
	foreignFile, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}

	holed := bytes.Clone(marked)
	for page := 20; page < 40; page++ {
		clear(holed[page*4096 : (page+1)*4096])
	}
	for name, content := range map[string][]byte{
		"text":                    []byte(strings.Repeat("this is no database\n", 500)),
		"short text":              []byte("no"),
		"nothing":                 {},
		"zeros":                   make([]byte, 8192),
		"a message":               []byte("From: a@example.org\r\n\r\nhello\r\n"),
		"cut in its header":       clean[:50],
		"cut in its first page":   clean[:1000],
		"holed after a kill":      holed,
		"cut in half, after kill": marked[:len(marked)/2/4096*4096],
		"another program's":       foreignFile,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "state.db")
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, dir)
			db, err := Open(t.Context(), path)
			if err == nil {
				db.Close()
				t.Fatal("it could be opened")
			}
			if !errors.Is(err, ErrCorrupt) || !errors.Is(err, mail.ErrDamaged) {
				t.Errorf("the error is %v", err)
			}
			if d := differences(before, snapshot(t, dir)); d != nil {
				t.Errorf("these are not as they were: %q", d)
			}
			if name != "nothing" && !strings.HasPrefix(name, "holed") && !strings.HasPrefix(name, "cut in half") {
				if db, err := OpenReadOnly(t.Context(), path); !errors.Is(err, ErrCorrupt) {
					t.Errorf("OpenReadOnly gave %v, %v", db, err)
				}
			}
		})
	}

	// A state that was closed properly is not read from end to end each time; Check is
	// for what happened to it since.
	t.Run("holed after a proper end", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.db")
		holed := bytes.Clone(clean)
		for page := 20; page < 40; page++ {
			clear(holed[page*4096 : (page+1)*4096])
		}
		if err := os.WriteFile(path, holed, 0o600); err != nil {
			t.Fatal(err)
		}
		db := openAt(t, path)
		if err := db.Check(t.Context()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("Check gave %v", err)
		}
		var last error
		for _, err := range db.RowsByKey(t.Context(), 1, "") {
			last = err
		}
		if !errors.Is(last, ErrCorrupt) {
			t.Errorf("reading the rows gave %v", last)
		}
	})
}

// foreign makes an SQLite file that another program could have made.
func foreign(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE songs (title TEXT); PRAGMA user_version = 1"); err != nil {
		t.Fatal(err)
	}
}

func TestEndedContextIsNoDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path)
	addFolder(t, db, mail.Inbox)
	abandon(t, db, path)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if db, err := Open(ctx, path); !errors.Is(err, context.Canceled) || errors.Is(err, ErrCorrupt) {
		t.Errorf("Open gave %v, %v", db, err)
	}
}

func TestSetAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	db := openAt(t, path)
	addFolder(t, db, mail.Inbox)
	abandon(t, db, path)
	before := snapshot(t, dir)

	now := time.Date(2024, 2, 29, 23, 59, 58, 0, time.Local)
	aside, err := SetAside(path, now)
	if err != nil {
		t.Fatal(err)
	}
	if want := path + ".damaged-2024-02-29-235958"; aside != want {
		t.Errorf("its name is %q, want %q", aside, want)
	}
	moved := map[string]string{}
	for name, content := range snapshot(t, dir) {
		moved[strings.Replace(name, filepath.Base(aside), "state.db", 1)] = content
	}
	if d := differences(before, moved); d != nil {
		t.Errorf("these differ: %q", d)
	}
	fresh := openAt(t, path)
	if f, err := fresh.Folders(t.Context()); err != nil || len(f) != 0 {
		t.Errorf("the new one has %v, %v", f, err)
	}
	closeNow(t, fresh)
	if again, err := SetAside(path, now); err != nil || again == aside {
		t.Errorf("the second time: %q, %v", again, err)
	}
	if _, err := SetAside(path, now); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with nothing there: %v", err)
	}
	old := openAt(t, aside)
	if f, err := old.Folders(t.Context()); err != nil || len(f) != 1 {
		t.Errorf("the one set aside has %v, %v", f, err)
	}
}
