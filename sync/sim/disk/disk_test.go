package disk_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"
	"time"

	"mailtwin/maildir"
	"mailtwin/sync/sim/disk"
	"mailtwin/sync/sim/disktest"
)

// clock goes on by a millisecond each time that it is asked.
func clock() func() time.Time {
	now := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	return func() time.Time { now = now.Add(time.Millisecond); return now }
}

func TestTheDiskIsWhatFSSays(t *testing.T) {
	disktest.Run(t, func(t *testing.T) maildir.FS { return root(t, disk.New(1, clock())) })
}

func root(t *testing.T, d *disk.Disk) *disk.FS {
	t.Helper()
	f, err := d.FS(".")
	must(t, err)
	return f
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, f *disk.FS, name, text string) {
	t.Helper()
	w, err := f.Create(name)
	must(t, err)
	_, err = io.WriteString(w, text)
	must(t, err)
}

func read(t *testing.T, f *disk.FS, name string) string {
	t.Helper()
	r, err := f.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	must(t, err)
	text, err := io.ReadAll(r)
	must(t, err)
	return string(text)
}

// outcomes plays what do does on many disks, turns the power off, and counts what is
// there afterwards.
func outcomes(t *testing.T, do func(*disk.FS), look func(*disk.FS) string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(400) {
		d := disk.New(1, clock())
		f := root(t, d)
		must(t, f.Mkdir("x"), f.Mkdir("y"), f.Sync("."))
		do(f)
		d.PowerLoss(rand.New(rand.NewPCG(seed, 0)))
		seen[look(f)]++
	}
	return seen
}

// wantOnly checks that each of the outcomes happened, and no other.
func wantOnly(t *testing.T, what string, seen map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("%s: %q never happened: %v", what, w, seen)
		}
		delete(seen, w)
	}
	if len(seen) > 0 {
		t.Errorf("%s: %v happened as well", what, seen)
	}
}

func TestWhatIsSyncedSurvives(t *testing.T) {
	seen := outcomes(t, func(f *disk.FS) {
		put(t, f, "x/a", "text")
		must(t, f.Sync("x/a", "x"))
	}, func(f *disk.FS) string { return read(t, f, "x/a") })
	wantOnly(t, "both synced", seen, "text")
}

func TestWhatIsNotSyncedMayBeLostOrTorn(t *testing.T) {
	look := func(f *disk.FS) string { return fmt.Sprintf("%q", read(t, f, "x/a")) }
	seen := outcomes(t, func(f *disk.FS) { put(t, f, "x/a", "ab") }, look)
	wantOnly(t, "nothing synced", seen, `"none"`, `"ab"`, `""`, `"a"`, `"\x00\x00"`)
	seen = outcomes(t, func(f *disk.FS) { put(t, f, "x/a", "ab"); must(t, f.Sync("x/a")) }, look)
	wantOnly(t, "the file synced", seen, `"none"`, `"ab"`)
	seen = outcomes(t, func(f *disk.FS) { put(t, f, "x/a", "ab"); must(t, f.Sync("x")) }, look)
	wantOnly(t, "the directory synced", seen, `"ab"`, `""`, `"a"`, `"\x00\x00"`)
}

func TestARenameSurvivesWholeUnlessADirectoryOfItWasSynced(t *testing.T) {
	look := func(f *disk.FS) string { return read(t, f, "x/a") + " " + read(t, f, "y/b") }
	moved := func(sync ...string) map[string]int {
		return outcomes(t, func(f *disk.FS) {
			put(t, f, "x/a", "text")
			must(t, f.Sync("x/a", "x"), f.Rename("x/a", "y/b"), f.Sync(sync...))
		}, look)
	}
	wantOnly(t, "nothing synced", moved(), "text none", "none text")
	wantOnly(t, "the target synced", moved("y"), "text text", "none text")
	wantOnly(t, "the source synced", moved("x"), "none none", "none text")
	wantOnly(t, "both synced", moved("y", "x"), "none text")
}

func TestNamesOfTheSameFileSurviveIndependently(t *testing.T) {
	seen := outcomes(t, func(f *disk.FS) {
		put(t, f, "x/a", "text")
		must(t, f.Sync("x/a", "x"), f.Link("x/a", f, "y/b"), f.Unlink("x/a"))
	}, func(f *disk.FS) string { return read(t, f, "x/a") + " " + read(t, f, "y/b") })
	wantOnly(t, "linked and unlinked", seen, "text none", "text text", "none text", "none none")
}

func TestADirectoryThatChangedInPartHasATimeOfItsOwn(t *testing.T) {
	for seed := range uint64(400) {
		d := disk.New(1, clock())
		f := root(t, d)
		must(t, f.Mkdir("x"), f.Sync("."))
		before, _ := f.Lstat("x")
		put(t, f, "x/a", "")
		put(t, f, "x/b", "")
		after, _ := f.Lstat("x")
		d.PowerLoss(rand.New(rand.NewPCG(seed, 0)))
		now, err := f.Lstat("x")
		must(t, err)
		n := 0
		must(t, f.ReadDir("x", func(maildir.Entry) { n++ }))
		if (n == 0) != (now.ModTime == before.ModTime) || (n == 2) != (now.ModTime == after.ModTime) {
			t.Fatalf("seed %d: %d of 2 names survive; the time was %d, became %d, and is %d", seed, n, before.ModTime, after.ModTime, now.ModTime)
		}
	}
}

func TestALossTellsWhatItUndid(t *testing.T) {
	told := map[int]int{}
	for seed := range uint64(100) {
		d := disk.New(1, clock())
		f := root(t, d)
		put(t, f, "a", "text")
		must(t, f.Sync("a", "."))
		d.Actor = "mutt"
		must(t, f.Unlink("a"))
		lost := d.PowerLoss(rand.New(rand.NewPCG(seed, 0)))
		there := read(t, f, "a") == "text"
		if there != (len(lost) == 1 && lost[0].Actor == "mutt" && string(lost[0].Content) == "text" && lost[0].Names == 1) {
			t.Fatalf("seed %d: there %v, told of %+v", seed, there, lost)
		}
		told[len(lost)]++
	}
	if told[0] == 0 || told[1] == 0 {
		t.Errorf("told %v", told)
	}
}

func TestALossTellsOfFilesThatAreGoneForGood(t *testing.T) {
	for seed := range uint64(100) {
		d := disk.New(1, clock())
		f := root(t, d)
		d.Actor = "mutt"
		put(t, f, "a", "text")
		must(t, f.Sync("a"))
		lost := d.PowerLoss(rand.New(rand.NewPCG(seed, 0)))
		if gone := read(t, f, "a") == "none"; gone != (len(lost) == 1 && lost[0].Names == -1) {
			t.Fatalf("seed %d: gone %v, told of %+v", seed, gone, lost)
		}
	}
}

func TestALossTellsOfFilesWhoseDirectoryIsGone(t *testing.T) {
	gone := 0
	for seed := range uint64(100) {
		d := disk.New(1, clock())
		f := root(t, d)
		must(t, f.Mkdir("x"))
		d.Actor = "mutt"
		put(t, f, "x/a", "text")
		must(t, f.Sync("x/a"))
		lost := d.PowerLoss(rand.New(rand.NewPCG(seed, 0)))
		if read(t, f, "x/a") != "none" {
			continue
		}
		gone++
		if len(lost) != 1 || lost[0].Actor != "mutt" || lost[0].Names != -1 {
			t.Fatalf("seed %d: told of %+v", seed, lost)
		}
	}
	if gone == 0 {
		t.Error("the directory is always there")
	}
}

func TestAFileThatWasMovedOnDoesNotComeBackWhereItWas(t *testing.T) {
	for seed := range uint64(100) {
		d := disk.New(1, clock())
		f := root(t, d)
		must(t, f.Mkdir("x"), f.Mkdir("y"), f.Sync("."))
		d.Actor = "mutt"
		put(t, f, "a", "text")
		must(t, f.Rename("a", "x/a"), f.Rename("x/a", "y/a"), f.Sync("y"))
		d.PowerLoss(rand.New(rand.NewPCG(seed, 0)))
		if read(t, f, "a") != "none" || read(t, f, "x/a") != "none" || read(t, f, "y/a") == "none" {
			t.Fatalf("seed %d: a %s, x/a %s, y/a %s", seed, read(t, f, "a"), read(t, f, "x/a"), read(t, f, "y/a"))
		}
	}
}

// A directory that was renamed into another one has one name after a loss of power.
func TestARenamedDirectoryHasOneName(t *testing.T) {
	names := map[string]int{}
	for seed := range uint64(100) {
		d := disk.New(1, clock())
		f := root(t, d)
		must(t, f.Mkdir("x"), f.Mkdir("y"), f.Mkdir("x/dir"))
		put(t, f, "x/dir/a", "text")
		must(t, f.Sync("x/dir/a", "x/dir", "x", "y", "."))
		must(t, f.Rename("x/dir", "y/dir"), f.Sync("y"))
		d.PowerLoss(rand.New(rand.NewPCG(seed, 0)))
		old, new := read(t, f, "x/dir/a") != "none", read(t, f, "y/dir/a") != "none"
		if old == new {
			t.Fatalf("seed %d: under its old name %v, under its new one %v", seed, old, new)
		}
		names[fmt.Sprint(old)]++
	}
	if len(names) != 2 {
		t.Errorf("it had %v", names)
	}
}

func TestTheNumberOfAGoneFileIsGivenOutAgain(t *testing.T) {
	d := disk.New(1, clock())
	f := root(t, d)
	put(t, f, "a", "")
	was, _ := f.Lstat("a")
	must(t, f.Unlink("a"))
	put(t, f, "b", "")
	if now, _ := f.Lstat("b"); now.Inode != was.Inode {
		t.Errorf("%d, then %d", was.Inode, now.Inode)
	}
}

func TestWhatIsRenamedKeepsItsNumber(t *testing.T) {
	d := disk.New(1, clock())
	f := root(t, d)
	put(t, f, "a", "")
	must(t, f.Rename("a", "b"))
	put(t, f, "c", "")
	b, _ := f.Lstat("b")
	if c, _ := f.Lstat("c"); b.Inode == c.Inode {
		t.Errorf("two files have number %d", b.Inode)
	}
}

func TestACloneIsACopyOfItsOwn(t *testing.T) {
	d := disk.New(1, clock())
	f := root(t, d)
	put(t, f, "a", "text")
	backup := d.Clone()
	must(t, f.Unlink("a"))
	backup.PowerLoss(rand.New(rand.NewPCG(1, 0)))
	if got := read(t, root(t, backup), "a"); got != "text" {
		t.Errorf("the backup has %q", got)
	}
}
