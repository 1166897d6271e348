package remote

import (
	"fmt"
	"net"
	"slices"
	"sync/atomic"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-sasl"

	"mailtwin/conflict/mail"
)

// ways are how to log in with a password: the configuration's words for them and
// their names in the protocol. The first one that the server offers is taken.
//
// Under TLS the simplest is the best. Without it nobody on the way should learn the
// password, which is no use against one who can also change what the server offers;
// who wants that names the way.
var (
	underTLS = []way{{"plain", sasl.Plain}, {"login", sasl.Login}, {"scram-sha-256", scramName}, {"cram-md5", cramName}}
	inPlain  = []way{{"scram-sha-256", scramName}, {"plain", sasl.Plain}, {"login", sasl.Login}, {"cram-md5", cramName}}
)

type way struct{ word, mechanism string }

// mechanism chooses how to log in.
func (a *Account) mechanism(caps imap.CapSet) (string, error) {
	ways := underTLS
	if a.opts.TLS == None && len(a.opts.Tunnel) == 0 {
		ways = inPlain
	}
	word := a.opts.Auth
	if word != "" && word != "auto" {
		i := slices.IndexFunc(ways, func(w way) bool { return w.word == word })
		if i < 0 {
			return "", fmt.Errorf("%w: auth %q is not known here", mail.ErrLogin, mail.Clean(word, maxText))
		}
		ways = ways[i : i+1]
	}
	for _, w := range ways {
		// The LOGIN command is not the mechanism of that name, and needs no AUTH=LOGIN.
		if w.mechanism == sasl.Login && !caps.Has(imap.CapLoginDisabled) || w.mechanism != sasl.Login && caps.Has(imap.AuthCap(w.mechanism)) {
			return w.mechanism, nil
		}
	}
	if len(ways) == 1 && ways[0].mechanism != sasl.Login {
		return "", fmt.Errorf("%w: the server does not offer AUTH=%s", mail.ErrLogin, ways[0].mechanism)
	}
	return "", fmt.Errorf("%w: the server takes no password on this connection (LOGINDISABLED)", mail.ErrLogin)
}

// authenticate logs in by a mechanism.
func (s *session) authenticate(conn *saslConn, mechanism, user, password string) error {
	switch mechanism {
	case sasl.Plain:
		return s.client.Authenticate(sasl.NewPlainClient("", user, password))
	case cramName:
		return s.client.Authenticate(&cramMD5{user: user, password: password})
	case scramName:
		conn.exchanging.Store(true)
		defer conn.exchanging.Store(false)
		c := newScram(user, password)
		if err := s.client.Authenticate(c); err != nil {
			return err
		}
		if !c.verified {
			return fmt.Errorf("%w: %s: it lets us in without a proof that it knows the password", mail.ErrUntrusted, scramName)
		}
		return nil
	}
	return s.client.Login(user, password).Wait()
}

// saslConn is what the client writes to. The client says "=" for an empty answer, as
// is right only in the line of AUTHENTICATE itself (RFC 9051, 6.2.2 and 9); in the
// exchange after it, where SCRAM ends with one, servers take that for damaged base64.
type saslConn struct {
	net.Conn
	exchanging atomic.Bool
}

func (c *saslConn) Write(p []byte) (int, error) {
	if !c.exchanging.Load() || string(p) != "=\r\n" {
		return c.Conn.Write(p)
	}
	if _, err := c.Conn.Write([]byte("\r\n")); err != nil {
		return 0, err
	}
	return len(p), nil
}
