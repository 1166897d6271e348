package wire

import (
	"io"
	"strings"
	"testing"
)

// A script of who says what: "C: " the client writes, "S: " the server.
func TestRoundTrips(t *testing.T) {
	for _, tt := range []struct {
		name   string
		script string
		want   int
	}{
		{"a command", "C: A NOOP|S: A OK", 1},
		{"one after the other", "C: A NOOP|S: A OK|C: B NOOP|S: B OK", 2},
		{"pipelined", "C: A NOOP|C: B NOOP|C: D NOOP|S: A OK|S: B OK|S: D OK", 1},
		{"pipelined behind one that is unanswered", "C: A NOOP|C: B NOOP|S: A OK|C: D NOOP|S: B OK|S: D OK", 1},
		{"untagged data is no answer", "C: A NOOP|S: * 1 EXISTS|C: B NOOP|S: A OK|S: B OK", 1},
		{"a literal that has to be asked for", "C: A APPEND x {3}|S: + go|C: abc|S: A OK", 2},
		{"a literal that is refused", "C: A APPEND x {3}|S: A NO|C: B NOOP|S: B OK", 2},
		{"a literal that is sent at once", "C: A APPEND x {3+}|C: abc|S: A OK", 1},
		{"two literals", "C: A LIST {1}|S: + go|C: a {1}|S: + go|C: b|S: A OK", 3},
		{"a literal behind a command", "C: A NOOP|C: B APPEND x {3}|S: A OK|S: + go|C: abc|S: B OK", 2},
		{"braces in a string are no literal", `C: A SEARCH "x {3}"|S: A OK`, 1},
		{"IDLE", "C: A IDLE|S: + idling|S: * 1 EXISTS|C: DONE|S: A OK", 2},
		{"IDLE that is refused", "C: A IDLE|S: A NO|C: B NOOP|S: B OK", 2},
		{"AUTHENTICATE", "C: A AUTHENTICATE X|S: + |C: eA==|S: + eA==|C: |S: A OK|C: B NOOP|S: B OK", 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := converse(t, tt.script, Options{}, true)
			if got := c.Stats().RoundTrips; got != tt.want {
				t.Errorf("%d round trips, want %d", got, tt.want)
			}
			if c.mu.Lock(); c.talk.owed() {
				t.Errorf("the server still owes something: %+v", c.talk)
			}
			c.mu.Unlock()
		})
	}
}

func TestLoginIsNoRoundTrip(t *testing.T) {
	c := converse(t, "C: A LOGIN x y|S: A OK|C: B NOOP|S: B OK", Options{}, false)
	if s := c.Stats(); s.RoundTrips != 0 || s.BytesOut != int64(len("A LOGIN x y\r\nB NOOP\r\n")) ||
		s.BytesIn != int64(len(greeting+"A OK\r\nB OK\r\n")) {
		t.Errorf("%+v", s)
	}
}

// converse plays a script over a Conn, octet by octet on the server's side.
func converse(t *testing.T, script string, opts Options, ready bool) *Conn {
	t.Helper()
	lines := strings.Split("S: "+strings.TrimSuffix(greeting, "\r\n")+"|"+script, "|")
	c := New(play(t, func(s *server) error {
		for _, line := range lines {
			text := line[3:] + "\r\n"
			if line[0] == 'S' {
				for i := range len(text) {
					if _, err := io.WriteString(s, text[i:i+1]); err != nil {
						return err
					}
				}
				continue
			}
			if _, err := io.ReadFull(s, make([]byte, len(text))); err != nil {
				return err
			}
		}
		return nil
	}), opts)
	if ready {
		c.Ready()
	}
	for _, line := range lines {
		text := line[3:] + "\r\n"
		if line[0] == 'C' {
			if _, err := io.WriteString(c, text); err != nil {
				t.Fatalf("writing %q: %v", text, err)
			}
			continue
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
			t.Fatalf("read %q, %v, want %q", got, err, text)
		}
	}
	return c
}
