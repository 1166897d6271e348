package maildir

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"time"

	"mailtwin/conflict/mail"
)

// A message that did not come whole stays in tmp/, where no reader looks, under a name that
// says all that there is to know of it, so that no record of it can be lost or be wrong. The
// name has a digest of the content, too: what a loss of power has torn, or somebody has
// changed, is not gone on with. Nothing needs to be durable for that.

// partName matches what nameOfPart makes. How many octets came cannot be told from the file,
// whose lines end with LF whatever the wire had.
var partName = regexp.MustCompile(`^part\.V([0-9]+)\.U([0-9]+)\.D(-?[0-9]+)\.S([0-9]+)\.O([0-9]+)\.T([0-9a-f]*)\.F([0-9a-f]{32})\.H[0-9a-f]{32}$`)

func nameOfPart(p mail.Part, digest []byte) string {
	return fmt.Sprintf("part.V%d.U%d.D%d.S%d.O%d.T%x.F%x.H%x", p.Validity, p.UID, p.Date.Unix(), p.Size, p.Octets, p.Tail, p.Header, digest[:16])
}

// partOf reads a name.
func partOf(name string) (mail.Part, bool) {
	m := partName.FindStringSubmatch(name)
	if m == nil {
		return mail.Part{}, false
	}
	validity, err1 := strconv.ParseUint(m[1], 10, 32)
	uid, err2 := strconv.ParseUint(m[2], 10, 32)
	date, err3 := strconv.ParseInt(m[3], 10, 64)
	size, err4 := strconv.ParseInt(m[4], 10, 64)
	octets, err5 := strconv.ParseInt(m[5], 10, 64)
	tail, err6 := hex.DecodeString(m[6])
	header, err7 := hex.DecodeString(m[7])
	p := mail.Part{Validity: uint32(validity), UID: mail.UID(uid), Date: time.Unix(date, 0).UTC(), Size: size, Octets: octets, Tail: tail}
	copy(p.Header[:], header)
	sound := len(tail) <= mail.TailOctets && int64(len(tail)) <= octets && 0 < octets && octets < size
	return p, errors.Join(err1, err2, err3, err4, err5, err6, err7) == nil && sound
}

// Parts is Local.Parts.
func (t *Tree) Parts(ctx context.Context, folder mail.Folder) (parts []mail.Part, err error) {
	defer explain(&err, "look for parts of messages in", folder)
	err = t.eachPart(folder, func(p mail.Part, _ string) { parts = append(parts, p) })
	slices.SortFunc(parts, func(a, b mail.Part) int { return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(b.Octets, a.Octets)) })
	return parts, err
}

// eachPart tells of the parts in a folder's tmp/, and of their names.
func (t *Tree) eachPart(folder mail.Folder, each func(p mail.Part, name string)) error {
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	err = t.fs.ReadDir(path.Join(dir, "tmp"), func(e Entry) {
		if p, ok := partOf(e.Name); ok && e.Type == 0 {
			each(p, e.Name)
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // then it holds nothing
	}
	return err
}

// Resume is Local.Resume. It copies what was kept, which stays until the message is whole: a
// process that is killed meanwhile has lost no more than what it fetched.
func (t *Tree) Resume(ctx context.Context, folder mail.Folder, part mail.Part) (in mail.Incoming, err error) {
	defer explain(&err, fmt.Sprintf("go on with message %d in", part.UID), folder)
	kept := ""
	err = t.eachPart(folder, func(p mail.Part, name string) {
		if p.Date.Equal(part.Date) && bytes.Equal(p.Tail, part.Tail) && p.Header == part.Header &&
			p.Validity == part.Validity && p.UID == part.UID && p.Size == part.Size && p.Octets == part.Octets {
			kept = name
		}
	})
	if err != nil {
		return nil, err
	}
	if kept == "" {
		return nil, fmt.Errorf("%w: nothing of it is there", mail.ErrGone)
	}
	in, err = t.Create(ctx, folder, part.Date)
	if err != nil {
		return nil, err
	}
	m := in.(*incoming)
	m.part = path.Join(m.dir, kept)
	digest, err := t.copyPart(m.buf, m.part)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: it has been removed", mail.ErrGone)
	case err == nil && nameOfPart(part, digest) != kept:
		err = fmt.Errorf("%w: what was kept of it is damaged", mail.ErrGone)
	}
	if err != nil {
		m.Discard()
		return nil, err
	}
	m.octets = part.Octets
	m.tail.add(part.Tail)
	return m, nil
}

// copyPart copies a file, as it is, and gives its digest.
func (t *Tree) copyPart(to io.Writer, name string) (digest []byte, err error) {
	f, err := t.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(h, to), f)
	return h.Sum(nil), err
}

// tail are the last octets that came, one more than is needed, since the last one may be held
// back.
type tail struct {
	b [mail.TailOctets + 1]byte
	n int
}

func (t *tail) add(p []byte) {
	p = p[max(0, len(p)-len(t.b)):]
	stay := min(t.n, len(t.b)-len(p))
	copy(t.b[:], t.b[t.n-stay:t.n])
	copy(t.b[stay:], p)
	t.n = stay + len(p)
}

// before gives at most so many as are needed of those before the last held ones.
func (t *tail) before(held int) []byte {
	end := t.n - held
	return t.b[max(0, end-mail.TailOctets):end]
}

func (m *incoming) Keep(part mail.Part) (err error) {
	defer explainFile(&err, "keep what has come of", m.folder, string(m.key))
	if m.file == nil {
		return errors.New("it was finished or discarded before")
	}
	defer func() {
		if err != nil {
			m.Discard()
		}
	}()
	held := m.lines.Held()
	part.Date, part.Octets, part.Tail = m.date, m.octets-int64(held), m.tail.before(held)
	err = m.failed
	if err == nil {
		err = m.buf.Flush()
	}
	if err = errors.Join(err, m.close()); err != nil {
		return err
	}
	part.Header = m.measure.Identity().Header
	digest, err := m.t.copyPart(io.Discard, m.name)
	if err != nil {
		return err
	}
	kept := nameOfPart(part, digest)
	if _, sound := partOf(kept); !sound {
		return fmt.Errorf("%d octets of %d are nothing to go on with", part.Octets, part.Size)
	}
	kept = path.Join(m.dir, kept)
	if err := m.t.fs.Replace(m.name, kept); err != nil {
		return err
	}
	if m.part != kept {
		m.endPart()
	}
	return nil
}

// endPart removes what the message was resumed from.
func (m *incoming) endPart() {
	if m.part == "" {
		return
	}
	// What cannot be removed now, Sweep will.
	if err := m.t.fs.Unlink(m.part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.t.opts.Log.Warn("part of a message stays in tmp", "folder", string(m.folder), "error", err)
	}
	m.part = ""
}
