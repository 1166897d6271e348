package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// bench runs the program on rooms of the test's own.
type bench struct {
	t              *testing.T
	dir            string
	app            App
	stdout, stderr strings.Builder
	mu             sync.Mutex                // accounts are synced at once
	opened         []string                  // accounts
	opts           map[string]engine.Options // by account, as the engine got them
	runs           map[string]lastRun        // by account, as they were recorded
	report         engine.Report             // of every run
	err            error
	past           past
	pastErr        error
	made           []mail.Decision
}

type fakeRemote struct{ engine.Remote }

func (fakeRemote) Traffic() mail.Traffic {
	return mail.Traffic{BytesIn: 123456, BytesOut: 2345, RoundTrips: 7, Connections: 2}
}

const account = `[accounts.%[1]s]
maildir = "%[1]s"
host = "imap.example.org"
user = "u"
password_command = ["true"]
`

func newBench(t *testing.T, accounts ...string) *bench {
	b := &bench{t: t, dir: t.TempDir(), opts: map[string]engine.Options{}, runs: map[string]lastRun{}}
	text := "state_dir = \"state\"\n"
	for _, name := range accounts {
		text += fmt.Sprintf(account, name)
	}
	b.write(text)
	b.app = App{Stdin: strings.NewReader(""), Stdout: &b.stdout, Stderr: &b.stderr, Env: func(string) string { return "" }}
	b.app.rooms = rooms{
		open: func(_ context.Context, acc config.Account, dryRun bool) (*session, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.opened = append(b.opened, acc.Name)
			s := &session{close: func() {}}
			s.opts.Remote = fakeRemote{}
			if !dryRun {
				s.record = func(_ context.Context, run lastRun) error {
					b.mu.Lock()
					defer b.mu.Unlock()
					b.runs[acc.Name] = run
					return nil
				}
				s.recorded = func(context.Context) (lastRun, error) {
					b.mu.Lock()
					defer b.mu.Unlock()
					return b.runs[acc.Name], nil
				}
			}
			return s, nil
		},
		run: func(_ context.Context, opts engine.Options) (engine.Report, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.opts[opts.Account] = opts
			return b.report, b.err
		},
		past: func(context.Context, config.Account) (past, error) { return b.past, b.pastErr },
		made: func(context.Context, config.Account) ([]mail.Decision, error) { return b.made, b.pastErr },
	}
	return b
}

func (b *bench) write(text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, "config.toml"), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// add puts a line into the last account's table.
func (b *bench) add(text string) {
	b.t.Helper()
	b.write(b.config() + text + "\n")
}

func (b *bench) config() string {
	b.t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "config.toml"))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

// run runs a command line and compares the exit code, and the whole of what was
// printed, where DIR stands for the test's directory.
func (b *bench) run(ctx context.Context, line string, code int, stdout, stderr string) {
	b.t.Helper()
	b.stdout.Reset()
	b.stderr.Reset()
	args := append([]string{"--config", filepath.Join(b.dir, "config.toml")}, strings.Fields(line)...)
	if got := b.app.Run(ctx, args); got != code {
		b.t.Errorf("%s: exit code %d, want %d", line, got, code)
	}
	for _, s := range []struct{ name, got, want string }{{"stdout", b.stdout.String(), stdout}, {"stderr", b.stderr.String(), stderr}} {
		if got := strings.ReplaceAll(s.got, b.dir, "DIR"); got != s.want {
			b.t.Errorf("%s: %s\n%s\nwant\n%s", line, s.name, got, s.want)
		}
	}
}

func TestCronHearsNothingWhenAllIsWell(t *testing.T) {
	b := newBench(t, "alice", "bob")
	b.report = engine.Report{Folders: 3, Local: engine.Counts{New: 10}, Conflicts: 1,
		Skipped: []mail.Notice{{Folder: "Shared", Text: "read-only"}}, Actions: []string{"none"}}
	b.run(t.Context(), "sync", 0, "", "")
	b.run(t.Context(), "-q sync", 0, "", "")
	b.run(t.Context(), "sync alice", 0, "", "")
	if got := b.runs["bob"]; !got.OK || got.Error != "" || got.Started.IsZero() || got.Finished.Before(got.Started) {
		t.Errorf("recorded: %+v", got)
	}
}

func TestWhatIsHeldOrFailedIsSaidWithWhatToDo(t *testing.T) {
	b := newBench(t, "alice")
	b.report = engine.Report{
		Held: []engine.Held{
			{Folder: "Lists/go", Side: mail.Local, Count: 30, Why: "more than half of the folder"},
			{Folder: "My \x1b]0;mail", Side: mail.Remote, Count: 1},
		},
		Problems: []*engine.Problem{
			{Folder: "Drafts", Err: fmt.Errorf("append 17.x: %w", mail.ErrRefused), Hint: "make room on the server"},
			{Err: errors.New("write base:\ndisk full")},
		},
	}
	want := `mailtwin: alice: Drafts: append 17.x: refused by the server: make room on the server
mailtwin: alice: write base:; disk full
mailtwin: alice: Lists/go: held: 30 messages gone from the Maildir, not removed from the server: more than half of the folder: to go on: mailtwin sync --allow-deletes alice:Lists/go
mailtwin: alice: My ]0;mail: held: 1 message gone from the server, not removed here: to go on: mailtwin sync --allow-deletes 'alice:My ]0;mail'
`
	b.run(t.Context(), "sync", 1, "", want)
	b.run(t.Context(), "-q sync", 1, "", want)
	if got := b.runs["alice"]; got.OK || !strings.Contains(got.Error, "Lists/go: held: 30 messages") {
		t.Errorf("recorded: %+v", got)
	}
}

func TestQuietKeepsBackOnlyWhatPasses(t *testing.T) {
	for _, c := range []struct {
		err   error
		code  int
		line  string
		quiet bool // said with -q, too
	}{
		{mail.ErrUnreachable, 75, "server unreachable: the next sync tries again", false},
		{mail.ErrTryLater, 75, "the server asks to try later: the next sync tries again", false},
		{mail.ErrUntrusted, 75, "server not trusted: no password was sent; look at host, ca_file and pin_sha256", true},
		{mail.ErrLogin, 77, "login refused: check user and password_command", true},
		{mail.ErrMissing, 1, "maildir missing: mount it or put it back, or look at maildir in the configuration; nothing was removed from the server", true},
	} {
		b := newBench(t, "alice")
		b.err = c.err
		line := "mailtwin: alice: " + c.line + "\n"
		b.run(t.Context(), "sync", c.code, "", line)
		if !c.quiet {
			line = ""
		}
		b.run(t.Context(), "-q sync", c.code, "", line)
	}
}

func TestSyncJSON(t *testing.T) {
	b := newBench(t, "alice")
	b.report = engine.Report{Folders: 20, Local: engine.Counts{New: 10, Flags: 3, Removed: 1}, Remote: engine.Counts{New: 2, Flags: 5, Moved: 1},
		Skipped: []mail.Notice{{Folder: "Big", Text: "..."}}, Actions: []string{"not here"}}
	for _, line := range []string{"sync --json", "sync --json --dry-run", "-v sync --json"} {
		b.stdout.Reset()
		if code := b.app.Run(t.Context(), append([]string{"--config", b.dir + "/config.toml"}, strings.Fields(line)...)); code != 0 {
			t.Errorf("%s: exit code %d", line, code)
		}
		var doc map[string][]map[string]any
		if err := json.Unmarshal([]byte(b.stdout.String()), &doc); err != nil {
			t.Fatalf("%s: %v in %q", line, err, &b.stdout)
		}
		delete(doc["accounts"][0], "duration_ms")
		got, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		want := `{"accounts":[{"bytes_in":123456,"bytes_out":2345,"conflicts":0,"connections":2,"error":null,"folders":20,` +
			`"local":{"flags":3,"moved":0,"new":10,"removed":1},"name":"alice","ok":true,` +
			`"remote":{"flags":5,"moved":1,"new":2,"removed":0},"round_trips":7,"skipped":[{"folder":"Big","reason":"..."}]}]}`
		if string(got) != want {
			t.Errorf("%s: %s\nwant %s", line, got, want)
		}
	}
}

func TestSyncJSONOnFailure(t *testing.T) {
	b := newBench(t, "alice", "bob")
	b.err = fmt.Errorf("dial: %w", mail.ErrUnreachable)
	b.app.Run(t.Context(), []string{"--config", b.dir + "/config.toml", "-q", "sync", "--json"})
	var doc syncReport
	if err := json.Unmarshal([]byte(b.stdout.String()), &doc); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"alice", "bob"} {
		a := doc.Accounts[i]
		if a.Name != name || a.OK || a.Error == nil || *a.Error != "dial: server unreachable: the next sync tries again" {
			t.Errorf("got %+v", a)
		}
	}
	b.run(t.Context(), "sync --json carol", 2, `{"accounts":[],"error":"DIR/config.toml has no account \"carol\", only alice, bob"}`+"\n",
		"mailtwin: DIR/config.toml has no account \"carol\", only alice, bob\n")
}

// TestJSONOnEveryWayOut: one document on standard output, and nothing else, whatever
// goes wrong; and the same complaint as without it.
func TestJSONOnEveryWayOut(t *testing.T) {
	for _, command := range []string{"sync", "status", "folders", "conflicts"} {
		b := newBench(t, "alice", "bob")
		b.app.rooms.open = func(context.Context, config.Account, bool) (*session, error) { return nil, errors.New("broken") }
		b.pastErr = mail.ErrDamaged
		check := func(code int, wrong bool, args ...string) {
			t.Helper()
			b.stdout.Reset()
			b.stderr.Reset()
			got := b.app.Run(t.Context(), append([]string{"--config", b.dir + "/config.toml", command, "--json"}, args...))
			var doc struct {
				Accounts []struct{ Name, Error string }
				Error    string
			}
			dec := json.NewDecoder(strings.NewReader(b.stdout.String()))
			dec.DisallowUnknownFields()
			if !wrong {
				dec = json.NewDecoder(strings.NewReader(b.stdout.String()))
			}
			if err := dec.Decode(&doc); err != nil || got != code || strings.Count(b.stdout.String(), "\n") != 1 {
				t.Errorf("%s %v: exit code %d, %v: %q", command, args, got, err, b.stdout.String())
			}
			if wrong != (doc.Error != "" && len(doc.Accounts) == 0) || !wrong && len(doc.Accounts) != 2 || b.stderr.Len() == 0 {
				t.Errorf("%s %v: the document is %+v, and it says %q", command, args, doc, b.stderr.String())
			}
			for _, acc := range doc.Accounts {
				if acc.Error == "" {
					t.Errorf("%s %v: no error in %+v", command, args, acc)
				}
			}
		}
		check(1, false)
		check(2, true, "carol")
		b.write("[accounts.alice]\nmaildri = 1\nhots = 2\n")
		check(2, true)
		if n := strings.Count(b.stderr.String(), "\n"); n < 2 {
			t.Errorf("%s: it names %d mistakes: %q", command, n, b.stderr.String())
		}
	}
}

func TestDryRunSaysWhatWouldBeDoneAndWritesNothing(t *testing.T) {
	b := newBench(t, "alice")
	b.report = engine.Report{Actions: []string{"download 3 messages into INBOX", "remove \x1b[1m1 from Work"}}
	b.app.Run(t.Context(), []string{"--config", b.dir + "/config.toml", "sync", "--dry-run"})
	got := b.stdout.String()
	want := "alice: download 3 messages into INBOX\nalice: remove [1m1 from Work\nalice: would be: 2 steps (0 folders, "
	if !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !b.opts["alice"].DryRun || len(b.runs) > 0 {
		t.Errorf("options %+v, recorded %v", b.opts["alice"], b.runs)
	}
	if _, err := os.Stat(filepath.Join(b.dir, "state")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a state directory was made: %v", err)
	}
}

func TestTheEngineGetsWhatWasSaid(t *testing.T) {
	b := newBench(t, "alice", "bob")
	b.add("folders = [\"*\", \"!Spam\"]\ntrash = \"Bin\"\ncreate_folders = \"local\"\nconnections = 7\nexpunge = true")
	b.run(t.Context(), "sync --allow-deletes bob:inbox bob:Work bob:Work", 0, "", "")
	if len(b.opened) != 1 {
		t.Errorf("opened %q", b.opened)
	}
	o := b.opts["bob"]
	if fmt.Sprint(o.Only) != "[INBOX Work]" || !o.AllowDeletes || o.DryRun || o.Trash != "Bin" || !o.CreateLocal || o.CreateRemote ||
		o.Connections != 7 || o.Selected("Spam") || !o.Selected("INBOX") || !o.Policy("x").ExpungeDeleted {
		t.Errorf("options %+v", o)
	}
	b.run(t.Context(), "sync bob bob:Work", 0, "", "")
	if o := b.opts["bob"]; o.Only != nil {
		t.Errorf("the whole account was named, and %v is synced", o.Only)
	}
}

func TestWrongCommandLines(t *testing.T) {
	b := newBench(t, "alice", "bob")
	b.add(`folders = ["*", "!Spam"]`)
	next := ": mailtwin --help shows what there is\n"
	for line, want := range map[string]string{
		"snyc":                 `unknown command "snyc": did you mean "sync"?` + next,
		"sync --jsno":          "unknown flag: --jsno" + next,
		"sync --wait soon":     `invalid argument "soon" for "--wait" flag: time: invalid duration "soon"` + next,
		"-q -v sync":           "--quiet and --verbose exclude each other" + next,
		"version x":            `unknown command "x" for "mailtwin version"` + next,
		"sync alcie":           "DIR/config.toml has no account \"alcie\", only alice, bob\n",
		"sync bob:Spam":        "account bob does not sync a folder \"Spam\": see its folders = [\"*\" \"!Spam\"]\n",
		"sync bob:":            "account bob does not sync a folder \"\": see its folders = [\"*\" \"!Spam\"]\n",
		"sync --allow-deletes": "--allow-deletes needs the accounts or folders that it is for: ACCOUNT or ACCOUNT:FOLDER\n",
		"sync --wait -1s":      "--wait must not be negative\n",
		"status alice:INBOX":   "status takes accounts, not folders: \"alice:INBOX\"\n",
		"status carol":         "DIR/config.toml has no account \"carol\", only alice, bob\n",
	} {
		b.run(t.Context(), line, 2, "", "mailtwin: "+want)
	}
	if len(b.opened) > 0 {
		t.Errorf("opened %q", b.opened)
	}
}

func TestOneAccountCanConsentUnnamed(t *testing.T) {
	b := newBench(t, "alice")
	b.run(t.Context(), "sync --allow-deletes", 0, "", "")
	if !b.opts["alice"].AllowDeletes {
		t.Error("the engine does not know")
	}
}

func TestSignalEndsWith130(t *testing.T) {
	b := newBench(t, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	b.app.rooms.run = func(ctx context.Context, _ engine.Options) (engine.Report, error) {
		cancel()
		return engine.Report{}, fmt.Errorf("read: %w", mail.ErrUnreachable) // the connection was closed under it
	}
	b.run(ctx, "sync", 130, "", "mailtwin: alice: interrupted: the next sync goes on from here\n")
	if _, recorded := b.runs["alice"]; !recorded {
		t.Error("the run was not recorded")
	}
}

func TestWhatIsNotSupportedIsRefused(t *testing.T) {
	for setting, key := range map[string]string{
		`auth = "xoauth2"`: `auth = "xoauth2" is`,
		// To download everything all the same would be worse.
		`max_size = "5MB"`:           `max_size is`,
		`headers_only = ["Lists/*"]`: `headers_only is`,
		`keep_recent = "90d"`:        `keep_recent is`,
		"[[accounts.alice.folder]]\nmatch = \"*\"\nkeep_recent = \"500\"\nheaders_only = true": "headers_only and keep_recent are",
	} {
		b := newBench(t, "alice")
		b.add(setting)
		it := "it"
		if strings.HasSuffix(key, " are") {
			it = "them"
		}
		b.run(t.Context(), "sync", 2, "", "mailtwin: alice: "+key+" not supported by this version yet: take "+it+" out of the configuration, or wait for a later one\n")
		if len(b.opened) > 0 {
			t.Errorf("%s: it was opened", setting)
		}
	}
}

func TestWhatHasNoEffectYetIsAccepted(t *testing.T) {
	b := newBench(t, "alice")
	b.add(`max_size = "0"
headers_only = []
keep_recent = "0"
idle = ["INBOX", "Work"]
poll_interval = "5m"
identities = ["a@example.org"]
[accounts.alice.smtp]
host = "smtp.example.org"`)
	b.run(t.Context(), "sync", 0, "", "")
}

func TestPostSync(t *testing.T) {
	b := newBench(t, "alice")
	b.add(`post_sync = "printf '%s|%s' \"$MAILTWIN_ACCOUNT\" \"$MAILTWIN_FOLDERS\" > ` + b.dir + `/hook; echo chatter; echo trouble >&2"`)
	b.run(t.Context(), "sync", 0, "", "")
	if _, err := os.Stat(b.dir + "/hook"); err == nil {
		t.Error("it ran though nothing changed")
	}
	b.report.Changed = []mail.Folder{"INBOX", "Lists/\x1bgo"}
	b.run(t.Context(), "sync", 0, "", "")
	if got, err := os.ReadFile(b.dir + "/hook"); string(got) != "alice|INBOX\nLists/go" {
		t.Errorf("it was told %q, %v", got, err)
	}
	b.write("state_dir = \"state\"\n" + fmt.Sprintf(account, "alice") + "post_sync = ['false']\n")
	b.run(t.Context(), "-q sync", 1, "", "mailtwin: alice: post_sync: false: exit status 1\n")
	b.write("state_dir = \"state\"\n" + fmt.Sprintf(account, "alice") + "post_sync = 'echo chatter; echo \"no database\" >&2; yes | head -c 9999 >&2; exit 3'\n")
	b.stderr.Reset()
	if code := b.app.Run(t.Context(), []string{"--config", b.dir + "/config.toml", "sync"}); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if got := b.stderr.String(); !strings.HasPrefix(got, "mailtwin: alice: post_sync: sh: exit status 3: no database; y; y; ") || strings.Count(got, "\n") != 1 || len(got) > 2*maxText {
		t.Errorf("it says %q", got)
	}
}

func TestSummary(t *testing.T) {
	o := outcome{account: "alice", duration: 812 * time.Millisecond, report: engine.Report{Folders: 1, Conflicts: 2,
		Local: engine.Counts{New: 10, Flags: 3, Removed: 1}, Remote: engine.Counts{Moved: 1}}}
	want := "alice: here 10 new, 3 reflagged, 1 removed; on server 1 moved; 2 conflicts (1 folder, 810ms)"
	if got := o.summary(false); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	// Next to a line that says what is held, "nothing new" would be odd.
	o.report = engine.Report{Folders: 20, Held: []engine.Held{{Count: 30}, {Count: 1}, {}}, Problems: []*engine.Problem{{}}}
	if got, want := o.summary(false), "alice: 31 held; 1 folder held; 1 problem (20 folders, 810ms)"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	o.duration = 4321 * time.Microsecond
	if got, want := o.summary(true), "alice: would be: 31 held; 1 folder held; 1 problem (20 folders, 4ms)"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	o.duration = 812 * time.Millisecond
	o.report = engine.Report{Folders: 20}
	if got, want := o.summary(false), "alice: nothing new (20 folders, 810ms)"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
