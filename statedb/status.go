package statedb

import (
	"context"
	"errors"
	"time"

	"mailtwin/conflict/mail"
)

// Run is what is kept of an account's last run, for people who ask.
type Run struct {
	Started, Finished time.Time // to the second
	OK                bool      // everything is in step
	Error             string    // why the run ended early; "" where it did not
	Report            []byte    // JSON, as whoever ran it made it
}

const runColumns = "started, finished, ok, error, report"

// LastRun gives the last run that was put; the zero value where there was none.
func (db *DB) LastRun(ctx context.Context) (Run, error) {
	runs, err := all(ctx, db.reads.lastRun, func(v *values) Run {
		return Run{Started: v.time(), Finished: v.time(), OK: v.int() != 0, Error: string(v.bytes()), Report: v.bytes()}
	}, "read the last run")
	if err != nil || len(runs) == 0 {
		return Run{}, err
	}
	return runs[0], nil
}

// PutRun replaces the last run.
func (db *DB) PutRun(ctx context.Context, run Run) error {
	err := db.transact(ctx, func(c *commit) error {
		return c.exec(ctx, c.w.putRun, int64(1), unix(run.Started), unix(run.Finished), truth(run.OK), blob(run.Error), blob(string(run.Report)))
	})
	return wrap(err, "record the run")
}

// Decisions gives the newest decisions that overruled somebody, newest first, at most
// limit of them. The last 10,000 are kept.
func (db *DB) Decisions(ctx context.Context, limit int) ([]mail.Decision, error) {
	return all(ctx, db.reads.decisions, readDecision, "read the decisions", int64(max(limit, 0)))
}

// Counts tells about the rows of one folder: how many are on each side, and how many
// are in a state that people should know of.
type Counts struct {
	Local, Remote         int
	Pending, Held, Parted int
}

// FolderCounts counts the rows of every folder that has some. It reads an index from
// end to end: a quarter of a second for a million rows.
func (db *DB) FolderCounts(ctx context.Context) (map[mail.FolderID]Counts, error) {
	type group struct {
		folder mail.FolderID
		state  mail.State
		n      int
	}
	readGroup := func(v *values) group {
		return group{mail.FolderID(v.int()), mail.State(v.uint(uint64(mail.Parted))), int(v.int())}
	}
	remote, err1 := all(ctx, db.reads.countsRemote, readGroup, "count the rows on the server")
	local, err2 := all(ctx, db.reads.countsLocal, readGroup, "count the rows with files")
	states, err3 := all(ctx, db.reads.countsState, readGroup, "count the unsettled rows")
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	counts := make(map[mail.FolderID]Counts)
	add := func(groups []group, to func(c *Counts, g group)) {
		for _, g := range groups {
			c := counts[g.folder]
			to(&c, g)
			counts[g.folder] = c
		}
	}
	add(remote, func(c *Counts, g group) { c.Remote = g.n })
	add(local, func(c *Counts, g group) { c.Local = g.n })
	add(states, func(c *Counts, g group) {
		switch g.state {
		case mail.Pending:
			c.Pending = g.n
		case mail.Held:
			c.Held = g.n
		case mail.Parted:
			c.Parted = g.n
		}
	})
	return counts, nil
}
