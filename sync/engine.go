package sync

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"mailtwin/conflict"
	"mailtwin/conflict/mail"
)

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
	// AllowDeletes carries out removals that would be held, in the folders of Only, or
	// in all if that is empty.
	AllowDeletes bool
	// DryRun plans and reports, and writes nothing anywhere.
	DryRun bool
	// Connections bounds how many folders are worked on at once; 0 means 4.
	Connections int

	Log      *slog.Logger   // nil: silent
	Progress func(Progress) // called from several goroutines; nil: nobody looks
	Now      func() time.Time
}

// Progress is a step of a transfer.
type Progress struct {
	Folder mail.Folder
	// Messages and Bytes have come or gone since the last call.
	Messages int
	Bytes    int64
	// TotalMessages and TotalBytes, where not 0, are added to what is to be done.
	TotalMessages int
	TotalBytes    int64
}

// Counts are the changes that a run made on one side.
type Counts struct {
	New     int `json:"new"`
	Flags   int `json:"flags"`
	Removed int `json:"removed"`
	Moved   int `json:"moved"`
}

// Report is what a run did, or in a dry run would have done.
type Report struct {
	Folders       int // that are synced
	Local, Remote Counts
	Conflicts     int
	Held          []Held        // removals that wait for consent
	Skipped       []mail.Notice // folders and messages left out, and why
	Changed       []mail.Folder // folders in which something changed locally
	Actions       []string      // dry run: what would be done, a line each
	Problems      []*Problem    // what failed; the rest was synced
}

// Held are the removals of one folder that wait for consent.
type Held struct {
	Folder mail.Folder
	Side   mail.Side // where the messages are gone
	Count  int
	Why    string
}

// Problem is something that failed, how far it reached, and what to do about it.
type Problem struct {
	Folder mail.Folder // "": the whole account
	Err    error
	Hint   string // what the user can do; "" where nothing need be done
}

func (p *Problem) Error() string {
	if p.Folder == "" {
		return p.Err.Error()
	}
	return string(p.Folder) + ": " + p.Err.Error()
}

func (p *Problem) Unwrap() error { return p.Err }

// Run brings both sides of the account together once. The Report is of use also if
// there is an error; what it lists as a Problem did not stop the rest. The error
// says why the run ended early: mail.ErrUnreachable, mail.ErrLogin,
// mail.ErrUntrusted, mail.ErrMissing, or the context's.
func Run(ctx context.Context, opts Options) (Report, error) {
	return Report{}, errors.New("the engine is under construction")
}
