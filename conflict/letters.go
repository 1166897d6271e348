package conflict

import (
	"strings"

	"mailtwin/conflict/mail"
)

// LetterOf gives the index of the letter that stands for a keyword, or -1.
func LetterOf(letters mail.Letters, word string) int {
	for i, l := range letters {
		if l != "" && strings.EqualFold(l, word) {
			return i
		}
	}
	return -1
}

// AssignLetters gives free letters to the keywords that have none, as long as there
// are any, and tells whether it gave any.
func AssignLetters(letters mail.Letters, words mail.Keywords) (mail.Letters, bool) {
	given := false
	free := 0
	for _, word := range words.List() {
		if LetterOf(letters, word) >= 0 {
			continue
		}
		for free < len(letters) && letters[free] != "" {
			free++
		}
		if free == len(letters) {
			break
		}
		letters[free], given = word, true
	}
	return letters, given
}

// read gives the keywords that letters of a file name stand for.
func read(letters mail.Letters, name string) mail.Keywords {
	var words []string
	for i := range len(name) {
		if c := name[i]; 'a' <= c && c <= 'z' && letters[c-'a'] != "" {
			words = append(words, letters[c-'a'])
		}
	}
	return mail.NewKeywords(words...)
}

// carried tells whether a file came into its folder with the letters that it had in
// the folder of its message, and gives the keywords that they stand for there.
//
// Mail programs that know nothing of keywords carry them along, or drop them. Those that
// know what they do give other letters to the same keywords; so only letters that say
// there exactly what base says, and here something else, were carried, and where there
// is none at all nobody has meant anything by it.
func carried(file mail.File, base mail.Flags, there, here mail.Letters) (mail.Keywords, bool) {
	if file.Letters == "" {
		return base.Keywords, base.Keywords != ""
	}
	if there == here {
		return "", false
	}
	var lettered, bare []string
	for _, word := range base.Keywords.List() {
		if LetterOf(there, word) >= 0 {
			lettered = append(lettered, word)
		} else {
			bare = append(bare, word)
		}
	}
	words := mail.NewKeywords(lettered...)
	if !read(there, file.Letters).Equal(words) || read(here, file.Letters).Equal(words) {
		return "", false
	}
	return words.With(mail.NewKeywords(bare...)), true
}
