package history

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Coverage counts what was planned, and what befell it.
type Coverage map[Strike]int

// Strike is something that can be struck, and a way in which it was.
type Strike struct{ What, How string }

// Add adds another one's counts.
func (c Coverage) Add(o Coverage) {
	for what, n := range o {
		c[what] += n
	}
}

// Table prints the counts: one line for each thing that can be struck, and a column for
// each way in which it was.
func (c Coverage) Table() string {
	lines := map[string][]string{}
	for s, n := range c {
		lines[s.What] = append(lines[s.What], fmt.Sprintf("%s %d", s.How, n))
	}
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(lines)) {
		slices.Sort(lines[what])
		fmt.Fprintf(&b, "%-32s %s\n", what, strings.Join(lines[what], ", "))
	}
	return b.String()
}
