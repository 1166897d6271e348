package maildir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailtwin/conflict/mail"
)

// noon is a day in these tests.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// newStore opens a Maildir whose clock stands at *now, and gives its store, too.
func newStore(t *testing.T, now *time.Time) (*Tree, string, string) {
	t.Helper()
	removed := filepath.Join(t.TempDir(), "state", "removed")
	tree, root := newTree(t, Options{FSync: true, Removed: removed, Now: func() time.Time { return *now }})
	if exists(t, removed) {
		t.Error("the store was made before anything was removed")
	}
	return tree, root, removed
}

func TestARemovedMessageIsKept(t *testing.T) {
	for _, link := range []bool{true, false} {
		now := noon
		tree, root, removed := newStore(t, &now)
		if err := tree.CreateFolder(t.Context(), "Lists/.go"); err != nil {
			t.Fatal(err)
		}
		if !link { // as on another file system
			hook(t, tree, func(op, name string) error {
				if op == "link" {
					return unix.EXDEV
				}
				return nil
			})
		}
		f := land(t, tree, "Lists/.go", wireMessage, flags(`\Seen`), mail.Letters{})
		st, err := tree.Stat(t.Context(), "Lists/.go", f)
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.Remove(t.Context(), "Lists/.go", f); err != nil {
			t.Fatal(err)
		}
		_, err = tree.Stat(t.Context(), "Lists/.go", f)
		wantErr(t, "the message", err, mail.ErrGone)
		kept := "20261123/Lists/%2Ego/cur/" + f.Name
		if got := files(t, removed); !slices.Equal(got, []string{kept}) {
			t.Fatalf("store: %q, want %q", got, kept)
		}
		info, err := os.Stat(filepath.Join(removed, kept))
		if err != nil || info.ModTime().UnixNano() != st.ModTime || info.Size() != st.Size || info.Mode() != 0o600 {
			t.Errorf("kept: %v, %v", info, err)
		}
		if info, err := os.Stat(removed); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("store: %v, %v", info, err)
		}
		err = tree.Remove(t.Context(), "Lists/.go", f)
		wantErr(t, "removed again", err, mail.ErrGone)
		if left := files(t, root); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	}
}

func TestTwoMessagesOfOneNameAreBothKept(t *testing.T) {
	now := noon
	tree, root, removed := newStore(t, &now)
	for _, text := range []string{"one", "two", "three"} {
		put(t, root, "INBOX/cur/a:2,S", text)
		if err := tree.Remove(t.Context(), "INBOX", mail.File{Name: "a:2,S"}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"20261123/INBOX/cur/a:2,S", "20261123.1/INBOX/cur/a:2,S", "20261123.2/INBOX/cur/a:2,S"}
	if got := files(t, removed); !slices.Equal(got, want) {
		t.Errorf("store: %q, want %q", got, want)
	}
}

// A reader sets a flag and takes it back in the moment of the removal: that is no error.
func TestARemovalMeetsAReader(t *testing.T) {
	now := noon
	tree, root, removed := newStore(t, &now)
	put(t, root, "INBOX/cur/a:2,S", "text")
	links := 0
	hook(t, tree, func(op, name string) error {
		if op != "link" {
			return nil
		}
		if links++; links == 1 {
			return unix.ENOENT
		}
		return nil
	})
	if err := tree.Remove(t.Context(), "INBOX", mail.File{Name: "a:2,S"}); err != nil {
		t.Error(err)
	}
	if exists(t, filepath.Join(root, "INBOX/cur/a:2,S")) || len(files(t, removed)) != 1 {
		t.Errorf("it is not removed, or not kept: %q", files(t, removed))
	}
}

// Power loss, or a crash, at each call: the message is in its folder, or kept, or
// both; doing it again removes it, and keeps it once.
func TestARemovalMayStopAnywhere(t *testing.T) {
	for _, link := range []bool{true, false} {
		for stop := 0; ; stop++ {
			now := noon
			tree, root, removed := newStore(t, &now)
			put(t, root, "INBOX/cur/a:2,S", "text")
			steps := 0
			was := tree.fs
			stopped := errors.New("power loss")
			tree.fs = &hooked{was, func(op, name string) error {
				if op == "link" && !link {
					return unix.EXDEV
				}
				if op != "lstat" {
					if steps++; steps > stop {
						return stopped
					}
				}
				return nil
			}}
			err := tree.Remove(t.Context(), "INBOX", mail.File{Name: "a:2,S"})
			tree.fs = was
			there, kept := exists(t, filepath.Join(root, "INBOX/cur/a:2,S")), len(files(t, removed))
			if !there && kept == 0 {
				t.Fatalf("stopped after %d steps: the message is lost", stop)
			}
			if err == nil {
				if there || kept != 1 {
					t.Errorf("removed: there %v, kept %d times", there, kept)
				}
				break
			}
			if there {
				if err := tree.Remove(t.Context(), "INBOX", mail.File{Name: "a:2,S"}); err != nil {
					t.Errorf("removed again after %d steps: %v", stop, err)
				}
			}
			// A copy made before cannot be told from another message of that name.
			if kept := len(files(t, removed)); kept != 1 && link {
				t.Errorf("stopped after %d steps: kept %d times", stop, kept)
			}
		}
	}
}

// A reader that renames the message first has changed it: that wins.
func TestAMessageRenamedMeanwhileIsNotRemoved(t *testing.T) {
	for _, when := range []string{"link", "unlink"} {
		now := noon
		tree, root, removed := newStore(t, &now)
		put(t, root, "INBOX/cur/a:2,", "text")
		hook(t, tree, func(op, name string) error {
			if op == when && strings.HasPrefix(name, "INBOX") {
				return os.Rename(filepath.Join(root, "INBOX/cur/a:2,"), filepath.Join(root, "INBOX/cur/a:2,F"))
			}
			return nil
		})
		err := tree.Remove(t.Context(), "INBOX", mail.File{Name: "a:2,"})
		wantErr(t, "renamed before "+when, err, mail.ErrGone)
		if got := content(t, filepath.Join(root, "INBOX/cur/a:2,F")); got != "text" {
			t.Errorf("the message became %q", got)
		}
		if got := files(t, removed); len(got) != 0 {
			t.Errorf("kept what was not removed: %q", got)
		}
	}
}

func TestWithoutAStoreNothingIsRemoved(t *testing.T) {
	now := noon
	tree, root, removed := newStore(t, &now)
	put(t, filepath.Dir(filepath.Dir(removed)), "state", "a file where the store should be")
	put(t, root, "INBOX/cur/a", "text")
	if err := tree.Remove(t.Context(), "INBOX", mail.File{Name: "a"}); err == nil || !exists(t, filepath.Join(root, "INBOX/cur/a")) {
		t.Errorf("removed without being kept: %v", err)
	}
}

func TestRemovedMessagesArePurgedByDays(t *testing.T) {
	now := noon
	tree, root, removed := newStore(t, &now)
	if err := tree.PurgeRemoved(t.Context(), now); err != nil { // nothing there yet
		t.Fatal(err)
	}
	if exists(t, removed) {
		t.Error("purging made the store")
	}
	for range 10 {
		put(t, root, "INBOX/cur/a", now.String())
		if err := tree.Remove(t.Context(), "INBOX", mail.File{Name: "a"}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(24 * time.Hour)
	}
	put(t, removed, "20200101.notes/x", "")
	put(t, removed, "readme", "")
	if err := os.Symlink(root, filepath.Join(removed, "20261123", "link")); err != nil {
		t.Fatal(err)
	}
	if err := tree.PurgeRemoved(t.Context(), noon.Add(7*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, want := dirNames(t, removed), []string{"20261130", "20261201", "20261202", "readme"}; !slices.Equal(got, want) {
		t.Errorf("left: %q; want %q", got, want)
	}
	if !exists(t, filepath.Join(root, "INBOX/cur")) {
		t.Error("purging followed a link")
	}
}

// The store loses its oldest days first, and never the last one.
func TestTheStoreIsBounded(t *testing.T) {
	now := noon
	tree, root, removed := newStore(t, &now)
	if err := tree.BoundRemoved(t.Context(), 0, now); err != nil || exists(t, removed) { // nothing there yet
		t.Fatalf("the store was made, or %v", err)
	}
	for range 5 {
		for _, name := range []string{"a", "b"} {
			put(t, root, "INBOX/cur/"+name, strings.Repeat("x", 50))
			if err := tree.Remove(t.Context(), "INBOX", mail.File{Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(24 * time.Hour)
	}
	for _, c := range []struct {
		limit int64
		days  []string
	}{
		{500, []string{"20261123", "20261124", "20261125", "20261126", "20261127"}},
		{499, []string{"20261124", "20261125", "20261126", "20261127"}},
		{250, []string{"20261126", "20261127"}},
		{0, []string{"20261127"}},
	} {
		if err := tree.BoundRemoved(t.Context(), c.limit, now.Add(-24*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := dirNames(t, removed); !slices.Equal(got, c.days) {
			t.Errorf("with a limit of %d: %q are left, want %q", c.limit, got, c.days)
		}
	}
}

// dirNames are the names in a directory.
func dirNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestARemovedMessageComesBackAsANewOne(t *testing.T) {
	for _, link := range []bool{true, false} {
		now := noon
		tree, root, removed := newStore(t, &now)
		if err := tree.Removed(t.Context(), func(Removed) error { return errors.New("something is there") }); err != nil {
			t.Fatal(err)
		}
		if err := tree.CreateFolder(t.Context(), "Lists/go"); err != nil {
			t.Fatal(err)
		}
		was := land(t, tree, "Lists/go", wireMessage, flags(`\Flagged`, "work"), work)
		unread := land(t, tree, "INBOX", "\r\nno header\r\n", mail.Flags{}, work)
		for folder, f := range map[mail.Folder]mail.File{"Lists/go": was, "INBOX": unread} {
			if err := tree.Remove(t.Context(), folder, f); err != nil {
				t.Fatal(err)
			}
		}
		if err := tree.RemoveFolder(t.Context(), "Lists/go"); err != nil {
			t.Fatal(err)
		}
		var found []Removed
		if err := tree.Removed(t.Context(), func(r Removed) error { found = append(found, r); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(found) != 2 || found[0].Folder != "INBOX" || found[0].MessageID != "" || !found[0].File.New ||
			found[1].Folder != "Lists/go" || found[1].MessageID != "<1@x>" || found[1].File.Key != was.Key ||
			time.Since(found[1].At) > time.Hour {
			t.Fatalf("found %+v", found)
		}
		if !link {
			tree.store = noLinks{tree.store}
		}
		for _, r := range found {
			f, err := tree.Restore(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if f.Key == r.File.Key || f.New != r.File.New {
				t.Errorf("%+v came back as %+v", r, f)
			}
			st, err := tree.Stat(t.Context(), r.Folder, f)
			if err != nil || st.ModTime != r.Stat.ModTime || st.Size != r.Stat.Size || st.Inode != f.Inode {
				t.Errorf("restored: %+v, %v; want %+v", st, err, r.Stat)
			}
			_, err = tree.Restore(t.Context(), r)
			wantErr(t, "restored again", err, mail.ErrGone)
		}
		if got := content(t, filepath.Join(root, "Lists/go/cur", files(t, filepath.Join(root, "Lists/go/cur"))[0])); got != strings.ReplaceAll(wireMessage, "\r\n", "\n") {
			t.Errorf("restored %q", got)
		}
		if left := files(t, removed); len(left) != 0 {
			t.Errorf("still in the store: %q", left)
		}
		if left := files(t, filepath.Join(root, "Lists/go")); len(left) != 1 || !strings.HasSuffix(left[0], ":2,Fa") {
			t.Errorf("folder: %q", left)
		}
	}
}

// noLinks is a store on a disk of its own.
type noLinks struct{ FS }

func (noLinks) Link(string, FS, string) error { return unix.EXDEV }

func TestWhatIsKeptIsDurableBeforeItIsRemoved(t *testing.T) {
	now := noon
	tree, root, _ := newStore(t, &now)
	put(t, root, "INBOX/cur/a", "text")
	put(t, root, "INBOX/cur/b", "text")
	store, err := tree.openStore()
	if err != nil {
		t.Fatal(err)
	}
	// A run before has made it, and come no further.
	if err := store.Mkdir("20261123"); err != nil {
		t.Fatal(err)
	}
	var steps []string
	note := func(op, name string) error {
		if op == "sync" || op == "unlink" {
			steps = append(steps, op+" "+name)
		}
		return nil
	}
	tree.fs, tree.store = &hooked{linksTo{tree.fs, store}, note}, &hooked{store, note}
	for _, name := range []string{"a", "b"} {
		if err := tree.Remove(t.Context(), "INBOX", mail.File{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"sync .", "sync 20261123", "sync 20261123/INBOX", // for each directory, once
		"sync 20261123/INBOX/cur/a", "sync 20261123/INBOX/cur",
		"unlink INBOX/cur/a",
		"sync 20261123/INBOX/cur/b", "sync 20261123/INBOX/cur", "unlink INBOX/cur/b",
	}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
}

// linksTo links into store, whatever stands around it.
type linksTo struct {
	FS
	store FS
}

func (l linksTo) Link(name string, _ FS, as string) error { return l.FS.Link(name, l.store, as) }
