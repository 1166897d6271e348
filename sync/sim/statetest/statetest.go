// Package statetest is what every store of base has to pass: the one on SQLite that
// users have, and the one in memory that most of the simulation runs on. Without it,
// the simulation would prove something about a store that nobody uses.
package statetest

import (
	"context"
	"fmt"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync"
)

// Run tests the stores that open gives, each of which must be empty. open registers
// what is to be cleaned up.
func Run(t *testing.T, open func(t *testing.T) sync.State) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"an empty store has nothing", empty},
		{"folders come back as they were put", folders},
		{"folders may swap names, and have one each", folderNames},
		{"rows come back as they were put", rows},
		{"intents come back as they were put", intents},
		{"times are kept to the second", times},
		{"IDs are told after success only, and never given out again", ids},
		{"what has an ID that was never given out is refused", strangers},
		{"UIDs and keys are unique in their folder", unique},
		{"a batch that is refused changes nothing", atomic},
		{"drops go before puts", dropsFirst},
		{"rows may swap UIDs and keys, also across folders", swaps},
		{"of what is put twice the later counts", twice},
		{"a folder is dropped with its rows and intents", dropFolder},
		{"keys are ordered byte by byte", keyOrder},
		{"UIDs are ordered as unsigned numbers", uidOrder},
		{"rows are found by sets of UIDs", withUIDs},
		{"rows are found by their state", unsettled},
		{"rows are found by fingerprint", alike},
		{"rows are found by date and size", dated},
		{"a loop over rows may be left early", leaveEarly},
		{"a loop over rows ends with its context", endWithContext},
		{"a loop over rows sees what was there when it began", commitInside},
		{"loops, look-ups and commits do not wait for each other", atOnce},
		{"a commit whose context has ended changes nothing", cancelled},
		{"random batches do what a naive model does", model},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, &world{State: open(t), ctx: t.Context()}) })
	}
}

// world is a store under test, with shorter words for what tests do all the time.
type world struct {
	sync.State
	ctx context.Context
}

// failer is a *testing.T or a *rapid.T.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func (w *world) commit(t failer, b *mail.Batch) {
	t.Helper()
	if err := w.Commit(w.ctx, b); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

// refuse commits a batch that must fail.
func (w *world) refuse(t failer, b *mail.Batch) {
	t.Helper()
	if err := w.Commit(w.ctx, b); err == nil {
		t.Fatal("Commit gave no error")
	}
}

func (w *world) folder(t failer, name mail.Folder) mail.FolderID {
	t.Helper()
	f := &mail.FolderBase{Name: name}
	w.commit(t, &mail.Batch{PutFolders: []*mail.FolderBase{f}})
	return f.ID
}

func (w *world) put(t failer, rows ...*mail.Row) {
	t.Helper()
	w.commit(t, &mail.Batch{PutRows: rows})
}

// byKey gives the rows that have a key, and checks that Known says the same of them.
func (w *world) byKey(t failer, folder mail.FolderID) []mail.Row {
	t.Helper()
	got := w.fromKey(t, folder, "")
	i := 0
	for k, err := range w.Known(w.ctx, folder) {
		switch {
		case err != nil:
			t.Fatalf("Known: %v", err)
		case i == len(got) || k != got[i].Known():
			t.Fatalf("Known gives %+v as number %d of %d rows", k, i, len(got))
		}
		i++
	}
	if i != len(got) {
		t.Fatalf("Known gives %d of %d rows", i, len(got))
	}
	return got
}

func (w *world) fromKey(t failer, folder mail.FolderID, from mail.Key) []mail.Row {
	t.Helper()
	var got []mail.Row
	for r, err := range w.RowsByKey(w.ctx, folder, from) {
		if err != nil {
			t.Fatalf("RowsByKey: %v", err)
		}
		got = append(got, r)
	}
	return got
}

func (w *world) byUID(t failer, folder mail.FolderID) []mail.Row {
	t.Helper()
	var got []mail.Row
	for r, err := range w.RowsByUID(w.ctx, folder) {
		if err != nil {
			t.Fatalf("RowsByUID: %v", err)
		}
		got = append(got, r)
	}
	return got
}

// must gives the value of a look-up that has to succeed.
func must[T any](t failer) func(T, error) T {
	return func(x T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

func equal[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func keysOf(rows []mail.Row) []mail.Key {
	keys := []mail.Key{}
	for _, r := range rows {
		keys = append(keys, r.Key)
	}
	return keys
}

func uidsOf(rows []mail.Row) []mail.UID {
	uids := []mail.UID{}
	for _, r := range rows {
		uids = append(uids, r.UID)
	}
	return uids
}

func idsOf(rows []mail.Row) []mail.RowID {
	ids := []mail.RowID{}
	for _, r := range rows {
		ids = append(ids, r.ID)
	}
	return ids
}

func unique(t *testing.T, w *world) {
	one, two := w.folder(t, "one"), w.folder(t, "two")
	w.put(t, &mail.Row{Folder: one, UID: 1, Key: "a"})
	w.refuse(t, &mail.Batch{PutRows: []*mail.Row{{Folder: one, UID: 1, Key: "b"}}})
	w.refuse(t, &mail.Batch{PutRows: []*mail.Row{{Folder: one, UID: 2, Key: "a"}}})
	w.refuse(t, &mail.Batch{PutRows: []*mail.Row{{Folder: one, UID: 3}, {Folder: one, UID: 3}}})

	// Any number of rows may lack either; another folder is another matter; keys differ
	// in case.
	w.put(t, &mail.Row{Folder: two, UID: 1, Key: "a"}, &mail.Row{Folder: one, UID: 2, Key: "A"},
		&mail.Row{Folder: one, UID: 3}, &mail.Row{Folder: one, UID: 4}, &mail.Row{Folder: one, Key: "c"}, &mail.Row{Folder: one, Key: "d"},
		&mail.Row{Folder: one}, &mail.Row{Folder: one})
	remote, local, err := w.Count(w.ctx, one)
	equal(t, "count", []any{remote, local, err}, []any{4, 4, error(nil)})
}

func atomic(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	a, b := &mail.Row{Folder: folder, UID: 1, Key: "a"}, &mail.Row{Folder: folder, UID: 2, Key: "b"}
	i := &mail.Intent{Kind: mail.Upload, Folder: folder, Key: "k"}
	w.commit(t, &mail.Batch{PutRows: []*mail.Row{a, b}, PutIntents: []*mail.Intent{i}})

	moved, other := *b, *i
	moved.Key, other.Key = "moved", "moved"
	w.refuse(t, &mail.Batch{
		DropRows: []mail.RowID{a.ID}, PutFolders: []*mail.FolderBase{{Name: "more"}, {ID: folder, Name: "renamed"}},
		PutIntents: []*mail.Intent{&other}, PutRows: []*mail.Row{&moved, {Folder: folder, UID: 9}, {Folder: folder, UID: 9}},
	})
	w.refuse(t, &mail.Batch{DropFolders: []mail.FolderID{folder}, PutRows: []*mail.Row{{Folder: folder}}})
	w.refuse(t, &mail.Batch{DropIntents: []mail.IntentID{i.ID}, PutIntents: []*mail.Intent{{Kind: mail.Upload}}})

	equal(t, "rows", w.byUID(t, folder), []mail.Row{*a, *b})
	equal(t, "rows by key", w.byKey(t, folder), []mail.Row{*a, *b})
	equal(t, "intents", must[[]mail.Intent](t)(w.Intents(w.ctx)), []mail.Intent{*i})
	equal(t, "folders", must[[]mail.FolderBase](t)(w.Folders(w.ctx)), []mail.FolderBase{{ID: folder, Name: mail.Inbox}})
}

func dropsFirst(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	old := &mail.Row{Folder: folder, UID: 1, Key: "a"}
	w.put(t, old)
	r := &mail.Row{Folder: folder, UID: 1, Key: "a", Why: "the new one"}
	w.commit(t, &mail.Batch{PutRows: []*mail.Row{r}, DropRows: []mail.RowID{old.ID}})
	equal(t, "rows", w.byUID(t, folder), []mail.Row{*r})

	// What is dropped and put in one batch is there.
	r.Why = "again"
	w.commit(t, &mail.Batch{PutRows: []*mail.Row{r}, DropRows: []mail.RowID{r.ID}})
	equal(t, "rows", w.byUID(t, folder), []mail.Row{*r})

	f := &mail.FolderBase{Name: mail.Inbox}
	w.commit(t, &mail.Batch{DropFolders: []mail.FolderID{folder}, PutFolders: []*mail.FolderBase{f}})
	equal(t, "folders", must[[]mail.FolderBase](t)(w.Folders(w.ctx)), []mail.FolderBase{*f})
	equal(t, "rows of the new folder", len(w.byUID(t, f.ID)), 0)
}

func swaps(t *testing.T, w *world) {
	one, two := w.folder(t, "one"), w.folder(t, "two")
	a, b := &mail.Row{Folder: one, UID: 1, Key: "a"}, &mail.Row{Folder: one, UID: 2, Key: "b"}
	c := &mail.Row{Folder: two, UID: 1, Key: "a"}
	w.put(t, a, b, c)

	a.UID, b.UID = 2, 1
	a.Key, b.Key = "b", "a"
	w.put(t, a, b)
	equal(t, "swapped", w.byUID(t, one), []mail.Row{*b, *a})
	equal(t, "swapped", w.byKey(t, one), []mail.Row{*b, *a})

	// A ring of three, over two folders, with a newcomer who takes what one leaves.
	a.UID, b.UID, c.UID = 1, 1, 2
	a.Folder, b.Folder, c.Folder = one, two, one
	a.Key, b.Key, c.Key = "a", "a", "c"
	d := &mail.Row{Folder: one, Key: "b"}
	w.put(t, d, a, b, c)
	equal(t, "one", w.byUID(t, one), []mail.Row{*a, *c})
	equal(t, "one by key", w.byKey(t, one), []mail.Row{*a, *d, *c})
	equal(t, "two", w.byKey(t, two), []mail.Row{*b})

	// A swap that leaves two with the same is still refused.
	x, y := *a, *c
	x.UID, y.UID = 2, 2
	w.refuse(t, &mail.Batch{PutRows: []*mail.Row{&x, &y}})
	equal(t, "one", w.byUID(t, one), []mail.Row{*a, *c})
}

func twice(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	r := &mail.Row{Folder: folder, UID: 1, Key: "a"}
	w.put(t, r, r)
	equal(t, "one new row, put twice", w.byKey(t, folder), []mail.Row{*r})

	first, second := *r, *r
	first.Key, second.Flags.System = "first", mail.Seen
	w.put(t, &first, &second)
	equal(t, "two versions", w.byKey(t, folder), []mail.Row{second})

	f := &mail.FolderBase{Name: "x"}
	i := &mail.Intent{Kind: mail.Upload, Folder: folder}
	w.commit(t, &mail.Batch{PutFolders: []*mail.FolderBase{f, f}, PutIntents: []*mail.Intent{i, i}})
	equal(t, "intents", must[[]mail.Intent](t)(w.Intents(w.ctx)), []mail.Intent{*i})
	equal(t, "folders", len(must[[]mail.FolderBase](t)(w.Folders(w.ctx))), 2)
}

func dropFolder(t *testing.T, w *world) {
	one, two := w.folder(t, "one"), w.folder(t, "two")
	stays := &mail.Row{Folder: two, UID: 1, Key: "a", State: mail.Pending}
	w.put(t, stays, &mail.Row{Folder: one, UID: 1, Key: "a", State: mail.Pending}, &mail.Row{Folder: one, State: mail.Held},
		&mail.Row{Folder: one, UID: 2}, &mail.Row{Folder: one, Key: "b"})
	// What is being moved out of the folder may have arrived, so its intent stays.
	outward := &mail.Intent{Kind: mail.Move, Row: stays.ID, Folder: two}
	w.commit(t, &mail.Batch{PutIntents: []*mail.Intent{{Kind: mail.Upload, Folder: one}, outward}})

	w.commit(t, &mail.Batch{DropFolders: []mail.FolderID{one}})
	equal(t, "folders", len(must[[]mail.FolderBase](t)(w.Folders(w.ctx))), 1)
	equal(t, "rows by key", len(w.byKey(t, one)), 0)
	equal(t, "rows by UID", len(w.byUID(t, one)), 0)
	equal(t, "unsettled", must[[]mail.Row](t)(w.Unsettled(w.ctx)), []mail.Row{*stays})
	equal(t, "alike", must[[]mail.Row](t)(w.Alike(w.ctx, mail.Fingerprint{})), []mail.Row{*stays})
	equal(t, "intents", must[[]mail.Intent](t)(w.Intents(w.ctx)), []mail.Intent{*outward})
}
