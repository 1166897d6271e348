package conflict

import (
	"cmp"
	"slices"

	"mailtwin/conflict/mail"
)

// Yield tells which copies of messages are too many that several devices have uploaded
// at the same time.
type Yield struct {
	Ours   []*Item // that this device takes back, or does not upload
	Others []*Item // that another device will take back
	// Ask are others of which more must be known before anything can be said.
	Ask []*Item
}

// GiveWay decides which uploads give way, where other devices have uploaded the same
// messages to a folder. ours are the uploads of this run: what is on the server has its
// UID, what is not, not yet or not any more, has none. others are messages that appeared
// there meanwhile, and that base does not know.
//
// Of a message of which a device has n equal files, the n copies with the lowest UIDs
// stay. Each device takes back its own uploads above them, and nobody another one's. As
// UIDs only ascend, and as what is above the n lowest is never counted for anybody else,
// it makes no difference who looks first: devices with equal files end with n of them.
// And one that has a message twice keeps it twice.
func GiveWay(ours, others []*Item) Yield {
	type content struct {
		size   int64
		digest mail.Digest
	}
	type likeness struct {
		size        int64
		fingerprint mail.Fingerprint
	}
	files := map[content][]*Item{}
	alike := map[likeness][]*Item{}
	for _, o := range ours {
		id := o.Identity
		files[content{id.Size, id.Digest}] = append(files[content{id.Size, id.Digest}], o)
		alike[likeness{id.Size, id.Fingerprint}] = append(alike[likeness{id.Size, id.Fingerprint}], o)
	}
	var y Yield
	copies := map[content][]*Item{}
	for _, x := range others {
		like := alike[likeness{x.Message.Size, x.Identity.Fingerprint}]
		switch {
		case len(like) == 0:
			continue
		case x.Identity.Digest != mail.Digest{}:
		case like[0].Identity.MessageID == "" || !allEqual(like):
			y.Ask = append(y.Ask, x)
			continue
		}
		c := content{x.Identity.Size, x.Identity.Digest}
		if c.digest == (mail.Digest{}) {
			c = content{like[0].Identity.Size, like[0].Identity.Digest}
		}
		if len(files[c]) > 0 {
			copies[c] = append(copies[c], x)
		}
	}
	for c, foreign := range copies {
		all := slices.Concat(files[c], foreign)
		slices.SortStableFunc(all, func(a, b *Item) int { return cmp.Compare(a.Message.UID-1, b.Message.UID-1) }) // 0 comes last
		for _, item := range all[len(files[c]):] {
			if item.Remote == New {
				y.Others = append(y.Others, item)
			} else {
				y.Ours = append(y.Ours, item)
			}
		}
	}
	return y
}
