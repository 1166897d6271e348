package imaptest_test

import (
	"slices"
	"strings"
	"testing"

	"mailtwin/sync/imaptest"
)

func TestBetweenChangesLinesAndNoLiterals(t *testing.T) {
	said := make(chan string, 1)
	server := imaptest.Script(t, func(c *imaptest.Conn) {
		c.Send("* OK ready")
		tag := c.Expect(`APPEND INBOX \{\d+\}`)
		said <- string(c.Literal())
		c.OK(tag)
		tag = c.Expect(`FETCH 1 BODY\[\]`)
		c.Write([]byte("* 1 FETCH (BODY[] {6}\r\n* OK\r\n BODY[1] {3}\r\na{9 UID 5)\r\n" + tag + " OK done\r\n"))
		c.ExpectClose()
	})
	between := imaptest.Between(t, server.Host, server.Port, func() imaptest.Quirks {
		return imaptest.Quirks{
			Answer: func(line, command string) []string {
				switch {
				case strings.HasPrefix(command, "FETCH"):
					return []string{"* 2 EXISTS", line + " after " + command}
				case strings.Contains(line, "UID 5"):
					return []string{strings.Replace(line, "UID 5", "UID 7", 1)}
				case strings.HasPrefix(line, "* OK"):
					return []string{"* OK odd"}
				}
				return []string{line}
			},
			Refuse: func(command string) string {
				if command == "NOOP" {
					return "NO never"
				}
				return ""
			},
		}
	})
	c := dial(t, between.Host, between.Port)
	want := func(prefix string, want ...string) {
		t.Helper()
		if got := c.until(prefix); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	want("* OK", "* OK odd")
	c.send("a NOOP\r\n")
	want("a ", "a NO never")
	c.send("b APPEND INBOX {8}\r\n")
	want("+", "+ go on")
	c.send("b NOOP\r\n\r\n")
	want("b ", "b OK done")
	if got := <-said; got != "b NOOP\r\n" {
		t.Errorf("the server got %q", got)
	}
	c.send("c FETCH 1 BODY[]\r\n")
	want("c ", "* 1 FETCH (BODY[] {6}", "* OK", " BODY[1] {3}", "a{9 UID 7)", "* 2 EXISTS", "c OK done after FETCH 1 BODY[]")
}
