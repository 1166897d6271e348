package statedb

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"mailtwin/conflict/mail"
)

func TestNamesComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := mail.Key(rapid.SliceOf(rapid.Byte()).Draw(t, "key"))
		name := string(rapid.SliceOf(rapid.Byte()).Draw(t, "name"))
		if rapid.Bool().Draw(t, "its own") {
			name = string(key) + name
		}
		v := &values{raw: []any{packName(key, name)}}
		if got := v.name(key); got != name || v.err != nil {
			t.Errorf("%q came back as %q, %v", name, got, v.err)
		}
	})
}

func TestLettersComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var letters mail.Letters
		for i := range letters {
			if rapid.Bool().Draw(t, "has one") {
				letters[i] = string(rapid.SliceOf(rapid.Byte()).Draw(t, "keyword"))
			}
		}
		got, ok := unpackLetters(packLetters(&letters))
		if !ok || got != letters {
			t.Errorf("%q came back as %q", letters, got)
		}
	})
}

func FuzzLetters(f *testing.F) {
	f.Add([]byte{})
	f.Add(packLetters(&mail.Letters{0: "$Junk", 2: "work", 25: "z"}))
	f.Add([]byte{5, 'a'})
	f.Add(make([]byte, 27))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add(bytes.Repeat([]byte{0x80}, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		letters, ok := unpackLetters(b)
		if !ok && letters != (mail.Letters{}) {
			t.Error("what cannot be read gave something")
		}
		if again, ok2 := unpackLetters(packLetters(&letters)); !ok2 || again != letters {
			t.Errorf("%q came back as %q", letters, again)
		}
	})
}

// What SQLite takes for sound can still be nonsense: a bit that flipped in a value
// breaks no tree.
func TestNonsenseIsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path)
	f := addFolder(t, db, mail.Inbox)
	fill(t, db, f.ID, 1)
	for _, set := range []string{
		"rows SET uid = -1", "rows SET uid = 4294967296", "rows SET system = 256", "rows SET digest = x'00'",
		"rows SET fingerprint = zeroblob(17)", "rows SET name = x'00'",
		"folders SET letters = x'05'", "folders SET letters = zeroblob(27)", "folders SET uidnext = -1", "folders SET uidvalidity = 4294967296",
	} {
		if _, err := db.write.Exec("UPDATE " + set); err != nil {
			t.Fatal(err)
		}
		var last error
		for _, err := range db.RowsByUID(t.Context(), f.ID) {
			last = err
		}
		if _, err := db.Folders(t.Context()); err != nil {
			last = err
		}
		if !errors.Is(last, ErrCorrupt) {
			t.Errorf("%s: reading gave %v", set, last)
		}
		row := sampleRow(f.ID, 0)
		row.ID = 1
		if err := db.Commit(t.Context(), &mail.Batch{PutFolders: []*mail.FolderBase{f}, PutRows: []*mail.Row{row}}); err != nil {
			t.Fatal(err)
		}
	}
}
