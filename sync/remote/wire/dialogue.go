package wire

import (
	"bytes"
	"math"
	"slices"

	"mailtwin/conflict/mail"
)

// dialogue follows who owes whom: which commands are complete and unanswered, and
// whether the one that is being written waits for the server.
type dialogue struct {
	greeted bool // the greeting has come
	ready   bool
	leaving bool // LOGOUT was sent
	trips   int

	sent []command // complete and unanswered, oldest first
	open *command  // being written, idling, or exchanging credentials
	wait bool      // open cannot go on without a "+"

	line    []byte // what has been written of the current line
	literal int64  // how many octets of a literal are still to be written

	emailIDs bool // commands that ask for sizes ask for EMAILIDs, too
	// selections counts the SELECTs that the server has come to: all that was sent before
	// them is answered.
	selections int
}

type command struct {
	tag, name string
	lines     int
	answered  bool // before it was complete
	begun     bool // a SELECT that counts among the selections

	// What a UID FETCH or UID STORE is about, and what it has got an answer for while a SELECT
	// waits behind it.
	messages []mail.UIDRange
	told     map[mail.UID]bool
}

// selects tells whether a command selects a folder.
func (c *command) selects() bool { return c.name == "SELECT" || c.name == "EXAMINE" }

// names tells whether a command is about a message.
func (c *command) names(uid mail.UID) bool {
	return slices.ContainsFunc(c.messages, func(r mail.UIDRange) bool { return r.First <= uid && uid <= r.Last })
}

// about reads which messages a UID FETCH or UID STORE is about, from what follows UID.
func about(args []byte) []mail.UIDRange {
	what, rest, _ := bytes.Cut(args, []byte(" "))
	if string(what) != "FETCH" && string(what) != "STORE" {
		return nil
	}
	set, _, _ := bytes.Cut(rest, []byte(" "))
	if ranges, ok := parseSet(set); ok {
		return ranges
	}
	return []mail.UIDRange{{First: 1, Last: math.MaxUint32}} // n:*, which may be any
}

// stray tells whether a FETCH response, which would be the answer to a command about that
// message, comes while a SELECT waits for its answer, and before it none is under way that the
// response could belong to. The client would take it for the answer to a command behind the
// SELECT, which is about a message of another folder.
func (d *dialogue) stray(uid mail.UID) bool {
	next := slices.IndexFunc(d.sent, func(c command) bool { return c.selects() })
	if next < 0 {
		return false
	}
	for i := range d.sent[:next] {
		if c := &d.sent[i]; c.names(uid) && !c.told[uid] {
			if c.told == nil {
				c.told = map[mail.UID]bool{}
			}
			c.told[uid] = true
			return false
		}
	}
	return true
}

// begin counts a SELECT that the server has come to, and tells whether it has.
func (d *dialogue) begin() bool {
	if len(d.sent) == 0 || !d.sent[0].selects() || d.sent[0].begun {
		return false
	}
	d.sent[0].begun = true
	d.selections++
	return true
}

// owed tells whether the server has to say something.
func (d *dialogue) owed() bool { return !d.greeted || d.wait || len(d.sent) > 0 }

// selecting tells whether a SELECT is under way, whose answer tells of messages.
func (d *dialogue) selecting() bool {
	return slices.ContainsFunc(d.sent, func(c command) bool { return c.selects() })
}

// secret tells whether credentials are under way, which the server may echo.
func (d *dialogue) secret() bool {
	if d.open != nil && d.open.login() {
		return true
	}
	for i := range d.sent {
		if d.sent[i].login() {
			return true
		}
	}
	return false
}

func (c *command) login() bool { return c.name == "LOGIN" || c.name == "AUTHENTICATE" }

// write follows what the client is about to write, and gives what is to be written for
// it. Each line that ends in it is given to show, which may be nil, redacted and without
// its line end. It reports false for a line that is too long.
func (d *dialogue) write(p []byte, show func([]byte)) ([]byte, bool) {
	all, kept := p, []byte(nil) // kept: p up to the last insertion, with all of them
	for len(p) > 0 {
		if d.literal > 0 {
			n := min(d.literal, int64(len(p)))
			d.literal -= n
			p = p[n:]
			continue
		}
		n := bytes.IndexByte(p, '\n') + 1
		if n == 0 {
			n = len(p)
		}
		if len(d.line)+n > maxCommand {
			return nil, false
		}
		from := len(d.line)
		d.line = append(d.line, p[:n]...)
		if at := d.sized(from); at > 0 {
			d.line = slices.Insert(d.line, at, []byte(emailIDItem)...)
			p, n = p[at-from:], n-(at-from)
			kept = append(append(kept, all[:len(all)-len(p)]...), emailIDItem...)
			all = p
		}
		ends := p[n-1] == '\n'
		p = p[n:]
		if ends {
			d.wrote(show)
			d.line = d.line[:0]
		}
	}
	if kept == nil {
		return all, true
	}
	return append(kept, all...), true
}

// wrote takes in a whole line.
func (d *dialogue) wrote(show func([]byte)) {
	first := d.open == nil
	if first {
		tag, rest, _ := bytes.Cut(trimEOL(d.line), []byte(" "))
		name, args, _ := bytes.Cut(rest, []byte(" "))
		d.open = &command{tag: string(tag), name: string(bytes.ToUpper(name))}
		if d.open.name == "UID" {
			d.open.messages = about(args)
		}
		if d.open.name == "LOGOUT" {
			d.leaving = true
		}
	}
	cmd := d.open
	cmd.lines++
	if show != nil {
		show(redactCommand(cmd, first, trimEOL(d.line)))
	}
	lit, isLiteral := announced(d.line)
	var s shape
	s.fragment(d.line)
	switch {
	case cmd.name == "AUTHENTICATE", cmd.name == "IDLE" && first:
		// RFC 9051, 6.2.2 and 6.3.13: the server asks for what follows.
		d.turn()
		d.wait = true
	case isLiteral && !s.quoted:
		d.literal = lit.size
		if !lit.plus {
			d.turn()
			d.wait = true
		}
	default:
		d.open = nil
		if !cmd.answered {
			d.turn()
			d.sent = append(d.sent, *cmd)
		}
	}
}

// turn counts a round trip where the server, which owes nothing, is about to.
func (d *dialogue) turn() {
	if d.ready && !d.owed() {
		d.trips++
	}
}

// continued takes in a "+", and reports false for one that nobody waits for.
func (d *dialogue) continued() bool {
	waited := d.wait
	d.wait = false
	return waited
}

// answered takes in the tagged response to a command, and tells whether it was a SELECT.
func (d *dialogue) answered(tag []byte) (selected bool) {
	if d.open != nil && d.open.tag == string(tag) {
		d.open.answered = true
		if name := d.open.name; d.wait || name == "AUTHENTICATE" || name == "IDLE" {
			// What the server would have asked for is not going to be written.
			d.open, d.wait, d.literal = nil, false, 0
		}
	} else {
		for i := range d.sent {
			if d.sent[i].tag == string(tag) {
				selected = d.sent[i].selects()
				d.sent = append(d.sent[:i], d.sent[i+1:]...)
				break
			}
		}
	}
	return selected
}
