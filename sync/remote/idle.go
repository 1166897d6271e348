package remote

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"mailtwin/conflict/mail"
)

// idle has sessions IDLE in the folders that are chosen, INBOX first, and at most as many as
// the account may have. The first of them is s, which is ended where there is no use for it.
func (l *Listener) idle(ctx, ending context.Context, s *session, folders []mail.RemoteFolder, chosen func(mail.Folder) bool) error {
	folders = slices.DeleteFunc(folders, func(f mail.RemoteFolder) bool { return f.NoSelect || !chosen(f.Name) })
	slices.SortStableFunc(folders, func(a, b mail.RemoteFolder) int {
		first := func(f mail.RemoteFolder) int {
			if f.Name == mail.Inbox {
				return 0
			}
			return 1
		}
		return cmp.Or(first(a)-first(b), cmp.Compare(a.Name, b.Name))
	})
	listening := 0
	for _, f := range folders {
		log := l.account.log.With("folder", f.Name)
		if listening == l.account.opts.Connections {
			log.Warn("there are not enough connections to listen to the folder", "connections", listening)
			continue
		}
		if s == nil {
			var err error
			if s, err = l.account.dial(ctx); err != nil {
				// Servers bound the sessions of a user. What is not listened to is polled.
				log.Info("server allows no session to listen to the folder", "reason", err)
				break
			}
		}
		n := l.nap(s, f.Name)
		err := l.doze(ctx, n, l.account.opts.Timeout)
		switch {
		case err == nil:
			l.running.Go(func() { l.listen(ending, n) })
			listening++
			s = nil
		case !s.broken:
			log.Warn("the folder is not listened to", "reason", err)
		case listening == 0:
			l.leave(s)
			return fmt.Errorf("%s: %w", mail.Clean(string(f.Name), maxText), err)
		default:
			log.Info("the folder is not listened to", "reason", err)
			l.leave(s)
			s = nil
		}
	}
	if s != nil {
		l.leave(s)
	}
	if listening == 0 {
		return fmt.Errorf("%w: none of the folders is there that it should be asked about", ErrSilent)
	}
	return nil
}
