package conflict

import (
	"testing"
	"time"

	"mailtwin/conflict/mail"
)

// fileAt is a file that is new, with its time; messageAt a new message, of which the
// server has told what it tells without the body.
func fileAt(key, text string, at int64) *Item {
	return &Item{
		Local: New, File: mail.File{Key: mail.Key(key)}, Identity: measured(text),
		Stat: mail.Stat{ModTime: at*int64(time.Second) + 1},
	}
}

func messageAt(uid mail.UID, text string, at int64) *Item {
	id := measured(text)
	id.Digest = mail.Digest{}
	return &Item{Remote: New, Message: mail.Message{UID: uid, Size: id.Size, Date: time.Unix(at, 0)}, Identity: id}
}

// TestWhatIsOneMessage: on a server that gives back what it was sent, and on those
// that rewrite it.
func TestWhatIsOneMessage(t *testing.T) {
	const (
		named   = "Message-ID: <1@example.org>\n\ntext\n"
		changed = "X-Server: here\n" + named
		version = named + "Another version.\n"
		unnamed = "Subject: unnamed\n\ntext\n"
		bare    = "\ntext\n"
	)
	rewrite := func(s string) string { return "X-Server: here\n" + s }
	lonely := func(i *Item, remoteSize int64) *Item {
		i.Local, i.Remote = Same, Gone
		i.Row = &mail.Row{Key: i.File.Key, UID: 5, Identity: i.Identity, RemoteSize: remoteSize}
		return i
	}
	upload := map[mail.Key]mail.Intent{"a": {Kind: mail.Upload, Key: "a", UIDNext: 7}}
	for name, c := range map[string]struct {
		files, messages []*Item
		texts           map[mail.UID]string // what the bodies are, when asked for
		intents         map[mail.Key]mail.Intent
		adopt           bool
		want            map[mail.Key]mail.UID
	}{
		"the same bytes": {
			files: []*Item{fileAt("a", named, 1)}, messages: []*Item{messageAt(7, named, 2)},
			want: map[mail.Key]mail.UID{"a": 7},
		},
		"of twins, as many as there are on both sides": {
			files: []*Item{fileAt("a", named, 1), fileAt("b", named, 1)}, messages: []*Item{messageAt(7, named, 2)},
			want: map[mail.Key]mail.UID{"a": 7},
		},
		"other bytes at the same time, where base knows the folder": {
			files: []*Item{fileAt("a", named, 1)}, messages: []*Item{messageAt(7, changed, 1)},
		},
		"other bytes at the same time, where it does not": {
			adopt: true,
			files: []*Item{fileAt("a", named, 1)}, messages: []*Item{messageAt(7, changed, 1)},
			want: map[mail.Key]mail.UID{"a": 7},
		},
		"other bytes at another time": {
			adopt: true,
			files: []*Item{fileAt("a", named, 1)}, messages: []*Item{messageAt(7, changed, 2)},
			texts: map[mail.UID]string{7: changed},
		},
		"the same bytes at another time, of a size that is not theirs": {
			adopt: true,
			files: []*Item{fileAt("a", named, 1)}, messages: []*Item{messageAt(7, changed, 2)},
			texts: map[mail.UID]string{7: named},
			want:  map[mail.Key]mail.UID{"a": 7},
		},
		"two versions, each at its time": {
			adopt:    true,
			files:    []*Item{fileAt("a", named, 1), fileAt("b", version, 2)},
			messages: []*Item{messageAt(7, rewrite(version), 2), messageAt(8, changed, 1)},
			texts:    map[mail.UID]string{7: rewrite(version), 8: changed},
			want:     map[mail.Key]mail.UID{"a": 8, "b": 7},
		},
		"two versions at one time": {
			adopt:    true,
			files:    []*Item{fileAt("a", named, 1), fileAt("b", version, 1)},
			messages: []*Item{messageAt(7, rewrite(version), 1), messageAt(8, changed, 1)},
			texts:    map[mail.UID]string{7: rewrite(version), 8: changed},
		},
		"one of two versions, and at its time another that came otherwise": {
			adopt:    true,
			files:    []*Item{fileAt("a", named, 1), fileAt("b", version, 1)},
			messages: []*Item{messageAt(7, named, 1), messageAt(8, rewrite(version), 1)},
			texts:    map[mail.UID]string{7: named, 8: rewrite(version)},
			want:     map[mail.Key]mail.UID{"a": 7},
		},
		"rewritten twins": {
			adopt:    true,
			files:    []*Item{fileAt("a", named, 1), fileAt("b", named, 1)},
			messages: []*Item{messageAt(7, changed, 1), messageAt(8, changed, 1), messageAt(9, changed, 1)},
			texts:    map[mail.UID]string{7: changed, 8: changed, 9: changed},
			want:     map[mail.Key]mail.UID{"a": 7, "b": 8},
		},
		"rewritten, without a Message-ID": {
			adopt: true,
			files: []*Item{fileAt("a", unnamed, 1)}, messages: []*Item{messageAt(7, rewrite(unnamed), 1)},
			texts: map[mail.UID]string{7: rewrite(unnamed)},
			want:  map[mail.Key]mail.UID{"a": 7},
		},
		"without any field, other bytes": {
			adopt: true,
			files: []*Item{fileAt("a", bare, 1)}, messages: []*Item{messageAt(7, "\nTEXT\n", 1)},
			texts: map[mail.UID]string{7: "\nTEXT\n"},
		},
		"an upload under way": {
			intents: upload,
			files:   []*Item{fileAt("a", named, 1)}, messages: []*Item{messageAt(6, changed, 1), messageAt(7, changed, 2)},
			want: map[mail.Key]mail.UID{"a": 7},
		},
		"an upload under way, without a Message-ID": {
			intents: upload,
			files:   []*Item{fileAt("a", unnamed, 1)}, messages: []*Item{messageAt(7, rewrite(unnamed), 2), messageAt(8, rewrite(unnamed), 1)},
			texts: map[mail.UID]string{7: rewrite(unnamed), 8: rewrite(unnamed)},
			want:  map[mail.Key]mail.UID{"a": 8},
		},
		"uploads of two versions under way, and one was there unchanged": {
			intents:  map[mail.Key]mail.Intent{"a": {UIDNext: 7}, "b": {UIDNext: 7}},
			files:    []*Item{fileAt("a", named, 1), fileAt("b", version, 1)},
			messages: []*Item{messageAt(7, version, 1), messageAt(8, changed, 1)},
			texts:    map[mail.UID]string{7: version, 8: changed},
			want:     map[mail.Key]mail.UID{"a": 8, "b": 7},
		},
		"put back on the server, where base knows it by its size there": {
			files: []*Item{lonely(fileAt("a", named, 1), measured(changed).Size)}, messages: []*Item{messageAt(7, changed, 2)},
			want: map[mail.Key]mail.UID{"a": 7},
		},
		"a version that came to take its place at the same time": {
			adopt: true,
			files: []*Item{lonely(fileAt("a", named, 1), 0)}, messages: []*Item{messageAt(7, version, 1)},
			texts: map[mail.UID]string{7: version},
		},
	} {
		t.Run(name, func(t *testing.T) {
			pairs := TieNew(c.files, c.messages, c.intents, c.adopt)
			for range len(c.messages) {
				for _, r := range pairs.Ask {
					text, ok := c.texts[r.Message.UID]
					if !ok {
						t.Fatalf("asks for the body of message %d", r.Message.UID)
					}
					r.Identity = measured(text)
				}
				if len(pairs.Ask) > 0 {
					pairs = TieNew(c.files, c.messages, c.intents, c.adopt)
				}
			}
			if len(pairs.Ask) > 0 {
				t.Fatalf("never has enough: %d", len(pairs.Ask))
			}
			got := map[mail.Key]mail.UID{}
			for _, tie := range pairs.Ties {
				got[tie.Local.Key()] = tie.Remote.Message.UID
			}
			if len(got) != len(c.want) {
				t.Errorf("tied %v, want %v", got, c.want)
			}
			for key, uid := range c.want {
				if got[key] != uid {
					t.Errorf("tied %v, want %v", got, c.want)
				}
			}
		})
	}
}

func measured(text string) mail.Identity {
	var m mail.Measure
	m.Write([]byte(text)) // never fails
	return m.Identity()
}
