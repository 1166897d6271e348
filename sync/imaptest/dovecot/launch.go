package dovecot

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest/daemon"
)

// capabilities are what Dovecot 2.3 announces after login, for Hide to take from:
// imap_capability can add to the list by itself, but not remove from it.
var capabilities = strings.Fields(`IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY
	THREAD=REFERENCES THREAD=REFS THREAD=ORDEREDSUBJECT MULTIAPPEND URL-PARTIAL CATENATE UNSELECT
	CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES
	WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE SNIPPET=FUZZY PREVIEW=FUZZY PREVIEW STATUS=SIZE
	SAVEDATE LITERAL+ NOTIFY SPECIAL-USE`)

// configure chooses ports and writes dovecot.conf and the file of users.
func (s *Server) configure(o options) error {
	var err error
	if s.Port, err = daemon.FreePort(); err != nil {
		return err
	}
	if s.TLSPort, err = daemon.FreePort(); err != nil {
		return err
	}
	if err := s.admit(o.users, s.Password); err != nil {
		return err
	}
	conf, err := s.config(o)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.conf, []byte(conf), 0o644); err != nil {
		return fmt.Errorf("write dovecot's configuration: %w", err)
	}
	return nil
}

// admit writes who may log in, with that password and no other one.
func (s *Server) admit(users []string, password string) error {
	var all strings.Builder
	for _, u := range users {
		fmt.Fprintf(&all, "%s:{PLAIN}%s\n", u, password)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "users"), []byte(all.String()), 0o644); err != nil {
		return fmt.Errorf("write dovecot's users: %w", err)
	}
	return nil
}

func (s *Server) config(o options) (string, error) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("base_dir = %s/run", s.dir)
	line("state_dir = %s/state", s.dir)
	line("log_path = %s/log", s.dir)
	line("instance_name = %s", filepath.Base(s.dir))
	line("protocols = imap")
	line("listen = %s", s.Host)

	if os.Getuid() != 0 {
		// Without root there is one user for everything, and no chroot.
		me, err := user.Current()
		if err != nil {
			return "", fmt.Errorf("find out who runs the test: %w", err)
		}
		group, err := user.LookupGroupId(me.Gid)
		if err != nil {
			return "", fmt.Errorf("find out who runs the test: %w", err)
		}
		line("default_internal_user = %s", me.Username)
		line("default_internal_group = %s", group.Name)
		line("default_login_user = %s", me.Username)
		line("service anvil {\n chroot =\n}\nservice imap-login {\n chroot =\n}")
	}
	line("first_valid_uid = 1\nfirst_valid_gid = 1")

	line("ssl = yes\nssl_cert = <%s/cert.pem\nssl_key = <%s/key.pem", s.dir, s.dir)
	line("disable_plaintext_auth = no")
	line("auth_mechanisms = plain login cram-md5 scram-sha-256")
	line("auth_failure_delay = 0")
	line("passdb {\n driver = passwd-file\n args = %s/users\n}", s.dir)
	line("userdb {\n driver = static\n args = uid=%d gid=%d home=%s/home/%%u\n}", s.uid, s.gid, s.dir)
	line("service imap-login {\n inet_listener imap {\n port = %d\n}\n inet_listener imaps {\n port = %d\n ssl = yes\n}\n}", s.Port, s.TLSPort)
	// Tests open more connections from one address than people do.
	line("mail_max_userip_connections = 500")
	line("mail_fsync = never")      // nothing here outlives a power cut
	line("default_vsz_limit = 4 G") // the index of a million messages
	// Doorbells must ring within the patience of a test.
	line("mailbox_list_index = yes\nimap_idle_notify_interval = 2 s\nmailbox_idle_check_interval = 1 s")

	store := "maildir"
	if o.sdbox {
		store = "sdbox"
	}
	line("mail_location = %s:~/mail", store)
	line("namespace inbox {\n inbox = yes\n separator = %s\n prefix = %s", o.sep, o.prefix)
	if o.roles {
		for _, f := range special {
			line(" mailbox %s {\n special_use = \\%s\n auto = subscribe\n}", f.name, attr(f.role))
		}
	}
	line("}")
	if len(o.hidden) > 0 {
		left := slices.DeleteFunc(slices.Clone(capabilities), func(c string) bool { return slices.Contains(o.hidden, c) })
		line("imap_capability = %s", strings.Join(left, " "))
	}
	for _, extra := range o.extra {
		line("%s", extra)
	}
	return b.String(), nil
}

func attr(r mail.Role) string { return strings.ToUpper(string(r[:1])) + string(r[1:]) }

var errPortTaken = errors.New("another program has taken the port")

// launch starts Dovecot on the configuration, and waits until it greets.
func (s *Server) launch() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("open dovecot's log: %w", err)
	}
	defer log.Close()
	before, err := log.Seek(0, 2)
	if err != nil {
		return fmt.Errorf("look at dovecot's log: %w", err)
	}
	if s.process, err = daemon.Start(log, nil, program("dovecot"), "-F", "-c", s.conf); err != nil {
		return err
	}
	if err := s.process.Await(s.Port); err != nil {
		s.Stop()
		if strings.Contains(s.Log()[min(int(before), len(s.Log())):], "Address already in use") {
			return errPortTaken
		}
		return fmt.Errorf("start dovecot: %w", err)
	}
	return nil
}
