package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"mailtwin/sync/imaptest/corpus"
	"mailtwin/sync/imaptest/dovecot"
)

// TestAdoption: a Maildir and an account that are full of the same mail are tied without
// moving a body, whatever the files are called. It is an account as people have them:
// its headers have 3 kB in the median. With MAILTWIN_LONG=1 it has 10,000 messages.
func TestAdoption(t *testing.T) {
	n, each := 1000, 8<<10 // with twins, and messages without Message-ID
	if os.Getenv("MAILTWIN_LONG") == "1" {
		n = 10_000
	}
	for name, times := range map[string]bool{"a copy with its times": true, "a copy without them": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			samples := slices.Collect(corpus.Bulk(11, n, 8, int64(n*each)))
			total, headers := int64(0), []int{}
			for _, m := range samples {
				total += int64(len(m.Raw))
				headers = append(headers, bytes.Index(m.Raw, []byte("\r\n\r\n")))
			}
			slices.Sort(headers)
			if median := headers[len(headers)/2]; median < 2900 {
				t.Fatalf("the median header has %d octets", median)
			}
			server := dovecot.Start(t)
			server.Fill(slices.Values(samples))
			s := newStory(t, server, server.User)
			d := s.device("laptop")
			for i, m := range samples {
				date := m.Date
				if !times {
					date = then.Add(time.Duration(i) * time.Millisecond)
				}
				d.save(m.Folder, "cur", fmt.Sprintf("%d_%d.other.program:2,S", i, i*7), onDisk(string(m.Raw)), date)
			}
			r := d.sync()
			if r.Local.New != 0 || r.Remote.New != 0 || r.Local.Removed != 0 || r.Remote.Removed != 0 {
				t.Errorf("here %+v, on the server %+v", r.Local, r.Remote)
			}
			wire := r.BytesIn + r.BytesOut
			t.Logf("%d octets of %d for %d messages: %.1f%%, %d a message", wire, total, n, 100*float64(wire)/float64(total), wire/int64(n))
			if wire*20 > total {
				t.Errorf("%d octets on the wire, more than 5%% of %d", wire, total)
			}
			d.quiet()
			for i := range 8 {
				var there []string
				for _, m := range s.messages(corpus.FolderName(i)) {
					there = append(there, onDisk(string(m.Raw)))
				}
				equalTexts(s, string(corpus.FolderName(i)), d.texts(corpus.FolderName(i)), there)
			}
		})
	}
}
