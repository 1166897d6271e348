package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// world is an account, with all who work on it, while a history is played.
type world struct {
	history   *History
	cover     Coverage
	r         *rand.Rand // the chances of the step that is played
	now       time.Time
	server    *sim.Server
	backup    *sim.Snapshot
	restored  bool             // the server got a backup back
	oldMails  bool             // a device got an older Maildir back
	renewed   bool             // a folder of the server got other numbers
	alike     bool             // a Maildir from a backup may look as the one in base does
	left      map[place]*token // who has left a place on the server
	leftAt    map[place]time.Time
	renewals  map[mail.Folder]time.Time // when a folder was renamed, and got other numbers
	reused    map[place][]*token        // who had a UID that a restored server gives out once more
	copied    map[place]*token          // what devices have copied where there is no MOVE
	parted    map[mail.Folder]bool      // folders that somebody has removed, or given another name
	devices   []*device
	process   *process // that runs; nil: none
	halves    []*half  // moves that are under way on the server
	late      []func() // what the server will have done a little later
	refuses   error    // what the server says to changes, some of the time
	calm      bool     // nothing goes wrong any more
	unwatched bool     // no device is watched any more

	tokens map[string]*token
	bodies map[string]string // the token of each content that there may be
	met    map[string]*token // of each content as it was met
	names  int               // of folders that were made
	log    []string
	trace  uint64 // of all that happened, to compare two plays
	broken error  // the first thing that must not happen
}

// place is where a message is on the server.
type place struct {
	folder mail.Folder
	uid    mail.UID
}

// token is one message that somebody wrote, with all its copies.
type token struct {
	name string
	text string
	// copies is how often somebody has copied it.
	copies int
	first  firstCopy
	// removed: somebody removed one somewhere, so it may be only in Trash. expunged:
	// somebody removed one for ever, so it may be nowhere.
	removed, expunged bool
	// became is what somebody has made of it on the device editor, when that had begun so
	// many syncs: its new form.
	became *token
	editor *device
	runs   int
	// set and cleared are the flags that somebody has ever set, or taken away. vague: others
	// may have got lost.
	set, cleared mail.System
	vague        bool
	doubled      *device // where the power has left it under two names
	renamed      *device // where somebody has changed its flags last
	// outrun is the device that had set flags on it which it has not taken along on the server, when
	// that had begun so many syncs; nil: there is none, or it has looked again.
	outrun *device
	begun  int
}

const trash mail.Folder = "Trash"

func newWorld(h *History, lane Lane, cover Coverage) (*world, error) {
	w := &world{
		history: h, cover: cover, now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), server: sim.NewServer(),
		tokens: map[string]*token{}, bodies: map[string]string{}, met: map[string]*token{}, left: map[place]*token{}, reused: map[place][]*token{},
		leftAt: map[place]time.Time{}, renewals: map[mail.Folder]time.Time{}, copied: map[place]*token{},
		parted: map[mail.Folder]bool{},
	}
	s := w.server
	s.Options = h.Setup.Server
	s.Now = func() time.Time { return w.now }
	// Two accounts that were the same once do not come to the same numbers by other ways.
	steps := rand.New(rand.NewPCG(h.Seed, 4))
	s.Step = func() uint64 { return 1 + steps.Uint64N(1000) }
	s.Before, s.After, s.Cut, s.Late, s.Twice, s.Behind = w.beforeCall, w.afterCall, w.cutCall, w.lateCall, w.twiceCall, w.behind
	for _, f := range []mail.Folder{"Archive", "Lists", "Lists/go", trash} {
		if err := s.CreateFolder(f); err != nil {
			return nil, err
		}
	}
	if err := s.SetRole(trash, mail.RoleTrash); err != nil {
		return nil, err
	}
	for n, setup := range h.Setup.Devices {
		d, err := newDevice(w, fmt.Sprintf("device %d", n+1), setup, lane)
		if err != nil {
			return nil, err
		}
		w.devices = append(w.devices, d)
	}
	return w, nil
}

// renames notes that a folder of the server gets another name, and those inside it do. Where the
// server gives new numbers with it, what a device has copied from there for want of MOVE, and was
// kept from removing, stays: nothing is removed by what was known of other numbers. Nor does a device
// know of what has left it since it looked.
func (w *world) renames(folder, to mail.Folder) {
	for _, h := range w.halves {
		if h.to == folder || h.to.Inside(folder) {
			h.to = to + h.to[len(folder):]
		}
	}
	for _, name := range w.server.Folders() {
		if name != folder && !name.Inside(folder) {
			continue
		}
		if w.server.Options.NewNumbers {
			w.renewals[to+name[len(folder):]] = w.now
			for at, t := range w.left {
				if at.folder == name && w.unaware(w.leftAt[at]) {
					t.copies++
				}
			}
		}
		for _, m := range w.server.Messages(name) {
			t := w.tokenIn(m.Raw)
			switch {
			case t == nil || w.copied[place{name, m.UID}] == nil:
			case w.server.Options.NewNumbers:
				t.copies++
			default:
				w.copied[place{to + name[len(folder):], m.UID}] = t
			}
		}
	}
}

// unaware tells whether a device has not been in step since.
func (w *world) unaware(since time.Time) bool {
	return slices.ContainsFunc(w.devices, func(d *device) bool { return !d.inStep.After(since) })
}

func (w *world) note(format string, args ...any) {
	if w.history.Log || w.history.Verbose {
		w.log = append(w.log, "  "+fmt.Sprintf(format, args...))
	}
}

// happened takes something into the trace.
func (w *world) happened(what ...string) {
	if w.history.Verbose {
		w.note("    %s", strings.Join(what, " "))
	}
	for _, s := range what { // FNV-1a
		for i := range len(s) {
			w.trace = (w.trace ^ uint64(s[i])) * 1099511628211
		}
		w.trace *= 1099511628211 // a NUL ends each
	}
}

// breaks notes that something happened that must not.
func (w *world) breaks(format string, args ...any) {
	if w.broken == nil {
		w.broken = fmt.Errorf(format, args...)
		w.note("BROKEN: %v", w.broken)
	}
}

// hit counts a strike.
func (w *world) hit(what, how string) { w.cover[Strike{what, how}]++ }

func (w *world) chance(one int) bool { return w.r.IntN(one) == 0 }

func pick[T any](r *rand.Rand, s []T) T { return s[r.IntN(len(s))] }

// compose writes a message: most have a Message-ID, some are equal but for the body, or
// have long headers.
func (w *world) compose() *token {
	// Two messages of one Message-ID are one, where a server rewrites mail, if they are
	// of one second; so they are not.
	w.now = w.now.Add(time.Second)
	name := fmt.Sprintf("token%04d", len(w.tokens)+1)
	id, header := "Message-ID: <"+name+"@example.org>\n", ""
	switch w.r.IntN(8) {
	case 0:
		id = "" // then it goes by header fields, which all have alike
		w.tick()
	case 1:
		id = "Message-ID: <same@example.org>\n"
		w.tick()
	case 2:
		header = "References: " + strings.Repeat("<a.long.reference@example.org>\n ", 60+w.r.IntN(60)) + "<end@example.org>\n"
	}
	text := "From: Ann <ann@example.org>\nTo: Bob <bob@example.org>\nSubject: a letter\n" +
		"Date: Mon, 1 Jan 2024 10:00:00 +0000\n" + id + header + "\nThis is " + name + ".\n"
	if w.chance(6) {
		text += strings.Repeat("A line of some length, to fill more than one piece.\n", 60)
	}
	// What has the same Message-ID and the same size is taken for one where base knows
	// nothing, see design.md; so those differ in size, also from one that a field is added to.
	n := len(w.tokens)
	text += strings.Repeat(".", n+1000*(n/len(added))) + "\n"
	t := &token{name: name, text: text}
	w.tokens[name], w.bodies[text] = t, name
	return t
}

// apart lets so much time pass that no file that is saved now has the time of another one, on
// any disk or to the second: two messages that only their bodies tell apart are not.
func (w *world) apart() {
	w.now = w.now.Add(time.Second)
	w.tick()
}

// tick lets so much time pass that the times of two files are not the same on any disk.
func (w *world) tick() {
	for _, d := range w.devices {
		if d.Tick > 1e9 {
			w.now = w.now.Add(time.Duration(d.Tick))
			return
		}
	}
}

// tokenOf gives the token of a content, by whichever line ends and with what mail
// programs add; nil if there is none.
func (w *world) tokenOf(content string) *token {
	t := w.met[content]
	if t == nil {
		if t = w.tokens[w.bodies[plain(content)]]; t != nil {
			w.met[content] = t
		}
	}
	return t
}

// tokenIn is tokenOf for what the server gives, which need not be copied.
func (w *world) tokenIn(content []byte) *token {
	if t := w.met[string(content)]; t != nil {
		return t
	}
	return w.tokenOf(string(content))
}

const added = "Content-Length: 42\n"

// plain is the content as its author wrote it.
func plain(content string) string {
	content = strings.ReplaceAll(content, "\r\n", "\n")
	return strings.Replace(content, added, "", 1)
}

// allTokens gives the tokens in order.
func (w *world) allTokens() []*token {
	all := make([]*token, len(w.tokens))
	for n := range all {
		all[n] = w.tokens[fmt.Sprintf("token%04d", n+1)]
	}
	return all
}

// settleLate lets the server do now what it had put off.
func (w *world) settleLate() {
	late := w.late
	w.late = nil
	for _, do := range late {
		do()
	}
}
