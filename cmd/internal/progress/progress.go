// Package progress shows on a terminal how far the transfers of a run have come: how
// many messages, how many bytes and how fast, and in which folder.
package progress

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// The widths, in columns or octets, make a line that fits 80 columns: a longer one
// would wrap, and leave its pieces behind with each drawing.
const (
	barWidth   = 10
	maxAccount = 10
	maxFolder  = 18
	redraw     = 100 * time.Millisecond
)

// Bar is one line on a terminal for all accounts of a run together. It appears with
// the first transfer. The nil Bar shows nothing.
type Bar struct {
	mu    sync.Mutex
	w     io.Writer
	now   func() time.Time
	bar   *progressbar.ProgressBar // nil until there is something to show
	begun time.Time

	done, total int
	bytes       int64
}

// New makes a bar that draws on w, a terminal.
func New(w io.Writer) *Bar { return &Bar{w: w, now: time.Now} }

// Add counts a step of a transfer. It may be called from several goroutines at once,
// though not after Close.
func (b *Bar) Add(account string, p engine.Progress) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += p.Messages
	b.total += p.TotalMessages
	b.bytes += p.Bytes
	if b.total == 0 && b.done == 0 && b.bytes == 0 {
		return
	}
	if b.bar == nil {
		b.begun = b.now()
		b.bar = progressbar.NewOptions(1, progressbar.OptionSetWriter(b.w), progressbar.OptionSetWidth(barWidth),
			progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false),
			progressbar.OptionThrottle(redraw), progressbar.OptionClearOnFinish())
	}
	// The total grows while folders are looked at, and a bar that was full once draws
	// no more: so it stays one short of full until Close.
	b.bar.ChangeMax(max(b.total, b.done) + 1)
	b.bar.Describe(b.describe(account, p.Folder))
	b.bar.Set(b.done) // it fails only when the terminal does
}

func (b *Bar) describe(account string, f mail.Folder) string {
	text := mail.Clean(account, maxAccount)
	if f != "" {
		text += " " + mail.Clean(string(f), maxFolder)
	}
	text += fmt.Sprintf(" %d/%d, %s", b.done, max(b.total, b.done), size(float64(b.bytes)))
	if s := b.now().Sub(b.begun).Seconds(); s >= 1 {
		text += ", " + size(float64(b.bytes)/s) + "/s"
	}
	return text
}

// size writes a number of bytes with three digits at most.
func size(n float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		switch {
		case n < 999.5 && (unit == "B" || n >= 99.5):
			return fmt.Sprintf("%.0f %s", n, unit)
		case n < 99.5:
			return fmt.Sprintf("%.1f %s", n, unit)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.1f TB", n)
}

// Close takes the bar off the terminal.
func (b *Bar) Close() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar != nil {
		b.bar.Finish() // it fails only when the terminal does
	}
}
