package conflict

import (
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// pairOf makes a message that is gone on the server and was flagged here, and a later one in
// another folder that looks like its copy.
func pairOf() (gone, copied *Item) {
	row := mail.Row{ID: 1, UID: 1, Key: "k", Identity: measured("text\n"), Date: time.Unix(100, 0), Flags: mail.Flags{System: mail.Seen}}
	other := row
	other.ID, other.UID, other.Flags = 2, 9, mail.Flags{System: mail.Seen | mail.Answered}
	flagged := mail.File{Key: "k", Name: "k:2,F", Flags: mail.Flags{System: mail.Flagged}}
	return &Item{Folder: "A", Row: &row, Local: Flags, File: flagged, Remote: Gone}, &Item{Folder: "B", Row: &other}
}

func TestWhereAMessageThatSeemedCopiedHasGone(t *testing.T) {
	for name, c := range map[string]struct {
		change func(gone, copied *Item)
		want   bool
	}{
		"moved there since":      {func(gone, _ *Item) { gone.Row.ID = 3 }, true},
		"the same":               {func(_, _ *Item) {}, true},
		"in the same folder":     {func(_, copied *Item) { copied.Folder = "A" }, true},
		"known before":           {func(_, copied *Item) { copied.Row.ID = 0 }, false},
		"where the file was":     {func(gone, _ *Item) { gone.Folder, gone.Origin = "C", "B" }, true},
		"where the file went":    {func(gone, _ *Item) { gone.Folder, gone.Origin = "B", "A" }, true},
		"gone as well":           {func(_, copied *Item) { copied.Remote = Gone }, false},
		"parted":                 {func(_, copied *Item) { copied.Row.State = mail.Parted }, false},
		"landing":                {func(_, copied *Item) { copied.Row.State = mail.Landing }, true},
		"of another date":        {func(_, copied *Item) { copied.Row.Date = time.Unix(101, 0) }, false},
		"of another content":     {func(_, copied *Item) { copied.Row.Digest[0]++ }, false},
		"of another size":        {func(_, copied *Item) { copied.Row.RemoteSize = 99 }, false},
		"rewritten":              {func(g, c *Item) { rewrite(g, c); g.Row.MessageID = "<1@x>" }, true},
		"rewritten, and unnamed": {func(g, c *Item) { rewrite(g, c) }, false},
	} {
		gone, copied := pairOf()
		c.change(gone, copied)
		moved := func(row mail.RowID) bool { return name == "moved there since" }
		if got := gone.Newest([]*Item{copied}, moved) != nil; got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// rewrite has the server give back other bytes than the file of gone has.
func rewrite(gone, copied *Item) {
	copied.Row.Digest[0]++
	copied.Row.Size += 10
	gone.Row.RemoteSize = copied.Row.Size
}

// The copy may have got another UID: the message is there all the same, and nothing else is.
func TestAMessageThatMovedOntoItsCopy(t *testing.T) {
	for _, renumbered := range []bool{false, true} {
		gone, copied := pairOf()
		if renumbered {
			copied.Remote, copied.Message = New, mail.Message{UID: 7, Flags: copied.Row.Flags}
		}
		movedOnto(t, gone, copied)
	}
}

func movedOnto(t *testing.T, gone, copied *Item) {
	gone.MoveOnto(copied, mail.File{Key: "k", Name: "k:2,RS"})
	w := World{Folders: map[mail.Folder]FolderInfo{}, CanExpunge: true, CanMove: true}
	for _, f := range []mail.Folder{"A", "B"} {
		w.Folders[f] = FolderInfo{Access: mail.Access{Settable: mail.Flags{System: 0xff}, NewKeywords: true}, Messages: 1}
	}
	plan := Make([]*Item{gone, copied}, w)
	if len(plan.Actions) != 2 || len(plan.Decisions)+len(plan.Held) > 0 {
		t.Fatalf("the plan is %+v", plan)
	}
	remove, agree := plan.Actions[0], plan.Actions[1]
	if remove.Kind != RemoveLocal || remove.Item != gone {
		t.Errorf("of the one: %v %s", remove.Kind, remove.Why)
	}
	want := mail.Flags{System: mail.Flagged | mail.Answered} // \Seen was taken away
	if agree.Kind != Agree || !agree.Rename || !agree.Flags.Equal(want) || !agree.Add.Equal(mail.Flags{System: mail.Flagged}) ||
		!agree.Remove.Equal(mail.Flags{System: mail.Seen}) {
		t.Errorf("of the other: %+v", agree)
	}
}

// What has become another message on the server goes for good. But where it is not where base has
// it, it may be another copy that is on its way there: it goes to Trash.
func TestWhatMovedIsExpungedOnlyWhereBaseHasIt(t *testing.T) {
	w := World{Folders: map[mail.Folder]FolderInfo{"A": {}}, Trash: "Trash", CanExpunge: true}
	for origin, want := range map[mail.Folder]Kind{"": ExpungeRemote, "B": MoveToTrash} {
		i := &Item{Folder: "A", Origin: origin, Local: Gone, Row: &mail.Row{ID: 1, UID: 5}, Moved: &Item{Folder: "C", Row: &mail.Row{ID: 2}}}
		if a, _ := goneLocal(i, w); a.Kind != want {
			t.Errorf("origin %q: %v, want %v", origin, a.Kind, want)
		}
	}
}
