package sync_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	gosync "sync"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// hears is a device whose syncs are one process, which hears of each name that comes or goes.
type hears struct {
	*device
	scans map[mail.Folder]int
}

// hearing gives a device that was in step when the process began to watch it.
func hearing(t *testing.T, s *sim.Server) *hears {
	h := &hears{newDevice(t, s), map[mail.Folder]int{}}
	h.sync()
	h.opts.Live = &engine.Live{}
	var mu gosync.Mutex // folders are scanned side by side
	h.scanned = func(f mail.Folder) {
		mu.Lock()
		defer mu.Unlock()
		h.scans[f]++
	}
	h.heard(func() { h.sync() })
	clear(h.scans)
	return h
}

// names are the message files that there are.
func (h *hears) names() map[mail.Folder]map[mail.File]bool {
	all := map[mail.Folder]map[mail.File]bool{}
	for _, folder := range h.server.Folders() {
		all[folder] = map[mail.File]bool{}
		for path := range h.files(folder) {
			name := filepath.Base(path)
			key, _, _ := strings.Cut(name, ":2,")
			all[folder][mail.File{Key: mail.Key(key), Name: name, New: filepath.Base(filepath.Dir(path)) == "new"}] = true
		}
	}
	return all
}

// heard tells the process what has come or gone meanwhile.
func (h *hears) heard(do func()) {
	before := h.names()
	do()
	for folder, after := range h.names() {
		changes := mail.FolderChanges{Name: folder}
		for file := range after {
			if !before[folder][file] {
				changes.Files = append(changes.Files, file)
			}
		}
		for file := range before[folder] {
			if !after[file] {
				changes.Files = append(changes.Files, file)
			}
		}
		if len(changes.Files) > 0 {
			h.opts.Live.Tell(false, []mail.FolderChanges{changes})
		}
	}
}

// stale tells whether the process would sync for what it has heard.
func (h *hears) stale() bool {
	h.t.Helper()
	tree, err := maildir.Open(h.root, maildir.Options{Account: "alice", Removed: h.store})
	must(h.t, err)
	defer tree.Close()
	stale, err := engine.Stale(context.Background(), tree, h.state, h.opts.Live, nil)
	must(h.t, err)
	return stale
}

// What was heard of is looked at, and no folder is scanned for it; nor for what the run does itself.
// Only a removal takes scans, of the folder where it was, and of others that have changed since
// they were scanned.
func TestWhatIsHeardOfIsNotScanned(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(h *hears)
		scans map[mail.Folder]int
	}{
		"a new file":       {do: func(h *hears) { h.put("Archive", "1.new:2,S", letter("new")) }},
		"a new file, read": {do: func(h *hears) { h.rename(h.put("Archive", "1.new", letter("new")), "cur", "S") }},
		"a flag":           {do: func(h *hears) { h.rename(h.find("INBOX", "About read."), "cur", "RS") }},
		"many flags": {do: func(h *hears) {
			for _, f := range []string{"FS", "S", "RS"} {
				h.heard(func() { h.rename(h.find("INBOX", "About read."), "cur", f) })
			}
		}},
		"marked as unread": {do: func(h *hears) { h.rename(h.find("INBOX", "About read."), "new", "") }},
		"mail on the server": {do: func(h *hears) {
			h.server.Deliver("INBOX", onWire(letter("more")), mail.Flags{}, day)
		}},
		"a flag on the server": {do: func(h *hears) { must(h.t, h.server.AddFlags("INBOX", 1, flags(`\Flagged`))) }},
		"flags on both sides": {do: func(h *hears) {
			must(h.t, h.server.AddFlags("INBOX", 1, flags(`\Flagged`)))
			h.rename(h.find("INBOX", "About read."), "cur", "RS")
		}},
		"a file that came and went": {do: func(h *hears) {
			h.heard(func() { h.put("Archive", "1.new:2,S", letter("new")) })
			must(h.t, os.Remove(h.find("Archive", "About new.")))
		}},
		"a removal": {
			do:    func(h *hears) { must(h.t, os.Remove(h.find("INBOX", "About read."))) },
			scans: map[mail.Folder]int{"INBOX": 2},
		},
		"a move": {
			do:    func(h *hears) { h.moveHere(h.find("INBOX", "About read."), "Archive", "2.moved:2,S") },
			scans: map[mail.Folder]int{"INBOX": 2, "Archive": 1},
		},
		"a message in two files": {
			do: func(h *hears) {
				old := h.find("INBOX", "About read.")
				must(h.t, os.Link(old, strings.Replace(old, ":2,S", ":2,FS", 1)))
			},
			scans: map[mail.Folder]int{"INBOX": 2},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := hearing(t, account(t))
			h.heard(func() { c.do(h) })
			h.heard(func() { h.sync() })
			for _, folder := range h.server.Folders() {
				if n := h.scans[folder]; n != c.scans[folder] {
					t.Errorf("%s was scanned %d times", folder, n)
				}
			}
			if h.stale() {
				h.heard(func() { h.sync() })
			}
			if h.stale() {
				t.Error("what the run has done is taken for somebody else's")
			}
			h.inStep()
			h.opts.Live = nil
			if rep := h.sync(); rep.Local != (engine.Counts{}) || rep.Remote != (engine.Counts{}) {
				t.Errorf("a run that has heard nothing finds more: %+v", rep)
			}
			h.quiet()
		})
	}
}

// A file moves, and the process hears late of where it went: what it has heard of that folder, in
// this run or an earlier one, does not say that nothing else is there.
func TestAMoveThatIsHeardOfByHalf(t *testing.T) {
	const moved = "2.moved:2,S"
	for name, do := range map[string]func(h *hears){
		"in this run": func(h *hears) {
			aside := filepath.Join(h.root, "aside")
			h.heard(func() {
				h.put("Archive", "1.new:2,S", letter("new"))
				must(t, os.Rename(h.find("INBOX", "About read."), aside))
			})
			must(t, os.Rename(aside, filepath.Join(h.dir("Archive"), "cur", moved)))
		},
		"in an earlier run": func(h *hears) { // as mutt does it, with time in between
			h.heard(func() { h.put("Archive", "1.new:2,S", letter("new")) })
			h.put("Archive", moved, letter("read"))
			h.heard(func() { h.sync() })
			clear(h.scans)
			h.heard(func() { must(t, os.Remove(h.find("INBOX", "About read."))) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := hearing(t, account(t))
			do(h)
			if rep := h.sync(); rep.Remote.Removed > 0 || rep.Remote.Moved != 1 {
				t.Errorf("%+v, with scans of %v", rep.Remote, h.scans)
			}
			h.has("Trash", 0)
			h.has("Archive", 2)
			h.heard(func() { h.sync() })
			h.inStep()
			h.quiet()
		})
	}
}
