package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// program is one that is measured. Its configuration is as it comes, but for what has to
// be the same for all: no TLS and one login command (the line is loopback), all folders,
// both directions, removals carried out, fsync on, and four connections where it can.
type program struct {
	key, title string
	path       string // "" where it is not installed
	version    string
	// arguments, and the files of its configuration by name, for a device.
	args  func(d *device) []string
	files func(d *device) map[string]string
}

// The keys of the programs.
const (
	mailtwin    = "mailtwin"
	floor       = "floor"
	mbsync      = "mbsync"
	mbsyncPlain = "mbsync-plain"
	offlineimap = "offlineimap"
)

// programs are all there are, in the order of the report.
func programs(ctx context.Context, mailtwinPath string) []*program {
	mb, oi := lookPath("mbsync"), lookPath("offlineimap")
	mbVersion := firstLine(ctx, mb, "--version")
	oiVersion := firstLine(ctx, "dpkg-query", "-W", "-f", "${Version}\n", "offlineimap3")
	if oiVersion == "" {
		oiVersion = firstLine(ctx, oi, "--version")
	}
	self, _ := os.Executable() // "" makes the floor one that is not installed
	return []*program{
		{key: mailtwin, title: "mailtwin", path: mailtwinPath, files: mailtwinFiles,
			args: func(d *device) []string {
				return []string{"--config", d.file("config.toml"), "-q", "sync", "--json"}
			}},
		{key: floor, title: "the floor", path: self,
			args: func(*device) []string { return nil }, files: func(*device) map[string]string { return nil }},
		{key: mbsync, title: "mbsync", path: mb, version: mbVersion,
			args:  func(d *device) []string { return []string{"-q", "-c", d.file("mbsyncrc"), "all"} },
			files: func(d *device) map[string]string { return mbsyncFiles(d, "") }},
		{key: mbsyncPlain, title: "mbsync, no COMPRESS", path: mb, version: mbVersion,
			args:  func(d *device) []string { return []string{"-q", "-c", d.file("mbsyncrc"), "all"} },
			files: func(d *device) map[string]string { return mbsyncFiles(d, "DisableExtension COMPRESS=DEFLATE") }},
		{key: offlineimap, title: "offlineimap3", path: oi, version: oiVersion, files: offlineimapFiles,
			args: func(d *device) []string { return []string{"-o", "-c", d.file("offlineimaprc")} }},
	}
}

func lookPath(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

// firstLine is what a program says first; "" where it fails.
func firstLine(ctx context.Context, name string, args ...string) string {
	if name == "" {
		return ""
	}
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func mailtwinFiles(d *device) map[string]string {
	return map[string]string{"config.toml": fmt.Sprintf(`state_dir = %q
[accounts.bench]
maildir = %q
host = "127.0.0.1"
port = %d
tls = "none"
user = %q
auth = "plain"
password = %q
on_local_delete = "expunge"
connections = 4
fsync = true
`, d.file("state"), d.mail(), d.port, d.user, d.password)}
}

func mbsyncFiles(d *device, extra string) map[string]string {
	return map[string]string{"mbsyncrc": fmt.Sprintf(`FSync yes
IMAPAccount bench
Host 127.0.0.1
Port %d
User %s
Pass %q
SSLType None
AuthMechs LOGIN
%s

IMAPStore far
Account bench

MaildirStore near
Path %s/
Inbox %s/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Near
Expunge Both
SyncState *
`, d.port, d.user, d.password, extra, d.mail(), d.mail())}
}

func offlineimapFiles(d *device) map[string]string {
	return map[string]string{"offlineimaprc": fmt.Sprintf(`[general]
accounts = bench
metadata = %s
ui = quiet
fsync = true

[Account bench]
localrepository = local
remoterepository = remote

[Repository local]
type = Maildir
localfolders = %s
sep = /

[Repository remote]
type = IMAP
remotehost = 127.0.0.1
remoteport = %d
ssl = no
starttls = no
remoteuser = %s
remotepass = %s
auth_mechanisms = LOGIN
maxconnections = 4
`, d.file("state"), d.mail(), d.port, d.user, d.password)}
}

// device is a directory with a Maildir, and a program that keeps it in step with an
// account.
type device struct {
	program        *program
	dir            string
	user, password string
	port           int
	synced         bool
}

func (d *device) file(name string) string { return filepath.Join(d.dir, name) }
func (d *device) mail() string            { return d.file("Mail") }

// write makes the directory and the configuration.
func (d *device) write() error {
	if err := os.MkdirAll(d.mail(), 0o700); err != nil {
		return err
	}
	for name, text := range d.program.files(d) {
		if err := os.WriteFile(d.file(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// environ is what a program finds in its environment.
func (d *device) environ() []string {
	return []string{"HOME=" + d.dir, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "TMPDIR=" + d.dir,
		// With the race detector, this program would sleep for a second at its end.
		"GORACE=atexit_sleep_ms=0"}
}

// command is the program at work on the device, in a launcher that leaves its usage in
// d.file("usage"). kind is what the floor is to do.
func (d *device) command(ctx context.Context, kind string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{d.program.path}, d.program.args(d)...)...)
	cmd.Dir = d.dir
	cmd.Env = append(d.environ(), launchEnv+"="+d.file("usage"))
	cmd.WaitDelay = 5 * time.Second
	if d.program.key == floor {
		spec, err := json.Marshal(floorSpec{
			Kind: kind, Addr: fmt.Sprintf("127.0.0.1:%d", d.port), User: d.user, Password: d.password, Dir: d.mail(),
		})
		if err != nil {
			return nil, err
		}
		cmd.Env = append(cmd.Env, floorEnv+"="+string(spec))
	}
	return cmd, nil
}
