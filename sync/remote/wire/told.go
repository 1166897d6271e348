package wire

import "bytes"

// Told is what the server says about folders and messages.
type Told struct {
	// Word is EXISTS, EXPUNGE, FETCH or VANISHED, which are about the selected folder; STATUS or
	// LIST; BYE; or Overflow.
	Word    string
	Mailbox string // of STATUS and LIST, as it came
	// Items are the numbers of a STATUS, by their names in capitals.
	Items map[string]uint64
	// Gone: a LIST says that there is no such folder, or none that can be selected.
	Gone bool
}

// Overflow is the Word of an untagged OK [NOTIFICATIONOVERFLOW]: from then on the server
// announces nothing (RFC 5465, 5.8).
const Overflow = "NOTIFICATIONOVERFLOW"

// ofMessages tells whether it is about messages of the selected folder.
func (t Told) ofMessages() bool {
	switch t.Word {
	case "EXISTS", "EXPUNGE", "FETCH", "VANISHED":
		return true
	}
	return false
}

// Watch has f called, by the reader, with all that the server says, asked or not, but for what
// is part of the answer to a SELECT. f must not wait for anything.
func (c *Conn) Watch(f func(Told)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch = f
}

// told reads an untagged response, and reports whether it may tell of a change, or that no
// more of them will be told.
func (r *response) told() (Told, bool) {
	t := Told{Word: r.word}
	switch r.word {
	case "EXISTS", "EXPUNGE", "FETCH", "VANISHED", "BYE":
		return t, true
	case "OK":
		at := r.code()
		t.Word = Overflow
		return t, at.open >= 0 && equalFold(at.name, Overflow)
	case "STATUS":
		l := lexer{b: r.b, i: r.args}
		l.spaces()
		t.Mailbox = nameAt(&l)
		t.Items = statusOf(&l)
		return t, true
	case "LIST":
		l := lexer{b: r.b, i: r.args}
		l.spaces()
		from := l.i
		if !l.value() {
			return t, true
		}
		attrs := bytes.ToUpper(l.b[from:l.i])
		t.Gone = bytes.Contains(attrs, []byte(`\NONEXISTENT`)) || bytes.Contains(attrs, []byte(`\NOSELECT`))
		if l.spaces(); l.value() { // the delimiter
			l.spaces()
			t.Mailbox = nameAt(&l)
		}
		return t, true
	}
	return t, false
}

// nameAt reads the name of a folder, whatever it is: Dovecot announces some as they are, and not
// in modified UTF-7.
func nameAt(l *lexer) string {
	name, ok := l.str()
	if !ok {
		name = l.word()
	}
	return string(name)
}

// statusOf reads the items of a STATUS that are numbers.
func statusOf(l *lexer) map[string]uint64 {
	items := map[string]uint64{}
	if l.spaces(); !l.accept('(') {
		return items
	}
	for {
		l.spaces()
		name := bytes.ToUpper(l.word())
		bits, known := statusNumbers[string(name)]
		if len(name) == 0 || l.spaces() == 0 {
			return items
		}
		from := l.i
		if !l.value() {
			return items
		}
		if n, ok := number(l.b[from:l.i], max(bits, 1)); ok && known {
			items[string(name)] = n
		}
	}
}
