package maildir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"mime"
	"path"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict/mail"
)

// Removed is a message in the store of removed messages.
type Removed struct {
	Folder mail.Folder
	File   mail.File // as it was; its Flags are only those of the system
	Stat   mail.Stat // of the file in the store
	// At is when it was removed.
	At        time.Time
	MessageID string // "" where the message has none
	Subject   string // decoded; as it came from outside, like all else here
	path      string // in the store
}

// Removed calls visit for every message in the store, in order of days. An error of
// visit ends that and comes back as it is.
func (t *Tree) Removed(ctx context.Context, visit func(Removed) error) error {
	store, days, err := t.days()
	if err != nil {
		return fmt.Errorf("list removed messages: %w", err)
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		if err := t.eachRemoved(ctx, store, day, "", visit); err != nil {
			return err
		}
	}
	return nil
}

// eachRemoved visits the messages of one day that are in or below dir, which is the
// directory of a folder, or "".
func (t *Tree) eachRemoved(ctx context.Context, store FS, day, dir string, visit func(Removed) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var names []string
	err := store.ReadDir(path.Join(day, dir), func(e Entry) {
		if e.Type == fs.ModeDir {
			names = append(names, e.Name)
		}
	})
	if err != nil {
		return fmt.Errorf("list removed messages: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		if name == "cur" || name == "new" {
			err = t.removedIn(ctx, store, day, dir, name == "new", visit)
		} else {
			err = t.eachRemoved(ctx, store, day, path.Join(dir, name), visit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) removedIn(ctx context.Context, store FS, day, dir string, isNew bool, visit func(Removed) error) error {
	folder, ok := t.folderIn(store, day, dir)
	if !ok {
		return nil // not our work
	}
	var names []string
	err := store.ReadDir(path.Join(day, dir, subdir(isNew)), func(e Entry) {
		if e.Type == 0 && checkName(e.Name) == nil {
			names = append(names, e.Name)
		}
	})
	if err != nil {
		return fmt.Errorf("list removed messages: %w", err)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		key, _, _ := splitName(name)
		r := Removed{Folder: folder, path: path.Join(day, dir, subdir(isNew), name)}
		r.File = mail.File{Key: key, Name: name, New: isNew, Flags: flagsIn(name, &mail.Letters{})}
		if err := r.look(store); errors.Is(err, fs.ErrNotExist) {
			continue // restored meanwhile
		} else if err != nil {
			return fmt.Errorf("look at a removed message: %w", err)
		}
		if err := visit(r); err != nil {
			return err
		}
	}
	return nil
}

// maxHeader is how much of a removed message is searched for its Message-ID.
const maxHeader = 64 << 10

func (r *Removed) look(store FS) error {
	f, err := store.Open(r.path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Info()
	if err != nil {
		return err
	}
	header, err := io.ReadAll(io.LimitReader(f, maxHeader))
	if err != nil {
		return err
	}
	_, r.MessageID = mail.FingerprintOf(header)
	r.Subject = subjectOf(header)
	r.Stat, r.At = statOf(info), time.Unix(0, info.Changed) // linking it changed it last
	return nil
}

// subjectOf reads the first Subject of a header (RFC 5322, 2.2.3; RFC 2047). What
// cannot be decoded stays as it is.
func subjectOf(header []byte) string {
	subject, found := "", false
lines:
	for line := range strings.Lines(string(header)) {
		line = strings.TrimRight(line, "\r\n")
		folded := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		switch name, value, ok := strings.Cut(line, ":"); {
		case found && folded:
			subject += " " + strings.TrimLeft(line, " \t")
		case found, line == "":
			break lines
		case ok && strings.EqualFold(strings.TrimRight(name, " \t"), "Subject"):
			subject, found = value, true
		}
	}
	var words mime.WordDecoder
	if text, err := words.DecodeHeader(subject); err == nil {
		subject = text
	}
	return strings.TrimSpace(subject)
}

// In gives the message as one that is to be restored into another folder. There the letters
// of its keywords would mean something else, so it comes without them.
func (r Removed) In(folder mail.Folder) Removed {
	if folder == r.Folder {
		return r
	}
	r.Folder = folder
	if key, letters, rest := splitName(r.File.Name); letters != "" {
		r.File.Name = string(key) + infoMark + withoutKeywords(letters) + rest
	}
	return r
}

// Restore puts a removed message back into its folder, which is made if need be,
// durably and under a new key: for all who look it is a new message. It comes without
// the mark T, which would have it removed again where such messages are expunged. Then
// it is no longer in the store. mail.ErrGone: it was not there.
func (t *Tree) Restore(ctx context.Context, r Removed) (f mail.File, err error) {
	defer explainFile(&err, "restore", r.Folder, r.File.Name)
	store, err := t.openStore()
	if err != nil {
		return f, err
	}
	if err := t.CreateFolder(ctx, r.Folder); err != nil && !errors.Is(err, mail.ErrExists) {
		return f, err
	}
	dir, err := t.dir(r.Folder)
	if err != nil {
		return f, err
	}
	if _, err := store.Lstat(r.path); errors.Is(err, fs.ErrNotExist) {
		return f, mail.ErrGone
	}
	key, err := t.newKey()
	if err != nil {
		return f, err
	}
	tmp := path.Join(dir, "tmp", string(key))
	if err := t.mkdir(path.Dir(tmp)); err != nil {
		return f, err
	}
	if store.Link(r.path, t.fs, tmp) != nil {
		if err := copyFile(ctx, store, r.path, t.fs, tmp, r.Stat); err != nil {
			return f, err
		}
	}
	f = r.File
	if f.Flags.Has(mail.Deleted) {
		f.Flags.System &^= mail.Deleted
		f.Name = nameWith(f.Name, f.Flags, &mail.Letters{})
	}
	f.Key, f.Name = key, string(key)+strings.TrimPrefix(f.Name, string(r.File.Key))
	to, err := pathOf(dir, f)
	if err != nil {
		return f, err
	}
	if err := t.sync(tmp); err != nil {
		return f, err
	}
	info, err := t.fs.Lstat(tmp)
	if err != nil {
		return f, err
	}
	f.Inode = info.Inode
	if err := t.fs.Rename(tmp, to); err != nil {
		return f, err
	}
	if err := t.sync(path.Dir(to)); err != nil {
		return f, err
	}
	if err := store.Unlink(r.path); err != nil {
		return f, err
	}
	return f, nil
}
