package sync

import (
	"context"
	"errors"
	"maps"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// agree makes files have the flags that both sides are to have, and settles the rows. left are
// those whose messages do not have them; secured, that the names are durable which programs have
// given to files.
func (r *run) agree(ctx context.Context, f *folder, actions []*conflict.Action, left map[*conflict.Action]bool, secured bool) error {
	if len(actions) == 0 {
		return nil
	}
	letters, err := r.lettersFor(ctx, f, wordsOf(actions))
	if err != nil {
		return err
	}
	batch := &mail.Batch{}
	var met []mail.File // that base did not know
	renamed, noticed := false, false
	for _, a := range actions {
		file := fileOf(a.Item)
		if a.Rename {
			if file, err = r.Local.Reflag(ctx, f.name, file, a.Flags, letters); errors.Is(err, mail.ErrGone) {
				// A reader was quicker; what it did is merged in the next round. The server has
				// taken over what the file said, and base must say so: else that would come back
				// as a change of the server's, and undo what the reader did.
				r.dirty(f, mail.Local)
				r.leave(f)
				if !left[a] {
					row := r.settled(f, a, fileOf(a.Item))
					row.Flags = a.BaseUnrenamed()
					r.pushed(row, a)
					batch.PutRows = append(batch.PutRows, row)
				}
				continue
			} else if err != nil {
				return err
			}
			renamed = true
			r.count(func(rep *Report) { rep.Local.Flags++ })
		}
		row := r.settled(f, a, file)
		if left[a] {
			// What the message had. What was pushed before may be missing all the more where it
			// has moved to.
			row.Flags = a.Flags.Without(a.Add).With(a.Remove)
		} else {
			r.pushed(row, a)
		}
		batch.PutRows = append(batch.PutRows, row)
		if a.Item.Local == conflict.New {
			met = append(met, file)
		}
		if from := a.Item.From; from != nil && r.dropNow(from.Row) {
			batch.DropRows = append(batch.DropRows, from.Row.ID) // it moved alike on both sides
		}
		noticed = noticed || notices(a)
		r.arrive(a.Item)
	}
	if renamed {
		r.wrote(f)
		r.changed(f)
	}
	if renamed || noticed && !secured {
		// Nor must a file have its old name back when the power goes, once base says that a
		// program has given it another one: see secureGone.
		if err := r.Local.SyncFolder(ctx, f.name); err != nil {
			return err
		}
	}
	if err := r.secure(ctx, f, met); err != nil {
		return err
	}
	return r.commit(ctx, batch)
}

// notices tells whether an action takes over which name a program has given to a file.
func notices(a *conflict.Action) bool { return a.Item.Local == conflict.Flags }

// settled makes the row of a message that both sides have.
func (r *run) settled(f *folder, a *conflict.Action, file mail.File) *mail.Row {
	row := &mail.Row{Folder: f.base.ID}
	if a.Item.Row != nil {
		*row = *a.Item.Row
	} else {
		row.Key, row.Identity = file.Key, a.Item.Identity
		if a.Item.Source != nil {
			row.CopyOf = a.Item.Source.Row.ID
		}
	}
	if a.Item.Row != nil && a.Item.Identity.Digest != (mail.Digest{}) {
		row.TakeFile(a.Item.Identity)
	}
	m := a.Item.Message
	if a.Item.Remote == conflict.New {
		row.UID, row.Date, row.EmailID = m.UID, m.Date, ""
		row.RemoteDigest = a.Item.Given
	}
	row.Listed(m)
	row.State, row.Why, row.Tries, row.RetryAt = mail.Settled, "", 0, time.Time{}
	row.Flags, row.Key, row.Name, row.New = a.Base, file.Key, file.Name, file.New
	if a.Item.Stat != (mail.Stat{}) {
		row.Stat = a.Item.Stat
	}
	if a.Item.Remote != conflict.Same {
		row.ForgetPushed() // the server has just told what it has
	}
	return row
}

// pushed takes in that the message has met what the action changes on the server.
func (r *run) pushed(row *mail.Row, a *conflict.Action) {
	if stores(a) {
		row.Pushed, row.PushedAt = row.Pushed.With(a.Add).With(a.Remove), r.Now().Truncate(time.Second)
	}
}

// fileOf is the file of an item under the exact name that it had when it was seen
// last.
func fileOf(i *conflict.Item) mail.File {
	if i.File.Name != "" {
		return i.File
	}
	return mail.File{Key: i.Row.Key, Name: i.Row.Name, New: i.Row.New, Flags: i.Row.Flags}
}

// change is one change of flags on the server, and whose messages get it.
type change struct {
	mail.FlagChange
	actions []*conflict.Action
}

// apart gives the change as one of system flags and one of keywords, and nil where it
// is but one of the two.
func (c *change) apart() []*change {
	system, keywords := *c, *c
	system.Add.Keywords, system.Remove.Keywords = "", ""
	keywords.Add.System, keywords.Remove.System = 0, 0
	for _, part := range []change{system, keywords} {
		if part.Add.Empty() && part.Remove.Empty() {
			return nil
		}
	}
	return []*change{&system, &keywords}
}

// stores tells whether an action changes flags on the server.
func stores(a *conflict.Action) bool { return !a.Add.Empty() || !a.Remove.Empty() }

// changesOf gives the changes of flags on the server that actions ask for, those that are
// alike as one.
func changesOf(actions []*conflict.Action) []*change {
	type flags struct{ add, remove mail.Flags }
	alike := map[flags]*change{}
	var all []*change
	for _, a := range actions {
		c := alike[flags{a.Add, a.Remove}]
		if c == nil {
			c = &change{FlagChange: mail.FlagChange{Add: a.Add, Remove: a.Remove}}
			alike[flags{a.Add, a.Remove}] = c
			all = append(all, c)
		}
		c.UIDs.Add(a.Item.UID())
		c.actions = append(c.actions, a)
	}
	return all
}

// stored takes in what became of changes of flags, and tells of which messages base must not
// say that they have them: they were refused, or may not have met the message, since one that
// has left the folder is passed over. The next round tells. A server that has had enough of
// keywords must not keep a message from being read.
func (r *run) stored(ctx context.Context, f *folder, todo []*change) (map[*conflict.Action]bool, error) {
	left, stored, met := map[*conflict.Action]bool{}, map[*conflict.Action]bool{}, map[mail.UID]bool{}
	for len(todo) > 0 {
		c := todo[0]
		todo = todo[1:]
		maps.Copy(met, c.Met)
		if errors.Is(c.Err, mail.ErrRefused) {
			if parts := c.apart(); parts != nil {
				for _, part := range parts {
					part.Err = r.store(ctx, f, &part.FlagChange)
				}
				todo = append(todo, parts...)
				continue
			}
			for _, a := range c.actions {
				left[a] = true
			}
			r.refuse(f, c.Err, "it is tried again in the next sync")
			continue
		}
		if c.Err != nil {
			return nil, c.Err
		}
		before := len(stored)
		for _, a := range c.actions {
			stored[a] = true
			if !met[a.Item.UID()] {
				left[a] = true
				r.dirty(f, mail.Local)
				r.leave(f)
			}
		}
		r.count(func(rep *Report) { rep.Remote.Flags += len(stored) - before })
	}
	return left, nil
}

// lettersFor gives the folder's letters, with one for each of the words as long as
// there are any. It must be asked before a file name, or base, first has a word:
// that a name lacks a keyword says something only if the keyword has a letter.
func (r *run) lettersFor(ctx context.Context, f *folder, words mail.Keywords) (mail.Letters, error) {
	f.lettering.Lock()
	defer f.lettering.Unlock()
	letters, given := conflict.AssignLetters(f.letters, words)
	if !given {
		return f.letters, nil
	}
	if err := r.Local.SetLetters(ctx, f.name, letters); err != nil {
		return f.letters, err
	}
	f.letters = letters
	r.dirty(f, mail.Local)
	return letters, nil
}

// wordsOf gives the keywords that file names, or base, will have after the actions.
func wordsOf(actions []*conflict.Action) mail.Keywords {
	words := mail.Keywords("")
	for _, a := range actions {
		words = words.With(a.Flags.Keywords).With(a.Base.Keywords)
	}
	return words
}
