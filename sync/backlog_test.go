package sync

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
	"unsafe"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

func TestABacklogGivesTheNewestFirst(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := backlog{most: 7}
	var all []mail.Message
	uid := mail.UID(0)
	for range 100 {
		uid += 1 + mail.UID(r.IntN(3)*r.IntN(1<<20))
		m := mail.Message{UID: uid, Size: r.Int64N(1 << 40), Date: time.Unix(r.Int64N(1<<33)-1<<32, 0).UTC()}
		switch r.IntN(4) {
		case 0:
			m.Flags = mail.ParseFlags([]string{`\Seen`, "work", "$Junk"})
		case 1:
			m.Flags, m.EmailID = mail.Flags{System: mail.Forwarded | mail.Seen}, "M0123456789"
		case 2:
			m.Size, m.Date = 0, time.Time{} // of what base should know, no more is told
		}
		all = append(all, m)
		b.add(m)
	}
	for left := all; len(left) > 0; {
		got := b.take(10)
		if want := left[max(0, len(left)-len(got)):]; len(got) < min(10, len(left)) || len(got) > 10+7 || !reflect.DeepEqual(got, want) {
			t.Fatalf("%d messages: %v, want %v", len(got), got, want)
		}
		left = left[:len(left)-len(got)]
		bytes := int64(0)
		for _, m := range left {
			bytes += m.Size
		}
		if b.count != len(left) || b.bytes != bytes {
			t.Fatalf("it says that it has %d, and has %d", b.count, len(left))
		}
	}
	if got := b.take(10); len(got) > 0 {
		t.Errorf("an empty one gives %v", got)
	}
}

// A million messages may wait, and whatever grows here grows a million times: UID, size,
// date and flags are 11 octets of an ordinary message.
func TestABacklogIsSmall(t *testing.T) {
	const messages = 100_000
	b := backlog{most: blockMessages}
	for i := range messages {
		b.add(mail.Message{UID: mail.UID(1 + i), Size: 4000 + int64(i%50_000), Date: time.Unix(1.7e9+int64(i)*60, 0), Flags: mail.Flags{System: mail.Seen}})
	}
	octets := cap(b.blocks) * int(unsafe.Sizeof(block{}))
	for _, block := range b.blocks {
		octets += cap(block.packed)
	}
	if per := float64(octets) / messages; per > 14 {
		t.Errorf("%.1f octets a message", per)
	}
}

// However many messages are new, the plan has a piece of them, and that is to be small:
// what an item, an action and the rest come to is most of what a first sync holds.
func TestAPlanOfNewMessagesIsSmall(t *testing.T) {
	r := &run{Options: Options{Piece: defaultPiece, Now: time.Now}}
	f := &folder{name: "INBOX", selected: true, news: backlog{most: blockMessages}}
	r.folders = map[mail.Folder]*folder{"INBOX": f}
	for i := range 100_000 {
		f.news.add(mail.Message{UID: mail.UID(1 + i)})
	}
	g := r.newGathered()
	if r.unpack(g, r.Piece); !r.inPieces(g) {
		t.Fatal("what there is nothing to pair with comes not in pieces")
	}
	messages := len(g.newRemote[f])
	if messages > defaultPiece+blockMessages {
		t.Errorf("%d messages are planned at once", messages)
	}
	each := unsafe.Sizeof(conflict.Item{}) + unsafe.Sizeof(conflict.Action{}) + unsafe.Sizeof(mail.Message{}) + 3*unsafe.Sizeof(&conflict.Item{})
	if total := messages * int(each); total > 16<<20 {
		t.Errorf("%d of them are %d octets each, together %d", messages, each, total)
	}
}
