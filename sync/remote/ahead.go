package remote

import (
	"cmp"
	"context"
	"math"
	"slices"

	"mailtwin/conflict/mail"
)

// maxAhead bounds how many folders are asked about in one breath: what is sent must not fill
// the line both ways before the first answer is read.
const maxAhead = 64

// maxForeseen bounds how many messages are kept of folders that were never read. The others are
// listed as a stream, each in its Scan.
const maxForeseen = 16 << 10

// manyNew is how many new messages are worth all the sessions that there may be, since more
// than that are not fetched on one. To log in takes some round trips; so they do while the
// folders are looked at.
const manyNew = 256

// foreseen is what a Scan would tell of a folder.
type foreseen struct {
	since    mail.Cursor
	known    int
	messages []mail.Message
	view     mail.View
}

// Ahead asks about many folders in one breath, and keeps what is told for the Scans that
// follow: that costs one round trip for up to 64 folders, on one session, instead of one or
// two for each. Where much is new, the other sessions log in meanwhile. What an answer leaves
// open, and what goes wrong, is left to the Scan.
func (a *Account) Ahead(ctx context.Context, queries []mail.Query) {
	names := make(map[mail.Folder]string, len(queries))
	var asked []mail.Query
	news, kept, left := 0, 0, map[mail.Folder]foreseen{}
	for _, q := range queries {
		if seen, ok := a.foreseen(q.Folder, q.Since, q.Known); ok {
			left[q.Folder] = seen // a visit has asked
			continue
		}
		name, err := a.server(ctx, q.Folder)
		if err != nil {
			return
		}
		names[q.Folder] = name
		news += q.New
		if q.Since == (mail.Cursor{}) {
			if kept+q.New > maxForeseen {
				continue
			}
			kept += q.New
		}
		asked = append(asked, q)
	}
	a.mu.Lock()
	a.ahead = left
	a.mu.Unlock()
	if news > manyNew && !a.opts.ReadOnly {
		a.Ready(ctx, a.opts.Connections, nil)
	}
	for some := range slices.Chunk(asked, maxAhead) {
		err := a.with(ctx, "look at folders", "", func(s *session) error { return a.look(s, some, names) })
		if err != nil {
			a.log.Debug("look at folders", "error", err)
			return
		}
	}
}

// foreseen gives what is known of the answer to a Scan, once.
func (a *Account) foreseen(folder mail.Folder, since mail.Cursor, known int) (foreseen, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, ok := a.ahead[folder]
	delete(a.ahead, folder)
	return f, ok && f.since == since && f.known == known
}

// unsee forgets what was asked ahead of a folder, which is about to change.
func (a *Account) unsee(folder mail.Folder) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.ahead, folder)
}

// unseeAll forgets what was asked ahead of all folders.
func (a *Account) unseeAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ahead = nil
}

// asking is a question about a folder that has no answer yet.
type asking struct {
	*scan
	folder    mail.Folder
	selecting opening
}

// ask asks about a folder, on a session, and waits for nothing.
func (a *Account) ask(s *session, q mail.Query, name string) asking {
	sc := &scan{s: s, view: new(mail.View), since: q.Since, known: q.Known}
	at := asking{sc, q.Folder, s.opening(name, a.opts.ReadOnly)}
	sc.ask()
	if q.Since == (mail.Cursor{}) {
		sc.askFirst()
	} else if q.Gone {
		sc.askAll()
	}
	return at
}

// told keeps what is told about a folder, if that leaves nothing open. An error says that the
// session is broken.
func (a *Account) told(at asking) error {
	s := at.s
	if err := s.opened(at.selecting); err != nil {
		at.discard() // the error of the SELECT tells more
		if s.broken {
			return err
		}
		return nil
	}
	*at.view = a.viewOf(s, at.since)
	messages, ok := at.foresee()
	if ok {
		a.mu.Lock()
		if a.ahead == nil {
			a.ahead = map[mail.Folder]foreseen{}
		}
		a.ahead[at.folder] = foreseen{at.since, at.known, messages, *at.view}
		a.mu.Unlock()
	}
	if s.broken {
		return s.conn.Err()
	}
	return nil
}

// look asks about folders, on a session.
func (a *Account) look(s *session, queries []mail.Query, names map[mail.Folder]string) error {
	var asked []asking
	s.conn.Cork()
	for _, q := range queries {
		asked = append(asked, a.ask(s, q, names[q.Folder]))
	}
	s.conn.Uncork()
	var broken error
	for _, at := range asked {
		broken = cmp.Or(broken, a.told(at))
	}
	s.take()
	return broken
}

// foresee gives what a scan would visit, if what it was told leaves nothing open. Nothing can
// be asked for any more: by now another folder is selected.
func (sc *scan) foresee() ([]mail.Message, bool) {
	now := sc.view.Cursor
	enough := sc.first || sc.asked && now.HighestModSeq != 0
	if sc.view.Restarted || !enough || now.UIDNext == 0 || sc.s.box.partial || sc.s.limits() {
		sc.discard() // what breaks the session shows in it
		return nil, false
	}
	if sc.answers() != nil || len(sc.lacking) > 0 || sc.seen.Len() < len(sc.waiting) {
		return nil, false
	}
	switch atSelect, _ := sc.count(); {
	case atSelect == int(now.Messages) && sc.first:
		sc.view.Full, sc.view.Absence, sc.view.Present = true, mail.ByPresent, sc.seen
	case atSelect == int(now.Messages):
		sc.view.Absence = mail.NothingGone
	case sc.all != nil && sc.lists():
		sc.view.Absence = mail.ByPresent
	default:
		return nil, false
	}
	slices.SortFunc(sc.waiting, byUID)
	messages := make([]mail.Message, len(sc.waiting))
	for i, r := range sc.waiting {
		messages[i] = r.message()
	}
	return messages, true
}

// lists tells whether the list of all messages is believed: it has as many as it says, and of
// those that were there at the SELECT as many as that said. What came later and is not among
// the new ones, since it came after they were listed, is left to the next scan.
func (sc *scan) lists() bool {
	uids, count := found(sc.all)
	var later mail.UIDSet
	later.AddRange(mail.UIDRange{First: sc.view.Cursor.UIDNext, Last: math.MaxUint32})
	if uids.Len() != int(count) || uids.Without(later).Len() != int(sc.view.Cursor.Messages) {
		return false
	}
	sc.view.Present = uids.Without(later.Without(sc.seen))
	return true
}
