package corpus

import (
	"encoding/base64"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf16"

	"mailtwin/conflict/mail"
)

// Tree writes samples into a Maildir++ tree, as Dovecot and Courier lay it out: the
// fastest way to fill an account of a server that is not running yet.
type Tree struct {
	root     string
	uid, gid int
	serial   int
	folders  map[mail.Folder]*treeFolder
}

type treeFolder struct {
	path     string
	keywords []string // by letter
}

// NewTree gives the tree at root. What is written belongs to that user and group, as
// far as the rights to say so are there; -1 leaves it as it comes.
func NewTree(root string, uid, gid int) *Tree {
	return &Tree{root: root, uid: uid, gid: gid, folders: map[mail.Folder]*treeFolder{}}
}

// WriteAll writes all samples.
func (t *Tree) WriteAll(samples iter.Seq[Sample]) error {
	for s := range samples {
		if err := t.Write(s); err != nil {
			return err
		}
	}
	return nil
}

// Write writes a sample into cur/, with LF at the ends of its lines, and its date as
// the time of the file. It makes the folder if it has to.
func (t *Tree) Write(s Sample) error {
	if err := t.write(s); err != nil {
		return fmt.Errorf("write a sample into %q: %w", s.Folder, err)
	}
	return nil
}

func (t *Tree) write(s Sample) error {
	f, err := t.folder(s.Folder)
	if err != nil {
		return err
	}
	letters, err := t.letters(f, s.Flags)
	if err != nil {
		return err
	}
	t.serial++
	name := fmt.Sprintf("%d.S%dP%d.corpus:2,%s", s.Date.Unix(), t.serial, os.Getpid(), letters)
	path := filepath.Join(f.path, "cur", name)
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(s.Raw), "\r\n", "\n")), 0o600); err != nil {
		return err
	}
	if err := os.Chtimes(path, s.Date, s.Date); err != nil {
		return err
	}
	return t.own(path)
}

func (t *Tree) folder(name mail.Folder) (*treeFolder, error) {
	if f := t.folders[name]; f != nil {
		return f, nil
	}
	path := t.root
	if name != mail.Inbox {
		path = filepath.Join(t.root, "."+strings.Join(encodeParts(name.Parts()), "."))
	}
	for _, dir := range []string{t.root, path, filepath.Join(path, "cur"), filepath.Join(path, "new"), filepath.Join(path, "tmp")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		if err := t.own(dir); err != nil {
			return nil, err
		}
	}
	if name != mail.Inbox {
		mark := filepath.Join(path, "maildirfolder") // what Maildir++ knows a folder by
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return nil, err
		}
		if err := t.own(mark); err != nil {
			return nil, err
		}
	}
	f := &treeFolder{path: path}
	t.folders[name] = f
	return f, nil
}

// letters gives the letters of a file name, in ASCII order, and writes down what
// those of keywords mean.
func (t *Tree) letters(f *treeFolder, flags mail.Flags) (string, error) {
	var letters []byte
	for _, s := range mail.SystemFlags {
		if s.Flag == mail.Forwarded { // Dovecot keeps $Forwarded among the keywords
			continue
		}
		if flags.Has(s.Flag) {
			letters = append(letters, s.Letter)
		}
	}
	words := flags.Keywords.List()
	if flags.Has(mail.Forwarded) {
		words = append(words, "$Forwarded")
	}
	for _, w := range words {
		i := slices.Index(f.keywords, w)
		if i < 0 {
			if i = len(f.keywords); i == 26 {
				return "", fmt.Errorf("no letter left for keyword %q", w)
			}
			f.keywords = append(f.keywords, w)
			var b strings.Builder
			for n, k := range f.keywords {
				fmt.Fprintf(&b, "%d %s\n", n, k)
			}
			path := filepath.Join(f.path, "dovecot-keywords")
			if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
				return "", err
			}
			if err := t.own(path); err != nil {
				return "", err
			}
		}
		letters = append(letters, byte('a'+i))
	}
	slices.Sort(letters)
	return string(letters), nil
}

func (t *Tree) own(path string) error {
	if os.Getuid() != 0 || t.uid < 0 {
		return nil
	}
	return os.Lchown(path, t.uid, t.gid)
}

var modifiedBase64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// encodeParts writes folder names in modified UTF-7 (RFC 3501, 5.1.3).
func encodeParts(parts []string) []string {
	out := make([]string, len(parts))
	for i, part := range parts {
		var b strings.Builder
		var run []rune
		flush := func() {
			if len(run) == 0 {
				return
			}
			var octets []byte
			for _, u := range utf16.Encode(run) {
				octets = append(octets, byte(u>>8), byte(u))
			}
			b.WriteString("&" + modifiedBase64.EncodeToString(octets) + "-")
			run = nil
		}
		for _, r := range part {
			switch {
			case r < ' ' || r > '~':
				run = append(run, r)
				continue
			case r == '&':
				flush()
				b.WriteString("&-")
			default:
				flush()
				b.WriteRune(r)
			}
		}
		flush()
		out[i] = b.String()
	}
	return out
}
