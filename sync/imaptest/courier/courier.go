// Package courier serves Maildirs with the IMAP server of the Courier project, for
// tests: on a loopback port, with its mail under a directory that goes away with the
// test. It needs the program imapd of Debian's courier-imap, installed or only unpacked
// (see daemon.Unpacked), and no rights: as root it runs as nobody.
//
// Courier's own login asks a daemon at a path that was fixed when it was built. So the
// greeting and the login are this package's, and after them each connection goes to an
// imapd of its own, as it does in an ssh tunnel.
//
// Only tests import this package.
package courier

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/daemon"
)

// Server is a Courier. Whoever logs in has an account from then on, with INBOX alone.
type Server struct {
	Host           string // an IP address
	Port           int    // plain text
	User, Password string

	t        testing.TB
	sharing  bool
	dir      string
	imapd    string
	listener net.Listener
	served   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	ended bool
	made  map[string]bool // accounts that are there
}

// capabilities are what Debian's configuration announces.
const capabilities = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE"

// Option changes how a Server is set up.
type Option func(*Server)

// Sharing has folders that are not the user's own, in both ways that Courier has:
// shared.team.news, which all accounts see and may write, and #shared.USER.FOLDER for what
// Share grants.
func Sharing() Option { return func(s *Server) { s.sharing = true } }

// Start starts a Courier. It ends with the test, and shows what it logged if the test
// failed. Without Courier the test is skipped, or fails if MAILTWIN_REQUIRE is 1.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	// Another program of that name may be in the PATH; Courier's own place is fixed.
	imapd := daemon.Find("/usr/bin/imapd")
	if imapd == "" || daemon.Find("/usr/bin/maildirmake.courier") == "" {
		daemon.Missing(t, "courier")
	}
	s := &Server{
		Host: "127.0.0.1", User: "alice", Password: "a password",
		t: t, imapd: imapd, conns: make(map[net.Conn]bool), made: make(map[string]bool),
	}
	for _, opt := range opts {
		opt(s)
	}
	var err error
	if s.dir, err = os.MkdirTemp("", "courier"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("courier's log:\n%s", s.Log())
		}
		if err := os.RemoveAll(s.dir); err != nil {
			t.Errorf("remove courier's directory: %v", err)
		}
	})
	if err := s.own(s.dir); err != nil {
		t.Fatal(err)
	}
	if s.sharing {
		if err := s.makeShared(); err != nil {
			t.Fatal(err)
		}
	}
	if s.listener, err = net.Listen("tcp", net.JoinHostPort(s.Host, "0")); err != nil {
		t.Fatal(err)
	}
	s.Port = s.listener.Addr().(*net.TCPAddr).Port
	s.served.Go(s.serve)
	return s
}

// own gives a directory to those who serve the mail in it.
func (s *Server) own(dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		return fmt.Errorf("give courier its directory: %w", err)
	}
	return nil
}

const nobody = 65534

// as gives a command that runs as the owner of the mail.
func (s *Server) as(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = s.dir
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// account makes sure that a user has a Maildir, and gives its path.
func (s *Server) account(user string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := filepath.Join(s.dir, user)
	if s.made[user] {
		return dir, nil
	}
	if err := s.maildirmake(dir); err != nil {
		return "", err
	}
	if s.sharing {
		if err := s.joinShared(user, dir); err != nil {
			return "", err
		}
	}
	s.made[user] = true
	return dir, nil
}

func (s *Server) maildirmake(args ...string) error {
	program := daemon.Find("/usr/bin/maildirmake.courier")
	cmd := s.as(program, args...)
	cmd.Env = daemon.Env(program)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("maildirmake %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// serve takes connections until the listener is closed.
func (s *Server) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed by Stop
		}
		s.mu.Lock()
		if s.ended {
			conn.Close()
		}
		s.conns[conn] = true
		s.mu.Unlock()
		s.served.Go(func() {
			defer func() {
				conn.Close()
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.conns, conn)
			}()
			if err := s.talk(conn); err != nil {
				s.log("%v", err)
			}
		})
	}
}

// talk leads a client to its login, and hands it over.
func (s *Server) talk(conn net.Conn) error {
	in := bufio.NewReader(conn)
	fmt.Fprintf(conn, "* OK [CAPABILITY %s] Courier-IMAP ready, behind a login of its own.\r\n", capabilities)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil // the client has left
		}
		tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		word, args, _ := strings.Cut(command, " ")
		switch strings.ToUpper(word) {
		case "CAPABILITY":
			fmt.Fprintf(conn, "* CAPABILITY %s\r\n%s OK done\r\n", capabilities, tag)
		case "LOGIN":
			var user, password string
			if _, err := fmt.Sscanf(args, "%q %q", &user, &password); err != nil || password != s.Password || strings.Contains(user, "/") {
				fmt.Fprintf(conn, "%s NO Login failed.\r\n", tag)
				continue
			}
			return s.imap(conn, in, tag, user)
		case "LOGOUT":
			fmt.Fprintf(conn, "* BYE bye\r\n%s OK done\r\n", tag)
			return nil
		default:
			fmt.Fprintf(conn, "%s OK done\r\n", tag)
		}
	}
}

// imap lets an imapd talk to the client. Its greeting becomes the answer to the login.
func (s *Server) imap(conn net.Conn, in io.Reader, tag, user string) error {
	dir, err := s.account(user)
	if err != nil {
		return err
	}
	cmd := s.as(s.imapd, dir)
	cmd.Env = daemon.Env(s.imapd, "IMAP_CAPABILITY="+capabilities, "IMAP_KEYWORDS=1", "IMAP_ACL=1",
		"IMAP_USELOCKS=1", "IMAP_TRASHFOLDERNAME=Trash", "IMAP_IDLE_TIMEOUT=2", "HOME="+s.dir)
	if s.sharing {
		cmd.Env = append(cmd.Env, "AUTHENTICATED="+user, "IMAP_SHAREDINDEXFILE="+s.index())
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("open courier's log: %w", err)
	}
	defer log.Close()
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start courier: %w", err)
	}
	out := bufio.NewReader(stdout)
	greeting, err := out.ReadString('\n')
	if err == nil && strings.HasPrefix(greeting, "* PREAUTH") {
		fmt.Fprintf(conn, "%s OK LOGIN Ok.\r\n", tag)
		s.served.Go(func() {
			io.Copy(stdin, in) // ends with either side
			stdin.Close()
		})
		io.Copy(conn, out)
	} else {
		fmt.Fprintf(conn, "* BYE %s\r\n", strings.TrimSpace(greeting))
	}
	conn.Close()   // ends what copies from it
	stdout.Close() // and what writes to it
	return cmd.Wait()
}

// Stop cuts all connections and waits for what serves them.
func (s *Server) Stop() {
	s.mu.Lock()
	s.ended = true
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
	}
	s.served.Wait()
}

// Phone logs another client in; it is closed with the test.
func (s *Server) Phone(t testing.TB) *imaptest.Phone { return s.PhoneOf(t, s.User) }

// PhoneOf logs a client in as any user, whose account is made by that.
func (s *Server) PhoneOf(t testing.TB, user string) *imaptest.Phone {
	t.Helper()
	p, err := imaptest.Dial(t.Context(), imaptest.DialOptions{Host: s.Host, Port: s.Port, User: user, Password: s.Password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func (s *Server) log(format string, args ...any) {
	f, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return // the directory is gone, and the test with it
	}
	defer f.Close()
	fmt.Fprintf(f, format+"\n", args...)
}

// Log gives what Courier logged so far.
func (s *Server) Log() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}
