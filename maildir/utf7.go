package maildir

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// The directories of a Maildir++ have the names that the folders have in IMAP: in
// modified UTF-7 (RFC 3501, 5.1.3). What may not stand in a directory's name is
// written in its base64, too, which IMAP uses only for what is not ASCII: "a.b" is
// "a&AC4-b".

var base64UTF7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

// encodeUTF7 encodes a part of a folder's name, with the characters of odd in base64.
func encodeUTF7(part, odd string) (string, error) {
	if !utf8.ValidString(part) {
		return "", errors.New("its name is no UTF-8")
	}
	var b strings.Builder
	var pending []rune
	flush := func() {
		if len(pending) == 0 {
			return
		}
		var octets []byte
		for _, unit := range utf16.Encode(pending) {
			octets = append(octets, byte(unit>>8), byte(unit))
		}
		b.WriteString("&" + base64UTF7.EncodeToString(octets) + "-")
		pending = nil
	}
	for _, r := range part {
		if r < ' ' || r > '~' || strings.ContainsRune(odd, r) {
			pending = append(pending, r)
			continue
		}
		flush()
		b.WriteRune(r)
		if r == '&' {
			b.WriteByte('-')
		}
	}
	flush()
	return b.String(), nil
}

// decodeUTF7 is the inverse of encodeUTF7 for any odd, and takes spellings that it
// does not make.
func decodeUTF7(name string) (string, bool) {
	var b strings.Builder
	for name != "" {
		plain, rest, found := strings.Cut(name, "&")
		b.WriteString(plain)
		if !found {
			break
		}
		encoded, rest, ended := strings.Cut(rest, "-")
		octets, err := base64UTF7.DecodeString(encoded)
		if !ended || err != nil || len(octets)%2 != 0 {
			return "", false
		}
		if encoded == "" {
			b.WriteByte('&')
		}
		units := make([]uint16, len(octets)/2)
		for i := range units {
			units[i] = uint16(octets[2*i])<<8 | uint16(octets[2*i+1])
		}
		b.WriteString(string(utf16.Decode(units)))
		name = rest
	}
	return b.String(), true
}
