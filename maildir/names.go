package maildir

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// In the nested layout one part of a folder's name is one directory. Ordinary parts appear as they are;
// odd ones are escaped: each octet that may not stand where it stands becomes "%"
// and two capital hexadecimal digits, and so does each "%" in such a part. The
// empty part is "%" alone.
//
// A part that is not odd but looks like what the encoder makes ("%2Ehidden") has
// its "%" escaped, and so has what would then look like that, and so on. All
// others keep their "%": "100%" and "50%20off" are directories of that name. So
// every directory that a user makes under an ordinary name is a folder of exactly
// that name, and every folder has exactly one directory.

// encodePart gives the name of the directory for a part of a folder's name. It is
// never empty, "." or "..", starts with no ".", and has no "/" and no control
// character. It may be longer than a directory's name can be: see place.go.
func encodePart(part string) string {
	switch {
	case odd(part):
		return escape(part, true)
	case ambiguous(part):
		return escape(part, false)
	}
	return part
}

// decodePart gives the part that encodePart makes dir of; false if there is none.
func decodePart(dir string) (string, bool) {
	for _, part := range []string{unescape(dir), dir} {
		if encodePart(part) == dir {
			return part, true
		}
	}
	return "", false
}

// reserved are the names in a folder's directory that are not folders inside it.
var reserved = []string{"cur", "new", "tmp", lettersFile}

// odd tells whether anything in part must be escaped.
func odd(part string) bool { return part == "" || oddFrom(part, 0) < len(part) }

// oddFrom finds the first octet at i or after it that must be escaped.
func oddFrom(part string, i int) int {
	for ; i < len(part); i++ {
		if oddAt(part, i) {
			return i
		}
	}
	return i
}

func oddAt(part string, i int) bool {
	switch c := part[i]; {
	case c == '/':
		return true
	case c < ' ' || c == 0x7f:
		return true
	case c == '.' && (i == 0 || i == len(part)-1): // hidden; Windows and SMB drop the last one
		return true
	case c == ' ' && i == len(part)-1: // likewise
		return true
	case i == 0:
		for _, r := range reserved {
			if part == r {
				return true
			}
		}
	}
	return inC1(part, i)
}

// inC1 tells whether the octet at i belongs to one of the control characters U+0080
// to U+009F, which terminals obey.
func inC1(part string, i int) bool {
	if part[i] == 0xc2 && i+1 < len(part) {
		r, _ := utf8.DecodeRuneInString(part[i:])
		return r != utf8.RuneError && unicode.IsControl(r)
	}
	return i > 0 && part[i-1] == 0xc2 && part[i] >= 0x80 && part[i] < 0xa0
}

// escape escapes each "%", and what is odd if oddToo.
func escape(part string, oddToo bool) string {
	if part == "" {
		return "%"
	}
	var b strings.Builder
	for i := range len(part) {
		if c := part[i]; c == '%' || oddToo && oddAt(part, i) {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescape takes back every escape in dir.
func unescape(dir string) string {
	if dir == "%" {
		return ""
	}
	var b strings.Builder
	for i := 0; i < len(dir); i++ {
		if c := dir[i]; c == '%' && i+2 < len(dir) {
			hi, lo := hexDigit(dir[i+1]), hexDigit(dir[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(dir[i])
	}
	return b.String()
}

func hexDigit(c byte) int { return strings.IndexByte("0123456789ABCDEF", c) }

// ambiguous tells whether part is what some other part is encoded as, or looks like
// the short form of a name. Each level is shorter than the one before, so this ends.
func ambiguous(part string) bool {
	if isShort(part) {
		return true
	}
	inner := unescape(part)
	if inner == part {
		return false
	}
	if odd(inner) {
		return escape(inner, true) == part
	}
	return escape(inner, false) == part && ambiguous(inner)
}
