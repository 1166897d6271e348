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
	a.unseeAll() // a run begins
	err := a.with(ctx, "list folders", "", func(s *session) error {
		list, spaces, err := a.list(s, true)
		if err != nil {
			return err
		}
		dir := newDirectory(a.opts.Map, spaces)
		out = dir.read(list)
		notices, err := s.statuses(out.Folders, dir.names)
		if err != nil {
			return err
		}
		out.Notices = append(out.Notices, notices...)
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

// list asks for all folders at once, with their status, if that is wanted, where the server has
// LIST-STATUS (RFC 5819), and for the namespaces in the same breath, the first time.
func (a *Account) list(s *session, status bool) ([]*imap.ListData, spaces, error) {
	s.take()
	a.mu.Lock()
	spaces := a.names.spaces
	plain := a.plainList
	a.mu.Unlock()
	var opts imap.ListOptions
	if !plain {
		extended := s.caps.Has(imap.CapListStatus) || s.caps.Has(imap.CapListExtended)
		if status && s.caps.Has(imap.CapListStatus) {
			opts.ReturnStatus = s.statusItems()
		}
		// RFC 6154, 2: a server may keep the marks to itself unless asked.
		opts.ReturnSpecialUse = extended && s.caps.Has(imap.CapSpecialUse)
	}
	listing := s.client.List("", "*", &opts)
	var ask *imapclient.NamespaceCommand
	if spaces == nil && s.caps.Has(imap.CapNamespace) {
		ask = s.client.Namespace() // behind the LIST, which takes the server longer
	}
	list, err := collectList(listing)
	if spaces == nil {
		data := new(imap.NamespaceData)
		if ask != nil {
			told, err := ask.Wait()
			switch {
			case err == nil:
				data = told
			case refused(err) == nil:
				return nil, nil, s.trouble(err)
			}
		}
		spaces = a.opts.readSpaces(data)
	}
	if spaces.own().delim == 0 && len(list) > 0 {
		spaces = spaces.parted(list[0].Delim)
	}
	if refused(err) != nil && (opts.ReturnStatus != nil || opts.ReturnSpecialUse) {
		// It offers what it does not understand. The plain LIST is understood by all.
		a.log.Info("server refuses the extended LIST", "answer", text(refused(err)))
		a.mu.Lock()
		a.plainList = true
		a.mu.Unlock()
		opts = imap.ListOptions{}
		list, err = collectList(s.client.List("", "*", &opts))
	}
	if err != nil {
		return nil, nil, s.trouble(err)
	}
	// RFC 2342, 7: what "*" does not show must be asked for below its prefix.
	for _, space := range spaces {
		if space.own || !space.wanted || space.prefix == "" || strings.ContainsAny(space.prefix, "%*") {
			continue
		}
		more, err := collectList(s.client.List("", space.prefix+"*", &opts))
		if err != nil && refused(err) == nil {
			return nil, nil, s.trouble(err)
		}
		list = slices.Concat(list, more[:min(len(more), max(0, maxFolders-len(list)))])
	}
	return list, spaces, nil
}

// collectList reads all that a LIST tells, up to a bound.
func collectList(cmd *imapclient.ListCommand) ([]*imap.ListData, error) {
	var list []*imap.ListData
	for data := cmd.Next(); data != nil; data = cmd.Next() {
		if len(list) < maxFolders {
			list = append(list, slim(data))
		}
	}
	if err := cmd.Close(); err != nil {
		return nil, err
	}
	return list, nil
}

// slim keeps of a folder what is of use, since a server may give it a name and attributes
// of any length.
func slim(data *imap.ListData) *imap.ListData {
	small := &imap.ListData{Delim: data.Delim, Mailbox: strings.Clone(data.Mailbox[:min(len(data.Mailbox), maxName+1)]), Status: data.Status}
	for _, attr := range data.Attrs {
		if _, ok := roles[strings.ToLower(string(attr))]; ok || isNoSelect(attr) {
			small.Attrs = append(small.Attrs, attr)
		}
	}
	return small
}

// statuses asks for the status of each folder that has none yet, all at once: where
// there is no LIST-STATUS, or the server kept some back. What it still keeps back
// stays unknown. A folder that the server says cannot be read is none.
func (s *session) statuses(folders []mail.RemoteFolder, names map[mail.Folder]string) (notices []mail.Notice, err error) {
	cmds := make(map[int]*imapclient.StatusCommand)
	for i, f := range folders {
		if !f.NoSelect && f.Status == (mail.Cursor{}) {
			cmds[i] = s.client.Status(names[f.Name], s.statusItems())
		}
	}
	for _, i := range slices.Sorted(maps.Keys(cmds)) {
		f := &folders[i]
		data, err := cmds[i].Wait()
		no := refused(err)
		switch {
		case err == nil:
			f.Status = cursorOf(data)
		case no == nil:
			return nil, fmt.Errorf("status of %s: %w", f.Name, s.trouble(err))
		case no.Code == imap.ResponseCodeNoPerm, strings.HasPrefix(no.Text, "Access denied"): // Courier has no codes
			f.NoSelect = true
			notices = append(notices, mail.Notice{Folder: f.Name, Text: "the server does not let it be read: " + text(no)})
		case errors.Is(refusal(no), mail.ErrGone):
			// Dovecot goes on listing a folder that was deleted and has others inside, and
			// does not mark it.
			f.NoSelect = true
			notices = append(notices, mail.Notice{Folder: f.Name, Text: "the server lists it, and has no such folder: " + text(no)})
		}
	}
	return notices, nil
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
		if role, ok := roles[strings.ToLower(string(attr))]; ok {
			return role
		}
	}
	return mail.RoleNone
}

var roles = map[string]mail.Role{
	`\trash`: mail.RoleTrash, `\junk`: mail.RoleJunk, `\sent`: mail.RoleSent, `\drafts`: mail.RoleDrafts,
	`\archive`: mail.RoleArchive, `\all`: mail.RoleAll, `\flagged`: mail.RoleFlagged,
}

func isNoSelect(attr imap.MailboxAttr) bool {
	return strings.EqualFold(string(attr), `\Noselect`) || strings.EqualFold(string(attr), `\NonExistent`)
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
		// Many programs show only folders that are subscribed.
		a.subscribed(s, folder, s.client.Subscribe(name))
		return nil
	})
}

// subscribed waits for the answer to a change of subscription. What the server does not
// subscribe to, or goes on being subscribed to, is there or gone all the same.
func (a *Account) subscribed(s *session, folder mail.Folder, cmd *imapclient.Command) {
	err := cmd.Wait()
	if err == nil {
		return
	}
	if refused(err) == nil {
		s.broken = true
	}
	a.log.Info("server does not change the subscription", "folder", mail.Clean(string(folder), maxText),
		"error", mail.Clean(err.Error(), maxText))
}

// DeleteFolder deletes a folder, with all that is in it. Folders inside it stay.
func (a *Account) DeleteFolder(ctx context.Context, folder mail.Folder) error {
	return a.change(ctx, "delete folder", folder, func(s *session, name string) error {
		if err := s.leave(name); err != nil {
			return err
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
		if err == nil {
			// RFC 9051, 6.3.7: the server itself must not end the subscription, and programs that
			// list what is subscribed would go on showing the folder.
			a.subscribed(s, folder, s.client.Unsubscribe(name))
		}
		return err
	})
}

// leave makes sure that the session has not selected a folder: some servers do not
// delete or rename such a one. CLOSE would expunge it (RFC 9051, 6.4.1), and its
// messages with it if what follows fails.
func (s *session) leave(name string) error {
	if s.box.name != name {
		return nil
	}
	s.box = box{}
	if s.caps.Has(imap.CapUnselect) {
		if err := s.client.Unselect().Wait(); err != nil {
			return s.trouble(err)
		}
		return nil
	}
	return s.open(string(mail.Inbox), true)
}

// forget takes a folder that is gone out of the directory and out of the sessions,
// and those out of the sessions that may have gone along: one of the same name may be
// made, and will have another UIDVALIDITY.
func (a *Account) forget(folder mail.Folder, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.names.names, folder)
	for _, s := range a.idle {
		if strings.HasPrefix(s.box.name, name) {
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
