package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// stage is an account with a running watch, seen from both sides.
type stage struct {
	*bench
	places    []*place
	hand      *wire    // makes changes on the server
	eyes      [2]*wire // look at where a message was, and at where it goes
	ear       *wire    // listens as mailtwin does
	watcher   *fsnotify.Watcher
	sightings chan sighting
	heard     chan announcement
}

// place is a folder that both sides have.
type place struct{ mailbox, dir string }

// sighting is that a file came to the Maildir of a place, or left it.
type sighting struct {
	dir  string
	came bool
	at   time.Time
	err  error
}

// announcement is what the server says of a folder that nobody has asked about.
type announcement struct {
	mailbox  string
	messages int // 0 where it does not tell
	at       time.Time
}

const (
	// glance is how long the server is left alone between two looks at it. A look is a NOOP
	// in a mailbox that is open, of which Dovecot answers thousands a second, so that what is
	// there is seen 2 ms later at most, and a fraction of one for the answer. IDLE would add
	// the half second that Dovecot waits.
	glance = 2 * time.Millisecond
	// liveLimit is how long all of a workload may take.
	liveLimit = time.Hour
	// queued is room for what is seen or heard while nobody asks: more than a burst makes.
	queued = 1 << 14
)

func (b *bench) newStage(d *device) (_ *stage, err error) {
	s := &stage{bench: b, sightings: make(chan sighting, queued), heard: make(chan announcement, queued)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for _, w := range []**wire{&s.hand, &s.eyes[0], &s.eyes[1], &s.ear} {
		if *w, err = dial(fmt.Sprintf("%s:%d", b.server.Host, b.server.Port), d.user, d.password, liveLimit); err != nil {
			return nil, err
		}
	}
	if s.watcher, err = fsnotify.NewBufferedWatcher(queued); err != nil {
		return nil, err
	}
	all, err := s.hand.list()
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		// Those that are spelled the same on both sides are enough.
		p := &place{mailbox: m.name, dir: filepath.Join(d.mail(), strings.Trim(m.name, `"`))}
		if _, err := os.Stat(filepath.Join(p.dir, "cur")); err != nil {
			continue
		}
		s.places = append(s.places, p)
		for _, sub := range []string{"cur", "new"} {
			if err := s.watcher.Add(filepath.Join(p.dir, sub)); err != nil {
				return nil, err
			}
		}
	}
	if len(s.places) == 0 {
		return nil, errors.New("no folder is on both sides")
	}
	go s.see()
	return s, s.listen()
}

// close ends what see and hear wait for.
func (s *stage) close() {
	for _, w := range []*wire{s.hand, s.eyes[0], s.eyes[1], s.ear} {
		if w != nil {
			w.close()
		}
	}
	if s.watcher != nil {
		s.watcher.Close()
	}
}

func (s *stage) see() {
	for {
		var e fsnotify.Event
		var ok bool
		seen := sighting{}
		select {
		case e, ok = <-s.watcher.Events:
		case seen.err, ok = <-s.watcher.Errors:
		}
		if !ok {
			return
		}
		seen.at, seen.dir, seen.came = time.Now(), filepath.Dir(filepath.Dir(e.Name)), e.Has(fsnotify.Create)
		if seen.came || seen.err != nil || e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
			s.sightings <- seen
		}
	}
}

// listen has the changes of all folders announced, by the command with which mailtwin asks
// for that, so that it is told of them at the same time: Dovecot's delay begins with the same
// event of inotify in both.
func (s *stage) listen() error {
	for _, command := range []string{"SELECT INBOX (CONDSTORE)", notify} {
		if _, err := s.ear.do(command); err != nil {
			return err
		}
	}
	s.ear.send("IDLE")
	if err := s.ear.w.Flush(); err != nil {
		return err
	}
	go func() {
		for {
			line, err := s.ear.line()
			if err != nil {
				return
			}
			if a, ok := parseAnnouncement(line); ok {
				a.at = time.Now()
				s.heard <- a
			}
		}
	}()
	return nil
}

// parseAnnouncement reads what the server says of the open mailbox, INBOX, or of another one.
func parseAnnouncement(line string) (announcement, bool) {
	if rest, ok := strings.CutPrefix(line, "* STATUS "); ok {
		open := strings.LastIndexByte(rest, '(')
		if open < 1 {
			return announcement{}, false
		}
		a := announcement{mailbox: rest[:open-1]}
		if _, n, ok := strings.Cut(rest[open:], "MESSAGES "); ok {
			fmt.Sscan(n, &a.messages) // 0 where there is no number
		}
		return a, true
	}
	words := strings.Fields(line)
	if len(words) < 3 || words[0] != "*" {
		return announcement{}, false
	}
	n, err := strconv.Atoi(words[1])
	if err != nil {
		return announcement{}, false
	}
	a := announcement{mailbox: "INBOX"}
	if words[2] == "EXISTS" {
		a.messages = n
	}
	return a, true
}

const notify = "NOTIFY SET (selected (MessageNew MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge FlagChange))"

// listenAnew is for between two changes: Dovecot loses sight of what it watches after some hundreds.
func (s *stage) listenAnew() error {
	s.ear.w.WriteString("DONE\r\n")
	for _, command := range []string{"NOTIFY NONE", notify, "IDLE"} {
		s.ear.send(command)
	}
	return s.ear.w.Flush()
}

// forget drops what was seen and heard until now.
func (s *stage) forget() {
	for {
		select {
		case <-s.sightings:
		case <-s.heard:
		default:
			return
		}
	}
}

// next waits for what is seen or heard.
func next[T any](ctx context.Context, s *stage, from <-chan T) (v T, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, errLost)
	defer cancel()
	select {
	case v = <-from:
		return v, nil
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
}

// errLost: the other side is not told of a change.
var errLost = errors.New("the other side does not get it")

// seenHere waits until the Maildir shows a change.
func (s *stage) seenHere(ctx context.Context, c change) (time.Time, error) {
	for left, came := c.from == nil, c.to == nil; ; {
		e, err := next(ctx, s, s.sightings)
		if err == nil {
			err = e.err
		}
		if err != nil {
			return time.Time{}, err
		}
		left = left || !e.came && e.dir == c.from.dir
		came = came || e.came && e.dir == c.to.dir
		if left && came {
			return e.at, nil
		}
	}
}

// told waits until the server has announced a change, by its first word about it.
func (s *stage) told(ctx context.Context, c change) (time.Time, error) {
	for {
		a, err := next(ctx, s, s.heard)
		if err != nil {
			return time.Time{}, fmt.Errorf("no announcement: %w", err)
		}
		if c.from != nil && a.mailbox == c.from.mailbox || c.to != nil && a.mailbox == c.to.mailbox {
			return a.at, nil
		}
	}
}

// lookAt opens the folders of a change, so that NOOP shows it.
func (s *stage) lookAt(c change) error {
	for i, p := range []*place{c.from, c.to} {
		if p == nil {
			continue
		}
		if _, err := s.eyes[i].do("EXAMINE " + p.mailbox); err != nil {
			return err
		}
	}
	return nil
}

// seenThere waits until the server shows a change to another client.
func (s *stage) seenThere(ctx context.Context, c change) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, errLost)
	defer cancel()
	left, came := c.from == nil, c.to == nil
	gone := "EXPUNGE"
	if c.from == c.to { // a flag
		gone, came = "FETCH", true
	}
	for ; ; time.Sleep(glance) {
		if ctx.Err() != nil {
			return time.Time{}, context.Cause(ctx)
		}
		var err error
		if !left {
			left, err = s.eyes[0].shows(gone)
		}
		if err == nil && !came {
			came, err = s.eyes[1].shows("EXISTS")
		}
		if err != nil || left && came {
			return time.Now(), err
		}
	}
}

// shows tells whether the answer to a NOOP has such a line.
func (w *wire) shows(what string) (bool, error) {
	lines, err := w.do("NOOP")
	for _, line := range lines {
		if words := strings.Fields(line); len(words) > 2 && words[2] == what {
			return true, nil
		}
	}
	return false, err
}
