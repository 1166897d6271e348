package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// maxFolders bounds the folders of an account.
const maxFolders = 10_000

// Folders lists the folders of the account with their status.
func (a *Account) Folders(ctx context.Context) (mail.RemoteListing, error) {
	var out mail.RemoteListing
	err := a.with(ctx, "list folders", "", func(s *session) error {
		list, err := s.list()
		if err != nil {
			return err
		}
		dir := newDirectory(a.opts.Map)
		out = dir.read(list)
		if err := s.statuses(out.Folders, dir.names); err != nil {
			return err
		}
		for _, line := range s.take().Dropped {
			out.Notices = append(out.Notices, mail.Notice{
				Text: "what the server said was left out: " + mail.Clean(line, maxText)})
		}
		a.mu.Lock()
		a.names = dir
		a.mu.Unlock()
		return nil
	})
	if err != nil {
		return mail.RemoteListing{}, err
	}
	return out, nil
}

// statusItems are what tells together whether a folder has changed. A server
// without CONDSTORE takes HIGHESTMODSEQ for an error (RFC 7162, 3.1.7).
func (s *session) statusItems() *imap.StatusOptions {
	return &imap.StatusOptions{
		NumMessages: true, UIDNext: true, UIDValidity: true,
		HighestModSeq: s.caps.Has(imap.CapCondStore),
	}
}

// list asks for all folders at once, with their status where the server has
// LIST-STATUS (RFC 5819).
func (s *session) list() ([]*imap.ListData, error) {
	s.take()
	var opts imap.ListOptions
	extended := s.caps.Has(imap.CapListStatus) || s.caps.Has(imap.CapListExtended)
	if s.caps.Has(imap.CapListStatus) {
		opts.ReturnStatus = s.statusItems()
	}
	// RFC 6154, 2: a server may keep the marks to itself unless asked.
	opts.ReturnSpecialUse = extended && s.caps.Has(imap.CapSpecialUse)
	cmd := s.client.List("", "*", &opts)
	var list []*imap.ListData
	for data := cmd.Next(); data != nil; data = cmd.Next() {
		if len(list) < maxFolders {
			list = append(list, data)
		}
	}
	if err := cmd.Close(); err != nil {
		return nil, s.trouble(err)
	}
	return list, nil
}

// statuses asks for the status of each folder that has none yet, all at once: where
// there is no LIST-STATUS, or the server kept some back. What it still keeps back
// stays unknown.
func (s *session) statuses(folders []mail.RemoteFolder, names map[mail.Folder]string) error {
	cmds := make(map[int]*imapclient.StatusCommand)
	for i, f := range folders {
		if !f.NoSelect && f.Status == (mail.Cursor{}) {
			cmds[i] = s.client.Status(names[f.Name], s.statusItems())
		}
	}
	for _, i := range slices.Sorted(maps.Keys(cmds)) {
		data, err := cmds[i].Wait()
		if err != nil {
			err = s.trouble(err)
		}
		switch {
		case s.broken:
			return fmt.Errorf("status of %s: %w", folders[i].Name, err)
		case errors.Is(err, mail.ErrGone):
			// Dovecot goes on listing a folder that was deleted and has others inside, and
			// does not mark it.
			folders[i].NoSelect = true
		case err == nil:
			folders[i].Status = cursorOf(data)
		}
	}
	return nil
}

// cursorOf reads a STATUS. Without the count it says nothing.
func cursorOf(data *imap.StatusData) mail.Cursor {
	if data.NumMessages == nil {
		return mail.Cursor{}
	}
	return mail.Cursor{
		UIDValidity:   data.UIDValidity,
		UIDNext:       mail.UID(data.UIDNext),
		HighestModSeq: data.HighestModSeq,
		Messages:      *data.NumMessages,
	}
}

// role reads the special-use marks (RFC 6154, 2).
func role(name mail.Folder, attrs []imap.MailboxAttr) mail.Role {
	if name == mail.Inbox {
		return mail.RoleInbox
	}
	for _, attr := range attrs {
		switch strings.ToLower(string(attr)) {
		case `\trash`:
			return mail.RoleTrash
		case `\junk`:
			return mail.RoleJunk
		case `\sent`:
			return mail.RoleSent
		case `\drafts`:
			return mail.RoleDrafts
		case `\archive`:
			return mail.RoleArchive
		case `\all`:
			return mail.RoleAll
		case `\flagged`:
			return mail.RoleFlagged
		}
	}
	return mail.RoleNone
}

func noSelect(attrs []imap.MailboxAttr) bool {
	return slices.ContainsFunc(attrs, func(a imap.MailboxAttr) bool {
		return strings.EqualFold(string(a), `\Noselect`) || strings.EqualFold(string(a), `\NonExistent`)
	})
}

// server gives the server's name of a folder; see directory.server.
func (a *Account) server(ctx context.Context, folder mail.Folder) (string, error) {
	a.mu.Lock()
	dir := a.names
	a.mu.Unlock()
	if !dir.known {
		if _, err := a.Folders(ctx); err != nil {
			return "", err
		}
		a.mu.Lock()
		dir = a.names
		a.mu.Unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return dir.server(folder)
}

// CreateFolder makes an empty folder.
func (a *Account) CreateFolder(ctx context.Context, folder mail.Folder) error {
	return a.change(ctx, "create folder", folder, func(s *session, name string) error {
		s.done = true
		err := s.trouble(s.client.Create(name, nil).Wait())
		if err != nil && !s.broken {
			// Few servers say [ALREADYEXISTS] (RFC 5530).
			if there, listErr := s.listed(name); listErr == nil && there {
				return fmt.Errorf("%w: %w", mail.ErrExists, err)
			}
		}
		if err != nil {
			return err
		}
		a.mu.Lock()
		a.names.names[folder] = name
		a.mu.Unlock()
		return nil
	})
}

// DeleteFolder deletes a folder, with all that is in it. Folders inside it stay.
func (a *Account) DeleteFolder(ctx context.Context, folder mail.Folder) error {
	return a.change(ctx, "delete folder", folder, func(s *session, name string) error {
		if s.box.name == name && s.caps.Has(imap.CapUnselect) {
			// Some servers do not delete a folder that somebody has selected.
			if err := s.client.Unselect().Wait(); err != nil {
				return s.trouble(err)
			}
		}
		if s.box.name == name {
			s.box = box{}
		}
		s.done = true
		err := s.trouble(s.client.Delete(name).Wait())
		if err != nil && !s.broken {
			if there, listErr := s.listed(name); listErr == nil && !there {
				err = fmt.Errorf("%w: %w", mail.ErrGone, err)
			}
		}
		if err != nil && !errors.Is(err, mail.ErrGone) {
			return err
		}
		a.forget(folder, name)
		return err
	})
}

// forget takes a folder that is gone out of the directory and out of the sessions:
// one of the same name may be made, and will have another UIDVALIDITY.
func (a *Account) forget(folder mail.Folder, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.names.names, folder)
	for _, s := range a.idle {
		if s.box.name == name {
			s.box = box{}
		}
	}
}

// listed asks whether there is a folder of exactly that name.
func (s *session) listed(name string) (bool, error) {
	if strings.ContainsAny(name, "%*") {
		return false, nil // they would be wildcards
	}
	list, err := s.client.List("", name, nil).Collect()
	if err != nil {
		return false, s.trouble(err)
	}
	return slices.ContainsFunc(list, func(d *imap.ListData) bool {
		return d.Mailbox == name && !slices.ContainsFunc(d.Attrs, func(a imap.MailboxAttr) bool {
			return strings.EqualFold(string(a), `\NonExistent`)
		})
	}), nil
}
