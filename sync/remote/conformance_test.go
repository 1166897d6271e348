package remote_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync"
	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/courier"
	"mailtwin/sync/imaptest/cyrus"
	"mailtwin/sync/imaptest/dovecot"
	"mailtwin/sync/remote"
	"mailtwin/sync/sim/remotetest"
)

// manyUsers gives each subtest of the suite an account of its own.
const manyUsers = 80

// reuse lets a process of Dovecot's serve one login after another: to start them anew
// is most of what the suite would cost.
const reuse = "service imap-login {\n service_count = 0\n}\nservice imap {\n service_count = 100\n}"

// TestAccountKeepsItsPromises runs the suite that says what a remote side is on
// servers of several kinds, also on such that lack an extension: each has a slower
// way in its place.
func TestAccountKeepsItsPromises(t *testing.T) {
	servers := map[string][]dovecot.Option{
		"maildir":             nil,
		"sdbox":               {dovecot.Sdbox()},
		"without CONDSTORE":   {dovecot.Hide("CONDSTORE", "QRESYNC")},
		"without UIDPLUS":     {dovecot.Hide("UIDPLUS")},
		"without MOVE":        {dovecot.Hide("MOVE")},
		"without ESEARCH":     {dovecot.Hide("ESEARCH")},
		"without LIST-STATUS": {dovecot.Hide("LIST-STATUS")},
		"without NAMESPACE":   {dovecot.Hide("NAMESPACE")},
		"without LITERAL+":    {dovecot.Hide("LITERAL+")},
		"all in INBOX":        {dovecot.Namespace("INBOX.", ".")},
		"without all of them": {dovecot.Hide("NAMESPACE", "CONDSTORE", "QRESYNC", "UIDPLUS", "MOVE", "ESEARCH", "LIST-STATUS", "LIST-EXTENDED", "SPECIAL-USE", "LITERAL+", "SASL-IR", "IDLE")},
	}
	for name, opts := range servers {
		t.Run("dovecot/"+name, func(t *testing.T) {
			t.Parallel()
			users := make([]string, manyUsers)
			for i := range users {
				users[i] = fmt.Sprintf("u%d", i)
			}
			server := dovecot.Start(t, append(opts, dovecot.Users(users...), dovecot.Extra(reuse))...)
			var next atomic.Int32
			remotetest.Run(t, func(t *testing.T) (sync.Remote, remotetest.Phone) {
				user := users[next.Add(1)-1]
				p := server.PhoneOf(t, user)
				return open(t, remote.Options{Host: server.Host, Port: server.Port, TLS: remote.None, User: user}, server.Password), phone{t, p}
			})
		})
	}
	others := map[string]func(t *testing.T) privateServer{
		"cyrus": func(t *testing.T) privateServer {
			s := cyrus.Start(t)
			return privateServer{s.Port, s.Password, s.PhoneOf}
		},
		"cyrus/classic": func(t *testing.T) privateServer {
			s := cyrus.Start(t, cyrus.Classic())
			return privateServer{s.Port, s.Password, s.PhoneOf}
		},
		"courier": func(t *testing.T) privateServer {
			s := courier.Start(t)
			return privateServer{s.Port, s.Password, s.PhoneOf}
		},
	}
	for name, start := range others {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t)
			var next atomic.Int32
			remotetest.Run(t, func(t *testing.T) (sync.Remote, remotetest.Phone) {
				user := fmt.Sprintf("u%d", next.Add(1))
				p := server.phone(t, user)
				return open(t, remote.Options{Host: "127.0.0.1", Port: server.port, TLS: remote.None, User: user}, server.password), phone{t, p}
			})
		})
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		remotetest.Run(t, func(t *testing.T) (sync.Remote, remotetest.Phone) {
			server, err := imaptest.Start(imaptest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := server.Close(); err != nil {
					t.Errorf("close the server: %v", err)
				}
			})
			p, err := server.Phone(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Close() })
			return open(t, remote.Options{Host: server.Host, Port: server.Port, TLS: remote.None, User: server.User}, server.Password), phone{t, p}
		})
	})
}

// privateServer is a server on loopback that has an account for whoever logs in.
type privateServer struct {
	port     int
	password string
	phone    func(t testing.TB, user string) *imaptest.Phone
}

// Dovecot, when it finds STORE and UID EXPUNGE in its buffer together and another
// session has removed something, expunges before it sees the marks that STORE has
// set, and says OK to both.
func TestExpungedIsGone(t *testing.T) {
	server := dovecot.Start(t)
	a := open(t, remote.Options{Host: server.Host, Port: server.Port, TLS: remote.None, User: server.User}, server.Password)
	p := phone{t, server.Phone(t)}
	const n = 60
	for i := range n {
		p.Deliver("INBOX", fmt.Appendf(nil, "Subject: %d\r\n\r\nx\r\n", i), mail.Flags{}, time.Time{})
	}
	view, err := a.Scan(t.Context(), "INBOX", mail.Cursor{}, 0, func(mail.Message) error { return nil })
	p.check(err)
	for uid := mail.UID(1); uid <= n; uid += 2 {
		p.Delete("INBOX", uid+1)
		p.check(remotetest.Expunge(t.Context(), a, "INBOX", view.Cursor.UIDValidity, mail.UIDs(uid)))
	}
	if left := p.Messages("INBOX"); len(left) > 0 {
		t.Errorf("%d of %d are left, the first with %v", len(left), n/2, left[0].Flags)
	}
}

// open opens an account, and closes it with the test.
func open(t *testing.T, opts remote.Options, password string) *remote.Account {
	opts.Timeout = 10 * time.Second
	opts.Password = func(context.Context) (string, error) { return password, nil }
	a := remote.Open(opts)
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Errorf("close the account: %v", err)
		}
	})
	return a
}

// phone is a mail client as the suite wants it.
type phone struct {
	t *testing.T
	p *imaptest.Phone
}

func (p phone) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p phone) Deliver(folder mail.Folder, raw []byte, flags mail.Flags, date time.Time) mail.UID {
	p.t.Helper()
	uid, err := p.p.Deliver(p.t.Context(), folder, raw, flags, date)
	p.check(err)
	if uid != 0 {
		return uid
	}
	found, err := p.p.Index(p.t.Context(), folder) // a server that does not tell
	p.check(err)
	if len(found) == 0 {
		p.t.Fatalf("%s is empty after a delivery", folder)
	}
	return found[len(found)-1].UID
}

func (p phone) AddFlags(folder mail.Folder, uid mail.UID, flags mail.Flags) {
	p.t.Helper()
	p.check(p.p.AddFlags(p.t.Context(), folder, uid, flags))
}

func (p phone) RemoveFlags(folder mail.Folder, uid mail.UID, flags mail.Flags) {
	p.t.Helper()
	p.check(p.p.RemoveFlags(p.t.Context(), folder, uid, flags))
}

func (p phone) Delete(folder mail.Folder, uid mail.UID) {
	p.t.Helper()
	p.check(p.p.Delete(p.t.Context(), folder, uid))
}

func (p phone) CreateFolder(folder mail.Folder) {
	p.t.Helper()
	p.check(p.p.CreateFolder(p.t.Context(), folder, mail.RoleNone))
}

func (p phone) DeleteFolder(folder mail.Folder) {
	p.t.Helper()
	p.check(p.p.DeleteFolder(p.t.Context(), folder))
}

func (p phone) Messages(folder mail.Folder) []remotetest.Message {
	p.t.Helper()
	found, err := p.p.Messages(p.t.Context(), folder)
	p.check(err)
	messages := make([]remotetest.Message, len(found))
	for i, m := range found {
		messages[i] = remotetest.Message{UID: m.UID, Flags: m.Flags, Date: m.Date, Raw: m.Raw}
	}
	return messages
}
