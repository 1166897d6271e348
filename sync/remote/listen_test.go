package remote

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
	tlsdovecot "mailtwin/sync/imaptest/dovecot"
	"mailtwin/sync/sim/remotetest"
)

// everyFolder is what an account listens to.
func everyFolder(mail.Folder) bool { return true }

// listenTo opens a Listener, which is closed with the test.
func listenTo(t *testing.T, opts Options, idle func(mail.Folder) bool) (*Account, *Listener) {
	t.Helper()
	a := open(t, opts)
	l, err := a.Listen(t.Context(), idle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return a, l
}

// waitFor waits until a channel gives something, or is closed.
func waitFor[T any](t *testing.T, what string, ch <-chan T) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(15 * time.Second):
		t.Fatalf("%s does not come", what)
	}
}

// awaits waits for hints until something was announced that is as it should be.
func awaits(t *testing.T, l *Listener, what string, is func(mail.Announced) bool) {
	t.Helper()
	for range 100 {
		waitFor(t, what, l.Hints())
		told, _ := l.Announced()
		for _, a := range told {
			if is(a) {
				return
			}
		}
	}
	t.Fatalf("%s is not announced", what)
}

func TestNotifyTellsOfAllFolders(t *testing.T) {
	s := tlsdovecot.Start(t)
	server := Options{Host: s.Host, Port: s.TLSPort, TLS: Implicit, CAFile: s.CAFile, User: s.User,
		Password: func(context.Context) (string, error) { return s.Password, nil }}
	a, l := listenTo(t, server, func(mail.Folder) bool { return false })
	if !l.CoversAll() {
		t.Error("it does not cover all folders")
	}
	folder := mail.Folder("Entwürfe & mehr")
	if err := a.CreateFolder(t.Context(), folder); err != nil {
		t.Fatal(err)
	}
	awaits(t, l, "a new folder", func(a mail.Announced) bool { return a.Folder == folder && a.Listed })
	uid := put(t, a, folder, "one", mail.Flags{})
	awaits(t, l, "a message", func(a mail.Announced) bool {
		return a.Folder == folder && a.Counted && a.Status.Messages == 1 && a.Status.UIDNext == uid+1
	})
	view := scanFolder(t, a, folder, mail.Cursor{}, 0)
	if err := remotetest.Store(t.Context(), a, folder, view.Cursor.UIDValidity, mail.UIDs(uid), seen, mail.Flags{}, nil); err != nil {
		t.Fatal(err)
	}
	awaits(t, l, "a flag", func(a mail.Announced) bool {
		return a.Folder == folder && a.Status.HighestModSeq > view.Cursor.HighestModSeq
	})
	if err := a.RenameFolder(t.Context(), folder, "Drafts/new"); err != nil {
		t.Fatal(err)
	}
	awaits(t, l, "a folder with a new name", func(a mail.Announced) bool { return a.Folder == "Drafts/new" && a.Listed })
	if err := a.DeleteFolder(t.Context(), "Drafts/new"); err != nil {
		t.Fatal(err)
	}
	awaits(t, l, "a folder that is gone", func(a mail.Announced) bool { return a.Folder == "Drafts/new" && a.Gone })
	if _, all := l.Announced(); !all {
		t.Error("it was told what it cannot name")
	}
	dropInto(t, s)
	awaits(t, l, "a file in INBOX", func(a mail.Announced) bool { return a.Folder == "INBOX" && a.Status.Messages == 1 })
	s.Kill()
	waitFor(t, "the end", l.Done())
}

// dropInto delivers into INBOX past Dovecot, as other programs do.
func dropInto(t *testing.T, s *tlsdovecot.Server) {
	t.Helper()
	uid, gid := s.Owner()
	path := filepath.Join(s.MailDir, "tmp", "1.dropped.host")
	err := os.WriteFile(path, []byte(letter("dropped")), 0o600)
	if err = cmp.Or(err, os.Chown(path, uid, gid)); err == nil {
		err = os.Rename(path, filepath.Join(s.MailDir, "new", filepath.Base(path)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestIdleTellsOfItsFolders(t *testing.T) {
	for name, server := range map[string]func(t *testing.T) Options{"dovecot": idleDovecot, "memory": embedded} {
		t.Run(name, func(t *testing.T) {
			opts := server(t)
			setup := open(t, opts)
			if err := setup.CreateFolder(t.Context(), "Work"); err != nil {
				t.Fatal(err)
			}
			a, l := listenTo(t, opts, func(f mail.Folder) bool { return f == "INBOX" || f == "Work" })
			if l.CoversAll() {
				t.Error("it covers all folders")
			}
			for _, folder := range []mail.Folder{"INBOX", "Work", "INBOX"} {
				uid := put(t, a, folder, "one", mail.Flags{})
				awaits(t, l, "a message", func(a mail.Announced) bool {
					return a.Folder == folder && a.Counted && a.Status.Messages == uint32(uid) && a.Status.UIDNext == uid+1
				})
			}
		})
	}
}

// embedded is the server of the demo.
func embedded(t *testing.T) Options {
	s, err := imaptest.Start(imaptest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return Options{Host: s.Host, Port: s.Port, TLS: None, User: s.User,
		Password: func(context.Context) (string, error) { return s.Password, nil }}
}

// idleDovecot has no NOTIFY.
func idleDovecot(t *testing.T) Options {
	s := tlsdovecot.Start(t, tlsdovecot.Hide("NOTIFY"))
	return Options{Host: s.Host, Port: s.Port, TLS: None, User: s.User,
		Password: func(context.Context) (string, error) { return s.Password, nil }}
}

// Whoever comes after us finds what is new as new.
func TestListeningTakesNoRecentAway(t *testing.T) {
	opts := idleDovecot(t)
	var said strings.Builder
	var mu sync.Mutex
	opts.Trace = func(_ int, sent bool, line string) {
		mu.Lock()
		defer mu.Unlock()
		if !sent {
			said.WriteString(line + "\n")
		}
	}
	a, l := listenTo(t, opts, func(f mail.Folder) bool { return f == "INBOX" })
	put(t, a, "INBOX", "one", mail.Flags{})
	awaits(t, l, "a message", func(a mail.Announced) bool { return a.Status.Messages == 1 })
	l.Close()
	mu.Lock()
	said.Reset()
	mu.Unlock()
	scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(said.String(), "* 1 RECENT") {
		t.Errorf("the server says %q", said.String())
	}
}
