package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestTortureOfWatches is TestTorture with a `watch` on each computer, which syncs when it hears of
// something, and when `sync` asks it to. It is killed, and has its connections cut, in the midst of
// either; it is told to end, and to read its configuration anew, and is started again.
func TestTortureOfWatches(t *testing.T) {
	// Which command a stroke meets is left to chance: what has just changed may be synced by then.
	torment(t, true, slices.Concat(acts, []strike{
		{"^killed between intent and commit: ", 3},
		{"^killed (before|after) (Local|Remote|State|Incoming)\\.", 5}, // a step
		{"^killed (inside|in the answer|after)", 5},
		{"^cut( off)? inside ", 5},
		{"^cut( off)? in the answer to ", 3},
		{"^restarted ", 1},
		{"^a watch was started$", 10},
		{"^a watch was told to end$", 3},
		{"^a watch read its configuration anew$", 3},
		{"^synced unasked$", 30},
	}))
}

// service is a watch of a device, in a process of its own.
type service struct {
	process *os.Process
	step    bool          // it kills itself at a step of the engine
	ready   chan struct{} // holds one for each time that it says so
	ended   chan struct{} // closed when it has
	state   *os.ProcessState
	said    *said
}

// said is what a watch prints.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
	more io.Writer // nil: nothing else has it
	read int       // how much of the text news has given
}

// news gives the lines that were printed since it was asked last.
func (s *said) news() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := s.text.Bytes()[s.read:]
	lines = lines[:bytes.LastIndexByte(lines, '\n')+1]
	s.read += len(lines)
	return string(lines)
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more != nil {
		if _, err := s.more.Write(p); err != nil {
			return 0, err
		}
	}
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// tortureTime is how long a sync, or a watch that is waited for, may take.
const tortureTime = 2 * time.Minute

// serve starts the watch of a device; one that is to be killed at a step, if that is not 0.
func (x *torture) serve(i, step int) (*service, error) {
	d := x.devices[i]
	dir := filepath.Dir(d.config)
	path := filepath.Join(dir, "notify")
	x.happened(os.Remove(path))
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	cmd := x.command(x.Context(), step)
	cmd.Args = []string{cmd.Args[0], "--config", d.config, "watch", "-v"}
	cmd.Env = append(os.Environ(), killAt+"="+strconv.Itoa(step), childStats+"="+filepath.Join(dir, "stats"), "NOTIFY_SOCKET="+path)
	s := &service{step: step > 0, ready: make(chan struct{}, 1), ended: make(chan struct{}), said: &said{}}
	if x.trace != "" {
		cmd.Args[len(cmd.Args)-1] = "-vv"
		log, err := os.Create(x.log(d))
		if err != nil {
			return nil, err
		}
		s.said.more = log
		x.Cleanup(func() { log.Close() })
	}
	cmd.Stdout, cmd.Stderr = s.said, s.said
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	s.process = cmd.Process
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := socket.Read(buf)
			if err != nil {
				return // it is closed
			}
			if strings.Contains(string(buf[:n]), "READY=1") {
				select {
				case s.ready <- struct{}{}:
				default:
				}
			}
		}
	}()
	x.serving.Go(func() {
		defer close(s.ended)
		defer socket.Close()
		cmd.Wait() // how it ended is in its state
		s.state = cmd.ProcessState
		x.countUnasked(s.said.news())
	})
	x.strike("a watch was started")
	return s, nil
}

var (
	unasked = regexp.MustCompile(`msg=synced account=alice what="([^"]*)"`)
	part    = regexp.MustCompile(`(\d+) (removed|moved)`)
)

// countUnasked adds up what a watch has said that it did because it had heard of something.
func (x *torture) countUnasked(said string) {
	for _, sync := range unasked.FindAllStringSubmatch(said, -1) {
		x.strike("synced unasked")
		here, there, _ := strings.Cut(sync[1], "on server ")
		for where, did := range map[string]string{"here": here, "on the server": there} {
			for _, p := range part.FindAllStringSubmatch(did, -1) {
				n, err := strconv.Atoi(p[1])
				x.happened(err)
				x.strikes("synced: "+p[2]+" "+where, n)
			}
		}
	}
}

// isReady waits until the watch says that it is ready, and tells whether it lives by then.
func (x *torture) isReady(d *computer, s *service) bool {
	select {
	case <-s.ready:
		return true
	case <-s.ended:
		return false
	case <-time.After(tortureTime):
		x.Errorf("%s: the watch is not ready: %s", d.name, s.said)
		return false
	}
}

// retire tells the watch of a device to end, if there is one, as systemd does.
func (x *torture) retire(i int) {
	d, s := x.devices[i], x.services[i]
	if s == nil {
		return
	}
	x.services[i] = nil
	select {
	case <-s.ended:
		x.passed(d, s) // it was killed before
		return
	default:
	}
	began := time.Now()
	if err := s.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		x.Error(err)
	}
	x.waits(d, s)
	if s.killed() && s.step {
		x.passed(d, s)
		return
	}
	x.strike("a watch was told to end")
	if took := time.Since(began); s.state.ExitCode() != 0 || took > 5*time.Second {
		x.Errorf("%s: the watch was told to end: exit code %d, after %v\n%s", d.name, s.state.ExitCode(), took, s.said)
	}
	// What other ones have left there that were killed is swept away some day.
	for _, folder := range d.folders() {
		left, err := filepath.Glob(filepath.Join(d.dirOf(folder), "tmp", fmt.Sprintf("*P%d.*", s.process.Pid)))
		if x.happened(err); len(left) > 0 {
			x.Errorf("%s: the watch that was told to end leaves %v", d.name, left)
		}
	}
}

// waits waits for the end of a watch.
func (x *torture) waits(d *computer, s *service) {
	select {
	case <-s.ended:
	case <-time.After(tortureTime):
		x.Errorf("%s: the watch does not end: %s", d.name, s.said)
		s.process.Kill()
		<-s.ended
	}
}

func (s *service) killed() bool {
	status, ok := s.state.Sys().(syscall.WaitStatus)
	return ok && status.Signal() == syscall.SIGKILL
}

// passed complains of a watch that has ended and was not killed.
func (x *torture) passed(d *computer, s *service) {
	if !s.killed() {
		x.Errorf("%s: the watch has ended: %v\n%s", d.name, s.state, s.said)
	}
}

// ask has the watch of a device sync it, and starts one where there is none, or where it is to be
// killed at a step.
func (x *torture) ask(i int, next *stroke, command func(), step int, flags ...string) ending {
	d, k, r := x.devices[i], x.knives[i], x.seeded()
	if step > 0 || x.services[i] != nil && r.IntN(12) == 0 {
		x.retire(i)
	}
	s := x.services[i]
	if s != nil {
		select {
		case <-s.ended: // at a step, some time after it was asked the last time
			x.retire(i)
			s = nil
		default:
		}
	}
	fresh := s == nil
	err := k.arm(x.seeded(), next, command, func() (_ *os.Process, err error) {
		if s == nil {
			if s, err = x.serve(i, step); err != nil {
				return nil, err
			}
		}
		return s.process, nil
	})
	if err != nil {
		x.Error(err)
		return ending{}
	}
	x.services[i] = s
	alive := !fresh || x.isReady(d, s)
	if alive && r.IntN(8) == 0 {
		if err := s.process.Signal(syscall.SIGHUP); err == nil {
			alive = x.isReady(d, s)
			x.strike("a watch read its configuration anew")
		}
	}
	var e ending
	if alive {
		e = x.asked(d, flags...)
	}
	e.struck = k.rest()
	x.countUnasked(s.said.news())
	// Who asks hears of a death before whoever waits for the end of the process does.
	if strings.HasPrefix(e.struck, string(killIt)) || step > 0 && strings.Contains(e.stderr, errUnanswered.Error()) {
		x.waits(d, s)
	}
	select {
	case <-s.ended:
		x.services[i] = nil
		x.passed(d, s)
		if e.killed, e.at = true, strings.TrimPrefix(e.struck, string(killIt)+" "); step > 0 {
			at, err := os.ReadFile(filepath.Join(filepath.Dir(d.config), "stats.struck"))
			x.happened(err)
			e.at = string(at)
		}
	default:
		if step > 0 {
			x.retire(i) // it would die at another time
		}
	}
	return e
}

// asked is `sync` where it can do nothing but ask the watch.
func (x *torture) asked(d *computer, flags ...string) ending {
	ctx, cancel := context.WithTimeout(x.Context(), tortureTime)
	defer cancel()
	r := d.asks(ctx, append([]string{"sync", "--json"}, flags...)...)
	if ctx.Err() != nil {
		x.Errorf("%s: it hangs: %s", d.name, r.stderr)
	}
	return ending{code: r.code, stdout: r.stdout, stderr: r.stderr}
}

// dismiss tells all watches to end.
func (x *torture) dismiss() {
	for i := range x.devices {
		x.retire(i)
	}
	x.serving.Wait()
}
