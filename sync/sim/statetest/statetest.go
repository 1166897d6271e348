// Package statetest is what every store of base has to pass: the one on SQLite that
// users have, and the one in memory that most of the simulation runs on. Without it,
// the simulation would prove something about a store that nobody uses.
package statetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	gosync "sync"
	"testing"
	"time"

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
		{"rows are found by size and fingerprint", alike},
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

func (w *world) byKey(t failer, folder mail.FolderID) []mail.Row {
	t.Helper()
	var got []mail.Row
	for r, err := range w.RowsByKey(w.ctx, folder) {
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

// hostile is a text that is no text.
const hostile = "\xff\xfe\x00'\";--\n\r %s Ünïcode\u202e"

func empty(t *testing.T, w *world) {
	equal(t, "folders", len(must[[]mail.FolderBase](t)(w.Folders(w.ctx))), 0)
	equal(t, "intents", len(must[[]mail.Intent](t)(w.Intents(w.ctx))), 0)
	equal(t, "unsettled", len(must[[]mail.Row](t)(w.Unsettled(w.ctx))), 0)
	equal(t, "alike", len(must[[]mail.Row](t)(w.Alike(w.ctx, 0, mail.Fingerprint{}))), 0)
	// A folder that is not there has no rows; asking is no error.
	equal(t, "by key", len(w.byKey(t, 7)), 0)
	equal(t, "by UID", len(w.byUID(t, 7)), 0)
	equal(t, "UIDs", must[mail.UIDSet](t)(w.UIDs(w.ctx, 7)).Len(), 0)
	equal(t, "with UIDs", len(must[[]mail.Row](t)(w.WithUIDs(w.ctx, 7, mail.UIDs(1, 2)))), 0)
	remote, local, err := w.Count(w.ctx, 7)
	equal(t, "count", []any{remote, local, err}, []any{0, 0, error(nil)})
	w.commit(t, &mail.Batch{})
	w.commit(t, &mail.Batch{DropFolders: []mail.FolderID{7}, DropRows: []mail.RowID{7}, DropIntents: []mail.IntentID{7}})
}

func folders(t *testing.T, w *world) {
	full := &mail.FolderBase{
		Name: hostile, MailboxID: "F" + hostile, Role: mail.RoleTrash,
		Remote:   mail.Cursor{UIDValidity: math.MaxUint32, UIDNext: math.MaxUint32, HighestModSeq: math.MaxUint64, Messages: math.MaxUint32},
		Local:    mail.Stamp{Folder: math.MinInt64, Cur: math.MaxInt64, New: -1, Dev: math.MaxUint64, Inode: 1 << 63},
		Marker:   mail.Marker{Account: hostile, Folder: "0123", Generation: math.MaxInt64},
		Letter:   mail.Letters{0: "work", 1: hostile, 7: "$Junk", 25: strings.Repeat("z", 300)},
		OnLocal:  true,
		Verified: time.Unix(1700000000, 0).UTC(), Synced: time.Unix(0, 0).UTC(), Problem: hostile,
	}
	bare := &mail.FolderBase{Name: mail.Inbox, OnRemote: true}
	w.commit(t, &mail.Batch{PutFolders: []*mail.FolderBase{full, bare}})
	if full.ID == 0 || bare.ID == 0 || full.ID == bare.ID {
		t.Fatalf("IDs are %d and %d", full.ID, bare.ID)
	}
	// In ascending order of names.
	equal(t, "folders", must[[]mail.FolderBase](t)(w.Folders(w.ctx)), []mail.FolderBase{*bare, *full})

	// Stored whole: what is zero now is zero there.
	*full = mail.FolderBase{ID: full.ID, Name: "Archive/2024", Letter: mail.Letters{3: "only"}}
	w.commit(t, &mail.Batch{PutFolders: []*mail.FolderBase{full}})
	equal(t, "folders", must[[]mail.FolderBase](t)(w.Folders(w.ctx)), []mail.FolderBase{*full, *bare})
}

func folderNames(t *testing.T, w *world) {
	a, b := &mail.FolderBase{Name: "a"}, &mail.FolderBase{Name: "b"}
	w.commit(t, &mail.Batch{PutFolders: []*mail.FolderBase{a, b}})
	w.put(t, &mail.Row{Folder: a.ID, Key: "in a"})

	a.Name, b.Name = "b", "a"
	w.commit(t, &mail.Batch{PutFolders: []*mail.FolderBase{a, b}})
	equal(t, "folders", must[[]mail.FolderBase](t)(w.Folders(w.ctx)), []mail.FolderBase{*b, *a})
	equal(t, "rows of the one that was a", keysOf(w.byKey(t, a.ID)), []mail.Key{"in a"})

	w.refuse(t, &mail.Batch{PutFolders: []*mail.FolderBase{{Name: "b"}}})
	w.refuse(t, &mail.Batch{PutFolders: []*mail.FolderBase{{Name: "c"}, {Name: "c"}}})
	equal(t, "folders", must[[]mail.FolderBase](t)(w.Folders(w.ctx)), []mail.FolderBase{*b, *a})
}

// fullRow has no field that is zero.
func fullRow(folder mail.FolderID) *mail.Row {
	return &mail.Row{
		Folder: folder, UID: math.MaxUint32, Key: "1700.M1.host",
		Flags: mail.Flags{System: mail.Seen | mail.Forwarded, Keywords: mail.NewKeywords("work", "$Junk", "\xff")},
		State: mail.Held, Gone: mail.Remote, Why: hostile, Tries: 7, RetryAt: time.Unix(1700000001, 0).UTC(),
		Identity: mail.Identity{
			Size: math.MaxInt64, Digest: mail.Digest{1, 31: 2}, Fingerprint: mail.Fingerprint{3, 15: 4}, MessageID: "<" + hostile + ">",
		},
		RemoteSize: 5, RemoteDigest: mail.Digest{31: 6}, Date: time.Unix(-1, 0).UTC(),
		Name: "1700.M1.host:2,FS", New: true,
		Stat: mail.Stat{Dev: math.MaxUint64, Inode: 1 << 63, Size: 8, ModTime: math.MinInt64},
	}
}

func rows(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	full := fullRow(folder)
	bare := &mail.Row{Folder: folder}
	w.put(t, full, bare)
	equal(t, "by UID", w.byUID(t, folder), []mail.Row{*full})

	for _, name := range []string{"", "1700.M1.host", "1700.M1.host:2,", "other", "+", "=x", hostile} {
		for _, key := range []mail.Key{"1700.M1.host", hostile, "+", "="} {
			full.Name, full.Key = name, key
			w.put(t, full)
			equal(t, fmt.Sprintf("by key, file %q of %q", name, key), w.byKey(t, folder), []mail.Row{*full})
		}
	}
	full.Key, full.Name = "", "a name without a key"
	full.State = mail.Pending
	w.put(t, full)
	equal(t, "unsettled", must[[]mail.Row](t)(w.Unsettled(w.ctx)), []mail.Row{*full})

	// A change of any single field is stored, whatever it takes to do so cheaply.
	for name, change := range map[string]func(r *mail.Row){
		"flags": func(r *mail.Row) { r.Flags.System = mail.Draft }, "keywords": func(r *mail.Row) { r.Flags.Keywords = "x" },
		"UID": func(r *mail.Row) { r.UID-- }, "no UID": func(r *mail.Row) { r.UID = 0 }, "key": func(r *mail.Row) { r.Key += "x" },
		"state": func(r *mail.Row) { r.State = mail.Landing }, "gone": func(r *mail.Row) { r.Gone = mail.Local },
		"why": func(r *mail.Row) { r.Why = "" }, "tries": func(r *mail.Row) { r.Tries++ }, "retry": func(r *mail.Row) { r.RetryAt = time.Time{} },
		"size": func(r *mail.Row) { r.Size = 0 }, "digest": func(r *mail.Row) { r.Digest = mail.Digest{} },
		"fingerprint": func(r *mail.Row) { r.Fingerprint = mail.Fingerprint{} }, "Message-ID": func(r *mail.Row) { r.MessageID = "" },
		"remote size": func(r *mail.Row) { r.RemoteSize++ }, "remote digest": func(r *mail.Row) { r.RemoteDigest[0]++ },
		"date": func(r *mail.Row) { r.Date = r.Date.Add(time.Second) }, "name": func(r *mail.Row) { r.Name += "x" },
		"new": func(r *mail.Row) { r.New = false }, "stat": func(r *mail.Row) { r.Stat = mail.Stat{} },
	} {
		r := fullRow(folder)
		r.ID, r.State = full.ID, mail.Held
		w.put(t, r)
		change(r)
		w.put(t, r)
		equal(t, name, must[[]mail.Row](t)(w.Alike(w.ctx, r.Size, r.Fingerprint)), []mail.Row{*r})
		equal(t, name, must[[]mail.Row](t)(w.Unsettled(w.ctx)), []mail.Row{*r})
	}
}

func intents(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	full := &mail.Intent{
		Kind: mail.Move, Row: 9, Folder: folder, Key: hostile,
		Identity:    mail.Identity{Size: 1 << 40, Digest: mail.Digest{1}, Fingerprint: mail.Fingerprint{2}, MessageID: hostile},
		UIDValidity: math.MaxUint32, UIDNext: math.MaxUint32, Sent: true, Created: time.Unix(1700000000, 0).UTC(),
	}
	bare := &mail.Intent{Kind: mail.Upload, Folder: folder}
	w.commit(t, &mail.Batch{PutIntents: []*mail.Intent{full, bare}})
	equal(t, "intents", must[[]mail.Intent](t)(w.Intents(w.ctx)), []mail.Intent{*full, *bare})

	bare.Sent, bare.Kind = true, mail.Copy
	w.commit(t, &mail.Batch{PutIntents: []*mail.Intent{bare}, DropIntents: []mail.IntentID{full.ID}})
	equal(t, "intents", must[[]mail.Intent](t)(w.Intents(w.ctx)), []mail.Intent{*bare})

	w.refuse(t, &mail.Batch{PutIntents: []*mail.Intent{{Kind: mail.Upload, Folder: folder + 1}}})
	w.refuse(t, &mail.Batch{PutIntents: []*mail.Intent{{Folder: folder}}})
}

func times(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	zone := time.FixedZone("", 5*3600+1800)
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Unix(-1, 999), time.Date(2024, 2, 29, 23, 59, 59, 999999999, zone), time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), {},
	} {
		r := &mail.Row{Folder: folder, Key: "k", Date: at}
		w.put(t, r)
		got := w.byKey(t, folder)[0].Date
		if got.Unix() != at.Unix() || got.IsZero() != at.IsZero() || got.Nanosecond() != 0 || got.Location() != time.UTC {
			t.Errorf("%v came back as %v", at, got)
		}
		w.commit(t, &mail.Batch{DropRows: []mail.RowID{r.ID}})
	}
}

func ids(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	a, b := &mail.Row{Folder: folder, Key: "a"}, &mail.Row{Folder: folder, Key: "b"}
	w.put(t, a, b)
	if a.ID <= 0 || b.ID <= a.ID {
		t.Fatalf("IDs are %d and %d", a.ID, b.ID)
	}

	f, r, i := &mail.FolderBase{Name: "new"}, &mail.Row{Folder: folder, Key: "c"}, &mail.Intent{Kind: mail.Upload, Folder: folder}
	w.refuse(t, &mail.Batch{PutFolders: []*mail.FolderBase{f}, PutIntents: []*mail.Intent{i}, PutRows: []*mail.Row{r, {Folder: folder, Key: "a"}}})
	if f.ID != 0 || r.ID != 0 || i.ID != 0 {
		t.Errorf("a refused batch gave out IDs: %d, %d, %d", f.ID, r.ID, i.ID)
	}

	w.commit(t, &mail.Batch{DropRows: []mail.RowID{a.ID, b.ID}})
	w.put(t, r)
	if r.ID <= b.ID {
		t.Errorf("the ID %d was given out again", r.ID)
	}
	w.commit(t, &mail.Batch{PutIntents: []*mail.Intent{i}})
	w.commit(t, &mail.Batch{DropFolders: []mail.FolderID{folder}})
	last := folder
	folder = w.folder(t, mail.Inbox)
	again, next := &mail.Row{Folder: folder}, &mail.Intent{Kind: mail.Upload, Folder: folder}
	w.commit(t, &mail.Batch{PutRows: []*mail.Row{again}, PutIntents: []*mail.Intent{next}})
	if folder <= last || again.ID <= r.ID || next.ID <= i.ID {
		t.Errorf("IDs of a dropped folder were given out again: %d, %d, %d", folder, again.ID, next.ID)
	}
}

func strangers(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	r := &mail.Row{Folder: folder, Key: "a"}
	w.put(t, r)
	for name, b := range map[string]*mail.Batch{
		"row":              {PutRows: []*mail.Row{{ID: r.ID + 1, Folder: folder}}},
		"negative row":     {PutRows: []*mail.Row{{ID: -1, Folder: folder}}},
		"folder":           {PutFolders: []*mail.FolderBase{{ID: folder + 1, Name: "x"}}},
		"negative folder":  {PutFolders: []*mail.FolderBase{{ID: -1, Name: "x"}}},
		"intent":           {PutIntents: []*mail.Intent{{ID: 1, Kind: mail.Upload, Folder: folder}}},
		"folder of a row":  {PutRows: []*mail.Row{{Folder: folder + 1}}},
		"no folder at all": {PutRows: []*mail.Row{{}}},
		"state of a row":   {PutRows: []*mail.Row{{Folder: folder, State: mail.Parted + 1}}},
		"side of a row":    {PutRows: []*mail.Row{{Folder: folder, Gone: mail.Remote + 1}}},
	} {
		if err := w.Commit(w.ctx, b); err == nil {
			t.Errorf("%s: there was no error", name)
		}
	}
	equal(t, "rows", idsOf(w.byKey(t, folder)), []mail.RowID{r.ID})
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

	moved, sent := *b, *i
	moved.Key, sent.Sent = "moved", true
	w.refuse(t, &mail.Batch{
		DropRows: []mail.RowID{a.ID}, PutFolders: []*mail.FolderBase{{Name: "more"}, {ID: folder, Name: "renamed"}},
		PutIntents: []*mail.Intent{&sent}, PutRows: []*mail.Row{&moved, {Folder: folder, UID: 9}, {Folder: folder, UID: 9}},
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
	equal(t, "alike", must[[]mail.Row](t)(w.Alike(w.ctx, 0, mail.Fingerprint{})), []mail.Row{*stays})
	equal(t, "intents", must[[]mail.Intent](t)(w.Intents(w.ctx)), []mail.Intent{*outward})
}

func keyOrder(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	keys := []mail.Key{"a", "A", "ab", "a\x00", "a\x00b", "\xff", "\xc3\xa9", "é!", "é", "Z", "10", "9", " ", "\x00", hostile, "aa", "\u202ea"}
	var rows []*mail.Row
	for i, k := range keys {
		if !slices.Contains(keys[:i], k) {
			rows = append(rows, &mail.Row{Folder: folder, Key: k})
		}
	}
	w.put(t, rows...)
	slices.Sort(keys)
	equal(t, "keys", keysOf(w.byKey(t, folder)), slices.Compact(keys))
}

func uidOrder(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	uids := []mail.UID{1 << 31, 1, math.MaxUint32, 1<<31 - 1, 10, 9, 1<<31 + 1}
	for _, u := range uids {
		w.put(t, &mail.Row{Folder: folder, UID: u})
	}
	slices.Sort(uids)
	equal(t, "UIDs", uidsOf(w.byUID(t, folder)), uids)
	equal(t, "set", must[mail.UIDSet](t)(w.UIDs(w.ctx, folder)).String(), "1,9:10,2147483647:2147483649,4294967295")
}

func withUIDs(t *testing.T, w *world) {
	folder, other := w.folder(t, mail.Inbox), w.folder(t, "other")
	for _, u := range []mail.UID{1, 2, 3, 5, 8, 1 << 31, math.MaxUint32} {
		w.put(t, &mail.Row{Folder: folder, UID: u}, &mail.Row{Folder: other, UID: u + 10})
	}
	w.put(t, &mail.Row{Folder: folder, Key: "local only"})
	for _, test := range []struct {
		set  mail.UIDSet
		want []mail.UID
	}{
		{nil, []mail.UID{}},
		{mail.UIDs(2), []mail.UID{2}},
		{mail.UIDs(4, 6, 7), []mail.UID{}},
		{mail.UIDs(3, 8, 1, 9), []mail.UID{1, 3, 8}},
		{mail.UIDSet{{First: 2, Last: 5}}, []mail.UID{2, 3, 5}},
		{mail.UIDSet{{First: 1, Last: 2}, {First: 6, Last: math.MaxUint32}}, []mail.UID{1, 2, 8, 1 << 31, math.MaxUint32}},
	} {
		equal(t, test.set.String(), uidsOf(must[[]mail.Row](t)(w.WithUIDs(w.ctx, folder, test.set))), test.want)
	}
}

func unsettled(t *testing.T, w *world) {
	one, two := w.folder(t, "one"), w.folder(t, "two")
	var want []mail.RowID
	var all []*mail.Row
	for range 3 {
		for s := mail.Settled; s <= mail.Parted; s++ {
			for _, f := range []mail.FolderID{two, one} {
				r := &mail.Row{Folder: f, State: s, Why: "why"}
				w.put(t, r)
				all = append(all, r)
				if s == mail.Landing || s == mail.Pending || s == mail.Held {
					want = append(want, r.ID)
				}
			}
		}
	}
	equal(t, "in order of IDs", idsOf(must[[]mail.Row](t)(w.Unsettled(w.ctx))), want)
	for _, r := range all {
		r.State = mail.Settled
	}
	w.put(t, all...)
	equal(t, "once all are settled", len(must[[]mail.Row](t)(w.Unsettled(w.ctx))), 0)
}

func alike(t *testing.T, w *world) {
	one, two := w.folder(t, "one"), w.folder(t, "two")
	f, g := mail.Fingerprint{1}, mail.Fingerprint{2}
	a := &mail.Row{Folder: two, Identity: mail.Identity{Size: 5, Fingerprint: f}}
	b := &mail.Row{Folder: one, Identity: mail.Identity{Size: 5, Fingerprint: f}, State: mail.Parted}
	c := &mail.Row{Folder: one, Identity: mail.Identity{Size: 5, Fingerprint: g}}
	d := &mail.Row{Folder: one, Identity: mail.Identity{Size: 6, Fingerprint: f}}
	unknown := &mail.Row{Folder: one, Identity: mail.Identity{Size: 5}}
	w.put(t, a, b, c, d, unknown)
	find := func(size int64, fp mail.Fingerprint) []mail.RowID {
		return idsOf(must[[]mail.Row](t)(w.Alike(w.ctx, size, fp)))
	}
	equal(t, "twins, in order of IDs", find(5, f), []mail.RowID{a.ID, b.ID})
	equal(t, "another fingerprint", find(5, g), []mail.RowID{c.ID})
	equal(t, "another size", find(6, f), []mail.RowID{d.ID})
	equal(t, "no fingerprint", find(5, mail.Fingerprint{}), []mail.RowID{unknown.ID})
	equal(t, "nothing", find(7, f), []mail.RowID{})
}

// many fills a folder with n rows, with UIDs from 1 on and keys in the same order.
func (w *world) many(t failer, name mail.Folder, n int) mail.FolderID {
	folder := w.folder(t, name)
	var rows []*mail.Row
	for i := range n {
		rows = append(rows, &mail.Row{Folder: folder, UID: mail.UID(i + 1), Key: mail.Key(fmt.Sprintf("%06d", i+1))})
	}
	w.put(t, rows...)
	return folder
}

func leaveEarly(t *testing.T, w *world) {
	folder := w.many(t, mail.Inbox, 500)
	// More often than any pool has connections: each must be given back.
	for range 50 {
		n := 0
		for _, err := range w.RowsByKey(w.ctx, folder) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 3 {
				break
			}
		}
	}
	w.put(t, &mail.Row{Folder: folder, Key: "last"})
	equal(t, "rows", len(w.byKey(t, folder)), 501)
}

func endWithContext(t *testing.T, w *world) {
	folder := w.many(t, mail.Inbox, 500)
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	n := 0
	var last error
	for _, err := range w.RowsByUID(ctx, folder) {
		if last != nil {
			t.Fatal("something came after the error")
		}
		if last = err; err == nil {
			n++
		}
		if n == 3 {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) || n != 3 {
		t.Errorf("%d rows came, and then %v", n, last)
	}
	for _, err := range w.RowsByUID(ctx, folder) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a loop under an ended context gave %v", err)
		}
	}
}

func commitInside(t *testing.T, w *world) {
	folder := w.many(t, mail.Inbox, 300)
	n := 0
	for r, err := range w.RowsByKey(w.ctx, folder) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if want := mail.Key(fmt.Sprintf("%06d", n)); r.Key != want {
			t.Fatalf("row %d has the key %q", n, r.Key)
		}
		if n%50 == 25 {
			// The same row, one ahead and one behind, and new ones at both ends.
			r.Key = "zz" + r.Key
			w.commit(t, &mail.Batch{
				PutRows:  []*mail.Row{&r, {Folder: folder, Key: "!" + r.Key}, {Folder: folder, Key: "~" + r.Key}},
				DropRows: []mail.RowID{r.ID - 1, r.ID + 1},
			})
		}
	}
	equal(t, "rows in the loop", n, 300)
	equal(t, "rows after it", len(w.byKey(t, folder)), 300-6*2+6*2)
}

func atOnce(t *testing.T, w *world) {
	const workers, rounds = 12, 3
	folder := w.many(t, mail.Inbox, 100)
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	var wg gosync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			for round := range rounds {
				i := 0
				for r, err := range w.RowsByKey(ctx, folder) {
					if err != nil {
						t.Errorf("RowsByKey: %v", err)
						return
					}
					if i++; i%40 != 0 {
						continue
					}
					for _, err := range w.RowsByUID(ctx, folder) {
						if err != nil {
							t.Errorf("RowsByUID inside: %v", err)
						}
						break
					}
					if _, err := w.WithUIDs(ctx, folder, mail.UIDs(r.UID)); err != nil {
						t.Errorf("WithUIDs inside: %v", err)
					}
					if _, _, err := w.Count(ctx, folder); err != nil {
						t.Errorf("Count inside: %v", err)
					}
					if err := w.Commit(ctx, &mail.Batch{PutRows: []*mail.Row{{Folder: folder, Key: mail.Key(fmt.Sprintf("x %d %d %d", n, round, i))}}}); err != nil {
						t.Errorf("Commit inside: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		t.Fatal("they waited for each other")
	}
	if _, local, _ := w.Count(w.ctx, folder); local < 100+workers*rounds*2 {
		t.Errorf("%d rows are there", local)
	}
}

func cancelled(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	r := &mail.Row{Folder: folder, Key: "a"}
	if err := w.Commit(ctx, &mail.Batch{PutRows: []*mail.Row{r}}); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit gave %v", err)
	}
	if r.ID != 0 || len(w.byKey(t, folder)) != 0 {
		t.Error("the row is there")
	}
	w.put(t, r)
	equal(t, "rows", w.byKey(t, folder), []mail.Row{*r})
}
