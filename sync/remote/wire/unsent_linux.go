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

// socket is the one beneath a connection, and what the kernel has told of it. Only one
// goroutine at a time may ask.
type socket struct {
	raw    syscall.RawConn
	ask    func(fd uintptr) // made once, since it is asked after each write
	unsent int
	err    error
}

// socketOf finds the socket beneath TLS, and has the kernel take no more than maxUnsent for
// it. There is none beneath a pipe.
func socketOf(conn net.Conn) *socket {
	for {
		outer, is := conn.(interface{ NetConn() net.Conn })
		if !is {
			break
		}
		conn = outer.NetConn()
	}
	inner, is := conn.(syscall.Conn)
	if !is {
		return nil
	}
	raw, err := inner.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw}
	s.ask = func(fd uintptr) { s.unsent, s.err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }
	// Where it cannot be bounded, it is another kind of socket.
	_ = raw.Control(func(fd uintptr) {
		s.err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
	})
	return s
}

// queued tells how many octets that were written have not reached the other end; 0 if that is
// not known.
func (s *socket) queued() int {
	if s == nil {
		return 0
	}
	if s.raw.Control(s.ask) != nil || s.err != nil {
		return 0
	}
	return s.unsent
}
