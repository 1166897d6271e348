package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// change is one message that goes from one place to another: one of nil is a new message or
// a removal, and twice the same is a flag.
type change struct{ from, to *place }

// kind gives each kind of change in turn, in one folder after the other, and after all four one
// is left out, so that none has always the same.
func (s *stage) kind(i int) change {
	at := i + i/4
	p, q := s.places[at%len(s.places)], s.places[(at+1)%len(s.places)]
	return []change{{to: p}, {from: p, to: p}, {from: p}, {from: p, to: q}}[i%4]
}

// changeHere makes a change as a mail program does, and gives the moment before it.
func (s *stage) changeHere(c change) (time.Time, error) {
	if c.from == nil {
		raw, date := letter(s.letters)
		to := folder{path: c.to.dir}
		name := freshName()
		if err := to.write(name, raw, date); err != nil {
			return time.Time{}, err
		}
		return time.Now(), to.arrive(file{"new", name})
	}
	from, err := readFolder(c.from.dir)
	if err != nil {
		return time.Time{}, err
	}
	m, err := from.plain()
	if err != nil {
		return time.Time{}, err
	}
	began := time.Now()
	switch c.to {
	case nil:
		err = os.Remove(from.pathOf(m))
	case c.from:
		err = from.mark(m, "F")
	default:
		// Under another name, as mutt does.
		err = os.Rename(from.pathOf(m), folder{path: c.to.dir}.pathOf(file{"cur", freshName() + ":2," + m.flags()}))
	}
	return began, err
}

// plain is a message without a flag.
func (f folder) plain() (file, error) {
	for _, m := range f.files {
		if !strings.Contains(m.flags(), "F") {
			return m, nil
		}
	}
	return file{}, fmt.Errorf("%s has no message without a flag left", f.path)
}

// changeThere makes a change on the server, and gives the moment of its last OK.
func (s *stage) changeThere(c change) (time.Time, error) {
	w := s.hand
	if c.from == nil {
		raw, date := letter(s.letters)
		err := w.until(w.append(c.to.mailbox, about(date), raw), nil)
		return time.Now(), err
	}
	if _, err := w.do("SELECT " + c.from.mailbox); err != nil {
		return time.Time{}, err
	}
	uids, err := w.search("UNFLAGGED")
	if err != nil {
		return time.Time{}, err
	}
	if len(uids) == 0 {
		return time.Time{}, fmt.Errorf("%s has no message without a flag left", c.from.mailbox)
	}
	uid := uids[0]
	var commands []string
	switch c.to {
	case nil:
		commands = []string{fmt.Sprintf(`UID STORE %s +FLAGS.SILENT (\Deleted)`, uid), "UID EXPUNGE " + uid}
	case c.from:
		commands = []string{fmt.Sprintf(`UID STORE %s +FLAGS.SILENT (\Flagged)`, uid)}
	default:
		commands = []string{fmt.Sprintf("UID MOVE %s %s", uid, c.to.mailbox)}
	}
	for _, command := range commands {
		if _, err := w.do(command); err != nil {
			return time.Time{}, err
		}
	}
	return time.Now(), nil
}

// burst is the folder of bursts: none that the server has an eye on anyway, as on INBOX.
func (s *stage) burst() *place { return s.places[len(s.places)-1] }

// hereBurst has messages arrive at once. Which of them the server shows first is not asked:
// the first that it shows is taken for the first that arrived, and so on.
func (s *stage) hereBurst(ctx context.Context, changes int, r *liveResult) error {
	p := s.burst()
	to := folder{path: p.dir}
	names := make([]string, changes)
	for i := range names {
		raw, date := letter(s.letters)
		names[i] = freshName()
		if err := to.write(names[i], raw, date); err != nil {
			return err
		}
	}
	s.pause()
	if err := s.lookAt(change{to: p}); err != nil {
		return err
	}
	before, err := s.hand.count(p.mailbox)
	if err != nil {
		return err
	}
	began := make([]time.Time, changes)
	for i, name := range names {
		began[i] = time.Now()
		if err := to.arrive(file{"new", name}); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.patience, errLost)
	defer cancel()
	var seen []time.Time
	for ; len(seen) < changes; time.Sleep(glance) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		lines, err := s.eyes[1].do("NOOP")
		if err != nil {
			return err
		}
		for _, line := range lines {
			if a, ok := parseAnnouncement(line); ok {
				seen = fillTo(seen, a.messages-before, time.Now())
			}
		}
	}
	for i := range changes {
		r.Took = append(r.Took, milliseconds(began[i], seen[i]))
	}
	r.Whole = append(r.Whole, milliseconds(began[0], seen[changes-1]))
	return nil
}

// thereBurst has messages arrive on the server by one client, which waits for no answer.
func (s *stage) thereBurst(ctx context.Context, changes int, r *liveResult) error {
	p := s.burst()
	before, err := s.hand.count(p.mailbox)
	if err != nil {
		return err
	}
	if _, err := s.hand.do("SELECT " + p.mailbox); err != nil { // or it is opened for each message
		return err
	}
	s.pause()
	s.forget()
	began, err := s.appends(p, changes)
	if err != nil {
		return err
	}
	var seen, told []time.Time
	for len(seen) < changes {
		e, err := next(ctx, s, s.sightings)
		if err == nil {
			err = e.err
		}
		if err != nil {
			return fmt.Errorf("%d of %d are here: %w", len(seen), changes, err)
		}
		if e.came && e.dir == p.dir {
			seen = append(seen, e.at)
		}
	}
	for len(told) < changes {
		a, err := next(ctx, s, s.heard)
		if err != nil {
			return fmt.Errorf("%d of %d are announced: %w", len(told), changes, err)
		}
		if a.mailbox == p.mailbox {
			told = fillTo(told, a.messages-before, a.at)
		}
	}
	for i := range changes {
		r.Took = append(r.Took, milliseconds(began[i], seen[i]))
		r.Announced = append(r.Announced, milliseconds(told[i], seen[i]))
	}
	r.Whole = append(r.Whole, milliseconds(began[0], seen[changes-1]))
	return nil
}

// appends gives the moments at which the server has said that it has each message.
func (s *stage) appends(p *place, n int) ([]time.Time, error) {
	var said []time.Time
	var g errgroup.Group
	g.Go(func() error {
		for range n {
			raw, date := letter(s.letters)
			s.hand.append(p.mailbox, about(date), raw)
		}
		return s.hand.w.Flush()
	})
	g.Go(func() error {
		for range n {
			if err := s.hand.drain(1); err != nil {
				return err
			}
			said = append(said, time.Now())
		}
		return nil
	})
	return said, g.Wait()
}

// fillTo notes a moment for all up to the nth that have none.
func fillTo(times []time.Time, n int, at time.Time) []time.Time {
	for len(times) < n {
		times = append(times, at)
	}
	return times
}

// count is how many messages a mailbox has.
func (w *wire) count(mailbox string) (int, error) {
	all, err := w.list()
	if err != nil {
		return 0, err
	}
	for _, m := range all {
		if m.name == mailbox {
			return m.messages, nil
		}
	}
	return 0, fmt.Errorf("no mailbox %s", mailbox)
}

// about is what APPEND says of a message without flags.
func about(date time.Time) string {
	return fmt.Sprintf("() %q", date.Format("02-Jan-2006 15:04:05 -0700"))
}
