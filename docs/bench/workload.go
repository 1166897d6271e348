package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"mailtwin/sync/imaptest/corpus"
)

// workload is one thing that people wait for. A run of it prepares, measures and checks.
type workload struct {
	name, title string
	data        *dataset
	rtt         time.Duration
	programs    []string // keys
	floor       string   // what the floor does
	// begin tells what state the device is in before the run.
	begin begin
	// remote and local are what changes before each run.
	remote, local delta
	upload        int // messages that lie in INBOX before the run
	target        target
	growth        *growthPoint
	live          *live
}

type begin int

const (
	empty  begin = iota // nothing here
	inStep              // synced before
)

// target is what issue 6 asks for; 0 where it does not.
type target struct{ floor, mbsync, plain, cpu float64 }

// growthPoint places a workload on the curves.
type growthPoint struct {
	curve string // what grows
	size  int
	kind  string // the line on the chart
}

var (
	everybody = []string{mailtwin, floor, mbsync, mbsyncPlain, offlineimap}
	mostly    = []string{mailtwin, floor, mbsync, offlineimap} // where COMPRESS hardly matters
	noFloor   = []string{mailtwin, mbsync, offlineimap}
)

// workloads are all there are.
func workloads(s settings) []*workload {
	twenty := &dataset{name: "twenty", title: "10,000 messages (255 MB) in 20 folders", messages: 10_000, folders: 20, bytes: 255e6}
	many := &dataset{name: "many", title: "2,000 messages in 200 folders", messages: 2_000, folders: 200, bytes: 2_000 * 5_000, shared: true}
	huge := &dataset{name: "huge", title: "100,000 small messages in one folder", messages: 100_000, folders: 1, shared: true}
	none := &dataset{name: "upload", title: "an empty account", folders: 1, fresh: true}
	x := delta{flags: 100, arrive: 50, gone: 20}
	moves, uploads, far := 100, 1_000, 40*time.Millisecond
	if s.quick {
		twenty.title, twenty.messages, twenty.folders, twenty.bytes = "100 messages in 4 folders", 100, 4, 100*5_000
		many.title, many.messages, many.folders, many.bytes = "24 messages in 12 folders", 24, 12, 24*4_000
		huge.title, huge.messages = "300 small messages in one folder", 300
		x, moves, uploads, far = delta{flags: 8, arrive: 4, gone: 2}, 4, 20, 4*time.Millisecond
	}
	list := []*workload{
		{name: "first", title: "First sync of " + twenty.title, data: twenty, programs: everybody, floor: "fetch", target: target{floor: 1.3, mbsync: 4, plain: 2}},
		{name: "first", title: "First sync of " + twenty.title, data: twenty, rtt: far, programs: everybody, floor: "fetch", target: target{floor: 1.4}},
		{name: "first-huge", title: "First sync of " + huge.title, data: huge, programs: everybody, floor: "fetch", target: target{mbsync: 4}},
		{name: "same", title: "Nothing changed in " + twenty.title, data: twenty, rtt: far, programs: mostly, floor: "look", begin: inStep, target: target{floor: 1.5, mbsync: 10}},
		{name: "same-many", title: "Nothing changed in " + many.title, data: many, rtt: far, programs: mostly, floor: "look", begin: inStep, target: target{floor: 1.5, mbsync: 80}},
		{name: "same-huge", title: "Nothing changed in " + huge.title, data: huge, rtt: far, programs: mostly, floor: "look", begin: inStep, target: target{floor: 1.5, cpu: 0.030}},
		{name: "remote", title: fmt.Sprintf("On the server: %d flags, %d new, %d gone, over %d folders", x.flags, x.arrive, x.gone, twenty.folders),
			data: twenty, rtt: far, programs: noFloor, begin: inStep, remote: x, target: target{mbsync: 6}},
		{name: "local", title: fmt.Sprintf("Here: %d flags, %d new, %d gone, over %d folders", x.flags, x.arrive, x.gone, twenty.folders),
			data: twenty, rtt: far, programs: noFloor, begin: inStep, local: x, target: target{mbsync: 6}},
		{name: "moves", title: fmt.Sprintf("Here: %d messages moved to other folders", moves),
			data: twenty, rtt: far, programs: noFloor, begin: inStep, local: delta{moved: moves}},
		{name: "upload", title: fmt.Sprintf("Upload of %d messages (27 kB each) to one folder", uploads), data: none, programs: everybody, floor: "upload", begin: inStep, upload: uploads},
		{name: "upload", title: fmt.Sprintf("Upload of %d messages (27 kB each) to one folder", uploads), data: none, rtt: far, programs: everybody, floor: "upload", begin: inStep, upload: uploads, target: target{floor: 2}},
	}
	for _, w := range list {
		w.name += fmt.Sprintf("-%dms", w.rtt.Milliseconds())
		w.title += fmt.Sprintf(", %d ms", w.rtt.Milliseconds())
	}
	return append(append(list, growths(s, huge)...), lives(s, huge)...)
}

// growths are the workloads of mailtwin alone, over sizes.
func growths(s settings, huge *dataset) []*workload {
	messages, boxes := []int{1_000, 10_000, 100_000}, []int{10, 100, 1_000}
	if s.large {
		messages, boxes = append(messages, 1_000_000), append(boxes, 5_000)
	}
	if s.quick {
		messages, boxes = []int{30, huge.messages}, []int{3, 9}
	}
	var list []*workload
	add := func(curve string, size int, d *dataset) {
		for _, w := range []*workload{
			{name: "first", title: "first sync"},
			{name: "same", title: "nothing changed", begin: inStep},
			{name: "one", title: "one flag changed on the server", begin: inStep, remote: delta{flags: 1}},
		} {
			w.growth = &growthPoint{curve, size, w.title}
			w.name = fmt.Sprintf("growth-%s-%d-%s", curve, size, w.name)
			w.title = fmt.Sprintf("%d %s: %s", size, curve, w.title)
			w.data, w.programs = d, []string{mailtwin}
			list = append(list, w)
		}
	}
	for _, n := range messages {
		// Not the dataset of the peers, whose accounts nothing may change.
		add("messages", n, &dataset{name: fmt.Sprintf("messages%d", n), title: fmt.Sprintf("%d small messages in one folder", n), messages: n, folders: 1})
	}
	for _, n := range boxes {
		add("folders", n, &dataset{name: fmt.Sprintf("folders%d", n), title: fmt.Sprintf("%d folders of 5 messages", n), messages: 5 * n, folders: n})
	}
	return list
}

// once prepares, measures and checks one run of a workload with a program.
func (b *bench) once(ctx context.Context, w *workload, p *program, run int) (figures, error) {
	d, err := b.device(ctx, w, p, run)
	if err != nil {
		return figures{}, fmt.Errorf("prepare: %w", err)
	}
	if err := b.change(w, d); err != nil {
		return figures{}, fmt.Errorf("prepare: %w", err)
	}
	f, err := b.execute(ctx, d, w.rtt, w.floor)
	if err != nil {
		d.synced = false
		if w.begin == empty {
			b.hopeless[d.user+"/"+p.key] = err.Error()
		}
		return f, err
	}
	if err := b.check(w, d); err != nil {
		return f, fmt.Errorf("check: %w", err)
	}
	d.synced = true
	return f, nil
}

// device gives one in the state that a workload begins with. One that is to be in step
// is the one that the program synced last with this dataset, wherever that was.
func (b *bench) device(ctx context.Context, w *workload, p *program, run int) (*device, error) {
	user, err := b.fill(w.data, p, b.account(w, p, run))
	if err != nil {
		return nil, err
	}
	key := user + "/" + p.key
	d := b.devices[key]
	if d == nil || w.begin == empty {
		b.serial++
		d = &device{program: p, user: user, password: b.server.Password, port: b.proxy.port(),
			dir: filepath.Join(b.dir, fmt.Sprintf("%03d-%s", b.serial, p.key))}
		if err := d.write(); err != nil {
			return nil, err
		}
		b.devices[key] = d
	}
	if w.begin == inStep && !d.synced && p.key != floor {
		// What took too long once, on a longer line perhaps, is not waited for again.
		if why := b.hopeless[key]; why != "" {
			return nil, fmt.Errorf("its first sync: %s", why)
		}
		for range 2 { // the second one settles what the first one has left
			if _, err := b.execute(ctx, d, 0, ""); err != nil {
				b.hopeless[key] = err.Error()
				return nil, err
			}
		}
		d.synced = true
	}
	return d, nil
}

// account numbers the accounts of datasets that are made afresh for each run.
func (b *bench) account(w *workload, p *program, run int) int {
	if !w.data.fresh {
		return 0
	}
	key := w.data.name + p.key
	b.used[key]++
	return b.used[key]
}

// change is what happens before a run.
func (b *bench) change(w *workload, d *device) error {
	if w.remote != (delta{}) {
		c, err := b.dial(d.user)
		if err != nil {
			return err
		}
		defer c.close()
		if err := w.remote.remotely(c, b.letters); err != nil {
			return err
		}
	}
	if w.local != (delta{}) {
		if err := w.local.locally(d.mail(), b.letters); err != nil {
			return err
		}
	}
	if w.upload > 0 {
		if err := b.lay(w.upload, d); err != nil {
			return err
		}
	}
	if w.begin == inStep {
		b.rest()
	}
	return nil
}

// lay puts n messages where the program is to find them.
func (b *bench) lay(n int, d *device) error {
	inbox := folder{path: filepath.Join(d.mail(), "INBOX")}
	to := func(s corpus.Sample) error { return inbox.deliver(file{"cur", freshName() + ":2,S"}, s.Raw, s.Date) }
	if d.program.key == floor {
		to = func(s corpus.Sample) error { return os.WriteFile(filepath.Join(d.mail(), freshName()), s.Raw, 0o600) }
	}
	for s := range corpus.Bulk(1, n, 1, int64(n)*27_000) {
		if err := to(s); err != nil {
			return err
		}
	}
	return nil
}

// check holds both sides against each other: a program that does less is no faster.
func (b *bench) check(w *workload, d *device) error {
	c, err := b.dial(d.user)
	if err != nil {
		return err
	}
	defer c.close()
	remote, err := remoteTally(c)
	if err != nil {
		return err
	}
	local := remote
	switch {
	case d.program.key != floor:
		local, err = localTally(d.mail())
	case w.floor == "fetch":
		local, err = localTally(d.mail())
		local.flagged = remote.flagged // it gives files no flags
	case w.floor == "upload":
		remote.flagged, local = 0, tally{messages: w.upload}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if local != remote {
		return fmt.Errorf("%d messages here, of them %d flagged, and %d on the server, of them %d flagged",
			local.messages, local.flagged, remote.messages, remote.flagged)
	}
	return nil
}
