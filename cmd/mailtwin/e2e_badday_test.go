package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"mailtwin/sync/imaptest"
)

// TestBadDays: each trouble gives one line with the way out, and changes nothing; and
// when it has passed, or was mended, the next sync does its work.
func TestBadDays(t *testing.T) {
	s := embedded(t)
	s.deliver("INBOX", note("theirs"), seen)
	encrypted, _ := embeddedWith(t, imaptest.Options{TLS: imaptest.TLSImplicit, Dir: t.TempDir()})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	s.check(err)
	t.Cleanup(func() { silent.Close() }) // after the subtests, and whatever it says
	port := "port = " + strconv.Itoa(silent.Addr().(*net.TCPAddr).Port)
	in := func(d *computer, path ...string) string {
		return filepath.Join(append([]string{filepath.Dir(d.config)}, path...)...)
	}
	for name, c := range map[string]struct {
		on       *story
		settings []string
		before   func(d *computer)
		code     int
		says     []string
		quiet    bool // it passes by itself, so -q says nothing
	}{
		"a password command that fails": {
			settings: []string{`password_command = "exit 3"`},
			code:     77, says: []string{"password_command: sh ended with exit status 3; run it in a terminal to see why"},
		},
		"a password command that says nothing": {
			settings: []string{`password_command = ["true"]`},
			code:     77, says: []string{"password_command: true printed no password in its first line"},
		},
		"a wrong password": {
			settings: []string{`password = "wrong"`},
			code:     77, says: []string{"login as alice: login refused: ", "check user and password_command"},
		},
		"a port where nobody listens": {
			settings: []string{`port = 1`},
			code:     75, quiet: true, says: []string{"connect to 127.0.0.1:1: server unreachable", "the next sync tries again"},
		},
		"a server that says nothing": {
			settings: []string{port, `timeout = "1s"`},
			code:     75, quiet: true, says: []string{"greeting: server unreachable: no answer ", "the next sync tries again"},
		},
		"a certificate of nobody": {
			on: encrypted, settings: []string{`tls = "implicit"`},
			code: 75, says: []string{"server not trusted", "certificate signed by unknown authority", "no password was sent; look at host, ca_file and pin_sha256"},
		},
		"another key than the pinned one": {
			on: encrypted, settings: []string{`tls = "implicit"`, `pin_sha256 = ["` + strings.Repeat("A", 43) + `="]`},
			code: 75, says: []string{"the server's key is ", "which is not pinned", "no password was sent"},
		},
		"a server without STARTTLS": {
			settings: []string{`tls = "starttls"`},
			code:     75, says: []string{"it refuses STARTTLS", "no password was sent"},
		},
		"a Maildir that is a file": {
			before: func(d *computer) { d.check(os.WriteFile(d.maildir, nil, 0o600)) },
			code:   1, says: []string{"is a file, not a directory", "look at maildir in the configuration"},
		},
		"a state directory that cannot be made": {
			before: func(d *computer) { d.check(os.WriteFile(in(d, "state"), nil, 0o600)) },
			code:   1, says: []string{"make the state directory: mkdir ", "state_dir may name another place"},
		},
		"a state that is no file": {
			before: func(d *computer) { d.check(os.MkdirAll(in(d, "state", "alice", stateFile), 0o700)) },
			code:   1, says: []string{"open the state database "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := *s
			if c.on != nil {
				at = *c.on
			}
			at.T, at.dir = t, t.TempDir()
			d := at.device("laptop", c.settings...)
			if c.before != nil {
				c.before(d)
			}
			r := d.exits(c.code, "sync")
			if r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "mailtwin: alice: ") {
				t.Errorf("it prints %q and %q, want one line", r.stdout, r.stderr)
			}
			d.said(r.stderr, c.says...)
			if q := d.exits(c.code, "-q", "sync"); q.stderr != r.stderr && !c.quiet || q.stderr != "" && c.quiet {
				t.Errorf("with -q it prints %q", q.stderr)
			}
			if files, err := filepath.Glob(filepath.Join(d.maildir, "*")); err != nil || len(files) > 0 {
				t.Errorf("in the Maildir: %v, %v", files, err)
			}

			if c.before != nil {
				return
			}
			// It was mended; and the Maildir is to be elsewhere, since nothing is there yet.
			mended := *s
			mended.T, mended.dir = t, at.dir
			d = mended.device("laptop", `maildir = "Elsewhere"`)
			d.maildir = in(d, "Elsewhere")
			d.did(d.sync(), counts4{New: 1}, counts4{})
		})
	}
}

func TestAPatternThatMatchesNothingIsSaid(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	d := s.device("laptop", `folders = ["INBOX", "Lsits/*", "!Spam", "S%"]`)
	r := d.sync()
	if len(r.Skipped) != 1 || r.Skipped[0].Reason != `the pattern "Lsits/*" in folders matches no folder` {
		t.Errorf("skipped: %v", r.Skipped)
	}
	// cron hears nothing of it.
	if r := d.exits(0, "sync"); r.stdout+r.stderr != "" {
		t.Errorf("it prints %q and %q", r.stdout, r.stderr)
	}
	d.said(d.exits(0, "-v", "sync").stderr, `the pattern "Lsits/*" in folders matches no folder`)
}

// TestSyncsThatOverlapDoNotDouble: cron starts a sync while the first one, or the very
// first, still runs.
func TestSyncsThatOverlapDoNotDouble(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	d := s.device("laptop")
	var want []string
	for i := range 20 {
		theirs, mine := note("theirs "+strconv.Itoa(i)), note("mine "+strconv.Itoa(i))
		s.deliver("INBOX", theirs, seen)
		d.save("INBOX", "cur", strconv.Itoa(i)+".mine:2,S", mine, then)
		want = append(want, theirs, mine)
	}
	for range 2 {
		var wg sync.WaitGroup
		results := make([]result, 4)
		for i := range results {
			wg.Go(func() { results[i] = d.run("sync") })
		}
		wg.Wait()
		for _, r := range results {
			if r.code != 0 || r.stdout+r.stderr != "" {
				t.Errorf("one of them exits %d: %s%s", r.code, r.stdout, r.stderr)
			}
		}
		equalTexts(s, "here", d.texts("INBOX"), want)
		d.same()
		mine := note("between")
		d.save("INBOX", "cur", "between:2,S", mine, then)
		want = append(want, mine)
	}
}

func TestOneAccountsTroubleIsNoneOfTheOthers(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	s.deliver("INBOX", note("theirs"), seen)
	d := s.device("laptop")
	config, err := os.ReadFile(d.config)
	s.check(err)
	text := string(config)
	for name, change := range map[string][2]string{
		"bob": {"password = ", `password = "wrong" # `}, "carol": {"port = ", "port = 1 # "},
	} {
		other := strings.NewReplacer("accounts.alice", "accounts."+name, `"Mail"`, `"Mail of `+name+`"`,
			change[0], change[1], `state_dir = "state"`, "").Replace(string(config))
		text += other
	}
	s.check(os.WriteFile(d.config, []byte(text), 0o600))
	r := d.exits(1, "sync")
	d.want("INBOX", d.subjects("INBOX"), "theirs")
	d.said(r.stderr, "mailtwin: bob: ", "mailtwin: carol: ")
	if strings.Contains(r.stderr, "mailtwin: alice") {
		t.Errorf("of the account that is well it says %q", r.stderr)
	}
}

// TestADiskThatIsFull: that of the state, and that of the Maildir. Nothing is lost or
// doubled, and with room again the next sync goes on.
func TestADiskThatIsFull(t *testing.T) {
	for name, c := range map[string]struct {
		disk string
		room int64 // that is left
	}{
		"the state's, from the start":   {"state", 0},
		"the state's, in a while":       {"state", 120 << 10},
		"the Maildir's, from the start": {"Mail", 0},
		"the Maildir's, in a while":     {"Mail", 120 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embedded(t)
			d := s.device("laptop")
			disk := filepath.Join(filepath.Dir(d.config), c.disk)
			s.check(os.Mkdir(disk, 0o700))
			if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
				if os.Getenv("MAILTWIN_REQUIRE") == "1" && os.Getuid() == 0 {
					t.Fatalf("mount a small disk: %v", err)
				}
				t.Skipf("a small disk cannot be mounted: %v", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(disk, 0); err != nil {
					t.Errorf("unmount the small disk: %v", err)
				}
			})
			s.deliver("INBOX", note("first"), seen)
			d.sync()
			for i := range 100 {
				s.deliver("INBOX", note("theirs "+strconv.Itoa(i))+strings.Repeat("x", 10<<10), seen)
			}
			d.remove(d.find("INBOX", "first"))
			filler := filepath.Join(disk, "filler")
			fill(t, filler, c.room)
			r := d.exits(1, "sync")
			d.said(r.stderr, "mailtwin: alice: ", "no space left", "make room, and sync again; what has come is kept")
			if n := strings.Count(r.stderr, "\n"); n != 1 {
				t.Errorf("it prints %d lines:\n%s", n, r.stderr)
			}
			s.check(os.Remove(filler))
			d.sync()
			d.same()
			d.want("Trash", s.there("Trash"), "first")
			settle2(d)
		})
	}
}

// fill makes a file that takes all the room of its disk but this.
func fill(t *testing.T, path string, room int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for size := len(block); size > 0; {
		if _, err := f.Write(block[:size]); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Truncate(max(0, info.Size()-room))
	}
	if err != nil {
		t.Fatal(err)
	}
}
