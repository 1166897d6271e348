package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"mailtwin/conflict/mail"
)

const (
	// rest is how long a directory must have been left alone before its times are
	// trusted: longer than a tick of the clock that they are taken from (10 ms before
	// Linux 6.13), since two changes in one tick leave the same time.
	rest = 20 * time.Millisecond
	// coarseRest is the same where times are whole seconds, or even ones (FAT).
	coarseRest = 2 * time.Second
	// farAhead is when a time is none that the clock will reach soon: any change would
	// replace it.
	farAhead = time.Hour

	scanTries   = 3
	maxProblems = 100  // of one listing
	maxSets     = 1000 // of flags kept while a listing is read
)

// Scan is Local.Scan. The directories are listed again, a few times at most, when
// they changed meanwhile: readdir may pass over a file that is renamed while it
// runs. Nobody has seen that happen where the times before and after are equal.
func (t *Tree) Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (listing mail.Listing, err error) {
	defer explain(&err, "scan", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return mail.Listing{}, err
	}
	var l list
	for range scanTries {
		before, atRest, err := t.settle(ctx, dir)
		if err != nil {
			return mail.Listing{}, err
		}
		l = list{t: t, dir: dir}
		l.letters, err = t.readLetters(dir)
		if err != nil {
			l.problem("keyword letters: %w", err)
		}
		if err := l.read(ctx); err != nil {
			return mail.Listing{}, err
		}
		after, err := t.stamp(dir)
		if err != nil {
			return mail.Listing{}, err
		}
		// Stamps come by way of the path, names by way of the directory that was opened.
		if err := t.check(); err != nil {
			return mail.Listing{}, err
		}
		listing.Stamp = after.WithoutTimes()
		if before != after {
			continue
		}
		if atRest {
			listing.Believed, listing.Stamp = true, after
		}
		break // listing it once more would not make it any older
	}
	for i, word := range letters {
		if l.letters[i] == "" {
			l.letters[i] = word
			listing.LettersLost = listing.LettersLost || word != ""
		}
	}
	listing.Letters, listing.Problems, listing.Files, listing.Relics = l.letters, l.problems, l.files, l.relics
	return listing, nil
}

// Still is Local.Still. The marker of a run, for one, changes the folder's own time, and no other.
func (t *Tree) Still(ctx context.Context, folder mail.Folder, scanned mail.Listing) (stamp mail.Stamp, still bool, err error) {
	defer explain(&err, "look at", folder)
	dir, err := t.dir(folder)
	if err != nil {
		return mail.Stamp{}, false, err
	}
	before, atRest, err := t.settle(ctx, dir)
	if err != nil {
		return mail.Stamp{}, false, err
	}
	was := scanned.Stamp
	was.Folder = before.Folder
	if !scanned.Believed || !atRest || before != was {
		return mail.Stamp{}, false, nil
	}
	letters, err := t.readLetters(dir)
	if err != nil || letters != scanned.Letters {
		return mail.Stamp{}, false, nil // a scan tells what is wrong
	}
	after, err := t.stamp(dir)
	if err == nil {
		err = t.check()
	}
	return after, err == nil && after == before, err
}

// settle takes the folder's stamp, and tells whether the folder is at rest, for
// which it waits a moment. An equal stamp after the wait proves rest whatever the
// clock of the file system says.
func (t *Tree) settle(ctx context.Context, dir string) (mail.Stamp, bool, error) {
	now := t.opts.Now()
	stamp, err := t.stamp(dir)
	if err != nil {
		return stamp, false, err
	}
	wait := restlessness(stamp, now, t.fs.Lag())
	if wait == 0 || wait > rest {
		return stamp, wait == 0, nil
	}
	if err := t.opts.Sleep(ctx, wait); err != nil {
		return stamp, false, err
	}
	again, err := t.stamp(dir)
	return again, again == stamp, err
}

// restlessness gives how long the folder has to be left alone before its times are
// trusted: 0 if that long has passed. A file system that shows late what other machines do
// may show that a file is gone before it shows where it went; so that much more has to have
// passed.
func restlessness(s mail.Stamp, now time.Time, lag time.Duration) time.Duration {
	var wait time.Duration
	for _, nanos := range []int64{s.Folder, s.Cur, s.New} {
		need := rest
		if nanos%int64(time.Second) == 0 {
			need = coarseRest
		}
		need = max(need, lag)
		age := now.Sub(time.Unix(0, nanos))
		if age < need && age > -farAhead {
			wait = max(wait, need)
		}
	}
	return wait
}

// list is one listing of new/ and cur/. A million files must fit in memory: each takes its
// name, and the 16 octets of an entry.
type list struct {
	t        *Tree
	dir      string
	entries  []entry
	names    []string // blocks of up to nameBlock octets, in which the names stand
	filling  []byte   // the last of them, while the directories are read
	cur      uint32   // where in names those of cur/ begin
	letters  mail.Letters
	problems []error
	relics   []mail.Relic
}

// entry is a file. It says where its name is in list.names, counted as if all blocks were
// full; how long it is; and how much of it is the key.
type entry struct {
	inode    uint64
	at       uint32
	len, key uint16
}

const nameBlock = 64 << 10

// at is where the next name goes.
func (l *list) at() uint32 { return uint32(len(l.names)*nameBlock + len(l.filling)) }

// add puts a file into the list.
func (l *list) add(name string, inode uint64) {
	if len(l.filling)+len(name) > nameBlock {
		l.fill()
	}
	l.entries = append(l.entries, entry{inode, l.at(), uint16(len(name)), uint16(keyLength(name))})
	l.filling = append(l.filling, name...)
}

// fill ends the block that is being filled.
func (l *list) fill() {
	l.names, l.filling = append(l.names, string(l.filling)), l.filling[:0]
}

func (l *list) name(e *entry) string {
	return l.names[e.at/nameBlock][e.at%nameBlock:][:e.len]
}

func (l *list) key(e *entry) string { return l.name(e)[:e.key] }

func (l *list) isNew(e *entry) bool { return e.at < l.cur }

func (l *list) path(e *entry) string { return join(join(l.dir, subdir(l.isNew(e))), l.name(e)) }

func (l *list) problem(format string, args ...any) {
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, fmt.Errorf(format, args...))
	}
}

// read lists new/ before cur/: readers move files that way, so one that moves
// meanwhile is seen twice, not never.
func (l *list) read(ctx context.Context) error {
	for _, isNew := range []bool{true, false} {
		if err := ctx.Err(); err != nil {
			return err
		}
		sub := subdir(isNew)
		if !isNew {
			l.fill()
			l.cur = l.at()
		}
		err := l.t.fs.ReadDir(join(l.dir, sub), func(e Entry) {
			switch {
			case e.Name[0] == '.' || e.Type == fs.ModeSymlink:
			case e.Type != 0:
				l.problem("%s/%.160q is no regular file", sub, e.Name)
			case keyLength(e.Name) == 0:
				l.problem("%s/%.160q has nothing before its flags: give it a name", sub, e.Name)
			default:
				l.add(e.Name, e.Inode)
			}
		})
		if err != nil {
			return err
		}
	}
	l.fill()
	l.filling = nil
	slices.SortFunc(l.entries, func(a, b entry) int { return strings.Compare(l.key(&a), l.key(&b)) })
	return l.dropTwins()
}

// dropTwins leaves one entry of each key: that of the file that is there, if the
// others are names that it had while it was renamed.
func (l *list) dropTwins() error {
	kept := l.entries[:0]
	for i := 0; i < len(l.entries); {
		twins := l.entries[i : i+1]
		for i++; i < len(l.entries) && l.key(&l.entries[i]) == l.key(&twins[0]); i++ {
			twins = twins[:len(twins)+1]
		}
		best := twins[0]
		if len(twins) > 1 {
			var err error
			if best, err = l.survivor(twins); err != nil {
				return err
			}
		}
		kept = append(kept, best)
	}
	l.entries = kept
	return nil
}

// survivor gives the one of several files of one key that is to be listed. If none
// is there any more, the listing will not be believed anyway. What is in cur/ goes before
// what is in new/, since that is the way in which files are renamed: where one file has
// both names, the other one is what was left of its rename.
func (l *list) survivor(twins []entry) (entry, error) {
	best, infos := twins[0], map[entry]Info{}
	for _, e := range twins {
		info, err := l.t.fs.Lstat(l.path(&e))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return best, err
		}
		isNew, was := l.isNew(&e), l.isNew(&best)
		better := !isNew && was || isNew == was && l.name(&e) < l.name(&best)
		if len(infos) == 0 || better {
			best = e
		}
		infos[e] = info
	}
	others := 0
	for _, e := range twins {
		info, there := infos[e]
		switch {
		case !there || e == best:
		case sameFile(info, infos[best]):
			l.relics = append(l.relics, mail.Relic{Name: l.file(&e), Now: l.file(&best)})
		default:
			others++
		}
	}
	if others > 0 {
		l.problem("%d files have the key %.160q; only %s/%.160q is synced: rename the others", 1+others, l.key(&best), subdir(l.isNew(&best)), l.name(&best))
	}
	return best, nil
}

// file is the entry without its flags.
func (l *list) file(e *entry) mail.File {
	return mail.File{Key: mail.Key(l.key(e)), Name: l.name(e), New: l.isNew(e), Inode: e.inode}
}

// files yields what the listing holds. Few of the sets of flags differ.
func (l *list) files(yield func(mail.File) bool) {
	type set struct {
		flags    mail.Flags
		keywords string
	}
	sets := make(map[string]set)
	for i := range l.entries {
		e := &l.entries[i]
		_, letters, _ := splitName(l.name(e))
		said, ok := sets[letters]
		if !ok {
			said = set{flagsOf(letters, &l.letters), keywordLetters(letters)}
			if len(sets) < maxSets {
				sets[letters] = said
			}
		}
		f := l.file(e)
		f.Flags, f.Letters = said.flags, said.keywords
		if !yield(f) {
			return
		}
	}
}

// Stat is Local.Stat.
func (t *Tree) Stat(ctx context.Context, folder mail.Folder, file mail.File) (st mail.Stat, err error) {
	defer explainFile(&err, "look at", folder, file.Name)
	dir, err := t.dir(folder)
	if err != nil {
		return mail.Stat{}, err
	}
	return t.stat(dir, file)
}

// stat looks at a file, which has to be a regular one.
func (t *Tree) stat(dir string, file mail.File) (mail.Stat, error) {
	name, err := pathOf(dir, file)
	if err != nil {
		return mail.Stat{}, err
	}
	info, err := t.fs.Lstat(name)
	if err != nil {
		return mail.Stat{}, t.gone(err, dir, subdir(file.New))
	}
	if info.Type != 0 {
		return mail.Stat{}, fmt.Errorf("no regular file: %w", mail.ErrDamaged)
	}
	return statOf(info), nil
}

func statOf(info Info) mail.Stat {
	return mail.Stat{Dev: info.Dev, Inode: info.Inode, Size: info.Size, ModTime: info.ModTime}
}
