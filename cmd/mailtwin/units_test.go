package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The units in docs/systemd are such as systemd takes without a word.
func TestUnits(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil && os.Getenv("MAILTWIN_REQUIRE") == "1" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
	home, run := t.TempDir(), t.TempDir()
	program := filepath.Join(home, "go", "bin", "mailtwin") // that the units start
	if err := os.MkdirAll(filepath.Dir(program), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	says := func(files ...string) string {
		t.Helper()
		// Manual pages belong to packages that need not be here.
		cmd := exec.CommandContext(t.Context(), verify, append([]string{"--user", "--man=no", "verify"}, files...)...)
		cmd.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+run)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return string(out) + err.Error()
		}
		return string(out)
	}
	files, err := filepath.Glob("../../docs/systemd/*")
	if err != nil || len(files) != 3 {
		t.Fatalf("there are the units %v, %v", files, err)
	}
	if out := says(files...); out != "" {
		t.Errorf("systemd says\n%s", out)
	}

	// It would tell of a mistake.
	text, err := os.ReadFile("../../docs/systemd/mailtwin-watch.service")
	if err != nil {
		t.Fatal(err)
	}
	for wrong, from := range map[string]string{"WatchdogSecs=": "WatchdogSec=", "Type=notified": "Type=notify", "/bin/mailtwine": "/bin/mailtwin"} {
		file := filepath.Join(t.TempDir(), "mistaken.service")
		if err := os.WriteFile(file, []byte(strings.Replace(string(text), from, wrong, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if says(file) == "" {
			t.Errorf("systemd does not mind %q", wrong)
		}
	}
}
