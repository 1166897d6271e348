package wire

import "bytes"

// code is the response code of a status response (RFC 9051, 7.1), such as
// "[UIDNEXT 5]".
type code struct {
	open  int    // where "[" stands; -1 where there is none
	name  []byte // as the server spelt it
	args  span   // what stands between the name and "]"
	close int    // where "]" stands; -1 where it is missing
	text  int    // where the text begins
}

// code finds the response code. That of PERMANENTFLAGS has a list in it, whose flags
// may have a "]" on careless servers.
func (r *response) code() code {
	l := lexer{b: trimEOL(r.b), i: r.args}
	l.spaces()
	c := code{open: -1, close: -1, text: l.i}
	if !l.accept('[') {
		return c
	}
	c.open = l.i - 1
	for l.i < len(l.b) && isAtomChar(l.b[l.i]) {
		l.i++
	}
	c.name = l.b[c.open+1 : l.i]
	c.args.from = l.i
	from := l.i
	if equalFold(c.name, "PERMANENTFLAGS") {
		if n := bytes.IndexByte(l.b[from:], ')'); n >= 0 {
			from += n
		}
	}
	n := bytes.IndexByte(l.b[from:], ']')
	if n < 0 {
		return c
	}
	c.close, c.args.to = from+n, from+n
	l.i = c.close + 1
	l.spaces()
	c.text = l.i
	return c
}

// numeric are the codes whose arguments the parser wants to be just right: so many bits
// for each number, and 0 for a set.
var numeric = map[string][]int{
	"UIDNEXT":       {32},
	"UIDVALIDITY":   {32},
	"HIGHESTMODSEQ": {64},
	"APPENDUID":     {32, 32},
	"COPYUID":       {32, 0, 0},
}

// statusText makes plain text of a response code that the parser would die of, or in
// whose search for "]" it would read on over the line end. The client then has no value,
// as if the server had not given one.
func statusText(r *response) {
	c := r.code()
	if c.open < 0 {
		return
	}
	if len(c.name) == 0 || c.close < 0 || !bytes.ContainsRune([]byte(" (]"), rune(r.b[c.args.from])) {
		r.replace(c.open, c.open+1, "(")
		r.because("a response code that is none")
		return
	}
	name := string(bytes.ToUpper(c.name))
	if bits, ok := numeric[name]; ok {
		args, ok := canonical(r.b[c.args.from:c.args.to], bits)
		if !ok {
			r.replace(c.open, c.open+1, "(")
			r.because("a response code with odd numbers")
			return
		}
		if args != string(r.b[c.args.from:c.args.to]) {
			r.replace(c.args.from, c.args.to, args)
		}
		return
	}
	// RFC 9051, 7.1 has response codes in any case; the parser compares them as they
	// are.
	if name != string(c.name) {
		r.replace(c.open+1, c.open+1+len(c.name), name)
	}
	switch name {
	case "CAPABILITY":
		r.capabilities(c.args.from, c.args.to)
	case "PERMANENTFLAGS":
		l := lexer{b: r.b, i: c.args.from}
		l.spaces()
		if !r.flags(&l, "a flag that is no atom") {
			r.edits = r.edits[:0]
			r.replace(c.open, c.open+1, "(")
			r.because("a response code without its flags")
		} else if l.i < c.close {
			r.replace(l.i, c.close, "")
		}
	}
}

// canonical gives the numbers with one space before each.
func canonical(args []byte, bits []int) (string, bool) {
	fields := bytes.Fields(args)
	if len(fields) != len(bits) {
		return "", false
	}
	var out []byte
	for i, f := range fields {
		ok := false
		if bits[i] > 0 {
			_, ok = number(f, bits[i])
		} else {
			_, ok = parseSet(f)
		}
		if !ok {
			return "", false
		}
		out = append(append(out, ' '), f...)
	}
	return string(out), true
}
