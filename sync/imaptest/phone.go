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

// Message is a message as a Phone sees it.
type Message struct {
	UID   mail.UID
	Flags mail.Flags
	Date  time.Time // INTERNALDATE
	Size  int64     // RFC822.SIZE
	Raw   []byte    // as the wire has it; nil where it was not asked for
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
	parts := f.Parts()
	if parts[0] == string(mail.Inbox) {
		return strings.Join(parts, p.delim)
	}
	return p.prefix + strings.Join(parts, p.delim)
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
		if c.Caps().Has(imap.CapUnselect) && c.State() == imap.ConnStateSelected {
			if uerr := c.Unselect().Wait(); err == nil {
				err = uerr
			}
		}
		return err
	})
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

// Deliver puts a message into a folder, byte by byte as it is, and gives its UID,
// or 0 where the server does not tell. A zero date means now.
func (p *Phone) Deliver(ctx context.Context, folder mail.Folder, raw []byte, flags mail.Flags, date time.Time) (mail.UID, error) {
	var uid mail.UID
	err := p.do(ctx, fmt.Sprintf("deliver to %q", folder), func(c *imapclient.Client) error {
		cmd := c.Append(p.mailbox(folder), int64(len(raw)), &imap.AppendOptions{Flags: imapFlags(flags), Time: date})
		if _, err := cmd.Write(raw); err != nil {
			cmd.Close()
			return err
		}
		if err := cmd.Close(); err != nil {
			return err
		}
		data, err := cmd.Wait()
		if err == nil {
			uid = mail.UID(data.UID)
		}
		return err
	})
	return uid, err
}

// Messages gives all messages of a folder by UID, with their bytes.
func (p *Phone) Messages(ctx context.Context, folder mail.Folder) ([]Message, error) {
	return p.messages(ctx, folder, true)
}

// Index gives all messages of a folder by UID, without their bytes.
func (p *Phone) Index(ctx context.Context, folder mail.Folder) ([]Message, error) {
	return p.messages(ctx, folder, false)
}

func (p *Phone) messages(ctx context.Context, folder mail.Folder, bodies bool) ([]Message, error) {
	var out []Message
	err := p.within(ctx, "read", folder, true, func(c *imapclient.Client, data *imap.SelectData) error {
		if data.NumMessages == 0 {
			return nil
		}
		opts := &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true}
		whole := &imap.FetchItemBodySection{Peek: true}
		if bodies {
			opts.BodySection = []*imap.FetchItemBodySection{whole}
		}
		found, err := c.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, opts).Collect()
		if err != nil {
			return err
		}
		for _, m := range found {
			raw := m.FindBodySection(whole)
			// Flags that changed just now come as a FETCH of their own, which go-imap
			// takes for the answer; to say so beats an empty message.
			if bodies && raw == nil || m.InternalDate.IsZero() {
				return fmt.Errorf("message %d came incomplete", m.UID)
			}
			out = append(out, Message{
				UID: mail.UID(m.UID), Flags: mail.ParseFlags(flagNames(m.Flags)),
				Date: m.InternalDate, Size: m.RFC822Size, Raw: raw,
			})
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Message) int { return cmp.Compare(a.UID, b.UID) })
	return out, err
}

// AddFlags sets flags of a message.
func (p *Phone) AddFlags(ctx context.Context, folder mail.Folder, uid mail.UID, flags mail.Flags) error {
	return p.within(ctx, "set flags in", folder, false, func(c *imapclient.Client, _ *imap.SelectData) error {
		return store(c, uid, imap.StoreFlagsAdd, flags)
	})
}

// RemoveFlags takes flags of a message away.
func (p *Phone) RemoveFlags(ctx context.Context, folder mail.Folder, uid mail.UID, flags mail.Flags) error {
	return p.within(ctx, "take flags away in", folder, false, func(c *imapclient.Client, _ *imap.SelectData) error {
		return store(c, uid, imap.StoreFlagsDel, flags)
	})
}

// Read marks a message as read.
func (p *Phone) Read(ctx context.Context, folder mail.Folder, uid mail.UID) error {
	return p.AddFlags(ctx, folder, uid, mail.Flags{System: mail.Seen})
}

func store(c *imapclient.Client, uid mail.UID, op imap.StoreFlagsOp, flags mail.Flags) error {
	return c.Store(imap.UIDSetNum(imap.UID(uid)), &imap.StoreFlags{Op: op, Silent: true, Flags: imapFlags(flags)}, nil).Close()
}

// Delete removes a message for ever: marks it, and expunges it and no other.
func (p *Phone) Delete(ctx context.Context, folder mail.Folder, uid mail.UID) error {
	return p.within(ctx, "delete from", folder, false, func(c *imapclient.Client, _ *imap.SelectData) error {
		return expunge(c, uid)
	})
}

func expunge(c *imapclient.Client, uid mail.UID) error {
	if err := store(c, uid, imap.StoreFlagsAdd, mail.Flags{System: mail.Deleted}); err != nil {
		return err
	}
	return c.UIDExpunge(imap.UIDSetNum(imap.UID(uid))).Close()
}

// Move moves a message into another folder and gives its UID there, or 0 where the
// server does not tell.
func (p *Phone) Move(ctx context.Context, folder mail.Folder, uid mail.UID, target mail.Folder) (mail.UID, error) {
	var moved mail.UID
	err := p.within(ctx, "move from", folder, false, func(c *imapclient.Client, _ *imap.SelectData) error {
		set := imap.UIDSetNum(imap.UID(uid))
		if !c.Caps().Has(imap.CapMove) {
			// Not by Client.Move, which expunges the message even if it was not copied.
			data, err := c.Copy(set, p.mailbox(target)).Wait()
			if err != nil {
				return err
			}
			moved = only(data.DestUIDs)
			return expunge(c, uid)
		}
		data, err := c.Move(set, p.mailbox(target)).Wait()
		if err != nil {
			return err
		}
		if dest, ok := data.DestUIDs.(imap.UIDSet); ok {
			moved = only(dest)
		}
		return nil
	})
	return moved, err
}

// Copy copies a message into another folder; otherwise as Move.
func (p *Phone) Copy(ctx context.Context, folder mail.Folder, uid mail.UID, target mail.Folder) (mail.UID, error) {
	var copied mail.UID
	err := p.within(ctx, "copy from", folder, false, func(c *imapclient.Client, _ *imap.SelectData) error {
		data, err := c.Copy(imap.UIDSetNum(imap.UID(uid)), p.mailbox(target)).Wait()
		if err == nil {
			copied = only(data.DestUIDs)
		}
		return err
	})
	return copied, err
}

func only(set imap.UIDSet) mail.UID {
	if len(set) == 1 && set[0].Start == set[0].Stop {
		return mail.UID(set[0].Start)
	}
	return 0
}
