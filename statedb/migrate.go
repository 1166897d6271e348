package statedb

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
)

// applicationID marks the file as ours in SQLite's header: "mtwn".
const applicationID = 0x6d74776e

//go:embed schema.sql
var schema string

// ladder holds what brings a file from each version to the next: step i makes
// version i+1, and user_version tells how many were taken. The first one is the
// schema itself, so that a new file and an old one go the same way.
var ladder = []string{schema, copiedIntents, pushedFlags}

// copiedIntents makes version 2: a further kind of intents, and no column for whether all of
// an upload had been sent, which nobody asked for.
const copiedIntents = `
CREATE TABLE old_intents AS SELECT * FROM intents;
DROP TABLE intents;
CREATE TABLE intents (
    id          INTEGER PRIMARY KEY,
    kind        INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
    row         INTEGER NOT NULL,
    folder      INTEGER NOT NULL REFERENCES folders ON DELETE CASCADE,
    key         BLOB    NOT NULL,
    size        INTEGER NOT NULL,
    digest      BLOB    NOT NULL,
    fingerprint BLOB    NOT NULL,
    message_id  BLOB    NOT NULL,
    uidvalidity INTEGER NOT NULL,
    uidnext     INTEGER NOT NULL,
    created     INTEGER
) STRICT;
CREATE INDEX intents_by_folder ON intents (folder);
INSERT INTO intents SELECT id, kind, row, folder, key, size, digest, fingerprint, message_id, uidvalidity, uidnext, created
    FROM old_intents;
DROP TABLE old_intents;`

// pushedFlags makes version 3: which flags of a message were changed on the server last, and when.
const pushedFlags = `
ALTER TABLE rows ADD COLUMN pushed_system INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rows ADD COLUMN pushed_keywords BLOB NOT NULL DEFAULT x'';
ALTER TABLE rows ADD COLUMN pushed_at INTEGER;`

// ErrNewer says that the file was written by a newer mailtwin. Nothing was written
// to it.
var ErrNewer = errors.New("the state database was written by a newer mailtwin: upgrade mailtwin here, " +
	"or move the file away, and the next sync pairs both sides again without loading messages anew")

// identify tells how many steps of the ladder the file has taken, 0 for one that is
// empty. It writes nothing.
func identify(ctx context.Context, q querier, steps int) (int, error) {
	var app, version, tables int
	err := q.QueryRowContext(ctx, `SELECT a.application_id, v.user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id a, pragma_user_version v`).Scan(&app, &version, &tables)
	switch {
	case err != nil:
		return 0, err
	case app == 0 && version == 0 && tables == 0:
		return 0, nil
	case app != applicationID:
		return 0, fmt.Errorf("%w: it belongs to another program", ErrCorrupt)
	case version > steps:
		return 0, fmt.Errorf("%w (it has version %d, this mailtwin knows %d)", ErrNewer, version, steps)
	case version <= 0:
		return 0, fmt.Errorf("%w: it has version %d", ErrCorrupt, version)
	}
	return version, nil
}

// climb takes the steps that the file lacks, all or none.
func climb(ctx context.Context, w *sql.DB, ladder []string) error {
	tx, err := w.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	version, err := identify(ctx, tx, len(ladder))
	if err != nil || version == len(ladder) {
		return err
	}
	for i, step := range ladder[version:] {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("upgrade it to version %d: %w", version+i+1, err)
		}
	}
	mark := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(ladder))
	if _, err := tx.ExecContext(ctx, mark); err != nil {
		return err
	}
	return tx.Commit()
}
