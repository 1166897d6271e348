package sync

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// checkMarkers looks at the marker of each folder that will be scanned on either side, or
// may be worked on, which tells whether the Maildir, or the state, was restored from a
// backup. Once the run has put its own marker into place nothing tells any more.
func (r *run) checkMarkers(ctx context.Context) error {
	folders := r.usable(func(f *folder) bool {
		return (f.localDirty || f.remoteDirty || len(r.unsettled[f.base.ID]) > 0) && f.onLocal && !f.marked && !f.met
	})
	return r.each(ctx, folders, r.Connections, func(ctx context.Context, f *folder) error {
		marker, err := r.Local.Marker(ctx, f.name)
		if err != nil || marker == (mail.Marker{}) && f.base.Marker != (mail.Marker{}) {
			// If it is no folder at all, the scan tells better what is wrong with it.
			if _, scanErr := r.Local.Scan(ctx, f.name, f.letters); scanErr != nil {
				return scanErr
			}
		}
		if err != nil && f.base.Marker == (mail.Marker{}) {
			return nil // it was not needed so far
		} else if err != nil {
			return err
		}
		f.met = true
		if loss := conflict.Loss(f.base.Lost); loss != conflict.NoLoss {
			r.lose(f, loss) // a run that was interrupted has found it
		}
		base := f.base.Marker
		if f.base.Local == (mail.Stamp{}) && f.base.Remote.Unread() {
			// It was never in step. A folder that somebody renamed brings its marker along; but
			// not into a base that knows no folder at all. One that base knows was met by a run
			// that was interrupted, and what that has brought here need not be here any more.
			if f.known && conflict.LossByMarker(base, marker) != conflict.NoLoss {
				r.forget(f, conflict.StateLost)
			} else if r.blank && marker != (mail.Marker{}) {
				r.lose(f, conflict.StateLost)
			}
			f.base.Marker = marker
			return nil
		}
		if loss := conflict.LossByMarker(base, marker); loss != conflict.NoLoss {
			r.forget(f, loss)
			f.base.Marker = marker
			return nil
		}
		f.outrun = base != (mail.Marker{}) && marker != base
		return nil
	})
}

// A folder that was restored from a backup, and has got new mail since, has other
// messages under the UIDs that it had given out between the two. So the newest messages
// that base knows are looked at in each scan: up to maxProbes of those among the
// probeSpan highest UIDs, and all that a run has recorded which did not come to its end.
const (
	maxProbes = 3
	probeSpan = 8
)

// probe are the newest messages of a folder that base knows, in ascending order.
type probe struct {
	rows    []mail.Row
	doubted mail.UIDSet // their size or their date is another one
	other   bool        // both are, of one of them
}

// probe finds the newest messages that base knows of a folder that was read up to next, but for
// those that are about to leave it.
func (r *run) probe(ctx context.Context, f *folder, next mail.UID, leaving mail.UIDSet) (*probe, error) {
	if f.base.ID == 0 {
		return &probe{}, nil
	}
	if next == 0 {
		// It was never read to its end, or the server does not tell.
		known, err := r.State.UIDs(ctx, f.base.ID)
		if err != nil {
			return nil, fmt.Errorf("read the state: %w", err)
		}
		if len(known) == 0 {
			return &probe{}, nil
		}
		next = known[len(known)-1].Last
	}
	rows, err := r.rowsFrom(ctx, f, max(next, probeSpan+1)-probeSpan)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(row mail.Row) bool { return leaving.Has(row.UID) })
	beyond, _ := slices.BinarySearchFunc(rows, next, func(row mail.Row, uid mail.UID) int { return cmp.Compare(row.UID, uid) })
	return &probe{rows: rows[min(beyond, max(0, len(rows)-maxProbes)):]}, nil
}

// rowsFrom gives the rows of a folder whose UIDs are not below that one.
func (r *run) rowsFrom(ctx context.Context, f *folder, first mail.UID) ([]mail.Row, error) {
	var uids mail.UIDSet
	uids.AddRange(mail.UIDRange{First: first, Last: math.MaxUint32})
	rows, err := r.State.WithUIDs(ctx, f.base.ID, uids)
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	return rows, nil
}

func (p *probe) uids() (uids mail.UIDSet) {
	for _, row := range p.rows {
		uids.Add(row.UID)
	}
	return uids
}

// see compares what the scan tells of a message with base. A server that rewrites mail
// may also change its mind about sizes and dates.
func (p *probe) see(m mail.Message) {
	for _, row := range p.rows {
		if row.UID != m.UID || m.Size == 0 || row.Fingerprint == (mail.Fingerprint{}) {
			continue
		}
		size, date := m.Size != row.ServerSize(), m.Date.Unix() != row.Date.Unix()
		if size || date {
			p.doubted.Add(m.UID)
		}
		p.other = p.other || size && date
	}
}

// lossThere tells whether the folder on the server is the one that base knows.
func (r *run) lossThere(ctx context.Context, f *folder, view mail.View, p *probe) (conflict.Loss, error) {
	since := f.base.Remote
	if len(p.rows) > 0 {
		since.UIDNext = max(since.UIDNext, p.rows[len(p.rows)-1].UID+1)
	}
	if loss := conflict.LossByCursor(since, view.Cursor); loss != conflict.NoLoss || len(p.doubted) == 0 && !p.other {
		return loss, nil
	}
	if p.other {
		return conflict.ServerOld, nil
	}
	found, err := r.Remote.Identify(ctx, f.name, view.Cursor.UIDValidity, p.doubted, mail.Fingerprints)
	if err != nil {
		return conflict.NoLoss, err
	}
	for _, id := range found {
		for _, row := range p.rows {
			other := row.Fingerprint != id.Identity.Fingerprint
			if row.RemoteSize != 0 { // it has other headers there than here
				other = row.MessageID != id.Identity.MessageID
			}
			if row.UID == id.UID && other {
				return conflict.ServerOld, nil
			}
		}
	}
	return conflict.NoLoss, nil
}

// lose notes what became of a folder, for pairing and for the report.
func (r *run) lose(f *folder, loss conflict.Loss) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.loss, f.base.Lost = loss, uint8(loss)
	if loss == conflict.NoLoss {
		return
	}
	r.Log.Info("pairing again", "account", r.Account, "folder", string(f.name), "why", loss.String())
	if r.losses == nil {
		r.losses = map[conflict.Loss][]mail.Folder{}
	}
	if !slices.Contains(r.losses[loss], f.name) {
		r.losses[loss] = append(r.losses[loss], f.name)
	}
}

// forget leaves all that base knows of a folder's messages out of account, since one of its
// sides is not what base was made from. Then both are read from the start, and what is equal
// is tied again: nothing is removed by inference from the loss.
func (r *run) forget(f *folder, loss conflict.Loss) {
	old := f.base
	if f.forgotten == nil {
		f.forgotten = &old
	}
	f.base = mail.FolderBase{Name: old.Name, Role: old.Role, OnLocal: old.OnLocal, OnRemote: old.OnRemote, Letters: old.Letters, Marker: old.Marker, Synced: old.Synced}
	r.lose(f, loss)
	r.mu.Lock()
	delete(r.unsettled, old.ID)
	r.mu.Unlock()
	f.localDirty, f.remoteDirty, f.messages = true, true, 0
}

// dropForgotten drops what was forgotten from base, of the folders whose files were read. Of
// the others it is all that tells which messages have left them meanwhile: see pairCopies.
func (r *run) dropForgotten(ctx context.Context) error {
	batch := &mail.Batch{}
	for _, f := range r.allFolders() {
		old := f.forgotten
		switch {
		case old == nil:
			continue
		case f.failed != nil:
			f.base = *old
			continue
		case old.ID != 0:
			if err := r.rememberCopies(ctx, f, old.ID); err != nil {
				return err
			}
			batch.DropFolders = append(batch.DropFolders, old.ID)
		}
		batch.PutFolders = append(batch.PutFolders, &f.base)
		f.forgotten = nil
	}
	return r.commit(ctx, batch)
}

// rememberCopies notes which files of Trash are copies of messages that somebody has removed on
// the server since. The server's messages follow where the files are; but these were not thrown
// away, and what is equal to such a file is not what that was before.
func (r *run) rememberCopies(ctx context.Context, f *folder, old mail.FolderID) error {
	if side, known := f.loss.Follows(); !known || side != mail.Remote || !r.world().Discards(f.name) {
		return nil
	}
	f.copies = map[mail.Key]bool{}
	for row, err := range r.State.RowsByKey(ctx, old, "") {
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		if row.CopyOf == 0 {
			continue
		}
		alike, err := r.State.Alike(ctx, row.Fingerprint)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		if !slices.ContainsFunc(alike, func(first mail.Row) bool { return first.ID == row.CopyOf }) {
			f.copies[row.Key] = true
		}
	}
	return nil
}

// settleReplaced records that what a copy was made of is gone, and the copy is where it went. By
// then it is none any more.
func (r *run) settleReplaced(ctx context.Context) error {
	batch := &mail.Batch{}
	for _, gone := range r.replaced {
		rows, err := r.State.Alike(ctx, gone.Fingerprint)
		if err != nil {
			return fmt.Errorf("read the state: %w", err)
		}
		for _, row := range rows {
			if row.CopyOf == gone.ID {
				row.CopyOf = 0
				batch.PutRows = append(batch.PutRows, &row)
			}
		}
	}
	r.replaced = nil
	return r.commit(ctx, batch)
}

// tellLosses says in one line what was lost and what was done about it, however many
// folders it was.
func (r *run) tellLosses() []mail.Notice {
	var causes []string
	if r.Lost != "" {
		// That base is new explains all that it does not know.
		causes = append(causes, r.Lost)
		delete(r.losses, conflict.StateLost)
	}
	folder := mail.Folder("")
	for _, loss := range slices.Sorted(maps.Keys(r.losses)) {
		folders := r.losses[loss]
		slices.Sort(folders)
		if len(r.losses) == 1 && len(folders) == 1 && len(causes) == 0 {
			folder = folders[0]
			causes = append(causes, loss.String())
			continue
		}
		causes = append(causes, fmt.Sprintf("%s (%s)", loss, list(folders)))
	}
	if len(causes) == 0 {
		return nil
	}
	return []mail.Notice{{Folder: folder, Text: strings.Join(causes, ", and ") +
		"; both sides were paired again, and nothing was removed because of it"}}
}

// list names folders, if they are not too many.
func list(folders []mail.Folder) string {
	const most = 3
	var names []string
	for _, f := range folders[:min(len(folders), most)] {
		names = append(names, string(f))
	}
	if more := len(folders) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), more)
	}
	return strings.Join(names, ", ")
}
