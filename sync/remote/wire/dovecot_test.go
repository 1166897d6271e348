package wire

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// dovecot starts Dovecot's IMAP process on one connection, and gives a client over a
// Conn over it.
func dovecot(t *testing.T, opts Options) (*imapclient.Client, *Conn) {
	t.Helper()
	program, err := exec.LookPath("doveadm")
	if err != nil {
		if os.Getenv("MAILTWIN_REQUIRE") == "1" {
			t.Fatalf("Dovecot is required: %v", err)
		}
		t.Skipf("no Dovecot: %v", err)
	}
	dir := t.TempDir()
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 65534, 65534 // Dovecot serves no mail as root
		for _, d := range []string{dir, filepath.Dir(dir)} {
			if err := os.Chown(d, uid, gid); err != nil {
				t.Fatal(err)
			}
		}
	}
	config := filepath.Join(dir, "dovecot.conf")
	err = os.WriteFile(config, fmt.Appendf(nil, `log_path = %[1]s/log
ssl = no
mail_location = maildir:%[1]s/Mail
mail_uid = %[2]d
mail_gid = %[3]d
first_valid_uid = 1
first_valid_gid = 1
namespace inbox {
  inbox = yes
}
`, dir, uid, gid), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	cmd := exec.CommandContext(t.Context(), program, "-c", config, "exec", "imap")
	cmd.Env = []string{"USER=alice", "HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.Stdin, cmd.Dir = far, dir
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(far, stdout) // until Dovecot ends, or the client hangs up
		far.Close()
	}()
	c := New(near, opts)
	client := imapclient.New(c, nil)
	t.Cleanup(func() {
		client.Close()
		far.Close()
		<-copied
		_ = cmd.Wait() // it may have been killed
	})
	return client, c
}

func TestDovecot(t *testing.T) {
	var tape tape
	client, c := dovecot(t, Options{Trace: tape.trace})
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v, %v\n%s", what, err, c.Err(), strings.Join(tape.all(), "\n"))
		}
	}
	_, err := client.Capability().Wait()
	check("CAPABILITY", err)
	c.Ready()

	body := []byte("Subject: large\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<16))
	for range 2 {
		cmd := client.Append("INBOX", int64(len(body)), nil)
		_, err := cmd.Write(body)
		check("APPEND", err)
		check("APPEND", cmd.Close())
		_, err = cmd.Wait()
		check("APPEND", err)
	}
	if got := c.Stats(); got.RoundTrips != 4 || got.BytesOut < int64(2*len(body)) {
		t.Errorf("two APPENDs: %+v", got)
	}

	check("CREATE", client.Create("Archive", nil).Wait())
	_, err = client.Select("INBOX", &imap.SelectOptions{CondStore: true}).Wait()
	check("SELECT", err)
	n := c.Take()
	if n.HighestModSeq == 0 || n.PermanentFlags == nil || n.NoModSeq || n.ReadOnly {
		t.Errorf("SELECT: %+v", n)
	}
	got, bodyErr, err := fetchBody(client)
	check("FETCH", err)
	check("FETCH", bodyErr)
	if !bytes.Equal(got, body) {
		t.Errorf("%d octets came back, %d were sent", len(got), len(body))
	}
	_, err = client.Copy(imap.UIDSetNum(1, 2), "Archive").Wait()
	check("COPY", err)
	if n := c.Take(); !reflect.DeepEqual(n.CopyUID, []UIDPair{{1, 1}, {2, 2}}) {
		t.Errorf("COPY: %+v", n)
	}
	idle, err := client.Idle()
	check("IDLE", err)
	check("DONE", idle.Close())
	check("IDLE", idle.Wait())
	_, err = client.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	check("EXAMINE", err)
	if n := c.Take(); !n.ReadOnly || len(n.Dropped) > 0 {
		t.Errorf("EXAMINE: %+v", n)
	}
	check("LOGOUT", client.Logout().Wait())
	within(t, "the client's reader", client.Closed())
	if err := c.Err(); err != nil {
		t.Errorf("after LOGOUT: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read gives %v", err)
	}
}
