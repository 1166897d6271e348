package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"
	"strings"
)

// Digest is the SHA-256 of a whole message in canonical bytes. The zero value
// means that it is not known.
type Digest [sha256.Size]byte

// Fingerprint is a hash of the Message-ID, or, of a message that has none, of the
// unfolded header fields that FingerprintFields names: what a server tells about a
// whole folder for a hundred bytes a message. Equal fingerprints make candidates, not
// equals. The zero value means that it is not known.
type Fingerprint [16]byte

// FingerprintFields are the header fields that a Fingerprint is made of, in its
// order. Where the first one is there, it is made of that alone.
var FingerprintFields = []string{"Message-ID", "Date", "From", "To", "Subject"}

// Identity is what makes a message that message, on whichever side it stands.
type Identity struct {
	Size   int64 // octets of the canonical form, as RFC822.SIZE counts them
	Digest Digest
	// Bare and BareSize are what Digest and Size would be without the fields that mail
	// programs add to their own copies (Content-Length and the like); zero where it has
	// none of them. See Content.
	Bare        Digest
	BareSize    int64
	Fingerprint Fingerprint
	// Header is a hash of the whole header. Base does not keep it: it is computed where a
	// message that moved or was copied is to be known without its body.
	Header    Fingerprint
	MessageID string // as the header has it, with its angle brackets; "" where there is none
}

// Content is the digest of what does not depend on which program has copied the message.
func (id Identity) Content() Digest {
	if id.Bare != (Digest{}) {
		return id.Bare
	}
	return id.Digest
}

// String gives the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// maxHeader bounds what is kept of a header while its end is not found. Fields
// beyond it do not count; the worst that follows is a body fetched once more.
const maxHeader = 256 << 10

// maxMessageID is the longest Message-ID kept: one line of RFC 5322, 2.1.1.
const maxMessageID = 998

// Measure takes the bytes of a message, with the line ends of a file or of the
// wire, in pieces of any size, and tells its Identity. The zero value is ready.
type Measure struct {
	whole  hashing
	bare   *hashing // without the added fields; nil where there are none
	raw    int      // octets that were taken
	header []byte   // as they came, up to the empty line
	ended  bool     // the header's end was found, or it grew beyond maxHeader
}

// hashing hashes canonical bytes: each LF without a CR before it counts as CRLF.
type hashing struct {
	hash hash.Hash
	size int64
	cr   bool // the last byte was CR
}

func newHashing() hashing { return hashing{hash: sha256.New()} }

func (c *hashing) write(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			c.put(p)
			c.cr = p[len(p)-1] == '\r'
			break
		}
		c.put(p[:i])
		if i > 0 {
			c.cr = p[i-1] == '\r'
		}
		if c.cr {
			c.put(p[i : i+1])
		} else {
			c.put(crlf)
		}
		c.cr = false
		p = p[i+1:]
	}
}

var crlf = []byte("\r\n")

func (c *hashing) put(p []byte) {
	c.hash.Write(p)
	c.size += int64(len(p))
}

func (c *hashing) sum() (d Digest) {
	c.hash.Sum(d[:0])
	return d
}

// headerPiece is how much is looked at while the header's end is looked for. Most headers
// are shorter, and what is looked at is kept.
const headerPiece = 4 << 10

// Write takes the next bytes. It never fails.
func (m *Measure) Write(p []byte) (int, error) {
	n := len(p)
	for !m.ended && len(p) > headerPiece {
		m.take(p[:headerPiece])
		p = p[headerPiece:]
	}
	m.take(p)
	return n, nil
}

func (m *Measure) take(p []byte) {
	if m.whole.hash == nil {
		m.whole = newHashing()
	}
	m.whole.write(p)
	rest := p
	if !m.ended {
		rest = m.keepHeader(p)
	}
	if m.bare != nil {
		m.bare.write(rest)
	}
	m.raw += len(p)
}

// keepHeader looks for the end of the header. Where that is found, it begins to hash the
// message without the added fields, if it has any, and gives what of p belongs to the
// body.
func (m *Measure) keepHeader(p []byte) (body []byte) {
	from := max(0, len(m.header)-3)
	m.header = append(m.header, p[:min(len(p), maxHeader-len(m.header))]...)
	switch i := endOfHeader(m.header[from:]); {
	case i >= 0:
		i += from
		blank := 1
		if m.header[i] == '\r' {
			blank = 2
		}
		body = p[i+blank-m.raw:]
		m.header = m.header[:i]
	case bytes.HasPrefix(m.header, []byte("\n")), bytes.HasPrefix(m.header, crlf):
		m.header = nil
	case len(m.header) == maxHeader:
	default:
		return nil
	}
	m.ended = true
	if kept, added := withoutAdded(m.header); added && len(m.header) < maxHeader {
		m.bare = new(newHashing())
		m.bare.write(kept)
		m.bare.write(crlf)
	}
	return body
}

// endOfHeader finds the empty line that ends a header, and gives the length of
// what stands before it, or -1.
func endOfHeader(p []byte) int {
	end := -1
	for _, sep := range []string{"\n\n", "\n\r\n"} {
		if i := bytes.Index(p, []byte(sep)); i >= 0 && (end < 0 || i+1 < end) {
			end = i + 1
		}
	}
	return end
}

// addedFields are those that programs write into their own copies of a message: mutt the
// first ones when it saves one, mbsync and OfflineIMAP the last ones when they fetch or
// append one.
var addedFields = []string{"Content-Length", "Lines", "Status", "X-Status", "X-TUID", "X-OfflineIMAP"}

// mayBeAdded tells whether a header has any of those fields. Nearly none has, and it is asked
// of each message: a look at the beginnings of its lines is all that takes.
func mayBeAdded(header []byte) bool {
	for line := header; len(line) > 0; {
		switch line[0] {
		case 'C', 'L', 'S', 'X':
			if slices.ContainsFunc(addedFields, func(f string) bool { return len(line) > len(f) && line[len(f)] == ':' && string(line[:len(f)]) == f }) {
				return true
			}
		}
		end := bytes.IndexByte(line, '\n')
		if end < 0 {
			return false
		}
		line = line[end+1:]
	}
	return false
}

// withoutAdded gives a header without those fields, and tells whether it had any.
func withoutAdded(header []byte) (kept []byte, added bool) {
	if !mayBeAdded(header) {
		return header, false
	}
	drop := false
	for line := range bytes.Lines(header) {
		if line[0] != ' ' && line[0] != '\t' {
			name, _, ok := bytes.Cut(line, []byte(":"))
			drop = ok && slices.Contains(addedFields, string(name))
		}
		if !drop {
			kept = append(kept, line...)
		}
		added = added || drop
	}
	return kept, added
}

// Identity tells what was written so far.
func (m *Measure) Identity() Identity {
	id := m.IdentityInBase()
	id.Header = HeaderOf(m.header)
	return id
}

// IdentityInBase is Identity without the Header, which base does not keep: where nothing else
// is wanted, as for each message that is downloaded, it need not be computed.
func (m *Measure) IdentityInBase() Identity {
	if m.whole.hash == nil {
		m.whole = newHashing()
	}
	id := Identity{Size: m.whole.size, Digest: m.whole.sum()}
	if m.bare != nil {
		id.Bare, id.BareSize = m.bare.sum(), m.bare.size
	}
	id.Fingerprint, id.MessageID = FingerprintOf(m.header)
	return id
}

// HeaderOf hashes a whole header without the added fields. It may have either line end,
// end with the empty line or before it, and be longer than what is kept of it.
func HeaderOf(header []byte) Fingerprint {
	header, _ = withoutAdded(header[:min(len(header), maxHeader)])
	h := sha256.New()
	for line := range bytes.Lines(header) {
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		if len(line) == 0 {
			break
		}
		h.Write(line)
		h.Write(crlf)
	}
	var fp Fingerprint
	copy(fp[:], h.Sum(nil))
	return fp
}

// fingerprintField gives the field of that name, as FingerprintFields has it; "" if it has
// none.
func fingerprintField(name []byte) string {
	for _, f := range FingerprintFields {
		if len(name) == len(f) && strings.EqualFold(string(name), f) {
			return f
		}
	}
	return ""
}

// FingerprintOf computes the fingerprint of a header, and reads its Message-ID.
// The header may be whole, or hold the FingerprintFields only, or their first one only
// where that is not empty; in any order, with either line end.
func FingerprintOf(header []byte) (Fingerprint, string) {
	values := make(map[string][]string, len(FingerprintFields))
	name, value := "", ""
	end := func() {
		if name != "" {
			values[name] = append(values[name], strings.Join(strings.Fields(value), " "))
		}
		name = ""
	}
	for line := range bytes.Lines(header) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if name != "" {
				value += " " + string(line)
			}
			continue
		}
		end()
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			continue
		}
		if f := fingerprintField(bytes.TrimRight(line[:colon], " \t")); f != "" {
			name, value = f, string(line[colon+1:])
		}
	}
	end()
	fields := FingerprintFields
	if slices.ContainsFunc(values[fields[0]], func(v string) bool { return v != "" }) {
		fields = fields[:1]
	}
	h := sha256.New()
	for _, f := range fields {
		for _, v := range values[f] {
			h.Write([]byte(f + ":" + v + "\n"))
		}
	}
	var fp Fingerprint
	copy(fp[:], h.Sum(nil))
	id := ""
	if ids := values["Message-ID"]; len(ids) > 0 && len(ids[0]) <= maxMessageID {
		id = strings.Clone(ids[0]) // or it would keep the whole header
	}
	return fp, id
}
