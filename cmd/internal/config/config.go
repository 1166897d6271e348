// Package config reads mailtwin's configuration, a TOML file, into plain values.
//
// It knows every key of the file, its default and what it may be, and refuses the
// whole file for one key that it does not know: a mistyped "on_local_delet" must not
// leave the default in force. It knows neither the network nor the Maildir, and what
// a key does is decided elsewhere.
package config

import (
	"fmt"
	"strings"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// Config is the whole file.
type Config struct {
	File     string    // where it was read from
	Sum      [32]byte  // of its text, which tells whether it was changed since
	StateDir string    // absolute; holds one directory per account
	Accounts []Account // in the order of the file; at least one
}

// Account gives the account of that name.
func (c *Config) Account(name string) (Account, bool) {
	for _, a := range c.Accounts {
		if a.Name == name {
			return a, true
		}
	}
	return Account{}, false
}

// Names gives the names of all accounts, in the order of the file.
func (c *Config) Names() []string {
	names := make([]string, len(c.Accounts))
	for i, a := range c.Accounts {
		names[i] = a.Name
	}
	return names
}

// Account is one login on one server, and the Maildir that it is kept in step with.
type Account struct {
	Name    string
	Maildir string // absolute
	Layout  Layout
	Server
	// Tunnel is a command that speaks IMAP on its standard input and output, in place
	// of Host, Port and TLS; nil where there is none.
	Tunnel []string

	Folders Patterns    // which folders are synced
	Trash   mail.Folder // the Trash folder where the server marks none; "" for none
	// Settings hold for every folder that no Override matches; ask SettingsFor.
	Settings    Settings
	HeadersOnly Patterns
	Overrides   []Override

	CreateFolders, RemoveFolders Sides
	Namespaces                   []string                    // of "personal", "other", "shared"
	Map                          map[mail.Folder]mail.Folder // name or prefix on the server to local name

	Timeout      time.Duration // no progress for so long ends a connection
	Connections  int           // 1 to 32
	Idle         Patterns
	PollInterval time.Duration
	FSync        bool
	PostSync     []string // argv; nil where there is none

	Identities []string // addresses that `send` takes for this account's, besides User
	SMTP       *Server  // nil where there is none
}

// Server is how one server is reached, and who logs in there.
type Server struct {
	Host      string // "" only with a Tunnel
	Port      int    // 1 to 65535
	TLS       TLS
	CAFile    string   // absolute path of a PEM file; "" for none
	PinSHA256 []string // base64 of 32 bytes each
	User      string
	Auth      string // "auto" or the SASL mechanism in lower case
	Password  Password
}

// Password is where a password comes from. At most one field is set.
type Password struct {
	Literal Secret
	Env     string   // the name of an environment variable
	Command []string // argv; the first line of its output is the password
}

// IsSet tells whether there is any source.
func (p Password) IsSet() bool { return p.Literal != "" || p.Env != "" || p.Command != nil }

// Secret is a text that must not be seen. It prints as "(hidden)"; what needs the
// text itself converts it to a string.
type Secret string

func (Secret) String() string { return "(hidden)" }

// GoString hides the text from %#v.
func (Secret) GoString() string { return "(hidden)" }

// MarshalText hides the text from JSON, TOML and slog's handlers.
func (Secret) MarshalText() ([]byte, error) { return []byte("(hidden)"), nil }

// Settings are what may differ from folder to folder.
type Settings struct {
	conflict.Policy
	MaxSize     int64 // octets; 0: no limit
	HeadersOnly bool
	KeepRecent  Recent
}

// Recent bounds how old a message may be to be kept locally. The zero value is no
// bound.
type Recent struct {
	Age   time.Duration // by INTERNALDATE; 0: no bound
	Count int           // the newest so many; 0: no bound
}

// Override is a [[accounts.NAME.folder]] table.
type Override struct {
	Match Patterns
	set   []func(*Settings)
}

// Sides tells on which sides something may be done.
type Sides struct{ Local, Remote bool }

// Layout is how folder names become directories.
type Layout string

// The layouts.
const (
	Nested      Layout = "nested"    // Lists/go is Lists/go/, INBOX is INBOX/
	MaildirPlus Layout = "maildir++" // Lists/go is .Lists.go/, INBOX is the root
)

// TLS is how a connection is protected.
type TLS uint8

// The choices of tls.
const (
	Implicit TLS = iota // TLS from the first byte
	StartTLS            // TLS before anything else is said
	NoTLS               // plain text
)

func (t TLS) String() string { return [...]string{"implicit", "starttls", "none"}[t] }

// Defaults is an account that sets nothing. All defaults of the file are here.
func Defaults() Account {
	return Account{
		Layout:        Nested,
		Server:        Server{Auth: "auto"},
		Folders:       mustPatterns("*"),
		CreateFolders: Sides{true, true},
		RemoveFolders: Sides{true, true},
		Namespaces:    []string{"personal"},
		Timeout:       45 * time.Second,
		Connections:   4,
		Idle:          mustPatterns(string(mail.Inbox)),
		PollInterval:  time.Minute,
		FSync:         true,
	}
}

// Selected tells whether the folder is synced at all.
func (a Account) Selected(f mail.Folder) bool { return a.Folders.Match(f) }

// SettingsFor gives what holds for the folder: the account's settings, and over them
// each override that matches, in order.
func (a Account) SettingsFor(f mail.Folder) Settings {
	s := a.Settings
	s.HeadersOnly = a.HeadersOnly.Match(f)
	for _, o := range a.Overrides {
		if o.Match.Match(f) {
			for _, set := range o.set {
				set(&s)
			}
		}
	}
	return s
}

// Limits names the keys by which only a part of the mail is to come here, of those that
// the account, or any of its overrides, sets.
func (a Account) Limits() []string {
	var max, headers, recent bool
	look := func(s Settings) {
		max, headers, recent = max || s.MaxSize != 0, headers || s.HeadersOnly, recent || s.KeepRecent != Recent{}
	}
	look(a.Settings)
	for _, o := range a.Overrides {
		var s Settings
		for _, set := range o.set {
			set(&s)
		}
		look(s)
	}
	var keys []string
	for _, k := range []struct {
		set bool
		key string
	}{{max, "max_size"}, {headers || len(a.HeadersOnly) > 0, "headers_only"}, {recent, "keep_recent"}} {
		if k.set {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// Policy gives what the user decided for the folder where both sides meet.
func (a Account) Policy(f mail.Folder) conflict.Policy { return a.SettingsFor(f).Policy }

// Error is one mistake in the configuration.
type Error struct {
	File string
	Line int // from 1 up; 0 where no line is to blame
	Text string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Text
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text)
}

// Errors are all mistakes of a file, in the order of its lines.
type Errors []*Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// ExitCode is what the program exits with: 2, usage or configuration.
func (es Errors) ExitCode() int { return 2 }
