package maildir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mailtwin/conflict/mail"
)

// A look tells of each file what a scan tells of it.
func TestALookTellsWhatAScanTells(t *testing.T) {
	tree, root := newTree(t, Options{})
	letters := mail.Letters{0: "work"}
	ask := []mail.File{
		{Name: "5.a,S=5:2,Sab"}, {Name: "1", New: true}, {Name: "1"}, {Name: "gone:2,S"}, {Name: "4:2,R", New: true},
		{Name: ".hidden:2,S"}, {Name: ":2,S"}, {Name: "../cur/4:2,R"}, {Name: ""},
	}
	for _, name := range []string{"new/1", "new/4:2,R", "cur/5.a,S=5:2,Sab", "cur/.hidden:2,S", "cur/:2,S"} {
		put(t, root, "INBOX/"+name, "x")
	}
	age(t, root, "INBOX")
	_, want := scan(t, tree, letters)
	got, err := tree.Look(t.Context(), "INBOX", ask, letters)
	must(t, err)
	if len(want) != 3 || !slices.Equal(got, want) {
		t.Errorf("a look tells\n%+v, a scan\n%+v", got, want)
	}
}

func TestALookAtWhatIsNoFile(t *testing.T) {
	tree, root := newTree(t, Options{})
	mkdirs(t, root, "INBOX/cur/directory")
	must(t, os.Symlink("/etc/passwd", filepath.Join(root, "INBOX/cur/link:2,S")))
	for _, name := range []string{"directory", "link:2,S"} {
		if got, err := tree.Look(t.Context(), "INBOX", []mail.File{{Name: name}}, mail.Letters{}); !errors.Is(err, mail.ErrDamaged) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := tree.Look(t.Context(), "None", []mail.File{{Name: "1"}}, mail.Letters{}); err != nil || len(got) > 0 {
		t.Errorf("of a folder that is not there: %+v, %v", got, err)
	}
}
