package sync

import (
	"context"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// secure makes files durable that other programs have put there, before base speaks of
// them. A program that saves a file need not wait for the disk, and may lose it when the
// power goes; if base knew of it then, the loss would be a removal.
func (r *run) secure(ctx context.Context, f *folder, files []mail.File) error {
	if len(files) == 0 {
		return nil
	}
	return r.Local.Secure(ctx, f.name, files)
}

// secureGone makes durable that files are gone, once what takes their place is, and before
// base forgets them. Else one that a program has removed, or moved, may be back when the
// power goes, as a message that nothing is known of.
func (r *run) secureGone(ctx context.Context, items []*conflict.Item) error {
	left := map[*folder]bool{}
	for _, item := range items {
		if item.Local == conflict.Gone && item.Row != nil && item.Row.Key != "" {
			left[r.folders[item.Folder]] = true
		}
	}
	folders := r.usable(func(f *folder) bool { return left[f] && f.onLocal })
	return r.each(ctx, folders, r.diskAtOnce(), func(ctx context.Context, f *folder) error { return r.Local.SyncFolder(ctx, f.name) })
}

// secureMoved makes durable, of files that are no longer where base has them while their
// messages are elsewhere, or came back, that they are where they are, and then that they are
// nowhere else. What is done about them makes base forget where they were.
func (r *run) secureMoved(ctx context.Context, works map[*folder]*work) error {
	left := map[*folder]bool{}
	for _, f := range inOrder(works) {
		w := works[f]
		for _, a := range slices.Concat(w.rows, w.agrees, w.stores, w.movesHere, w.uploads, w.downloads, w.remote) {
			item, was := a.Item, a.Item.Origin
			if from := item.From; from != nil && from.Followed {
				item, was = from, from.Origin
			} else if from != nil && from.Local == conflict.Gone {
				was = from.Folder
			} else if item.Local == conflict.Gone && item.Row != nil && item.Row.Key != "" && a.Kind == conflict.Download {
				was = item.Folder
			}
			origin := r.folders[was]
			if origin == nil || !origin.onLocal {
				continue
			}
			if at := r.folders[item.Folder]; item.Local != conflict.Gone && item.File.Name != "" {
				if err := r.fail(at, r.secure(ctx, at, []mail.File{item.File})); err != nil {
					return err
				}
				if at.failed != nil {
					continue
				}
			}
			left[origin] = true
		}
	}
	return r.each(ctx, inOrder(left), r.diskAtOnce(), func(ctx context.Context, f *folder) error { return r.Local.SyncFolder(ctx, f.name) })
}
