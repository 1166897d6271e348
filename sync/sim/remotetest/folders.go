package remotetest

import (
	"errors"
	"strings"

	"mailtwin/conflict/mail"
)

var folderTests = []test{
	{"INBOX is there and knows its role", func(a *account) {
		inbox, ok := a.folders()[mail.Inbox]
		if !ok || inbox.NoSelect || inbox.Role != mail.RoleInbox {
			a.Errorf("INBOX is %+v, listed: %v", inbox, ok)
		}
	}},
	{"a status tells what the folder holds", func(a *account) {
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one", "two", "three")
		a.phone.Delete(folder, uids[1])
		status := a.status()
		if status.Messages != 2 {
			a.Errorf("%d messages, want 2", status.Messages)
		}
		if status.UIDNext != 0 && status.UIDNext <= uids[2] {
			a.Errorf("UIDNEXT is %d, and UID %d is taken", status.UIDNext, uids[2])
		}
		if _, view := a.first(folder); view.Cursor != status {
			a.Errorf("status is %+v, and a scan says %+v", status, view.Cursor)
		}
	}},
	{"a status stays as it is while nothing happens", func(a *account) {
		a.phone.CreateFolder(folder)
		a.deliver(folder, "one", "two")
		before := a.status()
		if after := a.status(); after != before {
			a.Errorf("status was %+v and is %+v", before, after)
		}
	}},
	{"each change of a folder shows in its status", func(a *account) {
		a.phone.CreateFolder(folder)
		uids := a.deliver(folder, "one", "two")
		changes := []struct {
			what string
			do   func()
			mod  bool // it shows in HIGHESTMODSEQ alone
		}{
			{"delivery", func() { uids = append(uids, a.deliver(folder, "three")...) }, false},
			{"flag set", func() { a.phone.AddFlags(folder, uids[0], mail.Flags{System: mail.Seen}) }, true},
			{"flag taken back", func() { a.phone.RemoveFlags(folder, uids[0], mail.Flags{System: mail.Seen}) }, true},
			{"removal", func() { a.phone.Delete(folder, uids[0]) }, false},
			{"delivery and removal", func() { a.phone.Delete(folder, a.deliver(folder, "four")[0]) }, false},
		}
		before := a.status()
		for _, c := range changes {
			c.do()
			after := a.status()
			if after == before && (!c.mod || before.HighestModSeq != 0) {
				a.Errorf("%s: status is %+v as before", c.what, after)
			}
			before = after
		}
	}},
	{"folders of the phone appear and go", func(a *account) {
		a.phone.CreateFolder(folder)
		if f, ok := a.folders()[folder]; !ok || f.NoSelect || f.Role != mail.RoleNone {
			a.Fatalf("after creation: %+v, listed: %v", f, ok)
		}
		a.phone.DeleteFolder(folder)
		a.noFolder(folder)
	}},
	{"folder names arrive as people write them", func(a *account) {
		// Both ways: modified UTF-7 (RFC 3501, 5.1.3) and the server's delimiter are
		// not for the engine to see.
		for i, name := range []mail.Folder{
			"Test", "Test/inner", "Test/inner/most", "Test with spaces", "Test Ämter & Behörden",
			"Test 日本語", "Test \U0001F4EC", `Test "quoted"`,
		} {
			other := name + " too"
			if i == 0 {
				other = "Test0"
			}
			err := a.remote.CreateFolder(a.ctx, other)
			if strings.ContainsAny(string(name), "\"\U0001F4EC") && errors.Is(err, mail.ErrRefused) {
				a.Logf("the server takes no such name as %s: %v", name, err)
				continue
			}
			a.noErr("create", err)
			a.phone.CreateFolder(name)
			uid := a.deliver(name, "for the phone's")[0]
			mine := a.deliver(other, "for mine")[0]
			listed := a.folders()
			for _, want := range []mail.Folder{name, other} {
				if f, ok := listed[want]; !ok || f.NoSelect {
					a.Errorf("%q is not listed as a folder", want)
					continue
				}
				found, _ := a.first(want)
				if len(found) != 1 || want == name && found[0].UID != uid || want == other && found[0].UID != mine {
					a.Errorf("%q holds %v", want, uidsOf(found))
				}
			}
		}
	}},
	{"a folder is created once", func(a *account) {
		a.noErr("create", a.remote.CreateFolder(a.ctx, folder))
		if found, view := a.first(folder); len(found) != 0 || view.Cursor.Messages != 0 {
			a.Errorf("a new folder has %v, %+v", uidsOf(found), view)
		}
		a.wantErr("create again", a.remote.CreateFolder(a.ctx, folder), mail.ErrExists)
		a.wantErr("create INBOX", a.remote.CreateFolder(a.ctx, mail.Inbox), mail.ErrExists)
	}},
	{"a folder is created within one that is not there", func(a *account) {
		a.noErr("create", a.remote.CreateFolder(a.ctx, "Test/in/ner"))
		if f, ok := a.folders()["Test/in/ner"]; !ok || f.NoSelect {
			a.Errorf("it is %+v, listed: %v", f, ok)
		}
	}},
	{"a folder is deleted once", func(a *account) {
		a.phone.CreateFolder(folder)
		a.noErr("delete", a.remote.DeleteFolder(a.ctx, folder))
		a.noFolder(folder)
		a.wantErr("delete again", a.remote.DeleteFolder(a.ctx, folder), mail.ErrGone)
	}},
	{"a folder is deleted after it was read", func(a *account) {
		// Servers exist that delete no folder which a session has open.
		a.phone.CreateFolder(folder)
		a.first(folder)
		a.noErr("delete", a.remote.DeleteFolder(a.ctx, folder))
		a.noFolder(folder)
	}},
	{"folders inside a deleted one stay", func(a *account) {
		// RFC 9051, 6.3.5: DELETE must not remove inferior names.
		a.phone.CreateFolder("Test")
		a.phone.CreateFolder("Test/inner")
		uid := a.deliver("Test/inner", "kept")[0]
		err := a.remote.DeleteFolder(a.ctx, "Test")
		if errors.Is(err, mail.ErrRefused) && !errors.Is(err, mail.ErrGone) {
			a.Skipf("the server deletes no folder that has others inside: %v", err)
		}
		a.noErr("delete", err)
		a.noFolder("Test")
		if f, ok := a.folders()["Test/inner"]; !ok || f.NoSelect {
			a.Errorf("Test/inner is %+v, listed: %v", f, ok)
		}
		a.holds("Test/inner", uid)
	}},
	{"a folder is renamed", func(a *account) {
		a.phone.CreateFolder("Test")
		a.phone.CreateFolder("Test/inner")
		a.deliver("Test", "one", "two")
		a.deliver("Test/inner", "three")
		a.first("Test") // it is open somewhere
		before, err := a.remote.Examine(a.ctx, "Test")
		a.noErr("examine", err)
		a.noErr("rename", a.remote.RenameFolder(a.ctx, "Test", elsewhere))
		a.noFolder("Test")
		after, err := a.remote.Examine(a.ctx, elsewhere)
		a.noErr("examine", err)
		if before.MailboxID != after.MailboxID || after.Name != elsewhere || after.Status.Messages != 2 {
			a.Errorf("it was %+v, and is %+v", before, after)
		}
		if _, view := a.first(elsewhere); view.MailboxID != after.MailboxID || view.Cursor.UIDValidity != after.Status.UIDValidity {
			a.Errorf("a scan says %+v, and EXAMINE %+v", view, after)
		}
		if n := len(a.phone.Messages(elsewhere)); n != 2 {
			a.Errorf("it has %d messages", n)
		}
		inner := elsewhere + "/inner"
		if _, ok := a.folders()[inner]; !ok {
			inner = "Test/inner" // nobody relies on it to go along
		}
		if n := len(a.phone.Messages(inner)); n != 1 {
			a.Errorf("%s has %d messages", inner, n)
		}
		// The name is free, and what is there now is another folder.
		a.phone.CreateFolder("Test")
		again, err := a.remote.Examine(a.ctx, "Test")
		a.noErr("examine", err)
		if again.Status.Messages != 0 || again.MailboxID != "" && again.MailboxID == after.MailboxID {
			a.Errorf("the new one is %+v", again)
		}
		a.wantErr("rename over another one", a.remote.RenameFolder(a.ctx, "Test", elsewhere), mail.ErrExists)
		a.holdsMany(elsewhere, 2)
	}},
	{"a folder is renamed into another one, and out of one that is none", func(a *account) {
		a.phone.CreateFolder("Test")
		a.deliver("Test", "one")
		a.noErr("rename", a.remote.RenameFolder(a.ctx, "Test", "Test other/in/ner"))
		a.holdsMany("Test other/in/ner", 1)
		a.noErr("rename back", a.remote.RenameFolder(a.ctx, "Test other/in/ner", "Test"))
		a.holdsMany("Test", 1)
		if err := a.remote.RenameFolder(a.ctx, "Test0", "Test1"); err != nil { // Courier says OK
			a.wantErr("rename what is not there", err, mail.ErrGone)
		}
		a.noFolder("Test1")
		a.wantErr("rename INBOX", a.remote.RenameFolder(a.ctx, mail.Inbox, "Test1"), mail.ErrRefused)
	}},
	{"the cost is counted", func(a *account) {
		before := a.remote.Traffic()
		a.folders()
		after := a.remote.Traffic()
		if before.Connections < 1 || before.RoundTrips < 1 || before.BytesIn < 1 || before.BytesOut < 1 {
			a.Errorf("after a listing: %+v", before)
		}
		if after.RoundTrips <= before.RoundTrips || after.BytesIn <= before.BytesIn || after.BytesOut <= before.BytesOut {
			a.Errorf("another listing went from %+v to %+v", before, after)
		}
	}},
}

// holdsMany checks how many messages a folder has.
func (a *account) holdsMany(name mail.Folder, want int) {
	a.Helper()
	if n := len(a.phone.Messages(name)); n != want {
		a.Errorf("%s has %d messages, want %d", name, n, want)
	}
}

// status gives the status of the folder, or skips the test where the server tells
// none.
func (a *account) status() mail.Cursor {
	a.Helper()
	f, ok := a.folders()[folder]
	if !ok {
		a.Fatalf("%s is not listed", folder)
	}
	if f.Status == (mail.Cursor{}) {
		a.Skip("the server tells no status")
	}
	return f.Status
}

// noFolder checks that there is no such folder. One that still has folders inside
// may be listed, as one that holds no messages.
func (a *account) noFolder(name mail.Folder) {
	a.Helper()
	if f, ok := a.folders()[name]; ok && !f.NoSelect {
		a.Errorf("there is still a folder: %+v", f)
	}
	_, err := a.remote.Scan(a.ctx, name, mail.Cursor{}, 0, func(mail.Message) error { return nil })
	a.wantErr("scan of what is no folder", err, mail.ErrGone, mail.ErrRefused)
}
