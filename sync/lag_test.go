package sync_test

import (
	"context"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/maildir"
	engine "mailtwin/sync"
	"mailtwin/sync/sim"
	"mailtwin/sync/sim/disk"
)

// late is a file system that shows some directories as they were.
type late struct {
	maildir.FS
	lag   time.Duration
	names map[string][]maildir.Entry // of the directories that it has kept
	infos map[string]maildir.Info
}

// keep shows directories as they are now, until forget.
func (l *late) keep(t *testing.T, dirs ...string) {
	t.Helper()
	l.names, l.infos = map[string][]maildir.Entry{}, map[string]maildir.Info{}
	for _, dir := range dirs {
		info, err := l.FS.Lstat(dir)
		must(t, err)
		l.infos[dir] = info
		l.names[dir] = []maildir.Entry{}
		must(t, l.FS.ReadDir(dir, func(e maildir.Entry) { l.names[dir] = append(l.names[dir], e) }))
	}
}

func (l *late) forget() { l.names, l.infos = nil, nil }

func (l *late) Lag() time.Duration { return l.lag }

func (l *late) Lstat(name string) (maildir.Info, error) {
	if info, kept := l.infos[name]; kept {
		return info, nil
	}
	return l.FS.Lstat(name)
}

func (l *late) ReadDir(name string, each func(maildir.Entry)) error {
	names, kept := l.names[name]
	if !kept {
		return l.FS.ReadDir(name, each)
	}
	for _, e := range names {
		each(e)
	}
	return nil
}

// A Maildir on NFS shows late what another machine does there: that a file is gone from one
// folder before it shows that it has come to the other. That is no removal.
func TestAFileThatMovedWhereItIsShownLate(t *testing.T) {
	server := account(t)
	server.Deliver("INBOX", onWire(letter("moves")), mail.Flags{}, day)
	server.Deliver("Archive", onWire(letter("stays")), mail.Flags{}, day)
	inINBOX, inArchive := len(server.Messages("INBOX")), len(server.Messages("Archive"))
	now := day
	d := disk.New(1, func() time.Time { return now })
	root, err := d.FS(".")
	must(t, err)
	must(t, root.Mkdir("Mail"))
	must(t, root.Mkdir("Removed"))
	fs, err := d.FS("Mail")
	must(t, err)
	store, err := d.FS("Removed")
	must(t, err)
	nfs := &late{FS: fs, lag: 90 * time.Second}
	client, state := server.Client(), sim.NewState()
	sync := func() engine.Report {
		t.Helper()
		tree, err := maildir.Open("Mail", maildir.Options{
			Account: "alice", FS: nfs, Store: store, Now: func() time.Time { return now },
			Sleep: func(ctx context.Context, wait time.Duration) error { now = now.Add(wait); return ctx.Err() },
		})
		must(t, err)
		defer tree.Close()
		rep, err := engine.Run(t.Context(), engine.Options{
			Account: "alice", Local: tree, Remote: client, State: state, CreateLocal: true, CreateRemote: true,
			Now: func() time.Time { return now }, Connections: 1,
		})
		must(t, err)
		for _, p := range rep.Problems {
			t.Fatal(p)
		}
		return rep
	}
	sync()
	now = now.Add(time.Hour)
	sync()

	var name string
	for _, sub := range []string{"INBOX/cur", "INBOX/new"} {
		must(t, fs.ReadDir(sub, func(e maildir.Entry) { name = sub + "/" + e.Name }))
	}
	nfs.keep(t, "Archive", "Archive/cur", "Archive/new")
	must(t, fs.Rename(name, "Archive/cur/1.moved.host:2,S"))
	there := func(when string, moved int) {
		t.Helper()
		a, b, trash := len(server.Messages("INBOX")), len(server.Messages("Archive")), len(server.Messages("Trash"))
		if a != inINBOX-moved || b != inArchive+moved || trash != 0 {
			t.Errorf("%s: %d messages of %d in INBOX, %d of %d in Archive, %d in Trash", when, a, inINBOX, b, inArchive, trash)
		}
	}
	for range 3 {
		now = now.Add(15 * time.Second)
		sync()
		there("while it is shown late", 0)
	}
	now = now.Add(15 * time.Second)
	nfs.forget()
	sync()
	now = now.Add(time.Hour)
	sync()
	there("when it shows", 1)
	if rep := sync(); rep.Local != (engine.Counts{}) || rep.Remote != (engine.Counts{}) {
		t.Errorf("there was something left to do: %+v", rep)
	}
}
