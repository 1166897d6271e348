package conflict

import (
	"fmt"
	"slices"

	"mailtwin/conflict/mail"
)

// brakeFrom is how many messages a folder, or the account, must have before the
// share of it that a run would remove is looked at.
const brakeFrom = 20

const (
	whyHalfFolder  = "more than half of the folder would be removed (%d of %d)"
	whyHalfAccount = "more than half of the account would be removed (%d of %d)"
	whyManyFolders = "%d whole folders would be emptied"
)

// brake turns removals that are too large to be carried out unasked into Hold. A
// message that only moved does not count, and Trash and Junk may be emptied.
func (p *Plan) brake(w World) {
	for _, gone := range []mail.Side{mail.Local, mail.Remote} {
		counts := map[mail.Folder]int{}
		for i := range p.Actions {
			if a := &p.Actions[i]; p.brakes(a, gone, w) {
				counts[a.Item.Folder]++
			}
		}
		held := tooMuch(counts, gone, w)
		if len(held) == 0 {
			continue
		}
		kept := map[mail.Folder]int{}
		for i := range p.Actions {
			a := &p.Actions[i]
			why := held[a.Item.Folder]
			if why == "" || !p.brakes(a, gone, w) || w.Allow != nil && w.Allow(a.Item.Folder) {
				continue
			}
			kept[a.Item.Folder]++
			*a = Action{Kind: Hold, Item: a.Item, Flags: a.Item.baseFlags(), Gone: gone, Why: why}
		}
		for folder, n := range kept {
			p.Held = append(p.Held, Held{Folder: folder, Gone: gone, Count: n, Why: held[folder]})
		}
	}
	slices.SortFunc(p.Held, func(a, b Held) int {
		if a.Folder != b.Folder {
			if a.Folder < b.Folder {
				return -1
			}
			return 1
		}
		return int(a.Gone) - int(b.Gone)
	})
	p.Decisions = slices.DeleteFunc(p.Decisions, func(d mail.Decision) bool {
		return slices.ContainsFunc(p.Actions, func(a Action) bool {
			return a.Kind == Hold && a.Item.Folder == d.Folder && a.Item.UID() == d.UID && a.Item.Key() == d.Key
		})
	})
}

// brakes tells whether the brake counts the action, which removes on one side what
// is gone on the other.
func (p *Plan) brakes(a *Action, gone mail.Side, w World) bool {
	side, removes := a.removes()
	if !removes || side != gone.Other() || a.Item.Moved != nil || a.Gone != gone || a.Why == whyPurged {
		return false
	}
	role := w.Folders[a.Item.Folder].Role
	return role != mail.RoleTrash && role != mail.RoleJunk && a.Item.Folder != w.Trash
}

// tooMuch tells for which folders the removals are held, and why.
func tooMuch(counts map[mail.Folder]int, gone mail.Side, w World) map[mail.Folder]string {
	held := map[mail.Folder]string{}
	removed, all, emptied, lost := 0, 0, 0, 0
	for folder, info := range w.Folders {
		all += info.Messages
		n := counts[folder]
		if n > 0 {
			n += info.Removed[gone]
		}
		removed += n
		if n > 0 && n >= info.Messages {
			emptied++
			lost += n
		}
		if info.Messages >= brakeFrom && 2*n > info.Messages {
			held[folder] = fmt.Sprintf(whyHalfFolder, n, info.Messages)
		}
	}
	why := ""
	switch {
	case all >= brakeFrom && 2*removed > all:
		why = fmt.Sprintf(whyHalfAccount, removed, all)
	case emptied >= 3 && lost >= brakeFrom:
		why = fmt.Sprintf(whyManyFolders, emptied)
	default:
		return held
	}
	for folder := range counts {
		if held[folder] == "" {
			held[folder] = why
		}
	}
	return held
}
