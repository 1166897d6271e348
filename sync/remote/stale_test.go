package remote_test

import (
	"context"
	"io"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
	"mailtwin/sync/remote"
	"mailtwin/sync/sim/remotetest"
)

// A session that selected a folder before a message came knows nothing of it, and a
// server says OK to a STORE of a UID that the session does not know. So no session is
// used that selected the folder before it was last scanned on another one, or before another
// one was told the UID of what it has brought there.
func TestASessionThatHasNotSeenTheMessageIsNotUsedForIt(t *testing.T) {
	server := dovecot.Start(t)
	phone := server.Phone(t)
	deliver := func() mail.UID {
		uid, err := phone.Deliver(t.Context(), mail.Inbox, []byte("Subject: x\r\n\r\nx\r\n"), mail.Flags{}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return uid
	}
	account := remote.Open(remote.Options{
		Host: server.Host, Port: server.Port, TLS: remote.None, User: server.User,
		Password: func(context.Context) (string, error) { return server.Password, nil },
	})
	defer account.Close()
	scan := func() mail.Cursor {
		view, err := account.Scan(t.Context(), mail.Inbox, mail.Cursor{}, 0, func(mail.Message) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return view.Cursor
	}
	first := deliver()
	validity := scan().UIDValidity
	// One fetch within another makes two sessions have the folder selected.
	read := func(then func() error) error {
		return remotetest.Fetch(t.Context(), account, mail.Inbox, validity, mail.UIDs(first), func(b mail.Body) error {
			if _, err := io.Copy(io.Discard, b.Reader); err != nil {
				return err
			}
			return then()
		})
	}
	if err := read(func() error { return read(func() error { return nil }) }); err != nil {
		t.Fatal(err)
	}
	if n := account.Traffic().Connections; n != 2 {
		t.Fatalf("%d sessions, want 2", n)
	}
	second := deliver()
	scan()
	if err := remotetest.Store(t.Context(), account, mail.Inbox, validity, mail.UIDs(second), mail.Flags{System: mail.Flagged}, mail.Flags{}, nil); err != nil {
		t.Fatal(err)
	}
	ways := map[string]func() (mail.UID, error){
		"appended": func() (mail.UID, error) {
			done := remotetest.Append(t.Context(), account, mail.Inbox, mail.Flags{}, time.Now(), remotetest.Source([]byte("Subject: y\n\ny\n")))
			return done.UID, done.Err
		},
		"copied": func() (mail.UID, error) { return account.Copy(t.Context(), mail.Inbox, validity, first, mail.Inbox) },
		"moved": func() (mail.UID, error) {
			return remotetest.Move(t.Context(), account, mail.Inbox, validity, second, mail.Inbox)
		},
	}
	for how, bring := range ways {
		if err := read(func() error { return read(func() error { return nil }) }); err != nil {
			t.Fatal(err)
		}
		uid, err := bring()
		if err != nil || uid == 0 {
			t.Fatalf("%s: UID %d, %v", how, uid, err)
		}
		if err := remotetest.Store(t.Context(), account, mail.Inbox, validity, mail.UIDs(uid), mail.Flags{System: mail.Flagged}, mail.Flags{}, nil); err != nil {
			t.Fatal(err)
		}
	}
	messages, err := phone.Index(t.Context(), mail.Inbox)
	flagged := 0
	for _, m := range messages {
		if m.Flags.Has(mail.Flagged) {
			flagged++
		}
	}
	if err != nil || len(messages) != 4 || flagged != 3 {
		t.Errorf("after STOREs were answered with OK the server has %+v, %v", messages, err)
	}
}
