package sync

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	stdsync "sync"
	"sync/atomic"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

// One run, and what it may rely on at each step:
//
//	recover   files that a crash left in tmp/ are put in their place
//	   |
//	   v
//	folders   one LIST with STATUS; three lstats a folder; what is new is created
//	   |
//	   v
//	gather    folders whose status or stamp differs from base are scanned, the
//	   |      others are not looked at; DiffRemote and DiffLocal make items
//	   v
//	pair      what is new on both sides, or gone here and new there, is one message
//	   |
//	   v
//	plan      conflict.Make decides; nothing else does
//	   |
//	   v
//	carry out moves, downloads, uploads; when all of them are answered, flags and
//	   |      removals on the server; then removals here
//	   v
//	settle    cursors and stamps move to where the gathering began
//
// Then the folders that the run wrote into are gathered again, and so on until
// nothing differs: the echo of our own changes equals base and means nothing, and
// what somebody else did meanwhile is an ordinary change. So the next run finds
// nothing to do, and steps over nothing.

// maxRounds bounds how often a run gathers again because somebody keeps changing
// things under it. What is left then is for the next run.
const maxRounds = 5

// Options is one account with all that a run needs.
type Options struct {
	Account string
	Local   Local
	Remote  Remote
	State   State

	// Selected tells which folders are synced at all (the patterns of the
	// configuration); nil means every folder.
	Selected func(mail.Folder) bool
	// Only limits what is applied to these folders, if there are any; both sides are
	// still looked at as a whole, since messages move between folders.
	Only []mail.Folder
	// Policy is what the user decided for a folder; nil means the defaults.
	Policy func(mail.Folder) conflict.Policy
	// Trash names the folder that takes deleted messages where the server marks none.
	Trash mail.Folder
	// CreateLocal and CreateRemote tell whether folders may be made on a side.
	CreateLocal, CreateRemote bool
	// RemoveLocal and RemoveRemote tell whether folders may be removed on a side because
	// they are gone on the other.
	RemoveLocal, RemoveRemote bool
	// AllowDeletes carries out removals that would be held, in the folders of Only, or
	// in all if that is empty.
	AllowDeletes bool
	// Lost says why base is new though the account was synced before; "" if it is not, or
	// if that is not known.
	Lost string
	// InStep is when the last run began of which the end is known, if it was one of all folders and
	// left everything in step; else the zero value.
	InStep time.Time
	// Live is what the process knows of the Maildir from its last run and has heard since; nil: it
	// does not watch it.
	Live *Live
	// DryRun plans and reports, and writes nothing anywhere.
	DryRun bool
	// Connections bounds how many transfers run at once; 0 means 4.
	Connections int
	// KeepPart is how much of a message must have come for it to be kept where the
	// connection breaks; 0 means 16 KiB.
	KeepPart int64
	// Tidy: what has come of a message is not kept where the run's context is cancelled, unless
	// for a cause of its own (context.Cause), such as a connection that leads nowhere any more.
	Tidy bool
	// Piece is how many new messages of the server are planned at once, where there is
	// nothing that they may be one with; 0 means 16384.
	Piece int

	Log      *slog.Logger     // nil: silent
	Progress func(Progress)   // called from several goroutines; nil: nobody looks
	Now      func() time.Time // nil: time.Now
}

// run is the state of one Run.
type run struct {
	Options
	ended     func() error // why the run's context has ended; nil: it has not
	heard     heard        // of the Maildir, when the run began
	folders   map[mail.Folder]*folder
	onServer  map[mail.Folder]mail.RemoteFolder // all of them, also those not selected
	trash     mail.Folder
	stirred   bool // a folder was made or removed here
	renames   renames
	intents   []mail.Intent // that an earlier run left open
	unsettled map[mail.FolderID][]mail.Row
	followed  map[mail.RowID]bool // whose files an earlier run may have moved after their messages
	early     early               // nil: nothing was read before its turn yet
	joint     joint
	commits   atomic.Int64 // that have ended

	mu     stdsync.Mutex // guards report, intents, and the folders' dirty marks and letters
	report Report
	held   map[heldKey]Held
	warned map[string]bool
	named  map[settings]string
	blank  bool // base knew no folder when the run began
	losses map[conflict.Loss][]mail.Folder
	// arrived are the new files of this round that are safely on the server, so that
	// what they take the place of may leave it.
	arrived map[*conflict.Item]bool
	// readings are what this run has found last in folders here, and places where the rows have
	// their files that it is working on: see still.go.
	readings map[mail.FolderID]*reading
	places   map[mail.RowID]upload
	// doomed are the rows that are to be dropped in this round, by their keys.
	doomed map[upload]mail.RowID
	// replaced are the rows that are gone since another one took their place.
	replaced []*mail.Row
	// unread are the new files that could not be read.
	unread []unread
	// waiting are the pending messages that this round has left to the next one.
	waiting []*conflict.Item
	// several: of more than one folder there are new messages, some of which may be planned
	// after others.
	several bool
	// announced: what the plan brings here was announced with the first piece.
	announced bool
	// withheld counts how often the server listed a message and did not give it.
	withheld map[*folder]map[mail.UID]int
}

// unread is a file of which no more is known than what the file system tells.
type unread struct {
	folder mail.Folder
	stat   mail.Stat
}

type heldKey struct {
	folder mail.Folder
	side   mail.Side
}

// Run brings both sides of the account together once. The Report is of use also if
// there is an error; what it lists as a Problem did not stop the rest. The error
// says why the run ended early: mail.ErrUnreachable, mail.ErrLogin,
// mail.ErrUntrusted, mail.ErrMissing, mail.ErrNoSpace, mail.ErrState, or the context's.
func Run(ctx context.Context, opts Options) (Report, error) {
	r := &run{Options: opts, ended: func() error { return context.Cause(ctx) }, folders: map[mail.Folder]*folder{}, held: map[heldKey]Held{}, warned: map[string]bool{}, named: map[settings]string{}, withheld: map[*folder]map[mail.UID]int{}, readings: map[mail.FolderID]*reading{}}
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Connections <= 0 {
		r.Connections = 4
	}
	if r.KeepPart <= 0 {
		r.KeepPart = 16 << 10
	}
	if r.Piece <= 0 {
		r.Piece = defaultPiece
	}
	if r.Progress == nil {
		r.Progress = func(Progress) {}
	}
	err := r.run(ctx)
	r.report.finish(r)
	return r.report, err
}

func (r *run) run(ctx context.Context) error {
	r.heard = r.Live.take() // before the Maildir is looked at
	if err := r.load(ctx); err != nil {
		return err
	}
	if err := r.listFolders(ctx); err != nil {
		return err
	}
	if err := r.recoverFiles(ctx); err != nil {
		return err
	}
	for round := range maxRounds {
		if err := r.round(ctx, round); err != nil || r.DryRun {
			return err
		}
		if !r.anyDirty() {
			break
		}
	}
	if err := r.removeEmptied(ctx); err != nil {
		return err
	}
	if err := r.reportWaiting(ctx); err != nil {
		return err
	}
	r.keepDealt()
	return r.sweep(ctx)
}

// round brings both sides together as far as they can be told apart now.
func (r *run) round(ctx context.Context, round int) error {
	items, err := r.gather(ctx, round)
	if err != nil {
		return err
	}
	for first := true; first || len(items) > 0; first = false {
		plan := conflict.Make(items, r.world())
		r.log(plan)
		if r.DryRun {
			r.describe(plan)
			return nil
		}
		if err := r.carryOut(ctx, plan); err != nil {
			return err
		}
		if items, err = r.nextPiece(ctx, round); err != nil {
			return err
		}
	}
	return r.settle(ctx)
}

// removeEmptied removes the folders that were to go once they are empty.
func (r *run) removeEmptied(ctx context.Context) error {
	r.stirred = false
	if err := r.endHeld(ctx); err != nil {
		return err
	}
	if err := r.dissolveEmptied(ctx); err != nil || !r.stirred {
		return err
	}
	// What lay around it is scanned in this run, as in listFolders.
	if moved, err := r.stampsMoved(ctx); err != nil || !moved {
		return err
	}
	return r.round(ctx, maxRounds)
}

// sweep removes what crashes and other programs left in the tmp/ of the folders that
// the run has changed.
func (r *run) sweep(ctx context.Context) error {
	return r.each(ctx, r.usable(func(f *folder) bool { return f.marked }), r.Connections, func(ctx context.Context, f *folder) error {
		landing := map[mail.Key]bool{}
		for _, row := range r.unsettled[f.base.ID] {
			landing[row.Key] = row.State == mail.Landing
		}
		return r.Local.Sweep(ctx, f.name, func(key mail.Key) bool { return landing[key] })
	})
}

// load reads what base knows besides the folders and their rows.
func (r *run) load(ctx context.Context) error {
	var err error
	if r.intents, err = r.State.Intents(ctx); err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	rows, err := r.State.Unsettled(ctx)
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	r.unsettled = map[mail.FolderID][]mail.Row{}
	for _, row := range rows {
		r.unsettled[row.Folder] = append(r.unsettled[row.Folder], row)
	}
	return nil
}

// world is what the plan needs to know of the account.
func (r *run) world() conflict.World {
	w := conflict.World{
		Folders:    make(map[mail.Folder]conflict.FolderInfo, len(r.folders)),
		Trash:      r.trash,
		CanExpunge: r.Remote.Abilities().UIDPlus,
		CanMove:    r.Remote.Abilities().Move,
		Allow:      func(f mail.Folder) bool { return r.AllowDeletes && r.wanted(f) },
	}
	for name, f := range r.folders {
		w.Folders[name] = r.info(f)
	}
	return w
}

// wanted tells whether the command line limits the run to other folders.
func (r *run) wanted(name mail.Folder) bool {
	if len(r.Only) == 0 {
		return true
	}
	for _, only := range r.Only {
		if only == name {
			return true
		}
	}
	return false
}

func (r *run) anyDirty() bool {
	for _, f := range r.folders {
		if f.usable() && (f.localDirty || f.remoteDirty) {
			return true
		}
	}
	return false
}

// ends tells whether an error ends the whole run: what follows it would fail alike.
func ends(err error) bool {
	for _, target := range []error{
		mail.ErrUnreachable, mail.ErrUntrusted, mail.ErrLogin, mail.ErrMissing, mail.ErrNoSpace, mail.ErrState,
		context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// fail deals with an error of one folder: one that ends the run comes back, any
// other is reported, and the folder is left as it is until the next run.
func (r *run) fail(f *folder, err error) error {
	if err == nil {
		return nil
	}
	if ends(err) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(err, mail.ErrRestarted) {
		// The next round reads the folder anew.
		f.remoteDirty, f.unsafe = true, true
		return nil
	}
	f.failed = err
	r.report.Problems = append(r.report.Problems, &Problem{Folder: f.name, Err: err})
	return nil
}
