package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/dovecot"
)

// listen opens a port on loopback and serves each connection with serve, until the
// story ends.
func (s *story) listen(serve func(net.Conn)) (port int) {
	s.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.check(err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	s.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

func TestConnecting(t *testing.T) {
	stories(t, map[string]func(s *story){
		"implicit TLS with a CA of one's own": func(s *story) {
			d := s.device("laptop", `tls = "implicit"`, fmt.Sprintf("port = %d", s.server.TLSPort), fmt.Sprintf("ca_file = %q", s.server.CAFile))
			s.deliver("INBOX", note("one"), none)
			d.sync()
			d.same()
			d.quiet()
		},
		"STARTTLS": func(s *story) {
			d := s.device("laptop", `tls = "starttls"`, fmt.Sprintf("ca_file = %q", s.server.CAFile))
			s.deliver("INBOX", note("one"), none)
			d.sync()
			d.same()
			d.quiet()
		},
		"a pin stands in for the CA, and another one does not": func(s *story) {
			d := s.device("laptop", `tls = "implicit"`, fmt.Sprintf("port = %d", s.server.TLSPort), `pin_sha256 = ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]`)
			r := d.exits(75, "-q", "sync")
			_, rest, _ := strings.Cut(r.stderr, "the server's key is ")
			pin, _, ok := strings.Cut(rest, ",")
			if !ok {
				s.Fatalf("it said %q", r.stderr)
			}
			d = s.device("laptop", `tls = "implicit"`, fmt.Sprintf("port = %d", s.server.TLSPort), fmt.Sprintf("pin_sha256 = [%q]", pin))
			d.sync()
		},
		"a CA that is not the server's": func(s *story) {
			other, err := imaptest.NewIdentity()
			s.check(err)
			ca, err := other.WriteCA(s.dir)
			s.check(err)
			for _, tls := range []string{"implicit", "starttls"} {
				port := map[string]int{"implicit": s.server.TLSPort, "starttls": s.server.Port}[tls]
				d := s.device(tls, fmt.Sprintf("tls = %q", tls), fmt.Sprintf("port = %d", port), fmt.Sprintf("ca_file = %q", ca))
				r := d.exits(75, "-q", "sync")
				if !strings.Contains(r.stderr, "not trusted") || !strings.Contains(r.stderr, "no password was sent") {
					s.Errorf("it said %q", r.stderr)
				}
				r = d.exits(75, "-v", "-v", "sync")
				if strings.Contains(r.stderr, "AUTHENTICATE") || strings.Contains(r.stderr, "LOGIN ") {
					s.Errorf("it logged in: %q", r.stderr)
				}
			}
		},
		"a server that takes STARTTLS away": func(s *story) {
			heard := make(chan string, 10)
			port := s.listen(func(c net.Conn) {
				fmt.Fprint(c, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hello\r\n")
				buf := make([]byte, 1000)
				n, _ := c.Read(buf)
				heard <- string(buf[:n])
				tag, _, _ := strings.Cut(string(buf[:n]), " ")
				fmt.Fprintf(c, "%s BAD no such command\r\n", tag)
				n, _ = c.Read(buf)
				heard <- string(buf[:n])
			})
			d := s.device("laptop", `tls = "starttls"`, fmt.Sprintf("port = %d", port))
			if r := d.exits(75, "-q", "sync"); !strings.Contains(r.stderr, "not trusted") {
				s.Errorf("it said %q", r.stderr)
			}
			if first, second := <-heard, <-heard; strings.Contains(first+second, "LOGIN") || strings.Contains(first+second, "AUTH") {
				s.Errorf("it was told %q, %q", first, second)
			}
		},
		"a wrong password": func(s *story) {
			d := s.device("laptop", `password = "wrong secret"`)
			r := d.exits(77, "sync")
			if !strings.Contains(r.stderr, "login refused") || strings.Contains(r.stderr, "wrong secret") {
				s.Errorf("it said %q", r.stderr)
			}
			if lines := strings.Count(r.stderr, "\n"); lines != 1 {
				s.Errorf("it said %d lines: %q", lines, r.stderr)
			}
			if r := d.exits(77, "-v", "-v", "sync"); strings.Contains(r.stderr, "secret") || strings.Contains(r.stderr, "d3JvbmcgcGFzc3dvcmQ") {
				s.Errorf("the trace has the password: %q", r.stderr)
			}
		},
		"nobody listens": func(s *story) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			s.check(err)
			port := l.Addr().(*net.TCPAddr).Port
			l.Close()
			d := s.device("laptop", fmt.Sprintf("port = %d", port))
			if r := d.exits(75, "sync"); strings.Count(r.stderr, "\n") != 1 {
				s.Errorf("it said %q", r.stderr)
			}
			if r := d.exits(75, "-q", "sync"); r.stderr+r.stdout != "" {
				s.Errorf("an offline laptop said %q", r.stderr+r.stdout)
			}
		},
		"a server that says nothing": func(s *story) {
			port := s.listen(func(net.Conn) { <-s.Context().Done() })
			for _, tls := range []string{"none", "implicit", "starttls"} {
				d := s.device(tls, fmt.Sprintf("port = %d", port), fmt.Sprintf("tls = %q", tls), `timeout = "1s"`)
				began := time.Now()
				d.exits(75, "sync")
				if took := time.Since(began); took > 5*time.Second {
					s.Errorf("%s: it took %v", tls, took)
				}
			}
		},
		"a password from a command": func(s *story) {
			d := s.device("laptop", fmt.Sprintf("password_command = [\"printf\", %q]", s.server.Password+`\nsecond line\n`))
			d.sync()
			d = s.device("shell", fmt.Sprintf("password_command = \"printf '%%s' '%s'\"", s.server.Password))
			d.sync()
			d = s.device("failing", `password_command = ["false"]`)
			d.exits(77, "sync")
		},
		"a password in a file that others can read": func(s *story) {
			d := s.device("laptop")
			s.check(os.Chmod(d.config, 0o644))
			if r := d.exits(2, "sync"); !strings.Contains(r.stderr, "chmod 600") {
				s.Errorf("it said %q", r.stderr)
			}
		},
		"plain text to another machine is refused before any packet": func(s *story) {
			d := s.device("laptop", `host = "192.0.2.1"`)
			d.exits(2, "sync")
		},
	})
}

func TestAPasswordFromTheEnvironment(t *testing.T) {
	server := dovecot.Start(t)
	t.Setenv("MAILTWIN_TEST_PASSWORD", server.Password)
	s := newStory(t, server, server.User)
	s.device("laptop", `password_env = "MAILTWIN_TEST_PASSWORD"`).sync()
	s.device("unset", `password_env = "MAILTWIN_TEST_UNSET"`).exits(2, "sync")
}

func TestRunningFromCron(t *testing.T) {
	stories(t, map[string]func(s *story){
		"a dry run changes nothing": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", note("theirs"), none)
			d.save("INBOX", "new", "1.a.host", note("mine"), then)
			d.save("New", "cur", "1.a.host:2,S", note("in a new folder"), then)
			first := s.snapshot(d)
			r := d.sync("--dry-run")
			d.did(r, counts4{New: 1}, counts4{New: 2})
			s.want("after the first", s.snapshot(d), first...)
			if _, err := os.Stat(filepath.Join(filepath.Dir(d.config), "state")); err == nil {
				s.Error("it made a state directory")
			}
			d.sync()

			d.reflag(d.find("INBOX", "theirs"), "FS")
			d.remove(d.find("INBOX", "mine"))
			s.check(s.phone.AddFlags(s.Context(), "INBOX", s.remote("INBOX", "theirs").UID, answered))
			s.deliver("Archive", note("more"), none)
			before := s.snapshot(d)
			out := d.exits(0, "sync", "--dry-run").stdout
			for _, line := range []string{"alice: Archive: UID 1: download", `move to "Trash" on the server`, "alice: would be: "} {
				if !strings.Contains(out, line) {
					s.Errorf("it said %q, without %q", out, line)
				}
			}
			r = d.sync("--dry-run")
			s.want("after the second", s.snapshot(d), before...)
			if got := d.sync(); got.Local != r.Local || got.Remote != r.Remote {
				s.Errorf("it would have done %+v and %+v, and did %+v and %+v", r.Local, r.Remote, got.Local, got.Remote)
			}
		},
		"nothing is printed when all is well": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", note("one"), none)
			for _, args := range [][]string{{"sync"}, {"-q", "sync"}, {"sync", "alice"}} {
				if r := d.exits(0, args...); r.stdout+r.stderr != "" {
					s.Errorf("%v: %q", args, r.stdout+r.stderr)
				}
			}
		},
		"the document of --json": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", note("one"), none)
			r := d.exits(0, "sync", "--json")
			var doc map[string][]map[string]any
			if err := json.Unmarshal([]byte(r.stdout), &doc); err != nil || len(doc["accounts"]) != 1 || r.stderr != "" {
				s.Fatalf("%v: %q %q", err, r.stdout, r.stderr)
			}
			a := doc["accounts"][0]
			for key, want := range map[string]any{"name": "alice", "ok": true, "error": nil, "folders": 6.0, "conflicts": 0.0,
				"local":  map[string]any{"new": 1.0, "flags": 0.0, "removed": 0.0, "moved": 0.0},
				"remote": map[string]any{"new": 0.0, "flags": 0.0, "removed": 0.0, "moved": 0.0}} {
				if got, there := a[key]; !there || fmt.Sprint(got) != fmt.Sprint(want) {
					s.Errorf("%s is %v, want %v", key, got, want)
				}
			}
			for _, key := range []string{"bytes_in", "bytes_out", "round_trips", "connections", "duration_ms"} {
				if n, ok := a[key].(float64); !ok || n <= 0 && key != "duration_ms" {
					s.Errorf("%s is %v", key, a[key])
				}
			}
			if _, ok := a["skipped"].([]any); !ok {
				s.Errorf("skipped is %v", a["skipped"])
			}
		},
		"two at once": func(s *story) {
			d := s.device("laptop")
			d.sync()
			dir := filepath.Join(filepath.Dir(d.config), "state", "alice")
			unlock, err := lockAccount(s.Context(), dir, 0, nobody)
			s.check(err)
			r := d.exits(75, "sync", "--wait", "0s")
			if !strings.Contains(r.stderr, "process "+strconv.Itoa(os.Getpid())) || !strings.Contains(r.stderr, "since") {
				s.Errorf("it said %q", r.stderr)
			}
			s.deliver("INBOX", note("meanwhile"), none)
			done := make(chan result, 2)
			for range 2 {
				go func() { done <- d.run("sync", "--wait", "30s") }()
			}
			unlock()
			for range 2 {
				if r := <-done; r.code != 0 {
					s.Errorf("exit code %d: %s", r.code, r.stderr)
				}
			}
			d.want("INBOX", d.subjects("INBOX"), "meanwhile")
			d.same()
		},
		"status after it": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", note("one"), none)
			s.deliver("Archive", note("two"), none)
			if r := d.exits(0, "status"); !strings.Contains(r.stdout, "never synced") {
				s.Errorf("it said %q", r.stdout)
			}
			d.sync()
			var doc struct {
				Accounts []struct {
					OK      bool
					Folders []struct {
						Name          string
						Local, Remote int
					}
				}
			}
			s.check(json.Unmarshal([]byte(d.exits(0, "status", "--json").stdout), &doc))
			if !doc.Accounts[0].OK || len(doc.Accounts[0].Folders) != 6 {
				s.Errorf("status is %+v", doc)
			}
			for _, f := range doc.Accounts[0].Folders {
				if n := map[string]int{"INBOX": 1, "Archive": 1}[f.Name]; f.Local != n || f.Remote != n {
					s.Errorf("%s has %d here and %d there, want %d", f.Name, f.Local, f.Remote, n)
				}
			}
		},
		"one folder of it": func(s *story) {
			d := s.device("laptop")
			d.sync()
			s.deliver("INBOX", note("one"), none)
			s.deliver("Archive", note("two"), none)
			d.sync("alice:Archive")
			d.want("Archive", d.subjects("Archive"), "two")
			d.want("INBOX", d.subjects("INBOX"))
			d.sync()
			d.same()
			d.quiet()
		},
	})
}

// snapshot tells all that a dry run must leave as it is.
func (s *story) snapshot(d *computer) []string {
	s.Helper()
	var all []string
	listed, err := s.phone.List(s.Context())
	s.check(err)
	for _, f := range listed {
		cursor, err := s.phone.Status(s.Context(), f.Name)
		s.check(err)
		all = append(all, fmt.Sprintf("%s %+v", f.Name, cursor))
	}
	s.check(filepath.WalkDir(d.maildir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		all = append(all, fmt.Sprintf("%s %v %v", path, info.ModTime(), info.Size()))
		return err
	}))
	slices.Sort(all)
	return all
}
