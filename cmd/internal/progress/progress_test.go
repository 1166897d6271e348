package progress

import (
	"strings"
	"sync"
	"testing"
	"time"

	engine "mailtwin/sync"
)

func TestNothingToShow(t *testing.T) {
	var out strings.Builder
	b := New(&out)
	b.Add("alice", engine.Progress{Folder: "INBOX"})
	b.Close()
	if out.Len() > 0 {
		t.Errorf("drawn: %q", &out)
	}
	var none *Bar
	none.Add("alice", engine.Progress{Messages: 1})
	none.Close()
}

func TestWhatIsShown(t *testing.T) {
	var out strings.Builder
	b := New(&out)
	clock := time.Unix(0, 0)
	b.now = func() time.Time { return clock }
	b.Add("alice", engine.Progress{TotalMessages: 10})
	clock = clock.Add(2 * time.Second)
	b.Add("alice", engine.Progress{Folder: "Lists/\x1b[2Jgo", Messages: 4, Bytes: 3_000_000})
	if got, want := b.describe("alice", "Lists/\x1b[2Jgo"), "alice Lists/[2Jgo 4/10, 3.0 MB, 1.5 MB/s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.Close()
	if !strings.Contains(out.String(), "alice 0/10, 0 B") || strings.Contains(out.String(), "\x1b[2J") {
		t.Errorf("drawn: %q", &out)
	}
}

// The total may turn out too small, or grow after all was done.
func TestMoreThanAnnounced(t *testing.T) {
	var out strings.Builder
	b := New(&out)
	b.Add("a", engine.Progress{TotalMessages: 1, Messages: 1})
	b.Add("a", engine.Progress{Messages: 5})
	b.Add("a", engine.Progress{TotalMessages: 94})
	if b.bar.IsFinished() {
		t.Error("finished before its end")
	}
	b.Close()
	if !b.bar.IsFinished() || b.done != 6 || b.total != 95 {
		t.Errorf("%d of %d, finished %v", b.done, b.total, b.bar.IsFinished())
	}
}

func TestManyAtOnce(t *testing.T) {
	var out strings.Builder
	b := New(&out)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				b.Add("a", engine.Progress{TotalMessages: 1, Messages: 1, Bytes: 10})
			}
		})
	}
	wg.Wait()
	b.Close()
	if b.done != 800 || b.total != 800 || b.bytes != 8000 {
		t.Errorf("counted %d of %d, %d bytes", b.done, b.total, b.bytes)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[float64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 99_400: "99.4 kB", 99_600: "100 kB",
		999_400: "999 kB", 999_600: "1.0 MB", 3.2e9: "3.2 GB", 5e12: "5.0 TB"} {
		if got := size(n); got != want {
			t.Errorf("size(%v) = %q, want %q", n, got, want)
		}
	}
}
