package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"mailtwin/conflict"
	"mailtwin/maildir"
	"mailtwin/sync/sim"
)

// History is what happens to an account.
type History struct {
	Seed  uint64
	Setup Setup
	Steps []Step
	// Aim is the call of the engine that all befalls, as "Remote.Expunge"; "": any.
	Aim string
	// Kept are the places that the steps had in the whole history, where some were left
	// out; nil: none were.
	Kept []int
	// Log has Play keep a log, and Verbose has that tell each call.
	Log, Verbose bool
}

// Setup is how things are before the first step.
type Setup struct {
	Server  sim.Options
	Devices []Device
	// Halves: a message that the phone moves is in both folders for a while.
	Halves bool
	// Slow: it moves at once, but a while after the phone has asked for it, and has the flags then
	// that it had at first.
	Slow bool
	// Live: what syncs a device is mostly one process, which watches the Maildir.
	Live bool
	// One: what people do is mostly about the first message, so that all meets there.
	One bool
	// Parts: the beginnings of messages are kept where a connection breaks, and it does so
	// more often than it otherwise would.
	Parts bool
	// Process is the number of each process, which is in the names of files; 0: 1000. With
	// another one files are met in another order.
	Process int
}

// Device is how one device is set up.
type Device struct {
	Layout maildir.Layout
	Policy conflict.Policy
	// Apart: the store of removed messages is on another disk.
	Apart bool
	// Lazy: `fsync = false`, so the power must not go.
	Lazy bool
	// Tick is how coarse the times of its disk are, in nanoseconds.
	Tick int64
}

// Kind is what a step is.
type Kind string

// The kinds of steps.
const (
	Sync     Kind = "sync"     // a device syncs; what befalls it is in the step's seed
	Change   Kind = "change"   // somebody does something to a message
	Folder   Kind = "folder"   // somebody makes, removes or renames a folder
	Wait     Kind = "wait"     // time passes
	Power    Kind = "power"    // a device loses its power
	Lose     Kind = "lose"     // a device loses its state
	OldState Kind = "old"      // a device gets an older state back
	OldMail  Kind = "oldmail"  // a device gets an older Maildir back
	Unmount  Kind = "unmount"  // a device syncs while another disk is in the Maildir's place
	Renumber Kind = "renumber" // a folder of the server gets another UIDVALIDITY
	Restore  Kind = "restore"  // the server gets an older backup back
	Refuse   Kind = "refuse"   // the server begins or ends to refuse
	Crowd    Kind = "crowd"    // many messages arrive in a folder
	Clear    Kind = "clear"    // somebody removes all of a folder that has many
)

// weights say how often each kind of step comes. Losses are rare, or there would be
// little to lose.
var weights = []struct {
	kind Kind
	n    int
}{
	{Sync, 300}, {Change, 460}, {Folder, 40}, {Wait, 60}, {Power, 20}, {Lose, 10}, {OldState, 8}, {OldMail, 8},
	{Unmount, 10}, {Renumber, 10}, {Restore, 8}, {Refuse, 30},
}

// Step is one step. Seed is where its own chances begin.
type Step struct {
	Kind   Kind
	Device int
	Seed   uint64
}

// New makes the history of a seed.
func New(seed uint64) *History {
	r := rand.New(rand.NewPCG(seed, 0x6d61696c))
	h := &History{Seed: seed, Setup: newSetup(r)}
	total := 0
	for _, w := range weights {
		total += w.n
	}
	for range 10 + r.IntN(24) {
		n := r.IntN(total)
		step := Step{Device: r.IntN(len(h.Setup.Devices)), Seed: r.Uint64()}
		for _, w := range weights {
			if n < w.n {
				step.Kind = w.kind
				break
			}
			n -= w.n
		}
		h.Steps = append(h.Steps, step)
	}
	h.Setup.Halves = rand.New(rand.NewPCG(seed, 0x68616c66)).IntN(4) == 0
	h.Setup.Slow = !h.Setup.Halves && rand.New(rand.NewPCG(seed, 0x736c6f77)).IntN(3) == 0
	h.Setup.Live = rand.New(rand.NewPCG(seed, 0x6c697665)).IntN(3) == 0
	h.Setup.One = rand.New(rand.NewPCG(seed, 0x6f6e65)).IntN(4) == 0
	parts := rand.New(rand.NewPCG(seed, 0x70617274))
	h.Setup.Parts, h.Setup.Server.NoPartial = parts.IntN(2) == 0, parts.IntN(6) == 0
	h.crowd(rand.New(rand.NewPCG(seed, 0x63726f77)))
	return h
}

// aimsAtParts tells whether the call is one about parts of messages.
func aimsAtParts(call string) bool { return call == "Incoming.Keep" || call == "Local.Resume" }

// AimAt has all that happens befall that call. Where it is about folders, people are more at
// work on those than usual, or it would hardly come.
func (h *History) AimAt(call string) {
	h.Aim = call
	if aimsAtParts(call) {
		h.Setup.Parts = true
	}
	if !strings.HasSuffix(call, "Folder") {
		return
	}
	for i := range h.Steps {
		if step := &h.Steps[i]; step.Kind == Change && step.Seed%4 > 0 {
			step.Kind = Folder
		}
	}
}

// crowd makes some histories ones with so many messages in a folder that a device holds
// back their removal. They take longer, so they are few.
func (h *History) crowd(r *rand.Rand) {
	if r.IntN(80) > 0 {
		return
	}
	for _, kind := range []Kind{Crowd, Clear} {
		half := len(h.Steps) / 2
		at := r.IntN(half)
		if kind == Clear {
			at += half
		}
		step := Step{Kind: kind, Device: r.IntN(len(h.Setup.Devices)), Seed: r.Uint64()}
		h.Steps = slices.Insert(h.Steps, at, step)
	}
}

func newSetup(r *rand.Rand) Setup {
	var s Setup
	chance := func(one int) bool { return r.IntN(one) == 0 }
	s.Server = sim.Options{
		NoCondStore: chance(5), NoMove: chance(5), NoObjectID: chance(3), EmailIDs: chance(4), NoStatus: chance(10),
		NoKeywords: chance(10), NewNumbers: chance(10), NoInferiors: chance(10),
	}
	for range []int{1, 2, 2, 2, 3}[r.IntN(5)] {
		d := Device{Apart: chance(6), Lazy: chance(8), Tick: 1}
		if chance(3) {
			d.Layout = maildir.MaildirPlus
		}
		switch r.IntN(8) {
		case 0, 1, 2:
			d.Tick = 4e6 // the kernel's clock before Linux 6.13
		case 3:
			d.Tick = 1e9 // NFS, HFS+
		case 4:
			d.Tick = 2e9 // FAT
		}
		switch r.IntN(12) {
		case 0:
			d.Policy.OnLocalDelete = conflict.Expunge
		case 1:
			d.Policy.Winner = conflict.DeleteWins
		case 2:
			d.Policy.ExpungeDeleted = true
		case 3:
			d.Policy.Direction = conflict.Pull
		case 4:
			d.Policy.OnRemoteDelete = conflict.KeepFile
		}
		s.Devices = append(s.Devices, d)
	}
	return s
}

// Only gives the history with only those of its steps.
func (h *History) Only(kept []int) *History {
	o := &History{Seed: h.Seed, Setup: h.Setup, Aim: h.Aim, Kept: slices.Clone(kept)}
	for _, n := range kept {
		if n >= 0 && n < len(h.Steps) {
			o.Steps = append(o.Steps, h.Steps[n])
		}
	}
	return o
}

// Command is how to play the history again, as settings before a go test.
func (h *History) Command() string {
	command := fmt.Sprintf("MAILTWIN_SEED=%d", h.Seed)
	if h.Aim != "" {
		command += " MAILTWIN_AIM=" + h.Aim
	}
	if h.Kept != nil {
		command += " MAILTWIN_STEPS=" + strings.Trim(strings.ReplaceAll(fmt.Sprint(h.Kept), " ", ","), "[]")
	}
	return command
}
