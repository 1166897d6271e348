package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// start runs a command line in a process of its own, which the test's binary becomes.
func (d *computer) start(args ...string) *process {
	d.Helper()
	self, err := os.Executable()
	d.check(err)
	p := &process{computer: d, cmd: exec.Command(self), ended: make(chan error, 1)}
	p.cmd.Args = append([]string{"mailtwin", "--config", d.config}, args...)
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

// terminate sends SIGTERM, waits for the end, and gives the exit code and how long that took.
func (p *process) terminate() (code int, took time.Duration) {
	p.Helper()
	began := time.Now()
	p.check(p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-p.ended:
		took = time.Since(began)
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			p.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		p.Fatalf("it does not end; it said %s", p.stderr.String())
	}
	return p.cmd.ProcessState.ExitCode(), took
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
		p := d.start("watch")
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
