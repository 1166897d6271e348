package wire

import (
	"bytes"
	"math"
	"strconv"
)

// literal is the announcement of a literal at the end of a line (RFC 9051, 4.3).
type literal struct {
	at   int   // where "{" or "~{" stands
	size int64 // octets that follow the line; -1 for a number that is too large
	plus bool  // {n+}: not waited for
}

// announced finds the literal that a line with its line end announces. The space that
// may stand before the line end is what the client's parser lets pass, and so it has to
// count here.
func announced(line []byte) (literal, bool) {
	b := trimEOL(line)
	b = bytes.TrimSuffix(b, []byte(" "))
	if len(b) < 3 || b[len(b)-1] != '}' {
		return literal{}, false
	}
	b = b[:len(b)-1]
	var lit literal
	if b[len(b)-1] == '+' {
		lit.plus = true
		b = b[:len(b)-1]
	}
	start := len(b)
	for start > 0 && b[start-1] >= '0' && b[start-1] <= '9' {
		start--
	}
	if start == len(b) || start == 0 || b[start-1] != '{' {
		return literal{}, false
	}
	size, err := strconv.ParseInt(string(b[start:]), 10, 64)
	if err != nil {
		size = -1
	}
	lit.size, lit.at = size, start-1
	if lit.at > 0 && b[lit.at-1] == '~' {
		lit.at-- // literal8 of RFC 3516
	}
	if lit.at > 0 && b[lit.at-1] != ' ' && b[lit.at-1] != '(' {
		return literal{}, false
	}
	return lit, true
}

// trimEOL gives the line without its CRLF or LF.
func trimEOL(line []byte) []byte {
	line = bytes.TrimSuffix(line, []byte("\n"))
	return bytes.TrimSuffix(line, []byte("\r"))
}

// shape follows parentheses, sections and quoted strings through the lines of a
// response.
type shape struct {
	depth   int  // of parentheses outside of sections
	section bool // within the brackets of BODY[...]
	header  bool // the last section is of a header
	quoted  bool // the line ended within a quoted string, as no line may
	closed  int  // where in the line the last section ended; -1 if none did
}

// fragment follows one more line.
func (s *shape) fragment(b []byte) {
	s.closed, s.quoted = -1, false
	for i := 0; i < len(b); i++ {
		ch := b[i]
		switch {
		case s.quoted && ch == '\\':
			i++
		case ch == '"':
			s.quoted = !s.quoted
		case s.quoted:
		case s.section:
			if ch == ']' {
				s.section, s.closed = false, i
			}
		case ch == '(':
			s.depth++
		case ch == ')':
			s.depth--
		case ch == '[' && s.depth == 1:
			s.section = hasSuffixFold(b[:i], "BODY") || hasSuffixFold(b[:i], "BINARY")
			s.header = bytes.HasPrefix(bytes.ToUpper(b[i+1:min(len(b), i+7)]), []byte("HEADER"))
		}
	}
}

// body tells whether the literal at the end of the line, which fragment has just
// followed, is what a FETCH response gives as BODY[...], BINARY[...] or RFC822.
func (s *shape) body(line []byte, lit literal) bool {
	if s.depth != 1 || s.section || lit.at == 0 {
		return false
	}
	before := bytes.TrimSuffix(line[:lit.at], []byte(" "))
	if s.closed >= 0 && s.closed < len(before) {
		rest := before[s.closed+1:] // of BODY[]<0>
		return len(rest) == 0 || rest[0] == '<' && bytes.IndexByte(rest, '>') == len(rest)-1
	}
	for name := range rfc822 {
		if hasSuffixFold(before, name) {
			i := len(before) - len(name)
			return i == 0 || before[i-1] == ' ' || before[i-1] == '('
		}
	}
	return false
}

func hasSuffixFold(b []byte, suffix string) bool {
	return len(b) >= len(suffix) && equalFold(b[len(b)-len(suffix):], suffix)
}

func equalFold(b []byte, s string) bool { return bytes.EqualFold(b, []byte(s)) }

// lexer walks over a part of a response whose literals are inside it. It reads what is
// there with tolerance: it is for finding out what the client's parser would make of
// it.
type lexer struct {
	b []byte
	i int
}

// peek gives the next octet, and 0 at the end.
func (l *lexer) peek() byte {
	if l.i < len(l.b) {
		return l.b[l.i]
	}
	return 0
}

// spaces skips spaces, and reports how many there were.
func (l *lexer) spaces() int {
	from := l.i
	for l.peek() == ' ' {
		l.i++
	}
	return l.i - from
}

// accept skips ch where it stands next.
func (l *lexer) accept(ch byte) bool {
	if l.i < len(l.b) && l.b[l.i] == ch {
		l.i++
		return true
	}
	return false
}

// eol tells whether only the line end is left.
func (l *lexer) eol() bool { return len(trimEOL(l.b[l.i:])) == 0 }

// word reads up to a space, a parenthesis, a quote or a control character.
func (l *lexer) word() []byte {
	from := l.i
	for l.i < len(l.b) {
		switch ch := l.b[l.i]; {
		case ch <= ' ', ch == 0x7f, ch == '(', ch == ')', ch == '"':
			return l.b[from:l.i]
		}
		l.i++
	}
	return l.b[from:l.i]
}

// str reads a quoted string or a literal.
func (l *lexer) str() (value []byte, ok bool) {
	from := l.i
	if l.accept('"') {
		for l.i < len(l.b) {
			ch := l.b[l.i]
			l.i++
			switch {
			case ch == '"':
				return value, true
			case ch == '\n':
				l.i = from
				return nil, false
			case ch == '\\' && l.i < len(l.b):
				ch = l.b[l.i]
				l.i++
			}
			value = append(value, ch)
		}
		l.i = from
		return nil, false
	}
	if l.peek() != '{' && l.peek() != '~' || from > 0 && l.b[from-1] != ' ' && l.b[from-1] != '(' {
		return nil, false
	}
	end := bytes.IndexByte(l.b[from:], '\n') + 1
	lit, ok := announced(l.b[from : from+end])
	if !ok || lit.at != 0 || lit.size < 0 || lit.size > int64(len(l.b)-from-end) {
		return nil, false
	}
	l.i = from + end + int(lit.size)
	return l.b[from+end : l.i], true
}

// value skips a string, a list or a word.
func (l *lexer) value() bool {
	depth := 0
	for {
		switch ch := l.peek(); {
		case ch == '(':
			depth++
			l.i++
		case ch == ')' && depth > 0:
			depth--
			l.i++
		case ch == ' ' && depth > 0:
			l.i++
		default:
			if _, ok := l.str(); ok {
				break
			}
			// A "{" that announces nothing is left where it is: with what follows it
			// taken out, it might.
			if w := l.word(); len(w) == 0 || bytes.IndexByte(w, '{') >= 0 {
				return false
			}
		}
		if depth == 0 {
			return true
		}
	}
}

// isAtomChar tells what the client's parser takes for ATOM-CHAR (RFC 9051, 9), which
// has no "]", and of the octets above ASCII those that are no C1 control characters.
func isAtomChar(ch byte) bool {
	switch ch {
	case '(', ')', '{', ' ', '%', '*', '"', '\\', ']':
		return false
	}
	return ch > 0x1f && (ch < 0x7f || ch > 0x9f)
}

func isAtom(b []byte) bool {
	for _, ch := range b {
		if !isAtomChar(ch) {
			return false
		}
	}
	return len(b) > 0
}

// number reads digits that fit into so many bits, which are not more than 64.
func number(b []byte, bits int) (uint64, bool) {
	limit := uint64(math.MaxUint64) >> (64 - bits)
	var n uint64
	for _, ch := range b {
		digit := uint64(ch - '0')
		if ch < '0' || ch > '9' || n > (limit-digit)/10 {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, len(b) > 0
}
