package remote

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
)

// To compress costs the server's processor, and one round trip to ask for it; what it saves is
// the time of the octets that it takes away. So it is asked for on a session only when there
// is much to bring over a long way.

const (
	// capDeflate announces COMPRESS=DEFLATE (RFC 4978).
	capDeflate imap.Cap = "COMPRESS=DEFLATE"
	// worthCompressing is how much has to travel: what a line of 10 Mbit/s takes 0.2 s for.
	worthCompressing = 256 << 10
	// nearby is within how much time a server answers that is in the same house, on a line
	// faster than it can compress for: Dovecot does 17 MB/s a connection, or 140 Mbit/s.
	nearby = 5 * time.Millisecond
	// compressPatience is for how long the first command that is compressed may go
	// unanswered. It is a NOOP, which takes a server no time.
	compressPatience = 10 * time.Second
)

// compression is what is known of the server's.
type compression uint8

const (
	untried  compression = iota
	proven               // it has answered what was sent to it compressed
	unusable             // it refused, or did not answer
)

// errCompress says that a server took up compression and then was heard of no more. The
// session has ended, and another one will do without.
var errCompress = errors.New("the server did not get on with its compression")

// compresses tells whether compress would have the session compressed.
func (a *Account) compresses(s *session, octets int64) bool {
	return !s.compressed && octets >= worthCompressing && s.caps.Has(capDeflate) && !s.isNear() && a.known() != unusable
}

// compress has a session compressed, before so many octets travel on it, where that pays.
// Nothing may be under way.
func (a *Account) compress(s *session, octets int64) error {
	if !a.compresses(s, octets) {
		return nil
	}
	known := a.known()
	s.compressed = s.conn.Compress()
	err := s.conn.Err()
	if err == nil && s.compressed && known == untried {
		// It may keep what it has compressed until there is more.
		patience := min(compressPatience, a.opts.Timeout)
		err = s.within(patience, "first compressed command", func() error { return s.client.Noop().Wait() })
	}
	now := unusable
	if err == nil && s.compressed {
		now = proven
	}
	a.mu.Lock()
	a.compression = now
	a.mu.Unlock()
	if err == nil {
		return nil
	}
	s.broken = true
	a.log.Info("the server is not asked to compress any more", "reason", err)
	return fmt.Errorf("%w: %w: %w", errCompress, mail.ErrUnreachable, err)
}

// known tells what is known of the server's compression.
func (a *Account) known() compression {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.compression
}

// isNear tells whether the server is so near that the line is faster than it can compress.
func (s *session) isNear() bool {
	if to, ok := s.conn.RemoteAddr().(*net.TCPAddr); ok && to.IP.IsLoopback() {
		return true
	}
	return s.conn.Stats().Nearest < nearby
}
