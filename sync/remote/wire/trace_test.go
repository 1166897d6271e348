package wire

import (
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-sasl"
)

// tape keeps what is traced.
type tape struct {
	mu    sync.Mutex
	lines []string
}

func (r *tape) trace(sent bool, line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := "S: "
	if sent {
		from = "C: "
	}
	r.lines = append(r.lines, from+line)
}

func (r *tape) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

func TestTraceHidesCredentials(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"LOGIN", `C: A LOGIN alice "se cret"|S: A OK welcome alice, secret|C: B NOOP|S: B OK done`,
			"C: A LOGIN ***|S: A OK ***|C: B NOOP|S: B OK done"},
		{"login in lower case", "C: A login alice secret|S: A NO [AUTHENTICATIONFAILED] not secret", "C: A login ***|S: A NO [AUTHENTICATIONFAILED] ***"},
		{"LOGIN with literals", "C: A LOGIN {5}|S: + go|C: alice {6}|S: + go|C: secret|S: A OK in",
			"C: A LOGIN ***|S: + ***|C: ***|S: + ***|C: ***|S: A OK ***"},
		{"LOGIN with literals that are sent at once", "C: A LOGIN {5+}|C: alice {6+}|C: secret|S: A OK in",
			"C: A LOGIN ***|C: ***|C: ***|S: A OK ***"},
		{"AUTHENTICATE", "C: A AUTHENTICATE PLAIN|S: + |C: c2VjcmV0|S: * NO secret|S: A OK in",
			"C: A AUTHENTICATE PLAIN|S: + ***|C: ***|S: * NO ***|S: A OK ***"},
		{"AUTHENTICATE with an initial response", "C: A AUTHENTICATE PLAIN c2VjcmV0|S: + c2VjcmV0|C: |S: A NO c2VjcmV0",
			"C: A AUTHENTICATE PLAIN ***|S: + ***|C: ***|S: A NO ***"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tape tape
			converse(t, tt.script, Options{Trace: tape.trace}, false)
			if got := strings.Join(tape.all()[1:], "|"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestTraceOfTheClientHidesCredentials(t *testing.T) {
	var tape tape
	asked := make(chan error, 1)
	client, c := dial(t, Options{Trace: tape.trace}, func(s *server) error {
		if err := serve("* BAD not you, alice secret\r\n%s NO not with secret\r\n")(s); err != nil {
			return err
		}
		if err := s.answers("+ \r\n"); err != nil {
			return err
		}
		if _, err := s.ReadString('\n'); err != nil { // the credentials
			return err
		}
		_, err := io.WriteString(s, "* ODD c2VjcmV0\r\nT2 OK in\r\n")
		if err != nil {
			return err
		}
		err = s.answers("* CAPABILITY IMAP4rev1\r\n%s OK done\r\n")
		asked <- err
		return err
	})
	if err := client.Login("alice", "secret").Wait(); err == nil {
		t.Error("the login succeeded")
	}
	if err := client.Authenticate(sasl.NewPlainClient("", "alice", "secret")); err != nil {
		t.Error(err)
	}
	if err := within(t, "the question for capabilities", asked); err != nil {
		t.Error(err)
	}
	all := strings.Join(tape.all(), "\n") + strings.Join(c.Take().Dropped, "\n")
	for _, secret := range []string{"secret", "alice", "c2Vj", "AGFsaWNl"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is in the trace:\n%s", secret, all)
		}
	}
	if !strings.Contains(all, "C: T3 CAPABILITY") {
		t.Errorf("what is no secret is missing:\n%s", all)
	}
}

func TestTraceHidesMessages(t *testing.T) {
	var tape tape
	client, _ := dial(t, Options{Trace: tape.trace}, func(s *server) error {
		if err := serve("* LIST () \"/\" {5}\r\nnamed\r\n* 1 FETCH (UID 1 INTERNALDATE \"01-Jan-2020 00:00:00 +0000\" BODY[1] \"private\" "+
			"X (\"private\" {7}\r\nprivate) BODY[] {7}\r\nprivate FLAGS (\\Seen))\r\n* OK \x1b]0;evil\x07 \u202etxt\r\n%s OK done\r\n", "+ go\r\n")(s); err != nil {
			return err
		}
		if _, err := io.ReadFull(s, make([]byte, len("private\r\n"))); err != nil {
			return err
		}
		_, err := io.WriteString(s, "T2 OK done\r\n")
		return err
	})
	if err := client.WaitGreeting(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Fetch(imap.UIDSetNum(1), &imap.FetchOptions{UID: true}).Collect(); err != nil {
		t.Fatal(err)
	}
	cmd := client.Append("INBOX", 7, nil)
	if _, err := io.WriteString(cmd, "private"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	got := tape.all()
	want := []string{
		`S: * OK [CAPABILITY IMAP4rev1] hello`, `C: T1 UID FETCH 1 (UID)`, `S: * LIST () "/" {5}`,
		`S: * 1 FETCH (UID 1 INTERNALDATE "01-Jan-2020 00:00:00 +0000" BODY[1] "***" X ("***" {7}) BODY[] {7}`,
		`S: ... FLAGS (\Seen))`, `S: * OK  ]0;evil  txt`, `S: T1 OK done`,
		`C: T2 APPEND INBOX {7}`, `S: + go`, `C: `, `S: T2 OK done`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
