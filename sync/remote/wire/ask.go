package wire

import (
	"fmt"
	"strings"
)

// askTag and askedLast are like none of the client's tags. askedLast is that of the last command.
const (
	askTag    = "Z0"
	askedLast = "Z1"
)

// Answer is the tagged response to what Ask sent.
type Answer struct {
	OK   bool
	Code string // of its response code, in capitals, such as "BADEVENT"; "" for none
	Text string // cleaned
}

// question is an Ask under way.
type question struct {
	then   func() // is called as the last OK is read; may be nil
	answer chan Answer
	no     *Answer // the first one that is no OK; nil: there was none
}

// Ask sends commands that the client does not have, in one breath, and waits for their tagged
// responses, which the client does not see. It gives the last one, or the first that is no OK.
// Nothing may be under way but an IDLE that was told to end, and what is written meanwhile waits.
// It reports false where the connection ends.
func (c *Conn) Ask(commands ...string) (Answer, bool) {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.ask(nil, commands...)
}

// ask is Ask; writing is held. then is called under mu, before what follows the OK is read.
func (c *Conn) ask(then func(), commands ...string) (Answer, bool) {
	q := &question{then: then, answer: make(chan Answer, 1)}
	c.mu.Lock()
	ended := c.closed
	if !ended {
		c.asked = q
	}
	c.mu.Unlock()
	if ended {
		return Answer{}, false
	}
	var all strings.Builder
	for i, command := range commands {
		tag := askedLast
		if i < len(commands)-1 {
			tag = askTag
		}
		fmt.Fprintf(&all, "%s %s\r\n", tag, command)
	}
	if _, err := c.send([]byte(all.String())); err != nil {
		return Answer{}, false
	}
	a, ok := <-q.answer
	return a, ok
}

// answersAsk hands the tagged response on where it is to what Ask sent, and tells whether it is.
// The caller holds mu.
func (c *Conn) answersAsk(r *response) bool {
	q := c.asked
	last := string(r.tag) == askedLast
	if q == nil || !last && string(r.tag) != askTag {
		return false
	}
	a := Answer{OK: r.word == "OK"}
	at := r.code()
	if at.open >= 0 && at.close >= 0 {
		a.Code = upper(at.name)
	}
	a.Text = clean(trimEOL(r.b[at.text:]), maxText)
	if !a.OK && q.no == nil {
		q.no = &a
	}
	if !last {
		return true
	}
	c.asked = nil
	if q.no != nil {
		a = *q.no
	} else if q.then != nil {
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
