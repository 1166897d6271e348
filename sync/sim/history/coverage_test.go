package history_test

import (
	"strings"

	"mailtwin/sync/sim/history"
)

// mustStrike lists what a budget of histories has to strike at least once: each action of
// the plan, carried out and interrupted; each call of the engine that has an effect,
// before and after it; each call of the disk and of the server, in each way that it can
// fail; and each kind of step.
func mustStrike() []history.Strike {
	var all []history.Strike
	each := func(what string, how ...string) {
		for _, name := range strings.Fields(what) {
			for _, h := range how {
				all = append(all, history.Strike{What: name, How: h})
			}
		}
	}
	prefixed := func(prefix, what string, how ...string) {
		for _, name := range strings.Fields(what) {
			for _, h := range how {
				all = append(all, history.Strike{What: prefix + " " + name, How: h})
			}
		}
	}
	prefixed("plan", "agree download upload move-remote move-local copy-remote link remove-local move-to-trash expunge-remote part note hold drop",
		"planned")
	prefixed("plan", "agree download upload move-remote move-local copy-remote link remove-local move-to-trash expunge-remote part drop",
		"killed", "hindered")
	each(`Local.CreateFolder Local.RemoveFolder Local.ForgetFolder Local.RenameFolder Local.SetMarker Local.SetLetters Local.Create
		Local.Resume Incoming.Write Incoming.Finish Incoming.Keep Local.Harden Local.Publish Local.Secure Local.SyncFolder Local.Reflag Local.Move
		Local.Link Local.Remove Local.Sweep Remote.Append Remote.Store Remote.Move Remote.Copy Remote.Expunge
		Remote.CreateFolder Remote.DeleteFolder Remote.RenameFolder State.Commit`,
		"done", "killed before", "killed after")
	each("State.Commit", "failed")
	prefixed("disk", "create write sync link rename replace unlink mkdir rmdir utimes", "killed before", "killed after", "failed")
	prefixed("disk", "open lstat readdir", "failed")
	each(`Local.Create/create Local.Resume/create Incoming.Keep/replace Incoming.Finish/write Incoming.Finish/utimes Local.Harden/sync Local.Publish/rename
		Local.SyncFolder/sync Local.Secure/sync Local.Reflag/rename Local.Move/rename Local.Link/link Local.Remove/link
		Local.Remove/sync Local.Remove/unlink Local.SetMarker/replace Local.SetLetters/replace`,
		"killed before", "killed after", "failed")
	prefixed("server", "Folders Scan Identify Fetch Examine Append Store Move Copy Expunge CreateFolder DeleteFolder RenameFolder",
		"not reached", "answer lost")
	prefixed("server", "Append Store Move Copy Expunge CreateFolder DeleteFolder RenameFolder", "done late", "never done", "refused")
	prefixed("server", "Fetch Append", "cut off", "cut off at its end")
	prefixed("server", "Fetch Identify", "told twice")
	prefixed("step", "sync change folder wait power lose old oldmail unmount renumber restore refuse crowd clear", "done")
	each("watch", "looked", "looked, none there", "late", "overrun", "stale: true", "stale: false")
	return append(all, history.Strike{What: "power", How: "lost"}, history.Strike{What: "phone's move", How: "seen halfway"},
		history.Strike{What: "phone's move", How: "flagged meanwhile"}, history.Strike{What: "flags", How: "looked at"}, history.Strike{What: "flags", How: "looked at again"}, history.Strike{What: "rest", How: "held"},
		history.Strike{What: "copy", How: "counted"})
}
