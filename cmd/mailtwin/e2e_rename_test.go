package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
)

// moveFolder renames a directory of the Maildir as a mail program does.
func (d *computer) moveFolder(from, to mail.Folder) {
	d.Helper()
	at := func(f mail.Folder) string { return filepath.Join(d.maildir, filepath.FromSlash(string(f))) }
	d.check(os.MkdirAll(filepath.Dir(at(to)), 0o700))
	d.check(os.Rename(at(from), at(to)))
}

// A folder of 1000 messages is renamed, on either side, into another one and with one
// inside it, while flags change and mail comes: two devices follow, and no body travels.
func TestARenamedFolderIsOneRename(t *testing.T) {
	t.Parallel()
	const messages = 1000
	// What a device may spend on it, where the messages alone have 2 MB. Without
	// CONDSTORE all flags are read whenever anything changes, and twice where the device
	// itself changed some; where a renamed folder is numbered anew, all headers as well.
	const limit, noCondStore, numberedAnew = 64 << 10, 112 << 10, 600 << 10
	for name, c := range map[string]struct {
		start    func(t *testing.T) *story
		limit    int64
		settings []string
	}{
		"dovecot":                   {start: onDovecot(), limit: limit},
		"dovecot, sdbox":            {start: onDovecot(dovecot.Sdbox()), limit: limit},
		"dovecot, without much":     {start: onDovecot(dovecot.Hide("CONDSTORE", "QRESYNC", "LIST-STATUS", "LIST-EXTENDED", "UIDPLUS")), limit: noCondStore},
		"dovecot, all in INBOX":     {start: onDovecot(dovecot.Namespace("INBOX.", ".")), limit: limit},
		"cyrus":                     {start: onCyrus(), limit: limit},
		"courier":                   {start: onCourier, limit: numberedAnew, settings: ourTrash},
		"embedded":                  {start: onEmbedded(), limit: noCondStore},
		"dovecot, a Maildir++ here": {start: onDovecot(), limit: limit, settings: []string{`layout = "maildir++"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := c.start(t)
			plus := len(c.settings) > 0 && strings.HasPrefix(c.settings[0], "layout")
			laptop, desktop := s.device("laptop", c.settings...), s.device("desktop", c.settings...)
			text := func(subject string) string { return note(subject) + strings.Repeat("A line of the message.\n", 90) }
			if plus {
				// The phone fills it, and the Maildirs are looked at by the reports only.
				for _, f := range []mail.Folder{"Old", "Work", "Work/in"} {
					s.check(s.phone.CreateFolder(s.Context(), f, mail.RoleNone))
				}
				for i := range messages {
					s.deliver("Work", text(fmt.Sprint("message ", i)), seen)
				}
				s.deliver("Work/in", text("inner"), seen)
			} else {
				laptop.sync()
				for i := range messages {
					laptop.save("Work", "cur", fmt.Sprintf("%d.a.host:2,S", i), text(fmt.Sprint("message ", i)), then)
				}
				laptop.save("Work/in", "cur", "1.a.host:2,S", text("inner"), then)
				laptop.save("Old", "cur", "1.a.host:2,S", text("old"), then)
			}
			laptop.sync()
			laptop.sync()
			desktop.sync()

			// cheap syncs a device that has others' changes to take over.
			cheap := func(d *computer, here, there counts4) {
				t.Helper()
				r := d.sync()
				d.did(r, here, there)
				spent := r.BytesIn + r.BytesOut
				t.Logf("%s: %d octets, %d round trips", d.name, spent, r.RoundTrips)
				if spent > c.limit {
					t.Errorf("%s: %d octets went over the wire, in %d round trips", d.name, spent, r.RoundTrips)
				}
			}
			flag := func(folder mail.Folder, subject string) {
				t.Helper()
				s.check(s.phone.AddFlags(s.Context(), folder, s.remote(folder, subject).UID, flagged))
			}
			if !plus {
				// On the laptop it goes into another folder.
				flag("Work", "message 7")
				s.deliver("Work", text("came to the old name"), seen)
				laptop.reflag(laptop.find("Work", "message 9"), "FS")
				laptop.moveFolder("Work", "Old/Work")
				cheap(laptop, counts4{New: 1, Flags: 1}, counts4{Flags: 1})
				cheap(desktop, counts4{New: 1, Flags: 2}, counts4{})
				if n := len(s.messages("Old/Work")); n != messages+1 || len(s.there("Old/Work/in")) != 1 {
					t.Fatalf("Old/Work has %d messages on the server, Old/Work/in %d", n, len(s.there("Old/Work/in")))
				}
				s.check(s.phone.RenameFolder(s.Context(), "Old/Work", "Work"))
				laptop.sync()
				desktop.sync()
			}
			// On the phone it comes out again, and gets another name.
			flag("Work", "message 17")
			s.check(s.phone.RenameFolder(s.Context(), "Work", "Play"))
			s.deliver("Play", text("came to the new name"), seen)
			cheap(laptop, counts4{New: 1, Flags: 1}, counts4{})
			cheap(desktop, counts4{New: 1, Flags: 1}, counts4{})
			for _, d := range []*computer{laptop, desktop} {
				settle2(d)
				if !plus {
					d.want("Play/in", d.subjects("Play/in"), "inner")
					if got, want := len(d.files("Play")), len(s.messages("Play")); got != want {
						t.Errorf("%s: Play has %d messages, and %d on the server", d.name, got, want)
					}
				} else if _, err := os.Stat(filepath.Join(d.maildir, ".Play.in", "cur")); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
