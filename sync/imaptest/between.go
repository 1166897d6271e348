package imaptest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// Quirks make one connection to a real server look like one to an odder server.
// Both functions may be nil, and are called by two goroutines, one each.
type Quirks struct {
	// Answer gives the lines that the client sees in the place of one line of the server.
	// Neither has its CRLF. Each literal is Literal in it, and the lines must have as many
	// of them, in the same order. command is the command that a tagged line ends, without
	// its tag, and else "". Among the lines may be Forever, Silence and HangUp.
	Answer func(line, command string) []string
	// Refuse tells what is said of a command instead of handing it to the server, such as
	// "NO not today"; "" hands it on. Literals in it are what announces them.
	Refuse func(command string) string
}

// Literal stands for a literal in a line of Quirks.
const Literal = "\x00"

// What a server does for good, in the place of a line of Quirks.
const (
	Silence = "\x01" // says nothing any more
	HangUp  = "\x02" // closes the connection
	forever = "\x03"
)

// Forever is a line of Quirks with which the server says text, for ever and as fast as it
// can. The text has its own CRLF, or none; a %d or %[1]d in it counts from 1 up.
func Forever(text string) string { return forever + text }

// Between listens on loopback, and is to its clients the server at that address with
// quirks, which are made anew for each connection. It ends with the test.
func Between(t TB, host string, port int, quirks func() Quirks) *Scripted {
	t.Helper()
	return serveScript(t, nil, func(c *Conn) {
		server, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			c.fail("between: %v", err)
		}
		b := &between{Quirks: quirks(), client: c.conn, server: server, under: map[string]string{}, left: make(chan struct{})}
		var up sync.WaitGroup
		up.Go(func() {
			b.commands(c.in) // ends when the client leaves
			close(b.left)
			server.Close()
		})
		b.answers(bufio.NewReader(server)) // ends when either of them leaves
		c.conn.Close()
		up.Wait()
	})
}

type between struct {
	Quirks
	client, server net.Conn
	left           chan struct{} // closed when the client has left

	mu    sync.Mutex // guards under, and lets one write to the client at a time
	under map[string]string
}

// commands hands on what the client says.
func (b *between) commands(in *bufio.Reader) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		if b.Refuse != nil {
			// A literal that does not wait for its "+" comes in any case.
			if answer := b.Refuse(command); answer != "" && !strings.HasSuffix(command, "+}") {
				if b.say(tag+" "+answer+"\r\n") != nil {
					return
				}
				continue
			}
		}
		b.mu.Lock()
		b.under[tag] = command
		b.mu.Unlock()
		for {
			if _, err := io.WriteString(b.server, line); err != nil {
				return
			}
			m := literalSize.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
			if m == nil {
				break
			}
			size, err := strconv.ParseInt(m[1], 10, 64)
			if err != nil {
				return
			}
			if _, err := io.CopyN(b.server, in, size); err != nil {
				return
			}
			if line, err = in.ReadString('\n'); err != nil {
				return
			}
		}
	}
}

// answers hands on what the server says, with its quirks.
func (b *between) answers(in *bufio.Reader) {
	for {
		line, literals, err := readAnswer(in)
		if err != nil {
			return
		}
		tag, _, _ := strings.Cut(line, " ")
		b.mu.Lock()
		command := b.under[tag]
		delete(b.under, tag)
		b.mu.Unlock()
		lines := []string{line}
		if b.Answer != nil {
			lines = b.Answer(line, command)
		}
		var out strings.Builder
		for _, line := range lines {
			if len(line) > 0 && strings.ContainsAny(line[:1], Silence+HangUp+forever) {
				if b.say(out.String()) == nil {
					b.end(line)
				}
				return
			}
			for i, part := range strings.Split(line, Literal) {
				if i > 0 && len(literals) > 0 {
					fmt.Fprintf(&out, "{%d}\r\n%s", len(literals[0]), literals[0])
					literals = literals[1:]
				}
				out.WriteString(part)
			}
			out.WriteString("\r\n")
		}
		if b.say(out.String()) != nil {
			return
		}
	}
}

// end does what is done for good, until the client leaves.
func (b *between) end(how string) {
	switch text, talks := strings.CutPrefix(how, forever); {
	case talks:
		count := strings.Contains(text, "%")
		for n := 1; ; {
			var chunk strings.Builder
			for chunk.Len() < 32<<10 {
				if count {
					fmt.Fprintf(&chunk, text, n)
				} else {
					chunk.WriteString(text)
				}
				n++
			}
			if b.say(chunk.String()) != nil {
				return
			}
		}
	case how == Silence:
		<-b.left
	}
}

// readAnswer reads one line of the server with the literals in it.
func readAnswer(in *bufio.Reader) (line string, literals [][]byte, err error) {
	var out strings.Builder
	for {
		part, err := in.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		part = strings.TrimRight(part, "\r\n")
		at := literalSize.FindStringSubmatchIndex(part)
		if at == nil {
			out.WriteString(part)
			return out.String(), literals, nil
		}
		size, err := strconv.Atoi(part[at[2]:at[3]])
		if err != nil {
			return "", nil, err
		}
		literal := make([]byte, size)
		if _, err := io.ReadFull(in, literal); err != nil {
			return "", nil, err
		}
		out.WriteString(part[:at[0]] + Literal)
		literals = append(literals, literal)
	}
}

func (b *between) say(text string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := io.WriteString(b.client, text)
	return err
}
