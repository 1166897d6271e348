package sim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"reflect"
	"slices"
	"strings"
	gosync "sync"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
	"mailtwin/sync/sim/remotetest"
)

// effects are the methods that have an effect; all others only look.
var effects = map[string][]string{
	"Local": {"Create", "Resume", "Harden", "Publish", "Secure", "SyncFolder", "Sweep", "Reflag", "EndRename", "Move", "Link", "Remove", "SetLetters",
		"SetMarker", "CreateFolder", "RemoveFolder", "ForgetFolder", "RenameFolder", "SecureFolder"},
	"Incoming": {"Write", "Finish", "Keep"},
	"Remote":   {"Append", "Change", "Copy", "CreateFolder", "DeleteFolder", "RenameFolder"},
	"State":    {"Commit"},
}

// parts are the effects of a method that has several.
var parts = map[string][]string{"Remote.Change": {"Remote.Store", "Remote.Expunge", "Remote.Move"}}

func effectsOf(name string) []string {
	if several := parts[name]; several != nil {
		return several
	}
	return []string{name}
}

// noError are the methods that cannot say that the process is dead, and do nothing
// that would show.
var noError = []string{"Local.Notices", "Incoming.Key", "Incoming.Discard", "Remote.Abilities", "Remote.Ahead", "Remote.Ready", "Remote.Traffic", "Source.Identity", "Source.Stat", "Source.Close"}

// sides gives all that a Crash wraps, by name.
func sides(t *testing.T, c *sim.Crash, log *callLog) map[string]reflect.Value {
	t.Helper()
	local := c.Local(fakeLocal{log})
	incoming, err := local.Create(t.Context(), box, when)
	if err != nil {
		t.Fatal(err)
	}
	source, err := local.Read(t.Context(), box, mail.File{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]reflect.Value{
		"Local":    reflect.ValueOf(&local).Elem(),
		"Incoming": reflect.ValueOf(&incoming).Elem(),
		"Source":   reflect.ValueOf(&source).Elem(),
		"Remote":   reflect.ValueOf(ptr(c.Remote(fakeRemote{log}))).Elem(),
		"State":    reflect.ValueOf(ptr(c.State(fakeState{log}))).Elem(),
	}
}

func ptr[T any](v T) *T { return &v }

// each calls do for each method of the wrapped sides.
func each(sides map[string]reflect.Value, do func(name string, call func() error)) {
	for side, v := range sides {
		for i := range v.NumMethod() {
			method := v.Type().Method(i)
			do(side+"."+method.Name, func() error { return callZero(v.Method(i)) })
		}
	}
}

// callZero calls a method with arguments that mean nothing, drains what it iterates
// over, and gives its error.
func callZero(method reflect.Value) (err error) {
	var args []reflect.Value
	for i := range method.Type().NumIn() {
		in := method.Type().In(i)
		switch {
		case in == reflect.TypeFor[context.Context]():
			args = append(args, reflect.ValueOf(context.Background()))
		case in == reflect.TypeFor[io.Writer]():
			args = append(args, reflect.ValueOf(ptr(io.Discard)).Elem())
		case in == reflect.TypeFor[func() *mail.Outgoing]():
			one := &mail.Outgoing{}
			args = append(args, reflect.ValueOf(func() (next *mail.Outgoing) {
				next, one = one, nil
				return next
			}))
		case in == reflect.TypeFor[func(mail.Appended)]():
			args = append(args, reflect.ValueOf(func(done mail.Appended) { err = done.Err }))
		case in == reflect.TypeFor[[]mail.Wanted]():
			args = append(args, reflect.ValueOf(make([]mail.Wanted, 1)))
		case in == reflect.TypeFor[[]*mail.Visit]():
			v := &mail.Visit{Stores: []*mail.FlagChange{{}}, Moves: []*mail.Moving{{UID: 1}}, Expunge: mail.UIDs(2)}
			args = append(args, reflect.ValueOf([]*mail.Visit{v}))
			defer func() { err = errors.Join(v.Stores[0].Err, v.Moves[0].Err, v.Expunged) }()
		default:
			args = append(args, reflect.Zero(in))
		}
	}
	for _, out := range method.Call(args) {
		switch v := out.Interface().(type) {
		case error:
			err = v
		case []error:
			err = errors.Join(v...)
		case iter.Seq2[mail.Row, error]:
			for _, e := range v {
				err = errors.Join(err, e)
			}
		case iter.Seq2[mail.Known, error]:
			for _, e := range v {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

func TestEachEffectHasAStepBeforeAndAfterIt(t *testing.T) {
	crash := sim.NewCrash(0)
	all := sides(t, crash, &callLog{})
	seen := make(map[string]int)
	each(all, func(name string, call func() error) {
		before := crash.Steps()
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		side, method, _ := strings.Cut(name, ".")
		var want []string
		if slices.Contains(effects[side], method) {
			for _, effect := range effectsOf(name) {
				want = append(want, "before "+effect, "after "+effect)
			}
			seen[side]++
		}
		if got := crash.Names()[before:]; !slices.Equal(got, want) {
			t.Errorf("%s: steps are %q, want %q", name, got, want)
		}
	})
	for side, methods := range effects {
		if seen[side] != len(methods) {
			t.Errorf("%s: %d methods had an effect, want %q", side, seen[side], methods)
		}
	}
	if crash.Crashed() {
		t.Error("a crash that was not asked for")
	}
}

func TestTheDeadDoNothingAndHearNothing(t *testing.T) {
	log := &callLog{}
	crash := sim.NewCrash(3) // after the Create of sides
	all := sides(t, crash, log)
	if err := callZero(all["Remote"].MethodByName("Append")); !errors.Is(err, sim.ErrCrashed) {
		t.Fatalf("the step of the crash: error is %v", err)
	}
	if !crash.Crashed() {
		t.Fatal("no crash")
	}
	log.take()
	steps := crash.Steps()
	each(all, func(name string, call func() error) {
		if err := call(); !errors.Is(err, sim.ErrCrashed) && !slices.Contains(noError, name) {
			t.Errorf("%s: error is %v", name, err)
		}
		if did := log.take(); len(did) > 0 && !slices.Contains(noError, name) || slices.Contains(did, "Discard") {
			t.Errorf("%s: did %v", name, did)
		}
	})
	if got := crash.Steps(); got != steps {
		t.Errorf("%d steps after the death", got-steps)
	}
}

func TestACrashIsBeforeTheEffectOrLosesItsAnswer(t *testing.T) {
	for at := 1; at <= 4; at++ {
		s, uids, validity := filled(t)
		stopped := ""
		crash := sim.NewCrash(at)
		crash.Stop = func() { stopped = account(s) }
		remote := crash.Remote(s.Client())
		done := remotetest.Append(t.Context(), remote, box, seen, when, remotetest.Source(raw))
		uid1, err1 := done.UID, done.Err
		err2 := remotetest.Store(t.Context(), remote, box, validity, mail.UIDs(uids...), seen, mail.Flags{}, nil)
		_, err3 := remote.Folders(t.Context())

		if crashed := at <= 2; crashed != errors.Is(err1, sim.ErrCrashed) || crashed != (uid1 == 0) {
			t.Errorf("at %d: append says %d, %v", at, uid1, err1)
		}
		if !errors.Is(err2, sim.ErrCrashed) || !errors.Is(err3, sim.ErrCrashed) {
			t.Errorf("at %d: store says %v, folders says %v", at, err2, err3)
		}
		all := s.Messages(box)
		if appended := at >= 2; appended != (len(all) == 4) {
			t.Errorf("at %d: %d messages", at, len(all))
		}
		if stored := at >= 4; stored != all[0].Flags.Equal(seen) {
			t.Errorf("at %d: flags are %v", at, all[0].Flags)
		}
		if now := account(s); now != stopped {
			t.Errorf("at %d: account is\n%s, and when it stopped was\n%s", at, now, stopped)
		}
	}
}

func TestARefusalIsAnAnswer(t *testing.T) {
	s, uids, validity := filled(t)
	crash := sim.NewCrash(0)
	_, err := crash.Remote(s.Client()).Copy(t.Context(), box, validity, uids[0], "Nowhere")
	if !errors.Is(err, mail.ErrGone) || crash.Steps() != 2 {
		t.Errorf("error is %v after %q", err, crash.Names())
	}
}

func TestADeathStopsWhatIsUnderWay(t *testing.T) {
	// Reads go on for long, with effects inside, and see the death in their midst.
	s, uids, validity := filled(t)
	crash := sim.NewCrash(1)
	remote := crash.Remote(s.Client())
	visits := 0
	err := remotetest.Fetch(t.Context(), remote, box, validity, mail.UIDs(uids...), func(b mail.Body) error {
		visits++
		// An engine that takes no notice of an error.
		remotetest.Store(t.Context(), remote, box, validity, mail.UIDs(b.UID), seen, mail.Flags{}, nil)
		if n, err := b.Reader.Read(make([]byte, 10)); n != 0 || !errors.Is(err, sim.ErrCrashed) {
			t.Errorf("read %d octets, error %v", n, err)
		}
		return nil
	})
	if !errors.Is(err, sim.ErrCrashed) || visits != 1 {
		t.Errorf("fetch: %d visits, error %v", visits, err)
	}

	crash = sim.NewCrash(1)
	state := crash.State(fakeState{&callLog{}})
	rows := 0
	for _, err = range state.RowsByUID(t.Context(), 1) {
		if err != nil {
			break
		}
		rows++
		state.Commit(t.Context(), &mail.Batch{})
	}
	if !errors.Is(err, sim.ErrCrashed) || rows != 1 {
		t.Errorf("rows: %d, error %v", rows, err)
	}
}

func TestNoEffectFollowsADeathFromAnyGoroutine(t *testing.T) {
	for at := 1; at <= 60; at += 7 {
		s, uids, validity := filled(t)
		crash := sim.NewCrash(at)
		stopped := ""
		crash.Stop = func() { stopped = account(s) }
		var workers gosync.WaitGroup
		for w := range 6 {
			remote := crash.Remote(s.Client())
			workers.Go(func() {
				for i := range 10 {
					flag := mail.Flags{Keywords: mail.Keywords(fmt.Sprint("w", w, "i", i))}
					remotetest.Store(t.Context(), remote, box, validity, mail.UIDs(uids...), flag, mail.Flags{}, nil)
				}
			})
		}
		workers.Wait()
		if now := account(s); stopped == "" || now != stopped {
			t.Errorf("at %d: account is\n%s, and when it stopped was\n%s", at, now, stopped)
		}
	}
}
