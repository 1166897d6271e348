package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/corpus"
	"mailtwin/sync/imaptest/dovecot"
)

func TestWhatASyncCosts(t *testing.T) {
	// Commands of one write are one round trip where nothing is answered before the last of them is
	// written, which on loopback depends on who gets the processor.
	const far = 50 * time.Millisecond
	slow := []string{`timeout = "20s"`}
	stories(t, map[string]func(s *story){
		"nothing to do in 20 folders of 20 messages": func(s *story) {
			d, way := s.online(slow...)
			names := 0
			for i := range 20 {
				name := mail.Folder(fmt.Sprintf("Lists/list no %d", i))
				s.check(s.phone.CreateFolder(s.Context(), name, mail.RoleNone))
				for n := range 20 {
					s.deliver(name, note(fmt.Sprint("message ", n)), seen)
				}
			}
			d.sync()
			way.Lengthen(far)
			r := d.sync()
			way.Lengthen(0)
			for _, f := range d.folders() {
				names += len(f)
			}
			limit := int64(3000 + 200*r.Folders + 2*names)
			if r.RoundTrips > 2 || r.Connections != 1 || r.BytesIn+r.BytesOut > limit {
				s.Errorf("%d round trips, %d connections, %d octets of %d", r.RoundTrips, r.Connections, r.BytesIn+r.BytesOut, limit)
			}
			s.Logf("%d folders: %d round trips, %d octets of %d", r.Folders, r.RoundTrips, r.BytesIn+r.BytesOut, limit)
		},
		"changes on the server in 20 folders": func(s *story) {
			d, way := s.online(slow...)
			uids := map[mail.Folder][]mail.UID{}
			n := 0
			another := func() string { // of a size that no other one has
				n++
				return note(fmt.Sprint("message ", n)) + strings.Repeat("x", 10*n)
			}
			for i := range 20 {
				name := mail.Folder(fmt.Sprint("Lists/", i))
				s.check(s.phone.CreateFolder(s.Context(), name, mail.RoleNone))
				for range 5 {
					uids[name] = append(uids[name], s.deliver(name, another(), seen))
				}
			}
			d.sync()
			for name, at := range uids {
				s.check(s.phone.AddFlags(s.Context(), name, at[0], flagged))
				s.check(s.phone.Delete(s.Context(), name, at[1]))
				s.deliver(name, another(), none)
			}
			way.Lengthen(far)
			r := d.sync()
			way.Lengthen(0)
			if r.RoundTrips > 4+2 || r.Connections != 1 {
				s.Errorf("%d round trips over %d connections", r.RoundTrips, r.Connections)
			}
			d.did(r, counts4{New: 20, Flags: 20, Removed: 20}, counts4{})
			s.Logf("%d round trips, %d octets", r.RoundTrips, r.BytesIn+r.BytesOut)
			d.same()
			d.quiet()
		},
		// Each folder is visited once, by one of the sessions; what is new goes to all of them in
		// one breath.
		"changes here in 20 folders": func(s *story) {
			d, way := s.online(slow...)
			n := 0
			for i := range 20 {
				name := mail.Folder(fmt.Sprint("Lists/", i))
				s.check(s.phone.CreateFolder(s.Context(), name, mail.RoleNone))
				for range 5 {
					n++
					s.deliver(name, note(fmt.Sprint("message ", n))+strings.Repeat("x", 10*n), seen)
				}
			}
			s.check(s.phone.CreateFolder(s.Context(), "Archive", mail.RoleNone))
			d.sync()
			for i := range 20 {
				name := mail.Folder(fmt.Sprint("Lists/", i))
				d.reflag(d.find(name, fmt.Sprint("message ", 5*i+1)), "FS")
				d.reflag(d.find(name, fmt.Sprint("message ", 5*i+2)), "RS")
				d.remove(d.find(name, fmt.Sprint("message ", 5*i+3)))
				f := d.find(name, fmt.Sprint("message ", 5*i+4))
				s.check(os.Rename(f.path, filepath.Join(d.maildir, "Archive", "cur", filepath.Base(f.path))))
				d.save(name, "cur", fmt.Sprintf("%d.a.host:2,S", i), note(fmt.Sprint("new ", i)), then)
			}
			way.Lengthen(far)
			r := d.sync()
			way.Lengthen(0)
			const folders, sessions = 20, 4
			// The list, the uploads, the look at what has changed, and the new messages in Trash;
			// two visits to each folder, since moves come first; and a SELECT for each session
			// before each of them.
			if limit := 4 + 2*folders + 2*sessions; r.RoundTrips > limit || r.Connections > sessions {
				s.Errorf("%d round trips over %d connections", r.RoundTrips, r.Connections)
			}
			d.did(r, counts4{New: 20}, counts4{New: 20, Flags: 40, Removed: 20, Moved: 20})
			s.Logf("%d round trips over %d connections", r.RoundTrips, r.Connections)
			d.same()
			d.quiet()
		},
		"100 messages are removed here, and 100 moved": func(s *story) {
			d, way := s.online(slow...)
			s.check(s.phone.CreateFolder(s.Context(), "Archive", mail.RoleNone))
			for n := range 300 {
				s.deliver("INBOX", note(fmt.Sprint("message ", n))+strings.Repeat("x", 10*n), seen)
			}
			d.sync()
			for n := range 100 {
				d.remove(d.find("INBOX", fmt.Sprint("message ", n)))
				f := d.find("INBOX", fmt.Sprint("message ", 100+n))
				s.check(os.Rename(f.path, filepath.Join(d.maildir, "Archive", "cur", filepath.Base(f.path))))
			}
			way.Lengthen(far)
			r := d.sync()
			way.Lengthen(0)
			if r.RoundTrips > 12 || r.Remote.Removed != 100 || r.Remote.Moved != 100 {
				s.Errorf("%d round trips, there %+v", r.RoundTrips, r.Remote)
			}
			s.Logf("%d round trips over %d connections", r.RoundTrips, r.Connections)
			d.same()
			d.quiet()
		},
		"1,000 messages are uploaded": func(s *story) {
			d, way := s.online(slow...)
			d.sync()
			for n := range 1000 {
				d.save("INBOX", "cur", fmt.Sprintf("%d.a.host:2,S", n), note(fmt.Sprint("message ", n)), then)
			}
			way.Lengthen(far)
			r := d.sync()
			way.Lengthen(0)
			if r.RoundTrips >= 30 || r.Remote.New != 1000 {
				s.Errorf("%d round trips, there %+v", r.RoundTrips, r.Remote)
			}
			s.Logf("%d round trips over %d connections", r.RoundTrips, r.Connections)
			d.same()
		},
		"the run after each kind of change is free": func(s *story) {
			d, way := s.online(slow...)
			uids := d.three()
			d.quiet()
			for _, c := range []struct {
				what string
				do   func()
			}{
				{"a flag set here", func() { d.reflag(d.find("INBOX", "one"), "FS") }},
				{"a flag set there", func() { s.check(s.phone.AddFlags(s.Context(), "INBOX", uids["two"], flagged)) }},
				{"flags set on both sides", func() {
					d.reflag(d.find("INBOX", "one"), "FRS")
					s.check(s.phone.AddFlags(s.Context(), "INBOX", uids["three"], answered))
				}},
				{"a keyword set there", func() {
					s.check(s.phone.AddFlags(s.Context(), "INBOX", uids["two"], mail.Flags{Keywords: mail.NewKeywords("work")}))
				}},
				{"an upload", func() { d.save("INBOX", "new", "1.a.host", note("four"), then) }},
				{"a download", func() { s.deliver("INBOX", note("five"), none) }},
				{"a deletion here", func() { d.remove(d.find("INBOX", "one")) }},
				{"a deletion there", func() { s.check(s.phone.Delete(s.Context(), "INBOX", uids["three"])) }},
				{"a new folder here", func() { d.save("Work", "cur", "1.a.host:2,S", note("six"), then) }},
				{"a new folder there", func() { s.check(s.phone.CreateFolder(s.Context(), "Play", mail.RoleNone)) }},
				{"a deletion out of Trash", func() { d.remove(d.find("Trash", "one")) }},
			} {
				c.do()
				change := d.sync()
				way.Lengthen(far)
				r := d.sync()
				way.Lengthen(0)
				if r.RoundTrips > 2 || r.Connections != 1 || r.Local != (accountReport{}).Local || r.Remote != (accountReport{}).Remote {
					s.Errorf("after %s: %d round trips over %d connections; here %+v, there %+v", c.what, r.RoundTrips, r.Connections, r.Local, r.Remote)
				}
				s.Logf("%s: %d round trips over %d connections, then %d", c.what, change.RoundTrips, change.Connections, r.RoundTrips)
			}
			d.same()
		},
	})
}

// What one change in a large folder costs does not depend on how large it is. It has 5,000
// messages here, and 100,000 with MAILTWIN_LONG=1.
func TestOneChangeInALargeFolder(t *testing.T) {
	n := 5_000
	if os.Getenv("MAILTWIN_LONG") == "1" {
		n = 100_000
	}
	server := dovecot.Start(t)
	server.Fill(corpus.Bulk(3, n, 1, int64(n)*600))
	s := newStory(t, server, server.User)
	d := s.device("laptop")
	d.sync()
	middle := mail.UID(n / 2)
	for _, c := range []struct {
		what   string
		do     func()
		octets int64
	}{
		{"a flag set there", func() {
			s.check(s.phone.AddFlags(s.Context(), mail.Inbox, middle, mail.Flags{Keywords: mail.NewKeywords("work")}))
		}, 4_000},
		{"a message expunged there", func() { s.check(s.phone.Delete(s.Context(), mail.Inbox, middle)) }, 20_000},
		{"a flag set here", func() {
			all := d.files(mail.Inbox)
			d.reflag(all[slices.IndexFunc(all, func(f file) bool { return f.flags.System&mail.Flagged == 0 })], "FS")
		}, 4_000},
	} {
		c.do()
		r := d.sync()
		if octets := r.BytesIn + r.BytesOut; octets > c.octets || r.RoundTrips > 9 || r.Connections != 1 {
			t.Errorf("%s: %d octets, %d round trips over %d connections", c.what, octets, r.RoundTrips, r.Connections)
		} else {
			t.Logf("%s in %d messages: %d octets, %d round trips", c.what, n, octets, r.RoundTrips)
		}
		if r.Local.Flags+r.Local.Removed+r.Remote.Flags != 1 {
			t.Errorf("%s: here %+v, there %+v", c.what, r.Local, r.Remote)
		}
	}
	d.quiet()
}
