package sync_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/sim"
)

// history is a random history of one account: two devices, a phone, mail programs
// that rename, remove, add and move files, and syncs that are killed at a random step.
type history struct {
	t       *testing.T
	rand    *rand.Rand
	server  *sim.Server
	devices []*device
	tokens  int
	names   int             // of folders that were renamed
	renamed bool            // a folder was renamed since this was last false
	removed map[string]bool // tokens that somebody removed somewhere
	copies  map[string]int  // how often somebody copied a token
	log     []string
}

func (h *history) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

func (h *history) letter() (token, text string) {
	h.tokens++
	token = fmt.Sprintf("token%04d", h.tokens)
	return token, letter(token)
}

// there and here give the folders of the server, and of a device, but for Trash.
func (h *history) there() []mail.Folder {
	return slices.DeleteFunc(h.server.Folders(), func(f mail.Folder) bool { return f == "Trash" })
}

func (h *history) here(d *device) []mail.Folder {
	return slices.DeleteFunc(d.folders(), func(f mail.Folder) bool { return f == "Trash" })
}

// renameFolder gives a folder a name that no other one ever had.
func (h *history) renameFolder(d *device) {
	folders, who := h.here(d), d.opts.Account
	if h.rand.IntN(2) == 0 {
		folders, who = h.there(), "phone"
	}
	others := slices.DeleteFunc(slices.Clone(folders), func(f mail.Folder) bool { return f == mail.Inbox })
	if len(others) == 0 {
		return
	}
	from := pick(h.rand, others)
	h.names++
	to := mail.Folder(fmt.Sprintf("%s %d", who, h.names))
	if around := pick(h.rand, folders); h.rand.IntN(2) == 0 && around != from && !around.Inside(from) {
		to = around + "/" + to
	}
	h.note("%s: folder %s becomes %s", who, from, to)
	h.renamed = true
	if who == "phone" {
		must(h.t, h.server.RenameFolder(from, to))
	} else {
		d.move(from, to)
	}
}

func pick[T any](r *rand.Rand, s []T) T { return s[r.IntN(len(s))] }

// tokenOf finds the token in a message.
func tokenOf(text string) string {
	i := strings.Index(text, "Subject: ")
	return text[i+9 : i+18]
}

// step is what happens next: a sync, a loss, or anything else.
func (h *history) step() {
	if h.rand.IntN(40) == 0 {
		d := pick(h.rand, h.devices)
		h.note("%s: loses its state", d.opts.Account)
		d.state = sim.NewState()
		return
	}
	if h.rand.IntN(10) < 3 {
		h.sync(pick(h.rand, h.devices), h.rand.IntN(3) == 0)
		return
	}
	h.change()
}

// change is something that a person or a program does.
func (h *history) change() {
	r := h.rand
	d := pick(r, h.devices)
	folder := pick(r, h.there())
	n := r.IntN(8)
	if n >= 2 && n <= 4 {
		folders := h.here(d)
		if len(folders) == 0 {
			return
		}
		folder = pick(r, folders)
	}
	switch n {
	case 7:
		h.renameFolder(d)
	case 0, 1: // somebody writes to the account
		token, text := h.letter()
		f := pick(r, []mail.Flags{{}, flags(`\Seen`), flags(`\Flagged`)})
		h.note("phone: %s arrives in %s", token, folder)
		h.server.Deliver(folder, onWire(text), f, day)
	case 2: // a mail program saves a message
		token, text := h.letter()
		h.note("%s: %s saved in %s", d.opts.Account, token, folder)
		d.put(folder, token+pick(r, []string{"", ":2,S", ":2,F"}), text)
	case 3, 4: // a mail program does something to a file
		files := d.files(folder)
		if len(files) == 0 {
			return
		}
		path := pick(r, slices.Sorted(maps.Keys(files)))
		token := tokenOf(files[path])
		switch r.IntN(5) {
		case 4:
			to := pick(r, h.here(d))
			h.note("%s: %s copied from %s to %s", d.opts.Account, token, folder, to)
			h.copies[token]++
			d.put(to, token+"."+strconv.Itoa(r.IntN(1e6))+":2,S", files[path])
		case 0:
			h.note("%s: %s removed from %s", d.opts.Account, token, folder)
			h.removed[token] = true
			must(h.t, os.Remove(path))
		case 1:
			to := pick(r, h.here(d))
			if to == folder {
				return
			}
			h.note("%s: %s moved from %s to %s", d.opts.Account, token, folder, to)
			must(h.t, os.Rename(path, filepath.Join(d.dir(to), "cur", token+"."+strconv.Itoa(r.IntN(1e6))+":2,S")))
		default:
			f := pick(r, []string{"", "S", "F", "FS", "RS"})
			h.note("%s: %s in %s gets %q", d.opts.Account, token, folder, f)
			d.rename(path, "cur", f)
		}
	case 5, 6: // the phone does something to a message
		messages := h.server.Messages(folder)
		if len(messages) == 0 {
			return
		}
		m := pick(r, messages)
		token := tokenOf(string(m.Raw))
		switch r.IntN(4) {
		case 3:
			to := pick(r, h.there())
			if to == folder {
				return
			}
			h.note("phone: %s copied from %s to %s", token, folder, to)
			h.copies[token]++
			h.server.Copy(folder, m.UID, to)
		case 0:
			h.note("phone: %s removed from %s", token, folder)
			h.removed[token] = true
			must(h.t, h.server.Expunge(folder, m.UID))
		case 1:
			to := pick(r, h.there())
			if to == folder {
				return
			}
			h.note("phone: %s moved from %s to %s", token, folder, to)
			h.server.Move(folder, m.UID, to)
		default:
			f := pick(r, []mail.Flags{{}, flags(`\Seen`), flags(`\Flagged`, `\Seen`), flags("work")})
			h.note("phone: %s in %s gets %v", token, folder, f)
			must(h.t, h.server.SetFlags(folder, m.UID, f))
		}
	}
}

func (h *history) sync(d *device, killed bool) {
	// Now and then somebody is at work while the sync is.
	busy := h.rand.IntN(3) == 0
	h.server.Before = func(sim.Call) error {
		if busy && h.rand.IntN(8) == 0 {
			busy = false
			h.note("meanwhile")
			h.change()
			tick(h.t, d.root+"/..")
		}
		return nil
	}
	defer func() { h.server.Before = nil }()
	h.renamed = false
	if !killed {
		h.note("%s: sync", d.opts.Account)
		rep, err := d.run()
		// A folder that is renamed under the sync is not there for it.
		if !h.renamed && (err != nil || len(rep.Problems) > 0) || err != nil && !errors.Is(err, mail.ErrUnreachable) {
			h.t.Fatalf("sync: %v, %v", err, rep.Problems)
		}
		return
	}
	d.crash = sim.NewCrash(1 + h.rand.IntN(40))
	_, err := d.run()
	names := d.crash.Names()
	h.note("%s: sync, killed %v at %d %v (%v)", d.opts.Account, d.crash.Crashed(), len(names), names[max(0, len(names)-1):], err)
	d.crash = nil
}

// quiesce syncs until all is quiet, and checks what must hold then.
func (h *history) quiesce() {
	for range 3 {
		for _, d := range h.devices {
			d.sync()
		}
	}
	for _, d := range h.devices {
		d.inStep()
		d.quiet()
	}
	count := map[string]int{}
	for _, f := range h.server.Folders() {
		for _, m := range h.server.Messages(f) {
			if f != "Trash" {
				count[tokenOf(string(m.Raw))]++
			}
		}
	}
	for token := 1; token <= h.tokens; token++ {
		name := fmt.Sprintf("token%04d", token)
		n := count[name]
		if n == 0 && !h.removed[name] {
			h.t.Errorf("%s is lost", name)
		}
		if n > 1+h.copies[name] {
			h.t.Errorf("%s is there %d times", name, n)
		}
	}
}

// Random histories, with syncs killed at random, end with both devices and the server
// equal, nothing lost, nothing doubled, and nothing left to do. A seed that fails can
// be run again with MAILTWIN_SEED; MAILTWIN_HISTORIES is how many are tried.
func TestRandomHistories(t *testing.T) {
	n, first := 40, uint64(1)
	if s := os.Getenv("MAILTWIN_HISTORIES"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	if s := os.Getenv("MAILTWIN_SEED"); s != "" {
		first, _ = strconv.ParseUint(s, 10, 64)
		n = 1
	}
	for seed := first; seed < first+uint64(n); seed++ {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := sim.NewServer()
			for _, f := range []mail.Folder{"Archive", "Lists", "Lists/go", "Trash"} {
				must(t, s.CreateFolder(f))
			}
			must(t, s.SetRole("Trash", mail.RoleTrash))
			if seed%4 == 0 {
				s.Options = sim.Options{NoMove: true}
			}
			if seed%4 == 1 {
				s.Options = sim.Options{NoCondStore: true}
			}
			if seed%4 == 2 {
				s.Options = sim.Options{EmailIDs: true}
			}
			h := &history{t: t, rand: rand.New(rand.NewPCG(seed, 0)), server: s, removed: map[string]bool{}, copies: map[string]int{}}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("MAILTWIN_SEED=%d go test ./sync -run RandomHistories\n%s", seed, strings.Join(h.log, "\n"))
				}
			})
			for _, name := range []string{"a", "b"} {
				d := newDevice(t, s)
				d.opts.Account, d.opts.Connections = name, 1
				h.devices = append(h.devices, d)
			}
			for range 25 {
				h.step()
				tick(t, h.devices[0].root+"/..")
			}
			h.quiesce()
		})
		if !ok {
			break
		}
	}
}
