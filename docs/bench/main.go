// Bench measures mailtwin beside mbsync, offlineimap and a floor, each over the same
// mail, server and line, and writes docs/benchmarks.md with a chart for each workload:
//
//	go run ./docs/bench [-runs N] [-only REGEXP] [-with REGEXP] [-quick] [-large] [-out DIR]
//
// It starts a private Dovecot, puts a proxy before it that delays (proxy.go) and counts,
// and runs each program as a process of its own (run.go). It knows nothing of how mailtwin
// works: it builds the program and reads what `sync --json` prints. The floor (floor.go) is
// the same transfers by a client that decides nothing. How long `mailtwin watch` takes to
// bring a change to the other side is measured as well (live.go).
//
// All traffic stays on loopback, and all files in one temporary directory, in which each
// run begins with a directory of its own: creating files soon after many were unlinked is
// up to three times slower on ext4, so nothing is removed before the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

func main() {
	playOther()
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// playOther ends the process if it is one of those that this program starts from itself.
func playOther() {
	if report := os.Getenv(launchEnv); report != "" {
		os.Exit(launch(report))
	}
	if spec := os.Getenv(floorEnv); spec != "" {
		os.Exit(floorMain(spec))
	}
}

// settings are what the flags say.
type settings struct {
	runs     int
	only     *regexp.Regexp // workloads
	with     *regexp.Regexp // programs
	quick    bool
	large    bool
	out      string
	patience time.Duration
	budget   time.Duration
	log      func(format string, args ...any)
}

func run(args []string) error {
	s := settings{log: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := f.String("only", "", "run the workloads whose names match this `regexp`; what is known of the others stays")
	with := f.String("with", "", "run the programs whose names match this `regexp`: mailtwin, floor, mbsync, mbsync-plain, offlineimap")
	f.IntVar(&s.runs, "runs", 5, "how often each program runs each workload; 0 only makes the page anew from benchmarks.json")
	f.BoolVar(&s.quick, "quick", false, "with little mail and a short line, to see whether everything works; the figures mean nothing")
	f.BoolVar(&s.large, "large", false, "also a million messages, and 5,000 folders, in the growth workloads")
	f.StringVar(&s.out, "out", "docs", "write benchmarks.md and charts/ into this `directory`")
	f.DurationVar(&s.patience, "patience", 10*time.Minute, "end a program that takes longer, and say so")
	f.DurationVar(&s.budget, "budget", 5*time.Minute, "start no further run of a workload with a program that has had so much time in it")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || s.runs < 0 {
		return errors.New("no arguments, and no fewer runs than none; see -help")
	}
	var err error
	if s.only, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if s.with, err = regexp.Compile(*with); err != nil {
		return fmt.Errorf("-with: %w", err)
	}
	if s.quick && s.out == "docs" {
		return errors.New("-quick needs -out: its figures are not for the documentation")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return measure(ctx, s)
}
