package conflict

import (
	"slices"

	"mailtwin/conflict/mail"
)

// DiffLooked compares files that were looked at one by one, in ascending order of their keys, with
// base's rows of those keys, as DiffLocal compares all of a folder; rows are in that order, too. What
// was looked at are all names that files of these keys may have, those of the rows among them. It is
// not ok where only a scan can tell what has become of a message: one is gone, or has two files, or
// its file another inode; it waits for something; or its name has letters of which the meaning is
// not known.
func DiffLooked(rows []mail.Row, files []mail.File, letters mail.Letters) (changes []LocalChange, ok bool) {
	for len(rows) > 0 || len(files) > 0 {
		if len(files) == 0 || len(rows) > 0 && rows[0].Key < files[0].Key {
			return nil, false
		}
		file := files[0]
		if files = files[1:]; len(files) > 0 && files[0].Key == file.Key || meansNothing(file.Letters, letters) {
			return nil, false
		}
		if len(rows) == 0 || rows[0].Key != file.Key {
			changes = append(changes, LocalChange{Change: New, File: file, Flags: file.Flags})
			continue
		}
		row := rows[0]
		rows = rows[1:]
		c := compareFile(row.Known(), file, letters)
		if row.State != mail.Settled || c.Doubt {
			return nil, false
		}
		if c.Row = row; c.differs() {
			changes = append(changes, c)
		}
	}
	return changes, true
}

// meansNothing tells whether one of the letters of a name stands for no keyword.
func meansNothing(said string, letters mail.Letters) bool {
	return slices.ContainsFunc([]byte(said), func(c byte) bool { return letters[c-'a'] == "" })
}
