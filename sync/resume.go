package sync

import (
	"context"
	"errors"
	"maps"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// A large message on a slow line may take longer than the connection lasts. So what has come
// of it stays in tmp/, and the next run fetches the rest. The rest is of the same message if
// UIDVALIDITY and UID are the same, which is what they are for (RFC 9051, 2.3.1.1), and so are
// the size that the server lists, the size of its body, and INTERNALDATE, and if the last
// octets that are here are what the server gives before the rest. Where one of these differs,
// or the server gives the message whole, it begins anew. Servers whose bodies are not as long
// as they list make up bodies as they go, and perhaps others each time: there is nothing to go
// on with.

// part is the beginning of a message, which is being gone on with.
type part struct {
	mail.Part
	in mail.Incoming
}

// maxParts bounds how many files are open for messages that are to come.
const maxParts = 16

// resume looks for what is here of messages that are to come. What goes wrong costs no more
// than to fetch them from their beginning.
func (r *run) resume(ctx context.Context, come *arrivals) {
	large := false
	for _, a := range come.missing {
		large = large || a.Item.Message.Size > r.KeepPart
	}
	if !large {
		return
	}
	f := come.folder
	kept, err := r.Local.Parts(ctx, f.name)
	if err != nil {
		r.Log.Info("parts of messages are not looked for", "folder", f.name, "error", err)
		return
	}
	come.parts = map[mail.UID]*part{}
	for _, p := range kept {
		a := come.missing[p.UID]
		if a == nil || come.parts[p.UID] != nil || len(come.parts) == maxParts || p.Validity != r.validity(f) || !sameAs(p, a.Item.Message) {
			continue
		}
		in, err := r.Local.Resume(ctx, f.name, p)
		if err != nil {
			r.Log.Info("a message begins anew", "folder", f.name, "uid", p.UID, "reason", err)
			continue
		}
		come.parts[p.UID] = &part{p, in}
	}
}

// sameAs tells whether a part can be of a message that the server lists.
func sameAs(p mail.Part, m mail.Message) bool {
	return p.UID == m.UID && p.Size == m.Size && p.Date.Equal(m.Date) && !m.Date.IsZero()
}

// begin gives what takes a body: a new message, or the part that the body is the rest of; nil
// where it is the rest of nothing.
func (r *run) begin(ctx context.Context, come *arrivals, b mail.Body) (mail.Incoming, error) {
	if p := come.parts[b.UID]; p != nil {
		delete(come.parts, b.UID)
		if b.Offset == p.Octets && b.Size == p.Size && b.Date.Equal(p.Date) {
			return p.in, nil
		}
		p.in.Discard()
	}
	if b.Offset > 0 {
		return nil, nil
	}
	return r.Local.Create(ctx, come.folder.name, b.Date)
}

// endParts ends what was to be gone on with and was not given: those that the connection did
// not get to are kept, and those that are gone are not.
func (r *run) endParts(come *arrivals, broken bool) {
	for _, uid := range slices.Sorted(maps.Keys(come.parts)) {
		if p := come.parts[uid]; broken && !r.tidies() {
			r.keep(p.in, p.Part)
		} else {
			p.in.Discard()
		}
	}
}

// keepOrDiscard ends a message of which no more comes, and keeps the n octets that came if
// they are worth it, and if the message can be known again.
func (r *run) keepOrDiscard(f *folder, in mail.Incoming, n int64, a *conflict.Action, b mail.Body) {
	p := mail.Part{Validity: r.validity(f), UID: b.UID, Date: b.Date, Size: b.Size}
	if n < r.KeepPart || !sameAs(p, a.Item.Message) || r.tidies() {
		in.Discard()
		return
	}
	r.keep(in, p)
}

// tidies tells whether nothing is to be left in tmp/.
func (r *run) tidies() bool { return r.Tidy && errors.Is(r.ended(), context.Canceled) }

func (r *run) keep(in mail.Incoming, p mail.Part) {
	if err := in.Keep(p); err != nil {
		r.Log.Info("what has come of a message is not kept", "uid", p.UID, "error", err)
	}
}
