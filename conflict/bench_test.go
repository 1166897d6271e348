package conflict

import (
	"fmt"
	"iter"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// known is a folder of so many messages in step, as base has it, as its files are named, and
// as the server lists it.
func known(n int) ([]mail.Row, []mail.File, []mail.Message) {
	rows, files, messages := make([]mail.Row, n), make([]mail.File, n), make([]mail.Message, n)
	seen := mail.Flags{System: mail.Seen}
	for i := range n {
		key := mail.Key(fmt.Sprintf("17%08d.M%06dR%016xQ1P4711.host", i, i*7919%1e6, i*i))
		files[i] = mail.File{Key: key, Name: string(key) + ":2,S", Flags: seen}
		messages[i] = mail.Message{UID: mail.UID(i + 1), Flags: seen}
		rows[i] = mail.Row{
			ID: mail.RowID(i + 1), Folder: 1, UID: messages[i].UID, Key: key, Name: files[i].Name, Flags: seen, State: mail.Settled,
			Date: time.Unix(1_700_000_000+int64(i), 0), Identity: mail.Identity{Size: int64(1000 + i), Digest: mail.Digest{byte(i), byte(i >> 8), byte(i >> 16)}},
		}
	}
	return rows, files, messages
}

func sequence[T any](all []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range all {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// Both sides of a folder of 100,000 messages are joined with base, and what has changed about
// 100 of them is planned.
func BenchmarkPlan(b *testing.B) {
	const n, changed = 100_000, 100
	rows, files, messages := known(n)
	for i := range changed / 2 {
		at, mark := i*(n/changed)*2, mail.Flags{System: mail.Seen | mail.Flagged}
		messages[at].Flags = mark
		files[at+1].Flags, files[at+1].Name = mark, string(files[at+1].Key)+":2,FS"
	}
	knowns := make([]mail.Known, n)
	for i := range rows {
		knowns[i] = rows[i].Known()
	}
	world := World{Folders: map[mail.Folder]FolderInfo{mail.Inbox: {Messages: n, Access: mail.Access{Settable: mail.Flags{System: mail.Seen | mail.Flagged}}}}}
	b.ReportAllocs()
	for b.Loop() {
		items := map[mail.RowID]*Item{}
		for c, err := range DiffRemote(sequence(rows), sequence(messages), true) {
			if err != nil {
				b.Fatal(err)
			}
			items[c.Row.ID] = &Item{Folder: mail.Inbox, Row: c.Row, Remote: c.Change, Message: c.Message}
		}
		local := func(yield func(mail.File) bool) {
			for _, f := range files {
				if !yield(f) {
					return
				}
			}
		}
		for c, err := range DiffLocal(sequence(knowns), local, mail.Letters{}) {
			if err != nil {
				b.Fatal(err)
			}
			items[c.Known.ID] = &Item{Folder: mail.Inbox, Row: &rows[c.Known.ID-1], Local: c.Change, File: c.File}
		}
		var all []*Item
		for _, item := range items {
			all = append(all, item)
		}
		if plan := Make(all, world); len(plan.Actions) != changed {
			b.Fatalf("%d actions", len(plan.Actions))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/message")
}
