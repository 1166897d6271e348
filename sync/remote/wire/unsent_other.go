//go:build !linux

package wire

import "net"

// What the kernel has not sent yet is not known here: see unsent_linux.go.

func boundUnsent(net.Conn) {}

func unsent(net.Conn) (int, bool) { return 0, false }
