package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheMaildirOfAnotherAccount: somebody swapped two lines of the configuration, or two
// disks. Nothing is written, on neither side, until the configuration is right again.
func TestTheMaildirOfAnotherAccount(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"in the place of its own": true, "at the first sync": false} {
		t.Run(name, func(t *testing.T) {
			mine, theirs := embedded(t), embedded(t)
			mine.deliver("INBOX", note("mine"), seen)
			theirs.deliver("INBOX", note("theirs"), seen)
			other := theirs.device("laptop")
			text, err := os.ReadFile(other.config)
			theirs.check(err)
			theirs.check(os.WriteFile(other.config, []byte(strings.Replace(string(text), "accounts.alice", "accounts.bob", 1)), 0o600))
			other.exits(0, "sync")
			d := mine.device("laptop")
			if known {
				d.sync()
				mine.check(os.Rename(d.maildir, d.maildir+".mine"))
			}
			mine.check(os.Rename(other.maildir, d.maildir))
			before := snapshot(t, d.maildir)
			for _, args := range [][]string{{"sync"}, {"sync", "--dry-run"}, {"sync", "--allow-deletes"}} {
				r := d.exits(1, args...)
				d.said(r.stderr, `what is there is the Maildir of account "bob"`, "nothing was removed from the server")
				if strings.Count(r.stderr, "\n") != 1 {
					t.Errorf("it says %q", r.stderr)
				}
			}
			mine.want("on the server", mine.there("INBOX"), "mine")
			if after := snapshot(t, d.maildir); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			// It is given to this account after all.
			mine.check(os.Remove(filepath.Join(d.maildir, "INBOX", ".mailtwin")))
			d.sync()
			mine.want("on the server", mine.there("INBOX"), "mine", "theirs")
			d.same()
		})
	}
}

// snapshot tells all that is in a directory.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		all.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String() + "\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
