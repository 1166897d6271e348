package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"mailtwin/cmd/internal/config"
	"mailtwin/cmd/internal/progress"
	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// atOnce bounds how many accounts are synced at the same time.
const atOnce = 4

// syncFlags are the flags of `sync`.
type syncFlags struct {
	dryRun, json, allowDeletes bool
	wait                       time.Duration
	// What no flag sets:
	tidy   bool                // see engine.Options
	live   *engine.Live        // see engine.Options
	opened func(engine.Remote) // is called with the server; nil: nobody wants it
}

func (a *App) syncCommand(code *int) *cobra.Command {
	var f syncFlags
	cmd := &cobra.Command{
		Use:   "sync [ACCOUNT[:FOLDER]...]",
		Short: "bring both sides together, once",
		Long: `Bring the Maildir and the server together, once: all accounts, or those named.
From cron it prints nothing unless something went wrong or waits for you.`,
		Example: `  mailtwin sync
  mailtwin sync --dry-run alice
  mailtwin sync --allow-deletes alice:Lists/go

Exit codes: 0 all in step; 1 something failed or is held, the rest was synced;
2 usage or configuration; 75 server unreachable, or another sync is running;
77 login refused. Several accounts with different codes: 1.`,
		ValidArgsFunction: a.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			*code = a.sync(cmd.Context(), args, f)
			return nil
		},
	}
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "say what would be done, and do nothing")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON document")
	cmd.Flags().BoolVar(&f.allowDeletes, "allow-deletes", false, "carry out the removals that are held, where named")
	cmd.Flags().DurationVar(&f.wait, "wait", lockWait, "how long to wait for another sync of the account")
	return cmd
}

// sync carries out the command, prints what came of it, and gives the exit code.
func (a *App) sync(ctx context.Context, args []string, f syncFlags) int {
	targets, err := a.syncTargets(args, f)
	if err != nil {
		return a.misused(err, f.json)
	}
	var bar *progress.Bar
	if isTerminal(a.Stderr) && !a.quiet && a.verbose == 0 && !f.dryRun {
		bar = progress.New(a.Stderr)
	}
	outcomes := make([]outcome, len(targets))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, t := range targets {
		group.Go(func() error {
			o, asked := outcome{}, false
			if !f.dryRun {
				o, asked = a.askWatch(ctx, t, f)
			}
			if !asked {
				o = a.syncAccount(ctx, t, f, bar)
			}
			outcomes[i] = o
			return nil // one account's trouble is none of the others'
		})
	}
	group.Wait() // never an error
	bar.Close()
	for _, o := range outcomes {
		a.printOutcome(o, f)
	}
	code := exitCode(outcomes)
	if f.json {
		return a.printed(code, newSyncReport(outcomes))
	}
	return code
}

// misused gives the exit code for a mistake in the command line or the configuration,
// which was printed. The document of --json comes on every way out; there is no account
// to tell of here.
func (a *App) misused(err error, asJSON bool) int {
	if !asJSON {
		return exitUsage
	}
	return a.printed(exitUsage, struct {
		Accounts []struct{} `json:"accounts"`
		Error    string     `json:"error"`
	}{[]struct{}{}, clean(strings.ReplaceAll(err.Error(), "\n", "; "))})
}

// printed prints a document, and gives code, or what the failure to print it is worth.
func (a *App) printed(code int, document any) int {
	if err := printJSON(a.Stdout, document); err != nil {
		a.complain("", "", fmt.Errorf("print the report: %w", err), "")
		return exitFailed
	}
	return code
}

// syncTargets reads the configuration and the arguments. What is wrong is printed,
// and comes back for the document of --json.
func (a *App) syncTargets(args []string, f syncFlags) ([]target, error) {
	if err := a.load(); err != nil {
		return nil, err
	}
	targets, err := a.targets(args)
	switch {
	case err != nil:
	case f.wait < 0:
		err = errors.New("--wait must not be negative")
	case f.allowDeletes && len(args) == 0 && len(a.cfg.Accounts) > 1:
		// Consent is for what somebody looked at, not for what else happens to wait.
		err = errors.New("--allow-deletes needs the accounts or folders that it is for: ACCOUNT or ACCOUNT:FOLDER")
	}
	if err != nil {
		a.complain("", "", err, "")
	}
	return targets, err
}

// syncAccount syncs one account, from its lock to its post_sync command.
func (a *App) syncAccount(ctx context.Context, t target, f syncFlags, bar *progress.Bar) outcome {
	started := time.Now()
	o := a.syncMail(ctx, t, f, bar)
	if o.err == nil && !f.dryRun && len(o.report.Changed) > 0 {
		o.err = a.postSync(ctx, t.account, o.report.Changed)
	}
	o.duration = time.Since(started)
	return o
}

// syncMail is syncAccount without the post_sync command.
func (a *App) syncMail(ctx context.Context, t target, f syncFlags, bar *progress.Bar) outcome {
	started := time.Now()
	o := outcome{account: t.account.Name}
	o.err = a.locked(ctx, t.account, f, func() error {
		err := a.syncOpen(ctx, t, f, bar, &o, started, "")
		if !errors.Is(err, mail.ErrState) || f.dryRun {
			return err
		}
		// Damage shows where it is read, which may be late; all that the run did until then
		// was in order, and a new base finds it on both sides.
		lost, err := a.rooms.aside(t.account, err)
		if err != nil {
			return err
		}
		return a.syncOpen(ctx, t, f, bar, &o, started, lost)
	})
	o.duration = time.Since(started)
	return o
}

// syncOpen opens an account and syncs it. lost says why its base is new, if it is not to
// be.
func (a *App) syncOpen(ctx context.Context, t target, f syncFlags, bar *progress.Bar, o *outcome, started time.Time, lost string) error {
	s, err := a.rooms.open(ctx, t.account, f.dryRun)
	if err != nil {
		return err
	}
	defer s.close()
	a.options(&s.opts, t, f, bar)
	if f.opened != nil && s.opts.Remote != nil {
		f.opened(s.opts.Remote)
	}
	if lost != "" {
		s.opts.Lost = lost
	}
	var last lastRun
	if s.recorded != nil {
		if last, err = s.recorded(ctx); err != nil {
			return fmt.Errorf("read the last run: %w", err)
		}
		s.opts.InStep = last.leftInStep()
	}
	var listed []mail.Folder
	s.opts.Selected = func(f mail.Folder) bool {
		listed = append(listed, f)
		return t.account.Selected(f)
	}
	if s.begin != nil {
		err = s.begin(ctx)
	}
	if err == nil {
		o.report, err = a.rooms.run(ctx, s.opts)
	}
	if len(listed) > 0 {
		for _, pattern := range t.account.Folders.Idle(listed) {
			o.report.Skipped = append(o.report.Skipped, mail.Notice{Text: fmt.Sprintf("the pattern %q in folders matches no folder", pattern)})
		}
	}
	if s.opts.Remote != nil {
		o.traffic = s.opts.Remote.Traffic()
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // what a signal cut off may look like a server that went away
	}
	if errors.Is(err, mail.ErrState) {
		return err
	}
	o.err, o.duration = err, time.Since(started)
	a.purge(ctx, s, *o)
	return errors.Join(err, a.record(ctx, s, *o, started, len(t.folders) == 0, last))
}

const (
	// keepRemoved is how long a removed message can be restored, and maxRemoved how many
	// octets of them there may be; but what was removed within keepAnyway stays.
	keepRemoved = 7 * 24 * time.Hour
	maxRemoved  = 4 << 30
	keepAnyway  = 24 * time.Hour
)

// purge forgets the messages that were removed long ago, and the oldest of too many. It is
// worth looking only after a run that changed something, and to measure the store only
// where it has grown. A store that is larger than it should be is no reason for a sync to
// fail.
func (a *App) purge(ctx context.Context, s *session, o outcome) {
	none := engine.Counts{}
	if s.purge == nil || o.err != nil || o.report.Local == none && o.report.Remote == none {
		return
	}
	now := time.Now()
	err := s.purge(ctx, now.Add(-keepRemoved))
	if err == nil && o.report.Local.Removed > 0 {
		err = s.bound(ctx, maxRemoved, now.Add(-keepAnyway))
	}
	if err != nil {
		a.log.Warn("removed messages stay longer than they should", "account", o.account, "error", clean(err.Error()))
	}
}

// locked runs do while this process has the account for itself. A dry run writes
// nothing, so where there is no state yet it needs no lock either.
func (a *App) locked(ctx context.Context, acc config.Account, f syncFlags, do func() error) error {
	if err := usable(acc); err != nil {
		return err
	}
	dir := a.stateDir(acc.Name)
	if _, err := os.Stat(dir); f.dryRun && errors.Is(err, fs.ErrNotExist) {
		return do()
	}
	unlock, err := lockAccount(ctx, dir, f.wait, func(other *busyError) {
		a.log.Info("waiting for another sync", "account", acc.Name, "pid", other.pid)
		if isTerminal(a.Stderr) && !a.quiet {
			fmt.Fprintln(a.Stderr, line(acc.Name, "", other.who(), "waiting for it"))
		}
	})
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

// options fills in what the configuration and the command line say.
func (a *App) options(opts *engine.Options, t target, f syncFlags, bar *progress.Bar) {
	acc := t.account
	opts.Account = acc.Name
	opts.Policy = acc.Policy
	opts.Only = t.folders
	opts.Trash = acc.Trash
	opts.CreateLocal, opts.CreateRemote = acc.CreateFolders.Local, acc.CreateFolders.Remote
	opts.RemoveLocal, opts.RemoveRemote = acc.RemoveFolders.Local, acc.RemoveFolders.Remote
	opts.AllowDeletes = f.allowDeletes
	opts.DryRun = f.dryRun
	opts.Tidy, opts.Live = f.tidy, f.live
	opts.Connections = acc.Connections
	opts.Log = a.log // the engine says which account
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if bar != nil {
		opts.Progress = func(p engine.Progress) { bar.Add(acc.Name, p) }
	}
}

// record keeps what came of a run, which follows on before, for `status`. It does so also after a
// signal, and gives it a moment for that.
func (a *App) record(ctx context.Context, s *session, o outcome, started time.Time, whole bool, before lastRun) error {
	if s.record == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	finished := time.Now()
	report := newRunRecord(o, finished, whole, readRunRecord(before.Report))
	text, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("record the run: %w", err)
	}
	run := lastRun{Started: started, Finished: finished, OK: report.OK, Report: text}
	if report.Error != nil {
		run.Error = *report.Error
	}
	if err := s.record(ctx, run); err != nil {
		return fmt.Errorf("record the run: %w", err)
	}
	return nil
}

// postSync runs the account's post_sync command. It learns the account and the
// folders, a line each, from its environment. What it prints is for -v only, since cron
// would mail it; but what it says of its own failure belongs to the error. Accounts take turns, also
// in other processes: what the commands work on, such as the index of all mail, is often one.
func (a *App) postSync(ctx context.Context, acc config.Account, changed []mail.Folder) error {
	if acc.PostSync == nil {
		return nil
	}
	end, err := takeTurn(ctx, filepath.Join(a.cfg.StateDir, ".post_sync"))
	if err != nil {
		return err
	}
	defer end()
	var folders []string
	for _, f := range changed {
		folders = append(folders, clean(string(f)))
	}
	cmd := exec.CommandContext(ctx, acc.PostSync[0], acc.PostSync[1:]...)
	cmd.Env = append(os.Environ(), "MAILTWIN_ACCOUNT="+acc.Name, "MAILTWIN_FOLDERS="+strings.Join(folders, "\n"))
	var said beginning
	cmd.Stderr = &said
	if a.verbose > 0 {
		cmd.Stdout, cmd.Stderr = a.Stderr, a.Stderr
	}
	cmd.WaitDelay = time.Second
	switch err := cmd.Run(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		// Not wrapped: the command's exit code, which its error tells, is not ours.
		err = fmt.Errorf("post_sync: %s: %v", filepath.Base(acc.PostSync[0]), err)
		if text := strings.TrimSpace(string(said)); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return err
	}
	return nil
}

// beginning keeps the beginning of what is written to it.
type beginning []byte

func (b *beginning) Write(p []byte) (int, error) {
	*b = append(*b, p[:min(len(p), maxText-len(*b))]...)
	return len(p), nil
}

// printOutcome prints what a person should see of an account's run.
func (a *App) printOutcome(o outcome, f syncFlags) {
	a.printComplaints(o)
	for _, n := range o.report.Lost {
		fmt.Fprintln(a.Stderr, line(o.account, n.Folder, n.Text, ""))
	}
	watched := (isTerminal(a.Stdout) || a.verbose > 0) && !a.quiet
	if watched {
		for _, n := range o.report.Skipped {
			fmt.Fprintln(a.Stderr, line(o.account, n.Folder, "left out: "+n.Text, ""))
		}
	}
	if f.json {
		return
	}
	if f.dryRun && !a.quiet {
		for _, action := range o.report.Actions {
			fmt.Fprintf(a.Stdout, "%s: %s\n", o.account, clean(action))
		}
	}
	if (watched || f.dryRun && !a.quiet) && o.err == nil {
		fmt.Fprintln(a.Stdout, o.summary(f.dryRun))
	}
}
