package history

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	engine "mailtwin/sync"
)

// rounds is how many rounds of syncs bring all in step, once nothing goes wrong: two, and
// more where times are so coarse that what a sync has just made is not at rest yet:
// what is gone elsewhere waits for the next sync, and that looks once more at what it did.
// And where one of three devices purges what is flagged, that is a change of its own: the
// third one brings the flag, the second one purges, and the first one has to hear of it. So it is
// where the second one keeps what was removed from a folder that the third one renames, and that gets
// other numbers with it: what is kept is new mail there; and where three meet a restored server, and the second one puts back
// what somebody had moved, which the third one had followed. And a watch that hears of a folder that it has
// made itself scans all that it has changed.
func (w *world) rounds() int {
	rounds := 2
	for _, d := range w.devices {
		if d.Tick >= 1e9 {
			return 8
		}
		keeps := d.Policy.OnRemoteDelete == conflict.KeepFile && w.server.Options.NewNumbers
		if (d.Policy.ExpungeDeleted || keeps || w.restored) && len(w.devices) > 2 {
			rounds = 3
		}
	}
	if w.history.Setup.Live {
		rounds++
	}
	return rounds
}

// quiesce lets all go well, syncs each device in turn until nothing is left to do, and
// checks what must hold then.
func (w *world) quiesce() {
	w.note("now all goes well")
	w.settleLate()
	w.endHalves(all)
	w.refuses, w.calm = nil, true
	for _, t := range w.allTokens() {
		if t.outrun != nil {
			w.run(w.newProcess(t.outrun, fate{}), false)
		}
	}
	w.lookLate()
	// Longer than any message waits to be tried again, and than a file may be in tmp/.
	w.now = w.now.Add(40 * time.Hour)
	if w.restored || w.alike {
		// Where a restored server has the numbers that were read last, and a device has seen
		// newer flags, nothing but the weekly look at all tells. Nor does anything else where a
		// Maildir is restored that has the times of the one that was in step.
		w.now = w.now.Add(8 * 24 * time.Hour)
	}
	if w.rest(); w.broken != nil {
		return
	}
	if w.checkUnwatched(); w.broken != nil {
		return
	}
	w.checkTokens()
	w.checkFlags()
	for _, d := range w.devices {
		w.checkStore(d)
		w.checkEqual(d)
		w.checkBase(d)
	}
}

// checkUnwatched: what a watch was told of was all that there was to do. A process that has heard
// nothing finds no more.
func (w *world) checkUnwatched() {
	w.unwatched = true
	for _, d := range w.devices {
		if d.watch == nil {
			continue
		}
		w.now = w.now.Add(time.Minute)
		rep, err := d.sync(w.newProcess(d, fate{}))
		if none := (engine.Counts{}); err != nil || len(rep.Problems) > 0 || rep.Local != none || rep.Remote != none {
			w.breaks("%s: what a watch has left to do: %v %v, here %+v, there %+v", d.name, err, rep.Problems, rep.Local, rep.Remote)
		}
	}
}

// rest syncs until no device has anything to do twice in a row, or at the end of the last
// round.
func (w *world) rest() {
	rounds, before := w.rounds(), false
	for round := 0; round <= rounds; round++ {
		quiet := true
		for _, d := range w.devices {
			w.now = w.now.Add(time.Minute)
			p := w.newProcess(d, fate{})
			trips := d.client.Traffic().RoundTrips
			rep, err := d.sync(p)
			trips = d.client.Traffic().RoundTrips - trips
			w.madeAgain(d, rep.Held)
			w.note("%s: %v, here %+v, there %+v, %d held, %v", d.name, err, rep.Local, rep.Remote, len(rep.Held), rep.Problems)
			// What somebody has flagged stays, with its folder, although somebody else lets that go.
			if goes := d.goes(rep.Held); len(goes) > 0 && fmt.Sprint(goes) != d.held {
				d.held = fmt.Sprint(goes)
				w.hit("rest", "held")
				var folders []mail.Folder
				for _, held := range goes {
					folders = append(folders, held.Folder)
					w.consent(d, held.Folder)
				}
				w.now = w.now.Add(time.Minute) // people take longer than a disk to be at rest
				rep, err = d.sync(w.newProcess(d, fate{}), folders...)
				w.note("%s, with consent: %v, here %+v, there %+v, %v", d.name, err, rep.Local, rep.Remote, rep.Problems)
				if quiet = false; round == 0 {
					rounds++ // what is held is not in step until somebody consents
				}
			}
			if w.cameBack(d, rep.Held) && round <= w.rounds() {
				rounds = max(rounds, w.rounds()+round)
			}
			if err == nil && w.makesWay(d, rep.Problems) {
				if quiet = false; rounds < w.rounds()+maxAdvice {
					rounds++
				}
				continue
			}
			if err != nil || len(rep.Problems) > 0 {
				w.breaks("%s: a sync that nothing befell: %v %v", d.name, err, rep.Problems)
				return
			}
			if p.did > 0 {
				quiet = false
			}
			if quiet && (before || round == rounds) {
				// A folder that is not to be on the server, or that is held, is never as base has it.
				if d.watch != nil && d.watch.stale && d.Policy.Direction.Writes(mail.Remote) && len(rep.Held) == 0 {
					w.breaks("%s: a watch takes what it has done itself for what somebody else has", d.name)
				}
				w.checkCost(d, trips, rep.Held)
			}
		}
		switch {
		case quiet && (before || round == rounds):
			w.hit("rest", fmt.Sprintf("after %d rounds", round))
			return
		case round == rounds:
			w.breaks("after %d rounds of syncs there is something left to do", rounds)
		}
		before = quiet
	}
}

// maxAdvice bounds how often people get another round for doing as they were told.
const maxAdvice = 2

var (
	inTheWay = regexp.MustCompile(`^rename it to (?:"[^"]+", and with it a folder to )?"([^"]+)",? (here|on the server)$`)
	noFolder = regexp.MustCompile(`: its directory "([^"]+)" has neither cur nor new: .*remove`)
)

// makesWay: where all that a device complains of are folders that stand where others are
// to be renamed to, somebody gives them another name, as the hint says. That happens where
// a device has forgotten what it has renamed, or others have. And what is left of a folder that
// is gone somebody removes, where a device has forgotten that.
func (w *world) makesWay(d *device, problems []*engine.Problem) bool {
	for _, p := range problems {
		if m := noFolder.FindStringSubmatch(p.Err.Error()); m != nil {
			w.note("%s: as told, %s is removed", d.name, m[1])
			if d.mail().Rmdir(m[1]) != nil {
				return false
			}
			continue
		}
		what, _, _ := strings.Cut(p.Err.Error(), ": ")
		m := inTheWay.FindStringSubmatch(what)
		if m == nil || !errors.Is(p.Err, mail.ErrExists) {
			return false
		}
		folder := mail.Folder(m[1])
		w.names++
		fresh := mail.Folder(fmt.Sprintf("Folder %d", w.names))
		w.note("%s: as told, %s becomes %s %s", d.name, folder, fresh, m[2])
		w.hit("rest", "made way for a folder")
		w.leavesName(folder)
		w.parts(d, folder)
		w.parts(d, p.Folder) // what stands in the way may be what it has become, in a state that is older
		var err error
		if m[2] == "here" {
			err = d.mail().Rename(d.directory(folder), d.directory(fresh))
		} else {
			w.renames(folder, fresh)
			err = w.server.RenameFolder(folder, fresh)
		}
		if err != nil {
			return false
		}
	}
	return len(problems) > 0
}

// parts notes that a folder gets another name than the one of the other side, as somebody was told
// to. What is in both is in two folders then: nothing tells that these were one, nor that what has
// left one of them was in the other.
func (w *world) parts(d *device, folder mail.Folder) {
	here := map[*token]bool{}
	for _, f := range d.files(folder) {
		here[w.tokenOf(f.text)] = true
	}
	for _, m := range w.server.Messages(folder) {
		if t := w.tokenIn(m.Raw); t != nil && here[t] {
			t.copies++
		}
	}
	for at, t := range w.left {
		if here[t] && !d.inStep.After(w.leftAt[at]) {
			t.copies++
		}
	}
}

// goes gives those of what a device holds that people let go: where files are kept none goes here.
func (d *device) goes(held []engine.Held) []engine.Held {
	return slices.DeleteFunc(slices.Clone(held), func(h engine.Held) bool {
		return d.Policy.OnRemoteDelete == conflict.KeepFile && h.Side == mail.Remote
	})
}

// madeAgain notes that a folder which was gone on the server, and which a device held, is there once
// more, since another one has made it: what the device has in it is new mail there.
func (w *world) madeAgain(d *device, held []engine.Held) {
	there := w.server.Folders()
	for _, h := range d.atHand {
		again := h.Side == mail.Remote && slices.Contains(there, h.Folder)
		if !again || slices.ContainsFunc(held, func(now engine.Held) bool { return now.Folder == h.Folder }) {
			continue
		}
		for _, f := range d.files(h.Folder) {
			if t := w.tokenOf(f.text); t != nil {
				t.copies++
			}
		}
	}
	d.atHand = held
}

// cameBack tells whether a device whose files are kept has held a folder that was gone on the
// server, until another device made that again. Before that its messages had nowhere to go, and
// nobody consents to let them go; in the folder of that name, which has other numbers, they are new
// mail. So all is in step two rounds after that: what is held is not in step.
func (w *world) cameBack(d *device, held []engine.Held) bool {
	before, there := d.keeps, w.server.Folders()
	if d.keeps = nil; d.Policy.OnRemoteDelete == conflict.KeepFile {
		d.keeps = held
	}
	return slices.ContainsFunc(before, func(h engine.Held) bool {
		again := h.Side == mail.Remote && slices.Contains(there, h.Folder)
		return again && !slices.ContainsFunc(held, func(now engine.Held) bool { return now.Folder == h.Folder })
	})
}

// consent: somebody lets go what a device holds of a folder.
func (w *world) consent(d *device, folder mail.Folder) {
	for _, f := range d.files(folder) {
		if t := w.tokenOf(f.text); t != nil {
			t.removed, t.expunged = true, true
			t.copies++ // what base does not know stays as new mail
		}
	}
	for _, m := range w.server.Messages(folder) {
		if t := w.tokenIn(m.Raw); t != nil {
			t.removed, t.expunged = true, true
			t.copies++ // and so does what has moved there while it was held, and elsewhere here
		}
	}
}

// checkCost: a sync with nothing to do is one round trip. But where folders are held that have
// other numbers, each sync looks whether one of them is not another one by now; and where a
// file has moved to one, its message waits, and its folder is looked at each time, as is the one
// that it may have moved to there.
func (w *world) checkCost(d *device, trips int, held []engine.Held) {
	most := 1
	for _, h := range held {
		moved := slices.ContainsFunc(d.files(h.Folder), func(f file) bool {
			t := w.tokenOf(f.text)
			return t != nil && w.isThere(t)
		})
		switch {
		case moved:
			most += 4 // to read both, to know the message again, and to see that nothing else has come
		case w.renewed, len(d.files(h.Folder)) > 0: // one of those may have moved there, and be gone on the server
			most++
		}
	}
	// One that may not write the server has something to do, and does not do it.
	if o := w.server.Options; d.Policy.Direction == conflict.Both && !o.NoCondStore && !o.NoStatus && trips > most {
		w.breaks("%s: a sync with nothing to do makes %d round trips", d.name, trips)
	}
}

func waits(problems []*engine.Problem) bool {
	return len(problems) > 0 // what was refused or unreadable before may still wait
}

// checkTokens: nothing is lost that nobody removed, nothing is there more often than
// somebody made it, and nothing is there that nobody wrote.
func (w *world) checkTokens() {
	count, inTrash := map[string]int{}, map[string]int{}
	for _, folder := range w.server.Folders() {
		for _, m := range w.server.Messages(folder) {
			t := w.tokenIn(m.Raw)
			if t == nil {
				w.breaks("the server has in %s what nobody wrote: %.200q", folder, m.Raw)
				return
			}
			if folder == trash {
				inTrash[t.name]++
			} else {
				count[t.name]++
			}
		}
	}
	for _, t := range w.allTokens() {
		n := count[t.name]
		switch {
		case n == 0 && !t.removed && !w.onlyHere(t):
			w.breaks("%s is lost; nobody removed it (%d in Trash)", t.name, inTrash[t.name])
		case n+inTrash[t.name] == 0 && !t.expunged && !w.onlyHere(t):
			w.breaks("%s was removed, and is not in Trash", t.name)
		case t.lacksCopy(n):
			w.breaks("%s is there once, and was copied to %s", t.name, t.first.to)
		case n > 1+t.copies:
			w.breaks("%s is there %d times, and was copied %d times", t.name, n, t.copies)
		case t.lacksCopy(0):
			w.hit("copy", "counted")
		}
	}
}

// onlyHere tells whether a device has a message that does not write the server, or keeps
// what the server has no folder for.
func (w *world) onlyHere(t *token) bool {
	for _, d := range w.devices {
		if d.Policy.Direction == conflict.Pull || d.Policy.OnRemoteDelete == conflict.KeepFile {
			if _, here := w.tokensOn(d)[t.name]; here {
				return true
			}
		}
	}
	return false
}

// checkStore: what a sync has removed from a Maildir in the last days can be restored.
func (w *world) checkStore(d *device) {
	there := map[string]bool{}
	f := d.store()
	var visit func(dir string)
	visit = func(dir string) {
		var inside []string
		f.ReadDir(dir, func(e maildir.Entry) {
			name := path.Join(dir, e.Name)
			if e.Type != 0 {
				inside = append(inside, name)
			} else if t := w.tokenOf(d.content(f, name)); t != nil {
				there[t.name] = true
			}
		})
		for _, dir := range inside {
			visit(dir)
		}
	}
	visit(".")
	for name, at := range d.removed {
		if !there[name] && w.now.Sub(at) < kept-24*time.Hour {
			w.breaks("%s: %s was removed %v ago and cannot be restored", d.name, name, w.now.Sub(at))
		}
	}
}

// checkEqual: the device and the server have the same messages with the same flags.
func (w *world) checkEqual(d *device) {
	p := d.Policy
	if d.held != "" && w.holds(d) || p.Direction != conflict.Both || p.OnLocalDelete == conflict.Keep || p.OnRemoteDelete == conflict.KeepFile {
		return // then they need not be equal
	}
	if here, there := w.here(d), w.there(); here != there {
		w.breaks("%s differs from the server: only here\n%s\nonly there\n%s", d.name, without(here, there), without(there, here))
	}
}

// holds tells whether a device holds something back still.
func (w *world) holds(d *device) bool {
	rep, _ := d.sync(w.newProcess(d, fate{}))
	return len(rep.Held) > 0
}

// without gives the lines of one text that another one lacks.
func without(text, other string) string {
	lines := strings.Split(other, "\n")
	var left []string
	for line := range strings.SplitSeq(text, "\n") {
		if i := slices.Index(lines, line); i >= 0 {
			lines = slices.Delete(lines, i, i+1)
		} else {
			left = append(left, line)
		}
	}
	return strings.Join(left, "\n")
}

func describe(folder mail.Folder, flags mail.Flags, name string) string {
	return fmt.Sprintf("  %s: %s %v", folder, name, flags)
}

// there lists what the server has.
func (w *world) there() string {
	var all []string
	for _, folder := range w.server.Folders() {
		all = append(all, "  "+string(folder)+": is there")
		for _, m := range w.server.Messages(folder) {
			all = append(all, describe(folder, m.Flags, w.nameOf(string(m.Raw))))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

// here lists what a device has, in the same way.
func (w *world) here(d *device) string {
	var all []string
	for _, folder := range d.folders() {
		all = append(all, "  "+string(folder)+": is there")
		letters := d.letters(folder)
		for _, f := range d.files(folder) {
			var words []string
			for _, c := range f.flags() {
				for _, s := range mail.SystemFlags {
					if rune(s.Letter) == c && (c != 'P' || !w.server.Options.NoKeywords) {
						words = append(words, s.Name)
					}
				}
				if c >= 'a' && c <= 'z' && !w.server.Options.NoKeywords {
					words = append(words, letters[c-'a'])
				}
			}
			all = append(all, describe(folder, mail.ParseFlags(words), w.nameOf(f.text)))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n")
}

func (w *world) nameOf(content string) string {
	if t := w.tokenOf(content); t != nil {
		return t.name
	}
	return fmt.Sprintf("%.80q", content)
}

// checkBase: at rest base holds each message once, and nothing is under way.
func (w *world) checkBase(d *device) {
	if d.Policy.Direction != conflict.Both || d.Policy.OnRemoteDelete == conflict.KeepFile {
		return // what it may not do stays to be done
	}
	state, err := d.base.Open()
	if err != nil {
		w.must(err)
		return
	}
	defer func() { w.must(d.base.Close()) }()
	ctx := context.Background()
	intents, err := state.Intents(ctx)
	w.must(err)
	unsettled, err := state.Unsettled(ctx)
	w.must(err)
	if len(intents)+len(unsettled) > 0 {
		w.breaks("%s: at rest there are intents %+v and rows %+v", d.name, intents, unsettled)
	}
}
