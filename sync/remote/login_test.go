package remote

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// folders is the simplest call that needs a session.
func folders(t *testing.T, a *Account) error {
	t.Helper()
	_, err := a.Folders(t.Context())
	return err
}

func TestLoginTroubleIsToldByItsKind(t *testing.T) {
	const greeting = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello"
	answer := func(line string) func(s *script) {
		return func(s *script) {
			s.say(greeting)
			tag, _ := s.hear()
			s.say(strings.ReplaceAll(line, "TAG", tag))
			s.hear()
		}
	}
	for _, c := range []struct {
		name  string
		play  func(s *script)
		want  error
		never error
		text  string
	}{
		{"a wrong password", answer("TAG NO [AUTHENTICATIONFAILED] no \x1b[2Jsuch user"), mail.ErrLogin, mail.ErrUnreachable, "no [2Jsuch user"},
		{"a refusal without a code", answer("TAG NO go away"), mail.ErrLogin, mail.ErrUnreachable, "go away"},
		{"a refused command", answer("TAG BAD what?"), mail.ErrLogin, mail.ErrUnreachable, "what?"},
		{"a busy server", answer("TAG NO [UNAVAILABLE] LDAP is down"), mail.ErrUnreachable, mail.ErrLogin, "LDAP is down"},
		{"too many sessions", answer("TAG NO [LIMIT] too many"), mail.ErrUnreachable, mail.ErrLogin, "too many"},
		{"a goodbye for a greeting", func(s *script) { s.say("* BYE too many connections") }, mail.ErrUnreachable, mail.ErrLogin, "too many connections"},
		{"a goodbye instead of an answer", func(s *script) { s.say(greeting); s.hear(); s.say("* BYE shutting down") }, mail.ErrUnreachable, mail.ErrLogin, "shutting down"},
		{"a connection that ends at once", func(s *script) {}, mail.ErrUnreachable, mail.ErrLogin, "greeting"},
		{"something that is no IMAP", func(s *script) { s.say("SSH-2.0-OpenSSH_9.2"); s.hear() }, mail.ErrUnreachable, mail.ErrLogin, "greeting"},
		{"no way to log in", func(s *script) {
			s.say("* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hello")
			if _, command := s.hear(); command != "" {
				s.t.Errorf("it was sent %q", command)
			}
		}, mail.ErrLogin, mail.ErrUnreachable, "LOGINDISABLED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := open(t, scripted(t, c.play))
			err := folders(t, a)
			if !errors.Is(err, c.want) || errors.Is(err, c.never) {
				t.Errorf("the error is %v", err)
			}
			if err == nil || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), testPassword) {
				t.Errorf("the error reads %v", err)
			}
		})
	}
}

func TestASilentServerIsGivenUp(t *testing.T) {
	quiet := func(s *script) { s.hear() }
	for name, play := range map[string]func(s *script){
		"before the greeting": quiet,
		"before the capabilities": func(s *script) {
			s.say("* OK hello")
			s.hear()
			quiet(s)
		},
		"at the login": func(s *script) {
			s.say("* OK [CAPABILITY IMAP4rev1] hello")
			s.hear()
			quiet(s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := scripted(t, play)
			opts.Timeout = 100 * time.Millisecond
			a := open(t, opts)
			if err := folders(t, a); !errors.Is(err, mail.ErrUnreachable) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestAWrongPasswordIsTriedOnce(t *testing.T) {
	var logins, asked atomic.Int32
	opts := scripted(t, func(s *script) {
		logins.Add(1)
		s.say("* OK [CAPABILITY IMAP4rev1] hello")
		tag, _ := s.hear()
		s.say(tag + " NO wrong")
		s.hear()
	})
	opts.Password = func(context.Context) (string, error) { asked.Add(1); return "wrong", nil }
	a := open(t, opts)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := folders(t, a); !errors.Is(err, mail.ErrLogin) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	wg.Wait()
	if logins.Load() != 1 || asked.Load() != 1 {
		t.Errorf("%d logins, the password was asked %d times", logins.Load(), asked.Load())
	}
}

func TestAPasswordThatCannotBeHadIsAskedOnce(t *testing.T) {
	opts := scripted(t, func(s *script) {
		s.say("* OK [CAPABILITY IMAP4rev1] hello")
		s.hear()
	})
	locked, asked := errors.New("the keyring is locked"), 0
	opts.Password = func(context.Context) (string, error) { asked++; return "", locked }
	a := open(t, opts)
	for range 2 {
		if err := folders(t, a); !errors.Is(err, locked) {
			t.Errorf("the error is %v", err)
		}
	}
	if asked != 1 {
		t.Errorf("it was asked %d times", asked)
	}
}

func TestCapabilitiesAreThoseAfterTheLogin(t *testing.T) {
	for name, play := range map[string]func(s *script){
		"in the answer to the login": func(s *script) { s.login("UIDPLUS MOVE") },
		"before that answer": func(s *script) {
			s.say("* OK [CAPABILITY IMAP4rev1 MOVE] hello")
			tag, _ := s.hear()
			s.say("* CAPABILITY IMAP4rev1 UIDPLUS MOVE", tag+" OK [CAPABILITY IMAP4rev1 UIDPLUS MOVE] in")
		},
		"when asked": func(s *script) {
			s.say("* OK [CAPABILITY IMAP4rev1] hello")
			tag, _ := s.hear()
			s.say(tag + " OK in")
			tag, command := s.hear()
			if command != "CAPABILITY" {
				s.t.Errorf("after the login came %q", command)
			}
			s.say("* CAPABILITY IMAP4rev1 UIDPLUS MOVE", tag+" OK")
		},
		"where there is no login": func(s *script) { s.say("* PREAUTH [CAPABILITY IMAP4rev1 UIDPLUS MOVE] hello") },
	} {
		t.Run(name, func(t *testing.T) {
			a := open(t, scripted(t, func(s *script) {
				play(s)
				s.answers(nil)
			}))
			if err := folders(t, a); err != nil {
				t.Fatal(err)
			}
			if got := a.Abilities(); !got.Move || !got.UIDPlus {
				t.Errorf("abilities are %+v", got)
			}
		})
	}
}

func TestHowToLogIn(t *testing.T) {
	const plain = "AUTHENTICATE PLAIN AGFsaWNlAGNvcnJlY3QtaG9yc2U=" // \0alice\0correct-horse
	const login = `LOGIN "alice" "correct-horse"`
	for _, c := range []struct{ auth, caps, want string }{
		{"auto", "AUTH=PLAIN SASL-IR", plain},
		{"", "AUTH=PLAIN SASL-IR LOGINDISABLED", plain},
		{"auto", "AUTH=CRAM-MD5", login},
		{"auto", "AUTH=CRAM-MD5 LOGINDISABLED", "AUTHENTICATE CRAM-MD5"},
		{"cram-md5", "AUTH=PLAIN AUTH=CRAM-MD5 SASL-IR", "AUTHENTICATE CRAM-MD5"},
		{"scram-sha-256", "AUTH=PLAIN AUTH=SCRAM-SHA-256", "AUTHENTICATE SCRAM-SHA-256"},
		{"scram-sha-256", "AUTH=PLAIN AUTH=SCRAM-SHA-1", ""},
		{"cram-md5", "AUTH=PLAIN", ""},
		{"plain", "AUTH=PLAIN SASL-IR", plain},
		{"login", "AUTH=PLAIN SASL-IR", login},
		{"auto", "LOGINDISABLED", ""},
		{"plain", "AUTH=CRAM-MD5", ""},
		{"login", "AUTH=PLAIN LOGINDISABLED", ""},
		{"scram-sha-512", "AUTH=PLAIN", ""},
	} {
		t.Run(c.auth+" with "+c.caps, func(t *testing.T) {
			heard := make(chan string, 1)
			opts := scripted(t, func(s *script) {
				defer close(heard)
				s.say("* OK [CAPABILITY IMAP4rev1 " + c.caps + "] hello")
				tag, command := s.hear()
				heard <- command
				s.say(tag + " NO not today")
			})
			opts.Auth = c.auth
			err := folders(t, open(t, opts))
			if !errors.Is(err, mail.ErrLogin) {
				t.Errorf("the error is %v", err)
			}
			if got := <-heard; got != c.want {
				t.Errorf("the client said %q, want %q", got, c.want)
			}
		})
	}
}

func TestFewerSessionsThanWanted(t *testing.T) {
	var n atomic.Int32
	opts := scripted(t, func(s *script) {
		if s.n > 2 {
			n.Add(1)
			s.say("* BYE too many connections")
			return
		}
		s.login("UIDPLUS")
		s.answers(nil)
	})
	opts.Connections = 5
	a := open(t, opts)
	if err := folders(t, a); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var both sync.WaitGroup
	both.Add(2)
	for range 6 {
		wg.Go(func() {
			err := a.with(t.Context(), "wait", "", func(*session) error { return nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	for range 2 { // both sessions at once, so that more must be wanted
		wg.Go(func() {
			err := a.with(t.Context(), "meet", "", func(*session) error { both.Done(); both.Wait(); return nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c := a.Traffic().Connections; c < 2 {
		t.Errorf("there were %d connections", c)
	}
}

func TestTheEndOfTheContextEndsAWait(t *testing.T) {
	heard := make(chan struct{})
	opts := scripted(t, func(s *script) {
		s.login("")
		s.hear()
		close(heard)
		s.hear()
	})
	a := open(t, opts)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-heard; cancel() }()
	if _, err := a.Folders(ctx); err != context.Canceled {
		t.Errorf("the error is %v", err)
	}
}

// certificate makes a self-signed one for 127.0.0.1, and a file with it.
func certificate(t *testing.T, host string) (cert tls.Certificate, file, pin string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(host)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(parsed.RawSubjectPublicKeyInfo)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file, base64.StdEncoding.EncodeToString(sum[:])
}

func TestWhomToTrust(t *testing.T) {
	cert, ca, pin := certificate(t, "127.0.0.1")
	stranger, strangerCA, _ := certificate(t, "192.0.2.1")
	for _, c := range []struct {
		name string
		cert tls.Certificate
		max  uint16
		set  func(*Options)
		want error
	}{
		{"a certificate of the given CA", cert, 0, func(o *Options) { o.CAFile = ca }, nil},
		{"a pinned key, whoever signed it", cert, 0, func(o *Options) { o.PinSHA256 = []string{"other", pin} }, nil},
		{"an unknown CA", cert, 0, func(o *Options) {}, mail.ErrUntrusted},
		{"another name", stranger, 0, func(o *Options) { o.CAFile = strangerCA }, mail.ErrUntrusted},
		{"another key than the pinned one", cert, 0, func(o *Options) { o.CAFile, o.PinSHA256 = ca, []string{"other"} }, mail.ErrUntrusted},
		{"TLS 1.1", cert, tls.VersionTLS11, func(o *Options) { o.CAFile = ca }, mail.ErrUntrusted},
		{"a CA file that is not there", cert, 0, func(o *Options) { o.CAFile = "/nowhere/ca.pem" }, mail.ErrUntrusted},
	} {
		for _, mode := range []TLSMode{Implicit, StartTLS} {
			name := c.name
			if mode == StartTLS {
				name += " by STARTTLS"
			}
			t.Run(name, func(t *testing.T) {
				opts := scripted(t, func(s *script) {
					if mode == StartTLS {
						s.say("* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] hello")
						tag, command := s.hear()
						if command != "STARTTLS" {
							s.t.Errorf("it was sent %q", command)
						}
						s.say("* CAPABILITY IMAP4rev1 LOGINDISABLED", tag+" OK begin")
					}
					conn := tls.Server(s.conn, &tls.Config{Certificates: []tls.Certificate{c.cert}, MaxVersion: c.max, MinVersion: tls.VersionTLS10})
					if conn.Handshake() != nil {
						return
					}
					s.conn = conn
					s.r.Reset(conn)
					if mode == StartTLS {
						tag, command := s.hear()
						if command != "CAPABILITY" {
							s.t.Errorf("after STARTTLS came %q", command)
						}
						s.say("* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR", tag+" OK")
						tag, _ = s.hear()
						s.say(tag + " OK [CAPABILITY IMAP4rev1] in")
					} else {
						s.login("")
					}
					if c.want != nil {
						s.t.Error("it was trusted")
					}
					s.answers(nil)
				})
				opts.TLS = mode
				c.set(&opts)
				opts.Password = func(context.Context) (string, error) {
					if c.want != nil {
						t.Error("the password was asked for")
					}
					return testPassword, nil
				}
				err := folders(t, open(t, opts))
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					t.Errorf("the error is %v", err)
				}
			})
		}
	}
}

func TestNothingIsBelievedBeforeTLS(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(s *script)
		want error
	}{
		{"a login that was already done", func(s *script) { s.say("* PREAUTH welcome"); s.hear() }, mail.ErrUntrusted},
		{"STARTTLS refused", func(s *script) {
			s.say("* OK hello")
			tag, _ := s.hear()
			s.say(tag + " BAD no such command")
			s.hear()
		}, mail.ErrUntrusted},
		{"a response slipped in behind the answer", func(s *script) {
			s.say("* OK hello")
			tag, _ := s.hear()
			s.raw(tag + " OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
			s.hear()
		}, mail.ErrUntrusted},
		{"a flood", func(s *script) {
			s.raw("* OK " + strings.Repeat("x", 100<<10))
			s.hear()
		}, mail.ErrUnreachable},
		{"a goodbye", func(s *script) { s.say("* BYE busy") }, mail.ErrUnreachable},
		{"silence", func(s *script) { s.hear() }, mail.ErrUnreachable},
		{"a connection that ends in the handshake", func(s *script) {
			s.say("* OK hello")
			tag, _ := s.hear()
			s.say(tag + " OK begin")
			io.ReadFull(s.r, make([]byte, 10))
		}, mail.ErrUnreachable},
		{"plain text instead of a handshake", func(s *script) {
			s.say("* OK hello")
			tag, _ := s.hear()
			s.say(tag + " OK begin")
			io.ReadFull(s.r, make([]byte, 10))
			s.say("* OK no TLS here")
			s.hear()
		}, mail.ErrUntrusted},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := scripted(t, c.play)
			opts.TLS = StartTLS
			opts.Timeout = 300 * time.Millisecond
			opts.Password = func(context.Context) (string, error) {
				t.Error("the password was asked for")
				return "", nil
			}
			if err := folders(t, open(t, opts)); !errors.Is(err, c.want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestNobodyThere(t *testing.T) {
	l := listen(t)
	opts := at(l.Addr())
	l.Close()
	if err := folders(t, open(t, opts)); !errors.Is(err, mail.ErrUnreachable) {
		t.Errorf("the error is %v", err)
	}
	opts.dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host", Name: "imap.example.org", IsNotFound: true}
	}
	if err := folders(t, open(t, opts)); !errors.Is(err, mail.ErrUnreachable) {
		t.Errorf("the error is %v", err)
	}
}
