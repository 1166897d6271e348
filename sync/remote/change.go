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
	a.unseeAll()
	return a.on(ctx, what, folder, f)
}

// maxMoves is how many messages are moved before the first answer is taken.
const maxMoves = 256

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

// Copy copies one message.
func (a *Account) Copy(ctx context.Context, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder) (to mail.UID, err error) {
	what := fmt.Sprintf("copy a message to %s from", mail.Clean(string(target), maxText))
	place, err := a.server(ctx, target)
	if err != nil {
		return 0, cmp.Or(ctx.Err(), fmt.Errorf("%s %s: %w", what, mail.Clean(string(folder), maxText), err))
	}
	err = a.change(ctx, what, folder, func(s *session, name string) error {
		if err := s.write(name, validity); err != nil {
			return err
		}
		to, err = s.copy(uid, place)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("UID %d: %w", uid, err)
	}
	return to, nil
}

// copy copies a message of the selected folder, and tells its UID there, or 0.
func (s *session) copy(uid mail.UID, place string) (mail.UID, error) {
	if uid == 0 {
		return 0, mail.ErrGone
	}
	uidPlus := s.caps.Has(imap.CapUIDPlus)
	if !uidPlus {
		// OK may mean that there was nothing to do.
		if there, err := s.still(mail.UIDs(uid)); err != nil || len(there) == 0 {
			return 0, cmp.Or(err, mail.ErrGone)
		}
	}
	s.take()
	s.done = true
	data, err := s.client.Copy(toIMAP(mail.UIDs(uid)), place).Wait()
	if err != nil {
		return 0, s.trouble(err)
	}
	s.scans.begin(place)
	if to := only(data.DestUIDs); to != 0 || !uidPlus {
		return to, nil
	}
	// RFC 4315, 3: no COPYUID when no message was copied. But some servers never tell it,
	// and what was copied and is called gone would be copied again and again. What is
	// still there was copied.
	if err := s.trouble(s.client.Noop().Wait()); err != nil { // Courier tells of expunged messages only then
		return 0, err
	}
	there, err := s.still(mail.UIDs(uid))
	if err == nil && len(there) == 0 {
		err = mail.ErrGone
	}
	return 0, err
}

// still gives those of the messages that the selected folder has.
func (s *session) still(uids mail.UIDSet) (mail.UIDSet, error) {
	return s.finding(uids)()
}

// finding asks which of the messages the selected folder has.
func (s *session) finding(uids mail.UIDSet) (answer func() (mail.UIDSet, error)) {
	parts := uids.Split(maxSet)
	found := make([][]*imapclient.FetchMessageBuffer, len(parts))
	var cmds []closer
	for i, part := range parts {
		cmd := s.client.Fetch(toIMAP(part), &imap.FetchOptions{UID: true})
		cmds = append(cmds, start(func() (err error) {
			if found[i], err = cmd.Collect(); removedMeanwhile(err) {
				err = nil
			}
			return err
		}))
	}
	return func() (there mail.UIDSet, err error) {
		err = s.wait(cmds)
		for _, messages := range found {
			for _, m := range messages {
				if uid := mail.UID(m.UID); uids.Has(uid) {
					there.Add(uid)
				}
			}
		}
		return there, err
	}
}
