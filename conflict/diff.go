package conflict

import (
	"iter"
	"slices"

	"mailtwin/conflict/mail"
)

// Change is what happened to a message on one side since base.
type Change uint8

// The changes. A message that is not in base is New where it is, and Same where it
// is not.
const (
	Same  Change = iota
	Flags        // its flags or keywords are others
	Gone         // it is no longer there
	New          // it was not there
)

func (c Change) String() string { return [...]string{"same", "flags", "gone", "new"}[c] }

// LocalChange is what a scan of a folder found out about one file.
type LocalChange struct {
	Change Change
	Known  mail.Known // zero if New
	Row    mail.Row   // of what is Known; DiffLocal leaves it to the caller to look it up
	File   mail.File  // zero if Gone
	// Flags are what the file says in the light of base: see FlagsOf. Those of a new
	// file are its own.
	Flags mail.Flags
	// Doubt: the file has another inode than base knows, so that its content must be
	// compared before it counts as the same message.
	Doubt bool
	// Relabel: the file's name lacks flags that it keeps, since it stands in new/ or the
	// folder has no letter for them yet.
	Relabel bool
}

// DiffLocal joins what base knows of the files of a folder with those of a scan, both in
// ascending order of their keys, and yields what differs, also a mere change of name or place
// (as Same), since base knows a file by its exact name, and one in new/ that is to say more. An
// error of what is known ends it.
func DiffLocal(known iter.Seq2[mail.Known, error], files iter.Seq[mail.File], letters mail.Letters) iter.Seq2[LocalChange, error] {
	return func(yield func(LocalChange, error) bool) {
		next, stop := iter.Pull(files)
		defer stop()
		file, more := next()
		for was, err := range known {
			if err != nil {
				yield(LocalChange{}, err)
				return
			}
			for more && file.Key < was.Key {
				if !yield(LocalChange{Change: New, File: file, Flags: file.Flags}, nil) {
					return
				}
				file, more = next()
			}
			var c LocalChange
			if !more || file.Key > was.Key {
				c = LocalChange{Change: Gone, Known: was}
			} else {
				c = compareFile(was, file, letters)
				file, more = next()
				if !c.differs() {
					continue
				}
			}
			if !yield(c, nil) {
				return
			}
		}
		for more {
			if !yield(LocalChange{Change: New, File: file, Flags: file.Flags}, nil) {
				return
			}
			file, more = next()
		}
	}
}

// differs tells whether a file that base knows is not in every way as base has it.
func (c *LocalChange) differs() bool {
	return c.Change != Same || c.Doubt || c.Relabel || c.File.Name != c.Known.Name || c.File.New != c.Known.New
}

func compareFile(was mail.Known, file mail.File, letters mail.Letters) LocalChange {
	c := LocalChange{Known: was, File: file, Flags: FlagsOf(file, was.Flags, letters)}
	if !c.Flags.Equal(was.Flags) {
		c.Change = Flags
	}
	c.Relabel = file.New && !c.Flags.Equal(file.Flags) || lacksLetter(c.Flags, letters)
	c.Doubt = file.Inode != 0 && was.Inode != 0 && file.Inode != was.Inode
	return c
}

// lacksLetter tells whether a keyword has no letter although there are some to be had.
func lacksLetter(flags mail.Flags, letters mail.Letters) bool {
	return slices.ContainsFunc(flags.Keywords.List(), func(word string) bool {
		return LetterOf(letters, word) < 0 && slices.Contains(letters[:], "")
	})
}

// FlagsOf tells which flags a file stands for, in the light of what base says.
//
// A keyword without a letter cannot be in a name, so base's word for it stands. In
// new/ there is by convention no flag at all, and readers drop flags found there;
// mutt puts a message back there when it is marked unread. So what stands in new/ is
// not \Seen unless its name says so, and else the name only adds flags.
func FlagsOf(file mail.File, base mail.Flags, letters mail.Letters) mail.Flags {
	flags := file.Flags
	if file.New {
		return base.Without(mail.Flags{System: mail.Seen}).With(flags)
	}
	for _, word := range base.Keywords.List() {
		if LetterOf(letters, word) < 0 {
			flags.Keywords = flags.Keywords.With(mail.NewKeywords(word))
		}
	}
	return flags
}

// RemoteChange is what a scan of a folder found out about one message.
type RemoteChange struct {
	Change  Change
	Row     *mail.Row    // nil if New
	Message mail.Message // zero if Gone
}

// kept gives a row of its own; most rows are the same on both sides, and are not kept.
func kept(row mail.Row) *mail.Row { return &row }

// DiffRemote joins the rows of a folder that have a UID with the messages that a
// scan visited, both in ascending order of UIDs, and yields what differs, also what is
// merely listed otherwise than base knows it (as Same). Rows that were not visited are
// Gone if the scan was a full one, and as yet unknown if not. An error of either side
// ends it.
func DiffRemote(rows iter.Seq2[mail.Row, error], messages iter.Seq2[mail.Message, error], full bool) iter.Seq2[RemoteChange, error] {
	return func(yield func(RemoteChange, error) bool) {
		next, stop := iter.Pull2(rows)
		defer stop()
		row, err, more := next()
		// missing passes over the rows below uid, and tells whether to go on.
		missing := func(below uint64) bool {
			for more && err == nil && uint64(row.UID) < below {
				if full && !yield(RemoteChange{Change: Gone, Row: kept(row)}, nil) {
					return false
				}
				row, err, more = next()
			}
			if err != nil {
				yield(RemoteChange{}, err)
				return false
			}
			return true
		}
		for m, failed := range messages {
			if failed != nil {
				yield(RemoteChange{}, failed)
				return
			}
			if !missing(uint64(m.UID)) {
				return
			}
			c := RemoteChange{Change: New, Message: m}
			if more && row.UID == m.UID {
				c.Change = Flags
				if m.Flags.Equal(row.Flags) {
					c.Change = Same
				}
				// What was uploaded comes back for the first time: base is to know a message
				// that the server has rewritten by the size that it has now, and its EMAILID.
				same := c.Change == Same && row.KnowsListed(m)
				if !same {
					c.Row = kept(row)
				}
				row, err, more = next()
				if same {
					continue
				}
			}
			if !yield(c, nil) {
				return
			}
		}
		missing(1 << 32)
	}
}
