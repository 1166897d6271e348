package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"mailtwin/conflict/mail"
)

// TestOddThingsInAMaildir: what is no message is passed by, what cannot be read is told,
// and nothing is read from outside.
func TestOddThingsInAMaildir(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	d := s.device("laptop")
	s.deliver("INBOX", note("theirs"), seen)
	d.sync()
	cur, fresh := filepath.Join(d.maildir, "INBOX", "cur"), filepath.Join(d.maildir, "INBOX", "new")
	secret := filepath.Join(s.dir, "secret")
	s.check(os.WriteFile(secret, []byte(note("secret")), 0o600))
	var odd []string
	make := func(path string, how func(path string) error) {
		s.check(how(path))
		odd = append(odd, path)
	}
	for i, dir := range []string{cur, fresh} {
		at := func(name string) string { return filepath.Join(dir, fmt.Sprintf("%d.%s.host:2,S", i, name)) }
		make(at("link"), func(path string) error { return os.Symlink(secret, path) })
		make(at("relative"), func(path string) error { return os.Symlink("../../../../secret", path) })
		make(at("dangling"), func(path string) error { return os.Symlink("nowhere", path) })
		make(at("loop"), func(path string) error { return os.Symlink(path, path) })
		make(at("pipe"), func(path string) error { return syscall.Mkfifo(path, 0o600) })
		make(at("device"), func(path string) error {
			err := syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|5) // /dev/zero
			if errors.Is(err, syscall.EPERM) {
				return os.WriteFile(filepath.Join(dir, ".hidden"), []byte(note("secret")), 0o600)
			}
			return err
		})
		make(at("directory"), func(path string) error { return os.MkdirAll(filepath.Join(path, "cur", "x"), 0o700) })
		make(filepath.Join(dir, ".dot"), func(path string) error { return os.WriteFile(path, []byte(note("secret")), 0o600) })
	}
	want := []string{"theirs"}
	for i, name := range []string{
		"line\nbreak:2,S", "\xff\xfe\x80:2,S", "esc\x1b[31m:2,S", "\u202egnp:2,S", "no-info", "empty-info:2,", "other:1,x", "letters:2,ZSzz9",
		"two:2,S:2,F", "comma,S=5:2,S", strings.Repeat("l", 250) + ":2,S", " space :2,S", "-rf:2,S", "%s%n:2,S", "ä:2,S", "!",
	} {
		text := note("odd name " + strconv.Itoa(i))
		s.check(os.WriteFile(filepath.Join(cur, name), []byte(text), 0o600))
		want = append(want, "odd name "+strconv.Itoa(i))
	}
	// Of two files that have one key, both are messages, and one waits for the other to be
	// named otherwise.
	s.check(os.WriteFile(filepath.Join(cur, "same.host:2,S"), []byte(note("same key, one")), 0o600))
	s.check(os.WriteFile(filepath.Join(cur, "same.host:2,F"), []byte(note("same key, two")), 0o600))
	s.check(os.WriteFile(filepath.Join(fresh, "same.host"), []byte(note("same key, three")), 0o600))

	for range 2 {
		r := d.run("-v", "sync")
		if !slices.Contains([]int{exitOK, exitFailed}, r.code) {
			t.Fatalf("exit code %d: %s", r.code, r.stderr)
		}
		if i := strings.IndexFunc(r.stderr, func(r rune) bool { return r != '\n' && r < ' ' || r == '\u202e' }); i >= 0 {
			t.Errorf("it printed %q", r.stderr[i:])
		}
	}
	there := s.there("INBOX")
	s.want("not on the server", without(want, there))
	s.want("too much on the server", without(there, append(want, "same key, one", "same key, two", "same key, three")))
	if len(without(there, want)) == 0 {
		t.Error("none of the files with the same key is on the server")
	}
	for _, path := range odd {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("it is gone: %v", err)
		}
		s.check(os.RemoveAll(path))
	}
	for i, f := range []string{filepath.Join(cur, "same.host:2,F"), filepath.Join(fresh, "same.host")} {
		if _, err := os.Lstat(f); err == nil {
			s.check(os.Rename(f, filepath.Join(cur, "other"+strconv.Itoa(i)+".host:2,F")))
		}
	}
	d.exits(0, "sync")
	d.exits(0, "sync")
	s.want("on the server", s.there("INBOX"), slices.Sorted(slices.Values(append(want, "same key, one", "same key, two", "same key, three")))...)
	if text, err := os.ReadFile(secret); err != nil || string(text) != note("secret") {
		t.Errorf("the file outside: %q, %v", text, err)
	}
}

// TestAFileThatChangesUnderAnUpload: it grows, it is replaced, it goes away and comes
// back while syncs run. In the end the server has what the files hold, once.
func TestAFileThatChangesUnderAnUpload(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	d := s.device("laptop")
	d.sync()
	dir := filepath.Join(d.maildir, "INBOX", "cur")
	line := []byte(strings.Repeat("0123456789", 7) + "\n")
	grows := filepath.Join(dir, "grows.host:2,S")
	f, err := os.OpenFile(grows, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	s.check(err)
	_, err = f.WriteString(note("grows"))
	s.check(err)
	stop := make(chan bool)
	var busy sync.WaitGroup
	busy.Go(func() {
		other, away := filepath.Join(d.maildir, "INBOX", "tmp", "other"), filepath.Join(d.maildir, "INBOX", "tmp", "away")
		name := filepath.Join(dir, "changes.host:2,S")
		for n := 0; n < 1_000_000; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if n < 2_000 { // 14 MB: slow syncs must not make it larger than a server takes
				for range 100 {
					f.Write(line) // an error shows in what is compared
				}
			}
			os.WriteFile(other, []byte(note("changes")+strings.Repeat("y", n%7000)), 0o600)
			os.Rename(other, name)
			os.Rename(name, away)
			os.Rename(away, name)
		}
	})
	for range 5 {
		if r := d.run("sync"); r.code != exitOK && r.code != exitFailed {
			t.Errorf("exit code %d: %s", r.code, r.stderr)
		}
	}
	close(stop)
	busy.Wait()
	s.check(f.Close())
	// What grows in its place under one name is told from what it was by nobody who does
	// not read it; a program that writes so gives it its name at the end. Nor is a file that
	// took the place of an uploaded one, and got the inode number that this one had had.
	s.check(os.Rename(grows, filepath.Join(dir, "grown.host:2,S")))
	s.check(os.Rename(filepath.Join(dir, "changes.host:2,S"), filepath.Join(dir, "changed.host:2,S")))
	for range 3 {
		d.run("sync")
	}
	d.sync()
	d.same()
	s.want("INBOX", s.there("INBOX"), "changes", "grows")
}

// failures are errors that the system gives once, or from some time on, to some kind of
// call.
var failures = []struct{ call, err string }{
	{"fsync", "EIO"}, {"pwrite64", "EIO"}, {"pwrite64", "ENOSPC"}, {"openat", "EMFILE"}, {"openat", "EROFS"},
	{"openat2", "EMFILE"}, {"openat2", "EROFS"}, {"openat2", "ENOSPC"},
	{"renameat2", "EIO"}, {"renameat", "EROFS"}, {"linkat", "EIO"}, {"unlinkat", "EROFS"}, {"getdents64", "EIO"}, {"newfstatat", "EIO"},
	{"mkdirat", "ENOSPC"}, {"read", "EIO"}, {"utimensat", "EROFS"}, {"fstat", "EIO"},
}

// TestTheSystemFails: whatever call fails, and when, the run tells, or gets by without it.
// Nothing is lost or doubled, and once the cause is gone the next run goes on.
func TestTheSystemFails(t *testing.T) {
	t.Parallel()
	strace := tracer(t)
	whens := []string{"2", "9+", "30"}
	if os.Getenv("MAILTWIN_LONG") == "1" {
		whens = nil
		for n := 1; n < 120; n += 3 {
			whens = append(whens, strconv.Itoa(n), strconv.Itoa(n)+"+")
		}
	}
	for _, f := range failures {
		for _, when := range whens {
			t.Run(f.call+" "+f.err+" "+when, func(t *testing.T) {
				t.Parallel()
				s := embedded(t)
				d := mixed(s)
				s.setting(d, "fsync = true")
				cmd := exec.CommandContext(t.Context(), strace, "-f", "--seccomp-bpf", "-qq", "-o", os.DevNull, "-e", "signal=none",
					"-e", "trace="+f.call, "-e", "inject="+f.call+":error="+f.err+":when="+when,
					d.program(), "--config", d.config, "sync")
				cmd.Env = append(os.Environ(), killAt+"=0")
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				switch text := string(out); {
				case err != nil && !errors.As(err, &exit):
					t.Fatal(err)
				case strings.Contains(text, "goroutine ") || strings.Contains(text, "fatal error"):
					if !strings.Contains(text, "runtime: ") || strings.Contains(text, "mailtwin/") { // else Go's own
						t.Errorf("it crashed: %s", text)
					}
				case err != nil && text == "":
					t.Errorf("%v, and it said nothing", err)
				}
				t.Logf("%v: %.300s", err, out)
				d.run("sync") // what was refused once may wait
				for _, want := range []string{"flag here", "flag there", "new here", "new there", "rewrite here", "still"} {
					if !slices.Contains(d.subjects("INBOX"), want) {
						t.Errorf("%q is not here", want)
					}
				}
				d.sync()
				d.same()
				s.want("INBOX", s.there("INBOX"), "flag here", "flag there", "new here", "new there", "rewrite here", "still")
				s.want("Archive", s.there("Archive"), "move here")
				// What moved is in Trash, too, if INBOX was the folder that failed.
				s.want("Trash", without(slices.Compact(s.there("Trash")), []string{"move here"}), "delete here", "rewrite here")
				settle2(d)
			})
		}
	}
}

// setting changes a line of the account's table.
func (s *story) setting(d *computer, line string) {
	s.Helper()
	key, _, _ := strings.Cut(line, " ")
	text, err := os.ReadFile(d.config)
	s.check(err)
	var out []string
	for old := range strings.Lines(string(text)) {
		if !strings.HasPrefix(old, key+" ") {
			out = append(out, old)
		}
	}
	s.check(os.WriteFile(d.config, []byte(strings.Join(out, "")+line+"\n"), 0o600))
}

// TestTooFewDescriptors: a limit that a user has set leaves the run without files.
func TestTooFewDescriptors(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{8, 12, 14, 16, 20} {
		t.Run(strconv.Itoa(limit), func(t *testing.T) {
			t.Parallel()
			s := embedded(t)
			d := s.device("laptop")
			var want []string
			for i := range 30 {
				want = append(want, fmt.Sprintf("theirs %02d", i))
				s.deliver("INBOX", note(want[i]), seen)
				d.save(mail.Folder("INBOX"), "cur", fmt.Sprintf("%d.mine.host:2,S", i), note(fmt.Sprintf("mine %02d", i)), then)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, limit), d.program(), "--config", d.config, "sync")
			cmd.Env = append(os.Environ(), killAt+"=0")
			out, err := cmd.CombinedOutput()
			t.Logf("%v: %.300s", err, out)
			if err != nil && len(out) == 0 {
				t.Errorf("%v, and it said nothing", err)
			}
			if strings.Contains(string(out), "goroutine ") {
				t.Errorf("it crashed: %s", out)
			}
			d.run("sync")
			d.sync()
			d.same()
			if got := s.there("INBOX"); len(got) != 60 || len(without(want, got)) > 0 {
				t.Errorf("the server has %d messages: %q", len(got), got)
			}
		})
	}
}
