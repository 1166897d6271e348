package wire

import (
	"bytes"
	"fmt"
	"time"
)

// A server that talks for ever gives no answer either, and what it says must not fill
// the memory. What it may say is bounded by what there is: the messages of its folders.

const (
	// maxTalk is how many responses may come before an answer, and maxUnknown how many
	// about messages that the folder is not known to have.
	maxTalk    = 100_000
	maxUnknown = 20_000
	// perMessage is how many may come about each message: its flags, and that it is gone.
	perMessage = 2
	// maxMessages is how many messages are believed of a folder.
	maxMessages = 10_000_000
	// talkSize is how many octets count as one response.
	talkSize = 512
	// maxShort is how many octets the lines of a response may have that is not long.
	maxShort = 64 << 10
	// maxHeader is how many octets the header of a message may have, where only that was
	// asked for.
	maxHeader = 16 << 20
	// maxDepth is how deep lists may be in lists. The client's parsers are recursive, and
	// a goroutine whose stack is full ends the process.
	maxDepth = 1000
	// maxSilence is for how many timeouts a server may make remarks instead of an answer.
	maxSilence = 4
)

// long are the responses that may be long: numbers of messages.
var long = map[string]bool{"SEARCH": true, "ESEARCH": true, "VANISHED": true, "SORT": true}

// talk is what the server has said since it last answered, or began to owe an answer.
type talk struct {
	about    int       // responses about messages; each talkSize of octets counts as one more
	other    int       // all others
	messages int       // of the largest folder that it told of
	heard    time.Time // when it last said something that may be a part of an answer
}

// answered begins anew.
func (t *talk) answered(now time.Time) { t.about, t.other, t.heard = 0, 0, now }

// add takes in a part of a response, and says what is too much.
func (t *talk) add(r *response, now time.Time, timeout time.Duration, owed bool) string {
	switch cost := 1 + len(r.b)/talkSize; r.word {
	case "FETCH", "EXPUNGE":
		t.about += cost
	default:
		t.other += cost
	}
	if r.first && r.word == "EXISTS" {
		if n, ok := number(bytes.TrimSpace(r.num), 32); ok {
			t.messages = max(t.messages, int(min(n, maxMessages)))
		}
	}
	switch {
	case r.kind == tagged:
		t.answered(now)
	case r.answers():
		t.heard = now
	case owed && now.Sub(t.heard) > maxSilence*timeout:
		return fmt.Sprintf("remarks for %v, and no answer", now.Sub(t.heard).Round(time.Second))
	}
	if t.other > maxTalk || t.about > maxUnknown+perMessage*t.messages {
		return fmt.Sprintf("%d responses, and no answer", t.other+t.about)
	}
	return ""
}

// answers tells whether the response may be a part of the answer to a command, and is no
// mere remark.
func (r *response) answers() bool {
	if r.kind == continuation {
		return !r.dropped
	}
	switch r.word {
	case "FETCH", "LIST", "STATUS", "ESEARCH", "NAMESPACE":
		return true
	}
	return false
}
