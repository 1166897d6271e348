package wire

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"strings"

	"mailtwin/conflict/mail"
)

// The client's parser is fail-stop: what it does not know or like ends the connection
// and all commands under way. So one odd folder name would make an account unreadable,
// and one odd date a batch of messages. What is known to be harmless is repaired or
// dropped here, and all else is left alone: garbage that comes where a response should
// be means that the two sides no longer agree where a literal ends, and then nothing
// that follows may be believed.

// known is an untagged response that the client understands, and what has to be looked
// after in it.
type known struct {
	word string
	fix  func(*response)
}

// responses are all untagged responses that the client understands.
var responses = byWord(
	known{"OK", statusText}, known{"NO", statusText}, known{"BAD", statusText},
	known{"PREAUTH", statusText}, known{"BYE", statusText},
	// A server that lists IMAP4rev2 beside IMAP4rev1 goes by the latter until ENABLE
	// (RFC 9051, 6.3.1), but the client would send UTF-8 names at once.
	known{"CAPABILITY", capabilities}, known{"ENABLED", capabilities},
	known{"FLAGS", flagList},
	known{"FETCH", fetchItems},
	known{"LIST", listName},
	known{"STATUS", statusItems},
	known{"ESEARCH", searchResult},
	known{"NAMESPACE", nils}, known{"ID", nils},
	known{"EXISTS", nil}, known{"EXPUNGE", nil}, known{"RECENT", nil}, known{"SEARCH", unasked},
	known{"SORT", unasked}, known{"THREAD", unasked}, known{"METADATA", unasked}, known{"QUOTA", unasked},
	known{"QUOTAROOT", unasked}, known{"MYRIGHTS", unasked}, known{"ACL", unasked},
)

// unasked drops what the client understands and what is never asked for, so that its
// parsers for that are nothing to worry about.
func unasked(r *response) { r.drop("a response that nobody asked for") }

func byWord(all ...known) map[string]known {
	m := make(map[string]known, len(all))
	for _, k := range all {
		m[k.word] = k
	}
	return m
}

// repair changes what the client's parser would die of. Before the greeting nothing is
// dropped: this may be no IMAP server at all.
func (r *response) repair(greeted bool) {
	switch {
	case r.dropped || r.kind == continuation:
	case r.kind == blank && greeted:
		// Some servers end a literal or a FETCH response with one CRLF too many.
		r.drop("a blank line")
	case r.kind == tagged:
		if r.status() {
			statusText(r)
		}
	default:
		k, ok := responses[r.word]
		switch {
		case !ok && greeted && isAtom([]byte(r.word)):
			// RFC 9051, 2.2.2: the client MUST be ready for any response. Servers send
			// VANISHED, LSUB, XLIST or LANGUAGE unasked.
			r.drop("a response that is not known")
		case ok && k.fix != nil:
			k.fix(r)
		}
	}
}

// capabilities takes IMAP4rev2 out where IMAP4rev1 is there too, and what is no atom,
// such as "X=(a)", on which the parser would spin for ever.
func capabilities(r *response) {
	if len(r.literals) > 0 {
		return
	}
	r.capabilities(r.args, len(trimEOL(r.b)))
}

func (r *response) capabilities(from, to int) {
	words := bytes.Fields(r.b[from:to])
	rev1 := false
	for _, w := range words {
		rev1 = rev1 || equalFold(w, "IMAP4rev1")
	}
	var kept strings.Builder
	odd := false
	for _, w := range words {
		switch {
		case rev1 && equalFold(w, "IMAP4rev2"):
		case !isAtom(w):
			odd = true
		default:
			kept.WriteByte(' ')
			kept.Write(w)
		}
	}
	// A space at the end is one that the parser expects a capability after.
	if kept.String() != string(r.b[from:to]) {
		r.replace(from, to, kept.String())
	}
	if odd {
		r.because("a capability that is no atom")
	}
}

// flagList takes flags out that are no flags: those with "]" or in quotes that some
// servers let other clients set. They stay on the server, where only the flags that
// change are ever named.
func flagList(r *response) {
	l := lexer{b: r.b, i: r.args}
	l.spaces()
	r.flags(&l, "a flag that is no atom")
}

// flags repairs the list of flags at the lexer, and reports whether there is one.
func (r *response) flags(l *lexer, why string) bool {
	from := l.i
	if !l.accept('(') {
		return false
	}
	kept := r.scratch[:0]
	odd, plain := false, true // plain: the flags with one space between each two
	for first := true; ; first = false {
		spaces := l.spaces()
		if l.peek() == ')' {
			plain = plain && spaces == 0
			break
		}
		plain = plain && (spaces == 1 || first && spaces == 0)
		start := l.i
		if _, ok := l.str(); ok {
			odd = true
			continue
		}
		for l.i < len(l.b) && l.b[l.i] > ' ' && l.b[l.i] != ')' && l.b[l.i] != '"' {
			l.i++
		}
		flag := l.b[start:l.i]
		if len(flag) == 0 {
			l.i = from
			return false // left to the parser
		}
		if !isFlag(flag) {
			odd = true
			continue
		}
		if len(kept) > 0 {
			kept = append(kept, ' ')
		}
		kept = append(kept, flag...)
	}
	l.i++
	r.scratch = kept
	if odd || !plain {
		r.replace(from, l.i, "("+string(kept)+")")
	}
	if odd {
		r.because(why)
	}
	return true
}

// isFlag tells whether the client's parser takes it for a flag (RFC 9051, 9: flag-perm).
func isFlag(b []byte) bool {
	return string(b) == `\*` || isAtom(bytes.TrimPrefix(b, []byte(`\`)))
}

// searchResult puts what the parser compares as it is into capitals: the correlator and
// the UID indicator of RFC 4731, 3.1. And it sorts the UIDs, which the client takes in any
// other order in quadratic time; RFC 4731, 3.1, has them in any.
func searchResult(r *response) {
	l := lexer{b: r.b, i: r.args}
	l.spaces()
	if l.accept('(') {
		from := l.i
		if w := l.word(); equalFold(w, "TAG") && string(w) != "TAG" {
			r.replace(from, l.i, "TAG")
		}
		l.spaces()
		if !l.value() || !l.accept(')') {
			return
		}
		l.spaces()
	}
	from := l.i
	if w := l.word(); equalFold(w, "UID") {
		if string(w) != "UID" {
			r.replace(from, l.i, "UID")
		}
		l.spaces()
		from = l.i
	} else {
		l.i = from
	}
	for l.i = from; !l.eol(); l.spaces() {
		name := l.word()
		l.spaces()
		from = l.i
		value := l.word()
		if len(name) == 0 || len(value) == 0 {
			return
		}
		if set, ok := parseSet(value); ok && equalFold(name, "ALL") && !ascending(set) {
			r.replace(from, l.i, inOrder(set))
		}
	}
}

func ascending(set []mail.UIDRange) bool {
	return slices.IsSortedFunc(set, byFirst)
}

func byFirst(a, b mail.UIDRange) int { return cmp.Compare(a.First, b.First) }

// inOrder writes a set as IMAP has it, sorted.
func inOrder(set []mail.UIDRange) string {
	slices.SortFunc(set, byFirst)
	var sorted mail.UIDSet
	for _, r := range set {
		sorted.AddRange(r)
	}
	var b []byte
	for i, r := range sorted {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(r.First), 10)
		if r.Last != r.First {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(r.Last), 10)
		}
	}
	return string(b)
}

// nils puts NIL into capitals, which the parser compares as it is, and makes NIL of the
// empty delimiter that some servers give for none (RFC 9051, 6.3.10).
func nils(r *response) {
	l := lexer{b: r.b, i: r.args}
	before := true // the value before was a string
	for !l.eol() {
		from := l.i
		if value, ok := l.str(); ok {
			if before && len(value) == 0 && r.word == "NAMESPACE" && l.peek() == ')' {
				r.replace(from, l.i, "NIL")
			}
			before = true
			continue
		}
		if w := l.word(); len(w) > 0 {
			if equalFold(w, "NIL") && string(w) != "NIL" {
				r.replace(from, l.i, "NIL")
			}
		} else {
			if l.b[l.i] == '(' {
				before = false
			}
			l.i++
		}
	}
}
