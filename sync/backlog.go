package sync

import (
	"context"
	"encoding/binary"
	"iter"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// What must be decided of a message takes about a kilobyte while it is decided: an item, an
// action, and soon a row. For all messages of a large folder, which are new in a first sync,
// that would be more memory than people have to spare for a program that runs in the
// background. So they come in pieces. A scan packs what it finds new into a few octets a
// message; the newest come into the plan of the round, and when that has been carried out,
// the next ones do, until none is left. Only then do cursors move. So a crash between two
// pieces is no other than one in the middle of a large one: what has landed is in base, and
// the rest is new to the next run.
//
// Where anything is there that a new message may be one with, all of them are planned at
// once: what is to be paired is compared as a whole.

// defaultPiece is how many new messages of the server are planned at once. Between two
// pieces the sessions wait for the last messages of the first one to land, so it is many
// portions.
const defaultPiece = 16 << 10

// backlog are new messages of a folder of the server that are not planned yet, packed.
type backlog struct {
	blocks []block // in ascending order of UIDs
	count  int
	bytes  int64 // of all that are waiting
	most   int   // messages of a block
}

// block are some messages. For each: how much higher its UID is than the one before, its
// size, its date in seconds since 1970, its system flags, keywords and EMAILID.
type block struct {
	count  int
	last   mail.UID
	packed []byte
}

// blockMessages is how many messages a block has, unless a piece has fewer.
const blockMessages = 512

// add adds a message, whose UID is higher than those of all that were added before.
func (b *backlog) add(m mail.Message) {
	if n := len(b.blocks); n == 0 || b.blocks[n-1].count == b.most {
		if n > 0 { // it is full, and keeps no more than it needs
			b.blocks[n-1].packed = append([]byte(nil), b.blocks[n-1].packed...)
		}
		b.blocks = append(b.blocks, block{})
	}
	last := &b.blocks[len(b.blocks)-1]
	p := binary.AppendUvarint(last.packed, uint64(m.UID-last.last))
	p = binary.AppendVarint(p, m.Size)
	p = binary.AppendVarint(p, m.Date.Unix()) // which the zero time survives
	p = append(p, byte(m.Flags.System))
	for _, text := range []string{string(m.Flags.Keywords), m.EmailID} {
		p = append(binary.AppendUvarint(p, uint64(len(text))), text...)
	}
	last.packed, last.last = p, m.UID
	last.count++
	b.count++
	b.bytes += m.Size
}

// take gives the newest messages in ascending order of UIDs, as many as that or up to a
// block more, and keeps the others.
func (b *backlog) take(many int) []mail.Message {
	first, count := len(b.blocks), 0
	for first > 0 && count < many {
		first--
		count += b.blocks[first].count
	}
	taken := make([]mail.Message, 0, count)
	for _, block := range b.blocks[first:] {
		taken = block.unpack(taken)
	}
	for _, m := range taken {
		b.bytes -= m.Size
	}
	clear(b.blocks[first:])
	b.blocks = b.blocks[:first]
	b.count -= count
	return taken
}

// unpack appends the messages of a block.
func (b block) unpack(to []mail.Message) []mail.Message {
	p, uid := b.packed, mail.UID(0)
	for range b.count {
		more, n := binary.Uvarint(p)
		p, uid = p[n:], uid+mail.UID(more)
		m := mail.Message{UID: uid}
		m.Size, n = binary.Varint(p)
		p = p[n:]
		seconds, n := binary.Varint(p)
		m.Date, m.Flags.System = time.Unix(seconds, 0).UTC(), mail.System(p[n])
		p = p[n+1:]
		var texts [2]string
		for i := range texts {
			length, n := binary.Uvarint(p)
			texts[i], p = string(p[n:n+int(length)]), p[n+int(length):]
		}
		m.Flags.Keywords, m.EmailID = mail.Keywords(texts[0]), texts[1]
		to = append(to, m)
	}
	return to
}

// takeNews puts what a scan finds new into the folder's backlog, and gives the other changes.
func (r *run) takeNews(f *folder, found iter.Seq2[conflict.RemoteChange, error]) ([]conflict.RemoteChange, error) {
	f.news, f.came, f.unlearnt = backlog{most: min(blockMessages, r.Piece)}, 0, nil
	var changes []conflict.RemoteChange
	for c, err := range found {
		if err != nil {
			f.news = backlog{}
			return nil, err
		}
		if c.Change == conflict.New {
			if c.Message.UID >= f.base.Remote.UIDNext {
				f.came++
			}
			f.news.add(c.Message)
		} else {
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// unpack makes items of new messages of the server, as many as that or up to a block more:
// of INBOX first, and of each folder the newest first.
func (r *run) unpack(g *gathered, many int) {
	for _, f := range r.usable(func(f *folder) bool { return f.news.count > 0 }) {
		if many <= 0 {
			return
		}
		// Those that are there already are newer.
		taken := f.news.take(many)
		items := make([]*conflict.Item, 0, len(taken)+len(g.newRemote[f]))
		for _, m := range taken {
			items = append(items, &conflict.Item{
				Folder: f.name, Remote: conflict.New, Message: m, Identity: mail.Identity{Size: m.Size},
			})
		}
		g.newRemote[f] = append(items, g.newRemote[f]...)
		many -= len(taken)
	}
}

// inPieces tells whether new messages can be planned piece by piece: there is nothing that
// one of them may be but itself, or a copy of what is in step, as base tells whenever it is
// asked, and nothing is to be removed. A dry run, which brings nothing here, tells of all at
// once.
func (r *run) inPieces(g *gathered) bool {
	if r.DryRun || len(r.intents)+len(g.recovered)+len(g.stranded)+len(g.left)+len(g.unmeasured) > 0 {
		return false
	}
	for _, files := range g.newLocal {
		if len(files) > 0 {
			return false
		}
	}
	for _, item := range g.rows {
		// One that was landing is known on the server, whatever became of its file.
		if item.Remote == conflict.Gone || item.Row.UID == 0 || item.Local == conflict.Gone && item.Row.State != mail.Landing {
			return false
		}
		// Nothing is removed before all that is to appear has.
		marked := item.Row.Flags.Has(mail.Deleted) || item.File.Flags.Has(mail.Deleted) || item.Message.Flags.Has(mail.Deleted)
		if marked && r.folders[item.Folder].policy.ExpungeDeleted {
			return false
		}
	}
	for _, f := range r.folders {
		if f.loss != conflict.NoLoss || f.forgotten != nil || len(f.ours) > 0 {
			return false
		}
	}
	return true
}

// announce tells who looks how much the pieces to come are: the plans of those do not.
func (r *run) announce() {
	for _, f := range r.usable(func(f *folder) bool { return f.news.count > 0 && f.policy.Direction != conflict.Push }) {
		if r.wanted(f.name) {
			r.Progress(Progress{Folder: f.name, TotalMessages: f.news.count, TotalBytes: f.news.bytes})
		}
	}
}

// nextPiece gives the items of the next piece of new messages, none if all of them have been
// planned in this round.
func (r *run) nextPiece(ctx context.Context, round int) ([]*conflict.Item, error) {
	if r.several {
		round = max(round, 1) // one of them may be a copy of what came in an earlier piece
	}
	for r.announced = true; ; {
		g := r.newGathered()
		r.unpack(g, r.Piece)
		if len(g.newRemote) == 0 {
			return nil, nil
		}
		items, err := r.pair(ctx, g, round)
		if err == nil {
			items, err = r.awaitElsewhere(ctx, g, items)
		}
		if err != nil || len(items) > 0 {
			return items, err
		}
	}
}
