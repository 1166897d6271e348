package history_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mutant is a mistake in the shipped code: in that file, old is replaced by new. Where
// there is an aim, the histories are those in which all that happens befalls that call.
type mutant struct {
	name, file, old, new, aim string
}

// mutants are mistakes that the fast lane has to find. None has a history written for it.
var mutants = []mutant{
	{"new files are not synced", "maildir/land.go",
		`		if err := t.sync(batch...); err != nil {
			return t.gone(err, dir, "tmp")`, `		_ = batch
		if err := error(nil); err != nil {
			return t.gone(err, dir, "tmp")`, ""},
	{"directories are not synced", "maildir/land.go",
		`		if err := t.sync(path.Join(dir, sub)); err != nil {
			return t.gone(err, dir, sub)`, `		if err := error(nil); err != nil {
			return t.gone(err, dir, sub)`, ""},
	{"the store of removed messages is not synced", "maildir/removed.go",
		`		if err := t.syncIn(store, kept); err != nil {
			return "", false, err
		}
		return kept, fresh, t.syncIn(store, path.Dir(kept))`, `		return kept, fresh, nil`, ""},
	{"files of other programs are not synced", "sync/secure.go",
		`	return r.Local.Secure(ctx, f.name, files)`, `	return nil`, ""},
	{"a removed message is not kept", "maildir/removed.go",
		`	kept, fresh, err := t.keep(ctx, store, name, st)`, `	kept, fresh, err := "", false, error(nil)
	_ = st`, ""},
	{"the record comes before the effect", "sync/download.go",
		`	row.State, row.Why, row.Tries, row.RetryAt = mail.Landing, "", 0, time.Time{}`,
		`	row.State, row.Why, row.Tries, row.RetryAt = mail.Settled, "", 0, time.Time{}`, ""},
	{"a body that breaks off is taken for whole", "sync/download.go",
		`	if errors.Is(err, io.ErrUnexpectedEOF) {
		r.keepOrDiscard(`, `	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	if false {
		r.keepOrDiscard(`, ""},
	{"what the power has torn of a message is gone on with", "maildir/part.go",
		`	case err == nil && nameOfPart(part, digest) != kept:`, `	case err == nil && len(digest) == 0:`, ""},
	{"a message is taken for whole that only its rest has come of", "sync/resume.go",
		`			return p.in, nil
		}
		p.in.Discard()
	}
	if b.Offset > 0 {
		return nil, nil
	}`, `		}
		p.in.Discard()
	}`, ""},
	{"a missing file is taken at face value", "maildir/scan.go",
		`		if atRest {`, `		if atRest || true {`, ""},
	{"UIDVALIDITY is not looked at", "conflict/lost.go",
		`	case now.UIDValidity != since.UIDValidity:
		return Renumbered`, `	case false:
		return Renumbered`, ""},
	{"UIDNEXT may go backwards", "conflict/lost.go",
		`	case now.UIDNext != 0 && now.UIDNext < since.UIDNext,
		now.HighestModSeq != 0 && now.HighestModSeq < since.HighestModSeq:`, `	case false:`, ""},
	{"markers are not compared", "conflict/lost.go",
		`	case now == base, now == next, base == mail.Marker{} && now.Generation == 1:`, `	case true:`, ""},
	{"a cursor moves past what was left undone", "sync/carry.go",
		`		if f.unsafe {
			f.stale = f.stale || f.view != nil
			// What base had stands for other rows by now: a Maildir that is restored to that must not
			// pass for it.
			if old := f.base.Local.WithoutTimes(); f.listing != nil && f.listing.Stamp != f.base.Local && old != f.base.Local {
				f.base.Local = old
				batch.PutFolders = append(batch.PutFolders, &f.base)
			}
			continue
		}
		batch.DropIntents`, `		batch.DropIntents`, ""},
	{"the message that another one expunges is the next one", "sync/remove.go",
		`			v.Expunge.Add(a.Item.UID())`, `			v.Expunge.Add(a.Item.UID())
			v.Expunge.Add(a.Item.UID() + 1)`, ""},
	{"flags of one side win", "conflict/merge.go",
		`	return base.With(set).Without(cleared)`, `	_, _ = set, cleared
	return local`, ""},
	{"flags that meet a move halfway are taken for cleared", "sync/agree.go",
		`	if stores(a) {
		row.Pushed`, `	if false {
		row.Pushed`, ""},
	{"what moves on the server has the flags that it has there", "conflict/decide.go",
		`Merge(from.flagsBefore(to.Message.Flags), from.localFlags(), to.Message.Flags)`, `to.Message.Flags`, ""},
	{"a Maildir that is not there is an empty one", "sync/folders.go",
		`	if inbox != nil && inbox.base.OnLocal && !inbox.onLocal {`, `	if false && inbox != nil {`, ""},
	{"what is deleted goes for ever", "conflict/decide.go",
		`		a.Kind, a.Target = MoveToTrash, w.Trash`, `		a.Kind = ExpungeRemote`, ""},
	{"removals do not wait for new files that were refused", "sync/remove.go",
		`	refused, err := r.refused(ctx, f)
	if err != nil {
		return err
	}`, `	var refused refused
	w = &work{folder: f, remote: w.remote}`, ""},
	{"uploads have no intents", "sync/upload.go",
		`	err := r.commit(ctx, intents)
	if err == nil {`, `	err := error(nil)
	if err == nil {`, "Remote.Append"},
	{"what is under way when a connection breaks has no intents left", "sync/upload.go",
		`		if !a.Sent {
			batch.DropIntents`, `		if !a.Sent || !first {
			batch.DropIntents`, "Remote.Append"},
	{"a file that a look does not find is as it was", "conflict/look.go",
		`		if len(files) == 0 || len(rows) > 0 && rows[0].Key < files[0].Key {
			return nil, false
		}`, `		if len(files) == 0 || len(rows) > 0 && rows[0].Key < files[0].Key {
			rows = rows[1:]
			continue
		}`, ""},
	{"what was heard of is dealt with, whatever became of it", "sync/live.go",
		`		case !r.hears(f), f.unsafe, f.failed != nil, f.stale, open[f.base.ID]:
			f.dealt = nil
`, ``, ""},
}

// mutantBudget is how many histories it may take to find one.
const mutantBudget = 6000

// The fast lane finds each of these mistakes within its budget. What is replaced is an
// overlay of the compiler's; the engine knows nothing of it.
func TestHistoriesFindMistakes(t *testing.T) {
	if raceDetector {
		t.Skip("the mistakes are looked for without the race detector")
	}
	tried := mutants
	if os.Getenv("MAILTWIN_LONG") == "" {
		tried = mutants[:3] // each is a build and a run of its own; MAILTWIN_LONG=1 tries all
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range tried {
		t.Run(m.name, func(t *testing.T) {
			file := filepath.Join(root, m.file)
			source := m.source(t, root)
			dir := t.TempDir()
			wrong := filepath.Join(dir, "wrong.go")
			overlay := filepath.Join(dir, "overlay.json")
			replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: wrong}})
			if err != nil {
				t.Fatal(err)
			}
			write(t, wrong, strings.Replace(source, m.old, m.new, 1))
			write(t, overlay, string(replace))
			cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-overlay", overlay, "-run", "^TestHistories$", ".")
			cmd.Env = append(os.Environ(), "MAILTWIN_HISTORIES="+strconv.Itoa(mutantBudget), "MAILTWIN_SEED=1", "MAILTWIN_STEPS=", "MAILTWIN_AIM="+m.aim)
			began := time.Now()
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("not found in %d histories", mutantBudget)
			}
			found, tail, ok := strings.Cut(string(out), "its shortest form: ")
			if !ok {
				t.Fatalf("it fails in another way than by a history:\n%s", out)
			}
			first, _, _ := strings.Cut(tail, "\n")
			t.Logf("found in %v: %s (%s)", time.Since(began).Round(time.Second), first, histories(found))
		})
	}
}

// Each mistake is tried only now and then, but what it replaces has to be there always.
func TestMistakesFitTheSource(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) { m.source(t, "../../..") })
	}
}

// source is the file that the mistake is made in.
func (m mutant) source(t *testing.T, root string) string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s has what is to be replaced %d times", m.file, n)
	}
	return string(source)
}

// histories is how many were played, as the output tells.
func histories(out string) string {
	for line := range strings.Lines(out) {
		if i := strings.Index(line, " histories in"); i >= 0 {
			return strings.TrimSpace(line[strings.LastIndex(line[:i], " ")+1:])
		}
	}
	return ""
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
