package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
)

// tale is what has happened to a message, as far as it bears on how often it must be
// there in the end.
type tale struct {
	unborn     bool // it may never have come about
	wild       bool // its copy may go anywhere
	copies     int  // 1: it was copied
	mayCopies  int  // 1: it may have been copied
	thrownAway int  // files of it that programs removed: to Trash
	expunged   int  // messages that the phone removed for ever, or wanted to
	stored     bool // it was seen on the server: a file that goes before it is uploaded leaves no trace
	answered   bool // for good, by somebody whose act surely met it
	log        []string
}

// fresh makes a new message.
func (x *torture) fresh(r *rand.Rand) (token, text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.made++
	token = fmt.Sprintf("token %05d", x.made)
	x.tales[token] = &tale{wild: x.made%3 == 0}
	lines := one(r, []int{0, 0, 1, 10, 100, 1000})
	text = note(token) + strings.Repeat("A line of "+token+".\n", lines)
	if r.IntN(10) == 0 {
		_, text, _ = strings.Cut(text, "\n") // without a Message-ID
	}
	return token, text
}

// tell changes a token's tale.
func (x *torture) tell(token string, how func(*tale)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if t := x.tales[token]; t != nil {
		how(t)
	} else {
		x.Errorf("there is a message %q that nobody has made", token)
	}
}

// did adds to the log of a token, for whoever has to find out what went wrong.
func (x *torture) did(token, format string, args ...any) {
	line := fmt.Sprintf("%s %s", time.Now().Format("05.000000"), fmt.Sprintf(format, args...))
	x.tell(token, func(t *tale) { t.log = append(t.log, line) })
	what, _, _ := strings.Cut(fmt.Sprintf(format, args...), " UID")
	by, what, _ := strings.Cut(what, ": ")
	what, _, _ = strings.Cut(what, " ")
	if by != "phone" {
		by = "program"
	}
	x.strike(by + ": " + what)
}

// copyable tells whether and where to a message may be copied, and notes that it is.
func (x *torture) copyable(r *rand.Rand, token string) (to mail.Folder, may bool) {
	x.tell(token, func(t *tale) {
		may = t.copies+t.mayCopies == 0
		to = copiesOnly
		if t.wild {
			to = one(r, x.folders)
		}
		if may {
			t.copies = 1
		}
	})
	return to, may
}

// date is when a message was received: seldom when another one was.
func (x *torture) date(r *rand.Rand) int64 {
	return then.Add(time.Duration(r.IntN(1_000_000)) * time.Second).UnixNano()
}

func timeOf(nanos int64) time.Time { return time.Unix(0, nanos) }

// settle syncs until all is in step, which takes three rounds at most, and compares. Two are for
// what each has to hear of from the others; the third is for two devices of which one has set a flag,
// and the other one has cleared it, just before the third one moved the message: each takes it that the
// move has lost what it had pushed, and pushes it again, once.
func (x *torture) settle(why string) {
	x.Helper()
	for range 3 {
		for i, d := range x.devices {
			e := x.run(i, nil, nil, 0, "--allow-deletes")
			if e.code != exitOK {
				x.Errorf("%s: %s: exit code %d\n%s%s", why, d.name, e.code, e.stdout, e.stderr)
			}
			x.count(e)
		}
	}
	for i, d := range x.devices {
		e := x.run(i, nil, nil, 0)
		d.rested(parseReport(x.story, result{e.code, e.stdout, e.stderr}))
		x.equal(why, d)
	}
}

// equal compares all of a device with the server, but for where files without flags lie.
// What stands in new/ has no flags by convention: its name may lack what base has, as
// FlagsOf in conflict has it, but for \Seen.
func (x *torture) equal(why string, d *computer) {
	x.Helper()
	for _, name := range x.all() {
		messages, files := x.messages(name), d.files(name)
		pair := func(same func(f file, m imaptest.Message) bool) {
			files = slices.DeleteFunc(files, func(f file) bool {
				i := slices.IndexFunc(messages, func(m imaptest.Message) bool {
					return f.text == onDisk(string(m.Raw)) && f.date.Equal(m.Date) && same(f, m)
				})
				if i >= 0 {
					messages = slices.Delete(messages, i, i+1)
				}
				return i >= 0
			})
		}
		pair(func(f file, m imaptest.Message) bool { return f.flags.Equal(m.Flags) })
		pair(func(f file, m imaptest.Message) bool {
			return f.isNew && f.flags.Without(m.Flags).Empty() && f.flags.Has(mail.Seen) == m.Flags.Has(mail.Seen)
		})
		for _, f := range files {
			x.Errorf("%s: %s: %s holds too much: %s", why, d.name, name, describe(f.text, f.flags, f.date))
			x.explain(f.text)
		}
		for _, m := range messages {
			text := onDisk(string(m.Raw))
			x.Errorf("%s: %s: %s lacks UID %d, %s", why, d.name, name, m.UID, describe(text, m.Flags, m.Date))
			x.explain(text)
		}
	}
}

// all are the folders of the account.
func (x *torture) all() []mail.Folder { return append(slices.Clone(x.folders), copiesOnly, "Trash") }

// explain logs the tale of a message, once.
func (x *torture) explain(text string) {
	at := strings.Index(text, "token ")
	if at < 0 {
		return
	}
	token := text[at : at+len("token 00000")]
	t := x.tales[token]
	if t == nil {
		return
	}
	log := strings.Join(t.log, "\n  ")
	t.log = nil
	x.Logf("%s: %+v\n  %s", token, *t, log)
}

// census counts the messages on the server, to which all devices are equal.
func (x *torture) census() {
	place := map[string]map[mail.Folder][]mail.Flags{}
	for _, folder := range x.all() {
		for _, m := range x.messages(folder) {
			token := subject(onDisk(string(m.Raw)))
			if place[token] == nil {
				place[token] = map[mail.Folder][]mail.Flags{}
			}
			place[token][folder] = append(place[token][folder], m.Flags)
		}
	}
	for token := range place {
		if x.tales[token] == nil {
			x.Errorf("%s is there, and was removed long ago", token)
		}
	}
	for _, token := range slices.Sorted(maps.Keys(x.tales)) {
		t := x.tales[token]
		if wrong := t.verdict(place[token]); wrong != "" {
			x.Errorf("%s %s: %v", token, wrong, place[token])
			x.explain(token)
		}
		t.stored = true
	}
}

// verdict tells what is wrong with where a message is; "" for nothing.
func (t *tale) verdict(place map[mail.Folder][]mail.Flags) string {
	thrown, copied, all := len(place["Trash"]), len(place[copiesOnly]), 0
	for _, found := range place {
		all += len(found)
	}
	kept := all - thrown
	least, most := 1+t.copies-t.thrownAway-t.expunged, 1+t.copies+t.mayCopies
	if t.unborn || t.wild {
		least = min(least, 1-t.thrownAway-t.expunged)
	}
	if t.unborn {
		least--
	}
	// What somebody has removed can be kept by two devices, one since it was flagged there
	// and one since it was moved there. Both put it on the server again, in two folders, so
	// that neither gives way.
	if t.expunged+t.thrownAway > 0 {
		most++
	}
	// A wild copy and a message that is moved to the same folder at the same time become
	// one, since both are new there and equal; what is then left in the old place is thrown
	// away.
	discarded := t.thrownAway
	if t.wild {
		discarded += t.copies + t.mayCopies
	}
	switch {
	case kept > most:
		return fmt.Sprintf("is there %d times, want at most %d", kept, most)
	case kept < least:
		return fmt.Sprintf("is there %d times, want at least %d", kept, least)
	case thrown > discarded:
		return fmt.Sprintf("is in Trash %d times, and was thrown away %d times", thrown, t.thrownAway)
	case all == 0 && t.expunged == 0 && t.stored && !t.unborn:
		return "was thrown away, and is not in Trash"
	case !t.wild && copied > t.copies+t.mayCopies:
		return "is in the folder for copies, and was not copied"
	}
	if t.answered && kept == 1 && t.copies+t.mayCopies+t.thrownAway+t.expunged == 0 {
		for folder, flags := range place {
			if len(flags) > 0 && !flags[0].Has(mail.Answered) {
				return "was answered, and is not marked so in " + string(folder)
			}
		}
	}
	return ""
}

// lastWord lets the readers of two devices rename all files at the same time, during
// syncs, and in the end leave their letters on every second and every third message.
// What each has said last must then be true everywhere.
func (x *torture) lastWord() {
	letters := []byte{'D', 'P'}
	flags := []mail.Flags{{System: mail.Draft}, {System: mail.Forwarded}}
	has := func(token string, i int) bool {
		var n int
		fmt.Sscanf(token, "token %d", &n) // all are like that
		return n%(i+2) == 0
	}
	x.together(len(letters), func(i int) {
		d, r := x.devices[i], x.seeded()
		stop := make(chan struct{})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			x.reader(d, r, letters[i], stop)
		}()
		e := x.run(i, nil, nil, 0)
		close(stop)
		<-ended
		if e.code != exitOK {
			x.Errorf("%s, with a reader: exit code %d\n%s", d.name, e.code, e.stderr)
		}
		for range 20 { // what moves from one folder to another in that time is seen in the next
			if !x.leave(d, letters[i], func(token string) bool { return has(token, i) }) {
				return
			}
		}
	})
	x.settle("after the last word")
	for _, folder := range x.folders {
		for _, m := range x.messages(folder) {
			token := subject(onDisk(string(m.Raw)))
			for i := range letters {
				if got := m.Flags.Has(flags[i].System); got != has(token, i) {
					x.Errorf("%s in %s: %v is %v, and %s had the last word", token, folder, flags[i], got, x.devices[i].name)
					x.explain(token)
				}
			}
		}
	}
}

// leave sets or clears a letter on all files, and tells whether there was anything to do.
// It puts them all into cur/: in new/ a letter that is not there says nothing.
func (x *torture) leave(d *computer, letter byte, has func(token string) bool) (changed bool) {
	for _, folder := range x.folders {
		for _, sub := range []string{"new", "cur"} {
			dir := d.dirOf(folder)
			entries, err := os.ReadDir(filepath.Join(dir, sub))
			x.happened(err)
			for _, e := range entries {
				th, ok := x.read(thing{folder: folder, dir: dir, sub: sub}, e.Name())
				if ok && strings.Contains(th.letters, string(letter)) != has(th.token) {
					x.mark(&th, toggled(th.letters, letter))
				} else if ok && sub == "new" {
					x.happened(os.Rename(th.path(), filepath.Join(dir, "cur", th.key+":2,"+th.letters)))
				} else if ok {
					continue
				}
				changed = true
			}
		}
	}
	return changed
}

// thin lets the phone remove most of the mail, and all of which more is to be told than
// that it is there, so that a long run is not one with a large mailbox.
func (x *torture) thin(keep int) {
	for i, token := range slices.Sorted(maps.Keys(x.tales)) {
		t := x.tales[token]
		if len(x.tales)-i > keep || t.unborn || t.copies+t.mayCopies+t.thrownAway+t.expunged > 0 {
			delete(x.tales, token)
		}
	}
	for _, folder := range x.all() {
		for _, m := range x.messages(folder) {
			if x.tales[subject(onDisk(string(m.Raw)))] == nil {
				x.check(x.phone.Delete(x.Context(), folder, m.UID))
			}
		}
	}
	x.settle("after most of it was removed")
	x.census()
}
