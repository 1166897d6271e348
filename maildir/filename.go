package maildir

import (
	"fmt"
	"slices"
	"strings"

	"mailtwin/conflict/mail"
)

// infoMark parts a file name into the key and the flags.
const infoMark = ":2,"

// keyLength tells how much of a file name is its key.
func keyLength(name string) int {
	if i := strings.Index(name, infoMark); i >= 0 {
		return i
	}
	return len(name)
}

// splitName parts a file name into key, flag letters and what comes after them: a
// comma and text of other programs, which Dovecot asks to be kept.
func splitName(name string) (key mail.Key, letters, rest string) {
	n := keyLength(name)
	key = mail.Key(name[:n])
	if n == len(name) {
		return key, "", ""
	}
	info := name[n+len(infoMark):]
	if i := strings.IndexByte(info, ','); i >= 0 {
		return key, info[:i], info[i:]
	}
	return key, info, ""
}

// flagsOf reads the letters of a file name. Letters without a meaning say nothing.
func flagsOf(letters string, meaning *mail.Letters) mail.Flags {
	var f mail.Flags
	var words []string
	for i := range len(letters) {
		c := letters[i]
		if 'a' <= c && c <= 'z' {
			if word := meaning[c-'a']; word != "" {
				words = append(words, word)
			}
			continue
		}
		f.System |= systemFlag(c)
	}
	if words == nil {
		return f
	}
	// Dovecot has letters for all that IMAP calls a keyword, $Forwarded among them.
	return f.With(mail.ParseFlags(words))
}

// keywordLetters gives those of the letters that stand for keywords.
func keywordLetters(letters string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' {
			return c
		}
		return -1
	}, letters)
}

// withoutKeywords gives the other letters.
func withoutKeywords(letters string) string {
	return strings.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' {
			return -1
		}
		return c
	}, letters)
}

// systemFlag gives the flag that a letter stands for, or 0.
func systemFlag(letter byte) mail.System {
	for _, s := range mail.SystemFlags {
		if s.Letter == letter {
			return s.Flag
		}
	}
	return 0
}

// nameWith gives the file name that says flags, of the file that is called name.
// What the name has beyond known letters is kept, letters come in ASCII order.
func nameWith(name string, flags mail.Flags, meaning *mail.Letters) string {
	key, old, rest := splitName(name)
	var letters []byte
	var others []byte // no letters: kept as they stand
	for i := range len(old) {
		switch c := old[i]; {
		case 'a' <= c && c <= 'z':
			word := meaning[c-'a']
			if word == "" || hasWord(flags, word) {
				letters = append(letters, c)
			}
		case 'A' <= c && c <= 'Z':
			if systemFlag(c) == 0 {
				letters = append(letters, c)
			}
		default:
			others = append(others, c)
		}
	}
	for _, s := range mail.SystemFlags {
		if flags.Has(s.Flag) {
			letters = append(letters, s.Letter)
		}
	}
	for _, word := range flags.Keywords.List() {
		letters = addWord(letters, word, meaning)
	}
	slices.Sort(letters)
	return string(key) + infoMark + string(slices.Compact(letters)) + string(others) + rest
}

// addWord adds the first letter that stands for word, unless one is there already.
// A word without a letter cannot be said in a file name.
func addWord(letters []byte, word string, meaning *mail.Letters) []byte {
	first := byte(0)
	for i := range meaning {
		c := byte('a' + i)
		if !strings.EqualFold(meaning[i], word) {
			continue
		}
		if slices.Contains(letters, c) {
			return letters
		}
		if first == 0 {
			first = c
		}
	}
	if first == 0 {
		return letters
	}
	return append(letters, first)
}

// hasWord tells whether flags has the flag that IMAP calls word.
func hasWord(flags mail.Flags, word string) bool {
	f := mail.ParseFlags([]string{word})
	return !f.Empty() && f.Without(flags).Empty()
}

// subdir is where a file stands.
func subdir(isNew bool) string {
	if isNew {
		return "new"
	}
	return "cur"
}

// pathOf gives the path of a file, and an error if its name could lead elsewhere.
func pathOf(dir string, file mail.File) (string, error) {
	if err := checkName(file.Name); err != nil {
		return "", err
	}
	return join(join(dir, subdir(file.New)), file.Name), nil
}

// checkName refuses what no scan gives as a name and Create gives as no key.
func checkName(name string) error {
	if name == "" || name[0] == '.' || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%.80q is no name of a message file: %w", name, mail.ErrDamaged)
	}
	return nil
}
