package maildir

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// text makes a message file of about so many octets.
func text(octets int) string {
	return "Message-ID: <big@x>\n\n" + strings.Repeat("0123456789\n", octets/11) + "end"
}

func read(t *testing.T, tree *Tree, name string) mail.Source {
	t.Helper()
	src, err := tree.Read(t.Context(), "INBOX", mail.File{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

func TestAFileIsReadInCanonicalBytes(t *testing.T) {
	for _, octets := range []int{0, 100, smallMessage - 30, smallMessage + 1, smallMessage + blockSize, 1 << 20} {
		tree, root := newTree(t, Options{})
		file := text(octets)
		if octets == 0 {
			file = ""
		}
		put(t, root, "INBOX/cur/a:2,S", file)
		src := read(t, tree, "a:2,S")
		// A reader may rename or remove the file while it is sent.
		if err := os.Remove(filepath.Join(root, "INBOX/cur/a:2,S")); err != nil {
			t.Fatal(err)
		}
		var wire bytes.Buffer
		n, err := src.WriteTo(&wire)
		if want := strings.ReplaceAll(file, "\n", "\r\n"); err != nil || wire.String() != want {
			t.Errorf("%d octets: %d of %d written, %v", octets, wire.Len(), len(want), err)
		}
		var m mail.Measure
		io.WriteString(&m, file)
		if id := src.Identity(); n != id.Size || id != m.Identity() || int64(wire.Len()) != n {
			t.Errorf("%d octets: wrote %d, identity %+v", octets, n, id)
		}
		if src.Stat().Size != int64(len(file)) {
			t.Errorf("stat %+v", src.Stat())
		}
		if _, err := src.WriteTo(&wire); err == nil {
			t.Error("written twice")
		}
		if err := errors.Join(src.Close(), src.Close()); err != nil {
			t.Error(err)
		}
	}
}

// An upload of bytes that are no longer those that were measured never becomes
// complete.
func TestAFileThatChangesIsNotSentToItsEnd(t *testing.T) {
	for what, change := range map[string]func(f *os.File) error{
		"one octet": func(f *os.File) error { _, err := f.WriteAt([]byte("X"), 300<<10); return err },
		"longer":    func(f *os.File) error { _, err := f.WriteAt([]byte("more"), 1<<20); return err },
		"shorter":   func(f *os.File) error { return f.Truncate(300 << 10) },
		"empty":     func(f *os.File) error { return f.Truncate(0) },
	} {
		tree, root := newTree(t, Options{})
		put(t, root, "INBOX/cur/a", text(1 << 20)[:1<<20])
		src := read(t, tree, "a")
		f, err := os.OpenFile(filepath.Join(root, "INBOX/cur/a"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(change(f), f.Close()); err != nil {
			t.Fatal(err)
		}
		n, err := src.WriteTo(io.Discard)
		wantErr(t, what, err, mail.ErrChanged)
		if n >= src.Identity().Size {
			t.Errorf("%s: %d octets written, all that were announced", what, n)
		}
	}
}

func TestASmallFileIsSentAsItWasRead(t *testing.T) {
	tree, root := newTree(t, Options{})
	put(t, root, "INBOX/cur/a", "old\n")
	src := read(t, tree, "a")
	put(t, root, "INBOX/cur/a", "new\n")
	var wire bytes.Buffer
	if _, err := src.WriteTo(&wire); err != nil || wire.String() != "old\r\n" {
		t.Errorf("%q, %v", wire.String(), err)
	}
}

func TestWhatIsNoReadableFileIsDamaged(t *testing.T) {
	tree, root := newTree(t, Options{})
	put(t, root, "INBOX/cur/real", "x")
	if err := os.Symlink("real", filepath.Join(root, "INBOX/cur/link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "INBOX/cur/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	mkdirs(t, root, "INBOX/cur/directory")
	for _, name := range []string{"link", "fifo", "directory", "../cur/real"} {
		_, err := tree.Read(t.Context(), "INBOX", mail.File{Name: name})
		wantErr(t, name, err, mail.ErrDamaged)
	}
	_, err := tree.Read(t.Context(), "INBOX", mail.File{Name: "none"})
	wantErr(t, "none", err, mail.ErrGone)
	hook(t, tree, func(op, name string) error {
		if op == "open" {
			return os.ErrPermission
		}
		return nil
	})
	_, err = tree.Read(t.Context(), "INBOX", mail.File{Name: "real"})
	wantErr(t, "no permission", err, mail.ErrDamaged)
}

func TestReadingStopsWithItsContext(t *testing.T) {
	tree, root := newTree(t, Options{})
	put(t, root, "INBOX/cur/a", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := tree.Read(ctx, "INBOX", mail.File{Name: "a"})
	wantErr(t, "read", err, context.Canceled)
}

// A link in place of a directory must not lead a reader or writer out of the tree.
func TestNothingIsReadOrWrittenThroughALinkThatLeaves(t *testing.T) {
	tree, root := newTree(t, Options{})
	outside := filepath.Join(t.TempDir(), "outside")
	for _, sub := range []string{"cur", "new", "tmp"} {
		mkdirs(t, outside, sub)
	}
	put(t, outside, "cur/a", "secret")
	if err := os.Symlink(outside, filepath.Join(root, "Out")); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := tree.Read(ctx, "Out", mail.File{Name: "a"}); err == nil {
		t.Error("read")
	}
	if _, err := tree.Create(ctx, "Out", time.Time{}); err == nil {
		t.Error("created")
	}
	if _, err := tree.Scan(ctx, "Out", mail.Letters{}); err == nil {
		t.Error("scanned")
	}
	if err := tree.SetMarker(ctx, "Out", mail.Marker{}); err == nil {
		t.Error("marked")
	}
	if _, err := tree.Reflag(ctx, "Out", mail.File{Name: "a"}, flags(`\Seen`), work); err == nil {
		t.Error("renamed")
	}
	if err := tree.Remove(ctx, "Out", mail.File{Name: "a"}); err == nil {
		t.Error("removed")
	}
	if err := tree.CreateFolder(ctx, "Out/child"); err == nil {
		t.Error("made a folder")
	}
	if got := files(t, outside); len(got) != 1 || got[0] != "cur/a" {
		t.Errorf("outside: %q", got)
	}
}
