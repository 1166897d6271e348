package main

import (
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
	"mailtwin/sync/imaptest/dovecot"
)

// torture is an account that two computers, a phone and mail programs work on at
// random, while syncs are killed, connections are cut and the server is restarted. Each
// message has a token, so that at the end each can be counted.
type torture struct {
	*story
	rand    *rand.Rand
	devices []*computer
	cutters []*cutter
	folders []mail.Folder
	tokens  int
	copies  map[string]int  // how often somebody copied a token
	removed map[string]bool // that somebody removed somewhere
	struck  map[string]int  // what befell the syncs, and what was done in between
}

func one[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (x *torture) token() string {
	x.tokens++
	return fmt.Sprintf("token %04d", x.tokens)
}

// somewhere gives a file of a device, if the folder that chance takes has any.
func (x *torture) somewhere(d *computer) (mail.Folder, file, bool) {
	folder := one(x.rand, x.folders)
	if _, err := os.Stat(filepath.Join(d.maildir, string(folder), "cur")); err != nil {
		return "", file{}, false
	}
	files := d.files(folder)
	if len(files) == 0 {
		return "", file{}, false
	}
	return folder, one(x.rand, files), true
}

// change is something that a person, or a program of theirs, does.
func (x *torture) change() {
	d := one(x.rand, x.devices)
	switch what := one(x.rand, []string{"arrive", "arrive", "save", "flag", "flag", "move", "move", "copy", "remove", "phone", "phone", "phone"}); what {
	case "arrive":
		x.deliver(one(x.rand, x.folders), note(x.token()), one(x.rand, []mail.Flags{none, seen, flagged}))
		x.struck[what]++
	case "save":
		d.save(one(x.rand, x.folders), "cur", fmt.Sprintf("%d.a.host:2,S", x.rand.Uint64()), note(x.token()), then)
		x.struck[what]++
	case "phone":
		x.phoneChange()
	default:
		_, f, ok := x.somewhere(d)
		if !ok {
			return
		}
		x.struck[what]++
		to := filepath.Join(d.maildir, string(one(x.rand, x.folders)), "cur")
		token := subject(f.text)
		switch what {
		case "flag":
			d.reflag(f, one(x.rand, []string{"S", "FS", "RS", "F"}))
		case "remove":
			x.removed[token] = true
			d.remove(f)
		case "move":
			x.check(os.MkdirAll(to, 0o700))
			x.check(os.Rename(f.path, filepath.Join(to, fmt.Sprintf("%d.b.host:2,S", x.rand.Uint64()))))
		case "copy":
			x.copies[token]++
			d.save(mail.Folder(filepath.Base(filepath.Dir(to))), "cur", fmt.Sprintf("%d.c.host:2,FS", x.rand.Uint64()), f.text, then)
		}
	}
}

func (x *torture) phoneChange() {
	folder, to := one(x.rand, x.folders), one(x.rand, x.folders)
	messages := x.messages(folder)
	if len(messages) == 0 || folder == to {
		return
	}
	m := one(x.rand, messages)
	token := subject(onDisk(string(m.Raw)))
	var err error
	what := one(x.rand, []string{"move", "copy", "remove", "flag", "flag"})
	switch what {
	case "move":
		_, err = x.phone.Move(x.Context(), folder, m.UID, to)
	case "copy":
		x.copies[token]++
		_, err = x.phone.Copy(x.Context(), folder, m.UID, to)
	case "remove":
		x.removed[token] = true
		err = x.phone.Delete(x.Context(), folder, m.UID)
	case "flag":
		err = x.phone.AddFlags(x.Context(), folder, m.UID, one(x.rand, []mail.Flags{seen, flagged, answered, {Keywords: mail.NewKeywords("work")}}))
	}
	x.check(err)
	x.struck["phone: "+what]++
}

// sync syncs a device, most often not to the end.
func (x *torture) sync() {
	i := x.rand.IntN(len(x.devices))
	d, c := x.devices[i], x.cutters[i]
	// A reader renames files all the while.
	stop, stopped := make(chan bool), make(chan bool)
	reader := rand.New(rand.NewPCG(x.rand.Uint64(), 0))
	go func() {
		defer close(stopped)
		for range 2000 {
			select {
			case <-stop:
				return
			default:
				x.renameOne(d, reader)
			}
		}
	}()
	at := 0
	switch x.rand.IntN(5) {
	case 0: // all goes well
	case 1:
		(&c.up).Store(x.rand.Int64N(3000))
	case 2:
		(&c.down).Store(x.rand.Int64N(12000))
	default:
		at = 1 + x.rand.IntN(90)
	}
	killed, _, _, err := d.tryChild(at)
	close(stop)
	<-stopped
	switch {
	case killed:
		x.struck["killed "+x.devices[i].struckAt()]++
	case err != nil && (c.up.Load() == 0 || c.down.Load() == 0):
		x.struck["cut"]++
	case err != nil:
		x.Fatalf("%s: %v", d.name, err)
	default:
		x.struck["synced"]++
	}
	c.up.Store(-1)
	c.down.Store(-1)
}

// renameOne flags one file as a reader does; somebody else may be quicker.
func (x *torture) renameOne(d *computer, r *rand.Rand) {
	dir := filepath.Join(d.maildir, string(one(r, x.folders)), "cur")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return
	}
	name := one(r, entries).Name()
	base, chars, ok := strings.Cut(name, ":2,")
	if !ok || strings.Contains(chars, "F") {
		return // only ever once for each, so that it comes to an end
	}
	letters := []byte(chars + "F")
	slices.Sort(letters)
	if os.Rename(filepath.Join(dir, name), filepath.Join(dir, base+":2,"+string(letters))) == nil {
		return
	}
}

// Two computers, a phone, mail programs and a reader, on a real server, with syncs that
// are killed and cut off at random and a server that is restarted: in the end all is
// equal, nothing is lost, nothing doubled, and nothing left to do. MAILTWIN_TORTURE is
// how many rounds there are, and MAILTWIN_SEED where chance begins.
func TestTorture(t *testing.T) {
	rounds, seed := 50, uint64(1)
	if n, err := strconv.Atoi(os.Getenv("MAILTWIN_TORTURE")); err == nil {
		rounds = n
	}
	if n, err := strconv.ParseUint(os.Getenv("MAILTWIN_SEED"), 10, 64); err == nil {
		seed = n
	}
	server := dovecot.Start(t, dovecot.Users("tortured"), dovecot.Extra(reuse))
	s := newStory(t, server, "tortured")
	x := &torture{
		story: s, rand: rand.New(rand.NewPCG(seed, 1)), folders: []mail.Folder{"INBOX", "Archive", "Drafts", "Junk"},
		copies: map[string]int{}, removed: map[string]bool{}, struck: map[string]int{},
	}
	for _, name := range []string{"laptop", "desktop"} {
		c := s.cutter()
		x.cutters = append(x.cutters, c)
		x.devices = append(x.devices, s.device(name, "port = "+strconv.Itoa(c.port), `timeout = "5s"`))
	}
	for range 30 {
		x.deliver(one(x.rand, x.folders), note(x.token()), one(x.rand, []mail.Flags{none, seen, flagged}))
	}
	for _, d := range x.devices {
		d.sync()
	}
	for round := range rounds {
		for range 1 + x.rand.IntN(6) {
			x.change()
		}
		if round%20 == 19 {
			server.Restart()
			x.phone = server.PhoneOf(t, "tortured")
			x.struck["server restarted"]++
		}
		x.sync()
	}
	x.census()
}

// census syncs until all is quiet, and counts.
func (x *torture) census() {
	for range 3 {
		for _, d := range x.devices {
			d.story.phone = x.phone
			if r := d.run("sync", "--allow-deletes"); r.code != 0 {
				x.Fatalf("%s: exit code %d\n%s", d.name, r.code, r.stderr)
			}
		}
	}
	for _, d := range x.devices {
		d.quiet()
		x.equal(d)
	}
	count := map[string]int{}
	for _, folder := range x.folders {
		for _, token := range x.there(folder) {
			count[token]++
		}
	}
	for _, token := range x.there("Trash") {
		x.removed[token] = true // somebody did
	}
	for i := 1; i <= x.tokens; i++ {
		token := fmt.Sprintf("token %04d", i)
		if n := count[token]; n == 0 && !x.removed[token] {
			x.Errorf("%s is lost", token)
		} else if n > 1+x.copies[token] {
			x.Errorf("%s is there %d times, and was copied %d times", token, n, x.copies[token])
		}
	}
	for _, what := range slices.Sorted(maps.Keys(x.struck)) {
		x.Logf("%4d %s", x.struck[what], what)
	}
	least := map[string]int{"killed": 10, "cut": 3, "synced": 3, "move": 5, "copy": 1, "remove": 2, "phone: ": 10, "server restarted": 1}
	for what, n := range least {
		got := 0
		for name, times := range x.struck {
			if strings.HasPrefix(name, what) {
				got += times
			}
		}
		if got < n {
			x.Errorf("%q: %d times, want at least %d: it was no torture", what, got, n)
		}
	}
}

// equal compares all of a device with the server, but for where files without flags lie.
func (x *torture) equal(d *computer) {
	for _, name := range append(slices.Clone(x.folders), "Trash") {
		var here, there []string
		for _, f := range d.files(name) {
			here = append(here, describe(f.text, f.flags, f.date))
		}
		for _, m := range x.messages(name) {
			there = append(there, describe(onDisk(string(m.Raw)), m.Flags, m.Date))
		}
		slices.Sort(here)
		x.want(d.name+": "+string(name)+": here too much", without(here, there))
		x.want(d.name+": "+string(name)+": missing here", without(there, here))
	}
}
