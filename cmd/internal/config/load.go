package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/BurntSushi/toml"
	"github.com/adrg/xdg"
)

// maxFile bounds the file, in bytes.
const maxFile = 1 << 20

var (
	errHost          = errors.New(`must be a host's name or address alone; the port has a key of its own`)
	errNoCertificate = errors.New("holds no certificate in PEM form")
)

// DefaultFile is where the configuration is when nothing else is said:
// $XDG_CONFIG_HOME/mailtwin/config.toml.
func DefaultFile() string { return filepath.Join(xdg.ConfigHome, "mailtwin", "config.toml") }

// loader is one reading of a file.
type loader struct {
	doc     *document
	dir     string // absolute; of the file
	home    string // "" where it is not known
	exposed string // what is wrong with the file's owner or mode; "" if nothing
}

// Load reads and checks the file at path. Its error is of type Errors.
func Load(path string) (*Config, error) {
	fail := func(text string) (*Config, error) {
		return nil, Errors{&Error{File: path, Text: text}}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return fail(err.Error())
	}
	text, exposed, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("there is no such file; docs/configuration.md shows how to write it")
	case err != nil:
		return fail(err.Error())
	}
	l := &loader{doc: &document{file: path}, dir: filepath.Dir(abs), exposed: exposed}
	l.home, _ = os.UserHomeDir() // where it is not known, "~" is an error of its own

	var values map[string]any
	meta, err := toml.Decode(text, &values)
	if err != nil {
		return nil, Errors{l.syntax(text, err)}
	}
	l.doc.lines = findLines(text)
	cfg := &Config{File: path, Sum: sha256.Sum256([]byte(text)), StateDir: filepath.Join(xdg.StateHome, "mailtwin")}
	root := &table{doc: l.doc, values: values}
	if dir, _ := get(root, "state_dir", l.asPath); dir != "" {
		cfg.StateDir = dir
	}
	if accounts := root.sub("accounts"); accounts != nil {
		cfg.Accounts = l.readAccounts(accounts, accountOrder(meta))
	}
	root.done()
	if len(cfg.Accounts) == 0 && len(l.doc.errors) == 0 {
		root.failf("", "names no account; begin with [accounts.NAME]")
	}
	l.checkNesting(cfg.Accounts)
	if es := l.doc.errors; len(es) > 0 {
		slices.SortStableFunc(es, func(a, b *Error) int {
			if a.Line != b.Line {
				return a.Line - b.Line
			}
			return strings.Compare(a.Text, b.Text)
		})
		return nil, es
	}
	return cfg, nil
}

// accountOrder gives the accounts' names in the order of the file.
func accountOrder(meta toml.MetaData) []string {
	var names []string
	for _, key := range meta.Keys() {
		if len(key) >= 2 && key[0] == "accounts" && !slices.Contains(names, key[1]) {
			names = append(names, key[1])
		}
	}
	return names
}

// readFile reads the file, and tells what is wrong with its owner and mode for one
// that holds a password.
func readFile(path string) (text, exposed string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", "", err
	}
	defer f.Close() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", "", err
	}
	if len(data) > maxFile {
		return "", "", fmt.Errorf("larger than %d bytes", maxFile)
	}
	switch st, ok := info.Sys().(*syscall.Stat_t); {
	case info.Mode().Perm()&0o077 != 0:
		exposed = fmt.Sprintf("others can read (mode %04o)", info.Mode().Perm())
	case ok && int(st.Uid) != os.Getuid():
		exposed = "belongs to another user"
	}
	return string(data), exposed, nil
}

// syntax makes an Error of the parser's. Its message may quote what it could not
// read, and that may be a password without its quotes.
func (l *loader) syntax(text string, err error) *Error {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		return &Error{l.doc.file, 0, "no valid TOML"}
	}
	line := pe.Position.Line
	e := &Error{l.doc.file, line, pe.Message}
	all := strings.Split(text, "\n")
	for _, n := range []int{line - 1, line} {
		if n >= 1 && n <= len(all) && strings.Contains(strings.ToLower(all[n-1]), "password") {
			e.Text = "no valid TOML; a string needs quotes around it"
		}
	}
	return e
}

// asPath reads a path: "~/" is the home directory, and a relative path is relative to
// the file's directory, so that it means the same from cron and from a shell.
func (l *loader) asPath(v any) (string, error) {
	path, err := asText(v)
	switch {
	case err != nil || path == "":
		return "", err
	case path == "~" || strings.HasPrefix(path, "~/"):
		if l.home == "" {
			return "", errors.New(`"~" has no meaning where HOME is not set`)
		}
		return filepath.Join(l.home, path[1:]), nil
	case path[0] == '~' || path[0] == '$':
		return "", fmt.Errorf("%q: only \"~/\" is replaced in a path, no users and no variables", path)
	case !filepath.IsAbs(path):
		return filepath.Join(l.dir, path), nil
	}
	return filepath.Clean(path), nil
}

// checkNesting refuses two accounts of which one would sync the files of the other.
func (l *loader) checkNesting(accounts []Account) {
	for i, b := range accounts {
		for _, a := range accounts[:i] {
			if a.Maildir == "" || b.Maildir == "" {
				continue
			}
			t := &table{doc: l.doc, path: []string{"accounts", b.Name}}
			switch x, y := resolve(a.Maildir), resolve(b.Maildir); {
			case x == y || sameFile(x, y):
				t.failf("maildir", "account %s has the same Maildir", a.Name)
			case within(x, y):
				t.failf("maildir", "lies within that of account %s, %s", a.Name, a.Maildir)
			case within(y, x):
				t.failf("maildir", "that of account %s, %s, lies within it", a.Name, a.Maildir)
			}
		}
	}
}

func within(outer, inner string) bool {
	return strings.HasPrefix(inner, strings.TrimSuffix(outer, "/")+"/")
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// resolve follows the symbolic links of a path as far as it exists.
func resolve(path string) string {
	rest := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		if dir == filepath.Dir(dir) {
			return path
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}
