package wire

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// The kernel takes what is written long before it is sent: megabytes, for which a slow line
// takes longer than any server may be silent. So it is told to take little more than what is
// under way already, which slows nothing down, and asked what it has left.

// maxUnsent is how much the kernel takes that is not under way.
const maxUnsent = 128 << 10

// boundUnsent has the kernel take no more than maxUnsent.
func boundUnsent(conn net.Conn) {
	control(conn, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
	})
}

// unsent tells how many octets that were written have not reached the other end, if that is
// known.
func unsent(conn net.Conn) (n int, ok bool) {
	ok = control(conn, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.SIOCOUTQ)
		return err
	})
	return n, ok
}

// control does something with the socket beneath TLS, and tells whether it could.
func control(conn net.Conn, do func(fd int) error) bool {
	for {
		outer, is := conn.(interface{ NetConn() net.Conn })
		if !is {
			break
		}
		conn = outer.NetConn()
	}
	socket, is := conn.(syscall.Conn)
	if !is {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	failed := raw.Control(func(fd uintptr) { err = do(int(fd)) })
	return failed == nil && err == nil
}
