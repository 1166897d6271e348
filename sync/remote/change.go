package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// on lends f a session for a folder, and tells it the server's name of it.
func (a *Account) on(ctx context.Context, what string, folder mail.Folder, f func(s *session, name string) error) error {
	what = what + " " + mail.Clean(string(folder), maxText)
	name, err := a.server(ctx, folder)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	return a.with(ctx, what, name, func(s *session) error { return f(s, name) })
}

// change is on for what changes something on the server.
func (a *Account) change(ctx context.Context, what string, folder mail.Folder, f func(s *session, name string) error) error {
	if a.opts.ReadOnly {
		return fmt.Errorf("%s %s: %w: the account was opened to be read only", what, mail.Clean(string(folder), maxText), mail.ErrReadOnly)
	}
	return a.on(ctx, what, folder, f)
}

// Store adds and removes flags of messages (RFC 9051, 6.4.6), never whole sets of
// them, so that it can be repeated, and two devices do not undo each other (RFC
// 4549, 4.2.3). That a message is still there is told by its FETCH response, which comes
// with the mod-sequence also after .SILENT (RFC 7162, 3.1.3); and with what is pipelined
// behind it one may serve for both.
func (a *Account) Store(ctx context.Context, folder mail.Folder, validity uint32, uids mail.UIDSet, add, remove mail.Flags, met func(mail.UID)) error {
	plus, minus := settable(add), settable(remove)
	if len(uids) == 0 || len(plus)+len(minus) == 0 {
		return nil
	}
	return a.change(ctx, "store flags in", folder, func(s *session, name string) error {
		if err := s.write(name, validity); err != nil {
			return err
		}
		silent := met == nil || s.box.cursor.HighestModSeq != 0
		var cmds []closer
		var found []*[]*imapclient.FetchMessageBuffer
		for _, part := range uids.Split(maxSet) {
			for _, flags := range []imap.StoreFlags{
				{Op: imap.StoreFlagsAdd, Silent: silent, Flags: plus},
				{Op: imap.StoreFlagsDel, Silent: silent, Flags: minus},
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
		if err := s.wait(cmds); err != nil || met == nil {
			return err
		}
		told := map[imap.UID]bool{}
		for _, got := range found {
			for _, m := range *got {
				if !told[m.UID] {
					told[m.UID] = true
					met(mail.UID(m.UID))
				}
			}
		}
		return nil
	})
}

// closer is a command that is being read to its end by a goroutine of its own.
// Silent or not, a server may send a reply for each message, and the client reads
// nothing more while nobody takes them.
type closer <-chan error

func start(end func() error) closer {
	done := make(chan error, 1)
	go func() { done <- end() }()
	return done
}

// wait waits for all commands, and joins what went wrong.
func (s *session) wait(cmds []closer) error {
	var errs []error
	for _, c := range cmds {
		errs = append(errs, s.trouble(<-c))
		if s.broken {
			// The other commands end for the same reason.
			for _, c := range cmds[len(errs):] {
				<-c
			}
			break
		}
	}
	return errors.Join(errs...)
}

// Expunge removes messages for ever. UID EXPUNGE takes only those of its set that
// are marked \Deleted (RFC 4315, 2.1), so they are marked first.
func (a *Account) Expunge(ctx context.Context, folder mail.Folder, validity uint32, uids mail.UIDSet) error {
	if len(uids) == 0 {
		return nil
	}
	return a.change(ctx, "expunge from", folder, func(s *session, name string) error {
		if !s.caps.Has(imap.CapUIDPlus) {
			return fmt.Errorf("%w: the server lacks UIDPLUS", mail.ErrRefused)
		}
		if err := s.write(name, validity); err != nil {
			return err
		}
		// Both at once would save a round trip, but where another session has removed
		// something meanwhile, Dovecot expunges then before it sees the marks.
		mark := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}
		var marks, cmds []closer
		for _, part := range uids.Split(maxSet) {
			marks = append(marks, start(s.client.Store(toIMAP(part), mark, nil).Close))
		}
		if err := s.wait(marks); err != nil {
			return err
		}
		for _, part := range uids.Split(maxSet) {
			cmds = append(cmds, start(s.client.UIDExpunge(toIMAP(part)).Close))
		}
		return s.wait(cmds)
	})
}

// maxMoves is how many messages are moved before the first answer is taken.
const maxMoves = 256

// Move moves messages, each with a command of its own: the client sorts both sides of a
// COPYUID, which only go together in the order as sent (RFC 4315, 3).
func (a *Account) Move(ctx context.Context, folder mail.Folder, validity uint32, uids []mail.UID, target mail.Folder) []mail.Moved {
	return a.transfer(ctx, "move", folder, validity, uids, target, func(s *session, set imap.UIDSet, name string) (waiting, error) {
		// Without MOVE the client would send COPY, STORE and EXPUNGE without waiting for
		// the COPY, and lose the message when that fails.
		if !s.caps.Has(imap.CapMove) || !s.client.Caps().Has(imap.CapMove) {
			return nil, fmt.Errorf("%w: the server lacks MOVE", mail.ErrRefused)
		}
		return told(s.client.Move(set, name).Wait, func(d *imapclient.MoveData) imap.NumSet { return d.DestUIDs }), nil
	})
}

// Copy copies one message.
func (a *Account) Copy(ctx context.Context, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder) (mail.UID, error) {
	copied := a.transfer(ctx, "copy", folder, validity, []mail.UID{uid}, target, func(s *session, set imap.UIDSet, name string) (waiting, error) {
		return told(s.client.Copy(set, name).Wait, func(d *imap.CopyData) imap.NumSet { return d.DestUIDs }), nil
	})[0]
	return copied.UID, copied.Err
}

// waiting waits for the answer to a MOVE or COPY, which tells where the messages are.
type waiting func() (imap.NumSet, error)

func told[T any](wait func() (*T, error), dest func(*T) imap.NumSet) waiting {
	return func() (imap.NumSet, error) {
		data, err := wait()
		if err != nil {
			return nil, err
		}
		return dest(data), nil
	}
}

// transfer is what Move and Copy have in common.
func (a *Account) transfer(ctx context.Context, verb string, folder mail.Folder, validity uint32, uids []mail.UID, target mail.Folder,
	command func(s *session, set imap.UIDSet, name string) (waiting, error),
) []mail.Moved {
	moved := make([]mail.Moved, len(uids))
	for i := range moved {
		moved[i].Err = errNoAnswer
	}
	what := fmt.Sprintf("%s messages to %s from", verb, mail.Clean(string(target), maxText))
	place, err := a.server(ctx, target)
	if err == nil {
		err = a.change(ctx, what, folder, func(s *session, name string) error {
			if err := s.write(name, validity); err != nil {
				return err
			}
			return s.transfer(uids, place, moved, command)
		})
	} else {
		err = cmp.Or(ctx.Err(), fmt.Errorf("%s %s: %w", what, mail.Clean(string(folder), maxText), err))
	}
	for i := range moved {
		switch m := &moved[i]; {
		case m.Err == errNoAnswer:
			m.Err = err
		case m.Err != nil:
			m.Err = fmt.Errorf("%s %s: UID %d: %w", what, mail.Clean(string(folder), maxText), uids[i], m.Err)
		}
	}
	return moved
}

// errNoAnswer stands for the error of all that have no answer.
var errNoAnswer = errors.New("no answer")

// transfer moves or copies messages of the selected folder. An error is about all that have
// no answer.
func (s *session) transfer(uids []mail.UID, place string, moved []mail.Moved, command func(s *session, set imap.UIDSet, name string) (waiting, error)) error {
	var there mail.UIDSet
	for _, uid := range uids {
		if uid != 0 {
			there.Add(uid)
		}
	}
	uidPlus := s.caps.Has(imap.CapUIDPlus)
	if !uidPlus {
		// OK may mean that there was nothing to do.
		var err error
		if there, err = s.still(there); err != nil {
			return err
		}
	}
	s.take()
	s.done = true
	for from := 0; from < len(uids); from += maxMoves {
		to := min(len(uids), from+maxMoves)
		sent := make([]waiting, to-from)
		s.conn.Cork()
		for i := range sent {
			if m := &moved[from+i]; there.Has(uids[from+i]) {
				sent[i], m.Err = command(s, toIMAP(mail.UIDs(uids[from+i])), place)
			} else {
				m.Err = mail.ErrGone
			}
		}
		s.conn.Uncork()
		var failed error
		for i, wait := range sent {
			if wait == nil {
				continue
			}
			found, err := wait()
			switch err = s.trouble(err); {
			case err == nil:
				set, _ := found.(imap.UIDSet)
				moved[from+i] = mail.Moved{UID: only(set)}
			case errors.Is(err, mail.ErrRefused):
				moved[from+i].Err = err
			default:
				moved[from+i].Err, failed = errNoAnswer, cmp.Or(failed, err)
			}
		}
		if failed != nil {
			return failed
		}
	}
	return s.placed(uids, moved, uidPlus)
}

// placed finds out where messages have gone whose answers do not tell.
func (s *session) placed(uids []mail.UID, moved []mail.Moved, uidPlus bool) error {
	to := map[mail.UID]mail.UID{}
	for _, pair := range s.take().CopyUID {
		to[pair.From] = pair.To
	}
	var untold mail.UIDSet
	for i, uid := range uids {
		if m := &moved[i]; m.Err == nil {
			m.UID = cmp.Or(to[uid], m.UID)
			if m.UID == 0 {
				untold.Add(uid)
			}
		}
	}
	if len(untold) == 0 || !uidPlus {
		return nil
	}
	// RFC 4315, 3: no COPYUID when no message was copied. But some servers never tell it,
	// and what was copied and is called gone would be copied again and again. What is
	// still there was copied. What is not may have been moved; the next listing tells.
	err := s.trouble(s.client.Noop().Wait()) // Courier tells of expunged messages only then
	if err == nil {
		var there mail.UIDSet
		if there, err = s.still(untold); err == nil {
			untold = untold.Without(there)
		}
	}
	for i, uid := range uids {
		switch {
		case moved[i].Err != nil || !untold.Has(uid):
		case err != nil:
			moved[i].Err = errNoAnswer
		default:
			moved[i].Err = mail.ErrGone
		}
	}
	return err
}

// still gives those of the messages that the selected folder has.
func (s *session) still(uids mail.UIDSet) (mail.UIDSet, error) {
	var there mail.UIDSet
	err := s.fetch(uids, &imap.FetchOptions{UID: true}, func(msg *imapclient.FetchMessageData) error {
		if uid := s.readReply(msg).uid; uids.Has(uid) {
			there.Add(uid)
		}
		return nil
	})
	return there, err
}
