package history

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	"mailtwin/sync/sim"
	"mailtwin/sync/sim/disk"
)

// fate is what may befall a process, as odds for each call.
type fate struct {
	// aim is the call of the engine that it befalls, and nothing else; "": any.
	aim   string
	kill  float64 // before or after an effect
	disk  float64 // a call of the disk fails
	full  bool    // ... and from then on the disk is full
	net   float64 // a call of the server fails, is cut off, or answered late or twice
	cut   float64 // a message that is fetched is cut off, besides what else may happen
	busy  float64 // somebody else is at work
	state float64 // a commit fails
}

// aims are the calls that a fate aims at: those with an effect, which come far less often
// than a run's looks at what is there.
var aims = []string{
	"Local.CreateFolder", "Local.RemoveFolder", "Local.RenameFolder", "Local.SetMarker", "Local.SetLetters",
	"Local.Create", "Local.Harden", "Local.Publish", "Local.Secure", "Local.SyncFolder", "Local.Reflag", "Local.Move",
	"Local.Link", "Local.Remove", "Local.Sweep",
	"Remote.Append", "Remote.Store", "Remote.Move", "Remote.Copy", "Remote.Expunge",
	"Remote.CreateFolder", "Remote.DeleteFolder", "Remote.RenameFolder", "State.Commit",
}

// draw gives a process its fate.
func (w *world) draw() fate {
	aim := w.history.Aim
	if aim != "" {
		f := drawAt(w.r, aim)
		if aimsAtParts(aim) {
			f.cut = 0.3
		}
		return f
	}
	f := draw(w.r)
	if w.history.Setup.Parts && rand.New(rand.NewPCG(w.trace, 2)).IntN(2) == 0 {
		f.cut = 0.3
	}
	return f
}

func draw(r *rand.Rand) fate {
	var f fate
	odds := func() float64 { return []float64{0.3, 0.1, 0.03, 0.01}[r.IntN(4)] }
	if r.IntN(3) > 0 {
		f.aim = aims[r.IntN(len(aims))]
		odds = func() float64 { return []float64{0.6, 0.3, 0.1}[r.IntN(3)] }
	}
	switch r.IntN(12) {
	case 0, 1, 2:
	case 3, 4, 5, 6:
		f.kill = odds()
	case 7, 8:
		f.net = odds()
	case 9:
		f.disk = odds() / 3
	case 10:
		f.disk, f.full = odds()/3, true
	case 11:
		f.state = odds()
	}
	if f.aim == "" {
		f.disk /= 3 // there are so many calls
	}
	if f.net > 0 && !strings.HasPrefix(f.aim, "Remote.") && f.aim != "" {
		f.aim = aims[slices.Index(aims, "Remote.Append")+r.IntN(8)]
	}
	if f.state > 0 {
		f.aim = ""
	}
	if r.IntN(3) == 0 {
		f.busy = []float64{0.1, 0.03, 0.01}[r.IntN(3)]
	}
	return f
}

// drawAt gives a process a fate that aims at the call, which comes so seldom that it is
// struck nearly each time.
func drawAt(r *rand.Rand, call string) fate {
	f := fate{aim: call}
	switch remote := strings.HasPrefix(call, "Remote."); {
	case r.IntN(3) == 0:
		f.kill = []float64{0.25, 0.05}[r.IntN(2)] // some calls have many effects
	case remote:
		f.net = 0.5
	default:
		f.disk = 0.2 // of several calls
	}
	if r.IntN(3) == 0 {
		f.busy = 0.03
	}
	return f
}

// process is one run of mailtwin. It is a slog.Handler, since what is planned is known
// from what it logs.
type process struct {
	world  *world
	device *device
	fate   fate
	r      *rand.Rand
	crash  *sim.Crash
	doing  string // the call of the engine that is under way; "" between two
	struck int    // what befell it
	full   bool   // the disk, from now on
	busy   bool   // somebody is at work at this moment
	// changes counts how often somebody was at work.
	changes int
	acts    map[string]bool
	// effects counts what a run that has nothing to do must not do.
	effects, did int // until now, and in the run itself
}

func (w *world) newProcess(d *device, f fate) *process {
	p := &process{world: w, device: d, fate: f, r: rand.New(rand.NewPCG(w.r.Uint64(), 1)), crash: sim.NewCrash(0), acts: map[string]bool{}}
	p.crash.Strike = p.step
	d.runs++
	return p
}

func (p *process) roll(odds float64) bool { return odds > 0 && p.r.Float64() < odds }

// strikes rolls for what the fate has in store at this moment.
func (p *process) strikes(odds float64) bool {
	return odds > 0 && (p.fate.aim == "" || p.fate.aim == p.doing) && p.roll(odds)
}

// step is what the engine's own calls come by, before and after each effect.
func (p *process) step(when, what string) error {
	p.world.happened(when, what)
	if when == "before" {
		p.doing = what
		p.effects++
		p.world.hit(what, "done")
		p.checkWrite(what)
	}
	strikes := p.strikes(p.fate.kill)
	if when == "after" {
		p.doing = ""
	}
	if strikes {
		return p.die(what, when)
	}
	if when == "before" && what == "State.Commit" && p.roll(p.fate.state) {
		p.strike(what, "failed")
		return fmt.Errorf("commit: %w", mail.ErrNoSpace)
	}
	return nil
}

// checkWrite holds a device to a policy that does not write a side.
func (p *process) checkWrite(what string) {
	if p.device.Policy.Direction == conflict.Pull && strings.HasPrefix(what, "Remote.") {
		p.world.breaks("%s writes the server with direction = pull: %s", p.device.name, what)
	}
}

func (p *process) strike(what, how string) {
	p.struck++
	p.world.hit(what, how)
	p.world.note("%s: %s", what, how)
}

func (p *process) die(what, when string) error {
	p.strike(what, "killed "+when)
	return sim.ErrCrashed
}

// mostChanges is how often somebody else may be at work during one run. More would not
// find more, and leave a history that fails hard to read.
const mostChanges = 4

// meanwhile lets somebody else do something.
func (p *process) meanwhile() {
	if p.busy || p.changes == mostChanges || p.crash.Crashed() || !p.roll(p.fate.busy) {
		return
	}
	p.world.note("meanwhile")
	p.others(p.world.change)
}

// others lets somebody else do that, with the chances of the process.
func (p *process) others(act func()) {
	p.busy = true
	p.changes++
	defer func() { p.busy = false }()
	w := p.world
	mine := w.r
	w.r = p.r
	act()
	w.r = mine
}

// Handle is slog.Handler's: it counts the actions of plans.
func (p *process) Handle(_ context.Context, record slog.Record) error {
	if p.world.history.Verbose {
		line := record.Message
		record.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
		p.world.note("%s", line)
	}
	if record.Message == "planned" {
		record.Attrs(func(a slog.Attr) bool {
			if a.Key == "action" {
				p.acts[a.Value.String()] = true
				p.world.hit("plan "+a.Value.String(), "planned")
			}
			return true
		})
	}
	return nil
}

// Enabled, WithAttrs and WithGroup are slog.Handler's.
func (p *process) Enabled(context.Context, slog.Level) bool { return true }
func (p *process) WithAttrs([]slog.Attr) slog.Handler       { return p }
func (p *process) WithGroup(string) slog.Handler            { return p }

// What befalls the calls of the server.

func (w *world) beforeCall(call sim.Call) error {
	p := w.process
	if p == nil {
		return nil
	}
	w.happened("call", call.Method, string(call.Folder))
	if call.Method == "Move" || call.Method == "Expunge" {
		w.leaves(call.Folder, call.UIDs)
		if call.Method == "Expunge" || call.Target == trash {
			w.checkReplaced(p, call.Folder, call.UIDs)
		}
	}
	if call.Method != "DeleteFolder" {
		p.meanwhile() // IMAP cannot delete a folder only if it is empty: what comes then is gone
	}
	if call.Method == "Store" && w.history.Setup.Slow && !p.busy && !w.calm && p.changes < mostChanges && p.roll(0.5) {
		p.others(func() { w.outruns(call) })
	}
	if call.Method == "Copy" && w.server.Options.NoMove {
		for _, m := range w.server.Messages(call.Folder) {
			if t := w.tokenIn(m.Raw); call.UIDs.Has(m.UID) {
				w.copied[place{call.Folder, m.UID}] = t
				w.hasParted(p.device, t, call.Folder, call.Target)
			}
		}
	}
	w.endHalves(func(h *half) bool {
		// The moment is over before a device looks a second time.
		ends := call.Method == "Scan" && call.Folder == h.from && h.seen || p.roll(0.1)
		h.seen = h.seen || call.Method == "Scan" && call.Folder == h.to
		if call.Method == "DeleteFolder" && call.Folder == h.to {
			return false // as above
		}
		if ends && p.roll(0.5) {
			p.others(func() { w.onFileOf(p.device, h.from, h.token) })
		}
		return ends
	})
	if len(w.late) > 0 && p.roll(0.2) {
		w.settleLate()
	}
	changes := !strings.Contains("Folders Scan Identify Fetch Examine", call.Method)
	if changes && w.refuses != nil && p.roll(0.5) {
		p.strike("server "+call.Method, "refused")
		if call.Method == "Append" {
			p.device.refused = p.device.runs
		}
		return fmt.Errorf("%s: %w", call.Method, w.refuses)
	}
	if p.strikes(p.fate.net) {
		p.strike("server "+call.Method, "not reached")
		return mail.ErrUnreachable
	}
	if call.Method == "RenameFolder" {
		w.renames(call.Folder, call.Target)
	}
	return nil
}

func (w *world) afterCall(call sim.Call) error {
	p := w.process
	if p != nil && call.Method == "Store" && w.history.Setup.Slow {
		w.endHalves(func(h *half) bool { return h.from == call.Folder && call.UIDs.Has(h.uid) && p.roll(0.7) })
	}
	if p != nil && p.strikes(p.fate.net) {
		p.strike("server "+call.Method, "answer lost")
		return mail.ErrUnreachable
	}
	return nil
}

func (w *world) cutCall(call sim.Call, size int64) int64 {
	p := w.process
	if p == nil || !p.strikes(p.fate.net) && !(call.Method == "Fetch" && p.roll(p.fate.cut)) {
		return -1
	}
	at := p.r.Int64N(size + size/4 + 2)
	how := "cut off"
	if at >= size {
		how = "cut off at its end"
	}
	p.strike("server "+call.Method, how)
	return at
}

// lateCall puts off what a call does until after it was given up: until somebody else
// calls, or never.
func (w *world) lateCall(call sim.Call, done func()) bool {
	p := w.process
	if p == nil || call.Method != "Append" && !p.strikes(p.fate.net) {
		return false
	}
	if p.r.IntN(4) == 0 {
		p.strike("server "+call.Method, "never done")
		return true
	}
	p.strike("server "+call.Method, "done late")
	if call.Method == "DeleteFolder" {
		done = w.takingAlong(call.Folder, done)
	}
	w.late = append(w.late, done)
	return true
}

// takingAlong is a removal of a folder that takes along what has come there since it was
// asked for, and was empty: see beforeCall.
func (w *world) takingAlong(folder mail.Folder, remove func()) func() {
	was := map[mail.UID]bool{}
	for _, m := range w.server.Messages(folder) {
		was[m.UID] = true
	}
	return func() {
		for _, m := range w.server.Messages(folder) {
			if t := w.tokenIn(m.Raw); t != nil && !was[m.UID] {
				t.removed, t.expunged = true, true
			}
		}
		remove()
	}
}

// behind tells how many messages are under way when something may befall one of them.
func (w *world) behind(sim.Call) int {
	p := w.process
	if p == nil || p.fate.net == 0 && p.fate.kill == 0 {
		return 0
	}
	return p.r.IntN(4)
}

func (w *world) twiceCall(call sim.Call) bool {
	p := w.process
	if p == nil || !p.strikes(p.fate.net) {
		return false
	}
	w.hit("server "+call.Method, "told twice")
	return true
}

// tappedFS is the disk as a process has it.
type tappedFS struct {
	*process
	*disk.FS
	store bool // it is the store of removed messages
}

// call is what each call of the disk comes by. An effect is a step at which the process
// may die; errs are the errors that it may get.
func (t *tappedFS) call(op, name string, effect bool, errs ...error) error {
	p := t.process
	if err := p.crash.Alive(); err != nil {
		return err
	}
	p.world.now = p.world.now.Add(20 * time.Microsecond)
	if !effect {
		p.meanwhile()
	}
	full := p.full && (op == "create" || op == "write" || op == "mkdir" || op == "link" || op == "rename")
	if full || p.strikes(p.fate.disk) {
		if p.fate.full {
			p.full, errs = true, []error{syscall.ENOSPC}
		}
		err := pick(p.r, errs)
		p.strike("disk "+op, "failed")
		if p.world.history.Verbose {
			p.world.note("%s: %v", name, err)
		}
		p.world.hit(p.where(op), "failed")
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	if effect {
		p.effects++
		p.world.happened(op, name)
		p.world.hit("disk "+op, "done")
		return t.mayDie(op, "before")
	}
	return nil
}

func (p *process) where(op string) string {
	if p.doing == "" {
		return "between/" + op
	}
	return p.doing + "/" + op
}

func (t *tappedFS) mayDie(op, when string) error {
	if t.strikes(t.fate.kill / 2) {
		t.world.hit(t.where(op), "killed "+when)
		t.die("disk "+op, when)
		return t.crash.Kill()
	}
	return nil
}

func (t *tappedFS) effect(op, name string, do func() error, errs ...error) error {
	if err := t.call(op, name, true, errs...); err != nil {
		return err
	}
	actor := t.device.disk.Actor
	err := do()
	t.device.disk.Actor = actor
	if dead := t.mayDie(op, "after"); dead != nil {
		return dead
	}
	return err
}

func (t *tappedFS) Open(name string) (maildir.Reader, error) {
	if err := t.call("open", name, false, syscall.EIO, syscall.EMFILE, syscall.EACCES); err != nil {
		return nil, err
	}
	return t.FS.Open(name)
}

func (t *tappedFS) Create(name string) (w io.WriteCloser, err error) {
	err = t.effect("create", name, func() error {
		w, err = t.FS.Create(name)
		return err
	}, syscall.ENOSPC, syscall.EIO, syscall.EMFILE, syscall.EROFS, syscall.EDQUOT)
	if err != nil {
		return nil, err
	}
	return &tappedWriter{t, w, name}, nil
}

type tappedWriter struct {
	tapped *tappedFS
	io.WriteCloser
	name string
}

func (w *tappedWriter) Write(p []byte) (n int, err error) {
	err = w.tapped.effect("write", w.name, func() error {
		n, err = w.WriteCloser.Write(p)
		return err
	}, syscall.ENOSPC, syscall.EIO, syscall.EDQUOT)
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (t *tappedFS) Sync(names ...string) error {
	return t.effect("sync", names[0], func() error { return t.FS.Sync(names...) }, syscall.EIO, syscall.ENOSPC)
}

func (t *tappedFS) Link(name string, to maildir.FS, as string) error {
	if other, ok := to.(*tappedFS); ok {
		to = other.FS
	}
	return t.effect("link", name, func() error { return t.FS.Link(name, to, as) }, syscall.ENOSPC, syscall.EIO, syscall.EMLINK, syscall.EPERM)
}

func (t *tappedFS) Rename(from, to string) error {
	return t.effect("rename", from, func() error { return t.FS.Rename(from, to) }, syscall.ENOSPC, syscall.EIO, syscall.EROFS)
}

func (t *tappedFS) Replace(from, to string) error {
	return t.effect("replace", from, func() error { return t.FS.Replace(from, to) }, syscall.ENOSPC, syscall.EIO, syscall.EROFS)
}

func (t *tappedFS) Unlink(name string) error {
	return t.effect("unlink", name, func() error {
		content := ""
		if !t.store && (strings.Contains(name, "cur/") || strings.Contains(name, "new/")) {
			content = t.device.content(t.FS, name)
		}
		info, _ := t.FS.Lstat(name)
		err := t.FS.Unlink(name)
		if token := t.world.tokenOf(content); err == nil && token != nil && !t.device.Lazy && !t.hasName(path.Dir(path.Dir(name)), info.Inode) {
			t.device.removed[token.name] = t.world.now
		}
		return err
	}, syscall.EIO, syscall.EROFS)
}

// hasName tells whether a file has a name in a folder.
func (t *tappedFS) hasName(dir string, inode uint64) (has bool) {
	for _, sub := range []string{"cur", "new"} {
		t.FS.ReadDir(path.Join(dir, sub), func(e maildir.Entry) { has = has || e.Inode == inode })
	}
	return has
}

func (t *tappedFS) Mkdir(name string) error {
	return t.effect("mkdir", name, func() error { return t.FS.Mkdir(name) }, syscall.ENOSPC, syscall.EIO, syscall.EROFS)
}

func (t *tappedFS) Rmdir(name string) error {
	return t.effect("rmdir", name, func() error { return t.FS.Rmdir(name) }, syscall.EIO, syscall.EROFS)
}

func (t *tappedFS) ReadDir(name string, each func(maildir.Entry)) error {
	if err := t.call("readdir", name, false, syscall.EIO, syscall.EMFILE, syscall.EACCES); err != nil {
		return err
	}
	return t.FS.ReadDir(name, each)
}

func (t *tappedFS) Lstat(name string) (maildir.Info, error) {
	if err := t.call("lstat", name, false, syscall.EIO, syscall.EACCES); err != nil {
		return maildir.Info{}, err
	}
	return t.FS.Lstat(name)
}

func (t *tappedFS) SetModTime(name string, at time.Time) error {
	return t.effect("utimes", name, func() error { return t.FS.SetModTime(name, at) }, syscall.EIO, syscall.EROFS)
}

func (t *tappedFS) Close() error { return nil }
