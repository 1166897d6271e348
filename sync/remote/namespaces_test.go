package remote

import (
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
)

// namespace makes one as the server tells of it.
func namespace(prefix string, delim rune) []imap.NamespaceDescriptor {
	return []imap.NamespaceDescriptor{{Prefix: prefix, Delim: delim}}
}

func TestNamesInNamespaces(t *testing.T) {
	inbox := &imap.NamespaceData{
		Personal: namespace("INBOX.", '.'), Other: namespace("user.", '.'), Shared: namespace("", '.'),
	}
	plain := &imap.NamespaceData{
		Personal: namespace("", '/'), Other: namespace("Other Users/", '/'), Shared: namespace("&ANY-ffentlich/", '/'),
	}
	all := []string{Personal, Other, Shared}
	for _, c := range []struct {
		server string
		data   *imap.NamespaceData
		wanted []string
		want   mail.Folder // "": not listed, or not with that name
		back   string      // where it would be made, if not at server
	}{
		{"INBOX", inbox, nil, "INBOX", ""},
		{"inbox", inbox, nil, "INBOX", "INBOX"},
		{"INBOX.Sent", inbox, nil, "Sent", ""},
		{"Inbox.Sent", inbox, nil, "Sent", "INBOX.Sent"},
		{"INBOX.Lists.go", inbox, nil, "Lists/go", ""},
		{"INBOX.INBOX.sub", inbox, nil, "INBOX/sub", ""},
		{"INBOX.INBOX", inbox, nil, "", ""}, // it is not INBOX
		{"INBOX.", inbox, nil, "", ""},
		{"user.bob", inbox, nil, "", ""},
		{"user.bob.Sent", inbox, all, "user/bob/Sent", ""},
		{"bulletin", inbox, nil, "", ""},
		{"bulletin", inbox, all, "bulletin", "INBOX.bulletin"},

		{"INBOX/sub", plain, nil, "INBOX/sub", ""},
		{"Sent", plain, nil, "Sent", ""},
		{"Other Users", plain, nil, "", ""},
		{"Other Users/bob", plain, nil, "", ""},
		{"Other Users/bob", plain, []string{Personal, Other}, "Other Users/bob", ""},
		{"Other Users and I", plain, nil, "Other Users and I", ""},
		{"Öffentlich/news", plain, nil, "", ""},
		{"Öffentlich/news", plain, []string{Shared}, "Öffentlich/news", ""},
		{"Sent", plain, []string{Shared}, "", ""},

		// Nothing is told, or nothing that can be used.
		{"INBOX.Sent", &imap.NamespaceData{}, nil, "INBOX/Sent", ""},
		{"INBOXSent", &imap.NamespaceData{Personal: namespace("INBOX", '.')}, nil, "INBOXSent", ""},
		// Prefixes need not have the delimiter of the others.
		{"#shared.news", &imap.NamespaceData{Personal: namespace("", '/'), Shared: namespace("#shared.", '.')}, all, "#shared/news", ""},
	} {
		spaces := (&Options{Namespaces: c.wanted}).readSpaces(c.data)
		delim := '.'
		if spaces.own().delim == '/' && !strings.HasPrefix(c.server, "#") {
			delim = '/'
		}
		if spaces.own().delim == 0 {
			spaces = spaces.parted(delim)
		}
		space := spaces.of(c.server)
		var got mail.Folder
		if space.wanted {
			got, _ = space.folder(c.server, delim) // "" where it cannot be
		}
		if got != c.want {
			t.Errorf("%q becomes %q, want %q", c.server, got, c.want)
			continue
		}
		if got == "" {
			continue
		}
		prefix, delim := spaces.place(got)
		want := c.back
		if want == "" {
			want = c.server
		}
		if back := prefix + strings.Join(got.Parts(), string(delim)); back != want {
			t.Errorf("%q would be made as %q, want %q", got, back, want)
		}
	}
}

func TestPrefixesAreDecoded(t *testing.T) {
	for encoded, want := range map[string]string{
		"": "", "plain/": "plain/", "&-": "&", "&ANY-ffentlich": "Öffentlich", "a&2D3cYA-b&-": "a\U0001F460b&",
	} {
		if got, ok := decodeName(encoded); !ok || got != want {
			t.Errorf("%q becomes %q, %v", encoded, got, ok)
		}
	}
	for _, odd := range []string{"&", "&ANY", "&A-", "&AN\x00Y-", "&====-"} {
		if got, ok := decodeName(odd); ok {
			t.Errorf("%q becomes %q", odd, got)
		}
	}
}

func FuzzNamespaces(f *testing.F) {
	f.Add("INBOX.", "user.", "", "INBOX.Sent")
	f.Add("", "Other Users/", "&ANY-/", "Other Users/bob")
	f.Fuzz(func(t *testing.T, personal, other, shared, mailbox string) {
		for _, delim := range []rune{0, '.', '/'} {
			spaces := (&Options{Namespaces: []string{Personal, Other, Shared}}).readSpaces(&imap.NamespaceData{
				Personal: namespace(personal, delim), Other: namespace(other, delim), Shared: namespace(shared, delim),
			})
			name, err := spaces.of(mailbox).folder(mailbox, delim)
			if err == nil && name == mail.Inbox && !strings.EqualFold(mailbox, "INBOX") {
				t.Errorf("%q is taken for INBOX", mailbox)
			}
			if err == nil {
				spaces.place(name)
			}
		}
	})
}

// divided is a server with three namespaces, which shows only one unless asked, and
// what it heard.
func divided(t *testing.T, heard *[]string, wanted ...string) *Account {
	opts := scripted(t, func(s *script) {
		s.login("NAMESPACE LIST-STATUS")
		for first := true; ; first = false {
			tag, command := s.hear()
			*heard = append(*heard, command)
			behind := ""
			if first { // both questions come before there is an answer
				var next string
				behind, next = s.hear()
				*heard = append(*heard, next)
			}
			const status = " (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 7)"
			switch {
			case strings.HasPrefix(command, `LIST "" "*"`):
				s.say(`* LIST () "." INBOX`, `* STATUS INBOX`+status, `* LIST (\Trash) "." INBOX.Bin`, `* STATUS INBOX.Bin`+status,
					`* LIST (\Noselect) "/" Public`, `* LIST () "/" Public/news`, `* STATUS Public/news`+status)
			case strings.HasPrefix(command, `LIST "" "Public/*"`):
				s.say(`* LIST () "/" Public/news`, `* STATUS Public/news`+status, `* LIST (\Trash) "/" Public/Bin`, `* STATUS Public/Bin`+status)
			}
			s.say(tag + " OK")
			if first {
				s.say(`* NAMESPACE (("INBOX." ".")) (("~" "/")) (("Public/" "/"))`, behind+" OK")
			}
		}
	})
	opts.Namespaces = wanted
	return open(t, opts)
}

func TestOnlyPersonalFoldersAreListed(t *testing.T) {
	var heard []string
	a := divided(t, &heard)
	for range 2 {
		got, notices := listOf(t, a)
		if len(got) != 2 || got["INBOX"].Role != mail.RoleInbox || got["Bin"].Role != mail.RoleTrash || len(notices) != 0 {
			t.Errorf("the folders are %+v, notices %v", got, notices)
		}
	}
	// The namespaces are asked for once, together with the first listing.
	if len(heard) != 3 || heard[1] != "NAMESPACE" {
		t.Errorf("the client said %q", heard)
	}
	if n := a.Traffic().RoundTrips; n != 2 {
		t.Errorf("two listings took %d round trips", n)
	}
}

func TestSharedFoldersAreListedBelowTheirPrefix(t *testing.T) {
	var heard []string
	a := divided(t, &heard, Personal, Shared)
	got, notices := listOf(t, a)
	if len(notices) != 0 {
		t.Errorf("notices are %v", notices)
	}
	var names []mail.Folder
	for name := range got {
		names = append(names, name)
	}
	slices.Sort(names)
	if want := []mail.Folder{"Bin", "INBOX", "Public", "Public/Bin", "Public/news"}; !slices.Equal(names, want) {
		t.Errorf("the folders are %q", names)
	}
	if got["Bin"].Role != mail.RoleTrash || got["Public/Bin"].Role != mail.RoleNone {
		t.Errorf("Trash is %+v, and another one %+v", got["Bin"], got["Public/Bin"])
	}
	if !got["Public"].NoSelect {
		t.Errorf("Public is %+v", got["Public"])
	}
}
