//go:build unix && !linux

package maildir

import (
	"errors"
	"time"
)

// openEvents is Linux's. With kqueue a directory is watched by opening each file in it, which
// nobody wants for 100,000 messages; so directories are polled.
func openEvents() (eventSource, error) { return nil, errors.ErrUnsupported }

func foreign(string) (bool, time.Duration) { return false, 0 }

func raised(_ string, least int) int { return least }
