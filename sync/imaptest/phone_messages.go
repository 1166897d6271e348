package imaptest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// Message is a message as a Phone sees it.
type Message struct {
	UID   mail.UID
	Flags mail.Flags
	Date  time.Time // INTERNALDATE
	Size  int64     // RFC822.SIZE
	Raw   []byte    // as the wire has it; nil where it was not asked for
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
	err := c.UIDExpunge(imap.UIDSetNum(imap.UID(uid))).Close()
	if no := new(imap.Error); errors.As(err, &no) && no.Type == imap.StatusResponseTypeBad {
		return c.Expunge().Close() // without UIDPLUS, all that is marked goes
	}
	return err
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
