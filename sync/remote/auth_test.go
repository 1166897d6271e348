package remote_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
	"mailtwin/sync/remote"
)

func TestWaysToLogIn(t *testing.T) {
	server := dovecot.Start(t)
	login := func(auth string, tls remote.TLSMode, password string) (said string, err error) {
		var mu sync.Mutex
		var lines []string
		opts := remote.Options{
			Host: server.Host, Port: server.Port, TLS: tls, CAFile: server.CAFile, User: server.User, Auth: auth,
			Trace: func(_ int, sent bool, line string) {
				mu.Lock()
				defer mu.Unlock()
				if strings.Contains(line, password) {
					t.Errorf("%s: the trace shows %q", auth, line)
				}
				if sent && !strings.HasSuffix(line, "CAPABILITY") {
					lines = append(lines, line)
				}
			},
		}
		if tls == remote.Implicit {
			opts.Port = server.TLSPort
		}
		_, err = open(t, opts, password).Folders(t.Context())
		mu.Lock()
		defer mu.Unlock()
		_, said, _ = strings.Cut(strings.Join(lines, "\n"), " ")
		return said, err
	}
	for _, c := range []struct {
		auth string
		tls  remote.TLSMode
		says string
	}{
		{"plain", remote.None, "AUTHENTICATE PLAIN ***"},
		{"login", remote.None, "LOGIN ***"},
		{"cram-md5", remote.None, "AUTHENTICATE CRAM-MD5\n***"},
		{"scram-sha-256", remote.None, "AUTHENTICATE SCRAM-SHA-256 ***\n***"},
		{"scram-sha-256", remote.StartTLS, "AUTHENTICATE SCRAM-SHA-256 ***\n***"},
		// Nobody on the way should learn the password.
		{"auto", remote.None, "AUTHENTICATE SCRAM-SHA-256 ***\n***"},
		{"auto", remote.Implicit, "AUTHENTICATE PLAIN ***"},
	} {
		said, err := login(c.auth, c.tls, server.Password)
		if err != nil || !strings.HasPrefix(said, c.says+"\n") {
			t.Errorf("%s: %v; the client said %q, want %q", c.auth, err, said, c.says)
		}
	}
	// One each: Dovecot takes its time for those who guess.
	for _, auth := range []string{"scram-sha-256", "cram-md5"} {
		if _, err := login(auth, remote.None, "a wrong one"); !errors.Is(err, mail.ErrLogin) {
			t.Errorf("%s with a wrong password: %v", auth, err)
		}
	}
}
