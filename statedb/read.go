package statedb

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"iter"
	"slices"
	"time"

	"mailtwin/conflict/mail"
)

// readStatements are the queries below, prepared.
type readStatements struct {
	folders, known, rowsByKey, rowsByUID, withUIDs, uids *sql.Stmt
	countRemote, countLocal                              *sql.Stmt
	unsettled, marked, alike, intents                    *sql.Stmt
	datedHere, datedThere                                *sql.Stmt
	decisions, lastRun                                   *sql.Stmt
	countsRemote, countsLocal, countsState               *sql.Stmt
}

// The queries. Each is answered from an index, in its order: those over many rows do
// not sort, and none reads rows that it does not give.
const selectRows = "SELECT " + rowColumns + " FROM rows WHERE "

const (
	allFolders   = "SELECT " + folderColumns + " FROM folders ORDER BY name"
	known        = "SELECT " + knownColumns + " FROM rows WHERE folder = ? AND key IS NOT NULL ORDER BY key"
	rowsByKey    = selectRows + "folder = ? AND key IS NOT NULL AND key >= ? ORDER BY key"
	rowsByUID    = selectRows + "folder = ? AND uid IS NOT NULL ORDER BY uid"
	withUIDs     = selectRows + "folder = ? AND uid BETWEEN ? AND ? ORDER BY uid"
	onlyUIDs     = "SELECT uid FROM rows WHERE folder = ? AND uid IS NOT NULL ORDER BY uid"
	countRemote  = "SELECT count(*) FROM rows WHERE folder = ? AND uid IS NOT NULL"
	countLocal   = "SELECT count(*) FROM rows WHERE folder = ? AND key IS NOT NULL"
	unsettled    = selectRows + "state <> 0 AND state IN (1, 2, 3) ORDER BY id"
	marked       = selectRows + "folder = ? AND uid IS NOT NULL AND key IS NOT NULL AND system & ? <> 0 ORDER BY uid" // once, when a policy changes
	alike        = selectRows + "fingerprint = ? ORDER BY id"
	datedHere    = selectRows + "date = ? AND size = ? ORDER BY id"
	datedThere   = selectRows + "remote_size = ? AND remote_size <> 0 AND date = ? ORDER BY id"
	allIntents   = "SELECT " + intentColumns + " FROM intents ORDER BY id"
	newest       = "SELECT " + decisionColumns + " FROM decisions ORDER BY id DESC LIMIT ?"
	lastRun      = "SELECT " + runColumns + " FROM last_run"
	countsRemote = "SELECT folder, 0, count(*) FROM rows WHERE uid IS NOT NULL GROUP BY folder"
	countsLocal  = "SELECT folder, 0, count(*) FROM rows WHERE key IS NOT NULL GROUP BY folder"
	countsState  = "SELECT folder, state, count(*) FROM rows WHERE state <> 0 GROUP BY state, folder"
)

func (r *readStatements) prepare(ctx context.Context, db *sql.DB) error {
	return prepare(ctx, db, []statement{
		{&r.folders, allFolders}, {&r.known, known}, {&r.rowsByKey, rowsByKey}, {&r.rowsByUID, rowsByUID}, {&r.withUIDs, withUIDs}, {&r.uids, onlyUIDs},
		{&r.countRemote, countRemote}, {&r.countLocal, countLocal}, {&r.unsettled, unsettled}, {&r.marked, marked}, {&r.alike, alike}, {&r.datedHere, datedHere}, {&r.datedThere, datedThere},
		{&r.intents, allIntents}, {&r.decisions, newest}, {&r.lastRun, lastRun},
		{&r.countsRemote, countsRemote}, {&r.countsLocal, countsLocal}, {&r.countsState, countsState},
	})
}

// statement is a query, and where its prepared form goes.
type statement struct {
	into  **sql.Stmt
	query string
}

func prepare(ctx context.Context, db *sql.DB, statements []statement) error {
	for _, s := range statements {
		prepared, err := db.PrepareContext(ctx, s.query)
		if err != nil {
			return err
		}
		*s.into = prepared
	}
	return nil
}

// prepare prepares all statements; what was prepared is closed with its pool.
func (db *DB) prepare(ctx context.Context) error {
	if err := db.reads.prepare(ctx, db.read); err != nil || db.readOnly {
		return err
	}
	return db.writes.prepare(ctx, db.write)
}

// each gives what a query finds, one by one, as it stood when the query began.
func each[T any](ctx context.Context, s *sql.Stmt, read func(*values) T, doing string, args ...any) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		rows, err := s.QueryContext(ctx, args...)
		if err != nil {
			yield(none, wrap(err, "%s", doing))
			return
		}
		defer rows.Close()
		v, err := newValues(rows)
		for err == nil && rows.Next() {
			// database/sql learns of it in a goroutine, some rows later.
			if err = ctx.Err(); err != nil {
				break
			}
			if err = v.scan(rows); err != nil {
				break
			}
			x := read(v)
			if err = v.err; err == nil && !yield(x, nil) {
				return
			}
		}
		if err == nil {
			err = rows.Err()
		}
		if err != nil {
			yield(none, wrap(err, "%s", doing))
		}
	}
}

// all gives what a query finds at once.
func all[T any](ctx context.Context, s *sql.Stmt, read func(*values) T, doing string, args ...any) ([]T, error) {
	var found []T
	for x, err := range each(ctx, s, read, doing, args...) {
		if err != nil {
			return nil, err
		}
		found = append(found, x)
	}
	return found, nil
}

// inFolder is each for what is in a folder. In memory that is taken all at once: an open query
// would keep the only connection from whoever commits meanwhile.
func inFolder[T any](ctx context.Context, db *DB, s *sql.Stmt, read func(*values) T, folder mail.FolderID, args ...any) iter.Seq2[T, error] {
	doing := fmt.Sprintf("read the rows of folder %d", folder)
	args = append([]any{int64(folder)}, args...)
	if !db.memory {
		return each(ctx, s, read, doing, args...)
	}
	return func(yield func(T, error) bool) {
		var none T
		found, err := all(ctx, s, read, doing, args...)
		if err != nil {
			yield(none, err)
			return
		}
		for _, x := range found {
			if err := ctx.Err(); err != nil {
				yield(none, wrap(err, "%s", doing))
				return
			}
			if !yield(x, nil) {
				return
			}
		}
	}
}

// Folders gives all folders, in ascending order of names.
func (db *DB) Folders(ctx context.Context) ([]mail.FolderBase, error) {
	return all(ctx, db.reads.folders, readFolder, "read the folders of base")
}

// Known yields what the folder's rows that have a key say of their files; otherwise as RowsByKey.
// It reads a quarter of the columns: each costs as much as the next.
func (db *DB) Known(ctx context.Context, folder mail.FolderID) iter.Seq2[mail.Known, error] {
	return inFolder(ctx, db, db.reads.known, readKnown, folder)
}

// RowsByKey yields the folder's rows that have a key, from that one on, in ascending order of
// keys, as they were when the loop began. Rows may be committed and asked for inside the loop.
// After an error nothing more comes.
func (db *DB) RowsByKey(ctx context.Context, folder mail.FolderID, from mail.Key) iter.Seq2[mail.Row, error] {
	return inFolder(ctx, db, db.reads.rowsByKey, readRow, folder, blob(from))
}

// RowsByUID yields the folder's rows that have a UID, in ascending order of UIDs;
// otherwise as RowsByKey.
func (db *DB) RowsByUID(ctx context.Context, folder mail.FolderID) iter.Seq2[mail.Row, error] {
	return inFolder(ctx, db, db.reads.rowsByUID, readRow, folder)
}

// WithUIDs gives the folder's rows with one of the UIDs, in ascending order.
func (db *DB) WithUIDs(ctx context.Context, folder mail.FolderID, uids mail.UIDSet) ([]mail.Row, error) {
	var found []mail.Row
	for _, r := range uids {
		rows, err := all(ctx, db.reads.withUIDs, readRow, fmt.Sprintf("look up UIDs %v of folder %d", r, folder),
			int64(folder), int64(r.First), int64(r.Last))
		if err != nil {
			return nil, err
		}
		found = append(found, rows...)
	}
	return found, nil
}

// UIDs gives the UIDs of the folder's rows.
func (db *DB) UIDs(ctx context.Context, folder mail.FolderID) (mail.UIDSet, error) {
	var set mail.UIDSet
	readUID := func(v *values) mail.UID { return mail.UID(v.uint(1<<32 - 1)) }
	for uid, err := range each(ctx, db.reads.uids, readUID, fmt.Sprintf("read the UIDs of folder %d", folder), int64(folder)) {
		if err != nil {
			return nil, err
		}
		set.Add(uid)
	}
	return set, nil
}

// Count counts the folder's rows with a UID, and those with a key.
func (db *DB) Count(ctx context.Context, folder mail.FolderID) (remote, local int, err error) {
	err = db.reads.countRemote.QueryRowContext(ctx, int64(folder)).Scan(&remote)
	if err == nil {
		err = db.reads.countLocal.QueryRowContext(ctx, int64(folder)).Scan(&local)
	}
	return remote, local, wrap(err, "count the rows of folder %d", folder)
}

// Unsettled gives all rows, of all folders, that are landing, pending or held, in
// ascending order of IDs.
func (db *DB) Unsettled(ctx context.Context) ([]mail.Row, error) {
	return all(ctx, db.reads.unsettled, readRow, "read the unsettled rows")
}

// Marked gives the folder's rows that are on both sides and flagged \Deleted, in
// ascending order of UIDs.
func (db *DB) Marked(ctx context.Context, folder mail.FolderID) ([]mail.Row, error) {
	return all(ctx, db.reads.marked, readRow, "read the rows flagged as deleted", int64(folder), int64(mail.Deleted))
}

// Alike gives all rows, of all folders, of messages of that fingerprint, in ascending
// order of IDs.
func (db *DB) Alike(ctx context.Context, fp mail.Fingerprint) ([]mail.Row, error) {
	return all(ctx, db.reads.alike, readRow, "look up equal messages", fingerprint(fp))
}

// Dated gives all rows, of all folders, of messages that have that INTERNALDATE, to the
// second, and that size, in the canonical form or as the server announces it.
func (db *DB) Dated(ctx context.Context, size int64, date time.Time) ([]mail.Row, error) {
	const doing = "look up messages of one date"
	rows, err := all(ctx, db.reads.datedHere, readRow, doing, unix(date), size)
	if err != nil {
		return nil, err
	}
	there, err := all(ctx, db.reads.datedThere, readRow, doing, size, unix(date))
	for _, row := range there {
		if row.Size != size {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b mail.Row) int { return cmp.Compare(a.ID, b.ID) })
	return rows, err
}

// Intents gives the intents that were put and not dropped, in ascending order of IDs.
func (db *DB) Intents(ctx context.Context) ([]mail.Intent, error) {
	return all(ctx, db.reads.intents, readIntent, "read the intents")
}
