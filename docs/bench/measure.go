package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"mailtwin/sync/imaptest/corpus"
	"mailtwin/sync/imaptest/dovecot"
)

// bench is a server with a line to it, and what was made on both sides so far.
type bench struct {
	settings
	dir      string
	server   *dovecot.Server
	proxy    *proxy
	programs map[string]*program
	filled   map[string]bool    // users
	devices  map[string]*device // by user and program: those in use
	used     map[string]int     // accounts of datasets that are made afresh
	hopeless map[string]string  // by user and program: why a first sync failed
	serial   int
	letters  *corpus.Generator
}

// serverConf lets COMPRESS be used, and processes serve one login after another, since
// what starting them costs is the server's and not the same each time.
const serverConf = "mail_plugins = zlib\nprotocol imap {\n mail_plugins = $mail_plugins imap_zlib\n}\n" +
	"service imap-login {\n service_count = 0\n}\nservice imap {\n service_count = 1000\n}"

// measure is the whole: it runs what was chosen and writes the report.
func measure(ctx context.Context, s settings) error {
	var chosen []*workload
	for _, w := range workloads(s) {
		if s.only.MatchString(w.name) && (w.live == nil || s.with.MatchString(mailtwin)) {
			chosen = append(chosen, w)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no workload matches %q", s.only)
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rep, err := loadReport(s.out)
	if err != nil {
		return err
	}
	if s.runs == 0 {
		return rep.write(s, programs(ctx, ""))
	}
	b := &bench{settings: s, dir: dir, programs: map[string]*program{}, filled: map[string]bool{},
		devices: map[string]*device{}, used: map[string]int{}, hopeless: map[string]string{}, letters: corpus.New(uint64(time.Now().UnixNano()))}
	path := filepath.Join(dir, "mailtwin")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "mailtwin/cmd/mailtwin").CombinedOutput(); err != nil {
		return fmt.Errorf("build mailtwin: %w\n%s", err, out)
	}
	rep.here(ctx, dir)
	list := programs(ctx, path)
	for _, p := range list {
		b.programs[p.key] = p
	}
	h := &host{}
	defer h.close()
	if err := h.try(func() {
		b.server = dovecot.Start(h, dovecot.NoRoles(), dovecot.Users(b.users(chosen, list)...), dovecot.Extra(serverConf))
	}); err != nil {
		return err
	}
	if b.proxy, err = newProxy(fmt.Sprintf("%s:%d", b.server.Host, b.server.Port)); err != nil {
		return err
	}
	defer b.proxy.close()
	for _, w := range chosen {
		if w.live != nil {
			rep.Live[w.name], err = b.measureLive(ctx, w, rep.Commit)
		} else {
			rep.Results[w.name], err = b.measure(ctx, w, rep.Commit)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		// What is measured so far is kept whatever comes after it.
		if err := rep.write(s, list); err != nil {
			return err
		}
	}
	return nil
}

// users are all accounts that the workloads may want.
func (b *bench) users(chosen []*workload, list []*program) []string {
	all := []string{"originals"}
	seen := map[string]bool{}
	for _, w := range chosen {
		for _, p := range list {
			for run := range 3*b.runs + 1 {
				if u := userOf(w.data, p, run); !seen[u] {
					seen[u] = true
					all = append(all, u)
				}
			}
		}
	}
	return all
}

// measure runs a workload with all of its programs in turn, again and again, each time
// beginning with another one, so that whatever else the machine does meets them alike.
func (b *bench) measure(ctx context.Context, w *workload, commit string) (*result, error) {
	r := &result{When: time.Now().UTC().Truncate(time.Second), Commit: commit, Load: loadAverage(), Runs: map[string][]figures{}, Failed: map[string]string{}}
	b.log("%s: %s", w.name, w.title)
	spent := map[string]time.Duration{}
	for run := range b.runs {
		for i := range w.programs {
			key := w.programs[(i+run)%len(w.programs)]
			p := b.programs[key]
			if p.path == "" || !b.with.MatchString(key) || r.Failed[key] != "" || spent[key] > b.budget {
				continue
			}
			began := time.Now()
			f, err := b.once(ctx, w, p, run)
			spent[key] += time.Since(began)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			// To be slow is a figure; of ours, to do what is wrong is none.
			if err != nil && (key == mailtwin || key == floor) && !errors.Is(err, errEnded) {
				return nil, fmt.Errorf("%s: %w", p.title, err)
			}
			if err != nil {
				b.log("  %-20s %v", p.title, err)
				r.Failed[key], _, _ = strings.Cut(err.Error(), "\n")
				continue
			}
			r.Runs[key] = append(r.Runs[key], f)
			b.log("  %-20s %7.3f s  cpu %.3f s  %d MB  in %d  out %d  %d round trips (%d)", p.title, f.Wall, f.CPU, f.Peak>>20, f.In, f.Out, f.RoundTrips, f.Own)
		}
	}
	return r, nil
}
