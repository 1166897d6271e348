package dovecot

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailtwin/conflict/mail"
	"mailtwin/sync/imaptest"
	"mailtwin/sync/imaptest/corpus"
)

func TestBothPortsServeTheAccount(t *testing.T) {
	s := Start(t)
	p := s.Phone(t)
	if _, err := p.Deliver(t.Context(), mail.Inbox, []byte("Subject: x\r\n\r\n"), mail.Flags{}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	secure, err := imaptest.Dial(t.Context(), imaptest.DialOptions{
		Host: s.Host, Port: s.TLSPort, User: s.User, Password: s.Password, TLS: s.ClientTLS(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	if c, err := secure.Status(t.Context(), mail.Inbox); err != nil || c.Messages != 1 || c.HighestModSeq == 0 {
		t.Errorf("got %+v, %v", c, err)
	}
	if files, err := filepath.Glob(filepath.Join(s.MailDir, "new", "*")); err != nil || len(files)+len(glob(t, s, "cur/*")) != 1 {
		t.Errorf("in the Maildir: %q, %v", files, err)
	}
}

func TestCAFileIsTheAuthority(t *testing.T) {
	s := Start(t)
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in it")
	}
	for _, name := range []string{"localhost", "127.0.0.1"} {
		conn, err := tls.Dial("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.TLSPort)), &tls.Config{RootCAs: pool, ServerName: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		conn.Close()
	}
}

// capabilitiesOf logs in by hand and gives what the server announces then.
func capabilitiesOf(t *testing.T, s *Server) string {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "a LOGIN %s %q\r\nb CAPABILITY\r\nc LOGOUT\r\n", s.User, s.Password)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if caps, ok := strings.CutPrefix(lines.Text(), "* CAPABILITY "); ok {
			return caps
		}
	}
	t.Fatal("no capabilities")
	return ""
}

func TestHideTakesAwayNothingElse(t *testing.T) {
	all := strings.Fields(capabilitiesOf(t, Start(t)))
	if got, want := strings.Join(all, " "), strings.Join(capabilities, " "); got != want {
		t.Logf("this Dovecot has %s", got) // a later version may have more
	}
	left := " " + capabilitiesOf(t, Start(t, Hide("MOVE", "CONDSTORE", "QRESYNC"))) + " "
	for _, c := range all {
		hidden := c == "MOVE" || c == "CONDSTORE" || c == "QRESYNC"
		if strings.Contains(left, " "+c+" ") == hidden {
			t.Errorf("%s: hidden should be %v", c, hidden)
		}
	}
}

func TestUsersDoNotSeeEachOther(t *testing.T) {
	s := Start(t, Users("bob"))
	bob := s.PhoneOf(t, "bob")
	if _, err := bob.Deliver(t.Context(), mail.Inbox, []byte("Subject: x\r\n\r\n"), mail.Flags{}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Phone(t).Messages(t.Context(), mail.Inbox); err != nil || len(got) != 0 {
		t.Errorf("alice has %v, %v", got, err)
	}
	if _, err := os.Stat(s.Account("bob").MailDir); err != nil {
		t.Error(err)
	}
}

func TestStopRefusesConnections(t *testing.T) {
	for name, end := range map[string]func(*Server){"Stop": (*Server).Stop, "Kill": (*Server).Kill} {
		s := Start(t)
		p := s.Phone(t)
		end(s)
		if _, err := p.List(t.Context()); err == nil {
			t.Errorf("%s: a session goes on", name)
		}
		if conn, err := net.Dial("tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port))); err == nil {
			conn.Close()
			t.Errorf("%s: the port is open", name)
		}
		end(s) // once more, which does nothing
		s.Restart()
		if _, err := p.List(t.Context()); err != nil {
			t.Errorf("after %s and Restart: %v", name, err)
		}
	}
}

func TestDoveadm(t *testing.T) {
	s := Start(t)
	out, err := s.Doveadm(t.Context(), "user", s.User)
	if err != nil || !strings.Contains(out, s.User) {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := s.Doveadm(t.Context(), "user", "nobody-here"); err == nil {
		t.Error("no error for a user that is not there")
	}
}

// TestFill is also the proof that Dovecot reads what corpus.Tree writes: folder
// names, flags, keywords, dates and bytes.
func TestFill(t *testing.T) {
	s := Start(t, NoRoles())
	want := map[string]corpus.Sample{}
	count := map[mail.Folder]int{}
	s.Fill(func(yield func(corpus.Sample) bool) {
		for sample := range corpus.Bulk(1, 300, 20, 300*4000) {
			want[string(sample.Folder)+"\x00"+string(sample.Raw)] = sample
			count[sample.Folder]++
			if !yield(sample) {
				return
			}
		}
	})
	p := s.Phone(t)
	folders, err := p.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if f.NoSelect {
			continue
		}
		got, err := p.Messages(t.Context(), f.Name)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != count[f.Name] {
			t.Errorf("%q has %d messages, want %d", f.Name, len(got), count[f.Name])
		}
		delete(count, f.Name)
		for _, m := range got {
			sample, known := want[string(f.Name)+"\x00"+string(m.Raw)]
			if !known || !m.Date.Equal(sample.Date) || !m.Flags.Equal(sample.Flags) {
				t.Errorf("%q has message %d of %v, marked %v; sample %v, %v", f.Name, m.UID, m.Date, m.Flags, sample.Date, sample.Flags)
			}
		}
	}
	if len(count) != 0 {
		t.Errorf("folders are missing: %v", count)
	}
}

func glob(t *testing.T, s *Server, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.MailDir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// BenchmarkFill is ten thousand messages in twenty folders.
func BenchmarkFill(b *testing.B) {
	for b.Loop() {
		s := Start(b)
		s.Fill(corpus.Bulk(1, 10000, 20, 10000*8<<10))
		s.Phone(b)
	}
}
