package maildir

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// partMessage has every kind of line end, some of them where it may be cut.
const partMessage = "Message-ID: <1@x>\r\nSubject: parts\r\n\r\nbody\r\nlone\nbare\rtwo\r\r\nthe end, which has no line end"

var partDate = time.Date(2001, 9, 9, 1, 46, 40, 0, time.UTC)

// keptPart writes the first n octets of a message, and keeps them.
func keptPart(t *testing.T, tree *Tree, text string, n int) mail.Part {
	t.Helper()
	in, err := tree.Create(t.Context(), "INBOX", partDate)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, text[:n]); err != nil {
		t.Fatal(err)
	}
	if err := in.Keep(mail.Part{Validity: 7, UID: 12, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	parts, err := tree.Parts(t.Context(), "INBOX")
	if err != nil || len(parts) != 1 {
		t.Fatalf("parts %+v, %v", parts, err)
	}
	return parts[0]
}

func tmpFiles(t *testing.T, root string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "INBOX/tmp"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Wherever a message is cut, once or twice, it comes out as if it had not been.
func TestAPartIsGoneOnWith(t *testing.T) {
	var m mail.Measure
	io.WriteString(&m, strings.ReplaceAll(partMessage, "\r\n", "\n"))
	for n := 2; n < len(partMessage); n++ {
		tree, root := newTree(t, Options{FSync: true})
		p := keptPart(t, tree, partMessage, n)
		if p.Validity != 7 || p.UID != 12 || p.Size != int64(len(partMessage)) || !p.Date.Equal(partDate) || p.Octets < int64(n-1) || p.Octets > int64(n) {
			t.Fatalf("of %d octets there are %+v", n, p)
		}
		if at := partMessage[p.Start():p.Octets]; at != string(p.Tail) || len(at) < min(mail.TailOctets, n-1) {
			t.Fatalf("of %d octets the last are %q", n, p.Tail)
		}
		for _, until := range []int{(n + len(partMessage)) / 2, len(partMessage)} {
			in, err := tree.Resume(t.Context(), "INBOX", p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(in, partMessage[p.Octets:until]); err != nil {
				t.Fatal(err)
			}
			if until < len(partMessage) {
				if err := in.Keep(p); err != nil {
					t.Fatal(err)
				}
				parts, err := tree.Parts(t.Context(), "INBOX")
				if err != nil || len(parts) != 1 || parts[0].Octets < p.Octets {
					t.Fatalf("parts %+v, %v", parts, err)
				}
				p = parts[0]
				continue
			}
			id, _, err := in.Finish()
			if err != nil || id != m.IdentityInBase() {
				t.Errorf("cut at %d: %+v, want %+v, %v", n, id, m.IdentityInBase(), err)
			}
			if got, want := content(t, filepath.Join(root, "INBOX/tmp", string(in.Key()))), strings.ReplaceAll(partMessage, "\r\n", "\n"); got != want {
				t.Errorf("cut at %d: %q", n, got)
			}
			if names := tmpFiles(t, root); len(names) != 1 {
				t.Errorf("cut at %d: tmp/ has %q", n, names)
			}
		}
	}
}

func TestAPartThatIsNotAsItWasIsNotGoneOnWith(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, name string){
		"torn":    func(t *testing.T, name string) { spoilFile(t, name, strings.Repeat("\x00", 20)) },
		"short":   func(t *testing.T, name string) { spoilFile(t, name, "Message-ID") },
		"removed": func(t *testing.T, name string) { os.Remove(name) },
	} {
		t.Run(name, func(t *testing.T) {
			tree, root := newTree(t, Options{})
			p := keptPart(t, tree, partMessage, 40)
			spoil(t, filepath.Join(root, "INBOX/tmp", tmpFiles(t, root)[0]))
			_, err := tree.Resume(t.Context(), "INBOX", p)
			wantErr(t, "resume", err, mail.ErrGone)
			if names := tmpFiles(t, root); len(names) > 0 {
				t.Errorf("tmp/ has %q", names)
			}
		})
	}
	tree, _ := newTree(t, Options{})
	p := keptPart(t, tree, partMessage, 40)
	for _, other := range []mail.Part{{}, {Validity: 8, UID: p.UID, Date: p.Date, Size: p.Size, Octets: p.Octets, Tail: p.Tail, Header: p.Header}} {
		_, err := tree.Resume(t.Context(), "INBOX", other)
		wantErr(t, "resume another one", err, mail.ErrGone)
	}
}

func spoilFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A process that is killed while it goes on with a message has lost what it fetched itself,
// and no more.
func TestAPartStaysUntilTheMessageIsWhole(t *testing.T) {
	tree, root := newTree(t, Options{})
	p := keptPart(t, tree, partMessage, 40)
	in, err := tree.Resume(t.Context(), "INBOX", p)
	if err != nil {
		t.Fatal(err)
	}
	if parts, err := tree.Parts(t.Context(), "INBOX"); err != nil || len(parts) != 1 {
		t.Errorf("parts %+v, %v", parts, err)
	}
	in.Discard() // the server has another message there
	if names := tmpFiles(t, root); len(names) > 0 {
		t.Errorf("tmp/ has %q", names)
	}
}

func TestPartsAreSweptLikeAllThatIsInTmp(t *testing.T) {
	now := time.Now()
	tree, root := newTree(t, Options{Now: func() time.Time { return now }})
	keptPart(t, tree, partMessage, 40)
	for _, after := range []time.Duration{35 * time.Hour, 37 * time.Hour} {
		now = time.Now().Add(after)
		if err := tree.Sweep(t.Context(), "INBOX", func(mail.Key) bool { return false }); err != nil {
			t.Fatal(err)
		}
		if names := tmpFiles(t, root); len(names) > 0 != (after < 36*time.Hour) {
			t.Errorf("after %v tmp/ has %q", after, names)
		}
	}
}

func TestNothingToGoOnWithIsNotKept(t *testing.T) {
	tree, root := newTree(t, Options{})
	for _, n := range []int{0, len(partMessage)} {
		in, err := tree.Create(t.Context(), "INBOX", partDate)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(in, partMessage[:n])
		if err := in.Keep(mail.Part{Validity: 7, UID: 12, Size: int64(len(partMessage))}); err == nil {
			t.Errorf("%d octets are kept", n)
		}
		if names := tmpFiles(t, root); len(names) > 0 {
			t.Errorf("tmp/ has %q", names)
		}
	}
}

// What anybody may have put into tmp/ is either no part, or one that makes sense.
func FuzzPartName(f *testing.F) {
	p := mail.Part{Validity: 7, UID: 12, Date: partDate, Size: 100, Octets: 40, Tail: []byte("the tail")}
	f.Add(nameOfPart(p, make([]byte, 32)))
	f.Add("part.V7.U99999999999.D1.S2.O1.T.F00000000000000000000000000000000.H00000000000000000000000000000000")
	f.Add("1136214245.M000000R0123456789abcdefQ1P2.host")
	f.Fuzz(func(t *testing.T, name string) {
		p, ok := partOf(name)
		if !ok {
			return
		}
		if p.Start() < 0 || p.Octets >= p.Size || len(p.Tail) > mail.TailOctets || strings.ContainsAny(name, "/\x00") {
			t.Errorf("%q is %+v", name, p)
		}
		again, ok := partOf(nameOfPart(p, make([]byte, 32)))
		if !ok || !again.Date.Equal(p.Date) || again.Octets != p.Octets || again.Size != p.Size || again.UID != p.UID {
			t.Errorf("%q is %+v, and again %+v", name, p, again)
		}
	})
}

// What came of messages is of no use once their folder is to go, and does not keep it.
func TestAFolderGoesWithTheMessagesThatDidNotCome(t *testing.T) {
	tree, root := newTree(t, Options{})
	if err := tree.CreateFolder(t.Context(), "Work"); err != nil {
		t.Fatal(err)
	}
	for keep := range 2 {
		in, err := tree.Create(t.Context(), "Work", partDate)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(in, partMessage[:40]); err != nil {
			t.Fatal(err)
		}
		if keep == 1 {
			err = in.Keep(mail.Part{Validity: 7, UID: 12, Size: int64(len(partMessage))})
		} else { // a process that is killed then leaves it
			_, _, err = in.Finish()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.RemoveFolder(t.Context(), "Work"); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(root, "Work")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
}
