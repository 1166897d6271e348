package maildir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"mailtwin/conflict/mail"
)

// Options is what a Tree needs besides the root of the Maildir.
type Options struct {
	Account string
	Layout  Layout
	// Removed is the directory of the store of removed messages. It is made, with mode
	// 0700, when the first message goes there. "": Remove refuses to work.
	Removed string
	// FSync makes changes durable. Without it they happen in the same order, and the
	// file system writes them when it likes.
	FSync bool

	// FS and Store are the file systems of the Maildir and of Removed; nil: the real
	// ones. Closing the Tree closes them.
	FS, Store FS
	// Now and Sleep are the clock, which has to be the one of FS; nil: the real one.
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
	// Rand makes keys unique; nil: crypto/rand.
	Rand io.Reader
	// Process and Host stand in keys; 0 and "": those of this process. A simulation gives others,
	// since a history must not depend on them.
	Process int
	Host    string
	Log     *slog.Logger // nil: silent
}

// Tree is one account's tree of Maildirs. Its methods may be called from several
// goroutines at once.
type Tree struct {
	opts Options
	fs   FS
	root Info // of the root, when it was opened
	keys atomic.Uint64

	placeLock sync.Mutex
	places    map[mail.Folder]string // directories of folders that are there
	notices   []mail.Notice          // of the last walk

	storeLock sync.Mutex
	store     FS              // nil until it is needed
	durable   map[string]bool // directories of it that are
}

// Init makes the root of a Maildir, with mode 0700, where there is none.
func Init(root string) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("%w, and cannot be made: %w", mail.ErrMissing, full(err))
	}
	return nil
}

// Open opens the Maildir at root, which has to be there: mail.ErrMissing. The
// caller closes the Tree.
func Open(root string, opts Options) (*Tree, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Sleep == nil {
		opts.Sleep = sleep
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	if opts.Process == 0 {
		opts.Process = os.Getpid()
	}
	if opts.Host == "" {
		opts.Host = hostInKeys()
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	t := &Tree{opts: opts, fs: opts.FS, store: opts.Store, places: make(map[mail.Folder]string), durable: make(map[string]bool)}
	if t.fs == nil {
		d, err := openRoot(root)
		if err != nil {
			return nil, err
		}
		t.fs = d
	}
	var err error
	if t.root, err = t.fs.Lstat("."); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: look at %q: %w", mail.ErrMissing, root, err), t.Close())
	}
	return t, nil
}

func openRoot(root string) (*disk, error) {
	switch info, err := os.Stat(root); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: there is no directory %q", mail.ErrMissing, root)
	case err != nil:
		return nil, fmt.Errorf("%w: look at it: %w", mail.ErrMissing, err)
	case !info.IsDir():
		return nil, fmt.Errorf("%w: %q is a file, not a directory", mail.ErrMissing, root)
	}
	d, err := openDisk(root)
	if err != nil {
		return nil, fmt.Errorf("open the Maildir: %w", err)
	}
	return d, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hostInKeys gives the host's name without what parts file names and paths.
func hostInKeys() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "localhost" // the key is unique without it
	}
	host = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune("/:,!;", r) {
			return '_'
		}
		return r
	}, host)
	return host[:min(len(host), 64)]
}

// Close lets go of the Maildir and of the store of removed messages.
func (t *Tree) Close() error {
	t.storeLock.Lock()
	defer t.storeLock.Unlock()
	var err error
	if t.store != nil {
		err = t.store.Close()
	}
	return errors.Join(t.fs.Close(), err)
}

// check tells whether the root is still the directory that was opened. A disk that
// was unmounted, or mounted over it, is not: mail.ErrMissing.
func (t *Tree) check() error {
	info, err := t.fs.Lstat(".")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: its directory is gone", mail.ErrMissing)
	}
	if err != nil {
		return err
	}
	if info.Dev != t.root.Dev || info.Inode != t.root.Inode {
		return fmt.Errorf("%w: another directory, or another disk, has taken its place", mail.ErrMissing)
	}
	return nil
}

// gone makes mail.ErrGone of an error that says that a file in dir/sub is not
// there, if that is all that is not there: not if the whole Maildir is missing, nor
// if the folder is without its sub, which means damage and says nothing of files.
func (t *Tree) gone(err error, dir, sub string) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := t.check(); err != nil {
		return err
	}
	if _, err := t.fs.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the folder is %w", mail.ErrGone)
	}
	if _, err := t.fs.Lstat(path.Join(dir, sub)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the folder's directory %q is missing", sub)
	} else if err != nil {
		return err
	}
	return mail.ErrGone
}

// sync makes files or directories durable, unless the user does not want that.
func (t *Tree) sync(names ...string) error {
	if !t.opts.FSync {
		return nil
	}
	return t.fs.Sync(names...)
}

// explain adds to an error what was being done, and to which folder.
func explain(err *error, doing string, folder mail.Folder) {
	if *err != nil {
		*err = fmt.Errorf("%s folder %q: %w", doing, string(folder), full(*err))
	}
}

// explainFile adds to an error what was being done, and to which file.
func explainFile(err *error, doing string, folder mail.Folder, name string) {
	if *err != nil {
		*err = fmt.Errorf("%s message %.160q in folder %q: %w", doing, name, string(folder), full(*err))
	}
}

// full makes an error mail.ErrNoSpace where the disk or the quota says so.
func full(err error) error {
	if !errors.Is(err, mail.ErrNoSpace) && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) {
		return fmt.Errorf("%w: %w", mail.ErrNoSpace, err)
	}
	return err
}
