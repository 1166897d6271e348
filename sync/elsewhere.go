package sync

import (
	"context"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// The folders of the server are read one after another, and some not at all. So a message
// that another device moves meanwhile can be gone from where it was, and not be seen where
// it is. Where nothing has changed about its file that does no harm: it is removed, and
// comes back from there. But a file that was moved or flagged here would be uploaded again,
// beside the message, or what was new about it would go with it.

// awaitElsewhere leaves out the messages that are gone on the server, and have changed
// here, if any folder has got new ones there since it was read. Then what was read is read
// again in the next round, together with that folder.
func (r *run) awaitElsewhere(ctx context.Context, items []*conflict.Item) ([]*conflict.Item, error) {
	if r.DryRun || !slices.ContainsFunc(items, keptThoughGone) {
		return items, nil
	}
	listing, err := r.Remote.Folders(ctx)
	if err != nil {
		return nil, err
	}
	news := false
	for _, listed := range listing.Folders {
		if f := r.folders[listed.Name]; f != nil && f.usable() && listed.Status.UIDNext > r.readUpTo(f) {
			f.remoteDirty, news = true, true
		}
	}
	if !news {
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
	return slices.DeleteFunc(items, keptThoughGone), nil
}

// keptThoughGone tells whether a message is gone on the server, as far as is known, and
// something about its file says that it may be kept.
func keptThoughGone(item *conflict.Item) bool {
	return item.Row != nil && item.Row.State == mail.Settled && item.Remote == conflict.Gone &&
		item.Moved == nil && item.From == nil && (item.Local == conflict.Flags || item.Followed)
}

// readUpTo is the UID that the next message of the folder would have, as far as this run
// has read it.
func (r *run) readUpTo(f *folder) mail.UID {
	if f.read == 0 {
		return r.onServer[f.name].Status.UIDNext
	}
	return f.read
}
