package wire

// askTag is like none of the client's.
const askTag = "Z1"

// Answer is the tagged response to what Ask sent.
type Answer struct {
	OK   bool
	Code string // of its response code, in capitals, such as "BADEVENT"; "" for none
	Text string // cleaned
}

// question is an Ask under way.
type question struct {
	then   func() // is called as the OK is read; may be nil
	answer chan Answer
}

// Ask sends a command that the client does not have, and waits for its tagged response, which
// the client does not see. Nothing may be under way, and what is written meanwhile waits. It
// reports false where the connection ends.
func (c *Conn) Ask(command string) (Answer, bool) {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.ask(command, nil)
}

// ask is Ask; writing is held. then is called under mu, before what follows the OK is read.
func (c *Conn) ask(command string, then func()) (Answer, bool) {
	q := &question{then, make(chan Answer, 1)}
	c.mu.Lock()
	ended := c.closed
	if !ended {
		c.asked = q
	}
	c.mu.Unlock()
	if ended {
		return Answer{}, false
	}
	if _, err := c.send([]byte(askTag + " " + command + "\r\n")); err != nil {
		return Answer{}, false
	}
	a, ok := <-q.answer
	return a, ok
}

// answersAsk hands the tagged response on where it is to what Ask sent, and tells whether it is.
// The caller holds mu.
func (c *Conn) answersAsk(r *response) bool {
	q := c.asked
	if q == nil || string(r.tag) != askTag {
		return false
	}
	c.asked = nil
	a := Answer{OK: r.word == "OK"}
	at := r.code()
	if at.open >= 0 && at.close >= 0 {
		a.Code = upper(at.name)
	}
	a.Text = clean(trimEOL(r.b[at.text:]), maxText)
	if a.OK && q.then != nil {
		q.then()
	}
	q.answer <- a
	return true
}

// unanswered ends the wait for an answer that will not come. The caller holds mu.
func (c *Conn) unanswered() {
	if c.asked != nil {
		close(c.asked.answer)
		c.asked = nil
	}
}
