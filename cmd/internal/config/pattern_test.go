package config

import (
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		patterns []string
		yes, no  []mail.Folder
	}{
		{[]string{"*"}, []mail.Folder{"INBOX", "a", "a/b/c", "ä ö/ü"}, nil},
		{[]string{}, nil, []mail.Folder{"INBOX", "a"}},
		{[]string{"%"}, []mail.Folder{"INBOX", "a"}, []mail.Folder{"a/b", "INBOX/a"}},
		{[]string{"*", "!Spam", "!Lists/*"}, []mail.Folder{"INBOX", "Lists", "Spammer", "A/Spam"}, []mail.Folder{"Spam", "Lists/go", "Lists/go/nuts"}},
		{[]string{"*", "!Lists/*", "Lists/go"}, []mail.Folder{"Lists/go"}, []mail.Folder{"Lists/rust", "Lists/go/x"}},
		{[]string{"Lists/go", "!Lists/*"}, nil, []mail.Folder{"Lists/go"}},
		{[]string{"!Spam"}, []mail.Folder{"INBOX", "a/b"}, []mail.Folder{"Spam"}},
		{[]string{"A/%/C"}, []mail.Folder{"A/b/C", "A//C"}, []mail.Folder{"A/b/b/C", "A/C"}},
		{[]string{"A/*/C"}, []mail.Folder{"A/b/C", "A/b/b/C"}, []mail.Folder{"A/C", "A/b/D"}},
		{[]string{"%b*d"}, []mail.Folder{"bd", "abcd", "ab/cd"}, []mail.Folder{"a/bd", "abcde"}},
		{[]string{"inbox"}, []mail.Folder{"INBOX"}, []mail.Folder{"inbox2", "Inbox", "INBOX/a"}},
		{[]string{"Inbox/a*"}, []mail.Folder{"INBOX/a", "INBOX/ab"}, []mail.Folder{"INBOX/A", "INBOX"}},
		{[]string{"in*x"}, []mail.Folder{"INBOX", "inx"}, []mail.Folder{"INX", "INBOXES"}},
		{[]string{"work"}, []mail.Folder{"work"}, []mail.Folder{"Work"}},
		{[]string{"[Gmail]/*"}, []mail.Folder{"[Gmail]/All Mail"}, []mail.Folder{"G/All Mail"}},
		{[]string{`\*`}, []mail.Folder{"*"}, []mail.Folder{"a"}},
		{[]string{`\!a`}, []mail.Folder{"!a"}, []mail.Folder{"a"}},
		{[]string{`a\\b`}, []mail.Folder{`a\b`}, nil},
		{[]string{"ü%"}, []mail.Folder{"über"}, []mail.Folder{"uber"}},
	} {
		ps, err := ParsePatterns(c.patterns...)
		if err != nil {
			t.Errorf("%q: %v", c.patterns, err)
			continue
		}
		for _, f := range c.yes {
			if !ps.Match(f) {
				t.Errorf("%q must choose %q", c.patterns, f)
			}
		}
		for _, f := range c.no {
			if ps.Match(f) {
				t.Errorf("%q must not choose %q", c.patterns, f)
			}
		}
	}
}

func TestBadPatterns(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "names no folder",
		"!":                       "names no folder",
		`a\`:                      `ends in "\"`,
		strings.Repeat("a", 1025): "longer than 1024 bytes",
	} {
		if _, err := ParsePatterns(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("pattern %.20q: %v, want %q", text, err, want)
		}
	}
}

// FuzzPattern compares the match with the definition written down as it reads.
func FuzzPattern(f *testing.F) {
	f.Add("a*b%c", "a/b/c")
	f.Add(`\*inbox`, "INBOX")
	f.Add("!%/%", "a/b")
	f.Add("INB%X", "INBOX/inbox")
	f.Add("ü*", "über")
	f.Fuzz(func(t *testing.T, text, name string) {
		if len(text) > 12 || len(name) > 24 {
			return // the definition takes exponential time
		}
		ps, err := ParsePatterns(text)
		if err != nil {
			return
		}
		first, _, _ := strings.Cut(name, "/")
		want := defined(strings.TrimPrefix(text, "!"), name, 0, first == "INBOX")
		if got := ps[0].match(name); got != want {
			t.Errorf("%q matches %q: %v, want %v", text, name, got, want)
		}
	})
}

func defined(pattern, name string, at int, inbox bool) bool {
	if pattern == "" {
		return at == len(name)
	}
	switch c := pattern[0]; c {
	case '*', '%':
		if defined(pattern[1:], name, at, inbox) {
			return true
		}
		return at < len(name) && (c == '*' || name[at] != '/') && defined(pattern, name, at+1, inbox)
	case '\\':
		pattern = pattern[1:]
	}
	if at == len(name) {
		return false
	}
	same := pattern[0] == name[at] || inbox && at < 5 && strings.EqualFold(pattern[:1], name[at:at+1])
	return same && defined(pattern[1:], name, at+1, inbox)
}

func TestPatternsThatChooseNothing(t *testing.T) {
	ps := mustPatterns("INBOX", "Lsits/*", "!Spam", "S%", `odd\*`)
	got := ps.Idle([]mail.Folder{"INBOX", "Lists/go", "Sent"})
	if want := []string{"Lsits/*", `odd\*`}; !slices.Equal(got, want) {
		t.Errorf("they are %q, want %q", got, want)
	}
}

func TestTheLastPatternThatMatchesDecides(t *testing.T) {
	patterns, err := ParsePatterns("*", "!Lists/*", "Lists/go", `!\!odd`)
	if err != nil {
		t.Fatal(err)
	}
	for folder, want := range map[mail.Folder]string{"INBOX": "*", "Lists/rust": "!Lists/*", "Lists/go": "Lists/go", "!odd": `!\!odd`} {
		chosen, by := patterns.Decide(folder)
		if by != want || chosen != (want[0] != '!') || chosen != patterns.Match(folder) {
			t.Errorf("%s: %v by %q, want %q", folder, chosen, by, want)
		}
	}
	if chosen, by := mustPatterns("!Spam").Decide("Work"); !chosen || by != "" {
		t.Errorf("what no exclusion matches: %v by %q", chosen, by)
	}
	if chosen, by := mustPatterns("Spam").Decide("Work"); chosen || by != "" {
		t.Errorf("what nothing matches: %v by %q", chosen, by)
	}
}
