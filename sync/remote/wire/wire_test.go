package wire

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
)

const greeting = "* OK [CAPABILITY IMAP4rev1] hello\r\n"

// server is the other end of a connection, played by a script.
type server struct {
	net.Conn
	*bufio.Reader
}

func (s *server) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// hears reads the next line that the client wrote, and gives its tag.
func (s *server) hears() (tag, line string, err error) {
	line, err = s.ReadString('\n')
	tag, line, _ = strings.Cut(strings.TrimSuffix(line, "\r\n"), " ")
	return tag, line, err
}

// answers reads a command and sends text, in which %s stands for the command's tag.
func (s *server) answers(text string) error {
	tag, _, err := s.hears()
	if err != nil {
		return err
	}
	_, err = io.WriteString(s, strings.ReplaceAll(text, "%s", tag))
	return err
}

// play starts a script on the other end of a connection, and gives this end. The
// script's end closes the connection, and its error fails the test.
func play(t testing.TB, script func(*server) error) net.Conn {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() {
		err := script(&server{far, bufio.NewReader(far)})
		far.Close()
		done <- err
	}()
	t.Cleanup(func() {
		near.Close()
		if err := <-done; err != nil {
			t.Errorf("the server's script: %v", err)
		}
	})
	return near
}

// serve gives a script that greets, and answers the commands in order.
func serve(answers ...string) func(*server) error {
	return func(s *server) error {
		if _, err := io.WriteString(s, greeting); err != nil {
			return err
		}
		for i, a := range answers {
			if err := s.answers(a); err != nil {
				return fmt.Errorf("answer %d: %w", i, err)
			}
		}
		return nil
	}
}

// dial gives a client over a Conn over a script.
func dial(t testing.TB, opts Options, script func(*server) error) (*imapclient.Client, *Conn) {
	t.Helper()
	c := New(play(t, script), opts)
	client := imapclient.New(c, nil)
	t.Cleanup(func() { client.Close() })
	return client, c
}

// within gives what a channel gives, and fails the test where it takes for ever.
func within[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nothing for 10 s", what)
		panic("not reached")
	}
}
