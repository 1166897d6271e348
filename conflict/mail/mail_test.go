package mail

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestFlagsAreReadAsIMAPSpellsThem(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  Flags
	}{
		{nil, Flags{}},
		{[]string{`\Seen`, `\FLAGGED`}, Flags{System: Seen | Flagged}},
		{[]string{`$forwarded`, `\Recent`, `\Junk`}, Flags{System: Forwarded}},
		{[]string{"work", "$Junk", "Work", ""}, Flags{Keywords: "$Junk work"}},
	} {
		if got := ParseFlags(c.names); got != c.want {
			t.Errorf("ParseFlags(%q) = %+v, want %+v", c.names, got, c.want)
		}
		if again := ParseFlags(c.want.Names()); again != c.want {
			t.Errorf("ParseFlags(Names(%+v)) = %+v", c.want, again)
		}
	}
}

func TestKeywordsAreComparedWithoutCase(t *testing.T) {
	a, b := NewKeywords("Work", "later"), NewKeywords("LATER", "work")
	if !a.Equal(b) {
		t.Errorf("%q and %q are not equal", a, b)
	}
	if got := a.Without(NewKeywords("WORK")); got != "later" {
		t.Errorf("without WORK: %q", got)
	}
	if got := a.With(b); got != a {
		t.Errorf("with its equal: %q, want the first spelling %q", got, a)
	}
}

func TestFolderNames(t *testing.T) {
	for want, parts := range map[Folder][]string{
		"INBOX":         {"inbox"},
		"INBOX/sub":     {"Inbox", "sub"},
		"Lists/inbox":   {"Lists", "inbox"},
		"Entwürfe":      {"Entwürfe"},
		"inboxes/other": {"inboxes", "other"},
		// "/" and control characters in a part are spelled,
		"AC%2FDC/live":   {"AC/DC", "live"},
		"line%0Abreak":   {"line\nbreak"},
		"bell%07%7F":     {"bell\a\x7f"},
		"c1%C2%85":       {"c1\u0085"},
		"INBOX/%2F":      {"inbox", "/"},
		"100% of 50%20x": {"100% of 50%20x"}, // and no other "%" means anything,
		"AC%252FDC":      {"AC%2FDC"},        // but where it would.
		"AC%25252FDC":    {"AC%252FDC"},
		"AC%2fDC":        {"AC%2fDC"},
	} {
		if got := NewFolder(parts...); got != want {
			t.Errorf("NewFolder(%q) = %q, want %q", parts, got, want)
		}
		if strings.EqualFold(parts[0], "inbox") {
			parts[0] = "INBOX"
		}
		if got := want.Parts(); !slices.Equal(got, parts) {
			t.Errorf("parts of %q: %q, want %q", want, got, parts)
		}
	}
	if p := Folder("a/b/c").Parent(); p != "a/b" {
		t.Errorf("parent of a/b/c: %q", p)
	}
	if p := Folder("a").Parent(); p != "" {
		t.Errorf("parent of a: %q", p)
	}
}

// Names and lists of parts are one to one, and a name is always fit to be printed.
func TestFolderNamesAreReversible(t *testing.T) {
	part := rapid.OneOf(rapid.String(), rapid.Custom(func(t *rapid.T) string {
		bits := rapid.SampledFrom([]string{"%", "25", "2F", "C2", "85", "0A", "/", "\n", "\u0085", "\xc2", "\x85", "2", "5", "F", "x"})
		return strings.Join(rapid.SliceOfN(bits, 0, 10).Draw(t, "bits"), "")
	}))
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(part, 1, 4).Draw(t, "parts")
		if strings.EqualFold(parts[0], "inbox") {
			parts[0] = "INBOX"
		}
		name := NewFolder(parts...)
		if got := name.Parts(); !slices.Equal(got, parts) {
			t.Fatalf("the parts of %q are %q, want %q", name, got, parts)
		}
		if strings.ContainsFunc(string(name), unicode.IsControl) {
			t.Fatalf("%q has control characters", name)
		}
		// Any text is a name, and its own canonical spelling if it is clean.
		text := strings.Join(parts, "/")
		if got := ParseFolder(text); !strings.ContainsFunc(text, unicode.IsControl) && got != Folder(text) {
			t.Fatalf("ParseFolder(%q) = %q", text, got)
		}
	})
}

// A UIDSet behaves as a set of numbers, however it was filled.
func TestUIDSetIsASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		uid := rapid.OneOf(rapid.Uint32Range(1, 40), rapid.Uint32Range(1<<32-20, 1<<32-1))
		draw := func(name string) (UIDSet, map[UID]bool) {
			var s UIDSet
			model := map[UID]bool{}
			for _, first := range rapid.SliceOfN(uid, 0, 12).Draw(t, name) {
				last := min(uint64(first)+uint64(rapid.IntRange(0, 3).Draw(t, "more")), 1<<32-1)
				s.AddRange(UIDRange{UID(last), UID(first)})
				for u := uint64(first); u <= last; u++ {
					model[UID(u)] = true
				}
			}
			return s, model
		}
		a, inA := draw("a")
		b, inB := draw("b")
		check := func(name string, s UIDSet, want func(UID) bool) {
			n := 0
			for u := range s.All() {
				if !want(u) {
					t.Fatalf("%s: %v has %d", name, s, u)
				}
				n++
			}
			for u := range inA {
				if want(u) != s.Has(u) {
					t.Fatalf("%s: Has(%d) = %v in %v", name, u, s.Has(u), s)
				}
			}
			if n != s.Len() {
				t.Fatalf("%s: Len %d, but %d in %v", name, s.Len(), n, s)
			}
			for i := 1; i < len(s); i++ {
				if uint64(s[i-1].Last)+1 >= uint64(s[i].First) {
					t.Fatalf("%s: ranges touch in %v", name, s)
				}
			}
		}
		check("a", a, func(u UID) bool { return inA[u] })
		check("a without b", a.Without(b), func(u UID) bool { return inA[u] && !inB[u] })
		octets := rapid.IntRange(1, 60).Draw(t, "octets")
		var joined UIDSet
		for _, part := range a.Split(octets) {
			if len(part) > 1 && len(part.String()) > octets {
				t.Fatalf("part %q is longer than %d", part, octets)
			}
			for _, r := range part {
				joined.AddRange(r)
			}
		}
		if !slices.Equal(joined, a) {
			t.Fatalf("split and joined: %v, want %v", joined, a)
		}
	})
}

// canonical is the plain, slow form of what Measure and ToWire do in a stream.
func canonical(p []byte) []byte {
	var out []byte
	for i, c := range p {
		if c == '\n' && (i == 0 || p[i-1] != '\r') {
			out = append(out, '\r')
		}
		out = append(out, c)
	}
	return out
}

func pieces(t *rapid.T, p []byte, write func([]byte) (int, error)) {
	for len(p) > 0 {
		n := rapid.IntRange(1, len(p)).Draw(t, "piece")
		if m, err := write(p[:n]); m != n || err != nil {
			t.Fatalf("Write gave %d, %v", m, err)
		}
		p = p[n:]
	}
}

var mailBytes = rapid.Custom(func(t *rapid.T) []byte {
	return []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(
		[]string{"\r", "\n", "\r\n", "a", "From: x", "Message-ID: <a@b>", "\x00", "\xff", " ", ":"}), 0, 20).Draw(t, "parts"), ""))
})

// A message has the same identity with the line ends of a file and of the wire, in
// whatever pieces it comes.
func TestIdentityDoesNotDependOnLineEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := mailBytes.Draw(t, "raw")
		var asFile, asWire Measure
		pieces(t, raw, asFile.Write)
		pieces(t, canonical(raw), asWire.Write)
		a, b := asFile.Identity(), asWire.Identity()
		if a != b {
			t.Fatalf("identities differ: %+v, %+v", a, b)
		}
		if a.Size != int64(len(canonical(raw))) || a.Digest != sha256.Sum256(canonical(raw)) {
			t.Fatalf("size %d, digest %v are not those of the canonical form", a.Size, a.Digest)
		}
	})
}

// What comes in as wire bytes goes out as the same wire bytes, if each LF of it has
// its CR; a file that was made on the wire's side is exact.
func TestLineEndsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wire := canonical(mailBytes.Draw(t, "raw"))
		var file, back bytes.Buffer
		in := &ToFile{W: &file}
		pieces(t, wire, in.Write)
		if err := in.Flush(); err != nil {
			t.Fatal(err)
		}
		out := &ToWire{W: &back}
		pieces(t, file.Bytes(), out.Write)
		// CR CR LF is the one sequence that the file's form cannot give back: it becomes
		// CR LF, which means itself. So a file's identity is measured on the file.
		if !bytes.Contains(wire, []byte("\r\r\n")) && !bytes.Equal(back.Bytes(), wire) {
			t.Fatalf("wire %q, file %q, back %q", wire, file.Bytes(), back.Bytes())
		}
	})
}

func TestLineEndsExamples(t *testing.T) {
	for _, c := range []struct{ wire, file string }{
		{"a\r\nb\r\n", "a\nb\n"},
		{"lone\rcr\r\n", "lone\rcr\n"},
		{"ends in cr\r", "ends in cr\r"},
		{"no end", "no end"},
		{"", ""},
	} {
		var file, wire bytes.Buffer
		in := &ToFile{W: &file}
		in.Write([]byte(c.wire))
		in.Flush()
		out := &ToWire{W: &wire}
		out.Write([]byte(c.file))
		if file.String() != c.file || wire.String() != c.wire {
			t.Errorf("%q became %q; %q became %q", c.wire, file.String(), c.file, wire.String())
		}
	}
}

func TestFingerprint(t *testing.T) {
	header := "Received: from a\r\n\tby b\r\nDATE: Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: A <a@b>\r\n" +
		"To: c@d\r\nSubject: a long\r\n  subject\r\nMessage-Id:\r\n <x@y>\r\n"
	subset := "Message-ID: <x@y>\nSubject: a long subject\nTo: c@d\nFrom: A <a@b>\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\n"
	whole, id := FingerprintOf([]byte(header))
	part, partID := FingerprintOf([]byte(subset))
	if whole != part || id != "<x@y>" || partID != id {
		t.Errorf("fingerprints %x and %x, Message-IDs %q and %q", whole, part, id, partID)
	}
	if named, _ := FingerprintOf([]byte("Message-ID: <x@y>\n\n")); named != whole {
		t.Error("the Message-ID is not all that counts")
	}
	if other, _ := FingerprintOf([]byte(strings.Replace(header, "x@y", "z@y", 1))); other == whole {
		t.Error("another Message-ID, the same fingerprint")
	}
	for _, id := range []string{"X-ID: <x@y>", "Message-ID:  "} {
		unnamed := strings.Replace(subset, "Message-ID: <x@y>", id, 1)
		one, _ := FingerprintOf([]byte(unnamed))
		other, _ := FingerprintOf([]byte(strings.Replace(unnamed, "long", "short", 1)))
		if one == other || one == whole {
			t.Errorf("%q: another subject, the same fingerprint", id)
		}
	}
	var m Measure
	m.Write([]byte(header + "\r\nSubject: in the body\r\n"))
	if got := m.Identity(); got.Fingerprint != whole || got.MessageID != "<x@y>" {
		t.Errorf("measured: %x %q", got.Fingerprint, got.MessageID)
	}
}

// The header is bounded in memory, and its end is found across pieces.
func TestMeasureKeepsABoundedHeader(t *testing.T) {
	var m Measure
	line := []byte("X-Long: " + strings.Repeat("x", 1000) + "\r\n")
	for range 1000 {
		m.Write(line)
	}
	if len(m.header) > maxHeader {
		t.Errorf("keeps %d octets of a header without end", len(m.header))
	}
	var split Measure
	for _, c := range []byte("Message-ID: <a@b>\r\n\r\nbody: x\r\n") {
		split.Write([]byte{c})
	}
	if string(split.header) != "Message-ID: <a@b>\r\n" {
		t.Errorf("header is %q", split.header)
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add([]byte("Subject: x\r\n y\r\n\r\n"))
	f.Add([]byte(": \n\x00\n\n"))
	f.Fuzz(func(t *testing.T, header []byte) {
		if _, id := FingerprintOf(header); len(id) > maxMessageID {
			t.Errorf("Message-ID of %d octets", len(id))
		}
	})
}

// What mail programs write into their own copies does not make another message, wherever
// in the header it stands and in whatever pieces it comes; anything else does.
func TestAddedFieldsAreNoContent(t *testing.T) {
	const plain = "From: a\nSubject: b\n\n\nStatus: in the body\n\nmore\r\nlines\r"
	measure := func(text string, write func(m *Measure, text string)) Identity {
		var m Measure
		write(&m, text)
		return m.Identity()
	}
	whole := func(m *Measure, text string) { m.Write([]byte(text)) }
	single := func(m *Measure, text string) {
		for i := range len(text) {
			m.Write([]byte{text[i]})
		}
	}
	original := measure(plain, whole)
	if original.Bare != (Digest{}) || original.BareSize != 0 || original.Content() != original.Digest {
		t.Errorf("a message without added fields: %+v", original)
	}
	for text, same := range map[string]bool{
		"Content-Length: 12\n" + plain:                                                  true,
		"From: a\nSubject: b\nContent-Length: 12\nLines: 3\n" + plain[19:]:              true,
		"From: a\r\nX-TUID: xyz\r\n folded\r\nSubject: b\r\n\r\n" + plain[20:]:          true,
		"From: a\nStatus: RO\nX-Status: A\nSubject: b\n" + plain[19:]:                   true,
		"From: a\nstatus: RO\nSubject: b\n" + plain[19:]:                                false,
		"From: a\nSubject: b\nX-Content-Length: 12\n" + plain[19:]:                      false,
		"From: a\nSubject: b\n folded\nContent-Length: 12\n" + plain[19:]:               false,
		"From: a\nSubject: b\nContent-Length: 12\n" + plain[19:len(plain)-1] + "more\n": false,
	} {
		one, pieces := measure(text, whole), measure(text, single)
		if one != pieces {
			t.Errorf("%q: in one piece %+v, in many %+v", text, one, pieces)
		}
		if (one.Content() == original.Digest) != same {
			t.Errorf("%q: the same content: %v, want %v", text, !same, same)
		}
		if same && (one.BareSize != original.Size || one.Header != original.Header || one.Digest == original.Digest) {
			t.Errorf("%q: %+v, of %+v", text, one, original)
		}
	}
}
