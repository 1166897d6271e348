package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

func (a *App) statusCommand(code *int) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [ACCOUNT...]",
		Short: "show what is where, and what waits",
		Long: `Show, per folder, how many messages are here and on the server, what waits or is
held, and when it was last in step. It asks the state database only, not the server.`,
		ValidArgsFunction: a.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			*code = a.status(cmd.Context(), args, asJSON)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// statusReport is the document of `status --json`.
type statusReport struct {
	Accounts []accountStatus `json:"accounts"`
}

type accountStatus struct {
	Name     string         `json:"name"`
	LastSync *time.Time     `json:"last_sync"` // null: never
	OK       bool           `json:"ok"`        // the last sync left everything in step
	Error    *string        `json:"error"`     // what went wrong then, or with reading the state
	Folders  []folderStatus `json:"folders"`
}

type folderStatus struct {
	Name     string     `json:"name"`
	Local    int        `json:"local"`  // messages here
	Remote   int        `json:"remote"` // messages on the server
	Pending  int        `json:"pending"`
	Held     int        `json:"held"`
	Parted   int        `json:"parted"` // on one side only, as configured
	LastSync *time.Time `json:"last_sync"`
	Problem  *string    `json:"problem"`
}

// status carries out the command, and gives the exit code.
func (a *App) status(ctx context.Context, args []string, asJSON bool) int {
	if err := a.load(); err != nil {
		return exitUsage
	}
	for _, arg := range args {
		if strings.Contains(arg, ":") {
			a.complain("", "", fmt.Errorf("status takes accounts, not folders: %q", arg), "")
			return exitUsage
		}
	}
	targets, err := a.targets(args)
	if err != nil {
		a.complain("", "", err, "")
		return exitUsage
	}
	code := exitOK
	doc := statusReport{Accounts: []accountStatus{}}
	for _, t := range targets {
		p, err := a.rooms.past(ctx, t.account)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.complain(t.account.Name, "", err, "")
			code = exitFailed
		}
		doc.Accounts = append(doc.Accounts, newAccountStatus(t.account.Name, p, err))
	}
	if asJSON {
		return a.printed(code, doc)
	}
	for _, s := range doc.Accounts {
		a.printStatus(s)
	}
	return code
}

func newAccountStatus(name string, p past, err error) accountStatus {
	s := accountStatus{Name: name, OK: p.last.OK, LastSync: when(p.last.Finished), Error: text(p.last.Error), Folders: []folderStatus{}}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Error = text(err.Error())
	}
	for _, f := range p.folders {
		c := p.counts[f.ID]
		s.Folders = append(s.Folders, folderStatus{
			Name:  clean(string(f.Name)),
			Local: c.Local, Remote: c.Remote, Pending: c.Pending, Held: c.Held, Parted: c.Parted,
			LastSync: when(f.Synced), Problem: text(f.Problem),
		})
	}
	return s
}

// when gives nil for the zero time, and text nil for "": null in JSON.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	s = clean(s)
	return &s
}

// printStatus prints an account for people.
func (a *App) printStatus(s accountStatus) {
	switch {
	case s.LastSync == nil && s.Error != nil:
		fmt.Fprintf(a.Stdout, "%s: %s\n", s.Name, *s.Error)
	case s.LastSync == nil:
		fmt.Fprintf(a.Stdout, "%s: never synced; mailtwin sync %s\n", s.Name, shellWord(s.Name))
	case s.OK:
		fmt.Fprintf(a.Stdout, "%s: in step, last synced %s\n", s.Name, localTime(s.LastSync))
	default:
		why := "not all is in step"
		if s.Error != nil {
			why = *s.Error
		}
		fmt.Fprintf(a.Stdout, "%s: last synced %s: %s\n", s.Name, localTime(s.LastSync), why)
	}
	if len(s.Folders) == 0 {
		return
	}
	w := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  FOLDER\tHERE\tSERVER\tWAITING\tHELD\tLAST IN STEP\t")
	for _, f := range s.Folders {
		last := "never"
		if f.LastSync != nil {
			last = localTime(f.LastSync)
		}
		problem := ""
		if f.Problem != nil {
			problem = *f.Problem
		}
		fmt.Fprintf(w, "  %s\t%d\t%d\t%d\t%d\t%s\t%s\n", f.Name, f.Local, f.Remote, f.Pending, f.Held, last, problem)
	}
	w.Flush() // its errors are those of Stdout, which nobody could be told of
}

func localTime(t *time.Time) string { return t.Local().Format(time.DateTime) }
