package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailtwin/sync/imaptest/daemon"
)

// mutt runs mutt on the Maildir, with those keys, until it ends. Where the keys hold
// {pause}, it waits meanwhile for what pause does.
func (d *computer) mutt(keys string, pause func()) {
	d.Helper()
	dir := filepath.Join(d.dir, d.name, "mutt")
	d.check(os.MkdirAll(dir, 0o700))
	began, goOn := filepath.Join(dir, "began"), filepath.Join(dir, "go-on")
	if pause != nil {
		// Opening a pipe waits for its other end, on both sides.
		d.check(unix.Mkfifo(began, 0o600))
		d.check(unix.Mkfifo(goOn, 0o600))
	}
	keys = strings.ReplaceAll(keys, "{pause}", fmt.Sprintf("<shell-escape>echo > '%s'; cat '%s'<enter>", began, goOn))
	rc := filepath.Join(dir, "muttrc")
	d.check(os.WriteFile(rc, []byte(strings.Join([]string{
		"set mbox_type=Maildir", "set folder='" + d.maildir + "'", "set spoolfile=+INBOX", "set trash=+Trash",
		"set confirmappend=no", "set delete=yes", "set quit=yes", "set move=no", "set wait_key=no",
		"set mark_old=no", "set sort=mailbox-order", "set realname=A", "set from=a@example.org",
		`push "` + keys + `<quit>"`,
	}, "\n")+"\n"), 0o600))
	ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
	defer cancel()
	// script gives it a terminal.
	cmd := exec.CommandContext(ctx, "script", "-qec", "mutt -n -F '"+rc+"'", os.DevNull)
	cmd.Env = append(os.Environ(), "TERM=xterm", "HOME="+dir, "LC_ALL=C.UTF-8")
	var screen strings.Builder
	cmd.Stdout, cmd.Stderr = &screen, &screen
	d.check(cmd.Start())
	if pause != nil {
		// If mutt does not come to it, or does not wait, somebody else is at the other end.
		stop := context.AfterFunc(ctx, func() {
			for _, fifo := range []string{began, goOn} {
				if f, err := os.OpenFile(fifo, os.O_RDWR, 0); err == nil {
					f.WriteString("\n")
					f.Close()
				}
			}
		})
		_, err := os.ReadFile(began)
		d.check(err)
		pause()
		d.check(os.WriteFile(goOn, []byte("\n"), 0o600))
		stop()
	}
	if err := cmd.Wait(); err != nil {
		d.Fatalf("mutt: %v\n%s", err, screen.String())
	}
}

// What people do in mutt, on a real one: saving moves, copying copies, deleting puts into
// Trash, once; and no body goes over the wire for it, also if a sync comes between the
// copy that mutt makes and the removal of the original.
func TestMutt(t *testing.T) {
	for _, program := range []string{"mutt", "script"} {
		if _, err := exec.LookPath(program); err != nil {
			daemon.Missing(t, program)
		}
	}
	stories(t, map[string]func(s *story){
		"save": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", big("saved"), none)
			s.deliver("INBOX", big("kept"), seen)
			d.sync()
			d.mutt("<limit>~s saved<enter><save-message>^U+Archive<enter><sync-mailbox>", nil)
			d.cheap(d.sync())
			s.want("Archive", s.there("Archive"), "saved")
			s.want("INBOX", s.there("INBOX"), "kept")
			s.want("Trash", s.there("Trash"))
			d.quiet()
			desktop := s.device("desktop")
			desktop.sync()
			desktop.same()
		},
		"save, and a sync before the folder is left": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", big("saved"), seen)
			s.deliver("INBOX", big("kept"), seen)
			d.sync()
			d.mutt("<limit>~s saved<enter><save-message>^U+Archive<enter>{pause}<sync-mailbox>", func() {
				d.cheap(d.sync())
				s.want("Archive", s.there("Archive"), "saved")
			})
			d.cheap(d.sync())
			s.want("Archive", s.there("Archive"), "saved")
			s.want("INBOX", s.there("INBOX"), "kept")
			s.want("Trash", s.there("Trash"))
			d.quiet()
		},
		"copy, delete, flag and mark as unread": func(s *story) {
			d := s.device("laptop")
			s.deliver("INBOX", big("copied"), seen)
			s.deliver("INBOX", big("deleted"), seen)
			s.deliver("INBOX", big("flagged"), seen)
			d.sync()
			d.mutt("<limit>~s copied<enter><copy-message>^U+Archive<enter><limit>~s deleted<enter><delete-message>"+
				"<limit>~s flagged<enter><flag-message><toggle-new><limit>all<enter><sync-mailbox>", nil)
			d.cheap(d.sync())
			s.want("Archive", s.there("Archive"), "copied")
			s.want("INBOX", s.there("INBOX"), "copied", "flagged")
			s.want("Trash", s.there("Trash"), "deleted")
			if got := s.remote("INBOX", "flagged"); !got.Flags.Equal(flagged) {
				s.Errorf("it has %v", got.Flags)
			}
			d.quiet()
		},
	})
}
