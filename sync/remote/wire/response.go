package wire

// kind is what a response begins with (RFC 9051, 2.2.2).
type kind uint8

const (
	untagged kind = iota
	tagged
	continuation
	blank
)

// response is a part of a response, as the server sent it, and what is to be changed
// in it.
type response struct {
	b        []byte // all octets of the part
	literals []span // where in b the literals are
	first    bool   // the part begins the response
	last     bool   // the part ends the response; else the literal of a body follows

	kind kind
	tag  []byte
	num  []byte // of "* 5 EXISTS"
	word string // "OK", "FETCH": in capitals, and never long
	args int    // where in b that follows which comes after word
	data bool   // the response has strings and literals; else its end is free text

	uid      uint64 // of a FETCH, in whichever part it is; 0 where there is none
	emailID  string // likewise
	emailIDs bool   // they are asked for, so one is nothing odd

	edits   []edit
	dropped bool
	why     []string
	out     []byte // what result gave
	scratch []byte
}

type span struct{ from, to int }

// edit puts with where b has a span.
type edit struct {
	span
	with string
}

// begin makes ready for the next part.
func (r *response) begin(more bool) {
	r.b, r.literals, r.edits, r.why = r.b[:0], r.literals[:0], r.edits[:0], nil
	r.first, r.last, r.dropped, r.args = !more, true, false, 0
	if !more {
		r.kind, r.tag, r.num, r.word, r.data = untagged, nil, nil, "", false
		r.uid, r.emailID = 0, ""
	}
}

// maxWord bounds the names of responses and FETCH items that are looked up.
const maxWord = 32

// parseHead reads how the response begins.
func (r *response) parseHead() {
	l := lexer{b: trimEOL(r.b)}
	switch {
	case l.eol() || l.spaces() > 0 && l.eol():
		r.kind = blank
		return
	case l.peek() == '+':
		r.kind, r.args = continuation, 1
		return
	case l.peek() == '*':
		l.i++
	default:
		r.kind = tagged
		r.tag = l.word()
	}
	l.accept(' ')
	word := l.word()
	if len(word) > 0 && word[0] >= '0' && word[0] <= '9' && r.kind == untagged {
		r.num = word
		l.accept(' ')
		word = l.word()
	}
	if len(word) <= maxWord {
		r.word = upper(word)
	}
	r.args = l.i
	r.data = r.kind == untagged && !r.status()
}

// upper gives the word in capitals; those that come by the million cost nothing.
func upper(word []byte) string {
	var buf [maxWord]byte
	up := buf[:copy(buf[:], word)]
	for i, ch := range up {
		if ch >= 'a' && ch <= 'z' {
			up[i] = ch - 'a' + 'A'
		}
	}
	if known, ok := responses[string(up)]; ok {
		return known.word
	}
	return string(up)
}

// status tells whether the response is a status response (RFC 9051, 7.1), which ends
// in free text.
func (r *response) status() bool {
	switch r.word {
	case "OK", "NO", "BAD":
		return r.kind == tagged || r.kind == untagged
	case "BYE", "PREAUTH":
		return r.kind == untagged
	}
	return false
}

// droppable tells whether nothing but what the line itself says is lost with it.
func (r *response) droppable() bool {
	return r.first && r.data && r.word != "FETCH"
}

// replace puts with where b has what stands from from up to to. Edits are made in
// ascending order.
func (r *response) replace(from, to int, with string) {
	r.edits = append(r.edits, edit{span{from, to}, with})
}

// because notes why the response was changed.
func (r *response) because(why string) { r.why = append(r.why, why) }

// drop takes the response out of what the client sees.
func (r *response) drop(why string) {
	r.dropped = true
	r.because(why)
}

// result gives the part as the client is to see it. It is good until begin.
func (r *response) result() []byte {
	if r.dropped {
		return nil
	}
	if len(r.edits) == 0 {
		return r.b
	}
	r.out = r.out[:0]
	at := 0
	for _, e := range r.edits {
		r.out = append(r.out, r.b[at:e.from]...)
		r.out = append(r.out, e.with...)
		at = e.to
	}
	r.out = append(r.out, r.b[at:]...)
	return r.out
}
