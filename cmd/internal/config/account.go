package config

import (
	"crypto/x509"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"unicode"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// readAccounts reads the [accounts] table. order has the accounts' names in the
// order of the file.
func (l *loader) readAccounts(t *table, order []string) []Account {
	var accounts []Account
	for _, name := range order {
		at := t.sub(name)
		if at == nil {
			continue
		}
		if why := badName(name); why != "" {
			at.failf("", "an account's name %s", why)
			continue
		}
		accounts = append(accounts, l.readAccount(at, name))
	}
	return accounts
}

// badName tells what is wrong with an account's name, which is a directory in the
// state directory and stands before the ":" of ACCOUNT:FOLDER.
func badName(name string) string {
	ok := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._@+-", r)
	}
	switch {
	case name == "" || len(name) > 64:
		return "has 1 to 64 bytes"
	case strings.ContainsFunc(name, func(r rune) bool { return !ok(r) }):
		return "may hold letters, digits and any of . _ @ + -"
	case name[0] == '.' || name[0] == '-':
		return "begins with a letter or digit"
	}
	return ""
}

var (
	asSides = oneOf(
		option[Sides]{"both", Sides{true, true}},
		option[Sides]{"local", Sides{Local: true}},
		option[Sides]{"remote", Sides{Remote: true}},
		option[Sides]{"none", Sides{}})
	asTLS = oneOf(
		option[TLS]{"implicit", Implicit},
		option[TLS]{"starttls", StartTLS},
		option[TLS]{"none", NoTLS})
	asAuth = asWord("auto", "plain", "login", "cram-md5", "scram-sha-256", "xoauth2", "oauthbearer")
)

func (l *loader) readAccount(t *table, name string) Account {
	a := Defaults()
	a.Name = name
	into(t, "maildir", l.asPath, &a.Maildir)
	if v := t.values["maildir"]; v == nil || v == "" {
		t.needs("maildir", `needs maildir = "...", the directory that holds its mail`)
	}
	into(t, "layout", asWord(Nested, MaildirPlus), &a.Layout)
	preset := readProvider(t)
	a.Server = l.readServer(t, a.Server, preset.imap, 993, 143)
	into(t, "tunnel", asCommand, &a.Tunnel)
	l.checkAccess(t, a)

	into(t, "folders", asPatterns, &a.Folders)
	trash, _ := get(t, "trash", asText)
	if trash != "" {
		a.Trash = mail.ParseFolder(trash)
	}
	for _, set := range readSettings(t) {
		set(&a.Settings)
	}
	into(t, "headers_only", asPatterns, &a.HeadersOnly)
	for _, ot := range t.subs("folder") {
		a.Overrides = append(a.Overrides, readOverride(ot))
	}
	into(t, "create_folders", asSides, &a.CreateFolders)
	into(t, "remove_folders", asSides, &a.RemoveFolders)
	into(t, "namespaces", asWords("personal", "other", "shared"), &a.Namespaces)
	into(t, "map", asFolderMap, &a.Map)

	into(t, "timeout", asDuration, &a.Timeout)
	into(t, "connections", asInt(1, 32), &a.Connections)
	into(t, "idle", asPatterns, &a.Idle)
	into(t, "poll_interval", asDuration, &a.PollInterval)
	into(t, "fsync", asBool, &a.FSync)
	into(t, "post_sync", asCommand, &a.PostSync)

	into(t, "identities", asStrings, &a.Identities)
	if st := t.sub("smtp"); st != nil {
		s := l.readServer(st, Server{User: a.User, Auth: "auto"}, preset.smtp, 465, 587)
		if s.Host == "" {
			st.needs("host", `needs host = "..."`)
		}
		if !s.Password.IsSet() {
			s.Password = a.Password
		}
		st.done()
		a.SMTP = &s
	}
	t.done()
	return a
}

// checkAccess complains where an account cannot be reached or logged in to.
func (l *loader) checkAccess(t *table, a Account) {
	if a.Tunnel != nil {
		return // it may come logged in (RFC 9051, 7.1.4: PREAUTH)
	}
	if a.Host == "" && !t.has("host") && !t.has("provider") {
		t.needs("host", `needs host = "...", or provider = "..."`)
	}
	if a.User == "" && !t.has("user") {
		t.needs("user", `needs user = "...", the name to log in with`)
	}
	if !a.Password.IsSet() && !t.has("password") && !t.has("password_env") && !t.has("password_command") {
		t.needs("password", `needs a password: password_command = ["pass", "show", "mail/%s"], for example`, a.Name)
	}
}

// readServer reads what an account and its smtp table have in common.
func (l *loader) readServer(t *table, s, preset Server, implicit, plain int) Server {
	s.Host, s.Port, s.TLS = preset.Host, preset.Port, preset.TLS
	into(t, "host", asHost, &s.Host)
	into(t, "tls", asTLS, &s.TLS)
	if t.has("tls") || t.has("host") || s.Port == 0 {
		s.Port = implicit
		if s.TLS != Implicit {
			s.Port = plain
		}
	}
	into(t, "port", asInt(1, 65535), &s.Port)
	allowed, _ := get(t, "allow_plaintext", asBool)
	if s.TLS == NoTLS && s.Host != "" && !allowed && !isLoopback(s.Host) {
		t.failf("tls", `"none" would send the password and all mail to %s in plain text; use "implicit" or "starttls", `+
			`or set allow_plaintext = true`, s.Host)
	}
	into(t, "ca_file", l.asCAFile, &s.CAFile)
	into(t, "pin_sha256", asPins, &s.PinSHA256)
	into(t, "user", asText, &s.User)
	into(t, "auth", asAuth, &s.Auth)

	literal, _ := get(t, "password", asText)
	s.Password.Literal = Secret(literal)
	into(t, "password_env", asText, &s.Password.Env)
	into(t, "password_command", asCommand, &s.Password.Command)
	if t.has("password") && l.exposed != "" {
		t.failf("password", "stands in a file that %s: chmod 600 %s, or use password_command", l.exposed, l.doc.file)
	}
	var sources []string
	for _, key := range []string{"password", "password_env", "password_command"} {
		if t.has(key) {
			sources = append(sources, key)
		}
	}
	if len(sources) > 1 {
		slices.SortStableFunc(sources, func(a, b string) int { return t.line(a) - t.line(b) })
		t.failf(sources[1], "the password comes from %s already; leave one of them", sources[0])
	}
	return s
}

func asHost(v any) (string, error) {
	host, err := asText(v)
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]") // [::1], as in a URL
	if err == nil && (host == "" || strings.ContainsAny(host, " /@[]") || strings.Count(host, ":") == 1) {
		return "", errHost
	}
	return host, err
}

// isLoopback tells whether what is sent to host stays on this machine. Of names only
// localhost is believed (RFC 6761, 6.3).
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

func (l *loader) asCAFile(v any) (string, error) {
	path, err := l.asPath(v)
	if err != nil || path == "" {
		return path, err
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return "", errNoCertificate
	}
	return path, nil
}

// readSettings reads what an account and an override have in common, each key as a
// change to the settings so far.
func readSettings(t *table) []func(*Settings) {
	var sets []func(*Settings)
	setting(t, &sets, "on_local_delete", oneOf(
		option[conflict.OnLocalDelete]{"trash", conflict.Trash},
		option[conflict.OnLocalDelete]{"expunge", conflict.Expunge},
		option[conflict.OnLocalDelete]{"keep", conflict.Keep},
	), func(s *Settings, v conflict.OnLocalDelete) { s.OnLocalDelete = v })
	setting(t, &sets, "on_remote_delete", oneOf(
		option[conflict.OnRemoteDelete]{"remove", conflict.Remove},
		option[conflict.OnRemoteDelete]{"keep", conflict.KeepFile},
	), func(s *Settings, v conflict.OnRemoteDelete) { s.OnRemoteDelete = v })
	setting(t, &sets, "conflict", oneOf(
		option[conflict.Winner]{"keep", conflict.KeepWins},
		option[conflict.Winner]{"delete", conflict.DeleteWins},
	), func(s *Settings, v conflict.Winner) { s.Winner = v })
	setting(t, &sets, "direction", oneOf(
		option[conflict.Direction]{"both", conflict.Both},
		option[conflict.Direction]{"pull", conflict.Pull},
		option[conflict.Direction]{"push", conflict.Push},
	), func(s *Settings, v conflict.Direction) { s.Direction = v })
	setting(t, &sets, "expunge", asBool, func(s *Settings, v bool) { s.ExpungeDeleted = v })
	setting(t, &sets, "max_size", asSize, func(s *Settings, v int64) { s.MaxSize = v })
	setting(t, &sets, "keep_recent", asRecent, func(s *Settings, v Recent) { s.KeepRecent = v })
	return sets
}

func setting[T any](t *table, sets *[]func(*Settings), key string, parse func(any) (T, error), set func(*Settings, T)) {
	if v, ok := get(t, key, parse); ok {
		*sets = append(*sets, func(s *Settings) { set(s, v) })
	}
}

func readOverride(t *table) Override {
	var o Override
	into(t, "match", asPattern, &o.Match)
	if !t.has("match") {
		t.needs("match", `needs match = "...", the folders that it is for`)
	}
	o.set = readSettings(t)
	setting(t, &o.set, "headers_only", asBool, func(s *Settings, v bool) { s.HeadersOnly = v })
	t.done()
	return o
}

// provider is where a well-known mail provider's servers are.
type provider struct{ imap, smtp Server }

var providers = map[string]provider{
	"fastmail": {
		Server{Host: "imap.fastmail.com", Port: 993},
		Server{Host: "smtp.fastmail.com", Port: 465}},
	"gmail": {
		Server{Host: "imap.gmail.com", Port: 993},
		Server{Host: "smtp.gmail.com", Port: 465}},
	"icloud": {
		Server{Host: "imap.mail.me.com", Port: 993},
		Server{Host: "smtp.mail.me.com", Port: 587, TLS: StartTLS}},
	"outlook": {
		Server{Host: "outlook.office365.com", Port: 993},
		Server{Host: "smtp.office365.com", Port: 587, TLS: StartTLS}},
	"yahoo": {
		Server{Host: "imap.mail.yahoo.com", Port: 993},
		Server{Host: "smtp.mail.yahoo.com", Port: 465}},
}

// readProvider reads the preset; what the file says besides goes before it.
func readProvider(t *table) provider {
	name, ok := get(t, "provider", asWord(slices.Sorted(maps.Keys(providers))...))
	if !ok {
		return provider{}
	}
	return providers[name]
}
