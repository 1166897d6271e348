package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mailtwin/conflict/mail"
)

// hook is a post_sync command that takes its time.
type hook struct {
	takes   time.Duration
	fails   error
	running bool
	ran     []string // since when, and of which folders
	began   time.Time
	told    []error
}

func (k *hook) run(ctx context.Context, changed []mail.Folder) error {
	if k.running {
		k.ran = append(k.ran, "twice at once")
	}
	k.running = true
	defer func() { k.running = false }()
	k.ran = append(k.ran, fmt.Sprintf("%v%q", time.Since(k.began), changed))
	select {
	case <-time.After(k.takes):
		return k.fails
	case <-ctx.Done():
		k.ran = append(k.ran, "killed")
		return ctx.Err()
	}
}

// hooked runs script beside an after, which ends then.
func hooked(t *testing.T, k *hook, script func(t *testing.T, h *after, stop func()), want ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		k.began = time.Now()
		h := newAfter(k.run, func(err error) { k.told = append(k.told, err) })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { h.run(ctx); close(ended) }()
		stop := func() { cancel(); <-ended }
		script(t, h, stop)
		stop()
		if !slices.Equal(k.ran, want) {
			t.Errorf("it ran %q, want %q", k.ran, want)
		}
	})
}

func TestPostSyncWaitsForTheEndOfABatch(t *testing.T) {
	hooked(t, &hook{}, func(t *testing.T, h *after, _ func()) {
		for _, f := range []mail.Folder{"Work", "INBOX", "Work"} {
			h.add([]mail.Folder{f}, nil)
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(time.Hour)
		h.add(nil, nil) // nothing changed
		time.Sleep(time.Hour)
	}, `2s["INBOX" "Work"]`)
}

func TestPostSyncWaitsNotForEver(t *testing.T) {
	hooked(t, &hook{}, func(t *testing.T, h *after, _ func()) {
		for range 12 {
			h.add([]mail.Folder{"INBOX"}, nil)
			time.Sleep(500 * time.Millisecond)
		}
		time.Sleep(time.Hour)
	}, `5s["INBOX"]`, `6.5s["INBOX"]`)
}

func TestWhatChangesMeanwhileIsForTheNextPostSync(t *testing.T) {
	hooked(t, &hook{takes: time.Minute}, func(t *testing.T, h *after, _ func()) {
		h.add([]mail.Folder{"INBOX"}, nil)
		for _, f := range []mail.Folder{"Work", "Play"} {
			time.Sleep(10 * time.Second)
			h.add([]mail.Folder{f}, nil)
		}
		time.Sleep(time.Hour)
	}, `1s["INBOX"]`, `1m2s["Play" "Work"]`)
}

// Who waits is told how that went which has its folders.
func TestWhoAsksWaitsForPostSync(t *testing.T) {
	odd := errors.New("odd")
	hooked(t, &hook{takes: time.Minute, fails: odd}, func(t *testing.T, h *after, _ func()) {
		h.add([]mail.Folder{"INBOX"}, nil)
		time.Sleep(2 * time.Second)
		told := make(chan error, 1)
		h.add([]mail.Folder{"Work"}, told)
		if err := <-told; err != odd {
			t.Errorf("it is told %v", err)
		}
		h.add([]mail.Folder{"Work"}, make(chan error, 1)) // and who has left keeps nobody
		time.Sleep(time.Hour)
	}, `1s["INBOX"]`, `1m1s["Work"]`, `2m1s["Work"]`)
}

// When the watch ends, what changed is not forgotten, and nothing takes long.
func TestPostSyncAtTheEnd(t *testing.T) {
	k := &hook{takes: time.Second}
	hooked(t, k, func(t *testing.T, h *after, stop func()) {
		h.add([]mail.Folder{"INBOX"}, nil)
		stop()
	}, `0s["INBOX"]`)
	if len(k.told) != 1 || k.told[0] != nil {
		t.Errorf("it told %v", k.told)
	}
	k = &hook{takes: time.Hour}
	hooked(t, k, func(t *testing.T, h *after, stop func()) {
		h.add([]mail.Folder{"INBOX"}, nil)
		time.Sleep(10 * time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took != afterGrace {
			t.Errorf("it took %v to end", took)
		}
	}, `1s["INBOX"]`, "killed")
	if len(k.told) != 0 {
		t.Errorf("it told %v", k.told)
	}
}
