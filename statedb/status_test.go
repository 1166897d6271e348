package statedb

import (
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

func TestLastRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	db := openAt(t, path)
	if run, err := db.LastRun(t.Context()); err != nil || !reflect.DeepEqual(run, Run{}) {
		t.Errorf("before the first there is %+v, %v", run, err)
	}
	for _, run := range []Run{
		{Started: time.Unix(1700000000, 0).UTC(), Finished: time.Unix(1700000009, 0).UTC(), OK: true, Report: []byte(`{"folders":20}`)},
		{Started: time.Unix(1700000100, 0).UTC(), Error: "server unreachable: \xff"},
	} {
		if err := db.PutRun(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		closeNow(t, db)
		db = openAt(t, path)
		got, err := db.LastRun(t.Context())
		if len(got.Report) == 0 {
			got.Report = nil
		}
		if err != nil || !reflect.DeepEqual(got, run) {
			t.Errorf("it came back as %+v, %v, want %+v", got, err, run)
		}
	}
}

func TestDecisions(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	if d, err := db.Decisions(t.Context(), 10); err != nil || len(d) != 0 {
		t.Errorf("at first there are %v, %v", d, err)
	}
	var put []mail.Decision
	for i := range 5 {
		put = append(put, mail.Decision{
			At: time.Unix(int64(1700000000+i), 0).UTC(), Folder: "a\xff", MessageID: "<\x00>", UID: 1 << 31, Key: "\xfe",
			What: fmt.Sprint("kept ", i), Why: "flagged meanwhile",
		})
	}
	for _, b := range []mail.Batch{{Decisions: put[:2]}, {Decisions: put[2:]}} {
		if err := db.Commit(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[int][]mail.Decision{2: {put[4], put[3]}, 100: {put[4], put[3], put[2], put[1], put[0]}, 0: nil, -1: nil} {
		if got, err := db.Decisions(t.Context(), limit); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("the newest %d are %+v, %v", limit, got, err)
		}
	}
}

func TestOldDecisionsAreForgotten(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	for round := range 2 {
		many := make([]mail.Decision, keptDecisions*2/3)
		for i := range many {
			many[i] = mail.Decision{What: fmt.Sprint(round, " ", i)}
		}
		if err := db.Commit(t.Context(), &mail.Batch{Decisions: many}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := db.Decisions(t.Context(), 10*keptDecisions)
	if err != nil || len(got) != keptDecisions {
		t.Fatalf("%d are kept, %v", len(got), err)
	}
	if last := fmt.Sprint("1 ", keptDecisions*2/3-1); got[0].What != last {
		t.Errorf("the newest is %q, want %q", got[0].What, last)
	}
}

func TestFolderCounts(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	one, two, three := addFolder(t, db, "one").ID, addFolder(t, db, "two").ID, addFolder(t, db, "three").ID
	rows := []*mail.Row{
		{Folder: one, UID: 1, Key: "a"}, {Folder: one, UID: 2, Key: "b"}, {Folder: one, UID: 3, State: mail.Landing, Key: "c"},
		{Folder: one, UID: 4, State: mail.Parted}, {Folder: one, UID: 5, State: mail.Parted}, {Folder: one, Key: "d", State: mail.Pending},
		{Folder: two, Key: "a", State: mail.Held}, {Folder: two, Key: "b", State: mail.Held, Gone: mail.Remote}, {Folder: two, Key: "c", State: mail.Held},
	}
	if err := db.Commit(t.Context(), &mail.Batch{PutRows: rows}); err != nil {
		t.Fatal(err)
	}
	want := map[mail.FolderID]Counts{one: {Local: 4, Remote: 5, Pending: 1, Parted: 2}, two: {Local: 3, Held: 3}}
	got, err := db.FolderCounts(t.Context())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the counts are %+v, %v, want %+v", got, err, want)
	}
	if got[three] != (Counts{}) {
		t.Errorf("an empty folder has %+v", got[three])
	}
}

// Every query finds what it gives by an index, and gets it in the right order without
// sorting: with a million rows, one that does not would be felt in each run.
func TestQueriesUseIndexes(t *testing.T) {
	db := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	for query, want := range map[string]string{
		rowsByKey:    "SEARCH rows USING INDEX rows_by_key (folder=? AND key>?)",
		rowsByUID:    "SEARCH rows USING INDEX rows_by_uid (folder=? AND uid>?)",
		withUIDs:     "SEARCH rows USING INDEX rows_by_uid (folder=? AND uid>? AND uid<?)",
		onlyUIDs:     "SEARCH rows USING COVERING INDEX rows_by_uid (folder=? AND uid>?)",
		countRemote:  "SEARCH rows USING COVERING INDEX rows_by_uid (folder=? AND uid>?)",
		countLocal:   "SEARCH rows USING COVERING INDEX rows_by_key (folder=? AND key>?)",
		alike:        "SEARCH rows USING INDEX rows_by_fingerprint (fingerprint=?)",
		datedHere:    "SEARCH rows USING INDEX rows_by_date (date=? AND size=?)",
		datedThere:   "SEARCH rows USING INDEX rows_by_remote_size (remote_size=?)",
		countsRemote: "SCAN rows USING COVERING INDEX rows_by_uid",
		countsLocal:  "SCAN rows USING COVERING INDEX rows_by_key",
		countsState:  "SCAN rows USING COVERING INDEX rows_by_state",
		// Few rows, so that sorting them costs nothing.
		unsettled:                           "SEARCH rows USING INDEX rows_by_state (state=?); USE TEMP B-TREE FOR ORDER BY",
		"DELETE FROM rows WHERE folder = ?": "SEARCH rows USING COVERING INDEX rows_by_uid (folder=?)",
	} {
		rows, err := db.write.Query("EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
		if err != nil {
			t.Fatal(err)
		}
		var steps []string
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				t.Fatal(err)
			}
			steps = append(steps, step)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(steps, "; "); got != want {
			t.Errorf("%s\n is done by\t%s\n instead of\t%s", query, got, want)
		}
	}
}
