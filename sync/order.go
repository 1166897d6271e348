package sync

import (
	"cmp"
	"maps"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// What a run finds stands in maps, and what it does comes in one order all the same:
// what happened once, happens again.

// byName is the order of folders: INBOX first, which is what people wait for, then by
// their names.
func byName(a, b *folder) int {
	return cmp.Or(rank(a)-rank(b), cmp.Compare(a.name, b.name))
}

func rank(f *folder) int {
	if f.name == mail.Inbox {
		return 0
	}
	return 1
}

// inOrder gives the folders that a map has something of.
func inOrder[V any](of map[*folder]V) []*folder {
	return slices.SortedFunc(maps.Keys(of), byName)
}

// allFolders gives all folders that the run knows.
func (r *run) allFolders() []*folder {
	return slices.SortedFunc(maps.Values(r.folders), byName)
}

// known gives the items of the messages that base knows, as it numbers them.
func (g *gathered) known() []*conflict.Item {
	return slices.SortedFunc(maps.Values(g.rows), func(a, b *conflict.Item) int { return cmp.Compare(a.Row.ID, b.Row.ID) })
}

// placed gives items in order of where they are.
func placed[V any](of map[*conflict.Item]V) []*conflict.Item {
	return slices.SortedFunc(maps.Keys(of), func(a, b *conflict.Item) int {
		return cmp.Or(cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.UID(), b.UID()), cmp.Compare(a.Key(), b.Key()))
	})
}
