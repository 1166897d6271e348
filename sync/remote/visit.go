package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// Change does what is to be done in each of several folders, one after the other on one
// session. Nothing that changes a folder is sent before its SELECT has told the UIDVALIDITY;
// but the SELECT of the next folder goes along with what is done in one, so that each of
// them costs one round trip.
func (a *Account) Change(ctx context.Context, visits []*mail.Visit) {
	var todo []*visiting
	for _, v := range visits {
		in := &visiting{Visit: v, what: "change messages of " + mail.Clean(string(v.Folder), maxText), expunge: v.Expunge, places: map[mail.Folder]string{}}
		v.Fail(errNoAnswer)
		if err := a.prepare(ctx, in); err != nil {
			in.fail(cmp.Or(ctx.Err(), fmt.Errorf("%s: %w", in.what, err)))
			continue
		}
		todo = append(todo, in)
	}
	for len(todo) > 0 {
		in := todo[0] // that an error is about
		err := a.with(ctx, in.what, in.name, func(s *session) error {
			for _, in := range todo {
				in.opening = nil // another session's
			}
			for len(todo) > 0 {
				in = todo[0]
				var next *visiting
				if len(todo) > 1 {
					next = todo[1]
				}
				if err := a.visit(s, in, next); err != nil {
					return err
				}
				if todo = todo[1:]; len(in.left) > 0 && !in.again {
					in.expunge, in.again, in.Expunged = in.left, true, errNoAnswer
					todo = append(todo, in)
				}
			}
			return nil
		})
		if err == nil {
			return
		}
		in.fail(err)
		if todo = todo[1:]; errors.Is(err, mail.ErrRefused) {
			continue // a BAD costs the session, and not what is to be done elsewhere
		}
		for _, in := range todo {
			in.fail(err)
		}
		return
	}
}

// visiting is a Visit that is under way.
type visiting struct {
	*mail.Visit
	what    string
	name    string                 // the folder as the server calls it
	places  map[mail.Folder]string // and where messages move to
	opening *opening               // that was sent behind the visit before

	expunge mail.UIDSet
	left    mail.UIDSet // of them, after the first try
	again   bool
}

// nothing is the answer to what was not sent.
func nothing() error { return nil }

// prepare finds out what the server calls the folders.
func (a *Account) prepare(ctx context.Context, in *visiting) (err error) {
	if a.opts.ReadOnly {
		return fmt.Errorf("%w: the account was opened to be read only", mail.ErrReadOnly)
	}
	if in.name, err = a.server(ctx, in.Folder); err != nil {
		return err
	}
	a.unsee(in.Folder)
	for _, m := range in.Moves {
		if in.places[m.To] == "" {
			place, err := a.server(ctx, m.To)
			if err != nil {
				return err
			}
			in.places[m.To] = place
			a.unsee(m.To)
		}
	}
	return nil
}

// errNoAnswer stands for the error of what has no answer yet.
var errNoAnswer = errors.New("no answer")

// fail gives an error to all that has no answer.
func (in *visiting) fail(err error) {
	for _, c := range in.Stores {
		if c.Err == errNoAnswer {
			c.Err = err
		}
	}
	for _, m := range in.Moves {
		if m.Err == errNoAnswer {
			m.Err = err
		}
	}
	if in.Expunged == errNoAnswer {
		in.Expunged = err
	}
}

// about wraps an error that a part of the visit has.
func (in *visiting) about(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", in.what, err)
}

// visit does what is to be done in a folder, looks at what has become of it, and selects the next
// one meanwhile. An error says that the session is broken, and is about all that has no answer;
// what is wrong with the folder alone is told in the visit.
func (a *Account) visit(s *session, in, next *visiting) error {
	if err := s.enter(in); err != nil {
		if s.broken {
			return err
		}
		in.fail(in.about(err))
		return nil
	}
	there, err := s.movable(in)
	if err != nil {
		return err
	}
	s.take()
	defer s.placed(in)
	for from, more := 0, true; more; from += maxMoves {
		to := min(len(in.Moves), from+maxMoves)
		more = to < len(in.Moves)
		var answers []func() error
		var looking *asking
		s.conn.Cork()
		if from == 0 {
			for _, c := range in.Stores {
				answers = append(answers, s.store(in, c))
			}
			answers = append(answers, s.expunge(in))
		}
		for _, m := range in.Moves[from:to] {
			answers = append(answers, s.move(in, m, there))
		}
		if ahead := len(in.Moves) == 0 || s.caps.Has(imap.CapUIDPlus); ahead && !more {
			if in.Look != nil {
				looking = new(a.ask(s, *in.Look, in.name))
			}
			if next != nil {
				next.opening = new(s.opening(next.name, false))
			}
		}
		s.conn.Uncork()
		var broken error
		for _, answer := range answers {
			if err := answer(); s.broken {
				broken = cmp.Or(broken, err)
			}
		}
		if looking != nil {
			broken = cmp.Or(broken, a.told(*looking))
		}
		if len(in.left) > 0 {
			a.unsee(in.Folder) // more is expunged
		}
		if broken != nil {
			return broken
		}
	}
	return nil
}

// enter selects the folder, if it is not selected, for what changes it.
func (s *session) enter(in *visiting) error {
	if in.opening != nil {
		err := s.opened(*in.opening)
		if in.opening = nil; err != nil {
			return err
		}
	}
	if s.box.name == in.name && in.below(s.box.cursor.UIDNext) {
		// It knows them all, whatever has come since: see scans.
		return s.writable(in.Validity)
	}
	return s.write(in.name, in.Validity)
}

// below tells whether all messages of the visit have UIDs below that one.
func (in *visiting) below(next mail.UID) bool {
	all := slices.Clone(in.expunge)
	for _, c := range in.Stores {
		all = append(all, c.UIDs...)
	}
	for _, m := range in.Moves {
		all.Add(m.UID)
	}
	return !slices.ContainsFunc(all, func(uids mail.UIDRange) bool { return uids.Last >= next })
}

// store sends a change of flags (RFC 9051, 6.4.6): what changes, never whole sets, so that it
// can be repeated, and two devices do not undo each other (RFC 4549, 4.2.3). That a message is
// still there is told by its FETCH response, which comes with the mod-sequence also after
// .SILENT (RFC 7162, 3.1.3); and with what is pipelined behind it one may serve for both.
func (s *session) store(in *visiting, c *mail.FlagChange) (answer func() error) {
	if c.Err != errNoAnswer {
		return nothing
	}
	silent := s.box.cursor.HighestModSeq != 0
	var cmds []closer
	var found []*[]*imapclient.FetchMessageBuffer
	for _, part := range c.UIDs.Split(maxSet) {
		for _, flags := range []imap.StoreFlags{
			{Op: imap.StoreFlagsAdd, Silent: silent, Flags: settable(c.Add)},
			{Op: imap.StoreFlagsDel, Silent: silent, Flags: settable(c.Remove)},
		} {
			if len(flags.Flags) > 0 {
				cmd, got := s.client.Store(toIMAP(part), &flags, nil), new([]*imapclient.FetchMessageBuffer)
				found = append(found, got)
				cmds = append(cmds, start(func() (err error) {
					*got, err = cmd.Collect()
					return err
				}))
			}
		}
	}
	return func() error {
		err := s.wait(cmds)
		if s.broken && !errors.Is(err, mail.ErrRefused) {
			return err // and its own, if it has no other
		}
		c.Err, c.Met = in.about(err), map[mail.UID]bool{}
		for _, got := range found {
			for _, m := range *got {
				c.Met[mail.UID(m.UID)] = true
			}
		}
		return err
	}
}

// expunge sends what removes messages for ever. UID EXPUNGE takes only those of its set that
// are marked \Deleted (RFC 4315, 2.1), so they are marked first; and where another session has
// removed something meanwhile, Dovecot expunges before it sees the marks. So it is asked which
// are left, and is told again.
func (s *session) expunge(in *visiting) (answer func() error) {
	if in.Expunged != errNoAnswer {
		return nothing
	}
	if !s.caps.Has(imap.CapUIDPlus) {
		in.Expunged = in.about(fmt.Errorf("%w: the server lacks UIDPLUS", mail.ErrRefused))
		return nothing
	}
	mark := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}
	parts := in.expunge.Split(maxSet)
	var cmds []closer
	for _, part := range parts {
		cmds = append(cmds, start(s.client.Store(toIMAP(part), mark, nil).Close))
	}
	for _, part := range parts {
		cmds = append(cmds, start(s.client.UIDExpunge(toIMAP(part)).Close))
	}
	there := s.finding(in.expunge)
	return func() error {
		err := s.wait(cmds)
		found, asking := there()
		if s.broken && !errors.Is(err, mail.ErrRefused) {
			return cmp.Or(err, asking)
		}
		if in.Expunged = in.about(err); err == nil && asking == nil {
			in.left = found
		}
		return err
	}
}

// canMove: without MOVE the client would send COPY, STORE and EXPUNGE without waiting for the
// COPY, and lose the message when that fails.
func (s *session) canMove() bool {
	return s.caps.Has(imap.CapMove) && s.client.Caps().Has(imap.CapMove)
}

// movable gives those messages that are to move and are there, as far as that is asked: an OK
// may mean that there was nothing to do, where the server does not tell what it did.
func (s *session) movable(in *visiting) (there mail.UIDSet, err error) {
	if len(in.Moves) == 0 || !s.canMove() {
		return nil, nil
	}
	for _, m := range in.Moves {
		if m.UID != 0 && m.Err == errNoAnswer {
			there.Add(m.UID)
		}
	}
	if !s.caps.Has(imap.CapUIDPlus) {
		there, err = s.still(there)
	}
	if err != nil && !s.broken {
		for _, m := range in.Moves {
			m.Err = in.about(err)
		}
		return nil, nil
	}
	return there, err
}

// move sends a MOVE of one message: the client sorts both sides of a COPYUID, which only go
// together in the order as sent (RFC 4315, 3).
func (s *session) move(in *visiting, m *mail.Moving, there mail.UIDSet) (answer func() error) {
	switch {
	case m.Err != errNoAnswer:
		return nothing
	case !s.canMove():
		m.Err = in.moving(m, fmt.Errorf("%w: the server lacks MOVE", mail.ErrRefused))
		return nothing
	case !there.Has(m.UID):
		m.Err = in.moving(m, mail.ErrGone)
		return nothing
	}
	s.done = true
	cmd := s.client.Move(toIMAP(mail.UIDs(m.UID)), in.places[m.To])
	return func() error {
		data, err := cmd.Wait()
		if err = s.trouble(err); err == nil {
			set, _ := data.DestUIDs.(imap.UIDSet)
			m.There, m.Err = only(set), nil
		} else if errors.Is(err, mail.ErrRefused) {
			m.Err = in.moving(m, err)
		}
		return err
	}
}

// placed takes in where messages are that were moved. Dovecot may tell that of a MOVE before it
// has answered the one before, and then the client takes it for the answer to that.
func (s *session) placed(in *visiting) {
	there := map[mail.UID]mail.UID{}
	for _, pair := range s.take().CopyUID {
		there[pair.From] = pair.To
	}
	for _, m := range in.Moves {
		if m.Err != nil {
			continue
		}
		s.scans.begin(in.places[m.To])
		if m.There = cmp.Or(there[m.UID], m.There); m.There == 0 && s.caps.Has(imap.CapUIDPlus) {
			// RFC 4315, 3: no COPYUID when no message was moved. Some servers never tell it; then
			// it is gone from here all the same.
			m.Err = in.moving(m, mail.ErrGone)
		}
	}
}

// moving wraps an error that the move of one message has.
func (in *visiting) moving(m *mail.Moving, err error) error {
	return fmt.Errorf("move to %s from %s: UID %d: %w", mail.Clean(string(m.To), maxText), mail.Clean(string(in.Folder), maxText), m.UID, err)
}
