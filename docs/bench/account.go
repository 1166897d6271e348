package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailtwin/sync/imaptest/corpus"
)

// fill makes the account of a program for a dataset, once, and gives its user.
func (b *bench) fill(d *dataset, p *program, run int) (user string, err error) {
	user = userOf(d, p, run)
	if b.filled[user] {
		return user, nil
	}
	b.filled[user] = true
	account := b.server.Account(user)
	uid, gid := b.server.Owner()
	home := filepath.Dir(account.MailDir)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", err
	}
	if os.Getuid() == 0 {
		if err := os.Chown(home, uid, gid); err != nil {
			return "", err
		}
	}
	if d.messages > 0 {
		original := filepath.Join(b.server.Account("originals").MailDir, d.name)
		if _, err := os.Stat(original); err != nil {
			b.log("  making %s", d.title)
			if err := corpus.NewTree(original, uid, gid).WriteAll(d.samples()); err != nil {
				return "", err
			}
		}
		if err := link(account.MailDir, original, uid, gid); err != nil {
			return "", err
		}
	}
	return user, b.warm(user)
}

// userOf names the account.
func userOf(d *dataset, p *program, run int) string {
	switch {
	case d.shared:
		return d.name
	case d.fresh:
		return fmt.Sprintf("%s-%s-%d", d.name, p.key, run)
	}
	return d.name + "-" + p.key
}

// warm makes the server look at an account as a client does that sees it first, so that
// what it keeps in its indices is there for everybody.
func (b *bench) warm(user string) error {
	w, err := b.dial(user)
	if err != nil {
		return err
	}
	defer w.close()
	all, err := w.list()
	if err != nil {
		return err
	}
	for _, m := range all {
		if _, err := w.do("SELECT " + m.name); err != nil {
			return err
		}
		if m.messages == 0 {
			continue
		}
		if err := w.until(w.send("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)"), nil); err != nil {
			return err
		}
	}
	return nil
}

// dial logs in past the proxy.
func (b *bench) dial(user string) (*wire, error) {
	return dial(fmt.Sprintf("%s:%d", b.server.Host, b.server.Port), user, b.server.Password, 2*time.Minute)
}

// remoteTally counts without leaving a trace.
func remoteTally(w *wire) (tally, error) {
	var t tally
	all, err := w.list()
	if err != nil {
		return t, err
	}
	for _, m := range all {
		t.messages += m.messages
		if _, err := w.do("EXAMINE " + m.name); err != nil {
			return t, err
		}
		uids, err := w.search("FLAGGED")
		if err != nil {
			return t, err
		}
		t.flagged += len(uids)
	}
	return t, nil
}

// search gives UIDs, in their order.
func (w *wire) search(what string) ([]string, error) {
	lines, err := w.do("UID SEARCH " + what)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(line, "* SEARCH"); ok {
			return strings.Fields(rest), nil
		}
	}
	return nil, nil
}
