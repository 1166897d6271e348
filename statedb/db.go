package statedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mailtwin/conflict/mail"
)

// ErrCorrupt says that the file is damaged, or no state of mailtwin. Once it was
// moved away with SetAside, the next sync pairs both sides again. It is a
// mail.ErrState.
var ErrCorrupt = fmt.Errorf("%w: %w", mail.ErrState, mail.ErrDamaged)

// DB is the state of one account. All methods may be called from several goroutines
// at once. It fulfils the engine's State; what an iterator yields is what there was
// when it began.
type DB struct {
	// write has one connection, so that commits of this process queue up in Go
	// instead of polling for SQLite's lock.
	write *sql.DB
	// read has as many connections as there are reads at once. It must not be
	// limited: one who asks for rows inside a loop over rows holds one connection
	// and waits for another. It is write where base is in memory.
	read *sql.DB

	memory   bool // reads share the writer's connection, so they must not hold it
	readOnly bool

	reads  readStatements
	writes writeStatements
}

// Open opens the account's state, and makes the file, with mode 0600, where there is
// none. One process at a time should have it open for writing; another one that
// writes is waited for, 5 s at most. The errors to expect are ErrNewer and ErrCorrupt;
// after both the file is as it was. After an unclean end this takes as long as
// reading the whole file does.
func Open(ctx context.Context, path string) (*DB, error) {
	return open(ctx, path, ladder)
}

func open(ctx context.Context, path string, ladder []string) (_ *DB, err error) {
	defer func() { err = wrap(err, "open the state database %q", path) }()
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := create(path); err != nil {
		return nil, err
	}
	version, err := inspect(ctx, path, len(ladder))
	if err != nil {
		return nil, err
	}
	db := &DB{}
	db.write, err = sql.Open("sqlite", dsn(path, "_txlock", "immediate", "_pragma", "synchronous(FULL)",
		"_pragma", "foreign_keys(1)", "_pragma", "cache_size(-8192)", "_pragma", "journal_size_limit(16777216)"))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			db.closeAll()
		}
	}()
	db.write.SetMaxOpenConns(1)
	// The mode is a property of the file; set here and not in the DSN, since only
	// now it is known that the file may be written.
	var mode string
	if err := db.write.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return nil, err
	}
	if mode != "wal" {
		return nil, fmt.Errorf("its file system cannot do write-ahead logging (the journal stays in mode %s)", mode)
	}
	if version < len(ladder) {
		if err := climb(ctx, db.write, ladder); err != nil {
			return nil, err
		}
	}
	// Readers go through the rows of a folder from end to end. Pages that they keep serve nobody,
	// and each is given back to the system one by one when the state is closed.
	db.read, err = sql.Open("sqlite", dsn(path, "mode", "ro", "_pragma", "cache_size(-256)"))
	if err != nil {
		return nil, err
	}
	db.read.SetMaxIdleConns(4)
	if err := db.prepare(ctx); err != nil {
		return nil, err
	}
	return db, nil
}

// OpenMemory makes an empty state that lives in memory and ends with Close: for a dry
// run of an account that was never synced.
func OpenMemory(ctx context.Context) (_ *DB, err error) {
	defer func() { err = wrap(err, "open a state database in memory") }()
	db := &DB{memory: true}
	db.write, err = sql.Open("sqlite", "file::memory:?_dqs=0&_txlock=immediate&_pragma=foreign_keys(1)")
	if err != nil {
		return nil, err
	}
	db.write.SetMaxOpenConns(1)
	db.read = db.write
	if err := climb(ctx, db.write, ladder); err != nil {
		db.closeAll()
		return nil, err
	}
	if err := db.prepare(ctx); err != nil {
		db.closeAll()
		return nil, err
	}
	return db, nil
}

// OpenReadOnly opens the account's state for looking at it, also while another
// process writes. Commit and PutRun fail. It leaves the disk as it finds it. An error
// that is fs.ErrNotExist says that there is no state yet.
func OpenReadOnly(ctx context.Context, path string) (_ *DB, err error) {
	defer func() { err = wrap(err, "open the state database %q for reading", path) }()
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	db := &DB{readOnly: true}
	db.read, err = openUntouched(ctx, path)
	if err != nil {
		return nil, err
	}
	db.write = db.read
	defer func() {
		if err != nil {
			db.closeAll()
		}
	}()
	version, err := identify(ctx, db.read, len(ladder))
	if err != nil {
		return nil, err
	}
	if version < len(ladder) {
		// Nothing was ever committed to an empty file; an older one has to be
		// upgraded, which a reader must not do.
		return nil, fmt.Errorf("%w: it has version %d and is brought to %d by the next sync", fs.ErrNotExist, version, len(ladder))
	}
	if err := db.prepare(ctx); err != nil {
		return nil, err
	}
	return db, nil
}

// Close ends the use of the state. Iterators must have ended. It marks the file as
// properly closed, and folds its "-wal" file into it.
func (db *DB) Close() error {
	var err error
	if !db.memory && !db.readOnly {
		_, err = db.write.Exec("UPDATE base SET clean = 1 WHERE clean = 0")
	}
	return wrap(errors.Join(err, db.closeAll()), "close the state database")
}

// closeAll closes the writer last: the last connection folds the log into the file,
// which a reader could not do.
func (db *DB) closeAll() error {
	var errs []error
	if db.read != nil && db.read != db.write {
		errs = append(errs, db.read.Close())
	}
	if db.write != nil {
		errs = append(errs, db.write.Close())
	}
	return errors.Join(errs...)
}

// Check reads the whole file and compares all of it with each other, which takes
// some 5 s for a million messages. What it finds is ErrCorrupt.
func (db *DB) Check(ctx context.Context) error {
	return wrap(check(ctx, db.read, "integrity_check"), "check the state database")
}

// SetAside renames a damaged file, with its log, so that a new one can take its place: a
// log that stayed behind would be played into the new file. It gives the file's new
// name, which tells when that was. Nobody may have it open.
func SetAside(path string, now time.Time) (aside string, err error) {
	dated := path + ".damaged-" + now.Format("2006-01-02-150405")
	for n := 1; ; n++ {
		aside = dated
		if n > 1 {
			aside = fmt.Sprintf("%s-%d", dated, n)
		}
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return "", fmt.Errorf("set the state database aside: %w", err)
		}
	}
	// The log goes first: killed in between, the file alone is older but whole.
	for _, suffix := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(path+suffix, aside+suffix); err != nil && (suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
			return "", fmt.Errorf("set the state database aside: %w", err)
		}
	}
	return aside, syncDir(filepath.Dir(path))
}

// querier is a *sql.DB, *sql.Conn or *sql.Tx.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// dsn names the file in a way that a "?", "%" or "#" in its path survives, with
// pairs of further parameters.
func dsn(path string, params ...string) string {
	q := url.Values{"_dqs": {"0"}, "_pragma": {"busy_timeout(5000)"}}
	for i := 0; i < len(params); i += 2 {
		q.Add(params[i], params[i+1])
	}
	u := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: q.Encode()}
	return u.String()
}

// create makes an empty file for SQLite to fill, so that nobody else can read it from
// the start; "-wal" and "-shm" get the mode of the file. A file that is there is not
// opened: see the package comment on locks. If it is empty, and has no log either,
// somebody has emptied it: SQLite would take it for a new one, and nobody would hear
// that the state was lost.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		info, err := os.Stat(path)
		if err != nil || info.Size() > 0 {
			return err
		}
		if _, err := os.Stat(path + "-wal"); err == nil {
			return nil
		}
		return fmt.Errorf("%w: it is empty", ErrCorrupt)
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// inspect tells the file's version, and refuses what must not be written: a file of a
// newer version or another program, and one that is damaged, which after an unclean
// end is looked for.
func inspect(ctx context.Context, path string, steps int) (version int, err error) {
	db, err := openUntouched(ctx, path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	version, err = identify(ctx, db, steps)
	if err != nil || version == 0 {
		return version, err
	}
	var clean bool
	if err := db.QueryRowContext(ctx, "SELECT clean FROM base").Scan(&clean); err != nil {
		return 0, err
	}
	if !clean {
		return version, check(ctx, db, "quick_check")
	}
	return version, nil
}

// openUntouched opens the file for reading such that neither opening nor closing
// changes it.
//
// Where there is a log, somebody writes or died writing: opened read-only, the log is
// read, and closing does not fold it into the file. Where there is none, a read-only
// connection would make one and leave it behind; one that could write, and does not,
// takes it away when it is closed. Only where that is not allowed the file is read as
// if nobody could change it.
func openUntouched(ctx context.Context, path string) (*sql.DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	log, err := os.Stat(path + "-wal")
	if err == nil && log.Size() > 0 {
		return connect(ctx, dsn(path, "mode", "ro"))
	}
	db, err := connect(ctx, dsn(path, "mode", "rw", "_query_only", "1"))
	var se *sqlite.Error
	if errors.As(err, &se) && (se.Code()&0xff == sqlite3.SQLITE_READONLY || se.Code()&0xff == sqlite3.SQLITE_CANTOPEN) {
		return connect(ctx, dsn(path, "immutable", "1", "mode", "ro"))
	}
	return db, err
}

// connect opens a pool of connections, and reads something through the first one.
func connect(ctx context.Context, dsn string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	var n int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// check runs one of SQLite's checks; what it finds is ErrCorrupt.
func check(ctx context.Context, q querier, pragma string) error {
	rows, err := q.QueryContext(ctx, "PRAGMA "+pragma+"(10)")
	if err != nil {
		return err
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return err
		}
		if s != "ok" {
			found = append(found, s)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: %q", ErrCorrupt, strings.Join(found, "; "))
	}
	return nil
}

// wrap says what was being done, and makes SQLite's errors about damaged files
// ErrCorrupt, and those about a full disk mail.ErrNoSpace. It gives nil for nil.
func wrap(err error, doing string, args ...any) error {
	if err == nil {
		return nil
	}
	var se *sqlite.Error
	if errors.As(err, &se) && !errors.Is(err, ErrCorrupt) {
		switch se.Code() & 0xff {
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		// To make the file of its shared memory is the first thing that fails on a full
		// disk, and has a code of its own.
		if se.Code()&0xff == sqlite3.SQLITE_FULL || se.Code() == sqlite3.SQLITE_IOERR_SHMSIZE {
			err = fmt.Errorf("%w: %w", mail.ErrNoSpace, err)
		}
	}
	return fmt.Errorf(doing+": %w", append(args, err)...)
}
