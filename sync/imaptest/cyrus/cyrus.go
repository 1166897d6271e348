// Package cyrus starts private Cyrus IMAP servers for tests: each on a loopback port of
// its own, with its own configuration, databases and mail, under a directory that goes
// away with the test. It needs the programs of Debian's cyrus-imapd and cyrus-common,
// installed or only unpacked (see daemon.Unpacked), and no rights: as root it runs as
// nobody, and otherwise as the user that the test runs as.
//
// Only tests import this package.
package cyrus

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/daemon"
)

// Server is a running Cyrus. Whoever logs in has an account from then on, with the usual
// folders; any password will do.
type Server struct {
	Host           string // an IP address
	Port           int    // plain text
	User, Password string

	t       testing.TB
	dir     string
	process *daemon.Process
}

// Option changes how a Server is set up.
type Option func(*options)

type options struct{ classic, munge bool }

// Classic gives the account the namespace that Cyrus had from the beginning: all folders
// lie in INBOX, and "." stands between the parts of a name.
func Classic() Option { return func(o *options) { o.classic = true } }

// Munging lets it write an X for each octet above 127 in the header of what it is sent,
// as Cyrus does unless it is told not to.
func Munging() Option { return func(o *options) { o.munge = true } }

// Start starts a Cyrus and waits until it answers. It ends with the test, and shows what
// it said if the test failed. Without Cyrus the test is skipped, or fails if
// MAILTWIN_REQUIRE is 1.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	master := program("master")
	if master == "" {
		daemon.Missing(t, "cyrus")
	}
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	s := &Server{Host: "127.0.0.1", User: "alice", Password: "a password", t: t}
	var err error
	if s.Port, err = daemon.FreePort(); err != nil {
		t.Fatal(err)
	}
	if err := s.prepare(o); err != nil {
		t.Fatal(err)
	}
	if err := s.launch(master); err != nil {
		t.Fatalf("start cyrus: %v\n%s", err, s.Log())
	}
	return s
}

// program finds one of the programs that Cyrus keeps to itself.
func program(name string) string { return daemon.Find("/usr/lib/cyrus/bin/" + name) }

// By default Cyrus keeps a folder that was deleted under a name that has the second in
// it, so that nothing can be deleted twice in one.
const imapdConf = `
configdirectory: %[1]s/conf
proc_path: %[1]s/proc
mboxname_lockpath: %[1]s/lock
defaultpartition: default
partition-default: %[1]s/mail
idlesocket: %[1]s/socket/idle
notifysocket: %[1]s/socket/notify
lmtpsocket: %[1]s/socket/lmtp
cyrus_user: %[2]s
servername: localhost
allowplaintext: yes
sasl_pwcheck_method: alwaystrue
sasl_mech_list: PLAIN LOGIN
autocreate_quota: 0
autocreate_inbox_folders: Archive|Drafts|Junk|Sent|Trash
autocreate_subscribe_folders: Archive|Drafts|Junk|Sent|Trash
xlist-archive: Archive
xlist-drafts: Drafts
xlist-junk: Junk
xlist-sent: Sent
xlist-trash: Trash
altnamespace: %[3]s
unixhierarchysep: %[3]s
munge8bit: %[4]s
delete_mode: immediate
`

const cyrusConf = `
START {
  recover cmd="%[1]s -C %[3]s -r"
}
SERVICES {
  imap cmd="%[2]s -C %[3]s -U 30" listen="127.0.0.1:%[4]d" prefork=1 maxchild=500
}
EVENTS {
}
`

// prepare makes the directory with all that Cyrus wants to find there.
func (s *Server) prepare(o options) error {
	// Not t.TempDir: its path is longer than a Unix socket's name may be. Cyrus syncs
	// whatever it writes, which costs nothing in memory.
	parent := "/dev/shm"
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "cyrus")
	if err != nil {
		return fmt.Errorf("make a directory for cyrus: %w", err)
	}
	s.dir = dir
	s.t.Cleanup(func() {
		s.Kill()
		if s.t.Failed() {
			s.t.Logf("cyrus's log:\n%s", s.Log())
		}
		if err := os.RemoveAll(dir); err != nil {
			s.t.Errorf("remove cyrus's directory: %v", err)
		}
	})
	me, err := user.Current()
	if err != nil {
		return fmt.Errorf("find out who runs the test: %w", err)
	}
	name, uid := me.Username, os.Getuid()
	if uid == 0 {
		name, uid = "nobody", 65534 // Cyrus serves no mail as root
	}
	for _, sub := range []string{".", "conf", "conf/log", "proc", "lock", "mail", "socket"} {
		sub = filepath.Join(dir, sub)
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return fmt.Errorf("make a directory for cyrus: %w", err)
		}
		if err := os.Chown(sub, uid, -1); err != nil {
			return fmt.Errorf("give cyrus its directory: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("open cyrus's directory: %w", err)
	}
	word := map[bool]string{true: "yes", false: "no"}
	for file, text := range map[string]string{
		"imapd.conf": fmt.Sprintf(imapdConf, dir, name, word[!o.classic], word[o.munge]),
		"cyrus.conf": fmt.Sprintf(cyrusConf, program("ctl_cyrusdb"), program("imapd"), filepath.Join(dir, "imapd.conf"), s.Port),
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write cyrus's configuration: %w", err)
		}
	}
	return nil
}

func (s *Server) launch(master string) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("open cyrus's log: %w", err)
	}
	defer log.Close()
	if s.process, err = daemon.Start(log, daemon.Env(master), master,
		"-C", filepath.Join(s.dir, "imapd.conf"), "-M", filepath.Join(s.dir, "cyrus.conf"), "-p", filepath.Join(s.dir, "pid")); err != nil {
		return err
	}
	return s.process.Await(s.Port)
}

// Kill ends the server and all its processes at once.
func (s *Server) Kill() {
	if s.process != nil {
		s.process.Kill(s.Port)
		s.process = nil
	}
}

// Phone logs another client in; it is closed with the test.
func (s *Server) Phone(t testing.TB) *imaptest.Phone { return s.PhoneOf(t, s.User) }

// PhoneOf logs a client in as any user, whose account is made by that.
func (s *Server) PhoneOf(t testing.TB, user string) *imaptest.Phone {
	t.Helper()
	// What is said in a user's sessions is kept where there is such a directory.
	talk := filepath.Join(s.dir, "conf", "log", user)
	if err := os.MkdirAll(talk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(talk, 0o777); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s and cyrus said:\n%s", user, tails(filepath.Join(talk, "*")))
		}
	})
	p, err := imaptest.Dial(t.Context(), imaptest.DialOptions{Host: s.Host, Port: s.Port, User: user, Password: s.Password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Log gives what Cyrus printed so far. It tells more to syslog, to which nobody may
// listen.
func (s *Server) Log() string { return tails(filepath.Join(s.dir, "log")) }

// maxTail bounds what is shown of a file, in octets.
const maxTail = 10_000

func tails(pattern string) string {
	files, _ := filepath.Glob(pattern) // the pattern is a good one
	var b strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			fmt.Fprintln(&b, err)
			continue
		}
		fmt.Fprintf(&b, "%s:\n%s\n", filepath.Base(file), text[max(0, len(text)-maxTail):])
	}
	return b.String()
}
