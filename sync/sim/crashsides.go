package sim

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"time"

	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// crashLocal is the local side of a process that dies.
type crashLocal struct {
	crash *Crash
	local engine.Local
}

func (c *crashLocal) Folders(ctx context.Context, known []mail.LocalFolder) ([]mail.LocalFolder, error) {
	return look(c.crash, func() ([]mail.LocalFolder, error) { return c.local.Folders(ctx, known) })
}

func (c *crashLocal) Notices() []mail.Notice { return c.local.Notices() }

func (c *crashLocal) Still(ctx context.Context, folder mail.Folder, scanned mail.Listing) (stamp mail.Stamp, still bool, err error) {
	_, err = look(c.crash, func() (struct{}, error) {
		stamp, still, err = c.local.Still(ctx, folder, scanned)
		return struct{}{}, err
	})
	return stamp, still, err
}

func (c *crashLocal) Scan(ctx context.Context, folder mail.Folder, letters mail.Letters) (mail.Listing, error) {
	return look(c.crash, func() (mail.Listing, error) { return c.local.Scan(ctx, folder, letters) })
}

func (c *crashLocal) Look(ctx context.Context, folder mail.Folder, names []mail.File, letters mail.Letters) ([]mail.File, error) {
	return look(c.crash, func() ([]mail.File, error) { return c.local.Look(ctx, folder, names, letters) })
}

func (c *crashLocal) Stat(ctx context.Context, folder mail.Folder, file mail.File) (mail.Stat, error) {
	return look(c.crash, func() (mail.Stat, error) { return c.local.Stat(ctx, folder, file) })
}

func (c *crashLocal) Read(ctx context.Context, folder mail.Folder, file mail.File) (mail.Source, error) {
	return look(c.crash, func() (mail.Source, error) {
		source, err := c.local.Read(ctx, folder, file)
		if err != nil {
			return nil, err
		}
		return &crashSource{c.crash, source}, nil
	})
}

func (c *crashLocal) Create(ctx context.Context, folder mail.Folder, date time.Time) (mail.Incoming, error) {
	return act(c.crash, "Local.Create", func() (mail.Incoming, error) {
		incoming, err := c.local.Create(ctx, folder, date)
		if err != nil {
			return nil, err
		}
		return &crashIncoming{c.crash, incoming}, nil
	})
}

func (c *crashLocal) Parts(ctx context.Context, folder mail.Folder) ([]mail.Part, error) {
	return look(c.crash, func() ([]mail.Part, error) { return c.local.Parts(ctx, folder) })
}

func (c *crashLocal) Resume(ctx context.Context, folder mail.Folder, part mail.Part) (mail.Incoming, error) {
	return act(c.crash, "Local.Resume", func() (mail.Incoming, error) {
		incoming, err := c.local.Resume(ctx, folder, part)
		if err != nil {
			return nil, err
		}
		return &crashIncoming{c.crash, incoming}, nil
	})
}

func (c *crashLocal) Harden(ctx context.Context, folder mail.Folder, keys []mail.Key) error {
	return c.crash.effect("Local.Harden", func() error { return c.local.Harden(ctx, folder, keys) })
}

func (c *crashLocal) Publish(ctx context.Context, folder mail.Folder, key mail.Key, flags mail.Flags, letters mail.Letters) (mail.File, error) {
	return act(c.crash, "Local.Publish", func() (mail.File, error) {
		return c.local.Publish(ctx, folder, key, flags, letters)
	})
}

func (c *crashLocal) Secure(ctx context.Context, folder mail.Folder, files []mail.File) error {
	return c.crash.effect("Local.Secure", func() error { return c.local.Secure(ctx, folder, files) })
}

func (c *crashLocal) SyncFolder(ctx context.Context, folder mail.Folder) error {
	return c.crash.effect("Local.SyncFolder", func() error { return c.local.SyncFolder(ctx, folder) })
}

func (c *crashLocal) Sweep(ctx context.Context, folder mail.Folder, keep func(mail.Key) bool) error {
	return c.crash.effect("Local.Sweep", func() error { return c.local.Sweep(ctx, folder, keep) })
}

func (c *crashLocal) Reflag(ctx context.Context, folder mail.Folder, file mail.File, flags mail.Flags, letters mail.Letters) (mail.File, error) {
	return act(c.crash, "Local.Reflag", func() (mail.File, error) {
		return c.local.Reflag(ctx, folder, file, flags, letters)
	})
}

func (c *crashLocal) EndRename(ctx context.Context, folder mail.Folder, relic mail.Relic) error {
	return c.crash.effect("Local.EndRename", func() error { return c.local.EndRename(ctx, folder, relic) })
}

func (c *crashLocal) Move(ctx context.Context, folder mail.Folder, file mail.File, to mail.Folder, flags mail.Flags, letters mail.Letters) (mail.File, error) {
	return act(c.crash, "Local.Move", func() (mail.File, error) { return c.local.Move(ctx, folder, file, to, flags, letters) })
}

func (c *crashLocal) Link(ctx context.Context, folder mail.Folder, file mail.File, to mail.Folder) (mail.Key, error) {
	return act(c.crash, "Local.Link", func() (mail.Key, error) { return c.local.Link(ctx, folder, file, to) })
}

func (c *crashLocal) Remove(ctx context.Context, folder mail.Folder, file mail.File) error {
	return c.crash.effect("Local.Remove", func() error { return c.local.Remove(ctx, folder, file) })
}

func (c *crashLocal) SetLetters(ctx context.Context, folder mail.Folder, letters mail.Letters) error {
	return c.crash.effect("Local.SetLetters", func() error { return c.local.SetLetters(ctx, folder, letters) })
}

func (c *crashLocal) Marker(ctx context.Context, folder mail.Folder) (mail.Marker, error) {
	return look(c.crash, func() (mail.Marker, error) { return c.local.Marker(ctx, folder) })
}

func (c *crashLocal) SetMarker(ctx context.Context, folder mail.Folder, marker mail.Marker) error {
	return c.crash.effect("Local.SetMarker", func() error { return c.local.SetMarker(ctx, folder, marker) })
}

func (c *crashLocal) CreateFolder(ctx context.Context, folder mail.Folder) error {
	return c.crash.effect("Local.CreateFolder", func() error { return c.local.CreateFolder(ctx, folder) })
}

func (c *crashLocal) RemoveFolder(ctx context.Context, folder mail.Folder) error {
	return c.crash.effect("Local.RemoveFolder", func() error { return c.local.RemoveFolder(ctx, folder) })
}

func (c *crashLocal) ForgetFolder(ctx context.Context, folder mail.Folder) error {
	return c.crash.effect("Local.ForgetFolder", func() error { return c.local.ForgetFolder(ctx, folder) })
}

func (c *crashLocal) RenameFolder(ctx context.Context, folder, to mail.Folder) error {
	return c.crash.effect("Local.RenameFolder", func() error { return c.local.RenameFolder(ctx, folder, to) })
}

func (c *crashLocal) SecureFolder(ctx context.Context, folder, was mail.Folder) error {
	return c.crash.effect("Local.SecureFolder", func() error { return c.local.SecureFolder(ctx, folder, was) })
}

// crashIncoming is a message that the process may not live to finish.
type crashIncoming struct {
	crash    *Crash
	incoming mail.Incoming
}

func (c *crashIncoming) Key() mail.Key { return c.incoming.Key() }

func (c *crashIncoming) Write(p []byte) (int, error) {
	return act(c.crash, "Incoming.Write", func() (int, error) {
		return c.incoming.Write(p)
	})
}

func (c *crashIncoming) Finish() (mail.Identity, mail.Stat, error) {
	type answer struct {
		id   mail.Identity
		stat mail.Stat
	}
	a, err := act(c.crash, "Incoming.Finish", func() (answer, error) {
		id, stat, err := c.incoming.Finish()
		return answer{id, stat}, err
	})
	return a.id, a.stat, err
}

func (c *crashIncoming) Keep(part mail.Part) error {
	return c.crash.effect("Incoming.Keep", func() error { return c.incoming.Keep(part) })
}

// Discard makes no steps: callers defer it, and mostly it does nothing. The dead
// clean nothing up.
func (c *crashIncoming) Discard() {
	quiet(c.crash, func() (struct{}, error) { c.incoming.Discard(); return struct{}{}, nil })
}

// crashSource is a file that the process is reading.
type crashSource struct {
	crash *Crash
	mail.Source
}

func (c *crashSource) WriteTo(w io.Writer) (int64, error) {
	return look(c.crash, func() (int64, error) { return c.Source.WriteTo(w) })
}

// crashRemote is the remote side of a process that dies.
type crashRemote struct {
	crash  *Crash
	remote engine.Remote
}

func (c *crashRemote) Folders(ctx context.Context) (mail.RemoteListing, error) {
	return look(c.crash, func() (mail.RemoteListing, error) { return c.remote.Folders(ctx) })
}

func (c *crashRemote) Scan(ctx context.Context, folder mail.Folder, since mail.Cursor, known int, visit func(mail.Message) error) (mail.View, error) {
	return look(c.crash, func() (mail.View, error) {
		return c.remote.Scan(ctx, folder, since, known, func(m mail.Message) error {
			return c.crash.read(func() error { return visit(m) })
		})
	})
}

func (c *crashRemote) Ready(ctx context.Context, calls int, first []mail.Folder) {
	c.crash.read(func() error {
		c.remote.Ready(ctx, calls, first)
		return nil
	})
}

func (c *crashRemote) Ahead(ctx context.Context, queries []mail.Query) {
	if c.crash.Alive() == nil {
		c.remote.Ahead(ctx, queries)
	}
}

func (c *crashRemote) Identify(ctx context.Context, folder mail.Folder, validity uint32, uids mail.UIDSet, detail mail.Detail) ([]mail.Identified, error) {
	return look(c.crash, func() ([]mail.Identified, error) { return c.remote.Identify(ctx, folder, validity, uids, detail) })
}

func (c *crashRemote) Fetch(ctx context.Context, wanted []mail.Wanted) []error {
	errs := make([]error, len(wanted))
	watched := slices.Clone(wanted)
	for i, w := range wanted {
		watched[i].Visit = func(b mail.Body) error {
			b.Reader = &crashReader{c.crash, b.Reader}
			return c.crash.read(func() error { return w.Visit(b) })
		}
	}
	crashed := c.crash.read(func() error {
		copy(errs, c.remote.Fetch(ctx, watched))
		return nil
	})
	if crashed != nil {
		for i := range errs {
			errs[i] = crashed
		}
	}
	return errs
}

type crashReader struct {
	crash  *Crash
	reader io.Reader
}

func (c *crashReader) Read(p []byte) (int, error) {
	return look(c.crash, func() (int, error) { return c.reader.Read(p) })
}

// Append makes an effect of each message: it begins when that is given, and is over when
// the next one is asked for, or it has an answer.
func (c *crashRemote) Append(ctx context.Context, next func() *mail.Outgoing, answered func(mail.Appended)) {
	var over func() // ends the effect that is under way
	end := func() {
		if over != nil {
			over()
			over = nil
		}
	}
	var dead error // before the effect of a message that was asked for
	c.remote.Append(ctx, func() *mail.Outgoing {
		end()
		u := next()
		if u == nil {
			return nil
		}
		if dead = c.crash.step("before", "Remote.Append"); dead == nil {
			over, dead = c.crash.begin()
		}
		if dead != nil {
			return nil
		}
		return u
	}, func(a mail.Appended) {
		end()
		if crashed := c.crash.step("after", "Remote.Append"); crashed != nil {
			a = mail.Appended{Err: crashed}
		}
		answered(a)
	})
	end()
	if dead != nil {
		answered(mail.Appended{Err: dead})
	}
}

// Change makes an effect of each change of flags, of the moves out of a folder, and of what
// is expunged. When the connection breaks, more of it may have been sent.
func (c *crashRemote) Change(ctx context.Context, visits []*mail.Visit) {
	var broken error
	for _, v := range visits {
		sent := broken == nil
		for what, part := range parts(v) {
			if broken != nil {
				if client, ok := c.remote.(*Client); ok && sent {
					quiet(c.crash, func() (struct{}, error) { client.InVain(part); return struct{}{}, nil })
				}
				part.Fail(broken)
				continue
			}
			err := c.crash.effect(what, func() error {
				c.remote.Change(ctx, []*mail.Visit{part})
				return nil
			})
			if err != nil {
				part.Fail(err)
			}
			if err = failed(part); errors.Is(err, mail.ErrUnreachable) {
				broken = err
			}
		}
		if broken == nil && v.Look != nil {
			c.crash.read(func() error {
				c.remote.Change(ctx, []*mail.Visit{{Folder: v.Folder, Validity: v.Validity, Look: v.Look}})
				return nil
			})
		}
	}
}

func (c *crashRemote) Copy(ctx context.Context, folder mail.Folder, validity uint32, uid mail.UID, target mail.Folder) (mail.UID, error) {
	return act(c.crash, "Remote.Copy", func() (mail.UID, error) {
		return c.remote.Copy(ctx, folder, validity, uid, target)
	})
}

func (c *crashRemote) CreateFolder(ctx context.Context, folder mail.Folder) error {
	return c.crash.effect("Remote.CreateFolder", func() error { return c.remote.CreateFolder(ctx, folder) })
}

func (c *crashRemote) DeleteFolder(ctx context.Context, folder mail.Folder) error {
	return c.crash.effect("Remote.DeleteFolder", func() error { return c.remote.DeleteFolder(ctx, folder) })
}

func (c *crashRemote) RenameFolder(ctx context.Context, folder, to mail.Folder) error {
	return c.crash.effect("Remote.RenameFolder", func() error { return c.remote.RenameFolder(ctx, folder, to) })
}

func (c *crashRemote) Examine(ctx context.Context, folder mail.Folder) (mail.RemoteFolder, error) {
	return look(c.crash, func() (mail.RemoteFolder, error) { return c.remote.Examine(ctx, folder) })
}

func (c *crashRemote) Abilities() mail.Abilities { return c.remote.Abilities() }

func (c *crashRemote) Traffic() mail.Traffic { return c.remote.Traffic() }

// crashState is base of a process that dies.
type crashState struct {
	crash *Crash
	state engine.State
}

func (c *crashState) Folders(ctx context.Context) ([]mail.FolderBase, error) {
	return look(c.crash, func() ([]mail.FolderBase, error) { return c.state.Folders(ctx) })
}

func (c *crashState) Known(ctx context.Context, folder mail.FolderID) iter.Seq2[mail.Known, error] {
	return whileAlive(c.crash, c.state.Known(ctx, folder))
}

func (c *crashState) RowsByKey(ctx context.Context, folder mail.FolderID, from mail.Key) iter.Seq2[mail.Row, error] {
	return whileAlive(c.crash, c.state.RowsByKey(ctx, folder, from))
}

func (c *crashState) RowsByUID(ctx context.Context, folder mail.FolderID) iter.Seq2[mail.Row, error] {
	return whileAlive(c.crash, c.state.RowsByUID(ctx, folder))
}

// whileAlive ends an iteration with ErrCrashed.
func whileAlive[T any](crash *Crash, all iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if err := crash.Alive(); err != nil {
			yield(none, err)
			return
		}
		for x, err := range all {
			if crashed := crash.Alive(); crashed != nil {
				yield(none, crashed)
				return
			}
			if !yield(x, err) {
				return
			}
		}
	}
}

func (c *crashState) WithUIDs(ctx context.Context, folder mail.FolderID, uids mail.UIDSet) ([]mail.Row, error) {
	return look(c.crash, func() ([]mail.Row, error) { return c.state.WithUIDs(ctx, folder, uids) })
}

func (c *crashState) UIDs(ctx context.Context, folder mail.FolderID) (mail.UIDSet, error) {
	return look(c.crash, func() (mail.UIDSet, error) { return c.state.UIDs(ctx, folder) })
}

func (c *crashState) Count(ctx context.Context, folder mail.FolderID) (remote, local int, err error) {
	err = c.crash.read(func() error { remote, local, err = c.state.Count(ctx, folder); return err })
	return remote, local, err
}

func (c *crashState) Unsettled(ctx context.Context) ([]mail.Row, error) {
	return look(c.crash, func() ([]mail.Row, error) { return c.state.Unsettled(ctx) })
}

func (c *crashState) Marked(ctx context.Context, folder mail.FolderID) ([]mail.Row, error) {
	return look(c.crash, func() ([]mail.Row, error) { return c.state.Marked(ctx, folder) })
}

func (c *crashState) Dated(ctx context.Context, size int64, date time.Time) ([]mail.Row, error) {
	return look(c.crash, func() ([]mail.Row, error) { return c.state.Dated(ctx, size, date) })
}

func (c *crashState) Alike(ctx context.Context, fingerprint mail.Fingerprint) ([]mail.Row, error) {
	return look(c.crash, func() ([]mail.Row, error) { return c.state.Alike(ctx, fingerprint) })
}

func (c *crashState) Intents(ctx context.Context) ([]mail.Intent, error) {
	return look(c.crash, func() ([]mail.Intent, error) { return c.state.Intents(ctx) })
}

func (c *crashState) Commit(ctx context.Context, batch *mail.Batch) error {
	return c.crash.effect("State.Commit", func() error { return c.state.Commit(ctx, batch) })
}
