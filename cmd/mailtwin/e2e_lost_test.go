package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
)

// What a device knows can be lost, and either side, or what is known of it, can be
// restored from a backup. In each of these stories the account and the device are in
// step at first, with 60 messages in several folders. A backup is made of everything;
// then much changes, and both are in step again. Then something is lost, and at the same
// time messages come, go and change on both sides.
//
// In the sync after it nothing is removed by inference from the loss, nothing doubles,
// bodies travel only for what is really missing, and one line says what happened.

// loss is one way to lose track.
type loss struct {
	// old: much has changed since the backup.
	old  bool
	lose func(l *lost)
	// says is in the line that tells of it; "" where there is nothing to tell.
	says string
	// back are messages that had been removed, or moved on, since the backup, and are
	// there again, as "folder: subject", or came with the loss.
	back   []string
	bodies int  // that travel, besides those of the changes at the time of the loss
	aside  bool // a damaged database is kept
	// follows is the side that takes over where messages are, since which of the two has
	// moved them is lost; 0 where that is known.
	follows side
	dated   bool // the messages have got other dates on the server
}

type side int

const (
	neither side = iota
	theServer
	theMaildir
)

// lost is a story of a loss.
type lost struct {
	*story
	d      *computer
	backup string // a directory
	server *dovecot.Server
}

// size is about what a message has in octets, so that its body shows on the wire.
const lostSize = 8 << 10

func long(subject string) string {
	return note(subject) + strings.Repeat("A line of text.\n", lostSize/16)
}

func unnamed(subject string) string {
	return strings.Replace(long(subject), "Message-ID: ", "X-No: ", 1)
}

// fillAccount brings 60 messages to the server.
func (s *story) fillAccount() {
	s.Helper()
	work := mail.Flags{System: mail.Seen, Keywords: mail.NewKeywords("work")}
	for i := range 36 {
		flags := []mail.Flags{none, seen, answered, flagged, work}[i%5]
		s.deliver("INBOX", long(fmt.Sprint("in ", i)), flags)
	}
	for range 2 {
		s.deliver("INBOX", long("twin"), seen)
		s.deliver("INBOX", unnamed("unnamed twin"), seen)
	}
	s.deliver("INBOX", unnamed("unnamed"), none)
	s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
	s.check(s.phone.CreateFolder(s.Context(), "Lists/go", mail.RoleNone))
	for i := range 10 {
		s.deliver("Work", long(fmt.Sprint("work ", i)), seen)
		s.deliver("Lists/go", long(fmt.Sprint("list ", i)), flagged)
	}
}

func (l *lost) state() string {
	return filepath.Join(filepath.Dir(l.d.config), "state", "alice", stateFile)
}

// copyAll copies files and directories with their times, in place of what was there.
func (l *lost) copyAll(from, to string) {
	l.Helper()
	l.check(os.RemoveAll(to))
	l.check(os.MkdirAll(filepath.Dir(to), 0o755))
	if out, err := exec.CommandContext(l.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		l.Fatalf("cp: %v: %s", err, out)
	}
}

func (l *lost) save() {
	l.Helper()
	l.copyAll(filepath.Dir(filepath.Dir(l.state())), filepath.Join(l.backup, "state"))
	l.copyAll(l.d.maildir, filepath.Join(l.backup, "Mail"))
	l.server.Stop()
	l.copyAll(l.server.MailDir, filepath.Join(l.backup, "server"))
	l.server.Restart()
}

func restoreState(l *lost) {
	l.copyAll(filepath.Join(l.backup, "state"), filepath.Dir(filepath.Dir(l.state())))
}
func restoreMaildir(l *lost) { l.copyAll(filepath.Join(l.backup, "Mail"), l.d.maildir) }

func restoreServer(l *lost) {
	l.Helper()
	l.server.Stop()
	l.copyAll(filepath.Join(l.backup, "server"), l.server.MailDir)
	l.server.Restart()
}

// dies kills a sync that has brought a message across in each direction, and takes away
// what the state database had not yet folded into its file.
func (l *lost) dies() {
	l.Helper()
	l.deliver("INBOX", long("arrived"), none)
	l.d.save("INBOX", "cur", "1.sent.host:2,S", long("sent"), then)
	_, steps, _ := l.d.child(0)
	l.deliver("INBOX", long("arrived, too"), none)
	l.d.save("INBOX", "cur", "2.sent.host:2,S", long("sent, too"), then)
	if killed, _, _ := l.d.child(steps * 3 / 4); !killed {
		l.Fatalf("it ended before step %d", steps*3/4)
	}
	for _, log := range []string{"-wal", "-shm"} {
		l.check(os.Remove(l.state() + log))
	}
}

// migrate brings all mail to another server, with or without its dates, and tells the
// devices of it.
func (l *lost) migrate(dates bool) {
	l.Helper()
	other := dovecot.Start(l.T, dovecot.Sdbox(), dovecot.Extra(reuse))
	phone := other.Phone(l.T)
	listed, err := l.phone.List(l.Context())
	l.check(err)
	for _, f := range listed {
		if f.NoSelect {
			continue
		}
		if !slices.Contains([]mail.Folder{"INBOX", "Trash", "Sent", "Drafts", "Junk", "Archive"}, f.Name) {
			l.check(phone.CreateFolder(l.Context(), f.Name, f.Role))
		}
		for _, m := range slices.Backward(l.messages(f.Name)) {
			if !dates {
				m.Date = then.AddDate(1, 0, 0)
			}
			_, err := phone.Deliver(l.Context(), f.Name, m.Raw, m.Flags, m.Date)
			l.check(err)
		}
	}
	for _, name := range []string{"laptop", "desktop"} {
		config := filepath.Join(l.dir, name, "config.toml")
		text, err := os.ReadFile(config)
		l.check(err)
		text = []byte(strings.Replace(string(text), fmt.Sprint("port = ", l.server.Port), fmt.Sprint("port = ", other.Port), 1))
		l.check(os.WriteFile(config, text, 0o600))
	}
	l.phone = phone
}

// change is what happens between the backup and the loss.
func (l *lost) change() {
	l.Helper()
	d := l.d
	l.deliver("INBOX", long("new there"), none)
	l.check(l.phone.Delete(l.Context(), "INBOX", l.remote("INBOX", "in 1").UID))
	_, err := l.phone.Move(l.Context(), "INBOX", l.remote("INBOX", "in 3").UID, "Work")
	l.check(err)
	l.check(l.phone.AddFlags(l.Context(), "INBOX", l.remote("INBOX", "in 6").UID, answered))
	settle(d)
	d.save("INBOX", "cur", "1.new.host:2,S", long("new here"), then)
	d.remove(d.find("INBOX", "in 2"))
	f := d.find("INBOX", "in 7")
	l.check(os.Rename(f.path, filepath.Join(d.maildir, "Work", "cur", "moved.host:2,S")))
	d.reflag(d.find("INBOX", "in 5"), "FS")
	settle(d)
	d.same()
}

// during is what happens at the time of the loss, and gives what is there after it of
// what was in before.
func (l *lost) during(before []string, follows side) []string {
	l.Helper()
	_, err := l.phone.Move(l.Context(), "INBOX", l.remote("INBOX", "in 12").UID, "Work")
	l.check(err)
	if follows != theServer {
		before = append(without(before, []string{"INBOX: in 12"}), "Work: in 12")
	}
	l.deliver("Work", long("theirs"), none)
	l.d.save("Lists/go", "cur", "1.mine.host:2,S", long("mine"), then)
	l.check(l.phone.AddFlags(l.Context(), "INBOX", l.remote("INBOX", "in 10").UID, flagged))
	if len(l.d.files("INBOX")) > 0 {
		l.d.reflag(l.d.find("INBOX", "in 11"), "FRS")
	}
	// A server that was restored follows each device when that comes to it, so one that
	// comes later, and has not heard of a move, takes it back.
	if len(l.d.files("INBOX")) > 0 && follows != theServer {
		f := l.d.find("INBOX", "in 17")
		l.check(os.Rename(f.path, filepath.Join(l.d.maildir, "Lists", "go", "cur", "moved.during:2,RS")))
		if follows != theMaildir {
			before = append(without(before, []string{"INBOX: in 17"}), "Lists/go: in 17")
		}
	}
	return append(before, "Work: theirs", "Lists/go: mine")
}

// index gives what the server has, as "folder: subject".
func (s *story) index() []string {
	s.Helper()
	var all []string
	listed, err := s.phone.List(s.Context())
	s.check(err)
	for _, f := range listed {
		if f.NoSelect {
			continue
		}
		for _, subject := range s.there(f.Name) {
			all = append(all, string(f.Name)+": "+subject)
		}
	}
	return all
}

func TestLosses(t *testing.T) {
	t.Parallel()
	alter := func(do func(text []byte) []byte) func(l *lost) {
		return func(l *lost) {
			text, err := os.ReadFile(l.state())
			l.check(err)
			l.check(os.WriteFile(l.state(), do(text), 0o600))
		}
	}
	renumber := func(folders ...string) func(l *lost) {
		return func(l *lost) {
			for _, f := range folders {
				_, err := l.server.Doveadm(l.Context(), "mailbox", "update", "-u", l.user, "--uid-validity", "777", f)
				l.check(err)
			}
		}
	}
	for name, c := range map[string]loss{
		"the state directory is deleted": {
			lose: func(l *lost) { l.d.loseState() }, says: "state of this Maildir is lost", follows: theMaildir,
		},
		"the state database is deleted": {
			lose: func(l *lost) { l.check(os.Remove(l.state())) }, says: "state of this Maildir is lost", follows: theMaildir,
		},
		"the state database is empty": {
			lose: alter(func([]byte) []byte { return nil }), says: "set aside as", follows: theMaildir, aside: true,
		},
		"the state database is cut off": {
			lose: alter(func(text []byte) []byte { return text[:len(text)/2] }), says: "set aside as", follows: theMaildir, aside: true,
		},
		"the state database is cut off in a page": {
			lose: alter(func(text []byte) []byte { return text[:len(text)/2+100] }), says: "set aside as", follows: theMaildir, aside: true,
		},
		"the state database is garbage": {
			lose: alter(func(text []byte) []byte { return []byte(strings.Repeat("garbage ", len(text)/8)) }), says: "set aside as", follows: theMaildir, aside: true,
		},
		"the state database is garbage but for its first page": {
			lose: alter(func(text []byte) []byte {
				return append(slices.Clone(text[:4096]), strings.Repeat("garbage ", len(text)/8-512)...)
			}), says: "set aside as", follows: theMaildir, aside: true,
		},
		"the state database has a hole": {
			lose: alter(func(text []byte) []byte {
				copy(text[12<<10:], make([]byte, 8<<10))
				return text
			}), says: "set aside as", follows: theMaildir, aside: true,
		},
		"the state is from a backup": {old: true, lose: restoreState, says: "restored", follows: theMaildir},
		"the Maildir is from a backup": {
			old: true, lose: restoreMaildir, says: "restored", follows: theMaildir,
			back: []string{"INBOX: in 1"}, bodies: 3,
		},
		"the state and the Maildir are from a backup": {
			old: true, lose: func(l *lost) { restoreState(l); restoreMaildir(l) }, bodies: 3,
		},
		"the server's mail is from a backup": {
			old: true, lose: restoreServer, says: "restored", follows: theServer,
			back: []string{"INBOX: in 1"}, bodies: 3,
		},
		"the state's log is deleted after a kill": {
			lose: func(l *lost) { l.dies() }, bodies: 4,
			back: []string{"INBOX: arrived", "INBOX: sent", "INBOX: arrived, too", "INBOX: sent, too"},
		},
		"the server's mail is from a backup, and new mail has come": {
			old: true, says: "restored", follows: theServer, bodies: 3 + 8,
			lose: func(l *lost) {
				restoreServer(l)
				for i := range 4 {
					l.deliver("INBOX", long(fmt.Sprint("another ", i)), none)
					l.deliver("Work", long(fmt.Sprint("one more ", i)), none)
				}
			},
			back: []string{
				"INBOX: in 1", "INBOX: another 0", "INBOX: another 1", "INBOX: another 2", "INBOX: another 3",
				"Work: one more 0", "Work: one more 1", "Work: one more 2", "Work: one more 3",
			},
		},
		"the Maildir is replaced by an empty one": {
			says: "not the one of the last sync", bodies: 61,
			lose: func(l *lost) {
				for _, f := range l.d.folders() {
					for _, sub := range []string{"cur", "new", "tmp"} {
						l.check(os.RemoveAll(filepath.Join(l.d.maildir, string(f), sub)))
						l.check(os.Mkdir(filepath.Join(l.d.maildir, string(f), sub), 0o700))
					}
					if err := os.Remove(filepath.Join(l.d.maildir, string(f), ".mailtwin")); err != nil && !os.IsNotExist(err) {
						l.Fatal(err)
					}
				}
			},
		},
		"the account moves to another server":                    {lose: func(l *lost) { l.migrate(true) }, says: "numbers", follows: theMaildir},
		"the account moves to another server that has new dates": {lose: func(l *lost) { l.migrate(false) }, says: "numbers", follows: theMaildir, dated: true, bodies: 2},
		"one folder is numbered anew":                            {lose: renumber("INBOX"), says: "numbers", follows: theMaildir},
		"all folders are numbered anew":                          {lose: renumber("INBOX", "Work", "Lists/go", "Trash", "Sent", "Drafts", "Junk", "Archive"), says: "numbers", follows: theMaildir},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := dovecot.Start(t, dovecot.Extra(reuse))
			l := &lost{story: newStory(t, server, server.User), server: server, backup: t.TempDir()}
			l.run(c)
		})
	}
}

func (l *lost) run(c loss) {
	l.d = l.story.device("laptop")
	d, second := l.d, l.story.device("desktop")
	l.fillAccount()
	settle(d)
	if c.old {
		l.save()
		l.change()
	}
	settle(second)
	want := l.index()
	c.lose(l)
	want = l.during(want, c.follows)
	want = append(want, c.back...)

	r := d.run("sync", "--json")
	rep := parseReport(l.story, r)
	if r.code != 0 || !rep.OK {
		l.Errorf("it exits %d: %s", r.code, r.stderr)
	}
	lines := strings.Count(r.stderr, "\n")
	if c.says == "" && lines > 0 || c.says != "" && (lines != 1 || !strings.Contains(r.stderr, c.says)) {
		l.Errorf("it says %q, want one line with %q", r.stderr, c.says)
	}
	if rep.Local.Removed+rep.Remote.Removed > 0 && !(c.old && c.says == "") {
		l.Errorf("it removed messages: here %+v, on the server %+v", rep.Local, rep.Remote)
	}
	// What is about each message, the logins and listings of as many sessions as it takes to have, and
	// the bodies that come.
	limit := int64(len(want)*500 + 30_000 + (c.bodies+2+3)*(lostSize+1000))
	if n := rep.BytesIn + rep.BytesOut; n > limit {
		l.Errorf("%d octets went over the wire, want %d at most; here %+v, on the server %+v", n, limit, rep.Local, rep.Remote)
	}
	l.wantIndex("after the loss", want)
	aside, err := filepath.Glob(filepath.Join(filepath.Dir(l.state()), "*damaged*"))
	l.check(err)
	if (len(aside) > 0) != c.aside {
		l.Errorf("set aside: %q", aside)
	}
	settle(d, second)
	if !c.dated {
		d.same()
		second.same()
	}
	l.wantIndex("in the end", want)
}

func (l *lost) wantIndex(when string, want []string) {
	l.Helper()
	got := l.index()
	l.want(when+": too much there", without(got, want))
	l.want(when+": missing there", without(want, got))
}

// TestKilledAfterALoss: the sync after a loss can be interrupted, too.
func TestKilledAfterALoss(t *testing.T) {
	t.Parallel()
	server := dovecot.Start(t, dovecot.Users("whole"), dovecot.Extra(reuse))
	prepare := func(s *story) (*lost, []string) {
		l := &lost{story: s, server: server, d: s.device("laptop")}
		s.fillAccount()
		settle(l.d)
		want := s.index()
		l.d.loseState()
		return l, l.during(want, theMaildir)
	}
	whole, _ := prepare(newStory(t, server, "whole"))
	_, steps, _ := whole.d.child(0)
	all := map[string]func(s *story){}
	for n := range 8 {
		at := 1 + n*steps/8
		all[fmt.Sprintf("at step %d of %d", at, steps)] = func(s *story) {
			l, want := prepare(s)
			l.d.child(at)
			settle(l.d)
			l.d.same()
			l.wantIndex("after it", want)
		}
	}
	stories(t, all)
}
