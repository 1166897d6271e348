package sim_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
	"mailtwin/sync/sim/remotetest"
)

const box mail.Folder = "Box"

var (
	when      = time.Date(2020, 2, 29, 12, 0, 0, 0, time.UTC)
	raw       = []byte("Message-ID: <a@example.org>\r\nSubject: hello\r\n\r\nbody\r\n")
	seen      = mail.Flags{System: mail.Seen}
	errBroken = errors.New("errBroken")
)

// filled makes an account with three messages in Box and an empty folder Other.
func filled(t *testing.T) (*sim.Server, []mail.UID, uint32) {
	t.Helper()
	s := sim.NewServer()
	for _, f := range []mail.Folder{box, "Other"} {
		if err := s.CreateFolder(f); err != nil {
			t.Fatal(err)
		}
	}
	var uids []mail.UID
	for i := range 3 {
		uids = append(uids, s.Deliver(box, append(slices.Clone(raw), fmt.Sprint(i, "\r\n")...), mail.Flags{}, when))
	}
	return s, uids, s.Status(box).UIDValidity
}

// account is all that is in it, for comparing.
func account(s *sim.Server) string {
	var all bytes.Buffer
	for _, f := range s.Folders() {
		fmt.Fprintln(&all, f, s.Status(f))
		for _, m := range s.Messages(f) {
			fmt.Fprintf(&all, "  %d %v %v %q\n", m.UID, m.Flags, m.Date, m.Raw)
		}
	}
	return all.String()
}

// calls are one call of each method of a Remote.
func calls(c engine.Remote, uids []mail.UID, validity uint32) map[string]func(context.Context) error {
	set := mail.UIDs(uids...)
	return map[string]func(context.Context) error{
		"Folders": func(ctx context.Context) error { _, err := c.Folders(ctx); return err },
		"Scan": func(ctx context.Context) error {
			_, err := c.Scan(ctx, box, mail.Cursor{}, 0, func(mail.Message) error { return nil })
			return err
		},
		"Identify": func(ctx context.Context) error { _, err := c.Identify(ctx, box, validity, set, mail.Sizes); return err },
		"Fetch": func(ctx context.Context) error {
			return remotetest.Fetch(ctx, c, box, validity, set, func(b mail.Body) error {
				_, err := io.Copy(io.Discard, b.Reader)
				return err
			})
		},
		"Append": func(ctx context.Context) error {
			return remotetest.Append(ctx, c, box, seen, when, remotetest.Source(raw)).Err
		},
		"Store": func(ctx context.Context) error {
			return remotetest.Store(ctx, c, box, validity, set, seen, mail.Flags{}, nil)
		},
		"Move": func(ctx context.Context) error {
			_, err := remotetest.Move(ctx, c, box, validity, uids[0], "Other")
			return err
		},
		"Copy": func(ctx context.Context) error {
			_, err := c.Copy(ctx, box, validity, uids[0], "Other")
			return err
		},
		"Expunge":      func(ctx context.Context) error { return remotetest.Expunge(ctx, c, box, validity, set) },
		"CreateFolder": func(ctx context.Context) error { return c.CreateFolder(ctx, "New") },
		"DeleteFolder": func(ctx context.Context) error { return c.DeleteFolder(ctx, "Other") },
	}
}

// reads are the methods that leave the account as it is.
var reads = []string{"Folders", "Scan", "Identify", "Fetch"}

func TestAnErrorBeforeACallLeavesNoEffect(t *testing.T) {
	s, uids, validity := filled(t)
	var got []string
	s.Before = func(c sim.Call) error { got = append(got, c.Method); return errBroken }
	before := account(s)
	for name, call := range calls(s.Client(), uids, validity) {
		got = nil
		if err := call(t.Context()); !errors.Is(err, errBroken) {
			t.Errorf("%s: error is %v", name, err)
		}
		if !slices.Equal(got, []string{name}) {
			t.Errorf("%s: the hook saw %v", name, got)
		}
		if after := account(s); after != before {
			t.Errorf("%s: account is\n%s, was\n%s", name, after, before)
		}
	}
}

func TestAnErrorAfterACallLosesTheAnswerOnly(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(calls(nil, make([]mail.UID, 3), 0))) {
		s, uids, validity := filled(t)
		c := s.Client()
		s.After = func(c sim.Call) error { return errBroken }
		before := account(s)
		if err := calls(c, uids, validity)[name](t.Context()); !errors.Is(err, errBroken) {
			t.Errorf("%s: error is %v", name, err)
		}
		if changed := account(s) != before; changed == slices.Contains(reads, name) {
			t.Errorf("%s: changed the account: %v", name, changed)
		}
	}
}

func TestALostAnswerOfAppendSaysThatAllWasSent(t *testing.T) {
	s, _, _ := filled(t)
	c := s.Client()
	for _, before := range []bool{true, false} {
		s.Before, s.After = nil, nil
		if before {
			s.Before = func(sim.Call) error { return mail.ErrUnreachable }
		} else {
			s.After = func(sim.Call) error { return mail.ErrUnreachable }
		}
		done := remotetest.Append(t.Context(), c, box, seen, when, remotetest.Source(raw))
		if !errors.Is(done.Err, mail.ErrUnreachable) || done.Sent == before || done.UID != 0 {
			t.Errorf("before: %v: %+v", before, done)
		}
	}
	if got := len(s.Messages(box)); got != 4 {
		t.Errorf("%d messages, want one more than 3", got)
	}
}

// Messages that were to move behind one at which the connection broke may have moved.
func TestMovesThatAreUnderWay(t *testing.T) {
	s, uids, validity := filled(t)
	s.Behind = func(sim.Call) int { return 1 }
	s.After = func(sim.Call) error { return mail.ErrUnreachable }
	for i, m := range remotetest.Moves(t.Context(), s.Client(), box, validity, uids, "Other") {
		if m.There != 0 || !errors.Is(m.Err, mail.ErrUnreachable) {
			t.Errorf("message %d: %+v", i, m)
		}
	}
	if left, there := len(s.Messages(box)), len(s.Messages("Other")); left != len(uids)-2 || there != 2 {
		t.Errorf("%d of %d are left, %d have moved", left, len(uids), there)
	}
}

// So may what was to be done in the same folder behind a change of flags; what was to be done in
// the next one was not sent yet.
func TestAVisitThatIsUnderWay(t *testing.T) {
	for _, behind := range []int{0, 1} {
		s, uids, validity := filled(t)
		s.Behind = func(sim.Call) int { return behind }
		s.Before = func(c sim.Call) error {
			if c.Method == "Store" {
				return mail.ErrUnreachable
			}
			return nil
		}
		visit := func(uids ...mail.UID) *mail.Visit {
			return &mail.Visit{Folder: box, Validity: validity, Stores: []*mail.FlagChange{{UIDs: mail.UIDs(uids[0]), Add: seen}}, Expunge: mail.UIDs(uids[1:]...)}
		}
		visits := []*mail.Visit{visit(uids[0], uids[1]), visit(uids[0], uids[2])}
		s.Client().Change(t.Context(), visits)
		for i, v := range visits {
			if !errors.Is(v.Stores[0].Err, mail.ErrUnreachable) || !errors.Is(v.Expunged, mail.ErrUnreachable) {
				t.Errorf("visit %d: %v, %v", i, v.Stores[0].Err, v.Expunged)
			}
		}
		if left := len(s.Messages(box)); left != len(uids)-behind {
			t.Errorf("%d of %d are left", left, len(uids))
		}
	}
}

// Answers that come late are lost when the connection breaks, and so is what was sent after.
func TestAppendsThatAreUnderWay(t *testing.T) {
	s, _, _ := filled(t)
	s.Behind = func(sim.Call) int { return 2 }
	n := 0
	s.After = func(sim.Call) error {
		if n++; n == 4 {
			return mail.ErrUnreachable
		}
		return nil
	}
	asked := 0
	var got []string
	s.Client().Append(t.Context(), func() *mail.Outgoing {
		asked++
		return &mail.Outgoing{Folder: box, Source: remotetest.Source(fmt.Appendf(nil, "Subject: %d\n\n", asked)), Date: when}
	}, func(done mail.Appended) {
		got = append(got, fmt.Sprint(done.UID != 0, done.Sent, errors.Is(done.Err, mail.ErrUnreachable)))
	})
	lost := "false true true"
	if want := []string{"true false false", lost, lost, lost, lost, lost}; !slices.Equal(got, want) {
		t.Errorf("the answers are %q, want %q", got, want)
	}
	if asked != 6 || len(s.Messages(box)) != 3+4 {
		t.Errorf("it asked for %d, and the folder has %d", asked, len(s.Messages(box)))
	}
}

func TestHooksMayActAsAnotherDevice(t *testing.T) {
	s, uids, validity := filled(t)
	s.Before = func(c sim.Call) error {
		if c.Method == "Move" && c.Target == "Other" && c.UIDs.Has(uids[0]) && c.Client == 1 {
			return s.Expunge(c.Folder, uids[0])
		}
		return nil
	}
	if _, err := remotetest.Move(t.Context(), s.Client(), box, validity, uids[0], "Other"); !errors.Is(err, mail.ErrGone) {
		t.Errorf("error is %v", err)
	}
}

func TestWhatHappensWithinAScanIsSeenNowOrLater(t *testing.T) {
	s, uids, _ := filled(t)
	c := s.Client()
	opened := s.Status(box)
	var late mail.UID
	s.Selected = func(call sim.Call) {
		late = s.Deliver(box, raw, mail.Flags{}, when)
		s.Expunge(box, uids[0])
		s.AddFlags(box, uids[1], seen)
	}
	scan := func(since mail.Cursor, known int) ([]mail.UID, mail.View) {
		var visited []mail.UID
		view, err := c.Scan(t.Context(), box, since, known, func(m mail.Message) error {
			visited = append(visited, m.UID)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return visited, view
	}
	visited, view := scan(opened, 3)
	if view.Cursor != opened {
		t.Errorf("cursor is %+v, and the SELECT said %+v", view.Cursor, opened)
	}
	if want := []mail.UID{uids[1], late}; !slices.Equal(visited, want) || view.Absence != mail.ByPresent || view.Present.Has(uids[0]) {
		t.Errorf("visited %v, want %v; view %+v", visited, want, view)
	}
	s.Selected = nil
	// The same once more, since the cursor did not pass it.
	if again, view := scan(view.Cursor, 2); !slices.Equal(again, visited) || view.Absence != mail.NothingGone {
		t.Errorf("then visited %v, view %+v", again, view)
	}
	s.Selected = func(sim.Call) { s.ChangeUIDValidity(box) }
	if _, err := c.Scan(t.Context(), box, opened, 3, func(mail.Message) error { return nil }); !errors.Is(err, mail.ErrUnreachable) {
		t.Errorf("folder replaced within the scan: error is %v", err)
	}
}

func TestABodyIsCutWhileItComes(t *testing.T) {
	s, uids, validity := filled(t)
	c := s.Client()
	size := int64(len(s.Messages(box)[1].Raw))
	for _, pass := range []int64{0, 1, size - 1, size} {
		s.Cut = func(call sim.Call, octets int64) int64 {
			if call.Method == "Fetch" && call.UIDs.Has(uids[1]) && octets == size {
				return pass
			}
			return -1
		}
		var told, came []int64
		err := remotetest.Fetch(t.Context(), c, box, validity, mail.UIDs(uids...), func(b mail.Body) error {
			n, err := io.Copy(io.Discard, b.Reader)
			told, came = append(told, b.Size), append(came, n)
			return err
		})
		// An early end is the visit's to find; a late one is the fetch's.
		want := io.ErrUnexpectedEOF
		if pass == size {
			want = mail.ErrUnreachable
		}
		if !errors.Is(err, want) {
			t.Errorf("after %d octets: error is %v, want %v", pass, err, want)
		}
		if !slices.Equal(told, []int64{size, size}) || !slices.Equal(came, []int64{size, pass}) {
			t.Errorf("after %d octets: told %v, came %v", pass, told, came)
		}
		if err := remotetest.Fetch(t.Context(), c, box, validity, mail.UIDs(uids...), func(b mail.Body) error {
			io.Copy(io.Discard, b.Reader)
			return nil
		}); !errors.Is(err, mail.ErrUnreachable) {
			t.Errorf("after %d octets, not noticed: error is %v", pass, err)
		}
	}
}

func TestAnAppendIsCutWhileItGoes(t *testing.T) {
	s, _, _ := filled(t)
	c := s.Client()
	size := int64(len(raw))
	before := account(s)
	for _, pass := range []int64{0, 1, size - 1, size} {
		s.Cut = func(sim.Call, int64) int64 { return pass }
		done := remotetest.Append(t.Context(), c, box, seen, when, remotetest.Source(raw))
		if !errors.Is(done.Err, mail.ErrUnreachable) || done.Sent != (pass == size) {
			t.Errorf("after %d octets: %+v", pass, done)
		}
		if after := account(s); after != before {
			t.Errorf("after %d octets: account is\n%s, was\n%s", pass, after, before)
		}
	}
}

func TestAFetchTellsOfBodiesThatNobodyRead(t *testing.T) {
	s, uids, validity := filled(t)
	err := remotetest.Fetch(t.Context(), s.Client(), box, validity, mail.UIDs(uids...), func(mail.Body) error { return nil })
	if err == nil {
		t.Error("a visit that reads nothing went unnoticed")
	}
}
