package main

import (
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// anonymous is a message of two megabytes without a Message-ID, that nothing but its
// bytes tells from its like.
func anonymous(subject string) string {
	_, rest, _ := strings.Cut(big(subject), "Message-ID: <"+subject+"@example.org>\n")
	return rest
}

// A server that has EMAILIDs says itself what the phone has moved and copied: no header
// is fetched to be sure, and no body of a message that has no Message-ID.
func TestEMAILIDsTellWhatThePhoneMoved(t *testing.T) {
	k := kinds["cyrus"]
	s := k.start(t)
	d := s.device("laptop", k.settings...)
	s.check(s.phone.CreateFolder(s.Context(), "Work", mail.RoleNone))
	for _, text := range []string{big("large"), anonymous("nameless")} {
		s.deliver("INBOX", text, seen)
	}
	d.sync()
	idle := d.sync()
	// This one base knows by its upload.
	d.save("INBOX", "cur", "1.mine.host:2,S", anonymous("uploaded"), then)
	d.sync()
	d.quiet()

	cheap := func(what string, r accountReport) {
		t.Helper()
		n := r.BytesIn + r.BytesOut - idle.BytesIn - idle.BytesOut
		t.Logf("%s cost %d octets more than nothing", what, n)
		if n > 4000 {
			t.Errorf("%s cost %d octets", what, n)
		}
	}
	for _, subject := range []string{"large", "nameless", "uploaded"} {
		before := d.find("INBOX", subject)
		moved, err := s.phone.Move(s.Context(), "INBOX", s.remote("INBOX", subject).UID, "Archive")
		s.check(err)
		r := d.sync()
		cheap(subject+", moved,", r)
		d.did(r, counts4{Moved: 1}, counts4{})
		if after := d.find("Archive", subject); after.text != before.text || !after.date.Equal(before.date) {
			t.Error("it is another file")
		}
		_, err = s.phone.Copy(s.Context(), "Archive", moved, "Work")
		s.check(err)
		r = d.sync()
		cheap(subject+", copied,", r)
		d.did(r, counts4{New: 1}, counts4{})
	}
	s.want("Work", d.subjects("Work"), "large", "nameless", "uploaded")
	d.same()
	d.quiet()
}

// Where the server announces none, nobody asks for an EMAILID.
func TestNobodyAsksForEMAILIDsInVain(t *testing.T) {
	for name, wanted := range map[string]bool{"cyrus": true, "dovecot": false, "embedded": false, "courier": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := kinds[name]
			s := k.start(t)
			d := s.device("laptop", k.settings...)
			s.deliver("INBOX", note("one"), seen)
			trace := d.exits(0, "-vv", "sync").stderr
			if got := strings.Contains(trace, "RFC822.SIZE EMAILID"); got != wanted || !strings.Contains(trace, "RFC822.SIZE") {
				t.Errorf("asked: %v, want %v\n%s", got, wanted, trace)
			}
		})
	}
}
