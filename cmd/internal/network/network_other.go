//go:build !linux

package network

import (
	"context"
	"errors"
)

// Listener hears nothing. The BSDs and macOS tell of links and addresses by routing sockets, which
// nobody has tried here yet; the network is tried each minute.
type Listener struct{}

// Open tells that the system does not tell.
func Open() (*Listener, error) { return nil, errors.ErrUnsupported }

// Listen is there for other systems.
func (*Listener) Listen(context.Context, func()) error { return errors.ErrUnsupported }
