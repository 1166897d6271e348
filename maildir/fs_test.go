package maildir_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"mailtwin/sync/sim/disk"

	"mailtwin/maildir"
	"mailtwin/sync/sim/disktest"
)

// The simulation's disk passes the same tests.
func TestTheDiskIsWhatFSSays(t *testing.T) {
	disktest.Run(t, func(t *testing.T) maildir.FS {
		d, err := maildir.OpenDisk(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	})
}

// stiff is a disk that removes no names.
type stiff struct{ *disk.FS }

func (s stiff) Unlink(string) error { return syscall.ENOSPC }

// A folder that other programs see is durable, also where something fails after it has got its
// name: they may put mail there.
func TestAFolderThatOthersSeeIsDurable(t *testing.T) {
	for seed := range uint64(20) {
		now := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
		d := disk.New(1, func() time.Time { return now })
		root, err := d.FS(".")
		if err := errors.Join(err, root.Mkdir("Mail"), root.Sync("."), root.Sync("Mail")); err != nil {
			t.Fatal(err)
		}
		mail, err := d.FS("Mail")
		if err != nil {
			t.Fatal(err)
		}
		tree, err := maildir.Open("Mail", maildir.Options{Account: "alice", FSync: true, FS: stiff{mail}, Store: root, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		if err := tree.CreateFolder(t.Context(), "Archive"); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("it is made: %v", err)
		}
		const name = "Archive/cur/1.saved:2,S"
		w, err := mail.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(w, "Subject: saved\n\n")
		if err := errors.Join(err, w.Close(), mail.Sync(name, "Archive/cur")); err != nil {
			t.Fatal(err)
		}
		d.PowerLoss(rand.New(rand.NewPCG(seed, 1)))
		if mail, err = d.FS("Mail"); err == nil {
			_, err = mail.Lstat(name)
		}
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		tree.Close()
	}
}
