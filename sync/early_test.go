package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	gosync "sync"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// meanwhile is what a mail program may do to a folder that a sync has read already.
var meanwhile = map[string]func(d *device){
	"a flag":  func(d *device) { d.rename(d.find("Archive", "About first."), "cur", "FS") },
	"gone":    func(d *device) { must(d.t, os.Remove(d.find("Archive", "About first."))) },
	"arrives": func(d *device) { d.put("Archive", "2.other:2,S", letter("second")) },
	"leaves": func(d *device) {
		must(d.t, os.Rename(d.find("Archive", "About first."), d.dir("Lists")+"/cur/3.other:2,S"))
	},
}

// A folder that has changed is read before the server has answered, and not once more, unless
// somebody changes it after that.
func TestTheMaildirIsReadWhileTheServerIsWaitedFor(t *testing.T) {
	acts := map[string]func(d *device){"nothing": nil}
	for name, act := range meanwhile {
		acts[name] = act
	}
	for name, act := range acts {
		t.Run(name, func(t *testing.T) {
			s := account(t)
			s.Deliver("Archive", onWire(letter("first")), flags(`\Seen`), day)
			d := newDevice(t, s)
			d.sync()
			d.put("Archive", "1.other:2,S", letter("saved"))
			var mu gosync.Mutex // guards what follows
			scans, early, late := 0, 0, 0
			read := make(chan struct{})
			d.scanned = func(folder mail.Folder) {
				mu.Lock()
				defer mu.Unlock()
				if folder != "Archive" {
					return
				}
				if scans++; scans == 1 {
					close(read)
				}
			}
			s.Before = func(call sim.Call) error {
				switch {
				case call.Method == "Folders" && early == 0:
					select {
					case <-read:
					case <-time.After(30 * time.Second):
						t.Error("it is not read before the server has answered")
					}
					if act != nil {
						tick(t, filepath.Dir(d.root))
						act(d)
					}
					mu.Lock()
					defer mu.Unlock()
					early = scans
				case call.Method == "Append":
					mu.Lock()
					defer mu.Unlock()
					late = scans
				}
				return nil
			}
			d.sync()
			s.Before, d.scanned = nil, nil
			if again := late > early; again != (act != nil) {
				t.Errorf("it is read %d times before the server answers, and %d times after that", early, late-early)
			}
			d.sync()
			d.once("About saved.")
			d.inStep()
			d.quiet()
		})
	}
}

// Whenever a folder was read, and then changes, the sync or the next one finds that.
func TestAFolderChangesOnceItWasRead(t *testing.T) {
	for name, act := range meanwhile {
		for at := 1; at <= 5; at++ {
			t.Run(fmt.Sprint(name, ", after scan ", at), func(t *testing.T) {
				s := account(t)
				s.Deliver("Archive", onWire(letter("first")), flags(`\Seen`), day)
				other := s.Deliver("Archive", onWire(letter("other")), flags(`\Seen`), day)
				d := newDevice(t, s)
				d.sync()
				d.put("Archive", "1.other:2,S", letter("saved"))
				d.rename(d.find("Archive", "About other."), "cur", "FS")
				must(t, s.AddFlags("Archive", other, flags(`\Answered`)))
				var mu gosync.Mutex
				scans := 0
				d.scanned = func(folder mail.Folder) {
					mu.Lock()
					defer mu.Unlock()
					if folder != "Archive" {
						return
					}
					if scans++; scans == at {
						tick(t, filepath.Dir(d.root))
						act(d)
					}
				}
				d.sync()
				d.scanned = nil
				if scans < at {
					act(d)
				}
				d.sync()
				d.sync()
				d.once("About saved.")
				d.once("About other.")
				d.inStep()
				d.quiet()
			})
		}
	}
}
