package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// stage is where a demo plays: a home and a directory for temporary files, both
// empty, and the program.
type stage struct {
	t              *testing.T
	home, tmp      string
	app            App
	stdout, stderr strings.Builder
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, home: t.TempDir(), tmp: t.TempDir()}
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"} {
		t.Setenv(name, s.home)
	}
	t.Setenv("TMPDIR", s.tmp)
	t.Chdir(s.home) // nor is anything left where one happens to be
	s.app = App{Stdin: strings.NewReader(""), Stdout: &s.stdout, Stderr: &s.stderr, Env: os.Getenv}
	return s
}

// after lets something happen after each sync on the device, as part of it.
func (s *stage) after(device string, do func(opts engine.Options, root string) error) {
	s.app.rooms.run = func(ctx context.Context, opts engine.Options) (engine.Report, error) {
		report, err := engine.Run(ctx, opts)
		if err != nil {
			return report, err
		}
		roots, err := filepath.Glob(filepath.Join(s.tmp, "*", device, "Mail"))
		if err == nil && len(roots) == 1 {
			err = do(opts, roots[0])
		}
		return report, err
	}
}

func (s *stage) run(ctx context.Context, code int, args ...string) {
	s.t.Helper()
	s.stdout.Reset()
	s.stderr.Reset()
	if got := s.app.Run(ctx, args); got != code {
		s.t.Errorf("%v: exit code %d, want %d\n%s%s", args, got, code, &s.stdout, &s.stderr)
	}
}

// clean checks that nothing is left.
func (s *stage) clean() {
	s.t.Helper()
	for _, dir := range []string{s.home, s.tmp} {
		if left := names(s.t, dir); len(left) > 0 {
			s.t.Errorf("%v is left in %s", left, dir)
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func lines(b *strings.Builder) []string { return strings.Split(strings.TrimSpace(b.String()), "\n") }

func TestDemoShowsBothDirectionsAndLeavesNothing(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	s := newStage(t)
	s.run(t.Context(), 0, "demo")
	out := lines(&s.stdout)
	if last := out[len(out)-1]; last != "All 15 checks passed." {
		t.Errorf("the last line is %q", last)
	}
	if n := strings.Count(s.stdout.String(), "\n   ok  "); n != 15 {
		t.Errorf("%d statements are shown as true, want 15", n)
	}
	if s.stderr.Len() > 0 {
		t.Errorf("stderr: %s", &s.stderr)
	}
	for _, line := range out {
		if utf8.RuneCountInString(line) > 80 && !strings.Contains(line, s.tmp) && !strings.Contains(line, "/cur/") {
			t.Errorf("wider than a terminal: %q", line)
		}
	}
	for _, want := range []string{
		"alice: here 19 new (9 folders, ",
		"alice: here 1 new, 1 reflagged (9 folders, ",
		"alice: here 1 new; on server 1 new, 1 reflagged, 1 removed (9 folders, ",
		"alice: here 21 new (9 folders, ",
		"alice: nothing new (9 folders, ",
		":2,S\n",
	} {
		if !strings.Contains(s.stdout.String(), want) {
			t.Errorf("no %q in\n%s", want, &s.stdout)
		}
	}
	readmeShows(t, string(readme), out)
	s.clean()
}

// readmeShows checks that what the README shows is what came, up to times and the
// names of files.
func readmeShows(t *testing.T, readme string, out []string) {
	t.Helper()
	varies := regexp.MustCompile(`[0-9.]+m?s\)|/(new|cur)/[^:\s]+`)
	same := func(line string) string { return varies.ReplaceAllString(line, "$1") }
	_, block, _ := strings.Cut(readme, "$ go run ./cmd/mailtwin demo")
	block, _, _ = strings.Cut(block, "\n```")
	shown := strings.Split(block, "\n")[1:]
	if len(shown) < 10 {
		t.Fatalf("the README shows only %q", shown)
	}
	for _, line := range shown {
		if line == "..." {
			continue
		}
		i := slices.IndexFunc(out, func(o string) bool { return same(o) == same(line) })
		if i < 0 {
			t.Errorf("the README shows what the demo does not print, or not there: %q", line)
			continue
		}
		out = out[i+1:]
	}
}

func TestDemoKeepsTheMaildirsIfAsked(t *testing.T) {
	s := newStage(t)
	dir := filepath.Join(t.TempDir(), "my twin")
	s.run(t.Context(), 0, "demo", "--keep", "--dir", dir)
	s.clean()
	for _, device := range []string{"laptop", "desktop"} {
		box, err := inMaildir(filepath.Join(dir, device, "Mail"))
		if err != nil {
			t.Fatal(err)
		}
		if len(box) != 9 || box.count() != 21 {
			t.Errorf("the %s has %d messages in %v", device, box.count(), box.folders())
		}
	}
	out := s.stdout.String()
	for _, want := range []string{
		"\nAll 15 checks passed.\n",
		"are kept in " + dir + "; the server is gone.\n",
		"\n    -e 'set folder=\"" + dir + "/laptop/Mail\"' -f +INBOX\n",
		"\nTo remove all of it:  rm -r '" + dir + "'\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}

	s.run(t.Context(), 0, "demo", "--keep")
	if left := names(t, s.tmp); len(left) != 1 || !strings.Contains(s.stdout.String(), filepath.Join(s.tmp, left[0])) {
		t.Errorf("%v is left, of which is said:\n%s", left, &s.stdout)
	}
}

func TestDemoTakesNoDirectoryThatHoldsAnything(t *testing.T) {
	s := newStage(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "mine")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		dir:  "mailtwin: --dir " + dir + " is not empty: name a new directory, or an empty one\n",
		file: "mailtwin: --dir: open " + file + ": not a directory\n",
		filepath.Join(dir, "no", "such"): "mailtwin: --dir: mkdir " + filepath.Join(dir, "no", "such") +
			": no such file or directory\n",
	} {
		s.run(t.Context(), 2, "demo", "--dir", name)
		if got := strings.ReplaceAll(s.stderr.String(), "fdopendir", "open"); got != want {
			t.Errorf("--dir %s: %q, want %q", name, got, want)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file is now %q, %v", text, err)
	}
	s.run(t.Context(), 2, "demo", "surplus")
	s.clean()
}

func TestQuietDemoInADirectoryOfTheUser(t *testing.T) {
	s := newStage(t)
	dir := t.TempDir()
	s.run(t.Context(), 0, "-q", "demo", "--dir", dir)
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
	if s.stdout.Len()+s.stderr.Len() > 0 {
		t.Errorf("-q printed %s%s", &s.stdout, &s.stderr)
	}
	s.clean()
}

// tampers are ways in which a Maildir can be wrong, each with a message of its own
// that no step of the demo is about.
var tampers = map[string]struct {
	folder  mail.Folder
	subject string
	do      func(file string) error
	says    string
}{
	"another byte": {"Archive", "Due in three days: 2 items", func(file string) error {
		return rewrite(file, func(text []byte) []byte { text[len(text)-2] ^= 1; return text })
	}, "has other bytes on the server ("},
	"CRLF in a file": {"Archive", "Roof repair, three offers", func(file string) error { return rewrite(file, wire) },
		"has other bytes on the server ("},
	"another flag": {"Archive", "Re: Roof repair, three offers", func(file string) error { return os.Rename(file, file+"T") },
		`has the flags \Answered \Seen on the server, and \Answered \Seen \Deleted on the `},
	"another keyword": {"Lists/go", "[go] iterators that can fail", func(file string) error {
		keywords := filepath.Join(filepath.Dir(filepath.Dir(file)), "dovecot-keywords")
		return errors.Join(os.WriteFile(keywords, []byte("25 odd\n"), 0o600), os.Rename(file, file+"z"))
	}, `has the flags \Seen on the server, and \Seen odd on the `},
	"another date": {"Family & Friends", "Oma's poppy seed cake", func(file string) error {
		return os.Chtimes(file, time.Time{}, time.Unix(1_000_000_000, 0))
	}, "and of 2001-09-09 01:46:40 +0000 UTC on the "},
	"a missing message": {"Sent", "Re: Grüße aus Zermatt", os.Remove, "is only on the server"},
	"a doubled message": {"Trash", "Last chance!! 80% off EVERYTHING", func(file string) error {
		text, err := os.ReadFile(file)
		return errors.Join(err, os.WriteFile(filepath.Join(filepath.Dir(file), "twin:2,S"), text, 0o600))
	}, "is only on the "},
}

// rewrite changes a file and neither its name nor its time.
func rewrite(file string, change func([]byte) []byte) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(file, change(text), 0o600), os.Chtimes(file, time.Time{}, info.ModTime()))
}

// tamper does it all, and makes a folder that is on no server.
func tamper(root string) error {
	box, err := inMaildir(root)
	if err != nil {
		return err
	}
	for _, how := range tampers {
		l, err := box.find(how.folder, how.subject)
		if err != nil {
			return err
		}
		if err := how.do(filepath.Join(root, l.file)); err != nil {
			return err
		}
	}
	return errors.Join(os.MkdirAll(filepath.Join(root, "Odd", "cur"), 0o700), os.Mkdir(filepath.Join(root, "Odd", "new"), 0o700))
}

// A demo that shows a wrong result as a right one would be worse than none.
func TestDemoFindsWhatIsWrong(t *testing.T) {
	for _, device := range []string{"laptop", "desktop"} {
		t.Run(device, func(t *testing.T) {
			s := newStage(t)
			var once sync.Once
			s.after(device, func(_ engine.Options, root string) (err error) {
				once.Do(func() { err = tamper(root) })
				return err
			})
			s.run(t.Context(), 1, "demo")
			_, found, _ := strings.Cut(s.stdout.String(), "\n   NOT TRUE: The server and the "+device+" are equal: ")
			found, _, _ = strings.Cut(found, "\n   ok ") // what came of the first check
			for name, how := range tampers {
				line := "\n       " + string(how.folder) + `: "` + how.subject + `" `
				_, rest, ok := strings.Cut(found, line)
				rest, _, _ = strings.Cut(rest, "\n")
				if !ok || !strings.Contains(rest, how.says) {
					t.Errorf("%s: no %q in\n%s", name, line+how.says, &s.stdout)
				}
			}
			if !strings.Contains(found, "\n       Odd: the folder is only on the "+device+"\n") {
				t.Errorf("nothing of a folder too many in\n%s", &s.stdout)
			}
			if strings.Contains(s.stdout.String(), "passed") {
				t.Errorf("it ends well:\n%s", &s.stdout)
			}
			if got := s.stderr.String(); !strings.HasPrefix(got, "mailtwin: demo: ") || !strings.HasSuffix(got, " of 15 checks failed\n") {
				t.Errorf("stderr: %q", got)
			}
			s.clean()
		})
	}
}

func TestDemoEndsWithASyncThatFails(t *testing.T) {
	s := newStage(t)
	s.after("desktop", func(engine.Options, string) error { return mail.ErrRefused })
	s.run(t.Context(), 1, "demo")
	want := "mailtwin: demo: the sync on the desktop complains: " + mail.ErrRefused.Error() + "\n"
	if got := s.stderr.String(); got != want {
		t.Errorf("stderr: %q, want %q", got, want)
	}
	s.clean()
}

func TestDemoFindsASyncThatDoesNotRest(t *testing.T) {
	s := newStage(t)
	s.app.rooms.run = func(ctx context.Context, opts engine.Options) (engine.Report, error) {
		report, err := engine.Run(ctx, opts)
		if report.Local == (engine.Counts{}) && report.Remote == (engine.Counts{}) {
			report.Remote.Flags = 1
		}
		return report, err
	}
	s.run(t.Context(), 1, "demo")
	if !strings.Contains(s.stdout.String(), "NOT TRUE: The sync of the laptop did nothing, on either side.\n       it changed on the server ") {
		t.Errorf("stdout:\n%s", &s.stdout)
	}
	s.clean()
}

func TestDemoIsInterrupted(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.after("laptop", func(engine.Options, string) error { cancel(); return nil })
	s.run(ctx, 130, "demo")
	if got := s.stderr.String(); got != "mailtwin: demo: interrupted\n" {
		t.Errorf("stderr: %q", got)
	}
	s.clean()
}

// pipeOf is a pipe whose reader has seen enough after so many lines.
type pipeOf struct{ lines int }

func (p *pipeOf) Write(b []byte) (int, error) {
	if p.lines -= bytes.Count(b, []byte("\n")); p.lines < 0 {
		return 0, &fs.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}
	}
	return len(b), nil
}

// `mailtwin demo | head`
func TestDemoEndsWhenNobodyReadsIt(t *testing.T) {
	s := newStage(t)
	s.app.Stdout = &pipeOf{5}
	s.run(t.Context(), 130, "demo")
	if got := s.stderr.String(); got != "mailtwin: demo: interrupted\n" {
		t.Errorf("stderr: %q", got)
	}
	s.clean()
}

func TestDemoTakesNoLongerThanAMinute(t *testing.T) {
	s := newStage(t)
	s.app.log = newLogger(&s.stderr, 0)
	s.app.rooms.run = func(ctx context.Context, _ engine.Options) (engine.Report, error) {
		<-ctx.Done()
		return engine.Report{}, ctx.Err()
	}
	if code := s.app.demo(t.Context(), demoFlags{within: time.Second}); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	want := "mailtwin: demo: not done within 1s: is this machine very busy, or its disk very slow?\n"
	if got := s.stderr.String(); got != want {
		t.Errorf("stderr: %q, want %q", got, want)
	}
	s.clean()
	if demoTime >= time.Minute {
		t.Errorf("a demo may take %v", demoTime)
	}
}

func TestInMaildirReadsWhatAnyProgramReads(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"INBOX/new/1.a":            "Subject: new\n\n",
		"INBOX/cur/2.b:2,FS":       "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\n",
		"INBOX/cur/3.c:2,ab":       "Subject: words\n\n",
		"INBOX/dovecot-keywords":   "0 work\n1 $Junk\n",
		"INBOX/tmp/4.d":            "Subject: not yet\n\n",
		"Lists/go/cur/5.e:2,DPRST": "Subject: all\n\n",
		"Lists/go/new/6.f":         "no header at all",
	} {
		file := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	box, err := inMaildir(root)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := box.folders(), []mail.Folder{"INBOX", "Lists/go"}; !slices.Equal(got, want) {
		t.Errorf("folders %v, want %v", got, want)
	}
	all := mail.Flags{System: mail.Draft | mail.Forwarded | mail.Answered | mail.Seen | mail.Deleted}
	for _, want := range []struct {
		folder  mail.Folder
		subject string
		flags   mail.Flags
		file    string
	}{
		{"INBOX", "new", mail.Flags{}, "INBOX/new/1.a"},
		{"INBOX", "Grüße", mail.Flags{System: mail.Flagged | mail.Seen}, "INBOX/cur/2.b:2,FS"},
		{"INBOX", "words", mail.Flags{Keywords: mail.NewKeywords("work", "$Junk")}, "INBOX/cur/3.c:2,ab"},
		{"Lists/go", "all", all, "Lists/go/cur/5.e:2,DPRST"},
		{"Lists/go", "(damaged)", mail.Flags{}, "Lists/go/new/6.f"},
	} {
		l, err := box.find(want.folder, want.subject)
		if err != nil {
			t.Error(err)
		} else if !l.flags.Equal(want.flags) || l.file != want.file {
			t.Errorf("%q is %s with %v, want %s with %v", want.subject, l.file, l.flags, want.file, want.flags)
		}
	}
	if n := box.count(); n != 5 {
		t.Errorf("%d messages, want 5", n)
	}
	if _, err := inMaildir(filepath.Join(root, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a Maildir that is not there: %v", err)
	}
}
