package maildir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

func folderNames(folders []mail.LocalFolder) []string {
	var names []string
	for _, f := range folders {
		if !f.Unfinished {
			names = append(names, string(f.Name))
		}
	}
	return names
}

func mkdirs(t *testing.T, root string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(root, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFoldersAreTheDirectoriesWithCurAndNew(t *testing.T) {
	tree, root := newTree(t, Options{})
	mkdirs(t, root,
		"INBOX/child/cur", "INBOX/child/new", "INBOX/child/tmp",
		"Lists/go/cur", "Lists/go/new", // tmp is made when it is needed
		"%2Ehidden/cur", "%2Ehidden/new",
		"nothing/here",
		".git/cur", ".git/new",
		"inbox/cur", "inbox/new", // INBOX is the one in capitals
		"half/cur",
	)
	if err := os.Symlink("INBOX", filepath.Join(root, "loop")); err != nil {
		t.Fatal(err)
	}
	put(t, root, "file", "")
	folders, err := tree.Folders(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{".hidden", "INBOX", "INBOX/child", "Lists/go", "half"}
	if got := folderNames(folders); !slices.Equal(got, want) {
		t.Errorf("folders %q, want %q", got, want)
	}
	for _, f := range folders {
		if (f.Stamp == mail.Stamp{}) != (f.Name == "half") {
			t.Errorf("folder %q has stamp %v", f.Name, f.Stamp)
		}
	}
	// A folder that lost its new/ has not lost its mail.
	_, err = tree.Scan(t.Context(), "half", mail.Letters{})
	if err == nil || errors.Is(err, mail.ErrGone) {
		t.Errorf("scan of half a folder: %v", err)
	}
	_, err = tree.Scan(t.Context(), "none", mail.Letters{})
	wantErr(t, "scan of no folder", err, mail.ErrGone)
	_, err = tree.Scan(t.Context(), "nothing", mail.Letters{})
	wantErr(t, "scan of a directory of folders", err, mail.ErrGone)
}

func TestAStampIsThatOfTheScan(t *testing.T) {
	tree, root := newTree(t, Options{})
	age(t, root, "INBOX")
	listing, err := tree.Scan(t.Context(), "INBOX", mail.Letters{})
	if err != nil || !listing.Believed {
		t.Fatalf("believed %v, %v", listing.Believed, err)
	}
	stamp := func() mail.Stamp {
		folders, err := tree.Folders(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		return folders[0].Stamp
	}
	if stamp() != listing.Stamp {
		t.Errorf("nothing changed, and stamp %v became %v", listing.Stamp, stamp())
	}
	for _, name := range []string{"INBOX/cur/1", "INBOX/new/1", "INBOX/" + lettersFile} {
		before := stamp()
		put(t, root, name, "")
		if stamp() == before {
			t.Errorf("%s made, and the stamp is still %v", name, before)
		}
		age(t, root, "INBOX")
	}
}

// With nothing changed, a walk reads no directory below the root and takes three
// lstats a folder, and one before and after for the root.
func TestAWalkOverKnownFoldersReadsNoDirectory(t *testing.T) {
	eachLayout(t, aWalkOverKnownFoldersReadsNoDirectory)
}

func aWalkOverKnownFoldersReadsNoDirectory(t *testing.T, layout Layout) {
	tree, root := newTree(t, Options{Layout: layout})
	work, child := "Work/2026", "INBOX/child"
	if layout == MaildirPlus {
		work, child = ".Work.2026", ".INBOX.child"
	}
	for _, name := range []mail.Folder{"INBOX/child", "INBOX/child/deep", "Work"} {
		if err := tree.CreateFolder(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	known, err := tree.Folders(t.Context(), nil)
	if err != nil || len(known) != 4 {
		t.Fatalf("%v, %v", known, err)
	}
	var read []string
	lstats := 0
	hook(t, tree, func(op, name string) error {
		switch op {
		case "readdir":
			read = append(read, name)
		case "lstat":
			lstats++
		}
		return nil
	})
	again, err := tree.Folders(t.Context(), known)
	if err != nil || !slices.Equal(again, known) {
		t.Errorf("%v, %v; want %v", again, err, known)
	}
	if !slices.Equal(read, []string{"."}) || lstats != 3*4+2 {
		t.Errorf("read %q, %d lstats", read, lstats)
	}

	// A folder made by somebody else shows in its parent's time, and is found.
	mkdirs(t, root, work+"/cur", work+"/new")
	again, err = tree.Folders(t.Context(), known)
	if want := []string{"INBOX", "INBOX/child", "INBOX/child/deep", "Work", "Work/2026"}; err != nil || !slices.Equal(folderNames(again), want) {
		t.Errorf("%q, %v; want %q", folderNames(again), err, want)
	}
	// One that known lacks, under a parent that it has, is found where the file system
	// counts links; ext4, xfs and tmpfs do.
	if info, err := tree.fs.Lstat("."); err == nil && info.Links > 1 {
		less := slices.DeleteFunc(slices.Clone(again), func(f mail.LocalFolder) bool { return f.Name == "Work/2026" })
		more, err := tree.Folders(t.Context(), less)
		if err != nil || !slices.Equal(more, again) {
			t.Errorf("%q, %v", folderNames(more), err)
		}
	}
	// A folder that is gone is not made up from what was known.
	if err := os.RemoveAll(filepath.Join(root, child)); err != nil {
		t.Fatal(err)
	}
	want := []string{"INBOX", "Work", "Work/2026"}
	if layout == MaildirPlus { // there no folder is inside another
		want = slices.Insert(want, 1, "INBOX/child/deep")
	}
	again, err = tree.Folders(t.Context(), again)
	if err != nil || !slices.Equal(folderNames(again), want) {
		t.Errorf("%q, %v; want %q", folderNames(again), err, want)
	}
}

func TestAFolderThatCannotBeLookedAtIsNotGone(t *testing.T) {
	tree, _ := newTree(t, Options{})
	for _, name := range []mail.Folder{"A", "A/B"} {
		if err := tree.CreateFolder(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	known, err := tree.Folders(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, denied := range []string{"A", "A/"} { // by the directory around it, or by its own mode
		hook(t, tree, func(op, name string) error {
			if strings.HasPrefix(name, denied) || name == "A" && op == "readdir" {
				return os.ErrPermission
			}
			return nil
		})
		folders, err := tree.Folders(t.Context(), known)
		if want := []string{"A", "A/B", "INBOX"}; err != nil || !slices.Equal(folderNames(folders), want) {
			t.Errorf("%q, %v; want %q", folderNames(folders), err, want)
		}
		for _, f := range folders[:2] {
			if f.Stamp != (mail.Stamp{}) {
				t.Errorf("a folder that nobody looked at has the stamp %v", f.Stamp)
			}
			if _, err := tree.Scan(t.Context(), f.Name, mail.Letters{}); !errors.Is(err, os.ErrPermission) {
				t.Errorf("scan of %s: %v", f.Name, err)
			}
		}
	}
}

// Something that is not the folder stands where the folder was. That is no removal,
// unless our own was interrupted.
func TestAFolderThatIsBlockedIsNotGone(t *testing.T) {
	for name, c := range map[string]struct {
		block func(root string) error
		there []string
	}{
		"nothing":                  {func(string) error { return nil }, []string{"INBOX"}},
		"a file":                   {func(root string) error { return os.WriteFile(root+"/A", nil, 0o600) }, []string{"A", "A/B", "INBOX"}},
		"a link to nowhere":        {func(root string) error { return os.Symlink("nowhere", root+"/A") }, []string{"A", "A/B", "INBOX"}},
		"a link to another folder": {func(root string) error { return os.Symlink("INBOX", root+"/A") }, []string{"A", "A/B", "INBOX"}},
		"a bare directory":         {func(root string) error { return os.Mkdir(root+"/A", 0o700) }, []string{"A", "A/B", "INBOX"}},
		"a file inside": {func(root string) error {
			return errors.Join(os.Mkdir(root+"/A", 0o700), os.WriteFile(root+"/A/B", nil, 0o600))
		}, []string{"A", "A/B", "INBOX"}},
		"a folder inside":        {func(root string) error { return os.MkdirAll(root+"/A/C/cur", 0o700) }, []string{"A/C", "INBOX"}},
		"an interrupted removal": {func(root string) error { return os.MkdirAll(root+"/A/"+unfinished, 0o700) }, []string{"INBOX"}},
	} {
		t.Run(name, func(t *testing.T) {
			tree, root := newTree(t, Options{})
			for _, name := range []mail.Folder{"A", "A/B"} {
				if err := tree.CreateFolder(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
			known, err := tree.Folders(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.RemoveAll(root+"/A"), c.block(root)); err != nil {
				t.Fatal(err)
			}
			folders, err := tree.Folders(t.Context(), known)
			if err != nil || !slices.Equal(folderNames(folders), c.there) {
				t.Errorf("%q, %v; want %q", folderNames(folders), err, c.there)
			}
			for _, f := range folders {
				_, err := tree.Scan(t.Context(), f.Name, mail.Letters{})
				if blocked := f.Stamp == (mail.Stamp{}); blocked != (err != nil) {
					t.Errorf("%s has the stamp %v, and its scan gives %v", f.Name, f.Stamp, err)
				}
			}
		})
	}
}

func TestFoldersAreMadeAndRemoved(t *testing.T) { eachLayout(t, foldersAreMadeAndRemoved) }

func foldersAreMadeAndRemoved(t *testing.T, layout Layout) {
	tree, root := newTree(t, Options{FSync: true, Layout: layout})
	long := mail.Folder(strings.Repeat("ü", 150) + "/" + strings.Repeat("x", 300))
	ctx := t.Context()
	wantErr(t, "INBOX again", tree.CreateFolder(ctx, "INBOX"), mail.ErrExists)
	for _, name := range []mail.Folder{"../up", "Lists/go", "Lists", "a.b/c", "AC%2FDC", "%0A", "cur", "Grüße/受信", "mailtwin", long, long + "/in"} {
		if err := tree.CreateFolder(ctx, name); err != nil {
			t.Fatal(err)
		}
		f := land(t, tree, name, "x\r\n", flags(`\Seen`), mail.Letters{})
		if err := tree.RemoveFolder(ctx, name); err == nil {
			t.Errorf("%q was removed with a message in it", name)
		}
		if _, err := tree.Stat(ctx, name, f); err != nil {
			t.Errorf("after a refused removal: %v", err)
		}
		if listing, err := tree.Scan(ctx, name, mail.Letters{}); err != nil || listing.Files == nil {
			t.Errorf("after a refused removal: %v", err)
		}
		if err := tree.Remove(ctx, name, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.RemoveFolder(ctx, "Lists"); err != nil { // Lists/go stays
		t.Fatal(err)
	}
	if err := tree.RemoveFolder(ctx, "cur"); err != nil {
		t.Fatal(err)
	}
	if err := tree.RemoveFolder(ctx, long); err != nil { // long/in stays
		t.Fatal(err)
	}
	if err := tree.RemoveFolder(ctx, "INBOX"); err == nil {
		t.Error("INBOX was removed")
	}
	wantErr(t, "Lists again", tree.RemoveFolder(ctx, "Lists"), mail.ErrGone)
	folders, err := tree.Folders(ctx, nil)
	if want := []string{"%0A", "../up", "AC%2FDC", "Grüße/受信", "INBOX", "Lists/go", "a.b/c", "mailtwin", string(long + "/in")}; err != nil || !slices.Equal(folderNames(folders), want) {
		t.Errorf("%q, %v; want %q", folderNames(folders), err, want)
	}
	if out := files(t, filepath.Dir(root)); slices.ContainsFunc(out, func(n string) bool {
		return !strings.HasPrefix(n, "Mail/") && !strings.HasPrefix(n, "state/")
	}) {
		t.Errorf("files outside the Maildir: %q", out)
	}
	// Another program, or the next run, finds the same.
	other, err := Open(root, Options{Layout: layout})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	again, err := other.Folders(ctx, folders)
	if err != nil || !slices.Equal(again, folders) {
		t.Errorf("%q, %v; want %q", folderNames(again), err, folderNames(folders))
	}
	for _, f := range folders {
		if f.Name == "INBOX" {
			continue
		}
		if listing, err := other.Scan(ctx, f.Name, mail.Letters{}); err != nil || listing.Stamp != f.Stamp {
			t.Errorf("scan of %q: stamp %v, %v; want %v", f.Name, listing.Stamp, err, f.Stamp)
		}
		if err := other.RemoveFolder(ctx, f.Name); err != nil {
			t.Error(err)
		}
	}
	if left := files(t, root); layout == MaildirPlus && len(left) > 0 {
		t.Errorf("files left: %q", left)
	}
}

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

func TestSweepTakesOldLeftoversOnly(t *testing.T) {
	now := time.Now()
	tree, root := newTree(t, Options{Now: func() time.Time { return now }})
	for _, name := range []string{"abandoned", "landing", ".hidden"} {
		put(t, root, "INBOX/tmp/"+name, "")
		// A message's time is its date, and says nothing about how old the file is.
		if err := os.Chtimes(filepath.Join(root, "INBOX/tmp", name), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	mkdirs(t, root, "INBOX/tmp/directory")
	keep := func(k mail.Key) bool { return k == "landing" }
	left := func() []string {
		if err := tree.Sweep(t.Context(), "INBOX", keep); err != nil {
			t.Fatal(err)
		}
		return files(t, filepath.Join(root, "INBOX/tmp"))
	}
	now = now.Add(35 * time.Hour)
	if got := left(); len(got) != 3 {
		t.Errorf("after 35 hours: %q", got)
	}
	now = now.Add(2 * time.Hour)
	if got := left(); !slices.Equal(got, []string{"landing"}) {
		t.Errorf("after 37 hours: %q", got)
	}
}
