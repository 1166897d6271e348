package sim_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
	"mailtwin/sync/sim/remotetest"
)

// rescan scans Box.
func rescan(t *testing.T, c *sim.Client, since mail.Cursor, known int) (visited []mail.UID, view mail.View) {
	t.Helper()
	view, err := c.Scan(t.Context(), box, since, known, func(m mail.Message) error {
		visited = append(visited, m.UID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return visited, view
}

func TestARestoredBackupIsNoticed(t *testing.T) {
	histories := map[string]func(*sim.Server, []mail.UID){
		"delivery": func(s *sim.Server, _ []mail.UID) { s.Deliver(box, raw, seen, when) },
		"flag":     func(s *sim.Server, uids []mail.UID) { s.AddFlags(box, uids[0], seen) },
		"removal":  func(s *sim.Server, uids []mail.UID) { s.Expunge(box, uids[0]) },
		"move":     func(s *sim.Server, uids []mail.UID) { s.Move(box, uids[0], "Other") },
	}
	for name, happen := range histories {
		s, uids, _ := filled(t)
		backup, then := s.Snapshot(), account(s)
		happen(s, uids)
		_, view := rescan(t, s.Client(), mail.Cursor{}, 0)
		known := len(s.Messages(box))
		for range 2 { // a backup is not used up
			s.Restore(backup)
			if now := account(s); now != then {
				t.Errorf("%s: account is\n%s, was\n%s", name, now, then)
			}
			if visited, back := rescan(t, s.Client(), view.Cursor, known); !back.Restarted || !slices.Equal(visited, uids) {
				t.Errorf("%s: visited %v, view %+v", name, visited, back)
			}
			happen(s, uids)
		}
	}
}

func TestEachChangeRaisesTheModSequenceAndNothingElseDoes(t *testing.T) {
	s, uids, _ := filled(t)
	steps := []struct {
		name string
		do   func()
		up   bool
	}{
		{"flag", func() { s.AddFlags(box, uids[0], seen) }, true},
		{"the same flag", func() { s.AddFlags(box, uids[0], seen) }, false},
		{"set", func() { s.SetFlags(box, uids[0], mail.Flags{Keywords: "work"}) }, true},
		{"flag that is not there", func() { s.RemoveFlags(box, uids[0], seen) }, false},
		{"delivery", func() { s.Deliver(box, raw, seen, when) }, true},
		{"copy within", func() { s.Copy(box, uids[1], box) }, true},
		{"copy away", func() { s.Copy(box, uids[1], "Other") }, false},
		{"move away", func() { s.Move(box, uids[1], "Other") }, true},
		{"move nowhere", func() { s.Move(box, uids[2], "Nowhere") }, false},
		{"expunge", func() { s.Expunge(box, uids[2]) }, true},
		{"expunge again", func() { s.Expunge(box, uids[2]) }, false},
	}
	for _, step := range steps {
		before := s.Status(box)
		step.do()
		if after := s.Status(box); (after.HighestModSeq > before.HighestModSeq) != step.up || (after != before) != step.up {
			t.Errorf("%s: from %+v to %+v", step.name, before, after)
		}
	}
}

func TestANewUIDValidityRenumbers(t *testing.T) {
	s, uids, _ := filled(t)
	s.Expunge(box, uids[0])
	_, view := rescan(t, s.Client(), mail.Cursor{}, 0)
	if err := s.ChangeUIDValidity(box); err != nil {
		t.Fatal(err)
	}
	visited, again := rescan(t, s.Client(), view.Cursor, 2)
	if !again.Restarted || !slices.Equal(visited, []mail.UID{1, 2}) || again.Cursor.UIDNext != 3 {
		t.Errorf("visited %v, view %+v", visited, again)
	}
}

func TestARenamedFolderIsTheSameFolder(t *testing.T) {
	s, uids, validity := filled(t)
	c := s.Client()
	for _, f := range []mail.Folder{"Box/in", "Box/in/ner", "Boxes"} {
		if err := s.CreateFolder(f); err != nil {
			t.Fatal(err)
		}
	}
	ids := func() map[string]mail.Folder {
		listing, err := c.Folders(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]mail.Folder)
		for _, f := range listing.Folders {
			if f.NoSelect {
				found[""] = f.Name
				continue
			}
			told, err := c.Examine(t.Context(), f.Name)
			if err != nil || told.Status != f.Status {
				t.Fatalf("%s: %+v, listed as %+v: %v", f.Name, told, f, err)
			}
			found[told.MailboxID] = f.Name
		}
		return found
	}
	before := ids()
	if err := s.RenameFolder(box, "New/box"); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Folders(), []mail.Folder{"Boxes", mail.Inbox, "New/box", "New/box/in", "New/box/in/ner", "Other"}; !slices.Equal(got, want) {
		t.Fatalf("folders are %v, want %v", got, want)
	}
	after := ids()
	for id, old := range before {
		if old == box && after[id] != "New/box" || old == "Box/in" && after[id] != "New/box/in" || old == "Boxes" && after[id] != "Boxes" {
			t.Errorf("%s: was %s and is %s", id, old, after[id])
		}
	}
	if after[""] != "New" {
		t.Errorf("the container of a folder is not listed: %v", after)
	}
	if s.Status("New/box").UIDValidity != validity || len(s.Messages("New/box")) != len(uids) {
		t.Errorf("it holds %v under %+v", s.Messages("New/box"), s.Status("New/box"))
	}
	refused := []struct {
		from, to mail.Folder
		err      error
	}{
		{mail.Inbox, "Old", mail.ErrRefused},
		{"New/box", "New/box/in/side", mail.ErrRefused},
		{"Nowhere", "Somewhere", mail.ErrGone},
		{"Boxes", "Other", mail.ErrExists},
	}
	for _, r := range refused {
		before := account(s)
		if err := s.RenameFolder(r.from, r.to); !errors.Is(err, r.err) || account(s) != before {
			t.Errorf("%s to %s: error is %v, want %v", r.from, r.to, err, r.err)
		}
	}
}

func TestAFolderMadeAnewHasAnotherUIDValidity(t *testing.T) {
	s, _, validity := filled(t)
	backup := s.Snapshot()
	for range 3 {
		s.DeleteFolder(box)
		s.CreateFolder(box)
		if now := s.Status(box).UIDValidity; now <= validity {
			t.Errorf("UIDVALIDITY is %d after %d", now, validity)
		}
		validity = s.Status(box).UIDValidity
		s.Restore(backup) // which must not make the server forget
	}
}

func TestRolesAreListed(t *testing.T) {
	s, _, _ := filled(t)
	if err := s.SetRole("Other", mail.RoleTrash); err != nil {
		t.Fatal(err)
	}
	listing, err := s.Client().Folders(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var roles []mail.Role
	for _, f := range listing.Folders {
		roles = append(roles, f.Role)
	}
	if want := []mail.Role{mail.RoleNone, mail.RoleInbox, mail.RoleTrash}; !slices.Equal(roles, want) {
		t.Errorf("roles are %q, want %q", roles, want)
	}
}

func TestAReadOnlyFolderIsReadAndNotWritten(t *testing.T) {
	s, uids, validity := filled(t)
	if err := s.SetReadOnly(box, true); err != nil {
		t.Fatal(err)
	}
	before := account(s)
	c := s.Client()
	if _, view := rescan(t, c, mail.Cursor{}, 0); !view.ReadOnly {
		t.Error("the scan does not say so")
	}
	for name, call := range calls(c, uids, validity) {
		err := call(t.Context())
		switch name {
		case "Append", "Store", "Move", "Expunge":
			if !errors.Is(err, mail.ErrReadOnly) {
				t.Errorf("%s: error is %v", name, err)
			}
		case "Identify", "Fetch", "Scan":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	s.SetReadOnly(box, false)
	if now := s.Messages(box); len(now) != 3 || !now[0].Flags.Empty() {
		t.Errorf("account is\n%s, was\n%s", account(s), before)
	}
}

func TestOddServers(t *testing.T) {
	ctx := t.Context()
	t.Run("other bytes than it was sent", func(t *testing.T) {
		s, _, _ := filled(t)
		s.Options.Rewrite = func(raw []byte) []byte { return append([]byte("X-Id: 1\r\n"), raw...) }
		done := remotetest.Append(ctx, s.Client(), box, seen, when, remotetest.Source(raw))
		uid, validity := done.UID, done.UIDValidity
		if done.Err != nil {
			t.Fatal(done.Err)
		}
		got := s.Messages(box)[3]
		if got.UID != uid || !bytes.Equal(got.Raw, s.Options.Rewrite(raw)) {
			t.Errorf("UID %d has %q", got.UID, got.Raw)
		}
		ids, err := s.Client().Identify(ctx, box, validity, mail.UIDs(uid), mail.Sizes)
		if err != nil || len(ids) != 1 || ids[0].Identity.Size != int64(len(got.Raw)) {
			t.Errorf("identified as %+v, error %v", ids, err)
		}
	})
	t.Run("sizes that no body has", func(t *testing.T) {
		s, uids, validity := filled(t)
		s.Options.SizeError = -7
		ids, err := s.Client().Identify(ctx, box, validity, mail.UIDs(uids[0]), mail.Sizes)
		if err != nil || len(ids) != 1 || ids[0].Identity.Size != int64(len(s.Messages(box)[0].Raw))-7 {
			t.Errorf("identified as %+v, error %v", ids, err)
		}
	})
	t.Run("an append of what is there", func(t *testing.T) {
		s, uids, _ := filled(t)
		s.Options.Dedupe = true
		there := s.Messages(box)[1]
		done := remotetest.Append(ctx, s.Client(), box, seen, when, remotetest.Source(there.Raw))
		if done.Err != nil || done.UID != uids[1] || len(s.Messages(box)) != 3 {
			t.Errorf("it gives %+v", done)
		}
	})
	t.Run("without a UID to tell", func(t *testing.T) {
		s, uids, validity := filled(t)
		s.Options.NoUIDPlus = true
		c := s.Client()
		if done := remotetest.Append(ctx, c, box, seen, when, remotetest.Source(raw)); done != (mail.Appended{}) {
			t.Errorf("append gives %+v", done)
		}
		if err := remotetest.Expunge(ctx, c, box, validity, mail.UIDs(uids...)); !errors.Is(err, mail.ErrRefused) {
			t.Errorf("expunge: error is %v", err)
		}
		s.Options.NoMove = true
		if _, err := remotetest.Move(ctx, c, box, validity, uids[0], "Other"); !errors.Is(err, mail.ErrRefused) {
			t.Errorf("move: error is %v", err)
		}
		if got := len(s.Messages(box)); got != 4 {
			t.Errorf("%d messages", got)
		}
	})
}

func TestTheClockIsTheSameEachTime(t *testing.T) {
	dates := func() (all []time.Time) {
		s := sim.NewServer()
		for range 3 {
			s.Deliver(mail.Inbox, raw, seen, time.Time{})
		}
		for _, m := range s.Messages(mail.Inbox) {
			all = append(all, m.Date)
		}
		return all
	}
	want := []time.Time{sim.Epoch.Add(time.Second), sim.Epoch.Add(2 * time.Second), sim.Epoch.Add(3 * time.Second)}
	if got := dates(); !slices.Equal(got, want) {
		t.Errorf("dates are %v, want %v", got, want)
	}
	s := sim.NewServer()
	s.Now = func() time.Time { return when }
	s.Deliver(mail.Inbox, raw, seen, time.Time{})
	if got := s.Messages(mail.Inbox)[0].Date; !got.Equal(when) {
		t.Errorf("date is %v, want %v", got, when)
	}
}

func TestScansCostWhatChanged(t *testing.T) {
	s, uids, _ := filled(t)
	c := s.Client()
	_, view := rescan(t, c, mail.Cursor{}, 0)
	cost := func(known int) int {
		before := c.Traffic().RoundTrips
		_, view = rescan(t, c, view.Cursor, known)
		return c.Traffic().RoundTrips - before
	}
	if got := cost(3); got != 1 {
		t.Errorf("nothing new: %d round trips", got)
	}
	s.Deliver(box, raw, seen, when)
	if got := cost(3); got != 1 {
		t.Errorf("one new: %d round trips", got)
	}
	s.Expunge(box, uids[0])
	if got := cost(4); got != 2 {
		t.Errorf("one gone: %d round trips", got)
	}
	if got := s.Client().Traffic(); got != (mail.Traffic{}) {
		t.Errorf("another client has spent %+v", got)
	}
}
