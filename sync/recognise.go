package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// whereLocally tells which folders of base the Maildir has under which other names.
// Names that are new, and directories that are not those of the last run, are all
// that is looked at: their markers tell which folder each was.
func (r *run) whereLocally(ctx context.Context, known []*folder) (map[mail.Folder]mail.Folder, error) {
	var seen []conflict.Likeness
	lost := map[string]*folder{} // by the ids of their markers
	for _, f := range known {
		if f.base.Marker.Folder != "" && (!f.onLocal || !f.stamp.SameDirectory(f.base.Local)) {
			lost[f.base.Marker.Folder] = f
		}
		if at := r.wentAlong(mail.Local, f); at != nil && at.onLocal && !f.onLocal {
			seen = append(seen, conflict.Likeness{Was: f.name, Is: at.name, SameID: true})
		}
	}
	if len(lost)+len(seen) == 0 {
		return nil, nil
	}
	for _, o := range r.allFolders() {
		if !o.onLocal || !o.selected || o.base.ID != 0 && o.stamp.SameDirectory(o.base.Local) {
			continue
		}
		marker, err := r.Local.Marker(ctx, o.name)
		if err != nil {
			// It may be one of them, and must not be made on the server as a new one.
			if err := r.fail(o, err); err != nil {
				return nil, err
			}
			continue
		}
		if f := lost[marker.Folder]; f != nil {
			seen = append(seen, conflict.Likeness{Was: f.name, Is: o.name, SameID: true, SamePlace: o.stamp.SameDirectory(f.base.Local)})
		}
	}
	return conflict.Recognise(seen), nil
}

// wentAlong gives the folder that f must be by now if it went along with the one that
// it lay in; nil if there is none.
func (r *run) wentAlong(side mail.Side, f *folder) *folder {
	if at, ok := r.renames.along[side][f.base.ID]; ok {
		return r.folders[at]
	}
	return nil
}

// whereOnServer tells which folders of base the server has under which other names. It
// costs nothing unless a folder is gone, or has the number of another one, while a new
// one is there.
func (r *run) whereOnServer(ctx context.Context, known []*folder) (map[mail.Folder]mail.Folder, error) {
	renumbered := func(f *folder) bool {
		was, is := f.base.Remote.UIDValidity, r.onServer[f.name].Status.UIDValidity
		return f.onRemote && was != 0 && is != 0 && was != is
	}
	var lost, others []*folder
	var seen []conflict.Likeness
	numbers := map[uint32]bool{} // of the lost ones
	for _, f := range known {
		if at := r.wentAlong(mail.Remote, f); at != nil && at.onRemote && !f.onRemote {
			seen = append(seen, conflict.Likeness{Was: f.name, Is: at.name, SameID: true})
		} else if !f.onRemote || renumbered(f) {
			lost = append(lost, f)
			numbers[f.base.Remote.UIDValidity] = true
		}
	}
	for _, o := range r.allFolders() {
		// Of those that base knows by their names, and that have no MAILBOXID, only such can
		// be another one that have the number of another one: else a server that numbers
		// all anew would make each be compared with each.
		if o.onRemote && o.selected && o.name != mail.Inbox &&
			(o.base.ID == 0 || renumbered(o) && (o.base.MailboxID != "" || numbers[r.onServer[o.name].Status.UIDValidity])) {
			others = append(others, o)
		}
	}
	if len(lost) == 0 || len(others) == 0 {
		return conflict.Recognise(seen), nil
	}
	told := make(map[*folder]mail.RemoteFolder, len(others))
	for _, o := range others {
		likenesses, err := r.compare(ctx, o, lost, told)
		if err := r.passOver(o, err); err != nil {
			return nil, err
		}
		seen = append(seen, likenesses...)
	}
	// Where neither id nor numbers tell, the server may have numbered a folder anew.
	found := conflict.Recognise(seen)
	for _, o := range others {
		if _, is := key(found, o.name); is || o.base.ID != 0 || told[o].Status.Messages == 0 {
			continue
		}
		likenesses, err := r.compareNew(ctx, o, told[o], slices.DeleteFunc(slices.Clone(lost), func(f *folder) bool {
			_, is := found[f.name]
			return is || f.onRemote || f.base.MailboxID != "" && told[o].MailboxID != ""
		}))
		if err := r.passOver(o, err); err != nil {
			return nil, err
		}
		seen = append(seen, likenesses...)
	}
	return conflict.Recognise(seen), nil
}

// passOver lets a folder go that could not be compared, unless the run ends with that.
func (r *run) passOver(o *folder, err error) error {
	if err != nil && !ends(err) {
		r.Log.Info("folder cannot be compared", "account", r.Account, "folder", string(o.name), "error", err)
		return nil
	}
	return err
}

// compare looks which of the lost folders one of the server's could be, by their ids
// and else by the numbers of their messages.
func (r *run) compare(ctx context.Context, o *folder, lost []*folder, told map[*folder]mail.RemoteFolder) ([]conflict.Likeness, error) {
	now, err := r.Remote.Examine(ctx, o.name)
	if err != nil {
		return nil, err
	}
	told[o] = now
	var seen []conflict.Likeness
	for _, f := range lost {
		l := conflict.Likeness{Was: f.name, Is: o.name, Has: int(now.Status.Messages)}
		switch {
		case f.base.MailboxID != "" && now.MailboxID != "":
			if l.SameID = f.base.MailboxID == now.MailboxID; l.SameID {
				return []conflict.Likeness{l}, nil
			}
			l.OtherID = true
		case now.Status.UIDValidity != f.base.Remote.UIDValidity || l.Has == 0,
			now.Status.UIDNext != 0 && now.Status.UIDNext < f.base.Remote.UIDNext:
			continue
		default:
			l.SameNumbers = true
			if err := r.compareByUID(ctx, o, f, &l); err != nil {
				return nil, err
			}
		}
		seen = append(seen, l)
	}
	return seen, nil
}

// compareNew looks which of the lost folders a new one could be whose messages have
// other numbers.
func (r *run) compareNew(ctx context.Context, o *folder, now mail.RemoteFolder, lost []*folder) ([]conflict.Likeness, error) {
	var seen []conflict.Likeness
	var sample []mail.Identified
	for _, f := range lost {
		l := conflict.Likeness{Was: f.name, Is: o.name, Has: int(now.Status.Messages)}
		var err error
		if l.Had, _, err = r.State.Count(ctx, f.base.ID); err != nil {
			return nil, fmt.Errorf("read the state: %w", err)
		}
		if now.Status.UIDValidity == f.base.Remote.UIDValidity || !l.Plausible() {
			continue
		}
		if sample == nil {
			if sample, err = r.sample(ctx, o, l.Had); err != nil {
				return nil, err
			}
		}
		if err := r.compareByContent(ctx, sample, f, &l); err != nil {
			return nil, err
		}
		seen = append(seen, l)
	}
	return seen, nil
}

// samples is how many messages are asked for to know a folder by. Their headers cost
// a few kilobytes.
const samples = 16

// spread picks some UIDs from all over a set, the first and the last among them.
func spread(all mail.UIDSet) mail.UIDSet {
	n, i := all.Len(), 0
	var some mail.UIDSet
	for uid := range all.All() {
		// The k-th is at k*(n-1)/(samples-1).
		if n <= samples || i*(samples-1)%(n-1) < samples-1 {
			some.Add(uid)
		}
		i++
	}
	return some
}

// compareByUID looks whether the messages of a lost folder are those of another one,
// under the same UIDs.
func (r *run) compareByUID(ctx context.Context, o, lost *folder, l *conflict.Likeness) error {
	uids, err := r.State.UIDs(ctx, lost.base.ID)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	rows, err := r.State.WithUIDs(ctx, lost.base.ID, spread(uids))
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	known := map[mail.UID]mail.Row{}
	var ask mail.UIDSet
	for _, row := range rows {
		if row.Fingerprint != (mail.Fingerprint{}) {
			known[row.UID] = row
			ask.Add(row.UID)
		}
	}
	l.Asked = len(known)
	if l.Asked == 0 {
		return nil
	}
	found, err := r.Remote.Identify(ctx, o.name, lost.base.Remote.UIDValidity, ask, mail.Sizes)
	if errors.Is(err, mail.ErrRestarted) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, m := range found {
		row := known[m.UID]
		l.Found++
		if m.Identity.Fingerprint == row.Fingerprint && m.Identity.Size == row.ServerSize() {
			l.Equal++
		}
	}
	return nil
}

// sample identifies some of the oldest messages of a folder.
func (r *run) sample(ctx context.Context, o *folder, oldest int) ([]mail.Identified, error) {
	var uids mail.UIDSet
	view, err := r.Remote.Scan(ctx, o.name, mail.Cursor{}, 0, func(m mail.Message) error {
		if oldest > 0 {
			uids.Add(m.UID)
		}
		oldest--
		return nil
	})
	if err != nil || len(uids) == 0 {
		return nil, err
	}
	return r.Remote.Identify(ctx, o.name, view.Cursor.UIDValidity, spread(uids), mail.Sizes)
}

// compareByContent looks how many of some messages a lost folder had.
func (r *run) compareByContent(ctx context.Context, sample []mail.Identified, lost *folder, l *conflict.Likeness) error {
	used := map[mail.RowID]bool{}
	for _, m := range sample {
		l.Asked++
		rows, err := r.State.Alike(ctx, m.Identity.Fingerprint)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		for _, row := range rows {
			if row.Folder == lost.base.ID && row.ServerSize() == m.Identity.Size && !used[row.ID] {
				used[row.ID] = true
				l.Found++
				l.Equal++
				break
			}
		}
	}
	return nil
}
