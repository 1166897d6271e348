package conflict

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"mailtwin/conflict/mail"
)

// disturb does what people and programs do between two runs, on both sides, and
// tells which contents somebody removed.
func (w *world) disturb(t *rapid.T, removed map[int]bool) {
	flags := rapid.Custom(func(t *rapid.T) mail.Flags {
		return mail.Flags{System: mail.System(rapid.IntRange(0, 63).Draw(t, "flags"))}
	})
	for range rapid.IntRange(0, 6).Draw(t, "changes") {
		f := rapid.SampledFrom([]mail.Folder{inbox, inbox, bin}).Draw(t, "folder")
		content := rapid.IntRange(0, 7).Draw(t, "content")
		keys := slices.Sorted(maps.Keys(w.local[f]))
		uids := slices.Sorted(maps.Keys(w.remote[f]))
		switch op := rapid.SampledFrom([]string{"add", "flag", "remove", "move", "copy"}).Draw(t, "op"); {
		case rapid.Bool().Draw(t, "locally"):
			if op == "add" {
				w.addLocal(f, message{content, flags.Draw(t, "set")})
			} else if len(keys) > 0 {
				k := rapid.SampledFrom(keys).Draw(t, "key")
				m := w.local[f][k]
				switch op {
				case "flag":
					w.local[f][k] = message{m.content, flags.Draw(t, "set")}
				case "remove":
					removed[m.content] = true
					delete(w.local[f], k)
				case "copy":
					w.addLocal(rapid.SampledFrom([]mail.Folder{inbox, bin}).Draw(t, "to"), m)
				case "move":
					delete(w.local[f], k)
					w.addLocal(rapid.SampledFrom([]mail.Folder{inbox, bin}).Draw(t, "to"), m)
				}
			}
		case op == "add":
			w.addRemote(f, message{content, flags.Draw(t, "set")})
		case len(uids) > 0:
			u := rapid.SampledFrom(uids).Draw(t, "uid")
			m := w.remote[f][u]
			switch op {
			case "flag":
				w.remote[f][u] = message{m.content, flags.Draw(t, "set")}
			case "remove":
				removed[m.content] = true
				delete(w.remote[f], u)
			case "copy":
				w.addRemote(rapid.SampledFrom([]mail.Folder{inbox, bin}).Draw(t, "to"), m)
			case "move":
				delete(w.remote[f], u)
				w.addRemote(rapid.SampledFrom([]mail.Folder{inbox, bin}).Draw(t, "to"), m)
			}
		}
	}
}

func policies() *rapid.Generator[Policy] {
	return rapid.Custom(func(t *rapid.T) Policy {
		return Policy{
			OnLocalDelete:  rapid.SampledFrom([]OnLocalDelete{Trash, Expunge, Keep}).Draw(t, "on_local_delete"),
			OnRemoteDelete: rapid.SampledFrom([]OnRemoteDelete{Remove, KeepFile}).Draw(t, "on_remote_delete"),
			Winner:         rapid.SampledFrom([]Winner{KeepWins, DeleteWins}).Draw(t, "conflict"),
			ExpungeDeleted: rapid.Bool().Draw(t, "expunge"),
		}
	})
}

// Whatever happens between runs, two rounds bring both sides together, up to what a
// policy keeps on one side, and a further one finds nothing to do.
func TestPlansConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(policies().Draw(t, "policy"))
		for range rapid.IntRange(1, 4).Draw(t, "runs") {
			w.disturb(t, map[int]bool{})
			w.sync()
			w.sync() // what was moved to Trash on the server comes down
			w.sync() // flags that changed with a move
			if plan := w.sync(); len(plan.Actions) > 0 {
				t.Fatalf("a third round still finds %d actions, first %+v", len(plan.Actions), plan.Actions[0])
			}
			for _, f := range []mail.Folder{inbox, bin} {
				local, remote := w.settledContents(f)
				if !maps.Equal(local, remote) {
					t.Fatalf("%s: local %v, remote %v", f, local, remote)
				}
			}
		}
	})
}

// settledContents is contents without the messages that a policy keeps on one side.
func (w *world) settledContents(f mail.Folder) (local, remote map[string]int) {
	l, r := maps.Clone(w.local[f]), maps.Clone(w.remote[f])
	defer func() { w.local[f], w.remote[f] = l, r }()
	w.local[f], w.remote[f] = maps.Clone(l), maps.Clone(r)
	for _, row := range w.base {
		if row.Folder == idOf(f) && row.State == mail.Parted {
			delete(w.local[f], row.Key)
			delete(w.remote[f], row.UID)
		}
	}
	return w.contents(f)
}

// A content that nobody removed is still on both sides, and no oftener than somebody
// made it so.
func TestNothingIsLostOrDoubled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := policies().Draw(t, "policy")
		p.ExpungeDeleted = false // which removes what is flagged \Deleted, as asked
		w := newWorld(p)
		removed := map[int]bool{}
		for range rapid.IntRange(1, 4).Draw(t, "runs") {
			w.disturb(t, removed)
			before := w.everywhere()
			w.sync()
			w.sync()
			after := w.everywhere()
			for content, n := range before {
				if after[content] == 0 && !removed[content] {
					t.Fatalf("content %d is lost", content)
				}
				if after[content] > 2*n {
					t.Fatalf("content %d stood %d times, now %d times", content, n, after[content])
				}
			}
		}
	})
}

// With the brake on and nobody's consent, no run empties a folder of 20 messages.
func TestTheBrakeHoldsLargeRemovals(t *testing.T) {
	for _, side := range []mail.Side{mail.Local, mail.Remote} {
		for _, gone := range []int{9, 10, 11, 20} {
			w := newWorld(Policy{})
			w.allow = false
			for i := range 20 {
				w.addRemote(inbox, message{content: i})
			}
			w.sync()
			for _, r := range slices.SortedFunc(maps.Values(w.base), func(a, b *mail.Row) int { return int(a.ID - b.ID) })[:gone] {
				if side == mail.Local {
					delete(w.local[inbox], r.Key)
				} else {
					delete(w.remote[inbox], r.UID)
				}
			}
			plan := w.sync()
			left := len(w.remote[inbox])
			if side == mail.Remote {
				left = len(w.local[inbox])
			}
			want, held := 20-gone, 0
			if gone > 10 {
				want, held = 20, gone
			}
			if left != want || heldCount(plan) != held {
				t.Errorf("%d of 20 gone on the %s side: %d left on the other, %d held; want %d, %d", gone, side, left, heldCount(plan), want, held)
			}
			again := w.sync()
			if heldCount(again) != held {
				t.Errorf("%d of 20 gone on the %s side: %d held in the next run, want %d", gone, side, heldCount(again), held)
			}
			w.allow = true
			w.sync()
			left = len(w.remote[inbox]) + len(w.local[inbox])
			if left != 2*(20-gone) {
				t.Errorf("%d of 20 gone on the %s side, and allowed: %d left on both sides together", gone, side, left)
			}
		}
	}
}

func heldCount(p Plan) int {
	n := 0
	for _, h := range p.Held {
		n += h.Count
	}
	return n
}
