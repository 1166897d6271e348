package imaptest_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
)

const (
	allMail = mail.Folder("[Gmail]/All Mail")
	starred = mail.Folder("[Gmail]/Starred")
	bin     = mail.Folder("[Gmail]/Trash")
	spam    = mail.Folder("[Gmail]/Spam")
)

// gmail gives a server whose folders are labels, Work and Play among them.
func gmail(t *testing.T) (*imaptest.Server, *imaptest.Phone) {
	t.Helper()
	s := embedded(t, imaptest.Options{Labels: true})
	p := phone(t, s)
	for _, f := range []mail.Folder{"Work", "Play"} {
		ok(t, p.CreateFolder(t.Context(), f, mail.RoleNone))
	}
	return s, p
}

// shows checks which folders hold messages, each as often as it is named.
func shows(t *testing.T, p *imaptest.Phone, want ...mail.Folder) {
	t.Helper()
	listed, err := p.List(t.Context())
	ok(t, err)
	var got []mail.Folder
	for _, f := range listed {
		if f.NoSelect {
			continue
		}
		for range messages(t, p, f.Name) {
			got = append(got, f.Name)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("messages are in %q, want %q", got, want)
	}
}

func TestLabelsOfOneMessage(t *testing.T) {
	s, p := gmail(t)
	ctx := t.Context()
	uid := deliver(t, p, mail.Inbox, letter, mail.Flags{})
	shows(t, p, mail.Inbox, allMail)
	if again := deliver(t, p, mail.Inbox, letter, seen()); again != uid {
		t.Errorf("appended again it has UID %d, and had %d", again, uid)
	}
	work := deliver(t, p, "Work", letter, mail.Flags{})
	play, err := p.Copy(ctx, "Work", work, "Play")
	ok(t, err)
	shows(t, p, mail.Inbox, "Work", "Play", allMail)

	// One set of flags.
	ok(t, p.AddFlags(ctx, "Play", play, seen().With(mail.Flags{System: mail.Flagged})))
	shows(t, p, mail.Inbox, "Work", "Play", allMail, starred)
	for _, f := range []mail.Folder{mail.Inbox, "Work", "Play", allMail, starred} {
		if m := messages(t, p, f)[0]; !m.Flags.Has(mail.Seen|mail.Flagged) || !bytes.Equal(m.Raw, letter) {
			t.Errorf("%s: %v", f, m)
		}
	}
	ok(t, p.RemoveFlags(ctx, mail.Inbox, uid, mail.Flags{System: mail.Flagged}))
	shows(t, p, mail.Inbox, "Work", "Play", allMail)

	// \Deleted takes the label away at once, and from All Mail nothing goes so.
	c := session(t, s)
	c.command("SELECT Work")
	c.wants(`UID STORE 1 +FLAGS.SILENT (\Deleted)`, "* 1 EXPUNGE", "x OK UID STORE completed")
	shows(t, p, mail.Inbox, "Play", allMail)
	ok(t, p.Delete(ctx, allMail, 1))
	shows(t, p, mail.Inbox, "Play", allMail)

	// MOVE to a label that it has gives the UID that it has there.
	moved, err := p.Move(ctx, mail.Inbox, uid, "Play")
	ok(t, err)
	if moved != play {
		t.Errorf("moved to UID %d, want %d", moved, play)
	}
	shows(t, p, "Play", allMail)
	if _, err = p.Move(ctx, allMail, 1, mail.Inbox); err != nil {
		t.Error(err)
	}
	shows(t, p, "Play", mail.Inbox, allMail)
}

func TestLabelsAndTrash(t *testing.T) {
	_, p := gmail(t)
	ctx := t.Context()
	uid := deliver(t, p, mail.Inbox, letter, mail.Flags{System: mail.Flagged})
	deliver(t, p, "Work", letter, mail.Flags{})
	shows(t, p, mail.Inbox, "Work", allMail, starred)
	gone, err := p.Copy(ctx, mail.Inbox, uid, bin)
	ok(t, err)
	shows(t, p, bin)
	junk, err := p.Move(ctx, bin, gone, spam)
	ok(t, err)
	shows(t, p, spam)
	_, err = p.Move(ctx, spam, junk, "Work")
	ok(t, err)
	shows(t, p, "Work", allMail, starred)
	ok(t, p.DeleteFolder(ctx, "Work"))
	shows(t, p, allMail, starred)
	gone, err = p.Move(ctx, starred, messages(t, p, starred)[0].UID, bin)
	ok(t, err)
	ok(t, p.Delete(ctx, bin, gone))
	shows(t, p)
}

func TestLabelsAreAnnounced(t *testing.T) {
	s, _ := gmail(t)
	c := session(t, s)
	if got := c.command("CAPABILITY")[0]; !strings.Contains(got, " X-GM-EXT-1 ") {
		t.Errorf("it announces %q", got)
	}
	plain := embedded(t, imaptest.Options{})
	if got := session(t, plain).command("CAPABILITY")[0]; strings.Contains(got, "X-GM-EXT-1") {
		t.Errorf("without labels it announces %q", got)
	}
}
