package courier

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// public is the directory of the folders that all accounts see.
func (s *Server) public() string { return filepath.Join(s.dir, "public") }

// index is the file that tells where the accounts are whose folders may be shared.
func (s *Server) index() string { return filepath.Join(s.dir, "index") }

func (s *Server) makeShared() error {
	if err := s.maildirmake("-S", s.public()); err != nil {
		return err
	}
	if err := s.maildirmake("-s", "write", "-f", "news", s.public()); err != nil {
		return err
	}
	return os.WriteFile(s.index(), nil, 0o644)
}

// joinShared shows a new account what is shared, and its folders to the others.
func (s *Server) joinShared(user, dir string) error {
	if err := s.maildirmake("--add", "team="+s.public(), dir); err != nil {
		return err
	}
	f, err := os.OpenFile(s.index(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("share the folders of %s: %w", user, err)
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%s\t%d\t%d\t%s\t%s\n", user, nobody, nobody, s.dir, dir)
	return err
}

// Share lets another user do in a folder of owner's what the letters of RFC 4314 say. The
// folder is called as the server calls it, without INBOX and its dot.
func (s *Server) Share(owner, folder, user, rights string) error {
	acl := filepath.Join(s.dir, owner, "."+folder, "courierimapacl")
	text := "owner aceilrstwx\nadministrators aceilrstwx\n"
	if rights != "" {
		text += "user=" + user + " " + rights + "\n"
	}
	if err := os.WriteFile(acl, []byte(text), 0o644); err != nil {
		return fmt.Errorf("share %s of %s: %w", strings.Trim(folder, "."), owner, err)
	}
	return s.own(acl)
}
