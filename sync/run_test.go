package sync_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// account is a server with a few folders and messages.
func account(t *testing.T) *sim.Server {
	s := sim.NewServer()
	for _, f := range []mail.Folder{"Archive", "Lists", "Lists/go", "Trash"} {
		must(t, s.CreateFolder(f))
	}
	must(t, s.SetRole("Trash", mail.RoleTrash))
	s.Deliver("INBOX", onWire(letter("unread")), mail.Flags{}, day)
	s.Deliver("INBOX", onWire(letter("read")), flags(`\Seen`), day)
	s.Deliver("INBOX", onWire(letter("tagged")), flags(`\Seen`, "work", "$Junk"), day)
	s.Deliver("Lists/go", onWire(letter("a list post")), flags(`\Answered`), day)
	return s
}

func TestNewMailComesDownExact(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	rep := d.sync()
	if rep.Local.New != 4 || rep.Folders != 5 {
		t.Errorf("report: %+v", rep)
	}
	d.inStep()
	path := d.find("INBOX", "About unread.")
	if filepath.Base(filepath.Dir(path)) != "new" {
		t.Errorf("an unread message lies in %s", path)
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(day) {
		t.Errorf("its time is %v, want INTERNALDATE %v", info.ModTime(), day)
	}
	if path = d.find("INBOX", "About read."); !strings.HasSuffix(path, ":2,S") || filepath.Base(filepath.Dir(path)) != "cur" {
		t.Errorf("a read message lies in %s", path)
	}
	d.quiet()
}

func TestNewFilesGoUpExact(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	path := d.put("INBOX", "1.written:2,SF", letter("written here"))
	must(t, os.Chtimes(path, day, day))
	d.put("Archive", "2.kept", "Subject: crlf\r\n\r\nends\r\nin crlf, and no last line end")
	rep := d.sync()
	if rep.Remote.New != 2 {
		t.Errorf("report: %+v", rep)
	}
	d.inStep2(t, "INBOX")
	i := slices.IndexFunc(s.Messages("INBOX"), func(m sim.Message) bool { return strings.Contains(string(m.Raw), "written here") })
	if m := s.Messages("INBOX")[i]; !m.Date.Equal(day) || string(m.Raw) != string(onWire(letter("written here"))) {
		t.Errorf("on the server: %v, %q", m.Date, m.Raw)
	}
	if m := s.Messages("Archive")[0]; string(m.Raw) != "Subject: crlf\r\n\r\nends\r\nin crlf, and no last line end" {
		t.Errorf("a file with CRLF became %q", m.Raw)
	}
	d.quiet()
}

// inStep2 checks one folder.
func (d *device) inStep2(t *testing.T, folder mail.Folder) {
	t.Helper()
	local, remote := d.census(folder), censusOf(d.server, folder)
	if !slices.Equal(local, remote) {
		t.Errorf("%s differs:\n here   %s\n server %s", folder, short(local), short(remote))
	}
}

func TestFlagsMergeOneByOne(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	uid := s.Messages("INBOX")[1].UID // "read"
	must(t, s.AddFlags("INBOX", uid, flags(`\Flagged`, "later")))
	d.rename(d.find("INBOX", "About read."), "cur", "RS")
	d.rename(d.find("INBOX", "About unread."), "cur", "S")
	rep := d.sync()
	if rep.Local.Flags != 1 || rep.Remote.Flags != 2 {
		t.Errorf("report: %+v", rep)
	}
	d.inStep()
	got := s.Messages("INBOX")[1].Flags
	if want := flags(`\Seen`, `\Answered`, `\Flagged`, "later"); !got.Equal(want) {
		t.Errorf("flags are %v, want %v", got, want)
	}
	d.quiet()
}

// What readers do to files besides setting flags is not a change of the message.
func TestReadersMoveFilesBetweenNewAndCur(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	path := d.rename(d.find("INBOX", "About unread."), "cur", "")
	rep := d.sync()
	if rep.Remote != (engine.Counts{}) || rep.Local != (engine.Counts{}) {
		t.Errorf("from new/ to cur/ without a flag: %+v", rep)
	}
	d.quiet()
	path = d.rename(path, "cur", "S")
	d.sync()
	d.inStep()
	d.rename(path, "new", "") // marked unread in mutt
	if rep = d.sync(); rep.Remote.Flags != 1 {
		t.Errorf("back to new/: %+v", rep)
	}
	if got := s.Messages("INBOX")[0].Flags; !got.Empty() {
		t.Errorf("flags are %v after the message was marked unread", got)
	}
	d.quiet()
}

func TestFoldersAreMadeOnBothSides(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	for _, sub := range []string{"cur", "new", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(d.dir("Family & Friends/Réunions"), sub), 0o700))
	}
	d.put("Family & Friends/Réunions", "1.x", letter("a reunion"))
	must(t, s.CreateFolder("Projects/fresh"))
	s.Deliver("Projects/fresh", onWire(letter("a plan")), mail.Flags{}, day)
	d.sync()
	d.inStep()
	if len(s.Messages("Family & Friends/Réunions")) != 1 || len(d.files("Projects/fresh")) != 1 {
		t.Errorf("server: %v", s.Folders())
	}
	d.quiet()
}

// Two devices by turns, against one account, end equal, up to the last flag.
func TestTwoDevicesByTurns(t *testing.T) {
	s := account(t)
	a, b := newDevice(t, s), newDevice(t, s)
	a.sync()
	b.sync()
	a.put("INBOX", "1.from-a:2,S", letter("from a"))
	b.put("Archive", "1.from-b", letter("from b"))
	a.rename(a.find("INBOX", "About read."), "cur", "FS")
	b.rename(b.find("INBOX", "About read."), "cur", "RS")
	must(t, os.Remove(b.find("Lists/go", "a list post")))
	for range 2 {
		a.sync()
		b.sync()
	}
	for _, f := range s.Folders() {
		if !slices.Equal(a.census(f), b.census(f)) {
			t.Errorf("%s differs:\n a %s\n b %s", f, short(a.census(f)), short(b.census(f)))
		}
	}
	a.inStep()
	a.quiet()
	b.quiet()
}

// A draft that is edited is a new file, and the old one gone; if the server refuses
// the new one, the old one must stay there.
func TestAnEditedDraftIsUploadedBeforeTheOldOneGoes(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.put("Archive", "1.draft:2,DS", letter("draft one"))
	d.sync()
	must(t, os.Remove(d.find("Archive", "draft one")))
	d.put("Archive", "2.draft:2,DS", letter("draft two"))
	refuse := true
	s.Before = func(c sim.Call) error {
		if c.Method == "Append" && refuse {
			return mail.ErrRefused
		}
		return nil
	}
	rep, err := d.run()
	if err != nil || len(rep.Problems) == 0 {
		t.Fatalf("a refused upload: %v, %+v", err, rep)
	}
	if got := censusOf(s, "Archive"); len(got) != 1 || !strings.Contains(got[0], "draft one") {
		t.Errorf("after the refusal the server has %s", short(got))
	}
	refuse = false
	d.opts.Now = func() time.Time { return time.Now().Add(time.Hour) }
	d.sync()
	d.inStep()
	if got := censusOf(s, "Archive"); len(got) != 1 || !strings.Contains(got[0], "draft two") {
		t.Errorf("in the end the server has %s", short(got))
	}
	d.quiet()
}

func TestARefusedUploadWaitsAndTheRestFlows(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	d.put("INBOX", "1.big", letter("too big"))
	d.put("INBOX", "2.small", letter("small"))
	refuse := true
	appends := 0
	s.Before = func(c sim.Call) error {
		if c.Method == "Append" {
			if appends++; refuse && appends == 1 {
				return mail.ErrRefused
			}
		}
		return nil
	}
	now := time.Now()
	d.opts.Now = func() time.Time { return now }
	rep, err := d.run()
	if err != nil || len(rep.Problems) != 1 || rep.Remote.New != 1 {
		t.Fatalf("a refused upload: %v, %+v", err, rep)
	}
	n := appends
	rep, err = d.run()
	if appends != n {
		t.Error("it is tried again at once")
	}
	if err != nil || len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0].Error(), `"1.big" waits: `) {
		t.Errorf("while it waits, a run says: %v, %v", err, rep.Problems)
	}
	now = now.Add(time.Hour)
	refuse = false
	d.sync()
	if appends != n+1 {
		t.Errorf("%d tries after an hour, want 1", appends-n)
	}
	d.inStep()
	d.quiet()
}

// Another UIDVALIDITY, or a lost state, costs time and no mail: no body travels,
// nothing is doubled, nothing is removed.
func TestLosingTrackDoublesNothing(t *testing.T) {
	for name, lose := range map[string]func(*device){
		"UIDVALIDITY changed": func(d *device) { must(d.t, d.server.ChangeUIDValidity("INBOX")) },
		"state lost":          func(d *device) { d.state = sim.NewState() },
	} {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			s.Deliver("INBOX", onWire(letter("twin")), mail.Flags{}, day)
			s.Deliver("INBOX", onWire(letter("twin")), mail.Flags{}, day)
			d := newDevice(t, s)
			d.sync()
			lose(d)
			fetched := 0
			s.Before = func(c sim.Call) error {
				if c.Method == "Fetch" || c.Method == "Append" {
					fetched++
				}
				return nil
			}
			rep := d.sync()
			if fetched > 0 || rep.Local.New+rep.Remote.New+rep.Local.Removed+rep.Remote.Removed > 0 {
				t.Errorf("%d bodies travel; report %+v", fetched, rep)
			}
			d.inStep()
			d.quiet()
		})
	}
}

// Without mod-sequences only the flags of messages are read that base should know.
func TestAForgottenMessageIsPairedAgain(t *testing.T) {
	s := sim.NewServer()
	s.Options = sim.Options{NoCondStore: true}
	s.Deliver("INBOX", onWire(letter("one")), mail.Flags{}, day)
	s.Deliver("INBOX", onWire(letter("two")), mail.Flags{}, day)
	d := newDevice(t, s)
	d.sync()
	folders, err := d.state.Folders(t.Context())
	must(t, err)
	for row, err := range d.state.RowsByUID(t.Context(), folders[0].ID) {
		must(t, err)
		must(t, d.state.Commit(t.Context(), &mail.Batch{DropRows: []mail.RowID{row.ID}}))
		break
	}
	must(t, os.Chtimes(filepath.Join(d.dir("INBOX"), "cur"), day, day)) // so that the folder is scanned
	rep := d.sync()
	if rep.Local != (engine.Counts{}) || rep.Remote != (engine.Counts{}) {
		t.Errorf("it was taken for another one: %+v", rep)
	}
	d.inStep()
}

func TestADryRunChangesNothingAndSaysWhatItWould(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.put2(t, "INBOX", "1.here", letter("here"))
	c := sim.NewCrash(0)
	d.crash, d.opts.DryRun = c, true
	rep := d.sync()
	if c.Steps() > 0 {
		t.Errorf("a dry run has effects: %v", c.Names())
	}
	if rep.Local.New != 4 || rep.Remote.New != 1 {
		t.Errorf("report: %+v", rep)
	}
	d.crash, d.opts.DryRun = nil, false
	real := d.sync()
	if real.Local != rep.Local || real.Remote != rep.Remote {
		t.Errorf("the dry run said %+v %+v, the run did %+v %+v", rep.Local, rep.Remote, real.Local, real.Remote)
	}
}

// put2 is put into a folder that is not there yet.
func (d *device) put2(t *testing.T, folder mail.Folder, name, text string) {
	for _, sub := range []string{"cur", "new", "tmp"} {
		must(t, os.MkdirAll(filepath.Join(d.dir(folder), sub), 0o700))
	}
	d.put(folder, name, text)
}

// The same story on servers that lack what makes things easy.
func TestPoorServers(t *testing.T) {
	for name, o := range map[string]sim.Options{
		"no CONDSTORE":    {NoCondStore: true},
		"no UIDPLUS":      {NoUIDPlus: true},
		"no MOVE":         {NoMove: true},
		"no STATUS":       {NoStatus: true},
		"nothing at all":  {NoCondStore: true, NoUIDPlus: true, NoMove: true, NoStatus: true, NoObjectID: true},
		"wrong sizes":     {SizeError: 7},
		"rewritten mail":  {Rewrite: func(raw []byte) []byte { return append([]byte("X-Server: was here\r\n"), raw...) }},
		"MESSAGELIMIT":    {MessageLimit: true},
		"no new keywords": {NoKeywords: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := sim.NewServer()
			s.Options = o
			must(t, s.CreateFolder("Trash"))
			must(t, s.SetRole("Trash", mail.RoleTrash))
			s.Deliver("INBOX", onWire(letter("one")), mail.Flags{}, day)
			s.Deliver("INBOX", onWire(letter("two")), flags(`\Seen`), day)
			d := newDevice(t, s)
			d.sync()
			d.put("INBOX", "1.three:2,S", letter("three"))
			d.rename(d.find("INBOX", "About one."), "cur", "S")
			d.sync()
			if n := len(s.Messages("INBOX")); n != 3 {
				t.Errorf("INBOX has %d messages, want 3", n)
			}
			must(t, os.Remove(d.find("INBOX", "About two.")))
			d.sync()
			d.sync()
			live := 0
			for _, m := range s.Messages("INBOX") {
				if !m.Flags.Has(mail.Deleted) {
					live++
				}
			}
			if live != 2 || len(s.Messages("Trash")) != 1 || len(d.files("INBOX")) != 2 {
				t.Errorf("INBOX has %d live messages and %d files, Trash %d messages", live, len(d.files("INBOX")), len(s.Messages("Trash")))
			}
			d.quiet()
		})
	}
}

// A server that lists a message and never gives it costs that message, not the rest.
func TestAMessageThatTheServerWithholdsIsSetAside(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	withhold := true
	d.wrap = func(r engine.Remote) engine.Remote { return &withholding{Remote: r, on: &withhold} }
	rep, err := d.run()
	if err != nil || len(rep.Problems) != 1 || rep.Local.New != 3 {
		t.Fatalf("%v, %+v", err, rep)
	}
	rep, err = d.run()
	if err != nil || len(rep.Problems) != 1 || rep.Local.New != 0 {
		t.Errorf("it is tried again at once, or not reported: %v, %+v", err, rep)
	}
	withhold = false
	d.opts.Now = func() time.Time { return time.Now().Add(time.Hour) }
	d.sync()
	d.inStep()
	d.quiet()
}

// withholding never gives the first message of INBOX.
type withholding struct {
	engine.Remote
	on *bool
}

func (w *withholding) Fetch(ctx context.Context, wanted []mail.Wanted) []error {
	given := slices.Clone(wanted)
	for i := range given {
		if *w.on && given[i].Folder == mail.Inbox {
			given[i].UIDs = given[i].UIDs.Without(mail.UIDs(1))
		}
	}
	return w.Remote.Fetch(ctx, given)
}

// A body that breaks off is the connection's fault: nothing of it appears, and the
// next run brings it whole.
func TestABodyThatBreaksOffIsNotKept(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	cut := true
	s.Cut = func(c sim.Call, size int64) int64 {
		if cut && c.Method == "Fetch" {
			return size - 1
		}
		return -1
	}
	if _, err := d.run(); !errors.Is(err, mail.ErrUnreachable) {
		t.Fatalf("a cut body: %v", err)
	}
	for _, f := range s.Folders() {
		if n := len(d.files(f)); n > 0 {
			t.Errorf("%d files in %s", n, f)
		}
	}
	cut = false
	d.sync()
	d.inStep()
	d.quiet()
}

// A first sync has lost nothing, and says nothing; nor does the next one.
func TestAFirstSyncIsNoLoss(t *testing.T) {
	d := newDevice(t, account(t))
	d.put2(t, "Made here", "1.first", letter("first"))
	for range 2 {
		if rep := d.sync(); len(rep.Skipped)+len(rep.Lost) > 0 {
			t.Errorf("it says %v, %v", rep.Skipped, rep.Lost)
		}
	}
	d.quiet()
}

// A directory that looks like a folder, and has a name that no folder has, is not passed
// over in silence.
func TestADirectoryThatIsNoFolderIsSaid(t *testing.T) {
	d := newDevice(t, account(t))
	d.put2(t, "trailing.", "1.first", letter("first"))
	must(t, os.MkdirAll(filepath.Join(d.root, "notes."), 0o700))
	rep := d.sync()
	if len(rep.Skipped) != 1 || !strings.Contains(rep.Skipped[0].Text, "\"trailing.\"") {
		t.Errorf("it says %v", rep.Skipped)
	}
}
