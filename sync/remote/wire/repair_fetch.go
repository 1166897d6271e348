package wire

import (
	"bytes"
	"time"
)

// rfc822 are the old names of FETCH items, which the parser does not know, and what
// RFC 9051 6.4.5 says that they are the same as.
var rfc822 = map[string]string{
	"RFC822":        "BODY[]",
	"RFC822.HEADER": "BODY[HEADER]",
	"RFC822.TEXT":   "BODY[TEXT]",
}

// noDate stands in for an INTERNALDATE that is none; the parser accepts no other way to
// have none.
const noDate = `"01-Jan-1970 00:00:00 +0000"`

// fetchItems repairs a part of a FETCH response (RFC 9051, 7.5.2), item by item. It
// takes out what the parser does not know, EMAILID, SAVEDATE, X-GM-LABELS and others
// that servers send unasked, and ENVELOPE and BODYSTRUCTURE, which nobody asks for, but
// never a body. Where it cannot follow the response, it
// leaves the rest alone.
func fetchItems(r *response) {
	l := lexer{b: r.b, i: r.args}
	if r.first {
		l.spaces()
		if !l.accept('(') {
			return
		}
	}
	kept := !r.first // an item stands before this one
	for {
		gap := l.i // from here an item would be taken out, with the space before it
		l.spaces()
		if l.peek() == ')' || l.eol() {
			return
		}
		from := l.i
		name := l.attName()
		if len(name) == 0 {
			return
		}
		nameEnd := l.i
		if l.spaces() == 0 && l.peek() != '(' {
			return
		}
		at := l.i
		if lit, ok := announced(l.b[at:]); ok && !r.last && lit.at == 0 && at+bytes.IndexByte(l.b[at:], '\n')+1 == len(l.b) {
			r.bodyName(name, from, nameEnd)
			if l.b[at] == '~' && !equalFold(name[:min(len(name), 6)], "BINARY") {
				// A literal8 (RFC 3516), which the parser knows in BINARY[...] only.
				r.replace(at, at+1, "")
			}
			return
		}
		if !l.value() || l.peek() != ' ' && l.peek() != ')' && !l.eol() {
			return
		}
		if r.fetchItem(name, span{from, nameEnd}, span{at, l.i}) {
			kept = true
			continue
		}
		if !kept && l.peek() == ' ' {
			l.spaces()
			gap = from
		}
		r.replace(gap, l.i, "")
		if r.emailIDs && equalFold(name, "EMAILID") {
			continue
		}
		r.because("FETCH " + clean(name, 40) + ", which is not known or not readable")
	}
}

// bodyName gives the item that holds a body the name that the parser knows.
func (r *response) bodyName(name []byte, from, to int) {
	if modern, ok := rfc822[string(bytes.ToUpper(name))]; ok {
		r.replace(from, to, modern)
	}
}

// fetchItem repairs one item, and reports whether it may stay.
func (r *response) fetchItem(name []byte, at, val span) bool {
	value := r.b[val.from:val.to]
	base, _, section := bytes.Cut(name, []byte("["))
	var buf [maxWord]byte
	if len(base) > len(buf) {
		return false
	}
	up := buf[:copy(buf[:], base)]
	for i, ch := range up {
		if ch >= 'a' && ch <= 'z' {
			up[i] = ch - 'a' + 'A'
		}
	}
	switch string(up) {
	case "FLAGS":
		l := lexer{b: r.b, i: val.from}
		return r.flags(&l, "a flag that is no atom")
	case "UID":
		n, ok := number(value, 32)
		r.uid = n
		return ok
	case "EMAILID":
		r.emailID = objectID(value)
		return false
	case "RFC822.SIZE":
		_, ok := number(value, 63)
		return ok
	case "MODSEQ":
		inner := bytes.TrimSuffix(bytes.TrimPrefix(value, []byte("(")), []byte(")"))
		n := bytes.TrimSpace(inner)
		if _, ok := number(n, 64); !ok || len(inner) != len(value)-2 {
			return false
		}
		if len(n) != len(inner) {
			r.replace(val.from, val.to, "("+string(n)+")")
		}
		return true
	case "INTERNALDATE":
		if !isDate(value) {
			r.replace(val.from, val.to, noDate)
			r.because("an INTERNALDATE that is none")
		}
		return true
	case "RFC822", "RFC822.HEADER", "RFC822.TEXT":
		r.bodyName(name, at.from, at.to)
		r.nilValue(val)
		return true
	case "BODY": // without a section it is a structure
		r.nilValue(val)
		return section
	case "BINARY":
		r.nilValue(val)
		return section
	case "BINARY.SIZE":
		return section
	}
	return false
}

// nilValue puts NIL into capitals, which the parser compares as it is.
func (r *response) nilValue(val span) {
	if v := r.b[val.from:val.to]; equalFold(v, "NIL") && string(v) != "NIL" {
		r.replace(val.from, val.to, "NIL")
	}
}

// isDate tells whether the parser takes the quoted string for a date-time.
func isDate(quoted []byte) bool {
	if len(quoted) < 2 || quoted[0] != '"' || bytes.IndexByte(quoted, '\\') >= 0 {
		return false
	}
	t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", string(quoted[1:len(quoted)-1]))
	return err == nil && !t.IsZero()
}

// attName reads the name of a FETCH item, with the section in brackets and the origin
// that may follow.
func (l *lexer) attName() []byte {
	from := l.i
	for l.i < len(l.b) && isAtomChar(l.b[l.i]) && l.b[l.i] != '[' {
		l.i++
	}
	if l.i > from && l.accept('[') {
		for {
			if _, ok := l.str(); ok {
				continue
			}
			if l.i == len(l.b) || l.b[l.i] == '\n' {
				return nil
			}
			if l.accept(']') {
				break
			}
			l.i++
		}
		if l.accept('<') {
			for l.i < len(l.b) && l.b[l.i] != ' ' && l.b[l.i] != '\n' {
				l.i++
			}
		}
	}
	return l.b[from:l.i]
}
