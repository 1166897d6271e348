package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// Examine opens a folder, and changes nothing in it.
func (a *Account) Examine(ctx context.Context, folder mail.Folder) (mail.RemoteFolder, error) {
	var told mail.RemoteFolder
	err := a.on(ctx, "look at", folder, func(s *session, name string) error {
		if err := s.open(name, true); err != nil {
			return err
		}
		told = mail.RemoteFolder{Name: folder, MailboxID: s.box.id, Status: s.box.cursor}
		return nil
	})
	return told, err
}

// RenameFolder gives a folder another name (RFC 9051, 6.3.6).
func (a *Account) RenameFolder(ctx context.Context, folder, to mail.Folder) error {
	what := fmt.Sprintf("rename to %s the folder", mail.Clean(string(to), maxText))
	if folder == mail.Inbox || to == mail.Inbox {
		// RENAME would move the messages of INBOX, and leave it where it is.
		return fmt.Errorf("%s %s: %w: there is no other INBOX", what, mail.Clean(string(folder), maxText), mail.ErrRefused)
	}
	there, err := a.server(ctx, to)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s %s: %w", what, mail.Clean(string(folder), maxText), err)
	}
	return a.change(ctx, what, folder, func(s *session, name string) error {
		if err := s.leave(name); err != nil {
			return err
		}
		subscribed, err := s.subscribed(name)
		if err != nil {
			return err
		}
		s.done = true
		if err := s.trouble(s.client.Rename(name, there, nil).Wait()); err != nil {
			return s.whyNotRenamed(name, there, err)
		}
		a.forget(folder, name)
		a.mu.Lock()
		a.names.names[to] = there
		a.mu.Unlock()
		a.resubscribe(s, subscribed, name, there)
		return nil
	})
}

// whyNotRenamed looks what stood in the way, since few servers say it in a way that a
// program understands (RFC 5530).
func (s *session) whyNotRenamed(name, to string, err error) error {
	if s.broken {
		return err
	}
	if there, listErr := s.listed(name); listErr == nil && !there {
		return fmt.Errorf("%w: %w", mail.ErrGone, err)
	}
	if s.broken {
		return err
	}
	if there, listErr := s.listed(to); listErr == nil && there {
		return fmt.Errorf("%w: %w", mail.ErrExists, err)
	}
	return err
}

// subscribed gives the names that are subscribed of a folder and those inside it. A
// server that cannot be asked (RFC 5258) is taken to have subscribed to the folder,
// as to one that is made.
func (s *session) subscribed(name string) ([]string, error) {
	if !s.caps.Has(imap.CapListExtended) || strings.ContainsAny(name, "%*") {
		return []string{name}, nil
	}
	cmd := s.client.List("", name+"*", &imap.ListOptions{SelectSubscribed: true})
	list, err := collectList(cmd)
	if refused(err) != nil {
		return []string{name}, nil
	}
	if err != nil {
		return nil, s.trouble(err)
	}
	var names []string
	for _, d := range list {
		rest := strings.TrimPrefix(d.Mailbox, name)
		if rest == "" || d.Delim != 0 && strings.HasPrefix(rest, string(d.Delim)) {
			names = append(names, d.Mailbox)
		}
	}
	return names, nil
}

// resubscribe subscribes to the new names instead of the old ones: no server does that
// by itself (RFC 9051, 6.3.6, leaves it to the client). What it does not let be
// subscribed is there all the same.
func (a *Account) resubscribe(s *session, names []string, from, to string) {
	var cmds []*imapclient.Command
	for _, name := range names {
		cmds = append(cmds, s.client.Subscribe(to+strings.TrimPrefix(name, from)), s.client.Unsubscribe(name))
	}
	var errs []error
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			errs = append(errs, err)
			if refused(err) == nil {
				s.broken = true // the folder has its new name; the next command will say what is wrong
			}
		}
	}
	if len(errs) > 0 {
		a.log.Info("server does not subscribe to the renamed folder", "folder", mail.Clean(to, maxText),
			"error", mail.Clean(errors.Join(errs...).Error(), maxText))
	}
}
