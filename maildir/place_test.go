package maildir

import (
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// folding is a file system for which names are one that differ in case or in how
// accents are written; if respells, it stores accents its own way, as HFS+ does.
type folding struct {
	FS
	respells bool
}

var decompose = strings.NewReplacer("é", "e\u0301")

func (f folding) entry(dir, name string) string {
	fold := func(s string) string { return decompose.Replace(strings.ToLower(s)) }
	found := name
	if f.respells {
		found = decompose.Replace(name)
	}
	err := f.FS.ReadDir(dir, func(e Entry) {
		if fold(e.Name) == fold(name) {
			found = e.Name
		}
	})
	if err != nil {
		return name
	}
	return found
}

// real gives the name under which the file system has a path.
func (f folding) real(name string) string {
	dir := "."
	for part := range strings.SplitSeq(name, "/") {
		dir = path.Join(dir, f.entry(dir, part))
	}
	return dir
}

func (f folding) Sync(names ...string) error {
	real := make([]string, len(names))
	for i, name := range names {
		real[i] = f.real(name)
	}
	return f.FS.Sync(real...)
}

func (f folding) Open(name string) (Reader, error)           { return f.FS.Open(f.real(name)) }
func (f folding) Create(name string) (io.WriteCloser, error) { return f.FS.Create(f.real(name)) }
func (f folding) Rename(from, to string) error               { return f.FS.Rename(f.real(from), f.real(to)) }
func (f folding) Replace(from, to string) error              { return f.FS.Replace(f.real(from), f.real(to)) }
func (f folding) Unlink(name string) error                   { return f.FS.Unlink(f.real(name)) }
func (f folding) Mkdir(name string) error                    { return f.FS.Mkdir(f.real(name)) }
func (f folding) Rmdir(name string) error                    { return f.FS.Rmdir(f.real(name)) }
func (f folding) Lstat(name string) (Info, error)            { return f.FS.Lstat(f.real(name)) }
func (f folding) ReadDir(name string, each func(Entry)) error {
	return f.FS.ReadDir(f.real(name), each)
}
func (f folding) SetModTime(name string, at time.Time) error {
	return f.FS.SetModTime(f.real(name), at)
}
func (f folding) Link(name string, to FS, as string) error { return f.FS.Link(f.real(name), to, as) }

// openFolding opens the Maildir at root as if it lay on such a file system.
func openFolding(t *testing.T, root string, layout Layout, respells bool) *Tree {
	t.Helper()
	d, err := openDisk(root)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := Open(root, Options{Layout: layout, FS: folding{d, respells}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

// twins are folders that some file systems take for one.
var twins = []mail.Folder{"A", "A/Mail", "A/Mail/in", "A/mail", "A/mail/in", "A/MAIL", "a", "café", "cafe\u0301"}

func TestFoldersThatAFileSystemTakesForOneAreKeptApart(t *testing.T) {
	eachLayout(t, func(t *testing.T, layout Layout) {
		for _, respells := range []bool{false, true} {
			root := t.TempDir()
			ctx := t.Context()
			tree := openFolding(t, root, layout, respells)
			for _, name := range twins {
				// Where another one answers to its name it is not there,
				if _, err := tree.Scan(ctx, name, mail.Letters{}); !errors.Is(err, mail.ErrGone) {
					t.Errorf("%q, not made yet, is scanned with %v", name, err)
				}
				if err := tree.CreateFolder(ctx, name); err != nil {
					t.Fatal(err)
				}
				wantErr(t, "again "+string(name), tree.CreateFolder(ctx, name), mail.ErrExists)
				land(t, tree, name, "in "+string(name)+"\r\n", flags(`\Seen`), mail.Letters{})
			}
			// and each holds what was put into it, for whoever opens the Maildir,
			var known []mail.LocalFolder
			for range 3 {
				tree := openFolding(t, root, layout, respells)
				folders, err := tree.Folders(ctx, known)
				if err != nil {
					t.Fatal(err)
				}
				want := slices.Sorted(slices.Values(twins))
				if !slices.EqualFunc(folders, want, func(f mail.LocalFolder, name mail.Folder) bool { return f.Name == name }) {
					t.Fatalf("folders %q, want %q", folderNames(folders), want)
				}
				for _, name := range want {
					texts := textsIn(t, tree, name)
					if !slices.Equal(texts, []string{"in " + string(name) + "\n"}) {
						t.Errorf("%q holds %q", name, texts)
					}
				}
				known = folders
			}
			// also if it knows of one of them only.
			for _, k := range known {
				tree := openFolding(t, root, layout, respells)
				folders, err := tree.Folders(ctx, []mail.LocalFolder{k, known[0]})
				if err != nil || !slices.Equal(folders, known) {
					t.Errorf("known %q: folders %q, %v", k.Name, folderNames(folders), err)
				}
			}
			// One that goes leaves the others alone.
			listing, err := tree.Scan(ctx, "A/mail", mail.Letters{})
			if err != nil {
				t.Fatal(err)
			}
			for f := range listing.Files {
				if err := os.Remove(filepath.Join(root, find(t, root, f.Name))); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(tree.RemoveFolder(ctx, "A/mail"), tree.ForgetFolder(ctx, "A/mail")); err != nil {
				t.Fatal(err)
			}
			folders, err := tree.Folders(ctx, nil)
			if err != nil || len(folders) != len(twins)-1 || slices.Contains(folderNames(folders), "A/mail") {
				t.Errorf("folders %q, %v", folderNames(folders), err)
			}
		}
	})
}

// find gives the path of the one file of that name below root.
func find(t *testing.T, root, name string) string {
	t.Helper()
	for _, f := range files(t, root) {
		if path.Base(f) == name {
			return f
		}
	}
	t.Fatalf("there is no file %q", name)
	return ""
}

// textsIn gives the messages of a folder.
func textsIn(t *testing.T, tree *Tree, folder mail.Folder) []string {
	t.Helper()
	listing, err := tree.Scan(t.Context(), folder, mail.Letters{})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for f := range listing.Files {
		src, err := tree.Read(t.Context(), folder, f)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if _, err := src.WriteTo(&text); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, strings.ReplaceAll(text.String(), "\r\n", "\n"))
		src.Close()
	}
	return texts
}

func TestALongNameIsShortenedAndKept(t *testing.T) {
	eachLayout(t, func(t *testing.T, layout Layout) {
		tree, root := newTree(t, Options{Layout: layout})
		ctx := t.Context()
		head := strings.Repeat("ü", 140)
		one, two := mail.Folder("Lists/"+head+"1"), mail.Folder("Lists/"+head+"2")
		for _, name := range []mail.Folder{one, two} {
			if err := tree.CreateFolder(ctx, name); err != nil {
				t.Fatal(err)
			}
			f := land(t, tree, name, "x\r\n", flags(`\Seen`), mail.Letters{})
			if err := tree.Remove(ctx, name, f); err != nil {
				t.Fatal(err)
			}
		}
		// The store of removed messages tells the folder by itself.
		for _, name := range []mail.Folder{one, two} {
			if err := tree.RemoveFolder(ctx, name); err != nil {
				t.Fatal(err)
			}
		}
		var removed []Removed
		err := tree.Removed(ctx, func(r Removed) error { removed = append(removed, r); return nil })
		if err != nil || len(removed) != 2 {
			t.Fatalf("removed are %v, %v", removed, err)
		}
		for _, r := range removed {
			if _, err := tree.Restore(ctx, r); err != nil {
				t.Error(err)
			}
		}
		folders, err := tree.Folders(ctx, nil)
		if want := []string{"INBOX", string(one), string(two)}; err != nil || !slices.Equal(folderNames(folders), want) {
			t.Errorf("folders %q, %v; want %q", folderNames(folders), err, want)
		}
		// A directory that does not tell its name, or tells a wrong one, is no folder.
		for _, text := range []string{"", "other", string(one)} {
			for _, f := range files(t, root) {
				if path.Base(f) == nameFile {
					put(t, root, f, text)
				}
			}
			folders, err := tree.Folders(ctx, nil)
			if err != nil || !slices.Equal(folderNames(folders), []string{"INBOX"}) {
				t.Errorf("with %q in the files: folders %q, %v", text, folderNames(folders), err)
			}
		}
		// Making it again mends that.
		if err := tree.CreateFolder(ctx, one); err != nil && !errors.Is(err, mail.ErrExists) {
			t.Error(err)
		}
		folders, err = tree.Folders(ctx, nil)
		if err != nil || !slices.Contains(folderNames(folders), string(one)) {
			t.Errorf("made again: folders %q, %v", folderNames(folders), err)
		}
	})
}

// A tree that was copied from a file system where two names are one may get the plain
// directory, too. The one that was there stays the folder.
func TestAPlainDirectoryBesideTheShortOneIsNoFolder(t *testing.T) {
	tree, root := newTree(t, Options{})
	name := short("work")
	mkdirs(t, root, name+"/cur", name+"/new", "work/cur", "work/new", "work/in/cur", "work/in/new")
	put(t, root, name+"/"+nameFile, "work")
	for _, reader := range []*Tree{tree, openFolding(t, root, Nested, false)} {
		folders, err := reader.Folders(t.Context(), nil)
		if err != nil || !slices.Equal(folderNames(folders), []string{"INBOX", "work"}) {
			t.Errorf("folders %q, %v", folderNames(folders), err)
		}
		if dir, err := reader.dir("work"); err != nil || dir != name {
			t.Errorf("the folder work is in %q, %v", dir, err)
		}
	}
}
