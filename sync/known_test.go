package sync_test

import (
	"fmt"
	"os"
	"testing"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// What has changed about files of a large folder is found wherever it is: alone, side by side, far
// apart, at both ends.
func TestChangesAnywhereInALargeFolder(t *testing.T) {
	const n = 200
	s := account(t)
	for i := range n {
		s.Deliver("INBOX", onWire(letter(fmt.Sprintf("number %03d", i))), mail.Flags{}, day)
	}
	d := newDevice(t, s)
	d.sync()
	file := func(i int) string { return d.find("INBOX", fmt.Sprintf("About number %03d.", i)) }
	flagged := []int{0, 5, 50, 51, 53, 70, 71, 140, n - 1}
	for _, i := range flagged {
		d.rename(file(i), "cur", "F")
	}
	removed := []int{1, 52, 100, 139}
	for _, i := range removed {
		must(t, os.Remove(file(i)))
	}
	d.put("INBOX", "1.first", letter("the first"))
	d.put("INBOX", "9999999999.last", letter("the last"))
	rep := d.sync()
	if want := (engine.Counts{New: 2, Flags: len(flagged), Removed: len(removed)}); rep.Remote != want {
		t.Errorf("on the server: %+v, want %+v", rep.Remote, want)
	}
	d.inStep()
	d.quiet()
}
