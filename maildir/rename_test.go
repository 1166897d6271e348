package maildir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// Each pair is a folder and what it is renamed to: plain names, ones that have to be
// made room for, ones that no directory can have, and ones that the file system takes
// for those of others.
var renames = [][2]mail.Folder{
	{"Work", "Play"},
	{"Work", "Lists/go/Work"},
	{"Work", "INBOX/Work"},
	{"Work", mail.Folder(strings.Repeat("x", 300))},
	{mail.Folder(strings.Repeat("x", 300)), "Work"},
	{mail.Folder(strings.Repeat("x", 300)), mail.Folder("A/" + strings.Repeat("y", 300))},
	{"Entwürfe", "AC%2FDC"},
	{"Work", "work"},
	{"A/WORK", "a/work"},
	{"cafe\u0301", "café"},
}

func TestAFolderIsRenamed(t *testing.T) {
	eachLayout(t, func(t *testing.T, layout Layout) {
		for _, pair := range renames {
			for _, odd := range []string{"", "folds", "respells"} {
				t.Run(fmt.Sprintf("%.12s to %.12s %s", pair[0], pair[1], odd), func(t *testing.T) {
					ctx := t.Context()
					_, root := newTree(t, Options{Layout: layout})
					open := func() *Tree {
						if odd == "" {
							other, err := Open(root, Options{Layout: layout})
							if err != nil {
								t.Fatal(err)
							}
							t.Cleanup(func() { other.Close() })
							return other
						}
						return openFolding(t, root, layout, odd == "respells")
					}
					tree := open()
					if err := tree.CreateFolder(ctx, pair[0]); err != nil {
						t.Fatal(err)
					}
					land(t, tree, pair[0], "the message\r\n", flags(`\Seen`), mail.Letters{})
					marker := mail.Marker{Account: "a", Folder: "f", Generation: 3}
					if err := tree.SetMarker(ctx, pair[0], marker); err != nil {
						t.Fatal(err)
					}
					before, err := tree.Folders(ctx, nil)
					if err != nil {
						t.Fatal(err)
					}
					if err := tree.RenameFolder(ctx, pair[0], pair[1]); err != nil {
						t.Fatal(err)
					}
					for _, tree := range []*Tree{tree, open()} {
						folders, err := tree.Folders(ctx, before)
						names := folderNames(folders)
						if err != nil || !slices.Contains(names, string(pair[1])) || slices.Contains(names, string(pair[0])) || len(names) != len(before) {
							t.Fatalf("folders %.40q, %v", names, err)
						}
						if got := textsIn(t, tree, pair[1]); !slices.Equal(got, []string{"the message\n"}) {
							t.Errorf("it holds %q", got)
						}
						if m, err := tree.Marker(ctx, pair[1]); m != marker || err != nil {
							t.Errorf("its marker is %+v, %v", m, err)
						}
					}
					// It is the same directory, and nothing happened in it.
					at := func(folders []mail.LocalFolder, name mail.Folder) mail.Stamp {
						i := slices.IndexFunc(folders, func(f mail.LocalFolder) bool { return f.Name == name })
						return folders[i].Stamp
					}
					after, err := tree.Folders(ctx, nil)
					if was, is := at(before, pair[0]), at(after, pair[1]); err != nil || is.Inode != was.Inode || is.Cur != was.Cur || is.New != was.New {
						t.Errorf("its stamp was %+v and is %+v, %v", was, is, err)
					}
					// The old name is free, and the new one can be removed.
					if err := tree.CreateFolder(ctx, pair[0]); err != nil {
						t.Error(err)
					}
					wantErr(t, "rename over a folder", tree.RenameFolder(ctx, pair[0], pair[1]), mail.ErrExists)
					if got := textsIn(t, tree, pair[1]); len(got) != 1 {
						t.Errorf("after that it holds %q", got)
					}
				})
			}
		}
	})
}

func TestWhatIsInsideARenamedFolder(t *testing.T) {
	eachLayout(t, func(t *testing.T, layout Layout) {
		tree, _ := newTree(t, Options{Layout: layout})
		ctx := t.Context()
		for _, name := range []mail.Folder{"A", "A/in", "Around/deep"} {
			if err := tree.CreateFolder(ctx, name); err != nil {
				t.Fatal(err)
			}
			land(t, tree, name, "x\r\n", flags(`\Seen`), mail.Letters{})
		}
		if err := tree.RenameFolder(ctx, "A", "B"); err != nil {
			t.Fatal(err)
		}
		want := []string{"Around/deep", "B", "B/in", "INBOX"}
		inner := mail.Folder("B/in")
		if layout == MaildirPlus {
			want, inner = []string{"A/in", "Around/deep", "B", "INBOX"}, "A/in"
		}
		folders, err := tree.Folders(ctx, nil)
		if got := folderNames(folders); err != nil || !slices.Equal(got, want) {
			t.Fatalf("folders %q, want %q, %v", got, want, err)
		}
		if got := textsIn(t, tree, inner); len(got) != 1 {
			t.Errorf("what was inside holds %q", got)
		}
		for _, c := range []struct {
			from, to mail.Folder
			want     error
		}{
			{"INBOX", "Old", nil}, {"B", "INBOX", nil}, {"Nothing", "Old", mail.ErrGone}, {"Around", "Old", mail.ErrGone},
		} {
			if err := tree.RenameFolder(ctx, c.from, c.to); err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s to %s: %v", c.from, c.to, err)
			}
		}
		// A directory that only holds folders is no folder, and takes the place of none.
		if err := tree.RenameFolder(ctx, "B", "Around"); err != nil {
			t.Fatal(err)
		}
		if got := textsIn(t, tree, "Around"); len(got) != 1 {
			t.Errorf("Around holds %q", got)
		}
		if got := textsIn(t, tree, "Around/deep"); len(got) != 1 {
			t.Errorf("Around/deep holds %q", got)
		}
	})
}

// Whichever step a rename ends at: the folder is whole under one name, and the rename
// can be done from there.
func TestARenameIsCutOffAnywhere(t *testing.T) {
	eachLayout(t, func(t *testing.T, layout Layout) {
		for i, pair := range append(renames[:7:7], renames[0], renames[4], renames[3]) {
			around := i >= 7 // something lies in the new name already
			for stop, done := 1, false; !done; stop++ {
				if stop > 100 {
					t.Fatal("it never ends")
				}
				tree, root := newTree(t, Options{Layout: layout})
				ctx := t.Context()
				if err := tree.CreateFolder(ctx, pair[0]); err != nil {
					t.Fatal(err)
				}
				if around {
					if err := tree.CreateFolder(ctx, pair[1]+"/in"); err != nil {
						t.Fatal(err)
					}
				}
				land(t, tree, pair[0], "the message\r\n", flags(`\Seen`), mail.Letters{})
				steps := 0
				hook(t, tree, func(op, name string) error {
					if !slices.Contains([]string{"lstat", "readdir", "open"}, op) {
						steps++
					}
					if steps >= stop {
						return errors.New("cut off")
					}
					return nil
				})
				done = tree.RenameFolder(ctx, pair[0], pair[1]) == nil
				other, err := Open(root, Options{Layout: layout})
				if err != nil {
					t.Fatal(err)
				}
				folders, err := other.Folders(ctx, nil)
				if err != nil {
					t.Fatal(err)
				}
				var at []mail.Folder
				inner := 0
				for _, f := range folders {
					switch {
					case around && f.Name == pair[1]+"/in", around && f.Name.IsInterim() && strings.HasSuffix(string(f.Name), "/in"):
						inner++
					case f.Name != mail.Inbox:
						at = append(at, f.Name)
					}
				}
				if around != (inner == 1) || len(at) != 1 || at[0] != pair[0] && at[0] != pair[1] && !at[0].IsInterim() {
					t.Fatalf("cut off at step %d: folders %.40q", stop, at)
				}
				if at[0] != pair[1] {
					if err := other.RenameFolder(ctx, at[0], pair[1]); err != nil {
						t.Fatalf("cut off at step %d: then %v", stop, err)
					}
				}
				if got := textsIn(t, other, pair[1]); !slices.Equal(got, []string{"the message\n"}) {
					t.Fatalf("cut off at step %d: it holds %q", stop, got)
				}
				if err := other.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// A folder that another program has renamed is made durable at its new place, and then at its
// old one, of which what was around it need not be there.
func TestTheNameOfAFolderIsMadeDurable(t *testing.T) {
	tree, root := newTree(t, Options{Layout: Nested, FSync: true})
	mkdirs(t, root, "a/b/c/cur", "a/b/c/new", "a/b/c/tmp", "x/y")
	if err := os.Rename(filepath.Join(root, "a/b/c"), filepath.Join(root, "x/y/c")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(root, "a/b")); err != nil {
		t.Fatal(err)
	}
	var synced []string
	tree.fs = &hooked{tree.fs, func(op, name string) error {
		if op == "sync" {
			synced = append(synced, name)
		}
		return nil
	}}
	if err := tree.SecureFolder(t.Context(), "x/y/c", "a/b/c"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"x/y", "x", ".", "a/b", "a", "."}; !slices.Equal(synced, want) {
		t.Errorf("made durable %q, want %q", synced, want)
	}
}
