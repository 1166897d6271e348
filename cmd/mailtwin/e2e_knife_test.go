package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// deed is what a knife does when it strikes.
type deed string

const (
	cutOne  deed = "cut"        // this connection
	cutAll  deed = "cut off"    // all of the device's connections, and no new ones
	killIt  deed = "killed"     // the process, by SIGKILL
	restart deed = "restarted"  // the server
	bodyOf       = "FETCH body" // the verb of an answer that brings a message
)

// stroke is one stroke of a knife.
type stroke struct {
	deed   deed
	answer bool   // on the way down, not up
	verb   string // inside the next command of that name, or its answer; "": anywhere
	skip   int    // how many of those are let through
	octets int64  // where verb is "": how many octets are let through
}

// knife stands between a device and the server and reads along, so that it can strike
// at a random octet inside a command, or inside its answer, and can tell where it struck.
type knife struct {
	port    int
	server  func() (net.Conn, error)
	restart func() // gives back control when the server runs again
	failed  func(error)

	mu       sync.Mutex // guards what follows
	rand     *rand.Rand
	stroke   *stroke // nil: none, or none any more
	command  func()  // is called before a command goes on; nil: nothing is
	process  *os.Process
	passages map[*passage]bool
	closed   bool           // to new connections
	striking sync.WaitGroup // units that have met a stroke, until they have passed
	struck   string         // what it did, and where; "" for nothing
}

// knife puts a knife before the story's server.
func (s *story) knife() *knife {
	k := &knife{passages: map[*passage]bool{}}
	k.server = func() (net.Conn, error) {
		return net.Dial("tcp", net.JoinHostPort(s.server.Host, strconv.Itoa(s.server.Port)))
	}
	k.port = s.listen(k.serve)
	return k
}

// arm makes the knife ready for one run of the program, which start starts.
func (k *knife) arm(r *rand.Rand, next *stroke, command func(), start func() (*os.Process, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rand, k.stroke, k.command, k.closed, k.struck = r, next, command, false, ""
	var err error
	k.process, err = start() // it cannot be met by a stroke before it is known
	return err
}

// rest puts the knife away, once a stroke has come to its end, and tells what it did.
func (k *knife) rest() (struck string) {
	k.mu.Lock()
	k.stroke, k.command = nil, nil
	k.mu.Unlock()
	k.striking.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stroke, k.command, k.closed = nil, nil, false
	return k.struck
}

// passage is one connection through a knife.
type passage struct {
	knife          *knife
	client, server net.Conn
	left           chan struct{} // closed when the client has left

	mu      sync.Mutex // guards pending
	pending []pending  // commands without an answer, in their order
}

type pending struct{ tag, verb string }

func (k *knife) serve(client net.Conn) {
	server, err := k.server()
	if err != nil {
		return // it is being restarted
	}
	p := &passage{knife: k, client: client, server: server, left: make(chan struct{})}
	k.mu.Lock()
	closed := k.closed
	k.passages[p] = true
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.passages, p)
	}()
	defer p.close()
	if closed {
		return
	}
	var up sync.WaitGroup
	up.Go(func() {
		defer p.close()
		defer close(p.left)
		p.commands()
	})
	p.answers()
	p.close()
	up.Wait()
}

func (p *passage) close() {
	p.client.Close()
	p.server.Close()
}

// unit is a command, or one answer, on its way.
type unit struct {
	verb          string
	answer, ends  bool  // ends: the answer is the last one to its command
	total, passed int64 // octets
	stroke        *stroke
	meets         bool  // it has met a stroke
	at            int64 // how many octets pass before the stroke
}

func (u *unit) where() string {
	switch {
	case u.answer && u.verb == bodyOf && u.passed > 0:
		return "inside a " + bodyOf
	case u.answer && u.verb != "":
		return "in the answer to " + u.verb
	case u.answer:
		return "in what the server says unasked"
	case u.passed == 0:
		return "before " + u.verb
	case u.passed < u.total:
		return "inside " + u.verb
	}
	return "after " + u.verb
}

var errStruck = errors.New("struck")

// begin decides whether the unit is the one to be struck.
func (k *knife) begin(u *unit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.stroke
	if s == nil || s.verb == "" || s.verb != u.verb || s.answer != u.answer {
		return
	}
	// Before the last line of an answer some others may come, such as COPYUID and EXPUNGE.
	if u.answer && !u.ends && u.verb != bodyOf && k.rand.IntN(2) == 0 {
		return
	}
	if s.skip > 0 {
		s.skip--
		return
	}
	k.striking.Add(1)
	k.stroke, u.stroke, u.meets, u.at = nil, s, true, 1+k.rand.Int64N(max(1, u.total-1))
	if s.deed == killIt && !s.answer && k.rand.IntN(3) == 0 {
		u.at = u.total
	}
}

// pass hands data of a unit on, up to where a stroke hits.
func (p *passage) pass(u *unit, data []byte, to net.Conn) error {
	k := p.knife
	k.mu.Lock()
	hit, n := u.stroke, int64(len(data))
	if hit != nil && u.passed+n < u.at {
		hit = nil
	} else if hit != nil {
		n = u.at - u.passed
	}
	if s := k.stroke; s != nil && s.verb == "" && s.answer == u.answer {
		if s.octets <= n {
			hit, n = s, s.octets
			k.stroke = nil
			if !u.meets {
				k.striking.Add(1)
				u.meets = true
			}
		}
		s.octets -= n
	}
	k.mu.Unlock()
	_, err := to.Write(data[:n])
	u.passed += n
	if hit != nil {
		u.stroke = nil
		p.strike(hit, u)
		return errStruck
	}
	return err
}

// end strikes if the unit was shorter than it seemed.
func (p *passage) end(u *unit) error {
	if u.stroke == nil {
		return nil
	}
	p.strike(u.stroke, u)
	return errStruck
}

func (p *passage) strike(s *stroke, u *unit) {
	k := p.knife
	k.mu.Lock()
	k.struck = string(s.deed) + " " + u.where()
	process := k.process
	var cut []*passage
	if s.deed == cutAll {
		k.closed = true
		for other := range k.passages {
			cut = append(cut, other)
		}
	}
	k.mu.Unlock()
	switch s.deed {
	case killIt:
		if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			k.failed(err)
		}
		// It is not to hear of a connection that breaks off before it is dead.
		if s.answer {
			<-p.left
		} else {
			io.Copy(io.Discard, p.client) // ends with the process
		}
	case restart:
		k.restart()
	}
	for _, other := range cut {
		other.close()
	}
}

// commands hands on what the client says.
func (p *passage) commands() error {
	in := bufio.NewReaderSize(p.client, 32<<10)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		u := &unit{verb: p.expect(line), total: size(line)}
		p.knife.mu.Lock()
		command := p.knife.command
		p.knife.mu.Unlock()
		if command != nil {
			command()
		}
		if err := p.whole(u, line, in, p.server); err != nil {
			return err
		}
	}
}

// answers hands on what the server says.
func (p *passage) answers() error {
	in := bufio.NewReaderSize(p.server, 32<<10)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		u := &unit{answer: true, total: size(line)}
		u.verb, u.ends = p.answered(line)
		if err := p.whole(u, line, in, p.client); err != nil {
			return err
		}
	}
}

// whole hands on a unit of which the first line was read, with its literals.
func (p *passage) whole(u *unit, line string, in *bufio.Reader, to net.Conn) error {
	p.knife.begin(u)
	defer func() {
		if u.meets {
			p.knife.striking.Done()
		}
	}()
	for {
		if err := p.pass(u, []byte(line), to); err != nil {
			return err
		}
		left, ok := literal(line)
		if !ok {
			return p.end(u)
		}
		for buf := make([]byte, 4<<10); left > 0; {
			n, err := in.Read(buf[:min(left, int64(len(buf)))])
			if err != nil {
				return err
			}
			left -= int64(n)
			if err := p.pass(u, buf[:n], to); err != nil {
				return err
			}
		}
		var err error
		if line, err = in.ReadString('\n'); err != nil {
			return err
		}
	}
}

// expect notes a command, and gives its name.
func (p *passage) expect(line string) (verb string) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return "" // what AUTHENTICATE has more to say, for example
	}
	verb = strings.ToUpper(words[1])
	if verb == "UID" && len(words) > 2 {
		verb = strings.ToUpper(words[2])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending = append(p.pending, pending{words[0], verb})
	return verb
}

// answered tells which command a line of the server belongs to.
func (p *passage) answered(line string) (verb string, ends bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	words := strings.Fields(line)
	for i, command := range p.pending {
		if len(words) > 0 && words[0] == command.tag {
			p.pending = append(p.pending[:i:i], p.pending[i+1:]...)
			return command.verb, true
		}
	}
	if _, ok := literal(line); ok && len(words) > 2 && words[2] == "FETCH" && strings.Contains(line, "BODY[] ") {
		return bodyOf, false
	}
	if len(p.pending) > 0 {
		return p.pending[0].verb, false
	}
	return "", false
}

// literal tells the size of the literal that a line announces.
func literal(line string) (int64, bool) {
	line = strings.TrimRight(line, "\r\n")
	open := strings.LastIndexByte(line, '{')
	if open < 0 || !strings.HasSuffix(line, "}") {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(line[open+1:len(line)-1], "+"), 10, 64)
	return n, err == nil
}

// size is how long the unit is that begins with a line, if it has one literal at most.
func size(line string) int64 {
	n, ok := literal(line)
	if !ok {
		return int64(len(line))
	}
	return int64(len(line)) + n + int64(len("\r\n"))
}

// The torture relies on what a knife says: where it has struck, and that it has.
func TestKnife(t *testing.T) {
	stories(t, map[string]func(s *story){
		"strikes where it is told to": func(s *story) {
			k := s.knife()
			d := s.device("laptop", fmt.Sprint("port = ", k.port))
			d.sync()
			for i, c := range []struct {
				stroke stroke
				struck string
				stored int
			}{
				{stroke{deed: cutOne, verb: "APPEND"}, "cut inside APPEND", 0},
				{stroke{deed: cutAll, verb: "APPEND", answer: true}, "cut off in the answer to APPEND", 1},
				{stroke{deed: cutOne, verb: bodyOf, answer: true}, "cut inside a FETCH body", 0},
				{stroke{deed: cutAll, octets: 3}, "cut off inside AUTHENTICATE", 0},
				{stroke{deed: cutOne, octets: 3, answer: true}, "cut in what the server says unasked", 0},
			} {
				subject := fmt.Sprint("letter ", i)
				if c.stroke.verb == bodyOf {
					s.deliver("INBOX", note(subject), none)
				} else {
					d.save("INBOX", "cur", fmt.Sprint(i, ".a.host:2,S"), note(subject), then)
				}
				k.arm(rand.New(rand.NewPCG(1, 1)), &c.stroke, nil, func() (*os.Process, error) { return nil, nil })
				before := len(s.messages("INBOX"))
				d.exits(exitTemporary, "sync")
				if got := k.rest(); got != c.struck {
					s.Errorf("it says %q, want %q", got, c.struck)
				}
				if got := len(s.messages("INBOX")) - before; got != c.stored {
					s.Errorf("%s: %d messages were stored, want %d", c.struck, got, c.stored)
				}
				d.sync()
			}
			settle(d)
			d.same()
		},
	})
}
