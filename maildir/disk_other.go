//go:build unix && !linux

package maildir

import (
	"errors"
	"io"
	"os"
	"time"
)

// openBelow is Linux's; open has another way.
func openBelow(int, string, int) (int, error) { return -1, errors.ErrUnsupported }

// lag is told of Linux's file systems only.
func lag(int) time.Duration { return 0 }

// syncsWhole is Linux's; elsewhere sync(2) need not wait.
func syncsWhole(int) bool { return false }

func syncWhole(int) error { return errors.ErrUnsupported }

// renameNoReplace is Linux's; Rename has another way.
func renameNoReplace(int, string, int, string) error { return errors.ErrUnsupported }

func readDir(dir *os.File, each func(Entry)) error {
	for {
		entries, err := dir.ReadDir(1024)
		for _, e := range entries {
			each(Entry{Name: e.Name(), Type: e.Type()})
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
