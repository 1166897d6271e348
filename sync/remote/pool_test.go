package remote

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim/remotetest"
)

// dying is a server whose first session says goodbye to the second command of a kind,
// as one does whose folder was deleted. commands counts those of that kind.
func dying(t *testing.T, kind string) (opts Options, commands *atomic.Int32) {
	commands = new(atomic.Int32)
	opts = scripted(t, func(s *script) {
		s.login("UIDPLUS MOVE")
		for {
			tag, command := s.hear()
			of := strings.HasPrefix(command, kind)
			if of {
				commands.Add(1)
			}
			switch {
			case of && s.n == 1 && (kind != "LIST" || commands.Load() == 2):
				s.say("* BYE the folder is gone")
				return
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`, `* LIST () "/" Other`, tag+" OK done")
			case strings.HasPrefix(command, "SELECT"):
				s.say("* 1 EXISTS", "* OK [UIDVALIDITY 7] so", "* OK [UIDNEXT 2] so", tag+" OK [READ-WRITE] done")
			default:
				s.say(tag + " OK done")
			}
		}
	})
	return opts, commands
}

func TestASessionThatDiedWhileIdleFailsNobodysCall(t *testing.T) {
	ctx := context.Background()
	for kind, call := range map[string]func(a *Account) error{
		"LIST": func(a *Account) error { _, err := a.Folders(ctx); return err },
		"SELECT": func(a *Account) error {
			return remotetest.Store(ctx, a, "INBOX", 7, mail.UIDs(1), seen, mail.Flags{}, nil)
		},
		"UID STORE": func(a *Account) error {
			return remotetest.Store(ctx, a, "INBOX", 7, mail.UIDs(1), seen, mail.Flags{}, nil)
		},
		"UID EXPUNG": func(a *Account) error { return remotetest.Expunge(ctx, a, "INBOX", 7, mail.UIDs(1)) },
	} {
		opts, commands := dying(t, kind)
		a := open(t, opts)
		if _, err := a.Folders(ctx); err != nil {
			t.Fatal(err)
		}
		if err := call(a); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if n := commands.Load(); kind != "LIST" && n != 2 {
			t.Errorf("%s was sent %d times", kind, n)
		}
	}
}

var seen = mail.Flags{System: mail.Seen}

func TestWhatMayHaveHappenedIsNotTriedAgain(t *testing.T) {
	ctx := context.Background()
	for kind, call := range map[string]func(a *Account) error{
		"APPEND": func(a *Account) error {
			_, _, _, err := appendTo(ctx, a, "INBOX", seen, time.Unix(1136214245, 0), newMessage(letter("one")))
			return err
		},
		"UID MOVE": func(a *Account) error { _, err := remotetest.Move(ctx, a, "INBOX", 7, 1, "Other"); return err },
		"UID COPY": func(a *Account) error { _, err := a.Copy(ctx, "INBOX", 7, 1, "Other"); return err },
		"CREATE":   func(a *Account) error { return a.CreateFolder(ctx, "New") },
		"DELETE":   func(a *Account) error { return a.DeleteFolder(ctx, "Other") },
	} {
		opts, commands := dying(t, kind)
		a := open(t, opts)
		if _, err := a.Folders(ctx); err != nil {
			t.Fatal(err)
		}
		if err := call(a); !errors.Is(err, mail.ErrUnreachable) {
			t.Errorf("%s: %v", kind, err)
		}
		if n := commands.Load(); n != 1 {
			t.Errorf("%s was sent %d times", kind, n)
		}
		if _, err := a.Folders(ctx); err != nil {
			t.Errorf("after %s: %v", kind, err)
		}
	}
}
