package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"

	"mailtwin/conflict/mail"
	"mailtwin/sync/remote/wire"
)

// ErrSilent says that a server announces nothing: it has no IDLE, or no folder that is listened
// to.
var ErrSilent = errors.New("the server announces nothing")

var errConnEnded = errors.New("the connection ended")

// defaultKeepAlive is less than after what time a NAT on the way forgets a connection, which
// is ten minutes with many. RFC 2177, 3, wants an IDLE to be renewed within 29.
const defaultKeepAlive = 9 * time.Minute

// Listener hears what the server announces, on sessions of its own that are no part of the
// account's pool. What it hears is a reason to look, and nothing else.
//
// One goroutine has each session. When one of them ends, all do.
type Listener struct {
	account *Account
	hints   chan struct{}
	ended   <-chan struct{}
	end     func()
	running sync.WaitGroup

	everything bool      // every folder's changes are announced
	dir        directory // what the folders are called

	mu   sync.Mutex // guards what follows
	naps []*nap
	told map[mail.Folder]mail.Announced
	more bool // something was said that is not in told
}

// Listen opens a Listener. A server that has IDLE (RFC 2177) announces changes in the folders that
// idle chooses, on one connection each, and one that has NOTIFY (RFC 5465), too, those in all
// folders on a single one. idle is asked about each folder that can be selected, and may be asked where that
// is of no use. An error that is ErrSilent says that there is nothing to listen to. The end
// of ctx ends the attempt, and not the Listener, which the caller closes before the account.
func (a *Account) Listen(ctx context.Context, idle func(mail.Folder) bool) (*Listener, error) {
	l := &Listener{account: a, hints: make(chan struct{}, 1), told: map[mail.Folder]mail.Announced{}}
	ending, end := context.WithCancel(a.ending)
	l.ended, l.end = ending.Done(), end
	err := l.open(ctx, ending, idle)
	if err = cmp.Or(ctx.Err(), err); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen to the server: %w", err)
	}
	return l, nil
}

// Hints gives an element after something was announced. It holds one, so one that comes while
// nobody looks waits.
func (l *Listener) Hints() <-chan struct{} { return l.hints }

// Done is closed when nothing more is announced: a connection was cut, or the server has given
// up watching.
func (l *Listener) Done() <-chan struct{} { return l.ended }

// CoversAll tells whether a change in any folder is announced.
func (l *Listener) CoversAll() bool { return l.everything }

// Probe has each session look at its folder now, and ends them where the server does not answer
// soon: after a change of the network the connection may be one to nowhere.
func (l *Listener) Probe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, n := range l.naps {
		select {
		case n.probe <- struct{}{}:
		default: // it is about to
		}
	}
}

// Close ends all sessions and waits for their goroutines. It may be called several times.
func (l *Listener) Close() {
	l.end()
	l.running.Wait()
}

// Announced gives what was announced since it was last asked. It reports false where
// something was that it cannot name.
func (l *Listener) Announced() ([]mail.Announced, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	told, all := slices.Collect(maps.Values(l.told)), !l.more
	clear(l.told)
	l.more = false
	return told, all
}

// open opens the first session and finds out how to listen.
func (l *Listener) open(ctx, ending context.Context, idle func(mail.Folder) bool) error {
	s, err := l.account.dial(ctx)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()
	if !s.caps.Has(imap.CapIdle) {
		l.leave(s)
		return ErrSilent
	}
	folders, err := l.learn(s)
	var n *nap
	if err == nil && s.caps.Has(capNotify) {
		n, err = l.notify(ctx, s)
	}
	switch {
	case err != nil:
		l.leave(s)
		return err
	case n != nil:
		l.running.Go(func() { l.listen(ending, n) })
		return nil
	}
	return l.idle(ctx, ending, s, folders, idle)
}

// learn finds out what the server calls the folders.
func (l *Listener) learn(s *session) ([]mail.RemoteFolder, error) {
	list, spaces, err := l.account.list(s, false)
	if err != nil {
		return nil, fmt.Errorf("list folders: %w", err)
	}
	l.dir = newDirectory(l.account.opts.Map, spaces)
	return l.dir.read(list).Folders, nil
}

// leave ends a session that listens no more.
func (l *Listener) leave(s *session) {
	s.logout(logoutTime)
	s.end()
	a := l.account
	a.mu.Lock()
	a.past = s.addTo(a.past)
	a.mu.Unlock()
}

// left is leave for a session that was listened to.
func (l *Listener) left(s *session) {
	if err := s.conn.Err(); err != nil {
		s.log.Info("the server's announcements have ended", "reason", err)
	} else if bye := s.take().Bye; bye != "" {
		s.log.Info("the server said goodbye", "text", mail.Clean(bye, maxText))
	}
	l.end()
	l.leave(s)
}

// ask has f ask the server something on a session, which ends where the answer is not there
// in time or ending ends first.
func (l *Listener) ask(ending context.Context, s *session, patience time.Duration, what string, f func() error) error {
	stop := context.AfterFunc(ending, func() { s.conn.Close() })
	err := s.within(patience, what, f)
	s.take() // its alerts are for people
	if !stop() {
		return ending.Err()
	}
	return err
}

// hint says that something was announced.
func (l *Listener) hint() {
	select {
	case l.hints <- struct{}{}:
	default: // one waits already
	}
}

// hear takes in what the server said of one folder, or something that cannot be named.
func (l *Listener) hear(t wire.Told) {
	name, decoded := decodeName(t.Mailbox)
	if !decoded {
		name = t.Mailbox
	}
	folder, known := l.dir.folder(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, again := l.told[folder]
	switch {
	case !known || !again && len(l.told) >= maxFolders:
		l.more = true
	case t.Word == "STATUS":
		l.note(folder, t.Items)
	case t.Word == "LIST":
		a := l.told[folder]
		a.Folder, a.Listed, a.Gone = folder, !t.Gone, t.Gone
		l.told[folder] = a
	default:
		l.more = true
	}
}

// over ends it, since the server says that it will announce nothing more, for a reason that may
// be news.
func (l *Listener) over(t wire.Told) {
	l.hear(t)
	l.hint()
	if t.Word == wire.Overflow {
		l.account.log.Info("the server has given up watching the folders")
	}
	l.end()
}

// note takes in the items of a STATUS. l.mu is held.
func (l *Listener) note(folder mail.Folder, items map[string]uint64) {
	a := l.told[folder]
	a.Folder = folder
	if n, ok := items["UIDVALIDITY"]; ok {
		a.Status.UIDValidity = uint32(n)
	}
	if n, ok := items["UIDNEXT"]; ok {
		a.Status.UIDNext = mail.UID(n)
	}
	if n, ok := items["HIGHESTMODSEQ"]; ok {
		a.Status.HighestModSeq = n
	}
	if n, ok := items["MESSAGES"]; ok {
		a.Status.Messages, a.Counted = uint32(n), true
	}
	l.told[folder] = a
}
