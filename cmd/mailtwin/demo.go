package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/corpus"
)

// demoTime bounds a demo, which takes a second or two. The rest of a minute is for
// what it has to take away.
const demoTime = 55 * time.Second

// maxDifferences bounds what is printed of a check that failed.
const maxDifferences = 10

// demoFlags are the flags of `demo`.
type demoFlags struct {
	dir    string
	keep   bool
	within time.Duration // not for the user to say
}

func (a *App) demoCommand(code *int) *cobra.Command {
	f := demoFlags{within: demoTime}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "show both directions at work, with sample mail",
		Long: `Start a mail server inside this process, with sample mail, and sync it with the
Maildirs of two computers, while mail arrives and changes on all sides. After
each step both are compared with the server. It needs no account, touches
nothing of yours, and leaves nothing behind but what --keep asks for.`,
		Example: `  mailtwin demo
  mailtwin demo --keep --dir /tmp/twin

Exit codes: 0 all was as it should be; 1 something was not; 2 usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			*code = a.demo(cmd.Context(), f)
			return nil
		},
	}
	cmd.Flags().StringVar(&f.dir, "dir", "", "work in this `directory`, new or empty, not in a temporary one")
	cmd.Flags().BoolVar(&f.keep, "keep", false, "leave the Maildirs for a look at them")
	return cmd
}

// demo is what is there while a demo runs.
type demo struct {
	out     io.Writer
	dir     string // absolute; all files are below it
	started time.Time
	server  *imaptest.Server
	phone   *imaptest.Phone
	laptop  *device
	desktop *device

	steps, checks, failed int
}

// device is one of the demo's two: a Maildir and a state of its own, and the program
// as it runs there.
type device struct {
	name    string
	app     *App
	account config.Account
}

// demo carries out the command and gives the exit code.
func (a *App) demo(ctx context.Context, f demoFlags) int {
	// A closed window and a reader that has seen enough (`| head`) end a demo like
	// Ctrl-C does: not before its files are taken away. SIGPIPE does not say which pipe it
	// is about, and connections to the server break, too; so it is told by the write.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	dir, created, err := demoDir(f.dir)
	if err != nil {
		a.complain("", "", err, "")
		return exitUsage
	}
	d := &demo{out: &listened{a.Stdout, stop}, dir: dir, started: time.Now()}
	if a.quiet {
		d.out = io.Discard
	}
	limited, cancel := context.WithTimeout(ctx, f.within)
	defer cancel()
	err = d.run(limited, a)
	switch {
	case ctx.Err() != nil:
		err = ctx.Err() // what it cut off may look like anything
	case limited.Err() != nil:
		err = fmt.Errorf("not done within %v: is this machine very busy, or its disk very slow?", f.within)
	}
	if f.keep {
		defer d.sayHowToOpen(a.Stdout) // with -q, too: the place may be one that nobody else knows
	} else {
		err = errors.Join(err, removeDemo(dir, created))
	}
	return a.demoEnd(d, err)
}

// listened is an output that tells when nobody reads it any more.
type listened struct {
	io.Writer
	left func()
}

func (l *listened) Write(p []byte) (int, error) {
	n, err := l.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		l.left()
	}
	return n, err
}

// demoEnd prints how the demo ended, and gives the exit code.
func (a *App) demoEnd(d *demo, err error) int {
	switch {
	case errors.Is(err, context.Canceled):
		a.complain("", "", errors.New("demo: interrupted"), "")
		return exitInterrupted
	case err != nil:
		a.complain("", "", fmt.Errorf("demo: %w", err), "")
		return exitFailed
	case d.failed > 0:
		a.complain("", "", fmt.Errorf("demo: %d of %s failed", d.failed, count(d.checks, "check")), "")
		return exitFailed
	}
	if _, err := fmt.Fprintf(d.out, "\nAll %d checks passed.\n", d.checks); err != nil {
		a.complain("", "", fmt.Errorf("demo: print: %w", err), "")
		return exitFailed
	}
	return exitOK
}

// run sets the scene, tells the story, and takes down what is not a file.
func (d *demo) run(ctx context.Context, a *App) (err error) {
	folders := []imaptest.Folder{}
	for name, role := range corpus.DemoFolders() {
		folders = append(folders, imaptest.Folder{Name: name, Role: role})
	}
	slices.SortFunc(folders, func(a, b imaptest.Folder) int { return compareFolders(a.Name, b.Name) })
	d.server, err = imaptest.Start(imaptest.Options{Password: rand.Text(), Folders: folders})
	if err != nil {
		return fmt.Errorf("start a mail server: %w", err)
	}
	defer func() { err = errors.Join(err, d.server.Close()) }()
	d.phone, err = d.server.Phone(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.phone.Close()) }()
	d.laptop, d.desktop = d.device(a, "laptop"), d.device(a, "desktop")
	return d.story(ctx)
}

// device sets one up. What it runs is what `mailtwin sync` runs, with a
// configuration that was not read from a file.
func (d *demo) device(a *App, name string) *device {
	acc := config.Defaults()
	acc.Name = d.server.User
	acc.Maildir = filepath.Join(d.dir, name, "Mail")
	acc.Host, acc.Port, acc.TLS = d.server.Host, d.server.Port, config.NoTLS // on loopback only
	acc.User, acc.Password = d.server.User, config.Password{Literal: config.Secret(d.server.Password)}
	cfg := &config.Config{StateDir: filepath.Join(d.dir, name, "state"), Accounts: []config.Account{acc}}
	app := &App{Stdin: a.Stdin, Stdout: d.out, Stderr: a.Stderr, Env: a.Env, quiet: a.quiet, verbose: a.verbose,
		log: a.log.With("device", name), cfg: cfg}
	// Of the program's rooms, those that open things have to be this App's.
	app.rooms = rooms{run: a.rooms.run}.or(app.linked())
	return &device{name: name, app: app, account: acc}
}

// mailDir is the root of its Maildir.
func (v *device) mailDir() string { return v.account.Maildir }

// sync is `mailtwin sync` on a computer. What it has to complain of is an error here.
func (d *demo) sync(ctx context.Context, v *device) (outcome, error) {
	o := v.app.syncAccount(ctx, target{account: v.account}, syncFlags{}, nil)
	d.say("   %s$ mailtwin sync", v.name)
	d.say("   %s", o.summary(false))
	if all := o.complaints(); len(all) > 0 {
		return o, fmt.Errorf("the sync on the %s complains: %s", v.name, all[0])
	}
	return o, nil
}

// step begins a step of the story.
func (d *demo) step(title string) {
	d.steps++
	d.say("\n%d. %s", d.steps, title)
}

// say prints a line. An error on a terminal that is gone comes as a signal, and any
// other one when the last line is printed.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// check prints whether a statement is true: if nothing contradicts it.
func (d *demo) check(statement string, contradictions []string) {
	d.checks++
	if len(contradictions) == 0 {
		d.say("   ok  %s", statement)
		return
	}
	d.failed++
	d.say("   NOT TRUE: %s", statement)
	for i, c := range contradictions {
		if i == maxDifferences {
			d.say("       and %d more", len(contradictions)-i)
			break
		}
		d.say("       %s", clean(c))
	}
}

// sayHowToOpen tells how to look at what is left.
func (d *demo) sayHowToOpen(w io.Writer) {
	root := filepath.Join(d.dir, "laptop", "Mail")
	fmt.Fprintf(w, `
The Maildirs are kept in %s; the server is gone.
To read the laptop's mail in mutt (c and then ? list its folders):

  mutt -F /dev/null -e 'set mbox_type=Maildir spoolfile=+INBOX' \
    -e %s -f +INBOX

To remove all of it:  rm -r %s
`, clean(d.dir), shellWord(`set folder="`+root+`"`), shellWord(d.dir))
}

// demoDir makes the directory of a demo, a temporary one if name is "". created tells
// that it was not there before.
func demoDir(name string) (dir string, created bool, err error) {
	if name == "" {
		dir, err = os.MkdirTemp("", "mailtwin-demo-")
		if err != nil {
			return "", false, fmt.Errorf("make a temporary directory: %w; --dir names another place", err)
		}
		return dir, true, nil
	}
	if dir, err = filepath.Abs(name); err != nil {
		return "", false, fmt.Errorf("--dir %s: %w", name, err)
	}
	err = os.Mkdir(dir, 0o700)
	if err == nil {
		return dir, true, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", false, fmt.Errorf("--dir: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", false, fmt.Errorf("--dir: %w", err)
	}
	if len(entries) > 0 {
		return "", false, fmt.Errorf("--dir %s is not empty: name a new directory, or an empty one", dir)
	}
	return dir, false, nil
}

// removeDemo takes away what the demo made, and the directory if it made that.
func removeDemo(dir string, created bool) error {
	if created {
		return os.RemoveAll(dir)
	}
	var err error
	for _, name := range []string{"laptop", "desktop"} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
	}
	return err
}

func compareFolders(a, b mail.Folder) int {
	switch {
	case a == mail.Inbox || b == mail.Inbox: // INBOX first
		if a == b {
			return 0
		}
		if a == mail.Inbox {
			return -1
		}
		return 1
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
