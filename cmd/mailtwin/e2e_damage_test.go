package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAnyPageOfTheStateCanBeDamaged: SQLite finds damage where it reads, at the opening of
// the file, in the middle of a run, or at its end. Wherever it is, the sync that meets it
// brings all in step again, and says so in one line. With MAILTWIN_LONG=1 each page is
// damaged in two ways.
func TestAnyPageOfTheStateCanBeDamaged(t *testing.T) {
	t.Parallel()
	const page = 4 << 10
	s := embedded(t)
	d := s.device("laptop")
	for i := range 60 {
		s.deliver("INBOX", note(fmt.Sprint("message ", i)), seen)
		d.save("Work", "cur", fmt.Sprint(i, ".mine:2,S"), note(fmt.Sprint("mine ", i)), then)
	}
	d.sync()
	d.sync()
	here, there := d.texts("INBOX"), s.index()
	home := filepath.Dir(d.config)
	copyOf := func(from, to string) {
		s.Helper()
		s.check(os.RemoveAll(to))
		if out, err := exec.CommandContext(s.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
			s.Fatalf("cp: %v: %s", err, out)
		}
	}
	backup := filepath.Join(s.dir, "backup")
	copyOf(home, backup)
	state := filepath.Join(home, "state", "alice", stateFile)
	whole, err := os.ReadFile(state)
	s.check(err)
	found, tried := 0, 0
	for at := 0; at < len(whole); at += page {
		for i, what := range []string{"zeros", "garbage"} {
			if at/page%2 != i && os.Getenv("MAILTWIN_LONG") != "1" {
				continue
			}
			filling := byte(i * 0xa7)
			tried++
			copyOf(backup, home)
			damaged := bytes.Clone(whole)
			copy(damaged[at:], bytes.Repeat([]byte{filling}, page))
			s.check(os.WriteFile(state, damaged, 0o600))
			d.save("INBOX", "cur", "new.here:2,S", note("new here"), then) // so that it reads rows
			r := d.run("sync")
			if r.code != 0 || strings.Count(r.stderr, "\n") > 1 {
				s.Errorf("%s in page %d: exit code %d, it says %q", what, at/page, r.code, r.stderr)
			}
			aside, err := filepath.Glob(state + ".damaged-*")
			s.check(err)
			if len(aside) > 0 {
				found++
			}
			if len(aside) > 1 || len(aside) != strings.Count(r.stderr, "set aside as") {
				s.Errorf("%s in page %d: set aside: %q, it says %q", what, at/page, aside, r.stderr)
			}
			got := d.sync()
			if got.Local != (accountReport{}).Local || got.Remote != (accountReport{}).Remote {
				s.Errorf("%s in page %d: the next sync does %+v here and %+v on the server", what, at/page, got.Local, got.Remote)
			}
			s.check(s.phone.Delete(s.Context(), "INBOX", s.remote("INBOX", "new here").UID))
			d.remove(d.find("INBOX", "new here"))
			equalTexts(s, "here", d.texts("INBOX"), here)
			s.want("on the server", s.index(), there...)
		}
	}
	s.Logf("%d of %d damaged files were found to be", found, tried)
	if found < tried/2 {
		s.Error("most of the damage was not met")
	}
}
