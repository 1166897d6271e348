package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailtwin/sync/imaptest"
)

// A line of 64 kbit/s that loses one packet in a hundred and is cut time and again, fifty times
// as fast, and with a patience that is shorter by as much. What is large takes several times as
// long as the patience lasts, and longer than any connection does.
func TestASlowLineBringsAllMailInTheEnd(t *testing.T) {
	const (
		rate     = 50 * 8000
		patience = 45 * time.Second / 50
		large    = 1_200_000
		cut      = 700_000
	)
	stories(t, map[string]func(s *story){
		"a first sync of 100 messages": func(s *story) {
			all := int64(0)
			put := func(subject string, size int) {
				text := note(subject) + incompressible(size)
				all += int64(len(text))
				s.deliver("INBOX", text, seen)
			}
			for n := range 100 {
				switch n {
				case 20, 70:
					put(fmt.Sprint("large ", n), large)
				default:
					put(fmt.Sprint("small ", n), 1000)
				}
			}
			line := imaptest.Slow(s, s.server.Host, s.server.Port, imaptest.Line{
				Rate: rate, Delay: 20 * time.Millisecond, Lost: 10, Resend: 100 * time.Millisecond,
				Cut: func(int) int64 { return cut },
			})
			d := s.device("train", "host = "+strconv.Quote(line.Host), "port = "+strconv.Itoa(line.Port), "timeout = "+strconv.Quote(patience.String()))
			received, runs := int64(0), 0
			for code := 75; code != 0; runs++ {
				if runs == 10 {
					s.Fatalf("it is not there after %d runs", runs)
				}
				r := d.run("sync", "--json")
				code = r.code
				if code != 0 && (code != 75 || strings.Contains(r.stderr, "no answer")) {
					s.Fatalf("run %d ends with %d: %s", runs+1, code, r.stderr)
				}
				report := parseReport(s, r)
				received += report.BytesIn
				if subjects := d.subjects("INBOX"); runs == 0 {
					// What is newer than the newer large one has come, and what is older has not.
					if n := len(subjects); n != 29 || !slices.Contains(subjects, "small 71") || !slices.Contains(subjects, "small 99") {
						s.Errorf("first come %d: %q", n, subjects)
					}
				}
			}
			if most := all + int64(runs)*50_000; received > most || runs < 4 {
				s.Errorf("%d octets came of %d, in %d runs", received, all, runs)
			}
			s.Logf("%d octets of %d in %d runs", received, all, runs)
			d.same()
			d.quiet()
		},
		"a large upload": func(s *story) {
			line := imaptest.Slow(s, s.server.Host, s.server.Port, imaptest.Line{Rate: rate, Delay: 20 * time.Millisecond, Lost: 10, Resend: 100 * time.Millisecond})
			d := s.device("train", "host = "+strconv.Quote(line.Host), "port = "+strconv.Itoa(line.Port), "timeout = "+strconv.Quote(patience.String()))
			d.sync()
			d.save("INBOX", "cur", "1.a.host:2,S", note("large")+incompressible(large), then)
			for n := range 20 {
				d.save("INBOX", "cur", fmt.Sprintf("%d.b.host:2,S", n), note(fmt.Sprint("small ", n)), then)
			}
			r := d.sync()
			d.did(r, counts4{}, counts4{New: 21})
			d.same()
		},
	})
}

// incompressible is text as an attachment is, of that size.
func incompressible(size int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	random := rand.New(rand.NewPCG(uint64(size), 1))
	text := make([]byte, size)
	for i := range text {
		if text[i] = alphabet[random.IntN(len(alphabet))]; i%77 == 76 {
			text[i] = '\n'
		}
	}
	return string(text)
}
