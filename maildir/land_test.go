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

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"mailtwin/conflict/mail"
)

const wireMessage = "Message-ID: <1@x>\r\nSubject: hello\r\n\r\nbody\r\nlone\nlast"

func TestAMessageLandsExactly(t *testing.T) {
	tree, root := newTree(t, Options{FSync: true})
	ctx := t.Context()
	date := time.Date(2001, 9, 9, 1, 46, 40, 0, time.UTC)
	in, err := tree.Create(ctx, "INBOX", date)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(wireMessage) { // in the smallest pieces
		if _, err := in.Write([]byte{wireMessage[i]}); err != nil {
			t.Fatal(err)
		}
	}
	id, st, err := in.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var m mail.Measure
	io.WriteString(&m, wireMessage)
	if id != m.IdentityInBase() || id.MessageID != "<1@x>" {
		t.Errorf("identity %+v, want %+v", id, m.Identity())
	}
	tmp := filepath.Join(root, "INBOX/tmp", string(in.Key()))
	if got, want := content(t, tmp), strings.ReplaceAll(wireMessage, "\r\n", "\n"); got != want {
		t.Errorf("file %q, want %q", got, want)
	}
	info, err := os.Stat(tmp)
	if err != nil || info.Mode() != 0o600 || !info.ModTime().Equal(date) || st.ModTime != date.UnixNano() || st.Size != info.Size() {
		t.Errorf("mode %v, time %v, stat %+v, %v", info.Mode(), info.ModTime(), st, err)
	}
	if err := tree.Harden(ctx, "INBOX", []mail.Key{in.Key()}); err != nil {
		t.Fatal(err)
	}
	f, err := tree.Publish(ctx, "INBOX", in.Key(), mail.Flags{}, mail.Letters{})
	if err != nil || !f.New || f.Name != string(in.Key()) || f.Inode != st.Inode {
		t.Fatalf("published as %+v, %v", f, err)
	}
	if now, err := tree.Stat(ctx, "INBOX", f); err != nil || now != st {
		t.Errorf("stat %+v, %v; want %+v", now, err, st)
	}
	in.Discard() // does nothing any more
	if !exists(t, filepath.Join(root, "INBOX/new", f.Name)) || exists(t, tmp) {
		t.Error("the message is not in new/, or not only there")
	}
	_, err = tree.Publish(ctx, "INBOX", in.Key(), mail.Flags{}, mail.Letters{})
	wantErr(t, "published again", err, mail.ErrGone)
}

func TestOnlyMessagesWithoutFlagsAreNew(t *testing.T) {
	tree, _ := newTree(t, Options{})
	for _, test := range []struct {
		flags mail.Flags
		dir   string
		tail  string
	}{
		{flags(), "new", ""},
		{flags(`\Seen`), "cur", ":2,S"},
		{flags("work", `\Flagged`), "cur", ":2,Fa"},
		{flags("unheard-of"), "cur", ":2,"},
	} {
		f := land(t, tree, "INBOX", wireMessage, test.flags, work)
		if subdir(f.New) != test.dir || f.Name != string(f.Key)+test.tail {
			t.Errorf("%v: %s/%s", test.flags, subdir(f.New), f.Name)
		}
		if test.tail != ":2," && !f.Flags.Equal(test.flags) {
			t.Errorf("%v: the name says %v", test.flags, f.Flags)
		}
	}
}

func TestKeysAreUniqueEvenIfChanceIsNot(t *testing.T) {
	now := time.Unix(5, 0)
	tree, root := newTree(t, Options{Rand: zeros{}, Now: func() time.Time { return now }})
	key, err := tree.newKey()
	if err != nil || strings.ContainsAny(string(key), "/:,") || key[0] == '.' {
		t.Fatalf("key %q, %v", key, err)
	}
	put(t, root, "INBOX/tmp/"+strings.Replace(string(key), "Q1P", "Q2P", 1), "")
	in, err := tree.Create(t.Context(), "INBOX", now)
	if err != nil || !strings.Contains(string(in.Key()), "Q3P") {
		t.Fatalf("key %q, %v", in.Key(), err)
	}
	in.Discard()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestALostTmpIsMadeAgain(t *testing.T) {
	tree, root := newTree(t, Options{})
	if err := os.Remove(filepath.Join(root, "INBOX/tmp")); err != nil {
		t.Fatal(err)
	}
	if f := land(t, tree, "INBOX", wireMessage, mail.Flags{}, mail.Letters{}); !f.New {
		t.Errorf("landed as %+v", f)
	}
	_, err := tree.Create(t.Context(), "None", time.Time{})
	wantErr(t, "in no folder", err, mail.ErrGone)
}

// Nothing takes the place of a file that is there.
func TestPublishAndReflagOverwriteNothing(t *testing.T) {
	tree, root := newTree(t, Options{})
	ctx := t.Context()
	in, err := tree.Create(ctx, "INBOX", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Finish(); err != nil {
		t.Fatal(err)
	}
	put(t, root, "INBOX/new/"+string(in.Key()), "other")
	if _, err := tree.Publish(ctx, "INBOX", in.Key(), mail.Flags{}, mail.Letters{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("published over another file: %v", err)
	}
	put(t, root, "INBOX/cur/a:2,", "old")
	put(t, root, "INBOX/cur/a:2,S", "other")
	if _, err := tree.Reflag(ctx, "INBOX", mail.File{Name: "a:2,"}, flags(`\Seen`), mail.Letters{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("renamed over another file: %v", err)
	}
	if got := content(t, filepath.Join(root, "INBOX/cur/a:2,S")) + content(t, filepath.Join(root, "INBOX/new", string(in.Key()))); got != "otherother" {
		t.Errorf("overwritten: %q", got)
	}
}

func TestReflagRenames(t *testing.T) {
	for _, test := range []struct {
		from  string
		flags mail.Flags
		to    string
	}{
		{"new/a", flags(), "new/a"},
		{"new/a", flags(`\Seen`), "cur/a:2,S"},
		{"new/a:2,F", flags(), "cur/a:2,"},
		{"new/a:2,X", flags(), "new/a:2,X"},
		{"cur/a", flags(), "cur/a:2,"},
		{"cur/a:2,S", flags(), "cur/a:2,"},
		{"cur/a:2,S", flags(`\Seen`), "cur/a:2,S"},
		{"cur/a:2,SXz", flags("work"), "cur/a:2,Xaz"},
		{"cur/a,U=7:2,S,rest", flags(`\Deleted`), "cur/a,U=7:2,T,rest"},
	} {
		tree, root := newTree(t, Options{})
		put(t, root, "INBOX/"+test.from, "text")
		file := mail.File{Name: path.Base(test.from), New: strings.HasPrefix(test.from, "new/")}
		before, err := tree.Stat(t.Context(), "INBOX", file)
		if err != nil {
			t.Fatal(err)
		}
		f, err := tree.Reflag(t.Context(), "INBOX", file, test.flags, work)
		if err != nil {
			t.Errorf("%s: %v", test.from, err)
			continue
		}
		if got := subdir(f.New) + "/" + f.Name; got != test.to || !f.Flags.Equal(test.flags) || f.Inode != before.Inode {
			t.Errorf("%s with %v: %s, %+v; want %s", test.from, test.flags, got, f, test.to)
		}
		if after, err := tree.Stat(t.Context(), "INBOX", f); err != nil || after != before {
			t.Errorf("%s: stat %v became %v, %v", test.from, before, after, err)
		}
		if got := files(t, filepath.Join(root, "INBOX")); !slices.Equal(got, []string{test.to}) {
			t.Errorf("%s: files %q", test.from, got)
		}
	}
}

func TestReflagWantsTheExactName(t *testing.T) {
	tree, root := newTree(t, Options{})
	put(t, root, "INBOX/cur/a:2,S", "text")
	_, err := tree.Reflag(t.Context(), "INBOX", mail.File{Name: "a:2,"}, flags(`\Flagged`), work)
	wantErr(t, "another name", err, mail.ErrGone)
	// Renamed between the look and the rename.
	hook(t, tree, func(op, name string) error {
		if op == "rename" {
			return os.Rename(filepath.Join(root, name), filepath.Join(root, "INBOX/cur/a:2,RS"))
		}
		return nil
	})
	_, err = tree.Reflag(t.Context(), "INBOX", mail.File{Name: "a:2,S"}, flags(`\Flagged`), work)
	wantErr(t, "renamed meanwhile", err, mail.ErrGone)
	if got := files(t, filepath.Join(root, "INBOX")); !slices.Equal(got, []string{"cur/a:2,RS"}) {
		t.Errorf("files %q", got)
	}
}

func TestADiscardedMessageLeavesNothing(t *testing.T) {
	tree, root := newTree(t, Options{})
	for _, finished := range []bool{false, true} {
		in, err := tree.Create(t.Context(), "INBOX", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(in, wireMessage)
		if finished {
			if _, _, err := in.Finish(); err != nil {
				t.Fatal(err)
			}
		}
		in.Discard()
		in.Discard()
		if _, _, err := in.Finish(); err == nil {
			t.Error("finished after Discard")
		}
	}
	if left := files(t, filepath.Join(root, "INBOX")); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// A full disk shows at any of the calls; the message must not look finished.
func TestAMessageThatCannotBeWrittenIsNotFinished(t *testing.T) {
	full := errors.New("no space left")
	for _, size := range []int{10, 2 * blockSize} {
		tree, _ := newTree(t, Options{})
		tree.fs = fullDisk{tree.fs, full}
		in, err := tree.Create(t.Context(), "INBOX", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		in.Write(make([]byte, size))
		_, _, err = in.Finish()
		wantErr(t, "finish", err, full)
		in.Discard()
	}
}

type fullDisk struct {
	FS
	err error
}

func (d fullDisk) Create(name string) (io.WriteCloser, error) {
	f, err := d.FS.Create(name)
	return fullFile{f, d.err}, err
}

type fullFile struct {
	io.WriteCloser
	err error
}

func (f fullFile) Write(p []byte) (int, error) { return 0, f.err }

func TestImpossibleDatesBecomePossible(t *testing.T) {
	tree, _ := newTree(t, Options{})
	for _, year := range []int{1, 1900, 1970, 2500, 9999} {
		date := time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)
		in, err := tree.Create(t.Context(), "INBOX", date)
		if err != nil {
			t.Fatal(err)
		}
		_, st, err := in.Finish()
		if got := time.Unix(0, st.ModTime).UTC(); err != nil || got.Year() < 1970 || got.Year() > 2200 || year == 1970 && !got.Equal(date) {
			t.Errorf("year %d became %v, %v", year, got, err)
		}
	}
}

// syncs lists what is made durable, in order.
func syncs(t *testing.T, tree *Tree) *[]string {
	var names []string
	hook(t, tree, func(op, name string) error {
		if op == "sync" {
			names = append(names, name)
		}
		return nil
	})
	return &names
}

func TestHardenSyncsFilesAndTheirDirectory(t *testing.T) {
	tree, _ := newTree(t, Options{FSync: true})
	in, err := tree.Create(t.Context(), "INBOX", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := in.Finish(); err != nil {
		t.Fatal(err)
	}
	names := syncs(t, tree)
	if err := tree.Harden(t.Context(), "INBOX", []mail.Key{in.Key()}); err != nil {
		t.Fatal(err)
	}
	if err := tree.SyncFolder(t.Context(), "INBOX"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"INBOX/tmp/" + string(in.Key()), "INBOX/tmp", "INBOX/cur", "INBOX/new", "INBOX/tmp"}; !slices.Equal(*names, want) {
		t.Errorf("synced %q, want %q", *names, want)
	}
	err = tree.Harden(t.Context(), "INBOX", []mail.Key{"none"})
	wantErr(t, "what is not in tmp", err, mail.ErrGone)
	if err := tree.Harden(t.Context(), "INBOX", []mail.Key{"../cur"}); err == nil {
		t.Error("a key led out of tmp/")
	}
}

func TestWithoutFSyncNothingIsSynced(t *testing.T) {
	tree, _ := newTree(t, Options{})
	names := syncs(t, tree)
	f := land(t, tree, "INBOX", wireMessage, mail.Flags{}, mail.Letters{})
	if err := tree.SetMarker(t.Context(), "INBOX", mail.Marker{Account: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := tree.Remove(t.Context(), "INBOX", f); err != nil {
		t.Fatal(err)
	}
	if len(*names) != 0 {
		t.Errorf("synced %q", *names)
	}
}

// What lands and is read again has the identity that it landed with, whatever its
// bytes; a CR before a CRLF is the one thing that a file cannot tell.
func TestWhatLandsIsWhatIsRead(t *testing.T) {
	tree, _ := newTree(t, Options{})
	rapid.Check(t, func(rt *rapid.T) {
		wire := rapid.SliceOfN(rapid.SampledFrom([]byte("a:\r\n\n \x00\xff")), 0, 400).Draw(rt, "wire")
		in, err := tree.Create(t.Context(), "INBOX", time.Unix(1e9, 0))
		if err != nil {
			rt.Fatal(err)
		}
		if _, err := in.Write(wire); err != nil {
			rt.Fatal(err)
		}
		id, st, err := in.Finish()
		if err != nil {
			rt.Fatal(err)
		}
		f, err := tree.Publish(t.Context(), "INBOX", in.Key(), mail.Flags{}, mail.Letters{})
		if err != nil {
			rt.Fatal(err)
		}
		src, err := tree.Read(t.Context(), "INBOX", f)
		if err != nil {
			rt.Fatal(err)
		}
		defer src.Close()
		read := src.Identity()
		read.Header = mail.Fingerprint{} // as base has it
		if read != id || src.Stat() != st {
			rt.Fatalf("landed as %+v, read as %+v", id, src.Identity())
		}
	})
}

func TestManyLandAtOnce(t *testing.T) {
	tree, _ := newTree(t, Options{FSync: true})
	const workers, each = 8, 5
	var g errgroup.Group
	for range workers {
		g.Go(func() error {
			for range each {
				in, err := tree.Create(t.Context(), "INBOX", time.Unix(1e9, 0))
				if err != nil {
					return err
				}
				if _, err := io.WriteString(in, wireMessage); err != nil {
					return err
				}
				if _, _, err := in.Finish(); err != nil {
					return err
				}
				if err := tree.Harden(t.Context(), "INBOX", []mail.Key{in.Key()}); err != nil {
					return err
				}
				f, err := tree.Publish(t.Context(), "INBOX", in.Key(), flags(`\Seen`), work)
				if err != nil {
					return err
				}
				if len(f.Name)%2 == 0 {
					if err := tree.Remove(t.Context(), "INBOX", f); err != nil {
						return err
					}
					continue
				}
				if _, err := tree.Reflag(t.Context(), "INBOX", f, flags("work"), work); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	kept := 0
	if err := tree.Removed(t.Context(), func(Removed) error { kept++; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, got := scan(t, tree, work); len(got)+kept != workers*each {
		t.Errorf("%d messages and %d removed, want %d", len(got), kept, workers*each)
	}
}

// A file that moves to another folder keeps its bytes and its time, and says its flags
// in the letters of the folder it goes to.
func TestMoveTakesTheFileToAnotherFolder(t *testing.T) {
	tree, root := newTree(t, Options{})
	for _, f := range []mail.Folder{"INBOX", "Archive"} {
		if err := tree.CreateFolder(t.Context(), f); err != nil && !errors.Is(err, mail.ErrExists) {
			t.Fatal(err)
		}
	}
	put(t, root, "INBOX/cur/key:2,FSa", "text")
	date := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(filepath.Join(root, "INBOX/cur/key:2,FSa"), date, date); err != nil {
		t.Fatal(err)
	}
	flags := mail.ParseFlags([]string{`\Flagged`, `\Seen`, "work"})
	letters := mail.Letters{2: "work"}
	f, err := tree.Move(t.Context(), "INBOX", mail.File{Key: "key", Name: "key:2,FSa"}, "Archive", flags, letters)
	if err != nil {
		t.Fatal(err)
	}
	if !f.Flags.Equal(flags) || f.New || f.Key == "key" || !strings.HasSuffix(f.Name, ":2,FSc") {
		t.Errorf("moved to %+v", f)
	}
	path := filepath.Join(root, "Archive/cur", f.Name)
	content, err := os.ReadFile(path)
	if err != nil || string(content) != "text" {
		t.Errorf("it holds %q, %v", content, err)
	}
	if info, err := os.Stat(path); err != nil || !info.ModTime().Equal(date) {
		t.Errorf("its time is %v, %v", info.ModTime(), err)
	}
	if _, err := tree.Move(t.Context(), "INBOX", mail.File{Key: "key", Name: "key:2,FSa"}, "Archive", flags, letters); !errors.Is(err, mail.ErrGone) {
		t.Errorf("moved once more: %v", err)
	}
	// In new/ it would say nothing of the flags that it has lost.
	if f, err = tree.Move(t.Context(), "Archive", f, "INBOX", mail.Flags{}, letters); err != nil || f.New {
		t.Errorf("without flags it went to %+v, %v", f, err)
	}
}
