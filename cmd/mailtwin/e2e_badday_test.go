package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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
		"a Maildir below a file": {
			settings: []string{`maildir = "config.toml/Mail"`}, before: func(*computer) {},
			code: 1, says: []string{"maildir missing: look at it: stat ", "look at maildir in the configuration"},
		},
		"a Maildir that cannot be made": { // by root neither
			settings: []string{`maildir = "/proc/mailtwin/Mail"`}, before: func(*computer) {},
			code: 1, says: []string{"maildir missing, and cannot be made: mkdir /proc/mailtwin: ", "look at maildir in the configuration"},
		},
		"a state directory that cannot be written": {
			before: func(d *computer) {
				text, err := os.ReadFile(d.config)
				d.check(err)
				d.check(os.WriteFile(d.config, []byte(strings.Replace(string(text), `"state"`, `"/proc/mailtwin"`, 1)), 0o600))
			},
			code: 1, says: []string{"make the state directory: mkdir /proc/mailtwin: ", "state_dir may name another place"},
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
			if info, err := os.Lstat(d.maildir); !errors.Is(err, fs.ErrNotExist) && (err != nil || info.IsDir()) {
				t.Errorf("a Maildir was made: %v", err)
			}
			if c.before != nil {
				return
			}
			if said := d.exits(0, "status").stdout; !strings.Contains(said, c.says[0]) {
				t.Errorf("status says %q", said)
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
