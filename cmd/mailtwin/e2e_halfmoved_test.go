package main

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// meeting does something else at the very time of a change on the server.
type meeting struct {
	engine.Remote
	meanwhile func()
}

func (m meeting) Change(ctx context.Context, visits []*mail.Visit) {
	var both sync.WaitGroup
	both.Go(m.meanwhile)
	m.Remote.Change(ctx, visits)
	both.Wait()
}

// TestFlagsThatAreSetInTheMomentOfAMove: a message is answered here while the phone moves it.
// Dovecot's MOVE takes along the flags that it saw first, one time in ten without this one.
func TestFlagsThatAreSetInTheMomentOfAMove(t *testing.T) {
	stories(t, map[string]func(s *story){"forty of them": func(s *story) {
		d := s.device("laptop")
		const letters = 40
		uids := make([]mail.UID, letters)
		for i := range letters {
			uids[i] = s.deliver("INBOX", note(fmt.Sprint("letter ", i)), flagged)
		}
		d.sync()
		for i, uid := range uids {
			d.reflag(d.find("INBOX", fmt.Sprint("letter ", i)), "RS") // and no longer flagged
			once := sync.OnceFunc(func() {
				if _, err := s.phone.Move(s.Context(), "INBOX", uid, "Sent"); err != nil {
					s.Error(err)
				}
			})
			d.around = func(opts *engine.Options) { opts.Remote = meeting{opts.Remote, once} }
			d.sync()
		}
		d.around = nil
		settle(d)
		moved := s.messages("Sent")
		for _, m := range moved {
			if !m.Flags.Equal(mail.Flags{System: mail.Answered | mail.Seen}) {
				s.Errorf("%s has %v", subject(string(m.Raw)), m.Flags)
			}
		}
		if len(moved) != letters {
			s.Errorf("%d of %d were moved", len(moved), letters)
		}
		d.same()
	}})
}
