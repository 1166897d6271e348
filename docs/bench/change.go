package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"mailtwin/sync/imaptest/corpus"
)

// delta is what happens to an account between two runs, spread over its folders.
type delta struct{ flags, arrive, gone, moved int }

// share is how many of n things happen in folder i of so many.
func share(n, i, folders int) int { return n/folders + min(1, max(0, n%folders-i)) }

// remotely makes the delta on the server.
func (x delta) remotely(w *wire, g *corpus.Generator) error {
	all, err := w.list()
	if err != nil {
		return err
	}
	for i, m := range all {
		if _, err := w.do("SELECT " + m.name); err != nil {
			return err
		}
		uids, err := w.search("UNFLAGGED")
		if err != nil {
			return err
		}
		flags, gone := share(x.flags, i, len(all)), share(x.gone, i, len(all))
		if flags+gone > len(uids) {
			return fmt.Errorf("%s has only %d messages without a flag left", m.name, len(uids))
		}
		if flags > 0 {
			if _, err := w.do(fmt.Sprintf(`UID STORE %s +FLAGS.SILENT (\Flagged)`, strings.Join(uids[:flags], ","))); err != nil {
				return err
			}
		}
		if gone > 0 {
			set := strings.Join(uids[len(uids)-gone:], ",")
			if _, err := w.do(fmt.Sprintf(`UID STORE %s +FLAGS.SILENT (\Deleted)`, set)); err != nil {
				return err
			}
			if _, err := w.do("UID EXPUNGE " + set); err != nil {
				return err
			}
		}
		for range share(x.arrive, i, len(all)) {
			raw, date := letter(g)
			if err := w.until(w.append(m.name, about(date), raw), nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// locally makes the delta in a device's Maildir.
func (x delta) locally(root string, g *corpus.Generator) error {
	all, err := folders(root)
	if err != nil {
		return err
	}
	for i, f := range all {
		var plain []file
		for _, m := range f.files {
			if !strings.Contains(m.flags(), "F") {
				plain = append(plain, m)
			}
		}
		flags, gone, moved := share(x.flags, i, len(all)), share(x.gone, i, len(all)), share(x.moved, i, len(all))
		if flags+gone+moved > len(plain) {
			return fmt.Errorf("%s has only %d messages without a flag left", f.path, len(plain))
		}
		for _, m := range plain[:flags] {
			if err := f.mark(m, "F"); err != nil {
				return err
			}
		}
		plain = plain[flags:]
		for _, m := range plain[:gone] {
			if err := os.Remove(f.pathOf(m)); err != nil {
				return err
			}
		}
		// As mutt saves a message: under another name, since the old one may mean something
		// to a program.
		for _, m := range plain[gone : gone+moved] {
			to := file{"cur", freshName() + ":2," + m.flags()}
			if err := os.Rename(f.pathOf(m), all[(i+1)%len(all)].pathOf(to)); err != nil {
				return err
			}
		}
		for range share(x.arrive, i, len(all)) {
			raw, date := letter(g)
			if err := f.deliver(file{"new", freshName()}, raw, date); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest waits until a Maildir has been at rest: mbsync sleeps until the second is over in
// which a folder has changed, be it by itself, and nobody syncs that soon.
func (b *bench) rest() {
	if !b.quick {
		time.Sleep(1100 * time.Millisecond)
	}
}
