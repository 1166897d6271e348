package mail

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text from outside fit to be shown on one line of a terminal or a
// log: control characters of C0 and C1 (ESC among them), line separators and the
// controls of bidirectional text are left out, white space becomes a space, and
// what is no UTF-8 becomes U+FFFD. A text of more than max octets is cut and ends
// in "…", which counts.
func Clean(s string, max int) string {
	const ellipsis = "…"
	var b strings.Builder
	cut := 0 // how much of b stays if the text turns out to be too long
	for _, r := range s {
		switch {
		case r == '\t', r == '\n', r == '\r':
			r = ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r),
			unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r), r == '\ufeff':
			continue
		}
		if b.Len()+utf8.RuneLen(r) > max {
			if cut+len(ellipsis) > max {
				return ""
			}
			return b.String()[:cut] + ellipsis
		}
		b.WriteRune(r)
		if b.Len()+len(ellipsis) <= max {
			cut = b.Len()
		}
	}
	return b.String()
}
