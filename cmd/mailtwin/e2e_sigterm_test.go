package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"mailtwin/sync/imaptest"
)

// process is mailtwin in a process of its own.
type process struct {
	*computer
	cmd    *exec.Cmd
	stderr bytes.Buffer
	ended  chan error
}

// link is a path under which the test's binary is the program of that name; see TestMain.
func (d *computer) link(name string) string {
	d.Helper()
	self, err := os.Executable()
	d.check(err)
	link := filepath.Join(d.dir, name)
	if err := os.Symlink(self, link); err != nil && !os.IsExist(err) {
		d.Fatal(err)
	}
	return link
}

// start runs a command line in a process of its own, under another program if there is one.
func (d *computer) start(under []string, args ...string) *process {
	d.Helper()
	command := append(slices.Clone(under), d.link("mailtwin"), "--config", d.config)
	command = append(command, args...)
	p := &process{computer: d, cmd: exec.Command(command[0], command[1:]...), ended: make(chan error, 1)}
	p.cmd.Stderr = &p.stderr
	d.check(p.cmd.Start())
	d.Cleanup(func() {
		if p.cmd.Process.Kill() == nil { // else it has ended
			<-p.ended
		}
	})
	go func() { p.ended <- p.cmd.Wait(); close(p.ended) }()
	return p
}

// end waits for the end, and gives the exit code.
func (p *process) end() int {
	p.Helper()
	select {
	case err := <-p.ended:
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			p.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		p.Fatalf("it does not end; it said %s", p.stderr.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// terminate sends SIGTERM, waits for the end, and gives the exit code and how long that took.
func (p *process) terminate() (code int, took time.Duration) {
	p.Helper()
	began := time.Now()
	p.check(p.cmd.Process.Signal(syscall.SIGTERM))
	return p.end(), time.Since(began)
}

// passes waits until so many octets have gone the way.
func (s *story) passes(way *imaptest.Way, octets int64) {
	s.Helper()
	select {
	case <-way.After(octets):
	case <-time.After(30 * time.Second):
		s.Fatalf("only %d octets pass", way.Carried())
	}
}

// SIGTERM in the midst of a message, on a line on which that takes minutes, ends the watch within
// five seconds, leaves nothing behind, and costs no message.
func TestSIGTERMInTheMidstOfAMessage(t *testing.T) {
	t.Parallel()
	const size, some, rate = 2_000_000, 200_000, 100_000
	large := note("large") + incompressible(size)
	interrupt := func(s *story, tls, up, silent bool) {
		port, settings := s.server.Port, []string{`poll_interval = "1h"`}
		if tls {
			port = s.server.TLSPort
			settings = append(settings, `tls = "implicit"`, fmt.Sprintf("ca_file = %q", s.server.CAFile))
		}
		way := imaptest.Slow(s, s.server.Host, port, imaptest.Line{Rate: rate})
		d := s.device("laptop", append(settings, fmt.Sprint("port = ", way.Port))...)
		s.deliver("INBOX", note("small"), none)
		if up {
			d.sync()
			d.save("INBOX", "cur", "1.large.host:2,S", large, then)
		} else {
			s.deliver("INBOX", large, seen)
		}
		p := d.start(nil, "watch")
		s.passes(way, some)
		if silent {
			way.Swallow()
		}
		code, took := p.terminate()
		if code != 0 || p.stderr.String() != "" {
			s.Errorf("it ended with %d, and said %q", code, p.stderr.String())
		}
		if took > 5*time.Second {
			s.Errorf("it took %v to end", took)
		}
		s.Logf("it took %v to end", took)
		d.leavesNothing()
		d.again(append(settings, fmt.Sprint("port = ", port))...) // it has arrived
		settle(d)
		d.same()
		s.want("here", d.subjects("INBOX"), "large", "small")
	}
	stories(t, map[string]func(s *story){
		"on its way here":                               func(s *story) { interrupt(s, false, false, false) },
		"on its way to the server":                      func(s *story) { interrupt(s, false, true, false) },
		"on its way to the server, TLS":                 func(s *story) { interrupt(s, true, true, false) },
		"on its way here, the network is gone":          func(s *story) { interrupt(s, true, false, true) },
		"on its way to the server, the network is gone": func(s *story) { interrupt(s, false, true, true) },
	})
}
