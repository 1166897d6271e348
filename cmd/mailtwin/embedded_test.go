package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// folderSettings are for one folder each.
var folderSettings = []string{
	// Later ones win over this one.
	"[[accounts.alice.folder]]", `match = "Own/*"`, `on_local_delete = "expunge"`,
	"[[accounts.alice.folder]]", `match = "Own/keep"`, `on_local_delete = "keep"`,
	"[[accounts.alice.folder]]", `match = "Own/files"`, `on_remote_delete = "keep"`,
	"[[accounts.alice.folder]]", `match = "Own/delete"`, `conflict = "delete"`,
	"[[accounts.alice.folder]]", `match = "Own/purge"`, `expunge = true`,
	"[[accounts.alice.folder]]", `match = "Own/pull"`, `direction = "pull"`,
	"[[accounts.alice.folder]]", `match = "Own/push"`, `direction = "push"`,
}

func TestSettingsOfFolders(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop", folderSettings...)
	folders := []mail.Folder{"INBOX", "Own/expunge", "Own/keep", "Own/files", "Own/delete", "Own/purge", "Own/pull", "Own/push"}
	here := []string{"removed here", "removed here and flagged there", "removed there", "marked here", "stays", "stays, too"}
	for _, f := range folders {
		if f != "INBOX" {
			s.check(s.phone.CreateFolder(s.Context(), f, mail.RoleNone))
		}
		for _, name := range here {
			// A Message-ID of its own in each folder, or they would be candidates for moves.
			s.deliver(f, note(name+" "+filepath.Base(string(f))), seen)
		}
	}
	d.sync()

	for _, f := range folders {
		in := " " + filepath.Base(string(f))
		if f != "Own/push" { // where nothing came
			d.remove(d.find(f, "removed here"+in))
			d.remove(d.find(f, "removed here and flagged there"+in))
			d.reflag(d.find(f, "marked here"+in), "ST")
		}
		s.check(s.phone.AddFlags(s.Context(), f, s.remote(f, "removed here and flagged there"+in).UID, flagged))
		s.check(s.phone.Delete(s.Context(), f, s.remote(f, "removed there"+in).UID))
		d.save(f, "cur", "1.new.host:2,S", note("new here"+in), then)
		s.deliver(f, note("new there"+in), seen)
	}
	d.sync()
	const flaggedOne = "removed here and flagged there"
	for _, c := range []struct {
		folder      mail.Folder
		here, there []string // of those that are not the same everywhere
	}{
		{"INBOX", []string{flaggedOne, "marked here", "new here", "new there"}, []string{flaggedOne, "marked here", "new here", "new there"}},
		{"Own/expunge", []string{flaggedOne, "marked here", "new here", "new there"}, []string{flaggedOne, "marked here", "new here", "new there"}},
		{"Own/keep", []string{flaggedOne, "marked here", "new here", "new there"}, []string{flaggedOne, "marked here", "new here", "new there", "removed here"}},
		{"Own/files", []string{flaggedOne, "marked here", "new here", "new there", "removed there"}, []string{flaggedOne, "marked here", "new here", "new there"}},
		{"Own/delete", []string{"marked here", "new here", "new there"}, []string{"marked here", "new here", "new there"}},
		{"Own/purge", []string{flaggedOne, "new here", "new there"}, []string{flaggedOne, "new here", "new there"}},
		{"Own/pull", []string{flaggedOne, "marked here", "new here", "new there"}, []string{flaggedOne, "marked here", "new there", "removed here"}},
	} {
		in := " " + filepath.Base(string(c.folder))
		all := func(names []string) []string {
			var full []string
			for _, n := range append(names, "stays", "stays, too") {
				full = append(full, n+in)
			}
			slices.Sort(full)
			return full
		}
		s.want(string(c.folder)+" here", d.subjects(c.folder), all(c.here)...)
		s.want(string(c.folder)+" on the server", s.there(c.folder), all(c.there)...)
	}
	s.want("Trash", s.there("Trash"), "removed here INBOX")

	s.want("Own/push here", d.subjects("Own/push"), "new here push")
	if !slices.Contains(s.there("Own/push"), "new here push") {
		t.Error("direction = push kept back what is new here")
	}
	if m := s.remote("Own/pull", "marked here pull"); m.Flags.Has(mail.Deleted) {
		t.Errorf("direction = pull wrote %v", m.Flags)
	}

	// What one direction kept back is carried out once it may be.
	d = s.device("laptop")
	settle2(d)
	for _, f := range []mail.Folder{"Own/pull", "Own/push"} {
		s.want(string(f), d.subjects(f), s.there(f)...)
	}
	if m := s.remote("Own/pull", "marked here pull"); !m.Flags.Has(mail.Deleted) {
		t.Errorf("with direction = both it has %v", m.Flags)
	}
}

func TestPostSyncRunsWhenSomethingCame(t *testing.T) {
	s := embedded(t)
	log := filepath.Join(s.dir, "log")
	d := s.device("laptop", `post_sync = '''printf '%s:%s;' "$MAILTWIN_ACCOUNT" "$MAILTWIN_FOLDERS" >> `+log+`; echo chatter; test ! -e `+log+`.fail'''`)
	told := func() string {
		t.Helper()
		text, err := os.ReadFile(log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err == nil {
			s.check(os.Remove(log))
		}
		return string(text)
	}
	silent := func(code int, want string) {
		t.Helper()
		if r := d.exits(code, "sync"); r.stdout != "" || r.stderr != want {
			t.Errorf("sync printed %q and %q", r.stdout, r.stderr)
		}
	}
	d.sync()
	told()

	s.deliver("INBOX", note("one"), none)
	s.deliver("INBOX", note("two"), none)
	s.deliver("Archive", note("three"), seen)
	silent(0, "")
	if got := told(); got != "alice:Archive\nINBOX;" {
		t.Errorf("it was told %q", got)
	}
	silent(0, "")
	if got := told(); got != "" {
		t.Errorf("it ran after a sync with nothing to do, and was told %q", got)
	}
	// What changed here was done by the user's own programs, which know.
	d.save("INBOX", "cur", "1.a.host:2,S", note("mine"), then)
	silent(0, "")
	if got := told(); got != "" {
		t.Errorf("it ran after something went to the server only, and was told %q", got)
	}
	// A dry run says what would be, and it is not.
	s.deliver("INBOX", note("four"), none)
	d.exits(0, "sync", "--dry-run")
	if got := told(); got != "" {
		t.Errorf("it ran after a dry run, and was told %q", got)
	}
	s.check(os.WriteFile(log+".fail", nil, 0o600))
	silent(1, "mailtwin: alice: post_sync: sh: exit status 1\n")
	if got := told(); got != "alice:INBOX;" {
		t.Errorf("it was told %q", got)
	}
	s.check(os.Remove(log + ".fail"))
	s.deliver("INBOX", note("five"), none)
	if r := d.exits(0, "-v", "sync"); !strings.Contains(r.stderr, "chatter\n") || strings.Contains(r.stdout, "chatter") {
		t.Errorf("-v printed %q and %q", r.stdout, r.stderr)
	}
}

// pipe makes a named pipe that a command of the story's and the test talk through.
func (s *story) pipe(name string) *os.File {
	s.Helper()
	path := filepath.Join(s.dir, name)
	s.check(syscall.Mkfifo(path, 0o600))
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	s.check(err)
	s.Cleanup(func() { pipe.Close() })
	return pipe
}

// hears waits for a line in the pipe, and says says one.
func (s *story) hears(pipe *os.File) {
	s.Helper()
	s.check(pipe.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err := pipe.Read(make([]byte, 1))
	s.check(err)
}

func (s *story) says(pipe *os.File) {
	s.Helper()
	_, err := pipe.WriteString("\n")
	s.check(err)
}

// TestPostSyncThatHangs: it holds up neither the next sync, since the account is not
// locked any more, nor the end of this one by a signal; nor does a child that it leaves.
func TestPostSyncThatHangs(t *testing.T) {
	s := embedded(t)
	begun, end := s.pipe("begun"), s.pipe("end")
	d := s.device("laptop", `post_sync = "sh -c 'read x < `+end.Name()+`' & echo > `+begun.Name()+`; test -e `+s.dir+`/quick || wait"`)
	for _, signal := range []bool{false, true} {
		s.deliver("INBOX", note("theirs"), none)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var stderr bytes.Buffer
		done := make(chan int, 1)
		go func() {
			app := &App{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &stderr, Env: func(string) string { return "" }}
			done <- app.Run(ctx, []string{"--config", d.config, "sync"})
		}()
		s.hears(begun)
		if r := d.sync("--wait", "0s"); r.Local.New != 0 {
			t.Errorf("while the command ran, a sync brought %+v", r.Local)
		}
		want := 0
		if signal {
			cancel()
			want = exitInterrupted
		} else {
			s.says(end)
		}
		if code := <-done; code != want {
			t.Errorf("exit code %d, want %d: %s", code, want, &stderr)
		}
		if signal { // nobody waits for it any more, but to end
			s.says(end)
		}
	}
	s.check(os.WriteFile(filepath.Join(s.dir, "quick"), nil, 0o600))
	s.deliver("INBOX", note("more"), none)
	d.exits(0, "sync")
	s.hears(begun)
	s.says(end)
}
