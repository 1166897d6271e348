// Package secret fetches passwords from where the configuration says they are. What
// it fetched is in no error and no log.
package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"mailtwin/cmd/internal/config"
)

// timeout is how long a password command may take: long enough to type a passphrase
// into the window of an agent.
const timeout = 60 * time.Second

// maxLine bounds a password. OAuth2 tokens have some 2,000 bytes.
const maxLine = 64 << 10

// exitConfig and exitNoPerm are what the program exits with: 2 where the
// configuration names something that is not there, 77 (EX_NOPERM) where something is
// there and gives no password.
const (
	exitConfig = 2
	exitNoPerm = 77
)

// Error says why there is no password.
type Error struct {
	Account string
	Err     error
	code    int
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// ExitCode is what the program exits with: 2 or 77.
func (e *Error) ExitCode() int { return e.code }

// Check tells, without running anything, whether the account's password can be asked
// for: the variable is set, the program is there. Its error is an *Error.
func Check(a config.Account) error {
	switch p := a.Password; {
	case p.Literal != "":
		return nil
	case p.Env != "":
		if os.Getenv(p.Env) == "" {
			return &Error{a.Name, fmt.Errorf("password_env: the variable %s is not set", p.Env), exitConfig}
		}
	case p.Command != nil:
		if _, err := exec.LookPath(p.Command[0]); err != nil {
			return &Error{a.Name, fmt.Errorf("password_command: %s", reason(p.Command[0], err)), exitConfig}
		}
	case a.Tunnel == nil:
		return &Error{a.Name, errors.New("no password is configured; set password_command"), exitConfig}
	}
	return nil
}

// Password fetches the account's password. A command runs for a minute at most, has
// no standard input, and speaks to the user through standard error. For a tunnel that
// comes logged in, the password may be "". An error that is neither an *Error nor
// the context's does not occur.
func Password(ctx context.Context, a config.Account) (string, error) {
	if err := Check(a); err != nil {
		return "", err
	}
	switch p := a.Password; {
	case p.Literal != "":
		return string(p.Literal), nil
	case p.Env != "":
		return os.Getenv(p.Env), nil
	case p.Command != nil:
		return run(ctx, a, timeout, os.Stderr)
	}
	return "", nil
}

// run runs the account's password command. Errors name the program and how it ended:
// its arguments may hold a secret, and its output is one.
func run(ctx context.Context, a config.Account, timeout time.Duration, stderr io.Writer) (string, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	argv := a.Password.Command
	var line firstLine
	cmd := exec.CommandContext(limited, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &line, stderr
	// A process that the command left behind may hold its output open.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the command itself ended well
	}
	fail := func(why string) (string, error) {
		return "", &Error{a.Name, fmt.Errorf("password_command: %s", why), exitNoPerm}
	}
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case limited.Err() != nil:
		return fail(fmt.Sprintf("%s gave no password within %v", filepath.Base(argv[0]), timeout))
	case err != nil:
		return fail(reason(argv[0], err))
	case line.long:
		return fail(fmt.Sprintf("%s printed more than %d bytes in its first line", filepath.Base(argv[0]), maxLine))
	case len(line.text()) == 0:
		return fail(filepath.Base(argv[0]) + " printed no password in its first line")
	}
	return line.text(), nil
}

// reason says how a program ended, or why it did not start.
func reason(program string, err error) string {
	name := filepath.Base(program)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return fmt.Sprintf("%s ended with %s; run it in a terminal to see why", name, exit.ProcessState)
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Sprintf("%s is not in PATH; cron's is short, so give the whole path", name)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Sprintf("there is no program %s", program)
	case errors.Is(err, os.ErrPermission):
		return fmt.Sprintf("%s may not be run", program)
	}
	return fmt.Sprintf("%s: %v", name, err)
}

// firstLine keeps what is written to it up to the first line end.
type firstLine struct {
	kept  []byte
	ended bool
	long  bool
}

func (f *firstLine) Write(p []byte) (int, error) {
	if !f.ended {
		line, _, ended := bytes.Cut(p, []byte("\n"))
		f.ended = ended
		if len(f.kept)+len(line) > maxLine {
			f.long, f.ended = true, true
		} else {
			f.kept = append(f.kept, line...)
		}
	}
	return len(p), nil
}

func (f *firstLine) text() string { return string(bytes.TrimSuffix(f.kept, []byte("\r"))) }
