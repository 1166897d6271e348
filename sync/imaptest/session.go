package imaptest

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailtwin/conflict/mail"
)

// session is one connection; what needs a selected folder is in view.go.
type session struct {
	server  *Server
	account *account
	conn    *imapserver.Conn
	view    *view // guarded by the account's lock; nil while nothing is selected
}

var (
	_ imapserver.SessionNamespace = (*session)(nil)
	_ imapserver.SessionMove      = (*session)(nil)
)

// limited is a session that announces how large a message may be.
type limited struct{ *session }

func (s limited) AppendLimit() uint32 { return s.server.opts.AppendLimit }

func (s *session) Close() error {
	s.server.sessions.Done()
	return nil
}

func (s *session) Login(user, password string) error {
	same := subtle.ConstantTimeCompare([]byte(user+"\x00"+password), []byte(s.server.User+"\x00"+s.server.Password))
	if same != 1 {
		return imapserver.ErrAuthFailed
	}
	return nil
}

func (s *session) Create(name string, opts *imap.CreateOptions) error {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	var role imap.MailboxAttr
	if len(opts.SpecialUse) > 0 {
		role = opts.SpecialUse[0]
	}
	return s.account.create(name, role)
}

func (s *session) Delete(name string) error {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	if v := s.view; v != nil && v.folder.name == canonical(name) {
		v.left = true
	}
	return s.account.remove(name)
}

func (s *session) Rename(from, to string, _ *imap.RenameOptions) error {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	return s.account.rename(from, to)
}

func (s *session) Subscribe(name string) error   { return s.subscribe(name, true) }
func (s *session) Unsubscribe(name string) error { return s.subscribe(name, false) }

func (s *session) subscribe(name string, on bool) error {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	f, err := s.account.find(name)
	if err != nil {
		return err
	}
	f.subscribed = on
	return nil
}

func (s *session) Namespace() (*imap.NamespaceData, error) {
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Delim: '/'}}}, nil
}

// List tells of the folders that match, and of the names above them that are no
// folders themselves: a client must not take those for folders (RFC 9051, 6.3.9).
func (s *session) List(w *imapserver.ListWriter, ref string, patterns []string, opts *imap.ListOptions) error {
	if len(patterns) == 0 { // asks for the delimiter only
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: '/'})
	}
	s.account.mu.Lock()
	names := map[string]bool{}
	parents := map[string]bool{}
	for name := range s.account.folders {
		names[name] = true
		for above := mail.Folder(name).Parent(); above != ""; above = above.Parent() {
			names[string(above)], parents[string(above)] = true, true
		}
	}
	var found []imap.ListData
	for name := range names {
		if !slices.ContainsFunc(patterns, func(p string) bool {
			if strings.EqualFold(ref+p, string(mail.Inbox)) {
				p = string(mail.Inbox)
			}
			return imapserver.MatchList(name, '/', ref, p)
		}) {
			continue
		}
		data := imap.ListData{Mailbox: name, Delim: '/'}
		f := s.account.folders[name]
		switch {
		case f == nil && (opts.SelectSubscribed || opts.SelectSpecialUse):
			continue
		case f == nil:
			data.Attrs = append(data.Attrs, imap.MailboxAttrNonExistent, imap.MailboxAttrNoSelect)
		case opts.SelectSubscribed && !f.subscribed, opts.SelectSpecialUse && f.role == "":
			continue
		}
		if parents[name] {
			data.Attrs = append(data.Attrs, imap.MailboxAttrHasChildren)
		} else {
			data.Attrs = append(data.Attrs, imap.MailboxAttrHasNoChildren)
		}
		if f != nil {
			if f.subscribed {
				data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
			}
			if f.role != "" {
				data.Attrs = append(data.Attrs, f.role)
			}
			if opts.ReturnStatus != nil {
				data.Status = f.status()
			}
		}
		found = append(found, data)
	}
	s.account.mu.Unlock()

	slices.SortFunc(found, func(a, b imap.ListData) int { return strings.Compare(a.Mailbox, b.Mailbox) })
	for i := range found {
		if err := w.WriteList(&found[i]); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	return nil
}

func (s *session) Status(name string, _ *imap.StatusOptions) (*imap.StatusData, error) {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	f, err := s.account.find(name)
	if err != nil {
		return nil, err
	}
	return f.status(), nil
}

// status gives everything; imapserver writes what was asked for.
func (f *folder) status() *imap.StatusData {
	var unseen, deleted, recent uint32
	var size, deletedSize int64
	for _, m := range f.messages {
		size += int64(len(m.raw))
		if !m.flags.Has(mail.Seen) {
			unseen++
		}
		if m.flags.Has(mail.Deleted) {
			deleted++
			deletedSize += int64(len(m.raw))
		}
	}
	count := uint32(len(f.messages))
	return &imap.StatusData{
		Mailbox: f.name, NumMessages: &count, NumRecent: &recent, NumUnseen: &unseen, NumDeleted: &deleted,
		UIDNext: f.next, UIDValidity: f.validity, Size: &size, DeletedStorage: &deletedSize,
	}
}

func (s *session) Append(name string, r imap.LiteralReader, opts *imap.AppendOptions) (*imap.AppendData, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read appended message: %w", err)
	}
	// The library's reader takes a connection that ends early for the end of the
	// literal; what came is then no message.
	if int64(len(raw)) != r.Size() {
		return nil, io.ErrUnexpectedEOF
	}
	if keep := s.server.opts.Keep; keep != nil {
		if raw, err = keep(mail.Folder(canonical(name)), raw); errors.Is(err, ErrHangUp) {
			return nil, errors.Join(err, s.conn.NetConn().Close())
		} else if err != nil {
			return nil, err
		}
	}
	date := opts.Time
	if date.IsZero() {
		date = time.Now()
	}
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	f, err := s.account.target(name)
	if err != nil {
		return nil, err
	}
	m := s.account.put(f, raw, mail.ParseFlags(flagNames(opts.Flags)), date)
	if !s.server.uidplus {
		return nil, nil
	}
	return &imap.AppendData{UID: m.uid, UIDValidity: f.validity}, nil
}

func flagNames(flags []imap.Flag) []string {
	names := make([]string, len(flags))
	for i, f := range flags {
		names[i] = string(f)
	}
	return names
}

func imapFlags(flags mail.Flags) []imap.Flag {
	names := flags.Names()
	out := make([]imap.Flag, len(names))
	for i, n := range names {
		out[i] = imap.Flag(n)
	}
	return out
}
