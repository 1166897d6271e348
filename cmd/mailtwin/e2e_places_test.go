package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// TestSomethingElseInAFoldersPlace: a folder that is in step and empty goes when its
// directory is gone, and not when something else has taken the directory's place: that
// is damage, or a move to another disk, and the server's folder stays.
func TestSomethingElseInAFoldersPlace(t *testing.T) {
	for _, layout := range []struct{ name, dir string }{{"nested", "Lists/go"}, {"maildir++", ".Lists.go"}} {
		for name, c := range map[string]struct {
			lose func(t *testing.T, dir string) error
			says string
		}{
			"a file": {
				func(t *testing.T, dir string) error { return os.WriteFile(dir, nil, 0o600) },
				"a file stands in the place of its directory",
			},
			"a symbolic link": {
				func(t *testing.T, dir string) error { return os.Symlink(t.TempDir(), dir) },
				"a symbolic link, which is not followed, stands in the place of its directory",
			},
			"a directory without cur and new": {
				func(t *testing.T, dir string) error { return os.Mkdir(dir, 0o700) },
				"has neither cur nor new",
			},
			"a directory of other things": {
				func(t *testing.T, dir string) error { return os.MkdirAll(filepath.Join(dir, "notes", "old"), 0o700) },
				"has neither cur nor new",
			},
		} {
			t.Run(layout.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := embedded(t)
				d := s.device("laptop", `layout = "`+layout.name+`"`)
				s.check(s.phone.CreateFolder(s.Context(), "Lists/go", mail.RoleNone))
				d.sync()
				dir := filepath.Join(d.maildir, filepath.FromSlash(layout.dir))
				s.check(os.RemoveAll(dir))
				s.check(c.lose(t, dir))
				s.deliver("Archive", note("flows"), seen)
				for _, came := range []int{1, 0} {
					if r := d.report(1); r.Local.New != came || len(r.Skipped) > 0 {
						t.Errorf("%d came, and it left out %v", r.Local.New, r.Skipped)
					}
				}
				r := d.exits(1, "sync")
				if r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "mailtwin: alice: Lists/go: ") {
					t.Errorf("it prints %q and %q, want one line", r.stdout, r.stderr)
				}
				d.said(r.stderr, c.says, layout.dir, "put the folder back")
				// It has what came meanwhile, and that is there when the directory is back.
				s.deliver("Lists/go", note("theirs"), seen)
				d.exits(1, "sync")
				s.check(os.RemoveAll(dir))
				for _, sub := range []string{"cur", "new", "tmp"} {
					s.check(os.MkdirAll(filepath.Join(dir, sub), 0o700))
				}
				if r := d.sync(); r.Local.New != 1 {
					t.Errorf("it brought %+v", r.Local)
				}
				settle2(d)
			})
		}
	}
}

// TestSomethingWhereAFolderIsToBeMade: the folder waits until the place is free, and
// nothing else does.
func TestSomethingWhereAFolderIsToBeMade(t *testing.T) {
	for name, block := range map[string]func(t *testing.T, dir string) error{
		"a file":                   func(_ *testing.T, dir string) error { return os.WriteFile(dir, []byte("mine"), 0o600) },
		"a link out of it":         func(t *testing.T, dir string) error { return os.Symlink(t.TempDir(), dir) },
		"a link to nowhere":        func(_ *testing.T, dir string) error { return os.Symlink("nowhere", dir) },
		"a link to another folder": func(_ *testing.T, dir string) error { return os.Symlink("Archive", dir) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embedded(t)
			d := s.device("laptop")
			s.check(os.MkdirAll(d.maildir, 0o700))
			work := filepath.Join(d.maildir, "Work")
			s.check(block(t, work))
			for _, f := range []mail.Folder{"Work", "Work/new"} {
				s.check(s.phone.CreateFolder(s.Context(), f, mail.RoleNone))
				s.deliver(f, note("in "+string(f)), seen)
			}
			for i := range 2 {
				s.deliver("Archive", note("flows "+strconv.Itoa(i)), seen)
				r := d.exits(1, "sync")
				lines := strings.SplitAfter(r.stderr, "\n")
				if r.stdout != "" || len(lines) != 3 {
					t.Errorf("it prints %q and %q", r.stdout, r.stderr)
				}
				d.said(lines[0], "mailtwin: alice: Work: ", ` stands in the place of the directory "Work": move it away`)
				d.said(lines[1], "mailtwin: alice: Work/new: ", ` stands in the place of the directory "Work": move it away`)
			}
			d.want("Archive", d.subjects("Archive"), "flows 0", "flows 1")
			s.check(os.Rename(work, work+".mine"))
			settle2(d)
			d.want("Work", d.subjects("Work"), "in Work")
			d.want("Work/new", d.subjects("Work/%6Eew"), "in Work/new")
		})
	}
}

// TestAFolderWithFoldersInsideCanGo: what is left of it is a directory that only holds
// the others.
func TestAFolderWithFoldersInsideCanGo(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	d := s.device("laptop")
	s.check(s.phone.CreateFolder(s.Context(), "Lists", mail.RoleNone))
	s.check(s.phone.CreateFolder(s.Context(), "Lists/go", mail.RoleNone))
	d.sync()
	for _, sub := range []string{"cur", "new", "tmp"} {
		s.check(os.Remove(filepath.Join(d.maildir, "Lists", sub)))
	}
	settle2(d)
	listed, err := s.phone.List(s.Context())
	s.check(err)
	for _, f := range listed {
		if f.Name == "Lists" && !f.NoSelect {
			t.Error("Lists is still on the server")
		}
	}
}

// TestAnotherLayoutIsRefused: the folders of one layout are not those of the other, and
// that is neither a removal of all of them nor a reason to fetch all mail again.
func TestAnotherLayoutIsRefused(t *testing.T) {
	for from, to := range map[string]string{"nested": "maildir++", "maildir++": "nested"} {
		for _, lost := range []string{"", ", and its state lost", ", with an INBOX that is empty"} {
			t.Run(from+lost, func(t *testing.T) {
				t.Parallel()
				s := embedded(t)
				d := s.device("laptop", `layout = "`+from+`"`)
				if !strings.Contains(lost, "empty") {
					s.deliver("INBOX", note("theirs"), seen)
				}
				s.check(s.phone.CreateFolder(s.Context(), "Lists/go", mail.RoleNone))
				settle2(d)
				before := s.both(d)
				if strings.Contains(lost, "state") {
					d.loseState()
				}
				d = s.device("laptop", `layout = "`+to+`"`)
				want := `another Maildir layout: it has layout = "` + from + `", and the configuration says "` + to +
					`": nothing was changed; put layout back, or begin anew with another maildir and without the account's state directory` + "\n"
				for _, args := range [][]string{{"sync"}, {"-q", "sync"}, {"sync", "--dry-run"}, {"folders"}, {"sync", "--allow-deletes"}} {
					if r := d.exits(2, args...); r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.HasPrefix(r.stderr, "mailtwin: alice: ") || !strings.HasSuffix(r.stderr, want) {
						t.Errorf("%v prints %q and %q", args, r.stdout, r.stderr)
					}
				}
				s.want("after it", s.both(d), before...)
				// Either way out leads on.
				d = s.device("laptop", `layout = "`+from+`"`)
				settle2(d)
				s.want("with the old layout", s.both(d), before...)
				s.check(os.Rename(d.maildir, d.maildir+".old"))
				d.loseState()
				settle2(s.device("laptop", `layout = "`+to+`"`))
			})
		}
	}
}

// both tells what is on both sides.
func (s *story) both(d *computer) []string {
	s.Helper()
	var all []string
	listed, err := s.phone.List(s.Context())
	s.check(err)
	for _, f := range listed {
		all = append(all, string(f.Name))
		if !f.NoSelect {
			for _, m := range s.messages(f.Name) {
				all = append(all, string(f.Name)+" "+m.Flags.String()+" "+string(m.Raw))
			}
		}
	}
	s.check(filepath.WalkDir(d.maildir, func(path string, e os.DirEntry, err error) error {
		all = append(all, path)
		return err
	}))
	return all
}
