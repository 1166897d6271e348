package main

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"mailtwin/sync/imaptest/dovecot"
)

// cutter stands between the program and the server, and cuts every connection once
// so many octets have gone one way.
type cutter struct {
	port     int
	up, down atomic.Int64 // how many octets may still go; below 0: any
}

func (s *story) cutter() *cutter {
	c := &cutter{}
	c.up.Store(-1)
	c.down.Store(-1)
	c.port = s.listen(func(client net.Conn) {
		server, err := net.Dial("tcp", net.JoinHostPort(s.server.Host, strconv.Itoa(s.server.Port)))
		if err != nil {
			return
		}
		defer server.Close()
		done := make(chan bool, 2)
		pass := func(to, from net.Conn, left *atomic.Int64) {
			defer func() { done <- true }()
			buf := make([]byte, 1024)
			for {
				n, err := from.Read(buf)
				if max := left.Load(); max >= 0 && int64(n) >= max {
					to.Write(buf[:max]) // what arrives of it is the point of the test
					left.Store(0)
					return
				} else if max >= 0 {
					left.Add(int64(-n))
				}
				if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
					return
				}
			}
		}
		go pass(server, client, &c.up)
		go pass(client, server, &c.down)
		<-done
		client.Close()
		server.Close()
		<-done
	})
	return c
}

func TestConnectionsThatAreCut(t *testing.T) {
	const big = 300_000
	stories(t, map[string]func(s *story){
		"in a FETCH": func(s *story) {
			c := s.cutter()
			d := s.device("laptop", fmt.Sprintf("port = %d", c.port), "connections = 1")
			d.sync()
			var want []string
			for i := range 5 {
				want = append(want, fmt.Sprint("letter ", i))
				s.deliver("INBOX", note(want[i])+strings.Repeat("line\n", big/5/5), none)
			}
			for _, at := range []int64{1500, 60_000, 100_000, big/2 + 17} {
				c.down.Store(at)
				d.exits(75, "sync")
			}
			c.down.Store(-1)
			d.sync()
			d.want("INBOX", d.subjects("INBOX"), want...)
			settle(d)
			d.same()
		},
		"in an APPEND, or before its answer": func(s *story) {
			c := s.cutter()
			d := s.device("laptop", fmt.Sprintf("port = %d", c.port), "connections = 1")
			d.sync()
			text := note("large") + strings.Repeat("line\n", big/5)
			d.save("INBOX", "cur", "1.a.host:2,S", text, then)
			whole := int64(len(wireOf(text)))
			for _, at := range []int64{2000, whole / 2, whole - 1, whole + 100} {
				c.up.Store(at)
				d.exits(75, "sync")
			}
			c.up.Store(-1)
			// All of it has come, and the answer is lost.
			d.save("INBOX", "cur", "2.a.host:2,S", note("small"), then)
			for _, at := range []int64{1800, 2200, 2400, 2600} {
				c.down.Store(at)
				d.run("sync")
			}
			c.down.Store(-1)
			settle(d)
			s.want("INBOX", s.there("INBOX"), "large", "small")
			d.same()
		},
		"at any octet of what the server says": func(s *story) {
			c := s.cutter()
			d := s.device("laptop", fmt.Sprintf("port = %d", c.port), "connections = 1")
			s.deliver("INBOX", note("one"), none)
			s.deliver("INBOX", note("two"), seen)
			d.sync()
			d.save("INBOX", "new", "1.a.host", note("three"), then)
			d.reflag(d.find("INBOX", "one"), "F")
			d.remove(d.find("INBOX", "two"))
			s.deliver("Archive", note("four"), none)
			for at := int64(700); at < 4200; at += 233 {
				c.down.Store(at)
				d.run("sync")
			}
			c.down.Store(-1)
			settle(d)
			s.want("INBOX", s.there("INBOX"), "one", "three")
			s.want("Archive", s.there("Archive"), "four")
			s.want("Trash", s.there("Trash"), "two")
			d.same()
		},
	})
}

func TestServerRestartedBetweenRuns(t *testing.T) {
	server := dovecot.Start(t)
	s := newStory(t, server, server.User)
	d := s.device("laptop")
	s.deliver("INBOX", note("one"), none)
	d.sync()
	server.Restart()
	d.quiet()
	s.deliver("INBOX", note("two"), none)
	d.sync()
	server.Stop()
	if r := d.exits(75, "sync"); strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("it said %q", r.stderr)
	}
	server.Restart()
	settle(d)
	d.same()
}

// The proxy would hide what it is for, did it not pass everything on while nothing is
// to be cut.
func TestCutterPassesEverythingOn(t *testing.T) {
	stories(t, map[string]func(s *story){"greeting": func(s *story) {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.cutter().port)))
		s.check(err)
		defer conn.Close()
		fmt.Fprint(conn, "A LOGOUT\r\n")
		text, err := io.ReadAll(conn)
		if err != nil || !strings.Contains(string(text), "* BYE") {
			s.Errorf("%q, %v", text, err)
		}
	}})
}
