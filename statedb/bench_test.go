package statedb

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"path/filepath"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// sampleRow is a row like those of a real folder, in size and in how its values
// scatter.
func sampleRow(folder mail.FolderID, n int) *mail.Row {
	sum := sha256.Sum256(fmt.Append(nil, n))
	r := &mail.Row{
		Folder: folder,
		UID:    mail.UID(n + 1),
		Key:    mail.Key(fmt.Sprintf("%d.M%dP%dQ%d.host.example", 1700000000+n/20, n*7919%1000000, 4711, n)),
		Flags:  mail.Flags{System: mail.Seen},
		Identity: mail.Identity{
			Size: int64(2000 + n*31%50000), Digest: sum, MessageID: fmt.Sprintf("<%x@mail.example.org>", sum[:12]),
		},
		Date: time.Unix(1700000000+int64(n)*60, 0).UTC(),
		Stat: mail.Stat{Dev: 65024, Inode: uint64(1000000 + n), Size: int64(2000 + n*31%50000), ModTime: 1700000000e9 + int64(n)},
	}
	copy(r.Fingerprint[:], sum[16:])
	r.Name = string(r.Key) + ":2,S"
	return r
}

// fill commits n sample rows, in batches.
func fill(tb testing.TB, db *DB, folder mail.FolderID, n int) []*mail.Row {
	tb.Helper()
	var all []*mail.Row
	for i := 0; i < n; {
		var b mail.Batch
		for ; i < n && len(b.PutRows) < 10_000; i++ {
			b.PutRows = append(b.PutRows, sampleRow(folder, i))
		}
		if err := db.Commit(tb.Context(), &b); err != nil {
			tb.Fatal(err)
		}
		all = append(all, b.PutRows...)
	}
	return all
}

func benchDB(b *testing.B) (*DB, mail.FolderID) {
	db, err := Open(b.Context(), filepath.Join(b.TempDir(), "state.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	f := &mail.FolderBase{Name: "INBOX"}
	if err := db.Commit(b.Context(), &mail.Batch{PutFolders: []*mail.FolderBase{f}}); err != nil {
		b.Fatal(err)
	}
	return db, f.ID
}

func perRow(b *testing.B, rows int) {
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
}

// A first sync: new rows, 10,000 in a batch.
func BenchmarkCommitNew(b *testing.B) {
	db, folder := benchDB(b)
	n := 0
	for b.Loop() {
		var batch mail.Batch
		for range 10_000 {
			batch.PutRows = append(batch.PutRows, sampleRow(folder, n))
			n++
		}
		if err := db.Commit(context.Background(), &batch); err != nil {
			b.Fatal(err)
		}
	}
	perRow(b, n)
}

// Everything marked as read: 10,000 rows of 100,000 get other flags.
func BenchmarkCommitFlags(b *testing.B) {
	db, folder := benchDB(b)
	all := fill(b, db, folder, 100_000)
	n := 0
	for b.Loop() {
		var batch mail.Batch
		for i := range 10_000 {
			r := all[(i*10)%len(all)]
			r.Flags.System ^= mail.Flagged
			batch.PutRows = append(batch.PutRows, r)
			n++
		}
		if err := db.Commit(context.Background(), &batch); err != nil {
			b.Fatal(err)
		}
	}
	perRow(b, n)
}

// One message: the shortest commit that there is.
func BenchmarkCommitOne(b *testing.B) {
	db, folder := benchDB(b)
	all := fill(b, db, folder, 10_000)
	for b.Loop() {
		r := all[5000]
		r.Flags.System ^= mail.Flagged
		if err := db.Commit(context.Background(), &mail.Batch{PutRows: []*mail.Row{r}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRowsByKey(b *testing.B) {
	benchRows(b, func(ctx context.Context, db *DB, folder mail.FolderID) iter.Seq2[mail.Row, error] {
		return db.RowsByKey(ctx, folder, "")
	})
}

// What a scan is compared with.
func BenchmarkKnown(b *testing.B) {
	benchRows(b, func(ctx context.Context, db *DB, folder mail.FolderID) iter.Seq2[mail.Known, error] {
		return db.Known(ctx, folder)
	})
}

func benchRows[T any](b *testing.B, all func(context.Context, *DB, mail.FolderID) iter.Seq2[T, error]) {
	db, folder := benchDB(b)
	fill(b, db, folder, 100_000)
	ctx, cancel := context.WithCancel(context.Background()) // as a sync has it: to watch it costs
	defer cancel()
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range all(ctx, db, folder) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
	}
	perRow(b, n)
}

func BenchmarkUIDs(b *testing.B) {
	db, folder := benchDB(b)
	fill(b, db, folder, 100_000)
	n := 0
	for b.Loop() {
		uids, err := db.UIDs(context.Background(), folder)
		if err != nil {
			b.Fatal(err)
		}
		n += uids.Len()
	}
	perRow(b, n)
}

func BenchmarkOpenClose(b *testing.B) {
	path := filepath.Join(b.TempDir(), "state.db")
	for b.Loop() {
		db, err := Open(context.Background(), path)
		if err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// A first sync as it is: each message is recorded before it lands and after it, 256 at a time.
func BenchmarkCommitLanding(b *testing.B) {
	db, folder := benchDB(b)
	n := 0
	for b.Loop() {
		var batch mail.Batch
		for range 256 {
			row := sampleRow(folder, n)
			row.State, row.Name = mail.Landing, ""
			batch.PutRows = append(batch.PutRows, row)
			n++
		}
		if err := db.Commit(context.Background(), &batch); err != nil {
			b.Fatal(err)
		}
		for _, row := range batch.PutRows {
			row.State, row.Name = mail.Settled, string(row.Key)+":2,S"
		}
		if err := db.Commit(context.Background(), &batch); err != nil {
			b.Fatal(err)
		}
	}
	perRow(b, n)
}
