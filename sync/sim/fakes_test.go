package sim_test

import (
	"context"
	"io"
	"iter"
	gosync "sync"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// callLog are the calls that came through to the sides.
type callLog struct {
	mu    gosync.Mutex
	calls []string
}

func (l *callLog) add(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, name)
}

func (l *callLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.calls
	l.calls = nil
	return all
}

// The fakes do nothing, succeed, and log that they were called.
type (
	fakeLocal    struct{ *callLog }
	fakeIncoming struct{ *callLog }
	fakeSource   struct{ *callLog }
	fakeRemote   struct{ *callLog }
	fakeState    struct{ *callLog }
)

func (f fakeLocal) Folders(context.Context, []mail.LocalFolder) ([]mail.LocalFolder, error) {
	f.add("Folders")
	return nil, nil
}
func (f fakeLocal) Scan(context.Context, mail.Folder, mail.Letters) (mail.Listing, error) {
	f.add("Scan")
	return mail.Listing{}, nil
}
func (f fakeLocal) Still(context.Context, mail.Folder, mail.Listing) (mail.Stamp, bool, error) {
	f.add("Still")
	return mail.Stamp{}, false, nil
}
func (f fakeLocal) Look(context.Context, mail.Folder, []mail.File, mail.Letters) ([]mail.File, error) {
	f.add("Look")
	return nil, nil
}
func (f fakeLocal) Stat(context.Context, mail.Folder, mail.File) (mail.Stat, error) {
	f.add("Stat")
	return mail.Stat{}, nil
}
func (f fakeLocal) Read(context.Context, mail.Folder, mail.File) (mail.Source, error) {
	f.add("Read")
	return fakeSource(f), nil
}
func (f fakeLocal) Secure(context.Context, mail.Folder, []mail.File) error {
	f.add("Secure")
	return nil
}
func (f fakeLocal) Create(context.Context, mail.Folder, time.Time) (mail.Incoming, error) {
	f.add("Create")
	return fakeIncoming(f), nil
}
func (f fakeLocal) Parts(context.Context, mail.Folder) ([]mail.Part, error) {
	f.add("Parts")
	return nil, nil
}
func (f fakeLocal) Resume(context.Context, mail.Folder, mail.Part) (mail.Incoming, error) {
	f.add("Resume")
	return fakeIncoming(f), nil
}
func (f fakeLocal) Harden(context.Context, mail.Folder, []mail.Key) error {
	f.add("Harden")
	return nil
}
func (f fakeLocal) Publish(context.Context, mail.Folder, mail.Key, mail.Flags, mail.Letters) (mail.File, error) {
	f.add("Publish")
	return mail.File{}, nil
}
func (f fakeLocal) SyncFolder(context.Context, mail.Folder) error {
	f.add("SyncFolder")
	return nil
}
func (f fakeLocal) Sweep(context.Context, mail.Folder, func(mail.Key) bool) error {
	f.add("Sweep")
	return nil
}
func (f fakeLocal) Reflag(context.Context, mail.Folder, mail.File, mail.Flags, mail.Letters) (mail.File, error) {
	f.add("Reflag")
	return mail.File{}, nil
}
func (f fakeLocal) EndRename(context.Context, mail.Folder, mail.Relic) error {
	f.add("EndRename")
	return nil
}
func (f fakeLocal) Notices() []mail.Notice { f.add("Notices"); return nil }
func (f fakeLocal) Move(context.Context, mail.Folder, mail.File, mail.Folder, mail.Flags, mail.Letters) (mail.File, error) {
	f.add("Move")
	return mail.File{}, nil
}
func (f fakeLocal) Link(context.Context, mail.Folder, mail.File, mail.Folder) (mail.Key, error) {
	f.add("Link")
	return "", nil
}
func (f fakeLocal) Remove(context.Context, mail.Folder, mail.File) error {
	f.add("Remove")
	return nil
}
func (f fakeLocal) SetLetters(context.Context, mail.Folder, mail.Letters) error {
	f.add("SetLetters")
	return nil
}
func (f fakeLocal) Marker(context.Context, mail.Folder) (mail.Marker, error) {
	f.add("Marker")
	return mail.Marker{}, nil
}
func (f fakeLocal) SetMarker(context.Context, mail.Folder, mail.Marker) error {
	f.add("SetMarker")
	return nil
}
func (f fakeLocal) CreateFolder(context.Context, mail.Folder) error {
	f.add("CreateFolder")
	return nil
}
func (f fakeLocal) RemoveFolder(context.Context, mail.Folder) error {
	f.add("RemoveFolder")
	return nil
}
func (f fakeLocal) ForgetFolder(context.Context, mail.Folder) error {
	f.add("ForgetFolder")
	return nil
}

func (f fakeLocal) RenameFolder(context.Context, mail.Folder, mail.Folder) error {
	f.add("RenameFolder")
	return nil
}

func (f fakeLocal) SecureFolder(context.Context, mail.Folder, mail.Folder) error {
	f.add("SecureFolder")
	return nil
}

func (f fakeIncoming) Key() mail.Key               { f.add("Key"); return "key" }
func (f fakeIncoming) Write(p []byte) (int, error) { f.add("Write"); return len(p), nil }
func (f fakeIncoming) Finish() (mail.Identity, mail.Stat, error) {
	f.add("Finish")
	return mail.Identity{}, mail.Stat{}, nil
}
func (f fakeIncoming) Keep(mail.Part) error {
	f.add("Keep")
	return nil
}
func (f fakeIncoming) Discard() { f.add("Discard") }

func (f fakeSource) Identity() mail.Identity          { f.add("Identity"); return mail.Identity{} }
func (f fakeSource) Stat() mail.Stat                  { f.add("Stat"); return mail.Stat{} }
func (f fakeSource) WriteTo(io.Writer) (int64, error) { f.add("WriteTo"); return 0, nil }
func (f fakeSource) Close() error                     { f.add("Close"); return nil }

func (f fakeRemote) Folders(context.Context) (mail.RemoteListing, error) {
	f.add("Folders")
	return mail.RemoteListing{}, nil
}
func (f fakeRemote) Scan(context.Context, mail.Folder, mail.Cursor, int, func(mail.Message) error) (mail.View, error) {
	f.add("Scan")
	return mail.View{}, nil
}
func (f fakeRemote) Identify(context.Context, mail.Folder, uint32, mail.UIDSet, mail.Detail) ([]mail.Identified, error) {
	f.add("Identify")
	return nil, nil
}
func (f fakeRemote) Fetch(_ context.Context, wanted []mail.Wanted) []error {
	f.add("Fetch")
	return make([]error, len(wanted))
}
func (f fakeRemote) Ready(context.Context, int, []mail.Folder) { f.add("Ready") }
func (f fakeRemote) Ahead(context.Context, []mail.Query)       { f.add("Ahead") }
func (f fakeRemote) Append(_ context.Context, next func() *mail.Outgoing, answered func(mail.Appended)) {
	for next() != nil {
		f.add("Append")
		answered(mail.Appended{UID: 1, UIDValidity: 1})
	}
}
func (f fakeRemote) Change(_ context.Context, visits []*mail.Visit) {
	for _, v := range visits {
		for range v.Stores {
			f.add("Store")
		}
		if len(v.Expunge) > 0 {
			f.add("Expunge")
		}
		if len(v.Moves) > 0 {
			f.add("Move")
		}
	}
}
func (f fakeRemote) Copy(context.Context, mail.Folder, uint32, mail.UID, mail.Folder) (mail.UID, error) {
	f.add("Copy")
	return 1, nil
}
func (f fakeRemote) CreateFolder(context.Context, mail.Folder) error {
	f.add("CreateFolder")
	return nil
}
func (f fakeRemote) DeleteFolder(context.Context, mail.Folder) error {
	f.add("DeleteFolder")
	return nil
}
func (f fakeRemote) RenameFolder(context.Context, mail.Folder, mail.Folder) error {
	f.add("RenameFolder")
	return nil
}
func (f fakeRemote) Examine(context.Context, mail.Folder) (mail.RemoteFolder, error) {
	f.add("Examine")
	return mail.RemoteFolder{}, nil
}
func (f fakeRemote) Abilities() mail.Abilities { f.add("Abilities"); return mail.Abilities{} }
func (f fakeRemote) Traffic() mail.Traffic     { f.add("Traffic"); return mail.Traffic{} }

func (f fakeState) Folders(context.Context) ([]mail.FolderBase, error) {
	f.add("Folders")
	return nil, nil
}
func (f fakeState) Known(context.Context, mail.FolderID) iter.Seq2[mail.Known, error] {
	return func(yield func(mail.Known, error) bool) {
		f.rows(func(row mail.Row, err error) bool { return yield(row.Known(), err) })
	}
}
func (f fakeState) RowsByKey(context.Context, mail.FolderID, mail.Key) iter.Seq2[mail.Row, error] {
	return f.rows
}
func (f fakeState) RowsByUID(context.Context, mail.FolderID) iter.Seq2[mail.Row, error] {
	return f.rows
}
func (f fakeState) rows(yield func(mail.Row, error) bool) {
	f.add("rows")
	for range 3 {
		if !yield(mail.Row{}, nil) {
			return
		}
	}
}
func (f fakeState) WithUIDs(context.Context, mail.FolderID, mail.UIDSet) ([]mail.Row, error) {
	f.add("WithUIDs")
	return nil, nil
}
func (f fakeState) UIDs(context.Context, mail.FolderID) (mail.UIDSet, error) {
	f.add("UIDs")
	return nil, nil
}
func (f fakeState) Count(context.Context, mail.FolderID) (int, int, error) {
	f.add("Count")
	return 0, 0, nil
}
func (f fakeState) Unsettled(context.Context) ([]mail.Row, error) {
	f.add("Unsettled")
	return nil, nil
}
func (f fakeState) Marked(context.Context, mail.FolderID) ([]mail.Row, error) {
	f.add("Marked")
	return nil, nil
}

func (f fakeState) Dated(context.Context, int64, time.Time) ([]mail.Row, error) {
	f.add("Dated")
	return nil, nil
}

func (f fakeState) Alike(context.Context, mail.Fingerprint) ([]mail.Row, error) {
	f.add("Alike")
	return nil, nil
}
func (f fakeState) Intents(context.Context) ([]mail.Intent, error) {
	f.add("Intents")
	return nil, nil
}
func (f fakeState) Commit(context.Context, *mail.Batch) error {
	f.add("Commit")
	return nil
}

var (
	_ engine.Local  = fakeLocal{}
	_ engine.Remote = fakeRemote{}
	_ engine.State  = fakeState{}
)
