package imaptest

import (
	"errors"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailtwin/conflict/mail"
)

// view is a selected folder as its session has been told of it. Sequence numbers
// are indexes into known, so they hold whatever other sessions do meanwhile: what
// they did is told by Poll, when the protocol allows it (RFC 9051, 7.5.1).
type view struct {
	folder   *folder
	readOnly bool
	left     bool // this session has deleted the folder
	known    []entry
	told     uint64 // the folder's version when all was told
}

// entry is a message, and the version of its flags that the client knows.
type entry struct {
	*message
	told uint64
}

var errDeleted = errors.New("the selected mailbox was deleted by another session")

func (s *session) Select(name string, opts *imap.SelectOptions) (*imap.SelectData, error) {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	f, err := s.account.find(name)
	if err != nil {
		return nil, err
	}
	v := &view{folder: f, readOnly: opts.ReadOnly, told: f.version}
	all := mail.ParseFlags([]string{`\Answered`, `\Flagged`, `\Deleted`, `\Seen`, `\Draft`})
	unseen := uint32(0)
	for i, m := range f.messages {
		v.known = append(v.known, entry{m, m.version})
		all = all.With(m.flags)
		if unseen == 0 && !m.flags.Has(mail.Seen) {
			unseen = uint32(i) + 1
		}
	}
	s.view = v
	data := &imap.SelectData{
		Flags: imapFlags(all), NumMessages: uint32(len(v.known)), FirstUnseenSeqNum: unseen,
		UIDNext: f.next, UIDValidity: f.validity,
	}
	if !v.readOnly {
		data.PermanentFlags = append(imapFlags(all), imap.FlagWildcard)
	}
	return data, nil
}

func (s *session) Unselect() error {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	s.view = nil
	return nil
}

// selected gives the view for a command that needs one. The caller holds the lock.
func (s *session) selected(write bool) (*view, error) {
	switch v := s.view; {
	case v == nil || v.left:
		return nil, no("", "no mailbox is selected")
	case v.folder.deleted:
		return nil, no(imap.ResponseCodeNonExistent, "the mailbox was deleted")
	case write && v.readOnly:
		return nil, no(imap.ResponseCodeNoPerm, "the mailbox was opened read-only")
	default:
		return v, nil
	}
}

// Poll tells the client what happened in the folder since it was last told. An
// error ends the connection: the kind thing to do where the folder is gone.
func (s *session) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	_, err := s.poll(w, allowExpunge)
	return err
}

// Idle polls at each change until stop is closed.
func (s *session) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	for {
		changed, err := s.poll(w, true)
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stop:
			return nil
		}
	}
}

// poll gives the channel that will be closed at the next change.
func (s *session) poll(w *imapserver.UpdateWriter, allowExpunge bool) (<-chan struct{}, error) {
	s.account.mu.Lock()
	changed := s.account.changed
	v := s.view
	if v == nil || v.left || v.told == v.folder.version {
		s.account.mu.Unlock()
		return changed, nil
	}
	if v.folder.deleted {
		s.account.mu.Unlock()
		return nil, errDeleted
	}
	var writes []func() error
	v.told = v.folder.version
	for i, e := range v.known {
		if e.told != e.version && !e.expunged {
			v.known[i].told = e.version
			seq, uid, flags := uint32(i)+1, e.uid, imapFlags(e.flags)
			writes = append(writes, func() error { return w.WriteMessageFlags(seq, uid, flags) })
		}
	}
	last := imap.UID(0)
	if n := len(v.known); n > 0 {
		last = v.known[n-1].uid
	}
	for i, e := range slices.Backward(v.known) {
		if !e.expunged {
			continue
		}
		if !allowExpunge {
			v.told = 0 // something is left to tell
			break
		}
		v.known = slices.Delete(v.known, i, i+1)
		seq := uint32(i) + 1
		writes = append(writes, func() error { return w.WriteExpunge(seq) })
	}
	before := len(v.known)
	for _, m := range v.folder.messages {
		if m.uid > last {
			v.known = append(v.known, entry{m, m.version})
		}
	}
	if n := len(v.known); n > before {
		writes = append(writes, func() error { return w.WriteNumMessages(uint32(n)) })
	}
	s.account.mu.Unlock()

	for _, write := range writes {
		if err := write(); err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// pick gives the indexes of the messages that a command names, in ascending order.
func (v *view) pick(set imap.NumSet) []int {
	named := v.named(set)
	var picked []int
	for i := range v.known {
		if named(i) {
			picked = append(picked, i)
		}
	}
	return picked
}

// named gives a test for the indexes of the messages that a set names.
func (v *view) named(set imap.NumSet) func(i int) bool {
	var numbers mail.UIDSet // of either kind
	switch set := set.(type) {
	case imap.SeqSet:
		for _, r := range set {
			numbers.AddRange(v.span(r.Start, r.Stop, uint32(len(v.known))))
		}
		return func(i int) bool { return numbers.Has(mail.UID(i + 1)) }
	case imap.UIDSet:
		last := uint32(0)
		if n := len(v.known); n > 0 {
			last = uint32(v.known[n-1].uid)
		}
		for _, r := range set {
			numbers.AddRange(v.span(uint32(r.Start), uint32(r.Stop), last))
		}
	}
	return func(i int) bool { return numbers.Has(mail.UID(v.known[i].uid)) }
}

// span makes a range of numbers out of one in which 0 is "*", the largest number in
// use; "9:*" takes in the last message even where that is below 9 (RFC 9051, 9).
func (*view) span(start, stop, last uint32) mail.UIDRange {
	if start == 0 {
		start = last
	}
	if stop == 0 {
		stop = last
	}
	return mail.UIDRange{First: mail.UID(start), Last: mail.UID(stop)}
}

func (s *session) Store(w *imapserver.FetchWriter, set imap.NumSet, change *imap.StoreFlags, _ *imap.StoreOptions) error {
	s.account.mu.Lock()
	v, err := s.selected(true)
	if err != nil {
		s.account.mu.Unlock()
		return err
	}
	flags := mail.ParseFlags(flagNames(change.Flags))
	picked := slices.DeleteFunc(v.pick(set), func(i int) bool { return v.known[i].expunged })
	for _, i := range picked {
		e := &v.known[i]
		now := flags
		switch change.Op {
		case imap.StoreFlagsAdd:
			now = e.flags.With(flags)
		case imap.StoreFlagsDel:
			now = e.flags.Without(flags)
		}
		if now.Equal(e.flags) {
			continue
		}
		known := e.told == e.version
		s.account.reflag(v.folder, e.message, now)
		if known { // the client knows what it changed, but not what others did
			e.told = e.version
		}
	}
	s.account.mu.Unlock()
	if change.Silent {
		return nil
	}
	return s.fetch(w, picked, &imap.FetchOptions{UID: true, Flags: true})
}

// Expunge removes what is marked \Deleted; the next Poll tells of it. Without
// UIDPLUS there is no UID EXPUNGE.
func (s *session) Expunge(w *imapserver.ExpungeWriter, uids *imap.UIDSet) error {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	// imapserver expunges at CLOSE, too, with a writer that leads nowhere; there a
	// read-only folder stays as it is, and that is no error (RFC 9051, 6.4.2).
	if closing := *w == (imapserver.ExpungeWriter{}); closing {
		if v := s.view; v == nil || v.readOnly || v.folder.deleted {
			return nil
		}
	}
	v, err := s.selected(true)
	if err != nil {
		return err
	}
	if uids != nil && !s.server.uidplus {
		return &imap.Error{Type: imap.StatusResponseTypeBad, Text: "unknown command"}
	}
	var gone []*message
	picked := v.pick(imap.UIDSet{{Start: 1}})
	if uids != nil {
		picked = v.pick(*uids)
	}
	for _, i := range picked {
		if e := v.known[i]; e.flags.Has(mail.Deleted) && !e.expunged {
			gone = append(gone, e.message)
		}
	}
	s.account.expunge(v.folder, gone)
	return nil
}

func (s *session) Copy(set imap.NumSet, name string) (*imap.CopyData, error) {
	s.account.mu.Lock()
	defer s.account.mu.Unlock()
	data, _, err := s.copy(set, name, false)
	return data, err
}

// Move moves messages in one step (RFC 6851); the Poll that ends the command tells
// of the expunged ones.
func (s *session) Move(w *imapserver.MoveWriter, set imap.NumSet, name string) error {
	s.account.mu.Lock()
	data, sources, err := s.copy(set, name, true)
	if err == nil {
		s.account.expunge(s.view.folder, sources)
	}
	s.account.mu.Unlock()
	if err != nil || data == nil {
		return err
	}
	return w.WriteCopyData(data)
}

// copy copies messages into another folder. The data is nil where there is nothing
// to tell, since COPYUID has no way to say "none" (RFC 4315, 3).
func (s *session) copy(set imap.NumSet, name string, move bool) (*imap.CopyData, []*message, error) {
	v, err := s.selected(move)
	if err != nil {
		return nil, nil, err
	}
	into, err := s.account.target(name)
	if err != nil {
		return nil, nil, err
	}
	var sources []*message
	for _, i := range v.pick(set) {
		if m := v.known[i].message; !m.expunged {
			sources = append(sources, m)
		}
	}
	copies := s.account.copy(sources, into)
	if len(copies) == 0 || !s.server.uidplus {
		return nil, sources, nil
	}
	data := &imap.CopyData{UIDValidity: into.validity}
	for i := range copies {
		data.SourceUIDs.AddNum(sources[i].uid)
		data.DestUIDs.AddNum(copies[i].uid)
	}
	return data, sources, nil
}
