package maildir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"mailtwin/conflict/mail"
)

func scan(t testing.TB, tree *Tree, letters mail.Letters) (mail.Listing, []mail.File) {
	t.Helper()
	listing, err := tree.Scan(context.Background(), "INBOX", letters)
	if err != nil {
		t.Fatal(err)
	}
	return listing, slices.Collect(listing.Files)
}

func TestAScanListsMessagesInOrderOfKeys(t *testing.T) {
	tree, root := newTree(t, Options{})
	for _, name := range []string{
		"cur/2:2,FS", "new/1", "cur/10:2,", "cur/3", "new/4:2,R", "cur/5.a,S=5:2,Sab", "cur/5", "cur/line\nbreak:2,T",
		"cur/.hidden:2,S", "new/.nfs0001", "cur/:2,S",
	} {
		put(t, root, "INBOX/"+name, "x")
	}
	put(t, root, "INBOX/"+lettersFile, "0 work\n")
	mkdirs(t, root, "INBOX/cur/directory")
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "INBOX/cur/link:2,S")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(root, "INBOX/new/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	age(t, root, "INBOX")
	// The folder's own file says what a is, base what b is.
	listing, got := scan(t, tree, mail.Letters{0: "stale", 1: "base"})
	want := []mail.File{
		{Key: "1", Name: "1", New: true},
		{Key: "10", Name: "10:2,"},
		{Key: "2", Name: "2:2,FS", Flags: flags(`\Flagged`, `\Seen`)},
		{Key: "3", Name: "3"},
		{Key: "4", Name: "4:2,R", New: true, Flags: flags(`\Answered`)},
		{Key: "5", Name: "5"},
		{Key: "5.a,S=5", Name: "5.a,S=5:2,Sab", Flags: flags(`\Seen`, "work", "base"), Letters: "ab"},
		{Key: "line\nbreak", Name: "line\nbreak:2,T", Flags: flags(`\Deleted`)},
	}
	for i, f := range got {
		st, err := tree.Stat(t.Context(), "INBOX", f)
		if err != nil || st.Inode != f.Inode || st.Size != 1 {
			t.Errorf("%q: stat %v, %v; inode %d", f.Name, st, err, f.Inode)
		}
		got[i].Inode = 0
	}
	if !slices.Equal(got, want) {
		t.Errorf("files\n%v, want\n%v", got, want)
	}
	if listing.Letters != (mail.Letters{0: "work", 1: "base"}) {
		t.Errorf("letters %v", listing.Letters)
	}
	if len(listing.Problems) != 3 { // the directory, the FIFO, and the file without a key
		t.Errorf("problems %v", listing.Problems)
	}
	if !listing.Believed || listing.Stamp == (mail.Stamp{}) {
		t.Errorf("believed %v, stamp %v", listing.Believed, listing.Stamp)
	}
	if again := slices.Collect(listing.Files); len(again) != len(want) {
		t.Errorf("listed again: %v", again)
	}
	for range listing.Files {
		break // a listing may be left early
	}
}

func TestOneKeyIsListedOnce(t *testing.T) {
	tree, root := newTree(t, Options{})
	put(t, root, "INBOX/new/a", "1")
	put(t, root, "INBOX/cur/a:2,S", "2")
	put(t, root, "INBOX/cur/b:2,S", "1")
	put(t, root, "INBOX/cur/b:2,", "2")
	listing, got := scan(t, tree, mail.Letters{})
	if len(got) != 2 || got[0].Name != "a:2,S" || got[0].New || got[1].Name != "b:2," {
		t.Errorf("files %v", got)
	}
	if len(listing.Problems) != 2 || !strings.Contains(listing.Problems[0].Error(), "cur/") {
		t.Errorf("problems %v", listing.Problems)
	}
}

// A listing that a rename ran through has the file under both names.
func TestOfTwoNamesOfOneFileTheLivingOneIsListed(t *testing.T) {
	tree, root := newTree(t, Options{})
	put(t, root, "INBOX/new/a", "1")
	done := false
	hook(t, tree, func(op, name string) error {
		if op == "readdir" && name == "INBOX/cur" && !done {
			done = true
			return os.Rename(filepath.Join(root, "INBOX/new/a"), filepath.Join(root, "INBOX/cur/a:2,S"))
		}
		return nil
	})
	listing, got := scan(t, tree, mail.Letters{})
	if len(got) != 1 || got[0].Name != "a:2,S" || got[0].New {
		t.Errorf("files %v", got)
	}
	if len(listing.Problems) != 0 || !listing.Believed { // the second try was undisturbed
		t.Errorf("problems %v, believed %v", listing.Problems, listing.Believed)
	}
}

// What was left of a rename is told apart from another message of the same key.
func TestARenameIsEnded(t *testing.T) {
	tree, root := newTree(t, Options{})
	put(t, root, "INBOX/cur/a:2,S", "1")
	for _, name := range []string{"new/a", "cur/a:2,", "cur/copy:2,S"} {
		if err := os.Link(filepath.Join(root, "INBOX/cur/a:2,S"), filepath.Join(root, "INBOX", name)); err != nil {
			t.Fatal(err)
		}
	}
	listing, got := scan(t, tree, mail.Letters{})
	if len(got) != 2 || got[0].Name != "a:2," || len(listing.Problems) != 0 || len(listing.Relics) != 2 {
		t.Fatalf("files %v, problems %v, relics %v", got, listing.Problems, listing.Relics)
	}
	for range 2 {
		for _, relic := range listing.Relics {
			if err := tree.EndRename(t.Context(), "INBOX", relic); err != nil {
				t.Error(err)
			}
		}
	}
	// The other name has gone meanwhile: then this is the message.
	if err := tree.EndRename(t.Context(), "INBOX", mail.Relic{Name: got[0], Now: mail.File{Key: "a", Name: "a:2,F"}}); err != nil {
		t.Error(err)
	}
	listing, got = scan(t, tree, mail.Letters{})
	if len(got) != 2 || got[0].Name != "a:2," || len(listing.Relics) != 0 {
		t.Errorf("files %v, relics %v", got, listing.Relics)
	}
}

// What a directory that never stops changing shows is there; what it does not show
// is not gone.
func TestAListingOfABusyFolderIsNotBelieved(t *testing.T) {
	tree, root := newTree(t, Options{})
	put(t, root, "INBOX/cur/a:2,S", "1")
	changes := 0
	hook(t, tree, func(op, name string) error {
		if op == "readdir" && name == "INBOX/cur" {
			changes++
			put(t, root, fmt.Sprintf("INBOX/new/%d", changes), "")
		}
		return nil
	})
	listing, got := scan(t, tree, mail.Letters{})
	if s := listing.Stamp; listing.Believed || s.Inode == 0 || s != s.WithoutTimes() {
		t.Errorf("believed %v, stamp %v", listing.Believed, listing.Stamp)
	}
	if changes != scanTries || len(got) == 0 {
		t.Errorf("%d tries, %d files", changes, len(got))
	}
}

// The rule that git has for its index: a time that is hardly over may still be that
// of the next change.
func TestOnlyAFolderAtRestIsBelieved(t *testing.T) {
	at := time.Unix(1_800_000_000, 500_000_000)
	whole := time.Unix(1_800_000_000, 0)
	for _, test := range []struct {
		what     string
		mtime    time.Time
		now      time.Time
		waits    []time.Duration
		believed bool
	}{
		{"old", at, at.Add(rest), nil, true},
		{"young", at, at.Add(rest - 1), []time.Duration{rest}, true},
		{"of this very moment", at, at, []time.Duration{rest}, true},
		{"ahead of the clock", at, at.Add(-time.Minute), []time.Duration{rest}, true},
		{"far ahead: no change would have that time", at, at.Add(-2 * time.Hour), nil, true},
		{"whole seconds, old", whole, whole.Add(coarseRest), nil, true},
		{"whole seconds, young: too long to wait for", whole, whole.Add(time.Second), nil, false},
	} {
		var waits []time.Duration
		tree, root := newTree(t, Options{
			Now:   func() time.Time { return test.now },
			Sleep: func(_ context.Context, d time.Duration) error { waits = append(waits, d); return nil },
		})
		for _, sub := range []string{"cur", "new", "."} {
			if err := os.Chtimes(filepath.Join(root, "INBOX", sub), test.mtime, test.mtime); err != nil {
				t.Fatal(err)
			}
		}
		listing, _ := scan(t, tree, mail.Letters{})
		if listing.Believed != test.believed || !slices.Equal(waits, test.waits) {
			t.Errorf("%s: believed %v, waited %v", test.what, listing.Believed, waits)
		}
		if s := listing.Stamp; s.Inode == 0 || (s != s.WithoutTimes()) != test.believed {
			t.Errorf("%s: stamp %v", test.what, listing.Stamp)
		}
	}
}

func TestAScanStopsWithItsContext(t *testing.T) {
	tree, _ := newTree(t, Options{}) // just made, so the scan waits for rest
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := tree.Scan(ctx, "INBOX", mail.Letters{})
	wantErr(t, "scan", err, context.Canceled)
}

// Readers rename all the time. However the listings fall into that, one that is
// believed has every message.
func TestABelievedListingMissesNothing(t *testing.T) {
	const messages, rounds = 1000, 20
	tree, root := newTree(t, Options{})
	name := func(i int, seen bool) string {
		if seen {
			return filepath.Join(root, fmt.Sprintf("INBOX/cur/%06d:2,S", i))
		}
		return filepath.Join(root, fmt.Sprintf("INBOX/new/%06d", i))
	}
	for i := range messages {
		put(t, root, fmt.Sprintf("INBOX/new/%06d", i), "")
	}
	ctx, cancel := context.WithCancel(t.Context())
	renamed := make(chan error, 1)
	bursts := make(chan struct{})
	go func() {
		defer close(renamed)
		seen := make([]bool, messages)
		i := 0
		for range bursts { // a burst of renames for each scan, some of it before the scan is done
			for range 150 {
				if ctx.Err() != nil {
					return
				}
				if err := os.Rename(name(i, seen[i]), name(i, !seen[i])); err != nil {
					renamed <- err
					return
				}
				seen[i] = !seen[i]
				i = (i + 7919) % messages
			}
		}
	}()
	believed := 0
	for range rounds {
		select {
		case bursts <- struct{}{}:
		case err := <-renamed:
			t.Fatal(err)
		}
		listing, got := scan(t, tree, mail.Letters{})
		for i := 1; i < len(got); i++ {
			if got[i-1].Key >= got[i].Key {
				t.Fatalf("keys out of order: %q, %q", got[i-1].Key, got[i].Key)
			}
		}
		if !listing.Believed {
			continue
		}
		believed++
		if len(got) != messages {
			t.Errorf("a believed listing has %d of %d messages", len(got), messages)
		}
	}
	cancel()
	close(bursts)
	if err := <-renamed; err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// Once all is quiet, a scan is believed.
	listing, got := scan(t, tree, mail.Letters{})
	if !listing.Believed || len(got) != messages {
		t.Errorf("at rest: believed %v, %d messages", listing.Believed, len(got))
	}
	t.Logf("%d of %d listings were believed", believed, rounds)
}

func TestStatWantsTheExactName(t *testing.T) {
	tree, root := newTree(t, Options{})
	put(t, root, "INBOX/cur/a:2,S", "1")
	for _, test := range []struct {
		file mail.File
		want error
	}{
		{mail.File{Key: "a", Name: "a:2,S"}, nil},
		{mail.File{Key: "a", Name: "a:2,"}, mail.ErrGone},
		{mail.File{Key: "a", Name: "a:2,S", New: true}, mail.ErrGone},
		{mail.File{Name: "../cur/a:2,S"}, mail.ErrDamaged},
		{mail.File{Name: ".."}, mail.ErrDamaged},
		{mail.File{Name: ""}, mail.ErrDamaged},
	} {
		_, err := tree.Stat(t.Context(), "INBOX", test.file)
		wantErr(t, fmt.Sprintf("%+v", test.file), err, test.want)
	}
	_, err := tree.Stat(t.Context(), "Gone", mail.File{Name: "a"})
	wantErr(t, "in a folder that is gone", err, mail.ErrGone)
	if err := os.Rename(filepath.Join(root, "INBOX/cur"), filepath.Join(root, "INBOX/moved")); err != nil {
		t.Fatal(err)
	}
	_, err = tree.Stat(t.Context(), "INBOX", mail.File{Name: "a:2,S"})
	if err == nil || errors.Is(err, mail.ErrGone) {
		t.Errorf("without cur/ nothing is known of its files: %v", err)
	}
}

// A listing is all that a sync holds of a large folder in which little has changed: the names
// of its files, and 16 octets for each.
func TestAListingIsSmall(t *testing.T) {
	const files, name = 100_000, "1764213523.M%06dR0123456789abcdefQ1P4711.host.example.org:2,S"
	var l list
	for i := range files {
		l.add(fmt.Sprintf(name, i), uint64(i))
	}
	l.fill()
	octets := cap(l.entries) * int(unsafe.Sizeof(entry{}))
	for _, block := range l.names {
		octets += len(block)
	}
	// An eighth is what grows ahead, and what blocks do not fill.
	if per, most := float64(octets)/files, (float64(len(name)+1)+16)*9/8; per > most {
		t.Errorf("%.1f octets a file, more than %.1f", per, most)
	}
	for i := range files {
		if got, want := l.name(&l.entries[i]), fmt.Sprintf(name, i); got != want {
			t.Fatalf("%q became %q", want, got)
		}
	}
}

// A listing holds for as long as no message has come, gone or got another name, and its letters mean
// the same; whatever else there is in the folder.
func TestAListingHoldsStill(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, tree *Tree, root string)
		still  bool
	}{
		"nothing": {func(*testing.T, *Tree, string) {}, true},
		"a marker": {func(t *testing.T, tree *Tree, root string) {
			if err := tree.SetMarker(t.Context(), "INBOX", mail.Marker{Account: "alice", Folder: "x", Generation: 2}); err != nil {
				t.Fatal(err)
			}
		}, true},
		"a folder inside": {func(t *testing.T, tree *Tree, root string) { mkdirs(t, root, "INBOX/child") }, true},
		"a new file":      {func(t *testing.T, tree *Tree, root string) { put(t, root, "INBOX/new/2", "x") }, false},
		"another name": {func(t *testing.T, tree *Tree, root string) {
			if err := os.Rename(filepath.Join(root, "INBOX/cur/1:2,S"), filepath.Join(root, "INBOX/cur/1:2,FS")); err != nil {
				t.Fatal(err)
			}
		}, false},
		"other letters": {func(t *testing.T, tree *Tree, root string) { put(t, root, "INBOX/"+lettersFile, "0 play\n") }, false},
		"another directory": {func(t *testing.T, tree *Tree, root string) {
			if err := os.Rename(filepath.Join(root, "INBOX"), filepath.Join(root, "old")); err != nil {
				t.Fatal(err)
			}
			mkdirs(t, root, "INBOX/cur", "INBOX/new", "INBOX/tmp")
			put(t, root, "INBOX/cur/1:2,S", "x")
			put(t, root, "INBOX/"+lettersFile, "0 work\n")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tree, root := newTree(t, Options{})
			put(t, root, "INBOX/cur/1:2,S", "x")
			put(t, root, "INBOX/"+lettersFile, "0 work\n")
			age(t, root, "INBOX")
			listing, _ := scan(t, tree, mail.Letters{})
			c.change(t, tree, root)
			for _, name := range []string{"INBOX", "INBOX/cur", "INBOX/new"} { // what has changed did so long enough ago
				name, when := filepath.Join(root, name), time.Now().Add(-time.Minute)
				if info, err := os.Stat(name); err != nil || info.ModTime().Before(when) {
					continue
				}
				if err := os.Chtimes(name, when, when); err != nil {
					t.Fatal(err)
				}
			}
			stamp, still, err := tree.Still(t.Context(), "INBOX", listing)
			if err != nil || still != c.still {
				t.Fatalf("still: %v, %v", still, err)
			}
			if now, _ := scan(t, tree, mail.Letters{}); still && (stamp != now.Stamp || !now.Believed) {
				t.Errorf("it has %v, and a scan %v", stamp, now.Stamp)
			}
		})
	}
}

// What a scan could not believe does not hold, nor does anything in a folder that is not at rest.
func TestADoubtfulListingDoesNotHold(t *testing.T) {
	tree, root := newTree(t, Options{})
	put(t, root, "INBOX/cur/1:2,S", "x")
	age(t, root, "INBOX")
	listing, _ := scan(t, tree, mail.Letters{})
	doubtful := listing
	doubtful.Believed = false
	if _, still, err := tree.Still(t.Context(), "INBOX", doubtful); still || err != nil {
		t.Errorf("a doubtful listing holds: %v", err)
	}
	coarse := time.Now().Truncate(time.Second) // a clock that tells no fractions
	if err := os.Chtimes(filepath.Join(root, "INBOX"), coarse, coarse); err != nil {
		t.Fatal(err)
	}
	if _, still, err := tree.Still(t.Context(), "INBOX", listing); still || err != nil {
		t.Errorf("a folder that is not at rest holds a listing: %v", err)
	}
}
