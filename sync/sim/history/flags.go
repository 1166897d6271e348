package history

import (
	"strings"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// Flags: what somebody has set, and nobody has taken away, is there in the end. That both sides
// are equal does not say so: a flag that is lost on both is equal, too.

// flagged notes that the flags of a message were changed by somebody.
func (t *token) flagged(before, after mail.System) {
	t.set |= after &^ before
	t.cleared |= before &^ after
}

// flaggedHere is flagged for a file that gets another name. What is set where nothing is pushed
// stays there.
func (t *token) flaggedHere(d *device, before, after string) {
	t.flagged(systemOf(before), systemOf(after))
	t.renamed = d
	t.vague = t.vague || d.Policy.Direction == conflict.Pull
}

// flaggedThere is flagged for a message of the server. One that is on its way has two forms.
func (w *world) flaggedThere(t *token, before, after mail.Flags) {
	t.flagged(before.System, after.System)
	for _, h := range w.halves {
		t.vague = t.vague || h.token == t
	}
}

// systemOf gives the flags that a file's name says.
func systemOf(letters string) (set mail.System) {
	for _, s := range mail.SystemFlags {
		if strings.IndexByte(letters, s.Letter) >= 0 {
			set |= s.Flag
		}
	}
	return set
}

// outruns: the phone begins to move a message just when a device changes its flags.
func (w *world) outruns(call sim.Call) {
	for _, m := range w.server.Messages(call.Folder) {
		if t := w.tokenIn(m.Raw); t != nil && call.UIDs.Has(m.UID) {
			w.movesThere(t, call.Folder, m, pick(w.r, w.server.Folders()))
			return
		}
	}
}

// noteOutrun notes that the phone's move ends without flags that were changed meanwhile. What a device
// has set it must see to, unless that looks again much later.
func (w *world) noteOutrun(h *half) {
	for _, m := range w.server.Messages(h.from) {
		if m.UID == h.uid && !m.Flags.Equal(h.flags) {
			w.hit("phone's move", "flagged meanwhile")
			if w.process == nil {
				h.vague = true
			} else {
				h.outrun, h.begun = w.process.device, w.process.device.runs
			}
		}
	}
}

// looked notes that a device has looked again, and may have seen which flags are missing.
func (w *world) looked(d *device) {
	for _, t := range w.tokens {
		if t.outrun == d && t.begun < d.runs {
			t.outrun = nil
			w.hit("flags", "looked at again")
		}
	}
}

// lookLate notes that it is long until a device looks again: what has moved without flags that it had
// set lacks them by then as if somebody had taken them away.
func (w *world) lookLate() {
	for _, t := range w.tokens {
		t.vague = t.vague || t.outrun != nil
	}
}

// checkFlags: no flag is lost of what is there once, and was never anything else. Where a server
// or a Maildir was restored, flags are what they were then.
func (w *world) checkFlags() {
	if w.restored || w.oldMails {
		return
	}
	there := map[*token][]mail.System{}
	for _, folder := range w.server.Folders() {
		for _, m := range w.server.Messages(folder) {
			t := w.tokenIn(m.Raw)
			there[t] = append(there[t], m.Flags.System)
		}
	}
	for _, t := range w.allTokens() {
		if t.vague || t.removed || t.expunged || t.copies > 0 || len(there[t]) != 1 {
			continue
		}
		w.hit("flags", "looked at")
		if lost := t.set &^ t.cleared &^ (mail.Deleted | mail.Forwarded) &^ there[t][0]; lost != 0 {
			w.breaks("%s has lost %v, which nobody took away", t.name, mail.Flags{System: lost})
		}
	}
}
