package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

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
	const events = "NOTIFY SET (selected (MessageNew MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge FlagChange"
	for _, c := range []struct {
		what, caps string
		answers    map[string]string
		namespaces []string
		hears      string
		covers     bool
	}{
		{"all", "IDLE NOTIFY CONDSTORE", nil, nil, events + " MailboxName))", true},
		{"other namespaces", "IDLE NOTIFY CONDSTORE", nil, []string{Personal, Shared}, events + " MailboxName))", false},
		{"no mod-sequences", "IDLE NOTIFY", nil, nil, events + " MailboxName))", false},
		{"no MailboxName", "IDLE NOTIFY CONDSTORE", map[string]string{events + " M": "TAG NO [BADEVENT (MessageNew MessageExpunge FlagChange)] no"},
			nil, events + "))", false},
		{"too much for it", "IDLE NOTIFY CONDSTORE", map[string]string{"NOTIFY": "TAG NO [NOTIFICATIONOVERFLOW] too many"}, nil, "IDLE", false},
		{"not really", "IDLE NOTIFY CONDSTORE", map[string]string{"NOTIFY": "TAG BAD what?"}, nil, "IDLE", false},
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
			hears(t, heard, "DONE")
		})
	}
}

// What ends a connection ends the Listener, and what was announced is not lost.
func TestTheEndOfAnnouncementsIsNoticed(t *testing.T) {
	for what, answer := range map[string]string{
		"a goodbye": "+ idling\n* STATUS INBOX (MESSAGES 2)\n* BYE later",
		"overflow":  "+ idling\n* OK [NOTIFICATIONOVERFLOW] too much",
		"noise":     "+ idling\n* STATUS INBOX (MESSAGES 2)\n((((",
	} {
		t.Run(what, func(t *testing.T) {
			opts, _ := announcing(t, "IDLE NOTIFY", map[string]string{"IDLE": answer})
			_, l := listenTo(t, opts, nil)
			waitFor(t, "the end", l.Done())
			waitFor(t, "a hint", l.Hints())
			l.Close()
		})
	}
	t.Run("a cut", func(t *testing.T) {
		var conn net.Conn
		opts, _ := announcing(t, "IDLE NOTIFY", nil)
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
	for _, caps := range []string{"IDLE", "IDLE NOTIFY"} {
		t.Run(caps, func(t *testing.T) {
			opts, _ := announcing(t, caps, map[string]string{"DONE": ""})
			opts.KeepAlive, opts.Timeout = 50*time.Millisecond, 300*time.Millisecond
			_, l := listenTo(t, opts, everyFolder)
			waitFor(t, "the end", l.Done())
		})
		t.Run(caps+", closed meanwhile", func(t *testing.T) {
			opts, heard := announcing(t, caps, map[string]string{"DONE": ""})
			opts.KeepAlive, opts.Timeout = 50*time.Millisecond, time.Hour
			_, l := listenTo(t, opts, everyFolder)
			hears(t, heard, "DONE")
			closed := make(chan struct{})
			go func() { l.Close(); close(closed) }()
			waitFor(t, "the end", closed)
		})
	}
}

func TestAQuietServerIsAskedNowAndThen(t *testing.T) {
	for _, caps := range []string{"IDLE", "IDLE NOTIFY"} {
		opts, heard := announcing(t, caps, nil)
		opts.KeepAlive = 10 * time.Millisecond
		_, l := listenTo(t, opts, everyFolder)
		for range 4 {
			hears(t, heard, "IDLE")
		}
		if len(l.Hints()) != 0 {
			t.Errorf("%s: that is no hint", caps)
		}
	}
}

// After a change of the network nobody waits for the keep-alive, nor for the usual patience.
func TestAProbeAsksAtOnceAndNotForLong(t *testing.T) {
	for _, caps := range []string{"IDLE", "IDLE NOTIFY"} {
		t.Run(caps+", alive", func(t *testing.T) {
			t.Parallel()
			opts, heard := announcing(t, caps, nil)
			_, l := listenTo(t, opts, everyFolder)
			hears(t, heard, "IDLE")
			for range 3 {
				l.Probe()
				hears(t, heard, "DONE")
				hears(t, heard, "IDLE")
			}
			if len(l.Hints()) != 0 {
				t.Error("that is no hint")
			}
		})
		t.Run(caps+", dead", func(t *testing.T) {
			t.Parallel()
			opts, _ := announcing(t, caps, map[string]string{"DONE": ""})
			opts.Timeout = time.Hour
			_, l := listenTo(t, opts, everyFolder)
			l.Probe()
			waitFor(t, "the end", l.Done())
		})
	}
}

// Whoever renews may look as soon as that has come back.
func TestRenewWaitsUntilTheServerWatchesAnew(t *testing.T) {
	opts, heard := announcing(t, "IDLE NOTIFY", nil)
	_, l := listenTo(t, opts, everyFolder)
	hears(t, heard, "IDLE")
	for range 3 {
		if err := l.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"DONE", "NOTIFY NONE", "NOTIFY SET", "EXAMINE", "IDLE"} {
			hears(t, heard, command)
		}
	}
	if len(l.Hints()) != 0 {
		t.Error("that is no hint")
	}
	l.Close()
	if err := l.Renew(t.Context()); err == nil {
		t.Error("one that is closed is renewed")
	}
}

func TestRenewWhereThatDoesNotGo(t *testing.T) {
	opts, heard := announcing(t, "IDLE", nil)
	_, l := listenTo(t, opts, everyFolder)
	hears(t, heard, "IDLE")
	if err := l.Renew(t.Context()); err != nil || len(heard) != 0 {
		t.Errorf("a server without NOTIFY is asked: %v", err)
	}
	var asked atomic.Int32
	for what, answer := range map[string]string{"no more": "TAG NO [NOTIFICATIONOVERFLOW] too many", "a cut": "CUT"} {
		asked.Store(0)
		opts := scripted(t, func(s *script) {
			s.login("IDLE NOTIFY")
			for idling := ""; ; {
				tag, command := s.hear()
				switch {
				case strings.HasPrefix(command, "LIST"):
					s.say(`* LIST () "/" INBOX`, tag+" OK done")
				case strings.HasPrefix(command, "NOTIFY") && asked.Add(1) > 1 && answer == "CUT":
					return
				case strings.HasPrefix(command, "NOTIFY") && asked.Load() > 1:
					s.raw(strings.Replace(answer, "TAG", tag, 1) + "\r\n")
				case strings.HasPrefix(command, "EXAMINE"):
					s.say("* 1 EXISTS", "* OK [UIDVALIDITY 7] so", "* OK [UIDNEXT 2] so", tag+" OK [READ-ONLY] done")
				case command == "IDLE":
					s.say("+ idling")
					idling = tag
				case tag == "DONE":
					s.say(idling + " OK done")
				default:
					s.say(tag + " OK done")
				}
			}
		})
		_, l := listenTo(t, opts, everyFolder)
		if err := l.Renew(t.Context()); err == nil {
			t.Errorf("%s: it is renewed", what)
		}
		waitFor(t, "the end", l.Done())
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
		{"the end", "IDLE NOTIFY", map[string]string{"NOTIFY": "CUT"}, mail.ErrUnreachable},
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
	flood.WriteString("+ idling\n")
	const names = maxFolders + 1000
	for i := range names {
		fmt.Fprintf(&flood, "* STATUS F%d (MESSAGES %d UIDNEXT 7 UIDVALIDITY 7)\n", i, i)
	}
	flood.WriteString("* STATUS F1 (MESSAGES 5)\n* BYE that was all")
	opts, _ := announcing(t, "IDLE NOTIFY", map[string]string{"IDLE": flood.String()})
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
	for caps, table := range map[string]map[string]string{"IDLE NOTIFY": nil, "IDLE": nil, "IDLE NOTIFY CONDSTORE": {"IDLE": "+ idling\n* BYE bye"}} {
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
