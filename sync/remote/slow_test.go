package remote

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
)

// slowly gives the way to a server by such a line.
func slowly(t *testing.T, opts Options, line imaptest.Line) Options {
	s := imaptest.Slow(t, opts.Host, opts.Port, line)
	opts.Host, opts.Port = s.Host, s.Port
	return opts
}

// What the kernel has taken, and not sent yet, is no answer that the server owes: else an
// upload would fail that takes longer than the server may be silent.
func TestWhatIsStillBeingSentDoesNotCountAsSilence(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there it is not known what is still being sent")
	}
	for _, caps := range []string{"UIDPLUS", "UIDPLUS LITERAL+"} {
		t.Run(caps, func(t *testing.T) {
			t.Parallel()
			const size = 800 << 10
			opts, _ := appendServer(t, caps, func(s *script, tag string, size int, ask func()) bool {
				ask()
				for left := size + 2; left > 0; {
					n, err := s.r.Discard(min(left, 1000))
					if left -= n; err != nil {
						return false
					}
				}
				s.say("* 1 EXISTS", tag+" OK [APPENDUID 7 1] done")
				return true
			})
			opts.Timeout = 3 * time.Second // in which 240 kB pass; the kernels have some 300 in the end
			a := open(t, slowly(t, opts, imaptest.Line{Rate: 80_000}))
			began := time.Now()
			_, _, _, err := appendTo(t.Context(), a, "INBOX", mail.Flags{}, time.Time{}, newMessage(strings.Repeat("x", size)))
			if took := time.Since(began); err != nil || took < 8*time.Second {
				t.Errorf("after %v: %v", took, err)
			}
		})
	}
}
