package mail

import (
	"slices"
	"strings"
)

// System is a set of the flags that Maildir has letters for: the five system
// flags of RFC 9051, 2.3.2, that a client can set, and $Forwarded.
type System uint8

// The system flags, and the letter of each in a Maildir file name.
const (
	Seen      System = 1 << iota // \Seen, S
	Answered                     // \Answered, R
	Flagged                      // \Flagged, F
	Draft                        // \Draft, D
	Deleted                      // \Deleted, T
	Forwarded                    // $Forwarded, P
)

// SystemFlags maps each System flag to its name in IMAP and its letter in a
// Maildir file name, in ASCII order of the letters, as Maildir wants them.
var SystemFlags = []struct {
	Flag   System
	Name   string
	Letter byte
}{
	{Draft, `\Draft`, 'D'},
	{Flagged, `\Flagged`, 'F'},
	{Forwarded, `$Forwarded`, 'P'},
	{Answered, `\Answered`, 'R'},
	{Seen, `\Seen`, 'S'},
	{Deleted, `\Deleted`, 'T'},
}

// Keywords is a set of IMAP keywords other than $Forwarded, in the canonical form
// that NewKeywords makes: sorted without regard to case, one space between two.
// IMAP compares keywords without regard to case (RFC 9051, 2.3.2), so compare with
// Equal, not with ==.
type Keywords string

// NewKeywords makes a set of words; of words that differ in case only, the first
// one stays. Empty words, and words with a space in them, which no IMAP atom has,
// are left out.
func NewKeywords(words ...string) Keywords {
	kept := make([]string, 0, len(words))
	for _, w := range words {
		if w != "" && !strings.ContainsAny(w, " \t\r\n\x00") {
			kept = append(kept, w)
		}
	}
	slices.SortStableFunc(kept, compareFold)
	kept = slices.CompactFunc(kept, strings.EqualFold)
	return Keywords(strings.Join(kept, " "))
}

func compareFold(a, b string) int {
	return strings.Compare(strings.ToLower(a), strings.ToLower(b))
}

// List gives the words in order. It is nil for the empty set.
func (k Keywords) List() []string {
	if k == "" {
		return nil
	}
	return strings.Split(string(k), " ")
}

// Has tells whether word is in the set, whatever its case.
func (k Keywords) Has(word string) bool {
	return slices.ContainsFunc(k.List(), func(w string) bool { return strings.EqualFold(w, word) })
}

// Equal tells whether both sets hold the same words, whatever their case.
func (k Keywords) Equal(o Keywords) bool { return strings.EqualFold(string(k), string(o)) }

// With gives the words of both sets; where both have a word, k's spelling stays.
func (k Keywords) With(o Keywords) Keywords {
	if o == "" {
		return k
	}
	if k == "" {
		return o
	}
	return NewKeywords(append(k.List(), o.List()...)...)
}

// Without gives the words of k that are not in o.
func (k Keywords) Without(o Keywords) Keywords {
	if k == "" || o == "" {
		return k
	}
	return NewKeywords(slices.DeleteFunc(k.List(), o.Has)...)
}

// Flags is all that a message is marked with. The zero value is no flag at all.
type Flags struct {
	System   System
	Keywords Keywords
}

// Has tells whether all flags of s are set.
func (f Flags) Has(s System) bool { return f.System&s == s }

// Empty tells whether no flag and no keyword is set: a message that belongs into
// new/ when it appears.
func (f Flags) Empty() bool { return f.System == 0 && f.Keywords == "" }

// Equal tells whether both hold the same flags and keywords.
func (f Flags) Equal(o Flags) bool { return f.System == o.System && f.Keywords.Equal(o.Keywords) }

// With gives the flags that are in f or in o.
func (f Flags) With(o Flags) Flags {
	return Flags{f.System | o.System, f.Keywords.With(o.Keywords)}
}

// Without gives the flags of f that are not in o.
func (f Flags) Without(o Flags) Flags {
	return Flags{f.System &^ o.System, f.Keywords.Without(o.Keywords)}
}

// Common gives the flags that are in both.
func (f Flags) Common(o Flags) Flags { return f.Without(f.Without(o)) }

// Names gives the flags as IMAP spells them, system flags first.
func (f Flags) Names() []string {
	var names []string
	for _, s := range SystemFlags {
		if f.Has(s.Flag) {
			names = append(names, s.Name)
		}
	}
	return append(names, f.Keywords.List()...)
}

// ParseFlags reads flags as IMAP spells them. \Recent and other backslash flags
// that no client can set are left out (RFC 9051, 2.3.2).
func ParseFlags(names []string) Flags {
	var f Flags
	var words []string
next:
	for _, n := range names {
		for _, s := range SystemFlags {
			if strings.EqualFold(n, s.Name) {
				f.System |= s.Flag
				continue next
			}
		}
		if !strings.HasPrefix(n, `\`) {
			words = append(words, n)
		}
	}
	f.Keywords = NewKeywords(words...)
	return f
}

// String gives the flags for people and logs: "\Seen work", or "none".
func (f Flags) String() string {
	if f.Empty() {
		return "none"
	}
	return strings.Join(f.Names(), " ")
}
