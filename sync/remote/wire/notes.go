package wire

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mailtwin/conflict/mail"
)

// Notes is what was observed that the client does not tell.
type Notes struct {
	Alerts       []string // text of [ALERT], which a person MUST see (RFC 9051, 7.1); cleaned, at most 16
	Bye          string   // text of an untagged BYE, cleaned; Take does not forget it
	ReadOnly     bool     // [READ-ONLY]
	NoModSeq     bool     // [NOMODSEQ] of RFC 7162
	UIDNotSticky bool     // [UIDNOTSTICKY] of RFC 4315
	// PermanentFlags are those of the last [PERMANENTFLAGS (...)], which may be none,
	// and may have `\*` among them. nil: there was no such code, and then all flags are
	// permanent (RFC 9051, 7.1).
	PermanentFlags *[]string
	MessageLimit   bool        // [MESSAGELIMIT ...] of RFC 9738: only some messages were looked at
	Modified       mail.UIDSet // [MODIFIED ...] of RFC 7162
	CopyUID        []UIDPair   // [COPYUID ...] in the order of the server; at most 65536
	HighestModSeq  uint64      // the last [HIGHESTMODSEQ n]; 0: none
	MailboxID      string      // the last [MAILBOXID (id)] of RFC 8474
	Dropped        []string    // what was dropped or repaired, and why; shortened, cleaned, at most 32
}

// leave forgets what is about the selected folder, but for where messages went that have left
// it.
func (n *Notes) leave() {
	*n = Notes{Alerts: n.Alerts, Bye: n.Bye, Dropped: n.Dropped, CopyUID: n.CopyUID}
}

// UIDPair tells which UID a copied or moved message had, and which it has in the other
// folder.
type UIDPair struct{ From, To mail.UID }

const (
	maxAlerts   = 16
	maxDropped  = 32
	maxPairs    = 1 << 16
	maxFlags    = 1 << 10
	maxObjectID = 255 // octets (RFC 8474, 7)
	maxText     = 500 // octets of an alert or BYE
	maxShown    = 200 // octets of a line that is dropped or traced
)

// observe takes in a status response as the server sent it. The caller holds mu.
func (c *Conn) observe(r *response) {
	n := &c.notes
	at := r.code()
	text := clean(trimEOL(r.b[at.text:]), maxText)
	if r.kind == untagged {
		switch r.word {
		case "OK", "PREAUTH":
			c.talk.greeted = true
		case "BYE":
			c.talk.greeted = true
			if n.Bye = text; text == "" {
				n.Bye = "(no reason given)"
			}
		}
	}
	if at.open < 0 || at.close < 0 {
		return
	}
	args := bytes.TrimSpace(r.b[at.args.from:at.args.to])
	switch string(bytes.ToUpper(at.name)) {
	case "ALERT":
		if len(n.Alerts) < maxAlerts && text != "" && !slices.Contains(n.Alerts, text) {
			n.Alerts = append(n.Alerts, text)
		}
	case "READ-ONLY":
		n.ReadOnly = true
	case "NOMODSEQ":
		n.NoModSeq = true
	case "UIDNOTSTICKY":
		n.UIDNotSticky = true
	case "MESSAGELIMIT":
		n.MessageLimit = true
	case "HIGHESTMODSEQ":
		if v, ok := number(args, 64); ok {
			n.HighestModSeq = v
		}
	case "MAILBOXID":
		if id, ok := bytes.CutPrefix(args, []byte("(")); ok {
			if id, ok = bytes.CutSuffix(id, []byte(")")); ok && isAtom(id) && len(id) <= maxObjectID {
				n.MailboxID = string(id)
			}
		}
	case "PERMANENTFLAGS":
		n.permanentFlags(args)
	case "MODIFIED":
		if set, ok := parseSet(args); ok {
			n.modified(set)
		}
	case "COPYUID":
		if f := bytes.Fields(args); len(f) == 3 {
			n.copied(f[1], f[2])
		}
	}
}

func (n *Notes) permanentFlags(list []byte) {
	if !bytes.HasPrefix(list, []byte("(")) {
		return
	}
	list = bytes.TrimSuffix(list[1:], []byte(")"))
	flags := []string{}
	for _, f := range bytes.Fields(list) {
		if isFlag(f) && len(flags) < maxFlags {
			flags = append(flags, string(f))
		}
	}
	n.PermanentFlags = &flags
}

// modified adds UIDs in ascending order, since a UIDSet takes any other order in
// quadratic time.
func (n *Notes) modified(ranges []mail.UIDRange) {
	ranges = append(ranges, n.Modified...)
	slices.SortFunc(ranges, func(a, b mail.UIDRange) int { return int(int64(a.First) - int64(b.First)) })
	n.Modified = nil
	for _, r := range ranges {
		n.Modified.AddRange(r)
	}
}

// copied pairs the UIDs in the order in which the server wrote them (RFC 4315, 3). Sets
// of different sizes pair nothing.
func (n *Notes) copied(from, to []byte) {
	a, okA := parseSet(from)
	b, okB := parseSet(to)
	if !okA || !okB || count(a) != count(b) {
		return
	}
	var j int
	var done uint64
	for _, r := range a {
		for u := uint64(r.First); u <= uint64(r.Last) && len(n.CopyUID) < maxPairs; u++ {
			target := uint64(b[j].First) + done
			n.CopyUID = append(n.CopyUID, UIDPair{mail.UID(u), mail.UID(target)})
			if done++; target == uint64(b[j].Last) {
				j, done = j+1, 0
			}
		}
	}
}

func count(ranges []mail.UIDRange) uint64 {
	var n uint64
	for _, r := range ranges {
		n += uint64(r.Last-r.First) + 1
	}
	return n
}

// parseSet reads a set of UIDs that are numbers (RFC 9051, 9: uid-set), in its order.
func parseSet(b []byte) ([]mail.UIDRange, bool) {
	var out []mail.UIDRange
	for more := true; more; {
		var part []byte
		part, b, more = bytes.Cut(b, []byte(","))
		first, last, isRange := bytes.Cut(part, []byte(":"))
		if !isRange {
			last = first
		}
		x, okX := uid(first)
		y, okY := uid(last)
		if !okX || !okY {
			return nil, false
		}
		out = append(out, mail.UIDRange{First: min(x, y), Last: max(x, y)})
	}
	return out, true
}

func uid(b []byte) (mail.UID, bool) {
	n, ok := number(b, 32)
	return mail.UID(n), ok && b[0] != '0'
}

func (n *Notes) dropped(what string) {
	if len(n.Dropped) < maxDropped {
		n.Dropped = append(n.Dropped, what)
	}
}

// clean makes text from the server fit for a terminal and a log: valid UTF-8, no
// control and no invisible characters (which turn the direction of writing), and at
// most so many octets.
func clean(b []byte, limit int) string {
	var out strings.Builder
	for len(b) > 0 {
		ch, size := utf8.DecodeRune(b)
		b = b[size:]
		switch {
		case ch == utf8.RuneError && size == 1:
			ch = '?'
		case unicode.In(ch, unicode.Cc, unicode.Zl, unicode.Zp):
			ch = ' '
		case unicode.Is(unicode.Cf, ch):
			continue
		}
		if out.Len()+utf8.RuneLen(ch) > limit {
			out.WriteString("...")
			break
		}
		out.WriteRune(ch)
	}
	return strings.TrimSpace(out.String())
}
