package main

import (
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
)

// The stories in this file are told on a server whose folders are labels, as Gmail's
// are: see imaptest.Options.Labels. docs/gmail.md says what they show.

const (
	allMail   = mail.Folder("[Gmail]/All Mail")
	starred   = mail.Folder("[Gmail]/Starred")
	spam      = mail.Folder("[Gmail]/Spam")
	gmailBin  = mail.Folder("[Gmail]/Trash")
	gmailSent = mail.Folder("[Gmail]/Sent Mail")
	drafts    = mail.Folder("[Gmail]/Drafts")
)

// gmail is a story on such a server, which has the labels Work and Play.
type gmail struct {
	*story
	server *imaptest.Server
}

func onGmail(t *testing.T) *gmail {
	t.Helper()
	s, server := embeddedWith(t, imaptest.Options{Labels: true})
	for _, f := range []mail.Folder{"Work", "Play"} {
		s.check(s.phone.CreateFolder(s.Context(), f, mail.RoleNone))
	}
	return &gmail{s, server}
}

// arrive puts a message on the server, under these labels.
func (g *gmail) arrive(text string, flags mail.Flags, labels ...mail.Folder) {
	g.Helper()
	g.check(g.server.File([]byte(wireOf(text)), flags, then, labels...))
}

// are checks in which folders of the server, and of the devices, the messages with that
// subject are, each folder as often as there is one in it; that further syncs do
// nothing; and that all else is the same on both sides.
func (g *gmail) are(subject string, where []mail.Folder, devices ...*computer) {
	g.Helper()
	for range 2 {
		for _, d := range devices {
			d.sync()
		}
	}
	slices.Sort(where)
	listed, err := g.phone.List(g.Context())
	g.check(err)
	count := func(in func(mail.Folder) []string) []mail.Folder {
		var found []mail.Folder
		for _, f := range listed {
			if f.NoSelect {
				continue
			}
			for _, s := range in(f.Name) {
				if s == subject {
					found = append(found, f.Name)
				}
			}
		}
		return found
	}
	if there := count(g.there); !slices.Equal(there, where) {
		g.Errorf("%q is in %q on the server, want %q", subject, there, where)
	}
	for _, d := range devices {
		if here := count(d.subjects); !slices.Equal(here, where) {
			g.Errorf("%s: %q is in %q here, want %q", d.name, subject, here, where)
		}
		if r := d.sync(); r.Local != (accountReport{}).Local || r.Remote != (accountReport{}).Remote {
			g.Errorf("%s: a sync with nothing to do did %+v here and %+v on the server", d.name, r.Local, r.Remote)
		}
		d.same()
	}
}

func labels(all ...mail.Folder) []mail.Folder { return all }

// move moves a file into another folder, as a program that gives it a new name.
func (d *computer) move(f file, to mail.Folder) {
	d.Helper()
	d.copy(f, to)
	d.remove(f)
}

// copy does the same and leaves the file where it is.
func (d *computer) copy(f file, to mail.Folder) {
	d.Helper()
	sub, name := "new", "1.moved.host" // none of the stories brings two to one folder
	if _, chars, ok := strings.Cut(f.path, ":2,"); ok {
		sub, name = "cur", name+":2,"+chars
	}
	d.save(to, sub, name, f.text, f.date)
}

func TestGmail(t *testing.T) {
	t.Parallel()
	for name, tell := range map[string]func(g *gmail, d *computer){
		"a label is removed here": func(g *gmail, d *computer) {
			d.remove(d.find("Work", "one"))
			d.did(d.sync(), counts4{}, counts4{Removed: 1})
			g.are("one", labels(mail.Inbox, allMail), d)
		},
		"the last label is removed here": func(g *gmail, d *computer) {
			d.remove(d.find("Work", "one"))
			d.remove(d.find(mail.Inbox, "one"))
			g.are("one", labels(allMail), d)
		},
		"a star is removed here, by removing the file": func(g *gmail, d *computer) {
			d.reflag(d.find("Work", "one"), "FS")
			g.are("one", labels(mail.Inbox, "Work", allMail, starred), d)
			d.remove(d.find(starred, "one"))
			g.are("one", labels(mail.Inbox, "Work", allMail), d)
			if f := d.find(mail.Inbox, "one"); !f.flags.Equal(seen) {
				g.Errorf("it still has %v", f.flags)
			}
		},
		"a file is moved between labels": func(g *gmail, d *computer) {
			d.move(d.find("Work", "one"), "Play")
			d.did(d.sync(), counts4{}, counts4{Moved: 1})
			g.are("one", labels(mail.Inbox, "Play", allMail), d)
		},
		"a file is moved to a label that it has": func(g *gmail, d *computer) {
			d.move(d.find(mail.Inbox, "one"), "Work")
			g.are("one", labels("Work", allMail), d)
		},
		"a file is archived by a move to All Mail, and marked on the way": func(g *gmail, d *computer) {
			f := d.find(mail.Inbox, "one")
			d.save(allMail, "cur", "9.moved.host:2,S", f.text, f.date)
			d.remove(f)
			g.are("one", labels("Work", allMail), d)
			if f := d.find("Work", "one"); !f.flags.Equal(seen) {
				g.Errorf("read, and has %v", f.flags)
			}
		},
		"a file is moved out of All Mail, which has it all the same": func(g *gmail, d *computer) {
			d.move(d.find(allMail, "one"), "Play")
			g.are("one", labels(mail.Inbox, "Work", "Play", allMail), d)
		},
		"a file is copied to a label": func(g *gmail, d *computer) {
			d.copy(d.find(mail.Inbox, "one"), "Play")
			g.are("one", labels(mail.Inbox, "Work", "Play", allMail), d)
		},
		"a file is copied to a label that it has": func(g *gmail, d *computer) {
			d.copy(d.find(mail.Inbox, "one"), "Work")
			g.are("one", labels(mail.Inbox, "Work", allMail), d)
			g.are("other", labels("Work", allMail), d)
		},
		"a copy is marked, and the message, too": func(g *gmail, d *computer) {
			f := d.find(mail.Inbox, "one")
			d.save("Play", "cur", "1.copied.host:2,FS", f.text, f.date)
			g.check(g.phone.AddFlags(g.Context(), "Work", g.remote("Work", "one").UID, answered))
			g.are("one", labels(mail.Inbox, "Work", "Play", allMail, starred), d)
			for _, f := range labels(mail.Inbox, "Work", "Play", allMail, starred) {
				if got := d.find(f, "one").flags; !got.Equal(seen.With(flagged).With(answered)) {
					g.Errorf("%s: %v", f, got)
				}
			}
		},
		"a file is copied to a label, and in Spam there is another one of its content": func(g *gmail, d *computer) {
			d.copy(d.find("Work", "one"), spam)
			g.are("one", labels(spam), d)
			g.arrive(note("one"), none, "Work", mail.Inbox)
			g.are("one", labels(mail.Inbox, "Work", allMail, spam), d)
			d.copy(d.find("Work", "one"), "Play")
			g.are("one", labels(mail.Inbox, "Work", "Play", allMail, spam), d)
		},
		"a file is copied out of Trash": func(g *gmail, d *computer) {
			d.move(d.find("Work", "one"), gmailBin)
			g.are("one", labels(gmailBin), d)
			d.copy(d.find(gmailBin, "one"), "Play")
			g.are("one", labels("Play", allMail), d)
		},
		"a file is moved to Trash": func(g *gmail, d *computer) {
			d.move(d.find(mail.Inbox, "one"), gmailBin)
			g.are("one", labels(gmailBin), d)
			d.remove(d.find(gmailBin, "one"))
			g.are("one", nil, d)
		},
		"a file is moved to Spam, and back": func(g *gmail, d *computer) {
			d.move(d.find("Work", "one"), spam)
			g.are("one", labels(spam), d)
			d.move(d.find(spam, "one"), mail.Inbox)
			g.are("one", labels(mail.Inbox, allMail), d)
		},
		"a file is removed from All Mail": func(g *gmail, d *computer) {
			d.remove(d.find(allMail, "one"))
			g.are("one", labels(gmailBin), d)
		},
		"a file is removed wherever it is": func(g *gmail, d *computer) {
			for _, f := range labels(mail.Inbox, "Work", allMail) {
				d.remove(d.find(f, "one"))
			}
			g.are("one", labels(gmailBin), d)
		},
		"a file is removed from Spam": func(g *gmail, d *computer) {
			d.move(d.find("Work", "one"), spam)
			g.are("one", labels(spam), d)
			d.remove(d.find(spam, "one"))
			g.are("one", labels(gmailBin), d)
		},
		"a label is added on the phone, and one here, and nothing travels": func(g *gmail, d *computer) {
			const size = 200_000
			g.arrive(note("large")+strings.Repeat("All work and no play.\n", size/22), seen, "Work")
			d.sync()
			_, err := g.phone.Copy(g.Context(), "Work", g.remote("Work", "large").UID, "Play")
			g.check(err)
			if r := d.sync(); r.BytesIn > size/2 {
				g.Errorf("%d octets came for a label", r.BytesIn)
			}
			g.are("large", labels("Work", "Play", allMail), d)
			d.copy(d.find("Work", "large"), mail.Inbox)
			if r := d.sync(); r.BytesOut > size/2 {
				g.Errorf("%d octets went for a label", r.BytesOut)
			}
			g.are("large", labels(mail.Inbox, "Work", "Play", allMail), d)
		},
		"a message is archived on the phone": func(g *gmail, d *computer) {
			g.check(g.phone.Delete(g.Context(), mail.Inbox, g.remote(mail.Inbox, "one").UID))
			d.did(d.sync(), counts4{Removed: 1}, counts4{})
			g.are("one", labels("Work", allMail), d)
		},
		"a message is deleted on the phone": func(g *gmail, d *computer) {
			_, err := g.phone.Move(g.Context(), mail.Inbox, g.remote(mail.Inbox, "one").UID, gmailBin)
			g.check(err)
			d.did(d.sync(), counts4{Moved: 1, Removed: 2}, counts4{})
			g.are("one", labels(gmailBin), d)
			_, err = g.phone.Move(g.Context(), gmailBin, g.remote(gmailBin, "one").UID, "Play")
			g.check(err)
			g.are("one", labels("Play", allMail), d)
		},
		"flags are the same under all labels": func(g *gmail, d *computer) {
			d.reflag(d.find(mail.Inbox, "one"), "S")
			g.check(g.phone.AddFlags(g.Context(), "Work", g.remote("Work", "one").UID, answered))
			g.are("one", labels(mail.Inbox, "Work", allMail), d)
			for _, f := range labels(mail.Inbox, "Work", allMail) {
				if got := d.find(f, "one").flags; !got.Equal(seen.With(answered)) {
					g.Errorf("%s: %v", f, got)
				}
			}
			d.reflag(d.find("Work", "one"), "FR")
			g.are("one", labels(mail.Inbox, "Work", allMail, starred), d)
			for _, f := range labels(mail.Inbox, "Work", allMail, starred) {
				if got := d.find(f, "one").flags; !got.Equal(flagged.With(answered)) {
					g.Errorf("%s: %v", f, got)
				}
			}
			d.reflag(d.find(allMail, "one"), "R")
			g.are("one", labels(mail.Inbox, "Work", allMail), d)
		},
		"T stays here": func(g *gmail, d *computer) {
			d.reflag(d.find(mail.Inbox, "one"), "ST")
			d.save("Play", "cur", "1.a.host:2,ST", note("mine"), then)
			for range 2 {
				d.sync()
				settle2(d)
				if f := d.find(mail.Inbox, "one"); !f.flags.Has(mail.Seen | mail.Deleted) {
					g.Errorf("the file has %v", f.flags)
				}
				if m := g.remote(mail.Inbox, "one"); !m.Flags.Equal(seen) {
					g.Errorf("the message has %v", m.Flags)
				}
				g.want("Play", g.there("Play"), "mine")
			}
			d.reflag(d.find(mail.Inbox, "one"), "S")
			d.reflag(d.find("Play", "mine"), "S")
			g.are("one", labels(mail.Inbox, "Work", allMail), d)
		},
		"a draft is edited": func(g *gmail, d *computer) {
			d.save(drafts, "cur", "1.a.host:2,DS", note("draft"), then)
			g.are("draft", labels(drafts, allMail), d)
			d.remove(d.find(drafts, "draft"))
			d.save(drafts, "cur", "2.a.host:2,DS", note("draft")+"More.\n", then)
			g.are("draft", labels(drafts, allMail, gmailBin), d)
			if f := d.find(drafts, "draft"); f.text != note("draft")+"More.\n" {
				g.Errorf("the draft is %q", f.text)
			}
		},
		"a new file is in two labels at once": func(g *gmail, d *computer) {
			d.save("Work", "cur", "1.a.host:2,S", note("mine"), then)
			d.save("Play", "cur", "2.a.host:2,S", note("mine"), then)
			g.are("mine", labels("Work", "Play", allMail), d)
		},
		"a new file is there twice, and in All Mail": func(g *gmail, d *computer) {
			d.save("Work", "cur", "1.a.host:2,S", note("mine"), then)
			d.save("Work", "cur", "2.a.host:2,RS", note("mine"), then)
			d.save(allMail, "cur", "3.a.host:2,S", note("mine"), then)
			g.are("mine", labels("Work", allMail), d)
			if f := d.find(allMail, "mine"); !f.flags.Equal(seen.With(answered)) {
				g.Errorf("it has %v", f.flags)
			}
		},
		"what was sent is filed by the mail program and by Gmail": func(g *gmail, d *computer) {
			d.save(gmailSent, "cur", "1.a.host:2,S", note("mine"), then)
			g.arrive(note("mine"), seen, gmailSent)
			g.are("mine", labels(gmailSent, allMail), d)
		},
		"two devices": func(g *gmail, d *computer) {
			other := g.device("desktop")
			other.sync()
			d.move(d.find(mail.Inbox, "one"), "Play")
			other.reflag(other.find("Work", "one"), "S")
			other.copy(other.find("Work", "other"), mail.Inbox)
			g.are("one", labels("Work", "Play", allMail), d, other)
			g.are("other", labels("Work", mail.Inbox, allMail), d, other)
			// Both archive it, each in its way.
			d.remove(d.find("Play", "one"))
			other.move(other.find("Play", "one"), allMail)
			g.are("one", labels("Work", allMail), d, other)
			if f := d.find(allMail, "one"); !f.flags.Equal(seen) {
				g.Errorf("it has %v", f.flags)
			}
		},
		"the state is lost": func(g *gmail, d *computer) {
			d.loseState()
			d.copy(d.find(mail.Inbox, "one"), "Work")
			g.are("one", labels(mail.Inbox, "Work", allMail), d)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := onGmail(t)
			g.arrive(note("one"), none, mail.Inbox, "Work")
			g.arrive(note("other"), none, "Work")
			d := g.device("laptop")
			d.sync()
			tell(g, d)
		})
	}
}
