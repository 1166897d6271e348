package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailtwin/conflict/mail"
)

// call is a system call that a trace tells of, in the order in which they began.
type call struct {
	name string
	args string // with the paths of descriptors, as strace -y has them
}

func (c call) String() string { return c.name + "(" + c.args + ")" }

// tracer is strace, which sees, and can change, what the system is asked for.
func tracer(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err == nil {
		var out []byte
		if out, err = exec.Command(path, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
			t.Skipf("the system does not let a process be traced: %s", out) // as in some containers; no program is missing
		}
		return path
	}
	if os.Getenv("MAILTWIN_REQUIRE") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

// program is the path of a file that is mailtwin, as runToBeKilled runs it.
func (d *computer) program() string {
	d.Helper()
	return d.link(childName)
}

// strace syncs in a process of its own, under strace, and gives what that tells.
func (d *computer) strace(flags ...string) string {
	d.Helper()
	log := filepath.Join(d.dir, "trace")
	args := append([]string{"-f", "--seccomp-bpf", "-o", log, "-e", "signal=none"}, flags...)
	cmd := exec.CommandContext(d.Context(), tracer(d.T), append(args, d.program(), "--config", d.config, "sync")...)
	// The signal by which Go preempts a goroutine cuts a getdents64 in two, or makes another
	// call start again: counts must not depend on the moment.
	cmd.Env = append(os.Environ(), killAt+"=0", "GODEBUG=asyncpreemptoff=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		d.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(log)
	d.check(err)
	return string(text)
}

// traced syncs, and gives the system calls that matter for what is durable.
func (d *computer) traced() []call {
	d.Helper()
	text := d.strace("-y", "-s", "64",
		"-e", "trace=fsync,fdatasync,sync_file_range,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat,write,pwrite64,sendto")
	var calls []call
	begun := regexp.MustCompile(`^\d+ +(\w+)\((.*)`)
	for line := range strings.Lines(text) {
		if m := begun.FindStringSubmatch(line); m != nil {
			calls = append(calls, call{m[1], strings.TrimSpace(m[2])})
		}
	}
	return calls
}

// moment is what the trace must show.
type moment struct {
	what  string // for people
	calls string // a pattern of the name
	args  string // and one of the arguments
	// sync: it is a sync of the Maildir or of the store of removed messages, and not there
	// with fsync = false.
	sync bool
}

// inOrder checks that the trace shows the moments one after the other, the first of them
// anywhere. Without syncs those must not be there at all.
func inOrder(t *testing.T, calls []call, syncs bool, moments ...moment) {
	t.Helper()
	at := 0
	for _, m := range moments {
		match := func(c call) bool {
			return regexp.MustCompile(`^(?:`+m.calls+`)$`).MatchString(c.name) && regexp.MustCompile(m.args).MatchString(c.args)
		}
		if m.sync && !syncs {
			if i := slices.IndexFunc(calls, match); i >= 0 {
				t.Errorf("with fsync = false there is %s: %s", m.what, calls[i])
			}
			continue
		}
		i := slices.IndexFunc(calls[at:], match)
		if i < 0 {
			var all strings.Builder
			for i, c := range calls {
				mark := "  "
				if i == at {
					mark = "> "
				}
				fmt.Fprintf(&all, "%s%.200s\n", mark, c.String())
			}
			t.Errorf("no %s where it should be; the trace:\n%s", m.what, all.String())
			return
		}
		at += i + 1
	}
}

// TestTheOrderOfSystemCalls: what stands in docs/design.md about the order of effects, as
// the system sees it. The names of files are those of this test.
func TestTheOrderOfSystemCalls(t *testing.T) {
	const (
		renames = `rename|renameat|renameat2`
		syncs   = `fsync|fdatasync|syncfs`
	)
	commit := []moment{
		{what: "write to the state", calls: `pwrite64|write`, args: `state\.db-wal>`},
		{what: "sync of the state", calls: syncs, args: `state\.db-wal>`},
	}
	after := func(before []moment, more ...moment) []moment { return append(slices.Clone(before), more...) }
	for name, fsync := range map[string]bool{"with fsync": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embedded(t)
			d := s.device("laptop", fmt.Sprintf("fsync = %v", fsync))
			gone := s.deliver("INBOX", note("goes"), seen)
			s.deliver("INBOX", note("stays"), seen)
			d.sync()

			s.deliver("INBOX", note("comes"), seen)
			calls := d.traced()
			d.want("INBOX", d.subjects("INBOX"), "comes", "goes", "stays")
			inOrder(t, calls, fsync, after([]moment{
				{what: "text of the message", calls: "write", args: `/INBOX/tmp/[^>]*>, "Message-ID: <comes@`},
				{what: "sync of the file", calls: syncs, args: `/INBOX/tmp/[^>]`, sync: true},
			}, after(commit,
				moment{what: "rename into its place", calls: renames, args: `/INBOX/tmp>.*/INBOX/cur>`},
				moment{what: "sync of the directory", calls: syncs, args: `/INBOX/cur>`, sync: true},
				commit[0], commit[1])...)...)

			s.check(s.phone.CreateFolder(s.Context(), "Many", mail.RoleNone))
			for i := range 100 { // so many are made durable as one, where the file system can
				s.deliver("Many", note(fmt.Sprint("many", i)), seen)
			}
			calls = d.traced()
			if n := len(d.subjects("Many")); n != 100 {
				t.Errorf("%d messages came", n)
			}
			last := len(calls) - 1
			for text := regexp.MustCompile(`/Many/tmp/[^>]*>, "Message-ID`); last > 0 && !text.MatchString(calls[last].args); last-- {
			}
			inOrder(t, calls[last:], fsync, after([]moment{
				{what: "sync of the files", calls: syncs, args: `/Mail>|/Many/tmp/[^>]`, sync: true},
			}, after(commit,
				moment{what: "rename into its place", calls: renames, args: `/Many/tmp>.*/Many/cur>`},
				moment{what: "sync of the directory", calls: syncs, args: `/Many/cur>`, sync: true},
				commit[0], commit[1])...)...)

			d.save("INBOX", "cur", "mine.a.host:2,S", note("mine"), then)
			calls = d.traced()
			s.want("INBOX", s.there("INBOX"), "comes", "goes", "mine", "stays")
			inOrder(t, calls, true, after(commit,
				moment{what: "APPEND", calls: "write|sendto", args: `APPEND`},
				commit[0], commit[1])...)
			before := slices.IndexFunc(calls, func(c call) bool { return strings.Contains(c.args, "APPEND") })
			inOrder(t, calls[:before], true, commit...) // the intent

			s.check(s.phone.Delete(s.Context(), "INBOX", gone))
			calls = d.traced()
			d.want("INBOX", d.subjects("INBOX"), "comes", "mine", "stays")
			inOrder(t, calls, fsync, after([]moment{
				{what: "link in the store", calls: "link|linkat", args: `/Mail/INBOX/cur>.*/removed/\d+/INBOX/cur>`},
				{what: "sync of the file", calls: syncs, args: `/removed/\d+/INBOX/cur/[^>]`, sync: true},
				{what: "sync of the store", calls: syncs, args: `/removed/\d+/INBOX/cur>`, sync: true},
				{what: "unlink", calls: "unlink|unlinkat", args: `/Mail/INBOX/cur>`},
				{what: "sync of the directory", calls: syncs, args: `/Mail/INBOX/cur>`, sync: true},
			}, commit...)...)
		})
	}
}
