package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// liveRow is a live workload on the page.
type liveRow struct {
	workload *workload
	result   *liveResult
}

// String is its row in the table. What was asked for stands at the 99th percentile, of what
// the time counts from.
func (l *liveRow) String() string {
	r, within := l.result, l.workload.live.within
	var fromChange, fromAnnouncement time.Duration
	if len(r.Announced) == 0 {
		fromChange = within
	} else {
		fromAnnouncement = within
	}
	cells := []string{l.workload.title, fmt.Sprint(len(r.Took))}
	cells = append(cells, latencies(r.Took, fromChange)...)
	cells = append(cells, latencies(r.Announced, fromAnnouncement)...)
	cells = append(cells, "–")
	if len(r.Whole) > 0 {
		cells[len(cells)-1] = seconds(percentile(r.Whole, 50) / 1e3)
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// Adds tells what of it is the server's.
func (l *liveRow) Adds() string {
	r := l.result
	return fmt.Sprintf("**%s**: %s. (%s, commit %s; load average before: %s)", l.workload.title, l.workload.live.adds, r.When.Format("2006-01-02 15:04 UTC"), r.Commit, r.Load)
}

// latencies are three cells: median, 99th percentile and the largest.
func latencies(all []float64, within time.Duration) []string {
	if len(all) == 0 {
		return []string{"–", "–", "–"}
	}
	most := within.Seconds()
	p99 := percentile(all, 99) / 1e3
	return []string{seconds(percentile(all, 50) / 1e3), mark(most, p99 <= most, seconds(p99), fmt.Sprintf("≤ %.1f s", most)), seconds(percentile(all, 100) / 1e3)}
}

// percentile is the least that so many of a hundred are no longer than; 0 of none.
func percentile(all []float64, p float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[max(int(math.Ceil(p/100*float64(len(sorted))))-1, 0)]
}
