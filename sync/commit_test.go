package sync

import (
	"context"
	"errors"
	"slices"
	gosync "sync"
	"testing"
	"testing/synctest"

	"mailtwin/conflict/mail"
)

// Commits that wait for another one are made as one. What is wrong with one of them is its own error,
// and the others are made without it.
func TestCommitsThatWaitAreOne(t *testing.T) {
	errBad := errors.New("bad")
	for _, bad := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var q joint
			var made [][]mail.RowID
			begun, end := make(chan struct{}), make(chan struct{})
			do := func(_ context.Context, b *mail.Batch) error {
				if b.DropRows[0] == 1 {
					close(begun)
					<-end
				}
				if bad && slices.Contains(b.DropRows, 3) {
					return errBad
				}
				made = append(made, slices.Clone(b.DropRows)) // one after the other
				return nil
			}
			errs := make([]error, 5)
			var wg gosync.WaitGroup
			commit := func(id mail.RowID) {
				wg.Go(func() { errs[id] = q.commit(t.Context(), &mail.Batch{DropRows: []mail.RowID{id}}, do) })
			}
			commit(1)
			<-begun
			for id := mail.RowID(2); id < 5; id++ {
				commit(id)
				synctest.Wait()
			}
			close(end)
			wg.Wait()
			want := [][]mail.RowID{{1}, {2, 3, 4}}
			if bad {
				want = [][]mail.RowID{{1}, {2}, {4}}
			}
			if !slices.EqualFunc(made, want, slices.Equal[[]mail.RowID]) {
				t.Errorf("bad %v: committed %v, want %v", bad, made, want)
			}
			for id, err := range errs {
				if want := bad && id == 3; want != errors.Is(err, errBad) || !want && err != nil {
					t.Errorf("bad %v: %d ended with %v", bad, id, err)
				}
			}
		})
	}
}
