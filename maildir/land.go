package maildir

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"sync"
	"time"

	"mailtwin/conflict/mail"
)

// ourKey matches what newKey draws.
var ourKey = regexp.MustCompile(`^[0-9]+\.M[0-9]{6}R[0-9a-f]{16}Q[0-9]+P[0-9]+\.`)

// newKey draws a key: unique, since no two processes of a host have one id at one
// time, and no host draws the 64 random bits of another. So nobody looks whether cur/ or
// new/ has it, which would be most of what a key costs; if it does nevertheless, Publish
// goes over no other file, nor Commit over another row.
func (t *Tree) newKey() (mail.Key, error) {
	var random [8]byte
	if _, err := io.ReadFull(t.opts.Rand, random[:]); err != nil {
		return "", fmt.Errorf("draw a key: %w", err)
	}
	now := t.opts.Now()
	return mail.Key(fmt.Sprintf("%d.M%06dR%sQ%dP%d.%s", now.Unix(), now.Nanosecond()/1000,
		hex.EncodeToString(random[:]), t.keys.Add(1), t.opts.Process, t.opts.Host)), nil
}

// createTmp makes a file in tmp/ of the folder at dir.
func (t *Tree) createTmp(dir string) (mail.Key, io.WriteCloser, error) {
	var f io.WriteCloser
	key, err := t.inTmp(dir, func(name string) (err error) {
		f, err = t.fs.Create(name)
		return err
	})
	return key, f, err
}

// inTmp makes something under a free key in tmp/ of the folder at dir, and tmp/ too if it is
// missing.
func (t *Tree) inTmp(dir string, make func(name string) error) (mail.Key, error) {
	for range 10 {
		key, err := t.newKey()
		if err != nil {
			return "", err
		}
		err = make(path.Join(dir, "tmp", string(key)))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			if _, err := t.stamp(dir); err != nil {
				return "", err
			}
			if err := t.mkdir(path.Join(dir, "tmp")); err != nil {
				return "", err
			}
			if err := t.sync(dir); err != nil {
				return "", err
			}
			continue
		}
		return key, err
	}
	return "", errors.New("no key is free")
}

// Create is Local.Create.
func (t *Tree) Create(ctx context.Context, folder mail.Folder, date time.Time) (in mail.Incoming, err error) {
	defer explain(&err, "start a message in", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return nil, err
	}
	key, f, err := t.createTmp(dir)
	if err != nil {
		return nil, err
	}
	m := &incoming{t: t, folder: folder, dir: path.Join(dir, "tmp"), key: key, date: date, file: f}
	m.name = path.Join(m.dir, string(key))
	m.buf = writers.Get().(*bufio.Writer)
	m.buf.Reset(io.MultiWriter(f, &m.measure))
	m.lines.W = m.buf
	return m, nil
}

// writers are the buffers of messages that are being written. A finished message
// gives its buffer back: a batch of them waits for its end together.
var writers = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, blockSize) }}

// close closes the file, and lets go of all that was needed to write it.
func (m *incoming) close() error {
	err := m.file.Close()
	m.buf.Reset(nil)
	writers.Put(m.buf)
	m.file, m.buf, m.lines.W = nil, nil, nil
	return err
}

// blockSize is how much of a message is read or written at once, in octets.
const blockSize = 64 << 10

// incoming is a message in tmp/. What is measured is what the file holds.
type incoming struct {
	t       *Tree
	folder  mail.Folder
	dir     string // tmp/
	key     mail.Key
	name    string // its path
	date    time.Time
	file    io.WriteCloser // nil once it is closed
	lines   mail.ToFile    // -> buf -> file and measure
	buf     *bufio.Writer
	measure mail.Measure
	failed  error

	octets int64 // that came over the wire
	tail   tail
	part   string // the path of what it was resumed from; "" where there is nothing
}

func (m *incoming) Key() mail.Key { return m.key }

func (m *incoming) Write(p []byte) (int, error) {
	if m.file == nil {
		return 0, fmt.Errorf("write message %q in folder %q: it was finished or discarded", m.key, string(m.folder))
	}
	n, err := m.lines.Write(p)
	m.octets += int64(n)
	m.tail.add(p[:n])
	if err != nil {
		m.failed = err
		explainFile(&err, "write", m.folder, string(m.key))
	}
	return n, err
}

func (m *incoming) Finish() (id mail.Identity, st mail.Stat, err error) {
	defer explainFile(&err, "finish", m.folder, string(m.key))
	if m.file == nil {
		return id, st, errors.New("it was finished or discarded before")
	}
	err = m.failed
	if err == nil {
		err = m.lines.Flush()
	}
	if err == nil {
		err = m.buf.Flush()
	}
	// Closing comes first: on NFS that writes, which sets the time.
	err = errors.Join(err, m.close())
	if err != nil {
		return id, st, err
	}
	if !m.date.IsZero() {
		if err := m.t.fs.SetModTime(m.name, inRange(m.date)); err != nil {
			return id, st, err
		}
	}
	info, err := m.t.fs.Lstat(m.name)
	if err != nil {
		return id, st, err
	}
	m.endPart()
	id = m.measure.IdentityInBase()
	m.measure = mail.Measure{} // it has the header, and a batch of messages waits for its end
	return id, statOf(info), nil
}

// inRange moves a date that no file can have to the nearest one that every file
// system of today and nanoseconds in 64 bits have.
func inRange(date time.Time) time.Time {
	first, last := time.Unix(0, 0), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	switch {
	case date.Before(first):
		return first
	case date.After(last):
		return last
	}
	return date
}

func (m *incoming) Discard() {
	if m.file != nil {
		m.close() // nothing of it is wanted any more
		m.endPart()
	}
	// What cannot be removed now, Sweep will.
	if err := m.t.fs.Unlink(m.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.t.opts.Log.Warn("discarded message stays in tmp", "folder", string(m.folder), "error", err)
	}
}

// hardenBatch is how many files are made durable before a run that is to end is seen
// to be. What a run lands at once is not more, so that it is one sync of the file system.
const hardenBatch = 1024

// Harden is Local.Harden.
func (t *Tree) Harden(ctx context.Context, folder mail.Folder, keys []mail.Key) (err error) {
	defer explain(&err, "make new messages durable in", folder)
	dir, err := t.dir(folder)
	if err != nil || !t.opts.FSync || len(keys) == 0 {
		return err
	}
	names := make([]string, len(keys))
	for i, key := range keys {
		if err := checkName(string(key)); err != nil {
			return err
		}
		names[i] = path.Join(dir, "tmp", string(key))
	}
	for batch := range slices.Chunk(names, hardenBatch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.sync(batch...); err != nil {
			return t.gone(err, dir, "tmp")
		}
	}
	return t.sync(path.Join(dir, "tmp"))
}

// Publish is Local.Publish. A message without any flag goes into new/ under its
// bare key, so that readers find it as new; all others into cur/.
func (t *Tree) Publish(ctx context.Context, folder mail.Folder, key mail.Key, flags mail.Flags, letters mail.Letters) (f mail.File, err error) {
	defer explainFile(&err, "publish", folder, string(key))
	dir, err := t.dir(folder)
	if err != nil {
		return f, err
	}
	if err := checkName(string(key)); err != nil {
		return f, err
	}
	tmp := path.Join(dir, "tmp", string(key))
	info, err := t.fs.Lstat(tmp)
	if err != nil {
		return f, t.gone(err, dir, "tmp")
	}
	f = mail.File{Key: key, Name: string(key), New: flags.Empty(), Inode: info.Inode}
	if !f.New {
		f.Name = nameWith(string(key), flags, &letters)
		f.Flags = flagsIn(f.Name, &letters)
	}
	to, err := pathOf(dir, f)
	if err != nil {
		return mail.File{}, err
	}
	if err := t.fs.Rename(tmp, to); errors.Is(err, fs.ErrExist) && t.same(to, info) {
		// A crash may leave both names of a rename: of two directories that were to be
		// synced, or of two steps where there is no such rename.
		return f, t.gone(t.fs.Unlink(tmp), dir, "tmp")
	} else if err != nil {
		return mail.File{}, t.gone(err, dir, subdir(f.New))
	}
	return f, nil
}

// same tells whether a name is one of the file that info is of.
func (t *Tree) same(name string, info Info) bool {
	there, err := t.fs.Lstat(name)
	return err == nil && sameFile(there, info)
}

func sameFile(a, b Info) bool { return a.Dev == b.Dev && a.Inode == b.Inode }

func flagsIn(name string, meaning *mail.Letters) mail.Flags {
	_, letters, _ := splitName(name)
	return flagsOf(letters, meaning)
}

// Secure is Local.Secure. What is durable already costs next to nothing.
func (t *Tree) Secure(ctx context.Context, folder mail.Folder, files []mail.File) (err error) {
	defer explain(&err, "make files durable in", folder)
	dir, err := t.dir(folder)
	if err != nil || !t.opts.FSync || len(files) == 0 {
		return err
	}
	names := make([]string, len(files))
	for i, file := range files {
		if names[i], err = pathOf(dir, file); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(names, hardenBatch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.sync(batch...); err == nil || !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return err
			}
			continue
		}
		for _, name := range batch { // one of them was renamed
			if err := t.sync(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return t.SyncFolder(ctx, folder)
}

// SyncFolder is Local.SyncFolder.
func (t *Tree) SyncFolder(ctx context.Context, folder mail.Folder) (err error) {
	defer explain(&err, "make durable", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	// The new place before the old: at worst a message is in both, and not in none.
	for _, sub := range []string{"cur", "new"} {
		if err := t.sync(path.Join(dir, sub)); err != nil {
			return t.gone(err, dir, sub)
		}
	}
	// Or a published message could have its old name again, too.
	if err := t.sync(path.Join(dir, "tmp")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Reflag is Local.Reflag. A file of new/ stays there as long as it has no flag;
// what has been in cur/ does not go back, since it is not new to its reader.
func (t *Tree) Reflag(ctx context.Context, folder mail.Folder, file mail.File, flags mail.Flags, letters mail.Letters) (f mail.File, err error) {
	defer explainFile(&err, "rename", folder, file.Name)
	dir, err := t.dir(folder)
	if err != nil {
		return f, err
	}
	from, err := pathOf(dir, file)
	if err != nil {
		return f, err
	}
	st, err := t.stat(dir, file)
	if err != nil {
		return f, err
	}
	f = file
	f.Key, _, _ = splitName(file.Name)
	f.Inode = st.Inode
	if !(file.New && flags.Empty() && flagsIn(file.Name, &letters).Empty()) {
		f.New = false
		f.Name = nameWith(file.Name, flags, &letters)
	}
	f.Flags = flagsIn(f.Name, &letters)
	to, err := pathOf(dir, f)
	if err != nil {
		return mail.File{}, err
	}
	if from == to {
		return f, nil
	}
	if err := t.fs.Rename(from, to); err != nil {
		// The target's directory may be the one that is missing: look at it last.
		if _, lost := t.fs.Lstat(path.Join(dir, "cur")); lost != nil {
			return mail.File{}, lost
		}
		return mail.File{}, t.gone(err, dir, subdir(file.New))
	}
	return f, nil
}

// EndRename is Local.EndRename.
func (t *Tree) EndRename(ctx context.Context, folder mail.Folder, relic mail.Relic) (err error) {
	defer explainFile(&err, "end the renaming of", folder, relic.Name.Name)
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	old, err := pathOf(dir, relic.Name)
	if err != nil {
		return err
	}
	now, err := pathOf(dir, relic.Now)
	if err != nil {
		return err
	}
	info, err := t.fs.Lstat(old)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !t.same(now, info) {
		return nil // somebody is at work
	}
	if err == nil {
		err = t.fs.Unlink(old)
	}
	return err
}
