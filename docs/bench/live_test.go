package main

import "testing"

func TestPercentile(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	for _, c := range []struct {
		all  []float64
		p    float64
		want float64
	}{
		{nil, 50, 0}, {[]float64{7}, 50, 7}, {[]float64{7}, 99, 7}, {[]float64{3, 1, 2}, 50, 2},
		{hundred, 50, 50}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred[:10], 99, 100},
	} {
		if got := percentile(c.all, c.p); got != c.want {
			t.Errorf("%v of %d: %v, not %v", c.p, len(c.all), got, c.want)
		}
	}
}

func TestParseAnnouncement(t *testing.T) {
	for line, want := range map[string]announcement{
		"* STATUS Sent (MESSAGES 51 UIDNEXT 52 UNSEEN 1)": {mailbox: "Sent", messages: 51},
		`* STATUS "a b c" (UIDNEXT 9 MESSAGES 8)`:         {mailbox: `"a b c"`, messages: 8},
		"* STATUS Sent (HIGHESTMODSEQ 12)":                {mailbox: "Sent"},
		"* 3 EXISTS":                                      {mailbox: "INBOX", messages: 3},
		"* 3 EXPUNGE":                                     {mailbox: "INBOX"},
		`* 3 FETCH (MODSEQ (7) FLAGS (\Flagged))`:         {mailbox: "INBOX"},
		"* OK Still here":                                 {},
		"+ idling":                                        {},
		`* LIST () "." Sent`:                              {},
	} {
		if got, _ := parseAnnouncement(line); got != want {
			t.Errorf("%q: %+v, not %+v", line, got, want)
		}
	}
}
