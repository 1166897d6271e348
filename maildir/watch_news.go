package maildir

import (
	"cmp"
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
	whole bool
	files map[mail.File]struct{} // that have come or gone: Key, Name and New
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
		n.names -= len(f.files)
		*f = folderNews{whole: true}
	}
}

// touched: a file of that name may have come or gone, or have been written to.
func (n *news) touched(folder mail.Folder, isNew bool, name string) {
	f := n.folder(folder)
	if f == nil {
		return
	}
	key, _, _ := splitName(name)
	file := mail.File{Key: key, Name: name, New: isNew}
	if _, ok := f.files[file]; ok {
		return
	}
	if len(f.files) >= maxNames || n.names >= maxAllNames {
		n.whole(folder)
		return
	}
	if f.files == nil {
		f.files = make(map[mail.File]struct{})
	}
	f.files[file] = struct{}{}
	n.names++
}

// take gives all of it away.
func (n *news) take() Changes {
	c := Changes{All: n.all, Replaced: n.replaced, List: n.list && !n.all, Lost: n.lost, Notices: n.notices}
	for name, f := range n.folders {
		c.Folders = append(c.Folders, mail.FolderChanges{Name: name, Whole: f.whole, Files: slices.SortedFunc(maps.Keys(f.files), inOrder)})
	}
	slices.SortFunc(c.Folders, func(a, b mail.FolderChanges) int { return strings.Compare(string(a.Name), string(b.Name)) })
	*n = news{}
	return c
}

// inOrder sorts files by their keys, and those of one key by their names.
func inOrder(a, b mail.File) int {
	if c := cmp.Compare(a.Key, b.Key); c != 0 {
		return c
	}
	if c := cmp.Compare(a.Name, b.Name); c != 0 || a.New == b.New {
		return c
	}
	if a.New {
		return -1
	}
	return 1
}
