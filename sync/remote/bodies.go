package remote

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// bodyItems are a whole message; BODY[] rather than RFC822, which iCloud answers
// with nothing.
var bodyItems = &imap.FetchOptions{
	UID: true, Flags: true, InternalDate: true,
	BodySection: []*imap.FetchItemBodySection{{Peek: true}},
}

// restItems are the rest of a message, with the last octets that are here before it, and the
// header, to know the message by. One octet more than there should be is asked for, since it
// tells of a message that is longer.
func restItems(p mail.Part) *imap.FetchOptions {
	rest := &imap.SectionPartial{Offset: p.Start(), Size: p.Size - p.Start() + 1}
	return &imap.FetchOptions{
		UID: true, Flags: true, InternalDate: true,
		BodySection: []*imap.FetchItemBodySection{{Specifier: imap.PartSpecifierHeader, Peek: true}, {Peek: true, Partial: rest}},
	}
}

// aboutItems are what is told of a message besides its body.
var aboutItems = &imap.FetchOptions{UID: true, Flags: true, InternalDate: true}

// Fetch streams whole messages to who wants them, once each, and asks for those of several
// folders in one breath, on one session. Where a folder has an error, those that were visited
// before it are complete nevertheless: their octets were counted. A message whose flags the
// server does not tell, even if asked again, is left out. Date is zero where the server does
// not tell it.
func (a *Account) Fetch(ctx context.Context, wanted []mail.Wanted) []error {
	all := make([]*fetcher, len(wanted))
	for i, w := range wanted {
		f := &fetcher{Wanted: w, over: len(w.UIDs) == 0}
		f.Have = maps.Clone(w.Have)
		all[i] = f
		if f.name, f.err = a.server(ctx, w.Folder); f.err != nil {
			f.err = cmp.Or(ctx.Err(), fmt.Errorf("%s: %w", f.what(), f.err))
		}
	}
	a.mu.Lock()
	late := a.late
	a.mu.Unlock()
	for todo := left(all); len(todo) > 0 && !late; todo = left(all) {
		if err := a.with(ctx, todo[0].what(), todo[0].name, func(s *session) error { return a.fetchAll(s, left(all)) }); err != nil {
			for _, f := range left(all) {
				f.err = err
			}
		}
	}
	errs := make([]error, len(all))
	for i, f := range all {
		if f.err == nil {
			f.err = a.fetchMissing(ctx, f)
		}
		errs[i] = f.err
	}
	return errs
}

// fetcher fetches messages of one folder.
type fetcher struct {
	mail.Wanted
	name string // as the server calls the folder
	s    *session
	cmds []*imapclient.FetchCommand
	over bool // all of its answers have come
	err  error

	known map[mail.UID]bool  // those of which the header is that of what is here
	seen  mail.UIDSet        // visited
	about map[mail.UID]reply // what was asked before
	late  bool               // a body came before its flags or its date
}

func (f *fetcher) what() string {
	return "fetch messages of " + mail.Clean(string(f.Folder), maxText)
}

// left gives those that are to be asked for.
func left(all []*fetcher) []*fetcher {
	var todo []*fetcher
	for _, f := range all {
		if !f.over && f.err == nil {
			todo = append(todo, f)
		}
	}
	return todo
}

// fetchAll asks for messages of several folders, and gives them to who wants them. What is
// wrong with one folder is that one's error, and does not keep the others; but one of who
// takes its messages ends the session.
func (a *Account) fetchAll(s *session, all []*fetcher) error {
	var octets int64
	for _, f := range all {
		octets += f.Octets
	}
	if err := a.compress(s, octets); err != nil {
		return err
	}
	selected := make([]func() (validity uint32, err error), len(all))
	s.conn.Cork()
	for i, f := range all {
		switch {
		case i == 0 && s.holds(f.name):
			validity := s.box.cursor.UIDValidity
			selected[i] = func() (uint32, error) { return validity, nil }
		case i > 0 && all[i-1].name == f.name:
			selected[i] = selected[i-1]
		default:
			o := s.opening(f.name, a.opts.ReadOnly)
			selected[i] = sync.OnceValues(func() (uint32, error) {
				err := s.opened(o)
				return s.box.cursor.UIDValidity, err
			})
		}
		f.s, f.cmds = s, nil
		whole := f.UIDs
		for _, uid := range slices.Backward(slices.Sorted(maps.Keys(f.Have))) {
			f.cmds = append(f.cmds, s.client.Fetch(imap.UIDSetNum(imap.UID(uid)), restItems(f.Have[uid])))
			whole = whole.Without(mail.UIDs(uid))
		}
		for _, part := range whole.Split(maxSet) {
			f.cmds = append(f.cmds, s.client.Fetch(toIMAP(part), bodyItems))
		}
	}
	s.conn.Uncork()
	var broken error
	for i, next := 0, 0; i < len(all); i = next {
		for next = i + 1; next < len(all) && all[next].name == all[i].name; next++ {
		}
		validity, err := selected[i]()
		errs := s.readAll(all[i:next], validity, cmp.Or(err, broken))
		if broken == nil {
			broken = s.over(all[i:next], errs)
		}
	}
	s.take()
	if errors.As(broken, new(visitError)) {
		return nil // the others are asked for once more
	}
	return broken
}

// readAll reads the answers about one folder, unless err says that there are none. A server may
// end the second of several FETCHes before it ends the first (RFC 9051, 5.5), as Dovecot does;
// so each is read by a goroutine, and one at a time visits.
func (s *session) readAll(all []*fetcher, validity uint32, err error) []error {
	var visiting sync.Mutex
	var readers sync.WaitGroup
	errs := make([][]error, len(all))
	for i, f := range all {
		refused := cmp.Or(err, sameValidity(f.Validity, validity))
		errs[i] = make([]error, len(f.cmds))
		for j, cmd := range f.cmds {
			readers.Go(func() {
				if refused != nil {
					cmd.Close() // its messages are those of another folder, or none
					errs[i][j] = refused
					return
				}
				errs[i][j] = s.readWith(&visiting, cmd, f.visit)
			})
		}
	}
	readers.Wait()
	firsts := make([]error, len(all))
	for i := range all {
		firsts[i] = cmp.Or(errs[i]...)
	}
	return firsts
}

// over notes what became of some, and gives the error that has ended the session; nil if it
// has not ended.
func (s *session) over(some []*fetcher, errs []error) (broken error) {
	for i, f := range some {
		switch own := (visitError{}); {
		case errs[i] == nil:
			f.over = true
		case errors.As(errs[i], &own):
			f.err, broken = own.err, errs[i] // what others have run into comes from that
		}
	}
	for i, f := range some {
		switch {
		case broken != nil || f.over:
		case s.broken:
			broken = errs[i]
		default:
			f.err = fmt.Errorf("%s: %w", f.what(), errs[i])
		}
	}
	return broken
}

// fetchMissing fetches what did not come. The answer was stolen by a response that the server
// sent of its own accord, or flags and date came after the body, or the messages are gone. What
// can be known of them is asked first, so that nothing but the body is missing next time.
func (a *Account) fetchMissing(ctx context.Context, f *fetcher) error {
	missing := f.UIDs.Without(f.seen)
	if len(missing) == 0 {
		return nil
	}
	return a.on(ctx, "fetch messages of", f.Folder, func(s *session, name string) error {
		if err := s.hold(name, f.Validity, a.opts.ReadOnly); err != nil {
			return err
		}
		f.s, f.about, f.Have = s, make(map[mail.UID]reply), nil
		var there mail.UIDSet
		err := s.fetch(missing, aboutItems, func(msg *imapclient.FetchMessageData) error {
			if r := s.readReply(msg); r.hasFlags {
				f.about[r.uid] = r
				there.Add(r.uid)
			}
			return nil
		})
		if err == nil {
			err = s.fetch(there, bodyItems, f.visit)
		}
		if f.late {
			a.mu.Lock()
			a.late = true
			a.mu.Unlock()
		}
		return err
	})
}

// visit gives the bodies of a FETCH response to who wants them.
func (f *fetcher) visit(msg *imapclient.FetchMessageData) error {
	var r reply
	early := false
	for item := msg.Next(); item != nil; item = msg.Next() {
		r.add(item)
		section, is := item.(imapclient.FetchItemDataBodySection)
		if is && section.Literal != nil && section.Section.Specifier == imap.PartSpecifierHeader {
			if err := f.header(r.uid, section.Literal); err != nil {
				return err
			}
		}
		if !is || section.Literal == nil || section.Section.Specifier != imap.PartSpecifierNone || len(section.Section.Part) > 0 {
			continue
		}
		if about, ok := f.about[r.uid]; ok {
			about.uid, about.hasDate = r.uid, true // there is no other than the one it told
			r = about.with(r)
		}
		if f.seen.Has(r.uid) {
			continue
		}
		b, ok := f.body(r.uid, section)
		if !ok {
			continue // it is asked for again, as a whole
		}
		if !r.hasFlags || !r.hasDate {
			early = true
			continue // the client passes over the body
		}
		b.Flags, b.Date = r.flags, r.date
		if ok, err := f.one(b, section.Literal); err != nil {
			return err
		} else if !ok {
			delete(f.Have, r.uid)
		}
	}
	f.late = f.late || early && r.hasFlags && r.hasDate
	return nil
}

// body tells what the section of a message is that the server gives, if it is of use: the
// whole of it, or, where that is what was asked for, exactly the rest.
func (f *fetcher) body(uid mail.UID, section imapclient.FetchItemDataBodySection) (mail.Body, bool) {
	size, from := section.Literal.Size(), int64(0)
	if p := section.Section.Partial; p != nil {
		from = p.Offset
	}
	part, asked := f.Have[uid]
	switch {
	case asked && f.known[uid] && from == part.Start() && from+size == part.Size && from > 0:
		return mail.Body{UID: uid, Size: part.Size, Offset: part.Octets}, true
	case from == 0 && (!asked || size == part.Size):
		return mail.Body{UID: uid, Size: size}, true
	}
	return mail.Body{}, false
}

// header takes a message's header, which tells whether what is here is of that message.
func (f *fetcher) header(uid mail.UID, lit imap.LiteralReader) error {
	r := &body{r: lit, left: lit.Size()}
	header, err := io.ReadAll(io.LimitReader(r, maxFields))
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err != nil {
		return cutError{f.s.trouble(err)}
	}
	if f.known == nil {
		f.known = map[mail.UID]bool{}
	}
	part, asked := f.Have[uid]
	f.known[uid] = asked && mail.HeaderOf(header) == part.Header
	return nil
}

// one gives one body to who wants it, and makes sure that it was all there. It reports false
// if it is not the rest of what is here.
func (f *fetcher) one(b mail.Body, lit imap.LiteralReader) (bool, error) {
	r := &body{r: lit, left: lit.Size()}
	b.Reader = r
	f.s.done = true
	var err error
	fits := true
	if b.Offset > 0 {
		fits, err = follows(r, f.Have[b.UID].Tail)
	}
	if fits && err == nil {
		err = f.Visit(b)
	}
	if r.err != nil {
		// The connection failed, whatever was made of that.
		return false, cutError{f.s.trouble(r.err)}
	}
	if err != nil {
		return false, visitError{err}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return false, cutError{f.s.trouble(err)}
	}
	if fits {
		f.seen.Add(b.UID)
	}
	return fits, nil
}

// follows tells whether what comes begins with the end of what is here. A server that takes
// no notice of where it is to begin, and says that it does, is found out by that.
func follows(r io.Reader, tail []byte) (bool, error) {
	begin := make([]byte, len(tail))
	_, err := io.ReadFull(r, begin)
	return bytes.Equal(begin, tail), err
}

// body reads a literal, and knows that it is not all there when it ends early; the
// client does not.
type body struct {
	r    io.Reader
	left int64
	err  error // what ended it early
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if err == nil || err == io.EOF && b.left == 0 {
		return n, err
	}
	if err == io.EOF {
		err = errConnEnded
	}
	b.err = fmt.Errorf("%w: %d octets are missing: %w", io.ErrUnexpectedEOF, b.left, err)
	return n, b.err
}
