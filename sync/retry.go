package sync

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// An upload that the server refused is tried again after a while that doubles.
const (
	firstRetry = 10 * time.Minute
	lastRetry  = 24 * time.Hour
)

// setAside makes a row of a file that the server does not take, and tells when it is
// tried again.
func (r *run) setAside(f *folder, o *outgoing, err error, batch *mail.Batch) time.Time {
	row := r.rowOf(f, o)
	row.UID, row.State, row.Why = 0, mail.Pending, err.Error()
	row.Tries = max(row.Tries, 0)
	r.postpone(row, 0)
	batch.PutRows = append(batch.PutRows, row)
	if o.intent != nil {
		batch.DropIntents = append(batch.DropIntents, o.intent.ID)
	}
	return row.RetryAt
}

func (r *run) reportRefused(f *folder, o *outgoing, err error, retryAt time.Time) {
	r.problem(f, fmt.Errorf("upload %q: %w", o.file.Name, err), retryHint("it stays here and ", retryAt))
}

// patience is how many connections a message may break before it has to wait.
const patience = 8

// suspect deals with a message at which the connection broke off, which may be how the
// server refuses it. The first time it is the connection's fault. But a message at
// which that happens again must not stop the others in every run: it is tried after
// them, its folder alone is left until the next run, which learns whether it was stored
// after all, and in the end it waits like a refused one.
func (r *run) suspect(f *folder, o *outgoing, err error, batch *mail.Batch) error {
	row := r.rowOf(f, o)
	row.UID, row.State, row.Why = 0, mail.Pending, err.Error()
	again := row.Tries != 0
	if again {
		r.postpone(row, patience)
	} else {
		row.Tries, row.RetryAt = -1, r.Now().Truncate(time.Second)
	}
	batch.PutRows = append(batch.PutRows, row)
	err = fmt.Errorf("upload %q: %w", o.file.Name, err)
	if !again {
		return err
	}
	hint := "the next sync tries again"
	if failures(row) > patience {
		hint = retryHint("it stays here and ", row.RetryAt)
	}
	r.problem(f, err, hint)
	r.mu.Lock()
	defer r.mu.Unlock()
	f.failed = err
	return nil
}

// retriedLast sorts uploads so that those which failed before do not stop the others.
func retriedLast[T any](uploads []T, action func(T) *conflict.Action) {
	slices.SortStableFunc(uploads, func(a, b T) int { return cmp.Compare(tries(action(a)), tries(action(b))) })
}

func tries(a *conflict.Action) int {
	if a.Item.Row == nil {
		return 0
	}
	return failures(a.Item.Row)
}

// failures counts how often a pending message was tried in vain.
func failures(row *mail.Row) int { return max(row.Tries, -row.Tries) }

// postpone sets the time of a pending row's next try: at once, as long as it was tried
// no more often than free.
func (r *run) postpone(row *mail.Row, free int) {
	row.RetryAt = r.Now().Truncate(time.Second)
	if failed := failures(row); failed >= free {
		row.RetryAt = r.Now().Add(min(firstRetry<<min(failed-free, 10), lastRetry)).Truncate(time.Second)
	}
	if row.Tries < 0 {
		row.Tries--
	} else {
		row.Tries++
	}
}

func localTime(at time.Time) string { return at.Local().Format(time.DateTime) }

func retryHint(before string, at time.Time) string {
	return before + "is tried again after " + localTime(at)
}
