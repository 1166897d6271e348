package history_test

import (
	"slices"
	"testing"

	"mailtwin/sync/sim/history"
)

// One seed fixes all that happens, to the order of the calls.
func TestAHistoryIsTheSameEachTime(t *testing.T) {
	for seed := range uint64(100) {
		h := history.New(seed)
		h.Verbose = true
		one, two := history.Play(h, history.Memory{}, history.Coverage{}), history.Play(h, history.Memory{}, history.Coverage{})
		if one.Trace == two.Trace {
			continue
		}
		for i := range min(len(one.Log), len(two.Log)) {
			if one.Log[i] != two.Log[i] {
				t.Fatalf("seed %d goes two ways:\n%q\n%q\nafter\n%q", seed, one.Log[i], two.Log[i], one.Log[max(0, i-5):i])
			}
		}
		t.Fatalf("seed %d goes two ways, after %d lines that are the same: %v", seed, len(one.Log), slices.Equal(one.Log, two.Log))
	}
}
