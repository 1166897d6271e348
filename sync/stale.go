package sync

import (
	"context"
	"fmt"
	"maps"

	"mailtwin/conflict/mail"
)

// Stale tells whether a folder of the Maildir is not as base has it, so that a run would do
// something about it: somebody has changed it since, and not a run. Times tell that; and where live
// (nil: none) has heard which names have changed, a look at those. selected is as in Options. It
// costs three lstats a folder, and asks no server. An error that is mail.ErrMissing says that the
// Maildir is not there.
func Stale(ctx context.Context, local Local, state State, live *Live, selected func(mail.Folder) bool) (bool, error) {
	h := live.take()
	defer live.putBack(&h)
	known, err := state.Folders(ctx)
	if err != nil {
		return false, fmt.Errorf("read the state: %w", err)
	}
	bases := byFolder(known)
	here, err := local.Folders(ctx, onDisk(maps.Values(bases)))
	if err != nil {
		return false, err
	}
	for _, lf := range here {
		base, there := bases[lf.Name]
		if delete(bases, lf.Name); selected != nil && !selected(lf.Name) {
			continue
		}
		if there == lf.Unfinished {
			return true, nil // it is new, or half gone
		}
		if !there {
			continue
		}
		m := h.meeting(lf, *base)
		if m.moved && m.names != nil {
			changes, ok, err := peek(ctx, local, state, *base, m.names.Files)
			if err == nil && ok && len(changes) == 0 {
				// It is what a run has done.
				m.moved, h.dealt[base.ID] = false, dealt{base.Marker, lf.Stamp, true}
			}
		}
		if m.moved {
			return true, nil
		}
		delete(h.told, lf.Name)
	}
	for name, base := range bases {
		if base.OnLocal && (selected == nil || selected(name)) {
			return true, nil // it is gone
		}
	}
	return false, nil
}

func byFolder(bases []mail.FolderBase) map[mail.Folder]*mail.FolderBase {
	all := make(map[mail.Folder]*mail.FolderBase, len(bases))
	for i := range bases {
		all[bases[i].Name] = &bases[i]
	}
	return all
}

// News tells whether a server has announced something that base lacks, so that a run would have
// something to do. What a run has changed itself is announced, too, and base has it. selected
// is as in Options.
func News(ctx context.Context, state State, told []mail.Announced, selected func(mail.Folder) bool) (bool, error) {
	known, err := state.Folders(ctx)
	if err != nil {
		return false, fmt.Errorf("read the state: %w", err)
	}
	bases := byFolder(known)
	for _, a := range told {
		if selected != nil && !selected(a.Folder) {
			continue
		}
		base := bases[a.Folder]
		if base == nil {
			base = &mail.FolderBase{}
		}
		if a.Listed && !base.OnRemote || a.Gone && base.OnRemote {
			return true, nil
		}
		if (a.Counted || a.Status != mail.Cursor{}) && ahead(a, base.Remote) {
			return true, nil
		}
	}
	return false, nil
}

// ahead tells whether a folder has changed since it was read up to a cursor. Announcements come
// late, so one that is older than the cursor tells nothing.
func ahead(a mail.Announced, read mail.Cursor) bool {
	now := a.Status
	switch {
	case now.UIDValidity != 0 && now.UIDValidity != read.UIDValidity:
		return true
	case now.HighestModSeq == 0 || read.HighestModSeq == 0:
		// Only who has looked tells all of the rest.
		return !a.Counted || now.UIDNext == 0 || now.HighestModSeq != read.HighestModSeq ||
			now.Messages != read.Messages || now.UIDNext != read.UIDNext
	case now.HighestModSeq != read.HighestModSeq:
		return now.HighestModSeq > read.HighestModSeq
	}
	// Not all servers count an expunge among the changes that have a mod-sequence (RFC 7162,
	// 3.2.7, wants it of those with QRESYNC).
	return a.Counted && now.Messages != read.Messages || now.UIDNext != 0 && now.UIDNext != read.UIDNext
}
