package remotetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"mailtwin/conflict/mail"
)

var readTests = []test{
	{"identify tells sizes, dates and fingerprints", func(a *account) {
		a.phone.CreateFolder(folder)
		var uids mail.UIDSet
		for _, raw := range oddHeaders {
			uids.Add(a.phone.Deliver(folder, []byte(raw), mail.Flags{System: mail.Seen}, when))
		}
		a.identified(uids, len(oddHeaders))
	}},
	{"an EMAILID is told by whoever tells sizes, and is that of one content", func(a *account) {
		a.phone.CreateFolder(folder)
		a.phone.CreateFolder(elsewhere)
		uids := a.deliver(folder, "one", "two", "three")
		listed, view := a.first(folder)
		if len(listed) != 3 || listed[0].EmailID == "" {
			a.Skip("the server has none")
		}
		if listed[0].EmailID == listed[1].EmailID || listed[1].EmailID == listed[2].EmailID || listed[0].EmailID == listed[2].EmailID {
			a.Errorf("different messages have the same: %+v", listed)
		}
		ids, err := a.remote.Identify(a.ctx, folder, view.Cursor.UIDValidity, mail.UIDs(uids...), mail.Headers)
		a.noErr("identify", err)
		for i, id := range ids {
			if id.EmailID != listed[i].EmailID {
				a.Errorf("message %d has %q, and was listed with %q", id.UID, id.EmailID, listed[i].EmailID)
			}
		}
		_, empty := a.first(elsewhere)
		_, err = a.remote.Copy(a.ctx, folder, view.Cursor.UIDValidity, uids[0], elsewhere)
		a.noErr("copy", err)
		// What comes later is listed by another command, where there are mod-sequences.
		copied, _ := a.scan(elsewhere, empty.Cursor, 0)
		if len(copied) != 1 || copied[0].EmailID == "" {
			a.Fatalf("listed after the copy: %+v", copied)
		}
		if copied[0].EmailID != listed[0].EmailID {
			// RFC 8474, 5.1: it should, and need not.
			a.Logf("a copy has another one: %q and %q", copied[0].EmailID, listed[0].EmailID)
		}
	}},
	{"identify tells of those that were named, and of none that are gone", func(a *account) {
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one", "two", "three", "four")
		a.phone.Delete(folder, uids[1])
		a.identified(mail.UIDs(uids[:3]...), 2)
		a.identified(mail.UIDs(uids[1]), 0)
		a.identified(nil, 0)
	}},
	{"fetch gives the bytes, flags and date", func(a *account) {
		a.phone.CreateFolder(folder)
		var uids mail.UIDSet
		flags := mail.Flags{System: mail.Flagged | mail.Answered}
		for _, raw := range slices.Concat(oddBodies, oddHeaders) {
			uids.Add(a.phone.Deliver(folder, []byte(raw), flags, when))
		}
		a.fetched(uids, len(oddBodies)+len(oddHeaders))
	}},
	{"fetch gives large messages", func(a *account) {
		a.phone.CreateFolder(folder)
		small := a.deliver(folder, "small")[0]
		large := a.phone.Deliver(folder, largeLetter(), mail.Flags{}, when)
		a.fetched(mail.UIDs(small, large), 2)
	}},
	{"fetch gives the rest of what is there, or the whole", func(a *account) {
		a.phone.CreateFolder(folder)
		large := largeLetter()
		size := int64(len(large))
		var uids []mail.UID
		for range 4 {
			uids = append(uids, a.phone.Deliver(folder, large, mail.Flags{System: mail.Flagged}, when))
		}
		part := func(uid mail.UID, at int64) mail.Part {
			return mail.Part{UID: uid, Size: size, Octets: at, Tail: large[at-mail.TailOctets : at], Header: IdentityOf(large).Header}
		}
		have := map[mail.UID]mail.Part{uids[0]: part(uids[0], 100_001), uids[1]: part(uids[1], size-1), uids[2]: part(uids[2], 5_000)}
		other := have[uids[2]]
		other.Tail = []byte("another message.")
		have[uids[2]] = other
		offsets := map[mail.UID]int64{}
		errs := a.remote.Fetch(a.ctx, []mail.Wanted{{Folder: folder, Validity: a.validity(folder), UIDs: mail.UIDs(uids...), Have: have, Visit: func(b mail.Body) error {
			raw, err := io.ReadAll(b.Reader)
			if _, twice := offsets[b.UID]; twice || err != nil {
				return fmt.Errorf("UID %d comes twice: %v, %w", b.UID, twice, err)
			}
			offsets[b.UID] = b.Offset
			if b.Size != size || !bytes.Equal(raw, large[b.Offset:]) || !b.Flags.Has(mail.Flagged) || !b.Date.Equal(when) {
				a.Errorf("UID %d from %d on: %d octets of %d, %v, %v", b.UID, b.Offset, len(raw), b.Size, b.Flags, b.Date)
			}
			return nil
		}}})
		a.noErr("fetch", errs[0])
		if len(offsets) != len(uids) || offsets[uids[2]] != 0 || offsets[uids[3]] != 0 {
			a.Errorf("they begin at %v", offsets)
		}
		for _, uid := range uids[:2] {
			if from := offsets[uid]; from != have[uid].Octets {
				a.Errorf("of UID %d there are %d octets, and it gives those from %d on", uid, have[uid].Octets, from)
			}
		}
	}},
	{"fetch gives those that were named, and none that are gone", func(a *account) {
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one", "two", "three", "four")
		a.phone.Delete(folder, uids[1])
		a.fetched(mail.UIDs(uids[:3]...), 2)
		a.fetched(mail.UIDs(uids[1]), 0)
		a.fetched(nil, 0)
	}},
	{"reading marks nothing as seen", func(a *account) {
		a.phone.CreateFolder(folder)
		uid := a.deliver(folder, "one")[0]
		a.identified(mail.UIDs(uid), 1)
		a.fetched(mail.UIDs(uid), 1)
		if m := a.message(folder, uid); !m.Flags.Empty() {
			a.Errorf("flags are %v", m.Flags)
		}
	}},
	{"the error of a visit ends the fetch, and nothing else", func(a *account) {
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one", "two")
		uids = append(uids, a.phone.Deliver(folder, largeLetter(), mail.Flags{}, when))
		validity := a.validity(folder)
		full := errors.New("disk full")
		for _, read := range []int{0, 10, 100} {
			visits := 0
			err := Fetch(a.ctx, a.remote, folder, validity, mail.UIDs(uids...), func(b mail.Body) error {
				visits++
				if _, err := io.CopyN(io.Discard, b.Reader, int64(read)); err != nil {
					return err
				}
				return full
			})
			a.wantErr("fetch", err, full)
			if visits != 1 {
				a.Errorf("%d visits after an error", visits)
			}
		}
		a.fetched(mail.UIDs(uids...), 3)
	}},
	{"messages of several folders, and what is wrong with one of them", func(a *account) {
		a.phone.CreateFolder(folder)
		a.phone.CreateFolder(elsewhere)
		here, there := a.deliver(folder, "one", "two"), a.deliver(elsewhere, "three", "four")
		full := errors.New("disk full")
		var got []string
		take := func(of string) func(mail.Body) error {
			return func(b mail.Body) error {
				raw, err := io.ReadAll(b.Reader)
				got = append(got, fmt.Sprint(of, " ", b.UID, " ", len(raw)))
				return err
			}
		}
		validity := a.validity(elsewhere)
		errs := a.remote.Fetch(a.ctx, []mail.Wanted{
			{Folder: folder, Validity: a.validity(folder), UIDs: mail.UIDs(here...), Visit: take("here")},
			{Folder: "Nowhere", Validity: 1, UIDs: mail.UIDs(1), Visit: take("nowhere")},
			{Folder: elsewhere, Validity: validity + 1, UIDs: mail.UIDs(there...), Visit: take("another elsewhere")},
			{Folder: elsewhere, Validity: validity, UIDs: mail.UIDs(there...), Visit: take("elsewhere")},
			{Folder: elsewhere, Validity: validity, Visit: take("none of")},
			{Folder: folder, Validity: a.validity(folder), UIDs: mail.UIDs(here...), Visit: func(mail.Body) error { return full }},
		})
		if len(errs) != 6 {
			a.Fatalf("%d errors", len(errs))
		}
		for _, i := range []int{0, 3, 4} {
			a.noErr(fmt.Sprint("fetch ", i), errs[i])
		}
		a.wantErr("of no folder", errs[1], mail.ErrGone, mail.ErrRefused)
		a.wantErr("under another UIDVALIDITY", errs[2], mail.ErrRestarted)
		a.wantErr("which nobody can take", errs[5], full)
		slices.Sort(got)
		var want []string
		for i, uid := range here {
			want = append(want, fmt.Sprint("here ", uid, " ", len(a.message(folder, here[i]).Raw)))
		}
		for i, uid := range there {
			want = append(want, fmt.Sprint("elsewhere ", uid, " ", len(a.message(elsewhere, there[i]).Raw)))
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			a.Errorf("got %q, want %q", got, want)
		}
		a.fetched(mail.UIDs(here...), 2)
	}},
}

// identified identifies messages and compares with what the phone sees.
func (a *account) identified(uids mail.UIDSet, count int) {
	a.Helper()
	for _, detail := range []mail.Detail{mail.Fingerprints, mail.Sizes, mail.Headers} {
		a.identifiedBy(uids, count, detail)
	}
}

func (a *account) identifiedBy(uids mail.UIDSet, count int, detail mail.Detail) {
	a.Helper()
	got, err := a.remote.Identify(a.ctx, folder, a.validity(folder), uids, detail)
	a.noErr("identify", err)
	var told []mail.UID
	for _, id := range got {
		if !uids.Has(id.UID) || slices.Contains(told, id.UID) {
			a.Errorf("UID %d was not asked for, or is told twice", id.UID)
			continue
		}
		told = append(told, id.UID)
		m := a.message(folder, id.UID)
		want := IdentityOf(m.Raw)
		want.Digest = mail.Digest{}
		if detail < mail.Headers {
			want.Header = mail.Fingerprint{}
		}
		if detail < mail.Sizes { // they may be told
			want.Size, m.Date = id.Identity.Size, id.Date
		}
		if id.Identity != want {
			a.Errorf("%s\nis %+v,\nwant %+v", excerpt(m.Raw), id.Identity, want)
		}
		if !id.Date.Equal(m.Date) {
			a.Errorf("UID %d: date is %v, want %v", id.UID, id.Date, m.Date)
		}
	}
	if len(told) != count {
		a.Errorf("%v: identified %v, want %d of them", uids, told, count)
	}
}

// fetched fetches messages and compares with what the phone sees.
func (a *account) fetched(uids mail.UIDSet, count int) {
	a.Helper()
	var bodies []Message
	err := Fetch(a.ctx, a.remote, folder, a.validity(folder), uids, func(b mail.Body) error {
		raw, err := io.ReadAll(b.Reader)
		if err != nil {
			return err
		}
		if int64(len(raw)) != b.Size {
			return fmt.Errorf("UID %d: read %d octets of %d", b.UID, len(raw), b.Size)
		}
		bodies = append(bodies, Message{b.UID, b.Flags, b.Date, raw})
		return nil
	})
	a.noErr("fetch", err)
	var told []mail.UID
	for _, b := range bodies {
		if !uids.Has(b.UID) || slices.Contains(told, b.UID) {
			a.Errorf("UID %d was not asked for, or is given twice", b.UID)
			continue
		}
		told = append(told, b.UID)
		want := a.message(folder, b.UID)
		a.same(b, want.Raw, want.Flags, want.Date)
	}
	if len(told) != count {
		a.Errorf("%v: fetched %v, want %d of them", uids, told, count)
	}
}

// oddHeaders are messages whose headers are hard to read.
var oddHeaders = wired(
	"Message-ID: <plain@example.org>\nSubject: plain\n\nbody\n",
	"Subject: no message id\n\nbody\n",
	"Message-ID:\n <folded@example.org>\nSubject: a subject\n that goes on\n\tand on\nTo: a@example.org,\n b@example.org\n\nbody\n",
	"message-id: <lower@example.org>\nSUBJECT: upper\nSubject: twice\n\nbody\n",
	"Message-ID: <long@example.org>\n"+strings.Repeat("Received: from a by b\n", 300)+"Subject: a header of 6 kB\n\nbody\n",
	"Message-ID: <utf8@example.org>\nSubject: =?utf-8?q?caf=C3=A9?=\nFrom: caf\xc3\xa9 <a@example.org>\n\nbody\n",
	"X-Other: nothing that counts\n\nbody\n",
)

// oddBodies are messages that a careless reader changes, and that RFC 5322 allows,
// or at least CRLF.
var oddBodies = wired(
	"Subject: no body\n\n",
	"Subject: no end of line\n\nthe end",
	"Subject: dots\n\n.\n..\n.\n",
	"Subject: empty lines\n\n\n\n\n",
	"Subject: spaces  \n\n  \t \n trailing \t\n",
	"Subject: eight bits\n\ncaf\xc3\xa9 caf\xe9\n",
	"Subject: protocol\n\n)\nA1 OK done\n* BYE\n{5}\n+ go on\n",
	"Subject: a long line\n\n"+strings.Repeat("x", 990)+"\n",
)

func wired(letters ...string) []string {
	for i, l := range letters {
		letters[i] = string(Wire([]byte(l)))
	}
	return letters
}

// largeLetter makes a message that no buffer takes at once.
func largeLetter() []byte {
	var b bytes.Buffer
	b.WriteString("Message-ID: <large@example.org>\r\nSubject: large\r\n\r\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "line %d of a large message, which is cut nowhere\r\n", i)
	}
	return b.Bytes()
}
