package conflict

import (
	"maps"
	"strings"
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

// seen is the item with its \Seen flag.
func seen(i *Item) *Item {
	i.File.Flags.System |= mail.Seen
	i.Message.Flags.System |= mail.Seen
	return i
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
		"twins, each with its flags": {
			files:    []*Item{fileAt("a", named, 1), seen(fileAt("b", named, 1))},
			messages: []*Item{seen(messageAt(7, named, 1)), messageAt(8, named, 1)},
			want:     map[mail.Key]mail.UID{"a": 8, "b": 7},
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
			files:   []*Item{fileAt("a", named, 1)}, messages: []*Item{messageAt(6, changed, 1), messageAt(7, changed, 1)},
			want: map[mail.Key]mail.UID{"a": 7},
		},
		"an upload that was done, at another time": {
			intents: map[mail.Key]mail.Intent{"a": {Kind: mail.Upload, Key: "a", UIDNext: 7, Done: true}},
			files:   []*Item{fileAt("a", named, 1)}, messages: []*Item{messageAt(7, changed, 2)},
			want: map[mail.Key]mail.UID{"a": 7},
		},
		"another version, saved while an upload was under way": {
			intents: upload,
			files:   []*Item{fileAt("a", named, 1)}, messages: []*Item{messageAt(7, version, 2)},
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

// TestWhatTheServerSaysIsOne: by EMAILID, where it tells one, without another question.
func TestWhatTheServerSaysIsOne(t *testing.T) {
	const (
		text    = "Subject: unnamed\n\ntext\n"
		version = "Subject: unnamed\n\nTEXT\n" // of that size
		longer  = "Subject: unnamed\n\ntexts\n"
	)
	gone := func(uid mail.UID, text, emailID string) *Item {
		id := measured(text)
		row := &mail.Row{Key: "k", UID: uid, Identity: id, EmailID: emailID, Date: time.Unix(1, 0)}
		return &Item{Folder: "A", Remote: Gone, Row: row, Identity: id}
	}
	arrived := func(uid mail.UID, text, emailID string, at int64) *Item {
		size := measured(text).Size
		return &Item{Folder: "B", Remote: New, Identity: mail.Identity{Size: size},
			Message: mail.Message{UID: uid, Size: size, Date: time.Unix(at, 0), EmailID: emailID}}
	}
	rewritten := gone(5, text, "M1")
	rewritten.Row.TellSize(measured(longer).Size)
	later := gone(6, text, "M1")
	later.Row.Date = time.Unix(2, 0)
	flagged, moved := gone(5, text, "M1"), gone(0, text, "")
	flagged.Local, moved.Followed = Flags, true
	unread := gone(5, text, "M1") // its file could not be read, or is another one
	unread.Identity = mail.Identity{}

	for name, c := range map[string]struct {
		gone, arrived []*Item
		texts         map[mail.UID]string // what the messages are, when asked for
		want          map[mail.UID]mail.UID
		copied        mail.UID // which of gone the first one is a copy of, were they still there
		ask           bool     // to know that takes more
	}{
		"the same EMAILID": {
			gone: []*Item{gone(5, text, "M1")}, arrived: []*Item{arrived(7, text, "M1", 1)},
			want: map[mail.UID]mail.UID{5: 7}, copied: 5,
		},
		"at another time": { // which base looks for none to be a copy of
			gone: []*Item{gone(5, text, "M1")}, arrived: []*Item{arrived(7, text, "M1", 2)},
			want: map[mail.UID]mail.UID{5: 7}, copied: 5,
		},
		"of those of one size, the one that has it": {
			gone:    []*Item{gone(5, version, "M2"), gone(6, text, "M1")},
			arrived: []*Item{arrived(7, text, "M1", 1), arrived(8, version, "M2", 1)},
			want:    map[mail.UID]mail.UID{5: 8, 6: 7}, copied: 6,
		},
		"of twins, as many as there are on both sides": {
			gone:    []*Item{gone(5, text, "M1"), gone(6, text, "M1")},
			arrived: []*Item{arrived(7, text, "M1", 1)},
			want:    map[mail.UID]mail.UID{6: 7}, copied: 5,
		},
		"of twins, the one of that time": {
			gone:    []*Item{later, gone(5, text, "M1")},
			arrived: []*Item{arrived(7, text, "M1", 1)},
			want:    map[mail.UID]mail.UID{5: 7}, copied: 6,
		},
		"of twins, the one that is flagged here": {
			gone:    []*Item{gone(6, text, "M1"), flagged},
			arrived: []*Item{arrived(7, text, "M1", 1)},
			want:    map[mail.UID]mail.UID{5: 7}, copied: 6,
		},
		"of twins, the one that was moved here": {
			gone:    []*Item{gone(6, text, ""), moved},
			arrived: []*Item{arrived(7, text, "", 1)},
			texts:   map[mail.UID]string{7: text},
			want:    map[mail.UID]mail.UID{0: 7}, ask: true,
		},
		"another EMAILID, of the same content": {
			gone: []*Item{gone(5, text, "M1")}, arrived: []*Item{arrived(7, text, "M2", 1)},
			texts: map[mail.UID]string{7: text}, want: map[mail.UID]mail.UID{5: 7}, ask: true,
		},
		"another EMAILID, of other content": {
			gone: []*Item{gone(5, text, "M1")}, arrived: []*Item{arrived(7, version, "M2", 1)},
			texts: map[mail.UID]string{7: version}, ask: true,
		},
		"base knows none": {
			gone: []*Item{gone(5, text, "")}, arrived: []*Item{arrived(7, text, "M1", 1)},
			texts: map[mail.UID]string{7: text}, want: map[mail.UID]mail.UID{5: 7}, ask: true,
		},
		"nobody knows any": {
			gone: []*Item{gone(5, text, "")}, arrived: []*Item{arrived(7, version, "", 1)},
			texts: map[mail.UID]string{7: version}, ask: true,
		},
		"one by its EMAILID, and what is left by its content": {
			gone:    []*Item{gone(5, text, "M1"), gone(6, version, "")},
			arrived: []*Item{arrived(8, version, "M3", 1), arrived(7, text, "M1", 1)},
			texts:   map[mail.UID]string{8: version},
			want:    map[mail.UID]mail.UID{5: 7, 6: 8}, ask: true,
		},
		"the same EMAILID, and another size": {
			gone: []*Item{gone(5, text, "M1")}, arrived: []*Item{arrived(7, longer, "M1", 1)},
		},
		"rewritten by the server": {
			gone: []*Item{rewritten}, arrived: []*Item{arrived(7, longer, "M1", 1)},
			want: map[mail.UID]mail.UID{5: 7}, ask: true,
		},
		"a file that is not what base says": {
			gone: []*Item{unread}, arrived: []*Item{arrived(7, text, "M1", 1)},
			want: map[mail.UID]mail.UID{5: 7},
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, ask := CopyOf(c.arrived[0], c.gone)
			if got := (&Item{Row: &mail.Row{}}); source == nil {
				source = got
			}
			if source.Row.UID != c.copied || ask != c.ask {
				t.Errorf("it is a copy of message %d, asks: %v; want %d, %v", source.Row.UID, ask, c.copied, c.ask)
			}
			pairs := MoveNew(c.gone, c.arrived)
			for range 3 {
				for _, r := range pairs.Ask {
					text, ok := c.texts[r.Message.UID]
					if !ok {
						t.Fatalf("asks what message %d is", r.Message.UID)
					}
					r.Identity = measured(text)
				}
				if len(pairs.Ask) > 0 {
					pairs = MoveNew(c.gone, c.arrived)
				}
			}
			got := map[mail.UID]mail.UID{}
			for _, tie := range pairs.Ties {
				got[tie.Local.Row.UID] = tie.Remote.Message.UID
			}
			if !maps.Equal(got, c.want) || len(pairs.Ask) > 0 {
				t.Errorf("moved %v, want %v; asks %d", got, c.want, len(pairs.Ask))
			}
		})
	}
}

// What has moved here, and is gone on the server, is known again there with what a program of
// another device has added to it; what has not moved is not looked for.
func TestWhatAnotherDeviceHasKept(t *testing.T) {
	const text = "Subject: unnamed\n\ntext\n"
	for name, c := range map[string]struct {
		moved      bool
		there      string
		tied, asks bool
	}{
		"with an added field":          {true, "Content-Length: 5\n" + text, true, true},
		"with another one":             {true, "X-Other: 5\n" + text, false, true},
		"with much more":               {true, "Content-Length: 5\nLines: 1\n " + strings.Repeat("x", maxAdded) + "\n" + text, false, false},
		"where it has not moved":       {false, "Content-Length: 5\n" + text, false, false},
		"with another text, and field": {true, "Content-Length: 5\nSubject: unnamed\n\nTEXT\n", false, true},
	} {
		id := measured(text)
		gone := &Item{Folder: "A", Remote: Gone, Followed: c.moved, Row: &mail.Row{Key: "k", Identity: id, Date: time.Unix(1, 0)}, Identity: id}
		size := measured(c.there).Size
		there := &Item{Folder: "B", Remote: New, Message: mail.Message{UID: 7, Size: size, Date: time.Unix(2, 0)}, Identity: mail.Identity{Size: size}}
		pairs := MoveNew([]*Item{gone}, []*Item{there})
		if asks := len(pairs.Ask) > 0; asks != c.asks {
			t.Errorf("%s: asks %v", name, asks)
		} else if asks {
			there.Identity = measured(c.there)
			pairs = MoveNew([]*Item{gone}, []*Item{there})
		}
		if tied := len(pairs.Ties) == 1; tied != c.tied || len(pairs.Ask) > 0 {
			t.Errorf("%s: tied %v, asks %d", name, tied, len(pairs.Ask))
		}
	}
}

// What base does not know of a message yet, a listing tells once.
func TestAListingTellsBaseWhatItLacks(t *testing.T) {
	row := mail.Row{UID: 7, Key: "k", Identity: mail.Identity{Size: 5}, EmailID: "M1"}
	for name, c := range map[string]struct {
		row    mail.Row
		listed mail.Message
		want   bool
	}{
		"nothing new":      {row, mail.Message{UID: 7, Size: 5, EmailID: "M1"}, false},
		"only its flags":   {row, mail.Message{UID: 7}, false},
		"no EMAILID":       {row, mail.Message{UID: 7, Size: 5}, false},
		"another EMAILID":  {row, mail.Message{UID: 7, Size: 5, EmailID: "M2"}, true},
		"the first one":    {mail.Row{UID: 7, Key: "k", Identity: row.Identity}, mail.Message{UID: 7, Size: 5, EmailID: "M1"}, true},
		"another size too": {row, mail.Message{UID: 7, Size: 6, EmailID: "M1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			told := 0
			rows := func(yield func(mail.Row, error) bool) { yield(c.row, nil) }
			messages := func(yield func(mail.Message, error) bool) { yield(c.listed, nil) }
			for change, err := range DiffRemote(rows, messages, true) {
				if err != nil || change.Change != Same {
					t.Fatalf("%v, %v", change.Change, err)
				}
				told++
				item := &Item{Row: change.Row, Message: change.Message}
				if a := (&Action{Kind: Agree, Item: item, Base: c.row.Flags}); !a.changes() {
					t.Error("nothing is done about it")
				}
				if change.Row.Listed(change.Message); !change.Row.KnowsListed(change.Message) {
					t.Error("it would be told again")
				}
			}
			if (told == 1) != c.want {
				t.Errorf("told %d times", told)
			}
		})
	}
}

func measured(text string) mail.Identity {
	var m mail.Measure
	m.Write([]byte(text)) // never fails
	return m.Identity()
}

// A message that has moved alike on both sides is where both have it, also where the program that moved
// the file has added a line to it, and another folder has a copy with the very bytes of before.
func TestWhatMovedAlikeIsNotAnOlderCopy(t *testing.T) {
	was := mail.Identity{Digest: mail.Digest{1}, Bare: mail.Digest{1}}
	now := was
	now.Digest = mail.Digest{3}
	for _, c := range []struct{ gone, moved Change }{{Gone, New}, {Same, Same}} {
		gone := &Item{Folder: "Archive", Row: &mail.Row{UID: 1, Key: "1", Identity: was}, Local: Gone, Remote: c.gone}
		copied := &Item{Folder: "Drafts", Local: New, File: mail.File{Key: "2"}, Identity: was}
		saved := &Item{Folder: "INBOX", Local: New, File: mail.File{Key: "3"}, Identity: now, Remote: c.moved}
		want := saved
		if c.gone != Gone {
			want = copied // the message is where it was: the file has gone where its bytes are
		}
		MarkMoved([]*Item{gone}, []*Item{copied, saved}, func(mail.Folder) mail.Letters { return mail.Letters{} })
		if gone.Moved != want {
			t.Errorf("%+v: it moved to %v", c, gone.Moved)
		}
	}
}

// Of two messages that are alike and whose files are gone, the one has moved whose file was here for
// sure.
func TestWhatHadNotLandedHasNotMoved(t *testing.T) {
	id := mail.Identity{Digest: mail.Digest{1}, Bare: mail.Digest{1}}
	landing := &Item{Folder: "Archive", Row: &mail.Row{UID: 1, Key: "1", Identity: id, State: mail.Landing}, Local: Gone}
	settled := &Item{Folder: "Lists", Row: &mail.Row{UID: 2, Key: "2", Identity: id}, Local: Gone}
	file := &Item{Folder: "INBOX", Local: New, File: mail.File{Key: "3"}, Identity: id}
	MarkMoved([]*Item{landing, settled}, []*Item{file}, func(mail.Folder) mail.Letters { return mail.Letters{} })
	if settled.Moved != file || landing.Moved != nil {
		t.Errorf("the one that was here has moved to %v, the other one to %v", settled.Moved, landing.Moved)
	}
}
