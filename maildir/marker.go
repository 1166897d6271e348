package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"mailtwin/conflict/mail"
)

// markerFile holds the folder's marker, in the folder's directory.
const markerFile = ".mailtwin"

const maxMarkerFile = 4 << 10

const markerFormat = "mailtwin 1\naccount %q\nfolder %q\ngeneration %d\n"

// Marker is Local.Marker. A file that is no marker counts as none, as one that
// power loss took would: both mean that the folder cannot be told to be the one
// that base knows.
func (t *Tree) Marker(ctx context.Context, folder mail.Folder) (m mail.Marker, err error) {
	defer explain(&err, "read the marker of", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return mail.Marker{}, err
	}
	text, err := readSmall(t.fs, join(dir, markerFile), maxMarkerFile)
	if err != nil {
		if _, wrong := t.stamp(dir); wrong != nil {
			return mail.Marker{}, wrong // it says what stands in the folder's place
		}
		return mail.Marker{}, err
	}
	return parseMarker(text), nil
}

func parseMarker(text []byte) mail.Marker {
	// Each folder's is read in each run that looks at it, and fmt.Sscanf takes fifteen times as long.
	rest, ok := strings.CutPrefix(string(text), "mailtwin 1\naccount ")
	account, rest, okAccount := strings.Cut(rest, "\nfolder ")
	folder, rest, okFolder := strings.Cut(rest, "\ngeneration ")
	generation, _, okGeneration := strings.Cut(rest, "\n") // not of a file that is torn
	m := mail.Marker{}
	var errs [3]error
	m.Account, errs[0] = strconv.Unquote(account)
	m.Folder, errs[1] = strconv.Unquote(folder)
	m.Generation, errs[2] = strconv.ParseInt(generation, 10, 64)
	if !ok || !okAccount || !okFolder || !okGeneration || errors.Join(errs[:]...) != nil {
		return mail.Marker{}
	}
	return m
}

// SetMarker is Local.SetMarker.
func (t *Tree) SetMarker(ctx context.Context, folder mail.Folder, marker mail.Marker) (err error) {
	defer explain(&err, "write the marker of", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	// A folder in use is whole; a crash of CreateFolder may have left this.
	if err := t.fs.Rmdir(path.Join(dir, unfinished)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.writeSmall(dir, markerFile, []byte(formatMarker(marker))); err != nil || marker.Generation > 1 {
		return err
	}
	// Base is about to learn of the folder. If the power took the directory then, as it may
	// one that another program has made, or an interrupted run, it would count as removed.
	return t.syncAround(dir)
}

// syncAround makes durable that a directory is where it is, or no longer is; what was around
// it may have gone with it.
func (t *Tree) syncAround(dir string) error {
	for dir != "." {
		dir = path.Dir(dir)
		if err := t.sync(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func formatMarker(m mail.Marker) string {
	return fmt.Sprintf(markerFormat, m.Account, m.Folder, m.Generation)
}
