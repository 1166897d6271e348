package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/imaptest/corpus"
)

// The sample messages that the story is about, by their subjects.
const (
	invitation = "Dinner on Saturday?"
	invoice    = "Ihre Rechnung für März"
	backup     = "Cron <root@attic> /usr/local/bin/backup"
	question   = "What about the wine?"
	answer     = "Re: Dinner on Saturday?"
)

// story is the demo from its first step to its last.
func (d *demo) story(ctx context.Context) error {
	d.say("This is a mail server inside one process, with a phone, a laptop and a desktop.")
	d.say("After each step all folders are compared: every message, byte for byte, its")
	d.say("flags and its date. Files are in %s", clean(d.dir))
	for _, step := range []func(context.Context) error{
		d.fill, d.firstSync, d.fromPhone, d.fromLaptop, d.secondDevice, d.nothingToDo,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) fill(ctx context.Context) error {
	d.step("An account with sample mail")
	samples := corpus.Demo(d.started)
	for _, s := range samples {
		if _, err := d.phone.Deliver(ctx, s.Folder, s.Raw, s.Flags, s.Date); err != nil {
			return err
		}
	}
	d.say("   %s in %s, at %s port %d.", count(len(samples), "message"),
		count(len(corpus.DemoFolders())+1, "folder"), d.server.Host, d.server.Port)
	return nil
}

func (d *demo) firstSync(ctx context.Context) error {
	d.step("The laptop syncs for the first time")
	o, err := d.sync(ctx, d.laptop)
	if err != nil {
		return err
	}
	server, local, err := d.read(ctx, d.laptop)
	if err != nil {
		return err
	}
	d.say("\n   %-18s %9s %9s %7s", "folder", "on server", "on laptop", "unread")
	for _, name := range server.folders() {
		unread := 0
		for _, l := range local[name] {
			if !l.flags.Has(mail.Seen) {
				unread++
			}
		}
		d.say("   %-18s %9d %9d %7d", clean(string(name)), len(server[name]), len(local[name]), unread)
	}
	d.say("")
	d.check("Every message came, and nothing was sent back.",
		wrongCounts(o.report, engine.Counts{New: server.count()}, engine.Counts{}))
	d.checkEqual(server, "server", local, "laptop")
	return nil
}

func (d *demo) fromPhone(ctx context.Context) error {
	d.step("On the phone, a message is read and another one arrives")
	server, before, err := d.read(ctx, d.laptop)
	if err != nil {
		return err
	}
	read, err := server.find(mail.Inbox, invitation)
	if err != nil {
		return err
	}
	if err := d.phone.Read(ctx, mail.Inbox, read.uid); err != nil {
		return err
	}
	raw := compose(d.started, "Lena Hoffmann <lena@example.net>", "Alice Brandt <alice@example.org>", question,
		"Red or white? Tom says both.\n\nLena\n")
	if _, err := d.phone.Deliver(ctx, mail.Inbox, wire(raw), mail.Flags{}, d.started); err != nil {
		return err
	}
	d.say("   read:     %q", invitation)
	d.say("   arrives:  %q", question)
	if _, err := d.sync(ctx, d.laptop); err != nil {
		return err
	}
	server, local, err := d.read(ctx, d.laptop)
	if err != nil {
		return err
	}
	was, err := before.find(mail.Inbox, invitation)
	if err != nil {
		return err
	}
	now, err := local.find(mail.Inbox, invitation)
	if err != nil {
		return err
	}
	d.say("   was:      %s", short(was.file))
	d.say("   now:      %s", short(now.file))
	d.check("Only the name of its file has changed.",
		unless(now.file == "INBOX/cur/"+filepath.Base(was.file)+":2,S" && bytes.Equal(was.text, now.text), "it is %s", now.file))
	arrived, err := local.find(mail.Inbox, question)
	d.check("The one that arrived is a new file, in INBOX/new.",
		either(err, strings.HasPrefix(arrived.file, "INBOX/new/"), "it is %s", arrived.file))
	d.checkEqual(server, "server", local, "laptop")
	return nil
}

func (d *demo) fromLaptop(ctx context.Context) error {
	d.step("On the laptop, a mail program renames, unlinks and writes files")
	local, err := inMaildir(d.laptop.mailDir())
	if err != nil {
		return err
	}
	if err := d.edit(local); err != nil {
		return err
	}
	d.say("   flagged:  %q", invoice)
	d.say("   deleted:  %q", backup)
	d.say("   written:  %q, filed in Sent", answer)
	if _, err := d.sync(ctx, d.laptop); err != nil {
		return err
	}
	server, local, err := d.read(ctx, d.laptop)
	if err != nil {
		return err
	}
	flagged, err := server.find(mail.Inbox, invoice)
	d.check("The phone sees the flag.", either(err, flagged.flags.Has(mail.Flagged), "its flags are %v", flagged.flags))
	_, err = server.find("Trash", backup)
	_, still := server.find(mail.Inbox, backup)
	d.check("The phone finds the deleted message in Trash, and only there.", either(err, still != nil, "it is in INBOX, too"))
	written, err := server.find("Sent", answer)
	d.check("The phone finds the written message in Sent.",
		either(err, bytes.Equal(written.text, d.reply()), "it has other bytes than the file that was written"))
	d.checkEqual(server, "server", local, "laptop")
	return nil
}

// edit changes the laptop's Maildir the way that mail programs do.
func (d *demo) edit(local mailbox) error {
	root := d.laptop.mailDir()
	var errs []error
	change := func(subject string, do func(l letter) error) {
		l, err := local.find(mail.Inbox, subject)
		if err == nil {
			err = do(l)
		}
		errs = append(errs, err)
	}
	change(invoice, func(l letter) error {
		name, _, _ := strings.Cut(filepath.Base(l.file), ":2,")
		return os.Rename(filepath.Join(root, l.file), filepath.Join(root, "INBOX", "cur", name+":2,FS"))
	})
	change(backup, func(l letter) error { return os.Remove(filepath.Join(root, l.file)) })

	// A name as mutt makes it; the message is whole before it has a place in cur/.
	name := fmt.Sprintf("%d.R1234567890.laptop", d.started.Unix())
	tmp := filepath.Join(root, "Sent", "tmp", name)
	errs = append(errs, os.WriteFile(tmp, d.reply(), 0o600),
		os.Rename(tmp, filepath.Join(root, "Sent", "cur", name+":2,S")))
	return errors.Join(errs...)
}

// reply is the message that is written on the laptop.
func (d *demo) reply() []byte {
	return compose(d.started, "Alice Brandt <alice@example.org>", "Lena Hoffmann <lena@example.net>", answer,
		"Dear Lena,\n\nwith pleasure: the lemon thing it is. See you at seven.\n\nAlice\n")
}

func (d *demo) secondDevice(ctx context.Context) error {
	d.step("A second computer joins, with a Maildir of its own")
	if _, err := d.sync(ctx, d.desktop); err != nil {
		return err
	}
	server, there, err := d.read(ctx, d.desktop)
	if err != nil {
		return err
	}
	here, err := inMaildir(d.laptop.mailDir())
	if err != nil {
		return err
	}
	d.checkEqual(server, "server", there, "desktop")
	d.checkEqual(here, "laptop", there, "desktop")
	return nil
}

func (d *demo) nothingToDo(ctx context.Context) error {
	d.step("Nothing has changed, and all sync once more")
	for _, v := range []*device{d.laptop, d.desktop} {
		server, before, err := d.read(ctx, v)
		if err != nil {
			return err
		}
		o, err := d.sync(ctx, v)
		if err != nil {
			return err
		}
		d.say("   %s on %s, %d bytes in, %d out", count(o.traffic.RoundTrips, "round trip"),
			count(o.traffic.Connections, "connection"), o.traffic.BytesIn, o.traffic.BytesOut)
		still, after, err := d.read(ctx, v)
		if err != nil {
			return err
		}
		wrong := wrongCounts(o.report, engine.Counts{}, engine.Counts{})
		wrong = append(wrong, differences(server, "server before", still, "server after")...)
		wrong = append(wrong, unless(slices.Equal(before.files(), after.files()), "files have other names")...)
		d.check(fmt.Sprintf("The sync of the %s did nothing, on either side.", v.name), wrong)
		d.checkEqual(still, "server", after, v.name)
	}
	d.say("   Servers with CONDSTORE, as most have it, need less: this one cannot tell what")
	d.say("   has changed, so that each folder is asked for its flags.")
	return nil
}

// read reads the server and the Maildir of a computer.
func (d *demo) read(ctx context.Context, v *device) (server, local mailbox, err error) {
	if server, err = onServer(ctx, d.phone); err != nil {
		return nil, nil, err
	}
	local, err = inMaildir(v.mailDir())
	return server, local, err
}

// checkEqual checks that two mailboxes hold the same.
func (d *demo) checkEqual(a mailbox, where string, b mailbox, there string) {
	d.check(fmt.Sprintf("The %s and the %s are equal: %s in %s.",
		where, there, count(a.count(), "message"), count(len(a), "folder")), differences(a, where, b, there))
}

// wrongCounts tells in what a sync did something else than it should.
func wrongCounts(r engine.Report, local, remote engine.Counts) []string {
	return append(unless(r.Local == local, "it changed here %+v, and not %+v", r.Local, local),
		unless(r.Remote == remote, "it changed on the server %+v, and not %+v", r.Remote, remote)...)
}

// unless gives the contradiction to a statement that is not true.
func unless(holds bool, format string, args ...any) []string {
	if holds {
		return nil
	}
	return []string{fmt.Sprintf(format, args...)}
}

// either is unless for something that may not even be there.
func either(err error, holds bool, format string, args ...any) []string {
	if err != nil {
		return []string{err.Error()}
	}
	return unless(holds, format, args...)
}

// short gives a path without the middle of a long one: its end has the flags.
func short(path string) string {
	const most, head, tail = 66, 44, 19
	if len(path) > most {
		path = path[:head] + "..." + path[len(path)-tail:]
	}
	return clean(path)
}

// compose writes a message of plain text, with LF at the ends of its lines.
func compose(date time.Time, from, to, subject, text string) []byte {
	return fmt.Appendf(nil, "From: %s\nTo: %s\nSubject: %s\nDate: %s\nMessage-ID: <%d.%d@mail.example.org>\n"+
		"MIME-Version: 1.0\nContent-Type: text/plain; charset=us-ascii\n\n%s",
		from, to, subject, date.Format(time.RFC1123Z), date.Unix(), len(subject), text)
}

// wire gives a message the line ends that it has on the wire.
func wire(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")) }
