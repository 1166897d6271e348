package sim_test

import (
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync"
	"mailtwin/sync/sim"
	"mailtwin/sync/sim/statetest"
)

func TestStateInMemory(t *testing.T) {
	statetest.Run(t, func(t *testing.T) sync.State { return sim.NewState() })
}

func TestCloneGoesItsOwnWay(t *testing.T) {
	ctx := t.Context()
	s := sim.NewState()
	f := &mail.FolderBase{Name: mail.Inbox}
	if err := s.Commit(ctx, &mail.Batch{PutFolders: []*mail.FolderBase{f}}); err != nil {
		t.Fatal(err)
	}
	row := &mail.Row{Folder: f.ID, UID: 1, Key: "a"}
	if err := s.Commit(ctx, &mail.Batch{PutRows: []*mail.Row{row}, Decisions: []mail.Decision{{What: "kept"}}}); err != nil {
		t.Fatal(err)
	}
	before := s.String()
	c := s.Clone()
	if c.String() != before {
		t.Fatalf("the clone is\n%s\nand not\n%s", c, before)
	}

	other := &mail.Row{Folder: f.ID, UID: 2, Key: "b"}
	if err := c.Commit(ctx, &mail.Batch{DropRows: []mail.RowID{row.ID}, PutRows: []*mail.Row{other}, Decisions: make([]mail.Decision, 2)}); err != nil {
		t.Fatal(err)
	}
	if s.String() != before || len(s.Decisions()) != 1 {
		t.Errorf("a commit to the clone changed the original:\n%s", s)
	}
	if remote, _, _ := c.Count(ctx, f.ID); remote != 1 || len(c.Decisions()) != 3 || c.String() == before {
		t.Errorf("the clone did not take the commit:\n%s", c)
	}

	// A state that goes on after its clone was taken gives out IDs of its own.
	third := &mail.Row{Folder: f.ID, UID: 3}
	if err := s.Commit(ctx, &mail.Batch{PutRows: []*mail.Row{third}}); err != nil {
		t.Fatal(err)
	}
	if third.ID != other.ID {
		t.Errorf("IDs are %d and %d: they must depend on nothing but the state's own history", third.ID, other.ID)
	}
}
