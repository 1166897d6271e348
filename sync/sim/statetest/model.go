package statetest

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mailtwin/conflict/mail"
)

// naive is base as plain lists, with nothing that could make it fast or wrong.
type naive struct {
	folders []mail.FolderBase
	rows    []mail.Row
	intents []mail.Intent
}

// commit gives the lists after the batch, or false where it must be refused. IDs are
// those that the store gave out.
func (n naive) commit(b *mail.Batch) (naive, bool) {
	gone := func(f mail.FolderID) bool { return slices.Contains(b.DropFolders, f) }
	var next naive
	for _, f := range n.folders {
		if !gone(f.ID) {
			next.folders = append(next.folders, f)
		}
	}
	for _, r := range n.rows {
		if !gone(r.Folder) && !slices.Contains(b.DropRows, r.ID) {
			next.rows = append(next.rows, r)
		}
	}
	for _, i := range n.intents {
		if !gone(i.Folder) && !slices.Contains(b.DropIntents, i.ID) {
			next.intents = append(next.intents, i)
		}
	}
	for _, f := range b.PutFolders {
		next.folders = slices.DeleteFunc(next.folders, func(x mail.FolderBase) bool { return x.ID == f.ID && f.ID != 0 })
		next.folders = append(next.folders, *f)
	}
	for _, r := range b.PutRows {
		next.rows = slices.DeleteFunc(next.rows, func(x mail.Row) bool { return x.ID == r.ID && r.ID != 0 })
		next.rows = append(next.rows, *r)
	}
	for _, i := range b.PutIntents {
		next.intents = slices.DeleteFunc(next.intents, func(x mail.Intent) bool { return x.ID == i.ID && i.ID != 0 })
		next.intents = append(next.intents, *i)
	}
	return next, next.consistent()
}

func (n naive) consistent() bool {
	known := func(id mail.FolderID) bool {
		return slices.ContainsFunc(n.folders, func(f mail.FolderBase) bool { return f.ID == id })
	}
	for i, f := range n.folders {
		if slices.ContainsFunc(n.folders[:i], func(g mail.FolderBase) bool { return g.Name == f.Name }) {
			return false
		}
	}
	for i, r := range n.rows {
		if !known(r.Folder) || slices.ContainsFunc(n.rows[:i], func(q mail.Row) bool {
			return q.Folder == r.Folder && (q.UID == r.UID && r.UID != 0 || q.Key == r.Key && r.Key != "")
		}) {
			return false
		}
	}
	return !slices.ContainsFunc(n.intents, func(i mail.Intent) bool { return !known(i.Folder) })
}

// model commits random batches, many of which must be refused, and compares all that
// can be asked for with the naive lists.
func model(t *testing.T, w *world) {
	rapid.Check(t, func(t *rapid.T) {
		// The store is that of the round before, emptied: its IDs go on.
		var clear mail.Batch
		for _, f := range must[[]mail.FolderBase](t)(w.Folders(w.ctx)) {
			clear.DropFolders = append(clear.DropFolders, f.ID)
		}
		if err := w.Commit(w.ctx, &clear); err != nil {
			t.Fatalf("empty the store: %v", err)
		}
		var base naive
		for range rapid.IntRange(1, 12).Draw(t, "commits") {
			b := drawBatch(t, base)
			_, allowed := base.commit(b)
			err := w.Commit(w.ctx, b)
			if allowed != (err == nil) {
				t.Fatalf("allowed is %v, and Commit gave %v", allowed, err)
			}
			if allowed {
				base, _ = base.commit(b) // once more, now with the IDs
			}
			compare(t, w, base)
		}
	})
}

// drawBatch makes a batch of few values, so that they often meet.
func drawBatch(t *rapid.T, base naive) *mail.Batch {
	var b mail.Batch
	folderIDs := []mail.FolderID{1 << 40} // no such folder
	for _, f := range base.folders {
		folderIDs = append(folderIDs, f.ID, f.ID, f.ID, f.ID)
	}
	few := func(what string) int { return rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, what) }
	for range few("put folders") {
		f := &mail.FolderBase{}
		if len(base.folders) > 0 && rapid.Bool().Draw(t, "old folder") {
			*f = rapid.SampledFrom(base.folders).Draw(t, "folder")
		}
		f.Name = rapid.SampledFrom([]mail.Folder{"INBOX", "a", "b", "\xff"}).Draw(t, "name")
		f.Remote.UIDNext = mail.UID(rapid.Uint32().Draw(t, "UIDNEXT"))
		b.PutFolders = append(b.PutFolders, f)
	}
	if len(base.folders) > 0 && few("drop folders") == 2 {
		b.DropFolders = append(b.DropFolders, rapid.SampledFrom(base.folders).Draw(t, "drop folder").ID)
	}
	for range rapid.IntRange(0, 5).Draw(t, "put rows") {
		r := &mail.Row{}
		if len(base.rows) > 0 && rapid.Bool().Draw(t, "old row") {
			*r = rapid.SampledFrom(base.rows).Draw(t, "row")
		}
		if r.ID == 0 || rapid.Bool().Draw(t, "elsewhere") {
			r.Folder = rapid.SampledFrom(folderIDs).Draw(t, "folder")
			r.UID = mail.UID(rapid.IntRange(0, 8).Draw(t, "UID"))
			r.Key = rapid.SampledFrom([]mail.Key{"", "", "k", "K", "\xff", "k\x00", "l", "m"}).Draw(t, "key")
		}
		r.State = mail.State(rapid.IntRange(0, int(mail.Parted)).Draw(t, "state"))
		r.Flags.System = mail.System(rapid.IntRange(0, 3).Draw(t, "flags"))
		r.Size = int64(rapid.IntRange(0, 2).Draw(t, "size"))
		r.Name = string(r.Key) + ":2,"
		b.PutRows = append(b.PutRows, r)
	}
	for range few("drop rows") {
		if len(base.rows) > 0 {
			b.DropRows = append(b.DropRows, rapid.SampledFrom(base.rows).Draw(t, "drop row").ID)
		}
	}
	for range few("put intents") {
		i := &mail.Intent{Kind: mail.Upload, Created: time.Unix(1, 0).UTC()}
		if len(base.intents) > 0 && rapid.Bool().Draw(t, "old intent") {
			*i = rapid.SampledFrom(base.intents).Draw(t, "intent")
		}
		i.Folder = rapid.SampledFrom(folderIDs).Draw(t, "target")
		b.PutIntents = append(b.PutIntents, i)
	}
	for range few("drop intents") {
		if len(base.intents) > 0 {
			b.DropIntents = append(b.DropIntents, rapid.SampledFrom(base.intents).Draw(t, "drop intent").ID)
		}
	}
	return &b
}

func compare(t *rapid.T, w *world, base naive) {
	where := func(order func(a, b mail.Row) int, wanted func(mail.Row) bool) []mail.Row {
		rows := slices.DeleteFunc(slices.Clone(base.rows), func(r mail.Row) bool { return !wanted(r) })
		slices.SortFunc(rows, order)
		return rows
	}
	byID := func(a, b mail.Row) int { return cmp.Compare(a.ID, b.ID) }
	byUID := func(a, b mail.Row) int { return cmp.Compare(a.UID, b.UID) }
	byKey := func(a, b mail.Row) int { return cmp.Compare(a.Key, b.Key) }
	check := func(what string, got []mail.Row, err error, want []mail.Row) {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
		}
	}

	folders := slices.Clone(base.folders)
	slices.SortFunc(folders, func(a, b mail.FolderBase) int { return cmp.Compare(a.Name, b.Name) })
	if got := must[[]mail.FolderBase](t)(w.Folders(w.ctx)); !slices.Equal(got, folders) {
		t.Fatalf("folders:\n got %+v\nwant %+v", got, folders)
	}
	for _, f := range folders {
		remote := where(byUID, func(r mail.Row) bool { return r.Folder == f.ID && r.UID != 0 })
		local := where(byKey, func(r mail.Row) bool { return r.Folder == f.ID && r.Key != "" })
		check("by UID", w.byUID(t, f.ID), nil, remote)
		check("by key", w.byKey(t, f.ID), nil, local)
		if n, m, err := w.Count(w.ctx, f.ID); err != nil || n != len(remote) || m != len(local) {
			t.Fatalf("Count gave %d, %d, %v", n, m, err)
		}
		uids, err := w.UIDs(w.ctx, f.ID)
		if err != nil || !slices.Equal(slices.Collect(uids.All()), uidsOf(remote)) {
			t.Fatalf("UIDs gave %v, %v", uids, err)
		}
		some := mail.UIDSet{{First: 2, Last: 4}, {First: 7, Last: 7}}
		got, err := w.WithUIDs(w.ctx, f.ID, some)
		check("with UIDs", got, err, where(byUID, func(r mail.Row) bool { return r.Folder == f.ID && some.Has(r.UID) }))
		got, err = w.Marked(w.ctx, f.ID)
		check("marked", got, err, where(byUID, func(r mail.Row) bool {
			return r.Folder == f.ID && r.UID != 0 && r.Key != "" && r.Flags.Has(mail.Deleted)
		}))
	}
	got, err := w.Unsettled(w.ctx)
	check("unsettled", got, err, where(byID, func(r mail.Row) bool {
		return r.State == mail.Landing || r.State == mail.Pending || r.State == mail.Held
	}))
	got, err = w.Alike(w.ctx, mail.Fingerprint{1})
	check("alike", got, err, where(byID, func(r mail.Row) bool { return r.Fingerprint == mail.Fingerprint{1} }))
	got, err = w.Dated(w.ctx, 1, time.Unix(1, 0))
	check("dated", got, err, where(byID, func(r mail.Row) bool {
		return r.Date.Unix() == 1 && !r.Date.IsZero() && (r.Size == 1 || r.RemoteSize == 1)
	}))
	intents := slices.Clone(base.intents)
	slices.SortFunc(intents, func(a, b mail.Intent) int { return cmp.Compare(a.ID, b.ID) })
	if got, err := w.Intents(w.ctx); err != nil || !slices.Equal(got, intents) {
		t.Fatalf("intents:\n got %+v, %v\nwant %+v", got, err, intents)
	}
}
