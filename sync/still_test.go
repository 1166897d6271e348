package sync_test

import (
	"maps"
	"os"
	gosync "sync"
	"testing"

	"mailtwin/conflict/mail"
)

// Where a run changes no name, it reads the names of a folder once: that the server has taken over
// what has changed here is found by what was read before. What is gone takes a second scan to
// confirm; and what the run itself has renamed or brought here is read again.
func TestWhatIsPushedIsReadOnce(t *testing.T) {
	for name, c := range map[string]struct {
		do    func(d *device)
		scans map[mail.Folder]int
	}{
		"a flag":           {func(d *device) { d.rename(d.find("INBOX", "About read."), "cur", "FRS") }, map[mail.Folder]int{"INBOX": 1}},
		"a new file":       {func(d *device) { d.put("Archive", "1.new:2,S", letter("new")) }, map[mail.Folder]int{"Archive": 1}},
		"marked as unread": {func(d *device) { d.rename(d.find("INBOX", "About read."), "new", "") }, map[mail.Folder]int{"INBOX": 1}},
		"a removal":        {func(d *device) { must(d.t, os.Remove(d.find("INBOX", "About read."))) }, map[mail.Folder]int{"INBOX": 2}},
		"all of that": {func(d *device) {
			d.rename(d.find("INBOX", "About read."), "cur", "FRS")
			d.put("INBOX", "1.new:2,S", letter("new"))
			must(d.t, os.Remove(d.find("Lists/go", "About a list post.")))
			d.put("Lists/go", "2.new:2,S", letter("newer"))
		}, map[mail.Folder]int{"INBOX": 1, "Lists/go": 2}},
		"a flag on both sides": {func(d *device) {
			d.rename(d.find("INBOX", "About read."), "cur", "RS")
			must(d.t, d.server.AddFlags("INBOX", d.server.Messages("INBOX")[0].UID, flags(`\Flagged`)))
		}, map[mail.Folder]int{"INBOX": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, account(t))
			d.opts.Policy = nil
			d.sync()
			c.do(d)
			scans := map[mail.Folder]int{}
			var mu gosync.Mutex // folders are scanned side by side
			d.scanned = func(f mail.Folder) {
				mu.Lock()
				defer mu.Unlock()
				scans[f]++
			}
			d.sync()
			delete(scans, "Trash")
			if !maps.Equal(scans, c.scans) {
				t.Errorf("scanned %v, want %v", scans, c.scans)
			}
			d.scanned = nil
			d.inStep()
			d.quiet()
		})
	}
}
