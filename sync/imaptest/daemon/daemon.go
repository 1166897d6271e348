// Package daemon runs the servers of others for tests: each as a process group of its
// own, which ends when its test does, and also when the test's process dies.
//
// Only tests, and what starts servers for docs/bench, import this package.
package daemon

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Unpacked is where the packages of servers lie that Debian does not let be installed
// beside another one: their files as they are, with no user, no service and no
// configuration in the system. .ci/run puts them there.
const Unpacked = "/usr/local/lib/mailtwin-servers"

// Find gives the first of the paths at which there is a program, in the system or among
// what is unpacked. A path without a slash is looked for as a shell does. It gives ""
// if there is none.
func Find(paths ...string) string {
	for _, path := range paths {
		for _, path := range []string{path, filepath.Join(Unpacked, path)} {
			if found, err := exec.LookPath(path); err == nil {
				return found
			}
		}
	}
	return ""
}

// Env is the environment for a program that Find gave: one that is only unpacked needs
// to be told where its libraries are.
func Env(program string, more ...string) []string {
	env := append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, more...)
	if strings.HasPrefix(program, Unpacked) {
		var dirs []string
		for _, pattern := range []string{"usr/lib", "usr/lib/*-linux-gnu", "usr/lib/courier-authlib"} {
			found, _ := filepath.Glob(filepath.Join(Unpacked, pattern)) // the pattern is a good one
			dirs = append(dirs, found...)
		}
		env = append(env, "LD_LIBRARY_PATH="+strings.Join(dirs, ":"))
	}
	return env
}

// Missing ends a test whose server is not installed: it is skipped, or fails if
// MAILTWIN_REQUIRE is 1.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("MAILTWIN_REQUIRE") == "1" {
		t.Fatalf("%s is not installed, and MAILTWIN_REQUIRE is 1", what)
	}
	t.Skipf("%s is not installed", what)
}

// FreePort finds a port that nobody listens on, below those that the system gives
// to outgoing connections, so that it stays free while a server is restarted.
func FreePort() (int, error) {
	for range 100 {
		port := 10000 + rand.IntN(22000)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("look for a free port: %w", err)
		}
		return port, nil
	}
	return 0, errors.New("look for a free port: none found")
}

// Process is a running server with all its children.
type Process struct {
	cmd      *exec.Cmd
	lifeline *os.File // the server is ended when it is closed
	exited   chan struct{}
}

// script ends the server when the test process is gone, however that came to pass: the
// subshell reads from a pipe that nobody ever writes to. $$ stays the number of the
// process that becomes the server.
const script = `( cat <&3 >/dev/null; kill $$ ) & exec "$@" 3<&-`

// Start starts a program that stays in the foreground. What it prints goes to log.
func Start(log *os.File, env []string, program string, args ...string) (*Process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	cmd := exec.Command("sh", append([]string{"-c", script, "sh", program}, args...)...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{r}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	r.Close()
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	p := &Process{cmd: cmd, lifeline: w, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		cmd.Wait() // how it ended is in its log
	}()
	return p, nil
}

// Await waits until the server greets on all of the ports of loopback.
func (p *Process) Await(ports ...int) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		var err error
		for _, port := range ports {
			if err = greets(port, deadline); err != nil {
				break
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("it ended: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it does not answer: %w", err)
		}
	}
}

// greets tries once whether a server answers.
func greets(port int, deadline time.Time) error {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "* OK") {
		return fmt.Errorf("greets with %q", line)
	}
	return nil
}

// Stop asks the server to end in good order, gives it some time for that, and then
// ends it.
func (p *Process) Stop(ports ...int) {
	p.cmd.Process.Signal(syscall.SIGTERM) // has it gone already, the wait ends at once
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
	}
	p.Kill(ports...)
}

// Kill ends the server and all its processes at once, as a power cut does, and waits
// until nobody listens on the ports any more.
func (p *Process) Kill(ports ...int) {
	group := -p.cmd.Process.Pid
	// The processes share a group; that there is nothing left of it is no error.
	syscall.Kill(group, syscall.SIGKILL)
	<-p.exited
	p.lifeline.Close()
	// They die a moment after the first of them, and hold the ports until then. Where
	// nobody waits for orphans, as in many containers, the group never gets empty; what
	// is left of it then holds no ports.
	for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(2 * time.Millisecond) {
		if errors.Is(syscall.Kill(group, 0), syscall.ESRCH) {
			return
		}
		if time.Since(began) > 50*time.Millisecond && refused(ports) {
			return
		}
	}
}

func refused(ports []int) bool {
	for _, port := range ports {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
		if err == nil {
			conn.Close()
			return false
		}
	}
	return true
}
