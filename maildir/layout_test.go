package maildir

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mailtwin/conflict/mail"
)

var layouts = map[string]Layout{"nested": Nested, "maildir++": MaildirPlus}

// eachLayout runs a test for each layout.
func eachLayout(t *testing.T, test func(t *testing.T, layout Layout)) {
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) { test(t, layout) })
	}
}

func TestFoldersAreDirectories(t *testing.T) {
	for _, test := range []struct {
		folder       mail.Folder
		nested, plus string // "-": there is none
	}{
		{"INBOX", "INBOX", ""},
		{"INBOX/child", "INBOX/child", ".INBOX.child"},
		{"Lists/go", "Lists/go", ".Lists.go"},
		{"Sent Items", "Sent Items", ".Sent Items"},
		{"Entwürfe/日本", "Entwürfe/日本", ".Entw&APw-rfe.&ZeVnLA-"},
		{"𝄞", "𝄞", ".&2DTdHg-"},
		{"R&D", "R&D", ".R&-D"},
		{"../../etc", "%2E%2E/%2E%2E/etc", ".&AC4ALg-.&AC4ALg-.etc"},
		{"a.b/c", "a.b/c", ".a&AC4-b.c"},
		{"/etc/passwd", "%/etc/passwd", "-"},
		{"a//b", "a/%/b", "-"},
		{"\xff", "\xff", "-"},
		{"AC%2FDC/live", "AC%2FDC/live", ".AC&AC8-DC.live"}, // a "/" in a part
		{"AC%252FDC", "AC%252FDC", ".AC%2FDC"},
		{".a%0Ab", "%2Ea%0Ab", ".&AC4-a&AAo-b"},
		{"-rf", "-rf", ".-rf"},
		{"cur/new", "%63ur/%6Eew", ".cur.new"},
		{"mailtwin", "mailtwin", ".&AG0-ailtwin"},
		{"mailtwin-unfinished", "mailtwin-unfinished", ".&AG0-ailtwin-unfinished"},
		{"mailtwins", "mailtwins", ".mailtwins"},
		{"x%~0123456789abcdef0123456789abcdef", "x%25~0123456789abcdef0123456789abcdef", ".x&ACU-~0123456789abcdef0123456789abcdef"},
	} {
		for layout, want := range map[Layout]string{Nested: test.nested, MaildirPlus: test.plus} {
			names, err := layout.encode(test.folder)
			if got := strings.Join(names, "/"); err == nil && got != want || (err != nil) != (want == "-") {
				t.Errorf("layout %d has %q in %q, %v; want %q", layout, test.folder, got, err, want)
			}
			if err != nil {
				continue
			}
			if folder, ok := layout.decode(names); !ok || folder != test.folder {
				t.Errorf("layout %d has %q, %v in %q, want %q", layout, folder, ok, names, test.folder)
			}
		}
	}
	// There is one INBOX, and one spelling of each name.
	for _, dir := range []string{"inbox", "Inbox/child", ".hidden", "a/.git"} {
		if folder, ok := Nested.decode(strings.Split(dir, "/")); ok {
			t.Errorf("nested: %q is the folder %q; want none", dir, folder)
		}
	}
	for _, dir := range []string{".INBOX", ".inbox", ".inbox.x", "cur", ".", "..", ".a.", "..a", ".mailtwin", ".ü", ".&", ".&AGE-", ".&AC4", ".&AC4-&AC4-", ".a/b", ".&2DQ-"} {
		if folder, ok := MaildirPlus.decode([]string{dir}); ok {
			t.Errorf("maildir++: %q is the folder %q; want none", dir, folder)
		}
	}
}

// checkLayouts holds what must be true of any folder and of any directory.
func checkLayouts(t interface{ Fatalf(string, ...any) }, text string) {
	for name, layout := range layouts {
		folder := mail.ParseFolder(text)
		names, err := layout.encode(folder)
		if err == nil {
			for _, dir := range names {
				if dir == "" || dir == "." || dir == ".." || isShort(dir) || strings.ContainsAny(dir, "/\x00\n\x1b") ||
					!layout.visible(".", dir) || len(short(dir)) > maxEntry || !isShort(short(dir)) {
					t.Fatalf("%s: %q is in %q, and %q is no safe directory", name, folder, names, dir)
				}
			}
			if back, ok := layout.decode(names); !ok || back != folder {
				t.Fatalf("%s: %q is in %q, which is %q, %v", name, folder, names, back, ok)
			}
		}
		names = strings.Split(text, "/")
		if folder, ok := layout.decode(names); ok {
			if back, err := layout.encode(folder); err != nil || !slices.Equal(back, names) {
				t.Fatalf("%s: %q is %q, which is in %q, %v", name, names, folder, back, err)
			}
		}
	}
}

func TestFoldersAndDirectoriesAreOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkLayouts(t, strings.Join(rapid.SliceOfN(anyPart, 1, 3).Draw(t, "parts"), "/"))
	})
}

func FuzzFolders(f *testing.F) {
	for _, s := range []string{"INBOX", "a.b/c", ".a&AC4-b", "&", "%~0123456789abcdef0123456789abcdef", "mailtwin", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) { checkLayouts(t, text) })
}
