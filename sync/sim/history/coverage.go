package history

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Coverage counts what was planned, and what befell it.
type Coverage map[string]int

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
	for _, key := range slices.Sorted(maps.Keys(c)) {
		what, how, _ := strings.Cut(key, ": ")
		lines[what] = append(lines[what], fmt.Sprintf("%s %d", how, c[key]))
	}
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(&b, "%-32s %s\n", what, strings.Join(lines[what], ", "))
	}
	return b.String()
}
