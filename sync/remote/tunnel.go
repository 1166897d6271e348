package remote

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"mailtwin/conflict/mail"
)

// tunnel is a program that speaks IMAP on its standard input and output, as a
// connection. Its deadlines are those of the pipes.
type tunnel struct {
	r, w *os.File
	cmd  *exec.Cmd
	said *tail
	once sync.Once
}

// openTunnel starts the program; Close ends it.
func openTunnel(argv []string) (*tunnel, error) {
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		ourOut.Close()
		return nil, fmt.Errorf("tunnel: %w", err)
	}
	t := &tunnel{r: ourIn, w: ourOut, cmd: exec.Command(argv[0], argv[1:]...), said: &tail{}}
	t.cmd.Stdin, t.cmd.Stdout, t.cmd.Stderr = theirIn, theirOut, t.said
	// What the program started may hold standard error open for longer than it lives.
	t.cmd.WaitDelay = time.Second
	err = t.cmd.Start()
	theirIn.Close()
	theirOut.Close()
	if err != nil {
		ourIn.Close()
		ourOut.Close()
		return nil, fmt.Errorf("tunnel: %w: %w", mail.ErrUnreachable, err)
	}
	return t, nil
}

func (t *tunnel) Read(p []byte) (int, error)  { return t.r.Read(p) }
func (t *tunnel) Write(p []byte) (int, error) { return t.w.Write(p) }

// Close ends the program and waits for it. A LOGOUT, where there was one, has been
// answered by now, so nothing is lost by ending it at once.
func (t *tunnel) Close() error {
	t.once.Do(func() {
		t.w.Close()
		t.r.Close()
		t.cmd.Process.Kill() // it may have ended by itself
		t.cmd.Wait()         // how it ended says nothing after that
	})
	return nil
}

func (t *tunnel) SetDeadline(d time.Time) error {
	return errors.Join(t.r.SetDeadline(d), t.w.SetDeadline(d))
}
func (t *tunnel) SetReadDeadline(d time.Time) error  { return t.r.SetDeadline(d) }
func (t *tunnel) SetWriteDeadline(d time.Time) error { return t.w.SetDeadline(d) }
func (t *tunnel) LocalAddr() net.Addr                { return tunnelAddr{} }
func (t *tunnel) RemoteAddr() net.Addr               { return tunnelAddr{} }

type tunnelAddr struct{}

func (tunnelAddr) Network() string { return "tunnel" }
func (tunnelAddr) String() string  { return "tunnel" }

// tail keeps the end of what a program says on standard error.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p[max(0, len(p)-maxText):]...)
	w.text = w.text[max(0, len(w.text)-maxText):]
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return mail.Clean(string(w.text), maxText)
}
