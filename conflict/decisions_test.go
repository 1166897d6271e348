package conflict

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

var update = flag.Bool("update", false, "write docs/decisions.md from what the code decides")

// docs/decisions.md is the decision table of the program, for people to read and for
// this test to hold the code to: every state of base, every pair of changes and every
// policy that makes a difference.
func TestDecisionsAreAsDocumented(t *testing.T) {
	const path = "../docs/decisions.md"
	got := decisionTable()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) == got {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("line %d differs from docs/decisions.md (go test ./conflict -update writes it):\n got %q\nwant %q", i+1, at(g, i), at(w, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

type situation struct {
	name string
	row  *mail.Row
}

func decisionTable() string {
	seen := mail.Flags{System: mail.Seen}
	situations := []situation{
		{"in neither", nil},
		{"on both sides", &mail.Row{ID: 1, Key: "k", UID: 1}},
		{"parted: only here", &mail.Row{ID: 1, Key: "k", State: mail.Parted, Why: "as before"}},
		{"parted: only on the server", &mail.Row{ID: 1, UID: 1, State: mail.Parted, Why: "as before", Flags: mail.Flags{System: mail.Deleted}}},
		{"pending: only here", &mail.Row{ID: 1, Key: "k", State: mail.Pending, Why: "as before"}},
		{"pending: only on the server", &mail.Row{ID: 1, UID: 1, State: mail.Pending, Why: "as before"}},
		{"held: removed here", &mail.Row{ID: 1, Key: "k", UID: 1, State: mail.Held, Gone: mail.Local}},
		{"held: removed on the server", &mail.Row{ID: 1, Key: "k", UID: 1, State: mail.Held, Gone: mail.Remote}},
	}
	changes := []struct {
		name   string
		change Change
		flags  mail.Flags
	}{
		{"as it was", Same, mail.Flags{}},
		{"read", Flags, seen},
		{"flagged", Flags, mail.Flags{System: mail.Flagged}},
		{"gone", Gone, mail.Flags{}},
		{"new", New, seen},
	}
	policies := []struct {
		name string
		w    World
	}{
		{"defaults", world1(Policy{}, "Trash", true)},
		{`conflict = "delete"`, world1(Policy{Winner: DeleteWins}, "Trash", true)},
		{`on_local_delete = "expunge"`, world1(Policy{OnLocalDelete: Expunge}, "Trash", true)},
		{`on_local_delete = "keep"`, world1(Policy{OnLocalDelete: Keep}, "Trash", true)},
		{`on_remote_delete = "keep"`, world1(Policy{OnRemoteDelete: KeepFile}, "Trash", true)},
		{"no Trash folder", world1(Policy{}, "", true)},
		{"folders are labels", labels1()},
		{"no UIDPLUS", world1(Policy{OnLocalDelete: Expunge}, "Trash", false)},
	}
	var b strings.Builder
	b.WriteString(`# What mailtwin decides

This table is made from the code by ` + "`go test ./conflict -update`" + `, and the tests hold
the code to it. A message is looked at by what base, the last agreement of both
sides, says of it, and by what has become of it on each side since. A row stands for
all policies that are not named in a row of their own with the same changes.
Pending messages are shown at a time when they are due.

Moved messages, renamed folders, large removals (which are held back until you consent) and messages
that are new on both sides are decided on top of this table; see docs/design.md.

| in base | here | on the server | policy | what is done | flags after | why |
|---|---|---|---|---|---|---|
`)
	for _, s := range situations {
		for _, l := range changes {
			for _, r := range changes {
				if !possible(s.row, l.change, r.change) {
					continue
				}
				usual := ""
				for _, p := range policies {
					item := &Item{Folder: mail.Inbox, Row: s.row, Local: l.change, Remote: r.change, Due: true}
					if l.change == Flags || l.change == New {
						item.File = mail.File{Key: "k", Name: "k", Flags: l.flags}
					}
					if r.change == Flags || r.change == New {
						item.Message = mail.Message{UID: 1, Flags: r.flags}
					}
					cell := describe(Make([]*Item{item}, p.w))
					if usual == "" {
						usual = cell
					} else if cell == usual {
						continue
					}
					fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", s.name, l.name, r.name, p.name, cell)
				}
			}
		}
	}
	return b.String()
}

func world1(p Policy, trash mail.Folder, canExpunge bool) World {
	return World{
		Folders: map[mail.Folder]FolderInfo{mail.Inbox: {Policy: p, Access: anything}},
		Trash:   trash, CanExpunge: canExpunge,
	}
}

// labels1 is a world in which folders are labels.
func labels1() World {
	w := world1(Policy{}, "Trash", true)
	info := w.Folders[mail.Inbox]
	info.Labels = true
	w.Folders[mail.Inbox] = info
	return w
}

// possible leaves out what cannot be: a change of what is not there.
func possible(row *mail.Row, local, remote Change) bool {
	if row == nil {
		return (local == New || local == Same) && (remote == New || remote == Same) && local != remote ||
			local == New && remote == New
	}
	if local == New || remote == New {
		return false
	}
	if row.Key == "" && local != Same || row.UID == 0 && remote != Same {
		return false
	}
	return row.State != mail.Held || row.Gone == mail.Local && local == Gone && remote != Gone ||
		row.Gone == mail.Remote && remote == Gone && local != Gone || local == Same && remote == Same
}

func describe(p Plan) string {
	if len(p.Actions) == 0 {
		return "nothing | | "
	}
	a := p.Actions[0]
	what := a.Kind.String()
	switch {
	case a.Kind == MoveToTrash:
		what += " " + string(a.Target)
	case a.Kind == Agree && a.Rename:
		what += ", rename the file"
	}
	if !a.Add.Empty() {
		what += ", +" + a.Add.String()
	}
	if !a.Remove.Empty() {
		what += ", -" + a.Remove.String()
	}
	for _, d := range p.Decisions {
		what += "; recorded: " + d.What
	}
	return fmt.Sprintf("%s | %s | %s", what, a.Flags, a.Why)
}

// What base knows of a file that is on this side only is not noted again, although the file's name,
// in new/, says less than its flags are: each sync would have something to do.
func TestWhatIsKnownIsNotNotedAgain(t *testing.T) {
	name := mail.File{Key: "k", Name: "k", New: true, Flags: mail.Flags{System: mail.Flagged}}
	for _, state := range []mail.State{mail.Parted, mail.Pending} {
		item := func(known bool) *Item {
			row := &mail.Row{ID: 1, Key: "k", Name: "k", New: known, State: state, Flags: name.Flags, Why: "as before"}
			return &Item{Folder: mail.Inbox, Row: row, File: name, Relabel: true}
		}
		w := world1(Policy{}, "Trash", true)
		if plan := Make([]*Item{item(false)}, w); len(plan.Actions) != 1 || plan.Actions[0].Kind != Note {
			t.Errorf("%v: a file that has gone to new/: %+v", state, plan.Actions)
		}
		if plan := Make([]*Item{item(true)}, w); len(plan.Actions) != 0 {
			t.Errorf("%v: it is known to be there, and yet: %+v", state, plan.Actions)
		}
	}
}
