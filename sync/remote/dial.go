package remote

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailtwin/conflict/mail"
)

// connect opens a connection as the options want it. What it gives begins with the
// server's greeting. It takes no longer than the timeout.
func (a *Account) connect(ctx context.Context) (net.Conn, error) {
	if len(a.opts.Tunnel) > 0 {
		t, err := openTunnel(a.opts.Tunnel)
		if err != nil {
			return nil, err // a nil *tunnel would be a connection to the caller
		}
		return t, nil
	}
	addr := net.JoinHostPort(a.opts.Host, strconv.Itoa(a.opts.Port))
	ctx, cancel := context.WithTimeout(ctx, a.opts.Timeout)
	defer cancel()
	conf, err := a.tlsConfig()
	if err != nil {
		return nil, err
	}
	raw, err := a.opts.dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w: %w", addr, mail.ErrUnreachable, err)
	}
	if a.opts.TLS == None {
		return raw, nil
	}
	conn := raw
	if a.opts.TLS == StartTLS {
		conn, err = startTLS(ctx, raw, conf)
	} else {
		conn, err = secure(ctx, raw, conf)
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return conn, nil
}

// tlsConfig tells whom to trust.
func (a *Account) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{
		ServerName: a.opts.Host,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"imap"}, // RFC 9325, 3.7: no other protocol's server may answer
	}
	if a.opts.CAFile != "" {
		pem, err := os.ReadFile(a.opts.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read trust anchors: %w: %w", mail.ErrUntrusted, err)
		}
		roots, err := x509.SystemCertPool()
		if err != nil {
			roots = x509.NewCertPool() // a system without a store has the file only
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: %s holds no certificate", mail.ErrUntrusted, a.opts.CAFile)
		}
		conf.RootCAs = roots
	}
	if pins := a.opts.PinSHA256; len(pins) > 0 {
		// The pin stands in for chain and name, so it must be the server's own key: a
		// chain that nobody verified proves nothing about the rest of it.
		conf.InsecureSkipVerify = true
		conf.VerifyConnection = func(state tls.ConnectionState) error {
			sum := sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
			if pin := base64.StdEncoding.EncodeToString(sum[:]); !slices.Contains(pins, pin) {
				return fmt.Errorf("the server's key is %s, which is not pinned", pin)
			}
			return nil
		}
	}
	return conf, nil
}

// secure shakes hands.
func secure(ctx context.Context, raw net.Conn, conf *tls.Config) (net.Conn, error) {
	conn := tls.Client(raw, conf)
	err := conn.HandshakeContext(ctx)
	if err == nil {
		return conn, nil
	}
	var timeout net.Error
	var op *net.OpError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.As(err, &timeout) && timeout.Timeout(),
		// A TLS alert of the server's comes as an OpError too, and is about trust.
		errors.As(err, &op) && op.Op != "remote error" && op.Op != "local error":
		return nil, fmt.Errorf("TLS: %w: %w", mail.ErrUnreachable, err)
	}
	return nil, fmt.Errorf("TLS: %w: %w", mail.ErrUntrusted, err)
}

// startTLS says STARTTLS by hand, before there is a client that could say or
// believe anything else in plain text: PREAUTH, capabilities, and whatever follows
// the server's OK in the same packet are attacks (RFC 9051, 7.1.4 and 11.1; the
// NO STARTTLS paper). The greeting that the client waits for was read here, so it
// gets another one.
func startTLS(ctx context.Context, raw net.Conn, conf *tls.Config) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		raw.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })
	err := askTLS(raw)
	if !stop() {
		return nil, fmt.Errorf("STARTTLS: %w: %w", mail.ErrUnreachable, context.Cause(ctx))
	}
	if err != nil {
		return nil, fmt.Errorf("STARTTLS: %w", err)
	}
	raw.SetDeadline(time.Time{})
	conn, err := secure(ctx, raw, conf)
	if err != nil {
		return nil, err
	}
	return greeted{conn, io.MultiReader(strings.NewReader("* OK TLS stands\r\n"), conn)}, nil
}

// askTLS reads the greeting, sends STARTTLS and reads the answer.
func askTLS(raw net.Conn) error {
	// What is said in plain text is short; more is not read.
	r := bufio.NewReader(io.LimitReader(raw, 64<<10))
	line := func() (string, error) {
		l, err := r.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("%w: %w", mail.ErrUnreachable, err)
		}
		return strings.TrimRight(l, "\r\n"), nil
	}
	greeting, err := line()
	if err != nil {
		return err
	}
	switch word := strings.ToUpper(greeting); {
	case strings.HasPrefix(word, "* BYE"):
		return fmt.Errorf("%w: the server said goodbye: %s", mail.ErrUnreachable, mail.Clean(greeting[5:], maxText))
	case !strings.HasPrefix(word, "* OK"):
		return fmt.Errorf("%w: it greets with %q before TLS", mail.ErrUntrusted, mail.Clean(greeting, maxText))
	}
	if _, err := io.WriteString(raw, "S STARTTLS\r\n"); err != nil {
		return fmt.Errorf("%w: %w", mail.ErrUnreachable, err)
	}
	for {
		answer, err := line()
		if err != nil {
			return err
		}
		if strings.HasPrefix(answer, "* ") {
			continue // worth nothing before TLS
		}
		if !strings.HasPrefix(strings.ToUpper(answer), "S OK") {
			return fmt.Errorf("%w: it refuses STARTTLS: %s", mail.ErrUntrusted, mail.Clean(answer, maxText))
		}
		if r.Buffered() > 0 {
			return fmt.Errorf("%w: something was slipped in behind its answer to STARTTLS", mail.ErrUntrusted)
		}
		return nil
	}
}

// greeted is a connection that gives a greeting first.
type greeted struct {
	net.Conn
	r io.Reader
}

func (g greeted) Read(p []byte) (int, error) { return g.r.Read(p) }

// NetConn is what lies beneath, as tls.Conn has it.
func (g greeted) NetConn() net.Conn { return g.Conn }
