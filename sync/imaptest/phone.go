package imaptest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// patience bounds every single call of a Phone, whatever its context says.
const patience = 60 * time.Second

// DialOptions is where a Phone logs in.
type DialOptions struct {
	Host           string
	Port           int
	User, Password string
	TLS            *tls.Config // nil: plain text, for loopback only
	StartTLS       bool        // begin in plain text, with TLS set
}

// Phone is another mail client of an account. It does one thing at a time, over one
// connection that it opens when it needs it, and again when it broke. Its methods
// may be called from several goroutines. A context that ends cuts the connection.
//
// Folder names are mailtwin's: UTF-8, with "/" between the parts.
type Phone struct {
	opts DialOptions

	mu     sync.Mutex
	client *imapclient.Client // nil: not connected
	// prefix and delim are those of the personal namespace (RFC 9051, 6.3.10).
	prefix, delim string
}

// Dial logs in. The caller closes the Phone.
func Dial(ctx context.Context, opts DialOptions) (*Phone, error) {
	p := &Phone{opts: opts}
	if err := p.do(ctx, "log in", func(*imapclient.Client) error { return nil }); err != nil {
		return nil, err
	}
	return p, nil
}

// Close ends the connection. The Phone can still be used, and then dials anew.
func (p *Phone) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hangUp()
	return nil
}

// do runs one conversation with the server, and says what it was in its error.
func (p *Phone) do(ctx context.Context, what string, f func(*imapclient.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.connect(ctx)
	if err == nil {
		// go-imap knows no contexts: a closed connection is all that stops it.
		client := p.client
		stop := context.AfterFunc(ctx, func() { client.Close() })
		err = f(client)
		if !stop() {
			p.hangUp()
		}
	}
	var refused *imap.Error
	if err != nil && !errors.As(err, &refused) {
		p.hangUp()
	}
	if ctx.Err() != nil && err != nil {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return fmt.Errorf("phone: %s: %w", what, err)
	}
	return nil
}

func (p *Phone) hangUp() {
	if p.client != nil {
		p.client.Close() // whatever it says, the connection is gone
		p.client = nil
	}
}

// connect makes sure that there is a connection, logged in.
func (p *Phone) connect(ctx context.Context) error {
	if p.client != nil {
		select {
		case <-p.client.Closed():
			p.hangUp()
		default:
			return nil
		}
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(p.opts.Host, strconv.Itoa(p.opts.Port)))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var client *imapclient.Client
	switch {
	case p.opts.StartTLS:
		if client, err = imapclient.NewStartTLS(conn, &imapclient.Options{TLSConfig: p.opts.TLS}); err != nil {
			conn.Close()
			return fmt.Errorf("STARTTLS: %w", err)
		}
	case p.opts.TLS != nil:
		client = imapclient.New(tls.Client(conn, p.opts.TLS), nil)
	default:
		client = imapclient.New(conn, nil)
	}
	p.client = client
	if err := client.Login(p.opts.User, p.opts.Password).Wait(); err != nil {
		p.hangUp()
		return fmt.Errorf("login: %w", err)
	}
	// go-imap asks for the capabilities by itself after a login, in a goroutine; to
	// ask here makes sure that they are known.
	caps, err := client.Capability().Wait()
	if err != nil {
		p.hangUp()
		return fmt.Errorf("capabilities: %w", err)
	}
	p.prefix, p.delim = "", "/"
	if caps.Has(imap.CapNamespace) {
		ns, err := client.Namespace().Wait()
		if err != nil {
			p.hangUp()
			return fmt.Errorf("namespace: %w", err)
		}
		if len(ns.Personal) > 0 {
			p.prefix = ns.Personal[0].Prefix
			if d := ns.Personal[0].Delim; d != 0 {
				p.delim = string(d)
			}
		}
	}
	return nil
}

// mailbox gives the server's name of a folder.
func (p *Phone) mailbox(f mail.Folder) string {
	if f == mail.Inbox {
		return string(f)
	}
	return p.prefix + strings.Join(f.Parts(), p.delim)
}

func (p *Phone) folder(name string) mail.Folder {
	if p.prefix != "" {
		name = strings.TrimPrefix(name, p.prefix)
	}
	return mail.NewFolder(strings.Split(name, p.delim)...)
}

// within runs f with the folder selected, and leaves the folder afterwards: one that
// stays selected would hear of what others do there at odd moments.
func (p *Phone) within(ctx context.Context, what string, folder mail.Folder, readOnly bool, f func(*imapclient.Client, *imap.SelectData) error) error {
	return p.do(ctx, fmt.Sprintf("%s %q", what, folder), func(c *imapclient.Client) error {
		data, err := c.Select(p.mailbox(folder), &imap.SelectOptions{ReadOnly: readOnly}).Wait()
		if err != nil {
			return err
		}
		err = f(c, data)
		if c.State() == imap.ConnStateSelected {
			if uerr := leave(c, p.mailbox(folder)); err == nil {
				err = uerr
			}
		}
		return err
	})
}

// leave leaves a folder without expunging it, as CLOSE does to one that can be written
// (RFC 3501, 6.4.2).
func leave(c *imapclient.Client, mailbox string) error {
	if c.Caps().Has(imap.CapUnselect) {
		return c.Unselect().Wait()
	}
	if _, err := c.Select(mailbox, &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		return err
	}
	return c.UnselectAndExpunge().Wait()
}

// List tells of the folders by name, with role and NoSelect.
func (p *Phone) List(ctx context.Context) ([]mail.RemoteFolder, error) {
	var folders []mail.RemoteFolder
	err := p.do(ctx, "list folders", func(c *imapclient.Client) error {
		var opts *imap.ListOptions
		if c.Caps().Has(imap.CapSpecialUse) && c.Caps().Has(imap.CapListExtended) {
			opts = &imap.ListOptions{ReturnSpecialUse: true}
		}
		found, err := c.List("", "*", opts).Collect()
		for _, d := range found {
			f := mail.RemoteFolder{
				Name: p.folder(d.Mailbox), Role: attrRole(d.Attrs),
				NoSelect: slices.Contains(d.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(d.Attrs, imap.MailboxAttrNonExistent),
			}
			if f.Name == mail.Inbox {
				f.Role = mail.RoleInbox
			}
			folders = append(folders, f)
		}
		return err
	})
	slices.SortFunc(folders, func(a, b mail.RemoteFolder) int { return cmp.Compare(a.Name, b.Name) })
	return folders, err
}

// Status tells how far the folder is; HighestModSeq is 0 without CONDSTORE.
func (p *Phone) Status(ctx context.Context, folder mail.Folder) (mail.Cursor, error) {
	var cursor mail.Cursor
	err := p.do(ctx, fmt.Sprintf("ask for the status of %q", folder), func(c *imapclient.Client) error {
		data, err := c.Status(p.mailbox(folder), &imap.StatusOptions{
			NumMessages: true, UIDNext: true, UIDValidity: true, HighestModSeq: c.Caps().Has(imap.CapCondStore),
		}).Wait()
		if err != nil {
			return err
		}
		cursor = mail.Cursor{UIDValidity: data.UIDValidity, UIDNext: mail.UID(data.UIDNext), HighestModSeq: data.HighestModSeq}
		if data.NumMessages != nil {
			cursor.Messages = *data.NumMessages
		}
		return nil
	})
	return cursor, err
}

// CreateFolder makes a folder; role is its special use, RoleNone for none.
func (p *Phone) CreateFolder(ctx context.Context, folder mail.Folder, role mail.Role) error {
	return p.do(ctx, fmt.Sprintf("create folder %q", folder), func(c *imapclient.Client) error {
		var opts *imap.CreateOptions
		if attr := roleAttr(role); attr != "" {
			opts = &imap.CreateOptions{SpecialUse: []imap.MailboxAttr{attr}}
		}
		return c.Create(p.mailbox(folder), opts).Wait()
	})
}

// DeleteFolder deletes a folder with its messages.
func (p *Phone) DeleteFolder(ctx context.Context, folder mail.Folder) error {
	return p.do(ctx, fmt.Sprintf("delete folder %q", folder), func(c *imapclient.Client) error {
		return c.Delete(p.mailbox(folder)).Wait()
	})
}

// RenameFolder renames a folder and what lies in it.
func (p *Phone) RenameFolder(ctx context.Context, from, to mail.Folder) error {
	return p.do(ctx, fmt.Sprintf("rename folder %q to %q", from, to), func(c *imapclient.Client) error {
		return c.Rename(p.mailbox(from), p.mailbox(to), nil).Wait()
	})
}

// Subscribe subscribes to a folder, or no longer.
func (p *Phone) Subscribe(ctx context.Context, folder mail.Folder, on bool) error {
	return p.do(ctx, fmt.Sprintf("subscribe to %q", folder), func(c *imapclient.Client) error {
		if on {
			return c.Subscribe(p.mailbox(folder)).Wait()
		}
		return c.Unsubscribe(p.mailbox(folder)).Wait()
	})
}

// Subscribed lists the names that are subscribed, whether there is such a folder or not.
// The server needs LIST-EXTENDED (RFC 5258).
func (p *Phone) Subscribed(ctx context.Context) ([]mail.Folder, error) {
	var folders []mail.Folder
	err := p.do(ctx, "list subscriptions", func(c *imapclient.Client) error {
		found, err := c.List("", "*", &imap.ListOptions{SelectSubscribed: true}).Collect()
		for _, d := range found {
			folders = append(folders, p.folder(d.Mailbox))
		}
		return err
	})
	slices.Sort(folders)
	return folders, err
}
