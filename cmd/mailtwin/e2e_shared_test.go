package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/courier"
	"mailtwin/sync/imaptest/dovecot"
)

// rights lets a folder's file dovecot-acl say what its owner may do.
const rights = "mail_plugins = $mail_plugins acl\nprotocol imap {\n mail_plugins = $mail_plugins acl imap_acl\n}\nplugin {\n acl = vfile\n}"

func TestFoldersThatCannotBeReadOrWritten(t *testing.T) {
	server := dovecot.Start(t, dovecot.Extra(rights))
	s := newStory(t, server, server.User)
	for folder, may := range map[mail.Folder]string{"Secret": "l", "Notices": "lr"} {
		s.check(s.phone.CreateFolder(s.Context(), folder, mail.RoleNone))
		s.deliver(folder, note("in "+string(folder)), none)
		acl := filepath.Join(server.MailDir, "."+string(folder), "dovecot-acl")
		s.check(os.WriteFile(acl, []byte("owner "+may+"\n"), 0o644))
	}
	s.phone.Close() // its session knows the rights as they were
	s.deliver("INBOX", note("mine"), none)
	d := s.device("laptop")
	r := d.sync()
	d.want("INBOX", d.subjects("INBOX"), "mine")
	d.want("Notices", d.subjects("Notices"), "in Notices")
	if slices.Contains(d.folders(), "Secret") {
		s.Error("a folder was made that cannot be read")
	}
	said := map[string]int{}
	for _, n := range r.Skipped {
		said[n.Folder]++
	}
	if said["Secret"] != 1 || said["Notices"] != 1 || len(said) != 2 {
		s.Errorf("it said %v", r.Skipped)
	}
	d.reflag(d.only("Notices"), "S")
	d.save("INBOX", "cur", "1.a.host:2,S", note("another"), then)
	r = d.sync()
	d.did(r, counts4{}, counts4{New: 1})
	if f := d.only("Notices"); !f.flags.Equal(seen) {
		s.Errorf("what changed here has flags %v", f.flags)
	}
	d.did(d.sync(), counts4{}, counts4{})
}

func TestSharedFolders(t *testing.T) {
	server := dovecot.Start(t, dovecot.Extra("namespace public {\n type = public\n separator = /\n prefix = Public/\n"+
		" location = maildir:~/public\n subscriptions = no\n}"))
	s := newStory(t, server, server.User)
	s.check(s.phone.CreateFolder(s.Context(), "Public/news", mail.RoleNone))
	s.deliver("Public/news", note("for all"), none)
	laptop, desktop := s.device("laptop"), s.device("desktop", `namespaces = ["personal", "shared"]`)
	laptop.sync()
	if slices.Contains(laptop.folders(), "Public/news") {
		s.Error("a shared folder came unasked")
	}
	laptop.quiet()
	desktop.sync()
	desktop.want("Public/news", desktop.subjects("Public/news"), "for all")
	desktop.save("Public/news", "cur", "1.a.host:2,S", note("from me"), then)
	desktop.sync()
	s.want("Public/news", s.there("Public/news"), "for all", "from me")
	desktop.did(desktop.sync(), counts4{}, counts4{})
	desktop.same()
}

// TestFoldersOfOtherUsers: they come if they are asked for, those that may only be read
// as well, which is said once; and what is in them is never taken for the user's own.
func TestFoldersOfOtherUsers(t *testing.T) {
	shared, err := os.MkdirTemp("", "shared")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shared) })
	server := dovecot.Start(t, dovecot.Users("bob"), dovecot.Extra(rights+"\nplugin {\n acl_shared_dict = file:"+shared+"/dict\n}\n"+
		"namespace users {\n type = shared\n separator = /\n prefix = Users/%%u/\n location = maildir:%%h/mail\n subscriptions = no\n list = children\n}"))
	uid, gid := server.Owner()
	if err := os.Chown(shared, uid, gid); err != nil {
		t.Fatal(err)
	}
	s := newStory(t, server, server.User)
	bob := server.PhoneOf(t, "bob")
	for folder, may := range map[mail.Folder][]string{
		"Project": {"lookup", "read", "write", "write-seen", "write-deleted", "insert", "expunge"},
		"Notes":   {"lookup", "read"}, "Diary": nil, "Names": {"lookup"},
	} {
		s.check(bob.CreateFolder(s.Context(), folder, mail.RoleNone))
		_, err := bob.Deliver(s.Context(), folder, []byte(wireOf(note("in "+string(folder)))), none, then)
		s.check(err)
		if may != nil {
			_, err = server.Doveadm(s.Context(), append([]string{"acl", "set", "-u", "bob", string(folder), "user=" + s.user}, may...)...)
			s.check(err)
		}
	}
	bob.Close() // its session knows the rights as they were
	s.deliver("INBOX", note("mine"), none)

	own := []string{"Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"}
	laptop := s.device("laptop")
	if r := laptop.sync(); len(r.Skipped) > 0 {
		t.Errorf("it said %v", r.Skipped)
	}
	s.want("folders of the laptop", texts(laptop.folders()), own...)
	laptop.quiet()

	desktop := s.device("desktop", `namespaces = ["personal", "other"]`)
	r := desktop.sync()
	s.want("folders of the desktop", texts(desktop.folders()), append(own, "Users/bob/Notes", "Users/bob/Project")...)
	said := map[string]int{}
	for _, n := range r.Skipped {
		said[n.Folder]++
	}
	if len(said) != 2 || said["Users/bob/Notes"] != 1 || said["Users/bob/Names"] != 1 {
		t.Errorf("it said %v", r.Skipped)
	}
	desktop.save("Users/bob/Project", "cur", "1.a.host:2,S", note("plan"), then)
	desktop.save("Users/bob/Notes", "cur", "2.a.host:2,S", note("stays"), then)
	desktop.reflag(desktop.find("Users/bob/Project", "in Project"), "F")
	desktop.reflag(desktop.find("Users/bob/Notes", "in Notes"), "S")
	r = desktop.sync()
	desktop.did(r, counts4{}, counts4{New: 1, Flags: 1})
	for _, n := range r.Skipped {
		if n.Folder == "Users/bob/Notes" {
			t.Errorf("it said once more %v", n)
		}
	}
	desktop.rests()
	desktop.remove(desktop.find("Users/bob/Project", "in Project"))
	desktop.remove(desktop.find("Users/bob/Notes", "in Notes"))
	desktop.sync()
	desktop.rests()
	s.want("Trash", s.there("Trash"), "in Project")
	for folder, want := range map[mail.Folder]string{"Project": "plan", "Notes": "in Notes"} {
		found, err := bob.Messages(s.Context(), folder)
		s.check(err)
		if len(found) != 1 || subject(string(found[0].Raw)) != want || folder == "Notes" && !found[0].Flags.Empty() {
			t.Errorf("%s has %v, want %q", folder, found, want)
		}
	}
}

// TestCourierShares: it lists the folders in shared. twice, and those in #shared. only if
// they are asked for.
func TestCourierShares(t *testing.T) {
	server := courier.Start(t, courier.Sharing())
	s := at(t, server.Host, server.Port, server.User, server.Password, server.Phone(t))
	bob := server.PhoneOf(t, "bob")
	for folder, rights := range map[mail.Folder]string{"Project": "eilrstw", "Notes": "lr", "Diary": "", "Names": "l"} {
		s.check(bob.CreateFolder(s.Context(), folder, mail.RoleNone))
		_, err := bob.Deliver(s.Context(), folder, []byte(wireOf(note("in "+string(folder)))), none, then)
		s.check(err)
		s.check(server.Share("bob", string(folder), server.User, rights))
	}
	s.deliver("INBOX", note("mine"), none)

	laptop := s.device("laptop", ourTrash...)
	r := laptop.sync()
	s.want("folders of the laptop", texts(laptop.folders()), "INBOX")
	if len(r.Skipped) > 0 {
		t.Errorf("it said %v", r.Skipped)
	}

	desktop := s.device("desktop", append(ourTrash, `namespaces = ["personal", "shared"]`)...)
	r = desktop.sync()
	s.want("folders of the desktop", texts(desktop.folders()), "#shared/bob/Notes", "#shared/bob/Project", "INBOX", "shared/team/news")
	said := map[string]int{}
	for _, n := range r.Skipped {
		said[n.Folder]++
	}
	if len(said) != 2 || said["#shared/bob/Notes"] != 1 || said["#shared/bob/Names"] != 1 {
		t.Errorf("it said %v", r.Skipped)
	}
	desktop.want("Project", desktop.subjects("#shared/bob/Project"), "in Project")
	desktop.want("Notes", desktop.subjects("#shared/bob/Notes"), "in Notes")
	desktop.rests()

	desktop.save("shared/team/news", "new", "1.a.host", note("news"), then)
	desktop.save("#shared/bob/Project", "cur", "2.a.host:2,S", note("plan"), then)
	desktop.save("#shared/bob/Notes", "cur", "3.a.host:2,S", note("stays"), then)
	desktop.reflag(desktop.find("#shared/bob/Notes", "in Notes"), "S")
	desktop.did(desktop.sync(), counts4{}, counts4{New: 2})
	desktop.rests()
	other := s.device("other", append(ourTrash, `namespaces = ["shared"]`)...)
	other.did(other.sync(), counts4{New: 4}, counts4{})
	s.want("folders of the other", texts(other.folders()), "#shared/bob/Notes", "#shared/bob/Project", "shared/team/news")
	other.want("news", other.subjects("shared/team/news"), "news")
	for folder, want := range map[mail.Folder]int{"Project": 2, "Notes": 1} {
		found, err := bob.Messages(s.Context(), folder)
		s.check(err)
		if len(found) != want || folder == "Notes" && !found[0].Flags.Empty() {
			t.Errorf("%s has %v, want %d messages", folder, found, want)
		}
	}
	desktop.want("Notes", desktop.subjects("#shared/bob/Notes"), "in Notes", "stays")

	// What namespaces leaves out is not gone: nothing is held, nor removed, nor made anew in
	// our own namespace, and when it is taken in again, it goes on.
	text, err := os.ReadFile(desktop.config)
	s.check(err)
	s.check(os.WriteFile(desktop.config, []byte(strings.Replace(string(text), `"personal", "shared"`, `"personal"`, 1)), 0o600))
	before := s.phoneFolders()
	for range 2 {
		desktop.did(desktop.sync(), counts4{}, counts4{})
	}
	desktop.want("Project", desktop.subjects("#shared/bob/Project"), "in Project", "plan")
	s.want("folders of the server", s.phoneFolders(), before...)
	s.check(os.WriteFile(desktop.config, text, 0o600))
	desktop.did(desktop.sync(), counts4{}, counts4{})
	desktop.rests()
}

// phoneFolders are those that the server lists.
func (s *story) phoneFolders() []string {
	list, err := s.phone.List(s.Context())
	s.check(err)
	var all []string
	for _, f := range list {
		all = append(all, string(f.Name))
	}
	return all
}

func texts(folders []mail.Folder) []string {
	var all []string
	for _, f := range folders {
		all = append(all, string(f))
	}
	return all
}
