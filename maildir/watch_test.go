package maildir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// heard is all that a Watcher has told in a test.
type heard struct {
	Changes
	folders map[mail.Folder]mail.FolderChanges
}

func (h *heard) add(c Changes) {
	h.All, h.Replaced, h.List = h.All || c.All, h.Replaced || c.Replaced, h.List || c.List
	if c.All || c.Lost != nil {
		h.Lost = c.Lost
	}
	h.Notices = append(h.Notices, c.Notices...)
	for _, f := range c.Folders {
		was := h.folders[f.Name]
		f.Whole, f.Files = f.Whole || was.Whole, append(was.Files, f.Files...)
		h.folders[f.Name] = f
	}
}

// until waits until what has been told since satisfies enough, and gives it.
func until(t *testing.T, w *Watcher, what string, enough func(*heard) bool) *heard {
	t.Helper()
	// Nothing takes so long, but a busy machine may.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	h := &heard{folders: make(map[mail.Folder]mail.FolderChanges)}
	for !enough(h) {
		c, err := w.Wait(ctx)
		if err != nil {
			t.Fatalf("not told that %s: %v; told: %+v", what, err, h)
		}
		h.add(c)
	}
	return h
}

// says gives a condition for until.
func says(folder mail.Folder, enough func(mail.FolderChanges) bool) func(*heard) bool {
	return func(h *heard) bool { return enough(h.folders[folder]) }
}

func isWhole(f mail.FolderChanges) bool { return f.Whole }

func hasNew(name string) func(mail.FolderChanges) bool { return has(name, true) }

func hasCur(name string) func(mail.FolderChanges) bool { return has(name, false) }

func has(name string, isNew bool) func(mail.FolderChanges) bool {
	return func(f mail.FolderChanges) bool {
		return slices.ContainsFunc(f.Files, func(file mail.File) bool { return file.Name == name && file.New == isNew })
	}
}

// fresh makes a Maildir with folders, and watches it.
func fresh(t *testing.T, layout Layout, folders ...mail.Folder) (*Watcher, *Tree, string) {
	t.Helper()
	tree, root := newTree(t, Options{Layout: layout})
	for _, f := range folders {
		must(t, tree.CreateFolder(t.Context(), f))
	}
	w := Watch(t.Context(), root, WatchOptions{Layout: layout})
	t.Cleanup(w.Close)
	return w, tree, root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, parts ...string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(parts...), []byte("Subject: x\n\nx\n"), 0o600))
}

// deliver puts messages into the directory of a folder until one is told of by its name: what
// was being made or renamed a moment ago may be told of as a whole first.
func deliver(t *testing.T, w *Watcher, dir string, folder mail.Folder) {
	t.Helper()
	for n, told := 0, false; !told; n++ {
		name := fmt.Sprintf("%s.%d", rand.Text(), n)
		write(t, dir, "new", name)
		h := until(t, w, "a message is in "+string(folder), func(h *heard) bool {
			told = hasNew(name)(h.folders[folder])
			return told || h.folders[folder].Whole || h.All
		})
		for other, c := range h.folders {
			if other != folder && hasNew(name)(c) {
				t.Errorf("what is in %s is told of %s, too", folder, other)
			}
		}
	}
}

// mustEvents skips a test where there are no events of directories.
func mustEvents(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("directories are polled here")
	}
}

func TestWatchTellsWhichFilesHaveAppeared(t *testing.T) {
	mustEvents(t)
	for _, layout := range []Layout{Nested, MaildirPlus} {
		t.Run(layout.String(), func(t *testing.T) {
			w, tree, root := fresh(t, layout, "Lists/go")
			for _, folder := range []mail.Folder{"INBOX", "Lists/go"} {
				dir, err := tree.Path(folder)
				must(t, err)
				dir = filepath.Join(root, dir)

				// As a delivery does it, and then a reader.
				write(t, dir, "tmp", "1.a.host")
				must(t, os.Rename(filepath.Join(dir, "tmp", "1.a.host"), filepath.Join(dir, "new", "1.a.host")))
				h := until(t, w, "a message was delivered", says(folder, hasNew("1.a.host")))
				if f := h.folders[folder]; f.Whole || len(f.Files) != 1 || h.List || len(h.folders) > 1 {
					t.Errorf("a delivery is told as %+v", h)
				}
				must(t, os.Rename(filepath.Join(dir, "new", "1.a.host"), filepath.Join(dir, "cur", "1.a.host:2,S")))
				until(t, w, "a message was read", says(folder, func(f mail.FolderChanges) bool {
					return hasNew("1.a.host")(f) && hasCur("1.a.host:2,S")(f)
				}))
				must(t, os.Rename(filepath.Join(dir, "cur", "1.a.host:2,S"), filepath.Join(dir, "cur", "1.a.host:2,FS")))
				until(t, w, "a message was flagged", says(folder, hasCur("1.a.host:2,FS")))
				must(t, os.Remove(filepath.Join(dir, "cur", "1.a.host:2,FS")))
				until(t, w, "a message was removed", says(folder, hasCur("1.a.host:2,FS")))
			}
		})
	}
}

func TestWatchPassesByWhatScansPassBy(t *testing.T) {
	mustEvents(t)
	w, _, root := fresh(t, Nested)
	inbox := filepath.Join(root, "INBOX")
	write(t, inbox, "cur", ".hidden")
	write(t, inbox, "cur", ":2,S")
	must(t, os.Remove(filepath.Join(inbox, "cur", ".hidden")))
	write(t, inbox, "tmp", "in-tmp")
	write(t, inbox, "dovecot-uidlist")
	write(t, inbox, markerFile)
	write(t, inbox, "cur", "odd \x1b[31m\nname:2,")
	h := until(t, w, "there is a message", says("INBOX", hasCur("odd \x1b[31m\nname:2,")))
	if f := h.folders["INBOX"]; len(f.Files) != 1 || f.Whole || h.List {
		t.Errorf("told: %+v", h)
	}
}

func TestWatchTellsWhenLettersMeanSomethingElse(t *testing.T) {
	mustEvents(t)
	w, _, root := fresh(t, Nested)
	must(t, os.WriteFile(filepath.Join(root, "INBOX", "k"), []byte("0 work\n"), 0o600))
	must(t, os.Rename(filepath.Join(root, "INBOX", "k"), filepath.Join(root, "INBOX", lettersFile)))
	until(t, w, "the folder has other letters", says("INBOX", isWhole))
}

func TestWatchFollowsFolders(t *testing.T) {
	mustEvents(t)
	for _, layout := range []Layout{Nested, MaildirPlus} {
		t.Run(layout.String(), func(t *testing.T) {
			w, tree, root := fresh(t, layout, "Old", "Old/inner")
			path := func(f mail.Folder) string {
				t.Helper()
				names, err := layout.encode(f)
				must(t, err)
				return filepath.Join(append([]string{root}, names...)...)
			}
			delivered := func(f mail.Folder) {
				t.Helper()
				deliver(t, w, path(f), f)
			}

			// Another program makes one, and puts a message there at once.
			mkdirs(t, path("Made"), "tmp", "new", "cur")
			write(t, path("Made"), "new", "early")
			h := until(t, w, "a folder was made", says("Made", isWhole))
			if !h.List {
				t.Errorf("told: %+v", h)
			}
			delivered("Made")

			// We do.
			must(t, tree.CreateFolder(t.Context(), "Ours/deep/down"))
			until(t, w, "a folder was made by us", says("Ours/deep/down", isWhole))
			delivered("Ours/deep/down")
			must(t, tree.CreateFolder(t.Context(), "Ours"))
			until(t, w, "one around it was made", says("Ours", isWhole))
			delivered("Ours")

			// Renamed, with what is inside.
			must(t, os.Rename(path("Old"), path("Renamed")))
			if layout == MaildirPlus {
				must(t, os.Rename(path("Old/inner"), path("Renamed/inner")))
			}
			all := func(h *heard) bool {
				return h.folders["Old"].Whole && h.folders["Old/inner"].Whole && h.folders["Renamed"].Whole && h.folders["Renamed/inner"].Whole
			}
			if h := until(t, w, "folders were renamed", all); !h.List {
				t.Errorf("told: %+v", h)
			}
			delivered("Renamed/inner")

			// Swapped, and one of them made anew.
			must(t, os.Rename(path("Made"), path("tween")))
			must(t, os.Rename(path("Renamed"), path("Made")))
			must(t, os.Rename(path("tween"), path("Renamed")))
			until(t, w, "folders were swapped", func(h *heard) bool { return h.folders["Made"].Whole && h.folders["Renamed"].Whole })
			delivered("Made")
			delivered("Renamed")
			must(t, os.RemoveAll(path("Made")))
			mkdirs(t, path("Made"), "tmp", "new", "cur")
			until(t, w, "a folder was made anew", says("Made", isWhole))
			delivered("Made")

			must(t, os.RemoveAll(path("Made")))
			until(t, w, "a folder was removed", func(h *heard) bool { return h.List && h.folders["Made"].Whole })
		})
	}
}

func TestWatchSeesWhatComesIntoABareDirectory(t *testing.T) {
	mustEvents(t)
	w, _, root := fresh(t, Nested)
	mkdirs(t, root, "Lists")
	mkdirs(t, root, "Other/new", "Other/cur")
	until(t, w, "a folder was made", says("Other", isWhole))
	mkdirs(t, root, "Lists/go/new", "Lists/go/cur")
	until(t, w, "a folder was made", says("Lists/go", isWhole))
}

// It is listed again and again while it goes on, and what was put there last is told of.
func TestWatchMissesNoFolderOfMany(t *testing.T) {
	mustEvents(t)
	w, _, root := fresh(t, Nested)
	var names []string
	for i := range 300 {
		name := "f" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26))
		mkdirs(t, root, name+"/cur", name+"/new", name+"/inner/cur", name+"/inner/new")
		write(t, root, name, "inner", "new", "m")
		names = append(names, name)
	}
	until(t, w, "many folders were made", func(h *heard) bool {
		return !slices.ContainsFunc(names, func(name string) bool {
			return !h.folders[mail.Folder(name)].Whole || !h.folders[mail.Folder(name+"/inner")].Whole
		})
	})
}

func TestWatchTellsWhenTheMaildirGoesAndComes(t *testing.T) {
	mustEvents(t)
	root := filepath.Join(t.TempDir(), "Mail")
	mkdirs(t, root, "INBOX/cur", "INBOX/new")
	w := Watch(t.Context(), root, WatchOptions{Poll: 20 * time.Millisecond})
	defer w.Close()
	must(t, os.Rename(root, root+"-away"))
	h := until(t, w, "the Maildir is gone", func(h *heard) bool { return h.Lost != nil })
	if !errors.Is(h.Lost, mail.ErrMissing) {
		t.Errorf("lost: %v", h.Lost)
	}
	must(t, os.Rename(root+"-away", root))
	if h := until(t, w, "it is back", func(h *heard) bool { return h.All }); h.Replaced {
		t.Error("the same directory counts as another one")
	}
	deliver(t, w, filepath.Join(root, "INBOX"), "INBOX")

	must(t, os.Rename(root, root+"-away"))
	mkdirs(t, root, "INBOX/cur", "INBOX/new", "Lists/cur", "Lists/new")
	until(t, w, "it is another one", func(h *heard) bool { return h.All && h.Replaced })
	deliver(t, w, filepath.Join(root, "Lists"), "Lists")
	must(t, os.RemoveAll(root))
	until(t, w, "the Maildir is gone", func(h *heard) bool { return h.Lost != nil })
}

func TestWatchMayBeginBeforeThereIsAMaildir(t *testing.T) {
	root := filepath.Join(t.TempDir(), "Mail")
	w := Watch(t.Context(), root, WatchOptions{Poll: 20 * time.Millisecond})
	defer w.Close()
	if c := w.Take(); !errors.Is(c.Lost, mail.ErrMissing) {
		t.Errorf("told: %+v", c)
	}
	mkdirs(t, root, "INBOX/cur", "INBOX/new")
	until(t, w, "it is there", func(h *heard) bool { return h.All || h.folders["INBOX"].Whole })
}

// What it holds open would keep a disk from being unmounted.
func TestWatchHoldsNothingOpen(t *testing.T) {
	mustEvents(t)
	open := func() map[string]string {
		links := make(map[string]string)
		fds, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		for _, fd := range fds {
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
				links[fd.Name()] = to
			}
		}
		return links
	}
	root := t.TempDir()
	mkdirs(t, root, "INBOX/cur", "INBOX/new")
	before := open()
	for range 20 {
		w := Watch(t.Context(), root, WatchOptions{})
		for fd, to := range open() {
			if strings.HasPrefix(to, root) {
				t.Errorf("descriptor %s: %s", fd, to)
			}
		}
		w.Close()
	}
	if after := open(); len(after) > len(before)+2 { // the runtime's poller has some of its own
		t.Errorf("descriptors: %v, before: %v", slices.Sorted(maps.Values(after)), slices.Sorted(maps.Values(before)))
	}
}
