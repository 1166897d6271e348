package sim

import (
	"fmt"
	"time"

	"mailtwin/conflict/mail"
)

// Message is a message as another program sees it.
type Message struct {
	UID   mail.UID
	Flags mail.Flags
	Date  time.Time // INTERNALDATE
	Raw   []byte    // as FETCH gives it; not to be changed
}

// Deliver puts a message into a folder, as a delivery or the APPEND of another
// program does, and gives its UID, or 0 where there is no such folder. Lone LFs in
// raw count as CRLF; a zero date is now.
func (s *Server) Deliver(folder mail.Folder, raw []byte, flags mail.Flags, date time.Time) mail.UID {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folders[folder]
	if f == nil {
		return 0
	}
	return s.put(f, s.keep(canonical(raw)), flags, date)
}

// SetFlags replaces the flags of a message. mail.ErrGone: there is none.
func (s *Server) SetFlags(folder mail.Folder, uid mail.UID, flags mail.Flags) error {
	return s.reflag(folder, uid, func(mail.Flags) mail.Flags { return flags })
}

// AddFlags adds flags to a message. mail.ErrGone: there is none.
func (s *Server) AddFlags(folder mail.Folder, uid mail.UID, flags mail.Flags) error {
	return s.reflag(folder, uid, func(f mail.Flags) mail.Flags { return f.With(flags) })
}

// RemoveFlags removes flags of a message. mail.ErrGone: there is none.
func (s *Server) RemoveFlags(folder mail.Folder, uid mail.UID, flags mail.Flags) error {
	return s.reflag(folder, uid, func(f mail.Flags) mail.Flags { return f.Without(flags) })
}

func (s *Server) reflag(folder mail.Folder, uid mail.UID, change func(mail.Flags) mail.Flags) error {
	return s.at(folder, uid, func(f *place) {
		f.update(mail.UIDs(uid), func(old mail.Flags) mail.Flags { return s.flags(change(old)) })
	})
}

// Expunge removes a message for ever. mail.ErrGone: there is none.
func (s *Server) Expunge(folder mail.Folder, uid mail.UID) error {
	return s.at(folder, uid, func(f *place) { f.expunge(mail.UIDs(uid)) })
}

// Copy copies a message and gives the UID of the copy, or 0 where the message or
// the target is not there.
func (s *Server) Copy(folder mail.Folder, uid mail.UID, target mail.Folder) (copied mail.UID) {
	s.at(folder, uid, func(f *place) { copied = s.copyTo(f.message(), target) })
	return copied
}

// Move moves a message and gives its UID in the target, or 0 where the message or
// the target is not there; then nothing has happened.
func (s *Server) Move(folder mail.Folder, uid mail.UID, target mail.Folder) (moved mail.UID) {
	s.at(folder, uid, func(f *place) {
		if moved = s.copyTo(f.message(), target); moved != 0 {
			f.expunge(mail.UIDs(uid))
		}
	})
	return moved
}

// place is a mailbox, and the place of a message in it.
type place struct {
	*mailbox
	index int
}

func (f *place) message() message { return f.messages[f.index] }

// at calls do, under the lock, if the message is there.
func (s *Server) at(name mail.Folder, uid mail.UID, do func(*place)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.folders[name]; f != nil {
		if i := f.find(uid); i >= 0 {
			do(&place{f, i})
			return nil
		}
	}
	return fmt.Errorf("message %d in %s: %w", uid, name, mail.ErrGone)
}

// copyTo is called with the lock held. Flags and INTERNALDATE stay (RFC 9051,
// 6.4.7).
func (s *Server) copyTo(m message, target mail.Folder) mail.UID {
	t := s.folders[target]
	if t == nil {
		return 0
	}
	return s.put(t, m.body, m.flags, m.date)
}

// CreateFolder makes a folder; mail.ErrExists.
func (s *Server) CreateFolder(folder mail.Folder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.add(folder)
}

// DeleteFolder deletes a folder and its messages; folders inside it stay.
// mail.ErrGone; mail.ErrRefused for INBOX.
func (s *Server) DeleteFolder(folder mail.Folder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drop(folder)
}

// RenameFolder renames a folder and those inside it. UIDs, UIDVALIDITY and
// MailboxIDs stay (RFC 8474, 4), unless Options have it otherwise. mail.ErrGone, mail.ErrExists; mail.ErrRefused for
// INBOX, whose renaming means something else (RFC 9051, 6.3.6), and for a folder
// into itself.
func (s *Server) RenameFolder(folder, to mail.Folder) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rename(folder, to)
}

// rename is called with the lock held.
func (s *Server) rename(folder, to mail.Folder) error {
	switch {
	case folder == mail.Inbox || to == "" || to.Inside(folder):
		return fmt.Errorf("rename %s to %s: %w", folder, to, mail.ErrRefused)
	case s.folders[folder] == nil:
		return fmt.Errorf("rename %s to %s: %w", folder, to, mail.ErrGone)
	}
	renamed := map[mail.Folder]mail.Folder{folder: to}
	for name := range s.folders {
		if name.Inside(folder) && !s.Options.NoInferiors {
			renamed[name] = to + name[len(folder):]
		}
	}
	for _, name := range renamed {
		if s.folders[name] != nil {
			return fmt.Errorf("rename %s to %s: %w", folder, to, mail.ErrExists)
		}
	}
	for old, name := range renamed {
		s.folders[name] = s.folders[old]
		delete(s.folders, old)
		if s.Options.NewNumbers {
			s.renumber(s.folders[name])
		}
	}
	return nil
}

// SetRole marks a folder as what it is for (RFC 6154). mail.ErrGone.
func (s *Server) SetRole(folder mail.Folder, role mail.Role) error {
	return s.edit(folder, func(f *mailbox) { f.role = role })
}

// SetReadOnly makes a folder read-only for clients, or writable again.
// mail.ErrGone.
func (s *Server) SetReadOnly(folder mail.Folder, readOnly bool) error {
	return s.edit(folder, func(f *mailbox) { f.readOnly = readOnly })
}

// ChangeUIDValidity gives the folder a new UIDVALIDITY and its messages new UIDs,
// from 1 up in the old order. mail.ErrGone.
func (s *Server) ChangeUIDValidity(folder mail.Folder) error {
	return s.edit(folder, s.renumber)
}

// renumber is called with the lock held.
func (s *Server) renumber(f *mailbox) {
	s.validity++
	f.validity = s.validity
	f.raise()
	for i := range f.messages {
		f.messages[i].uid, f.messages[i].modseq = mail.UID(i+1), f.modseq
	}
	f.next = mail.UID(len(f.messages) + 1)
}

func (s *Server) edit(name mail.Folder, do func(*mailbox)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folders[name]
	if f == nil {
		return fmt.Errorf("folder %s: %w", name, mail.ErrGone)
	}
	do(f)
	return nil
}

// Folders gives the folders' names in order.
func (s *Server) Folders() []mail.Folder {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names()
}

// Messages gives the messages of a folder in ascending order of UIDs; none where
// there is no such folder.
func (s *Server) Messages(folder mail.Folder) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.folders[folder]
	if f == nil {
		return nil
	}
	all := make([]Message, 0, len(f.messages))
	for _, m := range f.messages {
		all = append(all, Message{m.uid, m.flags, m.date, m.body.raw})
	}
	return all
}

// Status gives the four values that a STATUS of the folder would tell; zero where
// there is no such folder.
func (s *Server) Status(folder mail.Folder) mail.Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.folders[folder]; f != nil {
		return s.cursor(f)
	}
	return mail.Cursor{}
}

// Snapshot is a backup of a Server's account.
type Snapshot struct{ folders map[mail.Folder]*mailbox }

// Snapshot takes a backup.
func (s *Server) Snapshot() *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Snapshot{cloneAll(s.folders)}
}

// Restore puts the account back to what it was: UIDVALIDITYs are those of then,
// and UIDNEXT and HIGHESTMODSEQ go backwards. A backup can be restored many times.
func (s *Server) Restore(backup *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.folders = cloneAll(backup.folders)
}

func cloneAll(folders map[mail.Folder]*mailbox) map[mail.Folder]*mailbox {
	all := make(map[mail.Folder]*mailbox, len(folders))
	for name, f := range folders {
		all[name] = f.clone()
	}
	return all
}
