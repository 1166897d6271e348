package sync_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
)

// steps renames folders of one side, one after the other.
func (d *device) steps(side mail.Side, text string) {
	d.t.Helper()
	for _, step := range strings.Fields(text) {
		from, to, _ := strings.Cut(step, ">")
		if side == mail.Local {
			d.move(mail.Folder(from), mail.Folder(to))
		} else {
			must(d.t, d.server.RenameFolder(mail.Folder(from), mail.Folder(to)))
		}
	}
}

// Names that are swapped or handed on, folders that go into themselves, and what lies
// in a renamed one and goes elsewhere: all end as the one side has them.
func TestRenamesThatDependOnEachOther(t *testing.T) {
	for _, c := range []struct {
		name, steps string
		taken       bool // a name that was one folder's is another one's
		want        []mail.Folder
	}{
		{"a swap", "Work>x Lists/go>Work x>Lists/go", true,
			[]mail.Folder{"Lists/go", "Lists/go/in", "Lists/go/none", "Work"}},
		{"a chain", "Lists/go>New Work>Lists/go", true, []mail.Folder{"Lists/go", "Lists/go/in", "Lists/go/none", "New"}},
		{"into itself", "Work>x x>Work/deep", false, []mail.Folder{"Lists/go", "Work/deep", "Work/deep/in", "Work/deep/none"}},
		{"what lies in it goes elsewhere", "Work/in>Else Work>Play", false, []mail.Folder{"Else", "Lists/go", "Play", "Play/none"}},
		{"what lies in it stays", "Work>Play Play/in>Work/in", false, []mail.Folder{"Lists/go", "Play", "Play/none", "Work/in"}},
		{"around what it lay in", "Work/in>x Work>x/Work", false, []mail.Folder{"Lists/go", "x", "x/Work", "x/Work/none"}},
		{"into one that was renamed", "Work>Play Lists/go>Play/go", false, []mail.Folder{"Play", "Play/go", "Play/in", "Play/none"}},
	} {
		for name, o := range renamingServers {
			if o.NoInferiors {
				continue
			}
			for _, side := range []mail.Side{mail.Local, mail.Remote} {
				if side == mail.Remote && o.NoObjectID && (o.NewNumbers || o.NoStatus) && c.taken {
					continue // nothing tells that the name is another folder's now
				}
				t.Run(fmt.Sprintf("%s, %s, %v", c.name, name, side), func(t *testing.T) {
					d := renamed(t, o)
					d.steps(side, c.steps)
					calls := d.calls()
					d.sync()
					noneTravel(t, calls)
					d.both(c.want...)
				})
			}
		}
	}
}

// Two devices give a folder two names: all end with the one that the server has first.
func TestAFolderThatIsRenamedOnBothSides(t *testing.T) {
	s := account(t)
	a, b := newDevice(t, s), newDevice(t, s)
	a.sync()
	b.sync()
	a.move("Lists/go", "Gopher")
	b.move("Lists/go", "Golang")
	a.sync()
	calls := b.calls()
	rep := b.sync()
	noneTravel(t, calls)
	if rep.Conflicts != 1 {
		t.Errorf("report %+v", rep)
	}
	if made := b.state.Decisions(); len(made) != 1 || made[0].Folder != "Gopher" || !strings.Contains(made[0].What, "Golang") {
		t.Errorf("decisions %+v", made)
	}
	for _, d := range []*device{a, b} {
		d.sync()
		d.both("Gopher")
	}
	// And to the same name: there is nothing to do but to write that down.
	must(t, s.RenameFolder("Gopher", "Go"))
	a.move("Gopher", "Go")
	calls = a.calls()
	a.sync()
	noneTravel(t, calls)
	if calls["RenameFolder"] > 0 {
		t.Errorf("calls %v", calls)
	}
	b.sync()
	a.both("Go")
	b.both("Go")
}

// A folder that one side renamed and the other deleted is one that vanished.
func TestAFolderThatIsRenamedHereAndDeletedThere(t *testing.T) {
	for _, side := range []mail.Side{mail.Local, mail.Remote} {
		d := renamed(t, sim.Options{})
		d.steps(side, "Lists/go>New")
		if side == mail.Local {
			must(t, d.server.DeleteFolder("Lists/go"))
		} else {
			must(t, os.RemoveAll(d.dir("Lists/go")))
		}
		for range 2 {
			rep := d.sync()
			if len(rep.Held) != 1 || rep.Held[0].Folder != "New" || rep.Held[0].Side != side.Other() || rep.Held[0].Count != 1 {
				t.Fatalf("renamed on the %v side: held %+v", side, rep.Held)
			}
		}
		d.allow("New")
		d.sync()
		d.both("Work", "Work/in", "Work/none")
	}
}

// What the server refuses is said in each run, and nothing else is tried with it,
// while everything else goes on.
func TestARenameThatIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		side   mail.Side
		method string
	}{"there": {mail.Local, "RenameFolder"}} {
		t.Run(name, func(t *testing.T) {
			d := renamed(t, sim.Options{})
			d.steps(c.side, "Work>Play")
			calls := map[string]int{}
			d.server.Before = func(call sim.Call) error {
				if calls[call.Method]++; call.Method == "RenameFolder" && call.Folder == "Work" {
					return fmt.Errorf("no: %w", mail.ErrRefused)
				}
				return nil
			}
			d.server.Deliver("INBOX", onWire(letter("flows")), mail.Flags{}, day)
			for range 2 {
				rep, err := d.run()
				if err != nil || len(rep.Problems) != 1 || !errors.Is(rep.Problems[0], mail.ErrRefused) || rep.Problems[0].Folder != "Work" {
					t.Fatalf("problems %v, %v", rep.Problems, err)
				}
				if len(rep.Held) > 0 || calls["Append"]+calls["DeleteFolder"]+calls["Copy"] > 0 {
					t.Fatalf("held %v, calls %v", rep.Held, calls)
				}
			}
			d.inStep2(t, "INBOX")
			if len(d.server.Messages("Work")) != 18 || len(d.files("Play")) != 18 {
				t.Error("its messages are gone")
			}
			d.server.Before = nil
			d.sync()
			d.both("Lists/go", "Play", "Play/in", "Play/none")
		})
	}
}

// A name that is taken on the other side is not written over.
func TestARenameOverAnotherFolder(t *testing.T) {
	for _, side := range []mail.Side{mail.Local, mail.Remote} {
		d := renamed(t, sim.Options{})
		if side == mail.Local {
			must(t, d.server.CreateFolder("Play"))
			d.server.Deliver("Play", onWire(letter("another one")), mail.Flags{}, day)
		} else {
			d.put2(t, "Play", "1.other", letter("another one"))
		}
		d.steps(side, "Work>Play")
		for range 2 {
			rep, err := d.run()
			if err != nil || len(rep.Problems) != 1 || !errors.Is(rep.Problems[0], mail.ErrExists) {
				t.Fatalf("%v side: problems %v, %v", side, rep.Problems, err)
			}
		}
		if side == mail.Local && (len(d.server.Messages("Play")) != 1 || len(d.files("Play")) != 18) ||
			side == mail.Remote && (len(d.server.Messages("Play")) != 18 || len(d.files("Play")) != 1) {
			t.Errorf("%v side: the folders were mixed", side)
		}
		d.steps(side, "Play>Elsewhere")
		d.sync()
		d.sync()
		d.both("Elsewhere", "Lists/go", "Play", "Elsewhere/in", "Elsewhere/none")
	}
}

func TestDirectionAndSettingsBindRenames(t *testing.T) {
	for name, c := range map[string]struct {
		side    mail.Side // where it is renamed
		set     func(o *engine.Options)
		waits   bool // it is renamed once the setting is gone
		notices int
	}{
		"pull":           {mail.Local, func(o *engine.Options) { o.Policy = always(conflict.Policy{Direction: conflict.Pull}) }, true, 1},
		"push":           {mail.Remote, func(o *engine.Options) { o.Policy = always(conflict.Policy{Direction: conflict.Push}) }, true, 1},
		"create nowhere": {mail.Local, func(o *engine.Options) { o.CreateLocal, o.CreateRemote = false, false }, true, 1},
		"not selected": {mail.Local, func(o *engine.Options) {
			o.Selected = func(f mail.Folder) bool { return !strings.HasPrefix(string(f), "Play") }
		}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := renamed(t, sim.Options{})
			was := d.opts
			c.set(&d.opts)
			d.sync() // the policy is another one
			d.steps(c.side, "Lists/go>Play")
			calls := d.calls()
			for range 2 {
				rep := d.sync()
				noneTravel(t, calls)
				if calls["RenameFolder"]+calls["CreateFolder"]+calls["DeleteFolder"] > 0 || d.hasFolder("Lists/go") == (c.side == mail.Local) {
					t.Fatalf("calls %v", calls)
				}
				if len(rep.Skipped) < c.notices {
					t.Errorf("notices %+v", rep.Skipped)
				}
			}
			d.opts = was
			d.sync()
			d.sync()
			d.both("Play", "Work", "Work/in", "Work/none")
		})
	}
}

func TestADryRunTellsOfRenames(t *testing.T) {
	for _, side := range []mail.Side{mail.Local, mail.Remote} {
		d := renamed(t, sim.Options{})
		d.steps(side, "Work>Play")
		d.opts.DryRun = true
		calls := d.calls()
		rep := d.sync()
		noneTravel(t, calls)
		want := fmt.Sprintf("Work: rename the folder to %q %s", "Play", map[mail.Side]string{mail.Local: "on the server", mail.Remote: "here"}[side])
		if calls["RenameFolder"] > 0 || !slices.Contains(rep.Actions, want) || len(rep.Held) > 0 {
			t.Errorf("calls %v, actions %q, held %v", calls, rep.Actions, rep.Held)
		}
		for _, a := range rep.Actions {
			if strings.Contains(a, "make the folder") && !strings.Contains(a, "none") || strings.Contains(a, "load") {
				t.Errorf("it says %q", a)
			}
		}
		d.opts.DryRun = false
		d.sync()
		d.both("Lists/go", "Play", "Play/in", "Play/none")
	}
}

// A copy of a folder is a new one, whether the original stays or is renamed; and it is
// a rename if the original was removed.
func TestACopyOfAFolderIsNoRename(t *testing.T) {
	for name, c := range map[string]struct {
		then string
		want []mail.Folder
	}{
		"and the original stays":   {"", []mail.Folder{"Copy", "Lists/go", "Work", "Work/in", "Work/none"}},
		"and the original renamed": {"Lists/go>Aside", []mail.Folder{"Aside", "Copy", "Work", "Work/in", "Work/none"}},
		"and the original is gone": {"gone", []mail.Folder{"Copy", "Work", "Work/in", "Work/none"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := renamed(t, sim.Options{})
			before := d.ids()
			if out, err := exec.Command("cp", "-a", d.dir("Lists/go"), d.dir("Copy")).CombinedOutput(); err != nil {
				t.Fatalf("cp: %v %s", err, out)
			}
			if c.then == "gone" {
				must(t, os.RemoveAll(d.dir("Lists/go")))
			} else {
				d.steps(mail.Local, c.then)
			}
			d.sync()
			d.both(c.want...)
			for id, now := range d.ids() {
				if before[id] == "Lists/go" && now == "Copy" && c.then != "gone" {
					t.Error("the copy took the place of the original")
				}
			}
			// Each has a marker of its own: to rename the copy renames nothing else.
			d.steps(mail.Local, "Copy>Copied")
			calls := d.calls()
			d.sync()
			noneTravel(t, calls)
			c.want[slices.Index(c.want, "Copy")] = "Copied"
			d.both(c.want...)
		})
	}
}

// What vanished while another folder appeared was not renamed, if nothing says so.
func TestAnotherFolderIsNoRename(t *testing.T) {
	for name, o := range renamingServers {
		for _, side := range []mail.Side{mail.Local, mail.Remote} {
			t.Run(fmt.Sprintf("%s, %v", name, side), func(t *testing.T) {
				d := renamed(t, o)
				if side == mail.Local {
					must(t, os.RemoveAll(d.dir("Work/in")))
					d.put2(t, "New", "1.new", letter("another"))
				} else {
					must(t, d.server.DeleteFolder("Work/in"))
					must(t, d.server.CreateFolder("New"))
					for i := range 4 {
						d.server.Deliver("New", onWire(letter(fmt.Sprintf("another %d", i))), mail.Flags{}, day)
					}
				}
				rep := d.sync()
				if len(rep.Held) != 1 || rep.Held[0].Folder != "Work/in" || rep.Held[0].Side != side || rep.Renamed > 0 {
					t.Fatalf("report %+v", rep)
				}
				d.inStep2(t, "New")
			})
		}
	}
}

// Somebody delivers to the old name after the rename, and the server makes it again.
func TestTheOldNameOfAFolderIsMadeAgain(t *testing.T) {
	for name, o := range renamingServers {
		for _, side := range []mail.Side{mail.Local, mail.Remote} {
			if side == mail.Remote && o.NoObjectID && (o.NewNumbers || o.NoStatus) {
				continue // nothing tells that it is not the old folder, restored
			}
			t.Run(fmt.Sprintf("%s, %v", name, side), func(t *testing.T) {
				d := renamed(t, o)
				d.steps(side, "Lists/go>Go")
				if side == mail.Local {
					d.put2(t, "Lists/go", "1.late", letter("late"))
				} else {
					must(t, d.server.CreateFolder("Lists/go"))
					d.server.Deliver("Lists/go", onWire(letter("late")), mail.Flags{}, day)
				}
				tick(t, t.TempDir())
				d.sync()
				d.sync()
				d.both("Go", "Lists/go", "Work", "Work/in", "Work/none")
				if len(d.files("Go")) != 1 || len(d.files("Lists/go")) != 1 {
					t.Errorf("Go has %d, Lists/go has %d messages", len(d.files("Go")), len(d.files("Lists/go")))
				}
			})
		}
	}
}

// A folder is renamed here, and a file leaves it. The server refuses to rename the folder, and
// the file waits; and when it does rename it, that gets new UIDs. The message is one still.
func TestWhatLeftAFolderWhoseRenameWasRefused(t *testing.T) {
	s := account(t)
	s.Options.NewNumbers = true
	d := newDevice(t, s)
	d.sync()
	must(t, os.Rename(d.dir("Lists/go"), d.dir("Posts")))
	d.moveHere(d.find("Posts", "About a list post."), "Archive", "1.other:2,R")
	s.Before = func(call sim.Call) error {
		if call.Method == "RenameFolder" {
			return mail.ErrRefused
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 || rep.Remote.New != 0 {
		t.Fatalf("%v, %+v", err, rep)
	}
	s.Before = nil
	d.sync()
	d.sync()
	d.once("About a list post.")
	d.inStep()
	d.quiet()
}

// A folder is renamed here, and the server refuses that. Meanwhile a message moves, here into
// that folder, and there into another one. It is one message still.
func TestWhatMovedIntoAFolderWhoseRenameWasRefused(t *testing.T) {
	s := account(t)
	d := newDevice(t, s)
	d.sync()
	must(t, os.Rename(d.dir("Lists/go"), d.dir("Posts")))
	d.moveHere(d.find("INBOX", "About read."), "Posts", "1.other:2,S")
	s.Move("INBOX", 2, "Archive")
	s.Before = func(call sim.Call) error {
		if call.Method == "RenameFolder" {
			return mail.ErrRefused
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 {
		t.Fatalf("%v, %v", err, rep.Problems)
	}
	s.Before = nil
	d.sync()
	d.sync()
	d.once("About read.")
	d.inStep()
	d.quiet()
}

// A folder cannot be renamed on the server, and a message moves out of it here: it waits until the
// folder is looked at again, and is not there twice.
func TestAMessageThatMovesOutOfAFolderThatCannotBeRenamed(t *testing.T) {
	s := account(t)
	s.Deliver("Archive", onWire(letter("moved")), flags(`\Seen`), day)
	d := newDevice(t, s)
	d.sync()
	d.move("Archive", "Old")
	must(t, s.CreateFolder("Old"))
	d.moveHere(d.find("Old", "About moved."), "INBOX", "1.other:2,S")
	if rep, err := d.run(); err != nil || len(rep.Problems) != 1 || rep.Remote.New != 0 {
		t.Fatalf("%v, %+v", err, rep)
	}
	must(t, s.RenameFolder("Old", "Other"))
	d.sync()
	d.sync()
	d.once("About moved.")
	d.inStep()
	d.quiet()
}

// A message leaves a folder on the server while that cannot be renamed there yet, and its file was
// flagged: it is the one that has come to another folder, with what was changed here.
func TestAMessageThatLeavesAFolderWhichWaitsForItsName(t *testing.T) {
	s := account(t)
	uid := s.Deliver("Lists/go", onWire(letter("leaving")), mail.Flags{}, day)
	d := newDevice(t, s)
	d.sync()
	must(t, os.Rename(d.dir("Lists"), d.dir("Letters")))
	d.rename(d.find("Letters/go", "About leaving."), "cur", "RS")
	s.Move("Lists/go", uid, "Archive")
	s.Before = func(call sim.Call) error {
		if call.Method == "RenameFolder" {
			return fmt.Errorf("%w: %w", mail.ErrRefused, mail.ErrTryLater)
		}
		return nil
	}
	if rep, err := d.run(); err != nil || len(rep.Problems) == 0 {
		t.Fatalf("%v, %v", err, rep.Problems)
	}
	s.Before = nil
	d.sync()
	d.once("About leaving.")
	if got := s.Messages("Archive"); len(got) != 1 || !got[0].Flags.Equal(flags(`\Answered`, `\Seen`)) {
		t.Errorf("the server has %s", short(censusOf(s, "Archive")))
	}
	d.inStep()
	d.quiet()
}
