package imaptest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/dovecot"
)

// embedded starts a Server that ends with the test.
func embedded(t *testing.T, opts imaptest.Options) *imaptest.Server {
	t.Helper()
	opts.Logf = t.Logf
	s, err := imaptest.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
	})
	return s
}

func phone(t *testing.T, s *imaptest.Server) *imaptest.Phone {
	t.Helper()
	p, err := s.Phone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// servers are those that every story is told on. The embedded server is as good as
// the others as long as the stories end the same way.
var servers = []struct {
	name  string
	start func(*testing.T) *imaptest.Phone
}{
	{"embedded", func(t *testing.T) *imaptest.Phone { return phone(t, embedded(t, imaptest.Options{})) }},
	{"embedded without MOVE", func(t *testing.T) *imaptest.Phone {
		return phone(t, embedded(t, imaptest.Options{Without: []string{"MOVE"}}))
	}},
	{"embedded with TLS", func(t *testing.T) *imaptest.Phone {
		return phone(t, embedded(t, imaptest.Options{TLS: imaptest.TLSImplicit, Dir: t.TempDir()}))
	}},
	{"embedded with STARTTLS", func(t *testing.T) *imaptest.Phone {
		return phone(t, embedded(t, imaptest.Options{TLS: imaptest.TLSStart, Dir: t.TempDir()}))
	}},
	{"dovecot", func(t *testing.T) *imaptest.Phone { return dovecot.Start(t).Phone(t) }},
	{"dovecot with a prefix", func(t *testing.T) *imaptest.Phone {
		return dovecot.Start(t, dovecot.Namespace("INBOX.", "."), dovecot.Sdbox()).Phone(t)
	}},
}

var (
	letter = []byte("From: a@example.org\r\nSubject: one\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n")
	date   = time.Date(2024, 2, 29, 23, 59, 58, 0, time.FixedZone("", 2*3600))
)

func seen(keywords ...string) mail.Flags {
	return mail.Flags{System: mail.Seen, Keywords: mail.NewKeywords(keywords...)}
}

var stories = []struct {
	name string
	tell func(*testing.T, context.Context, *imaptest.Phone)
}{
	{"a delivered message comes back as it went, with flags and date", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		uid := deliver(t, p, mail.Inbox, letter, seen("Work"))
		got := messages(t, p, mail.Inbox)
		if len(got) != 1 || got[0].UID != uid || uid == 0 {
			t.Fatalf("got %v, delivered UID %d", got, uid)
		}
		m := got[0]
		if !bytes.Equal(m.Raw, letter) || m.Size != int64(len(letter)) || !m.Date.Equal(date) || !m.Flags.Equal(seen("work")) {
			t.Errorf("got %q, %d octets, of %v, marked %v", m.Raw, m.Size, m.Date, m.Flags)
		}
	}},
	{"keywords keep their case", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		deliver(t, p, mail.Inbox, letter, seen("ToDo"))
		if got := messages(t, p, mail.Inbox)[0].Flags.Keywords; got != "ToDo" {
			t.Errorf("got %q", got)
		}
	}},
	{"an odd message is left alone", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		odd := []byte("no header at all\r\n\r\n.\r\nx \xff\xfe\r\n")
		deliver(t, p, mail.Inbox, odd, mail.Flags{})
		if got := messages(t, p, mail.Inbox)[0].Raw; !bytes.Equal(got, odd) {
			t.Errorf("got %q", got)
		}
	}},
	{"reading a list of messages marks none as read", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		deliver(t, p, mail.Inbox, letter, mail.Flags{})
		for range 2 {
			if got := messages(t, p, mail.Inbox)[0].Flags; !got.Empty() {
				t.Errorf("marked %v", got)
			}
		}
	}},
	{"flags are added and taken away, each by itself", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		uid := deliver(t, p, mail.Inbox, letter, mail.Flags{System: mail.Flagged})
		other := deliver(t, p, mail.Inbox, letter, mail.Flags{})
		ok(t, p.Read(ctx, mail.Inbox, uid))
		ok(t, p.AddFlags(ctx, mail.Inbox, uid, mail.Flags{System: mail.Forwarded, Keywords: "$Junk"}))
		ok(t, p.RemoveFlags(ctx, mail.Inbox, uid, mail.Flags{System: mail.Flagged | mail.Draft}))
		want := mail.Flags{System: mail.Seen | mail.Forwarded, Keywords: "$Junk"}
		for _, m := range messages(t, p, mail.Inbox) {
			if m.UID == uid && !m.Flags.Equal(want) || m.UID == other && !m.Flags.Empty() {
				t.Errorf("message %d is marked %v", m.UID, m.Flags)
			}
		}
	}},
	{"a deletion takes one message and leaves others that are marked", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		uid := deliver(t, p, mail.Inbox, letter, mail.Flags{})
		marked := deliver(t, p, mail.Inbox, letter, mail.Flags{System: mail.Deleted})
		ok(t, p.Delete(ctx, mail.Inbox, uid))
		if got := messages(t, p, mail.Inbox); len(got) != 1 || got[0].UID != marked {
			t.Errorf("left: %v", got)
		}
	}},
	{"a move carries bytes, flags and date along", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		deliver(t, p, "Archive", letter, mail.Flags{})
		uid := deliver(t, p, mail.Inbox, letter, seen("work"))
		stays := deliver(t, p, mail.Inbox, letter, mail.Flags{})
		moved, err := p.Move(ctx, mail.Inbox, uid, "Archive")
		ok(t, err)
		if got := messages(t, p, mail.Inbox); len(got) != 1 || got[0].UID != stays {
			t.Errorf("left in INBOX: %v", got)
		}
		got := messages(t, p, "Archive")
		if len(got) != 2 || got[1].UID != moved || !bytes.Equal(got[1].Raw, letter) || !got[1].Flags.Equal(seen("work")) || !got[1].Date.Equal(date) {
			t.Errorf("in Archive: %v; moved to UID %d", got, moved)
		}
	}},
	{"a copy leaves the original", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		uid := deliver(t, p, mail.Inbox, letter, seen())
		copied, err := p.Copy(ctx, mail.Inbox, uid, "Archive")
		ok(t, err)
		if a, b := messages(t, p, mail.Inbox), messages(t, p, "Archive"); len(a) != 1 || len(b) != 1 || b[0].UID != copied || !b[0].Flags.Equal(seen()) {
			t.Errorf("INBOX %v, Archive %v, copied to UID %d", a, b, copied)
		}
	}},
	{"what is not there can be moved without harm", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		moved, err := p.Move(ctx, mail.Inbox, 999, "Archive")
		if err != nil || moved != 0 {
			t.Errorf("got %d, %v", moved, err)
		}
	}},
	{"a move to nowhere loses nothing", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		uid := deliver(t, p, mail.Inbox, letter, mail.Flags{})
		if _, err := p.Move(ctx, mail.Inbox, uid, "Nowhere"); err == nil {
			t.Error("no error")
		}
		if got := messages(t, p, mail.Inbox); len(got) != 1 || !got[0].Flags.Empty() {
			t.Errorf("left: %v", got)
		}
	}},
	{"UIDs are never used twice", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		first := deliver(t, p, mail.Inbox, letter, mail.Flags{})
		ok(t, p.Delete(ctx, mail.Inbox, first))
		if second := deliver(t, p, mail.Inbox, letter, mail.Flags{}); second <= first {
			t.Errorf("%d after %d", second, first)
		}
	}},
	{"folders have any name, and come and go", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		for _, f := range []mail.Folder{"Entwürfe", "Family & Friends", "日本語", "Lists/go", "a b/c d"} {
			ok(t, p.CreateFolder(ctx, f, mail.RoleNone))
			deliver(t, p, f, letter, mail.Flags{})
			if !selectable(t, p, f) {
				t.Errorf("%q is not listed", f)
			}
			ok(t, p.DeleteFolder(ctx, f))
			if selectable(t, p, f) {
				t.Errorf("%q is still listed", f)
			}
		}
	}},
	{"a folder made above another holds messages, and one that was not does not", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		ok(t, p.CreateFolder(ctx, "Lists/go", mail.RoleNone))
		if selectable(t, p, "Lists") {
			t.Error("Lists can be selected")
		}
		ok(t, p.CreateFolder(ctx, "Lists", mail.RoleNone))
		deliver(t, p, "Lists", letter, mail.Flags{})
		ok(t, p.DeleteFolder(ctx, "Lists"))
		// Dovecot's list index goes on listing Lists as if it could be selected.
		if _, err := p.Messages(ctx, "Lists"); err == nil || !selectable(t, p, "Lists/go") {
			t.Errorf("deleting Lists did not take it alone (%v)", err)
		}
	}},
	{"a rename takes along messages and what lies inside", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		ok(t, p.CreateFolder(ctx, "Old", mail.RoleNone))
		ok(t, p.CreateFolder(ctx, "Old/inner", mail.RoleNone))
		deliver(t, p, "Old", letter, mail.Flags{})
		deliver(t, p, "Old/inner", letter, mail.Flags{})
		before := status(t, p, "Old")
		ok(t, p.RenameFolder(ctx, "Old", "New"))
		if selectable(t, p, "Old") || selectable(t, p, "Old/inner") {
			t.Error("the old names are still there")
		}
		if len(messages(t, p, "New")) != 1 || len(messages(t, p, "New/inner")) != 1 {
			t.Error("messages are missing")
		}
		if after := status(t, p, "New"); after.UIDNext != before.UIDNext {
			t.Errorf("%+v became %+v", before, after)
		}
	}},
	{"a folder made again is another one", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		ok(t, p.CreateFolder(ctx, "Again", mail.RoleNone))
		deliver(t, p, "Again", letter, mail.Flags{})
		before := status(t, p, "Again")
		ok(t, p.DeleteFolder(ctx, "Again"))
		ok(t, p.CreateFolder(ctx, "Again", mail.RoleNone))
		if after := status(t, p, "Again"); after.UIDValidity == before.UIDValidity || after.Messages != 0 {
			t.Errorf("%+v became %+v", before, after)
		}
	}},
	{"what is there cannot be made, and what is not cannot be deleted", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		deliver(t, p, "Archive", letter, mail.Flags{}) // Dovecot makes its own folders when they are used
		deliver(t, p, mail.Inbox, letter, mail.Flags{})
		if p.CreateFolder(ctx, "Archive", mail.RoleNone) == nil || p.CreateFolder(ctx, mail.Inbox, mail.RoleNone) == nil {
			t.Error("made again")
		}
		if p.DeleteFolder(ctx, "Nowhere") == nil || p.DeleteFolder(ctx, mail.Inbox) == nil {
			t.Error("deleted")
		}
	}},
	{"folders have their roles", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		folders, err := p.List(ctx)
		ok(t, err)
		roles := map[mail.Folder]mail.Role{}
		for _, f := range folders {
			roles[f.Name] = f.Role
		}
		for name, want := range map[mail.Folder]mail.Role{
			mail.Inbox: mail.RoleInbox, "Archive": mail.RoleArchive, "Drafts": mail.RoleDrafts,
			"Junk": mail.RoleJunk, "Sent": mail.RoleSent, "Trash": mail.RoleTrash,
		} {
			if roles[name] != want {
				t.Errorf("%q has role %q", name, roles[name])
			}
		}
	}},
	{"a status tells how far a folder is", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		before := status(t, p, mail.Inbox)
		uid := deliver(t, p, mail.Inbox, letter, mail.Flags{})
		after := status(t, p, mail.Inbox)
		if after.Messages != 1 || after.UIDNext != uid+1 || after.UIDValidity == 0 || before.Messages != 0 {
			t.Errorf("%+v became %+v", before, after)
		}
	}},
	{"a refusal leaves the connection in use", func(t *testing.T, ctx context.Context, p *imaptest.Phone) {
		if _, err := p.Messages(ctx, "Nowhere"); err == nil || !strings.Contains(err.Error(), `"Nowhere"`) {
			t.Errorf("got %v", err)
		}
		deliver(t, p, mail.Inbox, letter, mail.Flags{})
	}},
}

func TestPhone(t *testing.T) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for _, story := range stories {
				t.Run(story.name, func(t *testing.T) {
					story.tell(t, t.Context(), s.start(t))
				})
			}
		})
	}
}

func TestPhoneSurvivesARestart(t *testing.T) {
	s := dovecot.Start(t)
	p := s.Phone(t)
	uid := deliver(t, p, mail.Inbox, letter, mail.Flags{})
	s.Restart()
	if got := messages(t, p, mail.Inbox); len(got) != 1 || got[0].UID != uid {
		t.Errorf("got %v", got)
	}
}

func TestPhoneGivesUp(t *testing.T) {
	s := imaptest.Script(t, func(c *imaptest.Conn) {
		c.Login("IMAP4rev1")
		c.Expect("STATUS .*")
		c.Hang()
	})
	p, err := imaptest.Dial(t.Context(), imaptest.DialOptions{Host: s.Host, Port: s.Port, User: "a", Password: "b"})
	ok(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Status(ctx, mail.Inbox); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestWrongPassword(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	for _, login := range [][2]string{{s.User, "wrong"}, {"bob", s.Password}, {"", ""}} {
		opts := imaptest.DialOptions{Host: s.Host, Port: s.Port, User: login[0], Password: login[1]}
		if _, err := imaptest.Dial(t.Context(), opts); err == nil {
			t.Errorf("%q was let in", login)
		} else if login[1] != "" && strings.Contains(err.Error(), login[1]) {
			t.Errorf("the password is in %q", err)
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func deliver(t *testing.T, p *imaptest.Phone, f mail.Folder, raw []byte, flags mail.Flags) mail.UID {
	t.Helper()
	uid, err := p.Deliver(t.Context(), f, raw, flags, date)
	ok(t, err)
	return uid
}

func messages(t *testing.T, p *imaptest.Phone, f mail.Folder) []imaptest.Message {
	t.Helper()
	m, err := p.Messages(t.Context(), f)
	ok(t, err)
	return m
}

func status(t *testing.T, p *imaptest.Phone, f mail.Folder) mail.Cursor {
	t.Helper()
	c, err := p.Status(t.Context(), f)
	ok(t, err)
	return c
}

func selectable(t *testing.T, p *imaptest.Phone, f mail.Folder) bool {
	t.Helper()
	folders, err := p.List(t.Context())
	ok(t, err)
	return slices.ContainsFunc(folders, func(l mail.RemoteFolder) bool { return l.Name == f && !l.NoSelect })
}
