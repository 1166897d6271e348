package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// wire is an IMAP connection with no opinion: commands go out as they are, and answers
// come in as lines. What is written waits until flush, so that commands can be pipelined.
type wire struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	tag  int
	// literal takes what a line has in place of a text; without it a literal is kept in
	// the line itself.
	literal func(size int64, r io.Reader) error
}

// dial connects and logs in. Everything on the connection has to be over within limit.
func dial(addr, user, password string, limit time.Duration) (*wire, error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		conn.Close()
		return nil, err
	}
	w := &wire{conn: conn, r: bufio.NewReaderSize(conn, 256<<10), w: bufio.NewWriterSize(conn, 64<<10)}
	greeting, err := w.line()
	if err == nil && !strings.HasPrefix(greeting, "* OK") {
		err = fmt.Errorf("greeted with %q", greeting)
	}
	if err == nil {
		_, err = w.do(fmt.Sprintf("LOGIN %s %q", user, password))
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("log in: %w", err)
	}
	return w, nil
}

func (w *wire) close() { w.conn.Close() }

// send queues a command and gives its tag.
func (w *wire) send(command string) string {
	w.tag++
	tag := "t" + strconv.Itoa(w.tag)
	w.w.WriteString(tag + " " + command + "\r\n") // a failure shows in flush
	return tag
}

// line reads a line, with its literals where nobody takes them.
func (w *wire) line() (string, error) {
	var all strings.Builder
	for {
		text, err := w.r.ReadString('\n')
		if err != nil {
			return "", noEOF(err)
		}
		text = strings.TrimSuffix(text, "\r\n")
		all.WriteString(text)
		size, ok := literalSize(text)
		if !ok {
			return all.String(), nil
		}
		body := io.LimitReader(w.r, size)
		if w.literal != nil {
			err = w.literal(size, body)
		} else {
			_, err = io.Copy(&all, body)
		}
		if err != nil {
			return "", noEOF(err)
		}
	}
}

// noEOF keeps an end of the connection from looking like one in good order.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// literalSize tells whether a literal follows a line.
func literalSize(text string) (int64, bool) {
	if !strings.HasSuffix(text, "}") {
		return 0, false
	}
	open := strings.LastIndexByte(text, '{')
	if open < 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(text[open+1:len(text)-1], 10, 64)
	return n, err == nil && n >= 0
}

// until reads the answer to the command with this tag, and shows the lines before it.
func (w *wire) until(tag string, each func(line string)) error {
	if err := w.w.Flush(); err != nil {
		return err
	}
	for {
		line, err := w.line()
		if err != nil {
			return err
		}
		status, mine := strings.CutPrefix(line, tag+" ")
		if mine && !strings.HasPrefix(status, "OK") {
			return fmt.Errorf("the server said %q", status)
		}
		if mine {
			return nil
		}
		if each != nil {
			each(line)
		}
	}
}

// do runs one command, and gives the untagged lines of its answer.
func (w *wire) do(command string) (lines []string, err error) {
	err = w.until(w.send(command), func(line string) { lines = append(lines, line) })
	if err != nil {
		verb, _, _ := strings.Cut(command, " ")
		return nil, fmt.Errorf("%s: %w", verb, err)
	}
	return lines, nil
}

// mailbox is what LIST and STATUS tell. Its name is as the server spelled it, quotes and
// all, which is how it goes back to the server.
type mailbox struct {
	name              string
	messages, uidNext int
}

// list asks for all mailboxes and their counts at once (RFC 5819).
func (w *wire) list() ([]mailbox, error) {
	lines, err := w.do(`LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))`)
	if err != nil {
		return nil, err
	}
	var all []mailbox
	for _, line := range lines {
		rest, ok := strings.CutPrefix(line, "* STATUS ")
		if !ok {
			continue
		}
		open := strings.LastIndexByte(rest, '(')
		if open < 1 {
			return nil, fmt.Errorf("cannot read %q", line)
		}
		m := mailbox{name: rest[:open-1]}
		words := strings.Fields(strings.Trim(rest[open:], "()"))
		for i := 0; i+1 < len(words); i += 2 {
			n, err := strconv.Atoi(words[i+1])
			if err != nil {
				return nil, fmt.Errorf("cannot read %q", line)
			}
			switch words[i] {
			case "MESSAGES":
				m.messages = n
			case "UIDNEXT":
				m.uidNext = n
			}
		}
		all = append(all, m)
	}
	return all, nil
}

// append queues an APPEND whose literal does not wait for leave (RFC 7888). about is
// flags and, perhaps, the date.
func (w *wire) append(mailbox, about string, raw []byte) string {
	return w.send(fmt.Sprintf("APPEND %s %s {%d+}\r\n%s", mailbox, about, len(raw), raw))
}

// drain reads the answers to n commands that were sent already.
func (w *wire) drain(n int) error {
	for n > 0 {
		line, err := w.line()
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "* ") {
			continue
		}
		if _, status, _ := strings.Cut(line, " "); !strings.HasPrefix(status, "OK") {
			return fmt.Errorf("the server said %q", line)
		}
		n--
	}
	return nil
}

// crlf gives a message as the wire has it.
func crlf(raw []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
}
