package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is how often a sync that waits looks whether the other one has ended.
const lockPoll = 100 * time.Millisecond

// lockWait is how long another sync of the account is waited for, unless --wait says.
const lockWait = time.Minute

// busyError says that another process syncs the account.
type busyError struct {
	pid    int       // 0: not known
	since  time.Time // zero: not known
	waited time.Duration
}

// who says which process runs, and since when.
func (e *busyError) who() string {
	who := "another sync"
	if e.pid > 0 {
		who += fmt.Sprintf(", process %d,", e.pid)
	}
	who += " is running"
	if !e.since.IsZero() {
		who += " since " + e.since.Local().Format(time.DateTime)
	}
	return who
}

func (e *busyError) Error() string {
	return fmt.Sprintf("%s; waited %v: try later, or raise --wait", e.who(), e.waited)
}

// ExitCode is 75: it passes.
func (e *busyError) ExitCode() int { return exitTemporary }

// lockAccount makes the account's state directory, private to the user, and takes the
// lock in it, for which it waits so long. The kernel frees the lock when the process
// ends, however it ends; what the file says is only for the message to others. waiting
// is called once if another process has the lock and it is worth waiting for. The
// caller calls unlock.
func lockAccount(ctx context.Context, dir string, wait time.Duration, waiting func(other *busyError)) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w: state_dir may name another place", err)
	}
	// One that somebody made before may have a wider mode; the files in it need not
	// be private by themselves.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory private: %w", err)
	}
	path := filepath.Join(dir, "lock")
	lock := flock.New(path, flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err == nil && !locked && wait > 0 {
		waiting(readLock(path))
		limited, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		locked, err = lock.TryLockContext(limited, lockPoll)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = nil
		}
	}
	switch {
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock the account by %s: %w", path, err), lock.Close())
	case !locked:
		busy := readLock(path)
		busy.waited = wait
		return nil, errors.Join(busy, lock.Close())
	}
	text := fmt.Sprintf("%d %s\n", os.Getpid(), time.Now().UTC().Format(time.RFC3339))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("write the lock %s: %w", path, err), lock.Close())
	}
	// The file stays: to remove it would let a third process lock another file of the
	// same name while a second one holds this one.
	return func() { lock.Close() }, nil
}

// hookWait is how long the post_sync command of another sync is waited for. One that hangs must not
// have all that cron starts wait for it.
const hookWait = 10 * time.Minute

// takeTurn waits until no post_sync command runs, and keeps others from it until end is called.
func takeTurn(ctx context.Context, path string) (end func(), err error) {
	lock := flock.New(path, flock.SetPermissions(0o600))
	limited, cancel := context.WithTimeout(ctx, hookWait)
	defer cancel()
	if _, err = lock.TryLockContext(limited, lockPoll); err == nil {
		return func() { lock.Close() }, nil
	}
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("post_sync: the command of another sync is running; waited %v", hookWait)
	default:
		err = fmt.Errorf("post_sync: lock %s: %w", path, err)
	}
	return nil, errors.Join(err, lock.Close())
}

// readLock reads who has the lock. What cannot be read is left out.
func readLock(path string) *busyError {
	busy := &busyError{}
	f, err := os.Open(path)
	if err != nil {
		return busy
	}
	defer f.Close() // nothing was written
	text, err := io.ReadAll(io.LimitReader(f, 100))
	if err != nil {
		return busy
	}
	pid, since, _ := bytes.Cut(bytes.TrimSpace(text), []byte(" "))
	busy.pid, _ = strconv.Atoi(string(pid)) // 0 where it is no number
	busy.since, _ = time.Parse(time.RFC3339, string(since))
	return busy
}
