package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// report is what was measured, also in earlier runs: benchmarks.json keeps each run's
// figures, and benchmarks.md and the charts are made from it.
type report struct {
	Machine string             `json:"machine"`
	Commit  string             `json:"commit"`
	Peers   map[string]string  `json:"peers"` // versions by title
	Results map[string]*result `json:"results"`
	// Live has the workloads of `mailtwin watch`, whose figures are others.
	Live map[string]*liveResult `json:"live,omitempty"`
}

// result is a workload.
type result struct {
	When   time.Time            `json:"when"`
	Commit string               `json:"commit"`
	Load   string               `json:"load"` // average of a minute, before it began
	Runs   map[string][]figures `json:"runs"` // by program
	Failed map[string]string    `json:"failed,omitempty"`
}

func loadReport(out string) (*report, error) {
	r := &report{Results: map[string]*result{}, Live: map[string]*liveResult{}}
	text, err := os.ReadFile(filepath.Join(out, "benchmarks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal(text, r)
}

// here describes this machine, and the state of the source.
func (r *report) here(ctx context.Context, dir string) {
	r.Commit = firstLine(ctx, "git", "describe", "--always", "--dirty", "--tags")
	cpu := procField("/proc/cpuinfo", "model name")
	memory, _ := strconv.Atoi(strings.TrimSuffix(procField("/proc/meminfo", "MemTotal"), " kB")) // 0 where it is not told
	r.Machine = fmt.Sprintf("%s, %d cores, %d GB of memory; %s %s on %s; Go %s",
		cpu, runtime.NumCPU(), (memory+1<<19)>>20, runtime.GOOS, firstLine(ctx, "uname", "-r"), fileSystem(dir), strings.TrimPrefix(runtime.Version(), "go"))
	r.Peers = map[string]string{"Dovecot": firstLine(ctx, "dovecot", "--version")}
}

func procField(path, name string) string {
	text, _ := os.ReadFile(path) // "" on other systems
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func fileSystem(dir string) string {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return "an unknown file system"
	}
	if name := map[int64]string{0xef53: "ext4", 0x01021994: "tmpfs", 0x58465342: "XFS", 0x9123683e: "btrfs", 0x794c7630: "overlayfs"}[int64(s.Type)]; name != "" {
		return name
	}
	return fmt.Sprintf("file system %#x", s.Type)
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg") // "" on other systems
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

//go:embed benchmarks.tmpl
var page string

// write writes everything anew.
func (r *report) write(s settings, list []*program) error {
	for _, p := range list {
		if s.runs > 0 && p.path != "" && p.key != mailtwin && p.key != floor && p.key != mbsyncPlain {
			r.Peers[p.title] = p.version
		}
	}
	charts := filepath.Join(s.out, "charts")
	if err := os.MkdirAll(charts, 0o755); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.out, "benchmarks.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	s.large = true // what an earlier run measured is shown
	v := &view{report: r, programs: list}
	for _, w := range workloads(s) {
		if r.Live[w.name] != nil {
			v.Lives = append(v.Lives, &liveRow{w, r.Live[w.name]})
		} else if r.Results[w.name] != nil && w.growth == nil {
			v.Sections = append(v.Sections, &section{workload: w, result: r.Results[w.name], view: v})
		} else if r.Results[w.name] != nil {
			v.grow(w, r.Results[w.name])
		}
	}
	for _, sec := range v.Sections {
		if err := sec.chart(filepath.Join(charts, sec.workload.name+".svg")); err != nil {
			return fmt.Errorf("chart of %s: %w", sec.workload.name, err)
		}
	}
	for _, c := range v.Curves {
		if err := c.charts(charts); err != nil {
			return fmt.Errorf("chart of growth: %w", err)
		}
	}
	tmpl, err := template.New("benchmarks").Parse(page)
	if err != nil {
		return err
	}
	var out strings.Builder
	if err := tmpl.Execute(&out, v); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.out, "benchmarks.md"), []byte(out.String()), 0o644)
}

// median of some quantity over runs, with its extremes.
func spread(runs []figures, of func(figures) float64) (median, low, high float64) {
	all := make([]float64, len(runs))
	for i, f := range runs {
		all[i] = of(f)
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1]
}

func wall(f figures) float64 { return f.Wall }
func cpu(f figures) float64  { return f.CPU }
func peak(f figures) float64 { return float64(f.Peak) }
