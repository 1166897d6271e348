//go:build !linux

package wire

import "net"

// What the kernel has not sent yet is not known here: see unsent_linux.go.

type socket struct{}

func socketOf(net.Conn) *socket { return nil }

func (*socket) queued() int { return 0 }
