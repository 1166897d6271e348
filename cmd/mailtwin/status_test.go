package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	"mailtwin/statedb"
	engine "mailtwin/sync"
)

func TestStatus(t *testing.T) {
	b := newBench(t, "alice")
	b.pastErr = fmt.Errorf("open: %w", fs.ErrNotExist)
	b.run(t.Context(), "status", 0, "alice: never synced; mailtwin sync alice\n", "")
	b.run(t.Context(), "status --json", 0, `{"accounts":[{"name":"alice","last_sync":null,"ok":false,"error":null,"removed":{"messages":0,"bytes":0},"folders":[],"watch":null}]}`+"\n", "")

	b.pastErr = nil
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	b.past = past{
		folders: []mail.FolderBase{{ID: 1, Name: "INBOX", Synced: at}, {ID: 2, Name: "Lists/go", Problem: "is \x1b[1mread-only"}, {ID: 3, Name: "My Work", Synced: at}},
		counts:  map[mail.FolderID]counts{1: {Local: 12, Remote: 13, Pending: 3}, 2: {Local: 300, Remote: 300, Held: 2, Parted: 5}, 3: {Local: 7, Remote: 7, Held: 1}},
		waiting: []mail.Row{
			{Folder: 1, State: mail.Pending, Why: "over \x1b[1mquota", RetryAt: at.Add(time.Hour), Identity: mail.Identity{MessageID: "<a@x>"}},
			{Folder: 1, State: mail.Pending, Why: "over \x1b[1mquota", RetryAt: at},
			{Folder: 1, State: mail.Pending, Why: "interrupted"},
			{Folder: 1, State: mail.Landing},
			{Folder: 2, State: mail.Held, Why: "more than half"},
			{Folder: 3, State: mail.Held, Why: "what takes its place is not there yet", RetryAt: at},
			{Folder: 2, State: mail.Held, Why: "more than half", Identity: mail.Identity{MessageID: "<b@x>"}},
		},
		last: lastRun{Started: at, Finished: at, OK: true,
			Report: []byte(`{"name":"alice","held":[{"folder":"Lists/go","messages":2,"why":"more than half"},{"folder":"My Work","messages":7,"why":"the folder is gone here"}]}`)},
		removed: maildir.StoreSize{Messages: 12, Bytes: 1_234_567},
	}
	stamp := at.Local().Format(time.DateTime)
	table := "  FOLDER    HERE  SERVER  WAITING  HELD  LAST IN STEP\n" +
		"  INBOX     12    13      3        0     " + stamp + "\n" +
		"  Lists/go  300   300     0        2     never                is [1mread-only\n" +
		"  My Work   7     7       0        8     " + stamp + "\n" +
		"  INBOX: 2 messages: over [1mquota: tried again from " + stamp + " on\n" +
		"  INBOX: 1 message: interrupted: the next sync tries again\n" +
		"  Lists/go: 2 messages: more than half: to go on: mailtwin sync --allow-deletes alice:Lists/go\n" +
		"  My Work: 1 message: what takes its place is not there yet: tried again from " + stamp + " on\n" +
		"  My Work: 7 messages: the folder is gone here: to go on: mailtwin sync --allow-deletes 'alice:My Work'\n" +
		"  removed here in the last days: 12 messages, 1.2 MB; mailtwin restore alice --list\n"
	b.run(t.Context(), "status", 0, "alice: in step, last synced "+stamp+"\n"+table, "")
	b.past.last.OK, b.past.last.Error = false, "login refused"
	b.run(t.Context(), "status alice", 0, "alice: last synced "+stamp+": login refused\n"+table, "")
	b.run(t.Context(), "status --json", 0, `{"accounts":[{"name":"alice","last_sync":"2026-03-04T05:06:07Z","ok":false,"error":"login refused","removed":{"messages":12,"bytes":1234567},"folders":[`+
		`{"name":"INBOX","local":12,"remote":13,"pending":3,"held":0,"parted":0,"last_sync":"2026-03-04T05:06:07Z","problem":null,"reasons":[`+
		`{"state":"pending","messages":2,"why":"over [1mquota","next_try":"2026-03-04T05:06:07Z","message_ids":["<a@x>"]},`+
		`{"state":"pending","messages":1,"why":"interrupted","next_try":null,"message_ids":[]}]},`+
		`{"name":"Lists/go","local":300,"remote":300,"pending":0,"held":2,"parted":5,"last_sync":null,"problem":"is [1mread-only","reasons":[`+
		`{"state":"held","messages":2,"why":"more than half","next_try":null,"message_ids":["<b@x>"]}]},`+
		`{"name":"My Work","local":7,"remote":7,"pending":0,"held":8,"parted":0,"last_sync":"2026-03-04T05:06:07Z","problem":null,"reasons":[`+
		`{"state":"held","messages":1,"why":"what takes its place is not there yet","next_try":"2026-03-04T05:06:07Z","message_ids":[]},`+
		`{"state":"held","messages":7,"why":"the folder is gone here","next_try":null,"message_ids":[]}]}],"watch":null}]}`+"\n", "")

	b.past, b.pastErr = past{}, mail.ErrDamaged
	b.run(t.Context(), "status", 1, "alice: damaged\n", "mailtwin: alice: damaged\n")
}

func TestBytesOf(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_234_567: "1.2 MB", 5e9: "5.0 GB", 5e15: "5000.0 TB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

// longAgo makes all that the state tells of times older.
func (d *computer) longAgo(by time.Duration) {
	d.Helper()
	ctx := d.Context()
	db, err := statedb.Open(ctx, filepath.Join(filepath.Dir(d.config), "state", "alice", stateFile))
	d.check(err)
	folders, err := db.Folders(ctx)
	d.check(err)
	batch := &mail.Batch{}
	for _, f := range folders {
		f.Synced = f.Synced.Add(-by)
		batch.PutFolders = append(batch.PutFolders, &f)
	}
	d.check(db.Commit(ctx, batch))
	run, err := db.LastRun(ctx)
	d.check(err)
	record := readRunRecord(run.Report)
	older := func(at *time.Time) *time.Time { return when(at.Add(-by)) }
	record.InStep = older(record.InStep)
	for name, at := range record.Behind {
		record.Behind[name] = older(at)
	}
	run.Report, err = json.Marshal(record)
	d.check(err)
	run.Started, run.Finished = run.Started.Add(-by), run.Finished.Add(-by)
	d.check(db.PutRun(ctx, run))
	d.check(db.Close())
}

// TestLastInStep: a folder that no run finds changed is in step all the same; and when
// one no longer is, or nothing can be reached, the time stays that of the last good run.
func TestLastInStep(t *testing.T) {
	stories(t, map[string]func(s *story){
		"over weeks": func(s *story) {
			d := s.device("laptop")
			ages := func(want string) { // in days since the last run
				s.Helper()
				var doc statusReport
				s.check(json.Unmarshal([]byte(d.exits(0, "status", "--json").stdout), &doc))
				acc := doc.Accounts[0]
				got := ""
				for _, f := range acc.Folders {
					if f.Name == "INBOX" || f.Name == "Archive" || f.Name == "Drafts" {
						got += fmt.Sprintf("%s %v ", f.Name, acc.LastSync.Sub(*f.LastSync).Round(time.Hour).Hours()/24)
					}
				}
				if got != want {
					s.Errorf("last in step %q days ago, want %q", got, want)
				}
			}
			const day = 24 * time.Hour
			d.sync()
			d.longAgo(21 * day)
			d.quiet()
			ages("Archive 0 Drafts 0 INBOX 0 ")

			d.longAgo(7 * day)
			archive, away := filepath.Join(d.maildir, "Archive"), filepath.Join(d.maildir, ".away")
			s.check(os.Rename(archive, away))
			s.check(os.WriteFile(archive, nil, 0o600))
			d.exits(1, "sync")
			ages("Archive 7 Drafts 0 INBOX 0 ")
			d.longAgo(7 * day)
			d.exits(1, "sync")
			ages("Archive 14 Drafts 0 INBOX 0 ")

			// Some of it, or nothing at all, says nothing of the rest.
			s.deliver("INBOX", note("new"), none)
			d.longAgo(2 * day)
			d.exits(1, "sync", "alice:INBOX")
			ages("Archive 16 Drafts 2 INBOX 0 ")
			d.longAgo(2 * day)
			d.again("port = 1")
			d.exits(75, "sync")
			ages("Archive 18 Drafts 4 INBOX 2 ")

			d.again()
			s.check(os.Remove(archive))
			s.check(os.Rename(away, archive))
			d.sync()
			ages("Archive 0 Drafts 0 INBOX 0 ")
		},
	})
}

func TestStatusOfAFolderThatVanished(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop")
	s.deliver("Archive", note("one"), seen)
	d.sync()
	s.check(os.RemoveAll(filepath.Join(d.maildir, "Archive")))
	d.exits(1, "sync")
	if r := d.exits(0, "status"); !strings.Contains(r.stdout, "\n  Archive: 1 message: the folder is gone here: to go on: mailtwin sync --allow-deletes alice:Archive\n") {
		t.Errorf("status printed\n%s", r.stdout)
	}
	d.exits(0, "sync", "--allow-deletes", "alice:Archive")
	if r := d.exits(0, "status"); strings.Contains(r.stdout, "Archive") {
		t.Errorf("status printed\n%s", r.stdout)
	}
}

func TestConflicts(t *testing.T) {
	b := newBench(t, "alice", "bob")
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	stamp := at.Local().Format(time.DateTime)
	b.made = []mail.Decision{
		{At: at, Folder: "INBOX", MessageID: "<a\x1b@x>", UID: 7, Key: "1.a", What: "removed on the server", Why: "the rule"},
		{Folder: "Lists/go", UID: 8, What: "kept", Why: "another"},
		{Folder: "Lists/go", UID: 8, Key: "2.b", What: "kept", Why: "another"},
	}
	table := ": 3 conflicts\n" +
		"  WHEN                 FOLDER    MESSAGE  WHAT WAS DONE          WHY\n" +
		"  " + stamp + "  INBOX     <a@x>    removed on the server  the rule\n" +
		"                       Lists/go  UID 8    kept                   another\n" +
		"                       Lists/go  2.b      kept                   another\n"
	b.run(t.Context(), "conflicts", 0, "alice"+table+"bob"+table, "")
	b.made = b.made[:1]
	b.run(t.Context(), "conflicts bob --json", 0, `{"accounts":[{"name":"bob","error":null,"conflicts":[{"at":"2026-03-04T05:06:07Z","folder":"INBOX",`+
		`"message_id":"<a@x>","uid":7,"key":"1.a","what":"removed on the server","why":"the rule"}]}]}`+"\n", "")
	b.made = nil
	b.run(t.Context(), "conflicts bob", 0, "bob: no conflicts\n", "")
	b.pastErr = fmt.Errorf("open: %w", fs.ErrNotExist)
	b.run(t.Context(), "conflicts bob", 0, "bob: no conflicts\n", "")
	b.pastErr = mail.ErrDamaged
	b.run(t.Context(), "conflicts bob", 1, "", "mailtwin: bob: damaged\n")
	b.run(t.Context(), "conflicts bob:INBOX", 2, "", "mailtwin: conflicts takes accounts, not folders: \"bob:INBOX\"\n")
}

func TestConflictsTellsTheNewestFirst(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop")
	for _, name := range []string{"one", "two"} {
		uid := s.deliver("INBOX", note(name), seen)
		d.sync()
		d.remove(d.find("INBOX", name))
		s.check(s.phone.AddFlags(s.Context(), "INBOX", uid, flagged))
		if r := d.sync(); r.Conflicts != 1 {
			t.Errorf("%d conflicts", r.Conflicts)
		}
	}
	var doc conflictsReport
	if err := json.Unmarshal([]byte(d.exits(0, "conflicts", "--json").stdout), &doc); err != nil {
		t.Fatal(err)
	}
	found := doc.Accounts[0].Conflicts
	if len(found) != 2 || found[0].MessageID != "<two@example.org>" || found[1].MessageID != "<one@example.org>" ||
		found[0].Folder != "INBOX" || found[0].UID == 0 || time.Since(*found[0].At) > time.Hour ||
		found[0].What != "kept: brought back into the Maildir" || found[0].Why == "" {
		t.Errorf("found %+v", found)
	}
}

// Only a run of all folders, after which nothing was left, has seen each message in its place.
func TestWhatTheLastRunHasLeftInStep(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	finished := began.Add(1500 * time.Millisecond)
	earlier := runRecord{InStep: when(began.Add(-time.Hour))}
	for name, c := range map[string]struct {
		o     outcome
		whole bool
		want  time.Time
	}{
		"all of it":     {outcome{}, true, began},
		"one folder":    {outcome{}, false, time.Time{}},
		"it failed":     {outcome{err: mail.ErrUnreachable}, true, time.Time{}},
		"one is behind": {outcome{report: engine.Report{Behind: []mail.Folder{"Archive"}}}, true, time.Time{}},
	} {
		report := newRunRecord(c.o, finished, c.whole, earlier)
		text, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		if got := (lastRun{Started: began, Finished: finished, OK: report.OK, Report: text}).leftInStep(); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := (lastRun{}).leftInStep(); !got.IsZero() {
		t.Errorf("there was no run: %v", got)
	}
}

// A run is told when the last one left all in step, if that was one of all folders.
func TestARunIsToldWhetherAllWasInStep(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop")
	var told time.Time
	d.around = func(opts *engine.Options) { told = opts.InStep }
	d.sync()
	if !told.IsZero() {
		t.Errorf("the first run is told of %v", told)
	}
	began := time.Now().Truncate(time.Second)
	d.sync()
	d.sync()
	if told.Before(began) || told.After(time.Now()) {
		t.Errorf("the run before began at %v or later, and this one is told of %v", began, told)
	}
	d.exits(exitOK, "sync", "alice:INBOX")
	d.sync()
	if !told.IsZero() {
		t.Errorf("after a run of one folder a run is told of %v", told)
	}
}
