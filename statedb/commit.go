package statedb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mailtwin/conflict/mail"
)

// keptDecisions is how many decisions are kept for people to look at.
const keptDecisions = 10_000

// writeStatements are those of a commit. They belong to the writer's one connection.
type writeStatements struct {
	dropIntent, dropRow, dropFolder *sql.Stmt
	vacateFolder, vacateRow         *sql.Stmt
	putFolder, putRow, putIntent    *sql.Stmt
	addRow, refreshRow              *sql.Stmt
	addDecision, forgetDecisions    *sql.Stmt
	ids, setIDs                     *sql.Stmt
	putRun                          *sql.Stmt
}

func (w *writeStatements) prepare(ctx context.Context, db *sql.DB) error {
	return prepare(ctx, db, []statement{
		{&w.dropIntent, "DELETE FROM intents WHERE id = ?"},
		{&w.dropRow, "DELETE FROM rows WHERE id = ?"},
		{&w.dropFolder, "DELETE FROM folders WHERE id = ?"},
		{&w.vacateFolder, "UPDATE folders SET name = NULL WHERE id = ? AND name <> ?"},
		{&w.vacateRow, "UPDATE rows SET uid = NULL, key = NULL WHERE id = ?"},
		{&w.putFolder, upsert("folders", folderColumns)},
		{&w.addRow, "INSERT INTO rows (" + rowColumns + ") VALUES (" + blanks(rowColumns) + ")"},
		{&w.putRow, upsert("rows", rowColumns)},
		{&w.putIntent, upsert("intents", intentColumns)},
		{&w.refreshRow, refresh},
		{&w.addDecision, "INSERT INTO decisions (" + decisionColumns + ") VALUES (" + marks(decisionColumns) + ")"},
		{&w.forgetDecisions, "DELETE FROM decisions WHERE id <= (SELECT max(id) FROM decisions) - ?"},
		{&w.ids, "SELECT folders, rows, intents FROM base"},
		{&w.setIDs, "UPDATE base SET folders = ?, rows = ?, intents = ?, clean = 0"},
		{&w.putRun, upsert("last_run", "id, "+runColumns)},
	})
}

// upsert stores a thing whole under its ID, whether it was there or not.
func upsert(table, columns string) string {
	return "INSERT INTO " + table + " (" + columns + ") VALUES (" + marks(columns) + ")" +
		" ON CONFLICT (id) DO UPDATE SET " + assign(columns, "id")
}

// refresh stores a row whose indexed columns are what they were, as with a change of
// flags. An update that names an indexed column rewrites the index, even when the
// value stays; this one does not, and takes a third of the time.
var refresh = "UPDATE rows SET " + assign(rowColumns, indexed...) + " WHERE " + are(rowColumns, indexed...)

// indexed are the columns of a row that stand in an index. State is not among them: its
// index has the few rows only that are not settled, and an update that leaves a row out of
// it costs nothing, nor does one that settles a message which has landed.
var indexed = []string{"id", "folder", "uid", "key", "size", "fingerprint", "date", "remote_size"}

// assign sets all columns to the parameter of their place, but for some.
func assign(columns string, except ...string) string {
	var set []string
	for i, c := range strings.Split(columns, ", ") {
		if !slices.Contains(except, c) {
			set = append(set, fmt.Sprintf("%s = ?%d", c, i+1))
		}
	}
	return strings.Join(set, ", ")
}

// are compares some of the columns with the parameter of their place.
func are(columns string, some ...string) string {
	var equal []string
	for i, c := range strings.Split(columns, ", ") {
		if slices.Contains(some, c) {
			equal = append(equal, fmt.Sprintf("%s IS ?%d", c, i+1))
		}
	}
	return strings.Join(equal, " AND ")
}

// blanks gives a parameter for each column. Those without numbers are bound faster.
func blanks(columns string) string {
	return "?" + strings.Repeat(", ?", strings.Count(columns, ", "))
}

// marks gives a numbered parameter for each column.
func marks(columns string) string {
	var m []string
	for i := range strings.Split(columns, ", ") {
		m = append(m, fmt.Sprintf("?%d", i+1))
	}
	return strings.Join(m, ", ")
}

// Commit makes the whole batch durable, or nothing of it. Drops go before puts; a
// dropped folder takes its rows and the intents aimed at it along. Puts count as one
// step: rows may swap keys and UIDs, folders names. What is put twice is stored as
// the later one says. To put what has an ID that was never given out, to use the UID,
// key or name of another one, or a folder that is not there, is an error.
func (db *DB) Commit(ctx context.Context, batch *mail.Batch) error {
	if batch.Empty() {
		return nil
	}
	// IDs are known before the commit, and are told after it.
	var told []func()
	err := db.transact(ctx, func(c *commit) error {
		if err := c.drop(ctx, batch); err != nil {
			return err
		}
		folders := lastOnly(batch.PutFolders, func(f *mail.FolderBase) int64 { return int64(f.ID) })
		for _, f := range folders {
			if err := c.exec(ctx, c.w.vacateFolder, int64(f.ID), blob(f.Name)); err != nil {
				return fmt.Errorf("folder %q: %w", f.Name, err)
			}
		}
		for _, f := range folders {
			id, err := c.put(ctx, c.w.putFolder, &c.folders, folderValues(f))
			if err != nil {
				return fmt.Errorf("folder %q: %w", f.Name, err)
			}
			told = append(told, func() { f.ID = mail.FolderID(id) })
		}
		if err := c.putRows(ctx, batch.PutRows, &told); err != nil {
			return err
		}
		for _, i := range lastOnly(batch.PutIntents, func(i *mail.Intent) int64 { return int64(i.ID) }) {
			id, err := c.put(ctx, c.w.putIntent, &c.intents, intentValues(i))
			if err != nil {
				return fmt.Errorf("intent %d to %s: %w", i.ID, i.Kind, err)
			}
			told = append(told, func() { i.ID = mail.IntentID(id) })
		}
		return c.decide(ctx, batch.Decisions)
	})
	if err != nil {
		return wrap(err, "commit to the state database")
	}
	for _, tell := range told {
		tell()
	}
	return nil
}

// transact runs do within a transaction, and commits if it gives no error.
func (db *DB) transact(ctx context.Context, do func(*commit) error) (err error) {
	if db.readOnly {
		return errors.New("it was opened for reading only")
	}
	// database/sql rolls back by itself when the context ends, and then speaks of a
	// transaction that has ended already.
	defer func() {
		if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
			err = ctx.Err()
		}
	}()
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	c := &commit{tx: tx, w: &db.writes, bound: map[*sql.Stmt]*sql.Stmt{}}
	err = tx.StmtContext(ctx, db.writes.ids).QueryRowContext(ctx).Scan(&c.folders, &c.rows, &c.intents)
	if err != nil {
		return err
	}
	if err := do(c); err != nil {
		return err
	}
	// This also takes back the mark of a proper end, in the same step as the change.
	if err := c.exec(ctx, c.w.setIDs, c.folders, c.rows, c.intents); err != nil {
		return err
	}
	return tx.Commit()
}

// commit is one transaction.
type commit struct {
	tx                     *sql.Tx
	w                      *writeStatements
	bound                  map[*sql.Stmt]*sql.Stmt // statements as the transaction has them
	folders, rows, intents int64                   // the highest IDs given out
}

// exec runs a statement. The context is looked at here: given to the driver, it
// would cost a goroutine for each row.
func (c *commit) exec(ctx context.Context, s *sql.Stmt, args ...any) error {
	_, err := c.run(ctx, s, args)
	return err
}

func (c *commit) run(ctx context.Context, s *sql.Stmt, args []any) (sql.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b := c.bound[s]
	if b == nil {
		b = c.tx.StmtContext(ctx, s)
		c.bound[s] = b
	}
	result, err := b.ExecContext(context.WithoutCancel(ctx), args...)
	return result, explain(err)
}

func (c *commit) drop(ctx context.Context, b *mail.Batch) error {
	for _, id := range b.DropIntents {
		if err := c.exec(ctx, c.w.dropIntent, int64(id)); err != nil {
			return fmt.Errorf("drop intent %d: %w", id, err)
		}
	}
	for _, id := range b.DropRows {
		if err := c.exec(ctx, c.w.dropRow, int64(id)); err != nil {
			return fmt.Errorf("drop row %d: %w", id, err)
		}
	}
	for _, id := range b.DropFolders {
		if err := c.exec(ctx, c.w.dropFolder, int64(id)); err != nil {
			return fmt.Errorf("drop folder %d: %w", id, err)
		}
	}
	return nil
}

// put stores a thing, and gives its ID, which for a new one is the next.
func (c *commit) put(ctx context.Context, s *sql.Stmt, highest *int64, values []any) (int64, error) {
	id := values[0].(int64)
	if id < 0 || id > *highest {
		return 0, fmt.Errorf("ID %d was never given out", id)
	}
	if id == 0 {
		*highest++
		id = *highest
		values[0] = id
	}
	return id, c.exec(ctx, s, values...)
}

func (c *commit) putRows(ctx context.Context, puts []*mail.Row, told *[]func()) error {
	var rest []*mail.Row
	for _, r := range lastOnly(puts, func(r *mail.Row) int64 { return int64(r.ID) }) {
		if r.ID > 0 {
			result, err := c.run(ctx, c.w.refreshRow, rowValues(r))
			if err != nil {
				return rowError(r, err)
			}
			if n, err := result.RowsAffected(); err != nil {
				return rowError(r, err)
			} else if n == 1 {
				continue
			}
			// Its UID or key may be what another row of the batch is to have.
			if err := c.exec(ctx, c.w.vacateRow, int64(r.ID)); err != nil {
				return rowError(r, err)
			}
		}
		rest = append(rest, r)
	}
	for _, r := range rest {
		put := c.w.putRow
		if r.ID == 0 {
			put = c.w.addRow
		}
		id, err := c.put(ctx, put, &c.rows, rowValues(r))
		if err != nil {
			return rowError(r, err)
		}
		*told = append(*told, func() { r.ID = mail.RowID(id) })
	}
	return nil
}

func rowError(r *mail.Row, err error) error {
	return fmt.Errorf("row %d (folder %d, UID %d, key %q): %w", r.ID, r.Folder, r.UID, r.Key, err)
}

func (c *commit) decide(ctx context.Context, decisions []mail.Decision) error {
	for i := range decisions {
		if err := c.exec(ctx, c.w.addDecision, decisionValues(&decisions[i])...); err != nil {
			return fmt.Errorf("record a decision: %w", err)
		}
	}
	if len(decisions) == 0 {
		return nil
	}
	return c.exec(ctx, c.w.forgetDecisions, int64(keptDecisions))
}

// lastOnly leaves out what a later one in the list replaces: the same thing, or one
// with the same ID.
func lastOnly[T any](puts []*T, id func(*T) int64) []*T {
	last := make(map[any]int, len(puts))
	name := func(p *T) any {
		if n := id(p); n != 0 {
			return n
		}
		return p
	}
	for i, p := range puts {
		last[name(p)] = i
	}
	if len(last) == len(puts) {
		return puts
	}
	var kept []*T
	for i, p := range puts {
		if last[name(p)] == i {
			kept = append(kept, p)
		}
	}
	return kept
}

// errTaken and errNoFolder are what the schema's constraints mean.
var (
	errTaken    = errors.New("another one has the same UID, key or name")
	errNoFolder = errors.New("there is no such folder in base")
)

func explain(err error) error {
	var se *sqlite.Error
	if !errors.As(err, &se) {
		return err
	}
	switch se.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE:
		return fmt.Errorf("%w: %w", errTaken, err)
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w: %w", errNoFolder, err)
	}
	return err
}
