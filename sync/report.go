package sync

import (
	"fmt"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// Progress is a step of a transfer.
type Progress struct {
	Folder mail.Folder
	// Messages and Bytes have come or gone since the last call.
	Messages int
	Bytes    int64
	// TotalMessages and TotalBytes, where not 0, are added to what is to be done.
	TotalMessages int
	TotalBytes    int64
}

// Counts are the changes that a run made on one side.
type Counts struct {
	New     int `json:"new"`
	Flags   int `json:"flags"`
	Removed int `json:"removed"`
	Moved   int `json:"moved"`
}

// Report is what a run did, or in a dry run would have done.
type Report struct {
	Folders       int // that are synced
	Local, Remote Counts
	Renamed       int // folders that were renamed on one side, as on the other
	Conflicts     int
	Held          []Held        // removals that wait for consent
	Skipped       []mail.Notice // folders and messages left out, and why
	Lost          []mail.Notice // what the run could not rely on, and what it did about it
	Changed       []mail.Folder // folders in which something changed locally
	Actions       []string      // dry run: what would be done, a line each
	Problems      []*Problem    // what failed; the rest was synced
	Behind        []mail.Folder // folders of base that the run, if it went through, left not quite in step
}

// Held are the removals of one folder that wait for consent.
type Held struct {
	Folder mail.Folder
	Side   mail.Side // where the messages are gone
	Count  int
	Why    string
}

// Problem is something that failed, how far it reached, and what to do about it.
type Problem struct {
	Folder mail.Folder // "": the whole account
	Err    error
	Hint   string // what the user can do; "" where nothing need be done
}

func (p *Problem) Error() string {
	if p.Folder == "" {
		return p.Err.Error()
	}
	return string(p.Folder) + ": " + p.Err.Error()
}

func (p *Problem) Unwrap() error { return p.Err }

// count adds to the report under the run's lock.
func (r *run) count(add func(*Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	add(&r.report)
}

// once adds a notice, unless the run has said so already.
func (r *run) once(folder mail.Folder, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := string(folder) + "\x00" + text; !r.warned[key] {
		r.warned[key] = true
		r.report.Skipped = append(r.report.Skipped, mail.Notice{Folder: folder, Text: text})
	}
}

// changed notes that something changed locally in a folder.
func (r *run) changed(f *folder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.changed = true
}

// finish fills in what is known only at the end, in a fixed order.
func (rep *Report) finish(r *run) {
	behind := map[mail.Folder]bool{}
	for _, p := range rep.Problems {
		behind[p.Folder] = true
	}
	for key := range r.held {
		behind[key.folder] = true
	}
	for name, f := range r.folders {
		if f.base.ID != 0 && (behind[name] || !f.usable() || f.unsafe) {
			rep.Behind = append(rep.Behind, name)
		}
		if f.synced() {
			rep.Folders++
		}
		if f.changed {
			rep.Changed = append(rep.Changed, name)
		}
	}
	rep.Renamed = r.renames.done
	slices.Sort(rep.Changed)
	rep.Lost = r.tellLosses()
	slices.Sort(rep.Behind)
	for _, h := range r.held {
		rep.Held = append(rep.Held, h)
	}
	slices.SortFunc(rep.Held, func(a, b Held) int {
		if a.Folder != b.Folder {
			return compare(a.Folder, b.Folder)
		}
		return int(a.Side) - int(b.Side)
	})
	slices.SortStableFunc(rep.Problems, func(a, b *Problem) int { return compare(a.Folder, b.Folder) })
	slices.SortStableFunc(rep.Skipped, func(a, b mail.Notice) int { return compare(a.Folder, b.Folder) })
}

func compare(a, b mail.Folder) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// log says what the plan does, for those who ask for it.
func (r *run) log(plan conflict.Plan) {
	for _, a := range plan.Actions {
		r.Log.Debug("planned", "account", r.Account, "folder", string(a.Item.Folder), "action", a.Kind.String(),
			"uid", uint32(a.Item.UID()), "key", string(a.Item.Key()), "flags", a.Flags.String(), "why", a.Why)
	}
}

// describe puts a plan into the report as if it had been carried out: a line for what
// happens to one message alone, or to all the messages of a folder to which the same
// happens.
func (r *run) describe(plan conflict.Plan) {
	type line struct {
		folder mail.Folder
		text   string
	}
	var order []line
	items := map[line][]*conflict.Item{}
	for i := range plan.Actions {
		a := &plan.Actions[i]
		if !r.wanted(a.Item.Folder) {
			continue
		}
		f := r.folders[a.Item.Folder]
		text := ""
		switch a.Kind {
		case conflict.Agree:
			if a.Rename {
				r.report.Local.Flags++
				f.changed = true
				text = "set flags here: " + a.Flags.String()
			}
			if !a.Add.Empty() || !a.Remove.Empty() {
				r.report.Remote.Flags++
				text = "set flags on the server: " + a.Flags.String()
			}
		case conflict.Download:
			r.report.Local.New++
			f.changed = true
			text = "download"
		case conflict.Upload:
			r.report.Remote.New++
			text = "upload"
		case conflict.CopyRemote:
			r.report.Remote.New++
			text = fmt.Sprintf("copy here from %q on the server", a.Item.Source.Folder)
		case conflict.Link:
			r.report.Local.New++
			f.changed = true
			text = fmt.Sprintf("copy here from %q", a.Item.Source.Folder)
		case conflict.MoveRemote:
			r.report.Remote.Moved++
			text = fmt.Sprintf("move here from %q on the server", a.Item.From.Folder)
		case conflict.MoveLocal:
			r.report.Local.Moved++
			f.changed = true
			text = fmt.Sprintf("move here from %q", a.Item.From.Folder)
		case conflict.RemoveLocal:
			r.report.Local.Removed++
			f.changed = true
			text = "remove here"
		case conflict.MoveToTrash:
			r.report.Remote.Removed++
			text = fmt.Sprintf("move to %q on the server", a.Target)
			if t := r.folders[a.Target]; t != nil && t.usable() {
				r.report.Local.New++ // its copy in Trash comes down
				t.changed = true
			}
		case conflict.ExpungeRemote:
			r.report.Remote.Removed++
			text = "expunge on the server"
		case conflict.MarkDeleted:
			r.report.Remote.Flags++
			text = `mark \Deleted on the server`
		}
		if text == "" {
			continue
		}
		l := line{a.Item.Folder, fmt.Sprintf("%s (%s)", text, a.Why)}
		if items[l] == nil {
			order = append(order, l)
		}
		items[l] = append(items[l], a.Item)
	}
	for _, l := range order {
		what := fmt.Sprintf("%d messages", len(items[l]))
		if len(items[l]) == 1 {
			what = name(items[l][0])
		}
		r.report.Actions = append(r.report.Actions, fmt.Sprintf("%s: %s: %s", l.folder, what, l.text))
	}
	r.note(plan)
}

// name is what to call a message in a line for people.
func name(i *conflict.Item) string {
	if key := i.Key(); key != "" {
		return string(key)
	}
	return fmt.Sprintf("UID %d", i.UID())
}

// note puts into the report what a plan holds and whom it overrules.
func (r *run) note(plan conflict.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range plan.Held {
		r.held[heldKey{h.Folder, h.Gone}] = Held{Folder: h.Folder, Side: h.Gone, Count: h.Count, Why: h.Why}
	}
	r.report.Conflicts += len(plan.Decisions)
}
