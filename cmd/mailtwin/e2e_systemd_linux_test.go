package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// manager is a systemd that manages the services of a user, in a mount namespace of its own, in
// which the machine seems to have been booted with systemd.
type manager struct {
	*story
	home    string
	in      io.Writer
	answers chan printed
}

type printed struct {
	text string
	code int
}

// inManager prepares the namespace, starts systemd, and then runs a line of standard input after the
// other. After each it says its exit code. It is in cgroups of its own, since systemd takes all that is
// in its cgroup for its own.
const inManager = `
leave() { for root in $roots; do
	echo $$ > $root/cgroup.procs; find $root/mailtwin-test-$$ -depth -type d -exec rmdir {} \;
done; }
trap leave EXIT
for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
	own=$root/mailtwin-test-$$
	[ -e $root/cgroup.procs ] && mkdir $own && { echo $$ > $own/cgroup.procs && roots="$roots $root" || rmdir $own; }
done
grep -q '\(name=systemd\|^0:\):/.*mailtwin-test-' /proc/self/cgroup || exit 77
mount --make-rprivate / && mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mkdir /run/systemd/system || exit 77
/usr/lib/systemd/systemd --user --log-target=null < /dev/null > /dev/null 2>&1 &
while read -r line; do eval "$line" < /dev/null 2>&1; echo "=> $?"; done
kill %1; wait
`

// newManager starts a systemd with the units of docs/systemd.
func newManager(t *testing.T, s *story) *manager {
	for _, program := range []string{"/usr/lib/systemd/systemd", "systemctl", "unshare"} {
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if os.Getenv("MAILTWIN_REQUIRE") == "1" {
			t.Fatalf("%s is not installed, and MAILTWIN_REQUIRE is 1", program)
		}
		t.Skipf("%s is not installed", program)
	}
	if os.Getuid() != 0 {
		t.Skip("only root can make a mount namespace in which systemd seems to run")
	}
	m := &manager{story: s, home: filepath.Join(s.dir, "home"), answers: make(chan printed)}
	units := filepath.Join(m.home, ".config", "systemd", "user")
	s.check(os.MkdirAll(units, 0o700))
	s.check(os.Mkdir(filepath.Join(s.dir, "run"), 0o700))
	all, err := filepath.Glob(filepath.Join("..", "..", "docs", "systemd", "*"))
	s.check(err)
	for _, unit := range all {
		text, err := os.ReadFile(unit)
		s.check(err)
		s.check(os.WriteFile(filepath.Join(units, filepath.Base(unit)), text, 0o600))
	}
	cmd := exec.Command("env", "-u", "XDG_CONFIG_HOME", "-u", "DBUS_SESSION_BUS_ADDRESS", "unshare", "-m", "bash", "-c", inManager)
	cmd.Env = append(os.Environ(), "HOME="+m.home, "XDG_RUNTIME_DIR="+filepath.Join(s.dir, "run"))
	in, err := cmd.StdinPipe()
	s.check(err)
	out, err := cmd.StdoutPipe()
	s.check(err)
	s.check(cmd.Start())
	ended := make(chan error, 1)
	go func() {
		var text strings.Builder
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if code, ok := strings.CutPrefix(lines.Text(), "=> "); ok {
				n, err := strconv.Atoi(code)
				if err != nil {
					n = -1
				}
				m.answers <- printed{text.String(), n}
				text.Reset()
				continue
			}
			text.WriteString(lines.Text() + "\n")
		}
		ended <- cmd.Wait()
		close(m.answers)
	}()
	t.Cleanup(func() {
		in.Close()
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Errorf("systemd does not end")
			cmd.Process.Kill()
		}
	})
	m.in = in
	return m
}

// does runs a command line beside the manager, and gives what it prints; it must end with 0.
func (m *manager) does(line string) string {
	m.Helper()
	fmt.Fprintln(m.in, line)
	select {
	case a, ok := <-m.answers:
		if !ok {
			m.Skip("a mount namespace, or a cgroup, is not to be had here")
		}
		if a.code != 0 {
			m.Fatalf("%s ends with %d: %s", line, a.code, a.text)
		}
		return a.text
	case <-time.After(time.Minute):
		m.Fatalf("%s does not end", line)
	}
	return ""
}

// is gives a property of a unit.
func (m *manager) is(unit, property string) string {
	m.Helper()
	return strings.TrimSpace(m.does("systemctl --user show --value -p " + property + " " + unit))
}

// comes awaits that something is so.
func (m *manager) comes(what string, so func() bool) {
	m.Helper()
	for range 600 {
		if so() {
			return
		}
		time.Sleep(50 * time.Millisecond) // nothing tells
	}
	m.Fatalf("it does not come: %s", what)
}

// The units of docs/systemd under a systemd that manages a user's services: the watch is ready after
// its first sync, says what it is at, reads its configuration anew, is started again where it dies, or
// hangs, and ends as it is told to. And the timer's service syncs once.
func TestUserUnits(t *testing.T) {
	t.Parallel()
	s := embedded(t)
	m := newManager(t, s)
	m.comes("systemd runs", func() bool {
		return m.does("systemctl --user is-system-running || true") == "running\n"
	})

	// As docs/daemon.md has it: the program in ~/go/bin, and its configuration where it looks for it.
	d := s.device("laptop", `poll_interval = "1h"`)
	text, err := os.ReadFile(d.config)
	s.check(err)
	d.config = filepath.Join(m.home, ".config", "mailtwin", "config.toml")
	d.maildir = filepath.Join(filepath.Dir(d.config), "Mail")
	bin := filepath.Join(m.home, "go", "bin")
	for _, dir := range []string{filepath.Dir(d.config), bin} {
		s.check(os.MkdirAll(dir, 0o700))
	}
	s.check(os.WriteFile(d.config, text, 0o600))
	s.check(os.Symlink(d.link("mailtwin"), filepath.Join(bin, "mailtwin")))

	// Nothing else may be changed about the units than for how long one waits.
	soon := filepath.Join(m.home, ".config", "systemd", "user", "mailtwin-watch.service.d")
	s.check(os.Mkdir(soon, 0o700))
	s.check(os.WriteFile(filepath.Join(soon, "soon.conf"), []byte("[Service]\nRestartSec=100ms\nWatchdogSec=3s\nTimeoutAbortSec=1s\n"), 0o600))
	m.does("systemctl --user daemon-reload")

	s.deliver("INBOX", note("first"), none)
	m.does("systemctl --user start mailtwin-sync.service")
	s.want("INBOX here", d.subjects("INBOX"), "first")
	m.does("systemctl --user start mailtwin-sync.timer")
	if active := m.is("mailtwin-sync.timer", "ActiveState"); active != "active" {
		t.Errorf("the timer is %s", active)
	}
	m.does("systemctl --user stop mailtwin-sync.timer")

	const watch = "mailtwin-watch.service"
	here := func(subject string) {
		t.Helper()
		s.deliver("INBOX", note(subject), none)
		m.comes(subject+" is here", func() bool { return strings.Contains(strings.Join(d.subjects("INBOX"), "\n"), subject) })
	}
	s.deliver("INBOX", note("second"), none)
	m.does("systemctl --user start " + watch)
	s.want("INBOX here when it is ready", d.subjects("INBOX"), "first", "second")
	if state := m.is(watch, "SubState"); state != "running" {
		t.Errorf("it is %s", state)
	}
	if status := m.is(watch, "StatusText"); !strings.HasPrefix(status, "alice: ") {
		t.Errorf("its status is %q", status)
	}
	here("third")

	pid := m.is(watch, "MainPID")
	m.does("systemctl --user reload " + watch)
	m.comes("it has read its configuration anew", func() bool { return m.is(watch, "ActiveState") == "active" })
	if again := m.is(watch, "MainPID"); again != pid {
		t.Errorf("reloaded it is process %s, and was %s", again, pid)
	}
	here("fourth")

	signal := func(sig syscall.Signal) {
		t.Helper()
		n, err := strconv.Atoi(m.is(watch, "MainPID"))
		s.check(err)
		before := m.is(watch, "NRestarts")
		if err := syscall.Kill(n, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		m.comes(fmt.Sprint("it is started again after ", sig), func() bool {
			return m.is(watch, "NRestarts") != before && m.is(watch, "ActiveState") == "active"
		})
	}
	signal(syscall.SIGKILL)
	here("fifth")
	signal(syscall.SIGSTOP) // the watchdog hears nothing of it
	here("sixth")

	m.does("systemctl --user stop " + watch)
	if result, code := m.is(watch, "Result"), m.is(watch, "ExecMainStatus"); result != "success" || code != "0" {
		t.Errorf("it ended with %s, %s", result, code)
	}
	d.leavesNothing()
}
