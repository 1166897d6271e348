package main

import (
	"slices"
	"testing"
)

func TestPartsCoverEverything(t *testing.T) {
	for _, counts := range [][]int{{}, {0}, {1}, {7}, {100_000}, {3, 0, 5, 1, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, slices.Repeat([]int{500}, 20)} {
		var all []mailbox
		total := 0
		for i, n := range counts {
			all = append(all, mailbox{name: string(rune('a' + i)), messages: n, uidNext: n + 1})
			total += n
		}
		shares := parts(all, "", 4)
		if len(shares) > 4 {
			t.Errorf("%v: %d shares", counts, len(shares))
		}
		covered := map[string]int{} // the last UID so far
		for _, share := range shares {
			sum := 0
			for _, p := range share {
				if p.first != covered[p.mailbox]+1 || p.last < p.first {
					t.Errorf("%v: %s goes on with %d:%d after %d", counts, p.mailbox, p.first, p.last, covered[p.mailbox])
				}
				sum += p.last - p.first + 1
				covered[p.mailbox] = p.last
			}
			if sum > total/4+4+len(counts) {
				t.Errorf("%v: a share of %d", counts, sum)
			}
		}
		for _, m := range all {
			if m.messages > 0 && covered[m.name] < m.messages {
				t.Errorf("%v: %s ends at %d", counts, m.name, covered[m.name])
			}
		}
	}
}

func TestShare(t *testing.T) {
	for _, n := range []int{0, 1, 19, 20, 50, 100} {
		sum := 0
		for i := range 20 {
			sum += share(n, i, 20)
		}
		if sum != n {
			t.Errorf("%d becomes %d", n, sum)
		}
	}
}
