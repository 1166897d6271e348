package history_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailtwin/sync/sim/history"
)

var digits = regexp.MustCompile(`[0-9]+`)

func TestTry(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("N"))
	first, _ := strconv.Atoi(os.Getenv("FIRST"))
	cover := history.Coverage{}
	start := time.Now()
	fails := 0
	for seed := first; seed < first+n; seed++ {
		h := history.New(uint64(seed))
		if steps := os.Getenv("STEPS"); steps != "" {
			var kept []int
			for _, s := range strings.Split(steps, ",") {
				k, _ := strconv.Atoi(s)
				kept = append(kept, k)
			}
			h = h.Only(kept)
		}
		h.Verbose = os.Getenv("VERBOSE") != ""
		res := history.Play(h, history.Memory{}, cover)
		if res.Err != nil {
			fails++
			msg := res.Err.Error()
			fmt.Printf("RESULT %d %s\n", seed, strings.ReplaceAll(msg, "\n", "|"))
			if n == 1 {
				kind := digits.ReplaceAllString(msg, "N")
				kind = kind[:min(len(kind), 30)]
				s := history.Shrink(h, 400, func(h *history.History) bool {
					res := history.Play(h, history.Memory{}, history.Coverage{})
					return res.Err != nil && strings.HasPrefix(digits.ReplaceAllString(res.Err.Error(), "N"), kind)
				})
				s.Verbose = h.Verbose
				res := history.Play(s, history.Memory{}, cover)
				t.Errorf("%s %+v: %v\n%s", s.Command(), s.Setup, res.Err, strings.Join(res.Log, "\n"))
			}
		}
	}
	took := time.Since(start)
	fmt.Println(n, "in", took, float64(n)/took.Seconds(), "per s", fails, "failed")
	if os.Getenv("COVER") != "" {
		fmt.Println(cover.Table())
	}
}
