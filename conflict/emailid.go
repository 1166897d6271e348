package conflict

import "slices"

// sameEmail tells whether the server says that the new message is the one that base
// knows: the same EMAILID is the same content, for ever (RFC 8474, 5.1). Another one says
// nothing: some servers give one to each copy. One that has the same with another size
// does not keep to that, and is not believed.
func (i *Item) sameEmail(arrived *Item) bool {
	return i.Row.EmailID != "" && i.Row.EmailID == arrived.Message.EmailID && i.Row.ServerSize() == arrived.Message.Size
}

// tieByEmailID ties the gone messages and the new ones that the server says are one, and
// gives what is left of both. Those of one date come first: some servers give one EMAILID
// to all that have the same content, whenever it came.
func tieByEmailID(gone, arrived []*Item) (ties []Tie, leftGone, left []*Item) {
	sameDate := func(g, a *Item) bool { return g.Row.Date.Unix() == a.Message.Date.Unix() }
	for _, fits := range []func(g, a *Item) bool{sameDate, func(g, a *Item) bool { return true }} {
		gone = slices.DeleteFunc(gone, func(g *Item) bool {
			i := slices.IndexFunc(arrived, func(a *Item) bool { return g.sameEmail(a) && fits(g, a) })
			if i >= 0 {
				ties = append(ties, Tie{g, arrived[i]})
				arrived = slices.Delete(arrived, i, i+1)
			}
			return i >= 0
		})
	}
	return ties, gone, arrived
}
