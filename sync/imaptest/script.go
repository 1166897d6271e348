package imaptest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stepTime bounds each step of a script: a client that does not do what the script
// waits for is to fail the test, not to hang it.
const stepTime = 10 * time.Second

// TB is what Script needs of a testing.TB. It is an interface so that package
// testing does not become part of the program that shows the demo.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Scripted is a server that says what a test wants it to say.
type Scripted struct {
	Host string
	Port int
}

// Script listens on loopback and runs play for each connection, in a goroutine of
// its own; when play returns, the connection is closed. When the test ends, all
// connections are closed and the plays waited for. A play looks like this:
//
//	imaptest.Script(t, func(c *imaptest.Conn) {
//		c.Login("IMAP4rev1 IDLE")
//		c.Reply(`SELECT INBOX`, "* 1 EXISTS", "* OK [UIDVALIDITY 7] fine")
//		tag := c.Expect(`UID FETCH 1:\* .*`)
//		c.Send("* 1 FETCH (UID 4 FLAGS ())")
//		c.Send("%s NO not today", tag)
//	})
func Script(t TB, play func(*Conn)) *Scripted {
	t.Helper()
	return serveScript(t, nil, play)
}

// ScriptTLS is Script with TLS from the start.
func ScriptTLS(t TB, id *Identity, play func(*Conn)) *Scripted {
	t.Helper()
	return serveScript(t, id.Server(), play)
}

func serveScript(t TB, config *tls.Config, play func(*Conn)) *Scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("script: listen on loopback: %v", err)
	}
	var (
		mu    sync.Mutex
		conns []net.Conn
		ended bool
		plays sync.WaitGroup
	)
	plays.Go(func() {
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return // closed by the cleanup
			}
			mu.Lock()
			if ended {
				conn.Close()
			}
			conns = append(conns, conn)
			mu.Unlock()
			if config != nil {
				conn = tls.Server(conn, config)
			}
			c := &Conn{Number: n, t: t, conn: conn, in: bufio.NewReader(conn), over: func() bool {
				mu.Lock()
				defer mu.Unlock()
				return ended
			}}
			plays.Go(func() {
				defer func() { c.conn.Close() }()
				play(c)
			})
		}
	})
	t.Cleanup(func() {
		mu.Lock()
		ended = true
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		l.Close()
		plays.Wait()
	})
	addr := l.Addr().(*net.TCPAddr)
	return &Scripted{Host: addr.IP.String(), Port: addr.Port}
}

// Conn is one connection of a Script. A step that does not go as written fails the
// test and ends the play. Only the play may use it.
type Conn struct {
	// Number counts the script's connections, from 1 up.
	Number int
	// Line is the last command, without its tag and the CRLF.
	Line string

	t    TB
	conn net.Conn
	in   *bufio.Reader
	caps string
	over func() bool // the test has ended
}

// fail ends the play. What breaks because the test is over is no failure.
func (c *Conn) fail(format string, args ...any) {
	if !c.over() {
		c.t.Errorf("script, connection %d: %s", c.Number, fmt.Sprintf(format, args...))
	}
	c.conn.Close()
	runtime.Goexit()
}

// Send sends a line; CRLF is added.
func (c *Conn) Send(format string, args ...any) {
	line := format
	if len(args) > 0 {
		line = fmt.Sprintf(format, args...)
	}
	c.Write([]byte(line + "\r\n"))
}

// Write sends bytes as they are.
func (c *Conn) Write(raw []byte) {
	if err := c.conn.SetDeadline(time.Now().Add(stepTime)); err != nil {
		c.fail("send %.60q: %v", raw, err)
	}
	if _, err := c.conn.Write(raw); err != nil {
		c.fail("send %.60q: %v", raw, err)
	}
}

// Read gives the next line of the client, whatever it is, without the CRLF.
func (c *Conn) Read() string {
	line, err := c.read()
	if err != nil {
		c.fail("read a line: %v", err)
	}
	return line
}

func (c *Conn) read() (string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(stepTime)); err != nil {
		return "", err
	}
	var line []byte
	for len(line) < 1<<20 {
		part, err := c.in.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			return strings.TrimRight(string(line), "\r\n"), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return "", err
		}
	}
	return "", errors.New("line too long")
}

// Expect waits for a command and gives its tag. What follows the tag must match
// pattern, a regular expression for the whole of it, in any case. CAPABILITY and
// NOOP, which clients send when they like, are answered on the way, unless the
// pattern is for them.
func (c *Conn) Expect(pattern string) (tag string) {
	re, err := regexp.Compile(`(?is)\A(?:` + pattern + `)\z`)
	if err != nil {
		c.fail("%v", err)
	}
	for {
		line, err := c.read()
		if err != nil {
			c.fail("wait for %q: %v", pattern, err)
		}
		tag, c.Line, _ = strings.Cut(line, " ")
		if re.MatchString(c.Line) {
			return tag
		}
		switch strings.ToUpper(c.Line) {
		case "CAPABILITY":
			c.Send("* CAPABILITY %s", c.announced())
			c.OK(tag)
		case "NOOP":
			c.OK(tag)
		default:
			c.fail("got %q, and expected %q", c.Line, pattern)
		}
	}
}

func (c *Conn) announced() string {
	if c.caps == "" {
		return "IMAP4rev1"
	}
	return c.caps
}

// OK ends a command well.
func (c *Conn) OK(tag string) { c.Send("%s OK done", tag) }

// Reply expects a command, sends the lines, and ends the command well.
func (c *Conn) Reply(pattern string, lines ...string) {
	tag := c.Expect(pattern)
	for _, l := range lines {
		c.Send("%s", l)
	}
	c.OK(tag)
}

// Login greets and lets the client in, by LOGIN or AUTHENTICATE PLAIN; caps are the
// capabilities from then on.
func (c *Conn) Login(caps string) {
	c.caps = caps
	c.Send("* OK [CAPABILITY %s AUTH=PLAIN] ready", caps)
	c.Authenticate()
}

// Authenticate lets the client in, without a greeting.
func (c *Conn) Authenticate() {
	tag := c.Expect(`LOGIN .*|AUTHENTICATE PLAIN.*`)
	switch {
	case strings.EqualFold(c.Line, "AUTHENTICATE PLAIN"):
		c.Send("+ ")
		c.Read()
	default:
		for literalSize.MatchString(c.Line) { // user and password may be literals
			c.Literal()
		}
	}
	c.Send("%s OK [CAPABILITY %s] welcome", tag, c.announced())
}

// StartTLS expects STARTTLS and goes over to TLS.
func (c *Conn) StartTLS(id *Identity) {
	c.OK(c.Expect("STARTTLS"))
	conn := tls.Server(c.conn, id.Server())
	if err := conn.SetDeadline(time.Now().Add(stepTime)); err != nil {
		c.fail("TLS: %v", err)
	}
	if err := conn.Handshake(); err != nil {
		c.fail("TLS: %v", err)
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
}

var literalSize = regexp.MustCompile(`\{(\d+)(\+?)\}$`)

// Literal reads the literal that the last command announced, after asking for it if
// the client waits for that, and then the rest of the command, which becomes Line.
func (c *Conn) Literal() []byte {
	m := literalSize.FindStringSubmatch(c.Line)
	if m == nil {
		c.fail("%q announces no literal", c.Line)
	}
	size, err := strconv.Atoi(m[1])
	if err != nil || size > 64<<20 {
		c.fail("a literal of %s octets is too large for a test", m[1])
	}
	if m[2] == "" {
		c.Send("+ go on")
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(c.in, raw); err != nil {
		c.fail("read a literal of %d octets: %v", size, err)
	}
	c.Line = c.Read()
	return raw
}

// ExpectClose waits until the client closes the connection; LOGOUT is answered.
func (c *Conn) ExpectClose() {
	for {
		line, err := c.read()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				c.fail("the client does not close the connection")
			}
			return
		}
		tag, command, _ := strings.Cut(line, " ")
		if !slices.Contains([]string{"LOGOUT", "NOOP", "CAPABILITY"}, strings.ToUpper(command)) {
			c.fail("got %q, and expected the client to leave", command)
		}
		if strings.EqualFold(command, "LOGOUT") {
			c.Send("* BYE")
		}
		c.OK(tag)
	}
}

// Hang keeps the connection open, and silent, until the client closes it or the
// test ends.
func (c *Conn) Hang() {
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		return
	}
	io.Copy(io.Discard, c.in) // cut off is closed, too
}
