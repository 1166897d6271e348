package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"mime"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
)

// What a demo checks, it does not read with the code that it is to check: the server
// is read by a phone, and the Maildirs as any mail program does it.

// mailbox is all mail of an account, on the server or in a Maildir.
type mailbox map[mail.Folder][]letter

// letter is one message.
type letter struct {
	subject string
	id      string // Message-ID
	text    []byte // the whole message; lines end with LF, as they must in a Maildir
	flags   mail.Flags
	date    time.Time // to the second
	uid     mail.UID  // on the server
	file    string    // in a Maildir: its path below the root
}

func newLetter(text []byte, flags mail.Flags, date time.Time) letter {
	l := letter{text: text, flags: flags, date: date.Truncate(time.Second)}
	m, err := netmail.ReadMessage(bytes.NewReader(l.text))
	if err != nil {
		l.subject = "(damaged)"
		return l
	}
	l.id = m.Header.Get("Message-ID")
	l.subject = m.Header.Get("Subject")
	if s, err := new(mime.WordDecoder).DecodeHeader(l.subject); err == nil {
		l.subject = s
	}
	return l
}

// onServer reads everything that is on the server.
func onServer(ctx context.Context, phone *imaptest.Phone) (mailbox, error) {
	folders, err := phone.List(ctx)
	if err != nil {
		return nil, err
	}
	box := mailbox{}
	for _, f := range folders {
		if f.NoSelect {
			continue
		}
		messages, err := phone.Messages(ctx, f.Name)
		if err != nil {
			return nil, err
		}
		box[f.Name] = nil
		for _, m := range messages {
			l := newLetter(bytes.ReplaceAll(m.Raw, []byte("\r\n"), []byte("\n")), m.Flags, m.Date)
			l.uid = m.UID
			box[f.Name] = append(box[f.Name], l)
		}
	}
	return box, nil
}

// inMaildir reads everything that is in the tree of Maildirs at root. The names of
// the demo's folders are the names of their directories.
func inMaildir(root string) (mailbox, error) {
	box := mailbox{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() || e.Name() != "cur" {
			return err
		}
		dir := filepath.Dir(path)
		name, err := filepath.Rel(root, dir)
		if err != nil {
			return err
		}
		box[mail.Folder(filepath.ToSlash(name))], err = readMaildir(root, dir)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the Maildir: %w", err)
	}
	return box, nil
}

func readMaildir(root, dir string) ([]letter, error) {
	words, err := readKeywords(dir)
	if err != nil {
		return nil, err
	}
	var letters []letter
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			path := filepath.Join(dir, sub, e.Name())
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			_, marks, _ := strings.Cut(e.Name(), ":2,")
			l := newLetter(text, marksOf(marks, words), info.ModTime())
			if l.file, err = filepath.Rel(root, path); err != nil {
				return nil, err
			}
			letters = append(letters, l)
		}
	}
	return letters, nil
}

// readKeywords reads what the lower-case letters of a Maildir's file names mean.
func readKeywords(dir string) (map[rune]string, error) {
	lines, err := os.ReadFile(filepath.Join(dir, "dovecot-keywords"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	words := map[rune]string{}
	for line := range strings.Lines(string(lines)) {
		var n rune
		var word string
		if _, err := fmt.Sscanf(line, "%d %s", &n, &word); err == nil {
			words['a'+n] = word
		}
	}
	return words, nil
}

func marksOf(marks string, words map[rune]string) mail.Flags {
	names := map[rune]string{'D': `\Draft`, 'F': `\Flagged`, 'P': "$Forwarded", 'R': `\Answered`, 'S': `\Seen`, 'T': `\Deleted`}
	maps.Copy(names, words)
	var flags []string
	for _, mark := range marks {
		flags = append(flags, names[mark])
	}
	return mail.ParseFlags(flags)
}

// count counts all messages.
func (b mailbox) count() int {
	n := 0
	for _, letters := range b {
		n += len(letters)
	}
	return n
}

// folders gives the names in order, INBOX first.
func (b mailbox) folders() []mail.Folder {
	return slices.SortedFunc(maps.Keys(b), compareFolders)
}

// find gives the message of that subject, which has to be there once.
func (b mailbox) find(folder mail.Folder, subject string) (letter, error) {
	var found []letter
	for _, l := range b[folder] {
		if l.subject == subject {
			found = append(found, l)
		}
	}
	if len(found) != 1 {
		return letter{}, fmt.Errorf("%s has %s with the subject %q, not 1", folder, count(len(found), "message"), clean(subject))
	}
	return found[0], nil
}

// files gives the path of every message file.
func (b mailbox) files() []string {
	var files []string
	for _, letters := range b {
		for _, l := range letters {
			files = append(files, l.file)
		}
	}
	slices.Sort(files)
	return files
}

// differences tells, a line each, in what two mailboxes are not the same.
func differences(a mailbox, where string, b mailbox, there string) []string {
	var all []string
	folders := maps.Clone(a)
	maps.Copy(folders, b)
	for _, folder := range folders.folders() {
		add := func(format string, args ...any) {
			all = append(all, string(folder)+": "+fmt.Sprintf(format, args...))
		}
		_, here := a[folder]
		_, too := b[folder]
		if !here || !too {
			add("the folder is only on the %s", map[bool]string{true: where, false: there}[here])
		}
		rest := slices.Clone(b[folder])
		for _, l := range a[folder] {
			i := l.twin(rest)
			if i < 0 {
				add("%q is only on the %s", l.subject, where)
				continue
			}
			l.compare(rest[i], where, there, add)
			rest = slices.Delete(rest, i, i+1)
		}
		for _, l := range rest {
			add("%q is only on the %s", l.subject, there)
		}
	}
	return all
}

// twin finds the message among others: by its bytes, or else by its Message-ID.
func (l letter) twin(others []letter) int {
	i := slices.IndexFunc(others, func(o letter) bool { return bytes.Equal(o.text, l.text) && o.flags.Equal(l.flags) })
	if i < 0 {
		i = slices.IndexFunc(others, func(o letter) bool { return bytes.Equal(o.text, l.text) })
	}
	if i < 0 && l.id != "" {
		i = slices.IndexFunc(others, func(o letter) bool { return o.id == l.id })
	}
	return i
}

func (l letter) compare(o letter, where, there string, add func(string, ...any)) {
	if !bytes.Equal(l.text, o.text) {
		add("%q has other bytes on the %s (%d) than on the %s (%d)", l.subject, where, len(l.text), there, len(o.text))
	}
	if !l.flags.Equal(o.flags) {
		add("%q has the flags %v on the %s, and %v on the %s", l.subject, l.flags, where, o.flags, there)
	}
	if !l.date.Equal(o.date) {
		add("%q is of %v on the %s, and of %v on the %s", l.subject, l.date.UTC(), where, o.date.UTC(), there)
	}
}
