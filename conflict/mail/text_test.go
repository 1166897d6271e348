package mail

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestClean(t *testing.T) {
	for _, c := range []struct {
		name, in string
		max      int
		want     string
	}{
		{"plain text stays", "Mailbox is full", 80, "Mailbox is full"},
		{"letters of any script stay", "Entwürfe 草稿", 80, "Entwürfe 草稿"},
		{"an escape sequence loses its ESC", "a\x1b[31mred\x1b[0m", 80, "a[31mred[0m"},
		{"so does the one-octet form of C1", "a\u009b31mred", 80, "a31mred"},
		{"NUL, BEL and DEL go", "a\x00b\x07c\x7fd", 80, "abcd"},
		{"line ends cannot forge a second line", "one\r\ntwo\tthree", 80, "one  two three"},
		{"nor can the separators of Unicode", "one\u2028two\u2029three", 80, "onetwothree"},
		{"text cannot be turned round", "abc\u202etxt.exe\u2066x\u200f", 80, "abctxt.exex"},
		{"what is no UTF-8 is shown as such", "a\xffb", 80, "a\ufffdb"},
		{"long text is cut", "0123456789", 8, "01234…"},
		{"text of exactly max octets is not", "01234567", 8, "01234567"},
		{"letters are not cut in two", "üüüü", 6, "ü…"},
		{"no room at all", "abc", 2, ""},
		{"nothing", "", 8, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Clean(c.in, c.max); got != c.want {
				t.Errorf("Clean(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
			}
		})
	}
}

func TestCleanIsAlwaysFitToShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := string(rapid.SliceOf(rapid.Byte()).Draw(t, "in"))
		if rapid.Bool().Draw(t, "runes") {
			in = string(rapid.SliceOf(rapid.Rune()).Draw(t, "text"))
		}
		max := rapid.IntRange(0, 40).Draw(t, "max")
		got := Clean(in, max)
		if len(got) > max {
			t.Fatalf("%d octets, more than %d", len(got), max)
		}
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Fatalf("Clean gave %q", got)
		}
		if again := Clean(got, max); again != got {
			t.Fatalf("cleaning twice gives %q, then %q", got, again)
		}
	})
}
