package statetest

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// hostile is a text that is no text.
const hostile = "\xff\xfe\x00'\";--\n\r %s Ünïcode\u202e"

func empty(t *testing.T, w *world) {
	equal(t, "folders", len(must[[]mail.FolderBase](t)(w.Folders(w.ctx))), 0)
	equal(t, "intents", len(must[[]mail.Intent](t)(w.Intents(w.ctx))), 0)
	equal(t, "unsettled", len(must[[]mail.Row](t)(w.Unsettled(w.ctx))), 0)
	equal(t, "alike", len(must[[]mail.Row](t)(w.Alike(w.ctx, mail.Fingerprint{}))), 0)
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
		Letters:  mail.Letters{0: "work", 1: hostile, 7: "$Junk", 25: strings.Repeat("z", 300)},
		OnLocal:  true,
		Verified: time.Unix(1700000000, 0).UTC(), Synced: time.Unix(0, 0).UTC(), Problem: hostile, Lost: 255,
	}
	bare := &mail.FolderBase{Name: mail.Inbox, OnRemote: true}
	w.commit(t, &mail.Batch{PutFolders: []*mail.FolderBase{full, bare}})
	if full.ID == 0 || bare.ID == 0 || full.ID == bare.ID {
		t.Fatalf("IDs are %d and %d", full.ID, bare.ID)
	}
	// In ascending order of names.
	equal(t, "folders", must[[]mail.FolderBase](t)(w.Folders(w.ctx)), []mail.FolderBase{*bare, *full})

	// Stored whole: what is zero now is zero there.
	*full = mail.FolderBase{ID: full.ID, Name: "Archive/2024", Letters: mail.Letters{3: "only"}}
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
			Size: math.MaxInt64, Digest: mail.Digest{1, 31: 2}, Bare: mail.Digest{30: 9}, BareSize: 1 << 40, Fingerprint: mail.Fingerprint{3, 15: 4}, MessageID: "<" + hostile + ">",
		},
		RemoteSize: 5, RemoteDigest: mail.Digest{31: 6}, EmailID: "M" + hostile, Date: time.Unix(-1, 0).UTC(),
		Name: "1700.M1.host:2,FS", New: true,
		Stat: mail.Stat{Dev: math.MaxUint64, Inode: 1 << 63, Size: 8, ModTime: math.MinInt64}, CopyOf: 1 << 50,
		Pushed: mail.Flags{System: mail.Answered, Keywords: mail.NewKeywords("$Junk")}, PushedAt: time.Unix(1700000002, 0).UTC(),
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
		"fingerprint": func(r *mail.Row) { r.Fingerprint[1]++ }, "Message-ID": func(r *mail.Row) { r.MessageID = "" },
		"remote size": func(r *mail.Row) { r.RemoteSize++ }, "remote digest": func(r *mail.Row) { r.RemoteDigest[0]++ },
		"bare": func(r *mail.Row) { r.Bare[0]++ }, "bare size": func(r *mail.Row) { r.BareSize++ },
		"EMAILID": func(r *mail.Row) { r.EmailID += "x" }, "no EMAILID": func(r *mail.Row) { r.EmailID = "" },
		"copy of": func(r *mail.Row) { r.CopyOf++ },
		"pushed":  func(r *mail.Row) { r.Pushed.System = mail.Draft }, "pushed keywords": func(r *mail.Row) { r.Pushed.Keywords = "x" },
		"when": func(r *mail.Row) { r.PushedAt = time.Time{} },
		"date": func(r *mail.Row) { r.Date = r.Date.Add(time.Second) }, "name": func(r *mail.Row) { r.Name += "x" },
		"new": func(r *mail.Row) { r.New = false }, "stat": func(r *mail.Row) { r.Stat = mail.Stat{} },
	} {
		r := fullRow(folder)
		r.ID, r.State = full.ID, mail.Held
		w.put(t, r)
		change(r)
		w.put(t, r)
		equal(t, name, must[[]mail.Row](t)(w.Alike(w.ctx, r.Fingerprint)), []mail.Row{*r})
		equal(t, name, must[[]mail.Row](t)(w.Unsettled(w.ctx)), []mail.Row{*r})
	}
}

func intents(t *testing.T, w *world) {
	folder := w.folder(t, mail.Inbox)
	full := &mail.Intent{
		Kind: mail.Move, Row: 9, Folder: folder, Key: hostile,
		Identity:    mail.Identity{Size: 1 << 40, Digest: mail.Digest{1}, Fingerprint: mail.Fingerprint{2}, MessageID: hostile},
		UIDValidity: math.MaxUint32, UIDNext: math.MaxUint32, Created: time.Unix(1700000000, 0).UTC(),
	}
	bare := &mail.Intent{Kind: mail.Upload, Folder: folder}
	w.commit(t, &mail.Batch{PutIntents: []*mail.Intent{full, bare}})
	equal(t, "intents", must[[]mail.Intent](t)(w.Intents(w.ctx)), []mail.Intent{*full, *bare})

	bare.Key, bare.Kind = "k", mail.Copied
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
