package network

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Listener hears the kernel tell of links and addresses (rtnetlink(7)).
type Listener struct {
	socket *os.File
	ways   map[string]bool
	looked func() // is called after each look; nil but in tests
}

// Open begins to listen. What appears after it has returned is told.
func Open() (*Listener, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("listen to the network's changes: %w", err)
	}
	l := &Listener{socket: os.NewFile(uintptr(fd), "netlink")}
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups})
	if err == nil {
		l.ways, err = ways()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen to the network's changes: %w", err), l.socket.Close())
	}
	return l, nil
}

// Listen calls back each time that a way has appeared, until ctx ends, and closes the Listener.
//
// What the kernel says is only a reason to look: so nothing depends on its having said all, and it
// says a lot.
func (l *Listener) Listen(ctx context.Context, back func()) error {
	defer l.socket.Close()
	defer context.AfterFunc(ctx, func() { l.socket.Close() })()
	for buf := make([]byte, 32<<10); ; {
		_, err := l.socket.Read(buf)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.Is(err, unix.ENOBUFS): // it has more to say than there is room for
			return fmt.Errorf("listen to the network's changes: %w", err)
		}
		now, err := ways()
		if err != nil {
			return err
		}
		if appeared(l.ways, now) {
			back()
		}
		l.ways = now
		if l.looked != nil {
			l.looked()
		}
	}
}
