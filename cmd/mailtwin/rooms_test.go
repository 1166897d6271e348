package main

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// Which room may import which, by the longest prefix that matches a package of
// non-test code. docs/design.md draws it; this test keeps it so. What only one room
// may know of the outside stands in owners.
var (
	arrows = map[string][]string{
		"conflict/mail": {},
		"conflict":      {"conflict/mail"},
		"maildir":       {"conflict/mail"},
		"statedb":       {"conflict/mail"},
		"sync/remote":   {"conflict/mail", "sync/remote/wire"},
		"sync/imaptest": {"conflict/mail", "sync/imaptest"},
		"sync/sim":      {"conflict/mail", "sync", "sync/sim"},
		"sync/watch":    {"conflict/mail"},
		"sync/sim/disk": {"maildir"}, "sync/sim/disktest": {"maildir"},
		"sync/sim/history": {"conflict", "conflict/mail", "maildir", "statedb", "sync", "sync/sim", "sync/sim/disk"},
		"sync":             {"conflict", "conflict/mail"},
		"cmd/internal":     {"conflict", "conflict/mail", "sync", "cmd/internal"},
		"cmd/mailtwin": {"conflict", "conflict/mail", "maildir", "statedb", "sync", "sync/remote", "sync/watch",
			"sync/imaptest", "sync/imaptest/corpus", "cmd/internal"},
		// It runs the program as people do, and so knows nothing of its rooms.
		"docs/bench": {"conflict/mail", "sync/imaptest/corpus", "sync/imaptest/dovecot"},
	}
	owners = map[string][]string{
		"modernc.org/sqlite":             {"statedb"},
		"database/sql":                   {"statedb"},
		"github.com/emersion/go-maildir": {"maildir"},
		"github.com/fsnotify/fsnotify":   {"maildir", "docs/bench"}, // which looks on by itself
		"github.com/emersion/go-imap":    {"sync/remote", "sync/imaptest"},
		"github.com/spf13/cobra":         {"cmd/mailtwin"},
		"github.com/rivo/uniseg":         {"cmd/mailtwin"},
		"gonum.org/v1/plot":              {"docs/bench"},
		"net":                            {"sync/remote", "sync/imaptest", "cmd", "docs/bench"},
		"crypto/tls":                     {"sync/remote", "sync/imaptest", "cmd"},
	}
	// pure are rooms without I/O, clock or randomness.
	pure      = []string{"conflict", "conflict/mail"}
	notInPure = []string{"os", "net", "context", "database", "log", "math/rand", "crypto/rand", "sync"}
)

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "mailtwin/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); err != nil {
			t.Fatal(err)
		}
		seen++
		path := strings.TrimPrefix(pkg.ImportPath, "mailtwin/")
		room := longest(path, arrows)
		if room == "" {
			t.Errorf("%s is in no room", path)
			continue
		}
		for _, imp := range pkg.Imports {
			check(t, path, room, imp)
		}
	}
	if seen < 10 {
		t.Errorf("go list told of %d packages only", seen)
	}
}

func check(t *testing.T, path, room, imp string) {
	if ours, ok := strings.CutPrefix(imp, "mailtwin/"); ok {
		for _, may := range arrows[room] {
			if ours == may || within(ours, may) && longest(ours, arrows) == may {
				return
			}
		}
		t.Errorf("%s imports %s; %s may import %v", path, ours, room, arrows[room])
		return
	}
	for lib, rooms := range owners {
		if imp != lib && !(strings.Contains(lib, ".") && within(imp, lib)) {
			continue
		}
		allowed := false
		for _, r := range rooms {
			allowed = allowed || path == r || within(path, r)
		}
		if !allowed {
			t.Errorf("%s imports %s, which is for %v", path, imp, rooms)
		}
	}
	for _, p := range pure {
		if path != p {
			continue
		}
		for _, lib := range notInPure {
			if imp == lib || within(imp, lib) {
				t.Errorf("%s imports %s: it decides over values, and does nothing", path, imp)
			}
		}
		if strings.Contains(imp, ".") {
			t.Errorf("%s imports %s: the standard library only", path, imp)
		}
	}
}

func within(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }

func longest(path string, rooms map[string][]string) string {
	best := ""
	for room := range rooms {
		if (path == room || within(path, room)) && len(room) > len(best) {
			best = room
		}
	}
	return best
}
