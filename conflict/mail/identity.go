package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strings"
)

// Digest is the SHA-256 of a whole message in canonical bytes. The zero value
// means that it is not known.
type Digest [sha256.Size]byte

// Fingerprint is a hash of the header fields that FingerprintFields names,
// unfolded: what a server tells about a whole folder for a few hundred bytes a
// message. Equal fingerprints make candidates, not equals. The zero value means
// that it is not known.
type Fingerprint [16]byte

// FingerprintFields are the header fields that a Fingerprint is made of, in its
// order.
var FingerprintFields = []string{"Message-ID", "Date", "From", "To", "Subject"}

// Identity is what makes a message that message, on whichever side it stands.
type Identity struct {
	Size        int64 // octets of the canonical form, as RFC822.SIZE counts them
	Digest      Digest
	Fingerprint Fingerprint
	// Header is a hash of the whole header. Base does not keep it: it is computed where a
	// message that moved or was copied is to be known without its body.
	Header    Fingerprint
	MessageID string // as the header has it, with its angle brackets; "" where there is none
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
	hash   hash.Hash
	size   int64
	cr     bool // the last byte was CR
	header []byte
	ended  bool // the header's end was found, or it grew beyond maxHeader
}

// Write takes the next bytes. It never fails.
func (m *Measure) Write(p []byte) (int, error) {
	if m.hash == nil {
		m.hash = sha256.New()
	}
	n := len(p)
	if !m.ended {
		m.keepHeader(p)
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			m.put(p)
			m.cr = p[len(p)-1] == '\r'
			break
		}
		m.put(p[:i])
		if i > 0 {
			m.cr = p[i-1] == '\r'
		}
		if m.cr {
			m.put(p[i : i+1])
		} else {
			m.put(crlf)
		}
		m.cr = false
		p = p[i+1:]
	}
	return n, nil
}

var crlf = []byte("\r\n")

func (m *Measure) put(p []byte) {
	m.hash.Write(p)
	m.size += int64(len(p))
}

func (m *Measure) keepHeader(p []byte) {
	from := max(0, len(m.header)-3)
	m.header = append(m.header, p[:min(len(p), maxHeader-len(m.header))]...)
	if i := endOfHeader(m.header[from:]); i >= 0 {
		m.header, m.ended = m.header[:from+i], true
	} else if bytes.HasPrefix(m.header, []byte("\n")) || bytes.HasPrefix(m.header, crlf) {
		m.header, m.ended = nil, true
	} else if len(m.header) == maxHeader {
		m.ended = true
	}
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

// Identity tells what was written so far.
func (m *Measure) Identity() Identity {
	if m.hash == nil {
		m.hash = sha256.New()
	}
	id := Identity{Size: m.size}
	m.hash.Sum(id.Digest[:0])
	id.Fingerprint, id.MessageID = FingerprintOf(m.header)
	id.Header = HeaderOf(m.header)
	return id
}

// HeaderOf hashes a whole header, which may have either line end, end with the empty
// line or before it, and be longer than what is kept of it.
func HeaderOf(header []byte) Fingerprint {
	h := sha256.New()
	for line := range bytes.Lines(header[:min(len(header), maxHeader)]) {
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

// FingerprintOf computes the fingerprint of a header, and reads its Message-ID.
// The header may be whole or hold the FingerprintFields only, in any order, with
// either line end.
func FingerprintOf(header []byte) (Fingerprint, string) {
	values := make(map[string][]string, len(FingerprintFields))
	name, value := "", ""
	end := func() {
		if name != "" {
			values[name] = append(values[name], strings.Join(strings.Fields(value), " "))
		}
		name = ""
	}
	for line := range strings.Lines(string(header)) {
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			value += " " + line
			continue
		}
		end()
		n, v, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		for _, f := range FingerprintFields {
			if strings.EqualFold(strings.TrimRight(n, " \t"), f) {
				name, value = f, v
			}
		}
	}
	end()
	h := sha256.New()
	for _, f := range FingerprintFields {
		for _, v := range values[f] {
			h.Write([]byte(f + ":" + v + "\n"))
		}
	}
	var fp Fingerprint
	copy(fp[:], h.Sum(nil))
	id := ""
	if ids := values["Message-ID"]; len(ids) > 0 && len(ids[0]) <= maxMessageID {
		id = ids[0]
	}
	return fp, id
}
