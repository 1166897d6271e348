package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// The floor is what the transfers of a workload cost a client that decides and remembers
// nothing: the commands are pipelined, and the files as durable as mailtwin's. It runs in
// a process of its own, as the programs do that it is compared with.

// floorEnv holds a floorSpec; where it is set, this process is a floor.
const floorEnv = "MAILTWIN_BENCH_FLOOR"

type floorSpec struct {
	Kind                 string // "fetch", "look" or "upload"
	Addr, User, Password string
	Dir                  string // where messages go to, or come from
}

const (
	floorConnections = 4
	floorSyncs       = 16 // fsyncs at a time
	floorLimit       = 10 * time.Minute
)

func floorMain(text string) int {
	var s floorSpec
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		switch s.Kind {
		case "fetch":
			err = s.fetch()
		case "look":
			err = s.look()
		case "upload":
			err = s.upload()
		default:
			err = fmt.Errorf("no such floor: %q", s.Kind)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		return 1
	}
	return 0
}

func (s *floorSpec) dial() (*wire, error) { return dial(s.Addr, s.User, s.Password, floorLimit) }

// look is one LIST with the status of all folders.
func (s *floorSpec) look() error {
	w, err := s.dial()
	if err != nil {
		return err
	}
	defer w.close()
	_, err = w.list()
	return err
}

// part is a range of a mailbox, which one connection fetches.
type part struct {
	mailbox     string
	dir         string
	first, last int // UIDs
}

// parts divides the mailboxes into about equal shares, one for each connection.
func parts(all []mailbox, dir string, shares int) [][]part {
	total := 0
	for _, m := range all {
		total += m.messages
	}
	size := max(total/shares, 1)
	var out [][]part
	var now []part
	room := size
	for i, m := range all {
		if m.messages == 0 {
			continue
		}
		p := part{mailbox: m.name, dir: filepath.Join(dir, strconv.Itoa(i)), first: 1}
		for left := m.messages; left > 0; {
			// UIDs are taken to be dense, which is true of a corpus; where they are not, the
			// shares are less equal, and the ranges still cover everything.
			n := min(left, room)
			left, room = left-n, room-n
			p.last = p.first + n - 1
			if left == 0 {
				p.last = m.uidNext
			}
			now = append(now, p)
			p.first = p.last + 1
			if room == 0 && len(out) < shares-1 {
				out, now, room = append(out, now), nil, size
			} else if room == 0 {
				room = total // the last share takes what is left
			}
		}
	}
	if now != nil {
		out = append(out, now)
	}
	return out
}

// fetch brings all messages into files.
func (s *floorSpec) fetch() error {
	first, err := s.dial()
	if err != nil {
		return err
	}
	defer first.close()
	all, err := first.list()
	if err != nil {
		return err
	}
	var dirs []string
	for i := range all {
		d := filepath.Join(s.Dir, strconv.Itoa(i))
		for _, sub := range []string{"tmp", "new", "cur"} {
			if err := os.MkdirAll(filepath.Join(d, sub), 0o700); err != nil {
				return err
			}
		}
		dirs = append(dirs, filepath.Join(d, "cur"), d)
	}

	landed := newLanding()
	var g errgroup.Group
	for i, share := range parts(all, s.Dir, floorConnections) {
		g.Go(func() error {
			w := first
			if i > 0 {
				var err error
				if w, err = s.dial(); err != nil {
					return err
				}
				defer w.close()
			}
			return fetchParts(w, share, landed)
		})
	}
	err = g.Wait()
	if err2 := landed.wait(); err == nil {
		err = err2
	}
	if err != nil {
		return err
	}
	for _, d := range append(dirs, s.Dir) {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

// fetchParts asks for everything at once and then takes it as it comes.
func fetchParts(w *wire, share []part, landed *landing) error {
	var tags []string
	for _, p := range share {
		w.send("EXAMINE " + p.mailbox)
		tags = append(tags, w.send(fmt.Sprintf("UID FETCH %d:%d (UID FLAGS INTERNALDATE BODY.PEEK[])", p.first, p.last)))
	}
	for i, p := range share {
		serial := 0
		w.literal = func(size int64, r io.Reader) error {
			body := make([]byte, size)
			if _, err := io.ReadFull(r, body); err != nil {
				return err
			}
			serial++
			landed.put(p.dir, fmt.Sprintf("%d.%d", p.first, serial), body)
			return nil
		}
		if err := w.until(tags[i], nil); err != nil {
			return err
		}
	}
	return nil
}

// landing writes files, some at a time: to tmp, synced, and then renamed.
type landing struct {
	jobs chan func() error
	done sync.WaitGroup
	mu   sync.Mutex
	err  error
}

func newLanding() *landing {
	l := &landing{jobs: make(chan func() error, floorSyncs)}
	for range floorSyncs {
		l.done.Go(func() {
			for job := range l.jobs {
				if err := job(); err != nil {
					l.mu.Lock()
					l.err = err
					l.mu.Unlock()
				}
			}
		})
	}
	return l
}

func (l *landing) put(dir, name string, body []byte) {
	l.jobs <- func() error {
		tmp := filepath.Join(dir, "tmp", name)
		f, err := os.OpenFile(tmp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Write(body); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		return os.Rename(tmp, filepath.Join(dir, "cur", name))
	}
}

func (l *landing) wait() error {
	close(l.jobs)
	l.done.Wait()
	return l.err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// upload appends the files of a directory to INBOX, all without waiting.
func (s *floorSpec) upload() error {
	names, err := os.ReadDir(s.Dir)
	if err != nil {
		return err
	}
	w, err := s.dial()
	if err != nil {
		return err
	}
	defer w.close()
	var g errgroup.Group
	g.Go(func() error {
		w.send("SELECT INBOX") // an open mailbox is not opened for each message
		for _, n := range names {
			raw, err := os.ReadFile(filepath.Join(s.Dir, n.Name()))
			if err != nil {
				return err
			}
			w.append("INBOX", `(\Seen)`, crlf(raw))
		}
		return w.w.Flush()
	})
	g.Go(func() error { return w.drain(1 + len(names)) })
	return g.Wait()
}
