package secret

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailtwin/cmd/internal/config"
)

func account(p config.Password) config.Account {
	return config.Account{Name: "alice", Server: config.Server{Password: p}}
}

func TestPassword(t *testing.T) {
	t.Setenv("MAILTWIN_TEST_PASSWORD", "from env")
	sh := func(script string) config.Password {
		return config.Password{Command: []string{"sh", "-c", script}}
	}
	notAProgram := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(notAProgram, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		password config.Password
		want     string
		err      string // part of it; "": none
		code     int
	}{
		{name: "inline", password: config.Password{Literal: "from file"}, want: "from file"},
		{name: "variable", password: config.Password{Env: "MAILTWIN_TEST_PASSWORD"}, want: "from env"},
		{name: "first line", password: sh(`printf 'one\ntwo\n'`), want: "one"},
		{name: "no line end", password: sh(`printf one`), want: "one"},
		{name: "CRLF", password: sh(`printf 'one\r\ntwo'`), want: "one"},
		{name: "in pieces, spaces kept", password: sh(`printf ' o'; printf 'ne \nx'`), want: " one "},
		{name: "much after the first line", password: sh(`echo one; head -c 300000 /dev/zero`), want: "one"},

		{name: "variable not set", password: config.Password{Env: "MAILTWIN_TEST_NONE"}, err: "password_env: the variable MAILTWIN_TEST_NONE is not set", code: 2},
		{name: "no source", err: "set password_command", code: 2},
		{name: "not in PATH", password: config.Password{Command: []string{"mailtwin-no-such", "xyzzy"}}, err: "mailtwin-no-such is not in PATH", code: 2},
		{name: "no such file", password: config.Password{Command: []string{"/nonexistent/pass", "xyzzy"}}, err: "there is no program /nonexistent/pass", code: 2},
		{name: "no program", password: config.Password{Command: []string{notAProgram, "xyzzy"}}, err: "may not be run", code: 2},
		{name: "fails", password: sh(`echo xyzzy; echo xyzzy >&2; exit 3`), err: "sh ended with exit status 3", code: 77},
		{name: "prints nothing", password: sh(`true`), err: "sh printed no password", code: 77},
		{name: "first line empty", password: sh(`printf '\nxyzzy'`), err: "sh printed no password", code: 77},
		{name: "endless line", password: sh(`head -c 70000 /dev/zero | tr '\0' x`), err: "more than 65536 bytes", code: 77},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Password(t.Context(), account(c.password))
			if c.err == "" {
				if err != nil || got != c.want {
					t.Errorf("got %q, %v; want %q", got, err, c.want)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.ExitCode() != c.code || !strings.Contains(err.Error(), c.err) {
				t.Fatalf("got %v (%T), want %q and exit code %d", err, err, c.err, c.code)
			}
			if got != "" || strings.Contains(err.Error(), "xyzzy") {
				t.Errorf("a secret is shown: %q, %v", got, err)
			}
		})
	}
}

func TestTunnelNeedsNoPassword(t *testing.T) {
	a := config.Account{Tunnel: []string{"imap"}}
	if got, err := Password(t.Context(), a); got != "" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestSilentCommandIsEnded(t *testing.T) {
	a := account(config.Password{Command: []string{"sleep", "60"}})
	_, err := run(t.Context(), a, 50*time.Millisecond, io.Discard)
	var e *Error
	if !errors.As(err, &e) || e.ExitCode() != 77 || !strings.Contains(err.Error(), "gave no password within 50ms") {
		t.Errorf("got %v", err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := account(config.Password{Command: []string{"sleep", "60"}})
	if _, err := Password(ctx, a); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The user is asked for a passphrase, or told why there is none, on standard error.
func TestCommandSpeaksToTheUser(t *testing.T) {
	var stderr strings.Builder
	a := account(config.Password{Command: []string{"sh", "-c", "echo unlock the key >&2; echo one"}})
	got, err := run(t.Context(), a, time.Minute, &stderr)
	if got != "one" || err != nil || stderr.String() != "unlock the key\n" {
		t.Errorf("got %q, %v, stderr %q", got, err, &stderr)
	}
}
