package imaptest_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"mailtwin/sync/imaptest"
)

// client is the least that can talk to a server: it sends lines and reads lines.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, host string, port int) *client {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	ok(t, err)
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn, bufio.NewReader(conn)}
}

func (c *client) send(text string) {
	c.t.Helper()
	_, err := io.WriteString(c.conn, text)
	ok(c.t, err)
}

// until gives the lines up to one that starts with prefix, that one included.
func (c *client) until(prefix string) []string {
	c.t.Helper()
	var lines []string
	for len(lines) < 1000 {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatalf("wait for %q after %q: %v", prefix, lines, err)
		}
		lines = append(lines, strings.TrimRight(line, "\r\n"))
		if strings.HasPrefix(line, prefix) {
			return lines
		}
	}
	c.t.Fatalf("no %q among 1000 lines", prefix)
	return nil
}

// command sends a command and gives what came in answer to it.
func (c *client) command(text string) []string {
	c.t.Helper()
	c.send("x " + text + "\r\n")
	return c.until("x ")
}

func (c *client) wants(text string, lines ...string) {
	c.t.Helper()
	if got := c.command(text); strings.Join(got, "\n") != strings.Join(lines, "\n") {
		c.t.Errorf("%s\ngot  %q\nwant %q", text, got, lines)
	}
}

func TestScript(t *testing.T) {
	var appended []byte
	s := imaptest.Script(t, func(c *imaptest.Conn) {
		c.Login("IMAP4rev1 IDLE")
		c.Reply("SELECT INBOX", "* 1 EXISTS", "* OK [UIDVALIDITY 7] 100%")
		tag := c.Expect(`APPEND (\S+) \{\d+\}`)
		appended = c.Literal()
		c.Send("%s NO [OVERQUOTA] full", tag)
		c.ExpectClose()
	})
	c := dial(t, s.Host, s.Port)
	c.until("* OK [CAPABILITY IMAP4rev1 IDLE AUTH=PLAIN]")
	c.wants("capability", "* CAPABILITY IMAP4rev1 IDLE", "x OK done")
	c.wants("LOGIN a b", "x OK [CAPABILITY IMAP4rev1 IDLE] welcome")
	c.wants("NOOP", "x OK done")
	c.wants("select inbox", "* 1 EXISTS", "* OK [UIDVALIDITY 7] 100%", "x OK done")
	c.send("x APPEND INBOX {5}\r\n")
	c.until("+ ")
	c.send("a\r\nbc\r\n")
	c.until("x NO [OVERQUOTA] full")
	c.wants("LOGOUT", "* BYE", "x OK done")
	if string(appended) != "a\r\nbc" {
		t.Errorf("appended %q", appended)
	}
}

func TestScriptStartTLS(t *testing.T) {
	id, err := imaptest.NewIdentity()
	ok(t, err)
	s := imaptest.Script(t, func(c *imaptest.Conn) {
		c.Send("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready")
		c.StartTLS(id)
		c.Authenticate()
	})
	c := dial(t, s.Host, s.Port)
	c.until("* OK")
	c.wants("STARTTLS", "x OK done")
	c.conn = tls.Client(c.conn, id.Client())
	c.in = bufio.NewReader(c.conn)
	c.send("x AUTHENTICATE PLAIN\r\n")
	c.until("+ ")
	c.send("AGEAYg==\r\n")
	c.until("x OK")
}

func TestScriptCountsConnections(t *testing.T) {
	s := imaptest.Script(t, func(c *imaptest.Conn) { c.Send("* BYE number %d", c.Number) })
	for n := range 3 {
		c := dial(t, s.Host, s.Port)
		c.until(fmt.Sprintf("* BYE number %d", n+1))
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Errorf("the connection goes on: %v", err)
		}
	}
}

// recorder stands in for a test that is to fail.
type recorder struct {
	*testing.T
	failures chan string
}

func (r recorder) Errorf(format string, args ...any) { r.failures <- fmt.Sprintf(format, args...) }

func TestScriptFailsWhereTheClientStrays(t *testing.T) {
	r := recorder{t, make(chan string, 1)}
	s := imaptest.Script(r, func(c *imaptest.Conn) {
		c.Send("* OK")
		c.Expect("SELECT INBOX")
		c.Send("* 1 EXISTS")
	})
	c := dial(t, s.Host, s.Port)
	c.until("* OK")
	c.send("x DELETE INBOX\r\n")
	if got := <-r.failures; !strings.Contains(got, "DELETE INBOX") {
		t.Errorf("got %q", got)
	}
	if _, err := c.in.ReadByte(); err != io.EOF {
		t.Errorf("the play went on: %v", err)
	}
}
