package maildir

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// newTree opens an empty Maildir with an INBOX.
func newTree(t testing.TB, opts Options) (*Tree, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "Mail")
	if err := Init(root); err != nil {
		t.Fatal(err)
	}
	if opts.Removed == "" {
		opts.Removed = filepath.Join(filepath.Dir(root), "state", "removed")
	}
	tree, err := Open(root, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := tree.CreateFolder(t.Context(), "INBOX"); err != nil {
		t.Fatal(err)
	}
	return tree, root
}

// hooked is an FS that asks before each call, and fails where it is told to.
type hooked struct {
	FS
	before func(op, name string) error
}

func hook(t testing.TB, tree *Tree, before func(op, name string) error) {
	was := tree.fs
	tree.fs = &hooked{was, before}
	t.Cleanup(func() { tree.fs = was })
}

func (h *hooked) Open(name string) (Reader, error) {
	if err := h.before("open", name); err != nil {
		return nil, err
	}
	return h.FS.Open(name)
}

func (h *hooked) Create(name string) (io.WriteCloser, error) {
	if err := h.before("create", name); err != nil {
		return nil, err
	}
	return h.FS.Create(name)
}

func (h *hooked) Sync(names ...string) error {
	for _, name := range names {
		if err := h.before("sync", name); err != nil {
			return err
		}
	}
	return h.FS.Sync(names...)
}

func (h *hooked) Link(name string, to FS, as string) error {
	if err := h.before("link", name); err != nil {
		return err
	}
	return h.FS.Link(name, to, as)
}

func (h *hooked) Rename(from, to string) error {
	if err := h.before("rename", from); err != nil {
		return err
	}
	return h.FS.Rename(from, to)
}

func (h *hooked) Unlink(name string) error {
	if err := h.before("unlink", name); err != nil {
		return err
	}
	return h.FS.Unlink(name)
}

func (h *hooked) Mkdir(name string) error {
	if err := h.before("mkdir", name); err != nil {
		return err
	}
	return h.FS.Mkdir(name)
}

func (h *hooked) Rmdir(name string) error {
	if err := h.before("rmdir", name); err != nil {
		return err
	}
	return h.FS.Rmdir(name)
}

func (h *hooked) ReadDir(name string, each func(Entry)) error {
	if err := h.before("readdir", name); err != nil {
		return err
	}
	return h.FS.ReadDir(name, each)
}

func (h *hooked) Lstat(name string) (Info, error) {
	if err := h.before("lstat", name); err != nil {
		return Info{}, err
	}
	return h.FS.Lstat(name)
}

// put writes a file below root.
func put(t testing.TB, root, name, content string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// age makes the directories of a folder look as if nothing had happened for an hour.
func age(t testing.TB, root, folder string) {
	t.Helper()
	old := time.Now().Add(-time.Hour).Truncate(time.Second).Add(123456789)
	for _, sub := range []string{"cur", "new", "."} {
		if err := os.Chtimes(filepath.Join(root, folder, sub), old, old); err != nil {
			t.Fatal(err)
		}
	}
}

func exists(t testing.TB, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

func content(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files gives all names below dir, without directories.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

// land brings a message all the way into a folder.
func land(t testing.TB, tree *Tree, folder mail.Folder, wire string, flags mail.Flags, letters mail.Letters) mail.File {
	t.Helper()
	ctx := context.Background()
	in, err := tree.Create(ctx, folder, time.Unix(1e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte(wire)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := tree.Harden(ctx, folder, []mail.Key{in.Key()}); err != nil {
		t.Fatal(err)
	}
	f, err := tree.Publish(ctx, folder, in.Key(), flags, letters)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.SyncFolder(ctx, folder); err != nil {
		t.Fatal(err)
	}
	return f
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v; want %v", what, err, want)
	}
}

func TestAMaildirThatIsNotThereIsMissing(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(filepath.Join(dir, "none"), Options{})
	wantErr(t, "no directory", err, mail.ErrMissing)
	put(t, dir, "file", "")
	_, err = Open(filepath.Join(dir, "file"), Options{})
	wantErr(t, "a file", err, mail.ErrMissing)
	if exists(t, filepath.Join(dir, "none")) {
		t.Error("Open made the root")
	}
}

// An unmounted disk leaves its mount point; a restored backup takes the place of
// what was there. Neither is a Maildir from which everything was removed.
func TestAMaildirThatGoesAwayIsMissingNotEmpty(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		tree, root := newTree(t, Options{})
		f := land(t, tree, "INBOX", "Subject: x\r\n\r\n", mail.Flags{}, mail.Letters{})
		if err := os.Rename(root, root+".away"); err != nil {
			t.Fatal(err)
		}
		if replaced {
			for _, sub := range []string{"cur", "new", "tmp"} {
				if err := os.MkdirAll(filepath.Join(root, "INBOX", sub), 0o700); err != nil {
					t.Fatal(err)
				}
			}
		}
		ctx := t.Context()
		_, err := tree.Folders(ctx, nil)
		wantErr(t, "Folders", err, mail.ErrMissing)
		_, err = tree.Stat(ctx, "INBOX", f)
		wantErr(t, "Stat", err, mail.ErrMissing)
		_, err = tree.Scan(ctx, "INBOX", mail.Letters{})
		wantErr(t, "Scan", err, mail.ErrMissing)
	}
}

func TestTheRootMayBeALink(t *testing.T) {
	_, root := newTree(t, Options{})
	link := root + ".link"
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	tree, err := Open(link, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	folders, err := tree.Folders(t.Context(), nil)
	if err != nil || len(folders) != 1 || folders[0].Name != "INBOX" {
		t.Errorf("folders %v, %v", folders, err)
	}
}

func TestMarkers(t *testing.T) {
	tree, root := newTree(t, Options{FSync: true})
	ctx := t.Context()
	if m, err := tree.Marker(ctx, "INBOX"); err != nil || m != (mail.Marker{}) {
		t.Errorf("no marker yet: %v, %v", m, err)
	}
	for generation := range int64(3) {
		want := mail.Marker{Account: "al\nice \"x\"", Folder: "d0e1", Generation: generation}
		if err := tree.SetMarker(ctx, "INBOX", want); err != nil {
			t.Fatal(err)
		}
		if m, err := tree.Marker(ctx, "INBOX"); err != nil || m != want {
			t.Errorf("marker %v, %v; want %v", m, err, want)
		}
	}
	for _, damaged := range []string{"", "mailtwin 1\n", "mailtwin 2\naccount \"a\"\nfolder \"b\"\ngeneration 3\n", strings.Repeat("x", 1<<20)} {
		put(t, root, "INBOX/"+markerFile, damaged)
		if m, err := tree.Marker(ctx, "INBOX"); err != nil || m != (mail.Marker{}) {
			t.Errorf("damaged marker: %v, %v", m, err)
		}
	}
	if left := files(t, filepath.Join(root, "INBOX/tmp")); len(left) != 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

func TestATornMarkerIsNone(t *testing.T) {
	whole := mail.Marker{Account: "alice", Folder: "KX5Q", Generation: 1234}
	text := formatMarker(whole)
	if got := parseMarker([]byte(text)); got != whole {
		t.Errorf("%q is %v", text, got)
	}
	for n := range len(text) {
		if got := parseMarker([]byte(text[:n])); got != (mail.Marker{}) {
			t.Errorf("%q is %v", text[:n], got)
		}
	}
}

func FuzzMarker(f *testing.F) {
	f.Add([]byte("mailtwin 1\naccount \"a\"\nfolder \"b\"\ngeneration 3\n"))
	f.Add([]byte("mailtwin 1\naccount \"\\x00\"\nfolder \"b\"\ngeneration -3\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m := parseMarker(text)
		if again := parseMarker([]byte(formatMarker(m))); again != m {
			t.Errorf("%v became %v", m, again)
		}
	})
}

func TestLettersAreReadTolerantly(t *testing.T) {
	for text, want := range map[string]mail.Letters{
		"":                              {},
		"0 $Junk\n1 work\n":             {0: "$Junk", 1: "work"},
		"25 last\r\n26 beyond\n-1 no\n": {25: "last"},
		"junk\n\n3\n4 \nx y\n2 ok":      {2: "ok"},
		"0 first\n0 second\n":           {0: "first"},
		"0 two words\n1 a)b\n2 \x1b[0m\n3 \xff\n4 fine\n": {4: "fine"},
		"0 " + strings.Repeat("x", 300) + "\n":            {},
	} {
		if got := parseLetters([]byte(text)); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func FuzzLetters(f *testing.F) {
	f.Add([]byte("0 $Junk\n1 work\n"))
	f.Add([]byte("99 x\n0  \n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		letters := parseLetters(text)
		if again := parseLetters(formatLetters(letters)); again != letters {
			t.Errorf("%v became %v", letters, again)
		}
	})
}

func TestLettersAreWrittenOnce(t *testing.T) {
	tree, root := newTree(t, Options{FSync: true})
	ctx := t.Context()
	if err := tree.SetLetters(ctx, "INBOX", mail.Letters{0: "$Junk", 3: "work", 4: "no word"}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, filepath.Join(root, "INBOX", lettersFile)); got != "0 $Junk\n3 work\n" {
		t.Errorf("%q", got)
	}
	age(t, root, "INBOX")
	before, err := tree.Folders(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.SetLetters(ctx, "INBOX", mail.Letters{0: "$Junk", 3: "work"}); err != nil {
		t.Fatal(err)
	}
	after, err := tree.Folders(ctx, nil)
	if err != nil || !slices.Equal(before, after) {
		t.Errorf("writing the same letters changed the folder: %v, %v; %v", before, after, err)
	}
	// A link in their place is neither followed nor written through.
	outside := filepath.Join(t.TempDir(), "outside")
	put(t, filepath.Dir(outside), "outside", "0 stolen\n")
	letters := filepath.Join(root, "INBOX", lettersFile)
	if err := os.Remove(letters); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, letters); err != nil {
		t.Fatal(err)
	}
	listing, err := tree.Scan(ctx, "INBOX", mail.Letters{5: "kept"})
	if err != nil || listing.Letters != (mail.Letters{5: "kept"}) || len(listing.Problems) != 1 {
		t.Errorf("letters %v, problems %v, %v", listing.Letters, listing.Problems, err)
	}
	if err := tree.SetLetters(ctx, "INBOX", mail.Letters{1: "x"}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, outside); got != "0 stolen\n" {
		t.Errorf("wrote through the link: %q", got)
	}
}
