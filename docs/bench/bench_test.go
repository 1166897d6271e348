package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/sync/imaptest/daemon"
)

// TestMain lets the test's own program be the floor and the launcher, too.
func TestMain(m *testing.M) {
	playOther()
	os.Exit(m.Run())
}

// TestQuick runs every workload once, and then one more with a peer, if there is one:
// they sleep too much to be in all of them. What was measured first is kept.
func TestQuick(t *testing.T) {
	if daemon.Find("dovecot", "/usr/sbin/dovecot", "/usr/local/sbin/dovecot") == "" {
		daemon.Missing(t, "dovecot")
	}
	out := t.TempDir()
	for _, args := range [][]string{{"-with", "^(mailtwin|floor)$"}, {"-with", "^(mailtwin|floor|mbsync)$", "-only", "^first-0ms"}} {
		if err := run(append([]string{"-quick", "-runs", "1", "-out", out}, args...)); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(filepath.Join(out, "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for line := range strings.Lines(string(page)) {
		_, link, ok := strings.Cut(strings.TrimSpace(line), "](charts/")
		if !ok {
			continue
		}
		links++
		chart, err := os.ReadFile(filepath.Join(out, "charts", strings.TrimSuffix(link, ")")))
		if err != nil {
			t.Error(err)
		} else if err := wellFormed(chart); err != nil {
			t.Errorf("%s: %v", link, err)
		} else if len(chart) > 100<<10 {
			t.Errorf("%s has %d bytes", link, len(chart))
		}
	}
	if links < 10 {
		t.Errorf("the page shows %d charts", links)
	}
	for _, s := range []string{"| mailtwin | 0.", "| the floor | ", "| first sync | 300 |", "| one flag changed on the server | 9 |",
		"| Here: one change | 5 | 0.", "| On the server: 20 new messages, one after the other | 20 | "} {
		if !bytes.Contains(page, []byte(s)) {
			t.Errorf("the page lacks %q", s)
		}
	}
}

func wellFormed(text []byte) error {
	for d := xml.NewDecoder(bytes.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
