package maildir

import (
	"maps"
	"slices"
	"strings"

	"mailtwin/conflict/mail"
)

// A burst must not fill the memory, nor is it cheaper to look at as many files one by one: a
// folder with more names than maxNames counts as changed as a whole, and so does one whose
// names would make those of all folders more than maxAllNames.
const (
	maxNames    = 4096
	maxAllNames = 16 * maxNames
)

// news is what has accumulated for the next Take. The zero value is none.
type news struct {
	all, replaced, list bool
	lost                error
	notices             []mail.Notice
	folders             map[mail.Folder]*folderNews
	names               int // in all folders
}

type folderNews struct {
	whole, removed bool
	cur, new       map[string]struct{}
}

func (f *folderNews) in(isNew bool) *map[string]struct{} {
	if isNew {
		return &f.new
	}
	return &f.cur
}

func (n *news) empty() bool {
	return !n.all && !n.replaced && !n.list && n.lost == nil && len(n.notices) == 0 && len(n.folders) == 0
}

// begin forgets what was new only because nothing had been looked at before.
func (n *news) begin() { *n = news{lost: n.lost, notices: n.notices} }

// everything: the names are no matter any more.
func (n *news) everything(replaced bool) {
	*n = news{all: true, replaced: n.replaced || replaced, notices: n.notices}
}

// gone: there is nothing to look at.
func (n *news) gone(why error) {
	*n = news{lost: why, replaced: n.replaced, notices: n.notices}
}

// folder gives the news of a folder; nil if all that may be added to it has been told.
func (n *news) folder(name mail.Folder) *folderNews {
	if n.all || name == "" {
		return nil
	}
	if n.folders == nil {
		n.folders = make(map[mail.Folder]*folderNews)
	}
	f := n.folders[name]
	if f == nil {
		f = &folderNews{}
		n.folders[name] = f
	}
	if f.whole {
		return nil
	}
	return f
}

// whole: the folder has to be looked at as a whole.
func (n *news) whole(name mail.Folder) {
	if f := n.folder(name); f != nil {
		n.names -= len(f.cur) + len(f.new)
		*f = folderNews{whole: true}
	}
}

// appeared: there may be a file of that name.
func (n *news) appeared(folder mail.Folder, isNew bool, name string) {
	f := n.folder(folder)
	if f == nil {
		return
	}
	names := f.in(isNew)
	if _, ok := (*names)[name]; ok {
		return
	}
	if len(f.cur)+len(f.new) >= maxNames || n.names >= maxAllNames {
		n.whole(folder)
		return
	}
	if *names == nil {
		*names = make(map[string]struct{})
	}
	(*names)[name] = struct{}{}
	n.names++
}

// removed: a file of that name is there no longer.
func (n *news) removed(folder mail.Folder, isNew bool, name string) {
	f := n.folder(folder)
	if f == nil {
		return
	}
	f.removed = true
	names := *f.in(isNew)
	if _, ok := names[name]; ok {
		delete(names, name)
		n.names--
	}
}

// take gives all of it away.
func (n *news) take() Changes {
	c := Changes{All: n.all, Replaced: n.replaced, List: n.list && !n.all, Lost: n.lost, Notices: n.notices}
	for name, f := range n.folders {
		c.Folders = append(c.Folders, FolderChanges{
			Name: name, Whole: f.whole, Removed: f.removed,
			Cur: slices.Sorted(maps.Keys(f.cur)), New: slices.Sorted(maps.Keys(f.new)),
		})
	}
	slices.SortFunc(c.Folders, func(a, b FolderChanges) int { return strings.Compare(string(a.Name), string(b.Name)) })
	*n = news{}
	return c
}
