package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// Whatever people do at the same time on two devices and a phone, as long as nobody
// takes anything out of Trash or Spam: all ends up equal, no message is lost, and none is
// in a folder twice.
func TestGmailHistories(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			h := &labelHistory{gmail: onGmail(t), random: rand.New(rand.NewPCG(seed, 1))}
			for i := range 3 {
				h.subjects = append(h.subjects, fmt.Sprint("letter ", i))
				h.arrive(note(h.subjects[i]), seen, labelPlaces[h.random.IntN(5)], labelPlaces[h.random.IntN(5)])
			}
			devices := []*computer{h.device("laptop"), h.device("desktop")}
			for _, d := range devices {
				d.sync()
			}
			for range 30 {
				d := devices[h.random.IntN(2)]
				switch h.random.IntN(4) {
				case 0:
					h.log("%s: sync", d.name)
					d.sync()
				case 1:
					h.onPhone()
				default:
					h.onDevice(d)
				}
			}
			h.check(devices)
			if t.Failed() {
				t.Logf("the history:\n%s", strings.Join(h.told, "\n"))
			}
		})
	}
}

type labelHistory struct {
	*gmail
	random   *rand.Rand
	subjects []string
	told     []string
}

func (h *labelHistory) log(format string, args ...any) {
	h.told = append(h.told, fmt.Sprintf(format, args...))
}

var labelPlaces = []mail.Folder{mail.Inbox, mail.Inbox, "Work", "Work", "Play", allMail, starred, drafts, gmailSent, gmailBin, spam}

func (h *labelHistory) folder() mail.Folder { return labelPlaces[h.random.IntN(len(labelPlaces))] }

func (h *labelHistory) hidden(f mail.Folder) bool { return f == gmailBin || f == spam }

// onDevice does something to a file.
func (h *labelHistory) onDevice(d *computer) {
	from, to, what := h.folder(), h.folder(), h.random.IntN(7)
	key := fmt.Sprintf("%d.history.host", len(h.told))
	files := d.files(from)
	if what == 6 || len(files) == 0 {
		text := fmt.Sprint("written ", len(h.told))
		h.subjects = append(h.subjects, text)
		h.log("%s: new %q in %s", d.name, text, to)
		d.save(to, "cur", key+":2,S", note(text), then)
		d.sync() // or it might be removed before anybody else knew of it
		return
	}
	f := files[h.random.IntN(len(files))]
	letters := []string{"S", "FS", "RS", "FRS", "S"}[h.random.IntN(5)]
	switch {
	case h.hidden(from):
		d.reflag(f, letters)
	case what < 2:
		h.log("%s: remove %q from %s", d.name, subject(f.text), from)
		d.remove(f)
	case what < 4:
		h.log("%s: move %q from %s to %s with %q", d.name, subject(f.text), from, to, letters)
		d.remove(f)
		d.save(to, "cur", key+":2,"+letters, f.text, f.date)
	case what < 5:
		h.log("%s: copy %q from %s to %s with %q", d.name, subject(f.text), from, to, letters)
		d.save(to, "cur", key+":2,"+letters, f.text, f.date)
	default:
		h.log("%s: mark %q in %s with %q", d.name, subject(f.text), from, letters)
		d.reflag(f, letters)
	}
}

// onPhone does something to a message.
func (h *labelHistory) onPhone() {
	from, to := h.folder(), h.folder()
	messages := h.messages(from)
	if len(messages) == 0 {
		return
	}
	m := messages[h.random.IntN(len(messages))]
	name := subject(string(m.Raw))
	var err error
	switch what := h.random.IntN(4); {
	case what == 3 || h.hidden(from):
		h.log("phone: mark %q in %s", name, from)
		err = h.phone.AddFlags(h.Context(), from, m.UID, []mail.Flags{flagged, answered}[h.random.IntN(2)])
	case what == 0:
		h.log("phone: remove %q from %s", name, from)
		err = h.phone.Delete(h.Context(), from, m.UID)
	case what == 1 && from != to:
		h.log("phone: move %q from %s to %s", name, from, to)
		_, err = h.phone.Move(h.Context(), from, m.UID, to)
	case from != to:
		h.log("phone: copy %q from %s to %s", name, from, to)
		_, err = h.phone.Copy(h.Context(), from, m.UID, to)
	}
	h.gmail.check(err)
}

// check brings all together, and compares.
func (h *labelHistory) check(devices []*computer) {
	for range 2 {
		for _, d := range devices {
			d.sync()
		}
	}
	for _, d := range devices {
		settled := d.sync()
		if settled.Local != (accountReport{}).Local || settled.Remote != (accountReport{}).Remote {
			h.Errorf("%s: after two rounds of all it still did %+v here and %+v on the server", d.name, settled.Local, settled.Remote)
		}
		d.same()
	}
	var there []string
	for _, f := range slices.Compact(slices.Sorted(slices.Values(labelPlaces))) {
		found := h.there(f)
		if once := slices.Compact(slices.Clone(found)); len(once) != len(found) {
			h.Errorf("%s holds %q", filepath.Base(string(f)), found)
		}
		if f == allMail || h.hidden(f) {
			there = append(there, found...)
		}
	}
	// One that was put into Trash by one and copied elsewhere by another is in both.
	slices.Sort(there)
	slices.Sort(h.subjects)
	h.want("All Mail, Trash and Spam together", slices.Compact(there), h.subjects...)
}
