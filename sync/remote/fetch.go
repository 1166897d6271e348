package remote

import (
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailtwin/conflict/mail"
)

// reply is what one FETCH response told, without bodies. Each item may be missing:
// servers send FETCH responses of their own accord, and to the client the first one
// for a UID answers the command (RFC 9051, 7.5.2).
type reply struct {
	uid                        mail.UID
	flags                      mail.Flags
	date                       time.Time
	size                       int64
	emailID                    string // "" where the server told none
	hasFlags, hasDate, hasSize bool
}

// add takes one item in.
func (r *reply) add(item imapclient.FetchItemData) {
	switch item := item.(type) {
	case imapclient.FetchItemDataUID:
		r.uid = mail.UID(item.UID)
	case imapclient.FetchItemDataFlags:
		r.flags, r.hasFlags = fromFlags(item.Flags), true
	case imapclient.FetchItemDataInternalDate:
		r.date, r.hasDate = item.Time, true
	case imapclient.FetchItemDataRFC822Size:
		r.size, r.hasSize = item.Size, true
	}
}

// readReply reads a FETCH response of the selected folder to its end, passing over bodies.
func (s *session) readReply(msg *imapclient.FetchMessageData) reply {
	return s.replyOf(s.selects, msg)
}

// replyOf is readReply, for a FETCH that was sent after so many SELECTs.
func (s *session) replyOf(selection int, msg *imapclient.FetchMessageData) reply {
	var r reply
	for item := msg.Next(); item != nil; item = msg.Next() {
		r.add(item)
	}
	r.emailID = s.conn.EmailID(selection, r.uid)
	return r
}

func byUID(x, y reply) int { return cmp.Compare(x.uid, y.uid) }

// message is the reply as a listing wants it.
func (r reply) message() mail.Message {
	return mail.Message{UID: r.uid, Flags: r.flags, Size: r.size, Date: r.date, EmailID: r.emailID}
}

// fetch sends one UID FETCH for each piece of the set, one after the other, and
// gives each response to visit, which need not read it to its end. An error of
// visit ends the session.
func (s *session) fetch(uids mail.UIDSet, opts *imap.FetchOptions, visit func(*imapclient.FetchMessageData) error) error {
	for _, part := range uids.Split(maxSet) {
		if err := s.read(s.client.Fetch(toIMAP(part), opts), visit); err != nil {
			return err
		}
	}
	return nil
}

// read gives the responses of one command to visit.
func (s *session) read(cmd *imapclient.FetchCommand, visit func(*imapclient.FetchMessageData) error) error {
	return s.readWith(new(sync.Mutex), cmd, visit)
}

// readWith is read where several commands are read at once, which use the session in turn.
func (s *session) readWith(turn *sync.Mutex, cmd *imapclient.FetchCommand, visit func(*imapclient.FetchMessageData) error) error {
	var own error
	for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
		turn.Lock()
		if own = visit(msg); own != nil {
			// The rest is not wanted, and reading it could take long.
			s.broken = true
			s.conn.Close()
		}
		turn.Unlock()
		if own != nil {
			break
		}
	}
	if cut, ok := own.(cutError); ok {
		// Passing over what is left, as Close does, reads the literal once more, and the
		// client's reader reads on since the literal ended; so it has to end first.
		<-s.client.Closed()
		own = cut.error
	}
	err := cmd.Close()
	if own != nil {
		return own
	}
	turn.Lock()
	defer turn.Unlock()
	if removedMeanwhile(err) {
		return nil
	}
	return s.trouble(err)
}

// removedMeanwhile tells whether another session removed some of the messages that a command
// asked about; the others came (RFC 2180, 4.1.2).
func removedMeanwhile(err error) bool {
	no := new(imap.Error)
	return errors.As(err, &no) && no.Type == imap.StatusResponseTypeNo && no.Code == codeExpungeIssued
}

// cutError marks an error of a literal that ended early.
type cutError struct{ error }

// headerItems are fields of a message's header, or the whole of it if there are none,
// and if sized, its size and date.
func headerItems(sized bool, fields []string) *imap.FetchOptions {
	return &imap.FetchOptions{
		UID: true, InternalDate: sized, RFC822Size: sized,
		BodySection: []*imap.FetchItemBodySection{{Specifier: imap.PartSpecifierHeader, HeaderFields: fields, Peek: true}},
	}
}

// maxFields bounds what is read of the header fields of a message, as Measure
// bounds the header of a file.
const maxFields = 256 << 10

// Identify asks what messages are. Nearly all have a Message-ID, which is all that
// makes their fingerprint; only of the others the server is asked for more.
func (a *Account) Identify(ctx context.Context, folder mail.Folder, validity uint32, uids mail.UIDSet, detail mail.Detail) ([]mail.Identified, error) {
	if len(uids) == 0 {
		return nil, nil
	}
	sized := detail >= mail.Sizes
	var found map[mail.UID]mail.Identified
	err := a.on(ctx, "identify messages in", folder, func(s *session, name string) error {
		if err := s.hold(name, validity, a.opts.ReadOnly); err != nil {
			return err
		}
		found = map[mail.UID]mail.Identified{}
		if detail == mail.Headers {
			return s.identify(uids, headerItems(sized, nil), found)
		}
		if err := s.identify(uids, headerItems(sized, mail.FingerprintFields[:1]), found); err != nil {
			return err
		}
		var unnamed mail.UIDSet
		for uid, id := range found {
			if id.Identity.MessageID == "" {
				unnamed.Add(uid)
				delete(found, uid)
			}
		}
		return s.identify(unnamed, headerItems(sized, mail.FingerprintFields), found)
	})
	if err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(found), func(x, y mail.Identified) int { return cmp.Compare(x.UID, y.UID) }), nil
}

// identify asks for what opts names, and once more of those whose answer was stolen, or
// that are gone.
func (s *session) identify(uids mail.UIDSet, opts *imap.FetchOptions, found map[mail.UID]mail.Identified) error {
	missing := slices.Clone(uids)
	for range 2 {
		var seen mail.UIDSet
		err := s.fetch(missing, opts, func(msg *imapclient.FetchMessageData) error {
			r, header, ok, err := readHeader(msg)
			if err != nil {
				return cutError{s.trouble(err)}
			}
			if !ok || opts.RFC822Size && !r.hasSize {
				return nil // not the answer to the question
			}
			seen.Add(r.uid)
			id := mail.Identified{UID: r.uid, Date: r.date, EmailID: s.conn.EmailID(s.selects, r.uid), Identity: mail.Identity{Size: r.size}}
			id.Identity.Fingerprint, id.Identity.MessageID = mail.FingerprintOf(header)
			if opts.BodySection[0].HeaderFields == nil {
				id.Identity.Header = mail.HeaderOf(header)
			}
			found[r.uid] = id
			return nil
		})
		if err != nil {
			return err
		}
		missing = missing.Without(seen)
	}
	return nil
}

// readHeader reads a FETCH response with a header in it, and tells whether there
// was one.
func readHeader(msg *imapclient.FetchMessageData) (r reply, header []byte, ok bool, err error) {
	for item := msg.Next(); item != nil; item = msg.Next() {
		r.add(item)
		section, is := item.(imapclient.FetchItemDataBodySection)
		if !is {
			continue
		}
		ok = true
		if section.Literal == nil {
			continue // NIL: it has none of the fields
		}
		b := &body{r: section.Literal, left: section.Literal.Size()}
		if header, err = io.ReadAll(io.LimitReader(b, maxFields)); err == nil {
			_, err = io.Copy(io.Discard, b)
		}
		if err != nil {
			return r, nil, false, err
		}
	}
	return r, header, ok, nil
}
