// Package remotetest says in tests what sync.Remote promises. Whatever fulfils the
// interface runs through Run: the real client on real servers, and the in-memory
// account that the engine is tested on, so that the latter cannot promise more than
// the former keeps.
//
// The suite asks of the server only what its RFCs and its announced abilities
// promise. What a server lacks is skipped, and said so.
package remotetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// Phone is another program that uses the same account. Its methods end the test
// themselves when something goes wrong, so they are called from the test's own
// goroutine only. They have no promise but that they are done when they return.
type Phone interface {
	// Deliver appends a message and gives its UID.
	Deliver(folder mail.Folder, raw []byte, flags mail.Flags, date time.Time) mail.UID
	AddFlags(folder mail.Folder, uid mail.UID, flags mail.Flags)
	RemoveFlags(folder mail.Folder, uid mail.UID, flags mail.Flags)
	// Delete removes this message for ever, and no other one.
	Delete(folder mail.Folder, uid mail.UID)
	CreateFolder(folder mail.Folder)
	DeleteFolder(folder mail.Folder)
	// Messages gives the messages of a folder in ascending order of UIDs, without
	// marking them as seen.
	Messages(folder mail.Folder) []Message
}

// Message is a message as the Phone sees it.
type Message struct {
	UID   mail.UID
	Flags mail.Flags
	Date  time.Time // INTERNALDATE
	Raw   []byte    // as FETCH BODY.PEEK[] gives it
}

// Run runs the suite. Each of its subtests opens an account of its own, that has an
// empty INBOX and no folder whose name begins with "Test".
func Run(t *testing.T, open func(t *testing.T) (remote engine.Remote, phone Phone)) {
	groups := []struct {
		name  string
		tests []test
	}{
		{"folders", folderTests},
		{"scan", scanTests},
		{"read", readTests},
		{"write", writeTests},
		{"move", moveTests},
		{"errors", errorTests},
	}
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					remote, phone := open(t)
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					a := &account{T: t, ctx: ctx, remote: remote, phone: phone}
					a.folders() // Abilities are known after it
					test.run(a)
				})
			}
		})
	}
}

// patience bounds a subtest whose server does not answer.
const patience = time.Minute

type test struct {
	name string
	run  func(*account)
}

// account is what a subtest works on.
type account struct {
	*testing.T
	ctx    context.Context
	remote engine.Remote
	phone  Phone
}

// folder is where most subtests keep their messages, and elsewhere is another one.
const (
	folder    mail.Folder = "Test"
	elsewhere mail.Folder = "Test other"
)

// when is the INTERNALDATE of the messages where it does not matter.
var when = time.Date(2019, 7, 14, 21, 3, 55, 0, time.UTC)

// letter makes a small message of its own for each subject.
func letter(subject string) []byte {
	return []byte(strings.ReplaceAll("Message-ID: <"+strings.ReplaceAll(subject, " ", ".")+"@example.org>\n"+
		"Date: Sun, 14 Jul 2019 21:03:55 +0000\nFrom: a@example.org\nTo: b@example.org\n"+
		"Subject: "+subject+"\n\nThe body of "+subject+".\n", "\n", "\r\n"))
}

// noErr ends the test on an error.
func (a *account) noErr(doing string, err error) {
	a.Helper()
	if err != nil {
		a.Fatalf("%s: %v", doing, err)
	}
}

// wantErr ends the test unless err is one of the wanted ones.
func (a *account) wantErr(doing string, err error, wanted ...error) {
	a.Helper()
	for _, w := range wanted {
		if errors.Is(err, w) {
			return
		}
	}
	a.Fatalf("%s: error is %v, want %v", doing, err, wanted)
}

// deliver puts small messages into the folder and gives their UIDs.
func (a *account) deliver(folder mail.Folder, subjects ...string) []mail.UID {
	a.Helper()
	var uids []mail.UID
	for _, s := range subjects {
		uids = append(uids, a.phone.Deliver(folder, letter(s), mail.Flags{}, when))
	}
	return uids
}

// folders lists the account.
func (a *account) folders() map[mail.Folder]mail.RemoteFolder {
	a.Helper()
	listing, err := a.remote.Folders(a.ctx)
	a.noErr("list folders", err)
	found := make(map[mail.Folder]mail.RemoteFolder)
	for _, f := range listing.Folders {
		if _, twice := found[f.Name]; twice {
			a.Fatalf("folder %q is listed twice", f.Name)
		}
		found[f.Name] = f
	}
	return found
}

// scan scans a folder, and checks what holds for every scan; and that one which was asked for
// ahead, together with other folders, finds the same.
func (a *account) scan(folder mail.Folder, since mail.Cursor, known int) ([]mail.Message, mail.View) {
	a.Helper()
	visited, view := a.scanOnce(folder, since, known)
	a.remote.Ahead(a.ctx, []mail.Query{
		{Folder: "Nowhere", Since: since, Known: known}, {Folder: folder, Since: since, Known: known, Gone: true}, {Folder: mail.Inbox, Since: since},
	})
	again, same := a.scanOnce(folder, since, known)
	if !slices.Equal(uidsOf(again), uidsOf(visited)) || same.Cursor != view.Cursor || same.Restarted != view.Restarted || same.Full != view.Full ||
		same.Access != view.Access || same.MailboxID != view.MailboxID || (same.Absence == mail.AbsenceUnknown) != (view.Absence == mail.AbsenceUnknown) {
		a.Errorf("scanned: %v, %+v\nasked for ahead: %v, %+v", uidsOf(visited), view, uidsOf(again), same)
	}
	for i, m := range again {
		if i < len(visited) && (m.Flags != visited[i].Flags || m.Size != visited[i].Size || !m.Date.Equal(visited[i].Date) || m.EmailID != visited[i].EmailID) {
			a.Errorf("scanned: %+v, asked for ahead: %+v", visited[i], m)
		}
	}
	return again, same
}

func (a *account) scanOnce(folder mail.Folder, since mail.Cursor, known int) ([]mail.Message, mail.View) {
	a.Helper()
	var visited []mail.Message
	view, err := a.remote.Scan(a.ctx, folder, since, known, func(m mail.Message) error {
		visited = append(visited, m)
		return nil
	})
	a.noErr("scan", err)
	for i, m := range visited {
		if m.UID == 0 || i > 0 && m.UID <= visited[i-1].UID {
			a.Fatalf("UIDs are not visited in ascending order: %v", uidsOf(visited))
		}
		if view.Absence == mail.ByPresent && !view.Present.Has(m.UID) {
			a.Errorf("UID %d was visited, and is not in Present %v", m.UID, view.Present)
		}
	}
	if view.Restarted && !view.Full {
		a.Error("a restarted folder was not read in full")
	}
	return visited, view
}

// first scans a folder for the first time.
func (a *account) first(folder mail.Folder) ([]mail.Message, mail.View) {
	a.Helper()
	return a.scan(folder, mail.Cursor{}, 0)
}

// validity tells the folder's UIDVALIDITY.
func (a *account) validity(folder mail.Folder) uint32 {
	a.Helper()
	_, view := a.first(folder)
	return view.Cursor.UIDValidity
}

// holds checks the UIDs of a folder.
func (a *account) holds(folder mail.Folder, want ...mail.UID) {
	a.Helper()
	got := make([]mail.UID, 0, len(want))
	for _, m := range a.phone.Messages(folder) {
		got = append(got, m.UID)
	}
	if !slices.Equal(got, want) {
		a.Fatalf("%s holds UIDs %v, want %v", folder, got, want)
	}
}

// message gives one message as the phone sees it.
func (a *account) message(folder mail.Folder, uid mail.UID) Message {
	a.Helper()
	for _, m := range a.phone.Messages(folder) {
		if m.UID == uid {
			return m
		}
	}
	a.Fatalf("no message %d in %s", uid, folder)
	return Message{}
}

// same checks that the server gives a message back as it was sent.
func (a *account) same(got Message, raw []byte, flags mail.Flags, date time.Time) {
	a.Helper()
	if !bytes.Equal(got.Raw, raw) {
		a.Errorf("message %d: bytes are %s, want %s", got.UID, excerpt(got.Raw), excerpt(raw))
	}
	if !got.Flags.Equal(flags) {
		a.Errorf("message %d: flags are %v, want %v", got.UID, got.Flags, flags)
	}
	if !got.Date.Equal(date) {
		a.Errorf("message %d: INTERNALDATE is %v, want %v", got.UID, got.Date, date)
	}
}

// excerpt shows bytes in a message of a test.
func excerpt(raw []byte) string {
	if len(raw) > 400 {
		return fmt.Sprintf("%q... (%d octets)", raw[:400], len(raw))
	}
	return fmt.Sprintf("%q", raw)
}

func uidsOf(messages []mail.Message) []mail.UID {
	uids := make([]mail.UID, 0, len(messages))
	for _, m := range messages {
		uids = append(uids, m.UID)
	}
	return uids
}

// Move moves one message.
func Move(ctx context.Context, remote engine.Remote, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder) (mail.UID, error) {
	moved := Moves(ctx, remote, folder, validity, []mail.UID{uid}, target)[0]
	return moved.There, moved.Err
}

// Moves moves messages of one folder to another one.
func Moves(ctx context.Context, remote engine.Remote, folder mail.Folder, validity uint32, uids []mail.UID, target mail.Folder) []*mail.Moving {
	v := &mail.Visit{Folder: folder, Validity: validity}
	for _, uid := range uids {
		v.Moves = append(v.Moves, &mail.Moving{UID: uid, To: target})
	}
	remote.Change(ctx, []*mail.Visit{v})
	return v.Moves
}

// Store adds and removes flags of messages of one folder. met, unless it is nil, hears of each
// message that was met.
func Store(ctx context.Context, remote engine.Remote, folder mail.Folder, validity uint32, uids mail.UIDSet, add, remove mail.Flags, met func(mail.UID)) error {
	c := &mail.FlagChange{UIDs: uids, Add: add, Remove: remove}
	remote.Change(ctx, []*mail.Visit{{Folder: folder, Validity: validity, Stores: []*mail.FlagChange{c}}})
	for _, uid := range slices.Sorted(maps.Keys(c.Met)) {
		if met != nil {
			met(uid)
		}
	}
	return c.Err
}

// Expunge removes messages of one folder.
func Expunge(ctx context.Context, remote engine.Remote, folder mail.Folder, validity uint32, uids mail.UIDSet) error {
	v := &mail.Visit{Folder: folder, Validity: validity, Expunge: uids}
	remote.Change(ctx, []*mail.Visit{v})
	return v.Expunged
}

// Fetch is Remote.Fetch for one folder.
func Fetch(ctx context.Context, remote engine.Remote, folder mail.Folder, validity uint32, uids mail.UIDSet, visit func(mail.Body) error) error {
	return remote.Fetch(ctx, []mail.Wanted{{Folder: folder, Validity: validity, UIDs: uids, Visit: visit}})[0]
}
