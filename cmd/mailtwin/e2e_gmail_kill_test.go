package main

import (
	"fmt"
	"os"
	"testing"

	"mailtwin/conflict/mail"
)

// mixedLabels brings about something of everything that labels make possible.
func mixedLabels(g *gmail) *computer {
	for _, name := range []string{"unlabel", "relabel", "archive", "out of All Mail", "delete", "delete in All Mail", "copy", "copy where it is", "star", "still"} {
		g.arrive(note(name), seen, mail.Inbox, "Work")
	}
	d := g.device("laptop")
	d.sync()
	d.remove(d.find("Work", "unlabel"))
	d.move(d.find("Work", "relabel"), "Play")
	f := d.find(mail.Inbox, "archive")
	d.save(allMail, "cur", "2.archived.host:2,RS", f.text, f.date)
	d.remove(f)
	f = d.find(allMail, "out of All Mail")
	d.save("Play", "cur", "2.moved.host:2,S", f.text, f.date)
	d.remove(f)
	d.move(d.find(mail.Inbox, "delete"), gmailBin)
	d.remove(d.find(allMail, "delete in All Mail"))
	f = d.find(mail.Inbox, "copy")
	d.save("Play", "cur", "3.copied.host:2,S", f.text, f.date)
	d.copy(d.find(mail.Inbox, "copy where it is"), "Work")
	d.reflag(d.find("Work", "star"), "FS")
	d.save("Work", "cur", "4.new.host:2,S", note("new here"), then)
	d.save("Play", "cur", "4.new.host:2,S", note("new here"), then)
	g.arrive(note("new there"), seen, mail.Inbox, "Work", "Play")
	return d
}

// Where folders are labels, too, a run that is killed at any of its steps, and then run
// again, ends as if nothing had happened. MAILTWIN_LONG=1 takes all steps, otherwise some
// 12 of them are taken.
func TestGmailKilled(t *testing.T) {
	t.Parallel()
	g := onGmail(t)
	whole := mixedLabels(g)
	_, steps, _ := whole.child(0)
	whole.sync()
	settle2(whole)
	whole.same()
	want := whole.account()
	if steps < 60 {
		t.Fatalf("the run has only %d steps", steps)
	}
	stride := max(1, steps/12)
	if os.Getenv("MAILTWIN_LONG") == "1" {
		stride = 1
	}
	for at := 1; at <= steps; at += stride {
		t.Run(fmt.Sprintf("at step %d of %d", at, steps), func(t *testing.T) {
			t.Parallel()
			g := onGmail(t)
			d := mixedLabels(g)
			if killed, n, _ := d.child(at); !killed {
				t.Logf("it ended after %d steps", n) // their number depends a little on chance
			}
			d.sync()
			d.sync()
			settle2(d)
			d.same()
			got := d.account()
			g.want("there too much", without(got, want))
			g.want("missing", without(want, got))
		})
	}
}
