package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"mailtwin/conflict/mail"
)

func (a *App) conflictsCommand(code *int) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "conflicts [ACCOUNT...]",
		Short: "show decisions where both sides had changed",
		Long: `Show, per account, what was decided where both sides had changed one message and only
one of them could win, with the rule, the newest first. The last 10,000 are kept. It asks
the state database only, not the server.`,
		ValidArgsFunction: a.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			*code = a.conflicts(cmd.Context(), args, asJSON)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// conflictsReport is the document of `conflicts --json`.
type conflictsReport struct {
	Accounts []accountConflicts `json:"accounts"`
}

type accountConflicts struct {
	Name      string           `json:"name"`
	Error     *string          `json:"error"` // what went wrong with reading the state
	Conflicts []conflictReport `json:"conflicts"`
}

type conflictReport struct {
	At        *time.Time `json:"at"`
	Folder    string     `json:"folder"`
	MessageID string     `json:"message_id"` // "" where the message has none
	UID       mail.UID   `json:"uid"`        // 0: it was not on the server
	Key       string     `json:"key"`        // "": it had no file
	What      string     `json:"what"`
	Why       string     `json:"why"`
}

// conflicts carries out the command, and gives the exit code.
func (a *App) conflicts(ctx context.Context, args []string, asJSON bool) int {
	targets, err := a.accounts("conflicts", args)
	if err != nil {
		return a.misused(err, asJSON)
	}
	code := exitOK
	doc := conflictsReport{Accounts: []accountConflicts{}}
	for _, t := range targets {
		acc := accountConflicts{Name: t.account.Name, Conflicts: []conflictReport{}}
		decisions, err := a.rooms.made(ctx, t.account)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.complain(t.account.Name, "", err, "")
			acc.Error = text(err.Error())
			code = exitFailed
		}
		for _, d := range decisions {
			acc.Conflicts = append(acc.Conflicts, conflictReport{
				At: when(d.At), Folder: clean(string(d.Folder)), MessageID: clean(d.MessageID),
				UID: d.UID, Key: clean(string(d.Key)), What: clean(d.What), Why: clean(d.Why),
			})
		}
		doc.Accounts = append(doc.Accounts, acc)
	}
	if asJSON {
		return a.printed(code, doc)
	}
	for _, acc := range doc.Accounts {
		a.printConflicts(acc)
	}
	return code
}

// printConflicts prints an account for people.
func (a *App) printConflicts(acc accountConflicts) {
	if acc.Error != nil {
		return // it was said
	}
	if len(acc.Conflicts) == 0 {
		fmt.Fprintf(a.Stdout, "%s: no conflicts\n", acc.Name)
		return
	}
	fmt.Fprintf(a.Stdout, "%s: %s\n", acc.Name, count(len(acc.Conflicts), "conflict"))
	found := table{indent: "  "}
	found.row("WHEN", "FOLDER", "MESSAGE", "WHAT WAS DONE", "WHY")
	for _, c := range acc.Conflicts {
		at := ""
		if c.At != nil {
			at = localTime(c.At)
		}
		message := c.MessageID
		switch {
		case message != "":
		case c.Key != "":
			message = c.Key
		case c.UID != 0:
			message = fmt.Sprintf("UID %d", c.UID)
		}
		found.row(at, c.Folder, message, c.What, c.Why)
	}
	found.print(a.Stdout)
}
