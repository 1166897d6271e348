package remote

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/emersion/go-imap/v2"
	"pgregory.net/rapid"

	"mailtwin/conflict/mail"
)

func TestServerNamesBecomeFolderNames(t *testing.T) {
	for _, c := range []struct {
		server string
		delim  rune
		want   mail.Folder // "": left out
	}{
		{"INBOX", '/', "INBOX"},
		{"Lists/go", '/', "Lists/go"},
		{"Lists.go", '.', "Lists/go"},
		{`Lists\go`, '\\', "Lists/go"},
		{"inbox.sub", '.', "INBOX/sub"},
		{"Inboxes", '/', "Inboxes"},
		{"flat.name", 0, "flat.name"},
		{"Entwürfe", '/', "Entwürfe"},
		{"..", '/', ".."}, // the local side escapes it
		{"a/b", '.', "a%2Fb"},
		{"a/b.c/d", '.', "a%2Fb/c%2Fd"},
		{"a/b", 0, "a%2Fb"},
		{"a%2Fb", '/', "a%252Fb"},
		{"line\nbreak", '/', "line%0Abreak"},
		{"esc\x1b[2J", '/', "esc%1B[2J"},
		{"c1\u009b2J", '/', "c1%C2%9B2J"},
		{strings.Repeat("x", 1024), '/', mail.Folder(strings.Repeat("x", 1024))},
		{strings.Repeat("x", 1025), '/', ""},
		{"a//b", '/', ""},
		{"/a", '/', ""},
		{"a/", '/', ""},
		{"", '/', ""},
		{"nul\x00", '/', ""},
		{"\xff", '/', ""},
	} {
		got, err := folderName(c.server, c.delim)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("folderName(%q, %q) = %q, %v; want %q", c.server, c.delim, got, err, c.want)
		}
	}
}

// checkName holds what must be true of any name that a server may have.
// oneSpace is a server that has the user's own folders, without a prefix, and no others.
func oneSpace(delim rune) spaces { return spaces{{delim: delim, own: true, wanted: true}} }

func checkName(t interface{ Fatalf(string, ...any) }, server string, delim rune) {
	name, err := folderName(server, delim)
	if err != nil {
		return
	}
	if strings.ContainsFunc(string(name), unicode.IsControl) || slices.Contains(name.Parts(), "") {
		t.Fatalf("%q is called %q", server, name)
	}
	d := newDirectory(nil, oneSpace(delim))
	first, _, _ := strings.Cut(server, string(delim))
	back, err := d.server(name)
	if err != nil || back != server && !(strings.EqualFold(first, "inbox") && strings.EqualFold(back, server)) {
		t.Fatalf("%q, by way of %q, becomes %q, %v", server, name, back, err)
	}
}

var delims = []rune{0, '/', '.', '\\', '|'}

func TestNamesAreReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		server := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-cIiNnBbOoXx/.%2F\n]{0,12}`)).Draw(t, "server")
		checkName(t, server, rapid.SampledFrom(delims).Draw(t, "delim"))
	})
}

func FuzzFolderName(f *testing.F) {
	f.Add("Lists/go", uint8(1))
	f.Add("inbox.sub", uint8(2))
	f.Add("", uint8(0))
	f.Add("a%2Fb/c", uint8(2))
	f.Fuzz(func(t *testing.T, server string, delim uint8) {
		checkName(t, server, delims[int(delim)%len(delims)])
	})
}

func TestFoldersAreRenamed(t *testing.T) {
	renamed := map[mail.Folder]mail.Folder{
		"[Gmail]/All Mail": "Archive", "[Gmail]": "Google", "Old": "New", "New": "Old", "x": "Deep/er", "INBOX/Sent": "Sent",
	}
	for theirs, ours := range map[mail.Folder]mail.Folder{
		"[Gmail]/All Mail":      "Archive",
		"[Gmail]/All Mail/2026": "Archive/2026",
		"[Gmail]/All Mailings":  "Google/All Mailings",
		"[Gmail]":               "Google",
		"Old":                   "New",
		"New/y":                 "Old/y",
		"x/y":                   "Deep/er/y",
		"INBOX/Sent":            "Sent",
		"INBOX":                 "INBOX",
		"Deep":                  "Deep",
	} {
		if got := rename(theirs, renamed); got != ours {
			t.Errorf("%q is renamed to %q, want %q", theirs, got, ours)
		}
		if got, ok := original(ours, renamed); !ok || got != theirs {
			t.Errorf("%q was %q, %v, want %q", ours, got, ok, theirs)
		}
	}
	for _, none := range []mail.Folder{"[Gmail]", "[Gmail]/Drafts", "x", "INBOX/Sent"} {
		if got, ok := original(none, renamed); ok {
			t.Errorf("%q was %q, and no folder can get that name", none, got)
		}
	}
}

// Whatever is renamed to whatever, each local name has one folder at most, and one
// that is listed is found again.
func TestRenamingIsReversible(t *testing.T) {
	name := rapid.Custom(func(t *rapid.T) mail.Folder {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3).Draw(t, "parts")
		return mail.NewFolder(parts...)
	})
	rapid.Check(t, func(t *rapid.T) {
		renamed := make(map[mail.Folder]mail.Folder)
		for _, to := range rapid.SliceOfNDistinct(name, 0, 3, rapid.ID).Draw(t, "to") {
			renamed[name.Draw(t, "from")] = to
		}
		d := newDirectory(renamed, oneSpace('.'))
		var list []*imap.ListData
		for _, n := range rapid.SliceOfNDistinct(name, 0, 6, rapid.ID).Draw(t, "list") {
			list = append(list, &imap.ListData{Mailbox: strings.ReplaceAll(string(n), "/", "."), Delim: '.'})
		}
		read := d.read(list)
		if len(read.Folders)+len(read.Notices) != len(list) {
			t.Fatalf("%d folders and %d notices of %d", len(read.Folders), len(read.Notices), len(list))
		}
		taken := make(map[string]bool)
		for _, f := range read.Folders {
			server, err := d.server(f.Name)
			if err != nil || taken[server] {
				t.Fatalf("%q is the server's %q, %v", f.Name, server, err)
			}
			taken[server] = true
		}
		// A folder that is to be made is listed under its name afterwards.
		made := name.Draw(t, "made")
		server, err := d.server(made)
		if err != nil {
			return
		}
		fresh := newDirectory(renamed, oneSpace('.'))
		fresh.read([]*imap.ListData{{Mailbox: server, Delim: '.'}})
		if _, ok := fresh.names[made]; !ok {
			t.Fatalf("%q is made as %q, which is %v", made, server, fresh.names)
		}
	})
}

// Of two folders that would get one name, always the same one does.
func TestTwoFoldersAreNotMixed(t *testing.T) {
	for _, c := range []struct {
		list  []string
		delim rune
		want  string // of the one that is taken
		name  mail.Folder
	}{
		{[]string{"INBOX.a", "inbox.a", "Inbox.a"}, '.', "INBOX.a", "INBOX/a"},
		{[]string{"Old", "Archive"}, '/', "Old", "Archive"},
	} {
		for range c.list {
			c.list = append(c.list[1:], c.list[0])
			d := newDirectory(map[mail.Folder]mail.Folder{"Old": "Archive"}, oneSpace(c.delim))
			var list []*imap.ListData
			for _, n := range c.list {
				list = append(list, &imap.ListData{Mailbox: n, Delim: c.delim})
			}
			out := d.read(list)
			if len(out.Folders) != 1 || len(out.Notices) != len(list)-1 || d.names[c.name] != c.want {
				t.Errorf("of %q %v are taken, and left out %v", c.list, d.names, out.Notices)
			}
		}
	}
}

func TestWhatTheServerCannotCall(t *testing.T) {
	for _, c := range []struct {
		folder mail.Folder
		delim  rune
	}{
		{"a/b", 0}, {"a.b", '.'}, {"a%2Fb", '/'}, {"a%00b", '/'}, {"a//b", '/'}, {"\xff", '/'}, {"Old", '/'},
		{mail.Folder(strings.Repeat("x", 1025)), '/'},
	} {
		d := newDirectory(map[mail.Folder]mail.Folder{"Old": "New"}, oneSpace(c.delim))
		if name, err := d.server(c.folder); !errors.Is(err, mail.ErrRefused) {
			t.Errorf("%q with delimiter %q is the server's %q, %v", c.folder, c.delim, name, err)
		}
	}
}

// What is announced is known by the name that a listing gives it, also where that has not seen it.
func TestAnnouncedNamesAreThoseOfTheListing(t *testing.T) {
	n := spaces{{prefix: "INBOX.Shared.", delim: '.'}, {prefix: "INBOX.", delim: '.', own: true, wanted: true}}
	d := newDirectory(map[mail.Folder]mail.Folder{"Archive": "Old"}, n)
	for server, want := range map[string]mail.Folder{
		"inbox": "INBOX", "INBOX.Lists.go": "Lists/go", "INBOX.Archive.2026": "Old/2026",
		"INBOX.Shared.team": "", "INBOX.a..b": "", "": "", "\xff": "",
	} {
		if got, known := d.folder(server); known != (want != "") || known && got != want {
			t.Errorf("%q is %q, %v, want %q", server, got, known, want)
		}
	}
}
