package network

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inside says that this process has a network of its own; only the test reads it.
const inside = "MAILTWIN_TEST_NETWORK"

// The kernel tells of an address that appears, and of a link that comes up, and what is as it was
// is no news. The test has a network of its own for that, in which nothing else happens.
func TestAddressesAndLinksThatAppearAreTold(t *testing.T) {
	if os.Getenv(inside) == "" {
		outside(t)
		return
	}
	l, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	hints, looks, ended := make(chan struct{}, 100), make(chan struct{}, 100), make(chan error, 1)
	l.looked = func() { looks <- struct{}{} }
	go func() { ended <- l.Listen(ctx, func() { hints <- struct{}{} }) }()
	// after does something, waits until the listener has looked, and checks how many hints there are.
	after := func(what string, news int, do func()) {
		t.Helper()
		do()
		select {
		case <-looks:
		case <-time.After(10 * time.Second):
			t.Fatalf("after %s it does not look", what)
		}
		if n := len(hints); n != news {
			t.Errorf("after %s there are %d hints, want %d", what, n, news)
		}
		for len(hints) > 0 {
			<-hints
		}
	}
	after("an address", 1, func() { give(t, "lo:1", "192.0.2.1") })
	after("one that nobody else can answer to", 0, func() { give(t, "lo:2", "127.0.0.2") })
	after("its end", 0, func() { take(t, "lo:2") })
	after("the end of the first one", 0, func() { take(t, "lo:1") })
	after("another address", 1, func() { give(t, "lo:1", "192.0.2.2") })
	if out, err := exec.Command("ip", "link", "add", "one", "type", "veth", "peer", "name", "other").CombinedOutput(); err != nil {
		t.Logf("there is no link to bring up: %v: %s", err, out)
	} else {
		raise(t, "one") // it does not carry before the other end is up
		raise(t, "other")
		select {
		case <-hints:
		case <-time.After(10 * time.Second):
			t.Error("it is not told of a link")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}

// outside runs the test in a process that has a network of its own.
func outside(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		t.Logf("%s", out)
	case errors.As(err, &exit):
		t.Errorf("%s", out)
	default: // no program is missing; as in many containers
		t.Skipf("the system does not let a process have a network of its own: %v", err)
	}
}

// ask asks the kernel something about a link.
func ask(t *testing.T, request uint, link string, set func(*unix.Ifreq) error) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(link)
	if err == nil {
		err = set(r)
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, request, r)
	}
	if errors.Is(err, unix.EPERM) {
		t.Skip("the system does not let a process change a network of its own")
	}
	if err != nil {
		t.Fatalf("%s: %v", link, err)
	}
}

// give gives a link an address.
func give(t *testing.T, link, addr string) {
	t.Helper()
	ask(t, unix.SIOCSIFADDR, link, func(r *unix.Ifreq) error { return r.SetInet4Addr(net.ParseIP(addr).To4()) })
}

func flags(t *testing.T, link string, up uint16) {
	t.Helper()
	ask(t, unix.SIOCSIFFLAGS, link, func(r *unix.Ifreq) error { r.SetUint16(up); return nil })
}

// take takes an address away, which is what it means that its name is not up.
func take(t *testing.T, link string)  { t.Helper(); flags(t, link, 0) }
func raise(t *testing.T, link string) { t.Helper(); flags(t, link, unix.IFF_UP) }

func TestOnlyWhatIsNewIsNews(t *testing.T) {
	before := map[string]bool{"eth0": true, "eth0 192.0.2.1/24": true}
	for want, all := range map[bool][]map[string]bool{
		true:  {{"eth0": true, "eth0 192.0.2.2/24": true}, {"eth0": true, "eth0 192.0.2.1/24": true, "wlan0": true}},
		false: {{}, {"eth0": true}, {"eth0": true, "eth0 192.0.2.1/24": true}},
	} {
		for _, now := range all {
			if appeared(before, now) != want {
				t.Errorf("%v is news: %v", now, !want)
			}
		}
	}
}
