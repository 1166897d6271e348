//go:build unix

package maildir

import (
	"fmt"
	"io/fs"
	"testing"
)

// many makes so many files that they are synced as one.
func many(t *testing.T, root string) []string {
	var names []string
	for i := range wholeFrom {
		names = append(names, fmt.Sprintf("cur/%d", i))
		put(t, root, names[i], "text")
	}
	return names
}

func TestManyFilesAreSyncedAsOne(t *testing.T) {
	d, root := newDisk(t)
	if !d.all.on {
		t.Skip("the file system of the temporary directory is synced file by file")
	}
	names := many(t, root)
	if done, err := d.syncWhole(names); !done || err != nil {
		t.Errorf("done %v, error %v", done, err)
	}
	wantErr(t, "sync of a file that is not there", d.Sync(append(names, "cur/none")...), fs.ErrNotExist)
}

// What is on another file system, as below a folder that is mounted, is synced by itself.
func TestFilesOfAnotherFileSystemAreSyncedByThemselves(t *testing.T) {
	d, root := newDisk(t)
	d.all.on, d.all.dev = true, d.all.dev+1
	names := many(t, root)
	if done, err := d.syncWhole(names); done || err != nil {
		t.Errorf("done %v, error %v", done, err)
	}
	if err := d.Sync(names...); err != nil {
		t.Error(err)
	}
}

// An error does not say which files it is about: each is synced by itself from then on.
func TestAfterAnErrorFilesAreSyncedByThemselves(t *testing.T) {
	d, root := newDisk(t)
	info, err := d.Lstat(".")
	if err != nil {
		t.Fatal(err)
	}
	d.all.on, d.all.dev = true, info.Dev
	names := many(t, root)
	if err := d.top.Close(); err != nil { // so that it cannot be synced
		t.Fatal(err)
	}
	if err := d.Sync(names...); err != nil {
		t.Error(err)
	}
	if d.all.on {
		t.Error("the whole file system is still synced")
	}
	wantErr(t, "sync of a file that is not there", d.Sync(append(names, "cur/none")...), fs.ErrNotExist)
}
