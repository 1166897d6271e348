package sync

import (
	"context"
	"fmt"

	"mailtwin/conflict/mail"
)

// Stale tells whether a folder of the Maildir is not, by its times, as base has it, so that a
// run would look at it: somebody has changed it since, and not a run. selected is as in Options.
// It costs three lstats a folder, and asks no server. An error that is mail.ErrMissing says that
// the Maildir is not there.
func Stale(ctx context.Context, local Local, state State, selected func(mail.Folder) bool) (bool, error) {
	known, err := state.Folders(ctx)
	if err != nil {
		return false, fmt.Errorf("read the state: %w", err)
	}
	here, err := local.Folders(ctx, onDisk(known))
	if err != nil {
		return false, err
	}
	bases := make(map[mail.Folder]mail.FolderBase, len(known))
	for _, base := range known {
		bases[base.Name] = base
	}
	for _, lf := range here {
		base, there := bases[lf.Name]
		if delete(bases, lf.Name); selected != nil && !selected(lf.Name) {
			continue
		}
		if !there && !lf.Unfinished || there && lf.Stamp != base.Local {
			return true, nil
		}
	}
	for name, base := range bases {
		if base.OnLocal && (selected == nil || selected(name)) {
			return true, nil // it is gone
		}
	}
	return false, nil
}
