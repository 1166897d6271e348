package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/imaptest/dovecot"
)

// What the server announces comes at once, though the next look is an hour away.
func TestWatchHearsTheServer(t *testing.T) {
	hourly := `poll_interval = "1h"`
	for name, c := range map[string]struct {
		hidden   []string
		folder   mail.Folder
		settings []string
	}{
		"NOTIFY, in any folder":   {nil, "Lists/go", []string{hourly}},
		"NOTIFY, in INBOX":        {nil, "INBOX", []string{hourly}},
		"IDLE, in INBOX":          {[]string{"NOTIFY"}, "INBOX", []string{hourly}},
		"IDLE, in another folder": {[]string{"NOTIFY"}, "Lists/go", []string{hourly, `idle = ["INBOX", "Lists/*"]`}},
		"neither":                 {[]string{"NOTIFY", "IDLE"}, "Lists/go", []string{`poll_interval = "500ms"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stories(t, map[string]func(s *story){"new mail": func(s *story) { hears(s, c.folder, c.settings) }}, dovecot.Hide(c.hidden...))
		})
	}
}

func hears(s *story, folder mail.Folder, settings []string) {
	if folder != mail.Inbox {
		s.check(s.phone.CreateFolder(s.Context(), folder, mail.RoleNone))
	}
	s.deliver(folder, note("first"), none)
	d := s.device("laptop", settings...)
	w := d.watch(nil)
	w.until("what was there", func(r engine.Report) bool { return r.Local.New == 1 })
	var took []time.Duration
	for i := range 3 {
		began := time.Now()
		s.deliver(folder, note(fmt.Sprint("new ", i)), none)
		w.until("new mail", func(r engine.Report) bool { return r.Local.New == 1 })
		took = append(took, time.Since(began))
	}
	s.check(s.phone.AddFlags(s.Context(), folder, s.remote(folder, "new 1").UID, flagged))
	w.until("a flag", func(r engine.Report) bool { return r.Local.Flags == 1 })
	s.check(s.phone.Delete(s.Context(), folder, s.remote(folder, "new 1").UID))
	w.until("a removal", func(r engine.Report) bool { return r.Local.Removed == 1 })
	s.want("here", d.subjects(folder), "first", "new 0", "new 2")
	s.Logf("new mail took %v", took)
	if r := w.stop(); r.code != 0 || r.stdout != "" || r.stderr != "" {
		s.Errorf("it ended with %d, and printed %q and %q", r.code, r.stdout, r.stderr)
	}
	d.quiet()
}

// What it has done itself is announced, too, and is no reason to sync once more.
func TestWatchKnowsItsOwnVoice(t *testing.T) {
	for name, hidden := range map[string][]string{"NOTIFY": nil, "IDLE": {"NOTIFY"}, "IDLE, no mod-sequences": {"NOTIFY", "CONDSTORE", "QRESYNC"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stories(t, map[string]func(s *story){"own changes": func(s *story) { knowsItsOwnVoice(s, len(hidden) < 2) }}, dovecot.Hide(hidden...))
		})
	}
}

func knowsItsOwnVoice(s *story, modSeqs bool) {
	s.deliver("INBOX", note("first"), none)
	s.deliver("INBOX", note("second"), none)
	d := s.device("laptop", `poll_interval = "1h"`)
	settle2(d)
	w := d.watch(nil)
	w.run()
	changes := []struct {
		what string
		do   func()
	}{
		{"a new file", func() { d.save("INBOX", "cur", "1.saved.host:2,S", note("saved"), then) }},
		{"a flag", func() { d.reflag(d.find("INBOX", "first"), "FS") }},
		{"a removal", func() { d.remove(d.find("INBOX", "second")) }},
	}
	for _, c := range changes {
		c.do()
		w.run()
		select {
		case <-w.runs:
			if modSeqs || c.what != "a flag" {
				s.Errorf("after %s it ran twice", c.what)
			}
		case <-time.After(1200 * time.Millisecond): // Dovecot announces within half a second
		}
	}
	// And it has not become deaf.
	s.deliver("INBOX", note("third"), none)
	w.until("new mail", func(r engine.Report) bool { return r.Local.New == 1 })
	w.stop()
}

// A server that has room for one session beside the phone's is polled: to listen is not worth a
// sync.
func TestWatchWhereTheServerHasNoRoomToListen(t *testing.T) {
	stories(t, map[string]func(s *story){"one session": func(s *story) {
		s.deliver("INBOX", note("first"), none)
		d := s.device("laptop", `poll_interval = "500ms"`)
		w := d.watch(nil)
		w.until("what was there", func(r engine.Report) bool { return r.Local.New == 1 })
		for i := range 3 {
			s.deliver("INBOX", note(fmt.Sprint("new ", i)), none)
			w.until("new mail", func(r engine.Report) bool { return r.Local.New == 1 })
		}
		if r := w.stop(); r.code != 0 || len(w.failed) != 1 || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, "Maximum number of connections") {
			s.Errorf("it ended with %d, failed %d times, and said %q", r.code, len(w.failed), r.stderr)
		}
	}}, dovecot.Extra("mail_max_userip_connections = 2"))
}

// A server that was away is listened to again.
func TestWatchHearsAServerThatIsBack(t *testing.T) {
	stories(t, map[string]func(s *story){"restart": func(s *story) {
		d := s.device("laptop", `poll_interval = "1h"`)
		w := d.watch(nil)
		w.run()
		s.server.Restart()
		for i := range 2 { // the first one may come by the sync that follows
			s.deliver("Archive", note(fmt.Sprint("new ", i)), none)
			w.until("new mail", func(r engine.Report) bool { return r.Local.New == 1 })
		}
		if r := w.stop(); r.code != 0 {
			s.Errorf("it ended with %d, and said %q", r.code, r.stderr)
		}
	}})
}
