package corpus

import (
	"fmt"
	"strings"
	"time"

	"mailtwin/conflict/mail"
)

// note is a hand-written message of the demo.
type note struct {
	folder  mail.Folder
	ago     time.Duration
	flags   mail.Flags
	from    person
	to      person
	subject string
	name    string // of its Message-ID
	answers string // the names of the messages above it in its thread, oldest first
	list    string // the mailing list it came by
	text    string
	html    string // of the alternative, if there is one
	file    string // the name of the attachment, if there is one
	data    string
}

const (
	hour = time.Hour
	day  = 24 * hour
)

var (
	me      = person{"Alice Brandt", "alice@example.org"}
	lena    = person{"Lena Hoffmann", "lena@example.net"}
	tom     = person{"Tom Okafor", "tom.okafor@example.com"}
	juerg   = person{"Jürg Müller", "juerg@example.net"}
	hanako  = person{"山田 花子", "hanako@example.org"}
	elodie  = person{"Élodie Lefèvre", "elodie@example.com"}
	roofer  = person{"Dahl Roofing", "office@dahl-roofing.example"}
	power   = person{"Nordstern Energie", "rechnung@nordstern.example"}
	rail    = person{"Night Rail", "tickets@nightrail.example"}
	cron    = person{"Cron Daemon", "root@attic.example.org"}
	shop    = person{"MEGA DEALS", "win@deals.example"}
	gopher  = person{"Priya Nair", "priya@example.com"}
	gopher2 = person{"Marek Wilk", "marek@example.net"}
	golist  = person{"go", "go@lists.example.net"}
)

// DemoFolders gives the folders of Demo with their roles, besides INBOX.
func DemoFolders() map[mail.Folder]mail.Role {
	return map[mail.Folder]mail.Role{
		"Archive": mail.RoleArchive, "Drafts": mail.RoleDrafts, "Sent": mail.RoleSent,
		"Trash": mail.RoleTrash, "Junk": mail.RoleJunk,
		"Lists/go": mail.RoleNone, "Family & Friends": mail.RoleNone, "Réunions": mail.RoleNone,
	}
}

// Demo gives a small account that looks like somebody's: threads, a mailing list, an
// HTML message, an attachment, letters from all over the world. Its dates lie before
// now. Folders come as DemoFolders has them, and INBOX.
func Demo(now time.Time) []Sample {
	g := New(1)
	samples := make([]Sample, len(demo))
	for i, n := range demo {
		date := now.Add(-n.ago).Truncate(time.Second)
		samples[i] = Sample{Folder: n.folder, Flags: n.flags, Date: date, Raw: n.compose(g, date)}
	}
	return samples
}

func (n note) compose(g *Generator, date time.Time) []byte {
	id := func(name string) string { return "<" + name + "@mail.example.org>" }
	text := strings.ReplaceAll(strings.TrimPrefix(n.text, "\n"), "\n", "\r\n")
	h := &header{}
	if n.from != me {
		g.trace(h, me, date)
	}
	h.add("From", address(n.from))
	h.add("To", address(n.to))
	h.add("Subject", encode(n.subject))
	h.add("Date", date.Format(time.RFC1123Z))
	h.add("Message-ID", id(n.name))
	if above := strings.Fields(n.answers); len(above) > 0 {
		for i, name := range above {
			above[i] = id(name)
		}
		h.add("In-Reply-To", above[len(above)-1])
		h.add("References", strings.Join(above, " "))
	}
	if n.list != "" {
		h.list(n.list, "lists.example.net")
	}
	h.add("MIME-Version", "1.0")
	boundary := "=_" + n.name
	const plain = "text/plain; charset=utf-8"
	switch {
	case n.html != "":
		h.add("Content-Type", `multipart/alternative; boundary="`+boundary+`"`)
		h.end()
		h.part(boundary, plain, "8bit", text)
		h.part(boundary, "text/html; charset=utf-8", "8bit", strings.ReplaceAll(strings.TrimSpace(n.html), "\n", "\r\n")+"\r\n")
		h.close(boundary)
	case n.file != "":
		h.add("Content-Type", `multipart/mixed; boundary="`+boundary+`"`)
		h.end()
		h.part(boundary, plain, "8bit", text)
		h.part(boundary, fmt.Sprintf("application/pdf; name=%q", n.file), "base64", wrapBase64([]byte(n.data)))
		h.close(boundary)
	default:
		h.add("Content-Type", plain)
		h.add("Content-Transfer-Encoding", "8bit")
		h.end()
		h.WriteString(text)
	}
	return []byte(h.String())
}

var (
	unread  = mail.Flags{}
	read    = mail.Flags{System: mail.Seen}
	done    = mail.Flags{System: mail.Seen | mail.Answered}
	starred = mail.Flags{System: mail.Seen | mail.Flagged}
)

var demo = []note{
	{folder: "INBOX", ago: 2 * hour, flags: unread, from: lena, to: me, name: "dinner", subject: "Dinner on Saturday?", text: `
Hi Alice,

we are eight now, and Tom brings his guitar. Could you take care of
dessert? The lemon thing from last time would make everybody happy.

Doors open at seven.

Lena
`},
	{folder: "INBOX", ago: 5 * hour, flags: unread, from: rail, to: me, name: "nightrail-4711", subject: "Your tickets: Hamburg - Stockholm", file: "tickets.pdf", data: ticketPDF, text: `
Dear Alice Brandt,

your tickets are attached. Coach 23, berths 41 and 42.
Departure 21:03, platform 14. Breakfast is served from six.

Have a good journey,
Night Rail
`},
	{folder: "INBOX", ago: 1 * day, flags: starred, from: roofer, to: me, name: "roof-3", answers: "roof-1 roof-2", subject: "Re: Roof repair, three offers", text: `
Dear Ms Brandt,

> Could you start before the autumn rain?

Yes: the scaffold can go up on the 9th, and we would need four dry days.
Please let us know by Friday, so that we can order the tiles.

Kind regards
Ingrid Dahl
`},
	{folder: "INBOX", ago: 26 * hour, flags: read, from: power, to: me, name: "invoice-2217", subject: "Ihre Rechnung für März", text: `
Guten Tag Frau Brandt,

Ihre Rechnung über 64,80 € liegt bereit.
Der Betrag wird am 15. abgebucht.

Nordstern Energie
`, html: `
<html><body style="font-family: sans-serif">
<h2>Ihre Rechnung für März</h2>
<p>Guten Tag Frau Brandt,</p>
<table border="1" cellpadding="4">
<tr><td>Strom, 212 kWh</td><td align="right">59,36 €</td></tr>
<tr><td>Grundpreis</td><td align="right">5,44 €</td></tr>
<tr><th>Summe</th><th align="right">64,80 €</th></tr>
</table>
<p>Der Betrag wird am 15. abgebucht.</p>
</body></html>
`},
	{folder: "INBOX", ago: 2 * day, flags: done, from: juerg, to: me, name: "zermatt", subject: "Grüße aus Zermatt", text: `
Liebe Alice,

oben liegt noch Schnee, unten blühen die Krokusse. Die Hütte ist vom 3. bis
zum 10. frei – kommt ihr?

Herzlich, Jürg
`},
	{folder: "INBOX", ago: 3 * day, flags: read, from: hanako, to: me, name: "uchiawase", subject: "来週の打ち合わせ", text: `
アリスさん

来週の火曜日、14時からはいかがでしょうか。
資料は前日までにお送りします。

山田
`},
	{folder: "INBOX", ago: 3*day + 4*hour, flags: mail.Flags{System: mail.Seen, Keywords: "backup"}, from: cron, to: me, name: "backup-0412", subject: "Cron <root@attic> /usr/local/bin/backup", text: `
repository opened, 412 snapshots
Files:         31 new,    12 changed, 88120 unmodified
Added to the repository: 14.212 MiB
snapshot 7f3a9c1e saved
`},
	{folder: "INBOX", ago: 4 * day, flags: mail.Flags{System: mail.Seen | mail.Forwarded}, from: tom, to: me, name: "guitar", subject: "Chords for Saturday", text: `
Alice, can you print these for Lena? She has no printer either.

   G        Em
   The river takes the morning slow
   C              D
   and carries what it does not know

Tom
`},
	{folder: "Archive", ago: 11 * day, flags: read, from: me, to: roofer, name: "roof-1", subject: "Roof repair, three offers", text: `
Hello,

the storm took about thirty tiles off the west side. I am asking three firms
for an offer. Photos can be had, and you are welcome to come and look.

Alice Brandt
`},
	{folder: "Archive", ago: 9 * day, flags: done, from: roofer, to: me, name: "roof-2", answers: "roof-1", subject: "Re: Roof repair, three offers", text: `
Dear Ms Brandt,

thank you for asking us. From what you write we expect two days of work and
about 1,900 euros. We would like to have a look on Tuesday morning.

Kind regards
Ingrid Dahl
`},
	{folder: "Archive", ago: 40 * day, flags: read, from: person{"City Library", "noreply@library.example"}, to: me, name: "library-88", subject: "Due in three days: 2 items", text: `
The Sea, the Sea            due on Monday
A Field Guide to Getting Lost   due on Monday

You can renew each item twice.
`},
	{folder: "Lists/go", ago: 6 * day, flags: read, from: gopher, to: golist, name: "go-iter-1", list: "go", subject: "[go] iterators that can fail", text: `
How do you all hand errors out of an iter.Seq? I see three styles by now:
iter.Seq2[T, error], a method Err() afterwards as in bufio.Scanner, and a
pointer to an error. Is there a favourite?

Priya
`},
	{folder: "Lists/go", ago: 6*day - 3*hour, flags: read, from: gopher2, to: golist, name: "go-iter-2", answers: "go-iter-1", list: "go", subject: "Re: [go] iterators that can fail", text: `
> Is there a favourite?

Seq2 where a single item can fail and the rest goes on; Err() where the
first failure is the end. It reads the way it behaves.

Marek
`},
	{folder: "Lists/go", ago: 5 * day, flags: unread, from: gopher, to: golist, name: "go-iter-3", answers: "go-iter-1 go-iter-2", list: "go", subject: "Re: [go] iterators that can fail", text: `
That is a rule I can remember. Thank you!
`},
	{folder: "Family & Friends", ago: 15 * day, flags: starred, from: person{"Mum", "brandt.family@example.org"}, to: me, name: "cake", subject: "Oma's poppy seed cake", text: `
As promised, copied from her own card:

  300 g flour, 200 g butter, 100 g sugar, 1 egg
  250 g poppy seed, ground; 1/2 l milk; 80 g semolina; raisins

Bake at 180 degrees for 50 minutes. She always wrote "until it smells right".

Mum
`},
	{folder: "Réunions", ago: 8 * day, flags: mail.Flags{System: mail.Seen, Keywords: mail.NewKeywords("work")}, from: elodie, to: me, name: "reunion-12", subject: "Compte rendu de la réunion du 12", text: `
Bonjour à tous,

trois décisions :
 – la maquette est validée ;
 – le budget reste à 12 000 € ;
 – prochaine réunion mardi à 9 h 30, à l'étage.

Élodie
`},
	{folder: "Sent", ago: 2*day - 2*hour, flags: read, from: me, to: juerg, name: "zermatt-2", answers: "zermatt", subject: "Re: Grüße aus Zermatt", text: `
Lieber Jürg,

> kommt ihr?

und wie! Wir nehmen den Nachtzug und sind am 3. mittags da.

Alice
`},
	{folder: "Drafts", ago: 20 * hour, flags: mail.Flags{System: mail.Draft | mail.Seen}, from: me, to: roofer, name: "roof-draft", answers: "roof-1 roof-2 roof-3", subject: "Re: Roof repair, three offers", text: `
Dear Ms Dahl,

please go ahead. One question about the scaffold:
`},
	{folder: "Trash", ago: 7 * day, flags: read, from: shop, to: me, name: "deals-1", subject: "Last chance!! 80% off EVERYTHING", text: `
Only today. Only for you. Only everything.
`},
}

// ticketPDF is a PDF of one page, which viewers take as it is.
const ticketPDF = `%PDF-1.4
1 0 obj <</Type/Catalog/Pages 2 0 R>> endobj
2 0 obj <</Type/Pages/Kids[3 0 R]/Count 1>> endobj
3 0 obj <</Type/Page/Parent 2 0 R/MediaBox[0 0 420 200]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>> endobj
4 0 obj <</Length 125>> stream
BT /F 18 Tf 30 150 Td (Night Rail) Tj 0 -40 Td (Hamburg 21:03 - Stockholm 09:12) Tj 0 -30 Td (Coach 23, berths 41, 42) Tj ET
endstream endobj
5 0 obj <</Type/Font/Subtype/Type1/BaseFont/Helvetica>> endobj
trailer <</Root 1 0 R>>
%%EOF
`
