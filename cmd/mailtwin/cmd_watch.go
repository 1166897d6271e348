package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"mailtwin/cmd/internal/config"
	"mailtwin/sync/watch"
)

func (a *App) watchCommand(code *int) *cobra.Command {
	return &cobra.Command{
		Use:   "watch [ACCOUNT...]",
		Short: "stay, and bring both sides together as they change",
		Long: `Stay, and bring the Maildir and the server together: what changes here at once,
and what changes on the server as soon as that announces it, or each poll_interval. What goes
wrong is said once, and tried again later. SIGTERM and SIGINT end it; SIGHUP has it read the
configuration anew.`,
		Example: `  mailtwin watch
  mailtwin watch alice

Exit codes: 0 ended by a signal; 1 another watch has an account, which was left out;
2 usage or configuration.`,
		ValidArgsFunction: a.completeAccounts,
		RunE: func(cmd *cobra.Command, args []string) error {
			*code = a.watch(cmd.Context(), args)
			return nil
		},
	}
}

// watch carries out the command, and gives the exit code.
func (a *App) watch(ctx context.Context, args []string) int {
	targets, err := a.watchTargets(args)
	if err != nil {
		return exitUsage
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		w := a.watchAll(ctx, targets)
		fresh := w.supervise(ctx, args, hangup)
		codes := w.end()
		if fresh == nil {
			return together(codes)
		}
		a.cfg = fresh.cfg
		targets = fresh.targets
	}
}

// watchTargets reads the configuration and the arguments, and prints what is wrong with them.
func (a *App) watchTargets(args []string) ([]target, error) {
	targets, err := a.syncTargets(args, syncFlags{})
	for _, t := range targets {
		if err == nil {
			err = usable(t.account)
			if len(t.folders) > 0 {
				err = errors.New("watch is for whole accounts; `folders` in the configuration says which folders are synced")
			}
			if err != nil {
				a.complain(t.account.Name, "", err, "")
			}
		}
	}
	return targets, err
}

// watchers are the accounts that are watched at once.
type watchers struct {
	app   *App
	ready chan struct{} // is closed when each account was synced for the first time, whatever came of that
	stop  context.CancelFunc
	ended sync.WaitGroup
	codes []int

	mu    sync.Mutex // guards loops
	loops []*watch.Loop
}

// watchAll begins to watch accounts.
func (a *App) watchAll(ctx context.Context, targets []target) *watchers {
	w := &watchers{app: a, ready: make(chan struct{}), codes: make([]int, len(targets))}
	ctx, w.stop = context.WithCancel(ctx)
	var tried, accounts sync.WaitGroup
	var hints []chan<- struct{}
	for i, t := range targets {
		network, again := make(chan struct{}, 1), make(chan struct{}, 1)
		hints = append(hints, network, again)
		tried.Add(1)
		accounts.Go(func() {
			w.codes[i] = a.watchAccount(ctx, t, network, again, sync.OnceFunc(tried.Done), w.began)
		})
	}
	w.ended.Go(func() { tried.Wait(); close(w.ready) })
	w.ended.Go(func() {
		accounts.Wait()
		w.stop()
	})
	w.ended.Go(func() { a.hearNetwork(ctx, hints) })
	return w
}

// hearNetwork tells all accounts when the network may be back, until ctx ends. Where the system does
// not tell, it is tried each minute.
func (a *App) hearNetwork(ctx context.Context, hints []chan<- struct{}) {
	err := a.rooms.network(ctx, func() {
		a.log.Info("the network has changed")
		for _, h := range hints {
			select {
			case h <- struct{}{}:
			default: // there is one that was not taken yet
			}
		}
	})
	if ctx.Err() == nil {
		a.log.Info("nothing tells when the network is back", "reason", err)
	}
}

func (w *watchers) began(l *watch.Loop) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loops = append(w.loops, l)
}

// end ends the watching, and gives the exit codes.
func (w *watchers) end() []int {
	w.stop()
	w.ended.Wait()
	return w.codes
}

// reading is a configuration that was read anew.
type reading struct {
	cfg     *config.Config
	targets []target
}

// supervise returns when all has ended, or ctx does, or the configuration was read anew. One that
// is no good is refused, and the old one kept.
func (w *watchers) supervise(ctx context.Context, args []string, hangup <-chan os.Signal) *reading {
	all := make(chan struct{})
	go func() { w.ended.Wait(); close(all) }()
	var beat <-chan time.Time
	if every, err := daemon.SdWatchdogEnabled(false); err == nil && every > 0 {
		ticker := time.NewTicker(every / 3)
		defer ticker.Stop()
		beat = ticker.C
	}
	// systemd waits for that, so an account that cannot be reached does not keep it from coming.
	ready := w.ready
	for {
		select {
		case <-ready:
			ready = nil
			w.app.notify(daemon.SdNotifyReady)
		case <-ctx.Done():
			w.app.notify(daemon.SdNotifyStopping)
			return nil
		case <-all:
			return nil
		case <-beat:
			if l := w.stuck(time.Now()); l == nil {
				w.app.notify(daemon.SdNotifyWatchdog)
			} else {
				w.app.log.Error("a watch is stuck", "since", l.Next)
			}
		case <-hangup:
			w.app.notify(reloading())
			later := *w.app
			targets, err := later.watchTargets(args)
			if err == nil {
				return &reading{later.cfg, targets}
			}
			w.app.complain("", "", errors.New("the configuration that was read before is kept"), "mend the new one, and send SIGHUP again")
			w.app.notify(daemon.SdNotifyReady)
		}
	}
}

// overdue is how long after its time a loop is taken to be stuck. A sync takes what it takes: each
// of its waits is bounded.
const overdue = 5 * time.Minute

// stuck gives the state of a loop that does not do what it was to do; nil if there is none.
func (w *watchers) stuck(now time.Time) *watch.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.loops {
		if s := l.State(); isStuck(s, now) {
			return &s
		}
	}
	return nil
}

func isStuck(s watch.State, now time.Time) bool {
	return !s.Syncing && !s.Next.IsZero() && now.Sub(s.Next) > overdue
}

// notify tells systemd, if that has started us.
func (a *App) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.log.Warn("systemd is not told", "state", state, "error", err)
	}
}

// reloading is what systemd wants to hear before the configuration is read anew
// (Type=notify-reload).
func reloading() string {
	state, usec := daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec()
	return state + "\n" + usec
}
