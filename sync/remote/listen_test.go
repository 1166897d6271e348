package remote

import (
	"cmp"
	"context"
	"encoding/binary"
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

// Dovecot goes on watching a log that it has put another one in the place of, and announces late
// from then on: in as much as ten minutes here.
func TestNotifyIsRenewed(t *testing.T) {
	s := tlsdovecot.Start(t, tlsdovecot.Extra("mailbox_idle_check_interval = 10 min"))
	server := Options{Host: s.Host, Port: s.TLSPort, TLS: Implicit, CAFile: s.CAFile, User: s.User,
		Password: func(context.Context) (string, error) { return s.Password, nil }}
	before := open(t, server)
	if err := before.CreateFolder(t.Context(), "Work"); err != nil {
		t.Fatal(err)
	}
	for range 150 {
		put(t, before, "Work", "one", mail.Flags{}) // 256 octets of the log each; it may have 32 KiB
	}
	before.Close()
	_, l := listenTo(t, server, everyFolder)
	path := filepath.Join(s.MailDir, "dovecot.list.index.log")
	log := rewind(t, path)
	a := open(t, server)
	put(t, a, "Work", "one", mail.Flags{})
	if now, err := os.Stat(path); err != nil || os.SameFile(log, now) {
		t.Fatalf("there is no new log: %v", err)
	}
	for range 4 {
		if err := l.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		uid := put(t, a, "Work", "one", mail.Flags{})
		awaits(t, l, "a message", func(a mail.Announced) bool { return a.Folder == "Work" && a.Status.UIDNext == uid+1 })
	}
}

// rewind has a log of Dovecot's say that it is older than the five minutes before which it is not
// replaced.
func rewind(t *testing.T, path string) os.FileInfo {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const createStamp = 20 // where it is in the header
	var b [4]byte
	if _, err := f.ReadAt(b[:], createStamp); err != nil {
		t.Fatal(err)
	}
	stamp := binary.NativeEndian.Uint32(b[:])
	if age := time.Since(time.Unix(int64(stamp), 0)); age < 0 || age > time.Hour {
		t.Fatalf("that is no time of its making: %d", stamp)
	}
	binary.NativeEndian.PutUint32(b[:], stamp-3600)
	_, err = f.WriteAt(b[:], createStamp)
	st, err2 := f.Stat()
	if err := cmp.Or(err, err2); err != nil {
		t.Fatal(err)
	}
	return st
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
