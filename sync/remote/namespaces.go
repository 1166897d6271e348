package remote

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
)

// The namespaces of RFC 2342, as Options.Namespaces names them.
const (
	Personal = "personal" // the user's own folders
	Other    = "other"    // those of other users
	Shared   = "shared"   // those of nobody
)

// maxSpaces bounds the namespaces that a server may tell of.
const maxSpaces = 100

// space is one namespace.
type space struct {
	prefix string
	delim  rune
	own    bool // it is the one where the user's folders are made: our names go without the prefix
	wanted bool // its folders are synced
}

// spaces are the namespaces of a server, the longest prefix first.
type spaces []space

// wants tells whether the folders of a class of namespaces are synced.
func (o *Options) wants(class string) bool {
	if len(o.Namespaces) == 0 {
		return class == Personal
	}
	return slices.Contains(o.Namespaces, class)
}

// readSpaces sorts out what the server told. On many servers all of the user's folders
// are called INBOX.something, since they lie in INBOX. To people they lie beside it, so
// the prefix of the first personal namespace, which new folders get, is none of our
// names.
func (o *Options) readSpaces(data *imap.NamespaceData) spaces {
	own := space{own: true, wanted: o.wants(Personal)}
	var all spaces
	add := func(class string, list []imap.NamespaceDescriptor) {
		for i, d := range list[:min(len(list), maxSpaces)] {
			prefix, ok := decodeName(d.Prefix)
			switch {
			case class == Personal && i == 0:
				own.delim = d.Delim
				if ok && d.Delim != 0 && strings.HasSuffix(prefix, string(d.Delim)) {
					own.prefix = prefix
				}
			case ok:
				all = append(all, space{prefix: prefix, delim: d.Delim, wanted: o.wants(class)})
			}
		}
	}
	add(Personal, data.Personal)
	add(Other, data.Other)
	add(Shared, data.Shared)
	all = slices.Insert(all, 0, own)
	slices.SortStableFunc(all, func(a, b space) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	return all
}

// of finds the namespace of a mailbox: the one with the longest prefix that fits. What
// fits none is the user's own.
func (n spaces) of(mailbox string) space {
	own := n.own()
	if strings.EqualFold(mailbox, string(mail.Inbox)) {
		return own
	}
	for _, s := range n {
		if s.holds(mailbox) {
			return s
		}
	}
	return own
}

// holds tells whether a mailbox lies in the namespace, or is what all of it lies in.
func (s space) holds(mailbox string) bool {
	return hasPrefix(mailbox, s.prefix) || s.delim != 0 && strings.EqualFold(mailbox+string(s.delim), s.prefix)
}

// hasPrefix passes over the case, since that of INBOX does not matter.
func hasPrefix(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// folder turns the server's name of a folder into ours.
func (s space) folder(mailbox string, delim rune) (mail.Folder, error) {
	if !s.own || s.prefix == "" || !hasPrefix(mailbox, s.prefix) {
		return folderName(mailbox, delim)
	}
	name, err := folderName(mailbox[len(s.prefix):], delim)
	if err == nil && name == mail.Inbox {
		return "", fmt.Errorf("it has the name of INBOX, and is another folder")
	}
	return name, err
}

// place tells where a folder would be that was not listed: the prefix of its name on
// the server, and what stands between the parts.
func (n spaces) place(folder mail.Folder) (prefix string, delim rune) {
	own := n.own()
	if folder == mail.Inbox {
		return "", own.delim
	}
	for _, s := range n {
		if name := strings.Join(folder.Parts(), string(s.delim)); !s.own && s.wanted && s.prefix != "" && hasPrefix(name, s.prefix) {
			return "", s.delim
		}
	}
	return own.prefix, own.delim
}

// leavesOut tells whether a folder that is not listed may be on the server nevertheless,
// in a namespace that is not synced.
func (n spaces) leavesOut(folder mail.Folder) bool {
	for _, s := range n { // the longest prefix first
		if !s.own && s.prefix != "" && s.holds(strings.Join(folder.Parts(), string(s.delim))) {
			return !s.wanted
		}
	}
	return !n.own().wanted
}

// own gives the namespace where the user's folders are made.
func (n spaces) own() space {
	return n[slices.IndexFunc(n, func(s space) bool { return s.own })]
}

// parted gives the delimiter to the user's own folders, where only the listing tells it.
func (n spaces) parted(delim rune) spaces {
	n = slices.Clone(n) // other sessions may be reading it
	for i := range n {
		if n[i].own {
			n[i].delim = delim
		}
	}
	return n
}

var base64UTF7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// decodeName reads modified UTF-7 (RFC 9051, A.1). The client does that for the names
// of folders, and not for the prefixes of namespaces.
func decodeName(s string) (string, bool) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(s, "&")
		out.WriteString(before)
		if !found {
			return out.String(), true
		}
		text, after, ended := strings.Cut(rest, "-")
		octets, err := base64UTF7.DecodeString(text)
		if !ended || err != nil || len(octets)%2 != 0 {
			return "", false
		}
		if s = after; text == "" {
			out.WriteByte('&')
		}
		units := make([]uint16, len(octets)/2)
		for i := range units {
			units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
		}
		out.WriteString(string(utf16.Decode(units)))
	}
}
