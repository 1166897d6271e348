package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mailtwin/conflict/mail"
)

// Patterns choose folders: each is asked in order, and the last one that matches
// decides; one that begins with "!" excludes. A list that begins with an exclusion
// begins with every folder, so that ["!Spam"] is all but Spam. The empty list chooses
// none.
//
// "*" stands for any characters and "%" for any but the "/" between the parts of a
// name, as in IMAP's LIST (RFC 9051, 6.3.9.1); "\" takes the next character as it is.
// INBOX, and only that, is the same in any case.
type Patterns []pattern

type pattern struct {
	text    string
	exclude bool
	tokens  []token
}

// token is a piece of a pattern: a wildcard, or else text that stands for itself.
type token struct {
	wildcard byte // '*' or '%'; 0: literal
	literal  string
}

// maxPattern bounds a pattern, and by that what matching one can cost.
const maxPattern = 1024

// ParsePatterns reads patterns as they stand in the file.
func ParsePatterns(texts ...string) (Patterns, error) {
	patterns := make(Patterns, 0, len(texts))
	for _, text := range texts {
		p, err := parsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", text, err)
		}
		patterns = append(patterns, p)
	}
	return patterns, nil
}

// mustPatterns is ParsePatterns for patterns that stand in this program.
func mustPatterns(texts ...string) Patterns {
	patterns, err := ParsePatterns(texts...)
	if err != nil {
		panic(err)
	}
	return patterns
}

func parsePattern(text string) (pattern, error) {
	p := pattern{text: text}
	if len(text) > maxPattern {
		return p, fmt.Errorf("longer than %d bytes", maxPattern)
	}
	text, p.exclude = strings.CutPrefix(text, "!")
	if text == "" {
		return p, errors.New("names no folder")
	}
	var literal []byte
	flush := func() {
		if len(literal) > 0 {
			p.tokens = append(p.tokens, token{literal: string(literal)})
			literal = literal[:0]
		}
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '*', '%':
			flush()
			p.tokens = append(p.tokens, token{wildcard: c})
		case '\\':
			i++
			if i == len(text) {
				return p, errors.New(`ends in "\"; write "\\" for the character itself`)
			}
			literal = append(literal, text[i])
		default:
			literal = append(literal, c)
		}
	}
	flush()
	return p, nil
}

// Match tells whether the patterns choose the folder.
func (ps Patterns) Match(f mail.Folder) bool {
	chosen, _ := ps.Decide(f)
	return chosen
}

// Decide is Match, and gives the pattern that decides, as it was written; "" where none
// matches.
func (ps Patterns) Decide(f mail.Folder) (chosen bool, by string) {
	chosen = len(ps) > 0 && ps[0].exclude
	for _, p := range ps {
		if p.match(string(f)) {
			chosen, by = !p.exclude, p.text
		}
	}
	return chosen, by
}

// Idle gives the patterns that are to choose folders and match none of these: most
// often they are mistyped. One that excludes may well stand there just in case.
func (ps Patterns) Idle(folders []mail.Folder) []string {
	var idle []string
	for _, p := range ps {
		matches := func(f mail.Folder) bool { return p.match(string(f)) }
		if !p.exclude && !slices.ContainsFunc(folders, matches) {
			idle = append(idle, p.text)
		}
	}
	return idle
}

// Strings gives the patterns as they were written.
func (ps Patterns) Strings() []string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.text
	}
	return texts
}

// match walks the tokens with the set of all places in name that they can have
// reached, so that no pattern takes longer than its length times that of the name.
func (p pattern) match(name string) bool {
	inbox := 0 // how many bytes of name are the same in any case
	if first, _, _ := strings.Cut(name, "/"); first == string(mail.Inbox) {
		inbox = len(first)
	}
	reached := make([]bool, len(name)+1)
	reached[0] = true
	for _, t := range p.tokens {
		next := make([]bool, len(name)+1)
		for i, here := range reached {
			switch {
			case t.wildcard != 0:
				// From each place reached, and from each place that the wildcard
				// took the byte before.
				over := i > 0 && next[i-1] && (t.wildcard == '*' || name[i-1] != '/')
				next[i] = here || over
			case here && hasPrefix(name[i:], t.literal, inbox-i):
				next[i+len(t.literal)] = true
			}
		}
		reached = next
	}
	return reached[len(name)]
}

// hasPrefix tells whether s begins with prefix, where the first fold bytes may
// differ in case.
func hasPrefix(s, prefix string, fold int) bool {
	if len(s) < len(prefix) {
		return false
	}
	fold = min(max(fold, 0), len(prefix))
	return strings.EqualFold(s[:fold], prefix[:fold]) && s[fold:len(prefix)] == prefix[fold:]
}
