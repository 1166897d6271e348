package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func newDisk(t *testing.T) (*disk, string) {
	t.Helper()
	root := t.TempDir()
	d, err := openDisk(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, root
}

// Both ways to rename do the same, the second one where the first is not known.
func TestRenameReplacesNothing(t *testing.T) {
	d, root := newDisk(t)
	for way, rename := range map[string]func(from, to string) error{"Rename": d.Rename, "relink": d.relink} {
		put(t, root, way+"/a", "a")
		put(t, root, way+"/b", "b")
		wantErr(t, way+" over a file", rename(way+"/a", way+"/b"), fs.ErrExist)
		wantErr(t, way+" of nothing", rename(way+"/none", way+"/c"), fs.ErrNotExist)
		wantErr(t, way+" into nothing", rename(way+"/a", way+"/none/c"), fs.ErrNotExist)
		if err := rename(way+"/a", way+"/c"); err != nil {
			t.Errorf("%s: %v", way, err)
		}
		if got := files(t, filepath.Join(root, way)); !slices.Equal(got, []string{"b", "c"}) || content(t, filepath.Join(root, way, "b")) != "b" {
			t.Errorf("%s: files %q", way, got)
		}
	}
}

func TestARelinkThatStoppedHalfWayIsFinished(t *testing.T) {
	d, root := newDisk(t)
	put(t, root, "a", "a")
	if err := d.Link("a", d, "b"); err != nil {
		t.Fatal(err)
	}
	if err := d.relink("a", "b"); err != nil {
		t.Fatal(err)
	}
	if got := files(t, root); !slices.Equal(got, []string{"b"}) {
		t.Errorf("files %q", got)
	}
}

func TestReadDirTellsAllThereIs(t *testing.T) {
	d, root := newDisk(t)
	want := make(map[string]Entry)
	for i := range 3000 { // several blocks of the system call
		name := fmt.Sprintf("%d.a name of some length that is different for each:2,S", i)
		put(t, root, name, "")
	}
	mkdirs(t, root, "directory")
	if err := os.Symlink("nowhere", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := d.Lstat(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		want[e.Name()] = Entry{e.Name(), e.Type(), info.Inode}
		if info.Type != e.Type() {
			t.Errorf("%q: lstat says type %v", e.Name(), info.Type)
		}
	}
	err = d.ReadDir(".", func(e Entry) {
		if want[e.Name] != e {
			t.Errorf("entry %+v, want %+v", e, want[e.Name])
		}
		delete(want, e.Name)
	})
	if err != nil || len(want) != 0 {
		t.Errorf("%d entries not told, %v", len(want), err)
	}
	wantErr(t, "no directory", d.ReadDir("none", func(Entry) {}), fs.ErrNotExist)
}

func TestTheRestOfTheDisk(t *testing.T) {
	d, root := newDisk(t)
	f, err := d.Create("a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "text"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = d.Create("a")
	wantErr(t, "create again", err, fs.ErrExist)
	when := time.Unix(1e9, 5)
	if err := errors.Join(d.SetModTime("a", when), d.Sync("a"), d.Sync("."), d.Mkdir("dir")); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "mkdir again", d.Mkdir("dir"), fs.ErrExist)
	info, err := d.Lstat("a")
	if err != nil || info.ModTime != when.UnixNano() || info.Size != 4 || info.Links != 1 || time.Since(time.Unix(0, info.Changed)) > time.Hour {
		t.Errorf("%+v, %v", info, err)
	}
	r, err := d.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if open, err := r.Info(); err != nil || open != info {
		t.Errorf("open: %+v, %v; want %+v", open, err, info)
	}
	put(t, root, "b", "other")
	if err := d.Replace("b", "a"); err != nil || content(t, filepath.Join(root, "a")) != "other" {
		t.Errorf("replace: %v", err)
	}
	put(t, root, "dir/file", "")
	wantErr(t, "rmdir of a full directory", d.Rmdir("dir"), fs.ErrExist)
	if err := d.Unlink("dir/file"); err != nil {
		t.Fatal(err)
	}
	if d.Unlink("dir") == nil || d.Rmdir("a") == nil || d.Rmdir(".") == nil {
		t.Error("unlinked a directory or removed a file as one")
	}
	if err := errors.Join(d.Unlink("a"), d.Rmdir("dir")); err != nil || len(files(t, root)) != 0 {
		t.Error(err)
	}
	for _, name := range []string{"../x", "/etc/x", "a/../../x"} {
		if _, err := d.Create(name); err == nil {
			t.Errorf("created %q", name)
		}
	}
}
