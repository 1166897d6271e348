package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"mailtwin/cmd/internal/config"
	"mailtwin/conflict/mail"
	engine "mailtwin/sync"
)

// The rules of what is printed:
//
//   - Standard error has what went wrong, a line each: who, what, what to do next.
//   - Standard output has what was asked for: the document of --json and nothing
//     else, the lines of --dry-run, the tables of status. A summary goes there too,
//     but only to a terminal, or with -v: cron mails whatever a job prints.
//   - -q keeps what passes by itself (75) to itself, since a laptop is often
//     offline; but never that a server is not to be trusted.
//   - No text from a server or a file name reaches a terminal as it came.

// maxText bounds one piece of text from outside, in octets.
const maxText = 1000

func clean(s string) string { return mail.Clean(s, maxText) }

// complain prints one error: "mailtwin: ACCOUNT: FOLDER: what: what to do next". For
// errors with several lines, as those of a configuration, it prints several. Any of
// the parts but the error may be "".
func (a *App) complain(account string, folder mail.Folder, err error, next string) {
	var mistakes config.Errors
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			fmt.Fprintln(a.Stderr, "mailtwin: "+clean(m.Error()))
		}
		return
	}
	fmt.Fprintln(a.Stderr, line(account, folder, err.Error(), next))
}

// line puts the parts of a complaint together. The hint is the program's own text,
// and the folder's name in it is clean.
func line(account string, folder mail.Folder, what, next string) string {
	parts := []string{"mailtwin"}
	what = strings.ReplaceAll(what, "\n", "; ")
	for _, s := range []string{account, string(folder), what, next} {
		if s = clean(s); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

// complaint is something that went wrong with an account.
type complaint struct {
	folder mail.Folder
	err    error
	next   string
}

func (c complaint) String() string {
	s := line("", c.folder, c.err.Error(), c.next)
	return strings.TrimPrefix(s, "mailtwin: ")
}

// complaints lists all that is wrong with the account.
func (o outcome) complaints() []complaint {
	var all []complaint
	switch {
	case o.code() == exitInterrupted:
		// What the signal cut off may have left any error behind.
		all = append(all, complaint{"", errors.New("interrupted"), "the next sync goes on from here"})
	case o.err != nil:
		all = append(all, complaint{"", o.err, nextStep(o.err)})
	}
	for _, p := range o.report.Problems {
		next := p.Hint
		if next == "" {
			next = nextStep(p.Err)
		}
		all = append(all, complaint{p.Folder, p.Err, next})
	}
	for _, h := range o.report.Held {
		next := "to go on: mailtwin sync --allow-deletes " + shellWord(o.account+":"+clean(string(h.Folder)))
		all = append(all, complaint{h.Folder, heldError(h), next})
	}
	return all
}

// heldError says what waits, and where the messages still are.
func heldError(h engine.Held) error {
	why := clean(h.Why)
	if h.Count == 0 {
		return errors.New("held: " + why)
	}
	if why != "" {
		why = ": " + why
	}
	where := map[mail.Side]string{mail.Local: "gone from the Maildir, not removed from the server",
		mail.Remote: "gone from the server, not removed here"}[h.Side]
	return fmt.Errorf("held: %s %s%s", count(h.Count, "message"), where, why)
}

// nextStep is what a person can do about an error that came without a hint.
func nextStep(err error) string {
	var coded interface{ ExitCode() int }
	switch {
	case errors.As(err, &coded):
		return "" // it says so itself
	case errors.Is(err, mail.ErrUntrusted):
		return "no password was sent; look at host, ca_file and pin_sha256"
	case errors.Is(err, mail.ErrUnreachable), errors.Is(err, mail.ErrTryLater):
		return "the next sync tries again"
	case errors.Is(err, mail.ErrLogin):
		return "check user and password_command"
	case errors.Is(err, mail.ErrLayout):
		return "nothing was changed; put layout back, or begin anew with another maildir and without the account's state directory"
	case errors.Is(err, mail.ErrNoSpace):
		return "make room, and sync again; what has come is kept"
	case errors.Is(err, mail.ErrMissing):
		return "mount it or put it back, or look at maildir in the configuration; nothing was removed from the server"
	}
	return ""
}

// printComplaints prints what -q does not keep back.
func (a *App) printComplaints(o outcome) {
	for _, c := range o.complaints() {
		passing := o.code() == exitTemporary && !errors.Is(c.err, mail.ErrUntrusted)
		if a.quiet && passing {
			continue
		}
		a.complain(o.account, c.folder, c.err, c.next)
	}
}

// summary says in one line what a run changed.
func (o outcome) summary(dryRun bool) string {
	side := func(c engine.Counts) string {
		var parts []string
		add := func(n int, text string) {
			if n > 0 {
				parts = append(parts, text)
			}
		}
		add(c.New, fmt.Sprintf("%d new", c.New))
		add(c.Flags, fmt.Sprintf("%d reflagged", c.Flags))
		add(c.Removed, fmt.Sprintf("%d removed", c.Removed))
		add(c.Moved, fmt.Sprintf("%d moved", c.Moved))
		return strings.Join(parts, ", ")
	}
	var parts []string
	if s := side(o.report.Local); s != "" {
		parts = append(parts, "here "+s)
	}
	if s := side(o.report.Remote); s != "" {
		parts = append(parts, "on server "+s)
	}
	if n := o.report.Renamed; n > 0 {
		parts = append(parts, count(n, "folder")+" renamed")
	}
	if n := o.report.Conflicts; n > 0 {
		parts = append(parts, count(n, "conflict"))
	}
	messages, folders := 0, 0
	for _, h := range o.report.Held {
		messages += h.Count
		if h.Count == 0 {
			folders++ // the folder itself waits
		}
	}
	if messages > 0 {
		parts = append(parts, fmt.Sprintf("%d held", messages))
	}
	if folders > 0 {
		parts = append(parts, count(folders, "folder")+" held")
	}
	if n := len(o.report.Problems); n > 0 {
		parts = append(parts, count(n, "problem"))
	}
	if n := len(o.report.Actions); len(parts) == 0 && n > 0 {
		parts = append(parts, count(n, "step")) // folders, or what the counts do not know
	}
	if len(parts) == 0 {
		parts = append(parts, "nothing new")
	}
	would := ""
	if dryRun {
		would = "would be: "
	}
	unit := 10 * time.Millisecond
	if o.duration < 10*unit {
		unit = time.Millisecond
	}
	return fmt.Sprintf("%s: %s%s (%s, %v)", o.account, would, strings.Join(parts, "; "),
		count(o.report.Folders, "folder"), o.duration.Round(unit))
}

// count writes a number of things.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// shellWord quotes s for a shell, where it needs that.
func shellWord(s string) string {
	if strings.ContainsAny(s, " \t'\"\\$`!*?[](){}<>|&;#~%") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// printJSON prints a document in one line.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// isTerminal tells whether a person looks at w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
