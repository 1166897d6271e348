package wire

import (
	"bytes"
	"fmt"
)

// hidden stands in a trace for what is not to be seen.
const hidden = "***"

// redactCommand gives a line that the client writes without credentials: what follows
// LOGIN and the mechanism of AUTHENTICATE, and all further lines of these commands.
func redactCommand(cmd *command, first bool, line []byte) []byte {
	switch {
	case !cmd.login():
		return line
	case !first:
		return []byte(hidden)
	}
	fields := bytes.Fields(line)
	shown := 2 // the tag and the name
	if cmd.name == "AUTHENTICATE" {
		shown = 3
	}
	if len(fields) > shown {
		fields = append(fields[:shown:shown], []byte(hidden))
	}
	return bytes.Join(fields, []byte(" "))
}

// redactResponse gives a part of a response without what its literals hold, without the
// quoted strings of a FETCH, which are pieces of messages, and, while a login is under
// way, without all that may be a challenge or quote what was sent.
func redactResponse(r *response, secret bool) string {
	if secret {
		shown := clean(r.b[:r.args], maxShown)
		if r.status() {
			if c := r.code(); c.close >= 0 {
				shown += " " + clean(r.b[c.open:c.close+1], maxShown)
			}
		}
		return shown + " " + hidden
	}
	// Literals stand behind their announcements, which stay.
	var text []byte
	at := 0
	for _, l := range r.literals {
		text = append(text, trimEOL(r.b[at:l.from])...)
		at = l.to
		if len(text) > maxShown {
			break
		}
	}
	text = append(text, trimEOL(r.b[at:])...)
	if r.word == "FETCH" {
		text = hideQuoted(text)
	}
	if !r.first {
		return "... " + clean(text, maxShown)
	}
	return clean(text, maxShown)
}

// excuse tells why the response was changed, and shows it, unless it may hold what is a
// secret or a piece of a message.
func (r *response) excuse(why string, secret bool) string {
	shown := clean(trimEOL(r.b), maxShown)
	if secret || r.word == "FETCH" || shown == "" {
		return why
	}
	return why + ": " + shown
}

// hideQuoted takes out what quoted strings hold, but for dates.
func hideQuoted(text []byte) []byte {
	l := lexer{b: text}
	var out []byte
	for l.i < len(text) && len(out) <= maxShown {
		from := l.i
		if text[from] == '"' {
			if _, ok := l.str(); ok && !hasSuffixFold(text[:from], "INTERNALDATE ") {
				out = fmt.Appendf(out, "%q", hidden)
				continue
			}
			l.i = max(l.i, from+1)
			out = append(out, text[from:l.i]...)
			continue
		}
		out = append(out, text[from])
		l.i++
	}
	return out
}
