package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

func TestGmailWithOtherSettings(t *testing.T) {
	for name, c := range map[string]struct {
		settings []string
		tell     func(g *gmail, d *computer)
	}{
		"T expunges": {[]string{`expunge = true`}, func(g *gmail, d *computer) {
			d.reflag(d.find("Work", "one"), "ST")
			g.are("one", labels(mail.Inbox, allMail), d)
			// From All Mail nothing goes so, and it would only come back.
			d.reflag(d.find(allMail, "one"), "ST")
			d.sync()
			settle2(d)
			g.want("All Mail", g.there(allMail), "one", "other")
			g.want("All Mail here", d.subjects(allMail), "one", "other")
		}},
		"expunge": {[]string{`on_local_delete = "expunge"`}, func(g *gmail, d *computer) {
			d.remove(d.find("Work", "one"))
			g.are("one", labels(mail.Inbox, allMail), d)
			d.remove(d.find(allMail, "one"))
			g.are("one", labels(gmailBin), d)
		}},
		"keep": {[]string{`on_local_delete = "keep"`}, func(g *gmail, d *computer) {
			d.remove(d.find("Work", "one"))
			d.sync()
			settle2(d)
			g.want("Work", g.there("Work"), "one", "other")
			g.want("Work here", d.subjects("Work"), "other")
		}},
		"without All Mail": {[]string{`folders = ["*", "![Gmail]/All Mail"]`}, func(g *gmail, d *computer) {
			d.remove(d.find("Work", "one"))
			d.remove(d.find(mail.Inbox, "one"))
			d.sync()
			settle2(d)
			g.want("All Mail", g.there(allMail), "one", "other")
			d.move(d.find("Work", "other"), gmailBin)
			d.sync()
			settle2(d)
			g.want("All Mail", g.there(allMail), "one")
			g.want("Trash", g.there(gmailBin), "other")
			g.want("Trash here", d.subjects(gmailBin), "other")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := onGmail(t)
			g.arrive(note("one"), none, mail.Inbox, "Work")
			g.arrive(note("other"), none, "Work")
			d := g.device("laptop", c.settings...)
			d.sync()
			c.tell(g, d)
		})
	}
}

// The brake counts labels like messages: to take one from most of a folder waits.
func TestGmailAndLargeRemovals(t *testing.T) {
	g := onGmail(t)
	for i := range 30 {
		g.arrive(note(fmt.Sprint("letter ", i)), seen, mail.Inbox, "Work")
	}
	d := g.device("laptop")
	d.sync()
	for i := range 20 {
		d.remove(d.find("Work", fmt.Sprint("letter ", i)))
	}
	d.report(1)
	if n := len(g.there("Work")); n != 30 {
		g.Errorf("%d of 30 messages have the label", n)
	}
	d.sync("--allow-deletes", "alice:Work")
	if n, all := len(g.there("Work")), len(g.there(allMail)); n != 10 || all != 30 {
		g.Errorf("%d messages have the label, and %d are in All Mail; want 10 and 30", n, all)
	}
	settle2(d)
	d.same()
}

// A folder that Gmail shows only in part, as its limit on the size of IMAP folders says,
// looks as if most of it had been removed.
func TestGmailShowsLess(t *testing.T) {
	g := onGmail(t)
	for i := range 30 {
		g.arrive(note(fmt.Sprint("letter ", i)), seen, mail.Inbox)
	}
	d := g.device("laptop")
	d.sync()
	for _, m := range g.messages(mail.Inbox)[:20] {
		g.check(g.phone.Delete(g.Context(), mail.Inbox, m.UID))
	}
	d.report(1)
	if n := len(d.files(mail.Inbox)); n != 30 {
		g.Errorf("%d of 30 files are left", n)
	}
}

// A message under many labels travels once.
func TestGmailLabelsTravelOnce(t *testing.T) {
	t.Parallel()
	g := onGmail(t)
	const messages, size = 1000, 2000
	text := strings.Repeat("The same words in each message.\n", size/32)
	for i := range messages {
		raw := []byte(wireOf(note(fmt.Sprint("letter ", i)) + text))
		g.check(g.server.File(raw, seen, then.Add(time.Duration(i)*time.Minute), mail.Inbox, "Work", "Play"))
	}
	d := g.device("laptop")
	r := d.sync()
	for _, f := range labels(mail.Inbox, "Work", "Play", allMail) {
		if n := len(d.files(f)); n != messages {
			t.Errorf("%s holds %d files of %d", f, n, messages)
		}
	}
	// What a listing tells of a message, with its header, is a third of this.
	const once, listing = messages * (size + 500), 4 * messages * 700
	if r.BytesIn > once+listing {
		t.Errorf("%d octets came; each body once, and all the listings, would be below %d", r.BytesIn, once+listing)
	}
	t.Logf("%d octets came for %d messages of %d octets in 4 folders", r.BytesIn, messages, size)
	// They are one on the disk, too.
	inodes := 0
	for _, f := range labels("Work", "Play", allMail) {
		if os.SameFile(statOf(d, mail.Inbox, "letter 7"), statOf(d, f, "letter 7")) {
			inodes++
		}
	}
	t.Logf("one message is %d files of the same inode", inodes+1)
	settle2(d)
	d.same()
}

func statOf(d *computer, folder mail.Folder, subject string) os.FileInfo {
	d.Helper()
	info, err := os.Stat(d.find(folder, subject).path)
	d.check(err)
	return info
}

// A label is a folder here: to make and to rename one works as anywhere.
func TestGmailMakesLabels(t *testing.T) {
	g := onGmail(t)
	g.arrive(note("one"), none, mail.Inbox)
	d := g.device("laptop")
	d.sync()
	d.copy(d.find(mail.Inbox, "one"), "Lists/go")
	g.are("one", labels(mail.Inbox, "Lists/go", allMail), d)
	if _, err := os.Stat(filepath.Join(d.maildir, "[Gmail]", "cur")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("[Gmail] is no folder: %v", err)
	}
}
