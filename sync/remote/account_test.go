package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim/remotetest"
)

// onBoth runs a test on go-imap's server, which has no mod-sequences, and on
// Dovecot, which has them.
func onBoth(t *testing.T, test func(t *testing.T, opts Options)) {
	t.Run("memory", func(t *testing.T) { test(t, memServer(t)) })
	t.Run("dovecot", func(t *testing.T) { test(t, dovecotServer(t)) })
}

func TestFoldersAreListedWithTheirStatus(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		a := open(t, opts)
		for _, f := range []mail.Folder{"Lists/go", "Entwürfe & mehr"} {
			if err := a.CreateFolder(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		put(t, a, "Lists/go", "one", mail.Flags{})
		list, err := a.Folders(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		byName := make(map[mail.Folder]mail.RemoteFolder)
		for _, f := range list.Folders {
			byName[f.Name] = f
		}
		if f := byName["INBOX"]; f.Role != mail.RoleInbox || f.Status.UIDValidity == 0 || f.Status.UIDNext != 1 {
			t.Errorf("INBOX is %+v", f)
		}
		if f := byName["Lists/go"]; f.Status.Messages != 1 || f.Status.UIDNext != 2 {
			t.Errorf("Lists/go is %+v", f)
		}
		if _, ok := byName["Entwürfe & mehr"]; !ok {
			t.Errorf("a name beyond ASCII is missing: %+v", list)
		}
		if trash, ok := byName["Trash"]; ok && trash.Role != mail.RoleTrash {
			t.Errorf("Trash is %+v", trash)
		}
		if err := a.CreateFolder(t.Context(), "Lists/go"); !errors.Is(err, mail.ErrExists) {
			t.Errorf("making a folder twice gives %v", err)
		}
		if err := a.DeleteFolder(t.Context(), "Lists/go"); err != nil {
			t.Error(err)
		}
		if err := a.DeleteFolder(t.Context(), "Lists/go"); !errors.Is(err, mail.ErrGone) {
			t.Errorf("deleting a folder twice gives %v", err)
		}
	})
}

func TestAFirstScanVisitsEverything(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		a := open(t, opts)
		put(t, a, "INBOX", "one", mail.Flags{System: mail.Seen})
		put(t, a, "INBOX", "two", mail.Flags{System: mail.Flagged, Keywords: "work"})
		put(t, a, "INBOX", "three", mail.Flags{})
		v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
		if !slices.Equal(v.order, []mail.UID{1, 2, 3}) {
			t.Fatalf("visited %v", v.order)
		}
		if f := v.messages[2].Flags; !f.Equal(mail.Flags{System: mail.Flagged, Keywords: "work"}) {
			t.Errorf("UID 2 has %v", f)
		}
		if m := v.messages[1]; m.Size != int64(len(letter("one"))) || !m.Date.Equal(time.Unix(1136214245, 0)) {
			t.Errorf("UID 1 is %+v", m)
		}
		if !v.Full || v.Restarted || v.ReadOnly || v.Absence != mail.ByPresent || v.Present.String() != "1:3" {
			t.Errorf("the view is %+v", v.View)
		}
		if v.Cursor.UIDNext != 4 || v.Cursor.Messages != 3 || v.Cursor.UIDValidity == 0 {
			t.Errorf("the cursor is %+v", v.Cursor)
		}
		if !v.NewKeywords || !v.Settable.Has(mail.Seen|mail.Forwarded) {
			t.Errorf("settable are %v, new keywords %v", v.Settable, v.NewKeywords)
		}
	})
}

func TestALaterScanTellsWhatIsGone(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		a := open(t, opts)
		for _, id := range []string{"one", "two", "three"} {
			put(t, a, "INBOX", id, mail.Flags{})
		}
		first := scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
		validity := first.Cursor.UIDValidity
		if err := remotetest.Expunge(t.Context(), a, "INBOX", validity, mail.UIDs(2)); err != nil {
			t.Fatal(err)
		}
		put(t, a, "INBOX", "four", mail.Flags{})
		v := scanFolder(t, a, "INBOX", first.Cursor, 3)
		if v.Absence != mail.ByPresent || v.Present.String() != "1,3:4" || v.Restarted {
			t.Errorf("the view is %+v", v.View)
		}
		if _, ok := v.messages[4]; !ok {
			t.Errorf("the new message was not visited: %v", v.order)
		}
	})
}

func TestMessagesComeAsTheyWent(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		a := open(t, opts)
		big := letter("big") + string(slices.Repeat([]byte("0123456789abcdef\r\n"), 20_000))
		one := put(t, a, "INBOX", "one", mail.Flags{System: mail.Seen})
		two, validity, sent, err := appendTo(t.Context(), a, "INBOX", mail.Flags{}, time.Unix(1136214245, 0), newMessage(big))
		if err != nil || sent || two == 0 || validity == 0 {
			t.Fatalf("append gives %d, %d, %v, %v", two, validity, sent, err)
		}
		got := bodies(t, a, "INBOX", validity, mail.UIDs(one, two, 99))
		if len(got) != 2 || got[one] != letter("one") || got[two] != big {
			t.Errorf("fetched %d messages, the big one with %d octets of %d", len(got), len(got[two]), len(big))
		}
		ids, err := a.Identify(t.Context(), "INBOX", validity, mail.UIDs(one, two, 99), mail.Sizes)
		if err != nil || len(ids) != 2 {
			t.Fatalf("identified %v, %v", ids, err)
		}
		var m mail.Measure
		m.Write([]byte(big))
		want := m.Identity()
		if g := ids[1].Identity; g.Fingerprint != want.Fingerprint || g.MessageID != "<big@example.org>" || g.Size != want.Size {
			t.Errorf("the big one is %+v, want %+v", g, want)
		}
	})
}

func TestABodyThatIsNotReadToItsEndHoldsNothingUp(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		a := open(t, opts)
		put(t, a, "INBOX", "one", mail.Flags{})
		put(t, a, "INBOX", "two", mail.Flags{})
		v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
		visits := 0
		err := remotetest.Fetch(t.Context(), a, "INBOX", v.Cursor.UIDValidity, mail.UIDs(1, 2), func(mail.Body) error { visits++; return nil })
		if err != nil || visits != 2 {
			t.Errorf("%d visits, %v", visits, err)
		}
		stop := errors.New("enough")
		err = remotetest.Fetch(t.Context(), a, "INBOX", v.Cursor.UIDValidity, mail.UIDs(1, 2), func(mail.Body) error { return stop })
		if err != stop {
			t.Errorf("the error of visit comes back as %v", err)
		}
		if got := bodies(t, a, "INBOX", v.Cursor.UIDValidity, mail.UIDs(1)); len(got) != 1 {
			t.Errorf("afterwards %v is fetched", got)
		}
	})
}

func TestFlagsAreAddedAndRemoved(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		a := open(t, opts)
		put(t, a, "INBOX", "one", mail.Flags{System: mail.Seen | mail.Flagged, Keywords: "work"})
		put(t, a, "INBOX", "two", mail.Flags{})
		first := scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
		err := remotetest.Store(t.Context(), a, "INBOX", first.Cursor.UIDValidity, mail.UIDs(1, 99),
			mail.Flags{System: mail.Answered, Keywords: "not]anatom home"}, mail.Flags{System: mail.Seen, Keywords: "work"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		v := scanFolder(t, a, "INBOX", first.Cursor, 2)
		want := mail.Flags{System: mail.Answered | mail.Flagged, Keywords: "home"}
		if got := v.messages[1].Flags; !got.Equal(want) {
			t.Errorf("UID 1 has %v, want %v", got, want)
		}
		if v.Full == (v.Absence == mail.NothingGone) {
			t.Errorf("the view is %+v", v.View)
		}
		if !v.Full && !slices.Equal(v.order, []mail.UID{1}) {
			t.Errorf("the scan of changes visited %v", v.order)
		}
	})
}

func TestOneMessageIsMovedOrCopied(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		a := open(t, opts)
		if err := a.CreateFolder(t.Context(), "Archive"); err != nil {
			t.Fatal(err)
		}
		put(t, a, "Archive", "zero", mail.Flags{})
		put(t, a, "INBOX", "one", mail.Flags{})
		put(t, a, "INBOX", "two", mail.Flags{})
		if !a.Abilities().Move || !a.Abilities().UIDPlus {
			t.Fatalf("abilities are %+v", a.Abilities())
		}
		validity := scanFolder(t, a, "INBOX", mail.Cursor{}, 0).Cursor.UIDValidity
		if to, err := remotetest.Move(t.Context(), a, "INBOX", validity, 2, "Archive"); to != 2 || err != nil {
			t.Errorf("move gives %d, %v", to, err)
		}
		if to, err := a.Copy(t.Context(), "INBOX", validity, 1, "Archive"); to != 3 || err != nil {
			t.Errorf("copy gives %d, %v", to, err)
		}
		if to, err := remotetest.Move(t.Context(), a, "INBOX", validity, 1, "Nowhere"); to != 0 || !errors.Is(err, mail.ErrRefused) {
			t.Errorf("moving to nowhere gives %d, %v", to, err)
		}
		if v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0); v.Present.String() != "1" {
			t.Errorf("INBOX has %v", v.Present)
		}
		if v := scanFolder(t, a, "Archive", mail.Cursor{}, 0); v.Present.String() != "1:3" {
			t.Errorf("Archive has %v", v.Present)
		}
	})
}

// Many move without waiting for each other, and each is told where it is, or that it is gone.
func TestManyMessagesAreMovedAtOnce(t *testing.T) {
	a := open(t, dovecotServer(t))
	if err := a.CreateFolder(t.Context(), "Archive"); err != nil {
		t.Fatal(err)
	}
	const n = 300
	put(t, a, "Archive", "zero", mail.Flags{})
	for i := range n {
		put(t, a, "INBOX", fmt.Sprint(i), mail.Flags{})
	}
	validity := scanFolder(t, a, "INBOX", mail.Cursor{}, 0).Cursor.UIDValidity
	var uids []mail.UID
	for i := range n {
		uids = append(uids, mail.UID(n-i)) // newest first
	}
	uids[7], uids[8] = n+1, 0
	before := a.Traffic().RoundTrips
	moved := remotetest.Moves(t.Context(), a, "INBOX", validity, uids, "Archive")
	if trips := a.Traffic().RoundTrips - before; trips > 6 {
		t.Errorf("%d round trips", trips)
	}
	seen := mail.UIDSet{}
	for i, m := range moved {
		if i == 7 || i == 8 {
			if m.There != 0 || !errors.Is(m.Err, mail.ErrGone) {
				t.Errorf("UID %d, which there is none of: %+v", uids[i], m)
			}
			continue
		}
		if m.There < 2 || m.Err != nil || seen.Has(m.There) {
			t.Fatalf("UID %d: %+v", uids[i], m)
		}
		seen.Add(m.There)
	}
	if v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0); v.Present.Len() != 2 {
		t.Errorf("INBOX has %v", v.Present)
	}
	if v := scanFolder(t, a, "Archive", mail.Cursor{}, 0); v.Present.Without(seen).String() != "1" {
		t.Errorf("Archive has %v, told were %v", v.Present, seen)
	}
}

func TestAMessageThatIsGoneIsNeitherMovedNorCopied(t *testing.T) {
	a := open(t, dovecotServer(t))
	put(t, a, "INBOX", "one", mail.Flags{})
	validity := scanFolder(t, a, "INBOX", mail.Cursor{}, 0).Cursor.UIDValidity
	if to, err := a.Copy(t.Context(), "INBOX", validity, 2, "Trash"); to != 0 || !errors.Is(err, mail.ErrGone) {
		t.Errorf("copy gives %d, %v", to, err)
	}
	if to, err := remotetest.Move(t.Context(), a, "INBOX", validity, 2, "Trash"); to != 0 || !errors.Is(err, mail.ErrGone) {
		t.Errorf("move gives %d, %v", to, err)
	}
}

func TestNothingIsDoneUnderAnotherUIDValidity(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		a := open(t, opts)
		put(t, a, "INBOX", "one", mail.Flags{})
		first := scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
		other := first.Cursor.UIDValidity + 1
		ctx := t.Context()
		_, identify := a.Identify(ctx, "INBOX", other, mail.UIDs(1), mail.Sizes)
		_, move := remotetest.Move(ctx, a, "INBOX", other, 1, "INBOX")
		_, copied := a.Copy(ctx, "INBOX", other, 1, "INBOX")
		for what, err := range map[string]error{
			"identify": identify, "move": move, "copy": copied,
			"store":   remotetest.Store(ctx, a, "INBOX", other, mail.UIDs(1), mail.Flags{System: mail.Seen}, mail.Flags{}, nil),
			"expunge": remotetest.Expunge(ctx, a, "INBOX", other, mail.UIDs(1)),
			"fetch":   remotetest.Fetch(ctx, a, "INBOX", other, mail.UIDs(1), func(mail.Body) error { return nil }),
		} {
			if !errors.Is(err, mail.ErrRestarted) {
				t.Errorf("%s gives %v", what, err)
			}
		}
		since := first.Cursor
		since.UIDValidity = other
		if v := scanFolder(t, a, "INBOX", since, 1); !v.Restarted || !v.Full || len(v.order) != 1 {
			t.Errorf("the scan gives %+v", v)
		}
		since = first.Cursor
		since.UIDNext = 100 // as if the server's backup was put back
		if v := scanFolder(t, a, "INBOX", since, 1); !v.Restarted || !v.Full {
			t.Errorf("the scan after a restore gives %+v", v)
		}
	})
}

func TestAReadOnlyAccountChangesNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		put(t, open(t, opts), "INBOX", "one", mail.Flags{})
		opts.ReadOnly = true
		a := open(t, opts)
		v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
		if v.ReadOnly || !v.NewKeywords || len(v.order) != 1 {
			t.Errorf("a dry run sees %+v", v.View)
		}
		if got := bodies(t, a, "INBOX", v.Cursor.UIDValidity, mail.UIDs(1)); got[1] != letter("one") {
			t.Errorf("a dry run fetches %v", got)
		}
		ctx, validity := t.Context(), v.Cursor.UIDValidity
		_, _, _, appended := appendTo(ctx, a, "INBOX", mail.Flags{}, time.Now(), newMessage(letter("two")))
		_, moved := remotetest.Move(ctx, a, "INBOX", validity, 1, "INBOX")
		for what, err := range map[string]error{
			"append": appended, "move": moved,
			"store":  remotetest.Store(ctx, a, "INBOX", validity, mail.UIDs(1), mail.Flags{System: mail.Seen}, mail.Flags{}, nil),
			"create": a.CreateFolder(ctx, "New"), "delete": a.DeleteFolder(ctx, "INBOX"),
			"expunge": remotetest.Expunge(ctx, a, "INBOX", validity, mail.UIDs(1)),
		} {
			if !errors.Is(err, mail.ErrReadOnly) {
				t.Errorf("%s gives %v", what, err)
			}
		}
		if v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0); !v.messages[1].Flags.Equal(mail.Flags{}) {
			t.Errorf("the dry run left %v", v.messages[1].Flags)
		}
	})
}

func TestSessionsAreSharedAndCounted(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		opts.Connections = 2
		asked := 0
		opts.Password = func(context.Context) (string, error) { asked++; return testPassword, nil }
		a := open(t, opts)
		if a.Traffic() != (mail.Traffic{}) {
			t.Errorf("before the first call there is traffic: %+v", a.Traffic())
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := a.Scan(t.Context(), "INBOX", mail.Cursor{}, 0, func(mail.Message) error { return nil }); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		tr := a.Traffic()
		if tr.Connections < 1 || tr.Connections > 2 || tr.BytesIn == 0 || tr.BytesOut == 0 {
			t.Errorf("traffic is %+v", tr)
		}
		if asked != 1 {
			t.Errorf("the password was asked %d times", asked)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if after := a.Traffic(); after.BytesOut <= tr.BytesOut || after.Connections != tr.Connections {
			t.Errorf("after Close the traffic is %+v, before %+v", after, tr)
		}
		if _, err := a.Folders(t.Context()); err == nil {
			t.Error("a closed account lists folders")
		}
	})
}

func TestTheEndOfTheContextEndsACall(t *testing.T) {
	onBoth(t, func(t *testing.T, opts Options) {
		a := open(t, opts)
		put(t, a, "INBOX", "one", mail.Flags{})
		put(t, a, "INBOX", "two", mail.Flags{})
		ctx, cancel := context.WithCancel(t.Context())
		_, err := a.Scan(ctx, "INBOX", mail.Cursor{}, 0, func(mail.Message) error {
			cancel()
			return errors.New("too late")
		})
		if err != context.Canceled {
			t.Errorf("the scan gives %v", err)
		}
		if v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0); len(v.order) != 2 {
			t.Errorf("afterwards a scan visits %v", v.order)
		}
	})
}

func TestADovecotThatAllowsFewerSessionsIsUsedWithThose(t *testing.T) {
	opts := dovecotServer(t) // it allows three
	opts.Connections = 8
	a := open(t, opts)
	var wg sync.WaitGroup
	started := make(chan struct{}, 8)
	put(t, a, "INBOX", "one", mail.Flags{})
	for range 6 {
		wg.Go(func() {
			_, err := a.Scan(t.Context(), "INBOX", mail.Cursor{}, 0, func(mail.Message) error {
				started <- struct{}{}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(started) != 6 {
		t.Errorf("%d scans visited the message", len(started))
	}
}

func TestFoldersCostOneRoundTrip(t *testing.T) {
	a := open(t, dovecotServer(t))
	if _, err := a.Folders(t.Context()); err != nil {
		t.Fatal(err)
	}
	switch n := a.Traffic().RoundTrips; n {
	case 0:
		t.Skip("this connection does not count round trips")
	case 1:
	default:
		t.Errorf("it took %d", n)
	}
}

// What has changed is asked for behind the SELECT.
func TestAScanOfChangesCostsOneRoundTrip(t *testing.T) {
	opts := dovecotServer(t)
	a, b := open(t, opts), open(t, opts)
	one := put(t, a, "INBOX", "one", mail.Flags{})
	v := scanFolder(t, b, "INBOX", mail.Cursor{}, 0)
	two := put(t, a, "INBOX", "two", mail.Flags{})
	if err := remotetest.Store(t.Context(), a, "INBOX", v.Cursor.UIDValidity, mail.UIDs(one), seen, mail.Flags{}, nil); err != nil {
		t.Fatal(err)
	}
	before := b.Traffic().RoundTrips
	again := scanFolder(t, b, "INBOX", v.Cursor, 1)
	if again.Full || !slices.Equal(again.order, []mail.UID{one, two}) || again.Absence != mail.NothingGone {
		t.Errorf("the second scan gives %+v", again)
	}
	if n := b.Traffic().RoundTrips - before; n != 1 {
		t.Errorf("it took %d round trips", n)
	}
}

func TestAScanWithNothingNewCostsOneSelect(t *testing.T) {
	a := open(t, dovecotServer(t))
	put(t, a, "INBOX", "one", mail.Flags{})
	v := scanFolder(t, a, "INBOX", mail.Cursor{}, 0)
	before := a.Traffic().RoundTrips
	again := scanFolder(t, a, "INBOX", v.Cursor, 1)
	if again.Full || len(again.order) != 0 || again.Absence != mail.NothingGone || again.Cursor != v.Cursor {
		t.Errorf("the second scan gives %+v after %+v", again, v.Cursor)
	}
	if after := a.Traffic().RoundTrips; after != 0 && after != before+1 {
		t.Errorf("it took %d round trips", after-before)
	}
}

// A folder that was never read is listed behind its SELECT; those of which the engine knows
// that they are new are all of them one round trip, and their Scans none.
func TestTheFirstScansOfFoldersCostOneRoundTrip(t *testing.T) {
	opts := dovecotServer(t)
	a, b := open(t, opts), open(t, opts)
	folders := []mail.Folder{"INBOX", "Archive", "Lists"}
	want := map[mail.Folder][]mail.UID{}
	var queries []mail.Query
	for i, folder := range folders {
		if err := a.CreateFolder(t.Context(), folder); err != nil && !errors.Is(err, mail.ErrExists) {
			t.Fatal(err)
		}
		for n := range i { // INBOX has none
			want[folder] = append(want[folder], put(t, a, folder, fmt.Sprint(n), mail.Flags{}))
		}
		queries = append(queries, mail.Query{Folder: folder, New: i})
	}
	if _, err := b.Folders(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, ahead := range []struct {
		queries []mail.Query
		trips   int
	}{{nil, 3}, {queries, 1}, {[]mail.Query{{Folder: "Lists", New: 1 << 20}, queries[1]}, 3}} {
		before := b.Traffic().RoundTrips
		if len(ahead.queries) > 0 {
			b.Ahead(t.Context(), ahead.queries)
		}
		for _, folder := range folders {
			v := scanFolder(t, b, folder, mail.Cursor{}, 0)
			if !v.Full || v.Absence != mail.ByPresent || !slices.Equal(v.order, want[folder]) {
				t.Errorf("%s: %+v, want %v", folder, v, want[folder])
			}
		}
		// The last one has a folder that is too large, and another one that nobody asked for.
		if n := b.Traffic().RoundTrips - before; n != ahead.trips {
			t.Errorf("%d queries and 3 scans took %d round trips, not %d", len(ahead.queries), n, ahead.trips)
		}
	}
}
