package history

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
	"mailtwin/sync/sim/disk"
)

// device is a computer with a Maildir, its state, and programs that work on it.
type device struct {
	Device
	world   *world
	name    string
	disk    *disk.Disk // with Mail/, and removed/ if that is not on the other one
	other   *disk.Disk // the disk of removed/, where the setup has it apart
	client  *sim.Client
	base    Base
	keys    *rand.ChaCha8
	watch   *watch
	backup  *disk.Disk
	removed map[string]time.Time // when a sync has removed the last file of a token
	held    string               // what it held back when somebody consented to that
	keeps   []engine.Held        // what its last sync has held, to which nobody consents
	runs    int                  // how many syncs it has begun
	refused int                  // which of them was the last that could not upload
	clean   bool                 // nothing befell its last sync
	holding bool                 // its last sync has held something back
	atHand  []engine.Held        // what that was
	synced  bool                 // its base knows the Maildir
	inStep  time.Time            // when its last sync began, if that left all in step
	old     bool                 // its state is, since a sync went well
	failed  bool                 // its disk has failed since a sync went well
}

func newDevice(w *world, name string, setup Device, lane Lane) (*device, error) {
	d := &device{
		Device: setup, world: w, name: name, client: w.server.Client(), removed: map[string]time.Time{},
		keys: rand.NewChaCha8([32]byte{byte(len(w.devices) + 1), byte(w.history.Seed), byte(w.history.Seed >> 8)}),
	}
	now := func() time.Time { return w.now }
	d.disk = disk.New(uint64(len(w.devices)*2+1), now)
	d.disk.Tick = time.Duration(setup.Tick)
	d.other = d.disk
	if setup.Apart {
		d.other = disk.New(uint64(len(w.devices)*2+2), now)
		d.other.Tick = d.disk.Tick
	}
	for _, made := range []struct {
		disk *disk.Disk
		dir  string
	}{{d.disk, "Mail"}, {d.other, "removed"}} {
		root, err := made.disk.FS(".")
		if err == nil {
			err = root.Mkdir(made.dir)
		}
		if err == nil {
			err = root.Sync(".")
		}
		if err != nil {
			return nil, err
		}
	}
	if w.history.Setup.Live {
		d.watch = newWatch(d)
	}
	var err error
	d.base, err = lane.New()
	return d, err
}

// mail gives the Maildir as programs have it.
func (d *device) mail() *disk.FS {
	f, err := d.disk.FS("Mail")
	if err != nil {
		panic(err) // nobody removes it
	}
	return f
}

// store gives the store of removed messages.
func (d *device) store() *disk.FS {
	f, err := d.other.FS("removed")
	if err != nil {
		panic(err)
	}
	return f
}

// directory gives a folder's directory.
func (d *device) directory(folder mail.Folder) string {
	switch {
	case d.Layout == maildir.Nested:
		return string(folder)
	case folder == mail.Inbox:
		return "."
	}
	return "." + strings.ReplaceAll(string(folder), "/", ".")
}

// folderAt gives the folder of a directory.
func (d *device) folderAt(dir string) mail.Folder {
	switch {
	case d.Layout == maildir.Nested:
		return mail.Folder(dir)
	case dir == ".":
		return mail.Inbox
	}
	return mail.Folder(strings.ReplaceAll(dir[1:], ".", "/"))
}

// folders lists the folders that are there, in order.
func (d *device) folders() []mail.Folder {
	var found []mail.Folder
	f := d.mail()
	var visit func(dir string)
	visit = func(dir string) {
		var inside []string
		cur := false
		f.ReadDir(dir, func(e maildir.Entry) {
			switch {
			case e.Name == "cur":
				cur = true
			case e.Type == 0 || e.Name == "new" || e.Name == "tmp" || strings.HasPrefix(e.Name, ".mailtwin"):
			case d.Layout == maildir.Nested && e.Name[0] != '.' || d.Layout == maildir.MaildirPlus && dir == "." && e.Name[0] == '.':
				inside = append(inside, path.Join(dir, e.Name))
			}
		})
		if cur {
			found = append(found, d.folderAt(dir))
		}
		for _, dir := range inside {
			visit(dir)
		}
	}
	visit(".")
	slices.Sort(found)
	return found
}

// file is a message file.
type file struct {
	path string // in the Maildir
	base string // its name
	text string
}

func (f file) flags() string {
	_, flags, _ := strings.Cut(f.base, ":2,")
	return flags
}

// landsAgain tells whether the power has left a file the name that it came by, beside the one that it
// was published under: what has a new inode elsewhere by then does not tell that it is the same.
func (d *device) landsAgain(folder mail.Folder, f file) bool {
	key, _, _ := strings.Cut(f.base, ":2,")
	_, err := d.mail().Lstat(path.Join(d.directory(folder), "tmp", key))
	return err == nil
}

// files gives the messages of a folder, in order of their names.
func (d *device) files(folder mail.Folder) []file {
	var all []file
	f := d.mail()
	for _, sub := range []string{"cur", "new"} {
		dir := path.Join(d.directory(folder), sub)
		f.ReadDir(dir, func(e maildir.Entry) {
			name := path.Join(dir, e.Name)
			all = append(all, file{name, e.Name, d.content(f, name)})
		})
	}
	return all
}

// content gives what a file has; nothing where it is gone.
func (d *device) content(f *disk.FS, name string) string {
	text, _ := f.Content(name)
	return text
}

// letters gives what the letters of a folder's files mean, as its own file says.
func (d *device) letters(folder mail.Folder) (l mail.Letters) {
	for line := range strings.Lines(d.content(d.mail(), path.Join(d.directory(folder), "dovecot-keywords"))) {
		var i int
		var word string
		if n, _ := fmt.Sscanf(line, "%d %s", &i, &word); n == 2 && i < len(l) {
			l[i] = word
		}
	}
	return l
}

// options is what a process of mailtwin is given.
func (d *device) options(p *process, mail, store maildir.FS) (*maildir.Tree, error) {
	return maildir.Open("Mail", maildir.Options{
		Account: "alice", Layout: d.Layout, FSync: !d.Lazy, FS: mail, Store: store,
		Now: func() time.Time { return d.world.now },
		Sleep: func(ctx context.Context, t time.Duration) error {
			d.world.now = d.world.now.Add(t)
			p.meanwhile()
			return ctx.Err()
		},
		Rand: d.keys, Process: cmp.Or(d.world.history.Setup.Process, 1000), Host: "vm",
	})
}

// sync runs mailtwin once. The error is of the run; one that is not the simulation's
// fault breaks the history.
func (d *device) sync(p *process, allow ...mail.Folder) (engine.Report, error) {
	return d.syncAt(p, &tappedFS{process: p, FS: d.mail(), store: false}, allow...)
}

func (d *device) syncAt(p *process, mailFS maildir.FS, allow ...mail.Folder) (rep engine.Report, err error) {
	w := d.world
	state, err := d.base.Open()
	if err != nil {
		w.breaks("%s: open the state: %w", d.name, err)
		return rep, err
	}
	w.process = p
	d.disk.Listing = func(string) { p.meanwhile() }
	defer func() {
		w.process, d.disk.Listing = nil, nil
		ended := d.base.Close
		if p.crash.Crashed() {
			ended = d.base.Die
			d.watch.died()
		}
		if err := ended(); err != nil {
			w.breaks("%s: close the state: %w", d.name, err)
		}
	}()
	tree, err := d.options(p, mailFS, &tappedFS{process: p, FS: d.store(), store: true})
	if err != nil {
		return rep, err
	}
	defer tree.Close()
	began := w.now
	if w.history.Setup.Slow { // no server takes longer over a move
		w.endHalves(func(h *half) bool { return began.Sub(h.asked) > time.Minute })
	}
	local, live := looking{p.crash.Local(tree), w}, d.watch.live(len(allow) > 0)
	d.watch.look(local, state, live)
	rep, err = engine.Run(context.Background(), engine.Options{
		InStep: d.inStep, Live: live,
		Account: "alice", Local: local, Remote: p.crash.Remote(d.client), State: p.crash.State(state),
		Policy: func(mail.Folder) conflict.Policy { return d.Policy }, AllowDeletes: len(allow) > 0, Only: allow, Connections: 1,
		CreateLocal: d.Policy.Direction.Writes(mail.Local), CreateRemote: d.Policy.Direction.Writes(mail.Remote),
		RemoveLocal: d.Policy.Direction.Writes(mail.Local), RemoveRemote: d.Policy.Direction.Writes(mail.Remote),
		Now: func() time.Time { return w.now }, Log: slog.New(p), KeepPart: keepPart(w.history),
	})
	p.did = p.effects
	if p.crash.Alive() == nil { // then the command line records how it ended
		if d.inStep = began; err != nil || len(rep.Problems)+len(rep.Held)+len(allow) > 0 {
			d.inStep = time.Time{}
		}
	}
	if err == nil && p.crash.Alive() == nil {
		// As the command line does after each run.
		err = tree.PurgeRemoved(context.Background(), w.now.Add(-kept))
		for token, at := range d.removed {
			if w.now.Sub(at) > kept-24*time.Hour {
				delete(d.removed, token)
			}
		}
	}
	return rep, err
}

// keepPart is how much of a message is kept. All that is cut off is more than a line of it.
func keepPart(h *History) int64 {
	if h.Setup.Parts {
		return 40
	}
	return 0
}

// kept is how long removed messages can be restored.
const kept = 7 * 24 * time.Hour

// power turns the power off and on. What that undoes of what people did is their loss;
// what it undoes of ours must not cost a message.
func (d *device) power(r *rand.Rand) {
	d.watch.restart()
	disks := []*disk.Disk{d.disk}
	if d.other != d.disk {
		disks = append(disks, d.other)
	}
	undone := map[string]bool{}
	for _, one := range disks {
		for _, lost := range one.PowerLoss(r) {
			t := d.world.tokenIn(lost.Content)
			if t != nil && d.world.restored {
				undone[t.name] = true // it may have been nowhere else
			}
			if t != nil && t.renamed == d {
				t.vague = true // with a name that was not there to stay goes what somebody made of it
			}
			if lost.Actor == "" || t == nil {
				continue
			}
			d.world.note("the power takes back what %s did to %s", lost.Actor, t.name)
			undone[t.name] = true
			t.vague = true
			t.copies += max(0, lost.Names)
		}
	}
	d.disk.Actor = ""
	// A file that has two names by now may be flagged under the one that goes, and saved elsewhere.
	names := map[*token]int{}
	for _, folder := range d.folders() {
		for _, f := range d.files(folder) {
			if t := d.world.tokenOf(f.text); t != nil {
				if names[t]++; names[t] > 1 {
					t.vague, t.doubled = true, d
				}
			}
		}
	}
	d.world.lostUnlessElsewhere(undone)
	for name := range undone {
		// What a program has saved may be lost, and the removal of what it was saved from not.
		if !d.world.tokensOn(d)[name] {
			t := d.world.tokens[name]
			t.removed = true
			t.expunged = t.expunged || d.Policy.OnLocalDelete == conflict.Expunge
		}
	}
}
