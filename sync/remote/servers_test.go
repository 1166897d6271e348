package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim/remotetest"
)

const (
	testUser     = "alice"
	testPassword = "correct-horse"
)

// open gives an account on a server, and closes it when the test ends.
func open(t *testing.T, opts Options) *Account {
	t.Helper()
	if opts.User == "" {
		opts.User = testUser
	}
	if opts.Password == nil {
		opts.Password = func(context.Context) (string, error) { return testPassword, nil }
	}
	if opts.Timeout == 0 {
		opts.Timeout = 10 * time.Second
	}
	a := Open(opts)
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return a
}

// at gives options for a plain server on a loopback address.
func at(addr net.Addr) Options {
	tcp := addr.(*net.TCPAddr)
	return Options{Host: tcp.IP.String(), Port: tcp.Port, TLS: None}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// memServer runs go-imap's server, with an INBOX, and gives options to reach it.
func memServer(t *testing.T) Options {
	t.Helper()
	user := imapmemserver.NewUser(testUser, testPassword)
	if err := user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	mem := imapmemserver.New()
	mem.AddUser(user)
	srv := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return mem.NewSession(), nil, nil
		},
		Caps: imap.CapSet{
			imap.CapIMAP4rev1: {}, imap.CapUIDPlus: {}, imap.CapMove: {}, imap.CapESearch: {},
			imap.CapListExtended: {}, imap.CapListStatus: {}, imap.CapUnselect: {},
		},
		InsecureAuth: true,
	})
	l := listen(t)
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	t.Cleanup(func() { srv.Close(); <-done })
	return at(l.Addr())
}

// dovecotServer gives options to reach, as a user of its own, the Dovecot that all
// tests of a run share.
func dovecotServer(t *testing.T) Options {
	t.Helper()
	port, err := dovecot.start()
	if err != nil {
		if os.Getenv("MAILTWIN_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	user := fmt.Sprintf("user%d", dovecot.users.Add(1))
	return Options{Host: "127.0.0.1", Port: port, TLS: None, User: user}
}

func TestMain(m *testing.M) {
	code := m.Run()
	dovecot.stop(code != 0)
	os.Exit(code)
}

// dovecot is started by the first test that needs it, and stopped by TestMain.
var dovecot dovecotProcess

type dovecotProcess struct {
	once  sync.Once
	users atomic.Int32
	dir   string
	port  int
	cmd   *exec.Cmd
	err   error
}

func (d *dovecotProcess) start() (port int, err error) {
	d.once.Do(func() { d.err = d.run() })
	return d.port, d.err
}

const dovecotConf = `
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
ssl = no
disable_plaintext_auth = no
protocols = imap
mail_location = maildir:~/
mail_uid = 65534
mail_gid = 65534
first_valid_uid = 1
first_valid_gid = 1
mail_fsync = never
mail_max_userip_connections = 3
listen = 127.0.0.1
passdb {
  driver = static
  args = password=%[2]s
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=%[1]s/mail/%%u
}
namespace inbox {
  inbox = yes
  separator = .
  mailbox Trash {
    auto = create
    special_use = \Trash
  }
}
protocol imap {
  mail_plugins = $mail_plugins imap_zlib
}
service imap-login {
  chroot =
  inet_listener imap {
    port = %[3]d
  }
  inet_listener imaps {
    port = 0
  }
}
`

func (d *dovecotProcess) run() error {
	bin, err := exec.LookPath("dovecot")
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("dovecot wants to be started by root")
	}
	if d.dir, err = os.MkdirTemp("", "dovecot"); err != nil {
		return err
	}
	mailDir := filepath.Join(d.dir, "mail")
	if err := errors.Join(os.Chmod(d.dir, 0o755), os.Mkdir(mailDir, 0o700), os.Chown(mailDir, 65534, 65534)); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	conf := filepath.Join(d.dir, "dovecot.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, dovecotConf, d.dir, testPassword, d.port), 0o600); err != nil {
		return err
	}
	d.cmd = exec.Command(bin, "-F", "-c", conf)
	if err := d.cmd.Start(); err != nil {
		return err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(d.port))
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.SetDeadline(end)
			_, err = bufio.NewReader(c).ReadString('\n')
			c.Close()
		}
		if err == nil {
			return nil
		}
		<-time.After(20 * time.Millisecond)
	}
	return fmt.Errorf("dovecot does not answer: %s", d.log())
}

func (d *dovecotProcess) log() []byte {
	log, _ := os.ReadFile(filepath.Join(d.dir, "log"))
	return log
}

func (d *dovecotProcess) stop(failed bool) {
	if d.cmd != nil && d.cmd.Process != nil {
		d.cmd.Process.Signal(syscall.SIGTERM)
		d.cmd.Wait()
	}
	if d.dir != "" {
		if failed {
			fmt.Fprintf(os.Stderr, "dovecot said:\n%s", d.log())
		}
		os.RemoveAll(d.dir)
	}
}

// script is a server that says what a test wants it to say.
type script struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
	n    int // of the connection, from 1 up
}

// scripted runs play for each connection, and gives options to reach it. What play
// runs into when the client goes away is not an error.
func scripted(t *testing.T, play func(s *script)) Options {
	t.Helper()
	l := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ends := make(chan struct{}, 100)
		n := 0
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			n++
			s := &script{t: t, conn: conn, r: bufio.NewReader(conn), n: n}
			go func() {
				defer func() { ends <- struct{}{} }()
				defer s.conn.Close()
				defer func() {
					if e := recover(); e != nil && e != errScriptEnded {
						panic(e)
					}
				}()
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				play(s)
			}()
		}
		for range n {
			<-ends
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return at(l.Addr())
}

var errScriptEnded = errors.New("the client went away")

// say sends lines.
func (s *script) say(lines ...string) {
	for _, l := range lines {
		if _, err := io.WriteString(s.conn, l+"\r\n"); err != nil {
			panic(errScriptEnded)
		}
	}
}

// raw sends text as it is.
func (s *script) raw(text string) {
	if _, err := io.WriteString(s.conn, text); err != nil {
		panic(errScriptEnded)
	}
}

// hear reads a command and splits off its tag.
func (s *script) hear() (tag, command string) {
	line, err := s.r.ReadString('\n')
	if err != nil {
		panic(errScriptEnded)
	}
	tag, command, _ = strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	return tag, command
}

// login greets and lets anyone in, with these capabilities.
func (s *script) login(caps string) {
	s.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello")
	tag, _ := s.hear()
	s.say(tag + " OK [CAPABILITY " + strings.TrimSpace("IMAP4rev1 "+caps) + "] in")
}

// answers serves commands by the longest key of table that they begin with. In an
// answer TAG is the tag, and (#) is how ESEARCH names it. What the table lacks gets OK; LIST tells of INBOX.
func (s *script) answers(table map[string]string) {
	for {
		tag, command := s.hear()
		best := ""
		for k := range table {
			if strings.HasPrefix(command, k) && len(k) > len(best) {
				best = k
			}
		}
		answer, ok := table[best]
		switch {
		case ok:
		case strings.HasPrefix(command, "LIST"):
			answer = "* LIST () \"/\" INBOX\r\n* LIST () \"/\" Other\r\nTAG OK done"
		case strings.HasPrefix(command, "LOGOUT"):
			s.say("* BYE bye", tag+" OK bye")
			return
		default:
			answer = "TAG OK done"
		}
		s.raw(strings.NewReplacer("TAG", tag, "(#)", `(TAG "`+tag+`")`).Replace(answer))
		if !strings.HasSuffix(answer, "\r\n") {
			s.raw("\r\n")
		}
	}
}

// message is a Source of bytes, with an end of its own choosing.
type message struct {
	*bytes.Reader
	size int64
	fail error
}

func newMessage(text string) *message {
	return &message{Reader: bytes.NewReader([]byte(text)), size: int64(len(text))}
}

func (m *message) Identity() mail.Identity { return mail.Identity{Size: m.size} }
func (m *message) Stat() mail.Stat         { return mail.Stat{} }
func (m *message) Close() error            { return nil }
func (m *message) WriteTo(w io.Writer) (int64, error) {
	// In pieces, as a file comes.
	n, err := io.Copy(struct{ io.Writer }{w}, struct{ io.Reader }{m.Reader})
	if err == nil {
		err = m.fail
	}
	return n, err
}

// letter makes a small message.
func letter(id string) string {
	return "Message-ID: <" + id + "@example.org>\r\nDate: Mon, 2 Jan 2006 15:04:05 +0000\r\n" +
		"From: a@example.org\r\nTo: b@example.org\r\nSubject: " + id + "\r\n\r\nHello " + id + ".\r\n"
}

// appendTo appends one message.
func appendTo(ctx context.Context, a *Account, folder mail.Folder, flags mail.Flags, date time.Time, source mail.Source) (uid mail.UID, validity uint32, sent bool, err error) {
	done := remotetest.Append(ctx, a, folder, flags, date, source)
	return done.UID, done.UIDValidity, done.Sent, done.Err
}

// put appends a letter, and gives its UID.
func put(t *testing.T, a *Account, folder mail.Folder, id string, flags mail.Flags) mail.UID {
	t.Helper()
	uid, _, _, err := appendTo(t.Context(), a, folder, flags, time.Unix(1136214245, 0), newMessage(letter(id)))
	if err != nil {
		t.Fatalf("append %s: %v", id, err)
	}
	return uid
}

// scanned is a scan with what it visited, by UID.
type scanned struct {
	mail.View
	order    []mail.UID
	messages map[mail.UID]mail.Message
}

func scanFolder(t *testing.T, a *Account, folder mail.Folder, since mail.Cursor, known int) scanned {
	t.Helper()
	out := scanned{messages: make(map[mail.UID]mail.Message)}
	view, err := a.Scan(t.Context(), folder, since, known, func(m mail.Message) error {
		out.order = append(out.order, m.UID)
		out.messages[m.UID] = m
		return nil
	})
	if err != nil {
		t.Fatalf("scan %s: %v", folder, err)
	}
	out.View = view
	return out
}

// bodies fetches messages whole.
func bodies(t *testing.T, a *Account, folder mail.Folder, validity uint32, uids mail.UIDSet) map[mail.UID]string {
	t.Helper()
	out := make(map[mail.UID]string)
	err := remotetest.Fetch(t.Context(), a, folder, validity, uids, func(b mail.Body) error {
		text, err := io.ReadAll(b.Reader)
		if _, twice := out[b.UID]; twice {
			t.Errorf("UID %d was visited twice", b.UID)
		}
		out[b.UID] = string(text)
		return err
	})
	if err != nil {
		t.Fatalf("fetch from %s: %v", folder, err)
	}
	return out
}
