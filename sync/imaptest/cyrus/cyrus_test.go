package cyrus

import (
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

func TestItServesWhoeverLogsIn(t *testing.T) {
	s := Start(t)
	for _, user := range []string{s.User, "bob"} {
		p := s.PhoneOf(t, user)
		text := "Subject: for " + user + "\r\n\r\nHello.\r\n"
		flags := mail.Flags{System: mail.Seen, Keywords: mail.NewKeywords("work")}
		if _, err := p.Deliver(t.Context(), mail.Inbox, []byte(text), flags, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := p.CreateFolder(t.Context(), "Lists/Ämter", mail.RoleNone); err != nil {
			t.Fatal(err)
		}
		found, err := p.Messages(t.Context(), mail.Inbox)
		if err != nil || len(found) != 1 || string(found[0].Raw) != text || !found[0].Flags.Equal(flags) {
			t.Errorf("%s has %v, %v", user, found, err)
		}
		folders, err := p.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		listed := false
		for _, f := range folders {
			listed = listed || f.Name == "Lists/Ämter" && !f.NoSelect
		}
		if !listed {
			t.Errorf("%s has the folders %v", user, folders)
		}
	}
}
