package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailtwin/cmd/internal/config"
	"mailtwin/cmd/internal/secret"
	"mailtwin/conflict/mail"
)

func (a *App) foldersCommand(code *int) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "folders [ACCOUNT...]",
		Short: "show the server's folders and what they map to",
		Long: `Show the folders of the server and of the Maildir: what each is for, its directory, how
many messages the server has in it, and whether it is synced, and if not, why. It asks
the server, and changes nothing.`,
		Example: `  mailtwin folders
  mailtwin folders alice --json

Exit codes are those of sync.`,
		ValidArgsFunction: a.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			*code = a.folders(cmd.Context(), args, asJSON)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// foldersReport is the document of `folders --json`.
type foldersReport struct {
	Accounts []accountFolders `json:"accounts"`
}

type accountFolders struct {
	Name    string         `json:"name"`
	OK      bool           `json:"ok"`
	Error   *string        `json:"error"`
	Maildir string         `json:"maildir"`
	Folders []folderReport `json:"folders"`
	Notes   []string       `json:"notes"` // what else was left out of the listing
}

// folders carries out the command, and gives the exit code.
func (a *App) folders(ctx context.Context, args []string, asJSON bool) int {
	targets, err := a.accounts("folders", args)
	if err != nil {
		return a.misused(err, asJSON)
	}
	var outcomes []outcome
	doc := foldersReport{Accounts: []accountFolders{}}
	for _, t := range targets {
		started := time.Now()
		s := sight{account: t.account}
		err := a.look(ctx, &s)
		if err != nil && ctx.Err() != nil {
			err = ctx.Err()
		}
		o := outcome{account: t.account.Name, err: err, duration: time.Since(started)}
		outcomes = append(outcomes, o)
		a.printComplaints(o)
		report := newAccountReport(o)
		acc := accountFolders{Name: o.account, OK: report.OK, Error: report.Error, Maildir: clean(t.account.Maildir),
			Folders: []folderReport{}, Notes: []string{}}
		if err == nil {
			acc.Folders, acc.Notes = s.folders(), s.notes()
		}
		doc.Accounts = append(doc.Accounts, acc)
	}
	if asJSON {
		return a.printed(exitCode(outcomes), doc)
	}
	for _, acc := range doc.Accounts {
		if acc.Error == nil {
			a.printFolders(acc)
		}
	}
	return exitCode(outcomes)
}

// sight is what can be seen of an account's folders.
type sight struct {
	account config.Account
	remote  mail.RemoteListing
	local   []mail.LocalFolder
	base    []mail.FolderBase
	waiting map[mail.FolderID]int // messages that are not settled
	path    func(mail.Folder) (string, error)
}

// look looks at both sides and base as a dry run does: nothing is written.
func (a *App) look(ctx context.Context, s *sight) error {
	if err := usable(s.account); err != nil {
		return err
	}
	session, err := a.rooms.open(ctx, s.account, true)
	if err != nil {
		return err
	}
	defer session.close()
	if s.remote, err = session.opts.Remote.Folders(ctx); err != nil {
		return fmt.Errorf("list the folders on the server: %w", err)
	}
	if s.base, err = session.opts.State.Folders(ctx); err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	var known []mail.LocalFolder
	for _, b := range s.base {
		if b.OnLocal {
			known = append(known, mail.LocalFolder{Name: b.Name, Stamp: b.Local})
		}
	}
	if s.local, err = session.opts.Local.Folders(ctx, known); err != nil {
		return fmt.Errorf("list the folders of the Maildir: %w", err)
	}
	s.local = slices.DeleteFunc(s.local, func(f mail.LocalFolder) bool { return f.Unfinished })
	rows, err := session.opts.State.Unsettled(ctx)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	s.waiting = map[mail.FolderID]int{}
	for _, row := range rows {
		s.waiting[row.Folder]++
	}
	s.path = pathsWhileOpen(s, session.path)
	return nil
}

// pathsWhileOpen looks up where all folders in sight are, for when the Maildir will be
// closed again.
func pathsWhileOpen(s *sight, path func(mail.Folder) (string, error)) func(mail.Folder) (string, error) {
	type place struct {
		dir string
		err error
	}
	places := map[mail.Folder]place{}
	look := func(name mail.Folder) {
		dir, err := path(name)
		places[name] = place{dir, err}
	}
	for _, f := range s.remote.Folders {
		look(f.Name)
	}
	for _, f := range s.local {
		look(f.Name)
	}
	for _, f := range s.base {
		look(f.Name)
	}
	return func(name mail.Folder) (string, error) { return places[name].dir, places[name].err }
}

// usable tells whether the configuration is one that this version can obey, and knows
// where its password comes from.
func usable(acc config.Account) error {
	return errors.Join(unsupported(acc), secret.Check(acc))
}

// printFolders prints an account for people.
func (a *App) printFolders(acc accountFolders) {
	fmt.Fprintf(a.Stdout, "%s: %s, %s\n", acc.Name, acc.Maildir, count(len(acc.Folders), "folder"))
	found := table{indent: "  "}
	found.row("FOLDER", "ROLE", "DIRECTORY", "MESSAGES", "STATE")
	for _, f := range acc.Folders {
		directory, messages, state := "-", "-", strings.ReplaceAll(f.State, "_", " ")
		if f.Directory != nil {
			directory = "."
			if *f.Directory != acc.Maildir {
				directory = strings.TrimPrefix(*f.Directory, acc.Maildir+string(filepath.Separator))
			}
		}
		if f.Messages != nil {
			messages = strconv.Itoa(*f.Messages)
		}
		if f.Why != nil {
			state += ": " + *f.Why
		}
		found.row(f.Name, f.Role, directory, messages, state)
	}
	found.print(a.Stdout)
	for _, note := range acc.Notes {
		fmt.Fprintln(a.Stderr, line(acc.Name, "", note, ""))
	}
}
