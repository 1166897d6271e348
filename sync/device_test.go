package sync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// device is a Maildir on disk, with its state, that is synced with a server in
// memory.
type device struct {
	t      *testing.T
	root   string
	store  string
	server *sim.Server
	client *sim.Client
	state  *sim.State
	opts   engine.Options  // the settings; the sides are filled in
	ctx    context.Context // of its runs; nil: the test's
	crash  *sim.Crash      // nil: none
	wrap   func(engine.Remote) engine.Remote
	local  func(engine.Local) engine.Local // what the Maildir looks like; nil: as it is
	// scanned is called after each scan of a folder; nil: nobody looks
	scanned func(mail.Folder)
}

func newDevice(t *testing.T, server *sim.Server) *device {
	dir := t.TempDir()
	d := &device{
		t: t, root: filepath.Join(dir, "Mail"), store: filepath.Join(dir, "removed"),
		server: server, client: server.Client(), state: sim.NewState(),
	}
	d.opts.Account = "alice"
	d.opts.CreateLocal, d.opts.CreateRemote = true, true
	d.opts.RemoveLocal, d.opts.RemoveRemote = true, true
	if err := maildir.Init(d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

// run syncs once and gives what came of it.
func (d *device) run() (engine.Report, error) {
	d.t.Helper()
	// A scan believes directories that have been at rest for a while. Nobody else is
	// at work here, so the while need not be waited for, only that the next change
	// gets another time than the last one.
	tree, err := maildir.Open(d.root, maildir.Options{
		Account: "alice", Removed: d.store,
		Now: func() time.Time { return time.Now().Add(time.Second) },
	})
	if err != nil {
		return engine.Report{}, err
	}
	defer tree.Close()
	defer tick(d.t, filepath.Dir(d.root))
	opts := d.opts
	opts.Local, opts.Remote, opts.State = tree, d.client, d.state
	if d.scanned != nil {
		opts.Local = watched{tree, d.scanned}
	}
	if d.local != nil {
		opts.Local = d.local(opts.Local)
	}
	if d.wrap != nil {
		opts.Remote = d.wrap(d.client)
	}
	if d.crash != nil {
		opts.Local, opts.Remote, opts.State = d.crash.Local(tree), d.crash.Remote(d.client), d.crash.State(d.state)
	}
	ctx := d.t.Context()
	if d.ctx != nil {
		ctx = d.ctx
	}
	return engine.Run(ctx, opts)
}

// watched is a Maildir that tells when it was scanned.
type watched struct {
	engine.Local
	scanned func(mail.Folder)
}

func (w watched) Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (mail.Listing, error) {
	listing, err := w.Local.Scan(ctx, folder, letters)
	w.scanned(folder)
	return listing, err
}

// sync syncs once, and nothing may go wrong.
func (d *device) sync() engine.Report {
	d.t.Helper()
	rep, err := d.run()
	if err != nil {
		d.t.Fatalf("sync: %v", err)
	}
	for _, p := range rep.Problems {
		d.t.Fatalf("sync: %v", p)
	}
	return rep
}

// unreached syncs, and the server cannot be reached at some time.
func (d *device) unreached() {
	d.t.Helper()
	if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
		d.t.Fatalf("the sync ended with %v", err)
	}
}

// unreachable is what befalls each call of that name.
func unreachable(method string) func(sim.Call) error {
	return func(call sim.Call) error {
		if call.Method == method {
			return mail.ErrUnreachable
		}
		return nil
	}
}

// dies syncs, and dies at that step, if there are so many; 0: it does not. It gives the
// steps that there were.
func (d *device) dies(step int) []string {
	d.t.Helper()
	d.crash = sim.NewCrash(step)
	if _, err := d.run(); err != nil && !errors.Is(err, sim.ErrCrashed) {
		d.t.Fatalf("the sync ended with %v", err)
	}
	steps := d.crash.Names()
	d.crash = nil
	return steps
}

// quiet syncs once more, which must change nothing and cost one round trip.
func (d *device) quiet() {
	d.t.Helper()
	before := d.client.Traffic().RoundTrips
	c := sim.NewCrash(0)
	old := d.crash
	d.crash = c
	rep := d.sync()
	d.crash = old
	if rep.Local != (engine.Counts{}) || rep.Remote != (engine.Counts{}) {
		d.t.Errorf("one more sync changes something: %+v", rep)
	}
	if c.Steps() > 0 {
		d.t.Errorf("one more sync has effects: %v", c.Names())
	}
	if n := d.client.Traffic().RoundTrips - before; n != 1 && !d.server.Options.NoCondStore && !d.server.Options.NoStatus {
		d.t.Errorf("one more sync makes %d round trips", n)
	}
}

func (d *device) dir(folder mail.Folder) string { return filepath.Join(d.root, string(folder)) }

// put saves a message into cur/, or into new/ where it has no flags, as a mail
// program does, and gives its path.
func (d *device) put(folder mail.Folder, name, text string) string {
	d.t.Helper()
	sub := "new"
	if strings.Contains(name, ":2,") {
		sub = "cur"
	}
	path := filepath.Join(d.dir(folder), sub, name)
	must(d.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// tick returns once the clock of the file system has gone on.
func tick(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "tick")
	var first time.Time
	for range 10000 {
		must(t, os.WriteFile(path, nil, 0o600))
		info, err := os.Stat(path)
		must(t, err)
		if first.IsZero() {
			first = info.ModTime()
		} else if info.ModTime().After(first) {
			return
		}
	}
	t.Fatal("the clock of the file system stands still")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// find gives the path of the one file in the folder that holds the text.
func (d *device) find(folder mail.Folder, text string) string {
	d.t.Helper()
	var found []string
	for path, content := range d.files(folder) {
		if strings.Contains(content, text) {
			found = append(found, path)
		}
	}
	if len(found) != 1 {
		d.t.Fatalf("%d files in %s hold %q", len(found), folder, text)
	}
	return found[0]
}

// rename gives a file other flags, or another place, as a mail program does.
func (d *device) rename(path, sub, flags string) string {
	d.t.Helper()
	base, _, _ := strings.Cut(filepath.Base(path), ":2,")
	to := filepath.Join(filepath.Dir(filepath.Dir(path)), sub, base)
	if sub == "cur" {
		to += ":2," + flags
	}
	must(d.t, os.Rename(path, to))
	return to
}

// files gives the content of each message file of a folder by its path.
func (d *device) files(folder mail.Folder) map[string]string {
	d.t.Helper()
	out := map[string]string{}
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(d.dir(folder), sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(d.t, err)
		for _, e := range entries {
			path := filepath.Join(d.dir(folder), sub, e.Name())
			content, err := os.ReadFile(path)
			must(d.t, err)
			out[path] = string(content)
		}
	}
	return out
}

// census gives each message of a folder as text, its flags before its content, so
// that two sides can be compared.
func (d *device) census(folder mail.Folder) []string {
	letters := d.letters(folder)
	var out []string
	for path, content := range d.files(folder) {
		_, info, _ := strings.Cut(filepath.Base(path), ":2,")
		var names []string
		for _, c := range info {
			for _, s := range mail.SystemFlags {
				if rune(s.Letter) == c {
					names = append(names, s.Name)
				}
			}
			if c >= 'a' && c <= 'z' {
				names = append(names, letters[c-'a'])
			}
		}
		out = append(out, mail.ParseFlags(names).String()+" | "+content)
	}
	slices.Sort(out)
	return out
}

func (d *device) letters(folder mail.Folder) (l mail.Letters) {
	content, err := os.ReadFile(filepath.Join(d.dir(folder), "dovecot-keywords"))
	if err != nil {
		return l
	}
	for line := range strings.Lines(string(content)) {
		var i int
		var word string
		if n, _ := fmt.Sscanf(line, "%d %s", &i, &word); n == 2 && i < 26 {
			l[i] = word
		}
	}
	return l
}

// moveThere moves the messages with that text on the server.
func moveThere(s *sim.Server, from mail.Folder, text string, to mail.Folder) {
	for _, m := range s.Messages(from) {
		if strings.Contains(string(m.Raw), text) {
			s.Move(from, m.UID, to)
		}
	}
}

// placesOf gives the folders of the server, and the flags, of the messages with that text.
func placesOf(s *sim.Server, text string) []string {
	var places []string
	for _, folder := range s.Folders() {
		for _, m := range s.Messages(folder) {
			if strings.Contains(string(m.Raw), text) {
				places = append(places, string(folder)+" "+m.Flags.String())
			}
		}
	}
	return places
}

// once checks that the server has one message with that text.
func (d *device) once(text string) {
	d.t.Helper()
	if places := placesOf(d.server, text); len(places) != 1 {
		d.t.Errorf("%q is there as %q", text, places)
	}
}

// censusOf gives the same of the server.
func censusOf(s *sim.Server, folder mail.Folder) []string {
	var out []string
	for _, m := range s.Messages(folder) {
		out = append(out, m.Flags.String()+" | "+strings.ReplaceAll(string(m.Raw), "\r\n", "\n"))
	}
	slices.Sort(out)
	return out
}

// inStep checks that all folders of the server are in the Maildir, and equal.
func (d *device) inStep() {
	d.t.Helper()
	for _, folder := range d.server.Folders() {
		local, remote := d.census(folder), censusOf(d.server, folder)
		if !slices.Equal(local, remote) {
			d.t.Errorf("%s differs:\n here   %s\n server %s", folder, short(local), short(remote))
		}
	}
}

func short(census []string) string {
	counts := map[string]int{}
	for _, c := range census {
		counts[strings.ReplaceAll(c[:min(len(c), 90)], "\n", "~")]++
	}
	var out []string
	for _, c := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%dx %s", counts[c], c))
	}
	return strings.Join(out, "\n        ")
}

// letter makes a message.
func letter(subject string) string {
	return fmt.Sprintf("From: Ann <ann@example.org>\nTo: Bob <bob@example.org>\nSubject: %s\n"+
		"Date: Mon, 1 Jan 2024 10:00:00 +0000\nMessage-ID: <%s@example.org>\n\nAbout %s.\n",
		subject, strings.ReplaceAll(subject, " ", "."), subject)
}

func onWire(text string) []byte { return []byte(strings.ReplaceAll(text, "\n", "\r\n")) }

var day = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)

func flags(names ...string) mail.Flags { return mail.ParseFlags(names) }

func always(p conflict.Policy) func(mail.Folder) conflict.Policy {
	return func(mail.Folder) conflict.Policy { return p }
}
