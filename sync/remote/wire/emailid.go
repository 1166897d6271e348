package wire

import (
	"bytes"

	"mailtwin/conflict/mail"
)

// The client can neither ask for EMAILID (RFC 8474, 5.1) nor read one. So it is put into
// the commands that ask for sizes, as they are written, and taken out of the answers,
// where it is kept for whoever asks.

// emailIDItem follows the item that asks for the size.
const emailIDItem = " EMAILID"

// maxEmailIDs bounds how many are kept that nobody has asked for. The client reads no
// more than some hundred answers ahead of who takes them.
const maxEmailIDs = 1 << 12

// AskEmailIDs makes each UID FETCH that is sent from now on, and asks for the size, ask
// for the EMAILID, too. Only a server that announces OBJECTID knows what that is.
func (c *Conn) AskEmailIDs() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.talk.emailIDs = true
}

// EmailID gives the EMAILID that a FETCH response told for a message, once; "" where none
// did. selection counts the SELECTs that were sent before the FETCH. It is there as soon as
// the client has read that response to its end.
func (c *Conn) EmailID(selection int, uid mail.UID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := identified{selection, uid}
	id := c.emailIDs[m]
	delete(c.emailIDs, m)
	return id
}

// identified is a message whose EMAILID is known.
type identified struct {
	selection int
	uid       mail.UID
}

// identified keeps the EMAILID of a message. The caller holds mu.
func (c *Conn) identified(uid mail.UID, id string) {
	if c.emailIDs == nil || len(c.emailIDs) >= maxEmailIDs {
		// Those that came in answers that nobody has waited for: not to know an id is to
		// know a message by other means.
		c.emailIDs = map[identified]string{}
	}
	c.emailIDs[identified{c.talk.selections, uid}] = id
}

// sized gives where in the current line, of which all up to from was looked at before,
// the item ends that asks for sizes; 0 if it does not, or the line is no UID FETCH.
func (d *dialogue) sized(from int) int {
	if !d.emailIDs || d.open != nil {
		return 0
	}
	for start := max(0, from-len(sizeItem)); ; {
		i := bytes.Index(d.line[start:], []byte(sizeItem))
		if i < 0 {
			return 0
		}
		if start += i + len(sizeItem); d.asksSize(start) {
			return start
		}
	}
}

const sizeItem = "RFC822.SIZE"

// asksSize tells whether what ends there in the current line, a sizeItem, is an item of a
// UID FETCH, the first one, and not the name of a header field.
func (d *dialogue) asksSize(at int) bool {
	before := d.line[:at-len(sizeItem)]
	_, command, _ := bytes.Cut(before, []byte(" "))
	return bytes.HasPrefix(command, []byte("UID FETCH ")) && !bytes.ContainsAny(before, `"[`) &&
		!bytes.Contains(before, []byte(emailIDItem)) && (bytes.HasSuffix(before, []byte("(")) || bytes.HasSuffix(before, []byte(" "))) &&
		at < len(d.line) && (d.line[at] == ' ' || d.line[at] == ')')
}

// objectID reads the value of an EMAILID: an objectid in parentheses (RFC 8474, 7); ""
// where it is none.
func objectID(value []byte) string {
	id, ok := bytes.CutPrefix(value, []byte("("))
	if ok {
		id, ok = bytes.CutSuffix(id, []byte(")"))
	}
	if !ok || len(id) == 0 || len(id) > maxObjectID {
		return ""
	}
	for _, ch := range id {
		if (ch < 'a' || ch > 'z') && (ch < 'A' || ch > 'Z') && (ch < '0' || ch > '9') && ch != '-' && ch != '_' {
			return ""
		}
	}
	return string(id)
}
