package history

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	"mailtwin/sync/sim"
	"mailtwin/sync/sim/disk"
)

// Result is what came of a history.
type Result struct {
	Err   error    // what must not happen, and did
	Log   []string // what happened, a line each
	Trace uint64   // the same for two plays of one history
}

// Play plays a history, and checks at its end what must hold.
func Play(h *History, lane Lane, cover Coverage) Result {
	w, err := newWorld(h, lane, cover)
	if err != nil {
		return Result{Err: err}
	}
	for n, step := range h.Steps {
		if w.broken != nil {
			break
		}
		w.note("%d %s %s", h.place(n), step.Kind, w.devices[step.Device].name)
		w.r = rand.New(rand.NewPCG(step.Seed, 2))
		w.play(step)
		w.happened(string(step.Kind))
		w.now = w.now.Add(pick(w.r, []time.Duration{0, time.Millisecond, 30 * time.Millisecond, time.Second, 10 * time.Second}))
	}
	if w.broken == nil {
		w.r = rand.New(rand.NewPCG(h.Seed, 3))
		w.quiesce()
	}
	if err := lane.Close(); err != nil && w.broken == nil {
		w.broken = err
	}
	return Result{w.broken, w.log, w.trace}
}

// place is where a step stood in the whole history.
func (h *History) place(n int) int {
	if h.Kept == nil {
		return n
	}
	return h.Kept[n]
}

func (w *world) play(step Step) {
	d := w.devices[step.Device]
	w.hit("step "+string(step.Kind), "done")
	switch step.Kind {
	case Sync:
		w.settleLateOf(d)
		p := w.newProcess(d, w.draw())
		w.run(p, w.chance(6))
	case Change:
		w.change()
	case Folder:
		w.folderChange(d)
	case Wait:
		w.lookLate()
		w.now = w.now.Add(pick(w.r, []time.Duration{time.Minute, time.Hour, 30 * time.Hour, 9 * 24 * time.Hour}))
	case Power:
		w.powerOff(d)
	case Lose:
		w.forgotten(d, Lose)
		d.inStep = time.Time{}
		d.watch.restart()
		w.must(d.base.Lose())
	case OldState:
		w.forgotten(d, OldState)
		d.old, d.inStep = true, time.Time{}
		d.watch.restart()
		w.must(d.base.Back())
		w.bothOld()
	case OldMail:
		w.oldMail(d)
	case Unmount:
		w.unmount(d)
	case Renumber:
		w.renewed = true
		for _, d := range w.devices {
			w.forgotten(d, Renumber)
		}
		w.server.ChangeUIDValidity(pick(w.r, w.server.Folders()))
	case Restore:
		w.restore()
	case Crowd:
		w.crowd()
	case Clear:
		w.clear(d)
	case Refuse:
		w.refuses = pick(w.r, []error{nil, mail.ErrRefused, fmt.Errorf("%w: %w", mail.ErrOverQuota, mail.ErrRefused), fmt.Errorf("%w: %w", mail.ErrRefused, mail.ErrTryLater)})
	}
}

func (w *world) must(err error) {
	if err != nil {
		w.breaks("the simulation fails: %w", err)
	}
}

// settleLateOf lets the server finish what this device has asked of it before the
// device asks anew: nobody keeps a command for so long. What other devices see of it
// meanwhile is what they see.
func (w *world) settleLateOf(*device) { w.settleLate() }

// run lets a device sync, and has backups taken now and then.
func (w *world) run(p *process, backup bool) {
	d := p.device
	rep, err := d.sync(p)
	w.endHalves(func(h *half) bool {
		if w.chance(2) {
			w.onFileOf(d, h.from, h.token)
		}
		return true
	})
	w.note("%v, here %+v, there %+v, %d held, %v", err, rep.Local, rep.Remote, len(rep.Held), rep.Problems)
	if p.struck == 0 && (err != nil || len(rep.Problems) > 0) && p.fate.busy == 0 && !waits(rep.Problems) {
		w.breaks("%s: a sync that nothing befell: %v %v", d.name, err, rep.Problems)
	}
	// What could not be read, or be made on the server, while nothing was known of it was not
	// known again.
	if p.struck > 0 && !d.synced && (p.fate.disk > 0 || w.refuses != nil) {
		for name := range w.tokensOn(d) {
			w.tokens[name].copies++
		}
	}
	if p.crash.Crashed() {
		for act := range p.acts {
			w.hit("plan "+act, "killed")
		}
		if !d.Lazy && w.chance(2) {
			w.powerOff(d)
		}
	} else if p.struck > 0 {
		for act := range p.acts {
			w.hit("plan "+act, "hindered")
		}
	}
	if d.failed = d.failed || p.fate.disk > 0 && p.struck > 0; p.struck == 0 && err == nil && len(rep.Problems) == 0 {
		d.failed, d.old = false, false
	}
	if d.clean = p.struck == 0 && p.changes == 0 && err == nil && len(rep.Problems) == 0; d.clean {
		d.inStep = w.now
	}
	if p.struck == 0 && err == nil && len(rep.Problems) == 0 {
		w.looked(d)
	}
	d.holding = len(rep.Held) > 0
	if err == nil {
		w.madeAgain(d, rep.Held)
	}
	d.synced = d.synced || err == nil && p.struck == 0 && len(rep.Problems) == 0
	if backup && err == nil && p.struck == 0 {
		w.note("backups are taken")
		w.must(d.base.Save())
		d.backup = d.disk.Clone()
		w.backup = w.server.Snapshot()
	}
}

// forgotten is what a device is about to know no longer: which messages of its folders the
// server had, and which files its Maildir. What has moved since it last knew is found
// again, as long as it sees both ends; if a failing disk has kept it from that, a message
// is in both places afterwards. So it is if a state is
// only one run older than the Maildir: that is not told from a run that was interrupted.
// And what a run has begun and not ended is on the server twice. What a policy, or the
// brake, has kept here when it left its folder on the server is new mail by then.
func (w *world) forgotten(d *device, how Kind) {
	d.synced = false
	for at, t := range w.copied { // the server may have refused to expunge it
		stays := func(m sim.Message) bool { return m.UID == at.uid && w.tokenIn(m.Raw) == t }
		if t != nil && slices.ContainsFunc(w.server.Messages(at.folder), stays) {
			t.copies++
		}
	}
	if how != OldState && d.clean && !d.failed && !d.holding && d.Policy.OnRemoteDelete != conflict.KeepFile {
		return
	}
	for _, folder := range d.folders() {
		there := map[string]bool{}
		for _, m := range w.server.Messages(folder) {
			there[w.nameOf(string(m.Raw))] = true
		}
		for _, f := range d.files(folder) {
			if t := w.tokenOf(f.text); t != nil && (!there[t.name] || !d.clean) {
				t.copies++
			}
		}
	}
}

func (w *world) powerOff(d *device) {
	if d.Lazy {
		return
	}
	w.note("the power of %s goes", d.name)
	w.hit("power", "lost")
	w.undoes(d)
	if d.Tick == 1 {
		d.power(w.r)
		return
	}
	was := &device{Device: d.Device, world: w, disk: d.disk.Clone()}
	d.power(w.r)
	w.alike = w.alike || slices.ContainsFunc(d.folders(), func(f mail.Folder) bool { return d.looksAlike(was, f) })
}

// oldMail gives a device the Maildir of its last backup. What was nowhere else is lost.
func (w *world) oldMail(d *device) {
	if d.backup == nil {
		return
	}
	names := d.folders()
	was := &device{Device: d.Device, world: w, disk: d.backup}
	if !slices.Equal(was.folders(), names) {
		return // folders under the names that they had before: people have to sort that out
	}
	now := w.tokensOn(d)
	w.undoes()
	w.forgotten(d, OldMail)
	old := d.backup
	d.backup = old.Clone()
	w.oldMails = true
	if d.other == d.disk {
		d.other = old
		d.removed = map[string]time.Time{}
	}
	w.alike = w.alike || d.Tick >= 1e9 || slices.ContainsFunc(names, func(f mail.Folder) bool { return d.looksAlike(was, f) })
	d.disk = old
	d.watch.restart()
	if w.history.Verbose {
		for _, folder := range d.folders() {
			w.note("%s: marker %q", folder, d.content(d.mail(), path.Join(d.directory(folder), ".mailtwin")))
		}
	}
	for name := range w.tokensOn(d) {
		delete(now, name)
	}
	w.lostUnlessElsewhere(now)
}

// looksAlike tells whether a folder has other files than on the other disk, and the same times:
// a backup was taken within one tick of the clock of what has happened to it.
func (d *device) looksAlike(other *device, folder mail.Folder) bool {
	for _, dir := range []string{".", "cur", "new"} {
		name := path.Join(d.directory(folder), dir)
		a, err := d.mail().Lstat(name)
		b, otherErr := other.mail().Lstat(name)
		if err != nil || otherErr != nil || a.ModTime != b.ModTime {
			return false
		}
	}
	return !slices.Equal(d.files(folder), other.files(folder))
}

// restore gives the server its last backup.
func (w *world) restore() {
	if w.backup == nil {
		return
	}
	w.settleLate()
	w.endHalves(all)
	w.undoes()
	was, names := maps.Clone(w.left), w.server.Folders() // devices need not know yet that a message has left
	old := w.server.Snapshot()
	w.server.Restore(w.backup)
	same := slices.Equal(names, w.server.Folders())
	w.server.Restore(old)
	if !same {
		return // folders under the names that they had before: people have to sort that out
	}
	for _, d := range w.devices {
		w.forgotten(d, Restore)
	}
	for _, folder := range names {
		for _, m := range w.server.Messages(folder) {
			was[place{folder, m.UID}] = w.tokenIn(m.Raw)
		}
	}
	now := w.tokensThere()
	w.server.Restore(w.backup)
	for name := range w.tokensThere() {
		delete(now, name)
	}
	for at, t := range was {
		if t != nil && at.uid >= w.server.Status(at.folder).UIDNext {
			w.reused[at] = append(w.reused[at], t)
		}
	}
	w.lostUnlessElsewhere(now)
	w.formsOf(now)
	w.restored = true
	w.bothOld()
	for _, d := range w.devices {
		if d.Policy.OnRemoteDelete == conflict.KeepFile {
			w.forgotten(d, Restore) // as the server is now
		}
	}
}

// bothOld allows for a state that is one run older than the Maildir, which is not told from a run
// that was interrupted, and a server that is as old: what that run has removed here seems to have
// been removed by somebody.
func (w *world) bothOld() {
	if !w.restored {
		return
	}
	there := w.tokensThere()
	for _, d := range w.devices {
		here := w.tokensOn(d)
		for name := range there {
			if _, has := here[name]; d.old && !has {
				w.tokens[name].removed = true
				w.tokens[name].expunged = w.tokens[name].expunged || d.Policy.OnLocalDelete == conflict.Expunge
			}
		}
	}
}

// formsOf notes of which messages that the server has lost there are several forms, since a program
// has added a field to one: each is new mail.
func (w *world) formsOf(gone map[string]bool) {
	forms := map[*token]map[string]bool{}
	for _, d := range w.devices {
		for _, folder := range d.folders() {
			for _, f := range d.files(folder) {
				t := w.tokenOf(f.text)
				if t == nil {
					continue
				}
				if forms[t] == nil {
					forms[t] = map[string]bool{}
				}
				forms[t][f.text] = true
			}
		}
	}
	for t, of := range forms {
		if _, lost := gone[t.name]; lost {
			t.copies += len(of) - 1
		}
	}
}

// leaves notes that messages leave a folder of the server. One may have the UID of
// another one that a restored server has given out before: to a device that has not met
// the server since, that one has left, and nothing tells otherwise.
func (w *world) leaves(folder mail.Folder, uids mail.UIDSet) {
	for _, m := range w.server.Messages(folder) {
		t := w.tokenIn(m.Raw)
		if t == nil || !uids.Has(m.UID) {
			continue
		}
		at := place{folder, m.UID}
		w.left[at], w.leftAt[at] = t, w.now
		if slices.ContainsFunc(w.devices, func(d *device) bool { return d.old }) {
			t.copies++ // see forgotten
		}
		if renewed, ok := w.renewals[folder]; ok && w.unaware(renewed) {
			t.copies++ // see renames
		}
	}
	there := w.server.Folders()
	for at, tokens := range w.reused {
		renamed := !slices.Contains(there, at.folder) // then it may be this one
		if at.folder != folder && !renamed || !uids.Has(at.uid) {
			continue
		}
		for _, t := range tokens {
			t.removed, t.expunged = true, true
			t.copies++
		}
	}
}

// checkReplaced: what somebody has edited on a device is removed from the server by the
// first sync of that device only when its new form is there. One that was refused in a
// sync before waits for its time, and what was removed since then does not.
func (w *world) checkReplaced(p *process, folder mail.Folder, uids mail.UIDSet) {
	d := p.device
	for _, m := range w.server.Messages(folder) {
		t := w.tokenIn(m.Raw)
		if t == nil || !uids.Has(m.UID) || t.became == nil || t.editor != d || t.runs < d.runs-1 ||
			t.became.removed || w.isThere(t.became) || t.runs <= d.refused && d.refused < d.runs {
			continue
		}
		if d.Policy.ExpungeDeleted && m.Flags.Has(mail.Deleted) {
			continue // it goes since somebody has flagged it, whatever becomes of its file
		}
		twin := func(o sim.Message) bool { return !uids.Has(o.UID) && w.tokenIn(o.Raw) == t }
		if slices.ContainsFunc(w.server.Messages(folder), twin) {
			continue // of which it may be the form
		}
		new := slices.ContainsFunc(d.files(folder), func(f file) bool { return w.tokenOf(f.text) == t.became })
		if _, moved := w.tokensOn(d)[t.name]; new && !moved {
			w.breaks("%s: %s leaves %s before %s, which it became, is on the server", d.name, t.name, folder, t.became.name)
		}
	}
}

// lostUnlessElsewhere excuses what nobody has any more, or only in Trash.
func (w *world) lostUnlessElsewhere(gone map[string]bool) {
	kept := w.tokensThere()
	for _, d := range w.devices {
		for name, outside := range w.tokensOn(d) {
			kept[name] = kept[name] || outside
		}
	}
	for name := range gone {
		outside, somewhere := kept[name]
		w.tokens[name].removed = w.tokens[name].removed || !outside
		w.tokens[name].expunged = w.tokens[name].expunged || !somewhere
	}
}

// tokensOn are the messages on a device, and whether they are elsewhere than in Trash.
func (w *world) tokensOn(d *device) map[string]bool {
	on := map[string]bool{}
	for _, folder := range d.folders() {
		for _, f := range d.files(folder) {
			if t := w.tokenOf(f.text); t != nil {
				on[t.name] = on[t.name] || folder != trash
			}
		}
	}
	return on
}

// tokensThere are those on the server.
func (w *world) tokensThere() map[string]bool {
	there := map[string]bool{}
	for _, folder := range w.server.Folders() {
		for _, m := range w.server.Messages(folder) {
			if t := w.tokenIn(m.Raw); t != nil {
				there[t.name] = there[t.name] || folder != trash
			}
		}
	}
	return there
}

// isThere tells whether the server has a message.
func (w *world) isThere(t *token) bool {
	_, there := w.tokensThere()[t.name]
	return there
}

// unmount lets a device sync while something else is in the Maildir's place: an empty
// disk. Nothing may happen but that it says so.
func (w *world) unmount(d *device) {
	w.settleLate()
	w.endHalves(all)
	before := w.there()
	empty := disk.New(99, func() time.Time { return w.now })
	root, err := empty.FS(".")
	if err != nil {
		w.must(err)
		return
	}
	if !d.synced {
		return // then it is a first sync, onto that disk
	}
	p := w.newProcess(d, fate{})
	d.watch.restart()
	rep, err := d.syncAt(p, &tappedFS{process: p, FS: root})
	d.watch.restart()
	w.note("unmounted: %v, %v", err, rep.Problems)
	if err == nil && len(rep.Problems) == 0 {
		w.breaks("%s: a Maildir that is not mounted is synced", d.name)
	}
	if after := w.there(); after != before {
		w.breaks("%s: a Maildir that is not mounted changes the server, from\n%s\nto\n%s", d.name, before, after)
	}
	var left []string
	root.ReadDir(".", func(e maildir.Entry) { left = append(left, path.Join(".", e.Name)) })
	if len(left) > 0 {
		w.breaks("%s: a Maildir that is not mounted is written to: %s", d.name, strings.Join(left, " "))
	}
}
