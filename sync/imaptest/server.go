package imaptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailtwin/conflict/mail"
)

// The ways in which a Server encrypts, in the words of the configuration file.
const (
	TLSNone     = "none"
	TLSImplicit = "implicit"
	TLSStart    = "starttls" // and no login before
)

// Options is the account that a Server serves. The zero value is a good one.
type Options struct {
	User, Password string // "" means alice and a password
	// Folders are there from the start, besides INBOX; nil means one for each usual
	// role: Archive, Drafts, Junk, Sent, Trash. An empty slice means INBOX alone.
	Folders []Folder
	TLS     string // TLSNone if ""
	// Dir is where the certificate of the server's authority is written, as ca.pem;
	// it must be there if TLS is on.
	Dir string
	// Without names capabilities that the server does not announce and, for UIDPLUS,
	// does not have.
	Without []string
	// AppendLimit is the size of the largest message that the server takes, which it
	// announces (RFC 7889); 0: no such word.
	AppendLimit uint32
	// Keep, if not nil, gives what the server keeps of a message that it is sent: not
	// each one gives back the bytes that it got. Its error refuses the message: see No
	// and ErrHangUp. It must not change raw.
	Keep func(folder mail.Folder, raw []byte) ([]byte, error)
	// Labels makes folders labels, as Gmail's are, and announces X-GM-EXT-1: a message is
	// stored once, whatever the number of folders that show it, with one set of flags; the
	// folder with the role "all" shows all but what is in Trash or Junk; \Deleted takes
	// the label away at once. Folders must have one for each of these roles. For servers
	// without TLS only.
	Labels bool
	// SizeError is added to each RFC822.SIZE: Exchange computes sizes that no body has.
	SizeError int64
	// Logf is told of broken commands and of bugs; nil for silence.
	Logf func(format string, args ...any)
}

// ErrHangUp, from Options.Keep, ends the connection without a word.
var ErrHangUp = errors.New("the server hangs up")

// No, from Options.Keep, refuses a message with that code, if it is not "".
func No(code, text string) error { return no(imap.ResponseCode(code), text) }

// Folder is a folder of the account with its special use.
type Folder struct {
	Name mail.Folder
	Role mail.Role
}

// Server is an account in memory behind an IMAP server on loopback.
type Server struct {
	Host           string // an IP address
	Port           int
	User, Password string
	TLS            string // one of the TLS constants
	CAFile         string // "" without TLS

	account  *account
	opts     Options
	uidplus  bool
	identity *Identity
	listener *imapserver.Server
	served   chan error

	mu       sync.Mutex
	closed   bool
	sessions sync.WaitGroup
}

// capabilities are what the server announces. IMAP4rev2 is not among them: go-imap's
// client writes folder names in another encoding as soon as it sees that word.
var capabilities = []imap.Cap{
	imap.CapIMAP4rev1, imap.CapNamespace, imap.CapUIDPlus, imap.CapESearch,
	imap.CapListExtended, imap.CapListStatus, imap.CapMove, imap.CapStatusSize,
	imap.CapChildren, imap.CapSpecialUse, imap.CapCreateSpecialUse, imap.CapLiteralPlus,
}

// Start starts a server on a port that the system chooses. The caller closes it.
func Start(opts Options) (*Server, error) {
	s := &Server{
		Host: "127.0.0.1", User: opts.User, Password: opts.Password, TLS: opts.TLS,
		opts: opts, account: newAccount(), served: make(chan error, 1),
	}
	if s.User == "" {
		s.User = "alice"
	}
	if s.Password == "" {
		s.Password = "a password"
	}
	if s.TLS == "" {
		s.TLS = TLSNone
	}
	s.account.labels = opts.Labels
	if opts.Folders == nil {
		opts.Folders = usualFolders
		if opts.Labels {
			opts.Folders = labelFolders
		}
	}
	for _, f := range opts.Folders {
		if err := s.account.create(string(f.Name), roleAttr(f.Role)); err != nil {
			return nil, fmt.Errorf("create folder %q: %w", f.Name, err)
		}
		s.account.folders[canonical(string(f.Name))].subscribed = true
	}
	caps := imap.CapSet{}
	for _, c := range capabilities {
		if !slices.Contains(opts.Without, string(c)) {
			caps[c] = struct{}{}
		}
	}
	s.uidplus = caps.Has(imap.CapUIDPlus)

	var config *tls.Config
	switch s.TLS {
	case TLSNone:
	case TLSImplicit, TLSStart:
		var err error
		if s.identity, err = NewIdentity(); err != nil {
			return nil, err
		}
		if s.CAFile, err = s.identity.WriteCA(opts.Dir); err != nil {
			return nil, err
		}
		config = s.identity.Server()
	default:
		return nil, fmt.Errorf("no such way to encrypt: %q", s.TLS)
	}
	s.listener = imapserver.New(&imapserver.Options{
		NewSession:   s.newSession,
		Caps:         caps,
		Logger:       logger(opts.Logf),
		TLSConfig:    config,
		InsecureAuth: s.TLS == TLSNone,
	})
	l, err := net.Listen("tcp", net.JoinHostPort(s.Host, "0"))
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	s.Port = l.Addr().(*net.TCPAddr).Port
	switch {
	case s.TLS == TLSImplicit:
		l = tls.NewListener(l, config)
	case opts.Labels:
		l = announcer{l}
	}
	go func() { s.served <- s.listener.Serve(l) }()
	return s, nil
}

var usualFolders = []Folder{
	{"Archive", mail.RoleArchive}, {"Drafts", mail.RoleDrafts}, {"Junk", mail.RoleJunk},
	{"Sent", mail.RoleSent}, {"Trash", mail.RoleTrash},
}

// Close ends all connections, waits for what serves them, and forgets the mail.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	err := s.listener.Close()
	err = errors.Join(err, <-s.served)
	s.sessions.Wait()
	return err
}

// Phone logs another client into the account. The caller closes it.
func (s *Server) Phone(ctx context.Context) (*Phone, error) {
	opts := DialOptions{Host: s.Host, Port: s.Port, User: s.User, Password: s.Password, StartTLS: s.TLS == TLSStart}
	if s.identity != nil {
		opts.TLS = s.identity.Client()
	}
	return Dial(ctx, opts)
}

// File puts a message into each of the folders, as a delivery does, faster than a
// Phone.
func (s *Server) File(raw []byte, flags mail.Flags, date time.Time, folders ...mail.Folder) error {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	for _, name := range folders {
		f, err := s.account.target(string(name))
		if err != nil {
			return fmt.Errorf("file into %q: %w", name, err)
		}
		s.account.put(f, raw, flags, date)
	}
	return nil
}

// Renumber gives a folder another UIDVALIDITY, and its messages other UIDs, as
// happens where a server is restored or rebuilt. Sessions that have the folder
// selected are cut off.
func (s *Server) Renumber(name mail.Folder) error {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	f, err := s.account.find(string(name))
	if err != nil {
		return fmt.Errorf("renumber folder %q: %w", name, err)
	}
	s.account.renumber(f)
	return nil
}

func (s *Server) newSession(conn *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, &imap.Error{Type: imap.StatusResponseTypeBye, Text: "closing"}
	}
	s.sessions.Add(1)
	session := &session{server: s, account: s.account, conn: conn}
	if s.opts.AppendLimit > 0 {
		return limited{session}, &imapserver.GreetingData{}, nil
	}
	return session, &imapserver.GreetingData{}, nil
}

type logger func(format string, args ...any)

func (l logger) Printf(format string, args ...any) {
	if l != nil {
		l(format, args...)
	}
}

// roles pairs the roles with the special-use marks of RFC 6154.
var roles = map[mail.Role]imap.MailboxAttr{
	mail.RoleAll: imap.MailboxAttrAll, mail.RoleArchive: imap.MailboxAttrArchive,
	mail.RoleDrafts: imap.MailboxAttrDrafts, mail.RoleFlagged: imap.MailboxAttrFlagged,
	mail.RoleJunk: imap.MailboxAttrJunk, mail.RoleSent: imap.MailboxAttrSent,
	mail.RoleTrash: imap.MailboxAttrTrash,
}

func roleAttr(r mail.Role) imap.MailboxAttr { return roles[r] }

func attrRole(attrs []imap.MailboxAttr) mail.Role {
	for role, attr := range roles {
		if slices.Contains(attrs, attr) {
			return role
		}
	}
	return mail.RoleNone
}
