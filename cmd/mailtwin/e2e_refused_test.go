package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/dovecot"
)

// refuses runs a sync in which these files are refused, and the rest goes its way.
// It checks what is said of it, then and later, and that neither costs more than it
// must.
func (d *computer) refuses(rest counts4, files map[string]string) {
	d.Helper()
	r := d.report(1)
	d.did(r, counts4{}, rest)
	for name, why := range files {
		d.said(*r.Error, name, why, "again after ")
	}
	// They wait; and who looks hears of it.
	r = d.report(1)
	d.did(r, counts4{}, counts4{})
	d.free(r)
	for name := range files {
		d.said(*r.Error, name, "wait")
	}
	pending := 0
	for _, f := range d.status().Folders {
		pending += f.Pending
	}
	if pending != len(files) {
		d.Errorf("%s: status says that %d wait, want %d", d.name, pending, len(files))
	}
}

// said checks that a text has all these parts.
func (d *computer) said(text string, parts ...string) {
	d.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			d.Errorf("%s: %q does not say %q", d.name, text, part)
		}
	}
}

// status is what `status --json` tells of the account.
func (d *computer) status() accountStatus {
	d.Helper()
	var doc statusReport
	out := d.exits(0, "status", "--json").stdout
	if err := json.Unmarshal([]byte(out), &doc); err != nil || len(doc.Accounts) != 1 {
		d.Fatalf("%v: %q", err, out)
	}
	return doc.Accounts[0]
}

func TestDovecotRefuses(t *testing.T) {
	t.Parallel()
	quota := dovecot.Extra("mail_plugins = quota\nprotocol imap {\n mail_plugins = quota imap_quota\n}\n" +
		"plugin {\n quota = maildir:User quota\n quota_rule = *:storage=200K\n quota_max_mail_size = 150K\n}\n")
	stories(t, map[string]func(s *story){
		"what is empty, too large or too much": func(s *story) {
			d := s.device("laptop")
			d.sync()
			d.save("INBOX", "cur", "1.empty:2,S", "", then)
			d.save("INBOX", "cur", "2.large:2,S", note("large")+strings.Repeat("x", 160<<10), then)
			for i := range 5 {
				d.save("Sent", "cur", fmt.Sprintf("3.%d:2,S", i), note(fmt.Sprint("much ", i))+strings.Repeat("x", 90<<10), then)
			}
			d.save("Sent", "cur", "4.small:2,S", note("small"), then)
			d.save("Drafts", "cur", "5.small:2,S", note("draft"), then)
			d.refuses(counts4{New: 4}, map[string]string{
				"1.empty:2,S": "zero byte message", "2.large:2,S": "refused by the server: [LIMIT]",
				"3.2:2,S": "[OVERQUOTA]", "3.3:2,S": "over quota", "3.4:2,S": "over quota",
			})
			s.want("Drafts", s.there("Drafts"), "draft")
			s.want("Sent", s.there("Sent"), "much 0", "much 1", "small")
			// The other direction goes on as well.
			s.deliver("Archive", note("theirs"), seen)
			d.did(d.report(1), counts4{New: 1}, counts4{})
			// What waits may be removed, and then waits no longer.
			for _, f := range d.files("INBOX") {
				d.remove(f)
			}
			for _, f := range d.files("Sent") {
				if strings.Contains(f.path, "3.2:") || strings.Contains(f.path, "3.3:") || strings.Contains(f.path, "3.4:") {
					d.remove(f)
				}
			}
			settle(d)
			d.same()
		},
	}, quota)
}

// TestDovecotChangesBytes: it puts 0x80 in the place of NUL, takes CR away from the
// end, and one of two before LF. The file here stays as it is all the same, and is not
// uploaded again, also when its state was lost.
func TestDovecotChangesBytes(t *testing.T) {
	t.Parallel()
	stories(t, map[string]func(s *story){
		"NUL and CR": func(s *story) {
			d, second := s.device("laptop"), s.device("desktop")
			d.sync()
			texts := []string{
				note("NUL") + "a\x00b\n", "Subject: NUL\n\nwithout a Message-ID \x00\n",
				note("CR") + "end\r", note("CR CR LF") + "a\r\r\nb\n",
			}
			for i, text := range texts {
				d.save("INBOX", "cur", fmt.Sprintf("%d.odd:2,S", i), text, then)
			}
			d.did(d.sync(), counts4{}, counts4{New: 4})
			settle(d, second)
			d.loseState()
			second.loseState()
			d.did(d.sync(), counts4{}, counts4{})
			second.did(second.sync(), counts4{}, counts4{})
			d.quiet()
			second.quiet()
			equalTexts(s, "here", d.texts("INBOX"), texts)
			second.same()
		},
	})
}

func TestALimitThatIsAnnouncedIsNotTried(t *testing.T) {
	t.Parallel()
	tried := 0
	s, _ := embeddedWith(t, imaptest.Options{AppendLimit: 10000, Keep: func(_ mail.Folder, raw []byte) ([]byte, error) {
		if len(raw) > 10000 {
			tried++
		}
		return raw, nil
	}})
	d := s.device("laptop")
	d.sync()
	d.save("INBOX", "cur", "1.large:2,S", note("large")+strings.Repeat("x", 10000), then)
	d.save("INBOX", "cur", "2.small:2,S", note("small"), then)
	r := d.report(1)
	d.did(r, counts4{}, counts4{New: 1})
	d.said(*r.Error, `INBOX: upload "1.large:2,S": `, "octets are more than the 10000 that it takes (APPENDLIMIT)")
	if tried > 0 || r.BytesOut > 5000 {
		d.Errorf("it was tried %d times, with %d octets", tried, r.BytesOut)
	}
	d.said(*d.report(1).Error, `INBOX: "1.large:2,S" waits: `)
}

// TestALimitOfOneFolderIsAskedFor: where no number stands with APPENDLIMIT each folder has
// its own (RFC 7889, 5).
func TestALimitOfOneFolderIsAskedFor(t *testing.T) {
	t.Parallel()
	asked := func() imaptest.Quirks {
		return imaptest.Quirks{Answer: func(line, command string) []string {
			tag, _, _ := strings.Cut(line, " ")
			switch {
			case strings.HasPrefix(command, "STATUS INBOX (APPENDLIMIT"):
				return []string{"* STATUS INBOX (APPENDLIMIT 2000000)", tag + " OK done"}
			case strings.HasPrefix(command, `STATUS "Sent" (APPENDLIMIT`):
				return []string{"* STATUS Sent (APPENDLIMIT NIL)", tag + " OK done"}
			case strings.HasPrefix(command, `STATUS "Drafts" (APPENDLIMIT`):
				return []string{tag + " NO [CANNOT] not of this one"}
			}
			return []string{strings.Replace(line, "CAPABILITY IMAP4rev1", "CAPABILITY IMAP4rev1 APPENDLIMIT", 1)}
		}}
	}
	s := through(asked)(t)
	d := s.device("laptop")
	d.sync()
	large := func(name string, size int) string {
		return note(name) + strings.Repeat(strings.Repeat("x", 79)+"\n", size/80)
	}
	d.save("INBOX", "cur", "1.large:2,S", large("large", 3<<20), then)
	d.save("INBOX", "cur", "2.fits:2,S", large("fits", 3<<19), then)
	d.save("Sent", "cur", "3.sent:2,S", large("sent", 3<<20), then)
	d.save("Drafts", "cur", "4.draft:2,S", large("draft", 3<<20), then)
	r := d.report(1)
	d.did(r, counts4{}, counts4{New: 3})
	d.said(*r.Error, `INBOX: upload "1.large:2,S": `, "octets are more than the 2000000 that it takes (APPENDLIMIT)")
	if r.BytesOut > 9<<20 {
		t.Errorf("%d octets went out", r.BytesOut)
	}
	d.did(d.report(1), counts4{}, counts4{})
}

// TestServersThatRefuseWithoutAWord: a NO after all octets went out; and one that does
// not even say that.
func TestServersThatRefuseWithoutAWord(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		codes []int
	}{
		"NO":          {imaptest.No("", "message contains NUL"), []int{1, 1}},
		"too big":     {imaptest.No("TOOBIG", "message too large"), []int{1, 1}},
		"it hangs up": {imaptest.ErrHangUp, []int{75, 75}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := embeddedWith(t, imaptest.Options{Keep: func(_ mail.Folder, raw []byte) ([]byte, error) {
				if bytes.IndexByte(raw, 0) >= 0 {
					return nil, c.err
				}
				return raw, nil
			}})
			d := s.device("laptop")
			d.sync()
			d.save("INBOX", "cur", "1.nul:2,S", note("nul")+"\x00", then)
			d.save("INBOX", "cur", "2.other:2,S", note("other"), then)
			d.save("Sent", "cur", "3.sent:2,S", note("sent"), then)
			for _, code := range c.codes {
				d.report(code)
			}
			s.want("INBOX", s.there("INBOX"), "other")
			s.want("Sent", s.there("Sent"), "sent")
			d.want("here", d.subjects("INBOX"), "nul", "other")
			for n := 0; d.run("sync").code != 1; n++ {
				if n > 10 {
					t.Fatal("it is tried for ever")
				}
			}
			d.said(*d.report(1).Error, `INBOX: "1.nul:2,S" waits: `)
		})
	}
}
