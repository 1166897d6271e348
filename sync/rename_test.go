package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// renamed is a device in step with a server that has the folder Work, with Work/in
// inside and an empty Work/none, and a good many messages.
func renamed(t *testing.T, o sim.Options) *device {
	s := account(t)
	s.Options = o
	for _, f := range []mail.Folder{"Work", "Work/in", "Work/none"} {
		must(t, s.CreateFolder(f))
	}
	for i := range 20 {
		s.Deliver("Work", onWire(letter(fmt.Sprintf("work %02d", i))), flags(`\Seen`), day)
	}
	for i := range 3 {
		s.Deliver("Work/in", onWire(letter(fmt.Sprintf("inner %02d", i))), flags(`\Seen`), day)
	}
	// UIDs are not just counted up from 1.
	for _, uid := range []mail.UID{1, 7} {
		must(t, s.Expunge("Work", uid))
	}
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.sync()
	return d
}

// move renames a local folder as a mail program does.
func (d *device) move(from, to mail.Folder) {
	d.t.Helper()
	must(d.t, os.MkdirAll(filepath.Dir(d.dir(to)), 0o700))
	must(d.t, os.Rename(d.dir(from), d.dir(to)))
}

// calls counts what the device asks of the server from now on.
func (d *device) calls() map[string]int {
	n := map[string]int{}
	d.server.Before = func(c sim.Call) error { n[c.Method]++; return nil }
	return n
}

// noneTravel checks that no message went over the wire.
func noneTravel(t *testing.T, calls map[string]int) {
	t.Helper()
	for _, method := range []string{"Fetch", "Append", "Move", "Copy", "Expunge", "Store"} {
		if calls[method] > 0 {
			t.Errorf("%d x %s: %v", calls[method], method, calls)
		}
	}
}

// ids gives what base calls its folders by their IDs.
func (d *device) ids() map[mail.FolderID]mail.Folder {
	folders, err := d.state.Folders(d.t.Context())
	must(d.t, err)
	out := map[mail.FolderID]mail.Folder{}
	for _, f := range folders {
		out[f.ID] = f.Name
	}
	return out
}

// folders are those of the Maildir, in order.
func (d *device) folders() []mail.Folder {
	d.t.Helper()
	var here []mail.Folder
	must(d.t, filepath.WalkDir(d.root, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Name() == "cur" {
			rel, _ := filepath.Rel(d.root, filepath.Dir(path))
			here = append(here, mail.Folder(filepath.ToSlash(rel)))
		}
		return err
	}))
	slices.Sort(here)
	return here
}

// both checks that the folders of both sides are these, and most of account's, and that all is in step.
func (d *device) both(want ...mail.Folder) {
	d.t.Helper()
	want = append(want, "Archive", "INBOX", "Lists", "Trash")
	slices.Sort(want)
	if got := d.server.Folders(); !slices.Equal(got, want) {
		d.t.Errorf("the server has %q, want %q", got, want)
	}
	if here := d.folders(); !slices.Equal(here, want) {
		d.t.Errorf("the Maildir has %q, want %q", here, want)
	}
	d.inStep()
	d.quiet()
}

var renamingServers = map[string]sim.Options{
	"MAILBOXID":                     {},
	"no MAILBOXID":                  {NoObjectID: true},
	"no MAILBOXID, another number":  {NoObjectID: true, NewNumbers: true},
	"MAILBOXID, and another number": {NewNumbers: true},
	"what is inside stays":          {NoInferiors: true},
	"no CONDSTORE, no STATUS":       {NoCondStore: true, NoStatus: true, NoObjectID: true},
}

// A rename on either side is one on the other: no body travels, and what happened in
// the folder meanwhile is an ordinary change.
func TestARenamedFolderIsRenamed(t *testing.T) {
	for name, o := range renamingServers {
		for _, to := range []mail.Folder{"Play", "Lists/go/Work", "New/one"} {
			t.Run(fmt.Sprintf("%s, here to %s", name, to), func(t *testing.T) {
				d := renamed(t, o)
				d.move("Work", to)
				calls := d.calls()
				rep := d.sync()
				noneTravel(t, calls)
				if !o.NoInferiors && (calls["RenameFolder"] != 1 || calls["DeleteFolder"] > 0 || rep.Renamed != 1) {
					t.Errorf("more than one rename: %v, report %+v", calls, rep)
				}
				if rep.Local != (engine.Counts{}) || rep.Remote != (engine.Counts{}) {
					t.Errorf("messages are counted: %+v", rep)
				}
				d.both("Lists/go", to, to+"/in", to+"/none")
			})
			t.Run(fmt.Sprintf("%s, there to %s", name, to), func(t *testing.T) {
				d := renamed(t, o)
				must(t, d.server.RenameFolder("Work", to))
				if o.NoInferiors {
					must(t, d.server.RenameFolder("Work/in", to+"/in"))
					must(t, d.server.RenameFolder("Work/none", to+"/none"))
				}
				calls := d.calls()
				rep := d.sync()
				noneTravel(t, calls)
				if rep.Local != (engine.Counts{}) || rep.Remote != (engine.Counts{}) || !slices.Contains(rep.Changed, to) {
					t.Errorf("report %+v", rep)
				}
				d.both("Lists/go", to, to+"/in", to+"/none")
			})
		}
		t.Run(name+", and much happened meanwhile", func(t *testing.T) {
			for _, side := range []mail.Side{mail.Local, mail.Remote} {
				d := renamed(t, o)
				s := d.server
				s.Deliver("Work", onWire(letter("came there")), mail.Flags{}, day)
				must(t, s.AddFlags("Work", 3, flags(`\Flagged`)))
				must(t, s.Expunge("Work", 4))
				d.put("Work", "9.new", letter("came here"))
				d.rename(d.find("Work", "About work 04."), "cur", "SR")
				must(t, os.Remove(d.find("Work", "About work 05.")))
				if side == mail.Local {
					d.move("Work", "Play")
				} else {
					must(t, s.RenameFolder("Work", "Play"))
				}
				tick(t, t.TempDir())
				d.sync()
				d.sync()
				if o.NoInferiors && side == mail.Remote {
					d.both("Lists/go", "Play", "Work/in", "Work/none")
				} else {
					d.both("Lists/go", "Play", "Play/in", "Play/none")
				}
				// Where the messages got other numbers they are paired again, and what
				// was removed meanwhile comes back.
				if want := 18; !o.NewNumbers && len(s.Messages("Play")) != want {
					t.Errorf("%d messages, want %d", len(s.Messages("Play")), want)
				}
			}
		})
	}
}

func TestBaseKeepsItsRowsThroughARename(t *testing.T) {
	d := renamed(t, sim.Options{})
	before := d.ids()
	must(t, d.server.RenameFolder("Work", "Play"))
	d.move("Lists/go", "Went")
	d.sync()
	d.both("Play", "Play/in", "Play/none", "Went")
	for id, name := range d.ids() {
		was := strings.Replace(string(name), "Play", "Work", 1)
		if name == "Went" {
			was = "Lists/go"
		}
		if before[id] != mail.Folder(was) {
			t.Errorf("%s is folder %d, which was %q", name, id, before[id])
		}
	}
}

// The name that somebody has given a folder here is durable before base has it: else the power
// could take it back, and the server's folder would be renamed back as well.
func TestARenameIsDurableBeforeItIsRecorded(t *testing.T) {
	d := renamed(t, sim.Options{})
	d.move("Work", "Play")
	d.crash = sim.NewCrash(0)
	d.sync()
	names := d.crash.Names()
	d.crash = nil
	secured, recorded := slices.Index(names, "after Local.SecureFolder"), slices.Index(names, "before State.Commit")
	if secured < 0 || secured > recorded {
		t.Errorf("made durable at %d, recorded at %d: %q", secured, recorded, names)
	}
	d.both("Lists/go", "Play", "Play/in", "Play/none")
}

// So is INBOX, from the first run on: if the power took it once base knows it, all mail would
// seem to be lost.
func TestInboxIsDurableBeforeItIsRecorded(t *testing.T) {
	d := newDevice(t, account(t))
	d.crash = sim.NewCrash(0)
	d.sync()
	names := d.crash.Names()
	d.crash = nil
	secured, recorded := slices.Index(names, "after Local.SecureFolder"), slices.Index(names, "before State.Commit")
	if secured < 0 || secured > recorded {
		t.Errorf("made durable at %d, recorded at %d: %q", secured, recorded, names)
	}
}
