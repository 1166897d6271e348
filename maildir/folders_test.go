package maildir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	for _, name := range []mail.Folder{"Lists", long, "cur"} {
		if err := tree.ForgetFolder(ctx, name); err != nil {
			t.Error(err)
		}
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
