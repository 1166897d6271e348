package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// folder is a Maildir of a device.
type folder struct {
	path  string
	files []file
}

// file is a message in it.
type file struct {
	sub  string // cur or new
	name string
}

// flags are letters.
func (m file) flags() string {
	_, flags, _ := strings.Cut(m.name, ":2,")
	return flags
}

func (f folder) pathOf(m file) string { return filepath.Join(f.path, m.sub, m.name) }

// folders lists what a device has, in the order of the names.
func folders(root string) ([]folder, error) {
	var all []folder
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		if name := e.Name(); name == "cur" || name == "new" || name == "tmp" {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "cur")); err != nil {
			return nil // a directory of directories
		}
		here, err := readFolder(path)
		all = append(all, here)
		return err
	})
	return all, err
}

func readFolder(path string) (folder, error) {
	f := folder{path: path}
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(path, sub))
		if err != nil {
			return f, err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			f.files = append(f.files, file{sub, e.Name()})
		}
	}
	return f, nil
}

// mark gives a message one more flag, as a mail program does.
func (f folder) mark(m file, letter string) error {
	base, flags, _ := strings.Cut(m.name, ":2,")
	letters := []byte(flags + letter)
	slices.Sort(letters)
	return os.Rename(f.pathOf(m), f.pathOf(file{"cur", base + ":2," + string(letters)}))
}

var serial int

// freshName is one that no program has given.
func freshName() string {
	serial++
	return fmt.Sprintf("%d.%d_%d.bench", time.Now().Unix(), os.Getpid(), serial)
}

// deliver puts a message into a Maildir, as of a date.
func (f folder) deliver(m file, raw []byte, date time.Time) error {
	if err := f.write(m.name, raw, date); err != nil {
		return err
	}
	return f.arrive(m)
}

// write puts a message into tmp, whence it arrives.
func (f folder) write(name string, raw []byte, date time.Time) error {
	tmp := filepath.Join(f.path, "tmp", name)
	if err := os.WriteFile(tmp, bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), 0o600); err != nil {
		return err
	}
	return os.Chtimes(tmp, date, date)
}

func (f folder) arrive(m file) error {
	return os.Rename(filepath.Join(f.path, "tmp", m.name), f.pathOf(m))
}

// tally is what both sides must agree on after a run.
type tally struct{ messages, flagged int }

func localTally(root string) (tally, error) {
	var t tally
	all, err := folders(root)
	for _, f := range all {
		t.messages += len(f.files)
		for _, m := range f.files {
			if strings.Contains(m.flags(), "F") {
				t.flagged++
			}
		}
	}
	return t, err
}
