package imaptest

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-message/textproto"

	"mailtwin/conflict/mail"
)

func (s *session) Fetch(w *imapserver.FetchWriter, set imap.NumSet, opts *imap.FetchOptions) error {
	s.account.mu.Lock()
	v, err := s.selected(false)
	if err != nil {
		s.account.mu.Unlock()
		return err
	}
	picked := v.pick(set)
	// Reading a body marks the message, unless it is peeked at (RFC 9051, 6.4.5).
	reads := slices.ContainsFunc(opts.BodySection, func(b *imap.FetchItemBodySection) bool { return !b.Peek })
	if reads && !v.readOnly {
		for _, i := range picked {
			if e := &v.known[i]; !e.expunged && !e.flags.Has(mail.Seen) {
				s.account.reflag(v.folder, e.message, e.flags.With(mail.Flags{System: mail.Seen}))
			}
		}
	}
	s.account.mu.Unlock()
	return s.fetch(w, picked, opts)
}

// fetch writes what the client asked to know of the messages at these indexes. The
// lock is not held while it writes; only the session itself changes its view.
func (s *session) fetch(w *imapserver.FetchWriter, picked []int, opts *imap.FetchOptions) error {
	for _, i := range picked {
		s.account.mu.Lock()
		v, err := s.selected(false)
		if err != nil {
			s.account.mu.Unlock()
			return err
		}
		e := v.known[i]
		flags := imapFlags(e.flags)
		if opts.Flags {
			v.known[i].told = e.version
		}
		s.account.mu.Unlock()
		if err := e.write(w.CreateMessage(uint32(i)+1), flags, opts, s.server.opts.SizeError); err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
	}
	return nil
}

func (m *message) write(w *imapserver.FetchResponseWriter, flags []imap.Flag, opts *imap.FetchOptions, sizeError int64) error {
	if opts.UID {
		w.WriteUID(m.uid)
	}
	if opts.Flags {
		w.WriteFlags(flags)
	}
	if opts.InternalDate {
		w.WriteInternalDate(m.date)
	}
	if opts.RFC822Size {
		w.WriteRFC822Size(int64(len(m.raw)) + sizeError)
	}
	if opts.Envelope {
		w.WriteEnvelope(m.envelope())
	}
	if opts.BodyStructure != nil {
		w.WriteBodyStructure(imapserver.ExtractBodyStructure(bytes.NewReader(m.raw)))
	}
	for _, section := range opts.BodySection {
		text := m.section(section)
		lit := w.WriteBodySection(section, int64(len(text)))
		_, err := lit.Write(text)
		if cerr := lit.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			w.Close() // releases the connection; the error that counts is the first
			return err
		}
	}
	return w.Close()
}

// section gives part of a message. The library's ExtractBodySection takes the
// message apart and writes it anew, and gives nothing at all for a message whose
// header is odd; so all that is not inside a MIME part is cut from the bytes.
func (m *message) section(s *imap.FetchItemBodySection) []byte {
	if len(s.Part) > 0 {
		return imapserver.ExtractBodySection(bytes.NewReader(m.raw), s)
	}
	header, body := split(m.raw)
	text := m.raw
	switch s.Specifier {
	case imap.PartSpecifierHeader:
		switch {
		case len(s.HeaderFields) > 0:
			text = fields(header, s.HeaderFields, true)
		case len(s.HeaderFieldsNot) > 0:
			text = fields(header, s.HeaderFieldsNot, false)
		default:
			text = header
		}
	case imap.PartSpecifierText:
		text = body
	}
	if p := s.Partial; p != nil {
		from := min(max(p.Offset, 0), int64(len(text)))
		to := min(from+max(p.Size, 0), int64(len(text)))
		text = text[from:to]
	}
	return text
}

// split parts a message after the empty line that ends its header.
func split(raw []byte) (header, body []byte) {
	rest := raw
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		rest = after
		if len(bytes.TrimSuffix(line, []byte("\r"))) == 0 {
			break
		}
	}
	return raw[:len(raw)-len(rest)], rest
}

// fields gives the header's fields that have, or have not, one of the names, with
// the empty line that always ends them (RFC 9051, 6.4.5.1).
func fields(header []byte, names []string, with bool) []byte {
	var out []byte
	keep := false
	for line := range bytes.Lines(header) {
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		if line[0] != ' ' && line[0] != '\t' {
			name, _, _ := strings.Cut(string(line), ":")
			name = strings.TrimSpace(name)
			keep = with == slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
		}
		if keep {
			out = append(out, line...)
		}
	}
	return append(out, "\r\n"...)
}

// envelope gives what is in the header; an odd one makes an empty envelope.
func (m *message) envelope() *imap.Envelope {
	h, err := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(m.raw)))
	if err != nil {
		return &imap.Envelope{}
	}
	return imapserver.ExtractEnvelope(h)
}

// Search serves SEARCH and ESEARCH.
func (s *session) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, _ *imap.SearchOptions) (*imap.SearchData, error) {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	v, err := s.selected(false)
	if err != nil {
		return nil, err
	}
	data := &imap.SearchData{}
	var seqs imap.SeqSet
	var uids imap.UIDSet
	for i, e := range v.known {
		if e.expunged || !v.matches(i, criteria) {
			continue
		}
		n := uint32(i) + 1
		if kind == imapserver.NumKindUID {
			n = uint32(e.uid)
		}
		seqs.AddNum(uint32(i) + 1)
		uids.AddNum(e.uid)
		if data.Count == 0 {
			data.Min = n
		}
		data.Max = n
		data.Count++
	}
	data.All = imap.NumSet(seqs)
	if kind == imapserver.NumKindUID {
		data.All = uids
	}
	return data, nil
}

// matches tells whether the message at index i is one that a search is for.
func (v *view) matches(i int, c *imap.SearchCriteria) bool {
	m := v.known[i]
	for _, set := range c.SeqNum {
		if !v.named(set)(i) {
			return false
		}
	}
	for _, set := range c.UID {
		if !v.named(set)(i) {
			return false
		}
	}
	size := int64(len(m.raw))
	if c.Larger != 0 && size <= c.Larger || c.Smaller != 0 && size >= c.Smaller {
		return false
	}
	day := m.date.Format("2006-01-02") // time and zone do not count (RFC 9051, 6.4.4)
	if !c.Since.IsZero() && day < c.Since.Format("2006-01-02") || !c.Before.IsZero() && day >= c.Before.Format("2006-01-02") {
		return false
	}
	for _, f := range c.Flag {
		if !m.has(f) {
			return false
		}
	}
	for _, f := range c.NotFlag {
		if m.has(f) {
			return false
		}
	}
	header, body := split(m.raw)
	for _, h := range c.Header {
		if text := fields(header, []string{h.Key}, true); len(text) <= 2 || !holds(text, h.Value) {
			return false
		}
	}
	for _, t := range c.Body {
		if !holds(body, t) {
			return false
		}
	}
	for _, t := range c.Text {
		if !holds(m.raw, t) {
			return false
		}
	}
	for k := range c.Not {
		if v.matches(i, &c.Not[k]) {
			return false
		}
	}
	for k := range c.Or {
		if !v.matches(i, &c.Or[k][0]) && !v.matches(i, &c.Or[k][1]) {
			return false
		}
	}
	return true
}

func holds(text []byte, part string) bool {
	return bytes.Contains(bytes.ToLower(text), bytes.ToLower([]byte(part)))
}

// has tells whether a flag is set; one that no client can set, like \Recent, is not.
func (m *message) has(f imap.Flag) bool {
	flag := mail.ParseFlags([]string{string(f)})
	return !flag.Empty() && m.flags.Common(flag).Equal(flag)
}
