package mail

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// UIDRange is the UIDs from First to Last, both included.
type UIDRange struct{ First, Last UID }

// UIDSet is a set of UIDs as ascending ranges that neither touch nor overlap, so
// that a million messages in a row cost a few bytes.
type UIDSet []UIDRange

// UIDs makes a set of single UIDs, in any order.
func UIDs(uids ...UID) UIDSet {
	sorted := slices.Clone(uids)
	slices.Sort(sorted)
	var s UIDSet
	for _, u := range sorted {
		s.Add(u)
	}
	return s
}

// Add puts u into the set. Adding in ascending order costs nothing; any other order
// costs a search.
func (s *UIDSet) Add(u UID) { s.AddRange(UIDRange{u, u}) }

// AddRange puts all UIDs of r into the set; a range whose ends stand the wrong way
// round is turned (RFC 9051, 9: seq-range), and 0, which is no UID, is left out.
func (s *UIDSet) AddRange(r UIDRange) {
	if r.First > r.Last {
		r.First, r.Last = r.Last, r.First
	}
	if r.First == 0 {
		r.First = 1
	}
	if r.Last == 0 {
		return
	}
	set := *s
	if n := len(set); n == 0 || r.First > set[n-1].Last {
		if n > 0 && r.First == set[n-1].Last+1 {
			set[n-1].Last = r.Last
		} else {
			set = append(set, r)
		}
		*s = set
		return
	}
	// The first range that r touches or precedes, and the first one beyond it.
	lo, _ := slices.BinarySearchFunc(set, r.First, func(x UIDRange, first UID) int {
		if uint64(x.Last)+1 < uint64(first) {
			return -1
		}
		return 1
	})
	hi := lo
	for hi < len(set) && uint64(set[hi].First) <= uint64(r.Last)+1 {
		r.First, r.Last = min(r.First, set[hi].First), max(r.Last, set[hi].Last)
		hi++
	}
	*s = slices.Replace(set, lo, hi, r)
}

// Has tells whether u is in the set.
func (s UIDSet) Has(u UID) bool {
	_, found := slices.BinarySearchFunc(s, u, func(r UIDRange, u UID) int {
		switch {
		case r.Last < u:
			return -1
		case r.First > u:
			return 1
		}
		return 0
	})
	return found
}

// Len counts the UIDs in the set.
func (s UIDSet) Len() int {
	n := 0
	for _, r := range s {
		n += int(r.Last-r.First) + 1
	}
	return n
}

// All yields the UIDs in ascending order.
func (s UIDSet) All() iter.Seq[UID] {
	return func(yield func(UID) bool) {
		for _, r := range s {
			for u := uint64(r.First); u <= uint64(r.Last); u++ {
				if !yield(UID(u)) {
					return
				}
			}
		}
	}
}

// Without gives the UIDs of s that are not in o, in time that grows with the
// number of ranges.
func (s UIDSet) Without(o UIDSet) UIDSet {
	var out UIDSet
	j := 0
	for _, r := range s {
		first := uint64(r.First)
		for j < len(o) && uint64(o[j].Last) < first {
			j++
		}
		for k := j; k < len(o) && o[k].First <= r.Last; k++ {
			if uint64(o[k].First) > first {
				out = append(out, UIDRange{UID(first), o[k].First - 1})
			}
			first = uint64(o[k].Last) + 1
		}
		if first <= uint64(r.Last) {
			out = append(out, UIDRange{UID(first), r.Last})
		}
	}
	return out
}

// Split cuts the set into sets whose text is at most octets long each, since
// servers limit the length of a command (RFC 2683, 3.2.1.5).
func (s UIDSet) Split(octets int) []UIDSet {
	var out []UIDSet
	used, from := 0, 0
	for i, r := range s {
		n := len(r.String()) + 1
		if used+n > octets && i > from {
			out = append(out, s[from:i:i])
			used, from = 0, i
		}
		used += n
	}
	if from < len(s) {
		out = append(out, s[from:])
	}
	return out
}

// String gives the range as IMAP writes it: "7" or "7:9".
func (r UIDRange) String() string {
	if r.First == r.Last {
		return fmt.Sprint(uint32(r.First))
	}
	return fmt.Sprintf("%d:%d", r.First, r.Last)
}

// String gives the set as IMAP writes it: "1:5,7". It is "" for the empty set,
// which no command takes.
func (s UIDSet) String() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = r.String()
	}
	return strings.Join(parts, ",")
}
