package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
)

// What people do while mailtwin is tortured: mail programs on the devices, and the phone.
// Each act may happen in the midst of syncs and of other acts, so that what it was about
// may be gone, or have another name, when it comes to it; then it has not happened. What
// did is told in the token's tale.

// copiesOnly is the folder that is only copied into, and never moved into or out of: so
// each copy in it can be counted. The copies of wild messages go anywhere, where they
// meet others that are equal, and some of them become one.
const copiesOnly mail.Folder = "Copies"

// thing is a message as a mail program finds it.
type thing struct {
	folder  mail.Folder
	dir     string // the folder's directory
	sub     string
	name    string
	key     string
	letters string
	text    string
	token   string
	info    os.FileInfo
}

func (th *thing) path() string { return filepath.Join(th.dir, th.sub, th.name) }

// dirOf is the directory of one of the folders, none of whose names is spelled in another
// way there.
func (d *computer) dirOf(folder mail.Folder) string { return filepath.Join(d.maildir, string(folder)) }

// find gives a message of a device, if there is one where chance looks for it.
func (x *torture) find(d *computer, r *rand.Rand, folder mail.Folder) (th thing, ok bool) {
	th = thing{folder: folder, dir: d.dirOf(folder), sub: "cur"}
	if r.IntN(4) == 0 {
		th.sub = "new"
	}
	entries, err := os.ReadDir(filepath.Join(th.dir, th.sub))
	if err != nil || len(entries) == 0 {
		return th, x.happened(err) && false
	}
	return x.read(th, one(r, entries).Name())
}

// read makes a thing of a file.
func (x *torture) read(th thing, name string) (thing, bool) {
	th.name = name
	th.key, th.letters, _ = strings.Cut(name, ":2,")
	text, err := os.ReadFile(th.path())
	if err == nil {
		th.info, err = os.Stat(th.path())
	}
	th.text, th.token = string(text), subject(string(text))
	return th, x.happened(err)
}

// happened tells whether an act has happened, that is, whether nobody was quicker.
func (x *torture) happened(err error) bool {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.Error(err)
	}
	return err == nil
}

// toggled gives letters with one more, or one less.
func toggled(letters string, letter byte) string {
	if strings.IndexByte(letters, letter) >= 0 {
		return strings.ReplaceAll(letters, string(letter), "")
	}
	all := append([]byte(letters), letter)
	slices.Sort(all)
	return string(all)
}

// mark gives a file other letters, as mail programs do: in cur/.
func (x *torture) mark(th *thing, letters string) bool {
	return letters != th.letters &&
		x.happened(os.Rename(th.path(), filepath.Join(th.dir, "cur", th.key+":2,"+letters)))
}

// program is what a mail program does on a device.
func (x *torture) program(d *computer, r *rand.Rand) {
	folder := one(r, x.folders)
	if r.IntN(8) == 0 {
		folder = copiesOnly
	}
	what := one(r, []string{"save", "flag", "flag", "answer", "keyword", "move", "move", "copy", "remove", "rewrite"})
	if what == "save" {
		x.save(d, r, one(r, x.folders))
		return
	}
	if th, ok := x.find(d, r, folder); ok {
		x.programDoes(d, r, what, th)
	}
}

// programDoes does something with a message, and tells whether it has happened.
func (x *torture) programDoes(d *computer, r *rand.Rand, what string, th thing) (done bool) {
	to := ""
	defer func() {
		if done {
			x.did(th.token, "%s: %s %s/%s/%s %s", d.name, what, th.folder, th.sub, th.name, to)
		}
	}()
	switch what {
	case "flag":
		return x.mark(&th, toggled(th.letters, one(r, []byte("FS"))))
	case "answer": // that is never taken back
		if strings.Contains(th.letters, "R") || !x.mark(&th, toggled(th.letters, 'R')) {
			return false
		}
		x.tell(th.token, func(t *tale) { t.answered = true })
		return true
	case "keyword":
		words, err := os.ReadFile(filepath.Join(th.dir, "dovecot-keywords"))
		n := strings.Count(string(words), "\n")
		return x.happened(err) && n > 0 && x.mark(&th, toggled(th.letters, byte('a'+r.IntN(min(n, 26)))))
	case "remove":
		if !x.happened(os.Remove(th.path())) {
			return false
		}
		x.tell(th.token, func(t *tale) { t.thrownAway++ })
		return true
	case "move":
		to, done = x.move(d, r, th)
		return done
	case "copy":
		to, done = x.copy(d, r, th)
		return done
	}
	return x.rewrite(d, r, th)
}

// move moves a file into another folder. Some programs keep its name, others give it
// another one; some make it new again there.
func (x *torture) move(d *computer, r *rand.Rand, th thing) (place string, done bool) {
	to := one(r, x.folders)
	if th.folder == copiesOnly || to == th.folder {
		return "", false
	}
	name, sub := th.name, "cur"
	if r.IntN(2) == 0 {
		name = fmt.Sprintf("%d.moved.%s:2,%s", r.Uint64(), d.name, th.letters)
	}
	if r.IntN(5) == 0 {
		sub = "new"
	} else if !strings.Contains(name, ":2,") {
		name += ":2,"
	}
	place = filepath.Join(string(to), sub, name)
	return "to " + place, x.happened(os.Rename(th.path(), filepath.Join(d.maildir, place)))
}

// copy copies a message, unless it was copied before: of equal copies that are made at
// the same time in several places nobody could say how many there must be.
func (x *torture) copy(d *computer, r *rand.Rand, th thing) (place string, done bool) {
	to, may := x.copyable(r, th.token)
	if !may {
		return "", false
	}
	// It may be moved away meanwhile, which makes no difference to the copy.
	letters := th.letters
	if r.IntN(2) == 0 {
		letters = "S"
	}
	return "to " + string(to), x.place(d, r, to, "cur", letters, th.text, th.info.ModTime().UnixNano())
}

// rewrite saves another message in the place of one, as editors of drafts do.
func (x *torture) rewrite(d *computer, r *rand.Rand, th thing) bool {
	if th.folder == copiesOnly || !x.save(d, r, th.folder) || !x.happened(os.Remove(th.path())) {
		return false
	}
	x.tell(th.token, func(t *tale) { t.thrownAway++ })
	return true
}

// save saves a new message.
func (x *torture) save(d *computer, r *rand.Rand, folder mail.Folder) bool {
	token, text := x.fresh(r)
	sub, letters := "cur", one(r, []string{"", "S", "FS", "RS", "T"})
	if r.IntN(3) == 0 {
		sub, letters = "new", ""
	}
	if !x.place(d, r, folder, sub, letters, text, x.date(r)) {
		x.tell(token, func(t *tale) { t.unborn = true })
		return false
	}
	x.tell(token, func(t *tale) { t.answered = strings.Contains(letters, "R") })
	x.did(token, "%s: saved in %s/%s with %q", d.name, folder, sub, letters)
	return true
}

// place puts a file into a folder, by way of tmp/.
func (x *torture) place(d *computer, r *rand.Rand, folder mail.Folder, sub, letters, text string, nanos int64) bool {
	dir, key := d.dirOf(folder), fmt.Sprintf("%d.made.%s", r.Uint64(), d.name)
	tmp := filepath.Join(dir, "tmp", key)
	if sub == "cur" || letters != "" {
		key += ":2," + letters
	}
	err := os.WriteFile(tmp, []byte(text), 0o600)
	if err == nil {
		err = os.Chtimes(tmp, timeOf(nanos), timeOf(nanos))
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(dir, sub, key))
	}
	return x.happened(err)
}

// phoneActs is what the phone does. Where the server is restarted meanwhile, nobody
// knows whether it has happened.
func (x *torture) phoneActs(r *rand.Rand) {
	folder := one(r, x.folders)
	if r.IntN(8) == 0 {
		folder = copiesOnly
	}
	what := one(r, []string{"deliver", "deliver", "move", "move", "copy", "remove", "flag", "flag", "unflag", "answer"})
	if what == "deliver" {
		x.arrive(r, one(r, x.folders))
		return
	}
	messages, err := x.phone.Messages(x.Context(), folder)
	if err != nil || len(messages) == 0 {
		return
	}
	x.phoneDoes(r, what, folder, one(r, messages))
}

// arrive brings a new message to the server.
func (x *torture) arrive(r *rand.Rand, folder mail.Folder) {
	token, text := x.fresh(r)
	flags := one(r, []mail.Flags{none, none, seen, flagged, answered})
	_, err := x.phone.Deliver(x.Context(), folder, []byte(wireOf(text)), flags, timeOf(x.date(r)))
	x.tell(token, func(t *tale) { t.answered, t.unborn, t.stored = flags.Equal(answered), err != nil, true })
	x.did(token, "phone: arrived in %s with %v: %v", folder, flags, err)
}

// phoneDoes does something with a message.
func (x *torture) phoneDoes(r *rand.Rand, what string, folder mail.Folder, m imaptest.Message) {
	token, ctx := subject(onDisk(string(m.Raw))), x.Context()
	x.tell(token, func(t *tale) { t.stored = true })
	var err error
	switch what {
	case "move":
		to := one(r, x.folders)
		if folder == copiesOnly || to == folder {
			return
		}
		what += " to " + string(to)
		_, err = x.phone.Move(ctx, folder, m.UID, to)
	case "copy":
		to, may := x.copyable(r, token)
		if !may {
			return
		}
		what += " to " + string(to)
		uid, cerr := x.phone.Copy(ctx, folder, m.UID, to)
		err = cerr
		if err == nil && uid == 0 { // it was gone
			x.tell(token, func(t *tale) { t.copies, t.mayCopies = 0, 0 })
		} else if err != nil {
			x.tell(token, func(t *tale) { t.mayCopies, t.copies = 1, 0 })
		}
	case "remove":
		x.tell(token, func(t *tale) { t.expunged++ })
		err = x.phone.Delete(ctx, folder, m.UID)
	case "flag":
		err = x.phone.AddFlags(ctx, folder, m.UID, one(r, []mail.Flags{seen, flagged, {Keywords: mail.NewKeywords("work")}, {Keywords: mail.NewKeywords("todo")}}))
	case "unflag":
		err = x.phone.RemoveFlags(ctx, folder, m.UID, one(r, []mail.Flags{seen, flagged, {Keywords: mail.NewKeywords("work", "todo")}}))
	case "answer":
		// Whether it met the message or came too late, nobody tells; the tale is of the programs.
		err = x.phone.AddFlags(ctx, folder, m.UID, answered)
	}
	x.did(token, "phone: %s UID %d of %s: %v", what, m.UID, folder, err)
}

// quarrel does one thing with a message on a device, and another one with it on the
// phone, before either has heard of the other.
func (x *torture) quarrel(d *computer, r *rand.Rand) {
	folder := one(r, x.folders)
	messages, err := x.phone.Messages(x.Context(), folder)
	if err != nil {
		return
	}
	for _, sub := range []string{"cur", "new"} {
		th := thing{folder: folder, dir: d.dirOf(folder), sub: sub}
		entries, err := os.ReadDir(filepath.Join(th.dir, sub))
		if !x.happened(err) || len(entries) == 0 {
			continue
		}
		th, ok := x.read(th, one(r, entries).Name())
		if !ok {
			continue
		}
		for _, m := range messages {
			if subject(onDisk(string(m.Raw))) == th.token {
				here := one(r, []string{"remove", "remove", "flag", "move"})
				x.programDoes(d, r, here, th)
				x.phoneDoes(r, one(r, map[string][]string{
					"remove": {"flag", "answer", "move"}, "flag": {"remove"}, "move": {"move", "remove"},
				}[here]), folder, m)
				return
			}
		}
	}
}

// reader is a program that renames files until it is stopped: it takes letters and gives
// them back, puts what is new into cur/, and marks it as unread again. letter is one that
// nobody else sets.
func (x *torture) reader(d *computer, r *rand.Rand, letter byte, stop <-chan struct{}) (renamed int) {
	for range 1_000_000 { // a bound, not a measure
		select {
		case <-stop:
			return renamed
		default:
		}
		if x.rename(d, r, letter) {
			renamed++
		}
	}
	return renamed
}

// rename renames one file.
func (x *torture) rename(d *computer, r *rand.Rand, letter byte) bool {
	folder := one(r, x.folders)
	th := thing{folder: folder, dir: d.dirOf(folder), sub: one(r, []string{"cur", "cur", "new"})}
	entries, err := os.ReadDir(filepath.Join(th.dir, th.sub))
	if !x.happened(err) || len(entries) == 0 {
		return false
	}
	th.name = one(r, entries).Name()
	th.key, th.letters, _ = strings.Cut(th.name, ":2,")
	if th.sub == "new" {
		return x.happened(os.Rename(th.path(), filepath.Join(th.dir, "cur", th.key+":2,"+th.letters)))
	}
	if r.IntN(4) > 0 {
		return x.mark(&th, toggled(th.letters, letter))
	}
	if !strings.Contains(th.letters, "S") {
		return x.mark(&th, toggled(th.letters, 'S'))
	}
	unread := th.key
	if letters := toggled(th.letters, 'S'); letters != "" {
		unread += ":2," + letters
	}
	return x.happened(os.Rename(th.path(), filepath.Join(th.dir, "new", unread)))
}
