package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
)

// folderLines runs `folders`, and gives each line with its columns parted by "|".
func (d *computer) folderLines(code int, args ...string) map[string]string {
	d.Helper()
	found := map[string]string{}
	for l := range strings.Lines(d.exits(code, append([]string{"folders"}, args...)...).stdout) {
		columns := strings.FieldsFunc(strings.ReplaceAll(l, "  ", "\x00"), func(r rune) bool { return r == 0 })
		for i := range columns {
			columns[i] = strings.TrimSpace(columns[i])
		}
		found[columns[0]] = strings.Join(columns, "|")
	}
	return found
}

func TestFolders(t *testing.T) {
	s := embedded(t)
	d := s.device("laptop", `folders = ["*", "!Junk", "!Lists/*", "Lists/go"]`)
	for _, f := range []mail.Folder{"Lists/go", "Lists/rust", "Lists/.odd", "Emptied", "Lost"} {
		s.check(s.phone.CreateFolder(s.Context(), f, mail.RoleNone))
	}
	s.deliver("INBOX", note("one"), none)
	s.deliver("Lost", note("two"), none)
	want := func(lines map[string]string, all ...string) {
		t.Helper()
		for _, w := range all {
			name, _, _ := strings.Cut(w, "|")
			if lines[name] != w {
				t.Errorf("%q, want %q", lines[name], w)
			}
		}
	}
	before := d.folderLines(0)
	want(before, "INBOX|inbox|INBOX|1|new: the next sync makes it here", `Junk|junk|-|0|left out: folders has "!Junk"`)
	if _, err := os.Stat(d.maildir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a look made the Maildir: %v", err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(d.config), "state")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a look made the state directory: %v", err)
	}

	d.sync()
	s.check(s.phone.CreateFolder(s.Context(), "Fresh", mail.RoleNone))
	s.deliver("Sent", note("three"), seen)
	s.check(s.phone.DeleteFolder(s.Context(), "Lost"))
	s.check(os.RemoveAll(filepath.Join(d.maildir, "Emptied")))
	d.save("Mine", "cur", "1.a.host:2,S", note("four"), then)
	d.save("Archive", "cur", "1.a.host:2,S", note("five"), then)
	want(d.folderLines(0, "alice"),
		"INBOX|inbox|INBOX|1|in step",
		"Trash|trash|Trash|0|in step",
		"Lists/go|Lists/go|0|in step",
		`Lists/rust|-|0|left out: folders has "!Lists/*"`,
		"Fresh|Fresh|0|new: the next sync makes it here",
		"Sent|sent|Sent|1|changed: on the server since the last sync",
		"Archive|archive|Archive|0|changed: here since the last sync",
		"Mine|Mine|-|only here: the next sync makes it on the server",
		"Lost|Lost|-|vanished: it is gone on the server",
		"Emptied|Emptied|0|vanished: it is gone here")

	var doc foldersReport
	if err := json.Unmarshal([]byte(d.exits(0, "folders", "--json").stdout), &doc); err != nil {
		t.Fatal(err)
	}
	acc := doc.Accounts[0]
	if len(doc.Accounts) != 1 || !acc.OK || acc.Error != nil || acc.Maildir != d.maildir || acc.Folders[0].Name != "INBOX" {
		t.Errorf("the document is %+v", doc)
	}
	for _, f := range acc.Folders {
		switch f.Name {
		case "Lists/go":
			if !f.Synced || *f.Pattern != "Lists/go" || *f.Directory != filepath.Join(d.maildir, "Lists/go") || *f.Messages != 0 || f.State != "in_step" || f.Why != nil {
				t.Errorf("%+v", f)
			}
		case "Lists/rust":
			if f.Synced || *f.Pattern != "!Lists/*" || f.Directory != nil || f.State != "left_out" {
				t.Errorf("%+v", f)
			}
		}
	}
}

func TestFoldersOfAServerThatIsNotThere(t *testing.T) {
	b := newBench(t, "alice")
	b.app.rooms.open = nil
	b.add("port = 1\ntls = \"none\"\nallow_plaintext = true")
	b.write(strings.Replace(b.config(), "imap.example.org", "127.0.0.1", 1))
	if code := b.app.Run(t.Context(), []string{"--config", b.dir + "/config.toml", "folders", "--json"}); code != 75 {
		t.Errorf("exit code %d", code)
	}
	var doc foldersReport
	if err := json.Unmarshal([]byte(b.stdout.String()), &doc); err != nil || len(doc.Accounts) != 1 || doc.Accounts[0].OK || doc.Accounts[0].Error == nil {
		t.Errorf("the document is %+v, %v", doc, err)
	}
	if got := b.stderr.String(); !strings.HasPrefix(got, "mailtwin: alice: list the folders on the server: ") || !strings.HasSuffix(got, ": the next sync tries again\n") {
		t.Errorf("stderr: %q", got)
	}
	b.run(t.Context(), "folders carol", 2, "", "mailtwin: DIR/config.toml has no account \"carol\", only alice\n")
}

func TestStatesOfFolders(t *testing.T) {
	acc := config.Defaults()
	acc.Maildir = "/mail"
	cursor := mail.Cursor{UIDValidity: 1, UIDNext: 2, Messages: 1}
	stamp := mail.Stamp{Folder: 1}
	both := mail.FolderBase{ID: 1, OnLocal: true, OnRemote: true, Remote: cursor, Local: stamp}
	server := mail.RemoteFolder{Name: "Work", Status: cursor}
	disk := mail.LocalFolder{Name: "Work", Stamp: stamp}
	for name, c := range map[string]struct {
		remote  mail.RemoteFolder
		local   mail.LocalFolder
		base    mail.FolderBase
		change  func(*sight)
		state   string
		why     string
		noPlace bool
	}{
		"equal":             {server, disk, both, nil, "in_step", "", false},
		"changed on both":   {mail.RemoteFolder{Name: "Work", Status: mail.Cursor{UIDNext: 9}}, mail.LocalFolder{Name: "Work"}, both, nil, "changed", "on both sides since the last sync", false},
		"messages wait":     {server, disk, both, func(s *sight) { s.waiting = map[mail.FolderID]int{1: 2} }, "changed", "2 messages not in step, see mailtwin status", false},
		"had a problem":     {server, disk, mail.FolderBase{ID: 1, OnLocal: true, OnRemote: true, Problem: "bad \x1b[m"}, nil, "changed", "bad [m", false},
		"on both, unsynced": {server, disk, mail.FolderBase{}, nil, "new", "it was not synced yet", false},
		"a container":       {mail.RemoteFolder{Name: "Work", NoSelect: true}, mail.LocalFolder{}, mail.FolderBase{}, nil, "left_out", "it holds no messages, only folders", true},
		"not to be made here": {server, mail.LocalFolder{}, mail.FolderBase{}, func(s *sight) { s.account.CreateFolders = config.Sides{Remote: true} },
			"left_out", "it is only on the server, and create_folders does not let it be made here", false},
		"not to be made there": {mail.RemoteFolder{}, disk, mail.FolderBase{}, func(s *sight) { s.account.CreateFolders = config.Sides{Local: true} },
			"left_out", "it is only here, and create_folders does not let it be made on the server", false},
		"no directory": {server, mail.LocalFolder{}, mail.FolderBase{}, func(s *sight) { s.path = func(mail.Folder) (string, error) { return "", errors.New("too long") } },
			"left_out", "too long", true},
		"no pattern": {server, mail.LocalFolder{}, mail.FolderBase{}, func(s *sight) { s.account.Folders = nil }, "left_out", "no pattern of folders matches it", true},
	} {
		s := sight{account: acc, path: func(f mail.Folder) (string, error) { return string(f), nil }}
		if c.remote.Name != "" {
			s.remote.Folders = []mail.RemoteFolder{c.remote}
		}
		if c.local.Name != "" {
			s.local = []mail.LocalFolder{c.local}
		}
		if c.base.ID != 0 {
			c.base.Name = "Work"
			s.base = []mail.FolderBase{c.base, {ID: 7, Name: "long gone", OnLocal: true, OnRemote: true}}
		}
		if c.change != nil {
			c.change(&s)
		}
		got := s.folders()
		if len(got) != 1 {
			t.Errorf("%s: %+v", name, got)
			continue
		}
		f := got[0]
		why := ""
		if f.Why != nil {
			why = *f.Why
		}
		if f.Name != "Work" || f.State != c.state || why != c.why || f.Synced == (c.state == "left_out") || (f.Directory == nil) != c.noPlace {
			t.Errorf("%s: %+v, why %q", name, f, why)
		}
	}
}

func TestWhatTheListingLeavesOut(t *testing.T) {
	s := sight{account: config.Defaults(), remote: mail.RemoteListing{Notices: []mail.Notice{
		{Folder: "a\x1b", Text: "its name has control characters"}, {Text: "only the first \x1b10000"},
	}}}
	if got := s.folders(); len(got) != 1 || got[0].Name != "a" || got[0].State != "left_out" || *got[0].Why != "its name has control characters" {
		t.Errorf("folders %+v", got)
	}
	if got := s.notes(); len(got) != 1 || got[0] != "only the first 10000" {
		t.Errorf("notes %q", got)
	}
}
