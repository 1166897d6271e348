package wire

import (
	"bytes"
	"encoding/base64"
	"unicode/utf16"
	"unicode/utf8"
)

// listName repairs the attributes and the delimiter of a LIST response (RFC 9051,
// 7.3.1), and drops the whole line when the parser would refuse its name.
func listName(r *response) {
	l := lexer{b: r.b, i: r.args}
	l.spaces()
	if !r.flags(&l, "an attribute that is no atom") {
		r.drop("a folder without attributes")
		return
	}
	l.spaces()
	from := l.i
	if delim, ok := l.str(); ok {
		ch, size := utf8.DecodeRune(delim)
		switch {
		case len(delim) == 0:
			r.replace(from, l.i, "NIL") // what no delimiter is called
		case ch == utf8.RuneError || size != len(delim) || r.b[from] != '"':
			r.drop("a folder with an odd delimiter")
			return
		}
	} else if w := l.word(); !equalFold(w, "NIL") {
		r.drop("a folder with an odd delimiter")
		return
	} else if string(w) != "NIL" {
		r.replace(from, l.i, "NIL")
	}
	if l.spaces() == 0 || !r.folderName(&l) {
		r.drop("a folder with a name that cannot be read")
		return
	}
	// What RFC 5258 has after the name is of no use here, and OLDNAME holds one more
	// name to die of.
	if end := len(trimEOL(r.b)); end > l.i {
		if l.spaces(); l.peek() != '(' && !l.eol() {
			r.drop("a folder with a name that cannot be read")
			return
		}
		if l.peek() == '(' {
			r.replace(l.i, end, "")
		}
	}
}

// folderName skips a name, and reports whether the parser would take it.
func (r *response) folderName(l *lexer) bool {
	from := l.i
	name, ok := l.str()
	switch {
	case ok && r.b[from] == '~':
		return false
	case !ok:
		for l.i < len(l.b) && (isAtomChar(l.b[l.i]) || l.b[l.i] == ']') {
			l.i++
		}
		name = l.b[from:l.i]
		if len(name) == 0 {
			return false
		}
	}
	return equalFold(name, "INBOX") || isUTF7(name)
}

// The alphabet of modified UTF-7 (RFC 9051, A.1).
var base64UTF7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding)

// isUTF7 tells whether the parser takes the name: modified UTF-7 in its canonical form,
// or plain UTF-8. Servers give away raw Latin-1 and raw "&", and such a name cannot be
// sent back either, since the client encodes what it sends.
func isUTF7(name []byte) bool {
	if !utf8.Valid(name) {
		return false
	}
	encoded := false // what stands before was encoded
	for i := 0; i < len(name); i++ {
		ch := name[i]
		if ch < ' ' || ch == 0x7f {
			return false
		}
		if ch != '&' {
			encoded = false
			continue
		}
		n := bytes.IndexByte(name[i+1:], '-')
		if n < 0 {
			return false
		}
		text := name[i+1 : i+1+n]
		i += 1 + n
		if n == 0 {
			encoded = false
			continue
		}
		if encoded || !isEncodedText(text) {
			return false
		}
		encoded = true
	}
	return true
}

// isEncodedText tells whether it is UTF-16 in base64, of nothing that needs no encoding.
func isEncodedText(text []byte) bool {
	if bytes.ContainsAny(text, "\r\n") { // which the decoder would pass over
		return false
	}
	units, err := base64UTF7.AppendDecode(nil, text)
	if err != nil || len(units) == 0 || len(units)%2 != 0 {
		return false
	}
	for i := 0; i < len(units); i += 2 {
		ch := rune(units[i])<<8 | rune(units[i+1])
		if utf16.IsSurrogate(ch) {
			i += 2
			if i >= len(units) {
				return false
			}
			low := rune(units[i])<<8 | rune(units[i+1])
			if utf16.DecodeRune(ch, low) == utf8.RuneError {
				return false
			}
		} else if ch >= ' ' && ch <= '~' {
			return false
		}
	}
	return true
}

// statusNumbers are the items of a STATUS response that the parser wants a number for,
// and how many bits it has.
var statusNumbers = map[string]int{
	"MESSAGES": 32, "UIDNEXT": 32, "UIDVALIDITY": 32, "UNSEEN": 32, "DELETED": 32, "APPENDLIMIT": 32,
	"SIZE": 63, "DELETED-STORAGE": 63, "HIGHESTMODSEQ": 64,
}

// statusItems takes items out of a STATUS response (RFC 9051, 7.3.4) whose numbers are
// none or too large, and drops the line when the parser would refuse the name.
func statusItems(r *response) {
	l := lexer{b: r.b, i: r.args}
	l.spaces()
	if !r.folderName(&l) {
		r.drop("the status of a folder with a name that cannot be read")
		return
	}
	if l.spaces(); !l.accept('(') {
		return
	}
	from := l.i
	kept := make([]byte, 0, len(r.b)-from)
	odd := false
	for {
		l.spaces()
		if l.peek() == ')' {
			break
		}
		name := l.word()
		if len(name) == 0 || l.spaces() == 0 {
			return // left to the parser
		}
		at := l.i
		if !l.value() {
			return
		}
		value := l.b[at:l.i]
		if bits, ok := statusNumbers[string(bytes.ToUpper(name))]; ok {
			_, isNumber := number(value, bits)
			if !isNumber && equalFold(name, "APPENDLIMIT") && equalFold(value, "NIL") {
				value, isNumber = []byte("NIL"), true // RFC 7889, 5
			}
			if !isNumber {
				odd = true
				continue
			}
		}
		if len(kept) > 0 {
			kept = append(kept, ' ')
		}
		kept = append(append(append(kept, name...), ' '), value...)
	}
	if string(kept) != string(r.b[from:l.i]) {
		r.replace(from, l.i, string(kept))
	}
	if odd {
		r.because("a status item that is no number")
	}
}
