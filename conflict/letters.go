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
