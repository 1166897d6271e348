package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	"mailtwin/sync/imaptest/dovecot"
)

// hardNames are folders as nobody should name them, in the parts that they have on the
// server.
var hardNames = [][]string{
	{"Lists"}, {"Lists", "go"}, {"lists"}, {"LISTS", "go"}, {"My mail"}, {"Entwürfe 2024"}, {"Entwu\u0308rfe 2024"},
	{"日本", "東京"}, {"R&D", "nuts & bolts"}, {"-rf"}, {"--", "-"}, {"~tilde"}, {"100%"}, {"50%20off"}, {"%2Ehidden"}, {"AC%2FDC"},
	{`quo"te`}, {`back\slash`}, {"star*"}, {"per%cent"}, {"{3}"}, {"(a)"}, {"#hash"}, {"INBOX", "child"}, {"INBOX", "child", "cur"},
	{"cur"}, {"new", "tmp"}, {"x", "cur"}, {"tmp"}, {"mailtwin"}, {"dovecot-keywords"}, {"a.b", "c"}, {".hidden"}, {"x", ".."}, {"..."},
	{"a/b"}, {"AC/DC", "live"}, {"/"}, {"trailing."}, {"trailing "}, {" leading"}, {"a\nb"}, {"esc\x1b[2J"}, {"c1\u009b"}, {"\u202ebidi"},
	{strings.Repeat("ü", 100)}, {strings.Repeat("long ", 40) + "1", strings.Repeat("long ", 40) + "2"}, {"a", "b", "c", "d", "e", "f", "g"},
}

// dirs gives the messages of the Maildir by directory: their subjects.
func (d *computer) dirs() map[string]string {
	d.Helper()
	found := make(map[string]string)
	d.check(filepath.WalkDir(d.maildir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Base(filepath.Dir(path)) != "cur" {
			return err
		}
		text, err := os.ReadFile(path)
		dir, _ := filepath.Rel(d.maildir, filepath.Dir(filepath.Dir(path)))
		found[dir] += subject(string(text)) + "\n"
		return err
	}))
	return found
}

// possible makes those of the hardNames that the server lets a client make.
func (s *story) possible(delim string, least int) []mail.Folder {
	s.Helper()
	var names []mail.Folder
	for _, parts := range hardNames {
		name := mail.NewFolder(parts...)
		if slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(p, delim) }) {
			continue // there it would be another folder
		}
		if err := s.phone.CreateFolder(s.Context(), name, mail.RoleNone); err != nil {
			s.Logf("%.60q: %.100v", name, err)
			continue
		}
		names = append(names, name)
	}
	if len(names) < least {
		s.Errorf("the server makes %d of the folders only", len(names))
	}
	return names
}

// hardNamesGoBothWays tells the story of all names that the server takes.
func hardNamesGoBothWays(layout config.Layout, delim string, least int) map[string]func(s *story) {
	setting := fmt.Sprintf("layout = %q", layout)
	return map[string]func(s *story){
		"made on the server": func(s *story) {
			names := s.possible(delim, least)
			want := make(map[string]int)
			for i, name := range names {
				s.deliver(name, note(fmt.Sprint("n", i)), seen)
				want[fmt.Sprintf("n%d\n", i)] = 1
			}
			laptop, desktop := s.device("laptop", setting), s.device("desktop", setting)
			if r := laptop.sync(); r.Local.New != len(names) || len(r.Skipped) > 0 {
				s.Errorf("%d messages came, of %d, and left out are %v", r.Local.New, len(names), r.Skipped)
			}
			laptop.quiet()
			got := make(map[string]int)
			for _, text := range laptop.dirs() {
				got[text]++
			}
			if !maps.Equal(got, want) {
				s.Errorf("the messages are %v, want each in a directory of its own: %v", got, laptop.dirs())
			}
			settle(laptop, desktop)
			if a, b := laptop.dirs(), desktop.dirs(); !maps.Equal(a, b) {
				s.Errorf("the laptop has %q, and the desktop %q", a, b)
			}
			// What is done there stays in its folder.
			for i, name := range names {
				for path, text := range laptop.dirs() {
					if text == fmt.Sprintf("n%d\n", i) {
						laptop.drop(path, fmt.Sprint("m", i))
					}
				}
				s.check(s.phone.AddFlags(s.Context(), name, s.remote(name, fmt.Sprint("n", i)).UID, flagged))
			}
			settle(laptop, desktop)
			for i, name := range names {
				s.want(string(name), s.there(name), fmt.Sprint("m", i), fmt.Sprint("n", i))
			}
			if a, b := laptop.dirs(), desktop.dirs(); len(a) != len(names) || len(b) != len(names) {
				s.Errorf("the laptop has %q, and the desktop %q", a, b)
			}
		},
		"made here": func(s *story) {
			laptop, desktop := s.device("laptop", setting), s.device("desktop", setting)
			names := s.possible(delim, least)
			for _, name := range slices.Backward(names) {
				s.check(s.phone.DeleteFolder(s.Context(), name))
			}
			laptop.sync()
			tree, err := maildir.Open(laptop.maildir, maildir.Options{Layout: layouts[layout]})
			s.check(err)
			defer tree.Close()
			for i, name := range names {
				before := laptop.empty()
				s.check(tree.CreateFolder(s.Context(), name))
				for _, dir := range laptop.empty() {
					if !slices.Contains(before, dir) {
						laptop.drop(dir, fmt.Sprint("n", i))
					}
				}
			}
			if r := laptop.sync(); r.Remote.New != len(names) {
				s.Errorf("%d messages went to the server, of %d", r.Remote.New, len(names))
			}
			for i, name := range names {
				s.want(string(name), s.there(name), fmt.Sprint("n", i))
			}
			settle(laptop, desktop)
			if a, b := laptop.dirs(), desktop.dirs(); !maps.Equal(a, b) {
				s.Errorf("the laptop has %q, and the desktop %q", a, b)
			}
		},
	}
}

// drop puts a read message into a directory of the Maildir.
func (d *computer) drop(dir, name string) {
	d.Helper()
	d.check(os.WriteFile(filepath.Join(d.maildir, dir, "cur", name+".a.host:2,S"), []byte(note(name)), 0o600))
}

// empty gives the directories of folders that hold no message.
func (d *computer) empty() []string {
	d.Helper()
	var empty []string
	d.check(filepath.WalkDir(d.maildir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() || e.Name() != "cur" {
			return err
		}
		if entries, err := os.ReadDir(path); err != nil || len(entries) > 0 {
			return err
		}
		// A folder called "cur" is none of these: its directory has another name.
		dir, err := filepath.Rel(d.maildir, filepath.Dir(path))
		empty = append(empty, dir)
		return err
	}))
	return empty
}

func TestHardNamesGoBothWays(t *testing.T) {
	t.Parallel()
	// With this plugin Dovecot takes nearly any name.
	anything := []dovecot.Option{dovecot.Sdbox(), dovecot.Namespace("", "|"), dovecot.Extra("mail_plugins = listescape")}
	for _, c := range []struct {
		layout config.Layout
		delim  string
		least  int
		opts   []dovecot.Option
	}{
		{config.Nested, "/", 35, nil},
		{config.Nested, "|", 45, anything},
		{config.MaildirPlus, ".", 35, []dovecot.Option{dovecot.Sdbox(), dovecot.Namespace("", ".")}},
		{config.MaildirPlus, "|", 45, anything},
	} {
		t.Run(string(c.layout)+" "+c.delim, func(t *testing.T) {
			stories(t, hardNamesGoBothWays(c.layout, c.delim, c.least), append(c.opts, dovecot.NoRoles())...)
		})
	}
}

func TestRenamedFolders(t *testing.T) {
	const setting = `map = { "Lists" = "Listen", "Lists/old" = "Archiv/Listen", "Archive" = "Archiv" }`
	stories(t, map[string]func(s *story){
		"both ways": func(s *story) {
			laptop, desktop := s.device("laptop", setting), s.device("desktop")
			for _, name := range []mail.Folder{"Lists", "Lists/go", "Lists/old"} {
				s.check(s.phone.CreateFolder(s.Context(), name, mail.RoleNone))
				s.deliver(name, note("from "+string(name)), seen)
			}
			laptop.sync()
			laptop.want("Listen", laptop.subjects("Listen"), "from Lists")
			laptop.want("Listen/go", laptop.subjects("Listen/go"), "from Lists/go")
			laptop.want("Archiv/Listen", laptop.subjects("Archiv/Listen"), "from Lists/old")
			laptop.quiet()
			laptop.save("Listen/rust", "cur", "1.a.host:2,S", note("made here"), then)
			settle(laptop, desktop)
			s.want("Lists/rust", s.there("Lists/rust"), "made here")
			desktop.want("Lists/rust", desktop.subjects("Lists/rust"), "made here")
		},
		"renamed when they were synced already": func(s *story) {
			laptop := s.device("laptop")
			for _, name := range []mail.Folder{"Lists", "Lists/go"} {
				s.check(s.phone.CreateFolder(s.Context(), name, mail.RoleNone))
				s.deliver(name, note("from "+string(name)), seen)
			}
			laptop.sync()
			text, err := os.ReadFile(laptop.config)
			s.check(err)
			s.check(os.WriteFile(laptop.config, []byte(string(text)+setting+"\n"), 0o600))
			s.check(os.Rename(filepath.Join(laptop.maildir, "Lists"), filepath.Join(laptop.maildir, "Listen")))
			if r := laptop.sync(); r.Local.New+r.Remote.New+r.Local.Removed+r.Remote.Removed > 0 {
				s.Errorf("%+v here, %+v on the server", r.Local, r.Remote)
			}
			laptop.quiet()
			laptop.want("Listen/go", laptop.subjects("Listen/go"), "from Lists/go")
			s.want("Lists/go", s.there("Lists/go"), "from Lists/go")
		},
		"two that would be one": func(s *story) {
			laptop := s.device("laptop", setting)
			for _, name := range []mail.Folder{"Lists", "Listen"} {
				s.check(s.phone.CreateFolder(s.Context(), name, mail.RoleNone))
				s.deliver(name, note("from "+string(name)), seen)
			}
			r := laptop.sync()
			laptop.want("Listen", laptop.subjects("Listen"), "from Lists")
			if len(r.Skipped) != 1 || r.Skipped[0].Folder != "Listen" {
				s.Errorf("left out are %v", r.Skipped)
			}
			laptop.quiet()
			s.want("Listen", s.there("Listen"), "from Listen")
		},
	})
}

// What a server shows and no client can make.
func TestNamesOfAnotherWorld(t *testing.T) {
	stories(t, map[string]func(s *story){
		"control characters": func(s *story) {
			s.deliver("INBOX", note("ordinary"), seen)
			account := s.server.Account(s.user)
			uid, gid := s.server.Owner()
			for name, dir := range map[string]string{"line": ".line&AAo-break", "escape": ".esc&ABs-[2J"} {
				path := filepath.Join(account.MailDir, dir)
				for _, sub := range []string{"", "cur", "new", "tmp"} {
					s.check(os.Mkdir(filepath.Join(path, sub), 0o700))
				}
				s.check(os.WriteFile(filepath.Join(path, "cur", "1.a.host:2,S"), []byte(note(name)), 0o600))
				s.check(filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
					if err == nil && os.Getuid() == 0 {
						err = os.Lchown(path, uid, gid)
					}
					return err
				}))
			}
			laptop := s.device("laptop")
			laptop.sync()
			want := map[string]string{"INBOX": "ordinary\n", "esc%1B[2J": "escape\n", "line%0Abreak": "line\n"}
			if got := laptop.dirs(); !maps.Equal(got, want) {
				s.Errorf("the messages are %q, want %q", got, want)
			}
			laptop.quiet()
			laptop.drop("line%0Abreak", "another")
			settle(laptop)
			s.want("line%0Abreak", s.there("line%0Abreak"), "another", "line")
			// They can be typed, and are printed like that.
			if r := laptop.exits(0, "--verbose", "sync", "alice:esc%1B[2J"); strings.Contains(r.stdout+r.stderr, "\x1b") {
				s.Errorf("a control character is printed: %q", r.stdout+r.stderr)
			}
		},
	}, dovecot.NoRoles())
}
