package disk

import (
	"maps"
	"math/rand/v2"
	"path"
	"slices"
)

// change is one change of names: a name that was made or removed, or both at once for a
// rename. It survives a loss of power as a whole or not at all, but for halves that a
// sync of their directory has made durable before: for a file system may need a sync of
// both directories, and mailtwin gives it both. Where there is an actor, one will do.
type change struct {
	actor  string
	halves []half
}

// half is what a change does to one name of one directory: was, nil for none, becomes
// is, nil for none.
type half struct {
	dir     *inode
	name    string
	was, is *inode
	durable bool
}

func (c *change) isRename() bool { return len(c.halves) == 2 }

func (d *Disk) change(halves ...half) {
	now := d.tick()
	for _, h := range halves {
		if h.is == nil {
			delete(h.dir.entries, h.name)
		} else {
			h.dir.entries[h.name] = h.is
			h.is.links++
		}
		h.dir.modTime, h.dir.changed = now, now
	}
	for _, h := range halves { // what is renamed has a name all the time
		if h.was != nil {
			d.unname(h.was)
		}
	}
	d.pending = append(d.pending, &change{d.Actor, halves})
	if d.Changed == nil {
		return
	}
	for _, h := range halves {
		d.Changed(d.path(h.dir), h.name)
	}
}

// path gives the path of a directory.
func (d *Disk) path(dir *inode) string {
	var find func(at *inode) (string, bool)
	find = func(at *inode) (string, bool) {
		if at == dir {
			return "", true
		}
		for base, e := range at.entries {
			if e.isDir() {
				if name, found := find(e); found {
					return path.Join(base, name), true
				}
			}
		}
		return "", false
	}
	name, found := find(d.root)
	if !found {
		return ""
	}
	return path.Clean(name)
}

// unname takes a name from an inode. Its number is free as soon as it has none, though a
// loss of power may bring it back: then it has another number.
func (d *Disk) unname(i *inode) {
	if i.links--; i.links == 0 {
		d.free = append(d.free, i.number)
	}
}

// Sync makes files and directories durable.
func (f *FS) Sync(names ...string) error {
	for _, name := range names {
		i, err := f.disk.find(f.root, name)
		if err != nil {
			return fail("sync", name, err)
		}
		f.disk.sync(i)
	}
	return nil
}

func (d *Disk) sync(i *inode) {
	if !i.isDir() {
		i.saved = saved{slices.Clone(i.content), i.modTime}
		delete(d.dirty, i)
		return
	}
	i.durable, i.durableTime = maps.Clone(i.entries), i.modTime
	// Other programs count on a journal, which holds both halves of a rename or none, and no
	// rename of a file without what was done to its names before.
	journaled, renamed := map[*change]bool{}, map[*inode]bool{}
	for _, c := range slices.Backward(d.pending) {
		begun := false
		for n := range c.halves {
			h := &c.halves[n]
			h.durable = h.durable || h.dir == i
			begun = begun || h.durable
		}
		moved := c.halves[len(c.halves)-1].is
		if journaled[c] = begun && c.actor != "" || renamed[moved]; journaled[c] && c.isRename() {
			renamed[moved] = true
		}
	}
	d.pending = slices.DeleteFunc(d.pending, func(c *change) bool {
		whole := true
		for _, h := range c.halves {
			if !h.durable && journaled[c] {
				h.survive()
				h.dir.durableTime = d.tick()
			}
			whole = whole && (h.durable || journaled[c])
		}
		return whole
	})
}

// survive makes a half durable.
func (h half) survive() {
	if h.is != nil {
		h.dir.durable[h.name] = h.is
	} else if h.dir.durable[h.name] == h.was {
		delete(h.dir.durable, h.name)
	}
}

// Lost is a file that a loss of power has taken a name from, or given one back to, by
// undoing a change that was not durable, or the directory that this was made in.
type Lost struct {
	Actor   string // whose change it was
	Content []byte
	Names   int // how many names more it has than before; below 0: fewer
}

// PowerLoss turns the power off and on again. What was not synced survives or does not,
// as chance has it: each change of a name, in any order, but that of two renames of one
// file the second does not survive without the first; and each file's content, which may
// also be cut off or zeroes. It gives what that undid.
func (d *Disk) PowerLoss(r *rand.Rand) []Lost {
	odds := []float64{0, 0.2, 0.5, 0.8, 1}[r.IntN(5)]
	// Most file systems keep the order of all that happened.
	ordered, until := r.IntN(2) == 0, 0
	if len(d.pending) > 0 {
		until = r.IntN(len(d.pending) + 1)
	}
	var undone []*change
	stuck := map[*inode]bool{} // a rename of theirs was lost
	touched := map[*inode][2]int{}
	for n, c := range d.pending {
		survives := r.Float64() < odds
		if ordered {
			survives = n < until
		}
		if c.isRename() {
			moved := c.halves[1].is
			survives = survives && !stuck[moved]
			stuck[moved] = stuck[moved] || !survives
		}
		for _, h := range c.halves {
			if h.durable {
				continue
			}
			t := touched[h.dir]
			if survives {
				t[0]++
				h.survive()
			} else {
				t[1]++
			}
			touched[h.dir] = t
		}
		if !survives {
			undone = append(undone, c)
		}
	}
	for dir, t := range touched {
		// A directory that is neither as it was nor as it became has a time of its own.
		switch {
		case t[1] == 0:
			dir.durableTime = dir.modTime
		case t[0] > 0:
			dir.durableTime = d.tick()
		}
	}
	for _, i := range d.inOrder(d.dirty) {
		d.tear(i, r)
	}
	before := map[*inode]int{}
	for _, c := range d.pending {
		for _, h := range c.halves {
			for _, i := range []*inode{h.was, h.is} {
				if i != nil {
					before[i] = i.links
				}
			}
		}
	}
	there := d.remount()
	for i := range before {
		if !there[i] {
			i.links = 0
		}
	}
	// What survived in a directory that did not is gone all the same.
	for _, c := range d.pending {
		if i := c.halves[len(c.halves)-1].is; i != nil && !there[i] && !slices.Contains(undone, c) {
			undone = append(undone, c)
		}
	}
	d.pending, d.dirty = nil, map[*inode]bool{}
	return tell(undone, before)
}

// inOrder gives inodes in order of their numbers, so that chance has the same order
// each time. Of two with one number, one is without a name, and nobody sees which.
func (d *Disk) inOrder(set map[*inode]bool) []*inode {
	return slices.SortedFunc(maps.Keys(set), func(a, b *inode) int {
		if a.number != b.number {
			return int(a.number) - int(b.number)
		}
		return b.links - a.links
	})
}

// tear gives a file that was not synced what is left of it.
func (d *Disk) tear(i *inode, r *rand.Rand) {
	whole := i.content
	switch r.IntN(4) {
	case 0: // all is there
	case 1:
		i.content, i.modTime = i.saved.content, i.saved.modTime
	case 2:
		i.content = whole[:r.IntN(len(whole)+1)]
	case 3:
		i.content = make([]byte, len(whole))
	}
	i.saved = saved{slices.Clone(i.content), i.modTime}
}

// remount makes what survived what is there, and gives it.
func (d *Disk) remount() map[*inode]bool {
	seen := map[*inode]bool{}
	var order []*inode
	var visit func(*inode)
	visit = func(i *inode) {
		i.links++
		if seen[i] {
			return
		}
		seen[i] = true
		order = append(order, i)
		if !i.isDir() {
			return
		}
		i.entries, i.modTime = maps.Clone(i.durable), i.durableTime
		for _, name := range slices.Sorted(maps.Keys(i.entries)) {
			e := i.entries[name]
			if !seen[e] {
				e.links = 0
			} else if e.isDir() {
				// No directory has two names: a file system keeps its rename whole, or its check
				// takes one of them.
				delete(i.entries, name)
				delete(i.durable, name)
				continue
			}
			visit(e)
		}
	}
	d.root.links = 0
	visit(d.root)
	taken := map[uint64]bool{}
	var again []*inode
	for _, i := range order {
		if taken[i.number] {
			again = append(again, i) // it was gone, and its number was given out
		}
		taken[i.number] = true
	}
	d.free = nil
	for n := uint64(1); n <= d.numbers; n++ {
		if !taken[n] {
			d.free = append(d.free, n)
		}
	}
	for _, i := range again {
		if n := len(d.free); n > 0 {
			i.number, d.free = d.free[n-1], d.free[:n-1]
		} else {
			d.numbers++
			i.number = d.numbers
		}
	}
	for i := range seen {
		i.changed = max(i.changed, i.modTime)
	}
	return seen
}

// tell gives the files whose names the undone changes were about.
func tell(undone []*change, before map[*inode]int) []Lost {
	var lost []Lost
	told := map[*inode]bool{}
	for _, c := range undone {
		for _, h := range c.halves {
			for _, i := range []*inode{h.was, h.is} {
				if i != nil && !i.isDir() && !told[i] {
					told[i] = true
					lost = append(lost, Lost{c.actor, i.content, i.links - before[i]})
				}
			}
		}
	}
	return lost
}

// Clone gives a copy of the disk as it is, all of it durable: a backup.
func (d *Disk) Clone() *Disk {
	copied := map[*inode]*inode{}
	var clone func(*inode) *inode
	clone = func(i *inode) *inode {
		if c := copied[i]; c != nil {
			return c
		}
		c := &inode{number: i.number, links: i.links, modTime: i.modTime, changed: i.changed, durableTime: i.modTime}
		copied[i] = c
		if !i.isDir() {
			c.content = slices.Clone(i.content)
			c.saved = saved{c.content, c.modTime}
			return c
		}
		c.entries = make(map[string]*inode, len(i.entries))
		for name, e := range i.entries {
			c.entries[name] = clone(e)
		}
		c.durable = maps.Clone(c.entries)
		return c
	}
	return &Disk{
		Now: d.Now, Tick: d.Tick, dev: d.dev, root: clone(d.root), numbers: d.numbers,
		free: slices.Clone(d.free), dirty: map[*inode]bool{},
	}
}
