package conflict

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"mailtwin/conflict/mail"
)

// TestUploadsThatGiveWay has several devices upload the same message, some of them
// several times, in every order that chance gives, and look at what is there at any time
// after an upload of theirs.
func TestUploadsThatGiveWay(t *testing.T) {
	const text = "Message-ID: <1@example.org>\n\ntext\n"
	type upload struct {
		device int
		item   *Item
	}
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		devices, each := 2+random.IntN(2), 1+random.IntN(3)
		var todo []int
		for d := range devices {
			for range each {
				todo = append(todo, d)
			}
		}
		random.Shuffle(len(todo), func(i, j int) { todo[i], todo[j] = todo[j], todo[i] })
		ours := make([][]*Item, devices)
		for d := range ours {
			for i := range each {
				ours[d] = append(ours[d], &Item{Local: New, File: mail.File{Key: mail.Key(fmt.Sprint(d, i))}, Identity: measured(text)})
			}
		}
		var there []upload
		looked := make([]bool, devices)
		look := func(d int) {
			looked[d] = true
			var others []*Item
			for _, u := range there {
				if u.device != d {
					others = append(others, messageAt(u.item.Message.UID, text, 1))
				}
			}
			y := GiveWay(ours[d], others)
			if len(y.Ask) > 0 {
				t.Fatal("it asks for more")
			}
			for _, item := range y.Ours {
				there = slices.DeleteFunc(there, func(u upload) bool { return u.item == item })
				item.Message.UID = 0
			}
		}
		next := make([]int, devices)
		for i, d := range todo {
			item := ours[d][next[d]]
			next[d]++
			item.Message.UID = mail.UID(i + 10)
			there = append(there, upload{d, item})
			looked[d] = false
			if random.IntN(2) == 0 {
				look(random.IntN(devices))
			}
		}
		for _, d := range random.Perm(devices) {
			if !looked[d] {
				look(d)
			}
		}
		if len(there) != each {
			t.Fatalf("seed %d: %d devices with %d copies end with %d", seed, devices, each, len(there))
		}
	}
}

func TestWhoGivesWay(t *testing.T) {
	const (
		named   = "Message-ID: <1@example.org>\n\ntext\n"
		unnamed = "Subject: unnamed\n\ntext\n"
	)
	ours := func(uid mail.UID, text string) *Item {
		return &Item{Local: New, Message: mail.Message{UID: uid}, Identity: measured(text)}
	}
	told := func(i *Item, text string) *Item {
		i.Identity = measured(text)
		return i
	}
	for name, c := range map[string]struct {
		ours, others []*Item
		gives, takes []mail.UID // ours that give way, and others
		asks         int
	}{
		"another one came first":   {ours: []*Item{ours(8, named)}, others: []*Item{messageAt(7, named, 1)}, gives: []mail.UID{8}},
		"ours came first":          {ours: []*Item{ours(7, named)}, others: []*Item{messageAt(8, named, 1)}, takes: []mail.UID{8}},
		"ours is still to be sent": {ours: []*Item{ours(0, named)}, others: []*Item{messageAt(8, named, 1)}, gives: []mail.UID{0}},
		"both are ours":            {ours: []*Item{ours(7, named), ours(8, named)}},
		"twins, and one of another device's": {
			ours: []*Item{ours(7, named), ours(9, named)}, others: []*Item{messageAt(8, named, 1)}, gives: []mail.UID{9},
		},
		"other bytes":            {ours: []*Item{ours(8, named)}, others: []*Item{messageAt(7, named+"more\n", 1)}},
		"nobody's name":          {ours: []*Item{ours(8, unnamed)}, others: []*Item{messageAt(7, unnamed, 1)}, asks: 1},
		"nobody's name, told":    {ours: []*Item{ours(8, unnamed)}, others: []*Item{told(messageAt(7, unnamed, 1), unnamed)}, gives: []mail.UID{8}},
		"nobody's name, another": {ours: []*Item{ours(8, unnamed)}, others: []*Item{told(messageAt(7, unnamed, 1), "Subject: unnamed\n\ntekt\n")}},
		"versions of one name": {
			ours: []*Item{ours(8, named+"1"), ours(9, named+"2")}, others: []*Item{messageAt(7, named+"2", 1)}, asks: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			y := GiveWay(c.ours, c.others)
			uids := func(items []*Item) (all []mail.UID) {
				for _, i := range items {
					all = append(all, i.Message.UID)
				}
				return all
			}
			if !slices.Equal(uids(y.Ours), c.gives) || !slices.Equal(uids(y.Others), c.takes) || len(y.Ask) != c.asks {
				t.Errorf("ours %v, others %v give way, and it asks for %d", uids(y.Ours), uids(y.Others), len(y.Ask))
			}
		})
	}
}
