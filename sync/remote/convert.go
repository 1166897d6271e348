package remote

import (
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
)

// maxSet bounds the text of a UID set, so that with the rest of the command a line
// stays below the 8000 octets that servers must take (RFC 7162, 4; RFC 2683,
// 3.2.1.5).
const maxSet = 7500

// toIMAP gives a set as the client wants it.
func toIMAP(s mail.UIDSet) imap.UIDSet {
	out := make(imap.UIDSet, len(s))
	for i, r := range s {
		out[i] = imap.UIDRange{Start: imap.UID(r.First), Stop: imap.UID(r.Last)}
	}
	return out
}

// fromIMAP gives a set of the client's; ranges are never spelled out, since a
// server may send one of four thousand million.
func fromIMAP(s imap.UIDSet) mail.UIDSet {
	var out mail.UIDSet
	for _, r := range s {
		out.AddRange(mail.UIDRange{First: mail.UID(r.Start), Last: mail.UID(r.Stop)})
	}
	return out
}

// only gives the one UID of a set, and 0 if it has none or more.
func only(s imap.UIDSet) mail.UID {
	if len(s) == 1 && s[0].Start == s[0].Stop {
		return mail.UID(s[0].Start)
	}
	return 0
}

// settable gives the flags as the client wants them. A keyword that is no atom is
// left out: it came from a file, no server can store it, and the client would close
// the connection over it.
func settable(f mail.Flags) []imap.Flag {
	var out []imap.Flag
	for _, name := range f.Names() {
		if strings.HasPrefix(name, `\`) || isAtom(name) {
			out = append(out, imap.Flag(name))
		}
	}
	return out
}

// isAtom tells whether s is an atom (RFC 9051, 9: atom).
func isAtom(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r)
	})
}

// fromFlags reads flags as the client gives them.
func fromFlags(flags []imap.Flag) mail.Flags {
	names := make([]string, len(flags))
	for i, f := range flags {
		names[i] = string(f)
	}
	return mail.ParseFlags(names)
}

// permanence reads PERMANENTFLAGS: which flags can be set for good, and whether new
// keywords can be. A server that does not say can set all (RFC 9051, 7.1).
func permanence(permanent *[]string) (mail.Flags, bool) {
	all := mail.Flags{System: mail.Seen | mail.Answered | mail.Flagged | mail.Draft | mail.Deleted | mail.Forwarded}
	if permanent == nil {
		return all, true
	}
	f := mail.ParseFlags(slices.DeleteFunc(slices.Clone(*permanent), func(n string) bool { return n == `\*` }))
	if !slices.Contains(*permanent, `\*`) {
		return f, false
	}
	f.System |= mail.Forwarded // a keyword like any other, to the server
	return f, true
}
