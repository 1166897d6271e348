package conflict

import "mailtwin/conflict/mail"

// Follow makes an item that is gone on both sides, and was moved on one, one that is
// where it was moved to, in the folder with that ID, and gone on the other side; so
// that what was moved can be decided about as what was not. It gives the end that it
// takes in. What was thrown away there is no move.
func (i *Item) Follow(to *Item, folder mail.FolderID) {
	row := *i.Row
	row.Folder, row.State = folder, mail.Settled
	i.Origin, i.Folder, i.Followed = i.Folder, to.Folder, true
	i.Row, i.Moved, to.From = &row, nil, nil
	if to.Local == New {
		row.TakeFile(to.Identity)
		row.UID, row.Key, row.Name, row.New = 0, to.File.Key, to.File.Name, to.File.New
		i.File, i.Stat, i.Relabel, i.Local, i.Remote = to.File, to.Stat, to.Relabel, Same, Gone
		if !to.File.Flags.Equal(row.Flags) {
			i.Local = Flags
		}
	} else {
		row.Key, row.Name, row.New, row.UID = "", "", false, to.Message.UID
		i.Message, i.Local, i.Remote = to.Message, Gone, Same
		if !to.Message.Flags.Equal(row.Flags) {
			i.Remote = Flags
		}
	}
}

// FollowMoved follows the items that are gone on both sides and moved on this one,
// and gives the files that they take in. id gives the ID of a folder.
func FollowMoved(gone []*Item, id func(mail.Folder) mail.FolderID) (taken []*Item) {
	for _, g := range gone {
		to := g.Moved
		if to == nil || !g.Vanished() || to.Local != New || to.Remote == New || id(to.Folder) == 0 {
			continue
		}
		g.Follow(to, id(to.Folder))
		taken = append(taken, to)
	}
	return taken
}

// Vanished tells whether a message that was in step is gone on both sides.
func (i *Item) Vanished() bool {
	return i.Local == Gone && i.Remote == Gone && i.Row != nil && i.Row.State == mail.Settled
}
