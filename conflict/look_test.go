package conflict

import (
	"testing"

	"mailtwin/conflict/mail"
)

func TestDiffLooked(t *testing.T) {
	letters := mail.Letters{"work"}
	row := func(key, name string) mail.Row {
		return mail.Row{ID: 7, Key: mail.Key(key), Name: name, Flags: mail.Flags{System: mail.Seen}, Stat: mail.Stat{Inode: 5}}
	}
	file := func(key, name string, flags mail.System) mail.File {
		return mail.File{Key: mail.Key(key), Name: name, Flags: mail.Flags{System: flags}, Inode: 5}
	}
	known, seen := row("b", "b:2,S"), file("b", "b:2,S", mail.Seen)
	pending, other := known, seen
	pending.State, other.Inode = mail.Pending, 6
	tagged, odd := seen, seen
	tagged.Letters, odd.Letters = "a", "b"
	for _, c := range []struct {
		what  string
		rows  []mail.Row
		files []mail.File
		want  []Change // nil: only a scan can tell
	}{
		{"nothing at all", nil, nil, []Change{}},
		{"as base has it", []mail.Row{known}, []mail.File{seen}, []Change{}},
		{"another flag", []mail.Row{known}, []mail.File{file("b", "b:2,FS", mail.Seen|mail.Flagged)}, []Change{Flags}},
		{"another name that says the same", []mail.Row{known}, []mail.File{file("b", "b:2,S,x", mail.Seen)}, []Change{Same}},
		{"new files around it", []mail.Row{known}, []mail.File{file("a", "a", 0), seen, file("c", "c", 0)}, []Change{New, New}},
		{"a keyword", nil, []mail.File{tagged}, []Change{New}},
		{"gone", []mail.Row{known}, nil, nil},
		{"gone, beside a new one", []mail.Row{known}, []mail.File{file("c", "c", 0)}, nil},
		{"gone, behind a new one", []mail.Row{known}, []mail.File{file("a", "a", 0)}, nil},
		{"two files of it", []mail.Row{known}, []mail.File{seen, file("b", "b:2,FS", mail.Seen|mail.Flagged)}, nil},
		{"two new files of one key", nil, []mail.File{file("b", "b", 0), file("b", "b:2,S", mail.Seen)}, nil},
		{"another inode", []mail.Row{known}, []mail.File{other}, nil},
		{"it waits for something", []mail.Row{pending}, []mail.File{seen}, nil},
		{"a letter that means nothing", nil, []mail.File{odd}, nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			changes, ok := DiffLooked(c.rows, c.files, letters)
			if ok != (c.want != nil) || len(changes) != len(c.want) {
				t.Fatalf("it is %v: %+v", ok, changes)
			}
			for i, change := range changes {
				if change.Change != c.want[i] {
					t.Errorf("change %d is %v, want %v", i, change.Change, c.want[i])
				}
				if isNew := change.Change == New; isNew != (change.Row.ID == 0) || isNew != (change.Known.ID == 0) {
					t.Errorf("change %d is of row %d: %+v", i, change.Row.ID, change)
				}
			}
		})
	}
}

// What a look finds of all files is what a scan finds, where it says that it is enough.
func TestDiffLookedIsDiffLocal(t *testing.T) {
	letters := mail.Letters{"work"}
	row := mail.Row{ID: 7, Key: "b", Name: "b:2,S", Flags: mail.Flags{System: mail.Seen}, Stat: mail.Stat{Inode: 5}}
	for _, name := range []string{"b", "b:2,", "b:2,S", "b:2,FS", "b:2,Sa", "b:2,a"} {
		for _, isNew := range []bool{false, true} {
			for _, key := range []mail.Key{"a", "b", "c"} {
				file := mail.File{Key: key, Name: name, New: isNew, Inode: 5}
				if len(name) > 4 {
					file.Flags.System = mail.Seen
				}
				var want []LocalChange
				for c, err := range DiffLocal(func(yield func(mail.Known, error) bool) { yield(row.Known(), nil) },
					func(yield func(mail.File) bool) { yield(file) }, letters) {
					if err != nil {
						t.Fatal(err)
					}
					if c.Row = (mail.Row{}); c.Known.ID != 0 {
						c.Row = row
					}
					want = append(want, c)
				}
				got, ok := DiffLooked([]mail.Row{row}, []mail.File{file}, letters)
				if ok != (key == "b") {
					t.Errorf("%s of %s: it is enough: %v", name, key, ok)
				}
				if ok && (len(got) != len(want) || len(got) > 0 && got[0] != want[0]) {
					t.Errorf("%s of %s:\n got %+v\nwant %+v", name, key, got, want)
				}
			}
		}
	}
}
