package maildir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"mailtwin/conflict/mail"
)

// lettersFile holds what the letters a to z of a folder's file names mean, the way
// that Dovecot wrote down: a line "0 $Junk" for the letter a.
const lettersFile = "dovecot-keywords"

const (
	maxLettersFile = 64 << 10
	maxKeyword     = 250 // octets; servers have limits of their own
)

// parseLetters reads a lettersFile. Lines that it does not understand say nothing;
// of two lines for one letter the first one counts.
func parseLetters(text []byte) mail.Letters {
	var letters mail.Letters
	for line := range bytes.Lines(text) {
		number, word, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		i, err := strconv.Atoi(number)
		if ok && err == nil && i >= 0 && i < len(letters) && letters[i] == "" && isKeyword(word) {
			letters[i] = word
		}
	}
	return letters
}

// isKeyword tells whether word is an atom, as IMAP wants keywords (RFC 9051, 9:
// flag-keyword). Anything else would break a command on the wire.
func isKeyword(word string) bool {
	if word == "" || len(word) > maxKeyword {
		return false
	}
	for i := range len(word) {
		if c := word[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// formatLetters writes a lettersFile. What is no keyword is left out.
func formatLetters(letters mail.Letters) []byte {
	var b bytes.Buffer
	for i, word := range letters {
		if isKeyword(word) {
			fmt.Fprintf(&b, "%d %s\n", i, word)
		}
	}
	return b.Bytes()
}

// readLetters reads the lettersFile of the folder at dir, if there is one.
func (t *Tree) readLetters(dir string) (mail.Letters, error) {
	text, err := readSmall(t.fs, path.Join(dir, lettersFile), maxLettersFile)
	return parseLetters(text), err
}

// SetLetters is Local.SetLetters. A file that says so already is left alone.
func (t *Tree) SetLetters(ctx context.Context, folder mail.Folder, letters mail.Letters) (err error) {
	defer explain(&err, "write keyword letters of", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return err
	}
	text := formatLetters(letters)
	name := path.Join(dir, lettersFile)
	old, err := readSmall(t.fs, name, maxLettersFile)
	if err == nil && bytes.Equal(old, text) {
		return nil
	}
	return t.writeSmall(dir, lettersFile, text)
}

// readSmall reads a file of at most limit octets, and what is beyond not at all. A
// file that is not there is empty.
func readSmall(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Info()
	if err != nil {
		return nil, err
	}
	if info.Type != 0 {
		return nil, fmt.Errorf("%q is no regular file", name)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// writeSmall puts a file into the folder at dir, in place of what has its name.
func (t *Tree) writeSmall(dir, name string, content []byte) error {
	key, f, err := t.createTmp(dir)
	if err != nil {
		return err
	}
	tmp := path.Join(dir, "tmp", string(key))
	_, err = f.Write(content)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = t.sync(tmp)
	}
	if err == nil {
		err = t.fs.Replace(tmp, path.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, t.fs.Unlink(tmp))
	}
	return t.sync(dir)
}
