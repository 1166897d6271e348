package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	tlsdovecot "mailtwin/sync/imaptest/dovecot"
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
	if err := storeFlags(t, a, folder, view.Cursor.UIDValidity, uid); err != nil {
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
	s.Kill()
	waitFor(t, "the end", l.Done())
}

// storeFlags flags a message.
func storeFlags(t *testing.T, a *Account, folder mail.Folder, validity uint32, uid mail.UID) error {
	t.Helper()
	change := &mail.FlagChange{UIDs: mail.UIDs(uid), Add: seen}
	v := &mail.Visit{Folder: folder, Validity: validity, Stores: []*mail.FlagChange{change}}
	a.Change(t.Context(), []*mail.Visit{v})
	return change.Err
}

func TestIdleTellsOfItsFolders(t *testing.T) {
	for name, server := range map[string]func(t *testing.T) Options{"dovecot": idleDovecot, "memory": memServer} {
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

// announcing is a server that announces. It answers what it is asked, with its tag in place of
// TAG, by the longest key of table that the command begins with; "" is no answer.
func announcing(t *testing.T, caps string, table map[string]string) (opts Options, heard chan string) {
	heard = make(chan string, 1000)
	opts = scripted(t, func(s *script) {
		s.login(caps)
		idling := ""
		for {
			tag, command := s.hear()
			select {
			case heard <- cmp.Or(command, tag):
			default:
			}
			answer, own := "TAG OK done", 0
			switch {
			case tag == "DONE":
				tag, command = idling, "DONE"
			case strings.HasPrefix(command, "LIST"):
				answer = "* LIST () \"/\" INBOX\nTAG OK done"
			case strings.HasPrefix(command, "EXAMINE"):
				answer = "* 1 EXISTS\n* OK [UIDVALIDITY 7] so\n* OK [UIDNEXT 2] so\nTAG OK [READ-ONLY] done"
			case command == "IDLE":
				answer, idling = "+ idling", tag
			case command == "LOGOUT":
				return
			}
			for k, v := range table {
				if strings.HasPrefix(command, k) && len(k) > own {
					answer, own = v, len(k)
				}
			}
			if answer == "CUT" {
				return
			}
			if answer != "" {
				s.raw(strings.NewReplacer("TAG", tag, "\n", "\r\n").Replace(answer + "\n"))
			}
		}
	})
	return opts, heard
}

// hears waits for a command.
func hears(t *testing.T, heard <-chan string, command string) {
	t.Helper()
	for range 1000 {
		select {
		case c := <-heard:
			if strings.HasPrefix(c, command) {
				return
			}
		case <-time.After(15 * time.Second):
			t.Fatalf("the server does not hear %s", command)
		}
	}
}

func TestNotifyDoesWithWhatThereIs(t *testing.T) {
	const events = "NOTIFY SET (personal (MessageNew MessageExpunge FlagChange"
	for _, c := range []struct {
		what, caps string
		answers    map[string]string
		namespaces []string
		hears      string
		covers     bool
	}{
		{"all", "NOTIFY CONDSTORE", nil, nil, events + " MailboxName))", true},
		{"other namespaces", "NOTIFY CONDSTORE", nil, []string{Personal, Shared}, events + " MailboxName))", false},
		{"no mod-sequences", "NOTIFY", nil, nil, events + " MailboxName))", false},
		{"no MailboxName", "NOTIFY CONDSTORE IDLE", map[string]string{events + " M": "TAG NO [BADEVENT (MessageNew MessageExpunge FlagChange)] no"},
			nil, events + "))", false},
		{"too much for it", "NOTIFY CONDSTORE IDLE", map[string]string{"NOTIFY": "TAG NO [NOTIFICATIONOVERFLOW] too many"}, nil, "IDLE", false},
		{"not really", "NOTIFY CONDSTORE IDLE", map[string]string{"NOTIFY": "TAG BAD what?"}, nil, "IDLE", false},
	} {
		t.Run(c.what, func(t *testing.T) {
			opts, heard := announcing(t, c.caps, c.answers)
			opts.Namespaces = c.namespaces
			_, l := listenTo(t, opts, everyFolder)
			hears(t, heard, c.hears)
			if l.CoversAll() != c.covers {
				t.Errorf("it covers all: %v", l.CoversAll())
			}
			l.Close()
			waitFor(t, "the end", l.Done())
			if c.hears == "IDLE" {
				hears(t, heard, "DONE")
			} else {
				hears(t, heard, "LOGOUT")
			}
		})
	}
}

// What ends a connection ends the Listener, and what was announced is not lost.
func TestTheEndOfAnnouncementsIsNoticed(t *testing.T) {
	for what, answer := range map[string]string{
		"a goodbye": "TAG OK done\n* STATUS INBOX (MESSAGES 2)\n* BYE later",
		"overflow":  "TAG OK done\n* OK [NOTIFICATIONOVERFLOW] too much",
		"noise":     "TAG OK done\n* STATUS INBOX (MESSAGES 2)\n((((",
	} {
		t.Run(what, func(t *testing.T) {
			opts, _ := announcing(t, "NOTIFY", map[string]string{"NOTIFY": answer})
			_, l := listenTo(t, opts, nil)
			waitFor(t, "the end", l.Done())
			waitFor(t, "a hint", l.Hints())
			l.Close()
		})
	}
	t.Run("a cut", func(t *testing.T) {
		var conn net.Conn
		opts, _ := announcing(t, "NOTIFY", nil)
		opts.dial = func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return conn, err
		}
		_, l := listenTo(t, opts, nil)
		conn.Close()
		waitFor(t, "the end", l.Done())
	})
}

// A line that is dead without a word shows when the server should answer.
func TestAHalfOpenConnectionIsNoticed(t *testing.T) {
	for what, c := range map[string]struct{ caps, silent string }{
		"NOTIFY": {"NOTIFY", "NOOP"}, "IDLE": {"IDLE", "DONE"},
	} {
		t.Run(what, func(t *testing.T) {
			opts, _ := announcing(t, c.caps, map[string]string{c.silent: ""})
			opts.KeepAlive, opts.Timeout = 50*time.Millisecond, 300*time.Millisecond
			_, l := listenTo(t, opts, everyFolder)
			waitFor(t, "the end", l.Done())
		})
		t.Run(what+", closed meanwhile", func(t *testing.T) {
			opts, heard := announcing(t, c.caps, map[string]string{c.silent: ""})
			opts.KeepAlive, opts.Timeout = 50*time.Millisecond, time.Hour
			_, l := listenTo(t, opts, everyFolder)
			hears(t, heard, c.silent)
			closed := make(chan struct{})
			go func() { l.Close(); close(closed) }()
			waitFor(t, "the end", closed)
		})
	}
}

func TestAQuietServerIsAskedNowAndThen(t *testing.T) {
	for caps, command := range map[string]string{"NOTIFY": "NOOP", "IDLE": "IDLE"} {
		opts, heard := announcing(t, caps, nil)
		opts.KeepAlive = 10 * time.Millisecond
		_, l := listenTo(t, opts, everyFolder)
		for range 4 {
			hears(t, heard, command)
		}
		if len(l.Hints()) != 0 {
			t.Errorf("%s: that is no hint", caps)
		}
	}
}

func TestWhatCannotBeListenedTo(t *testing.T) {
	for _, c := range []struct {
		what, caps string
		answers    map[string]string
		want       error
	}{
		{"neither", "UIDPLUS", nil, ErrSilent},
		{"no folder", "IDLE", map[string]string{"LIST": "* LIST () \"/\" Sent\nTAG OK done"}, ErrSilent},
		{"a folder that cannot be opened", "IDLE", map[string]string{"EXAMINE": "TAG NO not you"}, ErrSilent},
		{"a folder at which it ends", "IDLE", map[string]string{"EXAMINE": "CUT"}, mail.ErrUnreachable},
		{"no IDLE after all", "IDLE", map[string]string{"LIST": "TAG NO no"}, mail.ErrRefused},
		{"the end", "NOTIFY", map[string]string{"NOTIFY": "CUT"}, mail.ErrUnreachable},
	} {
		opts, _ := announcing(t, c.caps, c.answers)
		l, err := open(t, opts).Listen(t.Context(), func(f mail.Folder) bool { return f == "INBOX" })
		if !errors.Is(err, c.want) || l != nil {
			t.Errorf("%s: %v, %v", c.what, l, err)
		}
	}
	opts := scripted(t, func(s *script) {
		s.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello")
		tag, _ := s.hear()
		s.say(tag + " NO [AUTHENTICATIONFAILED] no")
		s.hear()
	})
	if _, err := open(t, opts).Listen(t.Context(), everyFolder); !errors.Is(err, mail.ErrLogin) {
		t.Errorf("a wrong password: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t, opts).Listen(ctx, everyFolder); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A server that has no room for more sessions is listened to as far as that goes, and so is a
// folder beside one that cannot be opened.
func TestListeningGoesAsFarAsItCan(t *testing.T) {
	opts := scripted(t, func(s *script) {
		if s.n == 2 {
			s.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello")
			tag, _ := s.hear()
			s.say(tag + " NO [LIMIT] one is enough")
			return
		}
		s.login("IDLE")
		for {
			switch tag, command := s.hear(); {
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" Work`, `* LIST () "/" INBOX`, `* LIST () "/" Lists`, tag+" OK done")
			case command == "EXAMINE INBOX" || command == `EXAMINE "INBOX"`:
				s.say(tag + " NO not today")
			case strings.HasPrefix(command, "EXAMINE"):
				s.say("* 1 EXISTS", "* OK [UIDVALIDITY 7] so", "* OK [UIDNEXT 2] so", tag+" OK [READ-ONLY] done")
			case command == "IDLE":
				s.say("+ idling", "* 2 EXISTS")
				done, _ := s.hear()
				s.say(strings.Replace(done, "DONE", tag, 1) + " OK done")
			default:
				s.say(tag + " OK done")
			}
		}
	})
	_, l := listenTo(t, opts, everyFolder)
	awaits(t, l, "the folder that can be opened", func(a mail.Announced) bool { return a.Folder == "Lists" })
}

// However much is announced, it takes one hint, and no more room than folders take.
func TestAFloodOfAnnouncementsIsOneHint(t *testing.T) {
	var flood strings.Builder
	flood.WriteString("TAG OK done\n")
	const names = maxFolders + 1000
	for i := range names {
		fmt.Fprintf(&flood, "* STATUS F%d (MESSAGES %d UIDNEXT 7 UIDVALIDITY 7)\n", i, i)
	}
	flood.WriteString("* STATUS F1 (MESSAGES 5)\n* BYE that was all")
	opts, _ := announcing(t, "NOTIFY", map[string]string{"NOTIFY": flood.String()})
	_, l := listenTo(t, opts, nil)
	waitFor(t, "the end", l.Done())
	l.Close()
	told, all := l.Announced()
	if len(l.Hints()) != 1 || len(told) != maxFolders || all {
		t.Errorf("%d hints, %d folders, and that was all: %v", len(l.Hints()), len(told), all)
	}
	for _, a := range told {
		if want := (mail.Cursor{UIDValidity: 7, UIDNext: 7, Messages: 5}); a.Folder == "F1" && (a.Status != want || !a.Counted) {
			t.Errorf("of F1 it was told %+v", a)
		}
	}
	if told, all := l.Announced(); len(told) != 0 || !all {
		t.Errorf("asked again, it tells %v, %v", told, all)
	}
}

// Nothing is left of a Listener that is closed, nor of one that has ended by itself.
func TestAListenerLeavesNothingBehind(t *testing.T) {
	for caps, table := range map[string]map[string]string{"NOTIFY": nil, "IDLE": nil, "NOTIFY CONDSTORE": {"NOTIFY": "TAG OK done\n* BYE bye"}} {
		opts, _ := announcing(t, caps, table)
		a := open(t, opts)
		before := runtime.NumGoroutine()
		for range 20 {
			l, err := a.Listen(t.Context(), everyFolder)
			if err != nil {
				t.Fatal(err)
			}
			if table != nil {
				waitFor(t, "the end", l.Done())
			}
			l.Close()
		}
		left := 0
		for range 500 { // the server's own goroutines take a moment
			if left = runtime.NumGoroutine(); left <= before {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if left > before {
			t.Errorf("%s: %d goroutines before, %d after", caps, before, left)
		}
	}
}
