package imaptest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/corpus"
)

// session gives a connection of its own to the server, logged in.
func session(t *testing.T, s *imaptest.Server) *client {
	t.Helper()
	c := dial(t, s.Host, s.Port)
	c.until("* OK")
	c.send(fmt.Sprintf("x LOGIN %s %q\r\n", s.User, s.Password))
	c.until("x OK")
	return c
}

// fill delivers n messages into INBOX.
func fill(t *testing.T, s *imaptest.Server, n int) *imaptest.Phone {
	t.Helper()
	p := phone(t, s)
	for range n {
		deliver(t, p, mail.Inbox, letter, mail.Flags{})
	}
	return p
}

// What these say on the wire is where imapmemserver errs.

func TestAnotherSessionIsToldOfEachChangeOnce(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	p := fill(t, s, 3)
	c := session(t, s)
	c.command("SELECT INBOX")
	ok(t, p.Read(t.Context(), mail.Inbox, 3))
	ok(t, p.Delete(t.Context(), mail.Inbox, 1))
	deliver(t, p, mail.Inbox, letter, mail.Flags{})
	c.wants("UID FETCH 1:* (UID)", // no message that it has not heard of, and no other number yet
		"* 1 FETCH (UID 1)", "* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)",
		`* 3 FETCH (UID 3 FLAGS (\Seen))`, "* 1 EXPUNGE", "* 3 EXISTS", "x OK UID FETCH completed")
	c.wants("NOOP", "x OK NOOP completed")
	c.wants("UID FETCH 4:* (UID)", "* 3 FETCH (UID 4)", "x OK UID FETCH completed")
	c.wants("UID FETCH 9:* (UID)", "* 3 FETCH (UID 4)", "x OK UID FETCH completed")
}

func TestNumbersHoldWhileExpungesMayNotBeTold(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	p := fill(t, s, 3)
	c := session(t, s)
	c.command("SELECT INBOX")
	ok(t, p.Delete(t.Context(), mail.Inbox, 1))
	c.wants("FETCH 3 (UID)", "* 3 FETCH (UID 3)", "x OK FETCH completed")
	c.wants("NOOP", "* 1 EXPUNGE", "x OK NOOP completed")
	c.wants("FETCH 2 (UID)", "* 2 FETCH (UID 3)", "x OK FETCH completed")
}

func TestMoveTellsEachExpungeOnce(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	fill(t, s, 3)
	c := session(t, s)
	c.command("SELECT INBOX")
	got := c.command("UID MOVE 1,3 Archive")
	if len(got) != 4 || !strings.Contains(got[0], "COPYUID") || got[1] != "* 3 EXPUNGE" || got[2] != "* 1 EXPUNGE" {
		t.Errorf("got %q", got)
	}
	c.wants("UID MOVE 77 Archive", "x OK UID MOVE completed")
}

func TestNothingCopiedIsNoCOPYUID(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	c := session(t, s)
	c.command("SELECT INBOX")
	c.wants("UID COPY 77 Archive", "x OK COPY completed")
	c.wants("UID COPY 77 Nowhere", "x NO [TRYCREATE] no such mailbox")
}

func TestExamineChangesNothing(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	p := fill(t, s, 1)
	deliver(t, p, mail.Inbox, letter, mail.Flags{System: mail.Deleted})
	c := session(t, s)
	c.command("EXAMINE INBOX")
	for _, command := range []string{`STORE 1 +FLAGS (\Seen)`, "EXPUNGE", "UID EXPUNGE 2", "UID MOVE 1 Archive"} {
		c.wants(command, "x NO [NOPERM] the mailbox was opened read-only")
	}
	c.command("FETCH 1 BODY[]")
	c.wants("CLOSE", "x OK CLOSE completed")
	if got := messages(t, p, mail.Inbox); len(got) != 2 || !got[0].Flags.Empty() {
		t.Errorf("left: %v", got)
	}
}

func TestIdleRingsAtOnce(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	p := fill(t, s, 1)
	c := session(t, s)
	c.command("SELECT INBOX")
	deliver(t, p, mail.Inbox, letter, mail.Flags{}) // between two commands
	c.send("x IDLE\r\n")
	c.until("* 2 EXISTS")
	deliver(t, p, mail.Inbox, letter, mail.Flags{})
	c.until("* 3 EXISTS")
	ok(t, p.Delete(t.Context(), mail.Inbox, 1))
	c.until("* 1 EXPUNGE")
	c.send("DONE\r\n")
	c.until("x OK")
}

func TestADeletedFolderCutsOffOthers(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	p := phone(t, s)
	deliver(t, p, "Archive", letter, mail.Flags{})
	c, own := session(t, s), session(t, s)
	c.command("SELECT Archive")
	own.command("SELECT Archive")
	own.wants("DELETE Archive", "x OK DELETE completed")
	own.wants("FETCH 1 (UID)", "x NO no mailbox is selected")
	c.send("x NOOP\r\n")
	if line, err := c.in.ReadString('\n'); err == nil {
		t.Errorf("the other session goes on with %q, and would take its messages for deleted", line)
	}
}

func TestRenumber(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	p := fill(t, s, 2)
	before := status(t, p, mail.Inbox)
	ok(t, s.Renumber(mail.Inbox))
	after := status(t, p, mail.Inbox)
	if after.UIDValidity == before.UIDValidity || after.Messages != 2 {
		t.Errorf("%+v became %+v", before, after)
	}
	if got := messages(t, p, mail.Inbox); got[0].UID == 1 || string(got[0].Raw) != string(letter) {
		t.Errorf("got %v", got)
	}
	if s.Renumber("Nowhere") == nil {
		t.Error("a folder that is not there was renumbered")
	}
}

func TestRenamingInboxLeavesAnEmptyOne(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	p := fill(t, s, 2)
	ok(t, p.RenameFolder(t.Context(), mail.Inbox, "2023"))
	if len(messages(t, p, mail.Inbox)) != 0 || len(messages(t, p, "2023")) != 2 {
		t.Error("the messages are not where they belong")
	}
}

func TestSpecialUse(t *testing.T) {
	s := embedded(t, imaptest.Options{Folders: []imaptest.Folder{{Name: "Lists/go"}}})
	c := session(t, s)
	c.wants(`CREATE Bin (USE (\Trash))`, "x OK CREATE completed")
	c.wants(`LIST "" * RETURN (SPECIAL-USE STATUS (MESSAGES))`,
		`* LIST (\HasNoChildren \Trash) "/" "Bin"`, `* STATUS "Bin" (MESSAGES 0)`,
		`* LIST (\HasNoChildren) "/" INBOX`, "* STATUS INBOX (MESSAGES 0)",
		`* LIST (\NonExistent \Noselect \HasChildren) "/" "Lists"`,
		`* LIST (\HasNoChildren \Subscribed) "/" "Lists/go"`, `* STATUS "Lists/go" (MESSAGES 0)`,
		"x OK LIST completed")
	c.wants(`LIST (SPECIAL-USE) "" *`, `* LIST (\HasNoChildren \Trash) "/" "Bin"`, "x OK LIST completed")
	c.wants(`LSUB "" *`, `* LSUB (\HasNoChildren \Subscribed) "/" "Lists/go"`, "x OK LSUB completed")
	c.wants(`LIST "" inbox`, `* LIST (\HasNoChildren) "/" INBOX`, "x OK LIST completed")
	c.wants("CREATE a//b", "x NO [CANNOT] not a name for a mailbox")
}

func TestSections(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	fill(t, s, 1)
	c := session(t, s)
	c.command("SELECT INBOX")
	for section, want := range map[string]string{
		"BODY.PEEK[]":         string(letter),
		"BODY.PEEK[HEADER]":   "From: a@example.org\r\nSubject: one\r\nMessage-ID: <1@example.org>\r\n\r\n",
		"BODY.PEEK[TEXT]":     "hello\r\n",
		"BODY.PEEK[]<6.4>":    "a@ex",
		"BODY.PEEK[]<9999.4>": "",
		"BODY.PEEK[HEADER.FIELDS (subject nothing)]":  "Subject: one\r\n\r\n",
		"BODY.PEEK[HEADER.FIELDS.NOT (subject from)]": "Message-ID: <1@example.org>\r\n\r\n",
		"BODY.PEEK[1]": "hello\r\n",
	} {
		got := strings.Join(c.command("UID FETCH 1 "+section), "\r\n")
		if !strings.Contains(got, fmt.Sprintf("{%d}\r\n%s", len(want), want)) {
			t.Errorf("%s gives %q", section, got)
		}
	}
}

func TestSearch(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	p := fill(t, s, 2)
	deliver(t, p, mail.Inbox, []byte("Subject: two\r\n\r\nLonger than the others by far, and with Words\r\n"), seen("work"))
	c := session(t, s)
	c.command("SELECT INBOX")
	for query, want := range map[string]string{
		"ALL": "1 2 3", "SEEN": "3", "UNSEEN": "1 2", "KEYWORD WORK": "3", "UNKEYWORD work": "1 2",
		"UID 2:*": "2 3", "9:*": "3", "SUBJECT two": "3", "HEADER Message-ID \"\"": "1 2", "NOT SUBJECT two": "1 2",
		"OR SEEN UID 1": "1 3", "BODY words": "3", "TEXT two": "3", "NEW": "", "SINCE 1-Mar-2024": "",
		"ON 29-Feb-2024": "1 2 3", "SMALLER 74": "1 2 3", "LARGER 70": "1 2", "UNDELETED": "1 2 3",
	} {
		line := strings.TrimSpace("* SEARCH " + want)
		if got := c.command("UID SEARCH " + query); got[0] != line {
			t.Errorf("%s gives %q, want %q", query, got[0], line)
		}
	}
	c.wants("UID SEARCH RETURN (ALL COUNT MAX) UNSEEN", `* ESEARCH (TAG "x") UID ALL 1:2 MAX 2 COUNT 2`, "x OK UID SEARCH completed")
	c.wants("UID SEARCH RETURN (ALL) DELETED", `* ESEARCH (TAG "x") UID`, "x OK UID SEARCH completed")
}

func TestWithout(t *testing.T) {
	s := embedded(t, imaptest.Options{Without: []string{"UIDPLUS", "MOVE", "SPECIAL-USE"}})
	c := session(t, s)
	caps := c.command("CAPABILITY")[0] + " "
	for _, word := range []string{" UIDPLUS ", " MOVE ", " SPECIAL-USE "} {
		if strings.Contains(caps, word) {
			t.Errorf("%s is announced", word)
		}
	}
	c.command("SELECT INBOX")
	c.send("x APPEND INBOX {3+}\r\nabc\r\n")
	if got := c.until("x "); strings.Contains(got[len(got)-1], "APPENDUID") {
		t.Errorf("got %q", got)
	}
	if got := c.command("UID EXPUNGE 1"); !strings.HasPrefix(got[0], "x BAD") {
		t.Errorf("got %q", got)
	}
}

func TestTheDemosAccount(t *testing.T) {
	opts := imaptest.Options{Folders: []imaptest.Folder{}}
	for name, role := range corpus.DemoFolders() {
		opts.Folders = append(opts.Folders, imaptest.Folder{Name: name, Role: role})
	}
	p := phone(t, embedded(t, opts))
	want := map[mail.Folder][]corpus.Sample{}
	for _, s := range corpus.Demo(date) {
		_, err := p.Deliver(t.Context(), s.Folder, s.Raw, s.Flags, s.Date)
		ok(t, err)
		want[s.Folder] = append(want[s.Folder], s)
	}
	folders, err := p.List(t.Context())
	ok(t, err)
	for _, f := range folders {
		if f.NoSelect {
			continue
		}
		got := messages(t, p, f.Name)
		if len(got) != len(want[f.Name]) {
			t.Errorf("%q has %d messages, want %d", f.Name, len(got), len(want[f.Name]))
			continue
		}
		for i, s := range want[f.Name] {
			if m := got[i]; string(m.Raw) != string(s.Raw) || !m.Flags.Equal(s.Flags) || !m.Date.Equal(s.Date) {
				t.Errorf("message %d of %q is not what was delivered", m.UID, f.Name)
			}
		}
		delete(want, f.Name)
	}
	if len(want) != 0 {
		t.Errorf("folders are missing: %d", len(want))
	}
}

// TestCrossing has two clients move messages in opposite directions, with a third
// that idles, and counts that none is lost or doubled.
func TestCrossing(t *testing.T) {
	s := embedded(t, imaptest.Options{})
	fill(t, s, 20)
	var movers sync.WaitGroup
	for _, way := range [][2]mail.Folder{{mail.Inbox, "Archive"}, {"Archive", mail.Inbox}} {
		p := phone(t, s)
		movers.Go(func() {
			for range 10 {
				found, err := p.Index(t.Context(), way[0])
				if err != nil {
					t.Error(err)
					return
				}
				if len(found) == 0 {
					continue
				}
				if _, err := p.Move(t.Context(), way[0], found[0].UID, way[1]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	movers.Wait()
	p := phone(t, s)
	if n := len(messages(t, p, mail.Inbox)) + len(messages(t, p, "Archive")); n != 20 {
		t.Errorf("20 messages became %d", n)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s, err := imaptest.Start(imaptest.Options{Logf: t.Logf})
	ok(t, err)
	c := session(t, s)
	c.command("SELECT INBOX")
	c.send("x IDLE\r\n")
	c.until("+ ")
	ok(t, s.Close())
	ok(t, s.Close())
	if _, err := c.in.ReadByte(); err == nil {
		t.Error("the connection goes on")
	}
	if _, err := s.Phone(t.Context()); err == nil {
		t.Error("the server goes on")
	}
}

func TestTLSNeedsADirectory(t *testing.T) {
	for _, opts := range []imaptest.Options{{TLS: imaptest.TLSImplicit}, {TLS: "maybe"}} {
		if s, err := imaptest.Start(opts); err == nil {
			s.Close()
			t.Errorf("%+v was taken", opts)
		}
	}
}
