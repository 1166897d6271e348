package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"mailtwin/conflict/mail"
)

// The states of a folder, for `folders`. They tell what the next sync finds, and decide
// nothing.
const (
	stateInStep   = "in_step"
	stateChanged  = "changed"   // something happened since the last sync, or waits
	stateNew      = "new"       // on the server, and not synced yet
	stateOnlyHere = "only_here" // not on the server yet
	stateVanished = "vanished"  // it was on both sides, and one has lost it
	stateLeftOut  = "left_out"
)

// folderReport is one folder, on either side or both.
type folderReport struct {
	Name      string  `json:"name"`
	Role      string  `json:"role"`      // "" for none
	Directory *string `json:"directory"` // absolute, whether it is there or not; null where there is none to be
	Synced    bool    `json:"synced"`
	Pattern   *string `json:"pattern"`  // the one of the configuration's folders that decides
	Messages  *int    `json:"messages"` // on the server
	State     string  `json:"state"`
	Why       *string `json:"why"`
}

// seenFolder is one folder as all three see it.
type seenFolder struct {
	name   mail.Folder
	remote *mail.RemoteFolder // nil where the server does not list it
	local  *mail.LocalFolder  // nil where there is none
	base   mail.FolderBase
}

func (f seenFolder) onRemote() bool { return f.remote != nil && !f.remote.NoSelect }

// folders tells of all folders, INBOX first.
func (s *sight) folders() []folderReport {
	all := map[mail.Folder]*seenFolder{}
	at := func(name mail.Folder) *seenFolder {
		if all[name] == nil {
			all[name] = &seenFolder{name: name}
		}
		return all[name]
	}
	for _, f := range s.remote.Folders {
		at(f.Name).remote = &f
	}
	for _, f := range s.local {
		at(f.Name).local = &f
	}
	for _, b := range s.base {
		if f := all[b.Name]; f != nil { // one that is nowhere any more is of no interest
			f.base = b
		}
	}
	reports := []folderReport{}
	for _, name := range slices.SortedFunc(maps.Keys(all), compareFolders) {
		reports = append(reports, s.report(*all[name]))
	}
	for _, n := range s.remote.Notices {
		if n.Folder != "" {
			why := clean(n.Text)
			reports = append(reports, folderReport{Name: clean(string(n.Folder)), State: stateLeftOut, Why: &why})
		}
	}
	return reports
}

// notes are what the server's listing lacks, where no folder can be named.
func (s *sight) notes() []string {
	notes := []string{}
	for _, n := range s.remote.Notices {
		if n.Folder == "" {
			notes = append(notes, clean(n.Text))
		}
	}
	return notes
}

func (s *sight) report(f seenFolder) folderReport {
	selected, pattern := s.account.Folders.Decide(f.name)
	r := folderReport{Name: clean(string(f.name)), Pattern: text(pattern)}
	if f.remote != nil {
		r.Role = string(f.remote.Role)
		if f.remote.Status != (mail.Cursor{}) {
			n := int(f.remote.Status.Messages)
			r.Messages = &n
		}
	}
	if r.Role == "" && f.name == s.account.Trash {
		r.Role = string(mail.RoleTrash)
	}
	dir, err := s.path(f.name)
	if err == nil && (selected && f.onRemote() || f.local != nil) {
		path := clean(filepath.Join(s.account.Maildir, dir))
		r.Directory = &path
	}
	var why string
	switch {
	case !selected && pattern == "":
		r.State, why = stateLeftOut, "no pattern of folders matches it"
	case !selected:
		r.State, why = stateLeftOut, fmt.Sprintf("folders has %q", pattern)
	case err != nil:
		r.State, why = stateLeftOut, err.Error()
	default:
		r.State, why = s.state(f)
	}
	r.Synced, r.Why = r.State != stateLeftOut, text(why)
	return r
}

// state tells the state of a folder that the patterns choose.
func (s *sight) state(f seenFolder) (state, why string) {
	was := f.base.OnLocal && f.base.OnRemote
	switch {
	case f.local == nil && !f.onRemote():
		return stateLeftOut, "it holds no messages, only folders"
	case was && f.local == nil:
		return stateVanished, "it is gone here"
	case was && !f.onRemote():
		return stateVanished, "it is gone on the server"
	case f.local == nil && !s.account.CreateFolders.Local:
		return stateLeftOut, "it is only on the server, and create_folders does not let it be made here"
	case f.local == nil:
		return stateNew, "the next sync makes it here"
	case !f.onRemote() && !s.account.CreateFolders.Remote:
		return stateLeftOut, "it is only here, and create_folders does not let it be made on the server"
	case !f.onRemote():
		return stateOnlyHere, "the next sync makes it on the server"
	case f.base.ID == 0:
		return stateNew, "it was not synced yet"
	case f.base.Problem != "":
		return stateChanged, f.base.Problem
	case s.waiting[f.base.ID] > 0:
		return stateChanged, fmt.Sprintf("%s not in step, see mailtwin status", count(s.waiting[f.base.ID], "message"))
	}
	here, there := f.local.Stamp != f.base.Local, f.remote.Status != f.base.Remote
	switch {
	case here && there:
		return stateChanged, "on both sides since the last sync"
	case here:
		return stateChanged, "here since the last sync"
	case there:
		return stateChanged, "on the server since the last sync"
	}
	return stateInStep, ""
}
