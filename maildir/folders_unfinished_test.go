package maildir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mailtwin/conflict/mail"
)

// Whichever step a crash prevents, there is either a whole folder or none, and
// making it again gives a whole one.
func TestAHalfMadeFolderIsNone(t *testing.T) { eachLayout(t, aHalfMadeFolderIsNone) }

func aHalfMadeFolderIsNone(t *testing.T, layout Layout) {
	inside := map[Layout]string{Nested: "Lists/go", MaildirPlus: ".Lists.go"}[layout]
	for _, around := range []bool{false, true} { // whether the directory was there before
		for stop := 0; ; stop++ {
			tree, root := newTree(t, Options{Layout: layout})
			if around {
				mkdirs(t, root, inside+"/cur", inside+"/new", inside+"/tmp")
			}
			steps := 0
			was := tree.fs
			tree.fs = &hooked{was, func(op, name string) error {
				if op == "mkdir" || op == "rmdir" {
					if steps++; steps > stop {
						return errors.New("power loss")
					}
				}
				return nil
			}}
			err := tree.CreateFolder(t.Context(), "Lists")
			tree.fs = was
			folders, listErr := tree.Folders(t.Context(), nil)
			if listErr != nil {
				t.Fatal(listErr)
			}
			_, scanErr := tree.Scan(t.Context(), "Lists", mail.Letters{})
			// One that is whole and still marked is made once more, since it need not be durable.
			if made := slices.Contains(folderNames(folders), "Lists"); made && scanErr != nil || !made && err == nil {
				t.Errorf("stopped after %d steps with %v: listed %v, scan %v", stop, err, made, scanErr)
			}
			if err == nil {
				break
			}
			if err := tree.CreateFolder(t.Context(), "Lists"); err != nil {
				t.Errorf("made again after %d steps: %v", stop, err)
			}
			if listing, err := tree.Scan(t.Context(), "Lists", mail.Letters{}); err != nil || listing.Files == nil {
				t.Errorf("made again after %d steps: %v", stop, err)
			}
			if left, _ := filepath.Glob(filepath.Join(root, unfinished+"*")); len(left) > 0 {
				t.Errorf("made again after %d steps: %q are left", stop, left)
			}
		}
	}
}

// A directory that is there only for the folders inside comes and goes with them.
func TestABareDirectoryDoesNotStay(t *testing.T) {
	for what, act := range map[string]func(tree *Tree) error{
		"a folder that is made, and is not": func(tree *Tree) error {
			was := tree.fs
			defer func() { tree.fs = was }()
			tree.fs = &hooked{was, func(op, name string) error {
				if op == "rename" {
					return errors.New("power loss")
				}
				return nil
			}}
			if err := tree.CreateFolder(t.Context(), "a/b/c"); err == nil {
				return errors.New("it was made")
			}
			return nil
		},
		"no directory can be removed": func(tree *Tree) error {
			was := tree.fs
			defer func() { tree.fs = was }()
			tree.fs = &hooked{was, func(op, name string) error {
				if op == "rmdir" {
					return errors.New("input/output error")
				}
				return nil
			}}
			err := tree.CreateFolder(t.Context(), "a")
			tree.fs = was
			return errors.Join(err, tree.RemoveFolder(t.Context(), "a"))
		},
		"the last one inside is removed": func(tree *Tree) error {
			return errors.Join(tree.CreateFolder(t.Context(), "a"), tree.CreateFolder(t.Context(), "a/b/c"),
				tree.RemoveFolder(t.Context(), "a"), tree.RemoveFolder(t.Context(), "a/b/c"))
		},
		"the last one inside is renamed": func(tree *Tree) error {
			return errors.Join(tree.CreateFolder(t.Context(), "a"), tree.CreateFolder(t.Context(), "a/b/c"),
				tree.RemoveFolder(t.Context(), "a"), tree.RenameFolder(t.Context(), "a/b/c", "c"))
		},
		"the last one inside is half removed": func(tree *Tree) error {
			err := errors.Join(tree.CreateFolder(t.Context(), "a"), tree.CreateFolder(t.Context(), "a/b"))
			was := tree.fs
			tree.fs = &hooked{was, func(op, name string) error {
				if op == "rmdir" {
					return errors.New("power loss")
				}
				return nil
			}}
			if tree.RemoveFolder(t.Context(), "a/b") == nil {
				err = errors.Join(err, errors.New("a/b was removed"))
			}
			tree.fs = was
			err = errors.Join(err, tree.fs.Rename("a/b", "a/"+interim("b"))) // power loss came before it was taken back
			return errors.Join(err, tree.RemoveFolder(t.Context(), "a"))
		},
		"its removal stops twice": func(tree *Tree) error {
			err := tree.CreateFolder(t.Context(), "a")
			was := tree.fs
			tree.fs = &hooked{was, func(op, name string) error {
				if op == "rmdir" && strings.HasSuffix(name, "cur") || op == "mkdir" && strings.HasSuffix(name, "tmp") {
					return syscall.EIO
				}
				return nil
			}}
			if tree.RemoveFolder(t.Context(), "a") == nil {
				err = errors.Join(err, errors.New("a was removed"))
			}
			tree.fs = &hooked{was, func(op, name string) error {
				if op == "rmdir" && name == "a" {
					return syscall.EIO
				}
				return nil
			}}
			err = errors.Join(err, tree.RemoveFolder(t.Context(), "a"))
			tree.fs = was
			return err
		},
		"the power brings back what was in its tmp": func(tree *Tree) error {
			away := interim("a")
			err := errors.Join(tree.fs.Mkdir(away), tree.fs.Mkdir(away+"/tmp"))
			key, _ := tree.newKey()
			w, failed := tree.fs.Create(away + "/tmp/" + string(key))
			if failed == nil {
				failed = w.Close()
			}
			return errors.Join(err, failed)
		},
		"the one around is removed after it": func(tree *Tree) error {
			return errors.Join(tree.CreateFolder(t.Context(), "a"), tree.CreateFolder(t.Context(), "a/b/c"),
				tree.RemoveFolder(t.Context(), "a/b/c"), tree.RemoveFolder(t.Context(), "a"))
		},
	} {
		tree, root := newTree(t, Options{})
		if err := act(tree); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if exists(t, filepath.Join(root, "a")) {
			t.Errorf("%s: a bare directory stays", what)
		}
		// Nor does what stopped stand in the way of the next one.
		if err := tree.CreateFolder(t.Context(), "a/b/c"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if left, _ := filepath.Glob(filepath.Join(root, unfinished+"*")); len(left) > 0 {
			t.Errorf("%s: %q are left", what, left)
		}
	}
}

// A removal that meets a message, and a disk on which it cannot be taken back, leaves a
// folder that nobody takes for one that is gone.
func TestARemovalThatCannotBeTakenBack(t *testing.T) {
	for _, holds := range []bool{false, true} {
		tree, root := newTree(t, Options{})
		for _, name := range []mail.Folder{"Lists", "Lists/go"} { // so that it cannot go as a whole
			if err := tree.CreateFolder(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		cur := filepath.Join(root, "Lists/cur")
		was := tree.fs
		tree.fs = &hooked{was, func(op, name string) error {
			if op == "rmdir" && strings.HasSuffix(name, "cur") {
				if holds {
					return errors.Join(os.WriteFile(cur+"/new.host:2,", nil, 0o600), syscall.ENOTEMPTY)
				}
				return syscall.ENOSPC
			}
			if op == "mkdir" && !strings.HasSuffix(name, unfinished) {
				return syscall.ENOSPC
			}
			return nil
		}}
		if err := tree.RemoveFolder(t.Context(), "Lists"); err == nil {
			t.Fatal("it was removed")
		}
		tree.fs = was
		// Who knows it ends the removal, or takes it back; who does not need not know of a
		// folder without a message.
		for _, known := range [][]mail.LocalFolder{nil, {{Name: "Lists"}}} {
			folders, err := tree.Folders(t.Context(), known)
			if there := slices.Contains(folderNames(folders), "Lists"); there != (holds && known == nil) || err != nil {
				t.Errorf("with a message %v, known %v: listed %v, %v", holds, known, there, err)
			}
		}
		if err := tree.RemoveFolder(t.Context(), "Lists"); (err != nil) != holds || errors.Is(err, mail.ErrGone) {
			t.Errorf("with a message %v: removed again: %v", holds, err)
		}
		if holds {
			if _, err := tree.Scan(t.Context(), "Lists", mail.Letters{}); err != nil {
				t.Errorf("after a removal that met a message: %v", err)
			}
			continue
		}
		if err := tree.CreateFolder(t.Context(), "Lists"); err != nil {
			t.Errorf("made again: %v", err)
		}
		if _, err := tree.Scan(t.Context(), "Lists", mail.Letters{}); err != nil {
			t.Errorf("made again: %v", err)
		}
	}
}

// A delivery is under way in a folder whose name the power takes back: it is still there
// when the folder is made again.
func TestWhatIsInAHalfMadeFolderStays(t *testing.T) {
	tree, root := newTree(t, Options{})
	for _, name := range []mail.Folder{"Lists", "Lists/go"} {
		if err := tree.CreateFolder(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	put(t, root, "Lists/go/tmp/1.host", "a message")
	if err := os.Rename(filepath.Join(root, "Lists"), filepath.Join(root, interim("Lists"))); err != nil {
		t.Fatal(err)
	}
	tree.place("Lists", "")
	for _, name := range []mail.Folder{"Lists", "Lists/go"} {
		if err := tree.CreateFolder(t.Context(), name); err != nil && !errors.Is(err, mail.ErrExists) {
			t.Fatal(err)
		}
	}
	if got := files(t, filepath.Join(root, "Lists/go/tmp")); len(got) != 1 {
		t.Errorf("tmp/ has %q", got)
	}
	if exists(t, filepath.Join(root, interim("Lists"))) {
		t.Error("the half-made folder is still there")
	}
}

// Nor is one whose removal stopped; and where it holds something, it stays whole.
func TestAHalfRemovedFolderIsNone(t *testing.T) { eachLayout(t, aHalfRemovedFolderIsNone) }

func aHalfRemovedFolderIsNone(t *testing.T, layout Layout) {
	for stop := 0; ; stop++ {
		tree, root := newTree(t, Options{Layout: layout})
		if err := tree.CreateFolder(t.Context(), "Lists"); err != nil {
			t.Fatal(err)
		}
		steps := 0
		was := tree.fs
		tree.fs = &hooked{was, func(op, name string) error {
			if op == "mkdir" || op == "rmdir" || op == "unlink" {
				if steps++; steps > stop {
					return errors.New("power loss")
				}
			}
			return nil
		}}
		err := tree.RemoveFolder(t.Context(), "Lists")
		tree.fs = was
		if err != nil {
			// Who knows nothing of it can end it, too.
			folders, listErr := tree.Folders(t.Context(), nil)
			i := slices.IndexFunc(folders, func(f mail.LocalFolder) bool { return f.Name == "Lists" })
			if half := exists(t, filepath.Join(root, "Lists", unfinished)) || exists(t, filepath.Join(root, ".Lists", unfinished)); half != (i >= 0 && folders[i].Stamp == mail.Stamp{}) || listErr != nil {
				t.Errorf("stopped after %d steps: half a folder %v, listed %v, %v", stop, half, folders, listErr)
			}
		}
		folders, listErr := tree.Folders(t.Context(), []mail.LocalFolder{{Name: "Lists"}})
		_, scanErr := tree.Scan(t.Context(), "Lists", mail.Letters{})
		if there := slices.Contains(folderNames(folders), "Lists"); there != (scanErr == nil) || listErr != nil {
			t.Errorf("stopped after %d steps with %v: listed %v, scan %v, %v", stop, err, there, scanErr, listErr)
		}
		if err == nil {
			if exists(t, filepath.Join(root, "Lists")) || exists(t, filepath.Join(root, ".Lists")) {
				t.Error("the directory is still there")
			}
			break
		}
	}
}

// A folder goes while one inside it is half removed: its bare directory is no damage, and goes
// with that one.
func TestABareDirectoryAroundAHalfRemovedFolder(t *testing.T) {
	tree, root := newTree(t, Options{Layout: Nested})
	mkdirs(t, root, "Lists/cur", "Lists/new", "Lists/tmp", "Lists/go/cur", "Lists/go/new", "Lists/go/tmp")
	known, err := tree.Folders(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	mkdirs(t, root, "Lists/go/"+unfinished)
	for _, dir := range []string{"Lists/cur", "Lists/new", "Lists/tmp", "Lists/go/cur", "Lists/go/new"} {
		if err := os.Remove(filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	folders, err := tree.Folders(t.Context(), known)
	if err != nil {
		t.Fatal(err)
	}
	if names := folderNames(folders); slices.Contains(names, "Lists") {
		t.Errorf("listed %v", names)
	}
	if err := tree.RemoveFolder(t.Context(), "Lists/go"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "Lists")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the bare directory stays: %v", err)
	}
}

// A folder goes while another one lies inside it, and that leaves before base has heard of it:
// the bare directory is no damage, whoever has moved the other one away.
func TestABareDirectoryIsMarkedUntilBaseForgetsIt(t *testing.T) {
	for what, leave := range map[string]func(tree *Tree, root string) error{
		"a program renames it": func(_ *Tree, root string) error {
			return os.Rename(filepath.Join(root, "Lists/go"), filepath.Join(root, "go"))
		},
		"we rename it":              func(tree *Tree, _ string) error { return tree.RenameFolder(t.Context(), "Lists/go", "go") },
		"it is removed":             func(tree *Tree, _ string) error { return tree.RemoveFolder(t.Context(), "Lists/go") },
		"it stays":                  func(*Tree, string) error { return nil },
		"the folder is made again":  func(tree *Tree, _ string) error { return tree.CreateFolder(t.Context(), "Lists") },
		"another one gets its name": func(tree *Tree, _ string) error { return tree.RenameFolder(t.Context(), "Work", "Lists") },
		"a program makes it again": func(_ *Tree, root string) error {
			mkdirs(t, root, "Lists/cur", "Lists/new", "Lists/tmp")
			return nil
		},
	} {
		tree, root := newTree(t, Options{})
		mkdirs(t, root, "Lists/cur", "Lists/new", "Lists/tmp", "Lists/go/cur", "Lists/go/new", "Lists/go/tmp", "Work/cur", "Work/new", "Work/tmp")
		known, err := tree.Folders(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(tree.RemoveFolder(t.Context(), "Lists"), leave(tree, root)); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		folders, err := tree.Folders(t.Context(), known)
		if err != nil {
			t.Fatal(err)
		}
		_, scanErr := tree.Scan(t.Context(), "Lists", mail.Letters{})
		if there := slices.Contains(folderNames(folders), "Lists"); there != (scanErr == nil) {
			t.Errorf("%s: listed %q, scanned: %v", what, folderNames(folders), scanErr)
		}
		if err := tree.ForgetFolder(t.Context(), "Lists"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		_, scanAgain := tree.Scan(t.Context(), "Lists", mail.Letters{})
		if (scanAgain == nil) != (scanErr == nil) {
			t.Errorf("%s: a folder before: %v, and after: %v", what, scanErr, scanAgain)
		}
		if marked := exists(t, filepath.Join(root, "Lists", unfinished)); marked && scanErr != nil {
			t.Errorf("%s: the directory is still marked", what)
		}
		if inside := exists(t, filepath.Join(root, "Lists/go")); scanErr != nil && exists(t, filepath.Join(root, "Lists")) != inside {
			t.Errorf("%s: a directory with nothing in it stays", what)
		}
	}
}

// Whether anything is left in a folder that is removed cannot be read: it stays marked, rather
// than to leave a bare directory, and goes the next time.
func TestAFolderThatCannotBeListedWhenItIsRemoved(t *testing.T) {
	eachLayout(t, aFolderThatCannotBeListedWhenItIsRemoved)
}

func aFolderThatCannotBeListedWhenItIsRemoved(t *testing.T, layout Layout) {
	for fails := 1; ; fails++ {
		tree, root := newTree(t, Options{Layout: layout})
		if err := tree.CreateFolder(t.Context(), "Work"); err != nil {
			t.Fatal(err)
		}
		known, err := tree.Folders(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		was, n := tree.fs, 0
		tree.fs = &hooked{was, func(op, name string) error {
			if op == "readdir" {
				if n++; n == fails || n == fails+1 {
					return errors.New("input/output error")
				}
			}
			return nil
		}}
		_ = tree.RemoveFolder(t.Context(), "Work") // whatever it says of what it could not list
		tree.fs = was
		if n < fails {
			break
		}
		folders, err := tree.Folders(t.Context(), known)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range folders {
			if f.Name == "Work" {
				if err := tree.RemoveFolder(t.Context(), "Work"); err != nil {
					t.Errorf("removed after %d looks: %v", fails, err)
				}
			}
		}
		if left, _ := filepath.Glob(filepath.Join(root, "*Work")); len(left) > 0 {
			t.Errorf("after %d looks %q is left", fails, left)
		}
	}
}

// A message that comes when a folder was found empty is in that folder after a crash, and not in
// a directory where nobody looks.
func TestAMessageThatComesWhenAFolderIsRemoved(t *testing.T) {
	eachLayout(t, aMessageThatComesWhenAFolderIsRemoved)
}

func aMessageThatComesWhenAFolderIsRemoved(t *testing.T, layout Layout) {
	for stop := 0; ; stop++ {
		tree, root := newTree(t, Options{Layout: layout})
		if err := tree.CreateFolder(t.Context(), "Work"); err != nil {
			t.Fatal(err)
		}
		dir, err := tree.Path("Work")
		if err != nil {
			t.Fatal(err)
		}
		was, steps, saved := tree.fs, 0, false
		tree.fs = &hooked{was, func(op, name string) error {
			if op == "mkdir" || op == "rmdir" || op == "rename" {
				if !saved {
					saved = true
					os.WriteFile(filepath.Join(root, dir, "cur", "1.new:2,S"), []byte("Subject: x\n\n"), 0o600)
				}
				if steps++; steps > stop {
					return errors.New("the process was killed")
				}
			}
			return nil
		}}
		err = tree.RemoveFolder(t.Context(), "Work")
		tree.fs = was
		if _, lost := os.Stat(filepath.Join(root, dir, "cur", "1.new:2,S")); lost != nil {
			t.Errorf("stopped after %d steps: %v", stop, lost)
		}
		if err == nil || stop > 20 {
			break
		}
	}
}
