package sync

import (
	"cmp"
	"iter"
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

// sorted puts in order what a map of so many entries has.
func sorted[T any](n int, all iter.Seq[T], order func(a, b T) int) []T {
	if n == 0 {
		return nil
	}
	out := slices.AppendSeq(make([]T, 0, n), all)
	slices.SortFunc(out, order)
	return out
}

// inOrder gives the folders that a map has something of.
func inOrder[V any](of map[*folder]V) []*folder {
	return sorted(len(of), maps.Keys(of), byName)
}

// allFolders gives all folders that the run knows.
func (r *run) allFolders() []*folder {
	return sorted(len(r.folders), maps.Values(r.folders), byName)
}

// known gives the items of the messages that base knows, as it numbers them.
func (g *gathered) known() []*conflict.Item {
	return sorted(len(g.rows), maps.Values(g.rows), func(a, b *conflict.Item) int { return cmp.Compare(a.Row.ID, b.Row.ID) })
}

// placed gives items in order of where they are.
func placed[V any](of map[*conflict.Item]V) []*conflict.Item {
	return sorted(len(of), maps.Keys(of), func(a, b *conflict.Item) int {
		return cmp.Or(cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.UID(), b.UID()), cmp.Compare(a.Key(), b.Key()))
	})
}
