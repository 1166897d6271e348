package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
)

// TLSMode is how a connection is protected.
type TLSMode uint8

// The modes.
const (
	// Implicit: TLS from the first octet, usually on port 993 (RFC 8314, 3).
	Implicit TLSMode = iota
	// StartTLS: plain at first; nothing else is said before TLS stands.
	StartTLS
	// None: everything goes as plain text. Whether that may be is the caller's
	// business.
	None
)

// Options is an account, and how to reach it.
type Options struct {
	Host string
	Port int // 0: 993 for Implicit, else 143
	TLS  TLSMode
	// CAFile holds trust anchors in PEM besides those of the system.
	CAFile string
	// PinSHA256 are base64 of SHA-256 over the SubjectPublicKeyInfo of the server's own
	// certificate. Where there are any, one must match, and that stands in for CA and
	// name.
	PinSHA256 []string

	User string
	// Password is asked once per account, at its first login.
	Password func(ctx context.Context) (string, error)
	// Auth is auto, plain, login, scram-sha-256 or cram-md5; "" is auto.
	Auth string

	// Tunnel is a program and its arguments that speak IMAP on standard input and
	// output; then Host, Port and TLS are not used.
	Tunnel []string

	// Map has local names for folders on the server and for all that lies in them. Both
	// are without the delimiter of the server; INBOX is in neither.
	Map map[mail.Folder]mail.Folder
	// Namespaces are the classes of folders to list: any of Personal, Other and Shared
	// (RFC 2342). None stands for Personal alone.
	Namespaces []string

	// Timeout bounds connecting, the greeting and the login, each, and every wait
	// without progress; 0 means 45 s.
	Timeout time.Duration
	// KeepAlive is how often a Listener's connection has to show that it is alive; 0 means
	// 9 minutes.
	KeepAlive time.Duration
	// Connections bounds the sessions open at once, and besides those of a Listener; 0 means 4.
	Connections int
	// ReadOnly: folders are only EXAMINEd, and methods that change something give
	// mail.ErrReadOnly.
	ReadOnly bool

	// Trace sees each line of each connection, without secrets; nil: nobody looks.
	Trace func(conn int, sent bool, line string)
	Log   *slog.Logger // nil: silent

	// dial replaces net.Dialer.DialContext in tests.
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Account is one account on its server. All methods may be called from several
// goroutines at once.
type Account struct {
	opts Options
	log  *slog.Logger

	mu       sync.Mutex
	changed  chan struct{} // closed, and made anew, when a session comes back or ends
	idle     []*session    // free ones, the most recently used last
	lent     map[*session]bool
	open     int      // sessions in idle and lent, and those being dialled
	limit    int      // how many may be open
	dialled  int      // how many there ever were
	wanted   int      // how many are to be open once a login has worked
	entering []string // the folders that sessions are to select ahead: see Ready
	// entered are those that a session is selecting, or has selected, and that nobody has used since.
	entered    map[string]bool
	closed     bool
	ending     context.Context // ends with Close
	end        func()
	loggedIn   bool  // a login has worked
	refused    error // the login was refused before one ever worked
	password   *string
	noPassword error // why there is none
	caps       imap.CapSet
	past       mail.Traffic // of the sessions that have ended
	names      directory
	scans      scans
	ahead      map[mail.Folder]foreseen // see Ahead
	plainList  bool                     // the server refuses the extended LIST that it offers
	unsorted   bool                     // the server does not list messages in the order of their UIDs
	late       bool                     // the server tells flags and dates after the body only
	// compression is what is known of the server's, by any session.
	compression compression
	untold      bool // the server does not tell UIDNEXT when a folder is selected
}

// errClosed is what the methods give after Close.
var errClosed = errors.New("account is closed")

// Open makes an Account. It connects to nothing yet.
func Open(opts Options) *Account {
	if opts.Port == 0 {
		opts.Port = 143
		if opts.TLS == Implicit {
			opts.Port = 993
		}
	}
	if opts.Timeout == 0 {
		opts.Timeout = 45 * time.Second
	}
	if opts.KeepAlive == 0 {
		opts.KeepAlive = defaultKeepAlive
	}
	if opts.Connections <= 0 {
		opts.Connections = 4
	}
	if opts.dial == nil {
		opts.dial = new(net.Dialer).DialContext
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ending, end := context.WithCancel(context.Background())
	return &Account{
		ending:  ending,
		end:     end,
		opts:    opts,
		log:     log,
		changed: make(chan struct{}),
		lent:    make(map[*session]bool),
		limit:   opts.Connections,
	}
}

// Connect sees to it that there is a session, which the next call will use.
func (a *Account) Connect(ctx context.Context) error {
	return a.with(ctx, "open the account", "", func(*session) error { return nil })
}

// logoutTime bounds how long Close takes.
const logoutTime = 5 * time.Second

// Close logs out of all sessions and ends them, within a few seconds.
// Calls that still run lose their connection.
func (a *Account) Close() error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return nil
	}
	a.closed = true
	a.end()
	idle := a.idle
	a.idle = nil
	for s := range a.lent {
		s.conn.Close()
	}
	a.mu.Unlock()

	var wg sync.WaitGroup
	for _, s := range idle {
		wg.Go(func() {
			s.logout(logoutTime)
			a.drop(s)
		})
	}
	wg.Wait()
	limit := time.NewTimer(logoutTime)
	defer limit.Stop()
	for {
		a.mu.Lock()
		open, changed := a.open, a.changed
		a.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-limit.C:
			return fmt.Errorf("close the account: %d sessions are still in use", open)
		}
	}
}

// capGmail announces Gmail's extensions, and with them what folders are there.
const capGmail imap.Cap = "X-GM-EXT-1"

// Abilities tells what the server can do. It is known once a session was opened,
// so after Folders.
func (a *Account) Abilities() mail.Abilities {
	a.mu.Lock()
	defer a.mu.Unlock()
	return mail.Abilities{
		UIDPlus: a.caps.Has(imap.CapUIDPlus),
		Move:    a.caps.Has(imap.CapMove),
		Labels:  a.caps.Has(capGmail),
	}
}

// Traffic tells what all sessions have cost, those that have ended included.
func (a *Account) Traffic() mail.Traffic {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.past
	for _, s := range a.idle {
		t = s.addTo(t)
	}
	for s := range a.lent {
		t = s.addTo(t)
	}
	t.Connections = a.dialled
	return t
}
