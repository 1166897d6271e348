package sync

import (
	"context"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// The folders of the server are read one after another, and some not at all. So of a
// message that another device moves meanwhile one half alone may be seen: that it is gone
// from where it was, or that it is where it went. Where its file is as it was that does no
// harm: it is removed and comes back, or is copied and then removed. But a file that was
// moved or flagged here is kept when its message is removed. It would be uploaded again,
// beside the message.

// awaitElsewhere leaves out what may be one half of such a move: messages that are gone on
// the server and have changed here, and files that may have been uploaded and are found
// nowhere, if a folder has got new ones since it was read; and new ones that are like a known
// one in another folder, if that has changed since. What was read is read again in the next
// round, together with these folders. It costs a round trip, and only where there are such
// messages.
func (r *run) awaitElsewhere(ctx context.Context, g *gathered, items []*conflict.Item) ([]*conflict.Item, error) {
	missing := func(item *conflict.Item) bool { return keptThoughGone(item) || g.uploaded[item] }
	if r.DryRun || len(g.alike) == 0 && !slices.ContainsFunc(items, missing) {
		return items, nil
	}
	listing, err := r.Remote.Folders(ctx)
	if err != nil {
		return nil, err
	}
	got, changed := false, map[*folder]bool{}
	for _, listed := range listing.Folders {
		f := r.folders[listed.Name]
		if f == nil || !f.usable() || listed.NoSelect {
			continue
		}
		status := listed.Status
		if status.UIDNext == 0 { // there are servers that have to be asked for each
			examined, err := r.Remote.Examine(ctx, f.name)
			if err := r.fail(f, err); err != nil {
				return nil, err
			}
			status = examined.Status
		}
		was := r.asRead(f)
		if status.UIDNext > was.UIDNext {
			got, f.remoteDirty = true, true
		}
		changed[f] = status.UIDNext != 0 && (status.UIDNext != was.UIDNext || status.Messages != was.Messages)
	}
	half := func(item *conflict.Item) bool {
		for _, f := range g.alike[item] {
			if changed[f] {
				f.remoteDirty = true
				return true
			}
		}
		return got && missing(item)
	}
	left := slices.DeleteFunc(slices.Clone(items), half)
	if len(left) == len(items) {
		return items, nil
	}
	for _, f := range r.folders {
		if f.view != nil {
			f.remoteDirty, f.unsafe = true, true
		}
		if f.listing != nil {
			f.localDirty, f.unsafe = true, true
		}
	}
	return left, nil
}

// keptThoughGone tells whether a message is gone on the server, as far as is known, and
// something about its file says that it may be kept.
func keptThoughGone(item *conflict.Item) bool {
	return item.Row != nil && item.Row.State == mail.Settled && item.Remote == conflict.Gone &&
		item.Moved == nil && item.From == nil && (item.Local == conflict.Flags || item.Followed)
}

// asRead is how far the folder was when this run has read it last.
func (r *run) asRead(f *folder) mail.Cursor {
	if f.read == (mail.Cursor{}) {
		return r.onServer[f.name].Status
	}
	return f.read
}
