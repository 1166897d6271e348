package sync_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// renameStory is a device that was in step, with a message that stays on the server
// only, and all kinds of renames since, with changes in between.
func renameStory(t *testing.T, o sim.Options) *device {
	s := account(t)
	s.Options = o
	for _, f := range []mail.Folder{"Ours", "Ours/in", "Theirs", "Theirs/in", "SwapA", "SwapB", "Both"} {
		must(t, s.CreateFolder(f))
		for i := range 3 {
			s.Deliver(f, onWire(letter(fmt.Sprintf("%s %d", f, i))), flags(`\Seen`), day)
		}
	}
	d := newDevice(t, s)
	d.opts.Connections = 1
	d.opts.Policy = always(conflict.Policy{OnLocalDelete: conflict.Keep})
	d.sync()
	for _, f := range []mail.Folder{"Ours", "Theirs"} {
		must(t, os.Remove(d.find(f, fmt.Sprintf("About %s 0.", f))))
	}
	d.sync()
	d.sync()

	must(t, s.AddFlags("Ours", 2, flags(`\Flagged`)))
	d.rename(d.find("Theirs", "About Theirs 1."), "cur", "SR")
	d.steps(mail.Remote, "Theirs>New/Theirs Both>There")
	if o.NoInferiors {
		d.steps(mail.Remote, "Theirs/in>New/Theirs/in")
	}
	d.steps(mail.Local, "Ours>Lists/Ours Both>Here SwapA>x SwapB>SwapA x>SwapB")
	tick(t, t.TempDir())
	return d
}

// A run that is killed at any of its steps while it renames folders, and then run
// again, ends as if nothing had happened, and no body travels for it.
func TestRenamesKilledAtEveryStep(t *testing.T) {
	for name, o := range map[string]sim.Options{
		"good server":          {},
		"no MAILBOXID":         {NoObjectID: true},
		"what is inside stays": {NoInferiors: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := renameStory(t, o)
			whole.crash = sim.NewCrash(0)
			whole.sync()
			steps := whole.crash.Names()
			whole.crash = nil
			whole.sync()
			whole.quiet()
			want, folders := whole.seen(), whole.ids()
			if len(steps) < 20 {
				t.Fatalf("the story has only %d steps: %v", len(steps), steps)
			}
			for k := 1; k <= len(steps); k++ {
				if name != "good server" && k%4 != 0 && os.Getenv("MAILTWIN_REQUIRE") == "" {
					continue
				}
				t.Run(fmt.Sprintf("%d %s", k, steps[k-1]), func(t *testing.T) {
					d := renameStory(t, o)
					calls := d.calls()
					d.crash = sim.NewCrash(k)
					_, err := d.run()
					if !d.crash.Crashed() {
						t.Fatalf("not killed: %v", err)
					}
					d.crash = nil
					d.sync()
					d.sync()
					if got := d.seen(); !slices.Equal(got, want) {
						t.Errorf("after the crash:\n%s\nwithout it:\n%s", short(got), short(want))
					}
					if n := calls["Append"] + calls["Copy"] + calls["Move"] + calls["Expunge"] + calls["Fetch"]; n > 0 {
						t.Errorf("messages were brought over: %v", calls)
					}
					if got := d.ids(); fmt.Sprint(got) != fmt.Sprint(folders) {
						t.Errorf("base has the folders %v, want %v", got, folders)
					}
					d.quiet()
				})
			}
		})
	}
}
