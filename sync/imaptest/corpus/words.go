package corpus

import (
	"strings"

	"mailtwin/conflict/mail"
)

type person struct{ name, mail string }

var people = []person{
	{"Alice Brandt", "alice@example.org"}, {"Lena Hoffmann", "lena@example.net"},
	{"Tom Okafor", "tom.okafor@example.com"}, {"Priya Nair", "priya@example.com"},
	{"Marek Wilk", "marek@example.net"}, {"Sofia Rossi", "sofia.rossi@example.org"},
	{"Daniel Reyes", "dreyes@example.com"}, {"Ingrid Dahl", "ingrid@example.net"},
}

var foreigners = []person{
	{"Jürg Müller", "juerg@example.net"}, {"Łukasz Żak", "lukasz@example.net"},
	{"山田 花子", "hanako@example.org"}, {"Élodie Lefèvre", "elodie@example.com"},
	{"Мария Орлова", "maria@example.org"},
}

var foreign = []string{"Grüße aus Zürich:", "Réunion de mardi:", "来週の打ち合わせ", "Привет!", "Żółw —"}

var hosts = []string{"example.org", "example.net", "example.com", "mail.example.org", "lists.example.net"}

var vocabulary = strings.Fields(`the a meeting report on about budget for garden roof train tickets
	weekend server update before after please find attached draft review next week morning lunch
	invoice payment number order delivery address photo holiday plan question answer version patch
	test build branch release notes minutes list of items we should talk again soon thanks regards
	with from to and or not yet already later today tomorrow project customer offer price window`)

// bulkKinds has each kind as often as mail has it, roughly.
var bulkKinds = []Kind{
	Plain, Plain, Plain, HTML, HTML, HTML, HTML, Attachment, Foreign, EightBit, Latin, Reply, Reply, Reply, List, List,
}

var bulkFlags = []mail.Flags{
	{}, {System: mail.Seen}, {System: mail.Seen}, {System: mail.Seen}, {System: mail.Seen},
	{System: mail.Seen | mail.Answered}, {System: mail.Seen | mail.Answered}, {System: mail.Flagged},
	{System: mail.Seen | mail.Flagged}, {System: mail.Seen | mail.Forwarded},
	{System: mail.Seen, Keywords: mail.NewKeywords("work")}, {Keywords: mail.NewKeywords("$Junk", "later")},
}

var folderNames = []mail.Folder{
	mail.Inbox, "Archive", "Sent", "Lists/go", "Lists/mutt", "Family & Friends", "Entwürfe", "Réunions",
	"Work", "Work/Invoices", "Work/Travel 2023", "日本語", "Archive/2022", "Archive/2023", "a b c",
}
