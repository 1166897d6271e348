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

func listOf(t *testing.T, a *Account) (map[mail.Folder]mail.RemoteFolder, []mail.Notice) {
	t.Helper()
	list, err := a.Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[mail.Folder]mail.RemoteFolder)
	for _, f := range list.Folders {
		out[f.Name] = f
	}
	return out, list.Notices
}

func TestFoldersAreSortedOut(t *testing.T) {
	const status = "(MESSAGES 3 UIDNEXT 9 UIDVALIDITY 7 HIGHESTMODSEQ 12)"
	var asked []string
	a := open(t, scripted(t, func(s *script) {
		s.login("CONDSTORE LIST-EXTENDED LIST-STATUS SPECIAL-USE")
		for {
			tag, command := s.hear()
			asked = append(asked, command)
			switch {
			case strings.HasPrefix(command, "LIST"):
				s.say(
					`* LIST () "." inbox`, `* STATUS INBOX `+status,
					`* LIST (\Noselect \HasChildren) "." "Lists"`,
					`* LIST (\HasNoChildren \Trash) "." "Papierkorb"`, `* STATUS Papierkorb `+status,
					`* LIST (\sent) "." "Sent"`, // its STATUS is held back
					`* LIST () "." "a..b"`, `* STATUS "a..b" `+status,
					`* LIST () "." "Inbox.sub"`, `* STATUS Inbox.sub `+status,
					`* LIST () "." "INBOX.sub"`, `* STATUS INBOX.sub `+status,
					tag+" OK")
			case strings.HasPrefix(command, "STATUS"):
				s.say(tag + " NO not now")
			default:
				s.say(tag + " OK")
			}
		}
	}))
	got, notices := listOf(t, a)
	full := mail.Cursor{UIDValidity: 7, UIDNext: 9, HighestModSeq: 12, Messages: 3}
	for _, want := range []mail.RemoteFolder{
		{Name: "INBOX", Role: mail.RoleInbox, Status: full},
		{Name: "Lists", NoSelect: true},
		{Name: "Papierkorb", Role: mail.RoleTrash, Status: full},
		{Name: "Sent", Role: mail.RoleSent},
		{Name: "INBOX/sub", Status: full},
	} {
		if got[want.Name] != want {
			t.Errorf("%s is %+v, want %+v", want.Name, got[want.Name], want)
		}
	}
	if len(got) != 5 || len(notices) != 2 || notices[0].Folder != "a..b" || notices[1].Folder != "Inbox.sub" {
		t.Errorf("%d folders, notices %v", len(got), notices)
	}
	if len(asked) != 2 || !strings.HasPrefix(asked[1], "STATUS Sent ") && !strings.HasPrefix(asked[1], `STATUS "Sent" `) {
		t.Errorf("the client said %q", asked)
	}
	if !strings.Contains(asked[0], "SPECIAL-USE") || !strings.Contains(asked[0], "HIGHESTMODSEQ") {
		t.Errorf("the client said %q", asked[0])
	}
}

// A name that nobody can read costs its own folder, and nothing else.
func TestANameThatCannotBeDecodedIsLeftOut(t *testing.T) {
	a := open(t, scripted(t, func(s *script) {
		s.login("CONDSTORE LIST-EXTENDED LIST-STATUS")
		for {
			tag, command := s.hear()
			if strings.HasPrefix(command, "LIST") {
				s.say(`* LIST () "." INBOX`, `* STATUS INBOX (MESSAGES 0 UIDNEXT 9 UIDVALIDITY 7 HIGHESTMODSEQ 12)`,
					`* LIST () "." "bro&ken"`, `* STATUS "bro&ken" (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 7 HIGHESTMODSEQ 12)`,
					`* LIST () "." "caf`+"\xe9"+`"`, `* LIST () "." "nul&AAA-"`, `* LIST () "." "&AAo-"`,
					`* STATUS "&AAo-" (MESSAGES 0 UIDNEXT 9 UIDVALIDITY 7 HIGHESTMODSEQ 12)`)
			}
			s.say(tag + " OK")
		}
	}))
	got, notices := listOf(t, a)
	if _, ok := got["%0A"]; len(got) != 2 || !ok || len(notices) < 3 {
		t.Errorf("the folders are %+v, and left out %v", got, notices)
	}
	for _, n := range notices {
		if strings.ContainsFunc(n.Text+string(n.Folder), unicode.IsControl) {
			t.Errorf("a notice holds a control character: %q", n)
		}
	}
}

func TestFoldersOfAServerWithoutExtensions(t *testing.T) {
	a := open(t, scripted(t, serve("", map[string]string{
		`LIST "" `:         "* LIST () \"/\" INBOX\r\n* LIST () NIL Other\r\n* LIST () NIL Third\r\nTAG OK",
		"STATUS INBOX ":    "* STATUS INBOX (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 7)\r\nTAG OK",
		"STATUS \"Other\"": "* STATUS Other (UIDNEXT 9)\r\nTAG OK",
		"STATUS \"Third\"": "TAG NO [NOPERM] not yours",
	})))
	got, notices := listOf(t, a)
	if got["INBOX"].Status != (mail.Cursor{UIDValidity: 7, UIDNext: 9, Messages: 3}) {
		t.Errorf("INBOX is %+v", got["INBOX"])
	}
	if got["Other"] != (mail.RemoteFolder{Name: "Other"}) || got["Third"] != (mail.RemoteFolder{Name: "Third", NoSelect: true}) || len(got) != 3 {
		t.Errorf("the folders are %+v", got)
	}
	if len(notices) != 1 || notices[0].Folder != "Third" {
		t.Errorf("notices are %v", notices)
	}
}

func TestAServerThatOffersAListingThatItRefuses(t *testing.T) {
	var asked []string
	a := open(t, scripted(t, func(s *script) {
		s.login("LIST-STATUS SPECIAL-USE")
		for {
			tag, command := s.hear()
			asked = append(asked, command)
			switch {
			case strings.Contains(command, "RETURN"):
				s.say(tag + " BAD what is that?")
			case strings.HasPrefix(command, "LIST"):
				s.say(`* LIST () "/" INBOX`, tag+" OK")
			case strings.HasPrefix(command, "STATUS"):
				s.say("* STATUS INBOX (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 7)", tag+" OK")
			default:
				s.say(tag + " OK")
			}
		}
	}))
	for range 2 {
		got, notices := listOf(t, a)
		if got["INBOX"].Status != (mail.Cursor{UIDValidity: 7, UIDNext: 9, Messages: 3}) || len(notices) != 0 {
			t.Errorf("INBOX is %+v, notices %v", got["INBOX"], notices)
		}
	}
	if len(asked) != 5 { // it is not asked for that again
		t.Errorf("the client said %q", asked)
	}
}

func TestSubscriptionsFollowWhatWeMakeAndDelete(t *testing.T) {
	var heard []string
	a := open(t, scripted(t, func(s *script) {
		s.login("NAMESPACE")
		for {
			tag, command := s.hear()
			verb, _, _ := strings.Cut(command, " ")
			switch verb {
			case "LIST":
				s.say(`* LIST () "." INBOX`)
			case "NAMESPACE":
				s.say(`* NAMESPACE (("INBOX." ".")) NIL NIL`)
			case "CREATE", "SUBSCRIBE", "DELETE", "UNSUBSCRIBE":
				heard = append(heard, strings.ReplaceAll(command, `"`, ""))
			}
			switch {
			case strings.HasSuffix(verb, "SUBSCRIBE"):
				s.say(tag + " NO there are no subscriptions") // which is no failure
			case strings.HasSuffix(command, `There"`), strings.HasSuffix(command, "There"):
				s.say(tag + " NO [ALREADYEXISTS] it is there, and stays")
			default:
				s.say(tag + " OK")
			}
		}
	}))
	if err := a.CreateFolder(t.Context(), "Lists/go"); err != nil {
		t.Fatal(err)
	}
	if err := a.DeleteFolder(t.Context(), "Lists/go"); err != nil {
		t.Fatal(err)
	}
	// Those that exist are left as they are.
	if a.CreateFolder(t.Context(), "There") == nil || a.DeleteFolder(t.Context(), "There") == nil {
		t.Error("what was refused was done")
	}
	if want := []string{"CREATE INBOX.Lists.go", "SUBSCRIBE INBOX.Lists.go", "DELETE INBOX.Lists.go", "UNSUBSCRIBE INBOX.Lists.go",
		"CREATE INBOX.There", "DELETE INBOX.There"}; !slices.Equal(heard, want) {
		t.Errorf("the client said %q", heard)
	}
}

func TestTheServersOwnNamesAreUsed(t *testing.T) {
	var heard []string
	a := open(t, scripted(t, func(s *script) {
		s.login("UIDPLUS")
		for {
			tag, command := s.hear()
			switch {
			case strings.HasPrefix(command, `LIST "" "*"`):
				s.say(`* LIST () "." INBOX`, `* LIST () "." "Inbox.Entw&APw-rfe"`)
			case strings.HasPrefix(command, "SELECT"), strings.HasPrefix(command, "CREATE"), strings.HasPrefix(command, "DELETE"):
				heard = append(heard, command)
				if strings.HasPrefix(command, "SELECT") {
					s.raw(strings.ReplaceAll(selected(0, 1, 0), "TAG OK [READ-WRITE] done", ""))
				}
			}
			s.say(tag + " OK")
		}
	}))
	scanFolder(t, a, "INBOX/Entwürfe", mail.Cursor{}, 0)
	if err := a.CreateFolder(t.Context(), "A & B/c"); err != nil {
		t.Error(err)
	}
	if err := a.DeleteFolder(t.Context(), "A & B/c"); err != nil {
		t.Error(err)
	}
	if err := a.CreateFolder(t.Context(), "with.dot"); !errors.Is(err, mail.ErrRefused) {
		t.Errorf("a name with the delimiter in it gives %v", err)
	}
	want := []string{`SELECT "Inbox.Entw&APw-rfe"`, `CREATE "A &- B.c"`, `DELETE "A &- B.c"`}
	if strings.Join(heard, "\n") != strings.Join(want, "\n") {
		t.Errorf("the client said %q, want %q", heard, want)
	}
}

func TestAFolderThatIsNotThere(t *testing.T) {
	a := open(t, scripted(t, serve("UIDPLUS", map[string]string{
		"SELECT":          "TAG NO [NONEXISTENT] what folder?",
		"APPEND":          "TAG NO [TRYCREATE] what folder?",
		"DELETE":          "TAG NO what folder?",
		"CREATE":          "TAG NO you have it",
		`LIST "" "There"`: "* LIST () \"/\" There\r\nTAG OK",
		`LIST "" "Gone"`:  "TAG OK",
	})))
	if _, err := a.Scan(t.Context(), "Gone", mail.Cursor{}, 0, nil); !errors.Is(err, mail.ErrGone) || !errors.Is(err, mail.ErrRefused) {
		t.Errorf("scan gives %v", err)
	}
	if err := a.DeleteFolder(t.Context(), "Gone"); !errors.Is(err, mail.ErrGone) {
		t.Errorf("delete gives %v", err)
	}
	if err := a.DeleteFolder(t.Context(), "There"); !errors.Is(err, mail.ErrRefused) || errors.Is(err, mail.ErrGone) {
		t.Errorf("deleting what cannot be deleted gives %v", err)
	}
	if err := a.CreateFolder(t.Context(), "There"); !errors.Is(err, mail.ErrExists) {
		t.Errorf("create gives %v", err)
	}
	if err := a.CreateFolder(t.Context(), "Gone"); !errors.Is(err, mail.ErrRefused) || errors.Is(err, mail.ErrExists) {
		t.Errorf("creating what cannot be created gives %v", err)
	}
}

func TestOnlyAtomsAreSentAsKeywords(t *testing.T) {
	for word, want := range map[string]bool{
		"work": true, "$Junk": true, "a.b-c_d+e=f[g": true, "NonJunk": true,
		"": false, "a b": false, "a(b": false, "a)": false, "a{1}": false, "a%": false, "a*": false,
		`a"`: false, `a\b`: false, "a]": false, "ü": false, "a\x7f": false, "a\r\nb": false,
	} {
		if got := isAtom(word); got != want {
			t.Errorf("isAtom(%q) = %v", word, got)
		}
	}
}

func TestUIDSetsGoThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s mail.UIDSet
		for range rapid.IntRange(0, 10).Draw(t, "ranges") {
			first := rapid.Uint32Range(1, 1<<32-1).Draw(t, "first")
			s.AddRange(mail.UIDRange{First: mail.UID(first), Last: mail.UID(rapid.Uint32Range(first, 1<<32-1).Draw(t, "last"))})
		}
		there := toIMAP(s)
		if back := fromIMAP(there); back.String() != s.String() || there.String() != s.String() {
			t.Fatalf("%s becomes %s, and %s", s, there, back)
		}
	})
}

func TestOneUIDOfASet(t *testing.T) {
	for want, s := range map[mail.UID]imap.UIDSet{
		7: {{Start: 7, Stop: 7}}, 0: {{Start: 7, Stop: 8}},
	} {
		if got := only(s); got != want {
			t.Errorf("only(%v) = %d", s, got)
		}
	}
	if only(nil) != 0 || only(imap.UIDSet{{Start: 1, Stop: 1}, {Start: 3, Stop: 3}}) != 0 {
		t.Error("a set of none or two has one")
	}
}

// RFC 9051, 6.3.6, leaves subscriptions to the client: they follow, for what lies inside
// as well, and nothing else is subscribed.
func TestARenamedFolderStaysSubscribed(t *testing.T) {
	var heard []string
	a := open(t, scripted(t, func(s *script) {
		s.login("LIST-EXTENDED")
		for {
			tag, command := s.hear()
			verb, _, _ := strings.Cut(command, " ")
			switch {
			case strings.Contains(command, "SUBSCRIBED"):
				s.say(`* LIST (\Subscribed) "/" Work`)
				s.say(`* LIST (\Subscribed) "/" Work/in`)
				s.say(`* LIST (\Subscribed) "/" Workshop`)
			case verb == "LIST":
				s.say(`* LIST () "/" INBOX`)
				s.say(`* LIST () "/" Work`)
			case verb == "RENAME", strings.HasSuffix(verb, "SUBSCRIBE"):
				heard = append(heard, strings.ReplaceAll(command, `"`, ""))
			}
			s.say(tag + " OK")
		}
	}))
	if err := a.RenameFolder(t.Context(), "Work", "Lists/Play"); err != nil {
		t.Fatal(err)
	}
	want := []string{"RENAME Work Lists/Play", "SUBSCRIBE Lists/Play", "UNSUBSCRIBE Work",
		"SUBSCRIBE Lists/Play/in", "UNSUBSCRIBE Work/in"}
	if !slices.Equal(heard, want) {
		t.Errorf("the client said %q", heard)
	}
}
