package maildir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict/mail"
)

// The store of removed messages is itself a tree of Maildirs for each day, in UTC:
//
//	20261123/Lists/go/cur/KEY:2,S
//
// so that what was where is told by the path alone. When a file of that name is
// there already, the day goes on in 20261123.1, and so on.

const dayFormat = "20060102"

const maxDayParts = 1000

// Remove is Local.Remove. The store gets a hard link, or on another file system a
// copy, and is durable before the message leaves its folder; that it left is durable
// after SyncFolder.
func (t *Tree) Remove(ctx context.Context, folder mail.Folder, file mail.File) (err error) {
	defer explainFile(&err, "remove", folder, file.Name)
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	name, err := pathOf(dir, file)
	if err != nil {
		return err
	}
	st, err := t.stat(dir, file)
	if err != nil {
		return err
	}
	store, err := t.openStore()
	if err != nil {
		return err
	}
	kept, fresh, err := t.keep(ctx, store, name, st)
	// A reader that takes a flag back as soon as it has set it has the file under another
	// name for a moment.
	for try := 0; try < 3 && errors.Is(err, fs.ErrNotExist); try++ {
		if _, lost := t.stat(dir, file); lost != nil {
			return lost
		}
		kept, fresh, err = t.keep(ctx, store, name, st)
	}
	if err != nil {
		if _, lost := t.stat(dir, file); lost != nil {
			return lost
		}
		return fmt.Errorf("keep it in the store of removed messages: %w", err)
	}
	if err := t.fs.Unlink(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) && fresh {
			// A reader renamed it in between: it was not removed, so it is not kept. A
			// link too many would do no harm.
			if err := store.Unlink(kept); err != nil {
				t.opts.Log.Warn("message stays in the store of removed ones", "file", kept, "error", err)
			}
		}
		return t.gone(err, dir, subdir(file.New))
	}
	return nil
}

// openStore opens the store of removed messages, and makes it the first time.
func (t *Tree) openStore() (FS, error) {
	t.storeLock.Lock()
	defer t.storeLock.Unlock()
	if t.store != nil {
		return t.store, nil
	}
	if t.opts.Removed == "" {
		return nil, errors.New("there is no store of removed messages")
	}
	if err := os.MkdirAll(t.opts.Removed, 0o700); err != nil {
		return nil, fmt.Errorf("make the store of removed messages: %w", err)
	}
	above, err := openDisk(filepath.Dir(t.opts.Removed))
	if err == nil {
		err = errors.Join(t.syncIn(above, "."), above.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("make the store of removed messages durable: %w", err)
	}
	d, err := openDisk(t.opts.Removed)
	if err != nil {
		return nil, fmt.Errorf("open the store of removed messages: %w", err)
	}
	t.store = d
	return d, nil
}

// syncIn is sync for a file system that is not the Maildir's.
func (t *Tree) syncIn(store FS, name string) error {
	if !t.opts.FSync {
		return nil
	}
	return store.Sync(name)
}

// keep puts the file called name into the store, durably, and gives its path there.
// fresh is false if an interrupted removal had put it there before.
func (t *Tree) keep(ctx context.Context, store FS, name string, st mail.Stat) (kept string, fresh bool, err error) {
	day := t.opts.Now().UTC().Format(dayFormat)
	for i := range maxDayParts {
		kept = path.Join(day, name)
		if i > 0 {
			kept = path.Join(fmt.Sprintf("%s.%d", day, i), name)
		}
		if err := t.mkdirs(store, path.Dir(kept)); err != nil {
			return "", false, err
		}
		err := t.fs.Link(name, store, kept)
		fresh = err == nil
		if errors.Is(err, fs.ErrExist) {
			if info, err := store.Lstat(kept); err != nil || info.Dev != st.Dev || info.Inode != st.Inode {
				continue // another message
			}
			err = nil
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			fresh = true
			err = copyFile(ctx, t.fs, name, store, kept, st)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
		}
		if err != nil {
			return "", false, err
		}
		if info, err := store.Lstat(kept); err != nil || info.Size != st.Size || info.ModTime != st.ModTime {
			return "", false, errors.Join(mail.ErrChanged, err)
		}
		if err := t.syncIn(store, kept); err != nil {
			return "", false, err
		}
		return kept, fresh, t.syncIn(store, path.Dir(kept))
	}
	return "", false, errors.New("the store of removed messages has too many files of that name")
}

// mkdirs makes a directory of the store and those around it, durably. That one is there
// does not say that it stays when the power goes: who has made it may have come no further.
// So each is made durable once. One whose name is short for another one is so in the
// Maildir.
func (t *Tree) mkdirs(store FS, dir string) error {
	if _, err := store.Lstat(dir); dir == "." || err == nil && t.isDurable(dir) {
		return nil
	}
	if err := t.mkdirs(store, path.Dir(dir)); err != nil {
		return err
	}
	if err := store.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if isShort(path.Base(dir)) {
		_, inMaildir, _ := strings.Cut(dir, "/") // without the day
		full, err := t.fullName(t.fs, inMaildir)
		if err != nil {
			return err
		}
		is, err := t.fullName(store, dir)
		switch {
		case err != nil:
		case is == "" || is != full:
			err = t.writeName(store, dir, full)
		default:
			err = errors.Join(t.syncIn(store, path.Join(dir, nameFile)), t.syncIn(store, dir))
		}
		if err != nil {
			return err
		}
	}
	if err := t.syncIn(store, path.Dir(dir)); err != nil {
		return err
	}
	t.storeLock.Lock()
	defer t.storeLock.Unlock()
	t.durable[dir] = true
	return nil
}

func (t *Tree) isDurable(dir string) bool {
	t.storeLock.Lock()
	defer t.storeLock.Unlock()
	return t.durable[dir]
}

// copyFile copies a file of one FS into another, with its time. The copy is not
// there when it fails.
func copyFile(ctx context.Context, fromFS FS, name string, toFS FS, as string, st mail.Stat) error {
	from, err := fromFS.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := toFS.Create(as)
	if err != nil {
		return err
	}
	n, err := io.Copy(to, io.LimitReader(stoppable{ctx, from}, st.Size+1))
	err = errors.Join(err, to.Close())
	if err == nil && n != st.Size {
		err = mail.ErrChanged
	}
	if err == nil {
		err = toFS.SetModTime(as, time.Unix(0, st.ModTime))
	}
	if err == nil {
		return nil
	}
	return errors.Join(err, toFS.Unlink(as))
}

// PurgeRemoved forgets for good what was removed on days that had ended by
// olderThan.
func (t *Tree) PurgeRemoved(ctx context.Context, olderThan time.Time) error {
	store, days, err := t.days()
	for name, day := range days {
		if !day.AddDate(0, 0, 1).After(olderThan) {
			err = errors.Join(err, removeAll(ctx, store, name))
		}
	}
	if err != nil {
		return fmt.Errorf("purge the store of removed messages: %w", err)
	}
	return nil
}

// BoundRemoved forgets the oldest days for good, one after the other, until the store holds
// no more than limit octets. What was removed after the given time stays in any case.
func (t *Tree) BoundRemoved(ctx context.Context, limit int64, after time.Time) error {
	store, days, err := t.days()
	sizes, all := make(map[string]int64, len(days)), int64(0)
	for name := range days {
		if err == nil {
			sizes[name], err = sizeIn(ctx, store, name)
			all += sizes[name]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(days)) {
		if err != nil || all <= limit || days[name].AddDate(0, 0, 1).After(after) {
			break
		}
		err = removeAll(ctx, store, name)
		all -= sizes[name]
	}
	if err != nil {
		return fmt.Errorf("bound the store of removed messages: %w", err)
	}
	return nil
}

// sizeIn is how many octets the files in a directory of the store have.
func sizeIn(ctx context.Context, store FS, dir string) (size int64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	var entries []Entry
	if err := store.ReadDir(dir, func(e Entry) { entries = append(entries, e) }); err != nil {
		return 0, err
	}
	for _, e := range entries {
		name, n := path.Join(dir, e.Name), int64(0)
		if e.Type == fs.ModeDir {
			n, err = sizeIn(ctx, store, name)
		} else {
			var info Info
			info, err = store.Lstat(name)
			n = info.Size
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // restored meanwhile
			return 0, err
		}
		size += n
	}
	return size, nil
}

// StoreSize is what the store of removed messages holds.
type StoreSize struct {
	Messages int
	Bytes    int64 // of the messages; on the file system of the Maildir they share them until purged
}

// SizeOfStore measures the store of removed messages at dir without a look at the
// Maildir, which may be anywhere or gone. Where there is no store yet it is empty.
func SizeOfStore(ctx context.Context, dir string) (size StoreSize, err error) {
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, fs.ErrNotExist): // none, or purged or restored meanwhile
			return nil
		case err != nil || !e.Type().IsRegular():
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			size.Messages++
			size.Bytes += info.Size()
		}
		return err
	})
	if err != nil {
		return StoreSize{}, fmt.Errorf("measure the store of removed messages: %w", err)
	}
	return size, nil
}

// days lists the directories of the store, and the beginning of the day of each. It
// does not make the store where nothing was removed yet.
func (t *Tree) days() (FS, map[string]time.Time, error) {
	if t.opts.Store == nil {
		if _, err := os.Lstat(t.opts.Removed); errors.Is(err, fs.ErrNotExist) {
			return nil, nil, nil
		}
	}
	store, err := t.openStore()
	if err != nil {
		return nil, nil, err
	}
	days := make(map[string]time.Time)
	err = store.ReadDir(".", func(e Entry) {
		if len(e.Name) < len(dayFormat) || e.Type != fs.ModeDir {
			return
		}
		if day, err := time.Parse(dayFormat, e.Name[:len(dayFormat)]); err == nil {
			days[e.Name] = day
		}
	})
	return store, days, err
}

// removeAll removes a directory with all that it holds, without following links.
func removeAll(ctx context.Context, store FS, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var files, dirs []string
	err := store.ReadDir(dir, func(e Entry) {
		name := path.Join(dir, e.Name)
		if e.Type == fs.ModeDir {
			dirs = append(dirs, name)
		} else {
			files = append(files, name)
		}
	})
	for _, name := range files {
		err = errors.Join(err, store.Unlink(name))
	}
	for _, name := range dirs {
		err = errors.Join(err, removeAll(ctx, store, name))
	}
	if err != nil {
		return err
	}
	return store.Rmdir(dir)
}
