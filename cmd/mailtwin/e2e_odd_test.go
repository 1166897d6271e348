package main

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/dovecot"
)

// odd is mail that programs stumble over, as a file has it. Each sort lies in a
// folder of its own, so that what goes wrong has a name.
func odd() map[string][]string {
	return map[string][]string{
		"header only":           {"Message-ID: <header.only@example.org>\nSubject: header only\n"},
		"header and no line":    {"Message-ID: <no.line@example.org>\nSubject: no empty line after it"},
		"no header":             {"\nOnly text.\n"},
		"no header, no line":    {"this is no header field\nand neither is this\n"},
		"one line end":          {"\n"},
		"one octet":             {"x"},
		"no Message-ID":         {"Subject: nobody numbered this\n\nText.\n", "Subject: nobody numbered this\n\nOther text of other size.\n", "Subject: nobody numbered this\n\nText?\n"},
		"one Message-ID":        {note("same") + "One.\n", note("same") + "Two.\n", note("same") + "Three, and longer.\n"},
		"two Message-IDs":       {"Message-ID: <first@example.org>\nMessage-ID: <second@example.org>\n\nText.\n"},
		"twins":                 {note("twin"), note("twin"), note("twin")},
		"twins without a name":  {"Subject: twin\n\nText.\n", "Subject: twin\n\nText.\n"},
		"8-bit header":          {"Message-ID: <\xe4\xff@example.org>\nSubject: Z\xfcrich \xc3\xa9\xc3\nFrom: \x80\x81\n\n\xff\xfe text\n"},
		"long line":             {note("long line") + strings.Repeat("x", 1<<20) + "\nend\n", "Subject: " + strings.Repeat("y", 1<<20) + "\n\nText.\n"},
		"long header":           {"Message-ID: <long.header@example.org>\n" + strings.Repeat("X-Trace: "+strings.Repeat("t", 60)+"\n", 5000) + "\nText.\n"},
		"lone CR":               {note("lone CR") + "a\rb\r\rc", note("lone CR 2") + "\ra\n"},
		"no last line end":      {note("no last line end") + "the end"},
		"From":                  {"From someone@example.org Mon Jan  1 00:00:00 2024\nMessage-ID: <from@example.org>\n\nText.\n", note("from within") + "From here on\n>From there\n"},
		"dots":                  {note("dots") + ".\n..\n.\n"},
		"control characters":    {note("control") + "\x01\x02\x1b[31m\x7f\x1a\x0c\n"},
		"folded fields":         {"Message-ID:\n <folded@example.org>\nSubject: a\n\tb\n  c\nsubject : again\n\nText.\n"},
		"looks like a reply":    {note("reply") + ")\na1 OK done\n* 5 EXPUNGE\n{10}\n~{3+}\n"},
		"only white space":      {" \n\t\n  \n"},
		"broken MIME":           {"Message-ID: <mime@example.org>\nContent-Type: multipart/mixed; boundary=\"b\n\n--b\n--b--\n--c\n"},
		"Message-ID not closed": {"Message-ID: <open@example.org\nSubject: open\n\nText.\n"},
	}
}

// oddFiles have line ends that no mail from the wire gets here: on the wire, and so on
// another device, all of them are the same.
var oddFiles = []string{
	wireOf(note("CRLF")),
	wireOf(note("CRLF, no last line end") + "end"),
	strings.Replace(note("both"), "\n", "\r\n", 2),
}

// TestOddMailGoesBothWaysExactly: what is on the wire is in the file, but for CRLF
// that is LF there, and the other way round; a second device has the same; and then
// there is nothing left to do, also when all that is known of it was lost.
func TestOddMailGoesBothWaysExactly(t *testing.T) {
	for name, opts := range map[string][]dovecot.Option{"Maildir": nil, "sdbox": {dovecot.Sdbox()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stories(t, map[string]func(s *story){"odd mail": oddMail}, opts...)
		})
	}
}

func oddMail(s *story) {
	d, second := s.device("laptop"), s.device("desktop")
	d.sync()
	n := 0
	for name, texts := range odd() {
		s.check(s.phone.CreateFolder(s.Context(), mail.Folder("down/"+name), mail.RoleNone))
		for _, text := range texts {
			n++
			_, err := s.phone.Deliver(s.Context(), mail.Folder("down/"+name), []byte(wireOf(text)), seen, then)
			s.check(err)
			d.save(mail.Folder("up/"+name), "cur", "odd"+strconv.Itoa(n)+":2,S", text, then)
		}
	}
	for i, text := range oddFiles {
		d.save("files", "cur", "odd"+strconv.Itoa(i)+":2,S", text, then)
	}
	d.did(d.sync(), counts4{New: n}, counts4{New: n + len(oddFiles)})
	second.did(second.sync(), counts4{New: 2*n + len(oddFiles)}, counts4{})
	exact := func() {
		s.Helper()
		for name, texts := range odd() {
			want := slices.Sorted(slices.Values(texts))
			for _, folder := range []mail.Folder{mail.Folder("down/" + name), mail.Folder("up/" + name)} {
				var there []string
				for _, m := range s.messages(folder) {
					there = append(there, string(m.Raw))
				}
				var wire []string
				for _, text := range want {
					wire = append(wire, wireOf(text))
				}
				equalTexts(s, "on the server: "+string(folder), there, wire)
				equalTexts(s, "here: "+string(folder), d.texts(folder), want)
				equalTexts(s, "on the second device: "+string(folder), second.texts(folder), want)
			}
		}
		var wire, file []string
		for _, text := range oddFiles {
			wire, file = append(wire, wireOf(text)), append(file, onDisk(text))
		}
		var there []string
		for _, m := range s.messages("files") {
			there = append(there, string(m.Raw))
		}
		equalTexts(s, "on the server: files", there, wire)
		equalTexts(s, "here: files", d.texts("files"), oddFiles)
		equalTexts(s, "on the second device: files", second.texts("files"), file)
	}
	exact()
	second.same()
	d.quiet()
	second.quiet()

	d.loseState()
	d.did(d.sync(), counts4{}, counts4{})
	exact()
	d.quiet()
	second.quiet()
}

// texts are the contents of the files in a folder.
func (d *computer) texts(folder mail.Folder) []string {
	d.Helper()
	var all []string
	for _, f := range d.files(folder) {
		all = append(all, f.text)
	}
	return all
}

// equalTexts compares two sets of messages, and shows where they differ.
func equalTexts(s *story, what string, got, want []string) {
	s.Helper()
	count := map[string]int{}
	for _, text := range got {
		count[text]++
	}
	for _, text := range want {
		count[text]--
	}
	for _, text := range slices.Sorted(maps.Keys(count)) {
		if n := count[text]; n != 0 {
			s.Errorf("%s: %+d of %.200q", what, n, text)
		}
	}
}

func TestAHundredMegabytesGoBothWays(t *testing.T) {
	if os.Getenv("MAILTWIN_LONG") != "1" {
		t.Skip("takes some seconds, and runs only with MAILTWIN_LONG=1")
	}
	line := strings.Repeat("0123456789", 7) + "\n"
	text := func(subject string) string { return note(subject) + strings.Repeat(line, 100<<20/len(line)) }
	stories(t, map[string]func(s *story){
		"large mail": func(s *story) {
			d, second := s.device("laptop"), s.device("desktop")
			d.sync()
			_, err := s.phone.Deliver(s.Context(), "INBOX", []byte(wireOf(text("down"))), seen, then)
			s.check(err)
			d.save("INBOX", "cur", "large:2,S", text("up"), then)
			d.save("INBOX", "cur", "small:2,S", note("small"), then)
			d.did(d.sync(), counts4{New: 1}, counts4{New: 2})
			d.quiet()
			second.did(second.sync(), counts4{New: 3}, counts4{})
			second.quiet()
			want := []string{text("down"), note("small"), text("up")}
			equalTexts(s, "here", d.texts("INBOX"), want)
			equalTexts(s, "on the second device", second.texts("INBOX"), want)
			d.loseState()
			r := d.sync()
			d.did(r, counts4{}, counts4{})
			if r.BytesIn+r.BytesOut > 1<<20 {
				d.Errorf("to pair anew, %d octets came and %d went", r.BytesIn, r.BytesOut)
			}
		},
	})
}
