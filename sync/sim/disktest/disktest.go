// Package disktest is what every file system below a Maildir must do, the real one and
// the one of the simulation.
package disktest

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/maildir"
)

// Run tests empty file systems, of which open gives one for each test.
func Run(t *testing.T, open func(*testing.T) maildir.FS) {
	for name, test := range map[string]func(*bench){
		"Files":       files,
		"Renames":     renames,
		"Links":       links,
		"Directories": directories,
		"Times":       times,
		"OpenFiles":   openFiles,
		"Listings":    listings,
		"Missing":     missing,
	} {
		t.Run(name, func(t *testing.T) { test(&bench{t, open(t)}) })
	}
}

type bench struct {
	*testing.T
	fs maildir.FS
}

func (b *bench) ok(errs ...error) {
	b.Helper()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) is(what string, err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (b *bench) put(name, text string) {
	b.Helper()
	f, err := b.fs.Create(name)
	b.ok(err)
	_, err = io.WriteString(f, text)
	b.ok(err, f.Close())
}

func (b *bench) text(name string) string {
	b.Helper()
	f, err := b.fs.Open(name)
	b.ok(err)
	text, err := io.ReadAll(f)
	b.ok(err, f.Close())
	return string(text)
}

func (b *bench) names(dir string) string {
	b.Helper()
	var names []string
	b.ok(b.fs.ReadDir(dir, func(e maildir.Entry) { names = append(names, e.Name) }))
	slices.Sort(names)
	return strings.Join(names, " ")
}

func (b *bench) info(name string) maildir.Info {
	b.Helper()
	info, err := b.fs.Lstat(name)
	b.ok(err)
	return info
}

func files(b *bench) {
	b.put("a", "text")
	_, err := b.fs.Create("a")
	b.is("create what is there", err, fs.ErrExist)
	if got := b.text("a"); got != "text" {
		b.Errorf("read %q", got)
	}
	b.ok(b.fs.Sync("a"), b.fs.Sync("."), b.fs.Sync("a", "."))
	if info := b.info("a"); info.Size != 4 || info.Type != 0 || info.Links != 1 {
		b.Errorf("%+v", info)
	}
	b.ok(b.fs.Unlink("a"))
	b.is("open what is gone", func() error { _, err := b.fs.Open("a"); return err }(), fs.ErrNotExist)
	b.is("unlink what is gone", b.fs.Unlink("a"), fs.ErrNotExist)
}

func renames(b *bench) {
	b.ok(b.fs.Mkdir("x"), b.fs.Mkdir("y"), b.fs.Mkdir("y/in"))
	b.put("x/a", "a")
	b.put("x/b", "b")
	was := b.info("x/a")
	b.is("over a file", b.fs.Rename("x/a", "x/b"), fs.ErrExist)
	b.is("over a directory", b.fs.Rename("x", "y"), fs.ErrExist)
	b.is("into nothing", b.fs.Rename("x/a", "z/a"), fs.ErrNotExist)
	b.ok(b.fs.Rename("x/a", "y/c"))
	if now := b.info("y/c"); now.Inode != was.Inode || now.ModTime != was.ModTime || now.Size != was.Size {
		b.Errorf("the file was %+v and is %+v", was, now)
	}
	b.ok(b.fs.Replace("x/b", "y/c"), b.fs.Rename("y", "w"))
	if got := b.names("x") + "|" + b.names("w") + "|" + b.text("w/c"); got != "|c in|b" {
		b.Errorf("after the renames: %q", got)
	}
}

func links(b *bench) {
	b.ok(b.fs.Mkdir("x"))
	b.put("a", "text")
	b.ok(b.fs.Link("a", b.fs, "x/b"))
	b.is("over a file", b.fs.Link("a", b.fs, "x/b"), fs.ErrExist)
	b.is("of nothing", b.fs.Link("none", b.fs, "x/c"), fs.ErrNotExist)
	one, two := b.info("a"), b.info("x/b")
	if one != two || one.Links != 2 {
		b.Errorf("%+v and %+v", one, two)
	}
	b.ok(b.fs.Unlink("a"))
	if info := b.info("x/b"); info.Links != 1 || b.text("x/b") != "text" {
		b.Errorf("%+v", info)
	}
}

func directories(b *bench) {
	b.ok(b.fs.Mkdir("x"))
	b.is("mkdir what is there", b.fs.Mkdir("x"), fs.ErrExist)
	b.put("x/a", "")
	b.is("rmdir what is full", b.fs.Rmdir("x"), fs.ErrExist)
	if b.fs.Unlink("x") == nil || b.fs.Rmdir("x/a") == nil || b.fs.Rmdir(".") == nil {
		b.Error("a directory is removed as a file, or a file as a directory, or the root")
	}
	b.ok(b.fs.Mkdir("x/y"))
	if info := b.info("x"); info.Type != fs.ModeDir || info.Links >= 2 && info.Links != 3 {
		b.Errorf("a directory with one in it: %+v", info)
	}
	b.ok(b.fs.Rmdir("x/y"), b.fs.Unlink("x/a"), b.fs.Rmdir("x"))
	if got := b.names("."); got != "" {
		b.Errorf("left: %q", got)
	}
}

// times tests what stamps of folders stand on: each change of a name gives both its
// directories another time, and nothing else does.
func times(b *bench) {
	b.ok(b.fs.Mkdir("x"), b.fs.Mkdir("y"))
	b.put("x/a", "a")
	long := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	was := b.info("x/a")
	b.ok(b.fs.SetModTime("x/a", long))
	if now := b.info("x/a"); now.ModTime != long.UnixNano() || now.Changed < was.Changed {
		b.Errorf("the file was %+v and is %+v", was, now)
	}
	for name, change := range map[string]func() error{
		"rename":  func() error { return b.fs.Rename("x/a", "y/a") },
		"create":  func() error { b.put("x/b", ""); return b.fs.Link("x/b", b.fs, "y/b") },
		"replace": func() error { b.put("x/c", ""); b.put("y/c", ""); return b.fs.Replace("x/c", "y/c") },
		"unlink": func() error {
			b.put("x/d", "")
			b.put("y/d", "")
			return errors.Join(b.fs.Unlink("x/d"), b.fs.Unlink("y/d"))
		},
	} {
		b.ok(b.fs.SetModTime("x", long), b.fs.SetModTime("y", long), change())
		if b.info("x").ModTime == long.UnixNano() || b.info("y").ModTime == long.UnixNano() {
			b.Errorf("%s: a directory keeps its time", name)
		}
	}
	b.ok(b.fs.SetModTime("x", long))
	b.put("x/e", "")
	b.ok(b.fs.SetModTime("x", long))
	f, err := b.fs.Open("x/e")
	b.ok(err, f.Close(), b.fs.SetModTime("x/e", long), b.fs.Sync("x/e", "x"))
	if b.info("x").ModTime != long.UnixNano() {
		b.Error("what changes no name changes the directory's time")
	}
}

func openFiles(b *bench) {
	b.put("a", "abc")
	f, err := b.fs.Open("a")
	b.ok(err)
	defer f.Close()
	b.ok(b.fs.Rename("a", "b"), b.fs.Unlink("b"))
	text, err := io.ReadAll(f)
	b.ok(err)
	_, err = f.Seek(1, io.SeekStart)
	b.ok(err)
	rest, err := io.ReadAll(f)
	b.ok(err)
	if info, err := f.Info(); err != nil || string(text) != "abc" || string(rest) != "bc" || info.Size != 3 || info.Links != 0 {
		b.Errorf("an open file whose name is gone: %q, %q, %+v, %v", text, rest, info, err)
	}
}

func listings(b *bench) {
	b.ok(b.fs.Mkdir("x"))
	b.put("x/b", "")
	b.put("x/a", "")
	b.ok(b.fs.Mkdir("x/c"))
	found := map[string]maildir.Entry{}
	b.ok(b.fs.ReadDir("x", func(e maildir.Entry) { found[e.Name] = e }))
	if len(found) != 3 {
		b.Errorf("found %v", found)
	}
	for name, e := range found {
		if info := b.info("x/" + name); e.Inode != 0 && e.Inode != info.Inode || e.Type != info.Type {
			b.Errorf("%s: %+v, and lstat says %+v", name, e, info)
		}
	}
}

func missing(b *bench) {
	_, open := b.fs.Open("none/a")
	_, create := b.fs.Create("none/a")
	_, lstat := b.fs.Lstat("none/a")
	for what, err := range map[string]error{
		"open": open, "create": create, "lstat": lstat,
		"sync": b.fs.Sync("none"), "rename": b.fs.Rename("none", "a"), "replace": b.fs.Replace("none", "a"),
		"unlink": b.fs.Unlink("none"), "mkdir": b.fs.Mkdir("none/a"), "rmdir": b.fs.Rmdir("none"),
		"readdir": b.fs.ReadDir("none", func(maildir.Entry) {}), "time": b.fs.SetModTime("none", time.Now()),
	} {
		b.is(what+" of what is not there", err, fs.ErrNotExist)
	}
}
