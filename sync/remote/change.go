package remote

import (
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

// Move moves one message.
func (a *Account) Move(ctx context.Context, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder) (mail.UID, error) {
	return a.transfer(ctx, "move", folder, validity, uid, target, func(s *session, set imap.UIDSet, name string) (to mail.UID, err error) {
		// Without MOVE the client would send COPY, STORE and EXPUNGE without waiting for
		// the COPY, and lose the message when that fails.
		if !s.caps.Has(imap.CapMove) || !s.client.Caps().Has(imap.CapMove) {
			return 0, fmt.Errorf("%w: the server lacks MOVE", mail.ErrRefused)
		}
		data, err := s.client.Move(set, name).Wait()
		if err != nil {
			return 0, err
		}
		dest, _ := data.DestUIDs.(imap.UIDSet)
		return only(dest), nil
	})
}

// Copy copies one message.
func (a *Account) Copy(ctx context.Context, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder) (mail.UID, error) {
	return a.transfer(ctx, "copy", folder, validity, uid, target, func(s *session, set imap.UIDSet, name string) (mail.UID, error) {
		data, err := s.client.Copy(set, name).Wait()
		if err != nil {
			return 0, err
		}
		return only(data.DestUIDs), nil
	})
}

// transfer is what Move and Copy have in common. One message per command, since the
// client sorts both sides of a COPYUID, which only go together in the order as sent
// (RFC 4315, 3).
func (a *Account) transfer(ctx context.Context, what string, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder,
	command func(s *session, set imap.UIDSet, name string) (mail.UID, error),
) (mail.UID, error) {
	if uid == 0 {
		return 0, fmt.Errorf("%s UID 0: %w", what, mail.ErrGone)
	}
	what = fmt.Sprintf("%s UID %d to %s from", what, uid, mail.Clean(string(target), maxText))
	place, err := a.server(ctx, target)
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return 0, fmt.Errorf("%s %s: %w", what, mail.Clean(string(folder), maxText), err)
	}
	var to mail.UID
	err = a.change(ctx, what, folder, func(s *session, name string) error {
		if err := s.write(name, validity); err != nil {
			return err
		}
		uidPlus := s.caps.Has(imap.CapUIDPlus)
		if !uidPlus {
			// OK may mean that there was nothing to do.
			if err := s.still(uid); err != nil {
				return err
			}
		}
		s.take()
		s.done = true
		var err error
		if to, err = command(s, toIMAP(mail.UIDs(uid)), place); err != nil {
			if errors.Is(err, mail.ErrRefused) {
				return err
			}
			return s.trouble(err)
		}
		for _, pair := range s.take().CopyUID {
			if pair.From == uid {
				to = pair.To
			}
		}
		if to != 0 || !uidPlus {
			return nil
		}
		// RFC 4315, 3: no COPYUID when no message was copied. But some servers never tell it,
		// and what was copied and is called gone would be copied again and again. What is
		// still there was copied. What is not may have been moved; the next listing tells.
		if err := s.client.Noop().Wait(); err != nil { // Courier tells of expunged messages only then
			return s.trouble(err)
		}
		return s.still(uid)
	})
	return to, err
}

// still gives mail.ErrGone if the selected folder has no such message.
func (s *session) still(uid mail.UID) error {
	err := mail.ErrGone
	failed := s.fetch(mail.UIDs(uid), &imap.FetchOptions{UID: true}, func(msg *imapclient.FetchMessageData) error {
		if s.readReply(msg).uid == uid {
			err = nil
		}
		return nil
	})
	if failed != nil {
		return failed
	}
	return err
}
