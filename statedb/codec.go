package statedb

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"mailtwin/conflict/mail"
)

// Columns of a row, an intent and a folder, in the order of their values.
const (
	rowColumns = "id, folder, uid, key, system, keywords, state, gone, why, tries, retry_at, " +
		"size, digest, bare, bare_size, fingerprint, message_id, remote_size, remote_digest, email_id, date, name, new, dev, inode, file_size, mtime, copy_of, " +
		"pushed_system, pushed_keywords, pushed_at"
	knownColumns  = "id, key, system, keywords, name, new, inode"
	intentColumns = "id, kind, row, folder, key, size, digest, fingerprint, message_id, uidvalidity, uidnext, created"
	folderColumns = "id, name, mailbox_id, role, uidvalidity, uidnext, modseq, messages, " +
		"stamp_folder, stamp_cur, stamp_new, stamp_dev, stamp_inode, marker_account, marker_folder, marker_generation, " +
		"letters, on_local, on_remote, read_only, settable_system, settable_keywords, new_keywords, settings, " +
		"verified, synced, problem, lost"
	decisionColumns = "at, folder, message_id, uid, key, what, why"
)

func rowValues(r *mail.Row) []any {
	return []any{int64(r.ID), int64(r.Folder), uidOrNull(r.UID), keyOrNull(r.Key),
		int64(r.Flags.System), blob(r.Flags.Keywords),
		int64(r.State), int64(r.Gone), blob(r.Why), int64(r.Tries), unix(r.RetryAt),
		r.Size, digest(r.Digest), digest(r.Bare), r.BareSize, fingerprint(r.Fingerprint), blob(r.MessageID),
		r.RemoteSize, digest(r.RemoteDigest), blob(r.EmailID), unix(r.Date), packName(r.Key, r.Name), truth(r.New),
		int64(r.Stat.Dev), int64(r.Stat.Inode), r.Stat.Size, r.Stat.ModTime, int64(r.CopyOf),
		int64(r.Pushed.System), blob(r.Pushed.Keywords), unix(r.PushedAt)}
}

func readRow(v *values) mail.Row {
	var r mail.Row
	r.ID = mail.RowID(v.int())
	r.Folder = mail.FolderID(v.int())
	r.UID = mail.UID(v.uint(math.MaxUint32))
	r.Key = mail.Key(v.bytes())
	r.Flags.System = mail.System(v.uint(math.MaxUint8))
	r.Flags.Keywords = mail.Keywords(v.bytes())
	r.State = mail.State(v.uint(uint64(mail.Parted)))
	r.Gone = mail.Side(v.uint(1))
	r.Why = string(v.bytes())
	r.Tries = int(v.int())
	r.RetryAt = v.time()
	r.Size = v.int()
	v.fill(r.Digest[:])
	v.fill(r.Bare[:])
	r.BareSize = v.int()
	v.fill(r.Fingerprint[:])
	r.MessageID = string(v.bytes())
	r.RemoteSize = v.int()
	v.fill(r.RemoteDigest[:])
	r.EmailID = string(v.bytes())
	r.Date = v.time()
	r.Name = v.name(r.Key)
	r.New = v.int() != 0
	r.Stat.Dev = uint64(v.int())
	r.Stat.Inode = uint64(v.int())
	r.Stat.Size = v.int()
	r.Stat.ModTime = v.int()
	r.CopyOf = mail.RowID(v.int())
	r.Pushed.System = mail.System(v.uint(math.MaxUint8))
	r.Pushed.Keywords = mail.Keywords(v.bytes())
	r.PushedAt = v.time()
	return r
}

func readKnown(v *values) mail.Known {
	var k mail.Known
	k.ID = mail.RowID(v.int())
	k.Key = mail.Key(v.bytes())
	k.Flags.System = mail.System(v.uint(math.MaxUint8))
	k.Flags.Keywords = mail.Keywords(v.bytes())
	k.Name = v.name(k.Key)
	k.New = v.int() != 0
	k.Inode = uint64(v.int())
	return k
}

func intentValues(i *mail.Intent) []any {
	return []any{int64(i.ID), int64(i.Kind), int64(i.Row), int64(i.Folder), blob(i.Key),
		i.Identity.Size, digest(i.Identity.Digest), fingerprint(i.Identity.Fingerprint), blob(i.Identity.MessageID),
		int64(i.UIDValidity), int64(i.UIDNext), unix(i.Created)}
}

func readIntent(v *values) mail.Intent {
	var i mail.Intent
	i.ID = mail.IntentID(v.int())
	i.Kind = mail.IntentKind(v.uint(uint64(mail.Copied)))
	i.Row = mail.RowID(v.int())
	i.Folder = mail.FolderID(v.int())
	i.Key = mail.Key(v.bytes())
	i.Identity.Size = v.int()
	v.fill(i.Identity.Digest[:])
	v.fill(i.Identity.Fingerprint[:])
	i.Identity.MessageID = string(v.bytes())
	i.UIDValidity = uint32(v.uint(math.MaxUint32))
	i.UIDNext = mail.UID(v.uint(math.MaxUint32))
	i.Created = v.time()
	return i
}

func folderValues(f *mail.FolderBase) []any {
	return []any{int64(f.ID), blob(f.Name), blob(f.MailboxID), blob(f.Role),
		int64(f.Remote.UIDValidity), int64(f.Remote.UIDNext), int64(f.Remote.HighestModSeq), int64(f.Remote.Messages),
		f.Local.Folder, f.Local.Cur, f.Local.New, int64(f.Local.Dev), int64(f.Local.Inode),
		blob(f.Marker.Account), blob(f.Marker.Folder), f.Marker.Generation,
		packLetters(&f.Letters), truth(f.OnLocal), truth(f.OnRemote),
		truth(f.Access.ReadOnly), int64(f.Access.Settable.System), blob(f.Access.Settable.Keywords), truth(f.Access.NewKeywords),
		blob(f.Settings), unix(f.Verified), unix(f.Synced), blob(f.Problem), int64(f.Lost)}
}

func readFolder(v *values) mail.FolderBase {
	var f mail.FolderBase
	f.ID = mail.FolderID(v.int())
	f.Name = mail.Folder(v.bytes())
	f.MailboxID = string(v.bytes())
	f.Role = mail.Role(v.bytes())
	f.Remote.UIDValidity = uint32(v.uint(math.MaxUint32))
	f.Remote.UIDNext = mail.UID(v.uint(math.MaxUint32))
	f.Remote.HighestModSeq = uint64(v.int())
	f.Remote.Messages = uint32(v.uint(math.MaxUint32))
	f.Local = mail.Stamp{Folder: v.int(), Cur: v.int(), New: v.int(), Dev: uint64(v.int()), Inode: uint64(v.int())}
	f.Marker = mail.Marker{Account: string(v.bytes()), Folder: string(v.bytes()), Generation: v.int()}
	f.Letters = v.letters()
	f.OnLocal = v.int() != 0
	f.OnRemote = v.int() != 0
	f.Access.ReadOnly = v.int() != 0
	f.Access.Settable.System = mail.System(v.uint(math.MaxUint8))
	f.Access.Settable.Keywords = mail.Keywords(v.bytes())
	f.Access.NewKeywords = v.int() != 0
	f.Settings = string(v.bytes())
	f.Verified = v.time()
	f.Synced = v.time()
	f.Problem = string(v.bytes())
	f.Lost = uint8(v.uint(math.MaxUint8))
	return f
}

func decisionValues(d *mail.Decision) []any {
	return []any{unix(d.At), blob(d.Folder), blob(d.MessageID), int64(d.UID), blob(d.Key), blob(d.What), blob(d.Why)}
}

func readDecision(v *values) mail.Decision {
	return mail.Decision{At: v.time(), Folder: mail.Folder(v.bytes()), MessageID: string(v.bytes()),
		UID: mail.UID(v.uint(math.MaxUint32)), Key: mail.Key(v.bytes()), What: string(v.bytes()), Why: string(v.bytes())}
}

// blob gives the bytes of s, and never nil, which SQLite would take for NULL.
func blob[S ~string](s S) []byte { return append([]byte{}, s...) }

func digest(d mail.Digest) []byte {
	if d == (mail.Digest{}) {
		return []byte{}
	}
	return d[:]
}

func fingerprint(f mail.Fingerprint) []byte {
	if f == (mail.Fingerprint{}) {
		return []byte{}
	}
	return f[:]
}

func uidOrNull(u mail.UID) any {
	if u == 0 {
		return nil
	}
	return int64(u)
}

func keyOrNull(k mail.Key) any {
	if k == "" {
		return nil
	}
	return []byte(k)
}

// unix keeps the zero time apart from the seconds that a clock or a header can show.
func unix(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Unix()
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// A file's name begins with its key, which is long and stands in the row already, so
// only the rest is stored, after a "+". A name that is not like that comes whole,
// after a "=". The empty name is empty.
func packName(key mail.Key, name string) []byte {
	if rest, ok := strings.CutPrefix(name, string(key)); ok && key != "" {
		return append([]byte{'+'}, rest...)
	}
	if name == "" {
		return []byte{}
	}
	return append([]byte{'='}, name...)
}

// packLetters writes the keywords up to the last one that is there, each with its
// length before it as a varint.
func packLetters(letters *mail.Letters) []byte {
	n := len(letters)
	for n > 0 && letters[n-1] == "" {
		n--
	}
	out := []byte{}
	for _, word := range letters[:n] {
		out = binary.AppendUvarint(out, uint64(len(word)))
		out = append(out, word...)
	}
	return out
}

// values are the columns of one result row, taken one after another in the order of
// the query. What does not fit is remembered as the first error, and read as zero.
type values struct {
	raw  []any
	next int
	err  error
	into []any
}

func newValues(rows *sql.Rows) (*values, error) {
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	// Scanning into *any is the one way that does without reflection.
	v := &values{raw: make([]any, len(columns)), into: make([]any, len(columns))}
	for i := range v.raw {
		v.into[i] = &v.raw[i]
	}
	return v, nil
}

// scan takes the next result row.
func (v *values) scan(rows *sql.Rows) error {
	v.next, v.err = 0, nil
	return rows.Scan(v.into...)
}

func (v *values) bad(what string) {
	if v.err == nil {
		v.err = fmt.Errorf("%w: column %d holds no %s", ErrCorrupt, v.next, what)
	}
}

// int reads an INTEGER; NULL is 0.
func (v *values) int() int64 {
	x := v.raw[v.next]
	v.next++
	i, ok := x.(int64)
	if !ok && x != nil {
		v.bad("integer")
	}
	return i
}

// uint reads an INTEGER from 0 to limit; NULL is 0.
func (v *values) uint(limit uint64) uint64 {
	i := v.int()
	if i < 0 || uint64(i) > limit {
		v.bad("number within its range")
		return 0
	}
	return uint64(i)
}

// bytes reads a BLOB; NULL is empty.
func (v *values) bytes() []byte {
	x := v.raw[v.next]
	v.next++
	b, ok := x.([]byte)
	if !ok && x != nil {
		v.bad("blob")
	}
	return b
}

// fill reads a BLOB that is either empty or as long as into.
func (v *values) fill(into []byte) {
	switch b := v.bytes(); len(b) {
	case 0:
	case len(into):
		copy(into, b)
	default:
		v.bad("hash")
	}
}

// time reads seconds since 1970; NULL is the zero time.
func (v *values) time() time.Time {
	if v.raw[v.next] == nil {
		v.next++
		return time.Time{}
	}
	return time.Unix(v.int(), 0).UTC()
}

func (v *values) name(key mail.Key) string {
	b := v.bytes()
	switch {
	case len(b) == 0:
		return ""
	case b[0] == '+':
		return string(key) + string(b[1:])
	case b[0] == '=':
		return string(b[1:])
	}
	v.bad("file name")
	return ""
}

func (v *values) letters() mail.Letters {
	letters, ok := unpackLetters(v.bytes())
	if !ok {
		v.bad("list of keywords")
	}
	return letters
}

func unpackLetters(b []byte) (letters mail.Letters, ok bool) {
	r := bytes.NewReader(b)
	for i := 0; r.Len() > 0; i++ {
		n, err := binary.ReadUvarint(r)
		if err != nil || i == len(letters) || n > uint64(r.Len()) {
			return mail.Letters{}, false
		}
		at := len(b) - r.Len()
		letters[i] = string(b[at : at+int(n)])
		r.Seek(int64(n), 1) // cannot fail: n is within the bytes
	}
	return letters, true
}
