package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
)

// App is the program as a value: a test runs it as main does, on streams and an
// environment of its own.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            func(string) string

	rooms rooms // what the commands work with; Run fills in what is nil

	// What the command line says, for the length of one Run.
	configFile string
	quiet      bool
	verbose    int
	log        *slog.Logger
	cfg        *config.Config
}

const rootHelp = `mailtwin keeps a local twin of your IMAP mailbox: a Maildir and the account on
the server, in step both ways.

  mailtwin sync [ACCOUNT[:FOLDER]...]    bring both sides together, once
  mailtwin watch [ACCOUNT...]            stay, and sync as things change
  mailtwin status [ACCOUNT...]           what is where, and what waits
  mailtwin folders [ACCOUNT...]          the server's folders, and what they map to
  mailtwin conflicts                     where both sides changed, and what was done
  mailtwin restore [ACCOUNT] ID...       bring back what a sync removed; --list: what
  mailtwin demo [--keep]                 see it at work, with sample mail
  mailtwin version                       which mailtwin this is
  mailtwin completion SHELL              for bash, zsh, fish or powershell

  --config FILE   instead of ~/.config/mailtwin/config.toml ($MAILTWIN_CONFIG)
  -q, --quiet     only what needs a person
  -v, --verbose   say what happens; twice: the protocol, too, without secrets

Your first minute: put this into ~/.config/mailtwin/config.toml,

  [accounts.alice]
  maildir = "~/Mail/alice"
  host = "imap.example.org"
  user = "alice@example.org"
  password_command = ["pass", "show", "mail/alice"]

and then:  mailtwin sync --dry-run     see what it would do
           mailtwin sync               do it, again and again
`

// Run carries out one command line, without the program's name, and gives the exit
// code. It prints every error itself. An App runs once at a time.
func (a *App) Run(ctx context.Context, args []string) int {
	a.rooms = a.rooms.or(a.linked())
	a.configFile, a.quiet, a.verbose, a.cfg = "", false, 0, nil
	if _, file := a.Stderr.(*os.File); !file {
		// Accounts are synced at once, and log and complain while they are.
		stderr := a.Stderr
		a.Stderr = &lockedWriter{w: stderr}
		defer func() { a.Stderr = stderr }()
	}
	code := exitOK
	root := a.root(&code)
	root.SetArgs(args)
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		a.complain("", "", err, "mailtwin --help shows what there is")
		return exitUsage
	}
	return code
}

// lockedWriter lets several goroutines write to w.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// root builds the tree of commands. Each sets code; an error that one of them gives
// back is a mistake in the command line.
func (a *App) root(code *int) *cobra.Command {
	root := &cobra.Command{
		Use:           "mailtwin",
		Short:         "keep a Maildir and an IMAP account in step",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs, // RunE says which commands there are
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			var known []string
			for _, c := range cmd.Commands() {
				known = append(known, c.Name())
			}
			return fmt.Errorf("unknown command %q: did you mean %q?", args[0], config.Nearest(args[0], known))
		},
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.quiet && a.verbose > 0 {
				return errors.New("--quiet and --verbose exclude each other")
			}
			a.log = newLogger(a.Stderr, a.verbose)
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.configFile, "config", "", "the configuration `file`")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "print only what needs a person")
	flags.CountVarP(&a.verbose, "verbose", "v", "say what happens; twice: the protocol, too")
	usual := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd == root {
			fmt.Fprint(a.Stdout, rootHelp)
			return
		}
		usual(cmd, args)
	})
	root.AddCommand(a.syncCommand(code), a.watchCommand(code), a.statusCommand(code), a.foldersCommand(code), a.conflictsCommand(code), a.restoreCommand(code), a.demoCommand(code), a.versionCommand())
	return root
}

// newLogger gives the log that -v asks for. Records go to stderr, a line each.
func newLogger(stderr io.Writer, verbose int) *slog.Logger {
	level := slog.LevelInfo
	switch {
	case verbose == 0:
		return slog.New(slog.DiscardHandler)
	case verbose > 1:
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
}

// load reads the configuration that the command line, or else the environment, or
// else the place where it usually is, names. It prints what is wrong with it.
func (a *App) load() error {
	file := a.configFile
	if file == "" {
		file = a.Env("MAILTWIN_CONFIG")
	}
	if file == "" {
		file = config.DefaultFile()
	}
	cfg, err := config.Load(file)
	if err != nil {
		a.complain("", "", err, "")
		return err
	}
	a.cfg = cfg
	return nil
}

// stateDir is where the account's state is, and its lock.
func (a *App) stateDir(account string) string { return filepath.Join(a.cfg.StateDir, account) }

// target is an account that a command line names, and the folders of it; none means
// all.
type target struct {
	account config.Account
	folders []mail.Folder
}

// targets reads ACCOUNT[:FOLDER] arguments; none means every account. They come in
// the order of the configuration, each account once.
func (a *App) targets(args []string) ([]target, error) {
	whole := map[string]bool{}
	folders := map[string][]mail.Folder{}
	for _, arg := range args {
		name, folder, some := strings.Cut(arg, ":")
		acc, ok := a.cfg.Account(name)
		if !ok {
			return nil, fmt.Errorf("%s has no account %q, only %s", a.cfg.File, name, strings.Join(a.cfg.Names(), ", "))
		}
		if !some {
			whole[name] = true
			continue
		}
		f := mail.ParseFolder(folder)
		if folder == "" || !acc.Selected(f) {
			return nil, fmt.Errorf("account %s does not sync a folder %q: see its folders = %q", name, folder, acc.Folders.Strings())
		}
		if !slices.Contains(folders[name], f) {
			folders[name] = append(folders[name], f)
		}
	}
	var targets []target
	for _, acc := range a.cfg.Accounts {
		switch {
		case len(args) == 0 || whole[acc.Name]:
			targets = append(targets, target{account: acc})
		case folders[acc.Name] != nil:
			targets = append(targets, target{acc, folders[acc.Name]})
		}
	}
	return targets, nil
}

// accounts reads the configuration, and the arguments of a command that takes accounts.
// It prints what is wrong with them.
func (a *App) accounts(command string, args []string) ([]target, error) {
	if err := a.load(); err != nil {
		return nil, err
	}
	targets, err := a.targets(args)
	if i := slices.IndexFunc(args, func(arg string) bool { return strings.Contains(arg, ":") }); i >= 0 {
		err = fmt.Errorf("%s takes accounts, not folders: %q", command, args[i])
	}
	if err != nil {
		a.complain("", "", err, "")
	}
	return targets, err
}

// completeAccounts offers the accounts' names to the shell.
func (a *App) completeAccounts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	stderr := a.Stderr
	a.Stderr = io.Discard // a broken configuration is no news in the midst of typing
	defer func() { a.Stderr = stderr }()
	if a.load() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.cfg.Names(), cobra.ShellCompDirectiveNoFileComp
}
