package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/dovecot"
)

// The stories in the files e2e_*_test.go run the whole program, with a configuration
// file, a state directory and a Maildir of its own, against a Dovecot.

// story is a user with an account on the server, a phone, and some devices.
type story struct {
	*testing.T
	server *dovecot.Server
	user   string
	phone  *imaptest.Phone
	dir    string
}

// reuse lets a process of Dovecot's serve one login after another, since to start them
// anew is most of what the stories would cost; and nobody waits because another story
// has tried a wrong password from the same address.
const reuse = "service imap-login {\n service_count = 0\n}\nservice imap {\n service_count = 100\n}\n" +
	"service anvil {\n unix_listener anvil-auth-penalty {\n mode = 0\n }\n}"

// stories runs each of them on an account of its own of one Dovecot.
func stories(t *testing.T, all map[string]func(s *story), opts ...dovecot.Option) {
	t.Helper()
	names := slices.Sorted(maps.Keys(all))
	users := make([]string, len(names))
	for i := range names {
		users[i] = "user" + strconv.Itoa(i)
	}
	server := dovecot.Start(t, append(opts, dovecot.Users(users...), dovecot.Extra(reuse))...)
	t.Run("", func(t *testing.T) { // ends when all parallel ones have
		for i, name := range names {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				all[name](newStory(t, server, users[i]))
			})
		}
	})
}

func newStory(t *testing.T, server *dovecot.Server, user string) *story {
	return &story{T: t, server: server, user: user, phone: server.PhoneOf(t, user), dir: t.TempDir()}
}

// embedded is a story on the embedded server, which needs no other program.
func embedded(t *testing.T) *story {
	t.Helper()
	s, _ := embeddedWith(t, imaptest.Options{})
	return s
}

// embeddedWith is embedded, where the server has its oddities.
func embeddedWith(t *testing.T, opts imaptest.Options) (*story, *imaptest.Server) {
	t.Helper()
	server, err := imaptest.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
	})
	phone, err := server.Phone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { phone.Close() }) // the server's end ends it, too
	at := &dovecot.Server{Host: server.Host, Port: server.Port, User: server.User, Password: server.Password}
	return &story{T: t, server: at, user: server.User, phone: phone, dir: t.TempDir()}, server
}

// check ends the story on an error.
func (s *story) check(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// computer is one with mailtwin, its configuration, its state and its Maildir.
type computer struct {
	*story
	name    string
	maildir string
	config  string
	env     map[string]string
	// around, if not nil, puts something between the engine and its sides.
	around func(opts *engine.Options)
	// looks, if not 0, is how often its watch looks at what does not tell of its changes.
	looks time.Duration
}

// device sets a computer up. settings are lines of the account's table; those that
// the story does not care about have values that make it quick.
func (s *story) device(name string, settings ...string) *computer {
	d := &computer{story: s, name: name, maildir: filepath.Join(s.dir, name, "Mail"), config: filepath.Join(s.dir, name, "config.toml")}
	s.check(os.MkdirAll(filepath.Dir(d.config), 0o700))
	lines := []string{`state_dir = "state"`, `[accounts.alice]`}
	defaults := [][2]string{
		{"maildir", `"Mail"`},
		{"host", strconv.Quote(s.server.Host)}, {"port", strconv.Itoa(s.server.Port)}, {"tls", `"none"`},
		{"user", strconv.Quote(s.user)}, {"password", strconv.Quote(s.server.Password)},
		{"timeout", `"20s"`}, {"fsync", "false"},
	}
	for _, kv := range defaults {
		if !slices.ContainsFunc(settings, func(l string) bool {
			return strings.HasPrefix(l, kv[0]+" ") || kv[0] == "password" && strings.HasPrefix(l, "password_")
		}) {
			lines = append(lines, kv[0]+" = "+kv[1])
		}
	}
	text := strings.Join(append(lines, settings...), "\n") + "\n"
	s.check(os.WriteFile(d.config, []byte(text), 0o600))
	return d
}

// result is what became of one run of the program.
type result struct {
	code           int
	stdout, stderr string
}

// run runs a command line as cron does: no terminal.
func (d *computer) run(args ...string) result {
	var stdout, stderr bytes.Buffer
	app := &App{Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, Env: func(k string) string { return d.env[k] }}
	if d.around != nil {
		app.rooms.run = func(ctx context.Context, opts engine.Options) (engine.Report, error) {
			d.around(&opts)
			return engine.Run(ctx, opts)
		}
	}
	code := app.Run(context.Background(), append([]string{"--config", d.config}, args...))
	return result{code, stdout.String(), stderr.String()}
}

// exits runs a command line that ends with that code.
func (d *computer) exits(code int, args ...string) result {
	d.Helper()
	r := d.run(args...)
	if r.code != code {
		d.Fatalf("%s: %v: exit code %d, want %d\n%s%s", d.name, args, r.code, code, r.stdout, r.stderr)
	}
	return r
}

// report runs a sync that ends with that code, and gives its report.
func (d *computer) report(code int, args ...string) accountReport {
	d.Helper()
	return parseReport(d.story, d.exits(code, append([]string{"sync", "--json"}, args...)...))
}

// parseReport reads the report that a sync has printed.
func parseReport(s *story, r result) accountReport {
	s.Helper()
	var doc syncReport
	if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil || len(doc.Accounts) != 1 {
		s.Fatalf("%v: %q", err, r.stdout)
	}
	return doc.Accounts[0]
}

// sync runs a sync in which all goes well.
func (d *computer) sync(args ...string) accountReport {
	d.Helper()
	return d.report(0, args...)
}

// settle syncs until nothing is left to do: at most two rounds of all devices.
func settle(devices ...*computer) {
	for range 2 {
		for _, d := range devices {
			d.Helper()
			d.sync()
		}
	}
	for _, d := range devices {
		d.quiet()
	}
}

// settle2 is settle on servers where to find out that there is nothing to do costs
// more.
func settle2(d *computer) {
	d.Helper()
	d.sync()
	if r := d.sync(); r.Local != (accountReport{}).Local || r.Remote != (accountReport{}).Remote {
		d.Errorf("%s: a sync with nothing to do did %+v here and %+v on the server", d.name, r.Local, r.Remote)
	}
}

// quiet checks that there is nothing left to do, and that to find that out costs
// nothing.
func (d *computer) quiet() {
	d.Helper()
	d.rested(d.sync())
}

// rested checks that a run found nothing to do, at no cost.
func (d *computer) rested(r accountReport) {
	d.Helper()
	if r.Local != (accountReport{}).Local || r.Remote != (accountReport{}).Remote {
		d.Errorf("%s: a sync with nothing to do did %+v here and %+v on the server", d.name, r.Local, r.Remote)
	}
	d.free(r)
}

// free checks that a run cost what a run costs that finds nothing to do: a listing,
// and the goodbye.
func (d *computer) free(r accountReport) {
	d.Helper()
	if r.RoundTrips > 2 || r.Connections != 1 {
		d.Errorf("%s: a sync with nothing to do took %d round trips over %d connections", d.name, r.RoundTrips, r.Connections)
	}
}

// counts4 is what a report counts of one side.
type counts4 struct{ New, Flags, Removed, Moved int }

// did checks what a report counts.
func (d *computer) did(r accountReport, here, there counts4) {
	d.Helper()
	if got := counts4(r.Local); got != here {
		d.Errorf("%s: here it did %+v, want %+v", d.name, got, here)
	}
	if got := counts4(r.Remote); got != there {
		d.Errorf("%s: on the server it did %+v, want %+v", d.name, got, there)
	}
}

// file is a message in the Maildir.
type file struct {
	path  string
	isNew bool
	text  string
	flags mail.Flags
	date  time.Time
}

// files are the messages in a folder of the Maildir, sorted by their text.
func (d *computer) files(folder mail.Folder) []file {
	d.Helper()
	dir := filepath.Join(d.maildir, filepath.FromSlash(string(folder)))
	letters := map[byte]string{}
	keywords, err := os.ReadFile(filepath.Join(dir, "dovecot-keywords"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.Fatal(err)
	}
	for line := range strings.Lines(string(keywords)) {
		var n int
		var word string
		if _, err := fmt.Sscan(line, &n, &word); err == nil {
			letters['a'+byte(n)] = word
		}
	}
	var files []file
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		d.check(err)
		for _, e := range entries {
			f := file{path: filepath.Join(dir, sub, e.Name()), isNew: sub == "new"}
			text, err := os.ReadFile(f.path)
			d.check(err)
			info, err := e.Info()
			d.check(err)
			f.text, f.date = string(text), info.ModTime()
			_, chars, _ := strings.Cut(e.Name(), ":2,")
			f.flags = lettersOf(chars, letters)
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b file) int {
		return strings.Compare(a.text+a.flags.String(), b.text+b.flags.String())
	})
	return files
}

// lettersOf reads the letters at the end of a file name.
func lettersOf(chars string, letters map[byte]string) mail.Flags {
	var names []string
	system := map[byte]string{'S': `\Seen`, 'R': `\Answered`, 'F': `\Flagged`, 'D': `\Draft`, 'T': `\Deleted`, 'P': "$Forwarded"}
	for i := range len(chars) {
		if name := system[chars[i]] + letters[chars[i]]; name != "" {
			names = append(names, name)
		}
	}
	return mail.ParseFlags(names)
}

// only gives the one message of a folder.
func (d *computer) only(folder mail.Folder) file {
	d.Helper()
	files := d.files(folder)
	if len(files) != 1 {
		d.Fatalf("%s: %s holds %d files, want one", d.name, folder, len(files))
	}
	return files[0]
}

// find gives the one message of a folder with that subject.
func (d *computer) find(folder mail.Folder, subject string) file {
	d.Helper()
	for _, f := range d.files(folder) {
		if strings.Contains(f.text, "Subject: "+subject+"\n") {
			return f
		}
	}
	d.Fatalf("%s: %s has no message %q", d.name, folder, subject)
	return file{}
}

// subjects are those of the messages in a folder.
func (d *computer) subjects(folder mail.Folder) []string {
	d.Helper()
	var all []string
	for _, f := range d.files(folder) {
		all = append(all, subject(f.text))
	}
	slices.Sort(all)
	return all
}

func subject(text string) string {
	_, rest, _ := strings.Cut(text, "Subject: ")
	s, _, _ := strings.Cut(rest, "\n")
	return strings.TrimRight(s, "\r")
}

// folders are those of the Maildir.
func (d *computer) folders() []mail.Folder {
	d.Helper()
	var all []mail.Folder
	d.check(filepath.WalkDir(d.maildir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && e.Name() == "cur" {
			rel, _ := filepath.Rel(d.maildir, filepath.Dir(path))
			all = append(all, mail.Folder(filepath.ToSlash(rel)))
		}
		return err
	}))
	slices.Sort(all)
	return all
}

// save puts a message into the Maildir as a mail program does: into tmp/ first.
func (d *computer) save(folder mail.Folder, sub, name, text string, date time.Time) {
	d.Helper()
	dir := filepath.Join(d.maildir, filepath.FromSlash(string(folder)))
	for _, s := range []string{"tmp", "new", "cur"} {
		d.check(os.MkdirAll(filepath.Join(dir, s), 0o700))
	}
	tmp := filepath.Join(dir, "tmp", name)
	d.check(os.WriteFile(tmp, []byte(text), 0o600))
	d.check(os.Chtimes(tmp, date, date))
	d.check(os.Rename(tmp, filepath.Join(dir, sub, name)))
}

// reflag renames a file so that it has these letters, as a mail program does.
func (d *computer) reflag(f file, chars string) {
	d.Helper()
	base, _, _ := strings.Cut(filepath.Base(f.path), ":2,")
	d.check(os.Rename(f.path, filepath.Join(filepath.Dir(filepath.Dir(f.path)), "cur", base+":2,"+chars)))
}

// loseState removes all that the device knows besides its Maildir.
func (d *computer) loseState() {
	d.Helper()
	d.check(os.RemoveAll(filepath.Join(filepath.Dir(d.config), "state")))
}

// remove removes a file.
func (d *computer) remove(f file) {
	d.Helper()
	d.check(os.Remove(f.path))
}

// deliver brings a message to the server.
func (s *story) deliver(folder mail.Folder, text string, flags mail.Flags) mail.UID {
	s.Helper()
	uid, err := s.phone.Deliver(s.Context(), folder, []byte(wireOf(text)), flags, then)
	s.check(err)
	return uid
}

// messages are those in a folder of the server, sorted by their text.
func (s *story) messages(folder mail.Folder) []imaptest.Message {
	s.Helper()
	found, err := s.phone.Messages(s.Context(), folder)
	s.check(err)
	slices.SortFunc(found, func(a, b imaptest.Message) int {
		return strings.Compare(string(a.Raw)+a.Flags.String(), string(b.Raw)+b.Flags.String())
	})
	return found
}

// remote gives the one message of a folder of the server with that subject.
func (s *story) remote(folder mail.Folder, subject string) imaptest.Message {
	s.Helper()
	for _, m := range s.messages(folder) {
		if strings.Contains(string(m.Raw), "Subject: "+subject+"\r\n") {
			return m
		}
	}
	s.Fatalf("the server has no message %q in %s", subject, folder)
	return imaptest.Message{}
}

// there are the subjects of the messages in a folder of the server.
func (s *story) there(folder mail.Folder) []string {
	s.Helper()
	var all []string
	for _, m := range s.messages(folder) {
		all = append(all, subject(string(m.Raw)))
	}
	slices.Sort(all)
	return all
}

// same checks that the Maildir and the server have the same folders with the same
// messages, flags and dates.
func (d *computer) same() {
	d.Helper()
	listed, err := d.phone.List(d.Context())
	d.check(err)
	var names []mail.Folder
	for _, f := range listed {
		if !f.NoSelect {
			names = append(names, f.Name)
		}
	}
	if got := d.folders(); !slices.Equal(got, names) {
		d.Errorf("%s: folders are %q, and %q on the server", d.name, got, names)
		return
	}
	for _, name := range names {
		var here, there []string
		for _, f := range d.files(name) {
			here = append(here, describe(f.text, f.flags, f.date))
			if f.isNew != f.flags.Empty() {
				d.Errorf("%s: %s: in new/: %v, with flags %v", d.name, name, f.isNew, f.flags)
			}
		}
		for _, m := range d.messages(name) {
			there = append(there, describe(onDisk(string(m.Raw)), m.Flags, m.Date))
		}
		slices.Sort(here)
		slices.Sort(there)
		if !slices.Equal(here, there) {
			d.Errorf("%s: %s holds\n%q\nand on the server\n%q", d.name, name, here, there)
		}
	}
}

func describe(text string, flags mail.Flags, date time.Time) string {
	if len(text) > 100 {
		text = fmt.Sprintf("%s... %.8s", text[:60], mailDigest(text))
	}
	return fmt.Sprintf("%s %s %s", date.UTC().Format(time.DateTime), strings.ToLower(flags.String()), text)
}

func mailDigest(text string) mail.Digest {
	var m mail.Measure
	m.Write([]byte(text))
	return m.Identity().Digest
}

// wireOf and onDisk are the same text with the line ends of the wire and of a file.
func wireOf(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
}

func onDisk(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// then is the date of messages where it does not matter.
var then = time.Date(2021, 3, 4, 5, 6, 7, 0, time.UTC)

// note is a small message as a file has it.
func note(subject string) string {
	return "Message-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@example.org>\nFrom: a@example.org\nSubject: " +
		subject + "\n\nThe text of " + subject + ".\n"
}

var (
	seen     = mail.Flags{System: mail.Seen}
	flagged  = mail.Flags{System: mail.Flagged}
	answered = mail.Flags{System: mail.Answered}
	none     = mail.Flags{}
)

// want compares two lists of words.
func (s *story) want(what string, got []string, want ...string) {
	s.Helper()
	if !slices.Equal(got, want) && len(got)+len(want) > 0 {
		s.Errorf("%s: %q, want %q", what, got, want)
	}
}
