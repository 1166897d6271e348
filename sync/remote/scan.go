package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// Scan reads what happened in a folder since the cursor.
//
// With mod-sequences (RFC 7162) it asks for changed flags below since.UIDNext, and for
// what is new from there on, behind the SELECT and without waiting for it. In every other
// case, and where the folder is not the one that the cursor was read from, it lists all
// messages: behind the SELECT, too, if nothing was read before.
//
// Where the server does not tell UIDNEXT, View's cursor has the UID after the
// highest one seen.
func (a *Account) Scan(ctx context.Context, folder mail.Folder, since mail.Cursor, known int, visit func(mail.Message) error) (mail.View, error) {
	var view mail.View
	if seen, ok := a.foreseen(folder, since, known); ok {
		for _, m := range seen.messages {
			if err := visit(m); err != nil {
				return mail.View{}, err
			}
		}
		return seen.view, nil
	}
	err := a.on(ctx, "scan", folder, func(s *session, name string) error {
		sc := &scan{s: s, visit: visit, view: &view, since: since, known: known}
		a.mu.Lock()
		list := since == (mail.Cursor{}) && !a.untold
		a.mu.Unlock()
		s.conn.Cork()
		selecting := s.opening(name, a.opts.ReadOnly)
		if sc.ask(); list {
			sc.listing = s.client.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, listItems)
		}
		s.conn.Uncork()
		err := s.opened(selecting)
		if err == nil && s.box.cursor.UIDNext == 0 && sc.listing != nil {
			// It has to be learnt before anything is listed, or what comes between the two would
			// be passed over.
			err = sc.discard()
			a.mu.Lock()
			a.untold = true
			a.mu.Unlock()
		}
		if err == nil {
			err = s.learnNext()
		}
		if err != nil {
			sc.discard() // the SELECT's own error tells more
			return err
		}
		view = a.viewOf(s, since)
		if view.Restarted || !sc.asked || view.Cursor.HighestModSeq == 0 {
			if sc.listing == nil || s.box.cursor.Messages == 0 {
				if err := sc.discard(); err != nil {
					return err
				}
			}
			a.mu.Lock()
			sc.buffer = a.unsorted
			a.mu.Unlock()
			err = sc.full()
			if sc.unsorted {
				a.mu.Lock()
				a.unsorted = true
				a.mu.Unlock()
			}
			return err
		}
		return sc.delta()
	})
	if err != nil {
		return mail.View{}, err
	}
	return view, nil
}

// viewOf begins a scan of the selected folder, and tells what the SELECT said of it.
func (a *Account) viewOf(s *session, since mail.Cursor) mail.View {
	s.box.scan = a.scans.begin(s.box.name)
	now := s.box.cursor
	view := mail.View{Cursor: now, MailboxID: s.box.id}
	view.ReadOnly = s.box.readOnly
	view.Settable, view.NewKeywords = permanence(s.box.permanent)
	if a.opts.ReadOnly {
		// EXAMINE says of every folder that it is read-only; whether it can be written is
		// not known, and a dry run takes it for possible.
		view.ReadOnly = false
		view.Settable, view.NewKeywords = permanence(nil)
	}
	view.Restarted = restarted(since, now) || s.box.fleeting && since != (mail.Cursor{})
	return view
}

// restarted tells whether the folder is not the one that the cursor was read from,
// or went back in time under it. HIGHESTMODSEQ 0 is what some servers say of an
// empty folder, and means nothing.
func restarted(since, now mail.Cursor) bool {
	if since == (mail.Cursor{}) {
		return false
	}
	return since.UIDValidity != now.UIDValidity ||
		now.UIDNext != 0 && now.UIDNext < since.UIDNext ||
		now.HighestModSeq != 0 && now.HighestModSeq < since.HighestModSeq
}

// listItems are what a scan asks of messages it does not know; never more, since
// the answer to ENVELOPE or BODYSTRUCTURE is where servers differ most.
var listItems = &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true}

// flagItems are what a scan asks of messages that base knows.
var flagItems = &imap.FetchOptions{UID: true, Flags: true}

// scan is one run of Scan.
type scan struct {
	s     *session
	visit func(mail.Message) error
	view  *mail.View
	since mail.Cursor
	known int

	// What was sent behind the SELECT, before it was known whether it is of use.
	asked      bool
	first      bool // all was asked, of a folder that was never read
	cmds       []closer
	old, fresh []reply
	all        *imap.SearchData         // which messages there are; nil: that was not asked
	listing    *imapclient.FetchCommand // of all messages; nil: it is yet to be sent

	// flagsBelow: of messages with lower UIDs flags are all that is asked.
	flagsBelow mail.UID

	buffer   bool        // visit nothing before the end
	seen     mail.UIDSet // that the server told of
	visited  mail.UID    // the highest one visited
	waiting  []reply     // to be visited at the end, in any order
	lacking  mail.UIDSet // of waiting: those that did not tell all
	unsorted bool        // the server does not keep to the order of UIDs
}

// full lists all messages, and visits them as they come.
func (sc *scan) full() error {
	s := sc.s
	sc.view.Full = true
	if s.box.cursor.Messages > 0 {
		fresh := imap.UID(1)
		if !sc.view.Restarted && sc.since.UIDNext > 1 {
			fresh = imap.UID(sc.since.UIDNext)
			sc.flagsBelow = sc.since.UIDNext
			if err := sc.list(s.client.Fetch(imap.UIDSet{{Start: 1, Stop: fresh - 1}}, flagItems)); err != nil {
				return err
			}
		}
		list := sc.listing
		if now := s.box.cursor.UIDNext; list == nil && (now == 0 || now > mail.UID(fresh)) {
			list = s.client.Fetch(imap.UIDSet{{Start: fresh, Stop: 0}}, listItems)
		}
		if list != nil {
			if err := sc.list(list); err != nil {
				return err
			}
		}
	}
	if err := sc.rest(); err != nil {
		return err
	}
	sc.next()
	if s.limited() {
		return nil
	}
	// The listing and the count agree: it is complete. An empty folder is asked for
	// once more, since a missing count looks like 0.
	n := uint32(sc.seen.Len())
	if n == 0 && sc.known == 0 && s.box.cursor.Messages == 0 {
		sc.view.Absence = mail.ByPresent
		return nil
	}
	if exists, ok := s.exists(); ok && n == exists && n > 0 {
		sc.view.Absence, sc.view.Present = mail.ByPresent, sc.seen
		return nil
	}
	return sc.present()
}

// list visits messages as they come.
func (sc *scan) list(cmd *imapclient.FetchCommand) error {
	return sc.s.read(cmd, func(msg *imapclient.FetchMessageData) error {
		return sc.listed(sc.s.readReply(msg))
	})
}

// whole tells whether a reply has all that was asked.
func (sc *scan) whole(r reply) bool {
	return r.hasFlags && (r.uid < sc.flagsBelow || r.hasDate && r.hasSize)
}

// listed takes one message of the full listing. The server lists in the order of
// sequence numbers, so of UIDs. One that did not tell all makes those above it
// wait, until it has been asked for again.
func (sc *scan) listed(r reply) error {
	whole := sc.whole(r)
	sc.seen.Add(r.uid)
	if !whole {
		sc.lacking.Add(r.uid)
	}
	if !whole || sc.buffer || len(sc.lacking) > 0 && r.uid > sc.lacking[0].First {
		sc.waiting = append(sc.waiting, r)
		return nil
	}
	return sc.give(r)
}

// give visits one message. A server need not list in order, but what was visited
// cannot be taken back.
func (sc *scan) give(r reply) error {
	if r.uid <= sc.visited {
		sc.unsorted = true
		return fmt.Errorf("%w: %w: the server does not list messages in order; the next scan will allow for that",
			mail.ErrTryLater, mail.ErrRefused)
	}
	sc.visited, sc.s.done = r.uid, true
	if err := sc.visit(r.message()); err != nil {
		return visitError{err}
	}
	return nil
}

// rest visits those that wait, in ascending order, after asking again for what they
// did not tell. One whose flags stay unknown is not visited.
func (sc *scan) rest() error {
	again := make(map[mail.UID]reply)
	if len(sc.lacking) > 0 {
		err := sc.s.fetch(sc.lacking, listItems, func(msg *imapclient.FetchMessageData) error {
			r := sc.s.readReply(msg)
			again[r.uid] = r
			return nil
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(sc.waiting, byUID)
	for _, r := range sc.waiting {
		if sc.lacking.Has(r.uid) {
			late, ok := again[r.uid]
			if !ok {
				sc.seen = sc.seen.Without(mail.UIDs(r.uid)) // gone meanwhile
				continue
			}
			r = r.with(late)
		}
		if !r.hasFlags {
			continue
		}
		if err := sc.give(r); err != nil {
			return err
		}
	}
	sc.waiting = nil
	return nil
}

// with adds what a later reply told; where both told something, the later one
// knows better.
func (r reply) with(late reply) reply {
	if late.hasFlags {
		r.flags, r.hasFlags = late.flags, true
	}
	if late.hasDate {
		r.date, r.hasDate = late.date, true
	}
	if late.hasSize {
		r.size, r.hasSize = late.size, true
	}
	r.emailID = cmp.Or(late.emailID, r.emailID)
	return r
}

// ask sends for what has changed since the cursor, if that says enough: changed flags, and
// new messages.
func (sc *scan) ask() {
	s, since := sc.s, sc.since
	sc.asked = since.HighestModSeq != 0 && since.UIDNext != 0 && s.caps.Has(imap.CapCondStore)
	if !sc.asked {
		return
	}
	selection := s.selects
	if since.UIDNext > 1 {
		cmd := s.client.Fetch(imap.UIDSet{{Start: 1, Stop: imap.UID(since.UIDNext - 1)}},
			&imap.FetchOptions{UID: true, Flags: true, ChangedSince: since.HighestModSeq})
		sc.cmds = append(sc.cmds, start(func() error { return s.collect(selection, cmd, &sc.old) }))
	}
	// n:* would name the last message even where its UID is lower (RFC 9051, 9: seq-range).
	cmd := s.client.Fetch(imap.UIDSet{{Start: imap.UID(since.UIDNext), Stop: math.MaxUint32}}, listItems)
	sc.cmds = append(sc.cmds, start(func() error { return s.collect(selection, cmd, &sc.fresh) }))
}

// askFirst sends for all messages of a folder that was never read.
func (sc *scan) askFirst() {
	selection := sc.s.selects
	cmd := sc.s.client.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, listItems)
	sc.first = true
	sc.cmds = append(sc.cmds, start(func() error { return sc.s.collect(selection, cmd, &sc.fresh) }))
}

// askAll sends for which messages there are, as ranges, which is a small answer whatever the
// size of the folder (RFC 4731, 3.1).
func (sc *scan) askAll() {
	if !sc.asked || !sc.s.caps.Has(imap.CapESearch) {
		return
	}
	cmd := sc.s.client.UIDSearch(&imap.SearchCriteria{}, listAll)
	sc.cmds = append(sc.cmds, start(func() (err error) {
		sc.all, err = cmd.Wait()
		return err
	}))
}

// listAll is how a search tells of messages.
var listAll = &imap.SearchOptions{ReturnAll: true, ReturnCount: true}

// discard waits for what was asked behind the SELECT, where it is of no use: no folder is
// selected, or another one, or an empty one, or one without mod-sequences, for which the server
// refuses it (RFC 7162, 3.1.2.2).
func (sc *scan) discard() error {
	var errs []error
	if sc.listing != nil {
		if err := sc.listing.Close(); refused(err) == nil {
			errs = append(errs, sc.s.trouble(err))
		}
		sc.listing = nil
	}
	for _, c := range sc.cmds {
		if err := <-c; refused(err) == nil {
			errs = append(errs, sc.s.trouble(err))
		}
	}
	return errors.Join(errs...)
}

// answers takes the changed flags and the new messages. They wait to be visited.
func (sc *scan) answers() error {
	answer := func() error { return sc.s.wait(sc.cmds) }
	if sc.view.Cursor.Messages == 0 {
		answer = sc.discard // some refuse to look for messages in an empty folder
	}
	if err := answer(); err != nil {
		return err
	}
	old, fresh := sc.old, sc.fresh
	for _, r := range old {
		if !r.hasFlags {
			sc.lacking.Add(r.uid)
		}
	}
	for _, r := range fresh {
		if !r.hasFlags || !r.hasDate || !r.hasSize {
			sc.lacking.Add(r.uid)
		}
	}
	sc.waiting = append(old, fresh...)
	for _, r := range sc.waiting {
		sc.seen.Add(r.uid)
	}
	return nil
}

// delta visits what has changed, and finds out whether anything is gone.
func (sc *scan) delta() error {
	if err := sc.answers(); err != nil {
		return err
	}
	if err := sc.rest(); err != nil {
		return err
	}
	sc.next()
	if sc.s.limited() {
		return nil
	}
	atSelect, atEnd := sc.count()
	nothing := atSelect == int(sc.view.Cursor.Messages)
	if !nothing {
		exists, ok := sc.s.exists()
		nothing = ok && atEnd == int(exists)
	}
	if nothing {
		sc.view.Absence = mail.NothingGone
		return nil
	}
	return sc.present()
}

// count counts the known messages and the new ones up to the SELECT, and all of those that
// came up to now: either sum, if it is how many there are, proves that nothing is gone.
func (sc *scan) count() (atSelect, atEnd int) {
	atSelect, atEnd = sc.known, sc.known
	for u := range sc.seen.All() {
		if u >= sc.since.UIDNext {
			atEnd++
			if u < sc.view.Cursor.UIDNext {
				atSelect++
			}
		}
	}
	return atSelect, atEnd
}

// collect reads all replies of a command that was sent after so many SELECTs.
func (s *session) collect(selection int, cmd *imapclient.FetchCommand, into *[]reply) error {
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		*into = append(*into, s.replyOf(selection, msg))
	}
	return cmd.Close()
}

// next fills in UIDNEXT where the server does not tell it.
func (sc *scan) next() {
	c := &sc.view.Cursor
	if c.UIDNext != 0 {
		return
	}
	if !sc.view.Full {
		c.UIDNext = sc.since.UIDNext
	}
	if n := len(sc.seen); n > 0 {
		c.UIDNext = max(c.UIDNext, sc.seen[n-1].Last+1)
	}
}

// limited tells whether the server shows only a part of the folder (RFC 9738).
// Then absence means nothing.
func (s *session) limited() bool {
	s.box.partial = s.box.partial || s.limits() || s.take().MessageLimit
	return s.box.partial
}

// limits tells whether the server announces that it may show only a part of a folder.
func (s *session) limits() bool {
	for c := range s.caps {
		if strings.HasPrefix(strings.ToUpper(string(c)), "MESSAGELIMIT") {
			return true
		}
	}
	return false
}

// present asks for all UIDs, and believes the answer only where all counts agree.
func (sc *scan) present() error {
	s := sc.s
	var uids mail.UIDSet
	count := uint32(0)
	if s.caps.Has(imap.CapESearch) {
		data, err := s.client.UIDSearch(&imap.SearchCriteria{}, listAll).Wait()
		if err != nil {
			return fmt.Errorf("search: %w", s.trouble(err))
		}
		uids, count = found(data)
	} else {
		// SEARCH would answer in one line of any length, in any order.
		err := s.read(s.client.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{UID: true}),
			func(msg *imapclient.FetchMessageData) error {
				if r := s.readReply(msg); r.uid != 0 {
					uids.Add(r.uid)
				}
				return nil
			})
		if err != nil {
			return err
		}
		count = uint32(uids.Len())
	}
	exists, ok := s.exists()
	if ok && !s.limited() && count == exists && uids.Len() == int(exists) {
		sc.view.Absence, sc.view.Present = mail.ByPresent, uids
	}
	return nil
}

// found gives what a search has found, and how many it says that are.
func found(data *imap.SearchData) (mail.UIDSet, uint32) {
	all, _ := data.All.(imap.UIDSet) // absent where nothing was found
	return fromIMAP(all), data.Count
}
