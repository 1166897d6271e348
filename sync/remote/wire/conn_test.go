package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// fetchBody fetches one message, and gives its body and the errors of the body and of
// the command.
func fetchBody(client *imapclient.Client) (body []byte, bodyErr, err error) {
	cmd := client.Fetch(imap.UIDSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	if msg := cmd.Next(); msg != nil {
		for item := msg.Next(); item != nil; item = msg.Next() {
			if b, ok := item.(imapclient.FetchItemDataBodySection); ok {
				if body, bodyErr = io.ReadAll(b.Literal); bodyErr != nil {
					<-client.Closed() // as the package's comment says
				}
			}
		}
	}
	return body, bodyErr, cmd.Close()
}

func TestTruncatedBodyIsAnError(t *testing.T) {
	const half = "* 1 FETCH (UID 1 BODY[] {100}\r\n" + "fifty octets, and not the hundred that were told.."
	client, c := dial(t, Options{}, serve(half))
	body, bodyErr, err := fetchBody(client)
	if len(body) != 50 || !errors.Is(bodyErr, io.ErrUnexpectedEOF) || err == nil {
		t.Errorf("got %d octets, %v, %v", len(body), bodyErr, err)
	}
	if err := c.Err(); !errors.Is(err, mail.ErrUnreachable) || !strings.Contains(err.Error(), "within a response") {
		t.Errorf("Err() = %v", err)
	}
	within(t, "the client's reader", client.Closed())
}

// A consumer that gives up in the middle of a body must not be stuck when the
// connection breaks while the rest is passed over.
func TestTruncatedBodyThatNobodyReads(t *testing.T) {
	client, _ := dial(t, Options{}, serve("* 1 FETCH (UID 1 BODY[] {100}\r\nshort"))
	cmd := client.Fetch(imap.UIDSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{}}})
	closed := make(chan error, 1)
	go func() { closed <- cmd.Close() }()
	if err := within(t, "Close", closed); err == nil {
		t.Error("no error")
	}
}

func TestConnectionCutAtEveryOctet(t *testing.T) {
	stream := greeting + "* 1 FETCH (UID 1 BODY[] {5}\r\nhello FLAGS ())\r\n* LIST () \"/\" {3}\r\nfoo\r\nT1 OK done\r\n"
	ends := map[int]bool{0: true}
	for _, s := range []string{greeting, "FLAGS ())\r\n", "foo\r\n", "done\r\n"} {
		ends[strings.Index(stream, s)+len(s)] = true
	}
	for n := range len(stream) + 1 {
		c := New(play(t, func(s *server) error {
			_, err := io.WriteString(s, stream[:n])
			return err
		}), Options{})
		got, err := io.ReadAll(c)
		if want := ends[n]; want != (err == nil) || !want && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v, whole responses: %v", n, err, want)
		}
		if !strings.HasPrefix(stream, string(got)) || err == nil && len(got) != n {
			t.Errorf("cut at %d: got %q", n, got)
		}
		if !errors.Is(c.Err(), mail.ErrUnreachable) {
			t.Errorf("cut at %d: Err() = %v", n, c.Err())
		}
	}
}

// In a bubble, time is what the test makes of it.
func TestSilence(t *testing.T) {
	hang := func(s *server) error {
		_, _ = io.Copy(io.Discard, s) // until the client hangs up
		return nil
	}
	then := func(scripts ...func(*server) error) func(*server) error {
		return func(s *server) error {
			for _, f := range scripts {
				if err := f(s); err != nil {
					return err
				}
			}
			return nil
		}
	}
	noop := func(c *imapclient.Client) error { return c.Noop().Wait() }
	loggedIn := func(use func(*imapclient.Client) error) func(*imapclient.Client, *Conn) error {
		return func(client *imapclient.Client, c *Conn) error {
			if err := client.Login("alice", "secret").Wait(); err != nil {
				return err
			}
			if _, err := client.Capability().Wait(); err != nil {
				return err
			}
			c.Ready()
			return use(client)
		}
	}
	caps := serve("%s OK [CAPABILITY IMAP4rev1] in\r\n", "* CAPABILITY IMAP4rev1\r\n%s OK\r\n")
	send := func(text string) func(*server) error {
		return func(s *server) error { return s.answers(text) }
	}
	for _, tt := range []struct {
		name   string
		script func(*server) error
		use    func(*imapclient.Client, *Conn) error
		want   time.Duration
		err    string
	}{
		{"no greeting", hang, func(c *imapclient.Client, _ *Conn) error { return c.WaitGreeting() }, 45 * time.Second, "no answer for 45s"},
		{"half a greeting", then(func(s *server) error { _, err := io.WriteString(s, "* O"); return err }, hang),
			func(c *imapclient.Client, _ *Conn) error { return c.WaitGreeting() }, 45 * time.Second, "within a response"},
		{"no answer to the login", then(serve(), hang), loggedIn(noop), 45 * time.Second, "no answer for 45s"},
		{"no answer after the login", then(serve("%s OK [CAPABILITY IMAP4rev1] in\r\n"), hang),
			func(client *imapclient.Client, c *Conn) error {
				if err := client.Login("alice", "secret").Wait(); err != nil {
					return err
				}
				c.Ready()
				return client.Noop().Wait()
			}, 45 * time.Second, "no answer for 45s"},
		{"no answer on a live link", then(caps, hang), loggedIn(noop), 45 * time.Second, "no answer for 45s"},
		{"half an answer on a live link", then(caps, send("* SEARCH 1 2"), hang), loggedIn(noop), 45 * time.Second, "within a response"},
		{"half a body on a live link", then(caps, send("* 1 FETCH (UID 1 BODY[] {100}\r\nabc"), hang),
			loggedIn(func(c *imapclient.Client) error { _, err, _ := fetchBody(c); return err }), 45 * time.Second, "within a response"},
		{"no continuation request on a live link", then(caps, hang),
			loggedIn(func(c *imapclient.Client) error {
				_, err := c.Append("INBOX", 3, nil).Wait()
				return err
			}), 45 * time.Second, "no answer for 45s"},
		{"remarks instead of an answer", then(caps, func(s *server) error {
			if _, _, err := s.hears(); err != nil {
				return err
			}
			for range 10 {
				time.Sleep(40 * time.Second)
				if _, err := io.WriteString(s, "* OK still here\r\n* 5 EXISTS\r\n"); err != nil {
					return nil // it hung up
				}
			}
			return errors.New("still there after 10 remarks")
		}), loggedIn(noop), 200 * time.Second, "remarks for 3m20s, and no answer"},
		{"a server that takes nothing", then(caps, send("+ go on\r\n"), func(s *server) error {
			time.Sleep(time.Hour) // of the bubble
			return nil
		}), loggedIn(func(c *imapclient.Client) error {
			cmd := c.Append("INBOX", 1<<20, nil)
			_, err := cmd.Write(make([]byte, 1<<20))
			return err
		}), 45 * time.Second, "took nothing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, c := dial(t, Options{}, tt.script)
				start := time.Now()
				err := tt.use(client, c)
				if took := time.Since(start); err == nil || took != tt.want {
					t.Errorf("ended after %v with %v, want %v", took, err, tt.want)
				}
				if err := c.Err(); !errors.Is(err, mail.ErrUnreachable) || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("Err() = %v, want %q in it", err, tt.err)
				}
			})
		})
	}
}

func TestProgressKeepsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, c := dial(t, Options{}, func(s *server) error {
			if err := serve("* 1 FETCH (UID 1 BODY[] {60}\r\n")(s); err != nil {
				return err
			}
			for range 60 { // an octet every 44 s: 44 minutes in all
				time.Sleep(44 * time.Second)
				if _, err := io.WriteString(s, "x"); err != nil {
					return err
				}
			}
			_, err := io.WriteString(s, ")\r\nT1 OK done\r\n")
			return err
		})
		if body, bodyErr, err := fetchBody(client); len(body) != 60 || bodyErr != nil || err != nil {
			t.Errorf("got %d octets, %v, %v, %v", len(body), bodyErr, err, c.Err())
		}
	})
}

func TestTimeOfTheConsumerDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1 << 20
		client, c := dial(t, Options{}, serve(
			fmt.Sprintf("* 1 FETCH (UID 1 BODY[] {%d}\r\n%s)\r\n%%s OK done\r\n", size, strings.Repeat("x", size))))
		cmd := client.Fetch(imap.UIDSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{}}})
		msg := cmd.Next()
		var literal io.Reader
		for literal == nil {
			if item, ok := msg.Next().(imapclient.FetchItemDataBodySection); ok {
				literal = item.Literal
			}
		}
		time.Sleep(time.Hour) // of the bubble: a slow disk
		n, err := io.Copy(io.Discard, literal)
		if err2 := cmd.Close(); n != size || err != nil || err2 != nil {
			t.Errorf("got %d octets, %v, %v, %v", n, err, err2, c.Err())
		}
	})
}

func TestIdleWaitsForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, c := dial(t, Options{}, func(s *server) error {
			if err := serve("+ idling\r\n")(s); err != nil {
				return err
			}
			time.Sleep(20 * time.Minute) // less than the client's own restart
			if _, err := io.WriteString(s, "* 1 EXISTS\r\n"); err != nil {
				return err
			}
			done, _, err := s.hears()
			if done != "DONE" {
				t.Errorf("the client says %q", done)
			}
			if err == nil {
				_, _ = io.Copy(io.Discard, s) // no answer to DONE: the client hangs up
			}
			return nil
		})
		idle, err := client.Idle()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Minute)
		if err := c.Err(); err != nil {
			t.Fatalf("during IDLE: %v", err)
		}
		start := time.Now()
		if err := idle.Close(); err != nil {
			t.Fatal(err)
		}
		if err := idle.Wait(); err == nil || time.Since(start) != 45*time.Second {
			t.Errorf("after DONE: %v after %v", err, time.Since(start))
		}
	})
}

func TestCaps(t *testing.T) {
	opts := Options{MaxLine: 100 << 10, MaxLiteral: 1000, MaxBody: 5000}
	long := strings.Repeat("x", 200<<10)
	for _, tt := range []struct{ name, text, err string }{
		{"a line", "* OK " + long, "a line of more than 102400 octets"},
		{"a line after a body", "* 1 FETCH (UID 1 BODY[] {1}\r\nx FLAGS (" + long, "a line of more"},
		{"a literal", "* LIST () \"/\" {1001}\r\n", "literals of more than 1000 octets"},
		{"literals together", "* LIST () {600}\r\n" + long[:600] + " {600}\r\n", "literals of more than 1000 octets"},
		{"a literal that looks like a body", "* LIST (BODY[] {1001}\r\n", "literals of more"},
		{"a body within a list", "* 1 FETCH (ENVELOPE (BODY[] {1001}\r\n", "literals of more"},
		{"a number without bounds", "* LIST () \"/\" {99999999999999999999}\r\n", "literals of more"},
		{"a body", "* 1 FETCH (UID 1 BODY[] {5001}\r\n", "a message of more than 5000 octets"},
		{"a header", "* 1 FETCH (UID 1 BODY[HEADER.FIELDS ({1}\r\na)] {16777217}\r\n", "a header of more than 16777216 octets"},
		{"an old body", "* 1 FETCH (RFC822.TEXT {5001}\r\n", "a message of more than 5000 octets"},
		{"a quoted string", "* 1 FETCH (BODY[] \"abc\r\n", "a quoted string without an end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, c := dial(t, opts, func(s *server) error {
				_ = serve(tt.text)(s) // it may not get all of it through
				return nil
			})
			if err := client.Noop().Wait(); err == nil {
				t.Error("no error")
			}
			if err := c.Err(); !errors.Is(err, mail.ErrUnreachable) || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("Err() = %v, want %q in it", err, tt.err)
			}
		})
	}
	client, c := dial(t, opts, serve("* 1 FETCH (UID 1 BODY[] {5000}\r\n"+long[:5000]+")\r\n%s OK done\r\n"))
	if body, bodyErr, err := fetchBody(client); len(body) != 5000 || bodyErr != nil || err != nil {
		t.Errorf("a body as large as may be: %d octets, %v, %v, %v", len(body), bodyErr, err, c.Err())
	}
}

func TestEndSaysWhatTheServerSaid(t *testing.T) {
	client, c := dial(t, Options{}, serve("* BYE [UNAVAILABLE] too many \x1b[31mconnections\r\n"))
	err := client.Noop().Wait()
	if err == nil {
		t.Fatal("no error")
	}
	if err := c.Err(); !errors.Is(err, mail.ErrUnreachable) || !strings.HasSuffix(err.Error(), ": too many  [31mconnections") {
		t.Errorf("Err() = %q", err)
	}
	c.Take()
	if bye := c.Take().Bye; bye != "too many  [31mconnections" {
		t.Errorf("Bye = %q", bye)
	}
	refused, c := dial(t, Options{}, func(s *server) error {
		_, err := io.WriteString(s, "* BYE go away\r\n")
		return err
	})
	if err := refused.WaitGreeting(); err == nil {
		t.Error("a greeting that is BYE is no error")
	}
	within(t, "the client's reader", refused.Closed())
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "go away") {
		t.Errorf("Err() = %v", err)
	}
}

func TestOrderlyEndIsNoError(t *testing.T) {
	client, c := dial(t, Options{}, serve("* BYE bye\r\n%s OK\r\n"))
	if err := client.Logout().Wait(); err != nil {
		t.Fatal(err)
	}
	within(t, "the client's reader", client.Closed())
	if c.Err() != nil {
		t.Errorf("after LOGOUT: %v", c.Err())
	}
	client, c = dial(t, Options{}, func(s *server) error {
		err := serve()(s)
		_, _ = io.Copy(io.Discard, s) // until the client hangs up
		return err
	})
	if err := client.WaitGreeting(); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if _, err := c.Read(make([]byte, 1)); c.Err() != nil || !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v, Read gives %v", c.Err(), err)
	}
}

func TestDeadlineInThePastEndsTheConnection(t *testing.T) {
	client, c := dial(t, Options{}, func(s *server) error {
		err := serve()(s)
		_, _ = io.Copy(io.Discard, s) // until the client hangs up
		return err
	})
	if err := client.WaitGreeting(); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(-time.Second))
	within(t, "the client's reader", client.Closed())
	if !errors.Is(c.Err(), mail.ErrUnreachable) {
		t.Errorf("Err() = %v", c.Err())
	}
}

func TestCommandWithoutEndIsRefused(t *testing.T) {
	c := New(play(t, func(s *server) error { _, _ = io.Copy(io.Discard, s); return nil }), Options{})
	if _, err := c.Write(bytes.Repeat([]byte("x"), 2*maxCommand)); err == nil {
		t.Error("no error")
	}
}

// A command that is kept back is given up like any other: the client has let go of those that
// it knew of when its reader ended, and looks for no more.
func TestACorkedCommandOnAConnectionThatHasEnded(t *testing.T) {
	client, conn := dial(t, Options{}, serve())
	if err := client.WaitGreeting(); err != nil {
		t.Fatal(err)
	}
	within(t, "the end of the connection", client.Closed())
	conn.Cork()
	selecting := client.Select("INBOX", nil)
	conn.Uncork()
	done := make(chan error, 1)
	go func() {
		_, err := selecting.Wait()
		done <- err
	}()
	if err := within(t, "the SELECT", done); err == nil {
		t.Error("a SELECT on a closed connection went well")
	}
}
