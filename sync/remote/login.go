package remote

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
	"mailtwin/sync/remote/wire"
)

// capObjectID says that the server has MAILBOXIDs and EMAILIDs (RFC 8474).
const capObjectID imap.Cap = "OBJECTID"

// dial opens a session: connects, logs in, and learns what the server can do.
func (a *Account) dial(ctx context.Context) (*session, error) {
	raw, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.dialled++
	id := a.dialled
	a.mu.Unlock()

	opts := wire.Options{Timeout: a.opts.Timeout}
	if trace := a.opts.Trace; trace != nil {
		opts.Trace = func(sent bool, line string) { trace(id, sent, line) }
	}
	conn := wire.New(raw, opts)
	sasl := &saslConn{Conn: conn}
	s := &session{conn: conn, client: imapclient.New(sasl, nil), log: a.log.With("conn", id), scans: &a.scans}
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	if err := a.login(ctx, s, sasl); err != nil {
		s.end()
		if t, ok := raw.(*tunnel); ok {
			// The program knows better why than its silence tells.
			if said := t.said.String(); said != "" {
				err = fmt.Errorf("%w; %s said: %s", err, mail.Clean(a.opts.Tunnel[0], maxText), said)
			}
		}
		a.mu.Lock()
		a.past = s.addTo(a.past)
		a.mu.Unlock()
		return nil, err
	}
	s.take()
	if s.caps.Has(capObjectID) {
		s.conn.AskEmailIDs()
	}
	s.conn.Ready()
	return s, nil
}

// login takes a fresh session from the greeting to its capabilities.
func (a *Account) login(ctx context.Context, s *session, conn *saslConn) error {
	d := a.opts.Timeout
	if err := s.within(d, "connection", s.client.WaitGreeting); err != nil {
		return fmt.Errorf("greeting: %w", s.greetingTrouble(err))
	}
	// The client asks for capabilities by itself where the greeting lacks them.
	var caps imap.CapSet
	err := s.within(d, "CAPABILITY", func() error { caps = s.client.Caps(); return nil })
	if err == nil && caps == nil {
		err = s.trouble(errors.New("no capabilities"))
	}
	if err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	if s.client.State() != imap.ConnStateNotAuthenticated {
		s.caps = caps // PREAUTH: the way here has proved who we are
		return nil
	}

	mechanism, err := a.mechanism(caps)
	if err != nil {
		return err
	}
	password, err := a.secret(ctx)
	if err != nil {
		return fmt.Errorf("password: %w", err)
	}
	err = s.within(d, "login", func() error { return s.authenticate(conn, mechanism, a.opts.User, password) })
	if err != nil {
		return fmt.Errorf("login as %s: %w", mail.Clean(a.opts.User, maxText), s.loginTrouble(err))
	}
	err = s.within(d, "CAPABILITY", func() error {
		s.caps = s.freshCaps(ctx, caps)
		return nil
	})
	if err == nil && s.caps == nil {
		err = s.trouble(errors.New("no capabilities"))
	}
	if err != nil {
		return fmt.Errorf("capabilities after login: %w", err)
	}
	return nil
}

// freshCaps gives the capabilities that hold after the login; those from before it
// may be fewer (RFC 9051, 6.2). Where the answer to the login carried them, the
// client has them already. Where it did not, the client forgets the old ones as it
// reads on and asks by itself, which happens at its own time: the old map is what
// tells the two apart, and the client is not used before its question is answered.
func (s *session) freshCaps(ctx context.Context, old imap.CapSet) imap.CapSet {
	was := reflect.ValueOf(old).Pointer()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		caps := s.client.Caps()
		if caps == nil || reflect.ValueOf(caps).Pointer() != was {
			return caps
		}
		select {
		case <-tick.C:
		case <-s.client.Closed():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// secret asks for the password, the first time. Until the first login has worked
// only one goroutine gets here at a time.
func (a *Account) secret(ctx context.Context) (string, error) {
	a.mu.Lock()
	known, err := a.password, a.noPassword
	a.mu.Unlock()
	switch {
	case err != nil:
		return "", err
	case known != nil:
		return *known, nil
	}
	if a.opts.Password == nil {
		return "", fmt.Errorf("%w: there is none", mail.ErrLogin)
	}
	p, err := a.opts.Password(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.password = &p
	case ctx.Err() == nil:
		a.noPassword = err
	}
	return p, err
}

// greetingTrouble tells why there was no greeting. The client hides the reason in
// text, but the connection knows it.
func (s *session) greetingTrouble(err error) error {
	if errors.Is(err, mail.ErrUnreachable) {
		return err
	}
	return s.trouble(err)
}

// loginTrouble tells a refused login from a server that is too busy for one
// (RFC 9051, 7.1: UNAVAILABLE; Dovecot and Gmail bound sessions with LIMIT and
// INUSE).
func (s *session) loginTrouble(err error) error {
	if errors.Is(err, mail.ErrUnreachable) || errors.Is(err, mail.ErrUntrusted) {
		return err
	}
	var no *imap.Error
	if !errors.As(err, &no) || no.Type == imap.StatusResponseTypeBye {
		return s.trouble(err)
	}
	if passes(no) {
		return fmt.Errorf("%w: try later: %s", mail.ErrUnreachable, text(no))
	}
	return fmt.Errorf("%w: %s", mail.ErrLogin, text(no))
}
