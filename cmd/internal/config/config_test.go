package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// write puts a configuration into a fresh directory, which is also the home.
func write(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	path := filepath.Join(dir, "c.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Load(write(t, text, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const minimal = `[accounts.alice]
maildir = "~/Mail"
host = "imap.example.org"
user = "alice"
password_command = "pass mail"
`

func TestMinimalConfigHasTheDefaults(t *testing.T) {
	c := load(t, minimal)
	want := Defaults()
	want.Name = "alice"
	want.Maildir = filepath.Join(filepath.Dir(c.File), "Mail")
	want.Host, want.Port, want.TLS, want.User = "imap.example.org", 993, Implicit, "alice"
	want.Password.Command = []string{"sh", "-c", "pass mail"}
	if got := c.Accounts[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := c.Accounts[0].Policy("INBOX"); got != (conflict.Policy{}) {
		t.Errorf("policy %+v, want the default", got)
	}
	if !strings.HasSuffix(c.StateDir, "/mailtwin") {
		t.Errorf("state directory %q", c.StateDir)
	}
}

const everything = `
state_dir = "state"

[accounts.zoe]
maildir = "/var/mail/zoe"
layout = "maildir++"
host = "127.0.0.1"
port = 1143
tls = "none"
ca_file = ""
pin_sha256 = ["47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="]
user = "zoe"
auth = "scram-sha-256"
password_env = "ZOE"
tunnel = ["ssh", "host", "imap"]
folders = ["*", "!Spam"]
trash = "inbox/Bin"
on_local_delete = "expunge"
on_remote_delete = "keep"
expunge = true
conflict = "delete"
direction = "pull"
create_folders = "local"
remove_folders = "none"
namespaces = ["personal", "shared"]
map = { "[Gmail]/All Mail" = "Archive" }
max_size = "5MB"
headers_only = ["Lists/*"]
keep_recent = "90d"
timeout = "10s"
connections = 2
idle = ["INBOX", "Work"]
poll_interval = "5m"
fsync = false
post_sync = ["notmuch", "new"]
identities = ["z@example.org"]

[[accounts.zoe.folder]]
match = "Archive/*"
max_size = "1.5MiB"
direction = "both"
keep_recent = "500"
headers_only = true
on_local_delete = "keep"
on_remote_delete = "remove"
conflict = "keep"
expunge = false

[[accounts.zoe.folder]]
match = "Archive/2020"
direction = "push"

[accounts.zoe.smtp]
host = "smtp.example.org"
tls = "starttls"

[accounts.amy]
maildir = "/var/mail/amy"
provider = "icloud"
user = "amy"
password_command = ["pass", "amy"]
[accounts.amy.smtp]
user = "other"
password_env = "OTHER"
`

func TestEveryKey(t *testing.T) {
	c := load(t, everything)
	if got := c.Names(); !reflect.DeepEqual(got, []string{"zoe", "amy"}) {
		t.Errorf("accounts %q are not in the order of the file", got)
	}
	if want := filepath.Join(filepath.Dir(c.File), "state"); c.StateDir != want {
		t.Errorf("state directory %q, want %q", c.StateDir, want)
	}
	z, _ := c.Account("zoe")
	want := Account{
		Name: "zoe", Maildir: "/var/mail/zoe", Layout: MaildirPlus,
		Server: Server{
			Host: "127.0.0.1", Port: 1143, TLS: NoTLS, User: "zoe", Auth: "scram-sha-256",
			PinSHA256: []string{"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
			Password:  Password{Env: "ZOE"},
		},
		Tunnel: []string{"ssh", "host", "imap"}, Folders: mustPatterns("*", "!Spam"), Trash: "INBOX/Bin",
		Settings: Settings{
			Policy: conflict.Policy{OnLocalDelete: conflict.Expunge, OnRemoteDelete: conflict.KeepFile,
				Winner: conflict.DeleteWins, Direction: conflict.Pull, ExpungeDeleted: true},
			MaxSize: 5_000_000, KeepRecent: Recent{Age: 90 * 24 * time.Hour},
		},
		HeadersOnly:   mustPatterns("Lists/*"),
		CreateFolders: Sides{Local: true}, Namespaces: []string{"personal", "shared"},
		Map: map[mail.Folder]mail.Folder{"[Gmail]/All Mail": "Archive"}, Timeout: 10 * time.Second, Connections: 2,
		Idle: mustPatterns("INBOX", "Work"), PollInterval: 5 * time.Minute, PostSync: []string{"notmuch", "new"},
		Identities: []string{"z@example.org"},
		SMTP: &Server{Host: "smtp.example.org", Port: 587, TLS: StartTLS, User: "zoe", Auth: "auto",
			Password: Password{Env: "ZOE"}},
	}
	for _, f := range []mail.Folder{"Spam", "INBOX"} {
		if got := z.Selected(f); got != (f == "INBOX") {
			t.Errorf("selected %s: %v", f, got)
		}
	}
	for folder, want := range map[mail.Folder]Settings{
		"INBOX":    want.Settings,
		"Lists/go": {want.Settings.Policy, 5_000_000, true, Recent{Age: 90 * 24 * time.Hour}},
		"Archive/2019": {conflict.Policy{OnLocalDelete: conflict.Keep, OnRemoteDelete: conflict.Remove, Winner: conflict.KeepWins,
			Direction: conflict.Both}, 3 << 19, true, Recent{Count: 500}},
		"Archive/2020": {conflict.Policy{OnLocalDelete: conflict.Keep, OnRemoteDelete: conflict.Remove, Winner: conflict.KeepWins,
			Direction: conflict.Push}, 3 << 19, true, Recent{Count: 500}},
	} {
		if got := z.SettingsFor(folder); got != want {
			t.Errorf("settings for %s: %+v, want %+v", folder, got, want)
		}
	}
	z.Overrides = nil // functions are not comparable
	if !reflect.DeepEqual(z, want) {
		t.Errorf("got  %+v\nwant %+v", z, want)
	}
	amy, _ := c.Account("amy")
	if amy.Host != "imap.mail.me.com" || amy.Port != 993 || amy.SMTP.Host != "smtp.mail.me.com" || amy.SMTP.Port != 587 ||
		amy.SMTP.TLS != StartTLS || amy.SMTP.User != "other" || amy.SMTP.Password.Env != "OTHER" {
		t.Errorf("the preset gives %+v and %+v", amy.Server, amy.SMTP)
	}
}

func TestPortFollowsTLS(t *testing.T) {
	for keys, want := range map[string]int{
		"":                                     993,
		"tls = \"implicit\"":                   993,
		"tls = \"starttls\"":                   143,
		"tls = \"none\"\nallow_plaintext=true": 143,
		"tls = \"starttls\"\nport=1430":        1430,
		"provider = \"gmail\"\ntls = \"starttls\"": 143,
	} {
		if got := load(t, minimal+keys).Accounts[0].Port; got != want {
			t.Errorf("%q: port %d, want %d", keys, got, want)
		}
	}
}

func TestMistakesNameTheirLine(t *testing.T) {
	second := func(maildir string) string {
		return minimal + "[accounts.bob]\nmaildir = \"" + maildir + "\"\nhost=\"h\"\nuser=\"u\"\npassword_command=\"p\"\n"
	}
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", minimal + `on_local_delet = "trash"`,
			`6: accounts.alice.on_local_delet: unknown key; did you mean "on_local_delete"?`},
		{"unknown key at the top", "statedir = \"x\"\n" + minimal, `1: statedir: unknown key; did you mean "state_dir"?`},
		{"case counts", minimal + `Trash = ""`, `6: accounts.alice.Trash: unknown key; did you mean "trash"?`},
		{"unknown key of an override", minimal + "[[accounts.alice.folder]]\nmatch='A'\n[[accounts.alice.folder]]\nmatch='B'\nmaxsize=1",
			`10: accounts.alice.folder[2].maxsize: unknown key; did you mean "max_size"?`},
		{"wrong value of the first override", minimal + "[[accounts.alice.folder]]\nmatch='A'\nexpunge=1\n[[accounts.alice.folder]]\nmatch='B'\nexpunge=true",
			`8: accounts.alice.folder[1].expunge: must be true or false`},
		{"override without match", minimal + "[[accounts.alice.folder]]\nexpunge=true", `6: accounts.alice.folder[1]: needs match`},
		{"override that excludes", minimal + "[[accounts.alice.folder]]\nmatch='!a'", `7: accounts.alice.folder[1].match: must not begin with "!"`},
		{"override in single brackets", minimal + "[accounts.alice.folder]\nmatch='a'", `6: accounts.alice.folder: must be an array of tables`},
		{"unknown key of smtp", minimal + "[accounts.alice.smtp]\nhost='h'\nhots='i'", `8: accounts.alice.smtp.hots: unknown key; did you mean "host"?`},
		{"smtp without host", minimal + "[accounts.alice.smtp]\n", `6: accounts.alice.smtp: needs host`},
		{"wrong type", minimal + "port = \"993\"", `6: accounts.alice.port: must be a whole number from 1 to 65535, without quotes`},
		{"port out of range", minimal + "port = 65536", `6: accounts.alice.port: must be`},
		{"bool in quotes", minimal + "fsync = \"yes\"", `6: accounts.alice.fsync: must be true or false`},
		{"string for array", minimal + "folders = \"*\"", `6: accounts.alice.folders: must be an array of strings`},
		{"tls", minimal + "tls = \"ssl\"", `6: accounts.alice.tls: must be one of "implicit", "starttls", "none"`},
		{"auth", minimal + "auth = \"ntlm\"", `6: accounts.alice.auth: must be one of "auto", "plain"`},
		{"on_local_delete", minimal + "on_local_delete = \"bin\"", `6: accounts.alice.on_local_delete: must be one of "trash", "expunge", "keep"`},
		{"provider", minimal + "provider = \"aol\"", `6: accounts.alice.provider: must be one of "fastmail", "gmail"`},
		{"namespaces", minimal + "namespaces = [\"mine\"]", `6: accounts.alice.namespaces: "mine" is not one of`},
		{"map to what is no name", minimal + "map = { a = 1 }", `6: accounts.alice.map: must be a table of strings`},
		{"map of INBOX", minimal + "map = { Inbox = \"Mail\" }", `6: accounts.alice.map: "Inbox" = "Mail": INBOX keeps its name`},
		{"map to INBOX", minimal + "map = { Mail = \"inbox\" }", `6: accounts.alice.map: "Mail" = "inbox": INBOX keeps its name`},
		{"map to nothing", minimal + "map = { a = \"\" }", `6: accounts.alice.map: "a" = "": a part of a name is empty`},
		{"map of a name with a slash too many", minimal + "map = { \"a/\" = \"b\" }", `6: accounts.alice.map: "a/" = "b": a part of a name is empty`},
		{"map of two to one", minimal + "map = { a = \"c\", b = \"c\" }", `6: accounts.alice.map: "a" and "b" both become "c"`},
		{"map of one to two", minimal + "map = { \"inbox/a\" = \"b\", \"INBOX/a\" = \"c\" }", `6: accounts.alice.map: "INBOX/a" is there twice`},
		{"size", minimal + "max_size = \"5 apples\"", `6: accounts.alice.max_size: must be a size`},
		{"negative size", minimal + "max_size = -1", `6: accounts.alice.max_size: must be a size`},
		{"no size", minimal + "max_size = \"MB\"", `6: accounts.alice.max_size: must be a size`},
		{"duration", minimal + "timeout = 45", `6: accounts.alice.timeout: must be a duration`},
		{"duration zero", minimal + "timeout = \"0s\"", `6: accounts.alice.timeout: must be a duration greater than zero`},
		{"recent", minimal + "keep_recent = \"new\"", `6: accounts.alice.keep_recent: must be an age`},
		{"pin", minimal + "pin_sha256 = [\"abc\"]", `6: accounts.alice.pin_sha256: "abc" is not the base64 of a SHA-256 sum`},
		{"pattern", minimal + "folders = [\"\"]", `6: accounts.alice.folders: pattern "": names no folder`},
		{"ca_file", minimal + "ca_file = \"/nonexistent\"", `6: accounts.alice.ca_file: open /nonexistent`},
		{"ca_file that is none", minimal + "ca_file = \"c.toml\"", `6: accounts.alice.ca_file: holds no certificate`},
		{"plain text", minimal + "tls = \"none\"", `6: accounts.alice.tls: "none" would send the password and all mail to imap.example.org in plain text`},
		{"plain text by smtp", minimal + "[accounts.alice.smtp]\nhost='h'\ntls = \"none\"", `8: accounts.alice.smtp.tls: "none" would send`},
		{"two passwords", minimal + "password_env = \"X\"", `6: accounts.alice.password_env: the password comes from password_command already`},
		{"host with port", "[accounts.a]\nmaildir='m'\nuser='u'\npassword_env='P'\nhost = \"h:993\"", `5: accounts.a.host: must be a host's name or address alone`},
		{"nothing set", "[accounts.a]\n", "1: accounts.a: needs a password"},
		{"no maildir", "[accounts.a]\nhost='h'\nuser='u'\npassword_env='P'", "1: accounts.a: needs maildir"},
		{"empty maildir", "[accounts.a]\nmaildir=''\nhost='h'\nuser='u'\npassword_env='P'", "1: accounts.a: needs maildir"},
		{"no host", "[accounts.a]\nmaildir='m'\nuser='u'\npassword_env='P'", "1: accounts.a: needs host"},
		{"no user", "[accounts.a]\nmaildir='m'\nhost='h'\npassword_env='P'", "1: accounts.a: needs user"},
		{"a variable in a path", "[accounts.a]\nmaildir='$HOME/m'\nhost='h'\nuser='u'\npassword_env='P'", `2: accounts.a.maildir: "$HOME/m": only "~/"`},
		{"another's home", "[accounts.a]\nmaildir='~bob/m'\nhost='h'\nuser='u'\npassword_env='P'", `2: accounts.a.maildir: "~bob/m": only "~/"`},
		{"account's name", "[accounts.\"../a\"]\nmaildir='m'", "1: accounts.../a: an account's name may hold letters"},
		{"account is no table", "accounts.a = 1", "1: accounts.a: must be a table"},
		{"accounts is no table", "accounts = 1", "1: accounts: must be a table"},
		{"no account", "", " names no account"},
		{"no TOML", minimal + "x = = 1", "6: "},
		{"equal Maildirs", second("~/Mail/../Mail/"), "7: accounts.bob.maildir: account alice has the same Maildir"},
		{"nested Maildirs", second("~/Mail/bob"), "7: accounts.bob.maildir: lies within that of account alice"},
		{"nested the other way", second("~"), "7: accounts.bob.maildir: that of account alice, "},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, c.text, 0o600)
			_, err := Load(path)
			if err == nil {
				t.Fatal("no error")
			}
			if want := path + ":" + c.want; !strings.Contains(err.Error(), want) {
				t.Errorf("got  %v\nwant %v", err, want)
			}
			if code := err.(Errors).ExitCode(); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
		})
	}
}

func TestNotMistaken(t *testing.T) {
	for name, text := range map[string]string{
		"plain text to this machine":   strings.Replace(minimal, "imap.example.org", "localhost", 1) + "tls='none'",
		"plain text to 127.0.0.1":      strings.Replace(minimal, "imap.example.org", "127.8.9.1", 1) + "tls='none'",
		"plain text to ::1":            strings.Replace(minimal, "imap.example.org", "[::1]", 1) + "tls='none'",
		"a tunnel needs nothing else":  "[accounts.a]\nmaildir='m'\ntunnel='imap'",
		"a Maildir beside another one": minimal + "[accounts.b]\nmaildir='~/Mail2'\ntunnel='imap'",
		"mode 0644 without a password": minimal,
	} {
		if _, err := Load(write(t, text, 0o644)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLinkedMaildirsAreEqual(t *testing.T) {
	path := write(t, minimal+"[accounts.b]\nmaildir='link/Mail'\ntunnel='imap'", 0o600)
	if err := os.Symlink(".", filepath.Join(filepath.Dir(path), "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "the same Maildir") {
		t.Errorf("got %v", err)
	}
}

const inline = `[accounts.alice]
maildir = "~/Mail"
host = "imap.example.org"
user = "alice"
password = "xyzzy-secret"
`

func TestInlinePasswordNeedsAPrivateFile(t *testing.T) {
	for mode, good := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o640: false, 0o604: false, 0o620: false} {
		path := write(t, inline, mode)
		_, err := Load(path)
		if good != (err == nil) {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%s:5: accounts.alice.password: stands in a file that others can read (mode %04o): chmod 600 ", path, mode)) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestPasswordIsNeverShown(t *testing.T) {
	c := load(t, inline)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprint(c.Accounts), fmt.Sprintf("%+v", c.Accounts), fmt.Sprintf("%#v", c.Accounts[0].Password), string(asJSON)} {
		if strings.Contains(shown, "xyzzy") {
			t.Errorf("shown: %s", shown)
		}
	}
	if got := string(c.Accounts[0].Password.Literal); got != "xyzzy-secret" {
		t.Errorf("the password itself is %q", got)
	}
	for _, bad := range []string{
		strings.Replace(inline, `"xyzzy-secret"`, "xyzzy-secret", 1),
		strings.Replace(inline, `"xyzzy-secret"`, "1xyzzy", 1),
		strings.Replace(inline, `"xyzzy-secret"`, "truexyzzy", 1),
		strings.Replace(inline, `"xyzzy-secret"`, `"xyzzy\y"`, 1),
		strings.Replace(inline, `"xyzzy-secret"`, `"xyzzy`, 1),
		strings.Replace(inline, `"xyzzy-secret"`, `["xyzzy"]`, 1),
		inline + "password = \"xyzzy2\"",
	} {
		_, err := Load(write(t, bad, 0o600))
		if err == nil || strings.Contains(err.Error(), "xyzzy") || !strings.Contains(err.Error(), "c.toml:") {
			t.Errorf("error for %q: %v", bad, err)
		}
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	if err == nil || !strings.Contains(err.Error(), "none.toml: there is no such file") {
		t.Errorf("got %v", err)
	}
}

func TestAllMistakesAtOnceInOrder(t *testing.T) {
	_, err := Load(write(t, minimal+"port = 0\nfoldes = []\ntls = 1", 0o600))
	var lines []int
	for _, e := range err.(Errors) {
		lines = append(lines, e.Line)
	}
	if !reflect.DeepEqual(lines, []int{6, 7, 8}) {
		t.Errorf("lines %v: %v", lines, err)
	}
}

// FuzzLoad: no file makes Load panic, and what it takes can be asked about any folder.
func FuzzLoad(f *testing.F) {
	f.Add(minimal, "INBOX")
	f.Add(everything, "Archive/2020")
	f.Add("accounts = [1]", "")
	f.Add("[[accounts.a.folder]]\n[accounts.a.folder.x]", "a")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text, folder string) {
		path := filepath.Join(dir, "c.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		if err != nil {
			if len(err.(Errors)) == 0 {
				t.Error("an error that says nothing")
			}
			return
		}
		for _, a := range c.Accounts {
			a.Selected(mail.Folder(folder))
			if s := a.SettingsFor(mail.Folder(folder)); s.MaxSize < 0 || a.Connections < 1 || !filepath.IsAbs(a.Maildir) {
				t.Errorf("taken: %+v with %+v", a, s)
			}
		}
	})
}
