package statetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	gosync "sync"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

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
	keys = slices.Compact(keys)
	equal(t, "keys", keysOf(w.byKey(t, folder)), keys)
	for i, k := range keys {
		equal(t, fmt.Sprintf("keys from %q on", k), keysOf(w.fromKey(t, folder, k)), keys[i:])
	}
	equal(t, "keys after one that is not there", keysOf(w.fromKey(t, folder, "a\x00a")), keys[slices.Index(keys, "a\x00b"):])
	equal(t, "keys after the last", keysOf(w.fromKey(t, folder, "\xff\xff")), []mail.Key{})
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
	find := func(fp mail.Fingerprint) []mail.RowID {
		return idsOf(must[[]mail.Row](t)(w.Alike(w.ctx, fp)))
	}
	equal(t, "alike, in order of IDs", find(f), []mail.RowID{a.ID, b.ID, d.ID})
	equal(t, "another fingerprint", find(g), []mail.RowID{c.ID})
	equal(t, "no fingerprint", find(mail.Fingerprint{}), []mail.RowID{unknown.ID})
	equal(t, "nothing", find(mail.Fingerprint{3}), []mail.RowID{})
}

func dated(t *testing.T, w *world) {
	one, two := w.folder(t, "one"), w.folder(t, "two")
	at := time.Unix(1700000000, 0).UTC()
	a := &mail.Row{Folder: two, Identity: mail.Identity{Size: 5}, Date: at}
	b := &mail.Row{Folder: one, Identity: mail.Identity{Size: 7}, RemoteSize: 5, Date: at}
	c := &mail.Row{Folder: one, Identity: mail.Identity{Size: 5}, RemoteSize: 9, Date: at}
	d := &mail.Row{Folder: one, Identity: mail.Identity{Size: 5}, RemoteSize: 5, Date: at.Add(time.Second)}
	undated := &mail.Row{Folder: one, Identity: mail.Identity{Size: 5}}
	w.put(t, b, a, c, d, undated)
	find := func(size int64, date time.Time) []mail.RowID {
		return idsOf(must[[]mail.Row](t)(w.Dated(w.ctx, size, date)))
	}
	equal(t, "of either size, in order of IDs", find(5, at), []mail.RowID{b.ID, a.ID, c.ID})
	equal(t, "within the second", find(5, at.Add(time.Millisecond)), []mail.RowID{b.ID, a.ID, c.ID})
	equal(t, "the server's size", find(9, at), []mail.RowID{c.ID})
	equal(t, "another date", find(5, at.Add(time.Second)), []mail.RowID{d.ID})
	equal(t, "no size", find(0, at), []mail.RowID{})
	equal(t, "no date", find(5, time.Time{}), []mail.RowID{})
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
		for _, err := range w.RowsByKey(w.ctx, folder, "") {
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
	for r, err := range w.RowsByKey(w.ctx, folder, "") {
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
				for r, err := range w.RowsByKey(ctx, folder, "") {
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
