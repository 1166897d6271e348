package conflict

import (
	"testing"

	"mailtwin/conflict/mail"
)

// TestWhatAServerDoesNotKeepStaysADifference: it is asked neither to set it nor to take
// it away, base stays true to both sides, and the rest of the change is made.
func TestWhatAServerDoesNotKeepStaysADifference(t *testing.T) {
	flags := func(names ...string) mail.Flags { return mail.ParseFlags(names) }
	only := mail.Access{Settable: flags(`\Seen`, `\Flagged`)}
	for name, c := range map[string]struct {
		access           mail.Access
		base, here       mail.Flags
		add, remove, now mail.Flags
	}{
		"a keyword is set":               {only, flags(`\Seen`), flags(`\Flagged`, "Work"), flags(`\Flagged`), flags(`\Seen`), flags(`\Flagged`)},
		"a keyword is taken away":        {only, flags("Work", "Play"), flags(`\Seen`), flags(`\Seen`), flags(), flags(`\Seen`, "Work", "Play")},
		"one that it has already":        {mail.Access{Settable: flags(`\Seen`, "Work")}, flags("Work", "Play"), flags(), flags(), flags("Work"), flags("Play")},
		"system flags":                   {mail.Access{NewKeywords: true}, flags(`\Seen`, "Work"), flags(`\Answered`, "Play"), flags("Play"), flags("Work"), flags(`\Seen`, "Play")},
		"what it keeps is not kept back": {anything, flags(`\Seen`, "Work"), flags("Play"), flags("Play"), flags(`\Seen`, "Work"), flags("Play")},
	} {
		w := world1(Policy{}, "Trash", true)
		info := w.Folders[mail.Inbox]
		info.Access = c.access
		w.Folders[mail.Inbox] = info
		item := func(base mail.Flags) *Item {
			return &Item{
				Folder: mail.Inbox, Row: &mail.Row{ID: 1, Key: "k", UID: 1, Name: "k", Flags: base},
				Local: Flags, File: mail.File{Key: "k", Name: "k", Flags: c.here},
			}
		}
		plan := Make([]*Item{item(c.base)}, w)
		if len(plan.Actions) != 1 {
			t.Errorf("%s: %v", name, plan.Actions)
			continue
		}
		a := plan.Actions[0]
		if !a.Add.Equal(c.add) || !a.Remove.Equal(c.remove) || !a.Base.Equal(c.now) || a.Rename {
			t.Errorf("%s: +%v -%v, and base is %v; want +%v -%v, %v", name, a.Add, a.Remove, a.Base, c.add, c.remove, c.now)
		}
		if again := Make([]*Item{item(c.now)}, w).Actions; len(again) != 0 {
			t.Errorf("%s: then it does %+v", name, again)
		}
	}
}

// TestWhatMovedAndMayNotBeCarriedOverIsNewWhereItWent: it is gone where base has it, on both
// sides, and no later plan has to wonder about it.
func TestWhatMovedAndMayNotBeCarriedOverIsNewWhereItWent(t *testing.T) {
	for direction, to := range map[Direction]*Item{
		Pull: {Folder: "Lists", Local: New, File: mail.File{Key: "k2", Name: "k2"}},
		Push: {Folder: "Lists", Remote: New, Message: mail.Message{UID: 9}},
	} {
		for _, row := range []mail.Row{
			{ID: 1, Key: "k", UID: 1, Name: "k"},
			{ID: 1, Key: "k", UID: 1, Name: "k", State: mail.Held, Gone: mail.Remote, Why: "more than half"},
		} {
			w := world1(Policy{}, "Trash", true)
			w.Folders["Lists"] = FolderInfo{Policy: Policy{Direction: direction}}
			item := &Item{Folder: mail.Inbox, Row: &row, Local: Gone, Remote: Gone}
			item.Follow(to, 2)
			plan := Make([]*Item{item}, w)
			if len(plan.Actions) != 1 || plan.Actions[0].Kind != Drop || len(plan.Decisions) != 0 {
				t.Errorf("direction %v, %v: %+v", direction, row.State, plan)
			}
		}
	}
}
