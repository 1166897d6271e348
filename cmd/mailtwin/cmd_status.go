package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailtwin/conflict/mail"
	"mailtwin/sync/watch"
)

func (a *App) statusCommand(code *int) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [ACCOUNT...]",
		Short: "show what is where, and what waits",
		Long: `Show, per folder, how many messages are here and on the server, how many wait to be
brought to the other side, how many are held back until you consent, and why; and when
it was last in step. It asks the state database only, not the server.`,
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
	Removed  removedStatus  `json:"removed"`
	Folders  []folderStatus `json:"folders"`
	Watch    *liveStatus    `json:"watch"` // null: none has the account
}

// liveStatus is what a watch is at.
type liveStatus struct {
	PID       int        `json:"pid"`
	Since     *time.Time `json:"since"`
	Syncing   bool       `json:"syncing"`
	Connected *time.Time `json:"connected"` // since when the server announces; null: it does not
	Announces string     `json:"announces"` // everything, some or nothing
	NextSync  *time.Time `json:"next_sync"` // at the latest; null: it is at it
	Trouble   *string    `json:"trouble"`   // why it waits until then
	Here      *time.Time `json:"here"`      // when a sync last changed something here
	There     *time.Time `json:"there"`     // and on the server
}

func newLiveStatus(s watch.State, w *watched) *liveStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	live := &liveStatus{
		PID: os.Getpid(), Since: when(w.since), Syncing: s.Syncing, Connected: when(s.Linked), Announces: "nothing",
		NextSync: when(s.Next), Here: when(w.here), There: when(w.there),
	}
	switch {
	case s.Everything:
		live.Announces = "everything"
	case !s.Linked.IsZero():
		live.Announces = "some"
	}
	if s.Trouble != nil {
		live.Trouble = text(s.Trouble.Error())
	}
	return live
}

// String says it in a line.
func (l *liveStatus) String() string {
	parts := []string{fmt.Sprintf("watched by process %d since %s", l.PID, localTime(l.Since))}
	switch l.Announces {
	case "everything":
		parts = append(parts, "the server announces changes")
	case "some":
		parts = append(parts, "the server announces changes in some folders")
	}
	switch {
	case l.Syncing:
		parts = append(parts, "syncing")
	case l.Trouble != nil:
		parts = append(parts, *l.Trouble, "tried again at "+localTime(l.NextSync))
	case l.NextSync != nil:
		parts = append(parts, "next sync by "+localTime(l.NextSync))
	}
	if l.Here != nil {
		parts = append(parts, "last change here "+localTime(l.Here))
	}
	if l.There != nil {
		parts = append(parts, "last change on the server "+localTime(l.There))
	}
	return strings.Join(parts, "; ")
}

// removedStatus is what the store of removed messages holds.
type removedStatus struct {
	Messages int   `json:"messages"`
	Bytes    int64 `json:"bytes"`
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
	Reasons  []reason   `json:"reasons"` // why messages wait or are held
}

// reason is why some messages of a folder are not in step.
type reason struct {
	State      string     `json:"state"` // pending or held
	Messages   int        `json:"messages"`
	Why        string     `json:"why"`
	NextTry    *time.Time `json:"next_try"`    // of the first one; null: the next sync, or when somebody consents
	MessageIDs []string   `json:"message_ids"` // of the first few that have one

	consent bool // that is what they wait for
}

// maxIDs bounds the Message-IDs of a reason.
const maxIDs = 10

// status carries out the command, and gives the exit code.
func (a *App) status(ctx context.Context, args []string, asJSON bool) int {
	targets, err := a.accounts("status", args)
	if err != nil {
		return a.misused(err, asJSON)
	}
	code := exitOK
	doc := statusReport{Accounts: []accountStatus{}}
	for _, t := range targets {
		p, err := a.rooms.past(ctx, t.account)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			a.complain(t.account.Name, "", err, "")
			code = exitFailed
		}
		status := newAccountStatus(t.account.Name, p, err)
		status.Watch = a.live(t.account.Name)
		doc.Accounts = append(doc.Accounts, status)
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
	s := accountStatus{Name: name, OK: p.last.OK, LastSync: when(p.last.Finished), Error: text(p.last.Error),
		Removed: removedStatus(p.removed), Folders: []folderStatus{}}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Error = text(err.Error())
	}
	rows := map[mail.FolderID][]mail.Row{}
	for _, r := range p.waiting {
		rows[r.Folder] = append(rows[r.Folder], r)
	}
	run := readRunRecord(p.last.Report)
	for _, f := range p.folders {
		c := p.counts[f.ID]
		status := folderStatus{
			Name:  clean(string(f.Name)),
			Local: c.Local, Remote: c.Remote, Pending: c.Pending, Held: c.Held, Parted: c.Parted,
			LastSync: run.lastSync(f), Problem: text(f.Problem), Reasons: reasons(rows[f.ID]),
		}
		status.wait(run.Held)
		s.Folders = append(s.Folders, status)
	}
	return s
}

// lastSync tells when a folder last was in step. One that was found unchanged has no
// newer time of its own.
func (r runRecord) lastSync(f mail.FolderBase) *time.Time {
	name := clean(string(f.Name))
	at := r.inStep(name)
	if _, behind := r.Behind[name]; at == nil || !behind && f.Synced.After(*at) {
		return when(f.Synced)
	}
	return at
}

// wait notes what the last run held until somebody consents. A folder that vanished has
// no messages that wait: it waits itself, which only the run knew.
func (f *folderStatus) wait(held []heldReport) {
	for _, h := range held {
		if h.Folder != f.Name {
			continue
		}
		i := slices.IndexFunc(f.Reasons, func(r reason) bool { return r.State == mail.Held.String() && r.Why == h.Why })
		if i < 0 {
			i = len(f.Reasons)
			f.Held += h.Messages
			f.Reasons = append(f.Reasons, reason{State: mail.Held.String(), Messages: h.Messages, Why: h.Why, MessageIDs: []string{}})
		}
		f.Reasons[i].consent = true
	}
}

// reasons puts rows together that wait, or are held, for the same reason.
func reasons(rows []mail.Row) []reason {
	all := []reason{}
	for _, row := range rows {
		if row.State != mail.Pending && row.State != mail.Held {
			continue
		}
		state, why := row.State.String(), clean(row.Why)
		i := slices.IndexFunc(all, func(r reason) bool { return r.State == state && r.Why == why })
		if i < 0 {
			i = len(all)
			all = append(all, reason{State: state, Why: why, NextTry: when(row.RetryAt), MessageIDs: []string{}})
		}
		r := &all[i]
		r.Messages++
		if r.NextTry != nil && row.RetryAt.Before(*r.NextTry) {
			r.NextTry = when(row.RetryAt)
		}
		if row.MessageID != "" && len(r.MessageIDs) < maxIDs {
			r.MessageIDs = append(r.MessageIDs, clean(row.MessageID))
		}
	}
	return all
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
	if s.Watch != nil {
		fmt.Fprintln(a.Stdout, "  "+s.Watch.String())
	}
	if len(s.Folders) == 0 {
		return
	}
	found := table{indent: "  "}
	found.row("FOLDER", "HERE", "SERVER", "WAITING", "HELD", "LAST IN STEP")
	for _, f := range s.Folders {
		last := "never"
		if f.LastSync != nil {
			last = localTime(f.LastSync)
		}
		problem := ""
		if f.Problem != nil {
			problem = *f.Problem
		}
		found.row(f.Name, f.Local, f.Remote, f.Pending, f.Held, last, problem)
	}
	found.print(a.Stdout)
	for _, f := range s.Folders {
		for _, r := range f.Reasons {
			fmt.Fprintln(a.Stdout, "  "+s.describe(f, r))
		}
	}
	if s.Removed.Messages > 0 {
		fmt.Fprintf(a.Stdout, "  removed here in the last days: %s, %s; mailtwin restore %s --list\n",
			count(s.Removed.Messages, "message"), bytesOf(s.Removed.Bytes), shellWord(s.Name))
	}
}

// describe says why messages of a folder are not in step, and what becomes of them.
func (s accountStatus) describe(f folderStatus, r reason) string {
	text := fmt.Sprintf("%s: %s", f.Name, r.Why)
	if r.Messages > 0 {
		text = fmt.Sprintf("%s: %s: %s", f.Name, count(r.Messages, "message"), r.Why)
	}
	switch {
	case r.consent:
		return text + ": to go on: mailtwin sync --allow-deletes " + shellWord(s.Name+":"+f.Name)
	case r.NextTry != nil:
		return text + ": tried again from " + localTime(r.NextTry) + " on"
	}
	return text + ": the next sync tries again"
}

// bytesOf writes a number of octets for people.
func bytesOf(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for ; f >= unit && i < 3; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %cB", f, "kMGT"[i])
}

func localTime(t *time.Time) string { return t.Local().Format(time.DateTime) }
