package history

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
	"mailtwin/maildir"
)

// change is something that a person, or a program of theirs, does to a message.
func (w *world) change() {
	d := pick(w.r, w.devices)
	mine := d.disk.Actor
	d.disk.Actor = "user"
	defer func() { d.disk.Actor = mine }()
	switch w.r.IntN(20) {
	case 0, 1, 2, 3:
		w.arrive()
	case 4, 5, 6:
		w.save(d)
	case 7, 8, 9, 10, 11, 12:
		w.onFile(d)
	default:
		w.onPhone()
	}
}

var someFlags = []mail.Flags{
	{}, {}, {System: mail.Seen}, {System: mail.Flagged}, {System: mail.Seen | mail.Answered},
	{System: mail.Seen | mail.Flagged}, {System: mail.Seen | mail.Forwarded}, {System: mail.Draft},
	{Keywords: mail.NewKeywords("work")}, {System: mail.Seen, Keywords: mail.NewKeywords("$Junk", "work")},
}

// arrive: somebody writes to the account, or a filter files it.
func (w *world) arrive() {
	t, to := w.compose(), pick(w.r, w.server.Folders())
	w.note("%s arrives in %s", t.name, to)
	if to == trash {
		t.removed = true
	}
	flags := pick(w.r, someFlags)
	t.comes(to)
	t.flagged(0, flags.System)
	w.server.Deliver(to, []byte(t.text), flags, w.now.Add(-1e15))
}

// manyMessages is more than a folder needs for its removals to be looked at as a whole.
const manyMessages = 24

// crowd: many messages arrive in one folder.
func (w *world) crowd() {
	to := pick(w.r, w.server.Folders())
	if to == trash {
		to = mail.Inbox // Trash may be emptied
	}
	w.note("%d messages arrive in %s", manyMessages, to)
	for range manyMessages {
		t := w.compose()
		t.comes(to)
		w.server.Deliver(to, []byte(t.text), mail.Flags{}, w.now.Add(-1e15))
	}
}

// clear: somebody removes all messages of the folder that has most of them.
func (w *world) clear(d *device) {
	if w.chance(2) {
		w.clearThere()
		return
	}
	var most mail.Folder
	var files []file
	for _, folder := range d.folders() {
		if in := d.files(folder); folder != trash && len(in) > len(files) {
			most, files = folder, in
		}
	}
	w.note("%s: all %d messages of %s are removed", d.name, len(files), most)
	d.disk.Actor = "user"
	defer func() { d.disk.Actor = "" }()
	for _, f := range files {
		if t := w.tokenOf(f.text); t != nil {
			w.unlink(d, most, f, t)
		}
	}
}

// clearThere is clear, on the phone.
func (w *world) clearThere() {
	var most mail.Folder
	for _, folder := range w.server.Folders() {
		if folder != trash && (most == "" || len(w.server.Messages(folder)) > len(w.server.Messages(most))) {
			most = folder
		}
	}
	messages := w.server.Messages(most)
	w.note("phone: all %d messages of %s are removed", len(messages), most)
	for _, m := range messages {
		if t := w.tokenIn(m.Raw); t != nil {
			w.expunge(most, m.UID, t)
		}
	}
}

// unlink: somebody removes a file.
func (w *world) unlink(d *device, folder mail.Folder, f file, t *token) {
	t.removed = true
	t.expunged = t.expunged || folder == trash || d.Policy.OnLocalDelete == conflict.Expunge || !w.isThere(t)
	d.mail().Unlink(f.path)
}

// expunge: somebody removes a message from the server for ever.
func (w *world) expunge(folder mail.Folder, uid mail.UID, t *token) {
	t.removed, t.expunged = true, true
	w.leaves(folder, mail.UIDs(uid))
	w.server.Expunge(folder, uid)
}

// save: a mail program saves a message, durably but for its name.
func (w *world) save(d *device) {
	folders := d.folders()
	if len(folders) == 0 {
		return
	}
	w.saveIn(d, pick(w.r, folders))
}

func (w *world) saveIn(d *device, to mail.Folder) {
	t := w.compose()
	t.comes(to)
	if to == trash {
		t.removed = true
	}
	text := t.text
	if w.chance(6) {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	flags := pick(w.r, []string{"", ":2,", ":2,S", ":2,F", ":2,DS"})
	w.note("%s: %s is saved in %s with %q", d.name, t.name, to, flags)
	t.flaggedHere(d, "", flags)
	d.put(to, fmt.Sprintf("%d.u%d.host", w.now.Unix(), w.r.IntN(1e9)), flags, text)
	if w.history.Aim == "Remote.Append" && w.chance(2) {
		w.saveIn(d, to) // so that several are under way
	}
}

// put writes a file as a mail program does: into cur/ if its name has flags.
func (d *device) put(folder mail.Folder, key, flags, text string) {
	f, dir := d.mail(), d.directory(folder)
	sub := "new"
	if flags != "" {
		sub = "cur"
	}
	tmp := path.Join(dir, "tmp", key)
	if _, err := f.Lstat(path.Join(dir, "tmp")); err != nil {
		f.Mkdir(path.Join(dir, "tmp"))
	}
	out, err := f.Create(tmp)
	if err != nil {
		return // the folder went away
	}
	if _, err := f.Lstat(path.Join(dir, sub)); err != nil {
		// The power has left half a folder, which nobody has mended yet: it says so to the user.
		t := d.world.tokenOf(text)
		t.removed, t.expunged = true, true
		return
	}
	_, err = out.Write([]byte(text))
	err = errors.Join(err, f.Sync(tmp), f.Rename(tmp, path.Join(dir, sub, key+flags)))
	if err != nil {
		d.world.breaks("%s: a mail program cannot save: %w", d.name, err)
	}
}

// onFile: a mail program, or a person, does something to a file.
func (w *world) onFile(d *device) {
	folders := d.folders()
	if len(folders) == 0 {
		return
	}
	folder := pick(w.r, folders)
	files := d.files(folder)
	if w.first() != nil && !w.chance(3) {
		for _, at := range folders {
			others := func(f file) bool { return w.tokenOf(f.text) != w.first() }
			if of := slices.DeleteFunc(d.files(at), others); len(of) > 0 && (at != trash || w.chance(4)) {
				folder, files = at, of
				if w.chance(2) {
					break
				}
			}
		}
	}
	if len(files) == 0 {
		return
	}
	f := pick(w.r, files)
	if t := w.tokenOf(f.text); t != nil { // not torn, or being written
		w.actOn(d, folder, f, t)
	}
}

// first is the message that people are mostly at work on, if there is one.
func (w *world) first() *token {
	if !w.history.Setup.One {
		return nil
	}
	return w.tokens["token0001"]
}

// onFileOf is onFile, for a file of that message.
func (w *world) onFileOf(d *device, folder mail.Folder, t *token) {
	mine := d.disk.Actor
	d.disk.Actor = "user"
	defer func() { d.disk.Actor = mine }()
	same := slices.DeleteFunc(d.files(folder), func(f file) bool { return w.tokenOf(f.text) != t })
	if len(same) > 1 {
		t.copies++ // the phone moved it away and back, and to those who came in between they are two
	}
	if len(same) > 0 {
		w.actOn(d, folder, same[0], t)
	}
}

func (w *world) actOn(d *device, folder mail.Folder, f file, t *token) {
	folders := d.folders()
	m, dir := d.mail(), d.directory(folder)
	key, _, _ := strings.Cut(f.base, ":2,")
	fresh := fmt.Sprintf("%d.v%d.host", w.now.Unix(), w.r.IntN(1e9))
	rename := func(to string) {
		if err := m.Rename(f.path, to); err != nil && to != f.path {
			w.note("(%v)", err)
		}
	}
	switch w.r.IntN(9) {
	case 0, 1: // flags
		to := path.Join(dir, "cur", key+":2,"+w.otherFlags(d, folder, f.flags()))
		w.note("%s: %s in %s becomes %s", d.name, t.name, folder, path.Base(to))
		w.mayPurge(t, strings.TrimPrefix(path.Base(to), key))
		w.mayRevive(d, t, folder, f.flags(), strings.TrimPrefix(path.Base(to), key+":2,"))
		t.flaggedHere(d, f.flags(), strings.TrimPrefix(path.Base(to), key+":2,"))
		rename(to)
	case 2: // mutt marks it unread again
		to := path.Join(dir, "new", key)
		if left := strings.ReplaceAll(f.flags(), "S", ""); left != "" {
			to += ":2," + left
		}
		w.note("%s: %s in %s is new again as %s", d.name, t.name, folder, path.Base(to))
		t.flaggedHere(d, "S", "")
		rename(to)
	case 3, 4: // remove
		w.note("%s: %s is removed from %s", d.name, t.name, folder)
		t.editor = nil // it goes for its own sake, and not for that of a new form
		w.unlink(d, folder, f, t)
	case 5: // move
		to := pick(w.r, folders)
		if to == folder {
			return
		}
		name := f.base
		if w.chance(2) {
			name = fresh + ":2," + f.flags()
		}
		w.note("%s: %s moves from %s to %s as %s", d.name, t.name, folder, to, name)
		t.moves(folder, to)
		w.movesMeanwhile(t)
		w.partWays(d, t, folder, to)
		if d.Tick >= 1e9 {
			t.copies++ // as below
		}
		t.removed = t.removed || to == trash
		t.expunged = t.expunged || folder == trash
		rename(path.Join(d.directory(to), "cur", withInfo(name)))
	case 6: // mutt's save: a copy, and the old one goes
		to := pick(w.r, folders)
		if to == folder {
			return
		}
		text := f.text
		if !strings.Contains(text, added) && w.chance(3) {
			text = strings.Replace(text, "\n", "\n"+added, 1)
			w.changesForm(t)
		}
		w.note("%s: %s is saved from %s to %s", d.name, t.name, folder, to)
		t.moves(folder, to)
		w.movesMeanwhile(t)
		w.partWays(d, t, folder, to)
		t.removed = t.removed || to == trash
		t.expunged = t.expunged || folder == trash
		w.apart()
		d.put(to, fresh, ":2,"+letters(f.flags()), text)
		if w.chance(4) {
			t.copies++ // and stays
			return
		}
		if d.Tick >= 1e9 {
			// A sync may see the copy, and not be sure yet that the other one is gone. If that
			// moves elsewhere on the server meanwhile, it was copied here and moved there.
			t.copies++
		}
		if d.landsAgain(folder, f) || t.doubled == d {
			t.copies++
		}
		m.Unlink(f.path)
	case 7: // copy
		to := pick(w.r, folders)
		w.note("%s: %s is copied from %s to %s", d.name, t.name, folder, to)
		w.copies(t, d, folder, to)
		t.removed = t.removed || folder == trash && to != trash
		w.apart()
		d.put(to, fresh, ":2,S", f.text)
	case 8: // edit: a new file, and the old one goes
		w.apart()
		e := &token{name: fmt.Sprintf("token%04d", len(w.tokens)+1)}
		e.text = strings.Replace(t.text, "This is "+t.name, "This is "+e.name, 1) + strings.Repeat("+", 1000*len(w.tokens)) + "\n"
		e.removed = folder == trash
		w.mayPurge(e, f.flags())
		if t.became == nil {
			t.editor = d
		} else {
			t.editor = nil // there are two of it, and which of them leaves the server is not told
		}
		t.became, t.runs = e, d.runs
		w.tokens[e.name], w.bodies[e.text] = e, e.name
		w.note("%s: %s in %s is edited and becomes %s", d.name, t.name, folder, e.name)
		t.removed = true
		t.expunged = t.expunged || folder == trash || d.Policy.OnLocalDelete == conflict.Expunge || !w.isThere(t)
		d.put(folder, fresh, ":2,"+letters(f.flags()), e.text)
		m.Unlink(f.path)
	}
}

// movesMeanwhile notes that a message moves while a device syncs. One that does not know
// what was where reads one folder after the other, and may see it in neither, or not
// which side has moved it.
func (w *world) movesMeanwhile(t *token) {
	if w.process != nil && !w.process.device.synced {
		t.copies++
	}
	for _, d := range w.devices {
		if d.old {
			t.copies++ // see forgotten
		}
	}
}

// partWays notes that a message moves here while the phone moves it to another folder, by COPY:
// then each has copied it. So it is where another device moves it thus, and was kept from removing it
// until this one had got the copy, too.
func (w *world) partWays(d *device, t *token, from, to mail.Folder) {
	if slices.ContainsFunc(w.halves, func(h *half) bool { return h.token == t && h.from == from && h.to != to }) {
		t.copies++
	}
	for at, copied := range w.copied {
		if copied == t && at.folder == from && d.hasElsewhere(t, from) {
			t.copies++
		}
	}
}

// hasParted notes that a device moves a message by COPY which somebody has moved to another folder on
// another device: as partWays.
func (w *world) hasParted(mover *device, t *token, from, to mail.Folder) {
	for _, d := range w.devices {
		if t != nil && d != mover && !d.has(t, from) && !d.has(t, to) && d.hasElsewhere(t, from) {
			t.copies++
		}
	}
}

// mayRevive notes that a message is flagged here which the phone moves to another folder, by COPY, and
// of which the device has both: then it stays where the phone removes it.
func (w *world) mayRevive(d *device, t *token, folder mail.Folder, before, now string) {
	revives := strings.Contains(now, "F") && !strings.Contains(before, "F") || strings.Contains(before, "T") && !strings.Contains(now, "T")
	half := slices.ContainsFunc(w.halves, func(h *half) bool { return h.token == t && h.from == folder })
	if revives && half && d.hasElsewhere(t, folder) {
		t.copies++
	}
}

// hasElsewhere tells whether a device has a message in another folder as well.
func (d *device) hasElsewhere(t *token, folder mail.Folder) bool {
	return slices.ContainsFunc(d.folders(), func(other mail.Folder) bool { return other != folder && d.has(t, other) })
}

// has tells whether a device has a message in a folder.
func (d *device) has(t *token, folder mail.Folder) bool {
	return slices.ContainsFunc(d.files(folder), func(f file) bool { return d.world.tokenOf(f.text) == t })
}

// changesForm notes that a program has added a field to a message. A device that has lost its
// state, and has it in its old form, takes the two for two messages.
func (w *world) changesForm(t *token) {
	for _, d := range w.devices {
		if _, here := w.tokensOn(d)[t.name]; here && !d.synced {
			t.copies++
		}
	}
}

// mayPurge notes that a message with those flags may be purged for one of them.
func (w *world) mayPurge(t *token, flags string) {
	for _, d := range w.devices {
		if d.Policy.ExpungeDeleted && strings.Contains(flags, "T") {
			t.removed, t.expunged = true, true
		}
	}
}

func withInfo(name string) string {
	if strings.Contains(name, ":2,") {
		return name
	}
	return name + ":2,"
}

// letters leaves the keywords out of flags, which mean something else elsewhere.
func letters(flags string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return -1
		}
		return r
	}, flags)
}

// otherFlags gives other flags than these, with keywords that the folder has letters
// for.
func (w *world) otherFlags(d *device, folder mail.Folder, flags string) string {
	choice := []byte("SRFS")
	if d.Policy.ExpungeDeleted || w.chance(8) {
		choice = append(choice, 'T')
	}
	for i, word := range d.letters(folder) {
		if word != "" {
			choice = append(choice, byte('a'+i))
		}
	}
	set := []byte(flags)
	for range 1 + w.r.IntN(2) {
		c := pick(w.r, choice)
		if i := slices.Index(set, c); i >= 0 {
			set = slices.Delete(set, i, i+1)
		} else {
			set = append(set, c)
		}
	}
	slices.Sort(set)
	return string(set)
}

// folderChange: somebody makes, removes or renames a folder.
func (w *world) folderChange(d *device) {
	w.names++
	fresh := mail.Folder(fmt.Sprintf("Folder %d", w.names))
	phone := w.chance(2)
	folders := d.folders()
	if phone {
		folders = w.server.Folders()
	}
	if len(folders) == 0 {
		return
	}
	folder := pick(w.r, folders)
	if w.chance(3) && folder != mail.Inbox && folder != trash {
		fresh = folder + "/" + fresh
	}
	d.disk.Actor = "user"
	defer func() { d.disk.Actor = "" }()
	switch w.r.IntN(3) {
	case 0:
		w.note("%s is made, on the phone %v", fresh, phone)
		if phone {
			w.server.CreateFolder(fresh)
		} else {
			d.makeFolder(fresh)
		}
	case 1:
		if folder == mail.Inbox || folder == trash {
			return
		}
		w.note("%s becomes %s, on the phone %v (%s)", folder, fresh, phone, d.name)
		if fresh.Inside(folder) {
			return
		}
		w.leavesName(folder)
		w.leavesName(fresh) // what is in it is in the other one on the other side
		// To a device whose state does not know the folder what is in it moves.
		for _, m := range w.server.Messages(folder) {
			if t := w.tokenIn(m.Raw); t != nil {
				w.movesMeanwhile(t)
			}
		}
		if phone {
			w.renames(folder, fresh)
			w.server.RenameFolder(folder, fresh)
		} else if err := d.mail().Rename(d.directory(folder), d.directory(fresh)); err != nil {
			w.note("(%v)", err)
		}
	case 2: // only what is empty, or all of it would be meant to go
		if folder == mail.Inbox || folder == trash {
			return
		}
		// In the nested layout the directory of a folder that others lie in stays, and is damage
		// once they are gone.
		w.leavesName(folder)
		around := slices.ContainsFunc(d.folders(), func(f mail.Folder) bool { return f.Inside(folder) })
		if phone && len(w.server.Messages(folder)) == 0 {
			w.note("phone: the empty %s is removed", folder)
			w.server.DeleteFolder(folder)
		} else if !phone && !around && len(d.files(folder)) == 0 {
			w.note("%s: the empty %s is removed", d.name, folder)
			d.removeFolder(folder)
		}
	}
}

// makeFolder makes a folder as a mail program does, and durably: half a folder is damage,
// which people have to mend.
func (d *device) makeFolder(folder mail.Folder) {
	f, dir := d.mail(), d.directory(folder)
	for i := range len(dir) {
		if dir[i] == '/' {
			f.Mkdir(dir[:i]) // it may be there
		}
	}
	f.Mkdir(dir)
	for _, sub := range []string{"tmp", "new", "cur"} {
		f.Mkdir(path.Join(dir, sub))
	}
	for ; dir != "."; dir = path.Dir(dir) {
		f.Sync(dir)
	}
	f.Sync(".")
}

// removeFolder removes a folder's directory with all that is in it, and what is empty around.
func (d *device) removeFolder(folder mail.Folder) {
	f, dir := d.mail(), d.directory(folder)
	var remove func(name string)
	remove = func(name string) {
		var inside []maildir.Entry
		f.ReadDir(name, func(e maildir.Entry) { inside = append(inside, e) })
		for _, e := range inside {
			if e.Type == 0 {
				f.Unlink(path.Join(name, e.Name))
			} else {
				remove(path.Join(name, e.Name))
			}
		}
		f.Sync(name)
		f.Rmdir(name)
	}
	remove(dir)
	f.Sync(path.Dir(dir))
	// A directory that was there for this folder alone would be damage.
	for dir = path.Dir(dir); dir != "."; dir = path.Dir(dir) {
		if f.Rmdir(dir) != nil {
			return
		}
		f.Sync(path.Dir(dir))
	}
}
