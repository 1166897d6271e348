package main

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
)

// view is the report as the page shows it.
type view struct {
	*report
	programs []*program
	Sections []*section
	Curves   []*curve
	Lives    []*liveRow
}

// Versions are those of all that was measured.
func (v *view) Versions() []string {
	all := []string{"mailtwin " + v.Commit}
	for _, title := range slices.Sorted(maps.Keys(v.Peers)) {
		if v.Peers[title] != "" {
			all = append(all, title+" "+v.Peers[title])
		}
	}
	return all
}

// Runs is how many there are of each program at most.
func (v *view) Runs() int {
	n := 0
	for _, r := range v.Results {
		for _, runs := range r.Runs {
			n = max(n, len(runs))
		}
	}
	return n
}

// Least is the least memory that any run shows.
func (v *view) Least() string {
	least := math.Inf(1)
	for _, r := range v.Results {
		for _, runs := range r.Runs {
			for _, f := range runs {
				least = min(least, peak(f))
			}
		}
	}
	return amount(least)
}

// section is a workload.
type section struct {
	workload *workload
	result   *result
	view     *view
}

func (s *section) Title() string { return s.workload.title }
func (s *section) Chart() string { return "charts/" + s.workload.name + ".svg" }
func (s *section) When() string {
	return fmt.Sprintf("%s, commit %s; load average before: %s", s.result.When.Format("2006-01-02 15:04 UTC"), s.result.Commit, s.result.Load)
}

// title of a program, by its key.
func (v *view) title(key string) string {
	for _, p := range v.programs {
		if p.key == key {
			return p.title
		}
	}
	return key
}

// time gives the median of a program's runs; false where there is none.
func (s *section) time(key string) (float64, bool) {
	runs := s.result.Runs[key]
	if len(runs) == 0 {
		return 0, false
	}
	m, _, _ := spread(runs, wall)
	return m, true
}

// Rows are the table of a section.
func (s *section) Rows() []string {
	base, hasFloor := s.time(floor)
	var rows []string
	for _, key := range s.workload.programs {
		name := s.view.title(key)
		if why := s.result.Failed[key]; why != "" {
			rows = append(rows, fmt.Sprintf("| %s | failed: %s | | | | | | | |", name, strings.ReplaceAll(why, "|", `\|`)))
		}
		runs := s.result.Runs[key]
		if len(runs) == 0 {
			continue
		}
		m, low, high := spread(runs, wall)
		over := "–"
		if hasFloor {
			over = fmt.Sprintf("%.2f", m/base)
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s–%s (%d) | %s | %s | %s | %s | %s | %s |", name, seconds(m), seconds(low), seconds(high), len(runs), over,
			s.trips(runs), amount(middle(runs, func(f figures) float64 { return float64(f.In) })),
			amount(middle(runs, func(f figures) float64 { return float64(f.Out) })), seconds(middle(runs, cpu)), amount(middle(runs, peak))))
	}
	return rows
}

func (s *section) trips(runs []figures) string {
	if s.workload.rtt == 0 {
		return "–"
	}
	text := fmt.Sprintf("%.0f", middle(runs, func(f figures) float64 { return float64(f.RoundTrips) }))
	if own := middle(runs, func(f figures) float64 { return float64(f.Own) }); own > 0 {
		text += fmt.Sprintf(" (%.0f)", own)
	}
	return text
}

func middle(runs []figures, of func(figures) float64) float64 {
	m, _, _ := spread(runs, of)
	return m
}

// Ratio is the workload's row in the table of ratios.
func (s *section) Ratio() string {
	ours, ok := s.time(mailtwin)
	if !ok {
		return ""
	}
	t := s.workload.target
	cells := []string{s.workload.title, seconds(ours), s.ratio(floor, ours, t.floor, true), s.ratio(mbsync, ours, t.mbsync, false),
		s.ratio(mbsyncPlain, ours, t.plain, false), s.ratio(offlineimap, ours, 0, false)}
	used := middle(s.result.Runs[mailtwin], cpu)
	cells = append(cells, mark(t.cpu, used <= t.cpu, fmt.Sprintf("%.3f s", used), fmt.Sprintf("≤ %.3f s", t.cpu)))
	return "| " + strings.Join(cells, " | ") + " |"
}

// ratio compares with another program: how much slower than it, or how much faster.
func (s *section) ratio(key string, ours, target float64, slower bool) string {
	theirs, ok := s.time(key)
	if !ok {
		return "–"
	}
	if slower {
		r := ours / theirs
		return mark(target, r <= target, fmt.Sprintf("%.2f ×", r), fmt.Sprintf("≤ %.1f ×", target))
	}
	r := theirs / ours
	return mark(target, r >= target, fmt.Sprintf("%.1f ×", r), fmt.Sprintf("≥ %.0f ×", target))
}

// mark puts the target beside a figure, and shows where it is missed.
func mark(target float64, met bool, text, want string) string {
	switch {
	case target == 0:
		return text
	case met:
		return fmt.Sprintf("%s (%s)", text, want)
	}
	return fmt.Sprintf("**%s** (%s)", text, want)
}

// curve is how mailtwin's cost grows.
type curve struct {
	Name   string
	sizes  []int
	kinds  []string
	points map[string][]figures // by kind and size
}

func (c *curve) at(kind string, size int) []figures { return c.points[fmt.Sprint(kind, size)] }

func (v *view) grow(w *workload, r *result) {
	g := w.growth
	i := slices.IndexFunc(v.Curves, func(c *curve) bool { return c.Name == g.curve })
	if i < 0 {
		i = len(v.Curves)
		v.Curves = append(v.Curves, &curve{Name: g.curve, points: map[string][]figures{}})
	}
	c := v.Curves[i]
	if !slices.Contains(c.sizes, g.size) {
		c.sizes = append(c.sizes, g.size)
	}
	if !slices.Contains(c.kinds, g.kind) {
		c.kinds = append(c.kinds, g.kind)
	}
	c.points[fmt.Sprint(g.kind, g.size)] = r.Runs[mailtwin]
}

// Charts are the links to them.
func (c *curve) Charts() []string {
	return []string{"charts/growth-" + c.Name + "-time.svg", "charts/growth-" + c.Name + "-memory.svg"}
}

func (c *curve) charts(dir string) error {
	err := c.chart(filepath.Join(dir, "growth-"+c.Name+"-time.svg"), "seconds", wall)
	if err != nil {
		return err
	}
	return c.chart(filepath.Join(dir, "growth-"+c.Name+"-memory.svg"), "MB at the peak", func(f figures) float64 { return peak(f) / 1e6 })
}

// Rows are the table of a curve.
func (c *curve) Rows() []string {
	var rows []string
	for _, kind := range c.kinds {
		for _, size := range c.sizes {
			runs := c.at(kind, size)
			if len(runs) == 0 {
				continue
			}
			m, low, high := spread(runs, wall)
			rows = append(rows, fmt.Sprintf("| %s | %d | %s | %s–%s (%d) | %s | %s | %s | %s | %.0f |", kind, size, seconds(m), seconds(low), seconds(high), len(runs),
				seconds(middle(runs, cpu)), amount(middle(runs, peak)), amount(middle(runs, func(f figures) float64 { return float64(f.In) })),
				amount(middle(runs, func(f figures) float64 { return float64(f.Out) })), middle(runs, func(f figures) float64 { return float64(f.Own) })))
		}
	}
	return rows
}

// seconds and amount write figures as people read them, three digits each.
func seconds(s float64) string {
	switch {
	case s < 1:
		return fmt.Sprintf("%.3f s", s)
	case s < 10:
		return fmt.Sprintf("%.2f s", s)
	}
	return fmt.Sprintf("%.1f s", s)
}

func amount(bytes float64) string {
	switch {
	case bytes < 1e3:
		return fmt.Sprintf("%.0f B", bytes)
	case bytes < 1e6:
		return fmt.Sprintf("%.1f kB", bytes/1e3)
	case bytes < 1e8:
		return fmt.Sprintf("%.1f MB", bytes/1e6)
	}
	return fmt.Sprintf("%.0f MB", bytes/1e6)
}
