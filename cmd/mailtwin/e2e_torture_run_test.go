package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"mailtwin/conflict/mail"
	"mailtwin/statedb"
)

// open tells which intents and landings base has open.
func (x *torture) open(d *computer) (unresolved map[string]bool) {
	unresolved = map[string]bool{}
	db, err := statedb.OpenReadOnly(x.Context(), filepath.Join(filepath.Dir(d.config), "state", "alice", stateFile))
	if !x.happened(err) {
		return unresolved // it was killed before it had one
	}
	defer db.Close()
	intents, err := db.Intents(x.Context())
	x.happened(err)
	for _, in := range intents {
		unresolved[fmt.Sprintf("intent to %s, %d", in.Kind, in.ID)] = true
	}
	rows, err := db.Unsettled(x.Context())
	x.happened(err)
	for _, row := range rows {
		if row.State == mail.Landing {
			unresolved[fmt.Sprintf("landing, %d", row.ID)] = true
		}
	}
	return unresolved
}

// died counts a death between intent and commit.
func (x *torture) died(before, after map[string]bool) {
	kinds := map[string]bool{}
	for what := range after {
		if kind, _, _ := strings.Cut(what, ","); !before[what] {
			kinds[kind] = true
		}
	}
	for kind := range kinds {
		x.strike("killed between intent and commit: " + kind)
	}
}

// ending is how a run of the program ended.
type ending struct {
	killed         bool
	at             string // where it was killed
	struck         string // where a knife struck
	code           int
	stdout, stderr string
}

// waits tells whether all that the sync complains of is that something waits for a next
// try, or for consent, or, if it was disturbed, that one folder was left for that.
func (e ending) waits(disturbed bool) bool {
	for line := range strings.Lines(e.stderr) {
		if strings.HasPrefix(line, "mailtwin: ") && !waiting.MatchString(line) && !(disturbed && strings.Contains(line, "server unreachable")) {
			return false
		}
	}
	return true
}

var waiting = regexp.MustCompile(` waits?: |held`)

// command is the program, as a process of its own that is killed when ctx ends; one that kills
// itself at a step, if that is not 0.
func (x *torture) command(ctx context.Context, step int) *exec.Cmd {
	self, err := os.Executable()
	x.happened(err)
	cmd := exec.CommandContext(ctx, self)
	cmd.Args[0] = "mailtwin"
	if step > 0 {
		cmd.Args[0] = childName
	} else if shipped := os.Getenv("MAILTWIN_BINARY"); shipped != "" {
		cmd.Path = shipped
	}
	return cmd
}

// log names the next file for what a device's mailtwin says.
func (x *torture) log(d *computer) string {
	return filepath.Join(x.trace, fmt.Sprintf("%04d.%s.log", x.runs.Add(1), d.name))
}

// run syncs a device in a process of its own, or has its watch do that.
func (x *torture) run(i int, next *stroke, command func(), step int, flags ...string) ending {
	if x.live {
		return x.ask(i, next, command, step, flags...)
	}
	d, k := x.devices[i], x.knives[i]
	ctx, cancel := context.WithTimeout(x.Context(), tortureTime)
	defer cancel()
	cmd, stats := x.command(ctx, step), filepath.Join(filepath.Dir(d.config), "stats")
	cmd.Args = append([]string{cmd.Args[0], "--config", d.config, "sync", "--json"}, flags...)
	cmd.Env = append(os.Environ(), killAt+"="+strconv.Itoa(step), childStats+"="+stats)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if x.trace != "" {
		cmd.Args = append(cmd.Args, "-vv")
		log, err := os.Create(x.log(d))
		x.happened(err)
		defer log.Close()
		cmd.Stderr = io.MultiWriter(log, &stderr)
	}
	err := k.arm(x.seeded(), next, command, func() (*os.Process, error) { err := cmd.Start(); return cmd.Process, err })
	if err != nil {
		x.Error(err)
		return ending{}
	}
	err = cmd.Wait()
	e := ending{struck: k.rest(), code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	if ctx.Err() != nil {
		x.Errorf("%s: it hangs: %v\n%s", d.name, err, e.stderr)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL {
		e.killed, e.at = true, strings.TrimPrefix(e.struck, string(killIt)+" ")
		if step > 0 {
			at, err := os.ReadFile(stats + ".struck")
			x.happened(err)
			e.at = string(at)
		}
	}
	return e
}

// count adds up what the syncs that came to an end say that they did.
func (x *torture) count(e ending) {
	var doc syncReport
	if json.Unmarshal([]byte(e.stdout), &doc) != nil || len(doc.Accounts) != 1 {
		return // it was killed
	}
	r := doc.Accounts[0]
	x.strikes("synced: removed here", r.Local.Removed)
	x.strikes("synced: removed on the server", r.Remote.Removed)
	x.strikes("synced: moved here", r.Local.Moved)
	x.strikes("synced: moved on the server", r.Remote.Moved)
}
