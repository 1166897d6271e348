package maildir

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// doveadm gives a function that runs Dovecot's doveadm on the Maildir at root.
func doveadm(t *testing.T, root string, layout Layout) func(args ...string) string {
	t.Helper()
	program, err := exec.LookPath("doveadm")
	if err != nil {
		if os.Getenv("MAILTWIN_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip("Dovecot is not installed: ", err)
	}
	home := t.TempDir()
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 { // Dovecot refuses to open mail as root
		uid, gid = 65534, 65534
	}
	conf := filepath.Join(home, "dovecot.conf")
	put(t, home, "dovecot.conf", fmt.Sprintf(`
base_dir = %[1]s/run
state_dir = %[1]s/run
log_path = /dev/stderr
ssl = no
mail_home = %[1]s
mail_location = maildir:%[2]s%[5]s
mail_uid = %[3]d
mail_gid = %[4]d
first_valid_uid = 1
first_valid_gid = 1
`, home, root, uid, gid, map[Layout]string{Nested: ":LAYOUT=fs:INBOX=" + root + "/INBOX"}[layout]))
	return func(args ...string) string {
		t.Helper()
		for _, dir := range []string{home, root} {
			// t.TempDir makes its directories below one that only its owner may enter.
			for up := filepath.Dir(dir); os.Getuid() == 0 && up != filepath.Clean(os.TempDir()) && len(up) > 1; up = filepath.Dir(up) {
				if err := os.Chmod(up, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
				if err == nil && os.Getuid() == 0 {
					err = os.Lchown(path, uid, gid)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), program, append([]string{"-c", conf}, args...)...)
		cmd.Env = append(os.Environ(), "HOME="+home, "USER=nobody", "TZ=UTC")
		cmd.Dir = home
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("doveadm %q: %v: %s", args, err, out)
		}
		return string(out)
	}
}

// Both programs read what the other one wrote: file names, letters, folders.
func TestDovecotAgrees(t *testing.T) { eachLayout(t, dovecotAgrees) }

func dovecotAgrees(t *testing.T, layout Layout) {
	tree, root := newTree(t, Options{Layout: layout})
	ctx := t.Context()
	letters := mail.Letters{1: "work"}
	if err := tree.SetLetters(ctx, "INBOX", letters); err != nil {
		t.Fatal(err)
	}
	f := land(t, tree, "INBOX", wireMessage, flags(`\Seen`, "work"), letters)
	run := doveadm(t, root, layout)
	out := run("fetch", "flags date.received text", "mailbox", "INBOX")
	for _, want := range []string{`\Seen`, "work", "lone", "2001-09-09"} {
		if !strings.Contains(out, want) {
			t.Errorf("Dovecot does not see %q: %s", want, out)
		}
	}

	run("flags", "add", `\Flagged $Junk $Forwarded`, "mailbox", "INBOX", "all")
	made := map[Layout][]string{
		Nested:      {"Lists/go"},
		MaildirPlus: {"Lists.go", "Entwürfe.日本", "R&D", "INBOX.child"},
	}[layout]
	for _, name := range made {
		run("mailbox", "create", name)
	}
	listing, got := scan(t, tree, letters)
	if len(got) != 1 || got[0].Key != f.Key || !got[0].Flags.Equal(flags(`\Seen`, `\Flagged`, "work", "$Junk", "$Forwarded")) || len(listing.Problems) != 0 {
		t.Errorf("scan: %+v, letters %q, problems %v", got, listing.Letters, listing.Problems)
	}
	folders, err := tree.Folders(ctx, nil)
	if err != nil || len(folders) != len(made)+1 {
		t.Errorf("folders %q, %v; Dovecot made %q", folderNames(folders), err, made)
	}
	for _, name := range made {
		if layout == MaildirPlus {
			name = strings.ReplaceAll(name, ".", "/")
		}
		if _, err := tree.Scan(ctx, mail.Folder(name), letters); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []mail.Folder{"Ours", "Ours/Größe & Maß"} {
		if err := tree.CreateFolder(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	sep := map[Layout]string{Nested: "/", MaildirPlus: "."}[layout]
	if out := run("mailbox", "list"); layout == MaildirPlus && !strings.Contains(out, "Ours"+sep+"Größe & Maß\n") {
		t.Errorf("Dovecot sees the folders %s", out)
	}

	if _, err := tree.Reflag(ctx, "INBOX", got[0], flags(`\Answered`, "$Junk"), listing.Letters); err != nil {
		t.Fatal(err)
	}
	out = run("fetch", "flags", "mailbox", "INBOX")
	if !strings.Contains(out, `\Answered`) || !strings.Contains(out, "$Junk") || strings.Contains(out, "work") || strings.Contains(out, "Seen") || strings.Contains(out, "Forwarded") {
		t.Errorf("Dovecot sees %s", out)
	}
}
