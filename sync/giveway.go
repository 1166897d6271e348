package sync

import (
	"context"
	"fmt"
	"slices"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// Two devices can upload one message at the same time: both have found it in their
// Maildirs, and neither has seen the other one's upload. So after its APPENDs a device
// looks at the UIDs that it has not been told of, from the folder's UIDNEXT up to its
// own; where there are none, as nearly always, that costs nothing. What gives way, as
// conflict decides, is expunged by the device that has uploaded it. Its file is then one
// without a message, and the next round ties it to the copy that stays: so a crash
// anywhere in between is no other than one after an upload.
//
// It takes UIDPLUS: without it nobody knows which of two equal messages is his own, nor
// can remove one alone, and both stay.

// giveWay takes back those of a batch of uploads that are too many.
func (r *run) giveWay(ctx context.Context, s *sending) error {
	f, out, batch := s.folder, s.out, &s.record
	var own mail.UIDSet
	last := mail.UID(0)
	for _, o := range out {
		if o.row == nil {
			continue
		}
		own.Add(o.row.UID)
		last = max(last, o.row.UID)
		f.ours = append(f.ours, o.item(f))
	}
	if last < f.looked || !r.Remote.Abilities().UIDPlus {
		return nil
	}
	var between mail.UIDSet
	between.AddRange(mail.UIDRange{First: max(f.looked, 1), Last: last})
	f.looked = last + 1
	if err := r.meetOthers(ctx, f, between.Without(own)); err != nil {
		return err
	}
	if len(f.others) == 0 {
		return nil
	}
	yield, err := r.yield(ctx, f, f.ours, &f.others)
	if err != nil {
		return err
	}
	var back mail.UIDSet
	for _, item := range yield.Ours {
		if item.Message.UID != 0 {
			back.Add(item.Message.UID)
			item.Message.UID = 0
		}
	}
	if len(back) == 0 {
		return nil
	}
	r.dirty(f, mail.Local)
	r.leave(f)
	if err := r.expunge(ctx, f, back); err != nil {
		return fmt.Errorf("take back what another device has uploaded, too: %w", err)
	}
	batch.PutRows = slices.DeleteFunc(batch.PutRows, func(row *mail.Row) bool { return row.UID != 0 && back.Has(row.UID) })
	r.count(func(rep *Report) { rep.Remote.New -= back.Len() })
	return nil
}

// meetOthers finds out what somebody else has brought into a folder under these UIDs.
func (r *run) meetOthers(ctx context.Context, f *folder, uids mail.UIDSet) error {
	rows, err := r.State.WithUIDs(ctx, f.base.ID, uids)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	for _, row := range rows {
		uids = uids.Without(mail.UIDs(row.UID))
	}
	if len(uids) == 0 {
		return nil
	}
	found, err := r.Remote.Identify(ctx, f.name, r.validity(f), uids, mail.Sizes)
	if err != nil {
		return err
	}
	for _, id := range found {
		f.others = append(f.others, &conflict.Item{
			Folder: f.name, Remote: conflict.New, Identity: id.Identity,
			Message: mail.Message{UID: id.UID, Size: id.Identity.Size, Date: id.Date},
		})
	}
	return nil
}

// yield asks conflict which uploads give way, and the server what it must know for that.
func (r *run) yield(ctx context.Context, f *folder, ours []*conflict.Item, others *[]*conflict.Item) (conflict.Yield, error) {
	for {
		yield := conflict.GiveWay(ours, *others)
		if len(yield.Ask) == 0 {
			return yield, nil
		}
		left, err := r.learn(ctx, f, *others, yield.Ask, false)
		if err != nil {
			return yield, err
		}
		*others = left
	}
}

// needless leaves out of a batch of uploads what another device has uploaded since the
// folder was looked at. The next round ties it.
func (r *run) needless(ctx context.Context, w *work, out []*outgoing) ([]*outgoing, error) {
	f := w.folder
	if len(f.others) == 0 {
		return out, nil
	}
	ours := slices.Clone(f.ours)
	of := map[*conflict.Item]*outgoing{}
	for _, o := range out {
		item := o.item(f)
		ours, of[item] = append(ours, item), o
	}
	yield, err := r.yield(ctx, f, ours, &f.others)
	if err != nil {
		return nil, err
	}
	for _, item := range yield.Ours {
		if o := of[item]; o != nil {
			out = slices.DeleteFunc(out, func(other *outgoing) bool { return other == o })
			f.ours = append(f.ours, item)
			w.behind = true
			r.dirty(f, mail.Local)
			r.dirty(f, mail.Remote)
			r.leave(f)
		}
	}
	return out, nil
}

// item is the upload as GiveWay wants it.
func (o *outgoing) item(f *folder) *conflict.Item {
	item := &conflict.Item{Folder: f.name, Local: conflict.New, File: o.file, Identity: o.id}
	if o.row != nil {
		item.Message.UID = o.row.UID
	}
	return item
}

// awaitOthers leaves out, for the rest of this run, the new messages that another device
// is about to take back, since this one was first. What is still there in the next run
// is a message like any other.
func (r *run) awaitOthers(ctx context.Context, f *folder, news []*conflict.Item) ([]*conflict.Item, error) {
	if len(f.ours) == 0 || len(news) == 0 || !r.Remote.Abilities().UIDPlus {
		return news, nil
	}
	sizes := map[int64]bool{}
	for _, o := range f.ours {
		sizes[o.Identity.Size] = true
	}
	var unknown []*conflict.Item
	for _, item := range news {
		if sizes[item.Message.Size] && item.Identity.Fingerprint == (mail.Fingerprint{}) {
			unknown = append(unknown, item)
		}
	}
	if len(unknown) > 0 {
		var err error
		if news, err = r.learn(ctx, f, news, unknown, false); err != nil {
			return nil, err
		}
	}
	yield, err := r.yield(ctx, f, f.ours, &news)
	if err != nil || len(yield.Others) == 0 {
		return news, err
	}
	r.leave(f)
	return slices.DeleteFunc(slices.Clone(news), func(item *conflict.Item) bool { return slices.Contains(yield.Others, item) }), nil
}
