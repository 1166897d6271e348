package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// watch is a process that watches the Maildir of a device, and syncs it. What it hears comes in the
// order in which it happened, but may come late. nil: nobody does that, and each sync is a process.
type watch struct {
	device *device
	r      *rand.Rand // its own: what else happens is not to depend on whether anybody watches
	engine *engine.Live
	heard  []event
	other  bool // the sync under way is another process
	stale  bool // the watch would sync for what it has heard
}

// event is a name that has come or gone in a folder; or, without one, anything in it. Without a
// folder: anything at all.
type event struct {
	folder mail.Folder
	file   mail.File
}

func newWatch(d *device) *watch {
	w := &watch{device: d, r: rand.New(rand.NewPCG(d.world.history.Seed, 0x77617463+uint64(len(d.world.devices))))}
	w.restart()
	return w
}

// restart: it is another process now, or has another disk.
func (w *watch) restart() {
	if w == nil {
		return
	}
	w.engine, w.heard = &engine.Live{}, nil
	w.device.disk.Changed = w.changed
}

// died: so has the process that was syncing.
func (w *watch) died() {
	if w != nil && !w.other {
		w.restart()
	}
}

// changed takes in what has changed on the disk.
func (w *watch) changed(dir, name string) {
	inside, ok := strings.CutPrefix(dir, "Mail")
	inside = path.Clean(strings.TrimPrefix(inside, "/"))
	at, sub := path.Dir(inside), path.Base(inside)
	switch {
	case !ok, sub == "tmp", strings.HasPrefix(name, ".mailtwin"):
	case sub == "cur" || sub == "new":
		key, _, _ := strings.Cut(name, ":2,")
		w.heard = append(w.heard, event{w.device.folderAt(at), mail.File{Key: mail.Key(key), Name: name, New: sub == "new"}})
	case name == "dovecot-keywords":
		w.heard = append(w.heard, event{folder: w.device.folderAt(inside)})
	default:
		w.heard = append(w.heard, event{}) // folders have come or gone
	}
}

// live gives what a sync knows that the watch begins; nil: it is another process that syncs.
func (w *watch) live(other bool) *engine.Live {
	if w == nil {
		return nil
	}
	w.other = other || w.device.world.unwatched || !w.device.world.calm && w.r.IntN(6) == 0
	if w.other {
		return nil
	}
	come := len(w.heard)
	if !w.device.world.calm && w.r.IntN(8) == 0 {
		come = w.r.IntN(come + 1)
		w.device.world.hit("watch", "late")
	}
	if !w.device.world.calm && w.r.IntN(40) == 0 {
		w.heard, come = []event{{}}, 1 // there were too many
		w.device.world.hit("watch", "overrun")
	}
	for _, e := range w.heard[:come] {
		w.engine.Tell(e.folder == "", e.changes())
	}
	w.heard = w.heard[come:]
	return w.engine
}

// look has the watch find out whether it is to sync, as it does when it has heard something. Here it
// syncs in any case.
func (w *watch) look(local engine.Local, state engine.State, live *engine.Live) {
	if live == nil || !w.device.world.calm && w.r.IntN(2) == 0 {
		return
	}
	stale, err := engine.Stale(context.Background(), local, state, live, nil)
	w.stale = stale || err != nil
	w.device.world.hit("watch", fmt.Sprint("stale: ", w.stale))
}

// looking is a Maildir that counts when names are looked at of which a watch has heard.
type looking struct {
	engine.Local
	world *world
}

func (l looking) Look(ctx context.Context, folder mail.Folder, names []mail.File, letters mail.Letters) ([]mail.File, error) {
	found, err := l.Local.Look(ctx, folder, names, letters)
	how := "looked, none there"
	if len(found) > 0 {
		how = "looked"
	}
	l.world.hit("watch", how)
	return found, err
}

func (e event) changes() []mail.FolderChanges {
	switch {
	case e.folder == "":
		return nil
	case e.file.Name == "":
		return []mail.FolderChanges{{Name: e.folder, Whole: true}}
	}
	return []mail.FolderChanges{{Name: e.folder, Files: []mail.File{e.file}}}
}
