// Package dovecot starts private Dovecots for tests: each on loopback ports of its
// own, with its own configuration, certificate and mail, under a directory that
// goes away with the test. It needs dovecot (2.3) with its IMAP service to be
// installed, and no rights: as root it runs as the users that the Debian package
// made, and otherwise as the user that the test runs as.
//
// Only tests and docs/bench import this package.
package dovecot

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/corpus"
	"mailtwin/sync/imaptest/daemon"
)

// Server is a running Dovecot with one account; User gives more of them.
type Server struct {
	Host           string // an IP address
	Port, TLSPort  int    // plain text with STARTTLS, and TLS from the start
	CAFile         string // PEM
	User, Password string // of the first account
	// MailDir is where the first account's mail lies: the root of a Maildir++ tree,
	// or of the sdbox. It is there after the first login, or after Fill.
	MailDir string

	t        testing.TB
	dir      string
	conf     string
	identity *imaptest.Identity
	uid, gid int             // of those who own the mail
	process  *daemon.Process // nil: stopped
}

// Account is a login.
type Account struct{ User, Password, MailDir string }

// Option changes how a Server is set up.
type Option func(*options)

type options struct {
	users  []string
	sdbox  bool
	hidden []string
	extra  []string
	prefix string
	sep    string
	roles  bool
}

// Users adds accounts besides the first one, alice; see Server.Account.
func Users(names ...string) Option { return func(o *options) { o.users = append(o.users, names...) } }

// Sdbox keeps the mail in Dovecot's own format, not in a Maildir.
func Sdbox() Option { return func(o *options) { o.sdbox = true } }

// Hide takes capabilities away from what is announced after login; the commands
// themselves still work.
func Hide(caps ...string) Option { return func(o *options) { o.hidden = append(o.hidden, caps...) } }

// Extra adds lines of dovecot.conf. Those of a block that is there already (namespace
// inbox, service imap-login) are merged into it.
func Extra(conf string) Option { return func(o *options) { o.extra = append(o.extra, conf) } }

// Namespace sets the prefix and the delimiter of the personal namespace, which are
// "" and "/" otherwise. INBOX has the prefix "INBOX." on a server of the old sort.
func Namespace(prefix, delimiter string) Option {
	return func(o *options) { o.prefix, o.sep = prefix, delimiter }
}

// NoRoles leaves out the folders with a special use, which are there otherwise.
func NoRoles() Option { return func(o *options) { o.roles = false } }

// Start starts a Dovecot and waits until it answers. It ends with the test, and
// shows its log if the test failed. Without Dovecot the test is skipped, or fails if
// MAILTWIN_REQUIRE is 1.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	if program("dovecot") == "" {
		daemon.Missing(t, "dovecot")
	}
	o := options{users: []string{"alice"}, sep: "/", roles: true}
	for _, opt := range opts {
		opt(&o)
	}
	s := &Server{t: t, Host: "127.0.0.1", Password: "a password"}
	if err := s.prepare(); err != nil {
		t.Fatal(err)
	}
	first := s.account(o.users[0])
	s.User, s.MailDir = first.User, first.MailDir
	// Another program may take a port between choosing it and listening on it.
	var err error
	for range 5 {
		if err = s.configure(o); err != nil {
			break
		}
		if err = s.launch(); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		t.Fatalf("start dovecot: %v\n%s", err, s.Log())
	}
	return s
}

// program finds a program, also where the PATH of an ordinary user does not lead.
func program(name string) string {
	return daemon.Find(name, "/usr/sbin/"+name, "/usr/local/sbin/"+name)
}

// prepare makes the directory and what does not depend on the ports.
func (s *Server) prepare() error {
	// Not t.TempDir: its path is longer than a Unix socket's name may be.
	dir, err := os.MkdirTemp("", "dovecot")
	if err != nil {
		return fmt.Errorf("make a directory for dovecot: %w", err)
	}
	s.dir = dir
	s.t.Cleanup(func() {
		s.Kill() // a graceful end takes Dovecot a second
		if s.t.Failed() {
			s.t.Logf("dovecot's log:\n%s", s.Log())
		}
		if err := os.RemoveAll(dir); err != nil {
			s.t.Errorf("remove dovecot's directory: %v", err)
		}
	})
	s.conf = filepath.Join(dir, "dovecot.conf")
	s.uid, s.gid = os.Getuid(), os.Getgid()
	if s.uid == 0 {
		s.uid, s.gid = 65534, 65534 // Dovecot serves no mail as root
	}
	// MkdirTemp gives the directory to its owner alone; Dovecot's users must pass.
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("open dovecot's directory: %w", err)
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		return fmt.Errorf("make dovecot's homes: %w", err)
	}
	if err := os.Chown(home, s.uid, s.gid); err != nil {
		return fmt.Errorf("make dovecot's homes: %w", err)
	}
	if s.identity, err = imaptest.NewIdentity(); err != nil {
		return err
	}
	if s.CAFile, err = s.identity.WriteCA(dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), s.identity.Cert, 0o644); err != nil {
		return fmt.Errorf("write dovecot's certificate: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), s.identity.Key, 0o600); err != nil {
		return fmt.Errorf("write dovecot's key: %w", err)
	}
	return nil
}

func (s *Server) account(user string) Account {
	return Account{User: user, Password: s.Password, MailDir: filepath.Join(s.dir, "home", user, "mail")}
}

// Account gives an account that Users named.
func (s *Server) Account(user string) Account { return s.account(user) }

// Phone logs another client into the first account; it is closed with the test.
func (s *Server) Phone(t testing.TB) *imaptest.Phone { return s.PhoneOf(t, s.User) }

// PhoneOf logs a client into an account that Users named.
func (s *Server) PhoneOf(t testing.TB, user string) *imaptest.Phone {
	t.Helper()
	p, err := imaptest.Dial(t.Context(), imaptest.DialOptions{Host: s.Host, Port: s.Port, User: user, Password: s.Password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// ClientTLS gives a configuration that trusts the server.
func (s *Server) ClientTLS() *tls.Config { return s.identity.Client() }

// Log gives what Dovecot logged so far.
func (s *Server) Log() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Owner gives the user and group that own the mail. What a test running as root
// writes into MailDir must belong to them.
func (s *Server) Owner() (uid, gid int) { return s.uid, s.gid }

// SetPassword lets a user in with another password, and nobody else from now on. Sessions go on.
func (s *Server) SetPassword(user, password string) error { return s.admit([]string{user}, password) }

// Doveadm runs doveadm on the server's configuration and gives what it prints.
func (s *Server) Doveadm(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program("doveadm"), append([]string{"-c", s.conf}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("doveadm %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Restart stops the server, cutting all connections, and starts it again on the
// same ports with the same mail.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.launch(); err != nil {
		s.t.Fatalf("restart dovecot: %v\n%s", err, s.Log())
	}
}

// Stop ends the server in good order, which takes a second; connections to it are
// cut, and new ones refused. It may be called when the server is stopped already.
func (s *Server) Stop() {
	if s.process != nil {
		s.process.Stop(s.Port, s.TLSPort)
		s.process = nil
	}
}

// Kill ends the server and all its processes at once, as a power cut does.
func (s *Server) Kill() {
	if s.process != nil {
		s.process.Kill(s.Port, s.TLSPort)
		s.process = nil
	}
}

// special are the folders that the server has with a special use.
var special = []struct {
	role mail.Role
	name string
}{
	{mail.RoleArchive, "Archive"}, {mail.RoleDrafts, "Drafts"}, {mail.RoleJunk, "Junk"},
	{mail.RoleSent, "Sent"}, {mail.RoleTrash, "Trash"},
}

// Fill writes samples straight into the first account's Maildir: ten thousand in a
// few seconds. Do it before the first login; Dovecot looks at the files then.
func (s *Server) Fill(samples iter.Seq[corpus.Sample]) {
	s.t.Helper()
	home := filepath.Dir(s.MailDir)
	if err := os.MkdirAll(home, 0o700); err != nil {
		s.t.Fatalf("make the home of %s: %v", s.User, err)
	}
	if err := os.Chown(home, s.uid, s.gid); err != nil {
		s.t.Fatalf("make the home of %s: %v", s.User, err)
	}
	if err := corpus.NewTree(s.MailDir, s.uid, s.gid).WriteAll(samples); err != nil {
		s.t.Fatal(err)
	}
}
