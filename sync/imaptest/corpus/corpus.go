// Package corpus makes sample mail: a small account that a person likes to look at
// (Demo), and accounts of any size for tests and benchmarks (Bulk), the same ones
// for the same seed. Nobody's mail is in it: all names and hosts are made up, under
// the domains that RFC 2606 keeps free for examples.
//
// Only tests, the demo and docs/bench import this package.
package corpus

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"mime"
	"strings"
	"time"

	"mailtwin/conflict/mail"
)

// Sample is a message with its place. Raw is as the wire has it: lines end with CRLF.
type Sample struct {
	Folder mail.Folder
	Flags  mail.Flags
	Date   time.Time // INTERNALDATE, to the second
	Raw    []byte
}

// Kind is what a message looks like.
type Kind int

// The kinds of messages.
const (
	Plain      Kind = iota // text in US-ASCII
	HTML                   // multipart/alternative, text and HTML
	Attachment             // multipart/mixed, text and a file in base64
	Foreign                // names and subject by RFC 2047, text in quoted-printable
	EightBit               // text in UTF-8, 8bit
	Latin                  // text in ISO 8859-1, 8bit: no valid UTF-8
	Reply                  // In-Reply-To and References to earlier messages
	List                   // with the fields of a mailing list
	NoID                   // without Message-ID, as drafts and scanners send it
	kinds
)

// Generator makes messages, always the same ones for the same seed and calls.
type Generator struct {
	rng    *rand.Rand
	serial int
	recent []letter // that a reply may answer
}

type letter struct{ id, subject, refs string }

// New gives a generator.
func New(seed uint64) *Generator { return &Generator{rng: rand.New(rand.NewPCG(seed, 0x6d61696c))} }

// Message makes a message of about size octets, and never less than what its header
// and a line of text need. A header is 3 kB in the median, as real mail has it.
func (g *Generator) Message(kind Kind, date time.Time, size int) []byte {
	g.serial++
	from, to := pick(g, people), pick(g, people)
	subject := g.phrase(3 + g.rng.IntN(5))
	id := fmt.Sprintf("<%08x.%d@%s>", g.rng.Uint32(), g.serial, pick(g, hosts))
	refs := ""
	if kind == Foreign {
		from, subject = pick(g, foreigners), pick(g, foreign)+" "+subject
	}
	if kind == Reply && len(g.recent) > 0 {
		parent := pick(g, g.recent)
		subject = "Re: " + strings.TrimPrefix(parent.subject, "Re: ")
		refs = strings.TrimSpace(parent.refs + " " + parent.id)
	}

	h := &header{}
	g.trace(h, to, date)
	h.add("From", address(from))
	h.add("To", address(to))
	h.add("Subject", encode(subject))
	h.add("Date", date.Format(time.RFC1123Z))
	if kind != NoID {
		h.add("Message-ID", id)
	}
	if refs != "" {
		all := strings.Fields(refs)
		h.add("In-Reply-To", all[len(all)-1])
		h.add("References", strings.Join(all[max(0, len(all)-10):], "\r\n "))
	}
	if kind == List {
		h.list("talk", pick(g, hosts))
	}
	if kind != NoID {
		g.recent = append(g.recent, letter{id, subject, refs})
		g.recent = g.recent[max(0, len(g.recent)-50):]
	}
	h.add("MIME-Version", "1.0")
	return g.body(h, kind, max(size-h.Len(), 40))
}

// body adds the text, of about size octets.
func (g *Generator) body(h *header, kind Kind, size int) []byte {
	boundary := fmt.Sprintf("=_%016x", g.rng.Uint64())
	switch kind {
	case HTML:
		text := g.text(size / 3)
		h.add("Content-Type", `multipart/alternative; boundary="`+boundary+`"`)
		h.end()
		h.part(boundary, "text/plain; charset=utf-8", "7bit", text)
		h.part(boundary, "text/html; charset=utf-8", "7bit",
			"<html><body>\r\n<p>"+strings.ReplaceAll(g.text(size*2/3), "\r\n\r\n", "</p>\r\n<p>")+"</p>\r\n</body></html>\r\n")
		h.close(boundary)
	case Attachment:
		text := g.text(min(size/10, 2000))
		data := make([]byte, max(size-len(text), 60)*57/78)
		for i := 0; i+8 <= len(data); i += 8 {
			binary.LittleEndian.PutUint64(data[i:], g.rng.Uint64())
		}
		h.add("Content-Type", `multipart/mixed; boundary="`+boundary+`"`)
		h.end()
		h.part(boundary, "text/plain; charset=us-ascii", "7bit", text)
		h.part(boundary, `application/octet-stream; name="scan.bin"`, "base64", wrapBase64(data))
		h.close(boundary)
	case Foreign:
		h.add("Content-Type", "text/plain; charset=utf-8")
		h.add("Content-Transfer-Encoding", "quoted-printable")
		h.end()
		h.WriteString("Gr=C3=BC=C3=9Fe =E2=80=94\r\n" + g.text(size))
	case EightBit:
		h.add("Content-Type", "text/plain; charset=utf-8")
		h.add("Content-Transfer-Encoding", "8bit")
		h.end()
		h.WriteString("Zürich, Kraków, 東京\r\n" + g.text(size))
	case Latin:
		h.add("Content-Type", "text/plain; charset=iso-8859-1")
		h.add("Content-Transfer-Encoding", "8bit")
		h.end()
		h.WriteString("Z\xfcrich, \xe0 bient\xf4t\r\n" + g.text(size))
	default:
		h.add("Content-Type", "text/plain; charset=us-ascii")
		h.end()
		h.WriteString(g.text(size))
	}
	return []byte(h.String())
}

// trace adds what servers put on top of a message on its way.
func (g *Generator) trace(h *header, to person, date time.Time) {
	h.add("Return-Path", "<bounces@"+pick(g, hosts)+">")
	h.add("Delivered-To", to.mail)
	for i := range 4 + g.rng.IntN(5) {
		h.add("Received", fmt.Sprintf("from %s (%s [192.0.2.%d])\r\n\tby mx%d.example.net (Postfix) with ESMTPS id %010X\r\n\tfor <%s>; %s",
			pick(g, hosts), pick(g, hosts), g.rng.IntN(255), i, g.rng.Uint64()>>24, to.mail, date.Add(-time.Duration(i)*time.Second).Format(time.RFC1123Z)))
	}
	for i := range 1 + g.rng.IntN(2) {
		h.add("DKIM-Signature", fmt.Sprintf("v=1; a=rsa-sha256; c=relaxed/relaxed; d=%s;\r\n\ts=key%d; t=%d; h=from:to:subject:date:message-id;\r\n\tbh=%s;\r\n\tb=%s",
			pick(g, hosts), i, date.Unix(), g.noise(44), strings.Join([]string{g.noise(64), g.noise(72), g.noise(72), g.noise(72), g.noise(62)}, "\r\n\t")))
	}
	h.add("ARC-Seal", "i=1; a=rsa-sha256; cv=none; d=example.net; s=arc;\r\n\tb="+strings.Join([]string{g.noise(70), g.noise(72), g.noise(72), g.noise(72)}, "\r\n\t"))
	h.add("Authentication-Results", "mx.example.net;\r\n\tdkim=pass header.i=@example.org;\r\n\tspf=pass smtp.mailfrom=example.org;\r\n\tdmarc=pass (p=QUARANTINE) header.from=example.org")
	h.add("X-Spam-Status", "No, score=-2.1 required=5.0 tests=DKIM_SIGNED,DKIM_VALID,\r\n\tDKIM_VALID_AU,RCVD_IN_DNSWL_NONE,SPF_HELO_NONE,SPF_PASS autolearn=ham")
}

// noise gives n characters that look like base64.
func (g *Generator) noise(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	b := make([]byte, n)
	var bits uint64
	for i := range b {
		if i%10 == 0 {
			bits = g.rng.Uint64()
		}
		b[i] = alphabet[bits&63]
		bits >>= 6
	}
	return string(b)
}

func (g *Generator) phrase(n int) string {
	words := make([]string, n)
	for i := range words {
		words[i] = pick(g, vocabulary)
	}
	return strings.Join(words, " ")
}

// text gives about size octets of lines and paragraphs.
func (g *Generator) text(size int) string {
	var b strings.Builder
	for b.Len() < size {
		for range 6 + g.rng.IntN(6) {
			b.WriteString(pick(g, vocabulary))
			b.WriteByte(' ')
		}
		b.WriteString("regards\r\n")
		if g.rng.IntN(6) == 0 {
			b.WriteString("\r\n")
		}
	}
	return b.String()
}

func pick[T any](g *Generator, from []T) T { return from[g.rng.IntN(len(from))] }

// Bulk yields an account of n messages in so many folders, of bytes octets in all,
// made as it is asked for. It has INBOX, and among its folders nested ones and names
// with spaces, ampersands and letters beyond ASCII. Sizes scatter around the mean;
// all kinds come up, a message in 499 has no Message-ID, and one in 997 has a twin,
// the same to the last byte, in the same folder. Dates go back from 2024-06-01.
func Bulk(seed uint64, n, folders int, bytes int64) iter.Seq[Sample] {
	return func(yield func(Sample) bool) {
		g := New(seed)
		last := time.Date(2024, 6, 1, 12, 0, 0, 0, time.UTC)
		mean := int(bytes / int64(max(n, 1)))
		var before *Sample
		for i := range n {
			if i%997 == 996 && before != nil {
				if !yield(*before) {
					return
				}
				continue
			}
			kind := bulkKinds[g.rng.IntN(len(bulkKinds))]
			if i%499 == 498 {
				kind = NoID
			}
			date := last.Add(-time.Duration(n-i) * 17 * time.Minute)
			size := mean/2 + g.rng.IntN(max(mean, 1))
			s := Sample{
				Folder: FolderName(i % max(folders, 1)), Date: date,
				Flags: bulkFlags[g.rng.IntN(len(bulkFlags))], Raw: g.Message(kind, date, size),
			}
			before = &s
			if !yield(s) {
				return
			}
		}
	}
}

// FolderName gives the name of Bulk's folder number i, from 0 up; 0 is INBOX.
func FolderName(i int) mail.Folder {
	if i < len(folderNames) {
		return folderNames[i]
	}
	return mail.NewFolder("Projects", fmt.Sprintf("%04d", i))
}

// header builds a message from its top.
type header struct{ strings.Builder }

func (h *header) add(name, value string) { h.WriteString(name + ": " + value + "\r\n") }
func (h *header) end()                   { h.WriteString("\r\n") }

func (h *header) list(name, host string) {
	h.add("List-Id", fmt.Sprintf("%s <%s.%s>", name, name, host))
	h.add("List-Post", fmt.Sprintf("<mailto:%s@%s>", name, host))
	h.add("List-Unsubscribe", fmt.Sprintf("<https://%s/%s/leave>", host, name))
	h.add("Precedence", "list")
}

func (h *header) part(boundary, contentType, encoding, text string) {
	h.WriteString("--" + boundary + "\r\n")
	h.add("Content-Type", contentType)
	h.add("Content-Transfer-Encoding", encoding)
	if strings.HasPrefix(contentType, "application/") {
		_, name, _ := strings.Cut(contentType, "name=")
		h.add("Content-Disposition", "attachment; filename="+name)
	}
	h.end()
	h.WriteString(text + "\r\n")
}

func (h *header) close(boundary string) { h.WriteString("--" + boundary + "--\r\n") }

func encode(text string) string { return mime.QEncoding.Encode("utf-8", text) }

func address(p person) string { return encode(p.name) + " <" + p.mail + ">" }

func wrapBase64(data []byte) string {
	text := base64.StdEncoding.EncodeToString(data)
	var b strings.Builder
	for len(text) > 0 {
		n := min(76, len(text))
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	return b.String()
}
