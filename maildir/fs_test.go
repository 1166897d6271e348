package maildir_test

import (
	"testing"

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
