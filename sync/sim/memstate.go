package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	gosync "sync"
	"time"

	"mailtwin/conflict/mail"
)

// State is base in memory: what the engine sees of it is what it sees of statedb,
// which passes the same tests. A commit is atomic and at once durable; a crash is
// simulated by going on with a Clone.
type State struct {
	mu        gosync.Mutex
	folders   map[mail.FolderID]*mail.FolderBase // what these and the rows point to is never changed
	rows      map[mail.FolderID]*folderRows
	where     map[mail.RowID]mail.FolderID // the folder of each row
	intents   map[mail.IntentID]mail.Intent
	decisions []mail.Decision
	// The highest IDs that were given out.
	folderID mail.FolderID
	rowID    mail.RowID
	intentID mail.IntentID
}

// folderRows are the rows of one folder, and who has which UID and key.
type folderRows struct {
	rows  map[mail.RowID]*mail.Row
	byUID map[mail.UID]mail.RowID
	byKey map[mail.Key]mail.RowID
}

// NewState makes an empty state.
func NewState() *State {
	return &State{
		folders: map[mail.FolderID]*mail.FolderBase{},
		rows:    map[mail.FolderID]*folderRows{},
		where:   map[mail.RowID]mail.FolderID{},
		intents: map[mail.IntentID]mail.Intent{},
	}
}

// Clone gives a state of its own that begins as this one is.
func (s *State) Clone() *State {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &State{
		folders: maps.Clone(s.folders), rows: make(map[mail.FolderID]*folderRows, len(s.rows)),
		where: maps.Clone(s.where), intents: maps.Clone(s.intents), decisions: slices.Clone(s.decisions),
		folderID: s.folderID, rowID: s.rowID, intentID: s.intentID,
	}
	for id, f := range s.rows {
		c.rows[id] = &folderRows{maps.Clone(f.rows), maps.Clone(f.byUID), maps.Clone(f.byKey)}
	}
	return c
}

// Decisions gives all decisions that were committed, in their order.
func (s *State) Decisions() []mail.Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.decisions)
}

// Folders gives all folders, in ascending order of names.
func (s *State) Folders(ctx context.Context) ([]mail.FolderBase, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]mail.FolderBase, 0, len(s.folders))
	for _, f := range sorted(maps.Values(s.folders), func(a, b *mail.FolderBase) int { return cmp.Compare(a.Name, b.Name) }) {
		all = append(all, *f)
	}
	return all, ctx.Err()
}

// Known yields what the rows with a key say of their files, as they were when the loop began.
func (s *State) Known(ctx context.Context, folder mail.FolderID) iter.Seq2[mail.Known, error] {
	return func(yield func(mail.Known, error) bool) {
		for r, err := range s.RowsByKey(ctx, folder, "") {
			if !yield(r.Known(), err) {
				return
			}
		}
	}
}

// RowsByKey yields the rows with a key, from that one on, as they were when the loop began.
func (s *State) RowsByKey(ctx context.Context, folder mail.FolderID, from mail.Key) iter.Seq2[mail.Row, error] {
	return s.yield(ctx, folder, func(r *mail.Row) bool { return r.Key != "" && r.Key >= from },
		func(a, b *mail.Row) int { return cmp.Compare(a.Key, b.Key) })
}

// RowsByUID yields the rows with a UID, as they were when the loop began.
func (s *State) RowsByUID(ctx context.Context, folder mail.FolderID) iter.Seq2[mail.Row, error] {
	return s.yield(ctx, folder, func(r *mail.Row) bool { return r.UID != 0 }, byUID)
}

func (s *State) yield(ctx context.Context, folder mail.FolderID, wanted func(*mail.Row) bool, order func(a, b *mail.Row) int) iter.Seq2[mail.Row, error] {
	return func(yield func(mail.Row, error) bool) {
		for _, r := range s.inFolder(folder, wanted, order) {
			if err := ctx.Err(); err != nil {
				yield(mail.Row{}, err)
				return
			}
			if !yield(*r, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(mail.Row{}, err)
		}
	}
}

// WithUIDs gives the folder's rows with one of the UIDs, in ascending order.
func (s *State) WithUIDs(ctx context.Context, folder mail.FolderID, uids mail.UIDSet) ([]mail.Row, error) {
	return copied(s.inFolder(folder, func(r *mail.Row) bool { return uids.Has(r.UID) }, byUID)), ctx.Err()
}

// UIDs gives the UIDs of the folder's rows.
func (s *State) UIDs(ctx context.Context, folder mail.FolderID) (mail.UIDSet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows[folder] == nil {
		return nil, ctx.Err()
	}
	return mail.UIDs(slices.Collect(maps.Keys(s.rows[folder].byUID))...), ctx.Err()
}

// Count counts the folder's rows with a UID, and those with a key.
func (s *State) Count(ctx context.Context, folder mail.FolderID) (remote, local int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.rows[folder]; f != nil {
		remote, local = len(f.byUID), len(f.byKey)
	}
	return remote, local, ctx.Err()
}

// Unsettled gives the rows that are landing, pending or held, in order of IDs.
func (s *State) Unsettled(ctx context.Context) ([]mail.Row, error) {
	return s.inAll(func(r *mail.Row) bool {
		return r.State == mail.Landing || r.State == mail.Pending || r.State == mail.Held
	}), ctx.Err()
}

// Marked gives the folder's rows that are on both sides and flagged \Deleted, in
// order of UIDs.
func (s *State) Marked(ctx context.Context, folder mail.FolderID) ([]mail.Row, error) {
	return copied(s.inFolder(folder, func(r *mail.Row) bool {
		return r.UID != 0 && r.Key != "" && r.Flags.Has(mail.Deleted)
	}, byUID)), ctx.Err()
}

// Alike gives the rows of that fingerprint, in order of IDs.
func (s *State) Alike(ctx context.Context, fingerprint mail.Fingerprint) ([]mail.Row, error) {
	return s.inAll(func(r *mail.Row) bool { return r.Fingerprint == fingerprint }), ctx.Err()
}

// Dated gives the rows of that date and size, in order of IDs.
func (s *State) Dated(ctx context.Context, size int64, date time.Time) ([]mail.Row, error) {
	return s.inAll(func(r *mail.Row) bool {
		return (r.Size == size || r.RemoteSize != 0 && r.RemoteSize == size) && !r.Date.IsZero() && r.Date.Unix() == date.Unix()
	}), ctx.Err()
}

// Intents gives all intents, in order of IDs.
func (s *State) Intents(ctx context.Context) ([]mail.Intent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sorted(maps.Values(s.intents), func(a, b mail.Intent) int { return cmp.Compare(a.ID, b.ID) }), ctx.Err()
}

func byUID(a, b *mail.Row) int { return cmp.Compare(a.UID, b.UID) }

func (s *State) inFolder(folder mail.FolderID, wanted func(*mail.Row) bool, order func(a, b *mail.Row) int) []*mail.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows[folder] == nil {
		return nil
	}
	return sorted(filter(maps.Values(s.rows[folder].rows), wanted), order)
}

func (s *State) inAll(wanted func(*mail.Row) bool) []mail.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*mail.Row
	for _, f := range s.rows {
		found = slices.AppendSeq(found, filter(maps.Values(f.rows), wanted))
	}
	slices.SortFunc(found, func(a, b *mail.Row) int { return cmp.Compare(a.ID, b.ID) })
	return copied(found)
}

// copied gives the rows themselves, which are the caller's.
func copied(rows []*mail.Row) []mail.Row {
	if len(rows) == 0 {
		return nil
	}
	all := make([]mail.Row, 0, len(rows))
	for _, r := range rows {
		all = append(all, *r)
	}
	return all
}

func filter(rows iter.Seq[*mail.Row], wanted func(*mail.Row) bool) iter.Seq[*mail.Row] {
	return func(yield func(*mail.Row) bool) {
		for r := range rows {
			if wanted(r) && !yield(r) {
				return
			}
		}
	}
}

func sorted[T any](s iter.Seq[T], order func(a, b T) int) []T { return slices.SortedFunc(s, order) }

// Commit makes the whole batch so, or nothing of it. What it refuses is what statedb
// refuses.
func (s *State) Commit(ctx context.Context, b *mail.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	c := commit{s: s, folderID: s.folderID, rowID: s.rowID, intentID: s.intentID}
	told, err := c.apply(b)
	if err != nil {
		for _, undo := range slices.Backward(c.undo) {
			undo()
		}
		return fmt.Errorf("commit to the state in memory: %w", err)
	}
	s.folderID, s.rowID, s.intentID = c.folderID, c.rowID, c.intentID
	for _, tell := range told {
		tell()
	}
	return nil
}

// commit is one commit under way, with how to take back each of its steps.
type commit struct {
	s        *State
	undo     []func()
	folderID mail.FolderID
	rowID    mail.RowID
	intentID mail.IntentID
}

// set changes one entry of a map.
func set[K comparable, V any](c *commit, m map[K]V, k K, v V) {
	old, was := m[k]
	c.undo = append(c.undo, func() {
		if was {
			m[k] = old
		} else {
			delete(m, k)
		}
	})
	m[k] = v
}

// unset removes one entry of a map.
func unset[K comparable, V any](c *commit, m map[K]V, k K) {
	if old, was := m[k]; was {
		c.undo = append(c.undo, func() { m[k] = old })
		delete(m, k)
	}
}

func (c *commit) apply(b *mail.Batch) (told []func(), err error) {
	c.drop(b)
	folders := lastOnly(b.PutFolders, func(f *mail.FolderBase) int64 { return int64(f.ID) })
	for _, f := range folders {
		unset(c, c.s.folders, f.ID)
	}
	for _, f := range folders {
		id, err := give(f.ID, &c.folderID)
		if err != nil {
			return nil, fmt.Errorf("folder %q: %w", f.Name, err)
		}
		for _, other := range c.s.folders {
			if other.Name == f.Name {
				return nil, fmt.Errorf("folder %q: another one has its name", f.Name)
			}
		}
		stored := *f
		stored.ID, stored.Verified, stored.Synced = id, second(f.Verified), second(f.Synced)
		set(c, c.s.folders, id, &stored)
		if c.s.rows[id] == nil {
			set(c, c.s.rows, id, &folderRows{map[mail.RowID]*mail.Row{}, map[mail.UID]mail.RowID{}, map[mail.Key]mail.RowID{}})
		}
		told = append(told, func() { f.ID = id })
	}
	rows := lastOnly(b.PutRows, func(r *mail.Row) int64 { return int64(r.ID) })
	for _, r := range rows {
		c.dropRow(r.ID)
	}
	for _, r := range rows {
		id, err := c.putRow(r)
		if err != nil {
			return nil, fmt.Errorf("row %d (folder %d, UID %d, key %q): %w", r.ID, r.Folder, r.UID, r.Key, err)
		}
		told = append(told, func() { r.ID = id })
	}
	for _, i := range lastOnly(b.PutIntents, func(i *mail.Intent) int64 { return int64(i.ID) }) {
		id, err := give(i.ID, &c.intentID)
		if err == nil && c.s.rows[i.Folder] == nil {
			err = errors.New("there is no such folder in base")
		}
		if err == nil && (i.Kind < mail.Upload || i.Kind > mail.Copied) {
			err = errors.New("there is no such kind of intent")
		}
		if err != nil {
			return nil, fmt.Errorf("intent %d: %w", i.ID, err)
		}
		stored := *i
		stored.ID, stored.Created = id, second(i.Created)
		set(c, c.s.intents, id, stored)
		told = append(told, func() { i.ID = id })
	}
	// Nothing can fail after this, so it need not be undone.
	for _, d := range b.Decisions {
		d.At = second(d.At)
		c.s.decisions = append(c.s.decisions, d)
	}
	return told, nil
}

func (c *commit) drop(b *mail.Batch) {
	for _, id := range b.DropIntents {
		unset(c, c.s.intents, id)
	}
	for _, id := range b.DropRows {
		c.dropRow(id)
	}
	for _, id := range b.DropFolders {
		if f := c.s.rows[id]; f != nil {
			for _, row := range slices.Collect(maps.Keys(f.rows)) {
				c.dropRow(row)
			}
		}
		for intent, i := range maps.Clone(c.s.intents) {
			if i.Folder == id {
				unset(c, c.s.intents, intent)
			}
		}
		unset(c, c.s.folders, id)
		unset(c, c.s.rows, id)
	}
}

func (c *commit) dropRow(id mail.RowID) {
	folder, ok := c.s.where[id]
	if !ok {
		return
	}
	f := c.s.rows[folder]
	r := f.rows[id]
	unset(c, f.rows, id)
	unset(c, c.s.where, id)
	if r.UID != 0 {
		unset(c, f.byUID, r.UID)
	}
	if r.Key != "" {
		unset(c, f.byKey, r.Key)
	}
}

func (c *commit) putRow(r *mail.Row) (mail.RowID, error) {
	id, err := give(r.ID, &c.rowID)
	if err != nil {
		return 0, err
	}
	f := c.s.rows[r.Folder]
	if f == nil {
		return 0, errors.New("there is no such folder in base")
	}
	if r.State > mail.Parted || r.Gone > mail.Remote {
		return 0, errors.New("there is no such state")
	}
	if r.UID != 0 {
		if _, taken := f.byUID[r.UID]; taken {
			return 0, errors.New("another one has the same UID")
		}
		set(c, f.byUID, r.UID, id)
	}
	if r.Key != "" {
		if _, taken := f.byKey[r.Key]; taken {
			return 0, errors.New("another one has the same key")
		}
		set(c, f.byKey, r.Key, id)
	}
	stored := *r
	stored.ID, stored.Date, stored.RetryAt = id, second(r.Date), second(r.RetryAt)
	set(c, f.rows, id, &stored)
	set(c, c.s.where, id, r.Folder)
	return id, nil
}

// give tells the ID of what is put: its own, or for a new one the next.
func give[ID ~int64](id ID, highest *ID) (ID, error) {
	if id < 0 || id > *highest {
		return 0, fmt.Errorf("ID %d was never given out", id)
	}
	if id == 0 {
		*highest++
		id = *highest
	}
	return id, nil
}

// second is t as base keeps it.
func second(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.Unix(t.Unix(), 0).UTC()
}

// lastOnly leaves out what a later one in the list replaces: the same thing, or one
// with the same ID.
func lastOnly[T any](puts []*T, id func(*T) int64) []*T {
	byID, seen := map[int64]bool{}, map[*T]bool{}
	var kept []*T
	for _, p := range slices.Backward(puts) {
		n := id(p)
		if seen[p] || n != 0 && byID[n] {
			continue
		}
		seen[p], byID[n] = true, true
		kept = append(kept, p)
	}
	slices.Reverse(kept)
	return kept
}

// String tells what is there, for a failing test.
func (s *State) String() string {
	folders, _ := s.Folders(context.Background())
	var b strings.Builder
	for _, f := range folders {
		fmt.Fprintf(&b, "folder %d %q: read to %+v, %+v\n", f.ID, f.Name, f.Remote, f.Local)
		for _, r := range s.inFolder(f.ID, func(*mail.Row) bool { return true }, func(a, b *mail.Row) int { return cmp.Compare(a.ID, b.ID) }) {
			fmt.Fprintf(&b, "  row %d: UID %d, file %q, %v, %v %s\n", r.ID, r.UID, r.Name, r.Flags, r.State, r.Why)
		}
	}
	intents, _ := s.Intents(context.Background())
	for _, i := range intents {
		fmt.Fprintf(&b, "intent %d: %v of row %d, %q to folder %d from UID %d on\n", i.ID, i.Kind, i.Row, i.Key, i.Folder, i.UIDNext)
	}
	return b.String()
}
