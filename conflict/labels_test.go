package conflict

import (
	"testing"

	"mailtwin/conflict/mail"
)

func TestWhatIsRemovedWhereFoldersAreLabels(t *testing.T) {
	gmail := World{
		Folders: map[mail.Folder]FolderInfo{
			"INBOX": {Role: mail.RoleInbox}, "Work": {}, "Sent": {Role: mail.RoleSent}, "Starred": {Role: mail.RoleFlagged},
			"All": {Role: mail.RoleAll}, "Drafts": {Role: mail.RoleDrafts}, "Spam": {Role: mail.RoleJunk}, "Trash": {Role: mail.RoleTrash},
		},
		Trash: "Trash", CanExpunge: true, CanMove: true,
	}
	for _, c := range []struct {
		policy OnLocalDelete
		want   map[mail.Folder]Kind
	}{
		{Trash, map[mail.Folder]Kind{
			"INBOX": ExpungeRemote, "Work": ExpungeRemote, "Sent": ExpungeRemote, "Starred": ExpungeRemote,
			"All": MoveToTrash, "Drafts": MoveToTrash, "Spam": MoveToTrash, "Trash": ExpungeRemote,
		}},
		{Expunge, map[mail.Folder]Kind{
			"INBOX": ExpungeRemote, "Work": ExpungeRemote, "Sent": ExpungeRemote, "Starred": ExpungeRemote,
			"All": MoveToTrash, "Drafts": ExpungeRemote, "Spam": ExpungeRemote, "Trash": ExpungeRemote,
		}},
		{Keep, map[mail.Folder]Kind{
			"INBOX": Part, "Work": Part, "Sent": Part, "Starred": Part,
			"All": Part, "Drafts": Part, "Spam": Part, "Trash": Part,
		}},
	} {
		for folder, want := range c.want {
			info := gmail.Folders[folder]
			info.Labels, info.Access, info.Policy.OnLocalDelete = true, anything, c.policy
			gmail.Folders[folder] = info
			plan := Make([]*Item{{Folder: folder, Row: &mail.Row{ID: 1, UID: 1, Key: "k"}, Local: Gone}}, gmail)
			if len(plan.Actions) != 1 || plan.Actions[0].Kind != want {
				t.Errorf("on_local_delete %d, %s: %v, want %s", c.policy, folder, plan.Actions, want)
			}
		}
	}
}

func TestNothingLeavesAllMailButForTrashAndJunk(t *testing.T) {
	for target, want := range map[mail.Folder][]Kind{
		"Work": {Download, Upload}, "Trash": {MoveRemote}, "Spam": {MoveRemote}, "Bin": {MoveRemote},
	} {
		info := FolderInfo{Labels: true, Access: anything}
		all, trash, spam := info, info, info
		all.Role, trash.Role, spam.Role = mail.RoleAll, mail.RoleTrash, mail.RoleJunk
		w := World{
			Folders: map[mail.Folder]FolderInfo{"All": all, "Work": info, "Trash": trash, "Spam": spam, "Bin": info},
			Trash:   "Bin", CanExpunge: true, CanMove: true,
		}
		from := &Item{Folder: "All", Row: &mail.Row{ID: 1, UID: 1, Key: "k"}, Local: Gone}
		to := &Item{Folder: target, Local: New, File: mail.File{Key: "n", Name: "n"}, From: from}
		from.Moved = to
		plan := Make([]*Item{from, to}, w)
		var got []Kind
		for _, a := range plan.Actions {
			got = append(got, a.Kind)
		}
		if len(got) != len(want) || got[0] != want[0] || got[len(got)-1] != want[len(want)-1] {
			t.Errorf("moved to %s: %v, want %v", target, got, want)
		}
	}
}

func TestASecondFile(t *testing.T) {
	info := FolderInfo{Labels: true, Access: anything}
	one, other := identity(1), identity(2)
	file := mail.File{Key: "n", Name: "n:2,FRT", Flags: mail.ParseFlags([]string{`\Flagged`, `\Answered`, `\Deleted`, "work"})}
	base := mail.ParseFlags([]string{`\Seen`, `\Answered`, "home"})
	for name, c := range map[string]struct {
		info FolderInfo
		row  mail.Row
		id   mail.Identity
		want Kind
	}{
		"the same content":               {info, mail.Row{Key: "k", Identity: one}, one, RemoveLocal},
		"another content":                {info, mail.Row{Key: "k", Identity: one}, other, Part},
		"of a content that is not known": {info, mail.Row{Key: "k"}, mail.Identity{}, Part},
		"the first has no file":          {info, mail.Row{Identity: one}, one, Agree},
		"nothing is to be written here":  {FolderInfo{Labels: true, Access: anything, Policy: Policy{Direction: Push}}, mail.Row{Key: "k", Identity: one}, one, Part},
	} {
		c.row.Flags = mail.Flags{System: mail.Draft}
		a := c.info.Second(c.row, file, base, c.id)
		if a.Kind != c.want {
			t.Errorf("%s: %s, want %s", name, a.Kind, c.want)
		}
		if a.Kind == RemoveLocal && (!a.Add.Equal(mail.Flags{System: mail.Flagged}) || !a.Remove.Equal(mail.Flags{System: mail.Seen})) {
			t.Errorf("%s: +%v -%v, want what was changed about it", name, a.Add, a.Remove)
		}
	}
}

func TestACopyIsMadeOfWhatStaysWhereItIs(t *testing.T) {
	for _, labels := range []bool{true, false} {
		info := FolderInfo{Labels: labels}
		trash := info
		trash.Role = mail.RoleTrash
		w := World{Folders: map[mail.Folder]FolderInfo{"Trash": trash, "Work": info}, Trash: "Trash"}
		got := w.Sources([]*Item{{Folder: "Trash"}, {Folder: "Work"}})
		if first := got[0].Folder; labels != (first == "Work") {
			t.Errorf("labels %v: a copy of what is in %s", labels, first)
		}
	}
}
