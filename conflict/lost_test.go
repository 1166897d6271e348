package conflict

import (
	"testing"

	"mailtwin/conflict/mail"
)

func TestLossByMarker(t *testing.T) {
	base := mail.Marker{Account: "alice", Folder: "x", Generation: 5}
	at := func(folder string, generation int64) mail.Marker {
		return mail.Marker{Account: "alice", Folder: folder, Generation: generation}
	}
	for name, c := range map[string]struct {
		base, now mail.Marker
		want      Loss
	}{
		"as it was":                    {base, base, NoLoss},
		"never marked":                 {want: NoLoss},
		"a crash before the commit":    {base, at("x", 6), NoLoss},
		"a crash, never marked before": {mail.Marker{}, at("x", 1), NoLoss},
		"newer than base":              {base, at("x", 7), StateOld},
		"marked since":                 {mail.Marker{}, at("x", 2), StateOld},
		"older than base":              {base, at("x", 4), MaildirOld},
		"another one":                  {base, at("y", 5), MaildirOther},
		"another account's":            {base, mail.Marker{Account: "bob", Folder: "x", Generation: 5}, MaildirOther},
		"no marker any more":           {base, mail.Marker{}, MaildirOther},
	} {
		if got := LossByMarker(c.base, c.now); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestLossByCursor(t *testing.T) {
	since := mail.Cursor{UIDValidity: 7, UIDNext: 10, HighestModSeq: 100, Messages: 5}
	for name, c := range map[string]struct {
		since, now mail.Cursor
		want       Loss
	}{
		"nothing happened":        {since, since, NoLoss},
		"all is gone":             {since, mail.Cursor{UIDValidity: 7, UIDNext: 10, HighestModSeq: 105}, NoLoss},
		"never read":              {mail.Cursor{}, since, NoLoss},
		"no mod-sequences now":    {since, mail.Cursor{UIDValidity: 7, UIDNext: 10, Messages: 5}, NoLoss},
		"no UIDNEXT now":          {since, mail.Cursor{UIDValidity: 7, HighestModSeq: 100, Messages: 5}, NoLoss},
		"UIDNEXT goes back":       {since, mail.Cursor{UIDValidity: 7, UIDNext: 9, HighestModSeq: 100}, ServerOld},
		"HIGHESTMODSEQ goes back": {since, mail.Cursor{UIDValidity: 7, UIDNext: 12, HighestModSeq: 99}, ServerOld},
		"another UIDVALIDITY":     {since, mail.Cursor{UIDValidity: 8, UIDNext: 9, HighestModSeq: 99}, Renumbered},
	} {
		if got := LossByCursor(c.since, c.now); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
