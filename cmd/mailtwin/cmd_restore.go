package main

import (
	"cmp"
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
	"mailtwin/maildir"
)

// restoreFlags are the flags of `restore`.
type restoreFlags struct {
	list bool
	to   string // the folder; "": its own
	wait time.Duration
}

func (a *App) restoreCommand(code *int) *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore [ACCOUNT] [--list] [MESSAGE-ID|KEY...]",
		Short: "bring back what a sync removed",
		Long: `Bring back messages that a sync removed from the Maildir in the last 7 days, because
they were gone from the server. Each goes back into its folder; the next sync puts it
on the server again. A Message-ID, with or without its angle brackets, means the one
that was removed last; a key (the file's name up to the flags) means that file.`,
		Example: `  mailtwin restore --list
  mailtwin restore alice 20260304.abc@example.org
  mailtwin restore --to Archive alice 20260304.abc@example.org

Exit codes: 0 all came back; 1 one was not found, or failed; 2 usage or configuration;
75 a sync of the account is running.`,
		ValidArgsFunction: a.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			*code = a.restore(cmd.Context(), args, f)
			return nil
		},
	}
	cmd.Flags().BoolVar(&f.list, "list", false, "show what can be brought back, the newest first")
	cmd.Flags().StringVar(&f.to, "to", "", "bring it back into this `folder` instead of its own")
	cmd.Flags().DurationVar(&f.wait, "wait", lockWait, "how long to wait for a sync of the account")
	return cmd
}

// store is an account with its removed messages, the newest first.
type store struct {
	target
	removed []maildir.Removed
}

// restore carries out the command, and gives the exit code.
func (a *App) restore(ctx context.Context, args []string, f restoreFlags) int {
	if err := a.load(); err != nil {
		return exitUsage
	}
	var accounts []string
	if len(args) > 0 {
		if _, ok := a.cfg.Account(args[0]); ok {
			accounts, args = args[:1], args[1:]
		}
	}
	if len(args) == 0 && !f.list {
		a.complain("", "", errors.New("restore needs the Message-ID or the key of a message"), "mailtwin restore --list shows them")
		return exitUsage
	}
	targets, err := a.targets(accounts)
	if err != nil {
		a.complain("", "", err, "")
		return exitUsage
	}
	var codes []int
	var stores []store
	for _, t := range targets {
		removed, err := a.removed(ctx, t)
		if err != nil {
			a.complain(t.account.Name, "", err, nextStep(err))
			codes = append(codes, errorCode(err))
			continue
		}
		stores = append(stores, store{t, removed})
	}
	switch {
	case f.list:
		a.printRemoved(stores, args)
		return together(codes)
	case len(codes) > 0:
		return together(codes) // what is not found may be where nobody could look
	}
	chosen := make([][]maildir.Removed, len(stores))
	for _, arg := range args {
		at, r, err := choose(stores, arg)
		if err != nil {
			a.complain("", "", err, "mailtwin restore --list shows what there is")
			codes = append(codes, exitFailed)
			continue
		}
		chosen[at] = append(chosen[at], r)
	}
	for i, s := range stores {
		if len(chosen[i]) > 0 {
			codes = append(codes, a.bringBack(ctx, s.target, chosen[i], f)...)
		}
	}
	return together(codes)
}

// removed lists the account's removed messages, the newest first.
func (a *App) removed(ctx context.Context, t target) (removed []maildir.Removed, err error) {
	if _, err := os.Stat(a.removedDir(t.account.Name)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	tree, err := a.openMaildir(t.account, t.account.Maildir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	err = tree.Removed(ctx, func(r maildir.Removed) error {
		removed = append(removed, r)
		return nil
	})
	slices.Reverse(removed)
	slices.SortStableFunc(removed, func(a, b maildir.Removed) int { return b.At.Compare(a.At) })
	return removed, err
}

// isNamed tells whether a word of the command line names the message.
func isNamed(word string, r maildir.Removed) bool {
	id := func(s string) string { return strings.TrimSuffix(strings.TrimPrefix(s, "<"), ">") }
	return word == string(r.File.Key) || word == r.File.Name || r.MessageID != "" && id(word) == id(r.MessageID)
}

// choose finds the newest message that a word of the command line names, and whose it
// is.
func choose(stores []store, word string) (at int, found maildir.Removed, err error) {
	var where []string
	for i, s := range stores {
		if j := slices.IndexFunc(s.removed, func(r maildir.Removed) bool { return isNamed(word, r) }); j >= 0 {
			where = append(where, s.account.Name)
			at, found = i, s.removed[j]
		}
	}
	switch len(where) {
	case 0:
		return 0, found, fmt.Errorf("no message %q was removed in the last 7 days", word)
	case 1:
		return at, found, nil
	}
	return 0, found, fmt.Errorf("message %q was removed in several accounts: name one of %s", word, strings.Join(where, ", "))
}

// bringBack restores messages of one account, while no sync of it runs. It gives an
// exit code for each, or one for all.
func (a *App) bringBack(ctx context.Context, t target, chosen []maildir.Removed, f restoreFlags) (codes []int) {
	name := t.account.Name
	fail := func(folder mail.Folder, err error) {
		a.complain(name, folder, err, nextStep(err))
		codes = append(codes, errorCode(err))
	}
	unlock, err := lockAccount(ctx, a.stateDir(name), f.wait, func(*busyError) {})
	if err != nil {
		fail("", err)
		return codes
	}
	defer unlock()
	tree, err := a.openMaildir(t.account, t.account.Maildir)
	if err != nil {
		fail("", err)
		return codes
	}
	defer tree.Close() // what was restored is durable
	for _, r := range chosen {
		if f.to != "" {
			r = r.In(mail.ParseFolder(f.to))
		}
		if _, err := tree.Restore(ctx, r); err != nil {
			fail("", err) // which names the folder
			continue
		}
		codes = append(codes, exitOK)
		if !a.quiet {
			fmt.Fprintf(a.Stdout, "%s: %s: %s is back\n", name, clean(string(r.Folder)), clean(cmp.Or(r.MessageID, string(r.File.Key))))
		}
	}
	return codes
}

// printRemoved prints what can be brought back, of what the words name if there are any.
func (a *App) printRemoved(stores []store, words []string) {
	var found table
	found.row("ACCOUNT", "REMOVED", "FOLDER", "SUBJECT", "MESSAGE-ID", "KEY")
	for _, s := range stores {
		for _, r := range s.removed {
			if len(words) > 0 && !slices.ContainsFunc(words, func(word string) bool { return isNamed(word, r) }) {
				continue
			}
			id := strings.TrimSuffix(strings.TrimPrefix(r.MessageID, "<"), ">")
			found.row(s.account.Name, localTime(&r.At), clean(string(r.Folder)),
				mail.Clean(r.Subject, 60), clean(id), clean(string(r.File.Key)))
		}
	}
	found.print(a.Stdout)
}
