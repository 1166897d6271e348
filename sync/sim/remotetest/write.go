package remotetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	gosync "sync"
	"time"

	"mailtwin/conflict/mail"
)

var writeTests = []test{
	{"append stores bytes, flags and date, and tells the UID", func(a *account) {
		a.phone.CreateFolder(folder)
		validity := a.validity(folder)
		all := []mail.Flags{{}, {System: mail.Seen}, {System: mail.Draft | mail.Flagged}}
		if _, view := a.first(folder); view.NewKeywords {
			all = append(all, mail.Flags{System: mail.Forwarded | mail.Answered, Keywords: "work"})
		}
		for i, flags := range all {
			date := when.Add(time.Duration(i) * 1000 * time.Hour).In(time.FixedZone("", 2*60*60))
			raw := letter(fmt.Sprint("no ", i))
			uid := a.appended(flags, date, raw, validity)
			a.same(a.message(folder, uid), raw, flags, date)
		}
	}},
	{"append gives back what it was given", func(a *account) {
		a.phone.CreateFolder(folder)
		validity := a.validity(folder)
		for _, raw := range slices.Concat(oddBodies, oddHeaders, []string{string(largeLetter())}) {
			// Some servers end the last line, or change what is against the rules. What they
			// make of the phone's message they must make of ours.
			want := a.message(folder, a.phone.Deliver(folder, []byte(raw), mail.Flags{}, when))
			if string(want.Raw) != raw {
				a.Logf("the server makes %s of %s", excerpt(want.Raw), excerpt([]byte(raw)))
			}
			uid := a.appended(mail.Flags{}, when, []byte(raw), validity)
			a.same(a.message(folder, uid), want.Raw, mail.Flags{}, when)
		}
	}},
	{"append sends the line ends of the wire", func(a *account) {
		a.phone.CreateFolder(folder)
		raw := []byte("Subject: a file\n\nmixed\r\nlines\n\n")
		uid := a.appended(mail.Flags{}, when, raw, a.validity(folder))
		a.same(a.message(folder, uid), Wire(raw), mail.Flags{}, when)
	}},
	{"append changes no lone CR", func(a *account) {
		a.phone.CreateFolder(folder)
		raw := Wire([]byte("Subject: lone CR\n\na\rb\r\r\nc\n"))
		uid := a.appended(mail.Flags{}, when, raw, a.validity(folder))
		if got := a.message(folder, uid).Raw; !bytes.Equal(got, raw) {
			// RFC 5322, 2.3, forbids it, so servers may do what they like with it.
			a.Skipf("the server makes %q of %q", got, raw)
		}
	}},
	{"a source that fails leaves nothing", func(a *account) {
		a.phone.CreateFolder(folder)
		uid := a.deliver(folder, "one")[0]
		for _, raw := range [][]byte{letter("two"), largeLetter()} {
			for _, reason := range []error{mail.ErrChanged, errors.New("disk error")} {
				done := Append(a.ctx, a.remote, folder, mail.Flags{}, when, BrokenSource(raw, reason))
				a.wantErr("append", done.Err, reason)
				if done.Sent {
					a.Error("all was sent, it says")
				}
				a.holds(folder, uid)
			}
		}
		a.appended(mail.Flags{}, when, letter("two"), a.validity(folder))
	}},
	{"append to a folder that is not there", func(a *account) {
		done := Append(a.ctx, a.remote, folder, mail.Flags{}, when, Source(letter("one")))
		a.wantErr("append", done.Err, mail.ErrGone, mail.ErrRefused)
		if done.Sent {
			a.Error("there was an answer, and sent is true")
		}
		if f, ok := a.folders()[folder]; ok {
			a.Errorf("the folder was made: %+v", f)
		}
	}},
	{"store adds and removes, and touches nothing else", func(a *account) {
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one", "two", "three")
		validity := a.validity(folder)
		a.phone.AddFlags(folder, uids[0], mail.Flags{System: mail.Flagged | mail.Draft})
		// The caller does not know what the phone just did.
		a.store(validity, uids[:2], mail.Flags{System: mail.Seen | mail.Answered}, mail.Flags{System: mail.Draft})
		a.flagged(uids[0], mail.Flags{System: mail.Flagged | mail.Seen | mail.Answered})
		a.flagged(uids[1], mail.Flags{System: mail.Seen | mail.Answered})
		a.flagged(uids[2], mail.Flags{})
		a.store(validity, uids[1:2], mail.Flags{}, mail.Flags{System: mail.Seen})
		a.flagged(uids[1], mail.Flags{System: mail.Answered})
		a.store(validity, uids[1:2], mail.Flags{System: mail.Deleted}, mail.Flags{})
		a.flagged(uids[1], mail.Flags{System: mail.Answered | mail.Deleted})
		a.holds(folder, uids...)
		a.store(validity, uids, mail.Flags{}, mail.Flags{})
		a.store(validity, nil, mail.Flags{System: mail.Seen}, mail.Flags{})
		a.flagged(uids[2], mail.Flags{})
	}},
	{"store keeps keywords", func(a *account) {
		a.phone.CreateFolder(folder)
		uid := a.deliver(folder, "one")[0]
		_, view := a.first(folder)
		if !view.NewKeywords {
			a.Skip("the server keeps no keywords")
		}
		validity := view.Cursor.UIDValidity
		a.store(validity, []mail.UID{uid}, mail.Flags{System: mail.Forwarded, Keywords: mail.NewKeywords("$Junk", "work")}, mail.Flags{})
		a.flagged(uid, mail.Flags{System: mail.Forwarded, Keywords: mail.NewKeywords("$Junk", "work")})
		a.store(validity, []mail.UID{uid}, mail.Flags{Keywords: "play"}, mail.Flags{Keywords: "$Junk"})
		a.flagged(uid, mail.Flags{System: mail.Forwarded, Keywords: mail.NewKeywords("play", "work")})
	}},
	{"store passes over what is gone", func(a *account) {
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one", "two", "three")
		validity := a.validity(folder)
		a.phone.AddFlags(folder, uids[2], mail.Flags{System: mail.Flagged})
		a.phone.Delete(folder, uids[1])
		var met []mail.UID
		a.noErr("store", Store(a.ctx, a.remote, folder, validity, mail.UIDs(uids...), mail.Flags{System: mail.Seen}, mail.Flags{System: mail.Flagged},
			func(uid mail.UID) { met = append(met, uid) }))
		slices.Sort(met)
		if want := []mail.UID{uids[0], uids[2]}; !slices.Equal(met, want) {
			a.Errorf("it says that it changed %v, want %v", met, want)
		}
		a.flagged(uids[0], mail.Flags{System: mail.Seen})
		a.flagged(uids[2], mail.Flags{System: mail.Seen})
		a.store(validity, uids[1:2], mail.Flags{System: mail.Flagged}, mail.Flags{})
		a.holds(folder, uids[0], uids[2])
	}},
	{"our own stores show in the next scan or were known before", func(a *account) {
		b := a.known("one", "two")
		a.store(b.cursor.UIDValidity, b.uids[:1], mail.Flags{System: mail.Seen}, mail.Flags{})
		b.update()
		b.check()
	}},
	{"calls at once", func(a *account) {
		folders := []mail.Folder{"Test 0", "Test 1", "Test 2"}
		for _, f := range folders {
			a.phone.CreateFolder(f)
		}
		const each = 4
		errs := make([]error, len(folders)*each)
		var workers gosync.WaitGroup
		for i := range errs {
			f := folders[i%len(folders)]
			workers.Go(func() {
				if err := Append(a.ctx, a.remote, f, mail.Flags{}, when, Source(letter(fmt.Sprint("no ", i)))).Err; err != nil {
					errs[i] = err
					return
				}
				seen := 0
				view, err := a.remote.Scan(a.ctx, f, mail.Cursor{}, 0, func(mail.Message) error { seen++; return nil })
				if err == nil && seen == 0 {
					err = fmt.Errorf("scan of %s saw nothing after an append", f)
				}
				if err == nil {
					_, err = a.remote.Identify(a.ctx, f, view.Cursor.UIDValidity, view.Present, mail.Sizes)
				}
				errs[i] = err
			})
		}
		workers.Wait()
		a.noErr("calls at once", errors.Join(errs...))
		for _, f := range folders {
			if got := a.phone.Messages(f); len(got) != each {
				a.Errorf("%s holds %d messages, want %d", f, len(got), each)
			}
		}
	}},
}

// appended appends one message, checks the answer, and finds the message.
func (a *account) appended(flags mail.Flags, date time.Time, raw []byte, validity uint32) mail.UID {
	a.Helper()
	before := a.phone.Messages(folder)
	done := Append(a.ctx, a.remote, folder, flags, date, Source(raw))
	uid, under := done.UID, done.UIDValidity
	a.noErr("append", done.Err)
	if done.Sent {
		a.Error("there was an answer, and sent is true")
	}
	after := a.phone.Messages(folder)
	if len(after) != len(before)+1 {
		a.Fatalf("there were %d messages, and are %d", len(before), len(after))
	}
	there := after[len(after)-1].UID
	if told := a.remote.Abilities().UIDPlus; told && uid != there || !told && uid != 0 && uid != there {
		a.Errorf("UID is %d, and it says %d", there, uid)
	}
	if uid != 0 && under != validity {
		a.Errorf("UIDVALIDITY is %d, and it says %d", validity, under)
	}
	return there
}

func (a *account) store(validity uint32, uids []mail.UID, add, remove mail.Flags) {
	a.Helper()
	a.noErr("store", Store(a.ctx, a.remote, folder, validity, mail.UIDs(uids...), add, remove, nil))
}

func (a *account) flagged(uid mail.UID, want mail.Flags) {
	a.Helper()
	if m := a.message(folder, uid); !m.Flags.Equal(want) {
		a.Errorf("UID %d has flags %v, want %v", uid, m.Flags, want)
	}
}
